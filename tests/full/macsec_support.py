# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for the tests of MACsec: network namespaces joined by a veth pair each, every one with a disk of its own for the
record of keys, the module's run loop in them, and iproute2's answers."""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))  # device_support
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import macsec
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import macsec as files
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import genl
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import macsec as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def has_macsec():
    if os.geteuid() != 0:
        return False
    subprocess.run(["modprobe", "-q", "macsec"], check=False)
    family = genl.Family("macsec", 1)
    try:
        return bool(family.number())
    except KernelError:
        return False
    finally:
        family.close()


MARKS = [pytest.mark.skipif(not has_macsec(), reason="this kernel has no MACsec; tools/full pytest tests/full runs it")]


class Host:
    """A network namespace and a disk. As a context: this thread, and what it starts, is on that host."""

    def __init__(self, name, disk):
        self.name, self.disk = name, Path(disk) / name / "vtep.fabric"
        self.disk.parent.mkdir(parents=True)
        self.boot = f"boot of {name}"
        with open("/proc/thread-self/ns/net") as home:
            assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            self.net = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            assert LIBC.setns(home.fileno(), 0) == 0
        self.path = f"/proc/{os.getpid()}/fd/{self.net}"
        with self.here():  # no frames of its own, so that counters stand still
            for which in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")

    def close(self):
        os.close(self.net)

    @contextlib.contextmanager
    def here(self):
        before = files.DIRECTORY, kernel.boot_id
        with open("/proc/thread-self/ns/net") as home:
            assert LIBC.setns(self.net, 0) == 0, os.strerror(ctypes.get_errno())
            files.DIRECTORY, kernel.boot_id = self.disk, lambda: self.boot
            try:
                yield
            finally:
                files.DIRECTORY, kernel.boot_id = before
                assert LIBC.setns(home.fileno(), 0) == 0

    def sh(self, *lines):
        with self.here():
            for line in lines:
                done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def macsec(self, checking=False, **options):
        params = {name: argument.get("default") for name, argument in macsec.Macsecs.spec().items()}
        made = macsec.Macsecs()
        with self.here():
            try:
                return converge(made, {**params, **options}, checking)
            finally:
                made.close()

    def twice(self, **options):
        """Check, run and run again: the check predicts the run, and the second run changes nothing."""
        told = self.macsec(checking=True, **options)
        done = self.macsec(**options)
        assert (told.changed, told.before, told.after) == (done.changed, done.before, done.after)
        again = self.macsec(**options)
        assert (again.changed, again.before, again.after) == (False, "", "")
        return done

    def info(self, name=None):
        with self.here():
            return macsec.info({"name": name})

    def device(self, name="macsec0"):
        [device] = self.info(name)["devices"]
        return device

    def link(self, name="macsec0"):
        return json.loads(self.sh(f"ip -d -j link show dev {name}"))[0]

    def shown(self, name="macsec0"):
        return json.loads(self.sh(f"ip -j -s macsec show {name}"))[0]

    def record(self):
        with self.here():
            return files.load()


def joined(one, two):
    """A veth pair between two hosts, `eth0` on both."""
    one.sh(f"ip link add eth0 type veth peer name eth0 netns {two.path}")
    for number, host in enumerate((one, two), 1):
        host.sh("ip link set lo up", f"ip link set eth0 address 02:00:00:00:00:0{number}", "ip link set eth0 up")


def sci(number, port=1):
    return f"0200000000{number:02x}{port:04x}"


# ping for IPv4: not every machine has one. Prints how many requests were sent and how many answered.
PING = """
import select, socket, struct, sys, time
address, count, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
sock.connect((address, 0))
print("begun", flush=True)
answered, start = set(), time.monotonic()
def hear(until):
    while select.select([sock], [], [], max(until - time.monotonic(), 0))[0]:
        data = sock.recv(2048)[20:]
        if data[0] == 0 and data[4:6] == b"vt":
            answered.add(struct.unpack(">H", data[6:8])[0])
for number in range(count):
    body = struct.pack(">BBH2sH", 8, 0, 0, b"vt", number) + b"marker " * 8
    total = sum(struct.unpack(f">{len(body) // 2}H", body))
    total = (total >> 16) + (total & 0xFFFF)
    total = ~(total + (total >> 16)) & 0xFFFF
    try:
        sock.send(body[:2] + struct.pack(">H", total) + body[4:])
    except OSError:
        pass
    hear(start + (number + 1) * interval)
end = time.monotonic() + 1.5
while len(answered) < count and time.monotonic() < end:
    hear(time.monotonic() + 0.1)
print(count, len(answered))
"""


def pinging(host, address, count, interval=0.01):
    """A ping that has begun; see `counted`."""
    with host.here():
        made = subprocess.Popen(
            [sys.executable, "-c", PING, address, str(count), str(interval)], stdout=subprocess.PIPE, text=True
        )
    assert made.stdout.readline() == "begun\n"
    return made


def counted(ping):
    """(sent, answered) of a ping, when it has ended."""
    out = ping.communicate(timeout=120)[0]
    sent, answered = map(int, out.split())
    return sent, answered


def ping(host, address, count=5):
    """How many of some pings were answered."""
    return counted(pinging(host, address, count, 0.02))[1]
