# SPDX-License-Identifier: GPL-3.0-or-later
"""A routing netlink socket for bulk work: one request, a dump, or hundreds of messages a system call. Own code on the
standard library, since a table of 100,000 rows must cost parts of a second (docs/fdb.md has the measurements).
"""

from __future__ import annotations

import errno as errnos
import socket
import struct

from .._model.errors import KernelError
from . import codec

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
RECEIVE, SEND = (SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)
RECEIVE_BUFFER = 1 << 20  # room for the replies to one batch many times over; what does not fit is lost
SEND_BUFFER = 1 << 20  # a batch goes whole or not at all; one of policies with six templates has 80 KB
# Messages a system call. Adding rows is fastest from 4 to 256 and falls off a cliff above 500; and a socket whose
# buffer could not be enlarged holds 256 replies.
BATCH = 128
FENCE = 0xFFFFFFFF  # sequence number of the empty message that ends a batch

_FENCE = codec.message(codec.NLMSG_NOOP, codec.NLM_F_REQUEST | codec.NLM_F_ACK, FENCE, b"")


class Interrupted(Exception):
    """The table changed under a dump."""


def grow(made, room, options=RECEIVE):
    """Enlarge a socket's receive buffer, or that to send, as far as that is allowed."""
    for option in options:
        try:
            made.setsockopt(socket.SOL_SOCKET, option, room)
            return
        except PermissionError:
            continue


class Rtnl:
    """One socket. `words`: ask for the kernel's words on errors; without, replies are smaller and carry the request.
    `requests`: errors carry both. `protocol`: another netlink family than that of routing.
    """

    def __init__(self, words=True, requests=False, protocol=socket.NETLINK_ROUTE):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        try:
            self.socket.bind((0, 0))
            grow(self.socket, RECEIVE_BUFFER)
            grow(self.socket, SEND_BUFFER, SEND)
            for option in (NETLINK_CAP_ACK,) * (not requests) + (NETLINK_EXT_ACK,) if words else ():
                self._try_option(option)
            self._try_option(NETLINK_GET_STRICT_CHK)
        except BaseException:
            self.socket.close()
            raise

    def close(self):
        self.socket.close()

    def _try_option(self, option):
        """Older kernels lack some options; all that is lost is words, or the filtering of a dump, which is done again."""
        try:
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        except OSError as error:
            if error.errno != errnos.ENOPROTOOPT:
                raise

    def patience(self, seconds):
        """Let a receive that nothing comes to end with BlockingIOError. After that the socket is not to be used any more."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))

    def _send(self, data, what):
        try:
            self.socket.send(data)
        except OSError as error:
            raise KernelError(what, error.errno) from None

    def request(self, kind, body, what, flags=0):
        """Send one request; the first reply as (data, start, end) of its message, or None when it was a bare yes."""
        self._send(codec.message(kind, codec.NLM_F_REQUEST | codec.NLM_F_ACK | flags, 1, body), what)
        reply = None
        while True:
            data = self.socket.recv(1 << 16)
            for got, got_flags, _dummy, start, end in codec.messages(data):
                if got == codec.NLMSG_ERROR:
                    errno, text = codec.error(data, start, end, got_flags)
                    if errno:
                        raise KernelError(what, errno, text)
                    return reply
                reply = reply or (data, start, end)

    def dump(self, kind, body, what):
        """A dump's datagrams with the stride of their messages (codec.stride). The end is cut off.

        Raises Interrupted at the end where the kernel says that the table changed meanwhile.
        """
        self._send(codec.message(kind, codec.NLM_F_REQUEST | codec.NLM_F_DUMP, 1, body), what)
        interrupted = False
        while True:
            data = self.socket.recv(1 << 16)
            stride = codec.stride(data)
            interrupted = interrupted or bool(data[6:7] and data[6] & codec.NLM_F_DUMP_INTR)
            if not stride or data[4:6] in _LAST:
                for got, flags, _dummy, start, end in codec.messages(data):
                    if got in (codec.NLMSG_DONE, codec.NLMSG_ERROR):
                        errno, text = codec.error(data, start, end, flags)
                        if errno:
                            raise KernelError(what, errno, text)
                        yield data[:start], 0
                        if interrupted or flags & codec.NLM_F_DUMP_INTR:
                            raise Interrupted
                        return
            yield data, stride

    def batch(self, payload):
        """Send a batch of messages; their replies as datagrams, until the kernel has handled the whole batch."""
        self._send(payload + _FENCE, "a batch by netlink")
        while True:
            data = self.socket.recv(1 << 16)
            if data[4:6] == _ERROR and data[8:12] == _FENCE_SEQ:
                return
            yield data


_ERROR = codec.U16.pack(codec.NLMSG_ERROR)
_LAST = (_ERROR, codec.U16.pack(codec.NLMSG_DONE))
_FENCE_SEQ = codec.U32.pack(FENCE)
