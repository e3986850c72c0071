# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of vxfld: octet for octet as other implementations have them, and the bounds of what is read and sent."""

import struct
from dataclasses import replace
from unittest import mock

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import messages, wire
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import (
    Extension,
    Malformed,
    Proxy,
    Reassembly,
    Refresh,
    Sync,
    decode,
    encode,
    split,
    split_answer,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def ip(last, net="192.0.2"):
    return bytes(map(int, f"{net}.{last}".split(".")))


NODE = 0x020000000001
ONE = {100: [ip(1)]}
FRAME = bytes.fromhex("0800000000006400ffffffffffff02000000007788b578787878")
P = "188a9b0322070a05c00100020128013a1a0800000000006400ffffffffffff02000000007788b578787878"
VECTORS = {  # name: (octets, meaning)
    "R1": (
        "03010801105a1801208180808080402a0d086412090a070a05c001000201",
        Refresh(3, True, 90, 1, NODE, ONE),
    ),
    "R2": ("03010801105a208180808080402a0d086412090a070a05c001000201", Refresh(3, True, 90, None, NODE, ONE)),
    "R3": ("03010800105a1800208180808080402a0d086412090a070a05c001000201", Refresh(3, False, 90, 0, NODE, ONE)),
    "R4": (
        "03010800105a180020002a23086412090a070a05c00100020112090a070a05c00100020312090a070a05c001000202",
        Refresh(3, False, 90, 0, 0, {100: [ip(1), ip(3), ip(2)]}),
    ),
    "R5": ("030108011000208180808080402a0d086412090a070a05c001000201", Refresh(3, True, 0, None, NODE, ONE)),
    "R6": ("0301080010001800208180808080402a0d086412090a070a05c001000201", Refresh(3, False, 0, 0, NODE, ONE)),
    "R7": (
        "0301080110ac02180120d6e8c880c0ca142a0c080a12080a060a040a0000012a1108ffffff07120a0a080a06c6013364c801",
        Refresh(3, True, 300, 1, 0x525400123456, {10: [ip(1, "10.0.0")], 16777215: [ip(200, "198.51.100")]}),
    ),
    "R8": ("03010800105a18022000", Refresh(3, False, 90, 2, 0)),
    "S1": ("03031802", Sync(response_type=2)),
    "S2": ("03031800", Sync(response_type=0)),
    "S3": (
        "0303123e086412120a070a05c00100020310551883808080804012120a070a05c001000202105518828080808040"
        "12120a070a05c0010002011055188180808080401800",
        Sync(vteps={100: [(ip(n), 85, 0x020000000000 + n) for n in (3, 2, 1)]}, response_type=0),
    ),
    "S4": ("030312110864120d0a070a05c001000202105a18001800", Sync(vteps={100: [(ip(2), 90, 0)]}, response_type=0)),
    "S5": (
        "0303121408f503120f0a070a05c00100020910ffff0318001800",
        Sync(vteps={501: [(ip(9), messages.STATIC, 0)]}, response_type=0),
    ),
    "S6": ("0303121208f503120d0a070a05c001000209100018001800", Sync(vteps={501: [(ip(9), 0, 0)]}, response_type=0)),
    "P1": ("0302" + P, Proxy(srcport=52618, srcip=ip(1), area=1, vxlan_pkt=FRAME)),
    "P2": ("03020803" + P, Proxy(ttl=3, srcport=52618, srcip=ip(1), area=1, vxlan_pkt=FRAME)),
    "V1": (
        "01010001005a000003850002c0000201c6120001",
        Refresh(1, True, 90, 2, None, {901: [ip(1), ip(1, "198.18.0")]}),
    ),
    "V2a": (
        "02010001005a0001000003860002c0000201c6120002",
        Refresh(2, True, 90, 1, None, {902: [ip(1), ip(2, "198.18.0")]}),
    ),
    "V2b": (
        "02010000005a0000000003860002c0000201c6120002",
        Refresh(2, False, 90, 0, None, {902: [ip(1), ip(2, "198.18.0")]}),
    ),
}
IP6 = bytes.fromhex("20010db8000000000000000000000001")
OURS = {  # the extension, worked out by hand from docs/vxfld-protocol.md
    "register of both families": (
        "03010801105a18012001" + "2a0d086412090a070a05c001000201" + "7a2c0801"
        "1216086412120a1020010db8000000000000000000000001" + "4a10" + "aa" * 16,
        Refresh(3, True, 90, 1, 1, {100: [ip(1), IP6]}, Extension(machine=b"\xaa" * 16)),
    ),
    "change": (
        "0301" + "7a24" + "0801" + "120a0864" + "12060a04c0000201" + "1800" + "2001" + "2805" + "3004" + "3a0a0864"
        "12060a04c0000202" + "4007",
        Refresh(
            vteps=ONE,
            extension=Extension(part=0, parts=1, generation=5, base=4, gone={100: [ip(2)]}, source=7),
        ),
    ),
    "nobody left": (
        "0301" + "7a0a" + "0801" + "12020864" + "2805" + "4007",
        Refresh(vteps={100: []}, extension=Extension(generation=5, source=7)),
    ),
    "sync": (
        "0303" + "1800" + "7a1e" + "0801" + "121a0864" + "12160a1020010db8000000000000000000000001" + "1000" + "1809",
        Sync(vteps={100: [(IP6, 0, 9)]}, response_type=0, extension=Extension()),
    ),
    "sealed": (
        "03031802" + "7a31" + "0801" + "50d209" + "5a08" + "bb" * 8 + "6220" + "cc" * 32,
        Sync(response_type=2, extension=Extension(time=1234, nonce=b"\xbb" * 8, mac=b"\xcc" * 32)),
    ),
}


@pytest.mark.parametrize("name", [*VECTORS, *OURS])
def test_octets_and_meaning(name):
    octets, message = {**VECTORS, **OURS}[name]
    assert decode(bytes.fromhex(octets)) == message
    assert encode(message).hex() == octets


def test_there_are_all_19_vectors():
    assert len({octets for octets, _message in VECTORS.values()}) == 19


def test_defaults_of_what_is_not_on_the_wire():
    empty = decode(bytes.fromhex("0301"))
    assert (empty.originator, empty.holdtime, empty.response_type, empty.identifier) == (None,) * 4
    assert [empty.value(name) for name in Refresh.DEFAULTS] == [False, 90, 0, 0]
    assert [Sync().value(name) for name in Sync.DEFAULTS] == [0, 0]
    assert Proxy().value("ttl") == 4
    assert Refresh(holdtime=0).value("holdtime") == 0
    assert decode(bytes.fromhex("0303120d086412090a070a05c001000201")).vteps == {100: [(ip(1), 90, 0)]}


def test_version_0_is_read_like_3_and_answered_alike():
    octets = bytes.fromhex("00" + VECTORS["R1"][0][2:])
    assert decode(octets) == replace(VECTORS["R1"][1], version=0)
    assert encode(decode(octets)) == octets


# -- What other encoders may do


B1 = "0864" + "12090a070a05c001000201"  # a VniDict's inside: VNI 100, 192.0.2.1
B2 = "0864" + "12090a070a05c001000202"


def block(inside):
    return f"2a{len(inside) // 2:02x}{inside}"


def entry(inside):
    """A VniDict of VNI 100 with one entry."""
    return block("0864" + f"12{len(inside) // 2:02x}{inside}")


@pytest.mark.parametrize(
    ("octets", "vteps"),
    [
        (block(B1) + block(B2), {100: [ip(1), ip(2)]}),  # blocks of a VNI are merged
        (block(B1[4:] + B1[:4]), ONE),  # order of fields
        (entry("0a09" + "08c001" + "0800" + "0802" + "0801"), ONE),  # octets not packed
        (entry("0a09" + "0a03c00100" + "0802" + "0801"), ONE),  # partly
        (entry("0a050a03c00100" + "0a040a020201"), ONE),  # a field that is not repeated, repeated: merged
        (block("0863" + B1), ONE),  # a number repeated: the last one counts
        (entry("0a070a05c001000201" + "9a0a0161"), ONE),  # unknown field 163 in an entry
        (entry("0a070a05c001000201" + "10ffffffffffffffffff01"), ONE),  # 2 is holdtime in SYNC only, unknown here
        (block("08e480808000" + B1[4:]), ONE),  # VNI in more octets than it needs
        ("aa000d" + B1, ONE),  # tag in two octets
        ("2a8d00" + B1, ONE),  # length in two octets
        (block("0864" + "128900" + "0a070a05c001000201"), ONE),  # and that of an entry
        ("3a0161" + block(B1), ONE),  # unknown: length-delimited
        ("f001ac02" + block(B1), ONE),  # varint
        ("31" + "ff" * 8 + block(B1), ONE),  # fixed64
        ("35" + "ff" * 4 + block(B1), ONE),  # fixed32
        ("33" + "0801" + "43" + "31" + "ff" * 8 + "44" + "3a0161" + "34" + block(B1), ONE),  # a group in a group
        ("33" + block(B1) + "34", {}),  # what is in an unknown group is unknown
        ("43" * 100 + "44" * 100 + block(B1), ONE),  # as deep as protobuf follows
        ("2805" + block(B1), ONE),  # field 5 of another wire type is not field 5
        (block(B1) + "7a020801", ONE),
    ],
)
def test_forms_that_mean_the_same(octets, vteps):
    made = decode(bytes.fromhex("0301" + octets))
    assert made.vteps == vteps
    assert made.dropped == 0


def test_what_is_within_an_entry_of_sync_is_no_entry():
    """Field 2 of an entry is a number; the same in octets is unknown there, even where it looks like the next entry."""
    inner = "120d" + "0a070a05c001000202" + "1006" + "1802"
    outer = "0a070a05c001000201" + "1005" + "1801" + inner
    octets = "0864" + f"12{len(outer) // 2:02x}{outer}"
    made = decode(bytes.fromhex(f"030312{len(octets) // 2:02x}{octets}"))
    assert made.vteps == {100: [(ip(1), 5, 1)]}


def test_a_vni_of_more_than_24_bits_is_left_out_and_counted():
    made = decode(bytes.fromhex("0301" + block("08ffffffff0f" + B1[4:]) + block("0880808008" + B1[4:]) + block(B1)))
    assert (made.vteps, made.dropped) == (ONE, 2)
    legacy = struct.pack(">BBHHHIH4sIH4s", 2, 1, 1, 90, 0, 1 << 24, 1, ip(2), 100, 1, ip(1))
    assert (decode(legacy).vteps, decode(legacy).dropped) == (ONE, 1)


def test_versions_1_and_2_a_block_more_replaces_the_one_before():
    blocks = b"".join(struct.pack(">IH4s", 7, 1, ip(n)) for n in (1, 2))
    for head in ("01010001005a", "02010001005a0001"):
        assert decode(bytes.fromhex(head) + blocks).vteps == {7: [ip(2)]}


def test_versions_1_and_2_have_no_ipv6_and_no_static():
    message = Refresh(2, False, 70000, 0, None, {7: [IP6, ip(1)], 8: [IP6]}, Extension())
    made = decode(encode(message))
    assert made == Refresh(2, False, 65534, 0, None, {7: [ip(1)]})


# -- What is refused


REFUSED = [
    ("", "less than a header"),
    ("03", "less than a header"),
    ("0401", "version 4"),
    ("ff03", "version 255"),
    ("0300", "type 0"),
    ("0304", "type 4"),
    ("0203", "does not exist in version 2"),
    ("0102", "does not exist in version 1"),
    ("0101000100", "within the header"),
    ("02010001005a00", "within the header"),
    ("01010001005a0000", "head of a VNI"),
    ("01010001005a000003850002c0000201", "less than the 2 addresses"),
    ("01010001005a000003850001e0000001", "not the address of a VTEP"),
    ("0301" + "08", "within a number"),
    ("0301" + "08" + "ff" * 9, "within a number"),
    ("0301" + "08" + "ff" * 9 + "7f", "64 bits"),
    ("0301" + "08" + "ff" * 10 + "01", "ten octets"),
    ("0301" + "108080808010", "32 bits"),
    ("0301" + "0001", "field number 0"),
    ("0301" + "8280808080808000", "longer than|field number|29 bits|number 0|left"),
    ("0301" + "2a0d0864", "longer than what is left"),
    ("0301" + "3a05", "longer than what is left"),
    ("0301" + "31ffff", "longer than what is left"),
    ("0301" + "35ffff", "longer than what is left"),
    ("0301" + "36", "wire type 6"),
    ("0301" + "37", "wire type 7"),
    ("0301" + "34", "not begun"),
    ("0301" + "3344", "not begun"),
    ("0301" + "33", "within a number"),
    ("0301" + "33" * 101 + "34" * 101, "100 deep"),
    ("0301" + block(B1[4:]), "without the VNI"),
    ("0301" + block("08808080808001" + B1[4:]), "32 bits"),
    ("0301" + entry(""), "without an address"),
    ("0301" + entry("1001"), "without an address"),
    ("0301" + entry("0a00"), "address of 0 octets"),
    ("0301" + entry("0a050a03010203"), "address of 3 octets"),
    ("0301" + entry("0a070a050102030405"), "more than 4 octets"),
    ("0301" + entry("0a120a10" + "01" * 16), "more than 4 octets"),
    ("0301" + entry("0a070a05ac02010101"), "octet of 300"),
    ("0301" + entry("0a060a0400000000"), "not the address of a VTEP"),
    ("0301" + entry("0a070a05e001000001"), "not the address of a VTEP"),
    ("0301" + block(B1) + entry("0a00"), "address of 0 octets"),  # one bad entry, nothing is believed
    ("0303" + "120d" + "0864" + "1209" + "0a070a05ac02010101", "octet of 300"),
    ("0303" + "1208" + "0864" + "1204" + "1001" + "1801", "without an address"),
    ("0302" + "18808004", "16 bits"),
    ("0302" + "2200", "address of 0 octets"),
    ("0302" + "32050a03010203", "address of 3 octets"),
    # The extension
    ("0301" + "7a020801" + "0801", "not the last field"),
    ("0301" + "7a020801" + "7a020801", "not the last field"),
    ("0301" + "7a0b0801" + "1207" + "0864" + "1203" + "0a010a", "address of 1 octets"),
    ("0301" + "7a080801" + "1204" + "0864" + "1200", "without an address"),
    ("0301" + "7a160801" + "1212" + "0864" + "120e" + "0a0c" + "11" * 12, "address of 12 octets"),
    ("0301" + "7a0e0801" + "120a" + "0864" + "1206" + "0a04e0000001", "not the address of a VTEP"),
    ("0301" + "7a1a0801" + "1216" + "0864" + "1212" + "0a10ff" + "00" * 15, "not the address of a VTEP"),
    ("0301" + "7a1a0801" + "1216" + "0864" + "1212" + "0a10" + "00" * 16, "not the address of a VTEP"),
    ("0301" + "7a040801" + "1801", "part 1 of 1"),
    ("0301" + "7a040801" + "2000", "part 0 of 0"),
    ("0301" + "7a050801" + "208108", "part 0 of 1025"),
    ("0301" + "7a040801" + "2002", "no generation"),
    ("0301" + "7a040801" + "3002", "no generation"),
    ("0301" + "7a060801" + "2803" + "4001", "0 VNIs"),
    ("0301" + "7a0e0801" + "12020864" + "12020865" + "2803" + "4001", "2 VNIs"),
    ("0301" + "7a080801" + "12020864" + "2803", "no source"),
    ("0301" + "7a120801" + "2803" + "4001" + "3a0a0864" + "12060a04c0000202", "no generation"),
    ("0301" + "7a050801" + "4a0101", "machine has 1 octets instead of 16"),
    ("0301" + "7a050801" + "5a0101", "nonce has 1 octets instead of 8"),
    ("0301" + "7a040801" + "6200", "mac has 0 octets instead of 32"),
    ("0301" + "7a26" + "0801" + "6220" + "cc" * 32 + "0801", "mac is not the last"),
]


@pytest.mark.parametrize(("octets", "why"), REFUSED)
def test_refused(octets, why):
    with pytest.raises(Malformed, match=why):
        decode(bytes.fromhex(octets))


def test_what_is_too_long_is_not_looked_at():
    long = bytes.fromhex("03013a") + wire.varint(70000) + bytes(70000)
    with pytest.raises(Malformed, match="too many"):
        decode(long)
    assert decode(bytes((3, 3)) + long[2:]) == Sync()
    with pytest.raises(Malformed, match="too many"):
        decode(bytes((3, 3)) + bytes(messages.MAX_STREAM))


def test_a_sync_of_endless_small_blocks_is_refused():
    one = bytes.fromhex("12020864")
    assert decode(b"\3\3" + one * messages.MAX_ENTRIES) == Sync(vteps={100: []})
    with pytest.raises(Malformed, match="more than 1048576 entries"):
        decode(b"\3\3" + one * (messages.MAX_ENTRIES + 1))
    one = bytes.fromhex("12020864") * (messages.MAX_ENTRIES + 1)
    with pytest.raises(Malformed, match="more than 1048576 entries"):
        decode(b"\3\3" + wire.packed(0x7A, one))


UNUSUAL = wire.packed(0x12, bytes.fromhex("0864" + "1209" + "0a070a05c001000201"))  # no holdtime


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("0800" * 257, "256 fields that are numbers"),  # a known one again and again
        ("28808001" * 257, "256 fields that are numbers"),
        ("0d00000000" * 257, "256 fields that are numbers"),
        ("2b2c" * 257, "256 fields that are numbers"),
        ("2b" + "0800" * 257 + "2c", "256 fields within a group"),
        ("2200" * 257, "256 unknown fields"),
        ("12820408640800" + "0800" * 255, "256 fields that are numbers"),
    ],
)
def test_fields_without_end_and_use_are_refused(octets, why):
    with pytest.raises(Malformed, match=why):
        decode(b"\3\3" + bytes.fromhex(octets))
    with pytest.raises(Malformed, match=why):
        decode(b"\3\3" + wire.packed(0x7A, bytes.fromhex(octets)))


