# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is believed: what a mac covers, replays, allow-lists; and what a node calls itself."""

import hashlib
import hmac
import ipaddress
from dataclasses import replace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import MissingError
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, identity, messages
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.auth import AllowList, Authenticator, Refused
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import (
    Extension,
    Malformed,
    Proxy,
    Refresh,
    Sync,
)
from hypothesis import given, settings
from hypothesis import strategies as st

KEY = b"0123456789abcdef"
WALL = 1_700_000_000.5
IP6 = bytes.fromhex("20010db8000000000000000000000001")
MESSAGES = [
    Refresh(3, True, 90, 1, 7, {100: [b"\xc0\0\2\1", IP6]}, Extension(machine=bytes(16))),
    Refresh(3, True, 0, None, 7, {100: [b"\xc0\0\2\1"]}),
    Sync(response_type=2),
    Sync(vteps={100: [(IP6, 90, 0)]}, response_type=0),
    Proxy(srcport=4000, srcip=b"\xc0\0\2\1", vxlan_pkt=b"\x08" + bytes(30)),
]


def pair():
    """A sender and a receiver."""
    return Authenticator(KEY, lambda size: b"A" * size), Authenticator(KEY, lambda size: b"B" * size)


def refused(receiver, data, now=0.0, wall=WALL):
    with pytest.raises(Refused) as error:
        receiver.open(data, now, wall)
    return error.value.reason


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_sealed_opens(message):
    sender, receiver = pair()
    data = sender.seal(message, WALL)
    found = receiver.open(data, 0.0, WALL + 1)
    assert replace(found, extension=None) == replace(message, extension=None)
    expected = message.extension or Extension()
    assert replace(found.extension, time=None, nonce=None, mac=None) == expected
    assert found.extension.time == 1_700_000_000_500
    assert len(data) - len(messages.encode(message)) <= auth.OVERHEAD


def test_the_mac_is_rfc_2104_over_the_message_with_32_zero_octets():
    data = pair()[0].seal(MESSAGES[0], WALL)
    assert data[-34:-32] == b"\x62\x20"
    assert data[-32:] == hmac.digest(KEY, data[:-32] + bytes(32), hashlib.sha256)


@pytest.mark.parametrize("message", MESSAGES)
def test_each_bit_counts(message):
    sender, receiver = pair()
    data = sender.seal(message, WALL)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(receiver, bytes(changed)) in ("forged", "unsigned")
    for cut in range(len(data)):
        assert refused(receiver, data[:cut]) in ("forged", "unsigned")
    receiver.open(data, 0.0, WALL)  # none of them is remembered


def test_without_its_extension_a_message_is_nothing():
    sender, receiver = pair()
    data = sender.seal(MESSAGES[1], WALL)
    assert refused(receiver, messages.encode(MESSAGES[1])) == "unsigned"
    assert refused(receiver, data[: data.rindex(b"\x7a")]) == "unsigned"
    assert refused(receiver, data + data[2:]) == "forged"  # a second one behind it
    assert refused(receiver, data + b"\x08\x00") == "unsigned"  # a field behind it
    assert refused(receiver, b"") == "unsigned"
    legacy = messages.encode(replace(MESSAGES[1], version=2))
    assert refused(receiver, legacy) == "unsigned"
    with pytest.raises(ValueError, match="version 2 has no place for a mac"):
        sender.seal(replace(MESSAGES[1], version=2), WALL)


def test_a_mac_put_into_an_unknown_field_is_not_ours():
    """Whoever has the key may send nonsense, and it stays nonsense: no time and nonce, or no extension."""
    for octets in (b"\x03\x01", b"\x03\x01\x7a\x24\x08\x01"):
        data = octets + b"\x62\x20" + bytes(32)
        data = data[:-32] + hmac.digest(KEY, data, hashlib.sha256)
        with pytest.raises(Malformed, match="without time and nonce"):
            pair()[1].open(data, 0.0, WALL)


def test_another_key():
    assert refused(Authenticator(KEY[::-1]), pair()[0].seal(MESSAGES[0], WALL)) == "forged"


@pytest.mark.parametrize(("late", "opens"), [(-31, False), (-29.9, True), (29.9, True), (31, False)])
def test_clocks_may_be_off_by_30_s(late, opens):
    sender, receiver = pair()
    data = sender.seal(MESSAGES[0], WALL)
    if opens:
        assert receiver.open(data, 0.0, WALL + late)
    else:
        assert refused(receiver, data, wall=WALL + late) == "stale"


def test_a_replay_is_refused_for_as_long_as_its_time_would_do():
    sender, receiver = pair()
    data = sender.seal(MESSAGES[0], WALL + 29)  # by a clock that is ahead
    receiver.open(data, 0.0, WALL)
    for after in range(70):
        assert refused(receiver, data, float(after), WALL + after) == ("replayed" if after < 60 else "stale")


def test_our_own_message_sent_back_is_a_replay():
    sender, _receiver = pair()
    assert refused(sender, sender.seal(MESSAGES[0], WALL)) == "replayed"


def test_no_two_messages_of_a_process_have_a_nonce_in_common():
    sender, receiver = pair()
    for _dummy in range(1000):
        receiver.open(sender.seal(MESSAGES[1], WALL), 0.0, WALL)
    assert Authenticator(KEY)._own != Authenticator(KEY)._own


