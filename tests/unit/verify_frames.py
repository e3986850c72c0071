# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of role verify, and frames of an underlay by hand, for the tests of what verify sees there."""

import importlib.util
import socket
import struct
from pathlib import Path

FILES = Path(__file__).parents[2] / "roles" / "verify" / "files"
MARKER = "00112233445566778899aabbccddeeff"


def program(name):
    spec = importlib.util.spec_from_file_location(f"verify_{name}", FILES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


encryption, rogue = program("encryption"), program("rogue")


# What a frame is. Headers by hand, from RFC 791, 8200, 768, 7348, 4303 and 3948, and IEEE 802.1AE.

MACS = bytes.fromhex("020000000002020000000001")
INNER = bytes.fromhex("505433000002505433000001")
PING = b"\x08\x00" + bytes(46)
SECTAG = {  # TCI and AN, short length, packet number, SCI
    "encrypted": bytes.fromhex("88e52c00000000010200000000010001"),
    "encrypted, no SCI": bytes.fromhex("88e50c0000000001"),
    "readable": bytes.fromhex("88e52000000000010200000000010001"),
    "readable, no SCI": bytes.fromhex("88e5000000000001"),
}


def ipv4(protocol, payload, fragment=0):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
    return b"\x08\x00" + head + bytes([203, 0, 113, 1, 203, 0, 113, 2]) + payload


def ipv6(protocol, payload, extensions=b""):
    head = struct.pack("!IHBB", 6 << 28, len(extensions) + len(payload), protocol, 64)
    ends = (socket.inet_pton(socket.AF_INET6, one) for one in ("2001:db8:1::1", "2001:db8:2::1"))
    return b"\x86\xdd" + head + b"".join(ends) + extensions + payload


def udp(dport, payload, sport=50000):
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def vxlan(inner, flags=8):
    return struct.pack("!BxxxI", flags, 100 << 8) + INNER + inner


CLEAR = udp(4789, vxlan(PING))
ESP = bytes.fromhex("c0ffee0100000001") + bytes(40)
FRAMES = [
    ("vxlan", ipv4(17, CLEAR)),
    ("vxlan", ipv6(17, CLEAR)),
    ("vxlan", b"\x81\x00\x00\x07" + ipv6(17, CLEAR)),
    ("vxlan", b"\x88\xa8\x00\x07\x81\x00\x00\x08" + ipv4(17, CLEAR)),
    ("vxlan", ipv6(0, CLEAR, bytes([17, 0]) + bytes(6))),
    ("vxlan", ipv6(60, CLEAR, bytes([43, 1]) + bytes(14) + bytes([17, 0]) + bytes(6))),
    ("vxlan", ipv6(44, CLEAR, bytes([17, 0]) + struct.pack("!HI", 1, 9))),
    ("vxlan", SECTAG["readable"] + ipv4(17, CLEAR)),
    ("vxlan", SECTAG["readable, no SCI"] + ipv6(17, CLEAR)),
    ("vxlan", ipv4(17, udp(4789, vxlan(SECTAG["readable"] + PING)))),
    ("vxlan-macsec", ipv4(17, udp(4789, vxlan(SECTAG["encrypted"] + bytes(60))))),
    ("vxlan-macsec", ipv6(17, udp(4789, vxlan(SECTAG["encrypted, no SCI"] + bytes(60))))),
    ("vxlan", ipv6(17, udp(4789, vxlan(b"\x88\x8e" + bytes(60))))),
    ("macsec", SECTAG["encrypted"] + bytes(90)),
    ("macsec", SECTAG["encrypted, no SCI"] + bytes(90)),
    ("macsec", b"\x81\x00\x00\x07" + SECTAG["encrypted"] + bytes(90)),
    ("esp", ipv4(50, ESP)),
    ("esp", ipv6(50, ESP)),
    ("esp", ipv4(17, udp(4500, ESP))),
    ("esp", ipv6(17, udp(33333, ESP, sport=4500))),
    ("other", ipv4(17, udp(4500, bytes(4) + ESP))),  # IKE
    ("other", ipv4(17, udp(4500, b"\xff"))),
    ("other", ipv4(17, udp(4788, vxlan(PING)))),
    ("other", ipv4(17, udp(4789, vxlan(PING, flags=0)))),
    ("other", ipv4(17, CLEAR, fragment=185)),
    ("other", ipv6(44, CLEAR, bytes([17, 0]) + struct.pack("!HI", 185 << 3, 9))),
    ("other", ipv4(1, bytes(40))),
    ("other", b"\x08\x06" + bytes(28)),
]
