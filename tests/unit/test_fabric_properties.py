# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every fabric, and that nothing a user can write makes the validation raise."""

import copy
import json
import random

from ansible_collections.vtep.fabric.plugins.filter import validate
from ansible_collections.vtep.fabric.plugins.module_utils._model import fabric as model
from ansible_collections.vtep.fabric.plugins.module_utils._model import (
    fdb,
    link,
    registry_node,
    service_node,
    vtep,
    vxlan,
)
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ZERO = "00:00:00:00:00:00"
SERVICE_NODES = {
    f"sn{n}": {
        "service_node_address": [f"2001:db8:9{n}::1", f"203.0.113.9{n}"],
        "service_node_underlay_interfaces": ["eth0"],
    }
    for n in (1, 2)
}
REGISTRY = {"reg1": {"registry_address": ["2001:db8:81::1", "203.0.113.81"], "registry_underlay_interfaces": ["eth0"]}}
REGISTRIES = [None, {"kind": "file"}, {"kind": "etcd"}, {"kind": "http", "urls": ["https://a/b"], "interval": 7}]
SECRET = "5e" * 32
ENCRYPTIONS = [
    None,
    {"mode": "macsec", "macsec_secret": SECRET},
    {"mode": "macsec", "macsec_mode": "underlay", "macsec_secret": SECRET, "macsec_cipher": "gcm-aes-xpn-256"},
    {"mode": "macsec-mka", "macsec_mode": "underlay", "mka_keys": [{"ckn": "01", "cak": SECRET[:32]}]},
    {"mode": "ipsec"},
    {"mode": "ipsec", "ipsec_mode": "static", "ipsec_secret": SECRET},
    {"mode": "ipsec-opportunistic", "ipsec_prefix": "2001:db8::/32", "ipsec_group": "private-or-clear"},
]
DYNAMIC = ["unicast-dynamic-l2", "unicast-dynamic-nd"]


@st.composite
def fabrics(draw):
    """(fabric-wide words, words by host) of a sound fabric."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 6)))]
    families = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    family = draw(st.sampled_from([None, *families]))
    vnis = draw(st.lists(st.integers(1, 2**24 - 1), min_size=1, max_size=4, unique=True))
    underlay = family or max(families)
    segments, hosts, endpoints = [], {}, []
    for number, name in enumerate(names, 1):
        addresses = [{4: f"203.0.113.{number}", 6: f"2001:db8:{number}::1"}[one] for one in families]
        hosts[name] = {"vtep_address": addresses, "vtep_underlay_interfaces": ["eth0"], "vtep_access_ports": []}
    for vni in vnis:
        segment = {"vni": vni, "multicast_group": {4: "239.1.1.1", 6: "ff05::1"}[underlay]}
        members = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        if draw(st.booleans()):
            segment["vteps"] = members
        else:
            members = names
        segment["restricted"] = draw(st.booleans())
        segment["routers"] = [
            {
                "mac": f"02:00:00:00:00:0{n}",
                "addresses": [f"10.{n}.0.254/16"],
                "vtep_address": ["203.0.113.99", "2001:db8:99::1"],
            }
            for n in (0, 1)
        ]
        segments.append(segment)
        for name in members:
            dev = f"p{vni}"
            hosts[name]["vtep_access_ports"].append({"dev": dev, "vni": vni})
            for _number in range(draw(st.integers(0, 2))):
                n = len(endpoints) + 1
                endpoints.append(
                    {
                        "mac": f"50:54:33:00:00:{n:02x}",
                        "addresses": [f"10.{names.index(name) % 2}.0.{n}"],
                        "vtep": name,
                        "port": dev,
                        "vni": vni,
                    }
                )
    words = {"fabric_segments": segments, "fabric_endpoints": endpoints, "fabric_underlay_family": family}
    words["fabric_registry"] = draw(st.sampled_from(REGISTRIES))
    return {**words, "fabric_service_address": ["2001:db8:100::100", "203.0.113.100"]}, hosts


def plans(words, hosts, variant):
    """The VTEPs' plans."""
    fabric, faults = plan.read(words, hosts, variant, service_hosts=SERVICE_NODES, registry_hosts=REGISTRY)
    assert faults == []
    return {host: plan.compile_host(fabric, variant, host) for host in hosts}


def rows(text):
    for line in text.splitlines():
        mac, *rest = line.split()
        pairs = dict(zip(rest, rest[1:]))
        yield mac, pairs["dev"], pairs.get("dst")


