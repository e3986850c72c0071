# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled plans: equal to the golden files, fit for the modules, and right whatever the fabric.

After a wanted change of what is compiled: GOLDEN=write pytest tests/unit/test_compile.py, then read the difference in git.
"""

import json
import os
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.vtep.fabric.plugins.module_utils._agent import claims
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import announce as announce_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import fdb as fdb_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import isolation as isolation_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import link as link_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf as ospf_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import vxlan as vxlan_module
from ansible_collections.vtep.fabric.plugins.module_utils._model import announce, fdb, link, ospf, vxlan
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from ansible_collections.vtep.fabric.plugins.module_utils._plan.variants import VARIANTS

GOLDEN = Path(__file__).parent / "golden"
KEY = "secret"  # the role hands it to the modules; see test_underlay.py
FABRICS = sorted(path.stem for path in (GOLDEN / "fabrics").glob("*.yml"))


def words_of(name):
    """(fabric-wide words, words by VTEP, by service node, by host of the registry) of a file in golden/fabrics."""
    data = yaml.safe_load((GOLDEN / "fabrics" / f"{name}.yml").read_text())
    kinds = ("hosts", "service_nodes", "registry")
    return data["fabric"], *({h: {**data["every_host"], **w} for h, w in data.get(k, {}).items()} for k in kinds)


def compiled(name, variant):
    """{host: plan}, or {"faults": [...]}."""
    return compiled_words(variant, *words_of(name))


def compiled_words(variant, words, hosts, service_hosts, registry_hosts):
    fabric, faults = plan.read(words, hosts, variant, service_hosts=service_hosts, registry_hosts=registry_hosts)
    if faults:
        return {"faults": faults}
    return {host: plan.compile_host(fabric, variant, host) for host in (*hosts, *service_hosts, *registry_hosts)}


def vteps(name, variant):
    """The plans of the VTEPs only."""
    return {host: found for host, found in compiled(name, variant).items() if "access" in found}


def rows(text):
    """(MAC, device, destination) of each line of a table."""
    found = []
    for line in text.splitlines():
        mac, *rest = line.split()
        pairs = dict(zip(rest, rest[1:]))
        found.append((mac, pairs["dev"], pairs.get("dst")))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FABRICS)
def test_golden(name, variant):
    folder = GOLDEN / name / variant
    texts = {
        f"{part}.json": json.dumps(data, indent=1, sort_keys=True) + "\n"
        for part, data in compiled(name, variant).items()
    }
    if os.environ.get("GOLDEN") == "write":
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.json"):
            old.unlink()
        for file, text in texts.items():
            (folder / file).write_text(text)
    golden = {path.name: path.read_text() for path in folder.glob("*.json")}
    assert sorted(texts) == sorted(golden)
    for file, text in texts.items():
        assert json.loads(text) == json.loads(golden[file]), f"{name}/{variant}/{file} differs"
        assert text == golden[file]


def test_every_golden_folder_is_tested():
    folders = {path.parent.relative_to(GOLDEN) for path in GOLDEN.glob("*/*/*.json")}
    assert folders == {Path(name, variant) for name in FABRICS for variant in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FABRICS)
def test_survives_json(name, variant):
    """Facts go through JSON, which would turn a number as a key into a string."""
    found = compiled(name, variant)
    assert json.loads(json.dumps(found)) == found


def accepted(spec, options):
    """What a module makes of its options: every one is known, and of its type."""
    result = ArgumentSpecValidator(spec).validate(options)
    assert result.error_messages == []
    return result.validated_parameters


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FABRICS)
def test_modules_take_it(name, variant):
    """Every option exists, every value is in its normal form, and nothing contradicts."""
    for found in vteps(name, variant).values():
        links = found["underlay"]["links"] + found["access"]["links"]
        devices = found["overlay"]["vxlans"]
        taken = []
        for part in ("underlay", "access"):
            taken += link.devices(accepted(link_module.Devices.spec(), {"links": found[part]["links"]})["links"])
        taken += vxlan.devices(accepted(vxlan_module.Vxlans.spec(), {"devices": devices})["devices"])
        for options, device in zip(links + devices, taken):
            flat = link.flatten(options)
            if "remote" in flat:
                flat["group"] = flat.pop("remote")  # the kernel's name for both
            if "vnis" in flat:
                flat["vnis"] = ",".join(map(str, flat["vnis"]))
            assert device.wanted == {key: flat[key] for key in device.wanted}
            assert set(flat) - set(device.wanted) <= {"name", "type", "addresses"}
        for part in (found["overlay"]["fdb"], found["access"]["fdb"]):
            accepted(fdb_module.ARGUMENTS, {**part, "purge": "owned"})
            fdb.from_table(part["table"], tuple(part["dev"]))
        announce.segments(accepted(announce_module.ARGUMENTS, {"segments": found["overlay"]["announce"]})["segments"])
        accepted(isolation_module.SPEC, {"interfaces": found["access"]["isolation"]})
        for protocol in (ospf.V3, ospf.V2):
            options = found["underlay"][protocol.name]
            if options:
                given = accepted(ospf_module.spec(protocol), {**options, "authentication_key": KEY})
                ospf.normalise(protocol, given)


@pytest.mark.parametrize("name", FABRICS)
def test_variants_set_the_same_attributes(name):
    """Or a device would keep what a former variant set. unicast-routing's are made anew anyway."""
    seen = {"bridged": set(), "routed": set(), "port": set()}
    for variant in VARIANTS:
        kind = "routed" if variant == "unicast-routing" else "bridged"
        for found in vteps(name, variant).values():
            # The module takes the one attribute `group` of the kernel under two names.
            devices = [
                {"group" if option == "remote" else option for option in link.flatten(device)}
                for device in found["overlay"]["vxlans"]
            ]
            seen[kind] |= set(map(frozenset, devices))
            assert {device["external"] for device in found["overlay"]["vxlans"]} <= {kind == "routed"}
            if kind == "bridged":
                seen["port"] |= {
                    tuple(sorted(link.flatten(one)))
                    for one in found["access"]["links"]
                    if one.get("master") and not one.get("type")
                }
    assert all(len(kinds) <= 1 for kinds in seen.values())
    assert seen["bridged"]
    assert seen["port"]


