# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `ipsec` of a VTEP's plan: equal to the golden one, without keys; and what a mode cannot do is refused by name."""

import json

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from test_compile import words_of

SECRET = "0123456789abcdef" * 4
# Every variant that ESP goes with has the same section.
VARIANT = "unicast-static-flood"


def read(words, name="lab", mtu=1400, variant=VARIANT, **segment):
    fabric, hosts, _service_hosts, _registry_hosts = words_of(name)
    fabric["fabric_segments"] = [{**one, "mtu": mtu, **segment} for one in fabric["fabric_segments"]]
    return plan.read({**fabric, "fabric_encryption": {"mode": "ipsec", **words}}, hosts, variant)


def section(words, host="s1", **options):
    fabric, faults = read(words, **options)
    assert faults == []
    found = plan.compile_host(fabric, VARIANT, host)
    assert SECRET not in json.dumps(found)
    return found["ipsec"]


def faults(words, fabric=None):
    return read(words)[1]


BLOCK = {"proto": "udp", "dport": 4789, "priority": "2147483648", "action": "block"}
LAB = {
    "mode": "ike",
    "local": "2001:db8:1::1",
    "family": 6,
    "ports": [4789],
    "cipher": "aes128gcm16",
    "esp_mode": "transport",
    "nat_t": False,
    "peers": [{"name": "s2", "address": "2001:db8:2::1"}, {"name": "s3", "address": "2001:db8:3::1"}],
    "static": None,
    "group": None,
    "prefix": None,
    "block": [
        {"dir": "out", "src": "2001:db8:1::1/128", "dst": "::/1", **BLOCK},
        {"dir": "out", "src": "2001:db8:1::1/128", "dst": "8000::/1", **BLOCK},
        {"dir": "in", "src": "::/0", "dst": "::/0", **BLOCK},
    ],
}


def test_ike():
    assert section({}) == LAB
    assert section({"ipsec_cipher": "chacha20poly1305", "ipsec_nat_t": True}) == {
        **LAB,
        "cipher": "chacha20poly1305",
        "nat_t": True,
    }


def test_a_device_of_all_vnis_takes_packets_of_both_families():
    fabric, faults = read({"ipsec_mode": "static", "ipsec_secret": SECRET}, variant="unicast-routing")
    assert faults == []
    block = plan.compile_host(fabric, "unicast-routing", "s1")["ipsec"]["block"]
    assert block == [*LAB["block"][:2], {"dir": "in", "src": "0.0.0.0/0", "dst": "0.0.0.0/0", **BLOCK}, LAB["block"][2]]


def test_static():
    words = {
        "ipsec_mode": "static",
        "ipsec_secret": SECRET,
        "ipsec_cipher": "aes256-sha256",
        "ipsec_esp_mode": "tunnel",
    }
    assert section(words) == {
        **LAB,
        "mode": "static",
        "cipher": "aes256-sha256",
        "esp_mode": "tunnel",
        "static": {"algorithm": "aes-cbc-sha256", "key_bits": 256, "mode": "tunnel", "block": False},
    }


def test_ipv4():
    found = section({}, name="ipv4", host=next(iter(words_of("ipv4")[1])))
    assert found["family"] == 4
    ways = [(one["dir"], one["src"], one["dst"]) for one in found["block"]]
    mine = f"{found['local']}/32"
    assert ways == [("out", mine, "0.0.0.0/1"), ("out", mine, "128.0.0.0/1"), ("in", "0.0.0.0/0", "0.0.0.0/0")]


def test_each_port_is_blocked():
    fabric, hosts, *_others = words_of("lab")
    one = {**fabric["fabric_segments"][0], "mtu": 1400}
    fabric["fabric_segments"] = [one, {"vni": 7, "mtu": 1400, "dstport": 8472, "vteps": ["s1", "s3"]}]
    found, told = plan.read({**fabric, "fabric_encryption": {"mode": "ipsec"}}, hosts, VARIANT)
    assert told == []
    ports = {host: plan.compile_host(found, VARIANT, host)["ipsec"]["ports"] for host in hosts}
    assert ports == {"s1": [4789, 8472], "s2": [4789], "s3": [4789, 8472]}
    blocked = plan.compile_host(found, VARIANT, "s1")["ipsec"]["block"]
    assert [(one["dir"], one["dport"]) for one in blocked] == [
        *[("out", 4789), ("out", 4789), ("in", 4789)],
        *[("out", 8472), ("out", 8472), ("in", 8472)],
    ]
    static = {"mode": "ipsec", "ipsec_mode": "static", "ipsec_secret": SECRET}
    told = plan.read({**fabric, "fabric_encryption": static}, hosts, VARIANT)[1]
    assert told == [
        "fabric: fabric_segments: dstport: the segments use 4789, 8472, and ipsec_mode static has keys for one port; "
        "give all the same, or take ipsec_mode ike"
    ]


