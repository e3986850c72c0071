# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon's life under systemd: its watchdog, and whether its end is to be followed by another start."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from . import notify

CGROUP = Path("/proc/self/cgroup")
SYSTEMCTL = 2.0  # seconds that systemctl may take


def keep_alive(loop, healthy=lambda: True):
    """Let the watchdog hear of the loop, by itself, as long as all is well with what it drives."""
    interval = notify.watchdog_interval()
    if interval:
        if healthy():
            notify.alive()
        loop.call_later(interval / 3, keep_alive, loop, healthy)


def restarted_by_systemd():
    """Whether systemd is about to start this service again. In any doubt it is not."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return False
    try:
        groups = CGROUP.read_text(encoding="utf-8", errors="replace")
        unit = re.search(r"/([^/\n]+\.service)(?:/|$)", groups, re.MULTILINE)
        if not unit:
            return False
        done = subprocess.run(
            ["systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain", "--full"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    jobs = [line.split() for line in done.stdout.splitlines()]
    return any(job[1] == unit[1] and job[2] == "restart" for job in jobs if len(job) >= 3)
