# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of encryption: each fault is told, no key is, and encryption counts in the fabric's MTUs."""

import pytest
from ansible_collections.vtep.fabric.plugins.filter import compile as compile_filter
from ansible_collections.vtep.fabric.plugins.filter import validate as validate_filter
from ansible_collections.vtep.fabric.plugins.filter.mtu_plan import mtu_plan
from ansible_collections.vtep.fabric.plugins.module_utils._model import ciphers, macsec, xfrm
from ansible_collections.vtep.fabric.plugins.module_utils._model import encryption as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.reading import Faults, Unreadable
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fabric import fabric, service_nodes

KEY = "00112233445566778899aabbccddeeff"  # of 16 bytes
OTHER = "ffeeddccbbaa99887766554433221100"
SECRETS = (KEY, OTHER, KEY[:8], OTHER[:8])


def read(value=None, picked=None, strict=False):
    faults = Faults()
    found = model.read(value, picked, faults, strict)
    assert (found is None) == bool(faults.found)
    for fault in faults.found:
        assert fault.startswith(("fabric: fabric_encryption: ", "fabric: encryption: "))
        assert not any(secret in fault.lower() for secret in SECRETS)
    return found, faults.found


def test_nothing_is_none():
    assert read() == (model.Encryption(), [])
    assert read({}, "") == (model.Encryption(), [])
    assert read({"mode": None}, None)[0].mode == "none"


@pytest.mark.parametrize("mode", model.MODES)
def test_what_is_picked_wins(mode):
    settings = {"mode": "macsec", "macsec_mode": "underlay", "ipsec_cipher": "chacha20poly1305"}
    assert read(settings, mode)[0].mode == mode
    assert read({**settings, "mode": mode})[0].mode == mode


def test_opportunistic_is_a_mode_and_a_mode_of_ipsec():
    for words in ({"mode": "ipsec-opportunistic"}, {"mode": "ipsec", "ipsec_mode": "opportunistic"}):
        found = read(words)[0]
        assert (found.mode, found.ipsec_mode) == ("ipsec-opportunistic", "opportunistic")
    assert read({"mode": "macsec", "ipsec_mode": "opportunistic"})[0].mode == "macsec"


def test_all_settings():
    words = {
        "mode": "macsec",
        "macsec_mode": "underlay",
        "macsec_cipher": "GCM-AES-256",
        "macsec_send_sci": "no",
        "macsec_secret": (KEY + OTHER).upper(),
        "mka_keys": [{"ckn": "0A", "cak": KEY}, {"ckn": "0b" * 32, "cak": OTHER + KEY}],
        "ipsec_mode": "static",
        "ipsec_cipher": "aes256-sha256",
        "ipsec_esp_mode": "tunnel",
        "ipsec_nat_t": True,
        "ipsec_secret": KEY,
    }
    found, faults = read(words)
    assert faults == []
    assert found.macsec_secret == KEY + OTHER
    assert found.mka_keys == (("0a", KEY), ("0b" * 32, OTHER + KEY))
    assert found.ipsec_secret == KEY
    assert (found.macsec, found.esp, found.macsec_send_sci) == ("underlay", None, False)
    assert KEY not in repr(found)


