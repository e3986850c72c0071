# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a host through ansible-playbook, with a private /run: two runs at once, a killed one, and check mode."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

needed = [word for word in ("unshare", "mount", "nsenter") if not shutil.which(word)]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: the lock needs root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: the lock needs the programs {needed}"),
]
ROOT = Path(__file__).parents[2]
# The first run tells that it has the lock by a line in a pipe, and goes on when it gets one.
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - block:
        - name: Take
          vtep.fabric.host_lock:
            purpose: "{{ what }}"
            break_lock: "{{ break_lock | default(false) }}"
          register: lock
        - name: Work
          ansible.builtin.shell: "{{ work }}"
      always:
        - name: Release
          vtep.fabric.host_lock:
            state: released
          when: lock.held | default(false)
"""


@pytest.fixture
def run(tmp_path):
    """A mount namespace with a /run of its own; ansible-playbook in it."""
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    script = "mount --make-rprivate / && mount -t tmpfs none /run && echo ready && read -r _line"
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "ready\n"

    def start(what, work="true", *arguments):
        command = ["nsenter", "-t", str(holder.pid), "-m", str(Path(sys.executable).parent / "ansible-playbook")]
        command += [str(tmp_path / "play.yml"), "-i", "localhost,", "-c", "local", *arguments]
        extra = {"what": what, "work": work, "ansible_python_interpreter": sys.executable}
        return subprocess.Popen(
            [*command, "-e", json.dumps(extra)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_LOCALHOST_WARNING="false"),
        )  # fmt: skip

    start.lock = Path(f"/proc/{holder.pid}/root/run/vtep.fabric/lock.json")
    yield start
    holder.communicate("\n")


def ended(process):
    said = process.communicate()[0]
    return process.returncode, " ".join(said.split())


@pytest.fixture
def first(run, tmp_path):
    """A run that holds the host and waits, and what lets it go on."""
    for name in ("here", "go"):
        os.mkfifo(tmp_path / name)
    process = run("the first", f"echo here > {tmp_path}/here; read -r line < {tmp_path}/go")
    with open(tmp_path / "here") as pipe:
        pipe.read()
    yield process, lambda: (tmp_path / "go").write_text("go\n")
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_second_run_is_refused_while_the_first_holds_the_host(run, first):
    process, go_on = first
    held = json.loads(run.lock.read_text())["holder"]
    assert held["pid"] == process.pid  # nsenter became ansible-playbook
    code, said = ended(run("the second"))
    assert code == 2 and "[Work]" not in said
    for words in (
        "another run holds this host: the first, by",
        f"(process {process.pid})",
        "-e preflight_break_lock=true",
    ):
        assert words in said
    code, said = ended(run("the second", "true", "--check"))
    assert code == 0 and "[WARNING]: another run holds this host: the first" in said
    assert json.loads(run.lock.read_text())["holder"] == held
    go_on()
    code, said = ended(process)
    assert code == 0 and "changed=1 " in said  # the work; neither taking nor releasing
    assert not run.lock.parent.exists()


def test_a_killed_run_holds_nobody_off(run, first):
    process, go_on = first
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert run.lock.exists()
    assert ended(run("the second"))[0] == 0
    assert not run.lock.exists()
    go_on()  # Ansible's workers are in sessions of their own: the one whose task waits outlives the run


def test_a_run_that_fails_lets_go_and_one_from_which_the_host_was_taken_takes_nothing_back(run, first):
    process, go_on = first
    code, said = ended(run("the second", "false", "-e", "break_lock=true"))
    assert code == 2 and "non-zero return code" in said
    assert not run.lock.exists()
    go_on()
    assert ended(process)[0] == 0


def test_check_mode_leaves_nothing(run):
    assert ended(run("a check", "true", "--check"))[0] == 0
    assert not run.lock.parent.exists()
