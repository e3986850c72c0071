# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTU planner: figures that others have published, and what holds for every stack."""

import itertools
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.filter.mtu_plan import mtu_plan
from ansible_collections.vtep.fabric.plugins.module_utils._model import ciphers, overhead
from ansible_collections.vtep.fabric.plugins.module_utils._model.encryption import Encryption
from ansible_collections.vtep.fabric.plugins.module_utils._model.overhead import Stack
from hypothesis import given, settings
from hypothesis import strategies as st

CBC = "aes128-sha256"


def esp(cipher=CBC, mode="transport", nat_t=False):
    return Encryption("ipsec", ipsec_cipher=cipher, ipsec_esp_mode=mode, ipsec_nat_t=nat_t)


def added_by_esp(packet, how):
    """What ESP adds to an IPv4 packet of a length: the seed's figures are about any packet, VXLAN or not."""
    header = overhead.Layer("IPv4 header", 20, "")
    return sum(layer.bytes for layer in overhead.esp(how, header, packet - 20))


def test_one_byte_more_of_the_overlay_can_need_a_block_more_of_the_underlay():
    """As docs/mtu.md tells; a block more of the underlay is always a block more of the overlay."""
    for cipher, block in ((CBC, 16), ("aes128gcm16", 4)):
        stack = Stack(4, esp(cipher))
        assert {overhead.needed(stack, n + 1) - overhead.needed(stack, n) for n in range(1000, 1100)} == {0, block}
        assert {overhead.largest(stack, n + block) - overhead.largest(stack, n) for n in range(1400, 1500)} == {block}
    told = " ".join((Path(__file__).parents[2] / "docs/mtu.md").read_text().split())
    assert "one byte more of the overlay can need 16 bytes more of the underlay" in told


def test_the_seeds_figures():
    """VXLAN 50, MACsec 32, and ESP 56, 64 and 72 with AES and SHA-256 in transport mode, with NAT traversal, in tunnel mode.

    ESP's depend on the packet's length. The three belong together for packets of a multiple of 16 and 4 bytes more, such as
    1300; in transport mode they are then one byte below the most that padding makes of it.
    """
    assert overhead.needed(Stack(4), 1500) == 1500 + 50 == 1550
    assert overhead.needed(Stack(6), 1500) == 1500 + 70
    for where in ("inside", "underlay"):
        assert overhead.needed(Stack(4, Encryption("macsec", macsec_mode=where)), 1500) == 1550 + 32
    for packet in range(100, 1500, 16):
        assert added_by_esp(packet, esp()) == 56
        assert added_by_esp(packet, esp(nat_t=True)) == 64
        assert added_by_esp(packet, esp(mode="tunnel")) == 72
    assert 1300 in range(100, 1500, 16)
    lengths = range(100, 1500)
    assert {added_by_esp(packet, esp()) for packet in lengths} == set(range(42, 58))
    assert {added_by_esp(packet, esp(mode="tunnel")) for packet in lengths} == set(range(62, 78))


# Worked out by hand from the RFCs: underlay of 1500, what it leaves for the overlay.
BY_HAND = [
    (Stack(4), 1450),
    (Stack(6), 1430),
    (Stack(4, Encryption("macsec")), 1450 - 32),
    (Stack(4, Encryption("macsec-mka", macsec_mode="underlay", macsec_send_sci=False)), 1450 - 32),
    (Stack(6, Encryption("macsec", macsec_mode="underlay")), 1430 - 32),
    (Stack(4, vlan_tags=1), 1450),
    (Stack(4, vlan_tags=2, vlan_tags_counted=True), 1442),
    (Stack(4, inner_vlan_tags=1), 1446),
    # 1500 - 20 - 8 - 8 - 16 = 1448 to be encrypted, of which 2 are ESP's and 30 VXLAN's
    (Stack(4, esp("aes128gcm16")), 1416),
    # 1500 - 40 - 8 - 8 - 16 = 1428
    (Stack(6, esp("aes256gcm16")), 1396),
    (Stack(6, esp("chacha20poly1305")), 1396),
    # 1500 - 20 - 8 - 8 - 8 - 16 = 1440
    (Stack(4, esp("aes128gcm16", nat_t=True)), 1408),
    # 1448 - 20 for the header within
    (Stack(4, esp("aes128gcm16", "tunnel")), 1396),
    # 1500 - 20 - 8 - 16 - 16 = 1440 = 90 * 16
    (Stack(4, esp()), 1408),
    # 1500 - 40 - 8 - 16 - 16 = 1420, of which 88 * 16 = 1408 are whole blocks
    (Stack(6, esp("aes256-sha256")), 1376),
    # 1500 - 20 - 8 - 16 - 32 = 1424 = 89 * 16
    (Stack(4, esp("aes256-sha512")), 1392),
]


