# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and replacing small files of the host."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from pathlib import Path

from .._model.errors import FabricError, KernelError


def read(path, default=""):
    """A file's text; the default where there is no such file."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return default
    except OSError as error:
        raise KernelError(f"read {path}", error.errno) from None


def write(path, text, mode, owner=None):
    """Replace a file at once: readers see the old text or the new one, also after a power cut.

    mode, owner: of a file that is new, owner a path whose owner it shall have. One that is there keeps its own.
    """
    path = Path(path)
    try:
        try:
            like = path.stat()
            mode = like.st_mode & 0o7777
        except FileNotFoundError:
            like = Path(owner).stat() if owner else None
        # A link stays a link: its target is replaced.
        _replace(path.resolve(), text.encode("utf-8", "surrogateescape"), mode, like)
    except OSError as error:
        raise KernelError(f"write {path}", error.errno) from None


def install(path, content, mode):
    """Replace a file, or a link, at once by bytes of our own, which get that mode and this process's owner."""
    try:
        _replace(Path(path), content, mode, None)
    except OSError as error:
        raise KernelError(f"write {path}", error.errno) from None


def _replace(target, content, mode, like):
    """like: the stat of a file whose owner it gets, or None."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with open(handle, "wb") as file:
            file.write(content)
            if like:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)  # noqa: PTH105 (one system call, plainly)
        temporary = None
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def make_directory(path, mode):
    """Make a directory that is missing, whatever the umask, and those above it; one that is there stays as it is."""
    path = Path(path)
    try:
        for one in reversed([one for one in (path, *path.parents) if not one.exists()]):
            one.mkdir(exist_ok=True)
            one.chmod(mode if one == path else 0o755)
    except OSError as error:
        raise KernelError(f"make the directory {path}", error.errno) from None


def remove(path):
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise KernelError(f"remove {path}", error.errno) from None


def lock(path, seconds=60):
    """A descriptor of that file or directory, locked (flock) until it is closed. Waits for another's lock to end."""
    end = time.monotonic() + seconds
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"read {path}", error.errno) from None
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(handle)
                raise FabricError(f"{path} has been locked (flock) by another process for {seconds} s") from None
            time.sleep(0.02)
