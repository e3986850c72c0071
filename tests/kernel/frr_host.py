"""Hosts with a real FRR for tests: a lab image's root in namespaces of its own, with an overlay that is gone at the end.

Each host has its own network, mounts and process ids. Nothing of it outlives its first process, and nothing needs
systemd. The module runs inside, by the image's own Python.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

IMAGES = Path("/var/cache/vtep-fabric/images")
CHECKOUT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie", "forky")  # FRR 8.4.4, 10.3, 10.7
INSIDE = "/src/ansible_collections/vtep/fabric"

# $1 the directory, $2 the image, $3 the checkout
BOOT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o "lowerdir=$2,upperdir=upper,workdir=work" none root
mount -t proc none root/proc
mount -t sysfs none root/sys
mount -t tmpfs none root/run
mount --rbind /dev root/dev
mkdir -p root{INSIDE}
mount --bind "$3" root{INSIDE}
mount -o remount,bind,ro root{INSIDE}
ip link set lo up
exec chroot root /bin/bash -c 'echo ready; while :; do sleep 3600 & wait $!; done'
"""


def image(suite):
    found = [one for one in IMAGES.glob(f"{suite}-*") if (one / "usr/lib/frr/watchfrr").exists()]
    return max(found, key=lambda one: one.stat().st_mtime, default=None)


def needs_image(suite):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: FRR needs root")
    if not image(suite):
        pytest.skip(f"NOT TESTED: there is no lab image of {suite}; `make lab SUITE={suite}` builds it")


class Namespaces:
    """A process that holds namespaces; they go with it."""

    def __init__(self, kinds, script, *arguments):
        command = ["unshare", *kinds, "--fork", "--kill-child", "sh", "-c", script, "sh", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", "the namespaces could not be made"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        self.pid = int(children.split()[0])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Lan(Namespaces):
    """A network namespace with one Ethernet segment."""

    def __init__(self):
        super().__init__(["--net"], "set -e; ip link add lan type bridge; ip link set lan up; echo ready; exec sleep 100000")

    def join(self, host, dev):
        port = f"to{host.pid}{dev}"[:15]
        self.ip("link", "add", port, "type", "veth", "peer", "name", dev, "netns", str(host.pid))
        self.ip("link", "set", port, "master", "lan", "up")
        host.ip("link", "set", dev, "up")

    def ip(self, *words):
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", *words], check=True)


class Host(Namespaces):
    def __init__(self, suite):
        self.suite = suite
        self.directory = tempfile.mkdtemp(prefix="frr-test-")
        super().__init__(["--net", "--mount", "--pid"], BOOT, self.directory, image(suite), CHECKOUT)

    def close(self):
        super().close()
        Path(self.directory).rmdir()

    def run(self, *command, text=None, check=True):
        """A command inside. Output goes to files, since daemons keep what they inherit open."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            into = ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-r", "-w"]
            given = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
            done = subprocess.run([*into, *command], stdout=out, stderr=err, text=True, check=False, **given)
            for file in (out, err):
                file.seek(0)
            said, wrong = out.read(), err.read()
        assert not check or done.returncode == 0, f"{command}: {said}{wrong}"
        return said

    def sh(self, script):
        return self.run("/bin/bash", "-c", script)

    def ip(self, *words):
        self.run("ip", *words)

    def veth(self, name):
        self.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
        self.ip("link", "set", name, "up")
        self.ip("link", "set", f"{name}-peer", "up")

    def path(self, name):
        """A file inside, as seen from here."""
        return Path(f"/proc/{self.pid}/root", name.lstrip("/"))

    def read(self, name):
        return self.run("cat", name)

    def write(self, name, text):
        self.run("tee", name, text=text)

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
