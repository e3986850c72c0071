# SPDX-License-Identifier: GPL-3.0-or-later
"""One instance of a program: a lock on its pid file, which ends with the process. And going into the background."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from .._model.errors import InputError, RefusedError

UMASK = 0o027


class Instance:
    """The pid file, locked. The lock is inherited over fork; `write` tells the pid of whoever calls it."""

    def __init__(self, program, path):
        self.path = path
        while True:
            self._file = self._open(program)
            # Whoever held the lock before may have removed the file between open and flock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), Path(path).stat()):
                    return
            os.close(self._file)

    def _open(self, program):
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; write pidfile or take -p with a place for it") from None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise InputError(f"{self.path}: is not a file; write pidfile or take -p with a name for one")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(file, 20, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise RefusedError(
                f"another instance of {program} is already running (pid {pid or 'not known'}, {self.path})"
            ) from None
        except BaseException:
            os.close(file)
            raise
        return file

    def write(self):
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def close(self):
        with contextlib.suppress(OSError):
            Path(self.path).unlink()
        os.close(self._file)


def background():
    """Go on as a child in a session of its own; the parent waits and ends with what becomes of the start.

    Returns a function for the child to call when it has started. Until then it has the parent's output, for faults.
    """
    heard, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(heard, 1) else 1)
    os.close(heard)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.umask(UMASK)
    os.chdir("/")

    def started():
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.close(nothing)
        os.write(tell, b"\0")
        os.close(tell)

    return started
