# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of IPsec states on the host: the files that hold them, and the record of those that were used for output.

The record outlives the host's boot, since it is a reboot that makes a static key begin again (docs/xfrm.md). It has digests
(BLAKE2b) and no keys.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .._daemons import files
from .._model.errors import FabricError
from .._model.values import quoted

RECORD = Path("/var/lib/vtep.fabric/xfrm-used-keys")
KEPT = 200_000  # digests; a key that was used so many keys ago is forgotten
HEADER = "# Written by vtep.fabric for xfrm: digests of keys that were used for output. Who removes a line lets its key be used again.\n"


def private_text(path):
    """The text of a file that nobody but its owner may read. Raises ValueError in words."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{quoted(path)}: {error.strerror}; write it to the host first, with mode 0600") from None
    try:
        of = os.fstat(handle)
        if not stat.S_ISREG(of.st_mode):
            raise ValueError(f"{path} is no regular file")
        if of.st_uid not in (0, os.geteuid()):
            raise ValueError(f"{path} belongs to user {of.st_uid}, who may read and change it; chown root")
        if of.st_mode & 0o077:
            raise ValueError(f"{path} has mode {stat.S_IMODE(of.st_mode):04o}, so that others may read it; chmod 0600")
        with open(handle, encoding="utf-8", closefd=False) as file:
            return file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
    finally:
        os.close(handle)


def lock():
    """A descriptor that one run has at a time on this host, until it is closed: two that read one record could use one key."""
    return files.lock(RECORD.parent.parent)


def used():
    """Digests of the keys that were used for output on this host."""
    return set(_lines())


def _lines():
    try:
        return [line for line in files.read(RECORD).split("\n") if line and line[0] != "#"]
    except FabricError as error:
        raise FabricError(f"the record of used keys: {error}") from None


def add(digests):
    """Record keys before they are used: a key whose first use is not recorded could be used twice."""
    if digests:
        files.make_directory(RECORD.parent, 0o755)
        _change(lambda lines: [*lines, *digests])


def forget(digests):
    """Take back what was recorded of states that the kernel refused."""
    gone = set(digests)
    if gone:
        _change(lambda lines: [line for line in lines if line not in gone])


def _change(edit):
    lines = edit(_lines())[-KEPT:]
    files.write(RECORD, HEADER + "".join(f"{line}\n" for line in lines), 0o600)