def test_little_of_a_sync_may_be_in_an_unusual_form():
    number = messages.MAX_UNUSUAL // (len(UNUSUAL) - 2)
    sync = decode(b"\3\3" + UNUSUAL * number)
    assert sync.vteps == {100: [(ip(1), messages.HOLDTIME, 0)] * number}
    with pytest.raises(Malformed, match="octets of VNIs in an unusual form"):
        decode(b"\3\3" + UNUSUAL * (number + 1))


@pytest.mark.parametrize("address", [b"", bytes(3), bytes(4), bytes(16), ip(1, "224.0.0"), b"\xff" * 4, b"\xff" * 16])
def test_what_others_would_refuse_is_not_sent(address):
    for message in (Refresh(vteps={1: [address]}), Sync(vteps={1: [(address, 90, 0)]})):
        with pytest.raises(ValueError, match="not the address of a VTEP"):
            encode(message)
    with pytest.raises(ValueError, match="not a VNI"):
        encode(Refresh(vteps={1 << 24: [ip(1)]}))


# -- Properties


addresses4 = st.binary(min_size=4, max_size=4).filter(messages.is_vtep)
addresses = st.one_of(addresses4, st.binary(min_size=16, max_size=16).filter(messages.is_vtep))
vnis = st.integers(0, messages.MAX_VNI)
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def maybe(strategy):
    return st.none() | strategy


