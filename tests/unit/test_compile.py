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
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import fdb as fdb_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import isolation as isolation_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import link as link_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf as ospf_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import vxlan as vxlan_module
from ansible_collections.vtep.fabric.plugins.module_utils._model import fdb, link, ospf, vxlan
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from ansible_collections.vtep.fabric.plugins.module_utils._plan.variants import VARIANTS

GOLDEN = Path(__file__).parent / "golden"
FABRICS = sorted(path.stem for path in (GOLDEN / "fabrics").glob("*.yml"))


def words_of(name):
    """(fabric-wide words, words by host) of a file in golden/fabrics."""
    data = yaml.safe_load((GOLDEN / "fabrics" / f"{name}.yml").read_text())
    return data["fabric"], {host: {**data["every_host"], **words} for host, words in data["hosts"].items()}


def compiled(name, variant):
    """{host: plan}, or {"faults": [...]}."""
    words, hosts = words_of(name)
    fabric, faults = plan.read(words, hosts, variant)
    if faults:
        return {"faults": faults}
    return {host: plan.compile_host(fabric, variant, host) for host in hosts}


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
    for host, found in compiled(name, variant).items():
        if host == "faults":
            continue
        links = found["underlay"]["links"] + found["access"]["links"]
        devices = found["overlay"]["vxlans"]
        taken = []
        for part in ("underlay", "access"):
            taken += link.devices(accepted(link_module.Devices.spec(), {"links": found[part]["links"]})["links"])
        taken += vxlan.devices(accepted(vxlan_module.Vxlans.spec(), {"devices": devices})["devices"])
        for options, device in zip(links + devices, taken):
            flat = link.flatten(options)
            assert device.wanted == {key: flat[key] for key in device.wanted}
            assert set(flat) - set(device.wanted) <= {"name", "type", "addresses"}
        for part in (found["overlay"]["fdb"], found["access"]["fdb"]):
            accepted(fdb_module.ARGUMENTS, {**part, "purge": "owned"})
            fdb.from_table(part["table"], tuple(part["dev"]))
        accepted(isolation_module.SPEC, {"interfaces": found["access"]["isolation"]})
        for protocol in (ospf.V3, ospf.V2):
            options = found["underlay"][protocol.name]
            if options:
                ospf.normalise(protocol, accepted(ospf_module.spec(protocol), options))


@pytest.mark.parametrize("name", FABRICS)
def test_variants_set_the_same_attributes(name):
    """Or a device would keep what a former variant set."""
    seen = set()
    for variant in VARIANTS:
        for found in compiled(name, variant).values():
            if isinstance(found, dict):
                seen |= {tuple(sorted(link.flatten(device))) for device in found["overlay"]["vxlans"]}
                seen |= {
                    tuple(sorted(link.flatten(one)))
                    for one in found["access"]["links"]
                    if one.get("master") and not one.get("type")
                }
    assert len(seen) == 2  # VXLAN devices, and access ports


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
    assert tables == {"multicast": [], "unicast-static-flood": flood, "unicast-static-l2": flood + static}
    devices = {variant: found["overlay"]["vxlans"][0] for variant, found in s2.items()}
    told = {variant: (d["learning"], d["group"], d["dev"]) for variant, d in devices.items()}
    assert told == {
        "multicast": (True, "ff05::100", "eth0"),
        "unicast-static-flood": (True, "", ""),
        "unicast-static-l2": (False, "", ""),
    }
    assert all(
        (d["id"], d["local"], d["ttl"], d["dstport"]) == (100, "2001:db8:2::1", 5, 4789) for d in devices.values()
    )
    assert {variant: found["expect"]["broadcast_copies"] for variant, found in s2.items()} == {
        "multicast": {"100": 1},
        "unicast-static-flood": {"100": 2},
        "unicast-static-l2": {"100": 2},
    }


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
    for one in compiled("segments", "multicast").values():
        names = [each["name"] for each in one["access"]["links"]]
        for each in one["access"]["links"]:
            for lower in (each.get("master"), each.get("vlan", {}).get("dev")):
                assert lower is None or names.index(lower) < names.index(each["name"])


def test_loopback_device():
    words, hosts = words_of("lab")
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
    found = compiled("segments", "multicast")
    assert {host: one["underlay"]["ospfv3"]["router_id"] for host, one in found.items()} == {
        "s1": ROUTER_IDS[0],
        "s2": "192.0.2.2",
        "s3": ROUTER_IDS[1],
    }


ROUTER_IDS = ("152.235.166.221", "250.184.118.109")  # the first four bytes of the SHA-256 of the packed IPv6 addresses
