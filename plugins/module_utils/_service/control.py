# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon's answers to requests: a line of JSON over a Unix stream socket, and a line back.

{"command": "fdb", "arguments": {...}} is answered by {"result": ...} or {"error": "..."}; one request a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import socket
import stat
from pathlib import Path

from .._model.errors import FabricError, InputError, RefusedError
from .ask import LONGEST

TIMEOUT = 5.0  # seconds for a request to arrive, and for an answer's reader to take some of it
CLIENTS = 64  # at a time
BACKLOG = 16


def listen(path):
    """A listening socket that only its owner may use. Raises RefusedError when somebody listens there."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(one.fileno(), 0o600)  # what bind gives the file (unix(7)), so that it is never open to others
        _clear(path)
        one.bind(path)
        Path(path).chmod(0o600)
        one.listen(BACKLOG)
        one.setblocking(False)
    except OSError as error:
        one.close()
        raise InputError(f"{path}: {error.strerror or error}; write udsfile or take -u with a place for it") from None
    except BaseException:
        one.close()
        raise
    return one


def _clear(path):
    """Remove a socket file that nobody listens at."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise InputError(f"{path}: is not a socket; write udsfile or take -u with another name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except socket.timeout:
            pass
    raise RefusedError(f"another program listens at {path}; end it, or write udsfile or take -u with another name")


class Server:
    """Answers requests by `handlers`: {command: function of the arguments}, plain or a coroutine's.

    A handler refuses by a FabricError or ValueError, whose text is the answer.
    """

    def __init__(self, path, handlers, log=None):
        self.path, self.handlers = path, handlers
        self.log = log or logging.getLogger(__name__)
        self.timeout = TIMEOUT
        self._listening = listen(path)
        self._identity = os.lstat(path)
        self._server = None
        self._clients = 0

    async def start(self):
        self._server = await asyncio.start_unix_server(self._client, sock=self._listening, limit=LONGEST)

    def close(self):
        """Listen no more, and remove the file if it is still this one."""
        if self._server:
            self._server.close()
        self._listening.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(self.path), self._identity):
                Path(self.path).unlink()

    async def _client(self, reader, writer):
        self._clients += 1
        try:
            if self._clients > CLIENTS:
                answer = {"error": f"more than {CLIENTS} requests at a time; try again"}
            else:
                answer = await self._answer(reader)
            data = (await self._encoded(answer)) + b"\n"
            for at in range(0, len(data), LONGEST):
                writer.write(data[at : at + LONGEST])
                await asyncio.wait_for(writer.drain(), self.timeout)
        except (OSError, asyncio.TimeoutError):
            writer.transport.abort()
        finally:
            self._clients -= 1
            writer.close()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), self.timeout)
            writer.transport.abort()

    async def _encoded(self, answer):
        """Large answers are made beside the loop, which has frames to carry."""
        return await asyncio.get_running_loop().run_in_executor(None, lambda: json.dumps(answer).encode())

    async def _answer(self, reader):
        try:
            line = await asyncio.wait_for(reader.readline(), self.timeout)
        except asyncio.TimeoutError:
            return {"error": f"no request within {self.timeout:g} s"}
        except ValueError:
            return {"error": f"the request is longer than {LONGEST} octets"}
        try:
            command, arguments = _request(line)
            handler = self.handlers.get(command)
            if handler is None:
                return {"error": f"{command[:80]!r} is not a command; known are {', '.join(sorted(self.handlers))}"}
            result = handler(arguments)
            return {"result": (await result) if inspect.isawaitable(result) else result}
        except (FabricError, ValueError) as error:
            return {"error": str(error)}
        except Exception:
            self.log.exception("fault in answering a request")
            return {"error": "a fault of the daemon, told in its log"}


def _request(line):
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("the request is not a line of JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("command"), str):
        raise ValueError('the request is not {"command": "...", "arguments": {...}}')
    arguments = found.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ValueError("arguments is not a JSON object")
    return found["command"], arguments