def by_family(found):
    """IPv4 before IPv6, as decode finds them in a message."""
    return sorted(found, key=lambda one: len(one[0] if isinstance(one, tuple) else one))


machine, nonce, mac = (maybe(st.binary(min_size=size, max_size=size)) for size in (16, 8, 32))
plain = st.builds(Extension, source=maybe(u64), machine=machine, time=maybe(u64), nonce=nonce, mac=mac)
refreshes = st.builds(
    Refresh,
    st.sampled_from([0, 3]),
    maybe(st.booleans()),
    maybe(u32),
    maybe(u32),
    maybe(u64),
    st.dictionaries(vnis, st.lists(addresses, max_size=5).map(by_family), max_size=5),
    plain,
)
syncs = st.builds(
    Sync,
    st.just(3),
    maybe(u64),
    st.dictionaries(vnis, st.lists(st.tuples(addresses, u32, u64), max_size=5).map(by_family), max_size=5),
    maybe(u32),
    plain,
)
proxies = st.builds(
    Proxy,
    st.just(3),
    *(maybe(u32), maybe(u32), maybe(st.integers(0, 65535)), maybe(addresses4), maybe(u32)),
    st.lists(addresses4, max_size=4),
    maybe(st.binary(max_size=300)),
    maybe(plain),
)
legacy = st.builds(
    Refresh,
    st.just(2),
    st.booleans(),
    st.integers(0, 65534),
    st.integers(0, 65535),
    st.none(),
    st.dictionaries(vnis, st.lists(addresses4, max_size=5), max_size=5),
)


