# SPDX-License-Identifier: GPL-3.0-or-later
"""A netlink socket that hears what the kernel tells, and of that only what is wanted."""

from __future__ import annotations

import socket
import struct
from array import array

from . import rtnl

SO_ATTACH_FILTER = 26


def listen(groups, room, kinds=(), ignore=()):
    """A socket for notifications of some groups (RTMGRP_*), non-blocking, with so large a buffer, as far as that is allowed.

    kinds: message types that alone get in. ignore: of these, messages of a type and family with any of some bits set in the
    octet at an offset, as (type, family, offset, bits), or with some four octets there. What the socket does not take in costs no
    buffer, and no time.
    """
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        rtnl.grow(made, room)
        if kinds:
            code = _program(kinds, ignore)
            given = struct.pack("@HP", len(code) // _STATEMENT.size, code.buffer_info()[0])
            made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, given)
        made.bind((0, groups))  # only now, so that nothing gets past the filter
    except BaseException:
        made.close()
        raise
    return made


# Classic BPF (linux/filter.h): load a word, a half-word or an octet, compare, return. What is loaded is taken for network order.
_LOAD_WORD, _LOAD_HALF, _LOAD_OCTET, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x45, 0x06
_TYPE, _FAMILY = 4, 16  # where they are in a message
_STATEMENT = struct.Struct("@HBBI")


def _program(kinds, ignore):
    """A filter of `listen`. It sees one message at a time, since notifications come one a datagram."""
    steps = []
    for kind, family, offset, bits in ignore:
        steps += [(_LOAD_HALF, 0, 0, _TYPE), (_EQUAL, 0, 5, socket.htons(kind))]
        steps += [(_LOAD_OCTET, 0, 0, _FAMILY), (_EQUAL, 0, 3, family)]
        if isinstance(bits, bytes):
            steps += [(_LOAD_WORD, 0, 0, offset), (_EQUAL, 0, 1, int.from_bytes(bits, "big"))]
        else:
            steps += [(_LOAD_OCTET, 0, 0, offset), (_ANY_BIT, 0, 1, bits)]
        steps.append((_RETURN, 0, 0, 0))
    steps.append((_LOAD_HALF, 0, 0, _TYPE))
    for kind in kinds:
        steps += [(_EQUAL, 0, 1, socket.htons(kind)), (_RETURN, 0, 0, 0xFFFFFFFF)]
    steps.append((_RETURN, 0, 0, 0))
    return array("B", b"".join(_STATEMENT.pack(*step) for step in steps))
