#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: link_info
version_added: "0.1.0"
short_description: Tell the network devices of a host, with their addresses and settings
description:
  - Reads all devices of the network namespace at once, and tells them in the words of M(vtep.fabric.link), so that an
    answer can be given back to it.
options:
  name:
    description: Tell this device only. One that does not exist gives an empty list.
    type: str
  type:
    description: Tell devices of this type only.
    type: str
    choices: [dummy, bridge, vlan, veth]
requirements:
  - pyroute2 0.7.2 or newer
extends_documentation_fragment: vtep.fabric.info_attributes
seealso:
  - module: vtep.fabric.link
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Read all devices
  vtep.fabric.link_info:
  register: host

- name: Name those that the collection made
  ansible.builtin.debug:
    msg: "{{ host.links | selectattr('owned') | map(attribute='name') }}"
"""

RETURN = r"""
links:
  description:
    - The devices, in the kernel's order. A setting that the kernel does not tell is null.
    - Besides what is named here, each has the options of M(vtep.fabric.link) of the same name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The device's name.
      returned: success
      type: str
      sample: br100
    type:
      description: The type, if it is one that M(vtep.fabric.link) makes.
      returned: success
      type: str
      sample: bridge
    kind:
      description: The kernel's name for the kind of device, empty for hardware and C(lo).
      returned: success
      type: str
      sample: bridge
    ifindex:
      description: The device's number.
      returned: success
      type: int
      sample: 4
    operstate:
      description: The operational state, such as C(up), C(down), C(lowerlayerdown) or C(unknown).
      returned: success
      type: str
      sample: up
    owned:
      description: Whether the alias marks the device as owned by the collection.
      returned: success
      type: bool
      sample: true
    mtu:
      description: MTU in bytes.
      returned: success
      type: int
      sample: 1500
    master:
      description: The device that this one belongs to, or empty.
      returned: success
      type: str
      sample: ""
    port:
      description: Settings as a port of a bridge.
      returned: for a device with a master
      type: dict
      sample: {"learning": true, "flood": true}
    addresses:
      description: The permanent addresses but link-local ones.
      returned: success
      type: list
      elements: str
      sample: ["2001:db8:1::1/128"]
    owned_addresses:
      description: Those among them that the collection added.
      returned: success
      type: list
      elements: str
      sample: ["2001:db8:1::1/128"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.link import INFO, info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    query(AnsibleModule(argument_spec=INFO, supports_check_mode=True), info)


if __name__ == "__main__":
    main()