@st.composite
def answers(draw, most=40):
    """What a new node is told of one VNI: a whole set, or a change."""
    base = draw(maybe(u64))
    vni, gone = draw(vnis), draw(st.lists(addresses, max_size=most)) if base is not None else []
    extension = Extension(generation=draw(u64), base=base, gone={vni: gone} if gone else {}, source=draw(u64))
    return Refresh(3, False, 90, 0, 0, {vni: draw(st.lists(addresses, max_size=most))}, extension)


@MANY
@given(st.one_of(refreshes, syncs, proxies, legacy, answers()))
def test_what_is_encoded_is_decoded(message):
    assert decode(encode(message)) == message
    assert decode(bytearray(encode(message))) == message


@MANY
@given(refreshes, st.randoms())
def test_the_order_of_fields_means_nothing(message, random):
    """Fields of the whole message and of the extension, and whole blocks: in any order, but what must be last."""
    data = encode(
        replace(message, extension=None, vteps={v: [a for a in e if len(a) == 4] for v, e in message.vteps.items()})
    )
    pieces, at = [], 2
    while at < len(data):
        _number, _kind, _value = next(wire.fields(data, at, len(data)))
        stop = wire.skip(data, at + 1, len(data), data[at])
        pieces.append(data[at:stop])
        at = stop
    random.shuffle(pieces)
    assert decode(data[:2] + b"".join(pieces)) == decode(data)


