# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives site.yml on a lab as a user does, and keeps what it told."""

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles" / "lab" / "files" / "lab.py"


class Fabric:
    """A lab of a prefix of its own, and the playbooks that build a fabric on it."""

    def __init__(self, directory, inventory=ROOT / "inventories" / "lab"):
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.inventory = inventory
        self.record = directory / "record.json"

    def command(self, *arguments):
        playbook = Path(sys.executable).parent / "ansible-playbook"
        return [str(playbook), "-i", str(self.inventory), "-e", f"lab_prefix={self.prefix}", *arguments]

    def environment(self):
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "RECORD_FILE": str(self.record),
        }

    def play(self, *arguments, fails=False):
        """Run playbooks; {(task, host): (changed, diff)} of what changed."""
        done = subprocess.run(
            self.command(*arguments), cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        tasks = json.loads(self.record.read_text())["tasks"]
        return {
            (task["name"], host): result["diff"]
            for task in tasks
            for host, result in task["hosts"].items()
            if result["changed"]
        }

    def site(self, variant, *arguments):
        return self.play("site.yml", "-e", f"variant={variant}", "--diff", *arguments)

    def verify(self, variant):
        self.play("playbooks/verify.yml", "-e", f"variant={variant}", "-e", f"verify_report_file={self.record}.verify")

    def run(self, host, script):
        command = [sys.executable, PROGRAM, "shell", self.prefix, host, "sh", "-c", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Ping:
    """Pings from one endpoint to another, 100 a second, from `with` on until its end; `lost` then counts them."""

    def __init__(self, fabric, host, address):
        self.fabric, self.host = fabric, host
        self.words = f"ping -n -q -i 0.01 -W 1 {address}"

    def __enter__(self):
        command = [sys.executable, PROGRAM, "shell", self.fabric.prefix, self.host, *self.words.split()]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error):
        # The process here is not the ping but what waits for it; and the brackets keep the shell from finding itself.
        self.fabric.run(self.host, f"pkill -INT -f '[p]{self.words[1:]}'")
        told = self.process.communicate(timeout=10)[0].replace(",", "").split()
        self.sent = int(told[told.index("packets") - 1])
        self.lost = self.sent - int(told[told.index("received") - 1])


def surprises(done, predicted):
    """What a run changed otherwise than predicted, line by line. Left out are a bridge's MAC address, which is the lowest of its
    ports', and rows that a device made anew has learned from the pings before its own are set."""
    return sorted(told(done) ^ told(predicted))


def told(changes):
    lines = {
        (*key, side, re.sub(r"(br\d+ address) \S+", r"\1", line))
        for key, diff in changes.items()
        for side in ("before", "after")
        for line in diff[side].splitlines()
    }
    return {line for line in lines if not line[-1].endswith(" self dynamic")}
