# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks and role preflight make of an inventory with service nodes and a registry, and of one without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VTEPS = {"hosts": {"s1": {"vtep_address": "203.0.113.1"}}, "vars": {"fabric_variant": "vxfld-snr"}}
SERVICE_NODES = {"hosts": {"sn1": {"service_node_address": ["2001:db8:98::1", "203.0.113.98"]}}}
REGISTRY = {"hosts": {"reg1": {"registry_address": "2001:db8:253::1"}}}
ETCD = {"fabric_variant": "unicast-dynamic-nd", "fabric_registry": {"kind": "etcd"}}
PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  vars_files: [%(role)s/vars/main.yml, %(role)s/defaults/main.yml]
  tasks:
    - ansible.builtin.copy:
        dest: "%(out)s/{{ inventory_hostname }}"
        content: "{{ {'variant': preflight_variant, 'require': preflight_require} | to_json }}"
        mode: "0600"
"""
BASE = ["root", "writable", "pyroute2"]


def run(*arguments):
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run([str(program), *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def inventory(tmp_path):
    def make(**groups):
        path = tmp_path / "inventory.json"
        path.write_text(json.dumps({name: group for name, group in groups.items() if group}))
        return str(path)

    return make


PLAYBOOKS = {
    "site": {"vteps", "service_nodes", "registry"},
    "teardown": {"vteps", "service_nodes", "registry"},
    "verify": {"vteps", "service_nodes", "registry", "endpoints"},
}


@pytest.mark.parametrize(
    "has",
    ["vteps", "vteps service_nodes", "vteps endpoints", "vteps registry", "vteps service_nodes registry endpoints"],
)
def test_a_group_that_is_not_there_is_not_missed(inventory, has):
    path = inventory(**{name: {"hosts": {f"of-{name}": {}}} for name in has.split()})
    said, warned = run("-i", path, "--list-hosts", *(str(ROOT / "playbooks" / f"{name}.yml") for name in PLAYBOOKS))
    assert "WARNING" not in said + warned
    plays = said.split("playbook: ")[1:]
    found = [{word for word in play.split() if word.startswith("of-")} for play in plays]
    assert found == [{f"of-{name}" for name in groups & set(has.split())} for groups in PLAYBOOKS.values()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], {"s1": ("vxfld-snr", [*BASE, "vxlan", "frr", "nftables", "ospfd"]),
              "sn1": ("vxfld-snr", [*BASE, "frr", "nftables", "ospf6d", "ospfd"])}),
        (["--limit", "sn1"], {"sn1": ("vxfld-snr", [*BASE, "frr", "nftables", "ospf6d", "ospfd"])}),
        (["-e", "variant=multicast"], {"s1": ("multicast", [*BASE, "vxlan", "frr", "nftables", "ospfd"]),
                                       "sn1": ("multicast", [])}),
    ],
)  # fmt: skip
def test_a_service_node_is_asked_for_what_its_plan_takes(inventory, tmp_path, arguments, told):
    """The variant is the VTEPs' word, and one that has no use for service nodes asks nothing of them."""
    out = tmp_path / "out"
    out.mkdir()
    play = tmp_path / "play.yml"
    play.write_text(PLAY % {"role": ROOT / "roles/preflight", "out": out})
    variables = {"vars": {"ansible_python_interpreter": sys.executable}}
    run("-i", inventory(vteps=VTEPS, service_nodes=SERVICE_NODES, all=variables), *arguments, str(play))
    found = {path.name: json.loads(path.read_text()) for path in out.iterdir()}
    assert {host: (one["variant"], one["require"]) for host, one in found.items()} == told


@pytest.mark.parametrize(
    ("words", "reg1"),
    [
        ({}, [*BASE, "frr", "nftables", "ospf6d"]),
        ({"fabric_variant": "multicast"}, []),
        ({"fabric_variant": "vxfld-snr"}, []),
        ({"fabric_registry": {"kind": "file"}}, []),
        ({"fabric_registry": {}}, []),
        ({"fabric_registry": None}, []),
        ({"fabric_registry": "etcd"}, []),
    ],
)
def test_a_host_of_the_registry_is_asked_for_what_its_plan_takes(inventory, tmp_path, words, reg1):
    """Which is the VTEPs' word, too; and what has use for one has none for a service node."""
    out = tmp_path / "out"
    out.mkdir()
    play = tmp_path / "play.yml"
    play.write_text(PLAY % {"role": ROOT / "roles/preflight", "out": out})
    variables = {"vars": {"ansible_python_interpreter": sys.executable}}
    vteps = {**VTEPS, "vars": {**ETCD, **words}}
    run("-i", inventory(vteps=vteps, service_nodes=SERVICE_NODES, registry=REGISTRY, all=variables), str(play))
    found = {path.name: json.loads(path.read_text())["require"] for path in out.iterdir()}
    served = words.get("fabric_variant") == "vxfld-snr"
    assert found == {
        "s1": [*BASE, "vxlan", "frr", "nftables", "ospfd"],
        "sn1": [*BASE, "frr", "nftables", "ospf6d", "ospfd"] if served else [],
        "reg1": reg1,
    }