def number(draw, value):
    """A varint in as many octets as somebody likes."""
    octets = wire.varint(value)
    if draw(st.integers(0, 9)):
        return octets
    more = draw(st.integers(0, 10 - len(octets)))
    return octets if not more else octets[:-1] + bytes((octets[-1] | 128,)) + b"\x80" * (more - 1) + b"\0"


def delimited(draw, field, payload):
    return number(draw, field << 3 | 2) + number(draw, len(payload)) + payload


def unknown(draw):
    choice = draw(st.integers(0, 30))
    if choice == 0:
        return delimited(draw, 77, draw(st.binary(max_size=9)))
    return {1: b"\xf8\x04\x05", 2: b"\xf9\x04" + b"\x2a" * 8, 3: b"\xfd\x04abcd", 4: b"\xfb\x04\x08\x01\xfc\x04"}.get(
        choice, b""
    )


def order(draw, pieces):
    return b"".join(pieces if draw(st.integers(0, 4)) else draw(st.permutations(pieces)))


@st.composite
def written_by_others(draw):
    """(octets, the meaning) of a REFRESH or SYNC in forms that encoders of protobuf may write."""
    sync, new = draw(st.booleans()), draw(st.booleans())
    blocks, vteps = [], {}
    for vni in draw(st.lists(st.integers(0, 300), max_size=4)):
        pieces = [number(draw, 8) + number(draw, vni)]
        for address in draw(st.lists(addresses if new else addresses4, max_size=4)):
            if new:
                inside = [delimited(draw, 1, address)]
            elif draw(st.integers(0, 4)):
                inside = [delimited(draw, 1, delimited(draw, 1, b"".join(number(draw, octet) for octet in address)))]
            else:
                inside = [delimited(draw, 1, b"".join(number(draw, 8) + number(draw, octet) for octet in address))]
            meaning = address
            if sync:
                holdtime, identifier = draw(maybe(u32)), draw(maybe(u64))
                inside += [] if holdtime is None else [number(draw, 16) + number(draw, holdtime)]
                inside += [] if identifier is None else [number(draw, 24) + number(draw, identifier)]
                meaning = (address, 90 if holdtime is None else holdtime, identifier or 0)
            pieces.append(delimited(draw, 2, order(draw, [*inside, unknown(draw)])))
            vteps.setdefault(vni, []).append(meaning)
        vteps.setdefault(vni, [])
        # The VNI may come anywhere, but the order of addresses is theirs.
        at = 0 if draw(st.integers(0, 4)) else draw(st.integers(0, len(pieces) - 1))
        pieces.insert(at, pieces.pop(0))
        blocks.append(delimited(draw, 2 if sync or new else 5, b"".join([*pieces, unknown(draw)])) + unknown(draw))
    body = b"".join(blocks)
    body = delimited(draw, 15, body) if new else body
    return bytes((3, 3 if sync else 1)) + body, vteps


