# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's lock: a record in /run, which a reboot clears."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from .._model.host_lock import Holder, Lock
from . import files

DIRECTORY = Path("/run/vtep.fabric")


def path():
    return DIRECTORY / "lock.json"


def exclusive():
    """A descriptor that one process has at a time, until it is closed. It is of a directory that is there anyway."""
    return files.lock(DIRECTORY.parent)


def load():
    """The Lock, or None. What cannot be read as one was not written by us, who replace the file at once."""
    try:
        found = json.loads(files.read(path()) or "{}")
        times = float(found["since"]), float(found["until"])
        return Lock(Holder(**found["holder"]), found["purpose"], *times)
    except (ValueError, TypeError, KeyError):
        return None


def store(lock):
    if lock is None:
        files.remove(path())
        with contextlib.suppress(OSError):
            DIRECTORY.rmdir()
        return
    files.make_directory(DIRECTORY, 0o700)
    files.write(path(), json.dumps(asdict(lock)) + "\n", 0o600)


def now():
    """Seconds since the host's boot. Nobody sets this clock, and it runs on while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
