# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mtu_plan
version_added: "0.1.0"
short_description: The overlay's MTU out of the underlay's, or the other way round
description:
  - Adds up what VXLAN, VLAN tags, MACsec and ESP make of a packet of the overlay, to the byte, and tells each part with where its
    length comes from.
  - MTUs are in bytes and what C(ip link) shows, the longest packet after the Ethernet header. The MTU of the overlay is that of
    the endpoints.
  - It reckons what Linux would do, also where the collection does not set that up. Tunnel mode goes with C(ipsec_mode=static) only,
    NAT traversal not with it, MACsec inside has SCIs, and MKA is on the underlay, with C(gcm-aes-128) and SCIs; C(site.yml)
    refuses the rest.
  - The filter fails and names every fault at once when a word is unknown or not one of the mode's, and when an MTU is too small or
    too large. An IPv6 link carries 1280 at least (RFC 8200, section 5), and Linux takes IPv6 off a smaller one.
positional: _input, known
options:
  _input:
    description: The MTU that is known, 68 to 65535.
    type: int
    required: true
  known:
    description:
      - Whose MTU it is. V(underlay) asks for the largest of the overlay that fits, V(overlay) for the least that the underlay needs.
    type: str
    required: true
    choices: [underlay, overlay]
  family:
    description: The IP version of the underlay.
    type: int
    choices: [4, 6]
    default: 6
  encryption:
    description:
      - How the fabric encrypts. A mode, V(none), V(macsec), V(macsec-mka), V(ipsec) or V(ipsec-opportunistic), or a mapping with the
        words of C(fabric_encryption), of which C(mode), C(macsec_mode), C(macsec_send_sci), C(ipsec_cipher), C(ipsec_esp_mode)
        and C(ipsec_nat_t) matter here. Words that the mode does not read are a fault.
      - MACsec of mode V(macsec-mka) is on the underlay's links, and C(macsec_mode) may be left out then.
    type: raw
    default: none
  vlan_tags:
    description: VLAN tags of frames on the underlay, 0 to 2.
    type: int
    default: 0
  vlan_tags_counted:
    description:
      - Whether the underlay's MTU has to hold these tags. On Linux it has not, unless the VLAN device is on top of a MACsec
        device. Ask for the switches' manuals.
    type: bool
    default: false
  inner_vlan_tags:
    description: VLAN tags of frames within the VXLAN, 0 to 2, where endpoints tag themselves.
    type: int
    default: 0
  carries_ipv6:
    description: Whether endpoints have IPv6, so that the overlay's MTU must be 1280 at least. Otherwise 68 will do.
    type: bool
    default: true
seealso:
  - plugin: vtep.fabric.validate
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: How large may endpoints' packets be on an underlay of jumbo frames?
  ansible.builtin.debug:
    msg: "{{ (9000 | vtep.fabric.mtu_plan('underlay', family=6)).overlay_mtu }}"   # 8930

- name: What does an overlay of 1500 need over IPv4 and ESP?
  ansible.builtin.debug:
    msg: "{{ (1500 | vtep.fabric.mtu_plan('overlay', family=4, encryption='ipsec')).lines }}"

# bytes    MTU   wire
#  1500   1500   1500  inner IP packet (the overlay's)
#    14   1514   1514  inner Ethernet header (RFC 7348, section 5)
#     8   1522   1522  VXLAN header (RFC 7348, section 5)
#     8   1530   1530  UDP header (RFC 768)
#     0   1530   1530  ESP padding (RFC 4303, 2.4: to a multiple of 4)
#     2   1532   1532  ESP pad length and next header (RFC 4303, 2.5 and 2.6)
#     8   1540   1540  ESP IV (RFC 4106)
#     8   1548   1548  ESP SPI and sequence number (RFC 4303, 2.1 and 2.2)
#    16   1564   1564  ESP ICV (RFC 4106)
#    20   1584   1584  IPv4 header (RFC 791, 3.1)
#    14   1584   1598  Ethernet header (IEEE 802.3)
# the underlay's MTU is 1584; the longest frame on the wire is 1598 without FCS

- name: With AES-CBC and SHA-256 behind NAT, on a tagged underlay
  ansible.builtin.debug:
    msg: "{{ 1600 | vtep.fabric.mtu_plan('underlay', family=4, vlan_tags=1, encryption=how) }}"
  vars:
    how: {mode: ipsec, ipsec_cipher: aes128-sha256, ipsec_nat_t: true}
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    overlay_mtu:
      description: The MTU of the endpoints, and the C(mtu) of the segment.
      type: int
      sample: 1500
    underlay_mtu:
      description: The MTU of the underlay's links. The one that was given, or the least that will do.
      type: int
      sample: 1570
    vxlan_mtu:
      description: The MTU of the VXLAN device. With MACsec above it, it is larger than the overlay's by what Linux keeps for that.
      type: int
      sample: 1500
    overhead:
      description: What the underlay's MTU must have more for a packet of the overlay's MTU.
      type: int
      sample: 70
    spare:
      description: What is left of the underlay's MTU. ESP fills up to whole blocks, so that a few bytes may be of no use.
      type: int
      sample: 0
    wire:
      description: The longest frame on the wire, with Ethernet header and VLAN tags, without preamble and FCS.
      type: int
      sample: 1584
    layers:
      description: Each part of that frame, from the inside out.
      type: list
      elements: dict
      contains:
        part:
          description: What it is.
          type: str
        bytes:
          description: Its length.
          type: int
        mtu:
          description: The sum so far of what the underlay's MTU has to hold.
          type: int
        wire:
          description: The sum so far of what is on the wire.
          type: int
        source:
          description: Where its length comes from.
          type: str
    lines:
      description: The same as lines of text.
      type: list
      elements: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import mtu as planner
from ansible_collections.vtep.fabric.plugins.plugin_utils import inventory


def mtu_plan(mtu, /, *known, **words):
    if "known" in words:
        known = (*known, words.pop("known"))
    wrong = [
        f"mtu_plan: {word}: is not a known word; known are {', '.join(planner.WORDS)}"
        for word in sorted(words.keys() - planner.WORDS)
    ]
    if len(known) > 1:
        wrong.append(
            f"mtu_plan: known: has {len(known)} values; give underlay or overlay, and all else with its name, as in family=4"
        )
    found, faults = planner.plan(
        inventory.plain(mtu),
        inventory.plain(known[0]) if known else None,
        {word: inventory.plain(words.get(word)) for word in planner.WORDS},
    )
    if wrong or faults:
        raise AnsibleFilterError("; ".join(wrong + faults))
    return found


class FilterModule:
    def filters(self):
        return {"mtu_plan": mtu_plan}
