# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a lab host's processes and enter it. Shared by the connection plugin and by the lab's own program.

Standard library only: roles/lab/files/lab.py loads this file by its path.
"""

from __future__ import annotations

import re
from pathlib import Path

STATE = Path("/run/vtep-fabric")
PREFIX = re.compile(r"[a-z][a-z0-9]{0,15}")
# As after root's login on Debian.
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class NotRunning(Exception):
    """The machine has no running init."""


def machine_name(prefix, host):
    # A prefix has no dash (see PREFIX), so that the first dash ends it and no lab's names begin like another lab's.
    return f"{prefix}-{host}"


def state_directory(machine):
    prefix, _dash, host = machine.partition("-")
    return STATE / prefix / host


def leader(machine):
    """The PID, as seen from here, of the machine's init."""
    try:
        nspawn = int((state_directory(machine) / "nspawn.pid").read_text())
        if Path(f"/proc/{nspawn}/comm").read_text().strip() != "systemd-nspawn":
            raise NotRunning(machine)  # the machine ended without a goodbye, and the number is another process's now
        for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            if is_init(Path(f"/proc/{child}/status").read_text()):
                return int(child)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        pass
    raise NotRunning(machine)


def is_init(status):
    """Whether a /proc/PID/status is that of process 1 of a PID namespace below ours."""
    numbers = re.search(r"^NSpid:\s*(.*)$", status, re.MULTILINE).group(1).split()
    return len(numbers) > 1 and numbers[-1] == "1"


def unified_mount(mounts):
    """Where the cgroup v2 tree is mounted, from the text of /proc/self/mounts: it differs between layouts."""
    for line in mounts.splitlines():
        _what, where, kind, _rest = line.split(" ", 3)
        if kind == "cgroup2":
            return where
    return None


def session_cgroup(pid):
    """A cgroup inside the machine for processes that enter it, made when missing; None where there is no cgroup v2."""
    mount = unified_mount(Path("/proc/self/mounts").read_text())
    path = re.search(r"^0::(.*)$", Path(f"/proc/{pid}/cgroup").read_text(), re.MULTILINE)
    if mount is None or path is None:
        return None
    # systemd moves itself from the machine's top cgroup to init.scope; processes may live only in leaves beside it.
    top = path.group(1).removesuffix("/init.scope")
    session = Path(f"{mount}{top}/vtep-enter")
    session.mkdir(exist_ok=True)
    return session


def enter(machine, argv, nsenter="nsenter", environment=None):
    """The command line that runs argv inside the machine: all its namespaces, root and cgroup, a clean environment."""
    try:
        pid = leader(machine)
        session = session_cgroup(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise NotRunning(machine) from None  # it ended just now
    words = {**ENVIRONMENT, **(environment or {})}
    inside = [
        *(nsenter, f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"),
        # Only a child is in another PID namespace. nsenter's own fork would stop itself when its child is stopped, which a machine
        # that shuts down does to all its processes, and then neither ends: the machine waits until the child has been waited for.
        # timeout forks and just waits; 0 is no limit.
        *("--no-fork", "--", "/usr/bin/timeout", "--foreground", "0"),
        *("/usr/bin/env", "--ignore-environment", "--chdir=/root"),
        *(f"{name}={value}" for name, value in words.items()),
        *argv,
    ]
    if session is None:
        return inside
    # The cgroup must be joined from outside, before the namespaces are entered; 0 means the process that writes.
    return ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', f"{session}/cgroup.procs", *inside]
