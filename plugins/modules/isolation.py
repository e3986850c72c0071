#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: isolation
version_added: "0.1.0"
short_description: Keep a host's own IP stack away from overlay devices
description:
  - A VTEP carries its endpoints' frames but should not be a host among them. This module makes nftables drop every IPv4,
    IPv6 and ARP packet that would reach the host itself from the named devices, every packet that the host would route
    in from or out to one of them, and every IP packet and ARP request that the host itself would send there.
  - Frames that a bridge forwards pass untouched, also with C(br_netfilter). So do the answers of the VXLAN driver's
    ND and ARP proxy and of a bridge port's C(neigh_suppress), since these do not come from the host's IP stack. VXLAN
    packets on the underlay are not concerned, as long as no underlay device is named.
  - Two whole tables belong to the module, C(inet vtep_fabric) and C(arp vtep_fabric). Both are replaced in one
    transaction when anything in them differs from what is wanted. No other table is read or changed.
  - What is there is read from the kernel each time, so a run after C(nft flush ruleset) puts the tables back. Keeping
    them over a reboot, or over a restart of C(nftables.service), which flushes everything, is not this module's business.
options:
  interfaces:
    description:
      - Names of all devices to isolate, such as bridges, access ports and VXLAN devices. One run names them all, and
        devices that an earlier run named and this one does not are no longer isolated.
      - A device need not exist. Packets are matched by name, so the rules hold from the moment it appears.
      - A name has 1 to 15 of the letters, digits and C(_ . @ + -). V(lo) is refused.
      - This or O(routed) is required with O(state=present). Where both name no device the tables are removed.
    type: list
    elements: str
  routed:
    description:
      - Groups of devices that the host routes for, as it does for the variant V(unicast-routing). The devices of a group
        may forward packets to one another and nowhere else, whatever the host's routing table says.
      - They are isolated like those of O(interfaces) otherwise, but for what routing needs. The host asks for and answers
        addresses there by ARP and by neighbour solicitations and advertisements, and sends the ICMP and ICMPv6 errors of
        a router (destination unreachable, packet too big, time exceeded, parameter problem).
      - Groups share no device, and no device is in O(interfaces) as well. A group has 256 devices at most.
      - Names are as for O(interfaces).
    type: list
    elements: list
  state:
    description: Whether the tables exist. With V(absent) they are removed, and names are only checked.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - nft (0.9.9 or newer, built with JSON, as Debian's package is)
  - a kernel with CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NF_TABLES_ARP
attributes:
  check_mode:
    support: full
    description: >-
      Predicts what a run does. Where nft is not installed yet the tables are taken as absent, and a warning says so.
  diff_mode:
    support: full
    description: Shows what differs, at most 200 lines of each side.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - All settings are changed live, without an instant in which no rules hold.
  - Devices that the host routes for, such as those of the variant V(unicast-routing), go into O(routed).
  - A device in a VRF hands its packets to the host in the VRF's name. Name the VRF device too.
seealso:
  - module: vtep.fabric.isolation_info
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Isolate the devices of VNI 100
  vtep.fabric.isolation:
    interfaces: [br100, vxlan100, eth1]

- name: Route between the endpoints of VNI 100, and only between them
  vtep.fabric.isolation:
    routed:
      - [vxlan100, eth1, eth2]

- name: Let the host take part again
  vtep.fabric.isolation:
    state: absent
"""

RETURN = r"""
count:
  description: Number of devices that are isolated after the run, or in check mode would be.
  returned: success
  type: int
  sample: 3
routed:
  description: How many of these are in groups.
  returned: success
  type: int
  sample: 0
added:
  description: Number of devices that were not isolated before.
  returned: success
  type: int
  sample: 1
removed:
  description: Number of devices that no longer are.
  returned: success
  type: int
  sample: 0
repaired:
  description: Whether tables were found that something else had changed, or an older release had made.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.isolation import REQUIRED_IF, SPEC, Isolation
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=SPEC, required_if=REQUIRED_IF, supports_check_mode=True), Isolation())


if __name__ == "__main__":
    main()
