# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of modules as Ansible runs them: tasks on this machine, in a private network namespace."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

MARKS = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
ROOT = Path(__file__).parents[2]
VXLAN = "ip link add vxlan100 type vxlan id 100 dstport 4789 local 2001:db8:9::1"


def play(tmp_path, *tasks, setup=VXLAN):
    """The results of the tasks, in order; a failure is a result as well. And all that Ansible printed.

    setup: commands that make the network namespace's devices.
    """
    for number, task in enumerate(tasks):
        task.update(register=f"result{number}", failed_when=False)
    results = ", ".join(f"result{number}" for number in range(len(tasks)))
    tell = {"content": "{{ [" + results + "] | to_json }}", "dest": str(tmp_path / "results"), "mode": "0600"}
    tell = {"ansible.builtin.copy": tell, "check_mode": False, "diff": False}
    book = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [*tasks, tell]}]
    (tmp_path / "play.yml").write_text(json.dumps(book))
    command = [Path(sys.executable).parent / "ansible-playbook", "-v", "-i", "localhost,", tmp_path / "play.yml"]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path / "remote"),
    }
    # Records of what was written are a host's, and this machine is to keep none of them.
    inside = f"mount -t tmpfs run /run && ip link set lo up && {setup} && exec " + shlex.join(map(str, command))
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", inside],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((tmp_path / "results").read_text()), done.stdout + done.stderr