def outcome(data):
    try:
        return decode(data), None
    except Malformed as error:
        return None, str(error)


def slow_outcome(data):
    """Without the short cuts for the usual form."""
    with (
        mock.patch.object(messages, "_quick_addresses", return_value=None),
        mock.patch.object(messages, "_quick_entries", return_value=None),
    ):
        return outcome(data)


@settings(MANY, max_examples=400)
@given(written_by_others(), st.randoms())
def test_short_cuts_change_nothing(written, random):
    data, vteps = written
    assert decode(data).vteps == vteps
    assert slow_outcome(data) == outcome(data)
    for _dummy in range(20):  # nor where an octet is wrong
        broken = bytearray(data)
        broken[random.randrange(2, len(data)) if len(data) > 2 else 1] = random.choice(
            (0, 1, 8, 10, 18, 127, 128, 255, random.randrange(256))
        )
        broken = bytes(broken[: random.choice((len(data), random.randrange(len(data) + 1)))])
        assert slow_outcome(broken) == outcome(broken)


@MANY
@given(refreshes, st.randoms())
def test_short_cuts_change_nothing_of_the_usual_form(message, random):
    data = encode(message)
    assert slow_outcome(data) == outcome(data)
    for _dummy in range(20):
        broken = bytearray(data)
        at = random.randrange(len(data))
        broken[at] ^= 1 << random.randrange(8)
        assert slow_outcome(bytes(broken)) == outcome(bytes(broken))
        assert slow_outcome(data[:at]) == outcome(data[:at])


