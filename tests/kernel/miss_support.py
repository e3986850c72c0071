# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that VXLAN devices know no way for, made by hand."""

import contextlib
import socket
import struct
import time

STATION = bytes.fromhex("020000000001")
ALL = b"\xff" * 6


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def frame(to):
    return to + STATION + b"\x88\xb5" + bytes(46)  # an EtherType for local experiments (IEEE 802)


def arp(address):
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ALL + STATION + b"\x08\x06" + head + STATION + packed("10.0.0.1") + bytes(6) + packed(address)


def solicitation(address):
    """A neighbour solicitation (RFC 4861) for an IPv6 address."""
    target, source = packed(address), packed("fd00::1")
    group = packed("ff02::1:ff00:0")[:13] + target[13:]
    body = b"\x87\0\0\0\0\0\0\0" + target + b"\x01\x01" + STATION
    body = body[:2] + _checksum(source + group + struct.pack("!II", len(body), 58) + body) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    return b"\x33\x33" + group[12:] + STATION + b"\x86\xdd" + head + source + group + body


def _checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def send(dev, *frames):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as made:
        made.bind((dev, 0))
        for one in frames:
            made.send(one)


def until(condition, seconds=20):
    """What the condition told when it held."""
    end = time.monotonic() + seconds
    while not (told := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return told


@contextlib.contextmanager
def closing(made):
    try:
        yield made
    finally:
        made.close()
