# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a daemon, by the protocol of control.py. Commands import this, which must be quick."""

from __future__ import annotations

import contextlib
import json
import socket

from .._model.errors import DaemonError

LONGEST = 1 << 20  # octets of a request


def ask(path, command, arguments=None, timeout=30.0):
    """The result of a request. Raises DaemonError with the daemon's words, or why it cannot be asked."""
    request = json.dumps({"command": command, "arguments": arguments or {}}).encode() + b"\n"
    if len(request) > LONGEST:
        raise DaemonError(f"the request is longer than {LONGEST} octets")
    parts = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(timeout)
            one.connect(path)
            with contextlib.suppress(BrokenPipeError):  # it may refuse before it has read all
                one.sendall(request)
            while not parts or not parts[-1].endswith(b"\n"):
                part = one.recv(1 << 16)
                if not part:
                    break
                parts.append(part)
    except socket.timeout:
        raise DaemonError(f"{path}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise DaemonError(f"{path}: {error.strerror or error}{_why(error)}") from None
    try:
        answer = json.loads(b"".join(parts))
    except ValueError:
        raise DaemonError(f"{path}: the daemon ended the connection without an answer") from None
    if not isinstance(answer, dict) or "result" not in answer:
        words = answer.get("error") if isinstance(answer, dict) else None
        raise DaemonError(str(words or "the answer is not understood"))
    return answer["result"]


def _why(error):
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return "; is the daemon running, and is this its udsfile?"
    return "; only root and the daemon's user may ask" if isinstance(error, PermissionError) else ""
