#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: isolation_info
version_added: "0.1.0"
short_description: Tell which devices a host is isolated from
description:
  - Reads the tables C(inet vtep_fabric) and C(arp vtep_fabric) that M(vtep.fabric.isolation) makes.
requirements:
  - nft (0.9.9 or newer, built with JSON, as Debian's package is)
extends_documentation_fragment: vtep.fabric.info_attributes
seealso:
  - module: vtep.fabric.isolation
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Read the isolated devices
  vtep.fabric.isolation_info:
  register: isolation

- name: The isolation must be whole
  ansible.builtin.assert:
    that: isolation.complete
"""

RETURN = r"""
present:
  description: Whether either table exists.
  returned: success
  type: bool
  sample: true
interfaces:
  description: The names of the devices in the tables, sorted, without those of RV(routed).
  returned: success
  type: list
  elements: str
  sample: [br100, eth1, vxlan100]
routed:
  description: The groups of devices that may forward to one another only, each sorted.
  returned: success
  type: list
  elements: list
  sample: []
complete:
  description: >-
    Whether the tables are exactly as M(vtep.fabric.isolation) makes them for these devices and groups. False where they are absent
    or where something else changed a chain, a rule or a set.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.isolation import info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    query(AnsibleModule(argument_spec={}, supports_check_mode=True), info)


if __name__ == "__main__":
    main()
