# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames on access ports teach: nothing but what their sender says of itself, and within bounds."""

import socket
import struct

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import snoop
from ansible_collections.vtep.fabric.plugins.module_utils._agent.snoop import Heard, claim
from hypothesis import example, given, settings
from hypothesis import strategies as st

MAC, OTHER = bytes.fromhex("505433000001"), bytes.fromhex("505433000002")
ALL = b"\xff" * 6
V4, V4_OTHER = bytes((192, 0, 2, 10)), bytes((192, 0, 2, 11))
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8:ff::10")
V6_OTHER = socket.inet_pton(socket.AF_INET6, "2001:db8:ff::11")
LINK = socket.inet_pton(socket.AF_INET6, "fe80::5254:33ff:fe00:1")
NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")
SOLICITED = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:11")
PADDING = bytes(18)  # a frame has 60 octets at least


def arp(operation=1, src=MAC, sender=None, address=V4, target=V4_OTHER, head=(1, 0x0800, 6, 4)):
    body = struct.pack("!HHBBH", *head, operation) + (sender or src) + address + bytes(6) + target
    return ALL + src + b"\x08\x06" + body + PADDING


def nd(kind, source, target, options, src=MAC, destination=SOLICITED, hops=255, code=0, extra=b"", wrong=0):
    message = bytes((kind, code, 0, 0)) + bytes(4) + target + options
    pseudo = source + destination + struct.pack("!II", len(message), 58) + message + bytes(len(message) % 2)
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + struct.pack("!H", (~total & 0xFFFF) ^ wrong) + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), 58, hops) + source + destination
    return b"\x33\x33\xff\0\0\x11" + src + b"\x86\xdd" + head + message + extra


def option(kind, mac=MAC):
    return bytes((kind, 1)) + mac


SOURCE, TARGET = option(1), option(2)


def solicit(source=V6, options=SOURCE, **more):
    return nd(135, source, V6_OTHER, options, **more)


def advert(target=V6, options=TARGET, source=LINK, **more):
    return nd(136, source, target, options, destination=NODES, **more)


@pytest.mark.parametrize(
    "frame, address",
    [
        (arp(1), V4),
        (arp(2), V4),
        (arp(1, target=V4), V4),  # an announcement
        (arp(1)[:42], V4),
        (solicit(), V6),
        (solicit(source=LINK), LINK),
        (solicit(options=b"\x0e\x01" + bytes(6) + option(1)), V6),  # an option that nobody knows
        (solicit(extra=bytes(6)), V6),  # the frame's padding
        (advert(), V6),
        (advert(target=LINK), LINK),
    ],
)
def test_what_a_frame_teaches(frame, address):
    assert claim(frame) == (MAC, address)


@pytest.mark.parametrize(
    "frame",
    [
        arp(1, address=bytes(4)),  # a probe (RFC 5227)
        arp(1, sender=OTHER),  # somebody else's
        arp(1, src=b"\x01" + MAC[1:]),
        arp(1, src=bytes(6)),
        arp(1, address=bytes((224, 0, 0, 1))),
        arp(1, address=b"\xff" * 4),
        arp(1, address=bytes((127, 0, 0, 1))),
        arp(1, address=bytes((0, 1, 2, 3))),
        arp(3),
        arp(0),
        arp(1, head=(6, 0x0800, 6, 4)),
        arp(1, head=(1, 0x86DD, 6, 4)),
        arp(1, head=(1, 0x0800, 8, 4)),
        arp(1, head=(1, 0x0800, 6, 16)),
        arp(1)[:41],
        b"",
        solicit(source=bytes(16)),  # duplicate address detection
        solicit(source=bytes(16), options=b""),
        solicit(options=b""),  # nothing tells whose address it is
        solicit(options=option(1, OTHER)),
        solicit(options=option(2)),
        solicit(options=option(1) + option(1)),
        solicit(options=option(1, OTHER) + option(1)),
        solicit(options=b"\x01\x00" + MAC),
        solicit(options=b"\x01\x02" + MAC),
        solicit(options=option(1) + b"\x0e"),
        solicit(src=OTHER),
        solicit(hops=254),
        solicit(code=1),
        solicit(source=NODES),
        solicit(wrong=1),
        solicit()[:80],
        nd(135, V6, SOLICITED, option(1)),
        nd(133, V6, V6_OTHER, option(1)),  # router discovery
        nd(137, V6, V6_OTHER, option(1)),  # redirect
        advert(target=NODES),
        advert(target=bytes(16)),
        advert(target=bytes(15) + b"\1"),
        advert(target=bytes(10) + b"\xff\xff" + V4),
        advert(source=bytes(16)),
        advert(options=option(1)),
        advert(options=option(2, OTHER)),
        advert(options=b""),
        ALL + MAC + b"\x81\x00\x00\x64\x08\x06" + arp(1)[14:],  # a VLAN's
        ALL + MAC + b"\x08\x00" + bytes(60),
        solicit(extra=bytes(snoop.LONGEST)),
    ],
)
def test_what_teaches_nothing(frame):
    assert claim(frame) is None


