# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that roles ipsec and registry hand to hosts: users' own, and those that they issue, by the real openssl."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
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


# With what openssl's configuration takes otherwise, and longer than a common name may be.
NAMES = ("s_1.x", "s#1", "s,1$2\\3'4\"", "s" * 70)


@pytest.mark.parametrize("of", ["ipsec", "registry"])
def test_certificates_of_hosts_by_any_name(tmp_path, of):
    """Each host gets one in the first run and keeps it in the second one."""
    words = {
        "ipsec_ca_files": str(tmp_path / "ca"),
        "ipsec_ca_host": NAMES[0],
        "ipsec_plan": {"mode": "ike", "local": "2001:db8:1::1"},
        "ipsec_daemon": {"certificates": {word: f"{{{{ place }}}}/{word}" for word in WORDS}},
        "registry_ca_files": str(tmp_path / "ca"),
        "registry_first": NAMES[0],
        "registry_own_address": "2001:db8:1::1",
        "registry_self": "{{ inventory_hostname }}",
        "registry_files": "{{ place }}",
    }
    tasks = [
        role(of, "certificates", **words),
        {"debug": {"msg": f"{{{{ 'kept' if {of}_made is skipped else 'issued' }}}} for one"}},
        *(
            {"copy": {"dest": f"{{{{ place }}}}/{word}", "content": f"{{{{ {of}_issued.{word} }}}}", "mode": "0600"}}
            for word in ("cert", "key")
        ),
    ]
    told = [play(tmp_path, tasks, NAMES) for _run in range(2)]
    assert [(run.count("issued for one"), run.count("kept for one")) for run in told] == [
        (len(NAMES), 0),
        (0, len(NAMES)),
    ]
    written = openssl("x509", "-in", str(tmp_path / "0/cert"), "-noout", "-ext", "subjectAltName")
    assert "IP Address:2001:DB8:1:0:0:0:0:1, DNS:s_1.x" in written