ONE = [
    ({"mode": "wireguard"}, None, ["mode: 'wireguard' is unknown; known are none, macsec, macsec-mka, ipsec,"]),
    ({}, "wireguard", ["fabric: encryption: 'wireguard' is unknown"]),
    ({"mode": True}, None, ["mode: True is not text"]),
    ({"cipher": "x"}, None, ["cipher: is not a known key; known are mode, ipsec_mode, macsec_mode"]),
    (7, None, ["fabric_encryption: is not a mapping", "{mode: macsec}"]),
    ([KEY], None, ["fabric_encryption: is not a mapping (the value is not shown)"]),
    (Unreadable("cannot be read: it is vaulted"), None, ["fabric_encryption: cannot be read: it is vaulted"]),
    ({"macsec_mode": "outside"}, None, ["macsec_mode: 'outside' is unknown; known are inside, underlay"]),
    ({"macsec_cipher": "rot13"}, None, ["macsec_cipher: 'rot13' is unknown; known are gcm-aes-128,"]),
    ({"macsec_cipher": "aes128gcm16"}, None, ["macsec_cipher: 'aes128gcm16' is no cipher of MACsec; known are"]),
    ({"macsec_send_sci": "perhaps"}, None, ["macsec_send_sci: 'perhaps' is neither true nor false"]),
    ({"ipsec_group": "clear"}, None, ["ipsec_group: 'clear' is unknown; known are private, private-or-clear"]),
    ({"ipsec_prefix": "2001:db8::1/64"}, None, ["ipsec_prefix: 2001:db8::1/64 has host bits set"]),
    ({"ipsec_mode": "manual"}, None, ["ipsec_mode: 'manual' is unknown; known are ike, opportunistic, static"]),
    ({"ipsec_cipher": "gcm-aes-128"}, None, ["ipsec_cipher: 'gcm-aes-128' is no cipher of ESP"]),
    ({"ipsec_esp_mode": "inside"}, None, ["ipsec_esp_mode: 'inside' is unknown; known are transport, tunnel"]),
    ({"ipsec_nat_t": 7}, None, ["ipsec_nat_t: '7' is neither"]),
    ({"ipsec_prefix": "2001"}, None, ["ipsec_prefix: '2001' is no network; write it like 2001:db8::/32"]),
    # keys
    ({f"macsec_secret:{KEY}": None}, None, ["fabric_encryption: macsec_secret: is not a known key", "a blank after the colon"]),
    ({KEY: None}, None, ["fabric_encryption: a word of 32 characters: is not a known key"]),
    ({"mka_keys": [{"ckn": "01", "cak": OTHER, f"cak:{KEY}": None}]}, None, ["row 1: cak: is not a known key", "a blank after the"]),
    ({"mka_keys": [{"ckn": f"x{KEY}", "cak": OTHER}]}, None, ["row 1: ckn: is not hexadecimal digits (a word of 33 characters)"]),
    ({"macsec_secret": KEY}, None, ["macsec_secret: has 32 hexadecimal digits; it takes an even number from 64 to 256"]),
    ({"macsec_secret": KEY + OTHER + "0"}, None, ["macsec_secret: has 65 hexadecimal digits"]),
    ({"macsec_secret": "x" + KEY + OTHER}, None, ["macsec_secret: is not hexadecimal digits (the value is not shown)"]),
    ({"macsec_secret": 112233}, None, ["macsec_secret: is not text (the value is not shown); put it in quotes"]),
    ({"macsec_secret": [KEY]}, None, ["macsec_secret: is not text (the value is not shown)"]),
    ({"ipsec_secret": KEY[:-1]}, None, ["ipsec_secret: has 31 characters (they are not shown); it takes 32 to 256"]),
    ({"ipsec_secret": {"a": KEY}}, None, ["ipsec_secret: is not text (the value is not shown)"]),
    ({"mka_keys": KEY}, None, ["mka_keys: is not a list (the value is not shown)", "[{ckn: ..., cak: ...}]"]),
    ({"mka_keys": [KEY]}, None, ["mka_keys row 1: is not a mapping (the value is not shown)"]),
    ({"mka_keys": [{"ckn": "01"}]}, None, ["mka_keys row 1: cak: is missing; give the key"]),
    ({"mka_keys": [{"cak": KEY}]}, None, ["mka_keys row 1: ckn: is missing; name the key"]),
    ({"mka_keys": [{"ckn": "01", "cak": KEY, "an": 1}]}, None, ["row 1: an: is not a known key; known are ckn, cak"]),
    ({"mka_keys": [{"ckn": "01", "cak": KEY[:-2]}]}, None,
     ["mka_keys row 1: cak: has 30 hexadecimal digits; it takes 32 (128 bits) or 64 (256 bits)"]),
    ({"mka_keys": [{"ckn": "01", "cak": "x" + KEY}]}, None, ["cak: is not hexadecimal digits (the value is not shown)"]),
    ({"mka_keys": [{"ckn": "01", "cak": 112233}]}, None, ["cak: is not text (the value is not shown); put it in quotes"]),
    ({"mka_keys": [{"ckn": "xy", "cak": KEY}]}, None, ["ckn: is not hexadecimal digits ('xy')"]),
    ({"mka_keys": [{"ckn": "01", "cak": KEY}, {"ckn": "02", "cak": KEY}]}, None,
     ["mka_keys row 2: cak: is also that of CKN 01 (it is not shown); give each its own"]),
    ({"mka_keys": [{"ckn": "01", "cak": KEY}, {"ckn": "01", "cak": KEY}]}, None, ["row 2: ckn: 01 is there twice"]),
    ({"mka_keys": [{"ckn": "01", "cak": KEY}, {"ckn": "01", "cak": OTHER}]}, None,
     ["mka_keys row 2: ckn: 01 has two CAKs; give each CAK a CKN of its own"]),
    ({"mka_keys": [{"ckn": "0a", "cak": KEY}, {"ckn": "0A", "cak": OTHER}]}, None, ["ckn: 0a has two CAKs"]),
    ({"mka_keys": [{"ckn": "00" * 33, "cak": KEY}]}, None, ["ckn: has 66", "an even number from 2 to 64"]),
    ({"mka_keys": [{"ckn": "", "cak": KEY}]}, None, ["ckn: has 0 hexadecimal digits"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "picked", "said"), ONE)
def test_one_fault(value, picked, said):
    (fault,) = read(value, picked)[1]
    assert KEY not in fault
    for part in said:
        assert part in fault


def test_a_key_in_the_wrong_place_is_not_quoted():
    words = ("mode", "macsec_mode", "macsec_cipher", "macsec_send_sci", "ipsec_mode", "ipsec_cipher", "ipsec_esp_mode", "ipsec_nat_t",
             "ipsec_group", "ipsec_prefix")  # fmt: skip
    for word in words:
        for value in (KEY, f" {KEY.upper()}", [KEY], {"x": KEY}, int("1" * 40), KEY * 20):
            (fault,) = read({word: value})[1]
            assert fault.startswith(f"fabric: fabric_encryption: {word}: ")
            assert KEY not in fault.lower() and "1" * 32 not in fault, fault


def test_all_at_once():
    keys = [{"ckn": "01", "cak": "short"}, {"ckn": "02", "cak": KEY[:6]}]
    words = {"mode": "x", "macsec_mode": "y", "ipsec_cipher": "z", "mka_keys": keys, "macsec_secret": 7, "other": 1}
    assert len(read(words, "w")[1]) == 8


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "key", "ckn", "cak", "x"]), inner)
    ),
    max_leaves=8,
)
WORDS = ["mode", "macsec_mode", "macsec_cipher", "macsec_send_sci", "ipsec_mode", "ipsec_cipher", "ipsec_esp_mode"]
WORDS += ["ipsec_nat_t", "macsec_secret", "mka_keys", "ipsec_secret"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), junk) | junk, junk, st.booleans())
def test_junk_is_told(value, picked, strict):
    read(value, picked, strict)