SOUND = [arp(1), arp(2), solicit(), advert(), solicit(source=LINK, options=option(1) + b"\x0e\x01" + bytes(6))]


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200))
@example(ALL + MAC + b"\x86\xdd")
def test_any_octets_are_read_or_refused(data):
    check(data)


@settings(max_examples=3000, deadline=None)
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
    st.integers(0, 200),
)
def test_damaged_frames(frame, damage, length):
    data = bytearray(frame)
    for at, value in damage:
        if at < len(data):
            data[at] = value
    check(bytes(data[:length]))


def check(data):
    found = claim(data)
    if found:
        mac, address = tuple(found)
        assert mac == data[6:12] and not mac[0] & 1 and any(mac)
        assert address in data and snoop.station(address) and len(address) in (4, 16)


# --- what the kernel's filter lets through: the program is run by a machine of our own


def passes(frame, kind=0, vlan=0):
    """What a socket would get of a frame."""
    known = {snoop._PKTTYPE: kind, snoop._VLAN: vlan}
    a, at = 0, 0
    while True:
        code, yes, no, operand = snoop.PROGRAM[at]
        at += 1
        if code in (snoop._LDB, snoop._LDH):
            size = 1 if code == snoop._LDB else 2
            if operand in known:
                a = known[operand]
            elif operand + size > len(frame):
                return 0
            else:
                a = int.from_bytes(frame[operand : operand + size], "big")
        elif code == snoop._AND:
            a &= operand
        elif code == snoop._JEQ:
            at += yes if a == operand else no
        else:
            return operand


def test_the_filter_lets_through_what_teaches():
    for frame in SOUND:
        assert passes(frame) > len(frame)
        assert passes(frame, vlan=0x2000) > 0, "priority only"
        assert not passes(frame, vlan=100)
        assert not passes(frame, kind=4), "sent by this host"
    assert not passes(nd(133, V6, V6_OTHER, option(1)))
    assert not passes(ALL + MAC + b"\x08\x00" + bytes(60))
    tcp = bytearray(solicit())
    tcp[20] = 6
    assert not passes(bytes(tcp))


# --- what is kept


def address(number):
    return struct.pack("!I", 0x0A000000 + number)


def mac(number):
    return b"\x02\0" + struct.pack("!I", number)


def test_addresses_of_a_mac():
    heard = Heard()
    assert heard.put(1, MAC, V4, 10) and heard.put(1, MAC, V6, 11) and heard.put(2, MAC, V6, 20)
    assert not heard.put(1, MAC, V4, 12)
    assert heard.of(1).get(MAC, {}) == {V4: 12, V6: 11}
    assert heard.of(2) == {MAC: {V6: 20}} and heard.of(3) == {}
    assert heard.of(1).get(OTHER, {}) == {}
    assert heard.ports({2}) and not heard.ports({2, 3})
    assert heard.of(1) == {} and heard.of(2) == {MAC: {V6: 20}}


def test_a_mac_has_sixteen_addresses():
    heard = Heard()
    for number in range(16):
        heard.put(1, MAC, address(number), number)
    heard.put(1, MAC, address(0), 16)  # heard again, so that another one gives way
    assert heard.put(1, MAC, address(99), 17)
    found = heard.of(1).get(MAC, {})
    assert len(found) == 16 and address(1) not in found and address(0) in found and address(99) in found
    assert heard.counters["evicted"] == 1


def test_a_port_has_4096_macs():
    heard = Heard()
    for number in range(4096):
        heard.put(1, mac(number), V4, number)
        heard.put(2, MAC, V4, number)
    heard.put(1, mac(0), V4, 5000)
    for number in range(4096, 4196):
        heard.put(1, mac(number), V4, number)
    assert len(heard) == 4096 + 1
    assert heard.of(1).get(mac(0), {}) and not heard.of(1).get(mac(100), {}) and heard.of(1).get(mac(101), {})
    assert heard.of(2).get(MAC, {}), "another port's are not touched"


def test_what_is_idle_is_forgotten():
    heard = Heard()
    heard.put(1, MAC, V4, 0)
    heard.put(1, OTHER, V6, 0)
    heard.put(1, mac(7), V6, 300)
    assert not heard.forget(599, lambda port, one: False)
    assert heard.forget(600, lambda port, one: (port, one) == (1, MAC))
    assert heard.of(1).get(MAC, {}) and not heard.of(1).get(OTHER, {}) and heard.of(1).get(mac(7), {})
    assert heard.counters["forgotten"] == 1


def test_a_device_that_is_not_there():
    made = snoop.Snoop(lambda number: None, lambda number: None)
    made.ports({1 << 30: "vtep-none0"})
    assert list(made.faults) == ["vtep-none0"] and "vtep-none0" in made.faults["vtep-none0"]
    made.close()
