#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fdb_info
version_added: "0.1.0"
short_description: Tell what stands in forwarding tables (FDB)
description:
  - Returns the rows of VXLAN devices, bridges and other devices as data, with all that the kernel tells about them.
  - Attributes that this version does not know are passed on as they came.
options:
  dev:
    description: Only rows of these devices. Without it, rows of all devices.
    type: list
    elements: str
    default: []
  mac:
    description: Only rows of these MAC addresses.
    type: list
    elements: str
    default: []
extends_documentation_fragment: vtep.fabric.info_attributes
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: What does vxlan100 know?
  vtep.fabric.fdb_info:
    dev: vxlan100
  register: known

- name: Rows that this collection wrote
  ansible.builtin.debug:
    msg: "{{ known.fdb | selectattr('owned') | map(attribute='mac') }}"
"""

RETURN = r"""
fdb:
  description: The rows, in the kernel's order.
  returned: success
  type: list
  elements: dict
  contains:
    mac:
      description: The MAC address.
      type: str
      returned: always
    dev:
      description: The device.
      type: str
      returned: always
    target:
      description: V(self) for the device's own table, V(master) for the table of its bridge.
      type: str
      returned: always
    dst:
      description: The VTEP's address.
      type: str
      returned: when the row has one
    vlan:
      description: The VLAN.
      type: int
      returned: when the row has one
    port:
      description: The UDP port, where it is not the device's own.
      type: int
      returned: when the row has one
    vni:
      description: The VNI, where it is not the device's own.
      type: int
      returned: when the row has one
    src_vni:
      description: The VNI that frames come in with.
      type: int
      returned: when the row has one
    via:
      description: The device that frames leave by.
      type: str
      returned: when the row has one
    nhid:
      description: The nexthop group.
      type: int
      returned: when the row has one
    master:
      description: The bridge in whose table the row stands.
      type: str
      returned: for rows of a bridge's table
    link_netnsid:
      description: The network namespace in which RV(fdb[].via) is meant.
      type: int
      returned: when it is another one
    state:
      description: V(permanent), V(static), V(dynamic) or V(stale).
      type: str
      returned: always
    owned:
      description: Whether M(vtep.fabric.fdb) takes the row for its own, and would purge it.
      type: bool
      returned: always
    extern_learn:
      description: Whether another program learned the row, such as a routing daemon.
      type: bool
      returned: always
    offload:
      description: Whether hardware has the row.
      type: bool
      returned: always
    sticky:
      description: Whether the MAC may not move to another port.
      type: bool
      returned: always
    router:
      description: Whether the MAC is a router's.
      type: bool
      returned: always
    locked:
      description: Whether the MAC waits behind a locked port.
      type: bool
      returned: always
    default:
      description: Whether it is the row of the VXLAN device's own C(remote) or C(group).
      type: bool
      returned: always
    used:
      description: Seconds since a frame used the row.
      type: int
      returned: when the kernel tells
    updated:
      description: Seconds since the row was changed.
      type: int
      returned: when the kernel tells
    ndm_state:
      description: The state in the kernel's bits (NUD_* of linux/neighbour.h).
      type: int
      returned: always
    ndm_flags:
      description: The flags in the kernel's bits (NTF_* of linux/neighbour.h).
      type: int
      returned: always
    other:
      description: Attributes that this version does not know, by their number (NDA_* of linux/neighbour.h), in hexadecimal.
      type: dict
      returned: when there are any
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.fdb import INFO_ARGUMENTS, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    module = AnsibleModule(argument_spec=INFO_ARGUMENTS, supports_check_mode=True)
    query(module, read_info)


if __name__ == "__main__":
    main()
