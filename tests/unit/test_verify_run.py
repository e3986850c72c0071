# SPDX-License-Identifier: GPL-3.0-or-later
"""How role verify runs its programs on a host: with requests of large fabrics, and without leaving anything there."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from verify_frames import program

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "verify"
# In place of each program: keeps how it was called, and what has reached it.
TELL = """
import hashlib, json, sys
text = json.dumps(json.load(sys.stdin), sort_keys=True)
open({told!r}, "a").write(json.dumps([{name!r}, *sys.argv[1:], hashlib.sha256(text.encode()).hexdigest()]) + "\\n")
assert not {fails}
"""
# Of an endpoint in a segment with 5,000 others, with two addresses each.
TARGETS = [address for n in range(5000) for address in (f"10.1.{n >> 8}.{n & 255}", f"2001:db8:ff:0:1:2:3:{n:x}")]
REQUEST = {"targets": TARGETS, "name": "\u00fc $HOME ~ '\"\\ \n"}


def verify(place, kind, pipelining, fails=False):
    """Run all programs of the role with a large request: (what each was told, what Ansible said, what is left on the host)."""
    role, told, temporary = place / "roles" / "verify", place / "told", place / "remote"
    shutil.copytree(ROLE, role, ignore=shutil.ignore_patterns("meta"))
    for path in (role / "files").iterdir():
        path.write_text(TELL.format(told=str(told), name=path.name, fails=fails))
    (asking,) = [one for one in yaml.safe_load((role / "tasks/main.yml").read_text()) if one["name"] == "Ask them"]
    (rogue,) = [one for one in asking["block"] if "loop" in one]
    rogue["loop"] = [{"host": "localhost", "request": "{{ verify_request }}"}]
    (role / "tasks/main.yml").write_text(json.dumps([asking]))
    play = {"hosts": "localhost", "gather_facts": False, "connection": "local", "roles": ["verify"]}
    (place / "play.yml").write_text(json.dumps([play]))
    (place / "words.json").write_text(json.dumps({"verify_request": {"kind": kind, **REQUEST, "encryption": REQUEST}}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-e", "@words.json",
         "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_PIPELINING": str(pipelining),
             "ANSIBLE_REMOTE_TMP": str(temporary)},
        cwd=place, capture_output=True, text=True, check=False)  # fmt: skip
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return [json.loads(line) for line in told.read_text().splitlines()], done.stdout, list(temporary.glob("*"))


def digest(request):
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "programs", "pipelining"),
    [
        ("node", [["node.py", "start"], ["rogue.py"], ["node.py", "stop"]], True),
        ("endpoint", [["endpoint.py"], ["rogue.py"]], False),
    ],
)
def test_a_request_of_any_size_reaches_each_program(tmp_path, kind, programs, pipelining):
    told, _said, left = verify(tmp_path, kind, pipelining)
    whole, within = digest({"kind": kind, **REQUEST, "encryption": REQUEST}), digest(REQUEST)
    wanted = [[*words, whole] for words in programs]
    assert told == [["encryption.py", "start", within], *wanted, ["encryption.py", "stop", within]]
    assert left == []


def test_a_program_that_fails_leaves_nothing_and_does_not_drown_what_it_says(tmp_path):
    told, said, left = verify(tmp_path, "endpoint", pipelining=False, fails=True)
    assert len(told) == 1
    assert left == []
    assert "AssertionError" in said
    assert len(said) < 5000


def test_more_are_pinged_than_there_may_be_open_files(tmp_path, monkeypatch):
    ping = tmp_path / "ping"
    ping.write_text("#!/bin/sh\necho 1 packets transmitted, 1 received\n")
    ping.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    endpoint = program("endpoint")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(400, hard), hard))
    try:
        found = endpoint.ping_all(dict.fromkeys(TARGETS[:700], ()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == dict.fromkeys(TARGETS[:700], {"sent": 1, "received": 1})
