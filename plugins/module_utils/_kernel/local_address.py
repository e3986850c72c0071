# SPDX-License-Identifier: GPL-3.0-or-later
"""One address of this host: where it is, adding and removing it, and keeping packets to it coming in for a while after."""

from __future__ import annotations

import errno as errnos
import socket
import struct
from collections import namedtuple

from .._model.errors import InputError, KernelError
from . import codec, table

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x02, 0x08, 0x40
RTA_DST, RTA_OIF, RTA_PRIORITY = 1, 4, 6
TABLE_LOCAL, RTN_LOCAL, SCOPE_HOST = 255, 2, 254
PROTOCOL = 118  # the collection's mark, _model/values.py
METRIC = 118  # of the route that stands in for an address; the address's own has 0
IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst length, src length, tos, table, protocol, scope, type, flags

Place = namedtuple("Place", "dev length failed tentative")  # failed: another host has the address (IPv6 DAD)


class LocalAddresses:
    """The addresses of this network namespace, packed."""

    def __init__(self):
        self._tables = table.Tables()

    def close(self):
        self._tables.close()

    def places(self, address):
        """A Place for each device that has the address."""
        return table.steady("addresses", lambda: self._places(address))

    def _places(self, address):
        found = []
        body = IFADDRMSG.pack(_family(address), 0, 0, 0, 0)
        for data, _stride in self._tables.socket.dump(RTM_GETADDR, body, "addresses"):
            for kind, _flags, _seq, start, end in codec.messages(data):
                if kind != RTM_NEWADDR or end - start < 16 + IFADDRMSG.size:
                    continue
                _family_, length, flags, _scope, index = IFADDRMSG.unpack_from(data, start + 16)
                known = codec.attributes(data, start + 16 + IFADDRMSG.size, end)
                # IFA_ADDRESS is the peer's on a point-to-point device, and IPv6 has no IFA_LOCAL elsewhere.
                if known.get(IFA_LOCAL, known.get(IFA_ADDRESS)) == address:
                    dev = self._tables.name(index)
                    found.append(Place(dev, length, bool(flags & IFA_F_DADFAILED), bool(flags & IFA_F_TENTATIVE)))
        return found

    def add(self, dev, address):
        """Add the address as a host's, without DAD. False when the device has it already."""
        try:
            self._change(RTM_NEWADDR, dev, address, codec.NLM_F_CREATE | codec.NLM_F_EXCL)
        except KernelError as error:
            if error.errno != errnos.EEXIST:
                raise
            return False
        return True

    def remove(self, dev, address):
        """False when the device has not got it (any more)."""
        try:
            self._change(RTM_DELADDR, dev, address, 0)
        except KernelError as error:
            if error.errno not in (errnos.EADDRNOTAVAIL, errnos.ENODEV):
                raise
            return False
        return True

    def _change(self, kind, dev, address, flags):
        index = self._index(dev)
        ours = codec.attribute(IFA_LOCAL, address) + codec.attribute(IFA_ADDRESS, address)
        body = IFADDRMSG.pack(_family(address), 8 * len(address), IFA_F_NODAD, 0, index) + ours
        self._tables.socket.request(kind, body, f"{_shown(address)} on {dev}", flags)

    def hold(self, address):
        """Packets to the address go on coming in when it is removed, until `release`: a local route by itself.

        Routing daemons announce addresses, so that the address can be withdrawn while frames are still on their way.
        """
        self._route(RTM_NEWROUTE, address, codec.NLM_F_CREATE, ())

    def release(self, address):
        self._route(RTM_DELROUTE, address, 0, (errnos.ESRCH,))

    def _route(self, kind, address, flags, tolerated):
        head = RTMSG.pack(_family(address), 8 * len(address), 0, 0, TABLE_LOCAL, PROTOCOL, SCOPE_HOST, RTN_LOCAL, 0)
        body = head + codec.attribute(RTA_DST, address)
        body += codec.attribute(RTA_OIF, codec.U32.pack(self._index("lo")))
        body += codec.attribute(RTA_PRIORITY, codec.U32.pack(METRIC))
        try:
            self._tables.socket.request(kind, body, f"local route to {_shown(address)}", flags)
        except KernelError as error:
            if error.errno not in tolerated:
                raise

    def _index(self, dev):
        index = table.index_of(dev)
        if not index:
            raise InputError(f"device {dev} does not exist; make it first, or name another one")
        return index


def _family(address):
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _shown(address):
    return socket.inet_ntop(_family(address), address)
