# SPDX-License-Identifier: GPL-3.0-or-later
"""Generic netlink (linux/genetlink.h): one family, its requests and its dumps.

A family has a name; its number is the kernel's choice and is asked for when it is first needed, which may load the kernel
module that has it.
"""

from __future__ import annotations

import errno
import os
import struct

from .._model.errors import KernelError
from . import codec, rtnl

NETLINK_GENERIC = 16
CONTROLLER, GET_FAMILY = 0x10, 3  # GENL_ID_CTRL, CTRL_CMD_GETFAMILY
FAMILY_ID, FAMILY_NAME = 1, 2  # CTRL_ATTR_*
HEADER = struct.Struct("=BBH")  # struct genlmsghdr: command, version, reserved
START = codec.HEADER.size + HEADER.size  # where a message's attributes begin
NESTED = 0x8000  # NLA_F_NESTED
PATIENCE = 10  # dumps that are tried again when the table changes under them


def body(command, version, attributes):
    return HEADER.pack(command, version, 0) + attributes


class Family:
    def __init__(self, name, version):
        self.name, self.version = name, version
        self.rtnl = rtnl.Rtnl(protocol=NETLINK_GENERIC)
        self.known = None

    def close(self):
        self.rtnl.close()

    def number(self):
        """The family's number. KernelError with ENOENT where the kernel has none of that name."""
        if self.known is None:
            name = codec.attribute(FAMILY_NAME, self.name.encode() + b"\0")
            reply = self._send(CONTROLLER, body(GET_FAMILY, 1, name), f"generic netlink family {self.name}")
            found = codec.attributes(reply[0], reply[1] + START, reply[2]) if reply else {}
            if FAMILY_ID not in found:
                raise KernelError(f"generic netlink family {self.name}", errno.EPROTO)
            self.known = codec.number(found[FAMILY_ID])
        return self.known

    def request(self, command, attributes, what):
        """Send a request and wait for its acknowledgement. `what` says in words what was tried."""
        self._send(self.number(), body(command, self.version, attributes), what)

    def dump(self, command, attributes, what):
        """{attribute: payload} of each answer. A dump that the table changed under is asked for again."""
        for left in reversed(range(PATIENCE)):
            try:
                return [
                    codec.attributes(data, start + START, end)
                    for data, _stride in self.rtnl.dump(self.number(), body(command, self.version, attributes), what)
                    for _kind, _flags, _sequence, start, end in codec.messages(data)
                ]
            except rtnl.Interrupted:
                if not left:
                    raise KernelError(what, errno.EBUSY, "it changes faster than it can be read") from None
        raise AssertionError("a dump ends with a return or an error")

    def _send(self, kind, payload, what):
        try:
            return self.rtnl.request(kind, payload, what)
        except KernelError as error:
            if error.errno == errno.EPERM and error.text == os.strerror(errno.EPERM):
                text = f"{error.text}: it takes root or CAP_NET_ADMIN (become: true)"
                raise KernelError(what, errno.EPERM, text) from None
            raise


def nested(kind, attributes):
    return codec.attribute(kind | NESTED, attributes)