def test_opportunistic():
    """The network is the smallest that holds all VTEPs, or one that is given, into which others may come without a change here."""
    group = {"group": "private", "prefix": "2001:db8::/46"}
    assert section({"ipsec_mode": "opportunistic"}) == {**LAB, "mode": "opportunistic", **group}
    wide = {"ipsec_prefix": "2001:db8::/32", "ipsec_group": "private-or-clear"}
    found = section({"ipsec_mode": "opportunistic", **wide})
    # Whoever lets in what is clear as well blocks nothing.
    assert (found["prefix"], found["group"], found["block"]) == ("2001:db8::/32", "private-or-clear", [])
    # Words of this mode say nothing in another.
    assert section(wide) == LAB


def test_nothing_without_esp():
    fabric, hosts, *_others = words_of("lab")
    found, _faults = plan.read(fabric, hosts, VARIANT)
    assert "ipsec" not in plan.compile_host(found, VARIANT, "s1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"ipsec_esp_mode": "tunnel"}, ["ipsec_esp_mode: tunnel does not go with ipsec_mode ike"]),
        ({"ipsec_mode": "static"}, ["ipsec_secret: is missing"]),
        (
            {"ipsec_mode": "opportunistic", "ipsec_esp_mode": "tunnel"},
            ["ipsec_esp_mode: tunnel does not go with ipsec_mode opportunistic"],
        ),
        (
            {"ipsec_mode": "opportunistic", "ipsec_prefix": "2001:db8:2::/47"},
            ["ipsec_prefix: 2001:db8:2::/47 does not hold all VTEPs: s1 has 2001:db8:1::1; take a network that does"],
        ),
        (
            {"ipsec_mode": "opportunistic", "ipsec_prefix": "192.0.2.0/24"},
            ["ipsec_prefix: 192.0.2.0/24 does not hold all VTEPs: s1 has 2001:db8:1::1, s2 has"],
        ),
        (
            {"ipsec_mode": "static", "ipsec_nat_t": True},
            ["ipsec_secret: is missing", "ipsec_nat_t: does not go with ipsec_mode static"],
        ),
    ],
)
def test_refused_by_name(words, told):
    found = faults(words)
    assert len(found) == len(told)
    for fault, begin in zip(found, told):
        assert fault.startswith(f"fabric: fabric_encryption: {begin}")


@pytest.mark.parametrize(
    ("features", "cipher", "told"),
    [
        ({"xfrm": False, "esp6": False}, "aes256-sha256", "IPsec states and policies: CONFIG_XFRM_USER"),
        ({"xfrm": False, "esp6": False}, "aes128gcm16", "IPsec states and policies: CONFIG_XFRM_USER"),
        (
            {"xfrm": True, "esp6": False},
            "aes128gcm16",
            "IPsec ESP over IPv6 with AES-GCM: CONFIG_INET6_ESP and CONFIG_CRYPTO_GCM",
        ),
        ({"xfrm": True, "esp6": False}, "aes256-sha256", None),
        ({"xfrm": True, "esp4": False, "esp6": True}, "aes128gcm16", None),
        ({"xfrm": None, "esp6": None}, "aes128gcm16", None),
    ],
)
def test_a_kernel_without(features, cipher, told):
    """On each host, beside all that is wrong else."""
    fabric, hosts, _service_hosts, _registry_hosts = words_of("lab")
    hosts["s1"]["preflight_host"] = hosts["s3"]["preflight_host"] = {"features": features}
    fabric["fabric_segments"] = [{**one, "mtu": 1400} for one in fabric["fabric_segments"]]
    fabric["fabric_encryption"] = {"mode": "ipsec", "ipsec_mode": "static", "ipsec_cipher": cipher}
    found = plan.read(fabric, hosts, VARIANT)[1]
    lacks = [
        f"{host}: encryption: kernel has no {told}; take another mode of encryption, or none" for host in ("s1", "s3")
    ]
    assert [fault for fault in found if "kernel" in fault] == (lacks if told else [])
    assert [fault for fault in found if "ipsec_secret: is missing" in fault]


@pytest.mark.parametrize("port", [500, 4500])
def test_vxlan_stays_off_the_ports_of_ike(port):
    for mode in ("ike", "opportunistic"):
        (fault,) = read({"ipsec_mode": mode}, dstport=port)[1]
        assert fault.startswith(f"fabric: fabric_segments: VNI 100: dstport: {port} is a port of IKE")
    assert read({"ipsec_mode": "static", "ipsec_secret": SECRET}, dstport=port)[1] == []


def test_a_prefix_beside_a_vtep_of_the_other_family():
    fabric, hosts, *_others = words_of("lab")
    fabric["fabric_segments"] = [{**one, "mtu": 1400} for one in fabric["fabric_segments"]]
    fabric["fabric_encryption"] = {"mode": "ipsec-opportunistic", "ipsec_prefix": "2001:db8::/32"}
    hosts["s2"] = {**hosts["s2"], "vtep_address": "203.0.113.2"}
    (fault,) = plan.read({**fabric, "fabric_underlay_family": 6}, hosts, VARIANT)[1]
    assert fault.startswith("s2: vtep_address: 203.0.113.2 is IPv4, and the underlay is IPv6")
