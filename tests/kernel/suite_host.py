# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of Debian's suites for tests: a lab image's root in namespaces of its own, with an overlay that is gone at the end.

Each host has its own network, mounts and process ids. Nothing of it outlives its first process, nothing needs systemd,
and the image stays as it is. What runs inside is the image's own: Python, pyroute2, iproute2, nft, FRR.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

IMAGES = Path("/var/cache/vtep-fabric/images")
CHECKOUT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie", "forky")
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


def image(suite, holding="."):
    found = (one for one in IMAGES.glob(f"{suite}-*") if (one / holding).exists())
    return max(found, key=lambda one: one.stat().st_mtime, default=None)


def needs_image(suite, holding="."):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: hosts of other suites need root")
    if not image(suite, holding):
        pytest.skip(f"NOT TESTED: there is no lab image of {suite}; `make images` builds it")


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


class SuiteHost(Namespaces):
    def __init__(self, suite, holding="."):
        self.suite = suite
        self.directory = tempfile.mkdtemp(prefix="vtep-test-")
        super().__init__(["--net", "--mount", "--pid"], BOOT, self.directory, image(suite, holding), CHECKOUT)

    def close(self):
        super().close()
        Path(self.directory).rmdir()

    def done(self, *command, text=None):
        """(exit status, output, errors) of a command inside. Output goes to files, since daemons keep what they inherit open."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            into = ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-r", "-w"]
            given = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
            done = subprocess.run([*into, *command], stdout=out, stderr=err, text=True, check=False, **given)
            for file in (out, err):
                file.seek(0)
            return done.returncode, out.read(), err.read()

    def run(self, *command, text=None, check=True):
        status, said, wrong = self.done(*command, text=text)
        assert not check or status == 0, f"{command}: {said}{wrong}"
        return said

    def sh(self, script):
        return self.run("/bin/bash", "-c", script)

    def ip(self, *words):
        self.run("ip", *words)

    def path(self, name):
        """A file inside, as seen from here."""
        return Path(f"/proc/{self.pid}/root", name.lstrip("/"))

    def read(self, name):
        return self.run("cat", name)

    def write(self, name, text):
        self.run("tee", name, text=text)
