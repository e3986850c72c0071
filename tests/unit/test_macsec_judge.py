# SPDX-License-Identifier: GPL-3.0-or-later
"""What role macsec refuses on a host before the first change. Devices that would be made anew are looked at by module macsec, which takes
a kernel with MACsec."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = {"ms-eth0": [{"host": "s2"}, {"host": "s9"}]}
MADE = {"devices": [{"name": "ms-eth0", "action": "recreated"}, {"name": "ms-eth1", "action": "changed"}]}
# The words of a case, and what is said.
CASES = {
    "no supplicant": ({"mka": True, "program": "/nonexistent"}, "s1: encryption macsec-mka: wpa_supplicant is not installed: apt-get"),
    "a supplicant": ({"mka": True, "program": "/bin/sh"}, None),
    "over to MKA alone": (
        {"mka": True, "away": ["s9"], "installed": {"underlay": ["/a"]}}, "s1: encryption macsec-mka: would go over to it alone",
    ),
    "over to MKA alone, in part": ({"mka": True, "away": ["s9"], "installed": {"underlay": ["/a"]}, "partial": True}, None),
    "over to MKA with all": ({"mka": True, "installed": {"underlay": ["/a"]}}, None),
    "a new host of MKA's": ({"mka": True, "away": ["s9"]}, None),
    "one of MKA's": ({"mka": True, "away": ["s9"], "installed": {"underlay": ["/a"], "macsec": ["/b"]}}, None),
    "static keys": ({"program": "/nonexistent"}, None),
    "somebody away": ({"away": ["s9"]}, "s1: ms-eth0 would be made, or made anew, with keys that s9 would not hear of"),
    "somebody away, and a device to be made": (
        {"away": ["s9"], "devices": ["ms-eth0", "ms-eth7"]}, "s1: ms-eth7, ms-eth0 would be made, or made anew, with keys",
    ),
    "somebody away, and a VXLAN device to be made anew": (
        {"away": ["s9"], "renewed": ["ms-vxlan100"]}, "s1: ms-eth0, ms-vxlan100 would be made, or made anew, with keys",
    ),
    "in part": ({"away": ["s9"], "partial": True}, None),
    # As -e macsec_partial=... has it.
    "in part, in words": ({"away": ["s9"], "partial": "true"}, None),
    "not in part": ({"away": ["s9"], "partial": "false"}, "s1: ms-eth0 would be made, or made anew"),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    place = tmp_path_factory.mktemp("judge")
    # In place of the module, which is told by what it would do.
    library = place / "library"
    (library / "macsec.py").parent.mkdir()
    (library / "macsec.py").write_text(
        f"#!{sys.executable}\nprint({json.dumps({'changed': True, **MADE})!r})\n# WANT_JSON\n"
    )
    text = (ROOT / "roles" / "macsec" / "tasks" / "judge.yml").read_text().replace("vtep.fabric.macsec:", "macsec:")
    (place / "judge.yml").write_text(text)
    tasks = []
    for number, (words, _said) in enumerate(CASES.values()):
        plan = {
            "mka": words.get("mka", False),
            "peers": PEERS,
            "devices": [{"name": name} for name in words.get("devices", ["ms-eth0"])],
        }
        tasks.append(
            {
                "block": [{"include_tasks": "judge.yml"}],
                "rescue": [{"set_fact": {f"said{number}": "{{ ansible_failed_result.msg }}"}}],
                "vars": {
                    "preflight_plan": {"macsec": plan},
                    "preflight_host": {
                        "interfaces": {"ms-eth0": {}},
                        "installed": {"underlay": [], "macsec": [], **words.get("installed", {})},
                    },
                    "macsec_supplicant_program": words.get("program", "/bin/sh"),
                    "macsec_tops": [],
                    "macsec_renewed": words.get("renewed", []),
                    "macsec_away": words.get("away", []),
                    "macsec_partial": words.get("partial", False),
                },
            }
        )
    told = ", ".join(f"said{number} | default(none)" for number in range(len(tasks)))
    tasks.append(
        {"copy": {"dest": str(place / "out.json"), "content": "{{ [" + told + "] | to_json }}", "mode": "0600"}}
    )
    play = {"hosts": "s1", "gather_facts": False, "connection": "local", "tasks": tasks}
    (place / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "s1,", "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LIBRARY": str(library)},
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip(CASES, json.loads((place / "out.json").read_text())))


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(said, case):
    wanted = CASES[case][1]
    assert said[case] is None if wanted is None else said[case].startswith(wanted)