def test_lab_by_hand():
    """The facts of the lab that golden files written by the code cannot prove."""
    s2 = {variant: compiled("lab", variant)["s2"] for variant in VARIANTS}
    flood = [
        "00:00:00:00:00:00 dev vxlan100 dst 2001:db8:1::1 permanent self",
        "00:00:00:00:00:00 dev vxlan100 dst 2001:db8:3::1 permanent self",
    ]
    static = [
        "50:54:33:00:00:01 dev vxlan100 dst 2001:db8:1::1 permanent self",
        "50:54:33:00:00:04 dev vxlan100 dst 2001:db8:3::1 permanent self",
    ]
    tables = {variant: found["overlay"]["fdb"]["table"].splitlines() for variant, found in s2.items()}
    gateway = ["02:00:00:00:00:01 dev vxlan100 dst 2001:db8:99::1 router permanent self"]
    assert tables == {
        "multicast": [],
        "unicast-static-flood": flood,
        "unicast-static-l2": flood + static,
        "unicast-static-nd": static,
        "unicast-static-rsc": flood + gateway,
        "unicast-dynamic-l2": [
            "33:33:ff:00:00:10 dev vxlan100 dst 2001:db8:1::1 permanent self",
            "33:33:ff:00:00:13 dev vxlan100 dst 2001:db8:3::1 permanent self",
            "ff:ff:ff:ff:ff:ff dev vxlan100 dst 2001:db8:1::1 permanent self",
            "ff:ff:ff:ff:ff:ff dev vxlan100 dst 2001:db8:3::1 permanent self",
        ],
        "unicast-dynamic-nd": [],
        "unicast-routing": [],
        "vxfld-hrep": [],
        "vxfld-snr": [],
    }
    devices = {variant: found["overlay"]["vxlans"][0] for variant, found in s2.items()}
    told = {v: (d["learning"], d.get("group"), d["dev"], d["proxy"], d["rsc"]) for v, d in devices.items()}
    assert told == {
        "multicast": (True, "ff05::100", "eth0", False, False),
        "unicast-static-flood": (True, "", "", False, False),
        "unicast-static-l2": (False, "", "", False, False),
        "unicast-static-nd": (False, "", "", True, False),
        "unicast-static-rsc": (True, "", "", False, True),
        "unicast-dynamic-l2": (False, "", "", False, False),
        "unicast-dynamic-nd": (False, "", "", True, False),
        "unicast-routing": (False, "", "", False, False),
        "vxfld-hrep": (True, "", "", False, False),
        "vxfld-snr": (True, None, "", False, False),
    }
    misses = {variant: (device["l2miss"], device["l3miss"]) for variant, device in devices.items()}
    assert {variant for variant, asks in misses.items() if any(asks)} == {"unicast-dynamic-l2", "unicast-dynamic-nd"}
    assert (misses["unicast-dynamic-l2"], misses["unicast-dynamic-nd"]) == ((True, False), (True, True))
    assert devices["vxfld-snr"]["remote"] == "2001:db8:100::100"
    assert all(
        (d.get("id", 100), d["local"], d["ttl"], d["dstport"]) == (100, "2001:db8:2::1", 5, 4789)
        for d in devices.values()
    )
    assert {variant: found["expect"]["broadcast_copies"] for variant, found in s2.items()} == {
        "multicast": {"100": 1},
        "unicast-static-flood": {"100": 2},
        "unicast-static-l2": {"100": 2},
        "unicast-static-nd": {"100": 0},
        "unicast-static-rsc": {"100": 2},
        "unicast-dynamic-l2": {"100": 2},
        "unicast-dynamic-nd": {"100": 0},
        "unicast-routing": {"100": 0},
        "vxfld-hrep": {"100": 2},
        "vxfld-snr": {"100": 1},
    }
    assert s2["vxfld-hrep"]["expect"]["fdb"].splitlines() == flood


