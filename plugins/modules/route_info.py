#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route_info
version_added: "0.1.0"
short_description: Tell what routes there are
description:
  - Returns the routes of both families in all routing tables as data, with their VXLAN encapsulation.
  - What this version does not know of a route is passed on as it came.
options:
  table:
    description: Only routes of these routing tables, by number or name.
    type: list
    elements: str
    default: []
  dev:
    description: Only routes over one of these devices.
    type: list
    elements: str
    default: []
  owned:
    description: Only routes that M(vtep.fabric.route) takes for its own, by the protocol number 118.
    type: bool
    default: false
extends_documentation_fragment: vtep.fabric.info_attributes
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Which routes lead into the tunnel?
  vtep.fabric.route_info:
    dev: [vxlan100]
  register: known

- name: The VTEPs behind which they lead
  ansible.builtin.debug:
    msg: "{{ known.routes | selectattr('encap', 'defined') | map(attribute='encap.dst') | unique }}"
"""

RETURN = r"""
routes:
  description: The routes, IPv4 first, in the kernel's order.
  returned: success
  type: list
  elements: dict
  contains:
    dst:
      description: The prefix.
      type: str
      returned: always
    family:
      description: V(4) or V(6).
      type: int
      returned: always
    type:
      description: V(unicast), V(unreachable), V(blackhole), V(prohibit), V(local), V(broadcast), V(multicast), V(anycast) or V(throw).
      type: str
      returned: always
    table:
      description: The number of the routing table; V(254) is C(main).
      type: int
      returned: always
    metric:
      description: The metric.
      type: int
      returned: always
    tos:
      description: The DS field of packets that take the route; V(0) is any.
      type: int
      returned: for IPv4
    scope:
      description: The scope in the kernel's number (RT_SCOPE_* of linux/rtnetlink.h).
      type: int
      returned: for IPv4
    protocol:
      description: Who made the route, in the kernel's number (RTPROT_* of linux/rtnetlink.h).
      type: int
      returned: always
    protocol_name:
      description: The same in words, where it has a name.
      type: str
      returned: always
    owned:
      description: Whether M(vtep.fabric.route) takes the route for its own, and would purge it.
      type: bool
      returned: always
    dev:
      description: The device.
      type: str
      returned: when there is exactly one
    via:
      description: The router's address.
      type: str
      returned: when there is exactly one
    onlink:
      description: Whether RV(routes[].via) is taken to be on the link.
      type: bool
      returned: when there is exactly one way
    encap:
      description: What packets are put into.
      type: dict
      returned: when there is exactly one way, with encapsulation in IP or IPv6
      contains:
        type:
          description: V(ip) or V(ip6).
          type: str
          returned: always
        id:
          description: The VNI.
          type: int
          returned: always
        src:
          description: The outer source address.
          type: str
          returned: when it is given
        dst:
          description: The VTEP's address.
          type: str
          returned: when it is given
        ttl:
          description: TTL or hop limit of the outer packet; V(0) is the host's usual one.
          type: int
          returned: always
        tos:
          description: TOS or traffic class of the outer packet.
          type: int
          returned: always
        flags:
          description: Some of V(csum), V(key) and V(seq).
          type: list
          elements: str
          returned: always
    nexthops:
      description: The ways, each with C(dev), C(onlink), C(weight), and perhaps C(via) and C(encap).
      type: list
      elements: dict
      returned: when there are several
    nhid:
      description: The nexthop or nexthop group.
      type: int
      returned: when the route has one; C(dev) and C(via) are then not told
    src:
      description: The preferred source address.
      type: str
      returned: when the route has one
    mtu:
      description: The MTU of the path in bytes.
      type: int
      returned: when the route has one
    other:
      description: What else the kernel tells, with the kernel's numbers and in hexadecimal.
      type: str
      returned: when there is any
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.route import INFO_ARGUMENTS, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    module = AnsibleModule(argument_spec=INFO_ARGUMENTS, supports_check_mode=True)
    query(module, read_info)


if __name__ == "__main__":
    main()
