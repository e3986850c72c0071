# SPDX-License-Identifier: GPL-3.0-or-later
"""The one guarded import of pyroute2, and requests with its messages.

pyroute2 encodes and decodes the messages; the socket is our own, since its request calls differ between 0.7, 0.8 and
0.9 (0.9.7's synchronous nlm_request fails), and since the kernel's extended-ACK text is wanted from all of them.
"""

from __future__ import annotations

import errno
import os

from .._model.errors import KernelError, MissingError
from . import codec, rtnl

OLDEST = (0, 7, 2)
HEADER = 16  # bytes of struct nlmsghdr, which pyroute2 encodes and rtnl writes anew


def load():
    """pyroute2's package. Importing any part of it costs some 180 ms, so nothing else imports it at its top."""
    try:
        import pyroute2
        import pyroute2.netlink
        import pyroute2.netlink.rtnl.ifinfmsg
        import pyroute2.netlink.rtnl.ndmsg
    except ImportError as error:
        raise MissingError(f"pyroute2 is not installed ({error})", "apt-get install python3-pyroute2") from None
    version = str(getattr(pyroute2, "__version__", ""))
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers and numbers < OLDEST:  # Debian 12's package calls its version "unknown"
        raise MissingError(f"pyroute2 {version} is too old", "0.7.2 or newer is needed")
    return pyroute2


class Socket:
    """A routing netlink socket that sends and receives pyroute2's messages."""

    def __init__(self):
        self.rtnl = rtnl.Rtnl()

    def close(self):
        self.rtnl.close()

    def change(self, message, kind, flags, what):
        """Send a request and wait for its acknowledgement. `what` says in words what was tried."""
        self.send(_body(message), kind, flags, what)

    def send(self, body, kind, flags, what):
        """The same with a body that is encoded already."""
        try:
            self.rtnl.request(kind, body, what, flags)
        except KernelError as error:
            if error.errno == errno.EPERM and error.text == os.strerror(errno.EPERM):
                text = f"{error.text}: it takes root or CAP_NET_ADMIN (become: true)"
                raise KernelError(what, errno.EPERM, text) from None
            raise

    def ask(self, message, kind, what):
        """The one answer to a request, decoded."""
        reply = self.rtnl.request(kind, _body(message), what)
        if reply is None:
            raise KernelError(what, errno.ENODATA)
        return _decoded(message, *reply[:2])

    def dump(self, message, kind, what):
        """The answers of a dump, decoded."""
        return [_decoded(message, data, start) for data, start in self.answers(_body(message), kind, what)]

    def count(self, message, kind, what):
        """How many answers a dump has; they are not decoded."""
        return len(self.answers(_body(message), kind, what))

    def answers(self, body, kind, what):
        """(data, start) of each message of a dump, which is asked for again when the table changes under it."""
        while True:
            try:
                return [
                    (data, start)
                    for data, _stride in self.rtnl.dump(kind, body, what)
                    for _kind, _flags, _sequence, start, _end in codec.messages(data)
                ]
            except rtnl.Interrupted:
                continue


def _body(message):
    message.reset()
    message.encode()
    return bytes(message.data[HEADER:])


def _decoded(message, data, start):
    answer = type(message)(data, offset=start)
    answer.decode()
    return answer