@pytest.mark.parametrize(("stack", "mtu"), BY_HAND)
def test_by_hand(stack, mtu):
    assert overhead.largest(stack, 1500) == mtu


def encryptions():
    yield Encryption()
    ways = (("macsec", "inside"), ("macsec", "underlay"), ("macsec-mka", "underlay"))
    for (mode, where), sci in itertools.product(ways, (True, False)):
        yield Encryption(mode, macsec_mode=where, macsec_send_sci=sci)
    for cipher, mode, nat_t in itertools.product(ciphers.ESP, ("transport", "tunnel"), (True, False)):
        yield esp(cipher, mode, nat_t)


stacks = st.builds(
    Stack,
    st.sampled_from([4, 6]),
    st.sampled_from(list(encryptions())),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 2),
)
MANY = settings(max_examples=400, deadline=None)


@MANY
@given(stacks, st.integers(300, 65535))
def test_the_largest_fits_and_one_more_does_not(stack, mtu):
    largest = overhead.largest(stack, mtu)
    assert overhead.needed(stack, largest) <= mtu < overhead.needed(stack, largest + 1)


@MANY
@given(stacks, st.integers(68, 65535))
def test_both_directions_agree(stack, mtu):
    """What an overlay needs leaves it, or more where ESP fills up; and not a byte less would do."""
    need = overhead.needed(stack, mtu)
    block = stack.encryption.esp.block if stack.encryption.esp else 1
    assert mtu <= overhead.largest(stack, need) < mtu + block
    assert overhead.largest(stack, need - 1) < mtu


@MANY
@given(stacks, st.integers(0, 65535), st.integers(0, 100))
def test_longer_packets_never_need_less(stack, length, more):
    assert overhead.needed(stack, length) <= overhead.needed(stack, length + more)
    assert overhead.on_wire(stack, length) <= overhead.on_wire(stack, length + more)
    assert overhead.largest(stack, length + 300) <= overhead.largest(stack, length + 300 + more)


@MANY
@given(stacks, st.integers(0, 9000))
def test_what_esp_encrypts_is_whole_blocks_and_padded_by_less_than_one(stack, length):
    cipher = stack.encryption.esp
    if cipher is None:
        return
    rows = {layer.part: layer.bytes for layer in overhead.layers(stack, length)}
    fixed = 8 + cipher.iv + cipher.icv + overhead.IP[stack.family] + (8 if stack.encryption.ipsec_nat_t else 0)
    assert (overhead.needed(Stack(stack.family, stack.encryption), length) - fixed) % cipher.block == 0
    assert 0 <= rows["ESP padding"] < cipher.block


@MANY
@given(stacks, st.integers(0, 9000))
def test_wire_and_mtu_differ_by_what_is_not_in_both(stack, length):
    """The Ethernet header and uncounted tags are on the wire only, room for an SCI that is not sent in the MTU only."""
    only_wire = 14 + (0 if stack.vlan_tags_counted else 4 * stack.vlan_tags)
    room = 8 if stack.encryption.macsec and not stack.encryption.macsec_send_sci else 0
    assert overhead.on_wire(stack, length) - overhead.needed(stack, length) == only_wire - room


GCM = ("aes128gcm16", "aes256gcm16", "chacha20poly1305")
SHA256 = (CBC, "aes256-sha256")
WAYS = (("transport", False), ("transport", True), ("tunnel", False), ("tunnel", True))


