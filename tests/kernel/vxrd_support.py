# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of vxrd: the daemon as a process of its own, and a service node that says what a test wants."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import messages
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import Extension, Refresh
from device_support import sh

UTILS = Path(__file__).parents[2] / "plugins/module_utils"
ZERO = "00:00:00:00:00:00"
SERVERS = {4: "203.0.113.100", 6: "2001:db8:100::1"}
WAIT = 10.0  # seconds; the machine may be busy


def ip(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def until(what, seconds=WAIT):
    """The first true value of a function."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)


def flood(dev):
    """The destinations of a device's all-zero rows, as `bridge` shows them."""
    rows = json.loads(sh(f"bridge -j fdb show dev {dev}"))
    return sorted(row["dst"] for row in rows if row["mac"] == ZERO)


def install(directory):
    """The package as hosts have it, under a directory for PYTHONPATH."""
    (directory / "vtep_fabric").symlink_to(UTILS)
    return directory


class Program:
    """A daemon of the package in this thread's network namespace."""

    def __init__(self, tmp_path, name="vxrd", **keys):
        self.name, self.directory = name, tmp_path
        self.config = tmp_path / f"{name}.conf"
        self.keys = {
            "pidfile": tmp_path / f"{name}.pid",
            "udsfile": tmp_path / f"{name}.sock",
            "logdest": "stdout",
            "loglevel": "DEBUG",
            "node_id": 0x020000000001,
            **keys,
        }
        self.own = {"statedir": tmp_path / f"{name}-state"}
        self.log = tmp_path / f"{name}.log"
        self.notify = None
        self.before = ""  # statements that come before main(), for what a test cannot arrange otherwise
        self.process = None

    def write(self, own=None, **keys):
        """The configuration file."""
        self.keys.update(keys)
        self.own.update(own or {})
        lines = ["[common]", *(f"{key} = {value}" for key, value in self.keys.items())]
        lines += [f"[{self.name}]", *(f"{key} = {value}" for key, value in self.own.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def command(self, *words, name=None):
        return [sys.executable, "-m", f"vtep_fabric._vxfld.{name or self.name}", *words]

    def environment(self):
        more = {"NOTIFY_SOCKET": self.notify} if self.notify else {}
        bare = {key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
        return {**bare, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def start(self, *prefix):
        self.write()
        with open(self.log, "ab") as out:
            command = [*prefix, *self.command("-c", str(self.config))]
            if self.before:
                code = f"import sys; from vtep_fabric._vxfld import {self.name}; {self.before}; sys.exit({self.name}.main())"
                command = [*prefix, sys.executable, "-c", code, "-c", str(self.config)]
            self.process = subprocess.Popen(command, env=self.environment(), stdout=out, stderr=out)
        return self

    def stop(self, number=signal.SIGTERM):
        """End it by a signal; its exit status."""
        if self.process is None:
            return None
        self.process.send_signal(number)
        try:
            return self.process.wait(WAIT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def ctl(self, *words, code=0):
        """What the command prints (to stderr where it fails)."""
        command = self.command("-u", str(self.keys["udsfile"]), *words, name=f"{self.name}ctl")
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def counters(self):
        return json.loads(self.ctl("-j", "counters"))

    def memory(self):
        """Resident octets."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")


class ServiceNode:
    """Sockets at the service nodes' addresses. What vxrd registers is held; answers are what a test makes of them."""

    def __init__(self):
        self.sockets = {}
        self.vteps = None  # of the vxrd that wrote last
        for family, address in SERVERS.items():
            one = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address, 10001))
            one.setblocking(False)
            self.sockets[family] = one

    def close(self):
        for one in self.sockets.values():
            one.close()

    def heard(self, seconds=0.0):
        """All messages that are there, or come within some seconds."""
        found = []
        end = time.monotonic() + seconds
        while True:
            ready, _w, _x = select.select(list(self.sockets.values()), [], [], max(0, end - time.monotonic()))
            if not ready and time.monotonic() >= end:
                return found
            for one in ready:
                with contextlib.suppress(BlockingIOError):
                    data, source = one.recvfrom(65535)
                    self.vteps = source[:2]
                    found.append(messages.decode(data))

    def expect(self, what, seconds=WAIT):
        """Wait for a message of which something is true."""
        end = time.monotonic() + seconds
        seen = []
        while time.monotonic() < end:
            for message in self.heard(0.02):
                seen.append(message)
                if what(message):
                    return message
        raise AssertionError(f"not among {seen}")

    def registers(self, vni, seconds=WAIT):
        return self.expect(lambda one: vni in one.vteps and one.holdtime, seconds)

    def withdraws(self, vni, seconds=WAIT):
        return self.expect(lambda one: vni in one.vteps and not one.holdtime, seconds)

    def say(self, data, to="192.0.2.1"):
        data = data if isinstance(data, bytes) else messages.encode(data)
        self.sockets[6 if ":" in to else 4].sendto(data, (to, 10001))

    def answer(self, vni, *addresses, to="192.0.2.1", **extension):
        self.say(answer(vni, map(ip, addresses), **extension), to)


def answer(vni, addresses, **extension):
    message = Refresh(originator=False, holdtime=90, response_type=0, identifier=0, vteps={vni: list(addresses)})
    if extension or any(len(one) == 16 for one in message.vteps[vni]):
        message.extension = Extension(source=5, **extension)
    return message
