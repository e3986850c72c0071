# SPDX-License-Identifier: GPL-3.0-or-later
"""Word of what happens in directories (inotify(7)), by the C library: Python has no call for it."""

from __future__ import annotations

import contextlib
import errno as errnos
import os
import struct
from collections import namedtuple

from .._model.errors import KernelError, MissingError

# sys/inotify.h
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = (
    2,
    4,
    8,
    0x40,
    0x80,
    0x100,
    0x200,
)
IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
IN_ONLYDIR = 0x01000000
WANTED = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
WANTED |= IN_DELETE_SELF | IN_MOVE_SELF
GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED  # the directory is no longer what the path leads to
EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name
BUFFER = 1 << 16

Event = namedtuple("Event", "watch mask name")  # name: in the directory, as bytes; empty of the directory itself


class Inotify:
    """`fileno` becomes readable when there is something to read. Raises KernelError, and MissingError when it is made."""

    def __init__(self):
        try:
            import ctypes

            self._libc, self._errno = ctypes.CDLL(None, use_errno=True), ctypes.get_errno
        except (ImportError, MemoryError, OSError) as error:
            # Older ones need memory that is written and executed, which services are denied.
            raise MissingError(f"Python cannot call the C library ({error})", "a newer libffi and Python") from None
        self._file = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise self._error("inotify")

    def close(self):
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def fileno(self):
        return self._file

    def watch(self, directory):
        """Listen to a directory too; the number of the watch, which is the same for the same directory."""
        found = self._libc.inotify_add_watch(self._file, os.fsencode(directory), WANTED | IN_ONLYDIR)
        if found < 0:
            raise self._error(f"watch {directory}")
        return found

    def forget(self, watch):
        """End a watch; the kernel may have ended it already."""
        self._libc.inotify_rm_watch(self._file, watch)

    def read(self):
        """The events that are there, without waiting. IN_Q_OVERFLOW among them: some were lost."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data = os.read(self._file, BUFFER)
                found += events(data)
                if len(data) < BUFFER // 2:
                    break
        return found

    def _error(self, what):
        errno = self._errno()
        if errno == errnos.EMFILE:
            return KernelError(what, errno, "too many inotify instances of this user (fs.inotify.max_user_instances)")
        if errno == errnos.ENOSPC:
            return KernelError(what, errno, "too many inotify watches of this user (fs.inotify.max_user_watches)")
        return KernelError(what, errno)


def events(data):
    at = 0
    while at + EVENT.size <= len(data):
        watch, mask, _cookie, length = EVENT.unpack_from(data, at)
        at += EVENT.size + length
        yield Event(watch, mask, data[at - length : at].rstrip(b"\0"))
