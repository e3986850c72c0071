# SPDX-License-Identifier: GPL-3.0-or-later
"""The VNI filter of VXLAN devices: RTM_*TUNNEL of linux/rtnetlink.h, struct tunnel_msg and VXLAN_VNIFILTER_* of
linux/if_link.h, which pyroute2 does not know.
"""

from __future__ import annotations

import struct

from .._model import vnis
from . import codec

RTM_NEWTUNNEL, RTM_DELTUNNEL, RTM_GETTUNNEL = 120, 121, 122
AF_BRIDGE = 7
TUNNEL = struct.Struct("=BBHI")  # family, flags, reserved, ifindex
ENTRY, START, END = 1, 1, 2
NLA_F_NESTED = 0x8000


def entry(index, first, last):
    """The request's body for the VNIs from first to last."""
    numbers = codec.attribute(START, codec.U32.pack(first)) + codec.attribute(END, codec.U32.pack(last))
    return TUNNEL.pack(AF_BRIDGE, 0, 0, index) + codec.attribute(ENTRY | NLA_F_NESTED, numbers)


def read(sock):
    """{ifindex: its VNIs as one text} of the network namespace's devices that have any."""
    found = {}
    for data, start in sock.answers(TUNNEL.pack(AF_BRIDGE, 0, 0, 0), RTM_GETTUNNEL, "reading the VNI filters"):
        end = start + codec.U32.unpack_from(data, start)[0]
        index = TUNNEL.unpack_from(data, start + codec.HEADER.size)[3]
        found.setdefault(index, []).extend(_ranges(data, start + codec.HEADER.size + TUNNEL.size, end))
    return {index: vnis.folded(sorted(ranges)) for index, ranges in found.items()}


def _ranges(data, at, end):
    """(first, last) of each entry of a message. The kernel folds what follows one another and leaves END out for one."""
    while at + 4 <= end:
        length, kind = codec.ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        inner = codec.attributes(data, at + 4, at + length)
        if kind & codec.TYPE_MASK == ENTRY and START in inner:
            first = codec.number(inner[START])
            yield first, codec.number(inner.get(END), first)
        at += codec.align(length)