@FEW
@given(fabrics(), st.sampled_from(["unicast-static-flood", "unicast-static-l2", "vxfld-hrep"]))
def test_flood_lists(given_fabric, variant):
    """Symmetric, complete, without the VTEP itself, and of one family; also those that vxrd is expected to write."""
    words, hosts = given_fabric
    found = plans(words, hosts, variant)
    if variant == "vxfld-hrep":
        assert not any(one["overlay"]["fdb"]["table"] for one in found.values())
        for one in found.values():
            one["overlay"]["fdb"]["table"] = one["expect"]["fdb"]
    by_local = {one["local"]: host for host, one in found.items()}
    assert len(by_local) == len(hosts)
    edges = {
        (host, by_local[dst], dev)
        for host, one in found.items()
        for mac, dev, dst in rows(one["overlay"]["fdb"]["table"])
        if mac == ZERO
    }
    assert all(source != target for source, target, _dev in edges)
    assert {(target, source, dev) for source, target, dev in edges} == edges
    wanted = {
        (a, b, f"vxlan{segment['vni']}")
        for segment in words["fabric_segments"]
        for a in segment.get("vteps", hosts)
        for b in segment.get("vteps", hosts)
        if a != b
    }
    assert edges == wanted
    for host, one in found.items():
        copies = {f"{vni}": sum(1 for a, _b, dev in edges if a == host and dev == f"vxlan{vni}") for vni in one["vnis"]}
        assert one["expect"]["broadcast_copies"] == copies


@FEW
@given(fabrics())
def test_what_service_nodes_know(given_fabric):
    """Who is told to register is expected to be registered, and all but the sender get a copy."""
    words, hosts = given_fabric
    fabric, faults = plan.read(words, hosts, "vxfld-snr", service_hosts=SERVICE_NODES)
    assert faults == []
    found = plans(words, hosts, "vxfld-snr")
    expected = [plan.compile_host(fabric, "vxfld-snr", host)["expect"] for host in SERVICE_NODES]
    assert expected[0] == expected[1]
    for vni, addresses in expected[0]["registrations"].items():
        members = [one for one in found.values() if int(vni) in one["vnis"]]
        assert sorted(one["vxfld"]["settings"]["common"]["src_ip"] for one in members) == addresses
        assert expected[0]["broadcast_copies"][vni] == len(members) - 1
        assert all(one["expect"]["broadcast_copies"][vni] == 1 for one in members)


@FEW
@given(fabrics(), st.sampled_from(DYNAMIC))
def test_who_tells_where_an_endpoint_is(given_fabric, variant):
    """A file says of each VTEP's segments all; what VTEPs publish to etcd is together all that is listed, each once."""
    words, hosts = given_fabric
    found = plans(words, hosts, variant)
    kind = (words["fabric_registry"] or {"kind": "file"})["kind"]
    listed = sorted((e["vni"], e["mac"], found[e["vtep"]]["local"], *e["addresses"]) for e in words["fabric_endpoints"])
    told = {"document": {}, "given": {}}
    for host, one in found.items():
        for key, text in ((key, one["agent"][key]) for key in told):
            if text is not None:
                told[key][host] = [
                    (e["vni"], e["mac"], e["vtep"], *e["addresses"]) for e in json.loads(text)["endpoints"]
                ]
    assert set(told["document"]) == (set(hosts) if kind == "file" else set())
    for host, rows_ in told["document"].items():
        assert rows_ == [row for row in listed if row[0] in found[host]["vnis"]]
    assert set(told["given"]) == (set(hosts) if kind == "etcd" else set())
    if kind == "etcd":
        assert sorted(row for rows_ in told["given"].values() for row in rows_) == listed
        assert all(row[2] == found[host]["local"] for host, rows_ in told["given"].items() for row in rows_)


@FEW
@given(fabrics())
def test_static_macs(given_fabric):
    """Each VTEP of a segment has one row for each endpoint behind another, and none for its own."""
    words, hosts = given_fabric
    found = plans(words, hosts, "unicast-static-l2")
    members = {segment["vni"]: segment.get("vteps", list(hosts)) for segment in words["fabric_segments"]}
    for host, one in found.items():
        seen = sorted(row for row in rows(one["overlay"]["fdb"]["table"]) if row[0] != ZERO)
        assert seen == sorted(
            (e["mac"], f"vxlan{e['vni']}", found[e["vtep"]]["local"])
            for e in words["fabric_endpoints"]
            if e["vtep"] != host and host in members[e["vni"]]
        )
        restricted = {segment["vni"] for segment in words["fabric_segments"] if segment["restricted"]}
        assert sorted(rows(one["access"]["fdb"]["table"])) == sorted(
            (e["mac"], e["port"], None)
            for e in words["fabric_endpoints"]
            if e["vtep"] == host and e["vni"] in restricted
        )


@FEW
@given(fabrics(), st.sampled_from(list(plan.VARIANTS)), st.randoms(use_true_random=False))
def test_order_of_endpoints_does_not_matter(given_fabric, variant, shuffle):
    words, hosts = given_fabric
    before = plans(words, hosts, variant)
    shuffle.shuffle(words["fabric_endpoints"])
    assert plans(words, hosts, variant) == before


def takes(found):
    """The modules' own parsers take a plan. Service nodes have no overlay, and nothing at all where they have no use."""
    link.devices((found["underlay"] or {"links": []})["links"])
    if "overlay" not in found:
        return
    link.devices(found["access"]["links"])
    vxlan.devices(found["overlay"]["vxlans"])
    for part in (found["overlay"]["fdb"], found["access"]["fdb"]):
        fdb.from_table(part["table"], tuple(part["dev"]))


