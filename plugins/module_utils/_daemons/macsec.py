# SPDX-License-Identifier: GPL-3.0-or-later
"""Files about MACsec keys on the host's disk: key files, and the record of keys that were installed for transmit.

The record holds ids of keys and no key. It outlives devices, boots and teardown, since what it guards against does.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict
from pathlib import Path

from .._model.errors import FabricError
from .._model.macsec import Used
from .._model.values import quoted
from . import files

DIRECTORY = Path("/var/lib/vtep.fabric")
LONGEST = 4096  # bytes of a key file; a key has 64 digits


def path():
    return DIRECTORY / "macsec.json"


def load():
    """The rows of the record, the latest last. A damaged record is an error: without it no key is known to be unused."""
    text = files.read(path())
    if not text:
        return []
    try:
        return [_row(**row) for row in json.loads(text)]
    except (ValueError, TypeError, AttributeError) as error:
        raise FabricError(
            f"{path()} is damaged ({error}): it tells which keys were used, so no association can be made safely; restore it, or "
            "remove it and give every association to send with a key that was never used"
        ) from None


def _row(sci, fingerprint, an, key_id, ssci=None, epoch="", boot="", pn=None):
    return Used(
        str(sci),
        str(fingerprint),
        int(an),
        str(key_id),
        None if ssci is None else int(ssci),
        str(epoch),
        str(boot),
        None if pn is None else int(pn),
    )


def store(rows):
    files.make_directory(DIRECTORY, 0o755)
    lines = ",\n".join(
        json.dumps({key: value for key, value in asdict(row).items() if value not in (None, "")}) for row in rows
    )
    files.write(path(), f"[\n{lines}\n]\n", 0o600)


def lock():
    """A descriptor that one run has at a time on this host, until it is closed."""
    return files.lock(DIRECTORY.parent)


def read_key(name):
    """The text of a key file, which nobody but its owner, root or this process's user, may read or change."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{quoted(name)}: {error.strerror}; write the key to that file on the host first") from None
    try:
        like = os.fstat(handle)
        if not stat.S_ISREG(like.st_mode):
            raise ValueError(f"{name} is not a file")
        if like.st_mode & 0o077:
            raise ValueError(f"{name} has mode {stat.S_IMODE(like.st_mode):04o}, so that others can read it; set 0600")
        if like.st_uid not in (0, os.geteuid()):
            raise ValueError(f"{name} is of user {like.st_uid}; it must be root's")
        return os.read(handle, LONGEST).decode("ascii", "replace")
    finally:
        os.close(handle)
