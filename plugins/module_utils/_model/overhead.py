# SPDX-License-Identifier: GPL-3.0-or-later
"""What each layer adds to a packet of the overlay, to the byte: the MTU that the underlay needs, and the one that it leaves.

Lengths and MTUs are in bytes. An MTU is what `ip link` shows: the longest packet after the Ethernet header. Frames on the wire
are counted with their Ethernet header and VLAN tags, and without preamble and FCS, as a capture shows them. IPv4 headers have no
options and IPv6 headers no extensions, as Linux sends them.

ESP fills up what it encrypts, so what it adds depends on the length. It adds the same again for each multiple of its block, so
that nothing here guesses: `layers` is the only place that knows lengths, and everything else is a sum of what it returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .encryption import Encryption

IP = {4: 20, 6: 40}
IPV6_MIN = 1280  # RFC 8200, section 5: what every link of IPv6 carries at least
IPV4_MIN = 68  # RFC 791, section 3.2
MAX = 65535  # what an IPv4 packet can be (RFC 791, section 3.1), and the most that Linux sets on most devices
VXLAN = {family: header + 8 + 8 + 14 for family, header in IP.items()}  # 50 and 70 (RFC 7348, section 5)
MACSEC = 32  # what Linux keeps below a MACsec device's MTU whether it sends SCIs or not (drivers/net/macsec.c)
MOST_TAGS = 2  # IEEE 802.1ad: a customer's and a service tag
BLOCK = 16  # the largest block of any cipher here

PACKET, WIRE, RESERVE = "packet", "wire", "reserve"


@dataclass(frozen=True)
class Stack:
    """What lies between an endpoint's packet and the wire."""

    family: int  # of the underlay: 4 or 6
    encryption: Encryption = field(default_factory=Encryption)
    vlan_tags: int = 0  # of frames on the underlay
    vlan_tags_counted: bool = False  # whether the MTU of the link has to hold them
    inner_vlan_tags: int = 0  # of frames within the VXLAN


@dataclass(frozen=True)
class Layer:
    """One part of a frame. counts: `packet` in the MTU and on the wire, `wire` there only, `reserve` in the MTU only."""

    part: str
    bytes: int
    source: str
    counts: str = PACKET


def layers(stack, length):
    """The Layers of a frame that carries an inner IP packet of a length, from the inside out."""
    how = stack.encryption
    found = [Layer("inner IP packet", length, "the overlay's")]
    found += [Layer("inner VLAN tag", 4, "IEEE 802.1Q, 9.6")] * stack.inner_vlan_tags
    if how.macsec == "inside":
        found += macsec(how)
    found += [
        Layer("inner Ethernet header", 14, "RFC 7348, section 5"),
        Layer("VXLAN header", 8, "RFC 7348, section 5"),
        Layer("UDP header", 8, "RFC 768"),
    ]
    header = Layer(
        f"IPv{stack.family} header", IP[stack.family], {4: "RFC 791, 3.1", 6: "RFC 8200, section 3"}[stack.family]
    )
    if how.esp:
        found += esp(how, header, sum(layer.bytes for layer in found))
    found.append(header)
    if how.macsec == "underlay":
        found += macsec(how)
    tags = PACKET if stack.vlan_tags_counted else WIRE
    found += [Layer("VLAN tag", 4, "IEEE 802.1Q, 9.6", tags)] * stack.vlan_tags
    return [*found, Layer("Ethernet header", 14, "IEEE 802.3", WIRE)]


def macsec(how):
    """SecTAG: EtherType 2, TCI and AN 1, SL 1, PN 4, and SCI 8 where it is sent (IEEE 802.1AE, 9.3)."""
    sectag = "MACsec SecTAG with SCI" if how.macsec_send_sci else "MACsec SecTAG without SCI"
    found = [
        Layer(sectag, 16 if how.macsec_send_sci else 8, "IEEE 802.1AE, 9.3"),
        Layer("MACsec ICV", 16, "IEEE 802.1AE, 9.11 and 14.5"),
    ]
    if not how.macsec_send_sci:
        found.append(Layer("room for an SCI, which Linux always keeps", 8, "drivers/net/macsec.c", RESERVE))
    return found


def esp(how, header, datagram):
    """What ESP adds between the IP header and a UDP datagram of a length (RFC 4303, section 2)."""
    cipher = how.esp
    found = []
    if how.ipsec_esp_mode == "tunnel":
        found.append(Layer(f"{header.part} within the tunnel", header.bytes, f"RFC 4303, 3.1.2; {header.source}"))
        datagram += header.bytes
    found += [
        Layer("ESP padding", -(datagram + 2) % cipher.block, f"RFC 4303, 2.4: to a multiple of {cipher.block}"),
        Layer("ESP pad length and next header", 2, "RFC 4303, 2.5 and 2.6"),
        Layer("ESP IV", cipher.iv, cipher.source),
        Layer("ESP SPI and sequence number", 8, "RFC 4303, 2.1 and 2.2"),
        Layer("ESP ICV", cipher.icv, cipher.source),
    ]
    if how.ipsec_nat_t:
        found.append(Layer("UDP header of NAT traversal", 8, "RFC 3948, 2.1"))
    return found


def needed(stack, length):
    """The MTU of the underlay's link that a packet of the overlay needs: the outer packet's length, and what Linux keeps free."""
    return sum(layer.bytes for layer in layers(stack, length) if layer.counts != WIRE)


def on_wire(stack, length):
    """How long the frame is that carries an inner IP packet of a length."""
    return sum(layer.bytes for layer in layers(stack, length) if layer.counts != RESERVE)


def largest(stack, mtu):
    """The longest packet of the overlay that fits a link's MTU: the next longer one does not. Below 0 where none fits."""
    most = mtu - min(needed(stack, length) - length for length in range(BLOCK))
    return next(length for length in range(most, most - BLOCK, -1) if needed(stack, length) <= mtu)


def least(stack):
    """The smallest MTU that a link of the underlay may have, whatever the overlay needs."""
    below = MACSEC if stack.encryption.macsec == "underlay" else 0
    below += 4 * stack.vlan_tags if stack.vlan_tags_counted else 0
    return below + {4: IPV4_MIN, 6: IPV6_MIN}[stack.family]


def device_mtu(stack, mtu):
    """The MTU of a segment's VXLAN device. With MACsec above it, it carries that as well, and tags below that (macsec_encrypt,
    drivers/net/macsec.c, which drops what is longer)."""
    return mtu + (MACSEC + 4 * stack.inner_vlan_tags if stack.encryption.macsec == "inside" else 0)