@FEW
@given(fabrics(), st.sampled_from(list(plan.VARIANTS)))
def test_modules_take_every_plan(given_fabric, variant):
    for found in plans(*given_fabric, variant).values():
        takes(found)


# Junk

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=4),
    st.sampled_from(
        ["eth0", "s0", "50:54:33:00:00:01", "2001:db8::1", "192.0.2.1", "ff05::1", "1/2", "::", "lo", 100, 0]
    ),
)
keys = st.one_of(
    st.sampled_from(
        ["vni", "mtu", "mac", "addresses", "vtep", "vteps", "port", "dev", "vlan", "name", "interfaces", "features"]
    ),
    st.sampled_from(["file", "document", "query", "key", "key_id", "algorithm", "bridge", "network", "cost", "tos"]),
    st.integers(),
    st.none(),
    st.text(max_size=5),
)
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def sound_or_told(words, hosts, nodes, registry, variant):
    """No traceback; and what is not told as a fault compiles into what the modules take."""
    fabric, faults = plan.read(words, hosts, variant, service_hosts=nodes, registry_hosts=registry)
    assert all(isinstance(fault, str) and fault.count(": ") >= 2 and len(fault) < 1500 for fault in faults)
    if not faults:
        for host in (*hosts, *nodes, *registry):
            takes(plan.compile_host(fabric, variant, host))


@MANY
@given(
    st.dictionaries(st.sampled_from(model.FABRIC_WORDS), junk),
    st.dictionaries(st.sampled_from(["s0", "s1"]), st.dictionaries(st.sampled_from(vtep.WORDS), junk), min_size=1),
    st.dictionaries(st.sampled_from(["s1", "sn1"]), st.dictionaries(st.sampled_from(service_node.WORDS), junk)),
    st.dictionaries(st.sampled_from(["s1", "sn1", "r1"]), st.dictionaries(st.sampled_from(registry_node.WORDS), junk)),
    st.sampled_from(list(plan.VARIANTS)) | junk,
)
def test_junk_is_told(words, hosts, nodes, registry, variant):
    sound_or_told(words, hosts, nodes, registry, variant)


def places(data, way=()):
    yield way
    if isinstance(data, (dict, list)):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from places(data[key], (*way, key))


@MANY
@given(fabrics(), st.sampled_from(list(plan.VARIANTS)), st.sampled_from(ENCRYPTIONS), junk, st.integers(0, 2**32))
def test_a_sound_fabric_with_one_piece_of_junk(given_fabric, variant, encryption, piece, seed):
    words, hosts = copy.deepcopy(given_fabric)
    words["fabric_encryption"] = copy.deepcopy(encryption)
    nodes, registry = copy.deepcopy(SERVICE_NODES), copy.deepcopy(REGISTRY)
    for host in (*hosts.values(), *nodes.values(), *registry.values()):
        host["preflight_host"] = {"interfaces": {"eth0": {"mtu": 1600}}, "features": {"dummy": True}}
        host["preflight_host"]["interfaces"].update({f"p{s['vni']}": {"mtu": 1500} for s in words["fabric_segments"]})
        host.update(underlay_ospf_hello_interval=1, underlay_ospf_authentication={"key_id": 1, "key": "k"})
    for number, host in enumerate(hosts.values(), 1):
        link = {"dev": "eth0", "mtu": 2000, "addresses": [f"169.254.16.{number}/24"]}
        host["vtep_underlay_interfaces"] = [link]
    faults = plan.read(words, hosts, variant, service_hosts=nodes, registry_hosts=registry)[1]
    # Not each encryption goes with each variant and family.
    assert encryption or faults == []
    assume(not faults)
    *way, last = random.Random(seed).choice(
        [way for way in places([words, hosts, nodes, registry]) if len(way) > (1 if way[:1] == (0,) else 2)]
    )
    place = [words, hosts, nodes, registry]
    for part in way:
        place = place[part]
    place[last] = piece
    sound_or_told(words, hosts, nodes, registry, variant)


@MANY
@given(junk, junk, junk)
def test_the_filter_takes_junk(hostvars, groups, variant):
    assert validate.validate(hostvars, groups, variant)


@MANY
@given(
    st.dictionaries(
        st.sampled_from(["s0", "s1", "sn1", "r1"]),
        st.dictionaries(st.sampled_from((*vtep.WORDS, *service_node.WORDS, *registry_node.WORDS)), junk) | junk,
    ),
    junk,
)
def test_the_filter_takes_junk_of_hosts(hostvars, endpoints):
    for host in hostvars.values():
        if isinstance(host, dict):
            host.update(fabric_segments=[{"vni": 100}], fabric_endpoints=endpoints)
    groups = {"vteps": ["s0", "s1"], "service_nodes": ["sn1"], "registry": ["r1"]}
    assert isinstance(validate.validate(hostvars, groups, "multicast"), list)
