# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own side: ports that cannot be heard for a while, and what is told of trouble."""

import asyncio
import errno
import logging
import os
import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import access, claims, snoop
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings

log = logging.getLogger("test")


class Rows:
    def of(self, _port):
        return []

    def close(self):
        pass


class Failing:
    """A socket whose next receive fails."""

    def __init__(self, real):
        self._real = real
        self.fileno, self.close, self.getsockopt = real.fileno, real.close, real.getsockopt

    def recv(self, _size):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def sockets(monkeypatch):
    """The sockets that were opened, the other ends of theirs first."""
    made = []

    def listener(_name, _index):
        other, one = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.setblocking(False)
        made.append((other, one))
        return Failing(one) if len(made) == 1 else one

    monkeypatch.setattr(snoop, "listener", listener)
    yield made
    for pair in made:
        for one in pair:
            one.close()


def test_a_port_that_fails_is_told_and_heard_again(sockets, monkeypatch, caplog):
    monkeypatch.setattr(access, "REOPEN", 0.05)

    async def work():
        one = access.Access(Settings(learn=True), lambda *_what: None, None, log)
        one._loop = asyncio.get_running_loop()
        monkeypatch.setattr(access, "BridgeRows", Rows)
        one._configure()
        one._layout = {7: ([100], {8: "p1"})}
        one._listen_on_ports()
        sockets[0][0].send(b"x")
        await asyncio.sleep(0.02)
        assert "addresses behind p1 are not heard: Input/output error" in caplog.text
        one.look()
        assert len(sockets) == 1, "not at once"
        await asyncio.sleep(0.05)
        one.look()
        assert len(sockets) == 2 and not one.snoop.faults
        sockets[1][0].send(b"x")
        await asyncio.sleep(0.02)
        assert one.snoop.counters["frames"] == 1
        await one.close(keep=True)

    asyncio.run(work())


def test_trouble_is_told_however_much_there_was(caplog):
    one = access.Access(Settings(), lambda *_what: None, None, log)
    for number in range(3 * claims.MOST_FAULTS):
        one._tell(f"trouble {number}")
        one._tell(f"trouble {number}")
    assert len(caplog.records) == 3 * claims.MOST_FAULTS
    assert len(one._told) == claims.MOST_FAULTS
