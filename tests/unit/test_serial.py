# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles in a play of the user's own that takes some hosts at a time: those whose turn has not come have done nothing yet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAMES = ("s1", "s2", "s3")


def play(place, serial, tasks, **words):
    """Run tasks on some hosts at a time: (whether nothing failed, {file in out/: what is in it})."""
    (place / "out").mkdir()
    one = {"hosts": "all", "gather_facts": False, "connection": "local", "serial": serial, "tasks": tasks,
           "vars_files": [str(ROOT / "roles/macsec/vars/main.yml")], "vars": words}  # fmt: skip
    (place / "play.yml").write_text(json.dumps([one]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", ",".join(NAMES),
         "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LIBRARY": str(place / "library")},
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 2), done.stdout + done.stderr
    print(done.stdout)
    return done.returncode == 0, {path.name: path.read_text() for path in (place / "out").iterdir()}


def task(role, name, file):
    """A task of a role, in its outermost block or in none."""
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / file).read_text())
    (found,) = [one for outer in tasks for one in outer.get("block", [outer]) if one["name"] == name]
    return found


def kept(words):
    return {"copy": {"dest": "out/{{ inventory_hostname }}", "content": words, "mode": "0600"}}


@pytest.mark.parametrize(
    ("serial", "hears", "passes"), [(1, False, NAMES), (2, False, ()), (2, True, NAMES), (3, False, ())]
)
def test_supplicants_wait_for_those_whose_turn_it_is(tmp_path, serial, hears, passes):
    told = {"devices": [{"name": "ms-eth0", "tx": [1], "rx": [{"sa": [1]}] if hears else []}]}
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "macsec_info.py").write_text(
        f"#!{sys.executable}\nprint({json.dumps(told)!r})\n# WANT_JSON\n"
    )
    wait = task("macsec", "Wait until the hosts of this run hear one another", "mka.yml")
    wait["macsec_info"] = wait.pop("vtep.fabric.macsec_info")
    wait.update(retries=1, delay=0)
    peers = {"ms-eth0": "{{ everybody | rejectattr('host', 'eq', inventory_hostname) }}"}
    words = {
        "preflight_plan": {"macsec": {"devices": [{"name": "ms-eth0", "dev": "eth0"}], "peers": peers}},
        "everybody": [{"host": name} for name in NAMES],
        "macsec_links": {"links": []},
    }
    _well, found = play(tmp_path, serial, [wait, kept("")], **words)
    assert sorted(found) == list(passes)


def test_keys_change_with_those_that_take_the_same_steps(tmp_path):
    """Another one would not hear of them, and what it told before its own steps is no longer so."""
    tasks = [{"set_fact": {"macsec_told": {"devices": []}}}, kept("{{ macsec_hosts | to_json }}")]
    well, found = play(tmp_path, 2, tasks)
    assert well
    assert {name: json.loads(told) for name, told in found.items()} == {
        "s1": ["s1", "s2"],
        "s2": ["s1", "s2"],
        "s3": ["s3"],
    }


@pytest.mark.parametrize(("serial", "asked"), [(2, ["s1", "s2"]), (3, [])])
def test_agents_ask_a_registry_whose_turn_has_not_come_for_its_certificate(tmp_path, serial, asked):
    """Who waits for it to be made would be refused only after the first change."""
    ask = task("agent", "Read the certificate that the registry is known by", "settings.yml")
    del ask["ansible.builtin.include_role"]
    _well, found = play(tmp_path, serial, [{**ask, **kept("")}], agent_asks_ca=True, agent_member="s3")
    assert sorted(found) == asked
