# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses the stations behind access ports have: ARP and neighbour discovery, heard on the ports.

A frame teaches the address that its sender says is its own, and only when the frame comes from the MAC that it tells. Probes
of an address that somebody may have already (RFC 5227, duplicate address detection of RFC 4862) teach nothing.
"""

from __future__ import annotations

import array
import contextlib
import errno as errnos
import socket
import struct
from collections import OrderedDict

from .._model.errors import KernelError, MissingError

ADDRESSES = 16  # of a MAC; the one heard least recently gives way
MACS = 4096  # of a port
IDLE = 600.0  # seconds until what is not heard again is forgotten, unless the caller still knows the MAC
AT_ONCE = 256  # frames of a port handled in one call

# Frames as they come in, with the tag of a VLAN taken off already. Protocol ALL is heard before a bridge takes the frame;
# the sockets of single protocols are behind it and hear nothing on its ports.
ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD
SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 263, 6, 23
SO_ATTACH_FILTER = 26
RECEIVE_BUFFER = 1 << 18
LONGEST = 1514  # octets of a frame of interest; neighbour discovery is not fragmented (RFC 6980)
ICMPV6 = 58
SOLICIT, ADVERTISE = 135, 136
SOURCE_LINK, TARGET_LINK = 1, 2

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET, _IPV6, _ND = 14, 40, 24  # lengths of headers
_NO_V6 = (bytes(16), bytes(15) + b"\1")

# linux/filter.h. Offsets from -4096 on are not of the frame but of what the kernel knows of it.
_LDB, _LDH, _LDW, _AND, _JEQ, _RET = 0x30, 0x28, 0x20, 0x54, 0x15, 0x06
_PKTTYPE, _VLAN = (-4096 + 4) & 0xFFFFFFFF, (-4096 + 44) & 0xFFFFFFFF
_OUTGOING = 4
# (code, where to go on if true, if false: instructions from the next one, operand)
PROGRAM = (
    (_LDB, 0, 0, _PKTTYPE),
    (_JEQ, 12, 0, _OUTGOING),
    (_LDH, 0, 0, _VLAN),
    (_AND, 0, 0, 0x0FFF),
    (_JEQ, 0, 9, 0),  # no VLAN, or priority only
    (_LDH, 0, 0, 12),
    (_JEQ, 6, 0, ETH_P_ARP),
    (_JEQ, 0, 6, ETH_P_IPV6),
    (_LDB, 0, 0, 20),
    (_JEQ, 0, 4, ICMPV6),
    (_LDB, 0, 0, 54),
    (_JEQ, 1, 0, SOLICIT),
    (_JEQ, 0, 1, ADVERTISE),
    (_RET, 0, 0, LONGEST + 1),
    (_RET, 0, 0, 0),
)


# --- frames


def claim(frame):
    """(mac, address) that a frame teaches, packed, or None. Whatever is not exactly as it should be teaches nothing."""
    if not 42 <= len(frame) <= LONGEST:
        return None
    mac, kind = frame[6:12], frame[12:14]
    if mac[0] & 1 or not any(mac):
        return None
    if kind == b"\x08\x06":
        address = _arp(frame, mac)
    elif kind == b"\x86\xdd":
        address = _nd(frame, mac)
    else:
        return None
    return (mac, address) if address else None


def _arp(frame, mac):
    hardware, protocol, size, length, operation, sender, address, _tha, _tpa = _ARP.unpack_from(frame, _ETHERNET)
    if (hardware, protocol, size, length) != (1, 0x0800, 6, 4) or operation not in (1, 2) or sender != mac:
        return None
    return address if station(address) else None


def _nd(frame, mac):
    """The sender of a solicitation, the target of an advertisement; with the option that tells the sender's MAC."""
    length = int.from_bytes(frame[18:20], "big")
    end = _ETHERNET + _IPV6 + length
    if frame[14] >> 4 != 6 or frame[20] != ICMPV6 or frame[21] != 255 or length < _ND or end > len(frame):
        return None
    message = frame[_ETHERNET + _IPV6 : end]
    if message[0] not in (SOLICIT, ADVERTISE) or message[1]:
        return None
    address = frame[22:38] if message[0] == SOLICIT else message[8:24]
    options = _options(message)
    if options is None or options.get(SOURCE_LINK if message[0] == SOLICIT else TARGET_LINK) != mac:
        return None
    if message[8] == 0xFF or not station(frame[22:38]) or not station(address):
        return None
    return address if _sum(frame[22:54], message) == 0xFFFF else None


def _options(message):
    """{type: link-layer address} of what follows the target, None where the lengths do not come out."""
    found, at = {}, _ND
    while at < len(message):
        size = 8 * message[at + 1] if at + 1 < len(message) else 0
        if not size or at + size > len(message):
            return None
        if size == 8 and message[at] in (SOURCE_LINK, TARGET_LINK):
            if message[at] in found:
                return None
            found[message[at]] = message[at + 2 : at + 8]
        at += size
    return found


