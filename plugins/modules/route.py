#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route
version_added: "0.1.0"
short_description: Manage routes, with VXLAN encapsulation, in bulk
description:
  - Writes and removes routes of both families in any routing table. A route may put its packets into VXLAN
    (C(encap ip), C(encap ip6)) over a VXLAN device made with C(external), which so is an IP tunnel to many VTEPs.
  - One call serves any number of routes; 100,000 take a few seconds. Do not loop over routes.
  - Every route is checked before the first change, and every route that was written is read back.
  - Routes that the module writes carry the routing protocol number 118 (C(rtm_protocol) of linux/rtnetlink.h), which
    C(ip route) shows as C(proto 118). It tells the module's own routes from those of others. Routes of another protocol
    (the kernel's, C(static), C(boot), DHCP's, a routing daemon's) are never replaced or removed.
    Where one stands in the place of a given route, the module fails before the first change and names it.
  - A route's place is its prefix in one routing table with one metric, and for IPv4 one C(tos). A route that is
    there and leads elsewhere is replaced in one step, so that no packet finds a gap.
  - Needs nothing on the host but Python. The kernel needs C(CONFIG_LWTUNNEL) for encapsulation, and
    C(CONFIG_IP_MULTIPLE_TABLES) and C(CONFIG_IPV6_MULTIPLE_TABLES) for tables besides V(main), V(local) and V(default).
options:
  entries:
    description:
      - The routes, for some thousands at most. Larger tables are much quicker as O(table) or O(src), since Ansible
        itself takes long for 100,000 dictionaries.
      - Exactly one of O(entries), O(table) and O(src) is given.
    type: list
    elements: dict
    suboptions:
      dst:
        description:
          - The prefix, without host bits. An address without a length is a host route (/32, /128). The default routes are
            V(0.0.0.0/0) and V(::/0); the word C(default) is refused, since it names no family.
        type: str
        required: true
      type:
        description:
          - V(unreachable), V(prohibit) and V(blackhole) routes lead nowhere. The first two answer with an ICMP error
            (host unreachable or no route; administratively prohibited), the last one drops silently.
        type: str
        choices: [unicast, unreachable, blackhole, prohibit]
        default: unicast
      table:
        description:
          - The routing table, 1 to 4294967295, or a name from the host's C(rt_tables). V(main) (254) when left out.
        type: str
      metric:
        description:
          - The route with the least metric is taken, 0 to 4294967295. Belongs to the route's place. 0 when left out, and for
            IPv6 1024, which the kernel also makes of 0 (IP6_RT_PRIO_USER).
        type: int
      tos:
        description:
          - Only packets with this DS field, 0 to 252 in steps of 4. IPv4 only. Belongs to the route's place.
        type: int
      dev:
        description: The device that packets leave by. It has to be up. Unicast routes need it, O(entries[].nexthops) or O(entries[].nhid).
        type: str
      via:
        description: The router's address, of the route's own family.
        type: str
      onlink:
        description: O(entries[].via) is on the link, even if no route says so.
        type: bool
        default: false
      encap:
        description:
          - What packets are put into. O(entries[].dev) is then a VXLAN device made with C(external). The family of the outer
            packet is independent of the route's.
        type: dict
        suboptions: &encap
          type:
            description: The outer header, V(ip) for IPv4 and V(ip6) for IPv6.
            type: str
            choices: [ip, ip6]
            required: true
          id:
            description: The VNI, 0 to 16777215.
            type: int
            required: true
          dst:
            description: The address of the VTEP behind which the prefix is.
            type: str
            required: true
          src:
            description: The outer source address. Left out, the kernel picks one for each packet.
            type: str
          ttl:
            description: TTL or hop limit of the outer packet, 0 to 255. V(0) means what the host's routes say, most often 64.
            type: int
            default: 0
          tos:
            description: TOS or traffic class of the outer packet, 0 to 255.
            type: int
            default: 0
          flags:
            description:
              - V(csum) puts a UDP checksum into the outer packet. Over IPv6 packets without it are only taken by VXLAN
                devices with C(udp6zerocsumrx).
              - V(key) and V(seq) mean something to GRE only.
            type: list
            elements: str
            choices: [csum, key, seq]
            default: []
      nexthops:
        description:
          - Several ways, among which the kernel distributes flows. IPv6 wants O(entries[].nexthops[].via) in each of them.
        type: list
        elements: dict
        suboptions:
          dev:
            description: The device.
            type: str
            required: true
          via:
            description: The router's address.
            type: str
          onlink:
            description: O(entries[].nexthops[].via) is on the link, even if no route says so.
            type: bool
            default: false
          weight:
            description: The share of the flows, 1 to 256.
            type: int
            default: 1
          encap:
            description: As O(entries[].encap).
            type: dict
            suboptions: *encap
      nhid:
        description: A nexthop or nexthop group (C(ip nexthop)) in place of O(entries[].dev). It has to exist.
        type: int
      src:
        description: The source address that the host prefers for its own packets; one of the host's addresses.
        type: str
      mtu:
        description: The MTU of the path in bytes, 68 to 65520, and for IPv6 at least 1280.
        type: int
  table:
    description:
      - The routes as text, one a line, in the words of C(ip route add).
      - The words are the prefix, before it perhaps the type, then C(encap ip) or C(encap ip6) with C(id), C(src), C(dst),
        C(ttl) or C(hoplimit), C(tos) or C(tc), C(csum), C(key), C(seq); C(via), C(dev), C(onlink), C(nhid), C(table),
        C(metric), C(tos), C(src), C(mtu); and at the end C(nexthop) with C(encap), C(via), C(dev), C(onlink) and
        C(weight), once for each. They mean what they mean in O(entries). As with C(ip), the words of C(encap) end at the
        first word that is none of them, so C(src) after C(dev) is the route's.
      - Blank lines and lines that begin with C(#) are skipped.
      - This option holds the text, as in M(vtep.fabric.fdb). A routing table is named in the text.
    type: str
  src:
    description: A file on the host that holds such a text.
    type: path
  state:
    description:
      - With V(absent) the module's own routes in the places of the given ones are removed, wherever they lead. What leads
        the way may be left out.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - V(owned) removes all routes with protocol 118 that are not given, of both families and in all routing tables.
    type: str
    choices: [none, owned]
    default: none
  anew:
    description:
      - Devices whose routes are taken as gone.
      - In check mode, name here the devices that an earlier task would make anew or remove, since their routes go with them.
        A run has no need of it.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: >-
      Predicts exactly what a run does. Devices that do not exist yet are named in a warning; a run refuses to write
      routes over them.
  diff_mode:
    support: full
    description: Shows the routes that differ, a line each, up to 1000 on either side and the number of the others.
  idempotent:
    support: full
    description: A second run changes nothing.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Endpoints behind other VTEPs, and one behind this one
  vtep.fabric.route:
    table: |
      2001:db8:ff::11/128 encap ip6 id 100 src 2001:db8:1::1 dst 2001:db8:2::1 ttl 5 dev vxlan100
      192.0.2.11/32 encap ip6 id 100 src 2001:db8:1::1 dst 2001:db8:2::1 ttl 5 dev vxlan100
      2001:db8:ff::10/128 dev eth1
    purge: owned

- name: A segment's own routing table ends in a wall
  vtep.fabric.route:
    table: |
      192.0.2.10/32 dev eth1 table 1000
      unreachable 0.0.0.0/0 table 1000 metric 4278198272
      unreachable ::/0 table 1000 metric 4278198272

- name: The same as data
  vtep.fabric.route:
    entries:
      - dst: 2001:db8:ff::11
        dev: vxlan100
        encap: {type: ip6, id: 100, dst: "2001:db8:2::1", ttl: 5, flags: [csum]}
      - dst: 198.51.100.0/24
        nexthops:
          - {via: 192.0.2.1, dev: eth0, weight: 2}
          - {via: 192.0.2.2, dev: eth0}

- name: A large table that lies on the host
  vtep.fabric.route:
    src: /etc/vtep/routes
    purge: owned

- name: No routes of ours are left
  vtep.fabric.route:
    entries: []
    purge: owned
"""

RETURN = r"""
rows:
  description: How many routes were, or in check mode would be, touched.
  returned: success
  type: dict
  contains:
    added:
      description: Routes that were missing.
      type: int
      returned: success
    changed:
      description: Own routes that led elsewhere.
      type: int
      returned: success
    removed:
      description: Own routes that were removed.
      type: int
      returned: success
    unchanged:
      description: Given routes that were there.
      type: int
      returned: success
  sample: {added: 3, changed: 0, removed: 1, unchanged: 99997}
sample:
  description: Some of the routes that were touched, at most 10, in the words of C(ip route).
  returned: success
  type: list
  elements: str
  sample: ["added 192.0.2.10/32 dev eth1 table 1000"]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.route import ARGUMENTS, RouteResource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.table import FORMS


def main():
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[FORMS],
        required_one_of=[FORMS],
        supports_check_mode=True,
    )
    run(module, RouteResource(module._diff))


if __name__ == "__main__":
    main()