def in_the_documentation():
    """(table, row, encryptions) of each row of the two tables of docs/mtu.md, in their order."""
    macsec = [
        Encryption("macsec", macsec_mode=where, macsec_send_sci=sci)
        for where in ("inside", "underlay")
        for sci in (1, 0)
    ]
    short = [[Encryption()], macsec]
    for mode in ("transport", "tunnel"):
        for group in (GCM, SHA256):
            short += [
                [esp(one, mode, nat_t) for one in group]
                for nat_t in ((False, True) if mode == "transport" else (False,))
            ]
    long = [[Encryption()], *([how] for how in macsec)]
    for group in (GCM, SHA256, ("aes256-sha384",), ("aes256-sha512",)):
        long += [[esp(one, *way) for one in group] for way in WAYS]
    return [("needed", row, hows) for row, hows in enumerate(short)] + [
        ("added", row, hows) for row, hows in enumerate(long)
    ]


@pytest.mark.parametrize(("table", "row", "hows"), in_the_documentation())
def test_the_documentations_tables(table, row, hows):
    _before, rest = (Path(__file__).parents[2] / "docs/mtu.md").read_text().split(f"IPv6: {table} ", 1)
    cells = [cell.strip() for cell in rest.splitlines()[row + 2].strip("|").split("|")][1:]
    for how in hows:
        told = []
        for stack in (Stack(4, how), Stack(6, how)):
            adds = sorted({overhead.on_wire(stack, length) - 14 - length for length in range(1000, 1016)})
            added = " to ".join(map(str, sorted({adds[0], adds[-1]})))
            largest = str(overhead.largest(stack, 1500))
            told += [str(overhead.needed(stack, 1500)), largest] if table == "needed" else [largest, added]
        assert cells == told


def test_an_underlay_of_1700_carries_1500():
    assert max(overhead.needed(Stack(6, how), 1500) for how in encryptions()) <= 1700


# The filter


def refused(mtu, known, **words):
    with pytest.raises(AnsibleFilterError) as caught:
        mtu_plan(mtu, known, **words)
    return str(caught.value)


def test_filter_from_the_underlay():
    found = mtu_plan(1500, "underlay", family=4, encryption={"mode": "ipsec", "ipsec_cipher": CBC})
    # 1408 fills all blocks
    assert (found["overlay_mtu"], found["underlay_mtu"], found["spare"]) == (1408, 1500, 0)
    assert found["overhead"] == 92
    assert found["wire"] == 1514
    assert found["layers"][-1] == {
        "part": "Ethernet header", "bytes": 14, "mtu": 1500, "wire": 1514, "source": "IEEE 802.3",
    }  # fmt: skip
    assert mtu_plan(1510, "underlay", family="4", encryption={"mode": "ipsec", "ipsec_cipher": CBC})["spare"] == 10


def test_filter_from_the_overlay():
    found = mtu_plan(1500, "overlay")
    assert (found["overlay_mtu"], found["underlay_mtu"], found["vxlan_mtu"], found["wire"]) == (1500, 1570, 1500, 1584)
    found = mtu_plan(1500, "overlay", family=4, encryption="macsec")
    assert (found["underlay_mtu"], found["vxlan_mtu"], found["wire"]) == (1582, 1532, 1596)
    found = mtu_plan(1500, "overlay", family=4, encryption={"mode": "macsec", "macsec_send_sci": False})
    assert (found["underlay_mtu"], found["vxlan_mtu"], found["wire"]) == (1582, 1532, 1588)


def test_an_underlay_of_ipv6_has_its_own_least():
    """A tiny overlay without IPv6 would do with less than the underlay's own IPv6 does."""
    assert mtu_plan(500, "overlay", carries_ipv6=False)["underlay_mtu"] == 1280
    assert mtu_plan(500, "overlay", carries_ipv6=False)["spare"] == 710
    assert mtu_plan(500, "overlay", family=4, carries_ipv6=False)["underlay_mtu"] == 550
    how = {"mode": "macsec", "macsec_mode": "underlay"}
    assert mtu_plan(500, "overlay", carries_ipv6=False, encryption=how)["underlay_mtu"] == 1312


