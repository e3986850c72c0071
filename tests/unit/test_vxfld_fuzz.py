# SPDX-License-Identifier: GPL-3.0-or-later
"""A million damaged messages: each is read or refused as Malformed, and nothing of them stays in memory."""

import gc
import os
import random
import sys
import tracemalloc
from dataclasses import replace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, messages, wire
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import (
    Extension,
    Malformed,
    Proxy,
    Refresh,
    Sync,
)

COUNT = 1_000_000
V4 = [bytes((10, 0, 200, n)) for n in range(1, 31)]
V6 = [bytes.fromhex("20010db8000000000000000000000000")[:15] + bytes((n,)) for n in range(1, 31)]
WHOLE = Extension(part=1, parts=3, generation=9, base=8, gone={7: V6[:2] + V4[:2]}, source=1 << 60, machine=bytes(16))
SOUND = [
    Refresh(3, True, 90, 1, 1 << 48, {100: V4[:1]}),
    Refresh(3, False, 90, 0, 0, {100: V4[:9], 1 << 20: V4[9:12], 5: V6[:3]}, Extension(machine=bytes(16))),
    Refresh(0, False, 300, 2, 0),
    Refresh(3, False, 90, 0, 0, {7: V4[:4] + V6[:4]}, WHOLE),
    Refresh(1, True, 90, 2, None, {100: V4[:3], 200: V4[3:5]}),
    Refresh(2, True, 90, 1, None, {100: V4[:3], 200: []}),
    Sync(response_type=2),
    Sync(vteps={100: [(one, 85, 1 << 48) for one in V4[:5] + V6[:5]], 9: [(V4[0], 65535, 0)]}, response_type=0),
    Proxy(ttl=3, proxy_hops=1, srcport=52618, srcip=V4[0], area=1, proxy_ips=V4[:2], vxlan_pkt=bytes(range(60))),
]
LONG = [
    Refresh(3, True, 90, 1, 7, dict.fromkeys(range(1000, 1110), V4[:1])),
    Refresh(3, False, 90, 0, 0, {100: V4 * 4 + V6}, Extension(source=1)),
]
KEPT = (messages._known5, messages._known15, messages._field5, messages._field15)
TELLING = (0, 1, 7, 8, 9, 10, 12, 13, 18, 26, 0x22, 0x2A, 0x33, 0x34, 0x3A, 0x62, 0x7A, 0x7F, 0x80, 0xFE, 0xFF)


def corpus():
    sealer = auth.Authenticator(bytes(32))
    sound = [messages.encode(one) for one in SOUND]
    sound += [sealer.seal(one, 1.7e9) for one in SOUND if one.version not in (1, 2)]
    sound = sound * 4 + [messages.encode(one) for one in LONG]
    # What is inside of field 15 alone, and of a block: messages in which every field means something else.
    return sound + [one[:2] + one[at:] for one in sound[:18] for at in (4, 7, 12)]


def mutated(one, sound, chance):
    """A message with some of it damaged. chance() is from 0 to 1."""
    data = bytearray(one)
    for _dummy in range(1 + int(chance() ** 2 * 4)):
        size = len(data)
        if size < 3:
            break
        at = int(chance() * size)
        kind = int(chance() * 9)
        if kind == 0:
            data[at] ^= 1 << int(chance() * 8)
        elif kind == 1:
            data[at] = TELLING[int(chance() * len(TELLING))]
        elif kind == 2:  # a length that lies, or another tag, by a little
            data[at] = (data[at] + int(chance() * 9) - 4) & 255
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + 1 + int(chance() * 8)]
        elif kind == 5:  # a piece of another message
            other = sound[int(chance() * len(sound))]
            start = int(chance() * len(other))
            data[at:at] = other[start : start + int(chance() * 40)]
        elif kind == 6:  # repeated fields
            piece = bytes(data[at : at + int(chance() * 20)])
            data[at:at] = piece * (1 + int(chance() * 4))
        elif kind == 7:  # nesting: a group, or a length-delimited field around the rest
            depth = 1 + int(chance() ** 4 * 120)
            if chance() < 0.5:
                data[at:at] = b"\x33" * depth + b"\x34" * (depth if chance() < 0.7 else 0)
            elif depth < 20:
                for _level in range(depth):
                    data[2:] = wire.packed((0x0A, 0x12, 0x2A, 0x7A)[int(chance() * 4)], data[2:])
        else:
            data[0] = int(chance() * 4.05)
            data[1] = 1 + int(chance() * 3.05)
    return bytes(data)


