# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that roles ipsec and registry hand to hosts: users' own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from test_certificate_faults import CA, Makes, openssl

ROOT = Path(__file__).parents[2]
WORDS = ("ca", "cert", "key")


def play(place, tasks, hosts=("s1",), **words):
    """What a run of the tasks on all the hosts prints; each has its files in a directory of its own."""
    vtep = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **words}
    inventory = {
        "all": {
            "children": {
                "vteps": {"hosts": {name: {"place": str(place / str(each))} for each, name in enumerate(hosts)}}
            },
            "vars": vtep,
        }
    }
    for each in range(len(hosts)):
        (place / str(each)).mkdir(exist_ok=True)
    (place / "inventory.json").write_text(json.dumps(inventory))
    (place / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "inventory.json", "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def role(name, tasks, **words):
    return {"include_role": {"name": f"vtep.fabric.{name}", "tasks_from": tasks}, "vars": words}


def test_hosts_get_what_was_judged(tmp_path):
    made = Makes(tmp_path)
    made.make("ca", extensions=CA)
    texts = made.member()
    marked = {
        "ca": f"\ufeff{texts['ca']}",
        "cert": f"# member\n{texts['cert']}",
        "key": openssl("ecparam", "-name", "prime256v1") + texts["key"],
    }
    given = {f"{name}_{word}": text for name in ("ipsec", "registry") for word, text in marked.items()}
    files = {word: f"{{{{ place }}}}/{word}" for word in WORDS}
    tasks = [
        role("ipsec", "files", ipsec_daemon={"restart": [], "reload": [], "certificates": files}),
        # Its own file is written by a module that needs systemd.
        {"include_vars": str(ROOT / "roles/registry/vars/main.yml")},
        {"copy": {"dest": "{{ place }}/registry", "content": "{{ registry_wanted | to_json }}", "mode": "0600"}},
    ]
    play(tmp_path, tasks, **given)
    assert {word: (tmp_path / "0" / word).read_text() for word in WORDS} == texts
    assert json.loads((tmp_path / "0/registry").read_text()) == texts
    assert "changed=0" in play(tmp_path, tasks, **given)