@pytest.mark.parametrize("how", ["macsec-mka", {"mode": "macsec-mka"}, {"mode": "macsec-mka", "macsec_mode": None}])
def test_mka_is_on_the_underlay(how):
    """So the VXLAN device has the segment's MTU, and the SecTAG is outside the IP header."""
    found = mtu_plan(1500, "overlay", encryption=how)
    assert (found["underlay_mtu"], found["vxlan_mtu"]) == (1602, 1500)
    assert found == mtu_plan(1500, "overlay", encryption={"mode": "macsec-mka", "macsec_mode": "underlay"})
    assert [row["part"] for row in found["layers"]][-4:-1] == ["IPv6 header", "MACsec SecTAG with SCI", "MACsec ICV"]


@MANY
@given(stacks, st.integers(1280, 9000))
def test_lines_tell_every_byte(stack, mtu):
    words = {
        "family": stack.family,
        "vlan_tags": stack.vlan_tags,
        "vlan_tags_counted": stack.vlan_tags_counted and stack.vlan_tags > 0,
        "inner_vlan_tags": stack.inner_vlan_tags,
        "encryption": mapping_of(stack.encryption),
    }
    found = mtu_plan(mtu, "overlay", **words)
    assert found["overlay_mtu"] == mtu
    assert found["underlay_mtu"] == mtu + found["overhead"] + found["spare"]
    sums = {"mtu": 0, "wire": 0}
    for row, line in zip(found["layers"], found["lines"][1:-1]):
        assert line == f"{row['bytes']:5}  {row['mtu']:5}  {row['wire']:5}  {row['part']} ({row['source']})"
        for name in sums:
            assert row[name] - sums[name] in (0, row["bytes"])
            sums[name] = row[name]
    assert sums == {"mtu": found["underlay_mtu"], "wire": found["wire"]}
    again = mtu_plan(found["underlay_mtu"], "underlay", **words)
    assert again["underlay_mtu"] == found["underlay_mtu"]
    assert again["overlay_mtu"] >= mtu


def mapping_of(how):
    words = {"mode": how.mode}
    if how.macsec:
        words.update(macsec_mode=how.macsec_mode, macsec_send_sci=how.macsec_send_sci)
    if how.esp:
        words.update(ipsec_cipher=how.ipsec_cipher, ipsec_esp_mode=how.ipsec_esp_mode, ipsec_nat_t=how.ipsec_nat_t)
    return words