def try_one(data, again):
    """Whether the message was read. `again` sends what was understood through once more."""
    try:
        message = messages.decode(data)
    except Malformed:
        return False
    if again:
        # IPv4 moves before IPv6, and out of the extension, the first time only.
        message = messages.decode(messages.encode(message))
        assert messages.decode(messages.encode(message)) == message
    return True


def blocks():
    for kept in KEPT:
        kept.clear()
    gc.collect()
    return sys.getallocatedblocks()


def test_a_million_damaged_messages():
    seed = int(os.environ.get("VXFLD_FUZZ_SEED") or random.SystemRandom().randrange(1 << 32))
    chance = random.Random(seed).random
    sound = corpus()
    data = b""

    def some(count):
        nonlocal data
        return sum(
            try_one(data := mutated(sound[int(chance() * len(sound))], sound, chance), not number % 8)
            for number in range(count)
        )

    try:
        read = some(COUNT // 50)
        before = blocks()
        read += some(COUNT - COUNT // 50)
        grown = blocks() - before
    except Exception as error:
        pytest.fail(f"VXFLD_FUZZ_SEED={seed}: {data.hex()} raised {error!r}")
    assert grown < 2000, f"VXFLD_FUZZ_SEED={seed}: {grown} blocks of memory stayed"
    # Both kinds in numbers, or the damage is too small or too great to prove anything.
    assert COUNT * 0.1 < read < COUNT * 0.6, f"VXFLD_FUZZ_SEED={seed}: {read} of {COUNT} were read"


def hostile():
    """Messages that take much memory for their length."""
    size = messages.MAX_DATAGRAM
    entry = wire.packed(0x12, wire.packed(0x0A, b"\x0a\x04" + V4[0][:2] + b"\x07\x09"))
    yield (
        "VNIs without addresses",
        b"\3\1" + b"".join(wire.packed(0x2A, b"\x08" + wire.varint(vni)) for vni in range(13000)),
    )
    yield "octets not packed", b"\3\1" + wire.packed(0x2A, b"\x08\x64" + b"\x12\x06\x0a\x04" + b"\x08\x01" * 30000)
    yield "one address again and again", b"\3\1" + wire.packed(0x2A, b"\x08\x64" + entry * (size // 11))
    yield "proxies", b"\3\2" + b"\x32\x06\x0a\x04\x0a\x00\x01\x07" * (size // 9)
    yield "groups", b"\3\1" + b"\x33" * 60000
    yield "numbers", b"\3\1" + b"\x20" + b"\xff" * 60000
    extension = b"".join(wire.packed(0x12, b"\x08" + wire.varint(vni)) for vni in range(13000))  # 64,872 octets
    yield "VNIs in the extension", b"\3\1" + wire.packed(0x7A, extension)
    sync = b"".join(
        wire.packed(0x12, b"\x08" + wire.varint(vni) + wire.packed(0x12, b"\x0a\x06\x0a\x04\x0a\x00\x01\x07"))
        for vni in range(30000)
    )
    yield "a long SYNC", b"\3\3" + sync


@pytest.mark.parametrize("data", [pytest.param(data, id=what) for what, data in hostile()])
def test_memory_is_in_proportion_to_the_message(data):
    gc.collect()
    tracemalloc.start()
    try:
        messages.decode(data)
    except Malformed:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50 * len(data)


def test_the_corpus_is_sound():
    for one in SOUND + LONG:
        assert replace(messages.decode(messages.encode(one)), extension=one.extension) == one
