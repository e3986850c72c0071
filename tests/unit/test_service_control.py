# SPDX-License-Identifier: GPL-3.0-or-later
"""The control socket: whatever comes in is answered or cut, and nobody but the owner gets in."""

import asyncio
import contextlib
import json
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import DaemonError, InputError, RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._service import control
from ansible_collections.vtep.fabric.plugins.module_utils._service.ask import LONGEST, ask


async def slow(arguments):
    await asyncio.sleep(0)
    return arguments


def refuse(_arguments):
    raise InputError(["one", "two"])


def crash(_arguments):
    raise KeyError("a secret of the inside")


HANDLERS = {"echo": lambda arguments: arguments, "slow": slow, "refuse": refuse, "crash": crash}


@contextlib.contextmanager
def serving(path, timeout=5.0, handlers=None):
    """A server in a thread of its own, as a daemon's loop has it."""
    loop = asyncio.new_event_loop()
    server = control.Server(path, HANDLERS if handlers is None else handlers)
    server.timeout = timeout
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.sock")


def raw(path, data, shut=True):
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(data)
            if shut:
                one.shutdown(socket.SHUT_WR)
        found = b""
        while not found.endswith(b"\n"):
            part = one.recv(65536)
            if not part:
                break
            found += part
        return found


def test_asked_and_answered(path):
    with serving(path):
        assert ask(path, "echo", {"a": [1, "ü\n"]}) == {"a": [1, "ü\n"]}
        assert ask(path, "slow", {"b": None}) == {"b": None}
        assert ask(path, "echo") == {}
        with pytest.raises(DaemonError, match="^one; two$"):
            ask(path, "refuse")
        with pytest.raises(DaemonError, match="'nonsense' is not a command; known are crash, echo, refuse, slow"):
            ask(path, "nonsense")
    assert not Path(path).exists()


def test_an_answer_of_many_megabytes_comes_whole(path):
    text = "x" * (8 << 20)
    with serving(path, handlers={"much": lambda _arguments: text}):
        assert ask(path, "much") == text


def test_a_fault_of_the_daemon_is_logged_and_not_told(path, caplog):
    with serving(path):
        with pytest.raises(DaemonError, match="^a fault of the daemon, told in its log$"):
            ask(path, "crash")
        assert ask(path, "echo", {"still": "there"}) == {"still": "there"}
    assert "a secret of the inside" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"\xff\xfe\n", b"[]\n", b'"x"\n', b"{}\n", b'{"command": 1}\n', b'{"command": "echo", "arguments": 3}\n',
        b"[" * 100000 + b"\n", b'{"command": "echo"', b"\x80\x04cos\nsystem\n", b'{"command": "' + b"x" * 5000 + b'"}\n',
    ],
)  # fmt: skip
def test_bad_requests_are_answered_with_an_error(path, data):
    with serving(path):
        found = json.loads(raw(path, data))
        assert list(found) == ["error"] and len(found["error"]) < 300
        assert ask(path, "echo") == {}


def test_too_long_a_request_is_refused(path):
    with serving(path):
        answer = raw(path, b"x" * (LONGEST * 3), shut=False)
        assert answer == b"" or "is longer than" in json.loads(answer)["error"]
        assert ask(path, "echo") == {}
        with pytest.raises(DaemonError, match="is longer than"):
            ask(path, "echo", {"x": "y" * LONGEST})


def test_who_sends_nothing_is_cut_off(path):
    with serving(path, timeout=0.2):
        assert b"no request within 0.2 s" in raw(path, b'{"comm', shut=False)


def test_who_does_not_read_the_answer_is_cut_off(path):
    handlers = {"much": lambda _arguments: "x" * (8 << 20)}
    with serving(path, timeout=0.2, handlers=handlers) as server, socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        one.sendall(b'{"command": "much"}\n')
        one.recv(1)  # the answer has begun
        deadline = time.monotonic() + 10
        while server._clients and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server._clients == 0


def test_more_clients_than_allowed_are_told_so(path, monkeypatch):
    monkeypatch.setattr(control, "CLIENTS", 2)
    with serving(path), socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.connect(path)
        two.connect(path)
        with pytest.raises(DaemonError, match="more than 2 requests at a time"):
            ask(path, "echo")


def test_the_socket_is_its_owners_whatever_the_umask(path):
    before = os.umask(0)
    try:
        with serving(path):
            assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_socket_file_left_over_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
    with serving(path):
        assert ask(path, "echo") == {}


def test_a_socket_that_somebody_listens_at_is_left_alone(path):
    with serving(path):
        with pytest.raises(RefusedError, match="another program listens"):
            control.Server(path, {})
        assert ask(path, "echo") == {}


def test_another_file_is_left_alone(path):
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(InputError, match="is not a socket"):
        control.Server(path, {})
    assert Path(path).read_text() == "precious"


def test_where_no_socket_can_be(tmp_path):
    for path in (str(tmp_path / "none" / "x.sock"), str(tmp_path / ("x" * 200))):
        with pytest.raises(InputError, match="write udsfile or take -u"):
            control.Server(path, {})


def test_a_successors_socket_is_not_removed(path):
    with serving(path):
        Path(path).unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(path)
    assert Path(path).exists()


def test_nobody_to_ask(path):
    with pytest.raises(DaemonError, match=r"x\.sock: No such file or directory; is the daemon running"):
        ask(path, "echo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
    with pytest.raises(DaemonError, match="Connection refused; is the daemon running"):
        ask(path, "echo")


def test_a_daemon_that_hangs(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        one.listen()
        with pytest.raises(DaemonError, match="no answer within 0.1 s"):
            ask(path, "echo", timeout=0.1)