def test_what_is_remembered_is_bounded_and_forgotten(monkeypatch):
    monkeypatch.setattr(auth, "_MOST", 10)
    sender, receiver = pair()
    for at in range(100):  # one in 7 s: 9 in a minute
        receiver.open(sender.seal(MESSAGES[1], WALL + 7 * at), 7.0 * at, WALL + 7 * at)
    assert len(receiver._seen) == 9
    receiver.open(sender.seal(MESSAGES[1], WALL + 700), 694.0, WALL + 700)
    assert refused(receiver, sender.seal(MESSAGES[1], WALL + 700), 694.0, WALL + 700) == "busy"
    receiver.open(sender.seal(MESSAGES[1], WALL + 700), 760.0, WALL + 700)
    assert len(receiver._seen) == 1


def test_keys():
    assert auth.read_key(KEY + b" \r\n") == KEY
    with pytest.raises(ValueError, match="a key of 15 octets is short of 16"):
        auth.read_key(KEY[1:] + b"\n")


# -- Allow-list


def test_an_empty_list_lets_everybody_in():
    assert IP6 in AllowList([]) and b"\xc0\0\2\1" in AllowList([])


def test_a_list_of_one_family_lets_nobody_of_the_other_in():
    assert b"\xc0\0\2\1" not in AllowList(["2001:db8::/32"])
    assert IP6 in AllowList(["2001:db8::/32"])
    assert b"" not in AllowList(["0.0.0.0/0", "::/0"])


v4 = st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 32))
v6 = st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 128))
prefixes = st.one_of(v4, v6).map(lambda pair: ipaddress.ip_network(pair, strict=False))


@settings(max_examples=200, deadline=None)
@given(st.lists(prefixes, min_size=1, max_size=8), st.data())
def test_allowed_is_what_ipaddress_finds_in_a_prefix(found, data):
    allowed = AllowList(data.draw(st.sampled_from([found, [str(one) for one in found]])))
    network = data.draw(st.sampled_from(found))
    near = [network.network_address, network.broadcast_address]
    near += [type(one)((int(one) + step) % 2**network.max_prefixlen) for one in near for step in (-1, 1)]
    for address in near:
        assert (address.packed in allowed) == any(address in one for one in found if one.version == address.version)


# -- Identity

MACHINE_ID = "3d1219c7c4c5404aaa1f6d2a48adfda4"


def test_node_id_is_63_bits_and_not_0():
    assert identity.node_id(MACHINE_ID) == int(hashlib.sha256(b"vxfld" + MACHINE_ID.encode()).hexdigest()[:16], 16) >> 1
    found = {identity.node_id(f"{n:032x}") for n in range(2000)}
    assert len(found) == 2000 and all(0 < one < 1 << 63 for one in found)


def test_a_clone_with_another_name_or_mac_has_another_fingerprint():
    cases = [(MACHINE_ID, "a", "02:00:00:00:00:01"), (MACHINE_ID, "b", "02:00:00:00:00:01")]
    cases += [
        (MACHINE_ID, "a", "02:00:00:00:00:02"),
        (MACHINE_ID[::-1], "a", "02:00:00:00:00:01"),
        (MACHINE_ID, "a", ""),
    ]
    found = {identity.fingerprint(*case) for case in cases}
    assert len(found) == len(cases) and {len(one) for one in found} == {16}


def host(root, devices, machine_id=MACHINE_ID + "\n"):
    (root / "etc").mkdir()
    (root / "etc/machine-id").write_text(machine_id)
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/hostname").write_text("s1\n")
    for name, attributes in devices.items():
        (root / "sys/class/net" / name).mkdir(parents=True)
        for attribute, value in attributes.items():
            (root / "sys/class/net" / name / attribute).write_text(f"{value}\n")
    return root


def device(ifindex, address, assigned=0):
    return {"ifindex": ifindex, "address": address, "addr_assign_type": assigned}


DEVICES = {
    "lo": device(1, "00:00:00:00:00:00"),
    "dummy0": device(2, "02:00:00:00:00:02", 1),  # another one at each start
    "tun0": device(3, ""),
    "eth10": device(10, "02:00:00:00:00:10"),
    "eth9": device(9, "02:00:00:00:00:09", 3),
    "gone": {},
}


def test_a_host(tmp_path):
    found = identity.read(host(tmp_path, DEVICES))
    assert found == identity.Identity(
        identity.node_id(MACHINE_ID), identity.fingerprint(MACHINE_ID, "s1", "02:00:00:00:00:09")
    )


def test_a_host_without_devices(tmp_path):
    assert identity.read(host(tmp_path, {})).machine == identity.fingerprint(MACHINE_ID, "s1", "")


@pytest.mark.parametrize("machine_id", ["", "uninitialized\n", MACHINE_ID[1:]])
def test_a_host_without_a_machine_id(tmp_path, machine_id):
    with pytest.raises(
        MissingError, match="machine-id holds no machine id: run systemd-machine-id-setup, or set node_id"
    ):
        identity.read(host(tmp_path, {}, machine_id))
