# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcements: the frames that tell neighbours the MAC address of a station, and tables of what to announce."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from . import values
from .errors import InputError
from .table import Faults, address_of, chunks, cut, line_numbers, packed_address, packed_mac, words

# For IPv4 the request form of gratuitous ARP (RFC 5227, section 3, says why not the reply): from and about the address.
_ARP_TO = b"\xff" * 6
_ARP = bytes.fromhex("0806 0001 0800 06 04 0001")  # Ethernet type; Ethernet, IPv4, their lengths, request (RFC 826)
_NOBODY = bytes(6)  # the target's MAC, which the RFC has zero and receivers ignore

# For IPv6 an unsolicited neighbour advertisement to all nodes (RFC 4861, sections 4.4 and 7.2.6), from the address itself.
_ALL_NODES = bytes.fromhex("ff02 0000 0000 0000 0000 0000 0000 0001")
_NA_TO = bytes.fromhex("3333 0000 0001")  # RFC 2464, section 7
_IPV6 = bytes.fromhex("86dd 6000 0000 0020 3a ff")  # Ethernet type; version, payload of 32 bytes, ICMPv6, hop limit 255
_NA = bytes.fromhex("8800")  # type 136, code 0
_FLAGS = bytes.fromhex("2000 0000")  # Override, but neither Router nor Solicited
_OPTION = bytes.fromhex("0201")  # target link-layer address, 8 bytes long
# The checksum (RFC 4443, section 2.3) covers the pseudo header with all that is the same in each of them.
_SAME = sum(int.from_bytes(part, "big") for part in (_ALL_NODES, b"\x20", b"\x3a", _NA, _FLAGS, _OPTION))


def frame(address, mac):
    """The Ethernet frame that announces an address at a MAC address, both packed."""
    if len(address) == 4:
        return b"".join((_ARP_TO, mac, _ARP, mac, address, _NOBODY, address))
    # 16-bit words add up with end-around carry as whole numbers do modulo 65535; the address is source and target.
    total = _SAME + 2 * int.from_bytes(address, "big") + int.from_bytes(mac, "big")
    checksum = (-total % 0xFFFF).to_bytes(2, "big")
    return b"".join((_NA_TO, mac, _IPV6, address, _ALL_NODES, _NA, checksum, _FLAGS, address, _OPTION, mac))


@dataclass(frozen=True)
class Segment:
    """Ports, and what is announced on them: addresses, and beside each (MAC address or None, its own port or None)."""

    ports: tuple
    addresses: list
    ways: list

    def __len__(self):
        """How many frames they make."""
        return len(self.addresses) * len(self.ports) - sum(port is not None for mac, port in self.ways)

    def frames(self, port, own):
        """The frames for a port whose own MAC address is `own`."""
        for address, (mac, home) in zip(self.addresses, self.ways):
            if home != port:
                yield frame(address, mac or own)


def segments(listed):
    """The segments of option `segments`. Raises InputError with every fault."""
    faults = Faults()
    taken = {}
    made = []
    for number, given in enumerate(listed, 1):
        where = f"segments {number}"
        ports = _ports(given["ports"], where, taken, faults)
        made.append(Segment(ports, *_rows(given["table"], ports, where, faults)))
    if faults.count:
        raise InputError(faults.lines())
    return made


def _ports(names, where, taken, faults):
    if not names:
        faults.add(f"{where}: ports: empty; name the ports that the endpoints are on")
    for name in names:
        try:
            values.dev(name)
        except ValueError as error:
            faults.add(f"{where}: ports: {error}")
        if name in taken:
            faults.add(f"{where}: ports: {name!r} is in {taken[name]} already; leave one out")
        taken.setdefault(name, where)
    return tuple(names)


def _rows(text, ports, where, faults):
    """(addresses, ways) of a table."""
    addresses, ways, known = [], [], {}
    numbers = []

    def number(i):
        if not numbers:
            numbers.extend(line_numbers(text))
        return f"{where}: table row {numbers[i]}"

    for keys, tails in map(cut, chunks(text)):
        for key, tail in zip(keys, tails):
            if tail not in known:
                known[tail] = _checked(lambda tail=tail: _way(tail, ports), number, len(addresses), faults)
            ways.append(known[tail] or (None, None))
            addresses.append(_checked(lambda key=key: _address(key), number, len(addresses), faults))
    first = {}
    if len(set(addresses)) < len(addresses):
        for i, address in enumerate(addresses):
            if address and first.setdefault(address, i) != i:
                faults.add(f"{number(i)}: {address_of(address)} is in row {numbers[first[address]]} too; leave one out")
    return addresses, ways


def _checked(read, number, i, faults):
    """What `read` returns, or None where it finds a fault."""
    try:
        return read()
    except ValueError as error:
        faults.add(f"{number(i)}: {error}")
        return None


def _address(key):
    """The packed address of one station."""
    packed = packed_address(key)
    if not any(packed) or (packed[0] == 0xFF if len(packed) == 16 else packed[0] >= 224):
        raise ValueError(f"{key!r} is not the address of one station")
    return packed


def _way(tail, ports):
    """(packed MAC address or None, port or None) of a line end."""
    found = words(tail, ("lladdr", "port"), ())
    mac, port = found.get("lladdr"), found.get("port")
    if port is not None and port not in ports:
        raise ValueError(f"port {port!r} is none of the segment's ports; correct it or leave it out")
    if mac is not None:
        values.unicast_mac(mac)
        mac = packed_mac(mac)
    return mac, port


def ports(made):
    """The names of all ports."""
    return list(chain.from_iterable(segment.ports for segment in made))
