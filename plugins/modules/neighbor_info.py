#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: neighbor_info
version_added: "0.1.0"
short_description: Tell the neighbours and proxy entries (ARP, ND)
description:
  - Returns neighbours and proxy entries of both families as data, with all that the kernel tells about them.
  - Attributes that this version does not know are passed on as they came.
options:
  dev:
    description: Only rows of these devices. Without it, rows of all devices.
    type: list
    elements: str
    default: []
  ip:
    description: Only rows of these IP addresses.
    type: list
    elements: str
    default: []
extends_documentation_fragment: vtep.fabric.info_attributes
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Who is known on vxlan100?
  vtep.fabric.neighbor_info:
    dev: vxlan100
  register: known

- name: Rows that this collection wrote
  ansible.builtin.debug:
    msg: "{{ known.neighbors | selectattr('owned') | map(attribute='ip') }}"
"""

RETURN = r"""
neighbors:
  description: The neighbours, then the proxy entries, in the kernel's order.
  returned: success
  type: list
  elements: dict
  contains:
    ip:
      description: The IP address.
      type: str
      returned: always
    dev:
      description: The device.
      type: str
      returned: always
    lladdr:
      description: The MAC address, in hexadecimal pairs.
      type: str
      returned: when the row has one
    state:
      description: >-
        V(permanent), V(noarp), V(reachable), V(stale), V(delay), V(probe), V(incomplete), V(failed), or V(none), which proxy
        entries always have.
      type: str
      returned: always
    proxy:
      description: Whether it is a proxy entry.
      type: bool
      returned: always
    router:
      description: Whether the station is a router.
      type: bool
      returned: always
    extern_learn:
      description: Whether the row is that of a control plane.
      type: bool
      returned: always
    managed:
      description: Whether the kernel keeps the neighbour resolved.
      type: bool
      returned: always
    offload:
      description: Whether hardware has the row.
      type: bool
      returned: always
    owned:
      description: Whether M(vtep.fabric.neighbor) takes the row for its own, and would purge it.
      type: bool
      returned: always
    protocol:
      description: The number of the program that wrote the row (RTPROT_* of linux/rtnetlink.h), 0 when it did not say.
      type: int
      returned: always
    confirmed:
      description: Seconds since the station was last known to be there.
      type: int
      returned: when the kernel tells
    used:
      description: Seconds since the row was used.
      type: int
      returned: when the kernel tells
    updated:
      description: Seconds since the row was changed.
      type: int
      returned: when the kernel tells
    probes:
      description: How often the kernel asked for the station since it last answered.
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
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.neighbor import INFO_ARGUMENTS, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    module = AnsibleModule(argument_spec=INFO_ARGUMENTS, supports_check_mode=True)
    query(module, read_info)


if __name__ == "__main__":
    main()