def _sum(addresses, message):
    """The checksum over a message and what comes before it in RFC 8200, section 8.1; all ones when it is right."""
    data = addresses + struct.pack("!II", len(message), ICMPV6) + message + bytes(len(message) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def station(address):
    """Whether an address, packed, can be one station's."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and address not in _NO_V6 and address[:12] != bytes(10) + b"\xff\xff"


# --- what was heard


class Heard:
    """{port: {mac: {address: when}}}, bounded; both of the inner ones with what was heard least recently first."""

    def __init__(self):
        self.counters = {"heard": 0, "evicted": 0, "forgotten": 0}
        self._ports = {}

    def ports(self, indexes):
        """Keep only these ports. True when something went with a port."""
        gone = [index for index in self._ports if index not in indexes]
        for index in gone:
            del self._ports[index]
        return bool(gone)

    def put(self, port, mac, address, now):
        """True when it is new there."""
        macs = self._ports.setdefault(port, OrderedDict())
        known = macs.get(mac)
        if known is None:
            if len(macs) >= MACS:
                macs.popitem(last=False)
                self.counters["evicted"] += 1
            known = macs[mac] = OrderedDict()
        else:
            macs.move_to_end(mac)
        new = address not in known
        if new and len(known) >= ADDRESSES:
            known.popitem(last=False)
            self.counters["evicted"] += 1
        known[address] = now
        known.move_to_end(address)
        self.counters["heard"] += 1
        return new

    def of(self, port):
        """{mac: {address: when it was heard last}} of a port, as it is kept here."""
        return self._ports.get(port, {})

    def forget(self, now, keep):
        """Drop what has been idle, but not of MACs for which keep(port, mac) is true. True when something went."""
        before = self.counters["forgotten"]
        for port, macs in self._ports.items():
            for mac in [one for one, known in macs.items() if now - next(reversed(known.values())) >= IDLE]:
                if not keep(port, mac):
                    self.counters["forgotten"] += len(macs.pop(mac))
        return self.counters["forgotten"] != before

    def __len__(self):
        return sum(len(known) for macs in self._ports.values() for known in macs.values())


# --- sockets


class Snoop:
    """A packet socket for each access port. add(fileno), remove(fileno): called as sockets come and go.

    `heard` is a Heard. `read(fileno, now)` is True when something new was heard.
    """

    def __init__(self, add, remove):
        self.heard = Heard()
        self.faults = {}  # port's name: why it is not heard
        self.counters = {"frames": 0, "refused": 0, "dropped": 0}
        self._add, self._remove = add, remove
        self._sockets = {}  # fileno: (socket, index)
        self._names = {}  # index: (name, fileno)

    def ports(self, wanted):
        """Listen on {index: name} and on nothing else. True when something known went with a port."""
        for index in [one for one in self._names if one not in wanted]:
            self._end(index)
        self.faults = {}
        for index, name in wanted.items():
            if index in self._names:
                self._names[index] = name, self._names[index][1]
                continue
            try:
                one = listener(name, index)
            except (KernelError, MissingError) as error:
                self.faults[name] = str(error)
                continue
            self._sockets[one.fileno()] = one, index
            self._names[index] = name, one.fileno()
            self._add(one.fileno())
        return self.heard.ports(wanted)

    def read(self, fileno, now):
        one, index = self._sockets.get(fileno, (None, None))
        new = False
        for _dummy in range(AT_ONCE if one else 0):
            try:
                frame = one.recv(LONGEST + 1)
            except BlockingIOError:
                break
            except OSError as error:
                # A port that goes down says so once, and is heard again when it is up.
                if error.errno == errnos.ENETDOWN:
                    continue
                name = self._names[index][0]
                self._end(index)
                self.faults[name] = error.strerror  # until `ports` is called again
                break
            found = claim(frame)
            self.counters["frames"] += 1
            if found:
                new = self.heard.put(index, *found, now) or new
            else:
                self.counters["refused"] += 1
        return new

    def dropped(self):
        """Frames that came faster than they were read, since the start."""
        for one, _index in self._sockets.values():
            with contextlib.suppress(OSError):
                # Reading resets it.
                self.counters["dropped"] += struct.unpack("=II", one.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return self.counters["dropped"]

    def _end(self, index):
        _name, fileno = self._names.pop(index)
        one, _index = self._sockets.pop(fileno)
        self._remove(fileno)
        one.close()

    def close(self):
        for index in list(self._names):
            self._end(index)


def listener(name, index):
    """A packet socket that hears what PROGRAM lets through on a device. Raises KernelError, MissingError."""
    what = f"listen for ARP and neighbour discovery on {name}"
    try:
        # Protocol 0: nothing comes in before the filter is there.
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        if error.errno == errnos.EAFNOSUPPORT:
            raise MissingError("the kernel has no packet sockets", "CONFIG_PACKET") from None
        raise KernelError(what, error.errno) from None
    try:
        program = array.array("B", b"".join(struct.pack("=HBBI", *line) for line in PROGRAM))
        address, _length = program.buffer_info()
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(PROGRAM), address))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        with contextlib.suppress(OSError):  # older than 4.20: the program leaves them out as well, at some cost
            one.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        one.bind((name, ETH_P_ALL))
        # A name may have gone to another device since it was told.
        if socket.if_nametoindex(name) != index:
            raise KernelError(what, errnos.ENODEV)
    except OSError as error:
        one.close()
        raise KernelError(what, error.errno) from None
    except BaseException:
        one.close()
        raise
    return one