def test_the_usual_form_takes_the_short_cut():
    """Otherwise the tests above would prove nothing, and the cost would be another."""
    message = Refresh(vteps={5: [ip(1), IP6], 70000: [ip(200)]}, extension=Extension(source=1))
    with mock.patch.object(messages, "_read_block", side_effect=AssertionError):
        assert decode(encode(message)) == message
        sync = Sync(vteps={vni: [(one, 300, NODE) for one in found] for vni, found in message.vteps.items()})
        assert decode(encode(sync)).vteps == sync.vteps


def test_what_is_remembered_is_bounded():
    count = 3 * messages._REMEMBERED
    for start in range(0, count, 100):
        vteps = {1: [struct.pack(">I", 0x0A000000 + n) for n in range(start, start + 100)]}
        assert decode(encode(Refresh(vteps=vteps))).vteps == vteps
        new = Refresh(vteps={1: [IP6[:-4] + one for one in vteps[1]]}, extension=Extension())
        assert decode(encode(new)).vteps == new.vteps
    for kept in (messages._known5, messages._known15, messages._field5, messages._field15):
        assert 0 < len(kept) <= messages._REMEMBERED


# -- Splitting and putting together


@MANY
@given(
    st.one_of(legacy, refreshes, refreshes.map(lambda message: replace(message, extension=None))),
    st.integers(100, 400),
    st.integers(0, 64),
)
def test_split_keeps_to_the_limit_and_loses_nothing(message, limit, reserve):
    parts = split(message, limit, reserve)
    assert {vni: found for part in parts for vni, found in part.vteps.items()} == message.vteps
    assert sum(len(part.vteps) for part in parts) == len(message.vteps)
    for part in parts:
        assert replace(part, vteps={}) == replace(message, vteps={})
        assert len(encode(part)) + messages.HEADERS + reserve < limit or len(part.vteps) <= 1


def test_split_fills_its_messages():
    message = Refresh(3, True, 90, 1, NODE, {vni: [ip(1)] for vni in range(1000, 1300)})
    sizes = [len(encode(part)) for part in split(message, 1500)]
    assert sum(sizes[:-1]) / len(sizes[:-1]) > 1420 and max(sizes) + 42 < 1500


