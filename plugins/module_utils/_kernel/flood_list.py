# SPDX-License-Identifier: GPL-3.0-or-later
"""The flood list of a VXLAN device: where its all-zero MAC leads to, which is where BUM frames go.

The driver keeps one entry with one state for all destinations of a MAC (struct vxlan_fdb, docs/fdb.md), and whoever appends one
writes state and flags of the whole entry. So what is appended here says what the entry says already.
"""

from __future__ import annotations

import errno as errnos
import os
import socket
from dataclasses import dataclass

from .._model import values
from . import codec, rtnl
from .ndm import (
    BODY,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_NH_ID,
    NDA_PORT,
    NDA_SRC_VNI,
    NDA_VNI,
    NDMSG,
    NTF_EXT_LEARNED,
    NTF_OFFLOADED,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_PROBE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
)
from .table import NUMBERS, Tables, steady

AF_BRIDGE = 7
SO_NETNS_COOKIE = 71
STATE = NUD_PERMANENT | NUD_NOARP  # what `bridge fdb append ... self permanent` writes
ZERO = bytes(6)
_LLADDR = codec.attribute(NDA_LLADDR, ZERO)  # in dumps it comes first (vxlan_fdb_info)


@dataclass(frozen=True)
class Row:
    """One destination. `nud` and `flags` are those of the entry, and so of all its rows alike."""

    dst: bytes | None  # packed; None of a nexthop group
    vni: int | None
    port: int | None
    via: int | None  # a device's index
    nhid: int | None
    src_vni: int | None
    nud: int
    flags: int

    @property
    def plain(self):
        """Whether it is as `append` writes it, so that `delete` would hit it."""
        return self.dst is not None and (self.vni, self.port, self.via, self.nhid, self.src_vni) == (None,) * 5

    @property
    def reaches(self):
        """Whether a copy of a frame gets to that address as one of the device's own VNI and port."""
        return self.dst is not None and self.vni is None and self.port is None and self.src_vni is None

    @property
    def marked(self):
        """Whether the entry carries the collection's mark, see docs/architecture.md."""
        return bool(self.nud & NUD_PROBE)

    @property
    def extern_learn(self):
        return bool(self.flags & NTF_EXT_LEARNED)


class FloodLists(Tables):
    """Flood lists of this network namespace's VXLAN devices. A device is anything with `name` and `index`."""

    def space(self):
        """What tells this network namespace from any other of this boot."""
        try:
            return str(codec.number(self.socket.socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)))
        except OSError:  # kernels before 5.14
            return f"net:{os.stat('/proc/thread-self/ns/net').st_ino}"  # noqa: PTH116 (as plain as the rest here)

    def read(self, device):
        """All rows of a device's flood list."""
        what = f"fdb of {device.name}"
        return steady(what, lambda: self._read(device, what))

    def _read(self, device, what):
        rows = []
        body = NDMSG.pack(AF_BRIDGE, device.index, 0, 0, 0)
        for data, stride in self.socket.dump(RTM_GETNEIGH, body, what):
            for start, end in _spans(data, stride):
                row = _row(data, start, end, device.index)
                if row:
                    rows.append(row)
        return rows

    def append(self, device, addresses, like=None):
        """Add destinations, in packed form. like: a row that the list has, None where it is empty."""
        nud, flags = (like.nud, like.flags & ~NTF_OFFLOADED) if like else (STATE, NTF_SELF)
        kind = codec.NLM_F_REQUEST | codec.NLM_F_CREATE | codec.NLM_F_APPEND
        self._write("append", RTM_NEWNEIGH, kind, NDMSG.pack(AF_BRIDGE, device.index, nud, flags, 0), device, addresses)

    def delete(self, device, addresses):
        """Remove plain rows. One that is gone already is as it should be."""
        body = NDMSG.pack(AF_BRIDGE, device.index, 0, NTF_SELF, 0)
        self._write("delete", RTM_DELNEIGH, codec.NLM_F_REQUEST, body, device, addresses, (errnos.ENOENT,))

    def _write(self, word, kind, flags, body, device, addresses, tolerated=()):
        addresses = list(addresses)
        body += _LLADDR
        for at in range(0, len(addresses), rtnl.BATCH):
            some = addresses[at : at + rtnl.BATCH]
            pieces = []
            for number, address in zip(NUMBERS, some):
                end = codec.attribute(NDA_DST, address)
                head = codec.HEADER.pack(16 + len(body) + len(end), kind, flags, 0, 0)
                pieces += (head[:8], number, head[12:], body, end)
            what = f"fdb {word} {values.ZERO_MAC} dev {device.name} dst"
            self.send(what, b"".join(pieces), lambda i, some=some: text(some[i]), tolerated)


def text(address):
    """A packed address in words."""
    return socket.inet_ntop(socket.AF_INET6 if len(address) == 16 else socket.AF_INET, address)


def _spans(data, stride):
    """(start, end) of the messages of a dump that may be rows of the all-zero MAC."""
    if stride:
        for start in range(0, len(data), stride):
            if data[start + BODY : start + BODY + len(_LLADDR)] == _LLADDR:
                yield start, start + stride
    else:
        for kind, _flags, _seq, start, end in codec.messages(data):
            if kind == RTM_NEWNEIGH:
                yield start, end


def _row(data, start, end, index):
    """The row of a message, or None when it is not one of the device's flood list."""
    if end - start < BODY:
        return None
    family, of, nud, flags, _type = NDMSG.unpack_from(data, start + 16)
    if family != AF_BRIDGE or of != index:
        return None
    given = codec.attributes(data, start + BODY, end)
    if given.get(NDA_LLADDR) != ZERO or not flags & NTF_SELF:
        return None
    port = given.get(NDA_PORT)
    return Row(
        dst=given.get(NDA_DST),
        vni=codec.number(given.get(NDA_VNI)),
        port=int.from_bytes(port, "big") if port else None,
        via=codec.number(given.get(NDA_IFINDEX)),
        nhid=codec.number(given.get(NDA_NH_ID)),
        src_vni=codec.number(given.get(NDA_SRC_VNI)),
        nud=nud,
        flags=flags,
    )
