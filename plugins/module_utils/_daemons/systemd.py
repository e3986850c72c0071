# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd on this host, by its own commands."""

from __future__ import annotations

import os
import subprocess
import time

from .._model.errors import DaemonError, MissingError

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "FragmentPath",
    "NeedDaemonReload",
    "MainPID",
    "InvocationID",
    "NRestarts",
    "Job",
)
PATIENCE = 180  # seconds for a job; units have limits of their own that are shorter
POLL = 0.1  # seconds
LINES = 12  # of a daemon's log that an error shows


def show(unit):
    """{property: value}"""
    told = _run("systemctl", "show", f"--property={','.join(PROPERTIES)}", unit).stdout
    return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)


def daemon_reload():
    _do("systemctl", "daemon-reload")


def enable(unit):
    _do("systemctl", "enable", "--quiet", unit)


def disable(unit):
    _do("systemctl", "disable", "--quiet", unit)


def stop(unit):
    _do("systemctl", "stop", unit)


def forget(unit):
    """Forget that it failed, and how often it was started."""
    _run("systemctl", "reset-failed", unit)  # fails for a unit that is not loaded, which has nothing to forget


def clean(unit):
    """Remove a stopped service's directory in /run."""
    _do("systemctl", "clean", "--what=runtime", unit)


def start(unit):
    """Start it anew, whatever it does now, and wait until it is ready. Raises DaemonError with the last lines of its log."""
    forget(unit)
    before = show(unit).get("InvocationID")
    began = time.time()
    # systemctl itself would wait as long as systemd tries again (RestartMode=direct), which may be for ever.
    done = _run("systemctl", "restart", "--no-block", unit)
    words = done.stderr
    while not done.returncode:
        now = show(unit)
        is_new = now.get("InvocationID") != before
        if not now.get("Job") and now.get("ActiveState") == "active":
            return
        if (is_new and now.get("NRestarts", "0") != "0") or not now.get("Job"):
            break
        if time.time() > began + PATIENCE:
            words = f"it was not ready after {PATIENCE} s"
            break
        time.sleep(POLL)
    raise DaemonError(_failure("start", unit, began, words))


def reload(unit):
    began = time.time()
    done = _run("systemctl", "reload", unit)
    if done.returncode:
        raise DaemonError(_failure("reload", unit, began, done.stderr))


def run(unit):
    """Start a unit of Type=oneshot, and wait until it has ended."""
    began = time.time()
    done = _run("systemctl", "start", unit)
    if done.returncode:
        raise DaemonError(_failure("start", unit, began, done.stderr))


def _failure(verb, unit, began, words):
    said = _log(unit, int(began)) or [words.strip() or "it said nothing"]
    return "\n  ".join([f"systemctl {verb} {unit} failed; its last words:", *said])


def _log(unit, began):
    """The last lines that a unit's processes wrote since then; where they wrote none, what systemd says about it."""
    _run("journalctl", "--sync")
    for which in ([f"_SYSTEMD_UNIT={unit}"], ["--unit", unit]):
        told = _run(
            "journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={LINES}", f"--since=@{began}", *which
        )
        if told.stdout.strip():
            return told.stdout.strip().splitlines()
    return []


def _do(*command):
    done = _run(*command)
    if done.returncode:
        raise DaemonError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")


def _run(*command):
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
            env=dict(os.environ, LC_ALL="C"),
            check=False,
        )
    except FileNotFoundError:
        raise MissingError(f"{command[0]} is not installed", "the host has to run systemd") from None
    except subprocess.TimeoutExpired:
        raise DaemonError(f"{' '.join(command)} has not ended within {PATIENCE} s") from None