def test_ciphers_are_those_that_the_modules_have():
    assert set(ciphers.MACSEC) == set(macsec.CIPHERS)
    for one in ciphers.ESP.values():
        if one.xfrm:
            name, bits = one.xfrm
            assert any(f"{bits}" in what or what == "ChaCha20" for what in xfrm.ALGORITHMS[name].keys.values())
            assert xfrm.ALGORITHMS[name].icv == 8 * one.icv


# In the fabric


def faults_of(variant="unicast-static-flood", picked=None, change=None, **words):
    fabric_words, hosts = fabric()
    fabric_words.update(fabric_encryption=words or None, encryption=picked)
    if change:
        change(fabric_words, hosts)
    return plan.read(fabric_words, hosts, variant, service_hosts=service_nodes())[1]


def about(part, faults):
    """Those that have a part. Roles of encryption have checks of their own, which are not looked at here."""
    return [fault for fault in faults if part in fault]


def jumbo(_words, hosts):
    for host in hosts.values():
        host["preflight_host"]["interfaces"]["eth0"]["mtu"] = 9000


# What is refused; every other pair goes.
MISMATCHES = {
    ("multicast", "ipsec"): "many; take another variant, or macsec",
    ("multicast", "ipsec-opportunistic"): "one receiver",
    ("vxfld-snr", "ipsec"): "take vxfld-hrep, or macsec",
    ("vxfld-snr", "ipsec-opportunistic"): "service nodes share one address",
    **{
        (variant, mode): "write macsec_mode: underlay"
        for variant in ("unicast-static-nd", "unicast-static-rsc", "unicast-dynamic-nd", "unicast-routing")
        for mode in ("macsec", "macsec-mka")
    },
}


