# SPDX-License-Identifier: GPL-3.0-or-later
"""Primitives of the protobuf wire format: varints and fields, always within bounds."""

from __future__ import annotations

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
MAX_NUMBERS = 256  # fields of one message that are not length-delimited; ours have ten at most
MAX_DEPTH = 100  # of groups in groups, as protobuf's own decoders have it
_SHORT = [bytes((value,)) for value in range(128)]
_SKIPPED = {FIXED64: 8, FIXED32: 4}


class Malformed(ValueError):
    """A message that cannot be read; the text says why."""


def varint(value):
    """The shortest encoding of a number from 0 to 2^64-1."""
    if 0 <= value < 128:
        return _SHORT[value]
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} is not an unsigned number of 64 bits")
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def read_varint(data, at, end):
    """(number, where it ends)."""
    value = shift = 0
    while at < end:
        octet = data[at]
        at += 1
        value |= (octet & 127) << shift
        if octet < 128:
            if value >> 64:
                raise Malformed("a number of more than 64 bits")
            return value, at
        shift += 7
        if shift == 70:
            raise Malformed("a number of more than ten octets")
    raise Malformed("cut short within a number")


def packed(tag, payload):
    """A length-delimited field; tag is its first octet."""
    return b"".join((_SHORT[tag], varint(len(payload)), payload))


def fields(data, at, end):
    """(number, wire type, value) of each varint (an int) and length-delimited field (start, end) of a message. Fixed-size
    fields and groups are in none of our messages: they are skipped. Small fields without end would cost time, without use."""
    numbers = 0
    while at < end:
        tag = data[at]
        if tag < 128:
            at += 1
        else:
            tag, at = read_tag(data, at, end)
        kind = tag & 7
        if tag < 8:
            raise Malformed("field number 0")
        if kind == BYTES:
            size, at = read_varint(data, at, end)
            if size > end - at:
                raise Malformed(f"field {tag >> 3} is longer than what is left")
            yield tag >> 3, BYTES, (at, at + size)
            at += size
            continue
        numbers += 1
        if numbers > MAX_NUMBERS:
            raise Malformed(f"more than {MAX_NUMBERS} fields that are numbers or groups")
        if kind == VARINT:
            value, at = read_varint(data, at, end)
            yield tag >> 3, VARINT, value
        else:
            at = skip(data, at, end, tag)


def read_tag(data, at, end):
    tag, at = read_varint(data, at, end)
    if tag >> 32:
        raise Malformed("a field number of more than 29 bits")
    return tag, at


def skip(data, at, end, tag):
    """Where a field that is not wanted ends; at is behind its tag. Groups are followed without recursion."""
    groups, pieces = [], 0
    while True:
        pieces += 1
        if pieces > MAX_NUMBERS:
            raise Malformed(f"more than {MAX_NUMBERS} fields within a group")
        kind = tag & 7
        if kind == GROUP:
            groups.append(tag >> 3)
            if len(groups) > MAX_DEPTH:
                raise Malformed(f"groups more than {MAX_DEPTH} deep")
        elif kind == END_GROUP:
            if not groups or groups.pop() != tag >> 3:
                raise Malformed("the end of a group that was not begun")
        elif kind == VARINT:
            at = read_varint(data, at, end)[1]
        elif kind == BYTES:
            size, at = read_varint(data, at, end)
            at += size
        elif kind in _SKIPPED:
            at += _SKIPPED[kind]
        else:
            raise Malformed(f"wire type {kind}")
        if at > end:
            raise Malformed(f"field {tag >> 3} is longer than what is left")
        if not groups:
            return at
        tag, at = read_tag(data, at, end)
        if tag < 8:
            raise Malformed("field number 0")
