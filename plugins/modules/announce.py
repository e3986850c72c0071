#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: announce
version_added: "0.1.0"
short_description: Tell endpoints at which MAC addresses they find one another
description:
  - Sends gratuitous ARP for IPv4 addresses and unsolicited neighbour advertisements for IPv6 addresses out of access
    ports, one frame for each address and port, in the place of the stations that hold the addresses.
  - It is for the moment in which stations are found at other MAC addresses than before, such as after a fabric went from
    bridging to routing or back. Without it endpoints go on sending to the old ones, until their neighbour entries time out.
  - >-
    For IPv4 it is the ARP request in which sender and target are the announced address (RFC 5227, section 3). For IPv6 it
    is the neighbour advertisement to C(ff02::1) with the Override flag and the option target link-layer address
    (RFC 4861, section 7.2.6); its Router flag is not set. The Ethernet source is the announced MAC address.
  - Frames are sent once and nobody confirms them. All input is checked before the first one, and so is that each port exists
    and is up.
  - Needs nothing on the host but Python, and a kernel with C(CONFIG_PACKET).
options:
  segments:
    description:
      - What to announce where, segment by segment.
    type: list
    elements: dict
    required: true
    suboptions:
      ports:
        description:
          - The Ethernet devices to send out of. They need not exist in check mode.
          - A device stands in one segment only, and once.
        type: list
        elements: str
        required: true
      table:
        description:
          - The addresses as text, one a line, each announced on each of the ports.
          - The words are an IP address, then C(lladdr) and the MAC address at which the station is found, and C(port) and the
            one of O(segments[].ports) that the station itself is on, where it is not announced. Both may be left out.
          - Without C(lladdr) the station is found at the MAC address of the port that the frame goes out of, since the host
            routes and answers by proxy.
          - Blank lines and lines that begin with C(#) are skipped.
        type: str
        required: true
attributes:
  check_mode:
    support: full
    description: Sends nothing, and tells how many frames a run sends.
  diff_mode:
    support: N/A
    description: Frames are no state, so there is nothing to compare.
  idempotent:
    support: N/A
    description: Each run sends its frames. It is never reported as a change.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: The endpoints are now joined by a bridge, and find the others at their own MAC addresses
  vtep.fabric.announce:
    segments:
      - ports: [eth1, eth2]
        table: |
          192.0.2.10 lladdr 50:54:33:00:00:01 port eth1
          2001:db8:ff::10 lladdr 50:54:33:00:00:01 port eth1
          192.0.2.13 lladdr 50:54:33:00:00:04
          2001:db8:ff::13 lladdr 50:54:33:00:00:04

- name: The host now routes and answers for all of them
  vtep.fabric.announce:
    segments:
      - ports: [eth1]
        table: |
          192.0.2.10 port eth1
          192.0.2.13
"""

RETURN = r"""
frames:
  description: How many frames were sent, or in check mode would be.
  returned: success
  type: int
  sample: 6
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.announce import ARGUMENTS, Announce
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), Announce())


if __name__ == "__main__":
    main()