@pytest.mark.parametrize("mode", model.MODES)
@pytest.mark.parametrize("variant", plan.VARIANTS)
def test_pairs(variant, mode):
    words, hosts = fabric()
    nodes = service_nodes()
    jumbo(words, {**hosts, **nodes})
    found = plan.read({**words, "encryption": mode}, hosts, variant, service_hosts=nodes)[1]
    found = about("does not go with variant", found)
    said = MISMATCHES.get((variant, mode))
    assert len(found) == (1 if said else 0), found
    if said:
        assert found[0].startswith(f"fabric: encryption: {mode} does not go with variant {variant}: ")
        assert said in found[0]
    under = {**words, "encryption": mode, "fabric_encryption": {"macsec_mode": "underlay"}}
    found = about("does not go with variant", plan.read(under, hosts, variant, service_hosts=nodes)[1])
    assert len(found) == (1 if said and mode.startswith("ipsec") else 0)


@pytest.mark.parametrize(
    ("words", "need", "how", "fits"),
    [
        ({"mode": "macsec"}, 1602, "MACsec inside 32 more", 1468),
        (
            {"mode": "macsec-mka", "macsec_mode": "underlay", "macsec_send_sci": False},
            1602,
            "MACsec underlay 32 more",
            1468,
        ),
        ({"mode": "ipsec"}, 1604, "ESP in transport mode with aes128gcm16 34 more", 1464),
        (
            {"mode": "ipsec", "ipsec_cipher": "aes256-sha256", "ipsec_nat_t": True, "ipsec_esp_mode": "tunnel"},
            1672,
            "ESP in tunnel mode with aes256-sha256 and NAT traversal 102 more",
            1400,  # 1570 - 40 - 8 - 8 - 16 - 16 = 1482, of which 92 * 16 = 1472 are whole blocks, less 2, 40 and 30
        ),
    ],
)
def test_mtu_counts_encryption(words, need, how, fits):
    def with_mtu(mtu):
        def change(_words, hosts):
            hosts["s1"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = mtu
            for name in ("s2", "s3"):
                hosts[name]["preflight_host"]["interfaces"]["eth0"]["mtu"] = 9000

        return about(" has MTU ", faults_of(change=change, **words))

    assert with_mtu(need) == []
    (fault,) = with_mtu(need - 1)
    assert f"eth0 has MTU {need - 1}, and VNI 100 with MTU 1500 needs {need} (VXLAN over IPv6 adds 70, {how})" in fault
    (fault,) = with_mtu(1570)
    assert fault.endswith(
        f"write {{dev: eth0, mtu: {need}}}, and the same MTU on all hosts of that link, or set the segment's mtu to {fits} at most"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"mode": "ipsec", "ipsec_esp_mode": "tunnel"}, "ipsec_esp_mode: tunnel does not go with ipsec_mode ike"),
        (
            {"mode": "ipsec", "ipsec_mode": "static", "ipsec_nat_t": True},
            "ipsec_nat_t: does not go with ipsec_mode static",
        ),
        ({"mode": "macsec", "macsec_send_sci": False}, "macsec_send_sci: false tells the sender"),
        (
            {"mode": "macsec-mka", "macsec_mode": "underlay", "macsec_cipher": "gcm-aes-256"},
            "macsec-mka has gcm-aes-128",
        ),
        ({"mode": "macsec-mka", "macsec_mode": "underlay", "macsec_send_sci": False}, "macsec-mka has gcm-aes-128"),
    ],
)
def test_what_the_planner_reckons_and_site_yml_refuses(words, said):
    """As docs/mtu.md and the filter's documentation tell."""
    assert mtu_plan(9000, "underlay", encryption=words)["overlay_mtu"] > 8000
    assert len(about(said, faults_of(change=jumbo, **words))) == 1


