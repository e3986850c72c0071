# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters validate, compile and endpoints, on ansible-core's own hostvars: lazy, templated, tagged."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.vtep.fabric.plugins.filter import compile as compile_filter
from ansible_collections.vtep.fabric.plugins.filter import endpoints as endpoints_filter
from ansible_collections.vtep.fabric.plugins.filter import validate as validate_filter
from ansible_collections.vtep.fabric.plugins.module_utils._plan.variants import VARIANTS
from ansible_collections.vtep.fabric.plugins.plugin_utils import inventory

ROOT = Path(__file__).parents[2]
GROUP_VARS = """
fabric_segments:
  - vni: "{{ base_vni + 1 }}"
    mtu: "{{ overlay_mtu }}"
    multicast_group: ff05::100
fabric_endpoints:
  - {mac: "50:54:33:00:00:01", addresses: [192.0.2.10], vtep: s1, port: eth1, vni: 100}
  - {mac: "50:54:33:00:00:02", addresses: [192.0.2.11], vtep: s2, port: eth1, vni: 100}
base_vni: 99
overlay_mtu: 1500
vtep_underlay_interfaces: [eth0]
vtep_access_ports: [eth1]
"""


@pytest.fixture
def fabric(tmp_path):
    """fabric(group_vars, s1=..., s2=...) -> (hostvars, groups) of an inventory of those files."""

    def make(group_vars=GROUP_VARS, **host_vars):
        hosts = {"s1": "vtep_address: 2001:db8:1::1", "s2": 'vtep_address: "2001:db8:{{ 1 + 1 }}::1"', **host_vars}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"vteps": {"hosts": dict.fromkeys(hosts)}}))
        for folder, files in (("group_vars", {"vteps": group_vars}), ("host_vars", hosts)):
            (tmp_path / folder).mkdir(exist_ok=True)
            for name, text in files.items():
                (tmp_path / folder / f"{name}.yml").write_text(text)
        return load(tmp_path / "hosts.yml")

    return make


def load(*paths):
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=list(map(str, paths)))
    hostvars = HostVars(manager, VariableManager(loader=loader, inventory=manager), loader)
    return hostvars, manager.get_groups_dict()


def changed(old, new):
    assert old in GROUP_VARS
    return GROUP_VARS.replace(old, new)


def types(data):
    found = {type(data)}
    for one in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        found |= types(one)
    return found | ({type(key) for key in data} if isinstance(data, dict) else set())


def test_compile(fabric):
    found = compile_filter.compile_host(*fabric(), "unicast-static-l2", "s1")
    assert found["overlay"]["fdb"]["table"] == (
        "00:00:00:00:00:00 dev vxlan100 dst 2001:db8:2::1 permanent self\n"
        "50:54:33:00:00:02 dev vxlan100 dst 2001:db8:2::1 permanent self\n"
    )
    assert types(found) == {dict, list, str, int, bool, type(None)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_labs_inventory_is_sound(variant):
    inventories = ["lab", "lab-vxfld"] if variant.startswith("vxfld-") else ["lab"]
    hostvars, groups = load(*(ROOT / "inventories" / name for name in inventories))
    assert validate_filter.validate(hostvars, groups, variant) == []
    for host in groups["vteps"] + groups.get("service_nodes", []):
        assert compile_filter.compile_host(hostvars, groups, variant, host)["host"] == host


def test_the_labs_service_nodes_are_bare_under_other_variants():
    hostvars, groups = load(ROOT / "inventories" / "lab", ROOT / "inventories" / "lab-vxfld")
    assert validate_filter.validate(hostvars, groups, "multicast") == []
    assert compile_filter.compile_host(hostvars, groups, "multicast", "sn2")["underlay"] is None


@pytest.mark.parametrize("variant", ["unicast-dynamic-l2", "unicast-dynamic-nd"])
def test_the_labs_registry(variant):
    hostvars, groups = load(*(ROOT / "inventories" / name for name in ("lab", "lab-registry")))
    assert validate_filter.validate(hostvars, groups, variant) == []
    vtep, member = (compile_filter.compile_host(hostvars, groups, variant, host) for host in ("s1", "reg1"))
    assert vtep["agent"]["settings"]["registry"]["urls"] == f"https://[{member['local']}]:2379"
    assert member["registry"]["self"] == "reg1"
    assert validate_filter.validate(hostvars, groups, "multicast") == []
    assert compile_filter.compile_host(hostvars, groups, "multicast", "reg1")["underlay"] is None


def test_a_fault_raises_with_all_faults(fabric):
    hostvars, groups = fabric(s1="vtep_address: one", s2="vtep_address: two")
    with pytest.raises(AnsibleFilterError) as error:
        compile_filter.compile_host(hostvars, groups, "nothing", "s1")
    for part in ("variant: 'nothing'", "s1: vtep_address: 'one'", "s2: vtep_address: 'two'"):
        assert part in str(error.value)


def test_compile_for_a_host_of_neither_group(fabric):
    with pytest.raises(AnsibleFilterError, match="h1: is in none of the groups vteps, service_nodes and registry"):
        compile_filter.compile_host(*fabric(), "unicast-static-l2", "h1")


@pytest.mark.parametrize(
    ("service_nodes", "said"),
    [
        ("sn1", "fabric: groups.service_nodes: 'sn1' is not a list of hosts"),
        (["ghost"], "ghost: hostvars: is not in the inventory; add the host or take it out of group service_nodes"),
        (["s1"], "s1: groups.service_nodes: is in group vteps as well"),
    ],
)
def test_a_group_of_service_nodes_that_cannot_be(fabric, service_nodes, said):
    hostvars, groups = fabric(s1="{vtep_address: 2001:db8:1::1, service_node_address: 2001:db8:1::1, "
                              "service_node_underlay_interfaces: [eth0]}")  # fmt: skip
    (fault,) = validate_filter.validate(hostvars, {**groups, "service_nodes": service_nodes}, "multicast")
    assert fault.startswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("overlay_mtu: 1500\n", "", "fabric: fabric_segments: cannot be read: 'overlay_mtu' is undefined"),
        ("[192.0.2.10]", "['{{ no }}']", "fabric: fabric_endpoints: cannot be read: 'no' is undefined"),
        ("[eth1]", "'{{ 1 / 0 }}'", "vtep_access_ports: cannot be read: "),
        ("[eth0]", "['{{ no }}']", "s1: vtep_underlay_interfaces: cannot be read: 'no' is undefined"),
    ],
)
def test_undefined_is_a_fault(fabric, old, new, said):
    found = validate_filter.validate(*fabric(changed(old, new)), "multicast")
    assert any(said in fault for fault in found)
    assert len(found) <= 2, found


