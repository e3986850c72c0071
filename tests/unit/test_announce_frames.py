# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcements: frames byte by byte, tables, what is refused before anything is sent, and a queue that is full."""

import errno
import struct

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import announce as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model import announce as model
from ansible_collections.vtep.fabric.plugins.module_utils._model import values
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError, KernelError

MAC = bytes.fromhex("505433000001")
OWN = bytes.fromhex("0200000000aa")


def test_arp_byte_by_byte():
    """RFC 826: hardware 1, protocol 0800, lengths 6 and 4, request; RFC 5227: sender is target, the target's MAC is zero."""
    assert model.frame(values.pack("192.0.2.10"), MAC).hex(" ") == (
        "ff ff ff ff ff ff 50 54 33 00 00 01 08 06 "
        "00 01 08 00 06 04 00 01 50 54 33 00 00 01 c0 00 02 0a 00 00 00 00 00 00 c0 00 02 0a"
    )


def test_neighbour_advertisement_byte_by_byte():
    """The checksum by hand: twice 2001+0db8+00ff+0010 (source and target), ff02+0001, 0020+003a, 8800+2000+0201,
    and 5054+3300+0001 add up to 0x28a43, with the carry 0x8a45, inverted 0x75ba."""
    assert model.frame(values.pack("2001:db8:ff::10"), MAC).hex(" ") == (
        "33 33 00 00 00 01 50 54 33 00 00 01 86 dd "
        "60 00 00 00 00 20 3a ff "
        "20 01 0d b8 00 ff 00 00 00 00 00 00 00 00 00 10 "
        "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01 "
        "88 00 75 ba 20 00 00 00 "
        "20 01 0d b8 00 ff 00 00 00 00 00 00 00 00 00 10 "
        "02 01 50 54 33 00 00 01"
    )


def added_up(frame):
    """The sum of pseudo header and message by RFC 1071, word by word with end-around carry: 0xffff in a sound packet."""
    total = 0
    for word in struct.unpack("!36H", frame[22:54] + struct.pack("!LL", 32, 58) + frame[54:]):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("last", [0, 1, 0x3B16, 0x3B17, 0x3B18, 0xFFFF])
@pytest.mark.parametrize(
    "first", ["::", "fe80::", "2001:db8:ffff:ffff:ffff:ffff:ffff:", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:"]
)
def test_checksums_are_right(first, last):
    for mac in (MAC, b"\2" + b"\xff" * 5, b"\2" + bytes(5)):
        assert added_up(model.frame(values.pack(f"{first}{last:x}"), mac)) == 0xFFFF


def test_a_checksum_of_zero_is_sent_as_zero():
    """Only UDP writes 0xffff instead (RFC 8200, section 8.1). Of 65536 addresses in a row one has it, or two."""
    zero = [
        frame
        for frame in (model.frame(values.pack(f"2001:db8::{last:x}"), MAC) for last in range(0x10000))
        if frame[56:58] in (b"\0\0", b"\xff\xff")
    ]
    assert zero
    assert all(frame[56:58] == b"\0\0" and added_up(frame) == 0xFFFF for frame in zero)


def segment(table, ports=("eth1", "eth2")):
    return {"ports": list(ports), "table": table}


def test_where_what_is_announced():
    [one] = model.segments(
        [
            segment(
                """
                # h1
                192.0.2.10 lladdr 50-54-33-00-00-01 port eth2
                192.0.2.11

                2001:DB8:0::1 port eth1
                """
            )
        ]
    )
    h1, h2, h3 = map(values.pack, ("192.0.2.10", "192.0.2.11", "2001:db8::1"))
    assert list(one.frames("eth1", OWN)) == [model.frame(h1, MAC), model.frame(h2, OWN)]
    assert list(one.frames("eth2", OWN)) == [model.frame(h2, OWN), model.frame(h3, OWN)]
    assert len(one) == 4


def test_nothing_to_announce():
    assert model.segments([]) == []
    assert [len(one) for one in model.segments([segment(""), segment("192.0.2.1 port eth3\n", ["eth3"])])] == [0, 0]


def test_all_faults_are_told_at_once():
    table = """192.0.2.10
192.0.2.300
224.0.0.1
ff02::1
0.0.0.0
192.0.2.0/24
192.0.2.11 lladdr 50:54:33:00:00
192.0.2.12 lladdr 01:00:5e:00:00:01
192.0.2.13 port eth9
192.0.2.14 dev eth1
192.0.2.15 lladdr
# and once more
192.0.2.10 port eth1
2001:db8::1
2001:DB8::0:1
"""
    with pytest.raises(InputError) as caught:
        model.segments([segment(table), segment("", ["eth3", "eth1", "eth/4"]), segment("192.0.2.10", [])])
    wanted = [
        "segments 1: table row 2: '192.0.2.300' is not an IP address",
        "segments 1: table row 3: '224.0.0.1' is not the address of one station",
        "segments 1: table row 4: 'ff02::1' is not the address of one station",
        "segments 1: table row 5: '0.0.0.0' is not the address of one station",
        "segments 1: table row 6: '192.0.2.0/24' is not an IP address",
        "segments 1: table row 7: '50:54:33:00:00' is not a MAC address",
        "segments 1: table row 8: '01:00:5e:00:00:01' is not a unicast MAC address",
        "segments 1: table row 9: port 'eth9' is none of the segment's ports",
        "segments 1: table row 10: 'dev' is not a word of this table; known are lladdr, port",
        "segments 1: table row 11: 'lladdr' lacks its value",
        "segments 1: table row 13: 192.0.2.10 is in row 1 too",
        "segments 1: table row 15: 2001:db8::1 is in row 14 too",
        "segments 2: ports: 'eth1' is in segments 1 already",
        "segments 2: ports: 'eth/4' is not a device name",
        "segments 3: ports: empty",
    ]
    for words, fault in zip(wanted, caught.value.faults):
        assert fault.startswith(words)
    assert len(caught.value.faults) == len(wanted)


class Queue:
    """A socket whose queue takes one frame, and room for another after so many refusals."""

    def __init__(self, refusals):
        self.refusals, self.refused, self.sent = refusals, 0, []

    def send(self, frame):
        if self.sent and self.refused < self.refusals:
            self.refused += 1
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self.refused = 0
        self.sent.append(frame)


def ports(queue):
    made = kernel.Ports([])
    made.sockets["eth1"] = queue
    return made


def test_a_full_queue_loses_no_frame(monkeypatch):
    monkeypatch.setattr(kernel, "PAUSE", 0)
    queue = Queue(3)
    ports(queue).send("eth1", [b"a", b"b", b"c"])
    assert queue.sent == [b"a", b"b", b"c"]


def test_a_queue_that_stays_full_ends_the_run(monkeypatch):
    monkeypatch.setattr(kernel, "PAUSE", 0)
    queue = Queue(10**9)
    with pytest.raises(KernelError, match="send out of eth1: No buffer space available"):
        ports(queue).send("eth1", [b"a", b"b"])
    assert queue.sent == [b"a"]
