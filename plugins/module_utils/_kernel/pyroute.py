# SPDX-License-Identifier: GPL-3.0-or-later
"""The one guarded import of pyroute2, and requests with its messages.

pyroute2 encodes and decodes the messages; the socket is our own, since its request calls differ between 0.7, 0.8 and
0.9 (0.9.7's synchronous nlm_request fails), and since the kernel's extended-ACK text is wanted from all of them.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import sys

from .._model.errors import KernelError, MissingError
from . import codec, rtnl

OLDEST = (0, 7, 2)
HEADER = 16  # bytes of struct nlmsghdr, which pyroute2 encodes and rtnl writes anew

# Of pyroute2 the collection uses the messages, and how they are encoded.
PARTS = ("netlink", "netlink.rtnl.ifinfmsg", "netlink.rtnl.ndmsg")


def load():
    """pyroute2's modules netlink, ifinfmsg and ndmsg."""
    try:
        with _package():
            version = _version()
            if version < OLDEST:
                words = ".".join(map(str, version))
                raise MissingError(f"pyroute2 {words} is too old", "0.7.2 or newer is needed")
            return [importlib.import_module(f"pyroute2.{part}") for part in PARTS]
    except ImportError as error:
        raise MissingError(f"pyroute2 is not installed ({error})", "apt-get install python3-pyroute2") from None


@contextlib.contextmanager
def _package():
    """A package pyroute2 that is empty but for its place, unless it is not needed or the whole is there.

    The whole takes 0.3 s of CPU, with a database, a shell and a web server in it: six times as long as what is used here, and half of a
    module's call. Who imports pyroute2 afterwards gets the whole.
    """
    if "pyroute2" in sys.modules or all(f"pyroute2.{part}" in sys.modules for part in PARTS):
        yield
        return
    spec = importlib.util.find_spec("pyroute2")
    if not spec:
        raise ModuleNotFoundError("No module named 'pyroute2'")
    sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules["pyroute2"]


def _version():
    try:
        words = importlib.import_module("pyroute2.config.version").__version__
    except ModuleNotFoundError:  # Debian 12's package
        from importlib import metadata

        words = metadata.version("pyroute2")
    return tuple(int(part) for part in words.split(".")[:3] if part.isdigit())


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
