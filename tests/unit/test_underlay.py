# SPDX-License-Identifier: GPL-3.0-or-later
"""What role underlay adds to the plan: the VTEPs that it waits for, and the key that no plan holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf as module
from ansible_collections.vtep.fabric.plugins.module_utils._daemons.ospf import judged
from ansible_collections.vtep.fabric.plugins.module_utils._model import ospf
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan

ROOT = Path(__file__).parents[2]
KEY = "a-key-to-hide"
WORDS = {"fabric_segments": [{"vni": 100}], "fabric_endpoints": [], "fabric_underlay_family": None}


def compiled(**more):
    hosts = {
        f"s{n}": {
            "vtep_address": [f"2001:db8:{n}::1", f"203.0.113.{n}"],
            "vtep_underlay_interfaces": ["eth0"],
            "underlay_ospf_authentication": {"key_id": 1, "key": KEY},
        }
        for n in (1, 2, 3)
    }
    for host, words in more.items():
        hosts[host].update(words)
    fabric, faults = plan.read(WORDS, hosts, "unicast-static-flood")
    assert not faults
    return {host: plan.compile_host(fabric, "unicast-static-flood", host) for host in hosts}


def test_no_plan_holds_the_key():
    plans = compiled()
    assert KEY not in json.dumps(plans)
    for protocol, algorithm in ((ospf.V3, "hmac-sha-256"), (ospf.V2, "md5")):
        options = plans["s1"]["underlay"][protocol.name]
        assert options["interfaces"][1]["authentication"] == {"key_id": 1, "algorithm": algorithm}
        with pytest.raises(InputError, match="interfaces eth0: authentication: key: is missing"):
            ospf.normalise(protocol, accepted(protocol, options))
        desired = ospf.normalise(protocol, accepted(protocol, {**options, "authentication_key": KEY}))
        assert any(line.text.endswith(f" {KEY}") for line in desired.lines.values())


def accepted(protocol, options):
    result = ArgumentSpecValidator(module.spec(protocol)).validate(options)
    assert not result.error_messages
    return result.validated_parameters


def test_a_key_of_the_interfaces_own_goes_before_the_common_one():
    interface = {"name": "eth0", "authentication": {"key_id": 1, "key": "own"}}
    given = accepted(ospf.V2, {"interfaces": [interface], "authentication_key": "common"})
    lines = ospf.normalise(ospf.V2, given).lines
    assert lines["interface eth0", "message-digest-key 1"].text == "ip ospf message-digest-key 1 md5 own"


def test_a_vtep_waits_for_no_family_that_it_lacks():
    plans = compiled(s2={"vtep_address": "2001:db8:2::1"})
    assert plans["s2"]["underlay"]["loopbacks"]["4"] == {}
    assert plans["s1"]["underlay"]["loopbacks"]["4"] == {"203.0.113.1/32": "s1", "203.0.113.3/32": "s3"}
    assert plans["s1"]["underlay"]["loopbacks"]["6"] == {f"2001:db8:{n}::1/128": f"s{n}" for n in (1, 2, 3)}


PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  serial: 2
  vars_files: [%s]
  tasks:
    - ansible.builtin.fail:
      when: inventory_hostname == 's2'
    - ansible.builtin.copy:
        dest: "%s/{{ inventory_hostname }}"
        content: "{{ {'hosts': underlay_loopbacks.values() | unique | sort, 'key': underlay_key} | to_json }}"
        mode: "0600"
"""


