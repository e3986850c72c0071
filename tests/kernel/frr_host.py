# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with a real FRR: what starts, configures and asks it, and runs the modules inside by the image's own Python.

bookworm has FRR 8.4.4, trixie 10.3, forky 10.7.
"""

import json
import subprocess

from suite_host import INSIDE, Namespaces, SuiteHost


class Lan(Namespaces):
    """A network namespace with one Ethernet segment."""

    def __init__(self):
        super().__init__(
            ["--net"], "set -e; ip link add lan type bridge; ip link set lan up; echo ready; exec sleep 100000"
        )

    def join(self, host, dev):
        port = f"to{host.pid}{dev}"[:15]
        self.ip("link", "add", port, "type", "veth", "peer", "name", dev, "netns", str(host.pid))
        self.ip("link", "set", port, "master", "lan", "up")
        host.ip("link", "set", dev, "up")

    def ip(self, *words):
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", *words], check=True)


class Host(SuiteHost):
    def veth(self, name):
        self.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
        self.ip("link", "set", name, "up")
        self.ip("link", "set", f"{name}-peer", "up")

    def switch(self, **daemons):
        for daemon, value in daemons.items():
            self.sh(f"sed -i 's/^{daemon}=.*/{daemon}={value}/' /etc/frr/daemons")

    def start_frr(self, **daemons):
        self.switch(**daemons)
        self.run("/usr/lib/frr/frrinit.sh", "start")

    def vtysh(self, *commands):
        return self.run("vtysh", *[word for command in commands for word in ("-c", command)])

    def configure(self, text):
        """What another person would type. Not by -f, so that the module's way in is not the only one tested."""
        self.vtysh("configure terminal", *text.strip().splitlines())

    def running(self):
        return self.vtysh("show running-config")

    def pids(self):
        """{daemon: process id}"""
        found = self.sh(
            'shopt -s nullglob; for f in /run/frr/*.pid; do echo "$(basename $f .pid) $(cat $f)"; done'
        ).split()
        return dict(zip(found[::2], found[1::2]))

    def module(self, module, check=False, patience=None, **params):
        """The outcome of a module run; with an `error` where it fails."""
        request = {"module": module, "params": params, "check": check, "patience": patience}
        answer = self.run("/usr/bin/python3", f"{INSIDE}/tests/kernel/frr_drive.py", text=json.dumps(request))
        return json.loads(answer)
