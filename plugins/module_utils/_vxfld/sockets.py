# SPDX-License-Identifier: GPL-3.0-or-later
"""The control sockets of both daemons: UDP, and TCP for SYNC. Addresses are packed; (address, port) is an end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import os
import socket
import struct

from .._model.errors import InputError, KernelError
from . import config

SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 8 << 20  # a small datagram counts as some 800 octets: 10,000 of them
LONGEST = 65535
BATCH = 64  # datagrams a wake-up, so that nobody else waits long
WAITING = 20000  # datagrams that wait for room in the socket's buffer
IP_PKTINFO, IPV6_PKTINFO = 8, 50
TIMEOUT = 10.0  # seconds to connect, and between two pieces of a TCP stream
WHOLE = 60.0  # seconds for a whole stream
CONNECTIONS, CONNECTIONS_OF_A_HOST = 64, 8
MOST = 24 << 20  # octets of a stream, and of all of a host: 500,000 entries, each in a VNI of its own, are less
MOST_OF_ALL = 64 << 20


def text(address):
    return config.shown_address(address)


def shown(end):
    """An end as text."""
    return str(config.Server(*end))


def wildcard(family):
    return bytes(4 if family == 4 else 16)


def packed_end(name):
    """An end, of what the socket module returns."""
    host = name[0].partition("%")[0]
    address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    # A socket of both families would tell IPv4 ends so; ours are of one, but asyncio's may not be.
    return (address[12:] if address[:12] == bytes(10) + b"\xff\xff" else address), name[1]


def bound(kind, address, port, key="src_ip", port_key="vxfld_port"):
    """A socket (SOCK_DGRAM, SOCK_STREAM) that does not block, bound to a packed address. Raises with the keys to change."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    what = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} {shown((address, port))}"
    one = None
    try:
        one = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Connections that wait for their end do not keep a restarted daemon from its port. With UDP it would mean
            # that two daemons share one port, and each gets what is for the other.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((text(address), port))
    except OSError as error:
        if one:
            one.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"{what}: {error.strerror}: another program has this port; end it, or write {port_key}"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(
                f"{what}: {error.strerror}: this host does not have the address; add it first, or write {key}"
            ) from None
        raise KernelError(what, error.errno) from None
    return one


