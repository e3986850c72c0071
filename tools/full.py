# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command on a full kernel: in a guest of user-mode Linux that has the machine's own root, as root.

    tools/full COMMAND ...      run it in the guest that is up, else in one for this command alone
    tools/full --up             boot a guest that stays
    tools/full --down           end it
    tools/full --image          only build what guests boot from
    tools/full --lacking        tell what the machine's own kernel lacks; the exit status is 1 where it lacks anything

With --if-lacking, any of these is done only where the machine's own kernel lacks something, and else a command runs as it is.

The kernel is user-mode Linux of Debian's testing; FULL_KERNEL=source builds one from its source, see image(). What the guest
writes is in its memory and goes with it, except what it writes in the checkout. Nothing of it appears among the machine's devices;
it has no network.
FULL_GUEST names another guest than `full`; FULL_MEMORY is what a new one may take at most, 4G if not given.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "collections"), str(TOP / "roles" / "lab" / "files")]
from full_guest import PORT, READY, frame, read_frame  # noqa: E402
from lab import LabError, build_image, image_path  # noqa: E402

# What a kernel must have to be called full, in the words of module host_info.
FULL = ("bridge_vlan_filtering", "dummy", "esp4", "esp6", "macsec", "vlan", "vrf", "vxlan", "xfrm")
STATE = Path("/run/vtep-fabric-full")
BOOT_SECONDS = 120
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
libc = ctypes.CDLL(None, use_errno=True)


class FullError(Exception):
    """What ends the program with a message."""


def image():
    """What lab.py builds a guest's kernel by. User-mode Linux is quick from 6.16 on (seccomp=), which is in Debian's testing.

    Debian's package has one processor and no nftables but for bridges. FULL_KERNEL=source takes source and compiler instead: several
    processors, and what full-kernel.config lists.
    """
    if os.environ.get("FULL_KERNEL") != "source":
        return {
            "name": "guest",
            "suite": "forky",
            "packages": ["base-files", "user-mode-linux"],
            # A suite in development may be mirrored with an index that is past its date.
            "options": [
                "--variant=extract",
                '--extract-hook=ln -s uml/modules "$1/usr/lib/modules" && mkdir -p "$1/dev" "$1/mnt" "$1/proc"',
                '--aptopt=Acquire::Check-Valid-Until "false"',
            ],
            "hooks": [],
        }
    config, script = ((TOP / "tools" / name).read_text() for name in ("full-kernel.config", "full-kernel"))
    compiler = ["bc", "bison", "flex", "gcc", "libc6-dev", "make", "python3-minimal", "xz-utils"]
    return {
        "name": "guest",
        "suite": "forky",
        "packages": ["linux-source", *compiler],
        "options": ['--aptopt=Acquire::Check-Valid-Until "false"'],
        # The texts themselves, so that the image has another name when they change, and the same one in another checkout.
        "hooks": [f"cat >\"$1/usr/src/full-kernel.config\" <<'END'\n{config}END\n", script],
    }


def lacking():
    """What this kernel lacks, a sentence each."""
    from ansible_collections.vtep.fabric.plugins.module_utils._kernel.host import facts
    from ansible_collections.vtep.fabric.plugins.module_utils._plan.host import missing

    return missing(facts(), FULL)


def boot_script(root, memory):
    """The shell script that is a guest, in mount, network and process namespaces of its own."""
    # The kernel is a program that wants testing's libc, hence the other root, with the machine's in it, read-only but for the checkout.
    program = "/usr/bin/linux" if os.environ.get("FULL_KERNEL") == "source" else "/usr/bin/linux.uml"
    stage, host = f"{root}/mnt", f"{root}/mnt/host"
    kernel = [
        # Its memory is a file in /dev/shm unless one of these says otherwise.
        *("env", "-u", "TMPDIR", "-u", "TMP", "-u", "TEMP"),
        *("chroot", str(root), program, "seccomp=on", f"mem={memory}"),
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/mnt/host", "ro", f"init={TOP}/tools/full-init"),
        *("uml_dir=/mnt/", "umid=guest", "con=null", "con0=null,fd:1", "quiet"),
        # By a raw socket: with several processors this kernel cannot do with a tap.
        "vec0:transport=raw,ifname=inside,depth=64,gro=1",
        *("dummy.numdummies=0", "ifb.numifbs=0"),
        *("host=/mnt/host", f"image={root}", f"checkout={TOP}"),
    ]
    lines = [
        ["mount", "-t", "tmpfs", "stage", stage],
        ["mkdir", host],
        ["mount", "--rbind", "/", host],
        ["mount", "-o", "remount,bind,ro", host],
        ["mount", "--bind", str(TOP), f"{host}{TOP}"],
        ["mount", "--rbind", "/dev", f"{root}/dev"],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["ip", "link", "add", "outside", "type", "veth", "peer", "name", "inside"],
        ["ip", "addr", "add", "169.254.0.1/30", "dev", "outside"],
        ["ip", "link", "set", "outside", "up"],
        ["ip", "link", "set", "inside", "up"],
        kernel,
    ]
    return "\n".join(["set -e", *map(shlex.join, lines), ""])


def start(console, outlives, pass_fds=()):
    """Start a guest whose console is a file; its process."""
    build_image(image())
    script = boot_script(image_path(image()), os.environ.get("FULL_MEMORY", "4G"))
    # Each system call and page fault in a guest goes from one process of this machine to another and back, which takes 14 us where both
    # are on one processor, and 93 where the other one has to be woken.
    processors = sorted(os.sched_getaffinity(0))
    # Process 1 of the PID namespace ends with unshare, and all of the guest with it.
    command = [
        *("taskset", "-c", str(processors[os.getpid() % len(processors)])),
        *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script),
    ]
    if not outlives:
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/",
                            start_new_session=True, pass_fds=pass_fds)  # fmt: skip


