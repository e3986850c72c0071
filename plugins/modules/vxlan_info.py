#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vxlan_info
version_added: "0.1.0"
short_description: Tell the VXLAN devices of a host with all their attributes
description:
  - Reads all VXLAN devices of the network namespace at once, and tells them in the words of M(vtep.fabric.vxlan), so
    that an answer can be given back to it.
options:
  name:
    description: Tell this device only. One that does not exist gives an empty list.
    type: str
  id:
    description: Tell devices of this VNI only.
    type: int
requirements:
  - pyroute2 0.7.2 or newer
extends_documentation_fragment: vtep.fabric.info_attributes
seealso:
  - module: vtep.fabric.vxlan
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Read all VXLAN devices
  vtep.fabric.vxlan_info:
  register: overlay

- name: Name the VNIs
  ansible.builtin.debug:
    msg: "{{ overlay.devices | map(attribute='id') }}"
"""

RETURN = r"""
devices:
  description:
    - The devices, in the kernel's order. An attribute that this kernel does not tell is null, as are C(id) of a device
      that takes the VNI from each packet, and the one of C(group) and C(remote) that is not set.
    - Besides what is named here, each has the options of M(vtep.fabric.vxlan) of the same name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The device's name.
      returned: success
      type: str
      sample: vxlan100
    id:
      description: VXLAN network identifier.
      returned: success
      type: int
      sample: 100
    local:
      description: Source address, or empty.
      returned: success
      type: str
      sample: 2001:db8:1::1
    group:
      description: Multicast group.
      returned: success
      type: str
      sample: ff05::100
    remote:
      description: Default destination, if it is not a multicast group. Empty for none.
      returned: success
      type: str
      sample:
    dstport:
      description: UDP port.
      returned: success
      type: int
      sample: 4789
    vnis:
      description: The VNIs that a device with a VNI filter takes. Null for other devices.
      returned: success
      type: list
      elements: int
      sample: [100, 200]
    ifindex:
      description: The device's number.
      returned: success
      type: int
      sample: 5
    kind:
      description: Always C(vxlan).
      returned: success
      type: str
      sample: vxlan
    operstate:
      description: The operational state, such as C(up), C(down) or C(unknown).
      returned: success
      type: str
      sample: unknown
    owned:
      description: Whether the alias marks the device as owned by the collection.
      returned: success
      type: bool
      sample: true
    addresses:
      description: The permanent addresses but link-local ones.
      returned: success
      type: list
      elements: str
      sample: []
    owned_addresses:
      description: Those among them that the collection added.
      returned: success
      type: list
      elements: str
      sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.vxlan import INFO, info


def main():
    query(AnsibleModule(argument_spec=INFO, supports_check_mode=True), info)


if __name__ == "__main__":
    main()