REFUSED = [
    (1279, "overlay", {}, ["1279 is below 1280, the least that IPv6 needs", "carries_ipv6: false"]),
    (1349, "underlay", {}, ["1349 leaves 1279 for the overlay", "1280 is the least that IPv6 needs", "raise it to 1350"]),
    (1329, "underlay", {"family": 4}, ["1329 leaves 1279", "raise it to 1330"]),
    (1279, "underlay", {}, ["1279 is too small for an underlay of IPv6; it takes 1280 at least"]),
    (1311, "underlay", {"encryption": {"mode": "macsec", "macsec_mode": "underlay"}},
     ["1311 is too small for an underlay of IPv6 below MACsec; it takes 1312 at least"]),
    (100, "underlay", {"family": 4, "carries_ipv6": False}, ["100 leaves 50", "68 is the least that IPv4 needs", "raise it to 118"]),
    (80, "underlay", {"family": 4, "carries_ipv6": False, "encryption": "ipsec"}, ["leaves nothing", "68 is the least"]),
    (65535, "overlay", {}, ["needs 65605", "no device has more than 65535", "take 65465 at most"]),
    (67, "underlay", {}, ["mtu: 67 is out of range; it must be 68 to 65535"]),
    (65536, "overlay", {}, ["mtu: 65536"]),
    ("big", "overlay", {}, ["mtu: 'big' is not a whole number"]),
    (None, "overlay", {}, ["mtu: is missing"]),
    (1500, "both", {}, ["known: 'both' is unknown; known are underlay, overlay"]),
    (1500, None, {}, ["known: is missing"]),
    (1500, "underlay", {"family": 5}, ["family: '5' is unknown; known are 4, 6"]),
    (1500, "underlay", {"vlan_tags": 3}, ["vlan_tags: 3", "0 to 2"]),
    (1500, "underlay", {"inner_vlan_tags": -1}, ["inner_vlan_tags: -1"]),
    (1500, "underlay", {"vlan_tags_counted": True}, ["vlan_tags_counted: is true, and there are no vlan_tags"]),
    (1500, "underlay", {"vlans": 1}, ["mtu_plan: vlans: is not a known word; known are family, encryption"]),
    (1500, "underlay", {"encryption": "wireguard"}, ["encryption: 'wireguard' is unknown; known are none, macsec"]),
    (1500, "underlay", {"encryption": 7}, ["mtu_plan: encryption: is not a mapping"]),
    (1500, "underlay", {"encryption": {"mode": "ipsec", "ipsec_cipher": "rot13"}},
     ["ipsec_cipher: 'rot13' is unknown; known are aes128gcm16"]),
    (1500, "underlay", {"encryption": {"mode": "ipsec", "ipsec_cipher": "gcm-aes-128"}},
     ["ipsec_cipher: 'gcm-aes-128' is no cipher of ESP; known are aes128gcm16"]),
    (1500, "underlay", {"encryption": {"mode": "ipsec", "macsec_mode": "inside"}},
     ["macsec_mode: is not read by mode ipsec; take mode macsec or macsec-mka"]),
    (1500, "underlay", {"encryption": {"mode": "macsec", "ipsec_nat_t": True}},
     ["ipsec_nat_t: is not read by mode macsec; take mode ipsec or ipsec-opportunistic"]),
    (1500, "underlay", {"encryption": {"mode": "macsec-mka", "macsec_mode": "inside"}},
     ["encryption: macsec_mode: inside does not go with macsec-mka, which agrees on keys on the underlay's links; take underlay"]),
    (1500, "underlay", {"encryption": {"ipsec_esp_mode": "tunnel"}}, ["ipsec_esp_mode: is not read by mode none"]),
]  # fmt: skip


@pytest.mark.parametrize(("mtu", "known", "words", "said"), REFUSED)
def test_refused(mtu, known, words, said):
    text = refused(mtu, known, **words)
    for part in said:
        assert part in text
    assert text.startswith("mtu_plan: ") and "fabric" not in text
    assert "; mtu_plan: " not in text  # one fault, and no other brought along


def test_known_once_and_by_position_or_name():
    """Anything else is told in words of the filter's own, not in Python's."""
    assert mtu_plan(1500, known="overlay") == mtu_plan(1500, "overlay")
    for more, words, said in (
        ((), {}, "mtu_plan: known: is missing; write underlay or overlay"),
        (
            ("underlay", 4),
            {},
            "mtu_plan: known: has 2 values; give underlay or overlay, and all else with its name, as in family=4",
        ),
        (("underlay",), {"known": "overlay"}, "mtu_plan: known: has 2 values"),
        (("underlay",), {"mtu": 9000}, "mtu_plan: mtu: is not a known word"),
    ):
        with pytest.raises(AnsibleFilterError, match=said):
            mtu_plan(1500, *more, **words)


def test_all_faults_at_once():
    text = refused("x", "y", family=9, vlan_tags=9, encryption={"mode": "z", "ipsec_cipher": "q"}, other=1)
    for word in (
        "other",
        "known",
        "mtu",
        "family",
        "vlan_tags",
        "encryption: mode",
        "encryption: ipsec_cipher",
    ):
        assert f"mtu_plan: {word}: " in text


@given(
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers()) | st.dictionaries(st.text(), st.text())
)
def test_junk_is_told(junk):
    for word in ("family", "encryption", "vlan_tags", "vlan_tags_counted", "inner_vlan_tags", "carries_ipv6"):
        try:
            assert mtu_plan(1500, "underlay", **{word: junk})["overlay_mtu"] > 0
        except AnsibleFilterError as error:
            assert word in str(error) or "mtu" in str(error)
