# SPDX-License-Identifier: GPL-3.0-or-later
"""The netlink wire format: headers, attributes and error replies (linux/netlink.h). No table is known here.

Whatever comes in is read by its declared lengths, checked against what is there: a bad reply ends a walk, no more.
"""

from __future__ import annotations

import struct
import sys

NLMSG_ERROR, NLMSG_NOOP, NLMSG_DONE = 2, 1, 3
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x2, 0x4, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # flags of an error reply
NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
ATTRIBUTE = struct.Struct("=HH")  # length, type
U16, U32, S32 = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=i")
TYPE_MASK = 0x3FFF  # without the bits for "nested" and "network byte order"


def align(length):
    return length + 3 & ~3


def attribute(kind, payload):
    """One attribute, padded."""
    return ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data, start, end):
    """{type: payload} of the attributes in data[start:end]."""
    found = {}
    end = min(end, len(data))
    while start + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            break
        found[kind & TYPE_MASK] = data[start + 4 : start + length]
        start += align(length)
    return found


def message(kind, flags, seq, body):
    return HEADER.pack(16 + len(body), kind, flags, seq, 0) + body


def messages(data):
    """(type, flags, sequence number, start, end) of each message in a datagram; header included, padding not."""
    at = 0
    while at + 16 <= len(data):
        length, kind, flags, seq, dummy = HEADER.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            break
        yield kind, flags, seq, at, at + length
        at += align(length)


def stride(data):
    """The length of each message when all in a datagram have one length and one type (dumps mostly do), else 0."""
    length = U32.unpack_from(data)[0] if len(data) >= 16 else 0
    if length < 16 or length % 4 or len(data) % length or length >= 1 << 16:
        return 0
    count = len(data) // length
    same = all(data[at::length] == data[at : at + 1] * count for at in range(6))
    return length if same else 0


def error(data, start, end, flags):
    """(errno, the kernel's words or None) of an NLMSG_ERROR or NLMSG_DONE. The request's copy begins at start + 20."""
    if start + 20 > end:
        return 0, None
    errno = -S32.unpack_from(data, start + 16)[0]
    at = start + 20
    if not flags & NLM_F_ACK_TLVS:
        return errno, None
    if at + 16 <= end:
        copied = HEADER.unpack_from(data, at)[0]
        at += 16 if flags & NLM_F_CAPPED else align(copied)
    return errno, text(attributes(data, at, end).get(NLMSGERR_ATTR_MSG))


def number(payload, default=None):
    """An unsigned integer in host byte order, of whatever width; the default when there is none."""
    return int.from_bytes(payload, sys.byteorder) if payload else default


def text(payload):
    """A string without the zero byte at its end; None when there is none."""
    return payload.rstrip(b"\0").decode("utf-8", "replace") if payload else None