def test_daemons_by_hand():
    anycast = "2001:db8:100::100"
    for variant, head_rep in (("vxfld-hrep", "true"), ("vxfld-snr", "false")):
        assert compiled("lab", variant)["s2"]["vxfld"] == {
            "daemon": "vxrd",
            "settings": {"common": {"src_ip": "2001:db8:2::1", "svcnode_ip": anycast}, "vxrd": {"head_rep": head_rep}},
        }
    settings = {
        "svcnode_peers": "2001:db8:98::1 2001:db8:99::1",
        "install_svcnode_ip": "true",
        "svcnode_dev": "vtep0",
    }
    for variant, more in (
        ("vxfld-hrep", {"enable_vxlan_listen": "false"}),
        ("vxfld-snr", {"enable_vxlan_listen": "true", "vxlan_port": "4789"}),
    ):
        assert compiled("lab", variant)["sn2"]["vxfld"] == {
            "daemon": "vxsnd",
            "settings": {"common": {"src_ip": "2001:db8:99::1", "svcnode_ip": anycast}, "vxsnd": {**settings, **more}},
        }
    ipv4 = compiled("ipv4", "vxfld-snr")
    assert ipv4["s1"]["vxfld"]["settings"]["common"] == {"src_ip": "203.0.113.1", "svcnode_ip": "203.0.113.100"}
    assert ipv4["sn1"]["vxfld"]["settings"]["vxsnd"]["svcnode_dev"] == "loop7"
    assert ipv4["sn1"]["vxfld"]["settings"]["vxsnd"]["vxlan_port"] == "8472"


def test_service_nodes_by_hand():
    vtep_addresses = [f"2001:db8:{n}::1" for n in (1, 2, 3)]
    plan = compiled("segments", "vxfld-snr")["sn1"]
    assert set(plan) == {"host", "variant", "family", "local", "vnis", "underlay", "vxfld", "agent", "expect"}
    assert plan["vnis"] == [100, 200]
    assert plan["expect"] == {
        "registrations": {"100": vtep_addresses, "200": [vtep_addresses[0], vtep_addresses[2]]},
        "broadcast_copies": {"100": 2, "200": 1},
    }
    assert compiled("segments", "vxfld-hrep")["sn1"]["expect"]["broadcast_copies"] == {"100": 0, "200": 0}
    loopbacks = {f"{address}/128": host for address, host in zip(vtep_addresses, ("s1", "s2", "s3"))}
    loopbacks["2001:db8:98::1/128"] = "sn1"
    assert all(one["underlay"]["loopbacks"]["6"] == loopbacks for one in compiled("segments", "vxfld-snr").values())


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.startswith("vxfld-")])
def test_a_variant_without_service_nodes_leaves_them_bare(variant):
    found = compiled("lab", variant)
    assert found["sn1"]["underlay"] is found["sn1"]["vxfld"] is found["s1"]["vxfld"] is None
    assert set(found["s1"]["underlay"]["loopbacks"]["6"].values()) == {"s1", "s2", "s3"}