def test_undefined_on_one_host(fabric):
    found = validate_filter.validate(*fabric(s2="vtep_address: '{{ nothing }}'"), "multicast")
    assert found == ["s2: vtep_address: cannot be read: 'nothing' is undefined"]


def test_fabric_words_differ(fabric):
    found = validate_filter.validate(*fabric(s2="{vtep_address: 2001:db8:2::1, overlay_mtu: 1400}"), "multicast")
    (fault,) = found
    assert fault.startswith("s2: fabric_segments: [{'mtu': 1400, ")
    assert " differs from [{'mtu': 1500, " in fault
    assert " on s1; write it once, into group_vars of vteps" in fault


def test_fabric_word_on_one_host_only(fabric):
    found = validate_filter.validate(
        *fabric(s1="{vtep_address: 2001:db8:1::1, fabric_underlay_family: 6}"), "multicast"
    )
    assert found == ["s2: fabric_underlay_family: None differs from 6 on s1; write it once, into group_vars of vteps"]


@pytest.mark.parametrize(
    ("of_all", "own", "picked", "told"),
    [
        ("", "none", "ipsec", ["s2: encryption: 'none' is not 'ipsec', which another host has, or this run"]),
        ("", "ipsec", "", ["s2: encryption: 'ipsec' is not '', which another host has, or this run"]),
        ("ipsec", "none", "ipsec", ["s2: encryption: 'none' is not 'ipsec', which another host has, or this run"]),
        ("", "'{{ nothing }}'", "", ["s2: encryption: cannot be read: 'nothing' is undefined"]),
        ("none", "none", "none", []),
        ("none", None, "none", []),
        ("", None, "none", []),
    ],
)
def test_each_host_is_encrypted_as_the_others(fabric, of_all, own, picked, told):
    """Whether or not it is in the run."""
    s2 = "vtep_address: 2001:db8:2::1" + (f"\nencryption: {own}" if own else "")
    inventory = fabric(GROUP_VARS + (f"encryption: {of_all}\n" if of_all else ""), s2=s2)
    found = validate_filter.validate(*inventory, "multicast", encryption=picked)
    found = [fault for fault in found if fault.startswith(("s1", "s2"))]
    assert len(found) == len(told) and all(map(str.startswith, found, told)), found


def test_limit(fabric):
    rows = [{"mac": "x", "vtep": "s1", "port": "eth1", "vni": 100}] * 150
    text = changed("fabric_endpoints:", f"fabric_endpoints: {json.dumps(rows)}\nother:")
    hostvars, groups = fabric(text)
    assert len(validate_filter.validate(hostvars, groups, "multicast")) == 101
    assert len(validate_filter.validate(hostvars, groups, "multicast", limit=0)) == 150
    assert validate_filter.validate(hostvars, groups, "multicast", 1)[1].startswith("and 149 more")


def test_no_group(fabric):
    hostvars, _groups = fabric()
    (fault,) = validate_filter.validate(hostvars, {"all": ["s1"]}, "multicast")
    assert fault.startswith("fabric: groups.vteps: has no hosts")


