# SPDX-License-Identifier: GPL-3.0-or-later
"""A program's archive and its links on the host's disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import zipfile
from pathlib import Path

from .._model.errors import KernelError
from .._model.program import MODE, Archive
from . import files

ARCHIVES = Path("/usr/local/lib/vtep.fabric")
COMMANDS = Path("/usr/local/sbin")


def path(name):
    return ARCHIVES / f"{name}.pyz"


def load(name):
    """The Archive of that program, or None."""
    try:
        about = path(name).lstat()
        if stat.S_ISLNK(about.st_mode):  # its target is not ours
            return Archive("", "unknown", about.st_mode & 0o7777)
        digest = hashlib.sha256(path(name).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KernelError(f"read {path(name)}", error.errno) from None
    owner = None if about.st_uid == os.geteuid() else about.st_uid
    return Archive(digest, _version(path(name)), stat.S_IMODE(about.st_mode), owner)


def _version(archive):
    try:
        with zipfile.ZipFile(archive) as found:
            return found.comment.decode("ascii", "replace")
    except (zipfile.BadZipFile, OSError):
        return "unknown"


def links(name):
    """The commands that are links to a program's archive."""
    if not COMMANDS.is_dir():
        return []
    target = str(path(name))
    return [one.name for one in COMMANDS.iterdir() if one.is_symlink() and str(one.readlink()) == target]


def taken(commands):
    """The places of those commands that hold something."""
    places = [COMMANDS / command for command in commands]
    return [str(place) for place in places if place.is_symlink() or place.exists()]


def install(name, src):
    try:
        content = Path(src).read_bytes()
    except OSError as error:
        raise KernelError(f"read {src}", error.errno) from None
    files.make_directory(ARCHIVES, 0o755)
    files.install(path(name), content, MODE)


def remove(name):
    files.remove(path(name))
    with contextlib.suppress(OSError):  # other programs have their archives there too
        ARCHIVES.rmdir()


def link(name, command):
    files.make_directory(COMMANDS, 0o755)
    try:
        (COMMANDS / command).symlink_to(path(name))
    except OSError as error:
        raise KernelError(f"link {COMMANDS / command}", error.errno) from None


def unlink(command):
    files.remove(COMMANDS / command)