def test_modules_take_the_plan_of_a_service_node_and_of_a_host_of_the_registry():
    for name, variant, host in (
        ("lab", "vxfld-snr", "sn1"), ("ipv4", "vxfld-snr", "sn1"), ("segments", "vxfld-snr", "sn1"),
        ("ipv4", "unicast-dynamic-l2", "reg1"),
    ):  # fmt: skip
        found = compiled(name, variant)[host]["underlay"]
        link.devices(accepted(link_module.Devices.spec(), {"links": found["links"]})["links"])
        for protocol in (ospf.V3, ospf.V2):
            if found[protocol.name]:
                given = accepted(ospf_module.spec(protocol), {**found[protocol.name], "authentication_key": KEY})
                ospf.normalise(protocol, given)


DYNAMIC = ("unicast-dynamic-l2", "unicast-dynamic-nd")
LISTED = (
    '{"vni": 100, "mac": "50:54:33:00:00:01", "vtep": "2001:db8:1::1", "addresses": ["2001:db8:ff::10", "192.0.2.10"]}',
    '{"vni": 100, "mac": "50:54:33:00:00:02", "vtep": "2001:db8:2::1", "addresses": ["2001:db8:ff::11", "192.0.2.11"]}',
    '{"vni": 100, "mac": "50:54:33:00:00:03", "vtep": "2001:db8:2::1", "addresses": ["2001:db8:ff::12", "192.0.2.12"]}',
    '{"vni": 100, "mac": "50:54:33:00:00:04", "vtep": "2001:db8:3::1", "addresses": ["2001:db8:ff::13", "192.0.2.13"]}',
)


def listed(*rows):
    return '{"version": 1, "endpoints": [\n' + ",\n".join(rows) + "\n]}\n"


def with_registry(variant, registry, registry_hosts=None, **more):
    """The lab's plans, with fabric_registry and hosts of group registry."""
    words, hosts, service_hosts, _registry = words_of("lab")
    words.update(fabric_registry=registry, **more)
    return compiled_words(variant, words, hosts, service_hosts, registry_hosts or {})


def registry_hosts(count):
    return {
        f"reg{n}": {"registry_address": [f"2001:db8:{n + 250:x}::1", f"203.0.113.{n + 250}"],
                    "registry_underlay_interfaces": ["eth0"]}
        for n in range(1, count + 1)
    }  # fmt: skip


@pytest.mark.parametrize("variant", DYNAMIC)
def test_a_file_as_registry_by_hand(variant):
    for registry in (None, {}, {"kind": "file"}):
        assert with_registry(variant, registry)["s2"]["agent"] == {
            "settings": {
                "agent": {"learn": "false", "groups": "false"},
                "registry": {"kind": "file", "file": "/var/lib/vtep.fabric/endpoints.json"},
            },
            "document": listed(*LISTED),
            "given": None,
            "members": [],
        }
    assert with_registry(variant, None, fabric_endpoints=[])["s2"]["agent"]["document"] == listed()


@pytest.mark.parametrize(("variant", "groups"), list(zip(DYNAMIC, ("true", "false"))))
def test_http_as_registry_by_hand(variant, groups):
    url = "https://ipam.example.net:8443/a?b=c"
    assert with_registry(variant, {"kind": "http", "urls": [url], "interval": 60, "username": "u"})["s2"]["agent"] == {
        "settings": {
            "agent": {"learn": "false", "groups": groups},
            "registry": {"kind": "http", "urls": url, "interval": "60", "username": "u"},
        },
        "document": None,
        "given": None,
        "members": [],
    }