def test_mtu_counts_tags_of_endpoints():
    def with_tags(tags, mtu):
        def change(words, hosts):
            words["fabric_segments"][0]["inner_vlan_tags"] = tags
            jumbo(words, hosts)
            hosts["s1"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = mtu

        return faults_of(change=change)

    assert with_tags(2, 1578) == []
    (fault,) = with_tags(2, 1577)
    assert "needs 1578 (VXLAN over IPv6 adds 70, inner VLAN tags 8); write {dev: eth0, mtu: 1578}, and" in fault
    assert fault.endswith("or set the segment's mtu to 1499 at most")
    assert "inner_vlan_tags: 3 is out of range; it must be 0 to 2" in with_tags(3, 1600)[0]


def test_an_mtu_that_would_take_ipv6_off_is_not_proposed():
    def change(words, hosts):
        hosts["s1"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = mtu

    for mtu, proposed in ((1350, True), (1349, False)):
        (fault,) = faults_of(change=change)
        assert (f"or set the segment's mtu to {mtu - 70} at most" in fault) == proposed
        assert fault.endswith("at most") == proposed


@pytest.mark.parametrize("family", [4, 6])
def test_the_underlay_has_to_hold_ipv6_itself(family):
    """Under an overlay of small packets too: a link's device with less loses its IPv6 addresses (RFC 8200, section 5), and OSPFv3
    those of its neighbours, whatever VXLAN is sent by."""

    def links_of(mtu):
        def change(words, hosts):
            words["fabric_underlay_family"] = family
            for segment in words["fabric_segments"]:
                segment["mtu"] = 1000
            hosts["s1"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = mtu

        return about("on it needs", faults_of(change=change, mode="macsec", macsec_mode="underlay"))

    assert links_of(1312) == []
    (fault,) = links_of(1311)
    assert fault.startswith(
        "s1: vtep_underlay_interfaces: eth0 has MTU 1311, and IPv6 on it needs 1312 with MACsec underlay"
    )
    # VXLAN over IPv4 needs 1082 here and over IPv6 1102
    assert fault.endswith("; write {dev: eth0, mtu: 1312}, and the same MTU on all hosts of that link")


def test_a_host_without_segments_has_to_hold_ipv6_too():
    def change(words, hosts):
        for segment in words["fabric_segments"]:
            segment["vteps"] = ["s1", "s2"]
        words["fabric_endpoints"] = []
        hosts["s3"]["vtep_access_ports"] = []
        hosts["s3"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = 1300

    (fault,) = about("on it needs", faults_of(change=change, mode="macsec", macsec_mode="underlay"))
    assert fault.startswith("s3: vtep_underlay_interfaces: eth0 has MTU 1300, and IPv6 on it needs 1312 with MACsec")
    assert "; write {dev: eth0, mtu: 1602}, and" in fault  # a link that it shares with the others


def test_more_channels_than_can_be_read_are_refused(monkeypatch):
    """The three VTEPs of the fabric hear two others each. A supplicant's channels are those of the link, which nobody knows."""
    monkeypatch.setattr(plan.macsec_fabric, "CHANNELS", 1)
    found = about("would hear", faults_of(mode="macsec", macsec_mode="underlay"))
    assert len(found) == 3
    assert found[0].startswith("s1: encryption: ms-eth0 would hear 2 others, and the kernel tells about 1 channels")
    assert (
        about(
            "would hear",
            faults_of(mode="macsec-mka", macsec_mode="underlay", mka_keys=[{"ckn": "01", "cak": "6b" * 16}]),
        )
        == []
    )


def test_ipv6_needs_1280():
    def small(words, hosts):
        words["fabric_segments"][0].update(mtu=1279, routers=[])

    (fault,) = faults_of(change=small)
    assert fault == (
        "fabric: fabric_segments: VNI 100: mtu: 1279 is below 1280, the least that IPv6 needs (RFC 8200, section 5), and "
        "endpoint 50:54:33:00:00:01 has 2001:db8:ff::1; raise it to 1280 at least"
    )

    def gateway(words, hosts):
        words["fabric_segments"][1]["mtu"] = 1279

    (fault,) = faults_of(change=gateway)
    assert "VNI 200: mtu: 1279 is below 1280" in fault
    assert "a gateway has 2001:db8:ff::fe/64" in fault

    def ipv4_only(words, hosts):
        words["fabric_segments"][1].update(mtu=576, routers=[])

    assert faults_of(change=ipv4_only) == []


@pytest.mark.parametrize(
    ("where", "tags", "mtu"), [("inside", 0, 1532), ("inside", 1, 1536), ("inside", 2, 1540), ("underlay", 1, 1500)]
)
def test_the_device_below_macsec_carries_it_too(where, tags, mtu):
    """And the tags of endpoints, which are within it."""
    words, hosts = fabric()
    jumbo(words, hosts)
    words["fabric_segments"] = [{**one, "inner_vlan_tags": tags} for one in words["fabric_segments"]]
    words["fabric_encryption"] = {"mode": "macsec", "macsec_mode": where}
    found, _faults = plan.read(words, hosts, "unicast-static-flood")
    compiled = plan.compile_host(found, "unicast-static-flood", "s1")
    assert {device["mtu"] for device in compiled["overlay"]["vxlans"]} == {mtu}
    assert {link["mtu"] for link in compiled["access"]["links"] if link.get("type") == "bridge"} == {1500}


# Through the filters


def inventory(**words):
    _words, hosts = fabric()
    jumbo(_words, hosts)
    hostvars = {host: {**_words, **own, **words} for host, own in hosts.items()}
    return hostvars, {"vteps": list(hosts)}


def test_filters_take_the_mode():
    hostvars, groups = inventory()
    assert validate_filter.validate(hostvars, groups, "unicast-static-flood") == []
    for nothing in (None, "", "none"):
        assert compile_filter.compile_host(hostvars, groups, "unicast-static-flood", "s1", nothing)["host"] == "s1"
    refused = "ipsec-opportunistic does not go with variant multicast"
    found = validate_filter.validate(hostvars, groups, "multicast", encryption="ipsec-opportunistic")
    assert about(refused, found)
    with pytest.raises(Exception, match=refused):
        compile_filter.compile_host(hostvars, groups, "multicast", "s1", "ipsec-opportunistic")


def test_what_differs_between_hosts_is_not_shown():
    hostvars, groups = inventory()
    for number, host in enumerate(hostvars):
        hostvars[host]["fabric_encryption"] = {"mka_keys": [{"ckn": f"0{number}", "cak": KEY}]}
    found = validate_filter.validate(hostvars, groups, "unicast-static-flood")
    assert len(found) == 2
    for fault in found:
        assert "fabric_encryption: differs from that on s1 (the values are not shown); write it once" in fault
        assert KEY not in fault