def wait_ready(runs, console):
    limit = time.monotonic() + BOOT_SECONDS
    while True:
        said = console.read_text(errors="replace")
        if READY in said:
            return
        if not runs() or time.monotonic() > limit:
            tail = "\n".join(said.splitlines()[-40:])
            raise FullError(f"the guest did not boot, the last that it said is:\n{tail}")
        time.sleep(0.02)


@contextlib.contextmanager
def guest_for_one():
    """The PID of a guest that ends with this program."""
    with tempfile.NamedTemporaryFile() as console:
        process = start(console, outlives=False)
        try:
            wait_ready(lambda: process.poll() is None, Path(console.name))
            yield process.pid
        finally:
            process.kill()
            process.wait()


# Guests that stay


class Guest:
    """A guest that stays: its lock is held as long as any process of it lives."""

    def __init__(self, name):
        if not name.isalnum():
            raise FullError(f"FULL_GUEST: {name!r} is no name: use letters and digits")
        self.place = STATE / name
        self.console, self.pid = self.place / "console.log", self.place / "pid"

    def lock(self, wait):
        """The lock, as an open file, or None where the guest has it. Without a record there is no guest."""
        file = open(self.place / "lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return None
        return file

    def runs(self):
        if not self.place.is_dir():
            return False
        file = self.lock(wait=False)
        if file:
            file.close()
        return file is None

    def up(self):
        self.place.mkdir(parents=True, exist_ok=True)
        file = self.lock(wait=False)
        if file:
            with file, open(self.console, "w") as console:
                self.pid.write_text(str(start(console, outlives=True, pass_fds=[file.fileno()]).pid))
        try:
            wait_ready(self.runs, self.console)
        except FullError:
            self.down()
            raise

    def down(self):
        if self.runs():
            os.kill(int(self.pid.read_text()), signal.SIGKILL)
            self.lock(wait=True).close()
        if self.place.is_dir():
            subprocess.run(["rm", "-rf", str(self.place)], check=True)


# Commands


def connect(pid):
    """A connection to a guest, from its network namespace, which is not that of this program."""
    with open("/proc/self/ns/net") as mine, open(f"/proc/{pid}/ns/net") as its:
        if libc.setns(its.fileno(), 0):
            raise FullError(f"cannot enter the guest's network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            return socket.create_connection(("169.254.0.2", PORT), timeout=10)
        finally:
            libc.setns(mine.fileno(), 0)


def run(pid, argv):
    """Run a command in a guest and pass on all that goes in and comes out; its exit status."""
    terminal = os.isatty(0) and os.isatty(1)
    with connect(pid) as connection, raw_terminal(terminal):
        connection.settimeout(None)
        request = {
            "argv": argv,
            "cwd": str(TOP),
            "environment": dict(os.environ),
            "terminal": size() if terminal else None,
        }
        connection.sendall(json.dumps(request).encode() + b"\n")
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda number, _frame: connection.sendall(frame(b"s", b"%d" % number)))
        if terminal:
            signal.signal(signal.SIGWINCH, lambda *_words: connection.sendall(frame(b"w", json.dumps(size()).encode())))
        return exchange(pid, connection)


def exchange(pid, connection):
    incoming = connection.makefile("rb", buffering=0)
    ended = os.pidfd_open(pid)
    poll = select.poll()
    for descriptor in (0, connection.fileno(), ended):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _events in poll.poll()}
        if connection.fileno() in ready:
            kind, payload = read_frame(incoming)
            if kind == b"x":
                (status,) = struct.unpack("!i", payload)
                return status if status >= 0 else 128 - status
            if not kind:
                raise FullError("the guest closed the connection")
            write(1 if kind == b"o" else 2, payload)
        elif ended in ready:
            raise FullError("the guest ended before the command did")
        elif 0 in ready:
            data = os.read(0, 65536)
            connection.sendall(frame(b"i", data))
            if not data:
                poll.unregister(0)


def write(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]


def size():
    here = os.get_terminal_size()
    return [here.lines, here.columns]


@contextlib.contextmanager
def raw_terminal(terminal):
    if not terminal:
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    for name in ("--up", "--down", "--image", "--lacking"):
        what.add_argument(name, action="store_true")
    parser.add_argument("--if-lacking", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not (given.up or given.down or given.image or given.lacking or given.command):
        parser.error("name a command, or --up, --down, --image or --lacking")
    try:
        if os.geteuid():
            raise FullError("only root can run guests: their namespaces need it")
        if given.lacking:
            sys.exit("\n".join(lacking()) or 0)
        if given.if_lacking and not lacking():
            if given.command:
                os.execvp(given.command[0], given.command)  # noqa: S606
            return
        guest = Guest(os.environ.get("FULL_GUEST", "full"))
        if given.image:
            build_image(image())
        elif given.up:
            guest.up()
        elif given.down:
            guest.down()
        else:
            # Who asks for a command, as pytest or make, may be killed, and then nobody waits for it any more.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda number, _frame: sys.exit(128 + number))
            with contextlib.nullcontext(int(guest.pid.read_text())) if guest.runs() else guest_for_one() as pid:
                sys.exit(run(pid, given.command))
    except (FullError, LabError) as error:
        sys.exit(f"tools/full: {error}")


if __name__ == "__main__":
    main()