def test_those_are_waited_for_whose_turn_has_come_and_that_have_not_failed(tmp_path):
    loopbacks = {"6": {f"2001:db8:{n}::1/128": f"s{n}" for n in range(1, 7)}, "4": {"203.0.113.1/32": "s1"}}
    common = {
        "preflight_plan": {"underlay": {"loopbacks": loopbacks}},
        "ansible_python_interpreter": sys.executable,
        "underlay_ospf_authentication": {"key": KEY},
    }
    hosts = {f"s{n}": {"underlay_ospf_authentication": None} if n == 4 else {} for n in range(1, 7)}
    inventory, playbook, out = tmp_path / "inventory.json", tmp_path / "play.yml", tmp_path / "out"
    out.mkdir()
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
    playbook.write_text(PLAY % (ROOT / "roles/underlay/vars/main.yml", out))
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [str(program), "-i", str(inventory), "--limit", "all:!s5", str(playbook)],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, capture_output=True, text=True, check=False)  # fmt: skip
    found = {path.name: json.loads(path.read_text()) for path in out.iterdir()}
    assert {host: one["hosts"] for host, one in found.items()} == {
        "s1": ["s1"],
        "s3": ["s1", "s3", "s4"],
        "s4": ["s1", "s3", "s4"],
        "s6": ["s1", "s3", "s4", "s6"],
    }, done.stdout
    assert {host: one["key"]["authentication_key"] for host, one in found.items()} == {
        "s1": KEY, "s3": KEY, "s4": None, "s6": KEY,
    }  # fmt: skip


MOVED = """
- hosts: all
  gather_facts: false
  connection: local
  vars_files: [%s]
  tasks:
    - ansible.builtin.copy:
        dest: "%s"
        content: "{{ [underlay_missing3, underlay_missing2] | to_json }}"
        mode: "0600"
"""


def lan(*interfaces):
    """Five routers on a LAN, as one that is neither DR nor BDR sees it: with two it is Full, with two it stays at 2-Way."""
    states = {"203.0.113.1": "Full", "203.0.113.2": "Full", "203.0.113.3": "2-Way", "203.0.113.4": "2-Way"}
    neighbors = [
        {"id": name, "state": state, "interface": interface, "dr": "203.0.113.1", "bdr": "203.0.113.2"}
        for interface in interfaces
        for name, state in states.items()
    ]
    return {"neighbors": neighbors, "interfaces": [{"name": name, "state": "DROther"} for name in interfaces]}


def missing(tmp_path, both):
    """Whom the role waits for while OSPF moves from ms-eth0 to eth0, by both protocols."""
    hosts = {
        "preflight_plan": {
            "underlay": {"leaving": {"names": ["ms-eth0"]}, "ospfv3": {"interfaces": []}, "ospfv2": {"interfaces": []}}
        },
        "ansible_python_interpreter": sys.executable,
        **{f"underlay_now{n}": judged(lan("ms-eth0")) for n in (2, 3)},
        **{f"underlay_both{n}": judged(both) for n in (2, 3)},
    }
    inventory, playbook, out = tmp_path / "inventory.json", tmp_path / "play.yml", tmp_path / "out.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"s5": {}}, "vars": hosts}}))
    playbook.write_text(MOVED % (ROOT / "roles/underlay/vars/main.yml", out))
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [str(program), "-i", str(inventory), str(playbook)],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
    return json.loads(out.read_text())


def test_ospf_has_moved_when_neighbours_are_settled_of_whom_two_stay_at_2_way(tmp_path):
    both = lan("ms-eth0", "eth0")
    assert missing(tmp_path, both) == [[], []]
    late = next(row for row in both["neighbors"] if row["interface"] == "eth0" and row["id"] == "203.0.113.4")
    late["state"] = "Init"
    assert missing(tmp_path, both) == [["203.0.113.4"]] * 2
    late["state"] = "2-Way"
    both["neighbors"] = [row for row in both["neighbors"] if (row["interface"], row["id"]) != ("eth0", "203.0.113.1")]
    assert missing(tmp_path, both) == [["203.0.113.1"]] * 2


def test_who_was_a_neighbour_of_ospfv2_before_addresses_moved_is_missed(tmp_path):
    """Without an address OSPFv2 is no longer on the old device, so what it saw there before counts."""
    both = lan("eth0")
    assert missing(tmp_path, both) == [[], []]
    both["neighbors"] = [row for row in both["neighbors"] if row["id"] != "203.0.113.4"]
    assert missing(tmp_path, both) == [[], ["203.0.113.4"]]
