# SPDX-License-Identifier: GPL-3.0-or-later
"""What the adapters of tables share: their socket, looking up devices, reading a table while it stands still, sending rows."""

from __future__ import annotations

import errno as errnos
import socket
import struct

from .._model.errors import KernelError
from . import codec, rtnl

RTM_GETLINK = 18
IFLA_IFNAME = 3
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
TRIES = 5  # reads of a table that changes meanwhile
NUMBERS = [codec.U32.pack(i) for i in range(rtnl.BATCH)]  # the sequence numbers of a batch


class Tables:
    """Tables of this network namespace, by a socket that is opened when it is first needed."""

    def __init__(self):
        self._socket = None
        self._names = {}

    def close(self):
        if self._socket:
            self._socket.close()
            self._socket = None

    @property
    def socket(self):
        self._socket = self._socket or rtnl.Rtnl()
        return self._socket

    def link(self, name):
        """(index, flags, {attribute: payload}) of the device of a name, or None."""
        body = bytes(IFINFOMSG.size) + codec.attribute(IFLA_IFNAME, name.encode() + b"\0")
        try:
            reply = self.socket.request(RTM_GETLINK, body, f"link {name}")
        except KernelError as error:
            if error.errno == errnos.ENODEV:
                return None
            raise
        if not reply or reply[2] - reply[1] < 16 + IFINFOMSG.size:
            raise KernelError(f"link {name}", errnos.EBADMSG)
        data, start, end = reply
        _family, _type, index, flags, _change = IFINFOMSG.unpack_from(data, start + 16)
        return index, flags, codec.attributes(data, start + 16 + IFINFOMSG.size, end)

    def name(self, index):
        if index not in self._names:
            try:
                self._names[index] = socket.if_indextoname(index)
            except OSError:
                self._names[index] = f"ifindex {index}"
        return self._names[index]

    def send(self, what, payload, row, tolerated=()):
        """Send a batch, numbered by NUMBERS; the numbers of rows whose errors are tolerated. The error names the first row that failed,
        which `row` tells by its number."""
        failures, spared = [], []
        for data in self.socket.batch(payload):
            for kind, flags, seq, start, end in codec.messages(data):
                if kind == codec.NLMSG_ERROR:
                    errno, text = codec.error(data, start, end, flags)
                    if errno in tolerated:
                        spared.append(seq)
                    elif errno:
                        failures.append((seq, errno, text))
        if failures:
            seq, errno, text = failures[0]
            more = f" (and {len(failures) - 1} more rows of its batch)" if len(failures) > 1 else ""
            raise KernelError(f"{what} {row(seq)}{more}", errno, text)
        return spared


def steady(what, read):
    """What `read` returns when the table did not change under it."""
    for _dummy in range(TRIES):
        try:
            return read()
        except rtnl.Interrupted:
            continue
    raise KernelError(what, errnos.EAGAIN, "the table keeps changing while it is read")


def index_of(name):
    """The index of a device, 0 when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
