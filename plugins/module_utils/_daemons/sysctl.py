# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of the kernel settings that we set, on the host's disk."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from .._model.sysctl import Held
from . import files

DIRECTORY = Path("/var/lib/vtep.fabric")


def path():
    return DIRECTORY / "sysctl.json"


def load():
    """({key: Held}, and in words what is wrong with the file, if anything)."""
    text = files.read(path())
    if not text:
        return {}, ""
    try:
        return {str(key): _held(**row) for key, row in json.loads(text).items()}, ""
    except (ValueError, TypeError, AttributeError) as error:
        return {}, f"{path()} is damaged ({error}): no kernel setting is taken for ours, and none is put back"


def _held(before, set, was=None, others=None):
    others = {str(key): str(value) for key, value in (others or {}).items()}
    return Held(str(before), str(set), None if was is None else str(was), others)


def store(record):
    if not record:
        files.remove(path())
        with contextlib.suppress(OSError):  # others have their records there too
            DIRECTORY.rmdir()
        return
    rows = {key: _row(held) for key, held in sorted(record.items())}
    files.make_directory(DIRECTORY, 0o755)
    files.write(path(), json.dumps(rows, indent=1) + "\n", 0o600)


def _row(held):
    row = {"before": held.before, "set": held.set}
    if held.was is not None:
        row["was"] = held.was
    if held.others:
        row["others"] = held.others
    return row


def lock():
    """A descriptor that one run has at a time on this host, until it is closed. It is of a directory that is there anyway."""
    return files.lock(DIRECTORY.parent)
