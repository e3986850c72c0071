# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication of BUM frames in this process: one datagram in, one raw packet out for each other VTEP of the VNI.

docs/vxfld-replication.md has what is sent, what was measured, and why it is plain socket calls.
"""

from __future__ import annotations

import contextlib
import errno as errnos
import os
import socket
import struct

from .._model.errors import KernelError
from . import config, sockets
from .auth import AllowList

SO_SNDBUFFORCE = 32
UDP_NO_CHECK6_RX = 102  # VTEPs may send UDP over IPv6 without a checksum (RFC 6935)
BATCH = 64  # frames a wake-up, so that nobody else waits long
RECEIVE_BUFFER = 8 << 20  # at least; a frame of 100 octets counts as 768: bursts of 10,000
SEND_BUFFER = 4 << 20
LONGEST = 65535
HOPS = 64
MEMORY = 1 << 16  # addresses that are prepared or were complained about, before all are forgotten
FLAG_VNI = 0x08  # the I flag: this header has a VNI

_IP4 = struct.Struct("!BBHHHBBH4s")  # without the destination; length, identification and checksum come from the kernel
_IP6 = struct.Struct("!IHBB16s")
_PORTS = struct.Struct("!HHH")  # source, destination, length
_NO_CHECKSUM = b"\0\0"


class Replicator:
    """Sockets on the service node's addresses, and the VTEPs of each VNI.

    `alarms` holds (key, text) for the log: each destination that a frame did not reach is named once for each reason.
    """

    def __init__(self, settings, counters=None):
        self.alarms = []
        self._counters = {} if counters is None else counters
        self.allow(settings.allow)
        self._port = settings.dest_port
        self._own = {*settings.svcnode_ip.values(), *settings.src_ip.values()}
        self._vnis = {}  # vni -> (addresses, registered), packed
        self._floods = {
            4: {},
            6: {},
        }  # vni -> (peers, registered) as the sending loop wants them, made when first needed
        self._peers = {}  # packed -> (packed, name for sendto, share of the UDP checksum)
        self._named = set()  # (address, errno) that alarms told
        self._buffer = bytearray(LONGEST)
        self._view = memoryview(self._buffer)
        self._data, self._raw = {}, {}
        try:
            # Without svcnode_ip upstream listens on all addresses of IPv4.
            for family, address in (settings.svcnode_ip or {4: bytes(4)}).items():
                one = _data_socket(address, settings)
                self._data[one.fileno()] = one, family
                self._raw[family] = _raw_socket(family)
        except BaseException:
            self.close()
            raise

    def close(self):
        for one in [*(one for one, _family in self._data.values()), *self._raw.values()]:
            one.close()
        self._data, self._raw = {}, {}

    def allow(self, prefixes):
        """Change the list of senders."""
        self._allowed = AllowList(config.Prefix(*prefix) for prefix in prefixes)

    # --- who is in a VNI

    def update(self, vni, addresses, registered):
        """The VTEPs of a VNI from now on; `registered`: those with an identifier. No addresses: the VNI is unknown."""
        if addresses:
            self._vnis[vni] = tuple(addresses), tuple(registered)
        else:
            self._vnis.pop(vni, None)
        for floods in self._floods.values():
            floods.pop(vni, None)

    def flush(self):
        """Nothing is pending here: an update counts at once."""

    def members(self, vni, family):
        """(addresses, registered) of a VNI that can be sent to in this family."""
        size = 4 if family == 4 else 16
        addresses, registered = self._vnis.get(vni, ((), ()))
        return (
            [one for one in addresses if len(one) == size and one not in self._own and unicast(one)],
            [one for one in registered if len(one) == size],
        )

    def vnis(self):
        return list(self._vnis)

    def _flood(self, family, vni):
        """(peers, registered), or None for a VNI that nobody is in."""
        if vni not in self._vnis:
            return None
        addresses, registered = self.members(vni, family)
        flood = self._floods[family][vni] = [self._peer(one) for one in addresses], frozenset(registered)
        return flood

    def _peer(self, address):
        found = self._peers.get(address)
        if not found:
            if len(self._peers) >= MEMORY:
                self._peers.clear()
            found = self._peers[address] = address, (sockets.text(address), 0), int.from_bytes(address, "big") % 0xFFFF
        return found

    # --- frames

    def filenos(self):
        """The sockets to read from; `handle` takes one of them when it is readable."""
        return list(self._data)

    def handle(self, fileno, learned, proxy=None):
        """Replicate a batch of the frames that wait in a socket. How many there were.

        learned(vni, source): a frame of a sender that is not registered; once for all of its frames in the batch.
        proxy(vni, source, port, packet): each sound frame, from the VXLAN header on.
        """
        one, family = self._data[fileno]
        receive, heard = one.recvfrom_into, {}
        frames = 0
        for _dummy in range(BATCH):
            try:
                size, name = receive(self._buffer)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._count(f"receive_errors_{_word(error)}")
                break
            frames += 1
            self._frame(family, size, name, heard, proxy)
        self._count("frames", frames)
        for vni, source in heard:
            learned(vni, source)
        return frames

    def _frame(self, family, size, name, heard, proxy):
        head = self._buffer[:8]
        if size < 8:
            return self._count("drops_short")
        if not head[0] & FLAG_VNI:
            return self._count("drops_no_flag")
        source, port = sockets.packed_end(name)
        if source not in self._allowed:
            return self._count("drops_not_allowed")
        vni = int.from_bytes(head[4:7], "big")
        packet = self._view[:size]
        if proxy:
            proxy(vni, source, port, bytes(packet))
        flood = self._floods[family].get(vni) or self._flood(family, vni)
        if not flood:
            heard[vni, source] = None
            return self._count("drops_unknown_vni")
        if source not in flood[1]:
            heard[vni, source] = None
        return self._emit(family, packet, source, port, flood[0])

    def inject(self, packet, source, port, vni):
        """Send a frame that another service node had from `source` to the VTEPs of its VNI."""
        family = 4 if len(source) == 4 else 6
        if family not in self._raw:
            return
        flood = self._floods[family].get(vni) or self._flood(family, vni)
        if flood:
            self._emit(family, memoryview(packet), source, port, flood[0])
        else:
            self._count("drops_unknown_vni")

    def _emit(self, family, packet, source, port, peers):
        send = self._raw[family].sendto
        copies, length = 0, 8 + len(packet)
        ports = _PORTS.pack(port, self._port, length)
        if family == 4:
            head = _IP4.pack(0x45, 0, 0, 0, 0, HOPS, socket.IPPROTO_UDP, 0, source)
            tail = b"".join((ports, _NO_CHECKSUM, packet))
        else:
            head = _IP6.pack(0x60000000, length, socket.IPPROTO_UDP, HOPS, source)
            total = _sum6(packet, source, port, self._port, length)
        for address, to, share in peers:
            if address == source:
                continue
            if family == 4:
                data = head + address + tail
            else:
                check = 0xFFFF - (total + share) % 0xFFFF  # never 0, which would mean "none"
                data = b"".join((head, address, ports, check.to_bytes(2, "big"), packet))
            try:
                send(data, to)
                copies += 1
            except OSError as error:
                self._failed(error, address, len(data))
        self._count("copies", copies)

    def _failed(self, error, address, size):
        """Count a copy that was not sent; the others go on. A frame is never cut short or fragmented (RFC 7348, 4.3)."""
        reason = "drops_too_big" if error.errno == errnos.EMSGSIZE else f"send_errors_{_word(error)}"
        self._count(reason)
        if (address, error.errno) in self._named:
            return
        if len(self._named) >= MEMORY:
            self._named.clear()
        self._named.add((address, error.errno))
        host = sockets.text(address)
        words = f"a packet of {size} octets to {host} was not sent: {error.strerror}"
        if error.errno == errnos.EMSGSIZE:
            words += "; raise the underlay's MTU, or lower the segment's"
        self.alarms.append((f"{reason} {host}", words))

    def _count(self, name, more=1):
        self._counters[name] = self._counters.get(name, 0) + more

    def counters(self):
        """{name: count}: frames, copies, drops_*, send_errors_*, receive_errors_*."""
        return dict(self._counters)


def unicast(address):
    """Whether an address can be that of one other host. Nothing is sent to others, whoever registers them."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and any(address[:10]) and not (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def _sum6(packet, source, port, to_port, length):
    """The one's complement sum of UDP over IPv6 but for the destination. 2^16 is 1 modulo 0xFFFF: one division adds all words."""
    number = int.from_bytes(packet, "big")
    if length & 1:
        number <<= 8
    # The length is summed twice: in the pseudo header and in the UDP header (RFC 8200, 8.1).
    return (number + int.from_bytes(source, "big") + port + to_port + 2 * length + socket.IPPROTO_UDP) % 0xFFFF


def _data_socket(address, settings):
    one = sockets.bound(socket.SOCK_DGRAM, address, settings.listen_port, key="svcnode_ip", port_key="vxlan_port")
    sockets.grow(one, max(settings.receive_queue, RECEIVE_BUFFER))
    if len(address) == 16:
        one.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    return one


def _raw_socket(family):
    """A socket that sends whole IP packets, whatever their source."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        one = socket.socket(kind, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    except OSError as error:
        text = f"{error.strerror}: CAP_NET_RAW is needed" if error.errno == errnos.EPERM else None
        raise KernelError(f"raw socket of IPv{family}", error.errno, text) from None
    for option in (SO_SNDBUFFORCE, socket.SO_SNDBUF):
        with contextlib.suppress(PermissionError):
            one.setsockopt(socket.SOL_SOCKET, option, SEND_BUFFER)
            break
    return one


def _word(error):
    return errnos.errorcode.get(error.errno) or os.strerror(error.errno)
