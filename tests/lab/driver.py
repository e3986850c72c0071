# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives site.yml on a lab as a user does, and keeps what it told."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles" / "lab" / "files" / "lab.py"
ALL = bool(os.environ.get("TEST_ALL"))
# What takes minutes, and whose like is in the shorter run.
at_length = pytest.mark.skipif(not ALL, reason="make test-all has it")


class Fabric:
    """A lab of a prefix of its own, and the playbooks that build a fabric on it."""

    def __init__(self, directory, *inventories):
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.inventories = inventories or (ROOT / "inventories" / "lab",)
        self.record = directory / "record.json"

    def command(self, *arguments):
        playbook = Path(sys.executable).parent / "ansible-playbook"
        sources = [f"--inventory={inventory}" for inventory in self.inventories]
        return [str(playbook), *sources, "-e", f"lab_prefix={self.prefix}", *arguments]

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
        self.said = done.stdout + done.stderr
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

    def reboot(self, *hosts):
        """Reboot hosts, and wait until all that each starts at boot runs."""

        def booted(host):
            return self.run(host, "cat /proc/1/stat").split()[21]

        def is_back(host, before):
            try:
                # It fails unless the state is "running".
                return (
                    self.run(host, "systemctl is-system-running >/dev/null && cat /proc/1/stat").split()[21] != before
                )
            except subprocess.CalledProcessError:
                time.sleep(1)
                return False

        former = {host: booted(host) for host in hosts}
        for host in hosts:
            self.run(host, "systemctl --no-block reboot")
        for host, before in former.items():
            waited(lambda host=host, before=before: is_back(host, before), 300)


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


SEND = r"""
import socket, struct, sys, threading, time
number, ended = 0, threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("eth0", 0))
    head = b"\xff" * 6 + raw.getsockname()[4] + b"\x88\xb5"
    while not ended.is_set():
        raw.send(head + struct.pack("!Q", number) + bytes(86))
        number += 1
        time.sleep(0.01)
print(number)
"""

HEAR = r"""
import json, socket, struct, sys, threading, time
heard, ended = [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as raw:
    raw.bind(("eth0", 0x88B5))
    raw.settimeout(0.1)
    print("ready", flush=True)
    while not ended.is_set():
        try:
            heard.append(struct.unpack_from("!Q", raw.recv(256), 14)[0])
        except socket.timeout:
            pass
print(json.dumps(heard))
"""


class Broadcasts:
    """Numbered broadcasts of one endpoint, 100 a second, from `with` on until its end. Afterwards for each other endpoint:
    `lost`, how many it did not hear; `gap`, the most in a row; `twice`, how many it heard more than once."""

    def __init__(self, fabric, source, *others):
        self.fabric, self.source, self.others = fabric, source, others

    def _python(self, host, program):
        command = [sys.executable, PROGRAM, "shell", self.fabric.prefix, host, "python3", "-c", program]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        self.hearing = {host: self._python(host, HEAR) for host in self.others}
        for process in self.hearing.values():
            assert process.stdout.readline() == "ready\n"
        self.sending = self._python(self.source, SEND)
        return self

    def __exit__(self, *error):
        self.sent = int(self.sending.communicate(timeout=10)[0])
        time.sleep(0.3)
        self.lost, self.gap, self.twice = {}, {}, {}
        for host, process in self.hearing.items():
            heard = json.loads(process.communicate(timeout=10)[0])
            numbers = sorted(set(heard))
            self.lost[host] = self.sent - len(numbers)
            self.gap[host] = max(b - a - 1 for a, b in zip([-1, *numbers], [*numbers, self.sent]))
            self.twice[host] = len(heard) - len(numbers)


def waited(look, seconds):
    """How long it took until look() is true; fails after so many seconds."""
    start = time.monotonic()
    while not look():
        assert time.monotonic() < start + seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - start


def surprises(done, predicted):
    """What a run changed otherwise than predicted, line by line. Left out are a bridge's MAC address, which is the lowest of its
    ports', and rows that a device made anew has learned from the pings before its own are set."""
    return sorted(told(done) ^ told(predicted))


def shown(found):
    return found if isinstance(found, str) else json.dumps(found, sort_keys=True)


def told(changes):
    lines = {
        (*key, side, re.sub(r"(br\d+ address) \S+", r"\1", line))
        for key, found in changes.items()
        for diff in (found if isinstance(found, list) else [found])  # Ansible's own modules tell several
        for side in ("before", "after")
        for line in shown((diff or {}).get(side, "")).splitlines()
    }
    return {line for line in lines if not line[-1].endswith(" self dynamic")}
