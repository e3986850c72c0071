#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sysctl_info
version_added: "0.1.0"
short_description: Tell kernel settings of the network, and which of them the collection set
description:
  - Reads the record that M(vtep.fabric.sysctl) keeps, and the values that its keys and others have now.
options:
  keys:
    description: Further keys to read, written as for M(vtep.fabric.sysctl).
    type: list
    elements: str
    default: []
extends_documentation_fragment: vtep.fabric.info_attributes
seealso:
  - module: vtep.fabric.sysctl
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Read what the collection set, and whether the host forwards
  vtep.fabric.sysctl_info:
    keys: [net.ipv6.conf.all.forwarding]
  register: sysctl
"""

RETURN = r"""
settings:
  description: The values of O(keys) by key, null where the host has no such setting.
  returned: success
  type: dict
  sample:
    net.ipv6.conf.all.forwarding: "0"
owned:
  description: The keys that M(vtep.fabric.sysctl) set.
  returned: success
  type: dict
  sample:
    net.ipv6.conf.eth1.proxy_ndp:
      before: "0"
      set: "1"
      current: "1"
  contains:
    before:
      description: The value that goes back.
      type: str
    set:
      description: The value that was set.
      type: str
    current:
      description: The value now, null where the setting is gone with its device.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.sysctl import INFO_SPEC, info


def main():
    query(AnsibleModule(argument_spec=INFO_SPEC, supports_check_mode=True), info)


if __name__ == "__main__":
    main()
