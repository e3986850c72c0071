# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bridge has in its forwarding table for one of its ports."""

from __future__ import annotations

import errno as errnos
from collections import namedtuple

from .._model.errors import KernelError
from . import codec, rtnl
from .ndm import BODY, NDA_LLADDR, NDA_MASTER, NDA_VLAN, NDMSG, NTF_MASTER, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from .table import steady

AF_BRIDGE = 7

Row = namedtuple("Row", "master mac vlan state flags")  # master: the bridge's index; vlan: 0 where there is none


class BridgeRows:
    """Reads rows by a socket of its own, which is opened when it is first needed."""

    def __init__(self):
        self._socket = None

    def close(self):
        if self._socket:
            self._socket.close()
            self._socket = None

    def of(self, port):
        """The rows of the port with this index; none when it has gone. Raises KernelError."""
        what = f"list the bridge's rows of port {port}"
        try:
            return steady(what, lambda: self._read(port, what))
        except KernelError as error:
            self.close()  # an answer may still be on its way
            if error.errno == errnos.ENODEV:
                return []
            raise

    def remove(self, port, mac, vlan):
        """Let the bridge forget where a station is. Raises KernelError; what is gone already is as it should be."""
        body = NDMSG.pack(AF_BRIDGE, port, 0, NTF_MASTER, 0) + codec.attribute(NDA_LLADDR, mac)
        if vlan:
            body += codec.attribute(NDA_VLAN, codec.U16.pack(vlan))
        self._socket = self._socket or rtnl.Rtnl()
        try:
            self._socket.request(RTM_DELNEIGH, body, f"fdb delete {mac.hex(':')} of port {port}")
        except KernelError as error:
            if error.errno not in (errnos.ENOENT, errnos.ENODEV):
                raise

    def _read(self, port, what):
        self._socket = self._socket or rtnl.Rtnl()
        found = []
        for data, _stride in self._socket.dump(RTM_GETNEIGH, NDMSG.pack(AF_BRIDGE, port, 0, 0, 0), what):
            for kind, _flags, _seq, start, end in codec.messages(data):
                if kind != RTM_NEWNEIGH or end - start < BODY:
                    continue
                family, index, state, flags, _type = NDMSG.unpack_from(data, start + 16)
                told = codec.attributes(data, start + BODY, end)
                # What a device keeps for itself, such as a VXLAN device's rows, comes without a master.
                master, mac = codec.number(told.get(NDA_MASTER), 0), told.get(NDA_LLADDR, b"")
                if family == AF_BRIDGE and index == port and master and len(mac) == 6:
                    found.append(Row(master, mac, codec.number(told.get(NDA_VLAN), 0), state, flags))
        return found
