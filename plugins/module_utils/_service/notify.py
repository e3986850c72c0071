# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service tells systemd (sd_notify(3)). Without systemd nothing is told."""

from __future__ import annotations

import os
import socket
import time


def ready(text=None):
    _tell("READY=1", *([f"STATUS={_line(text)}"] if text else []))


def status(text):
    _tell(f"STATUS={_line(text)}")


def reloading():
    """To be followed by ready()."""
    _tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping():
    _tell("STOPPING=1")


def alive():
    """Due at least once in a watchdog_interval(), better twice."""
    _tell("WATCHDOG=1")


def watchdog_interval():
    """Seconds after which systemd takes a silent service for hung, or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None


def _line(text):
    return " ".join(text.split())


def _tell(*lines):
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name[:1] not in ("/", "@"):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
            one.setblocking(False)  # a hung systemd must not hang the service
            # A character that UTF-8 does not have must not keep systemd from hearing the rest.
            one.sendto("\n".join(lines).encode(errors="replace"), "\0" + name[1:] if name[0] == "@" else name)
    except OSError:
        return  # nobody listens: there is nobody to tell it to either