def test_a_vni_that_does_not_fit_stays_whole():
    message = Refresh(vteps={1: [ip(1)], 2: [struct.pack(">I", 0x0A000000 + n) for n in range(2000)], 3: [ip(1)]})
    assert [list(part.vteps) for part in split(message, 1500)] == [[1], [2], [3]]


@MANY
@given(answers(), st.integers(messages.SMALLEST_LIMIT, 600), st.integers(0, 84), st.randoms())
def test_an_answer_is_put_together_from_its_parts(message, limit, reserve, random):
    parts = split_answer(message, limit, reserve)
    assert all(len(encode(part)) + messages.HEADERS + reserve < limit for part in parts)
    parts = [decode(encode(part)) for part in [*parts, *parts[:2]]]  # some come twice
    random.shuffle(parts)
    reassembly = Reassembly()
    done = [found for found in (reassembly.add(part, 0) for part in parts) if found]
    assert message in done


def test_an_answer_in_one_part_says_so_by_leaving_it_out():
    (part,) = split_answer(Refresh(vteps=ONE, extension=Extension(generation=1, source=2)), 1500)
    assert part.extension.part is part.extension.parts is None
    assert Reassembly().add(part, 0) is part


def test_2000_vteps_in_one_vni():
    vteps = {100: [struct.pack(">I", 0x0A000000 + n) for n in range(2000)]}
    parts = split_answer(Refresh(vteps=vteps, extension=Extension(generation=1, source=2)), 1500)
    assert len(parts) == 12 and max(len(encode(part)) for part in parts) <= 1457
    reassembly = Reassembly()
    assert [reassembly.add(part, 0) for part in parts[:-1]] == [None] * 11
    assert reassembly.add(parts[-1], 0).vteps == vteps
    assert len(reassembly) == 0


def test_too_many_parts_are_not_made():
    vteps = {1: [IP6] * 20000}
    with pytest.raises(ValueError, match="does not fit in 1024 parts"):
        split_answer(Refresh(vteps=vteps, extension=Extension(generation=1, source=2)), messages.SMALLEST_LIMIT)


def part(number=0, of=2, *, generation=1, vni=100, source=7, base=None, found=None):
    extension = Extension(part=number, parts=of, generation=generation, source=source, base=base)
    return Refresh(vteps={vni: list(found or ONE[100])}, extension=extension)


@pytest.mark.parametrize("other", [{"generation": 2}, {"vni": 101}, {"source": 8}, {"base": 0}, {"of": 3}])
def test_parts_of_two_answers_are_not_mixed(other):
    reassembly = Reassembly()
    assert reassembly.add(part(0), 0) is None
    assert reassembly.add(part(1, **other), 0) is None
    assert reassembly.add(part(1, found=[ip(2)]), 0).vteps == {100: [ip(1), ip(2)]}


def test_a_part_that_comes_twice_counts_once():
    reassembly = Reassembly()
    assert [reassembly.add(part(n, 3), 0) for n in (0, 1, 1, 0)] == [None] * 4
    assert reassembly.add(part(2, 3), 0).vteps == {100: [ip(1)] * 3}


def test_an_answer_without_news_is_forgotten():
    reassembly = Reassembly(timeout=5)
    reassembly.add(part(0, 3), 100)
    reassembly.add(part(1, 3), 104)
    reassembly.expire(108.9)
    assert len(reassembly) == 1
    reassembly.expire(109)
    assert len(reassembly) == 0
    assert reassembly.add(part(2, 3), 109) is None


def test_open_answers_are_bounded_in_number_and_size():
    reassembly = Reassembly(most=10, addresses=100)
    for generation in range(50):
        assert reassembly.add(part(generation=generation), 0) is None
    assert len(reassembly) == 10
    assert reassembly.add(part(1, generation=49), 0) and reassembly.add(part(1, generation=39), 0) is None
    for generation in range(50, 90):
        reassembly.add(part(generation=generation, found=[ip(1)] * 30), 0)
    assert len(reassembly) == 3
    reassembly.add(part(found=[ip(1)] * 101), 0)  # one that is too large by itself goes, too
    assert len(reassembly) == 0 and reassembly._held == 0