def test_a_group_member_that_the_inventory_lacks(fabric):
    hostvars, groups = fabric()
    found = validate_filter.validate(hostvars, {**groups, "vteps": ["s1", "s2", "ghost"]}, "multicast")
    assert found == ["ghost: hostvars: is not in the inventory; add the host or take it out of group vteps"]


def test_a_template_that_nobody_trusts_is_text(fabric):
    hostvars, groups = fabric(s2='vtep_address: !unsafe "{{ 1 }}"')
    (fault,) = validate_filter.validate(hostvars, groups, "multicast")
    assert fault.startswith("s2: vtep_address: '{{ 1 }}' is not an IP address")


def test_constant_words_are_not_templated(fabric, monkeypatch):
    """100 000 rows take 0.1 s so, and 6 s on each VTEP with templating."""
    hostvars, groups = fabric()
    asked = []
    monkeypatch.setattr(inventory, "value", lambda variables, word: asked.append(word))
    inventory.read(hostvars, groups)
    assert "fabric_endpoints" not in asked
    assert "fabric_segments" in asked  # it has templates


# Endpoints

ROWS = [{"mac": "50:54:33:00:00:01", "vtep": "s1", "port": "eth1", "vni": 100}]


def test_endpoints_list():
    assert endpoints_filter.endpoints(ROWS) == ROWS


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_endpoints_file(tmp_path, dump):
    file = tmp_path / "no-suffix"
    file.write_text(dump({"racks": [{"stations": ROWS}, {"stations": ROWS}]}))
    assert endpoints_filter.endpoints({"file": str(file), "query": "racks[].stations[]"}) == ROWS * 2
    file.write_text(dump(ROWS))
    assert endpoints_filter.endpoints({"file": str(file)}) == ROWS


def test_endpoints_document():
    source = {"document": {"a": ROWS, "b": []}, "query": "a"}
    assert endpoints_filter.endpoints(source) == ROWS


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"file": "/nowhere/e.json"}, ["file /nowhere/e.json", "No such file"]),
        ({"file": "{tmp}/bad"}, ["{tmp}/bad", "neither JSON (", "nor YAML ("]),
        ({"file": "{tmp}/binary"}, ["{tmp}/binary", "cannot be read"]),
        ({"file": "{tmp}/map"}, ["file {tmp}/map: holds {'a': 1} and not a list"]),
        ({"file": "{tmp}/map", "query": "a"}, ["file {tmp}/map, query a: holds 1 and not a list"]),
        ({"file": "{tmp}/map", "query": "a["}, ["file {tmp}/map, query a[: the query fails"]),
        ({"file": "{tmp}/map", "query": "sort(a)"}, ["query sort(a): the query fails"]),
        ({"document": 1, "file": "x"}, ["names no endpoints", "{file: path"]),
        ({"query": "a"}, ["names no endpoints"]),
        ({"file": "x", "qeury": "a"}, ["names no endpoints"]),
        ("endpoints.json", ["'endpoints.json' names no endpoints"]),
        (None, ["None names no endpoints"]),
    ],
)
def test_endpoints_faults(tmp_path, source, said):
    (tmp_path / "bad").write_text("{a: [")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "map").write_text('{"a": 1}')
    if isinstance(source, dict):
        source = {key: str(value).replace("{tmp}", str(tmp_path)) for key, value in source.items()}
    with pytest.raises(AnsibleFilterError) as error:
        endpoints_filter.endpoints(source)
    for part in said:
        assert part.replace("{tmp}", str(tmp_path)) in str(error.value)


def test_endpoints_without_jmespath(monkeypatch):
    monkeypatch.setitem(sys.modules, "jmespath", None)
    assert endpoints_filter.endpoints({"document": ROWS}) == ROWS
    with pytest.raises(AnsibleFilterError, match="jmespath is not installed: pip install jmespath"):
        endpoints_filter.endpoints({"document": ROWS, "query": "a"})


def test_endpoints_of_a_file_in_the_inventory(fabric, tmp_path):
    file = tmp_path / "stations.json"
    file.write_text(json.dumps({"stations": ROWS}))
    text = changed(
        "fabric_endpoints:",
        f"fabric_endpoints: {{file: '{{{{ inventory_dir }}}}/{file.name}', query: stations}}\nother:",
    )
    hostvars, groups = fabric(text)
    assert validate_filter.validate(hostvars, groups, "unicast-static-l2") == []
    table = compile_filter.compile_host(hostvars, groups, "unicast-static-l2", "s2")["overlay"]["fdb"]["table"]
    assert "50:54:33:00:00:01 dev vxlan100 dst 2001:db8:1::1 permanent self\n" in table
    file.unlink()
    (fault,) = validate_filter.validate(hostvars, groups, "unicast-static-l2")
    assert fault == f"fabric: fabric_endpoints: file {file}: cannot be read: No such file or directory"
