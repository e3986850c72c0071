# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon's log: to syslog, standard output or a file. What comes from the network cannot forge lines of it."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import re
import shutil
import socket
import sys
from pathlib import Path

from .._model.errors import InputError

DEVICE = "/dev/log"
FACILITY = 3 << 3  # daemon, in syslog.h
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
LONGEST = 8192  # octets of a line; syslog daemons cut what is longer

_UNSAFE = re.compile(r"[^\x20-\x7e\xa1-\ud7ff\ue000-\U0010ffff]|[\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escaped(text):
    r"""Text in which line ends and other control characters are written as \x0a and so on."""
    return _UNSAFE.sub(_escape, text)


def _escape(match):
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def start(program, dest, level, size=0, count=0):
    """The program's logger. dest: syslog, stdout, stderr or a file's name, rotated at `size` octets with `count` old ones."""
    logger = logging.getLogger(program)
    logger.propagate = False
    logger.setLevel(level)
    handler, trouble = _handler(program, dest, size, count)
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    if trouble:
        logger.warning("%s", trouble)
    return logger


def _handler(program, dest, size, count):
    """(the handler, why it is not what was asked for)"""
    if dest == "syslog":
        try:
            return _Syslog(program), None
        except OSError as error:
            handler, _trouble = _handler(program, "stderr", 0, 0)
            return handler, f"no log to syslog, {DEVICE}: {error.strerror}; it goes to standard error"
    if dest in ("stdout", "stderr"):
        handler = logging.StreamHandler(sys.stdout if dest == "stdout" else sys.stderr)
    else:
        handler = _file(dest, size, count)
    handler.setFormatter(
        _Lines("journal" if "JOURNAL_STREAM" in os.environ and dest[:3] == "std" else "plain", program)
    )
    return handler, None


def _file(name, size, count):
    from logging.handlers import RotatingFileHandler

    try:
        handler = RotatingFileHandler(name, maxBytes=size, backupCount=count)
    except OSError as error:
        raise InputError(
            f"{name}: {error.strerror}; write logdest as syslog, stdout or a file that can be written"
        ) from None
    handler.namer = lambda old: f"{old}.gz"
    handler.rotator = _compress
    return handler


def _compress(old, new):
    """The file as it is becomes a compressed one; one that is compressed only gets its new name."""
    if old.endswith(".gz"):
        Path(old).replace(new)
        return
    with open(old, "rb") as plain, gzip.open(new, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    Path(old).unlink()


class _Lines(logging.Formatter):
    """Records as safe lines; a traceback's lines begin with a mark that no message begins a line with."""

    def __init__(self, form, program):
        super().__init__()
        self.form, self.program = form, program

    def format(self, record):
        text = escaped(record.getMessage())
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text += "".join("\n  | " + escaped(line) for line in trace.splitlines())
        if self.form == "syslog":
            return f"{self.program}[{os.getpid()}]: {record.levelname}: {text}"
        if self.form == "journal":
            return "\n".join(f"<{PRIORITIES.get(record.levelname, 6)}>{line}" for line in text.split("\n"))
        return f"{self.formatTime(record)} {self.program}[{os.getpid()}] {record.levelname}: {text}"


class _Syslog(logging.Handler):
    """Datagrams to the local syslog daemon, which may restart, and is not waited for when it hangs."""

    def __init__(self, program):
        super().__init__()
        self.setFormatter(_Lines("syslog", program))
        self._socket = None
        self._connect()

    def _connect(self):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            one.setblocking(False)
            one.connect(DEVICE)
        except OSError:
            one.close()
            raise
        self._socket = one

    def emit(self, record):
        head = f"<{FACILITY | PRIORITIES.get(record.levelname, 6)}>"
        for line in self.format(record).split("\n"):
            try:
                self._send((head + line).encode("utf-8", "replace")[:LONGEST])
            except OSError:
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(line + "\n")

    def _send(self, data):
        with contextlib.suppress(OSError):
            if self._socket:
                self._socket.send(data)
                return
        self._drop()
        self._connect()
        self._socket.send(data)

    def _drop(self):
        if self._socket:
            self._socket.close()
            self._socket = None

    def close(self):
        self._drop()
        super().close()


class Alarms:
    """Things to tell that may come in floods: the first of a key at once, repeats summed up once in a `pause`."""

    def __init__(self, tell, pause=60.0, most=1000):
        self._tell, self._pause, self._most = tell, pause, most
        self._known = {}  # key: [when last told, repeats since, the last one's text]
        self._unnamed = 0

    def add(self, key, text, now):
        known = self._known.get(key)
        if known:
            known[1] += 1
            known[2] = text
        elif len(self._known) < self._most:
            self._known[key] = [now, 0, text]
            self._tell(text)
        else:
            self._unnamed += 1

    def tick(self, now):
        for key, known in list(self._known.items()):
            told, repeats, text = known
            if now - told < self._pause:
                continue
            if repeats:
                self._tell(
                    f"{text} (and {repeats - 1} more times in the last {now - told:.0f} s)" if repeats > 1 else text
                )
                known[:] = now, 0, text
            else:
                del self._known[key]
        if self._unnamed and len(self._known) < self._most:
            self._tell(f"{self._unnamed} further messages of many kinds are left out")
            self._unnamed = 0
