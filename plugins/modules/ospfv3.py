#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ospfv3
version_added: "0.1.0"
short_description: Set up OSPFv3 in FRR
description:
  - Makes this host an OSPFv3 router (RFC 5340) by FRR's C(ospf6d), so that VTEPs reach one another's IPv6 loopbacks.
  - Structured input becomes configuration lines of C(router ospf6) and C(interface). Lines are compared in FRR's own form,
    given to FRR in one C(vtysh) process, read back, and saved.
  - Other people's configuration in the same FRR is left alone.
options:
  interfaces:
    description: Settings of interfaces. Interfaces that are not named are left as they are.
    type: list
    elements: dict
    suboptions:
      name:
        description: The device's name, at most once. It need not exist yet.
        type: str
        required: true
      area:
        description:
          - The area that the interface joins, V(0) to V(4294967295) or in dotted form, the command C(ipv6 ospf6 area).
          - Moving an interface to another area ends its adjacencies.
        type: str
      network:
        description:
          - The network type, the command C(ipv6 ospf6 network) (RFC 5340, section 2.10). FRR's default for Ethernet is V(broadcast).
          - V(point-to-point) saves the election of a designated router, but needs a link with exactly two routers. On a
            segment with more it never converges. V(point-to-multipoint) saves the election too and takes any number of
            routers, each adjacent to each. All routers of a link must agree.
          - FRR 8.4 does not know V(point-to-multipoint) and says so.
        type: str
        choices: [broadcast, point-to-point, point-to-multipoint]
      cost:
        description:
          - The cost of sending over the interface, V(1) to V(65535), the command C(ipv6 ospf6 cost). FRR's default is
            100000 Mbit/s divided by the interface's speed, V(10) where the speed is unknown.
        type: int
      hello_interval:
        description:
          - Seconds between two hellos, V(1) to V(65535), the command C(ipv6 ospf6 hello-interval). FRR's default is V(10)
            (RFC 5340, appendix C.3). All routers of a link must agree.
        type: int
      dead_interval:
        description:
          - Seconds without a hello after which a neighbour is dead, V(1) to V(65535), longer than the hello interval, the
            command C(ipv6 ospf6 dead-interval). FRR's default is V(40), also when the hello interval is another one. All
            routers of a link must agree.
        type: int
      retransmit_interval:
        description:
          - Seconds until an unacknowledged packet is sent again, V(1) to V(65535), the command
            C(ipv6 ospf6 retransmit-interval). FRR's default is V(5). V(1) halves the time in which a small segment converges.
        type: int
      priority:
        description:
          - Priority in the election of the designated router, V(0) to V(255), the command C(ipv6 ospf6 priority). FRR's
            default is V(1). A router with V(0) is never elected.
        type: int
      passive:
        description:
          - Tell the interface's prefixes, but send and accept nothing on it, the command C(ipv6 ospf6 passive). Right for
            loopbacks. FRR's default is V(false).
        type: bool
      mtu_ignore:
        description:
          - Form an adjacency also when the neighbour's MTU differs, the command C(ipv6 ospf6 mtu-ignore). FRR's default is
            V(false). An underlay whose MTUs differ loses large VXLAN packets, so better mend the MTU.
        type: bool
      bfd:
        description:
          - V(true) watches the neighbours with BFD (RFC 5882), the command C(ipv6 ospf6 bfd). Any other word than V(true)
            and V(false) is the name of a BFD profile in FRR, whose timers it then takes. FRR's default is V(false).
        type: str
      authentication:
        description:
          - The authentication trailer of RFC 7166, the command C(ipv6 ospf6 authentication). It proves who sent a packet and
            hides nothing.
          - The trailers of FRR 8.4 and of FRR 10 do not understand one another.
        type: dict
        suboptions:
          key_id:
            description: The key's number, V(1) to V(65535). Both sides must agree.
            type: int
            required: true
          algorithm:
            description:
              - Debian builds FRR without OpenSSL, and then only V(md5) and V(hmac-sha-256) are there. FRR refuses the others.
            type: str
            choices: [md5, hmac-sha-1, hmac-sha-256, hmac-sha-384, hmac-sha-512]
            default: hmac-sha-256
          key:
            description:
              - The secret, of printable ASCII characters without blanks and question marks. At most as many as the hash has
                octets, which is 16, 20, 32, 48 or 64, in the order of the algorithms.
              - O(authentication_key) unless it is given.
            type: str
  redistribute:
    description: Routes of other sources to tell as external ones, the command C(redistribute).
    type: list
    elements: dict
    suboptions:
      protocol:
        description: The source, at most once. V(connected) are the host's own prefixes.
        type: str
        required: true
        choices: [babel, bgp, connected, isis, kernel, nhrp, openfabric, ripng, static]
      metric:
        description: Metric of the external routes, V(0) to V(16777214). FRR's default is V(20).
        type: int
      metric_type:
        description:
          - V(1) adds the cost inside the network to the metric, V(2) compares the metric alone first (RFC 2328, section 16.4).
        type: int
        choices: [1, 2]
        default: 2
      route_map:
        description: A route map in FRR that selects and changes the routes. The module does not make it.
        type: str
extends_documentation_fragment: vtep.fabric.ospf
seealso:
  - module: vtep.fabric.ospfv3_info
  - module: vtep.fabric.ospfv2
"""

EXAMPLES = r"""
- name: Route the loopback over eth0
  vtep.fabric.ospfv3:
    router_id: 203.0.113.1
    interfaces:
      - {name: lo, area: 0, passive: true}
      - {name: eth0, area: 0, hello_interval: 1, dead_interval: 3}
    timers:
      lsa_min_arrival: 0

- name: Two areas, with authentication and BFD on one link
  vtep.fabric.ospfv3:
    router_id: 203.0.113.1
    areas:
      - {area: 0}
      - {area: 1, type: stub}
    interfaces:
      - name: eth0
        area: 0
        network: point-to-point
        bfd: true
        authentication: {key_id: 1, key: "{{ underlay_key }}"}
      - {name: eth1, area: 1}
    redistribute:
      - {protocol: static, metric: 10}

- name: Remove what the module has set
  vtep.fabric.ospfv3:
    state: absent
"""

RETURN = r"""
added:
  description: Configuration lines that were added to what runs, or in check mode would be. Keys are hidden.
  returned: success
  type: list
  elements: str
  sample: ["router ospf6", "interface eth0: ipv6 ospf6 area 0.0.0.0"]
removed:
  description: Configuration lines that were removed from what runs.
  returned: success
  type: list
  elements: str
  sample: ["interface eth0: ipv6 ospf6 cost 20"]
saved:
  description: The file that was changed so that the lines survive a reboot. Empty where no file was changed.
  returned: success
  type: str
  sample: /etc/frr/frr.conf
daemons_started:
  description: FRR's daemons that were started.
  returned: success
  type: list
  elements: str
  sample: [ospf6d]
daemons_stopped:
  description: FRR's daemons that were switched off, since the module had switched them on and nothing uses them.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.ospf import V3, Ospf, spec
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=spec(V3), supports_check_mode=True), Ospf(V3))


if __name__ == "__main__":
    main()