@pytest.mark.parametrize(("variant", "groups"), list(zip(DYNAMIC, ("true", "false"))))
def test_etcd_as_registry_by_hand(variant, groups):
    """Each VTEP publishes what it learns and, of what is listed, its own."""
    plans = with_registry(variant, {"kind": "etcd"}, registry_hosts(3))
    urls = "https://[2001:db8:fb::1]:2379 https://[2001:db8:fc::1]:2379 https://[2001:db8:fd::1]:2379"
    assert plans["s2"]["agent"] == {
        "settings": {
            "agent": {"learn": "true", "groups": groups},
            "registry": {"kind": "etcd", "urls": urls, "prefix": "/vtep.fabric", "username": "vtep"},
            "given": {"endpoints_file": "/var/lib/vtep.fabric/given.json"},
        },
        "document": None,
        "given": listed(LISTED[1], LISTED[2]),
        "members": ["reg1", "reg2", "reg3"],
    }
    assert plans["reg2"]["registry"] == {
        "members": [{"name": f"reg{n}", "address": f"2001:db8:{n + 250:x}::1"} for n in (1, 2, 3)],
        "self": "reg2",
        "prefix": "/vtep.fabric",
        "username": "vtep",
    }
    loopbacks = {f"2001:db8:{n}::1/128": f"s{n}" for n in (1, 2, 3)}
    loopbacks |= {f"2001:db8:{n + 250:x}::1/128": f"reg{n}" for n in (1, 2, 3)}
    assert all(plans[host]["underlay"]["loopbacks"]["6"] == loopbacks for host in ("s1", "reg1"))
    assert plans["sn1"]["underlay"] is None
    own = {"kind": "etcd", "urls": ["https://etcd.example.net:2379/", "http://192.0.2.9:2379"], "prefix": "/a/b"}
    unlisted = with_registry(variant, own, fabric_endpoints=None)["s2"]["agent"]
    assert unlisted["given"] is None
    assert unlisted["members"] == []
    assert unlisted["settings"] == {
        "agent": {"learn": "true", "groups": groups},
        "registry": {"kind": "etcd", "urls": "https://etcd.example.net:2379 http://192.0.2.9:2379", "prefix": "/a/b"},
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_hosts_of_the_registry_are_bare_where_nobody_asks_them(variant):
    for registry in ({"kind": "etcd"}, {"kind": "file"}):
        plans = with_registry(variant, registry, registry_hosts(1))
        used = variant in DYNAMIC and registry["kind"] == "etcd"
        assert (plans["reg1"]["underlay"] is not None) == (plans["reg1"]["registry"] is not None) == used
        assert ("reg1" in plans["s1"]["underlay"]["loopbacks"]["6"].values()) == used
        assert (plans["s1"]["agent"] is not None) == (variant in DYNAMIC)
        assert plans["reg1"]["agent"] is plans["sn1"]["agent"] is plans["reg1"]["vxfld"] is None


def test_what_the_dynamic_variants_expect_by_hand():
    paths = [
        {"vni": 100, "mac": "50:54:33:00:00:01", "dst": "2001:db8:1::1"},
        {"vni": 100, "mac": "50:54:33:00:00:04", "dst": "2001:db8:3::1"},
    ]
    assert compiled("lab", DYNAMIC[0])["s2"]["expect"] == {
        "broadcast_copies": {"100": 2}, "unknown_copies": {"100": 0}, "paths": paths,
    }  # fmt: skip
    assert compiled("lab", DYNAMIC[1])["s2"]["expect"] == {"broadcast_copies": {"100": 0}, "paths": paths}


@pytest.mark.parametrize("variant", DYNAMIC)
@pytest.mark.parametrize("name", FABRICS)
def test_the_agent_takes_the_documents(name, variant):
    """And would write them the same way."""
    texts = [one["agent"][key] for one in vteps(name, variant).values() for key in ("document", "given")]
    for text in filter(None, texts):
        found, faults = claims.document(text.encode())
        assert faults == []
        assert claims.dump(found) == text


def test_endpoints_with_one_solicited_node_address_share_a_row():
    """Of one VTEP one row, of two VTEPs two; and of IPv4 addresses none."""

    def changed(**addresses):
        words, hosts, _service_hosts, _registry = words_of("lab")
        for row in words["fabric_endpoints"]:
            row["addresses"] = addresses[row["name"]]
        table = compiled_words("unicast-dynamic-l2", words, hosts, {}, {})["s1"]["overlay"]["fdb"]["table"]
        return [(mac, dst) for mac, _dev, dst in rows(table) if mac.startswith("33:33:")]

    shared, mac = "2001:db8:%s::ab:cdef", "33:33:ff:ab:cd:ef"
    assert changed(h1=[shared % 1], h2=[shared % 2, "192.0.2.2"], h3=[shared % 3], h4=[shared % 4]) == [
        (mac, "2001:db8:2::1"), (mac, "2001:db8:3::1"),
    ]  # fmt: skip


def test_neighbors_by_hand():
    found = compiled("lab", "unicast-static-nd")["s3"]["overlay"]
    assert found["neighbors"]["table"].splitlines() == [
        "192.0.2.10 dev vxlan100 lladdr 50:54:33:00:00:01 nud permanent",
        "192.0.2.11 dev vxlan100 lladdr 50:54:33:00:00:02 nud permanent",
        "192.0.2.12 dev vxlan100 lladdr 50:54:33:00:00:03 nud permanent",
        "2001:db8:ff::10 dev vxlan100 lladdr 50:54:33:00:00:01 nud permanent",
        "2001:db8:ff::11 dev vxlan100 lladdr 50:54:33:00:00:02 nud permanent",
        "2001:db8:ff::12 dev vxlan100 lladdr 50:54:33:00:00:03 nud permanent",
    ]
    for variant in VARIANTS:
        other = compiled("lab", variant)["s3"]["overlay"]
        assert bool(other["neighbors"]["table"]) == (variant in ("unicast-static-nd", "unicast-routing"))
        assert bool(other["routes"]["table"]) == bool(other["sysctls"]) == (variant == "unicast-routing")


def test_short_circuit_by_hand():
    s1, s2 = (compiled("tenants", "unicast-static-rsc")[host]["overlay"] for host in ("s1", "s2"))
    assert [line for line in s1["fdb"]["table"].splitlines() if "vxlan100" in line] == [
        "00:00:00:00:00:00 dev vxlan100 dst 2001:db8:2::1 permanent self",
        "02:00:00:00:00:01 dev vxlan100 dst 2001:db8:99::1 router permanent self",
        "50:54:33:00:00:02 dev vxlan100 dst 2001:db8:2::1 permanent self",
    ]
    assert [line for line in s2["fdb"]["table"].splitlines() if "vxlan100" in line] == [
        "00:00:00:00:00:00 dev vxlan100 dst 2001:db8:1::1 permanent self",
        "02:00:00:00:00:02 dev vxlan100 dst 2001:db8:99::2 router permanent self",
        "50:54:33:00:00:01 dev vxlan100 dst 2001:db8:1::1 permanent self",
    ]
    assert s1["neighbors"]["table"].splitlines() == [
        "198.51.100.11 dev vxlan100 lladdr 50:54:33:00:00:02 nud permanent",
        "198.51.100.11 dev vxlan200 lladdr 50:54:33:00:00:02 nud permanent",
        "2001:db8:fe::11 dev vxlan100 lladdr 50:54:33:00:00:02 nud permanent",
        "2001:db8:fe::11 dev vxlan200 lladdr 50:54:33:00:00:02 nud permanent",
    ]


def test_routing_by_hand():
    plan = compiled("lab", "unicast-routing")["s3"]
    assert plan["overlay"]["routes"]["table"].splitlines() == [
        "192.0.2.10/32 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:1::1 ttl 5 tos 0 dev vxlan100",
        "192.0.2.11/32 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:2::1 ttl 5 tos 0 dev vxlan100",
        "192.0.2.12/32 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:2::1 ttl 5 tos 0 dev vxlan100",
        "192.0.2.13/32 dev eth1",
        "2001:db8:ff::10/128 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:1::1 ttl 5 tos 0 dev vxlan100",
        "2001:db8:ff::11/128 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:2::1 ttl 5 tos 0 dev vxlan100",
        "2001:db8:ff::12/128 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:2::1 ttl 5 tos 0 dev vxlan100",
        "2001:db8:ff::13/128 dev eth1",
    ]
    assert plan["overlay"]["neighbors"]["table"].splitlines() == [
        "192.0.2.10 dev eth1 proxy",
        "192.0.2.10 dev vxlan100 lladdr 02:00:00:00:00:01 nud permanent",
        "192.0.2.11 dev eth1 proxy",
        "192.0.2.11 dev vxlan100 lladdr 02:00:00:00:00:02 nud permanent",
        "192.0.2.12 dev eth1 proxy",
        "192.0.2.12 dev vxlan100 lladdr 02:00:00:00:00:02 nud permanent",
        "192.0.2.13 dev eth1 lladdr 50:54:33:00:00:04 nud permanent",
        "2001:db8:ff::10 dev eth1 proxy",
        "2001:db8:ff::10 dev vxlan100 lladdr 02:00:00:00:00:01 nud permanent",
        "2001:db8:ff::11 dev eth1 proxy",
        "2001:db8:ff::11 dev vxlan100 lladdr 02:00:00:00:00:02 nud permanent",
        "2001:db8:ff::12 dev eth1 proxy",
        "2001:db8:ff::12 dev vxlan100 lladdr 02:00:00:00:00:02 nud permanent",
        "2001:db8:ff::13 dev eth1 lladdr 50:54:33:00:00:04 nud permanent",
    ]
    (device,) = plan["overlay"]["vxlans"]
    assert (device["address"], device["vnis"], device["external"]) == ("02:00:00:00:00:03", [100], True)
    assert plan["access"]["links"] == [{"name": "eth1", "master": "", "up": True}]
    assert plan["access"]["routed"] == [["vxlan100", "eth1"]]
    assert plan["overlay"]["sysctls"]["net/ipv6/conf/all/forwarding"] == "1"
    assert plan["overlay"]["rules"] == []


def test_tables_of_tenants_by_hand():
    """Endpoints on one VTEP answer for one another where they are on two ports; what is unknown ends in the table."""
    plan = compiled("tenants", "unicast-routing")["s1"]
    assert [line for line in plan["overlay"]["routes"]["table"].splitlines() if "table" in line] == [
        "192.0.2.10/32 dev eth2.7 table 1000000200",
        "198.51.100.11/32 encap ip6 id 200 src 2001:db8:1::1 dst 2001:db8:2::1 ttl 5 tos 0 dev vxlan200 table 1000000200",
        "2001:db8:fe::11/128 encap ip6 id 200 src 2001:db8:1::1 dst 2001:db8:2::1 ttl 5 tos 0 dev vxlan200 table 1000000200",
        "2001:db8:ff::10/128 dev eth2.7 table 1000000200",
        "2001:db8:ff::12/128 dev eth3 table 1000000200",
        "unreachable 0.0.0.0/0 table 1000000200 metric 4278198272",
        "unreachable ::/0 table 1000000200 metric 4278198272",
    ]
    assert "2001:db8:ff::12 dev eth2.7 proxy" in plan["overlay"]["neighbors"]["table"]
    assert "2001:db8:ff::12 dev eth3 proxy" not in plan["overlay"]["neighbors"]["table"]
    assert {(rule["iif"], rule["family"]) for rule in plan["overlay"]["rules"]} == {
        (dev, family) for dev in ("vxlan200", "eth2.7", "eth3") for family in (4, 6)
    }
    assert plan["access"]["routed"] == [["vxlan100", "eth1"], ["vxlan200", "eth2.7", "eth3"]]
    assert "net/ipv6/conf/all/forwarding" not in plan["overlay"]["sysctls"]
    assert plan["overlay"]["sysctls"]["net/ipv6/conf/eth2.7/force_forwarding"] == "1"


def test_announcements_by_hand():
    """Bridged, an endpoint is found at its own MAC address; routed, at that of the port, which answers for it."""
    bridged = [
        compiled("lab", variant)["s2"]["overlay"]["announce"] for variant in VARIANTS if variant != "unicast-routing"
    ]
    assert all(one == bridged[0] for one in bridged)
    [segment] = bridged[0]
    assert segment["ports"] == ["eth1", "eth2"]
    assert segment["table"].splitlines() == [
        "192.0.2.10 lladdr 50:54:33:00:00:01",
        "192.0.2.11 lladdr 50:54:33:00:00:02 port eth1",
        "192.0.2.12 lladdr 50:54:33:00:00:03 port eth2",
        "192.0.2.13 lladdr 50:54:33:00:00:04",
        "2001:db8:ff::10 lladdr 50:54:33:00:00:01",
        "2001:db8:ff::11 lladdr 50:54:33:00:00:02 port eth1",
        "2001:db8:ff::12 lladdr 50:54:33:00:00:03 port eth2",
        "2001:db8:ff::13 lladdr 50:54:33:00:00:04",
    ]
    tenants = compiled("tenants", "unicast-routing")["s1"]["overlay"]["announce"]
    assert [(one["ports"], one["table"].splitlines()) for one in tenants] == [
        (["eth1"], ["192.0.2.10 port eth1", "198.51.100.11", "2001:db8:fe::11", "2001:db8:ff::10 port eth1"]),
        (
            ["eth2.7", "eth3"],
            [
                "192.0.2.10 port eth2.7",
                "198.51.100.11",
                "2001:db8:fe::11",
                "2001:db8:ff::10 port eth2.7",
                "2001:db8:ff::12 port eth3",
            ],
        ),
    ]


def test_restricted_by_hand():
    s1 = compiled("segments", "unicast-static-l2")["s1"]
    links = {one["name"]: one for one in s1["access"]["links"]}
    assert links["eth1.200"]["port"]["learning"] is links["eth1.200"]["port"]["flood"] is False
    assert links["eth1.200"]["port"]["bcast_flood"] is links["eth1.200"]["port"]["mcast_flood"] is True
    assert links["eth1.100"]["port"]["learning"] is links["eth1.100"]["port"]["flood"] is True
    assert links["eth1.200"]["vlan"] == {"dev": "eth1", "id": 200}
    assert links["eth1"] == {"name": "eth1", "up": True}
    assert s1["access"]["fdb"] == {
        "dev": ["eth1.100", "eth1.200"],
        "table": "50:54:33:00:02:01 dev eth1.200 static master\n",
    }
    s3 = compiled("segments", "unicast-static-l2")["s3"]
    assert s3["access"]["fdb"]["table"] == "50:54:33:00:02:02 dev eth3.7 static master\n"
    assert s3["vnis"] == [100, 200]
    assert compiled("segments", "multicast")["s2"]["vnis"] == [100]


def test_lower_devices_come_first():
    """A bridge before its ports, and the device below a sub-interface before it: the order in which links are made."""
    for one in vteps("segments", "multicast").values():
        names = [each["name"] for each in one["access"]["links"]]
        for each in one["access"]["links"]:
            for lower in (each.get("master"), each.get("vlan", {}).get("dev")):
                assert lower is None or names.index(lower) < names.index(each["name"])


def test_no_two_service_nodes_are_equally_far():
    """Unless somebody wants it, since ospf6d keeps the next hop of one that has withdrawn the anycast address."""

    words, hosts, service_hosts, _registry = words_of("lab")
    for given, costs in ((None, [1, 2, None]), (5, [5, 5, None])):
        for mapping in service_hosts.values():
            mapping["service_node_loopback_cost"] = given
        fabric, faults = plan.read(words, hosts, "vxfld-snr", service_hosts=service_hosts)
        assert not faults
        found = [plan.compile_host(fabric, "vxfld-snr", host)["underlay"] for host in ("sn1", "sn2", "s1")]
        assert [one["ospfv3"]["interfaces"][0].get("cost") for one in found] == costs


def test_loopback_device():
    words, hosts, _service_hosts, _registry = words_of("lab")
    for known, wanted, device in (
        ({"features": {"dummy": True}}, None, "vtep0"),
        ({"features": {"dummy": False}}, None, "lo"),
        ({}, None, "lo"),
        ({"features": {"dummy": True}}, "lo", "lo"),
        (None, "loop7", "loop7"),
    ):
        hosts["s1"].update(preflight_host=known, vtep_loopback_device=wanted)
        fabric, faults = plan.read(words, hosts, "unicast-static-flood")
        assert not faults
        found = plan.compile_host(fabric, "unicast-static-flood", "s1")["underlay"]
        assert found["links"][0]["name"] == device
        assert found["links"][0].get("type") == (None if device == "lo" else "dummy")
        assert found["ospfv3"]["interfaces"][0]["name"] == device
        assert found["ospfv3"]["interfaces"][0]["passive"] is True


def test_router_id_is_stable():
    """It names a router to its neighbours and must never change by itself: not with the code, nor with Python."""
    found = vteps("segments", "multicast")
    assert {host: one["underlay"]["ospfv3"]["router_id"] for host, one in found.items()} == {
        "s1": ROUTER_IDS[0],
        "s2": "192.0.2.2",
        "s3": ROUTER_IDS[1],
    }


ROUTER_IDS = ("152.235.166.221", "250.184.118.109")  # the first four bytes of the SHA-256 of the packed IPv6 addresses