def grow(one, size):
    """Enlarge the receive buffer, beyond the host's limit where we may."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(PermissionError):
            one.setsockopt(socket.SOL_SOCKET, option, size)
            return


class Udp:
    """A UDP socket on the running loop. `received(data, end)` is called for each datagram, `idle()` behind each batch.

    source: the packed address to send from, for a socket that is bound to all of them.
    """

    def __init__(self, one, source=None):
        self.socket = one
        self.family = 4 if one.family == socket.AF_INET else 6
        self.dropped = 0
        self._ancillary = _packet_info(source) if source else ()
        self._waiting = collections.deque()
        self._loop = None
        grow(one, RECEIVE_BUFFER)

    def start(self, loop, received, idle, fault):
        """fault(exception): what a call raised; the socket goes on."""
        self._loop = loop
        loop.add_reader(self.socket, self._readable, received, idle, fault)

    def close(self):
        if self._loop:
            self._loop.remove_reader(self.socket)
            self._loop.remove_writer(self.socket)
        self.socket.close()

    def _readable(self, received, idle, fault):
        receive = self.socket.recvfrom
        for _dummy in range(BATCH):
            try:
                data, name = receive(LONGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                fault(error)
                break
            try:
                received(data, packed_end(name))
            except Exception as error:
                fault(error)
        try:
            idle()
        except Exception as error:
            fault(error)

    def send(self, data, end):
        """Send, or keep it until there is room. Raises OSError, such as no route to the host."""
        if self._waiting:
            self._keep(data, end)
            return
        try:
            self._send(data, end)
        except BlockingIOError:
            self._keep(data, end)

    def _send(self, data, end):
        name = (text(end[0]), end[1])
        if self._ancillary:
            self.socket.sendmsg((data,), self._ancillary, 0, name)
        else:
            self.socket.sendto(data, name)

    def _keep(self, data, end):
        if len(self._waiting) >= WAITING or not self._loop:
            self.dropped += 1
            return
        if not self._waiting:
            self._loop.add_writer(self.socket, self._writable)
        self._waiting.append((data, end))

    def _writable(self):
        while self._waiting:
            try:
                self._send(*self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self.dropped += 1
            self._waiting.popleft()
        self._loop.remove_writer(self.socket)


def _packet_info(source):
    if len(source) == 4:
        return ((socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, source, source)),)
    return ((socket.IPPROTO_IPV6, IPV6_PKTINFO, struct.pack("=16sI", source, 0)),)


class Streams:
    """Answers TCP streams: `answer(data, end)` gives the answer to a whole stream, or None. Bounded in number, size, time.

    What is read, and what is still to be written, counts: `most` octets of a host, `most_of_all` of all hosts.

    `welcome(address)` tells whether an end may connect at all.
    """

    def __init__(self, answer, welcome, fault, most=MOST, most_of_all=MOST_OF_ALL):
        self.welcome = welcome
        self._answer, self._fault, self._most, self._most_of_all = answer, fault, most, most_of_all
        self._servers = []
        self._open = collections.Counter()  # packed address: its connections
        self._held = collections.Counter()  # packed address: octets of its streams
        self.timeout, self.whole = TIMEOUT, WHOLE
        self.refused = self.cut = 0

    async def start(self, one):
        self._servers.append(await asyncio.start_server(self._client, sock=one, backlog=64))

    def close(self):
        for server in self._servers:
            server.close()

    async def _client(self, reader, writer):
        name = writer.get_extra_info("peername")
        end = packed_end(name) if name else None  # None: gone already
        if (
            end is None
            or not self.welcome(end[0])
            or sum(self._open.values()) >= CONNECTIONS
            or self._open[end[0]] >= CONNECTIONS_OF_A_HOST
        ):
            self.refused += 1
            _reset(writer)
            return
        self._open[end[0]] += 1
        try:
            await asyncio.wait_for(self._serve(reader, writer, end), self.whole)
        except (OSError, asyncio.TimeoutError, _TooLong):
            self.cut += 1
            _reset(writer)
        except Exception as error:
            self._fault(error)
            _reset(writer)
        finally:
            self._open[end[0]] -= 1
            if not self._open[end[0]]:
                del self._open[end[0]]
            writer.transport.abort()

    async def _serve(self, reader, writer, end):
        held = 0

        def hold(size):
            nonlocal held
            if self._held[end[0]] + size > self._most or sum(self._held.values()) + size > self._most_of_all:
                raise _TooLong
            held += size
            self._held[end[0]] += size

        try:
            answer = self._answer(await _whole(reader, hold, self.timeout), end)
            if answer:
                hold(len(answer) - held)  # the request is gone
                await _written(writer, answer, self.timeout)
            else:
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), self.timeout)
        finally:
            self._held[end[0]] -= held
            if not self._held[end[0]]:
                del self._held[end[0]]


def _reset(writer):
    """End a connection by RST: an orderly end tells the other side that all was taken in."""
    one = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _TooLong(Exception):
    """A stream is longer than any message, or the streams together."""


def _at_most(most):
    """A `hold` for _whole of one stream."""
    left = most

    def hold(size):
        nonlocal left
        left -= size
        if left < 0:
            raise _TooLong

    return hold


async def _whole(reader, hold, timeout):
    """All octets until the end; hold(size) is called for each piece before it is kept, and may raise."""
    parts = []
    while True:
        part = await asyncio.wait_for(reader.read(1 << 16), timeout)
        if not part:
            return b"".join(parts)
        hold(len(part))
        parts.append(part)


async def _written(writer, data, timeout):
    for at in range(0, len(data), 1 << 18):
        writer.write(data[at : at + (1 << 18)])
        await asyncio.wait_for(writer.drain(), timeout)
    writer.write_eof()
    # What is still in the buffer goes out before the end; drain waits only until the buffer is small.
    transport = writer.transport
    transport.set_write_buffer_limits(0)
    await asyncio.wait_for(writer.drain(), timeout)


async def exchange(end, data, source=None, answered=False, most=MOST, timeout=TIMEOUT, connect_timeout=TIMEOUT):
    """Send a whole stream to an end; its answer, as a whole stream, when one is wanted. Raises OSError, also for timeouts."""
    local = (text(source), 0) if source else None
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(text(end[0]), end[1], local_addr=local), connect_timeout
        )
    except asyncio.TimeoutError:
        raise OSError(errno.ETIMEDOUT, f"no connection within {connect_timeout:g} s") from None
    except OSError as error:
        # asyncio has words of its own instead of the kernel's.
        raise OSError(error.errno, os.strerror(error.errno) if error.errno else str(error)) from None
    try:
        await _written(writer, data, timeout)
        # Without an answer the other end closes: only then is it known that it has read all.
        found = await asyncio.wait_for(_whole(reader, _at_most(most), timeout), WHOLE)
        return found if answered else b""
    except asyncio.TimeoutError:
        raise OSError(errno.ETIMEDOUT, f"no answer within {timeout:g} s") from None
    except _TooLong:
        raise OSError(errno.EMSGSIZE, "the answer is too long") from None
    finally:
        writer.transport.abort()
