# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own side: ports that cannot be heard for a while, and what is told of trouble."""

import asyncio
import errno
import logging
import os
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import access, claims, snoop
from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import Claim
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import Device
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.neighbor_watch import Event
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError

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


HERE, THERE, ELSEWHERE = (bytes((192, 0, 2, number)) for number in (1, 2, 3))
MAC = bytes.fromhex("505433000001")


def served(vtep=HERE, **given):
    """An Access with one device, and what it has published."""
    published = []
    one = access.Access(Settings(**given), lambda *what: published.append(what), None, log)
    one._devices = {5: Device(5, "vx100", 100, vtep)}
    return one, published


def test_what_is_others_is_told_once_and_in_part(caplog):
    one, published = served()
    macs = [bytes((2, 0, 0, 0, 0, number)) for number in range(250)]
    one._given = {(100, mac): Claim(100, mac, THERE, (), 0) for mac in macs}
    one._given[100, MAC] = Claim(100, MAC, HERE, (), 0)
    for _dummy in range(20):
        one._put_together()
    assert [set(what[0]) for what in published] == [{(100, MAC)}]
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == access.FIRST + 1
    assert "is behind 192.0.2.2, and this host is 192.0.2.1; it is not published" in texts[0]
    assert texts[-1] == f"endpoints_file: and {250 - access.FIRST} more of these"
    one._devices = {5: Device(5, "vx100", 100, ELSEWHERE)}
    one._put_together()
    one._put_together()
    assert len(caplog.records) == 2 * len(texts) and "this host is 192.0.2.3" in caplog.records[-2].getMessage()


def test_many_ports_that_are_not_heard_are_told_in_part(caplog):
    one, _published = served()
    one._loop = SimpleNamespace(time=lambda: 0.0)
    one.snoop = SimpleNamespace(faults={f"p{number}": "refused" for number in range(250)})
    for _dummy in range(5):
        one._tell_unheard()
    assert len(caplog.records) == access.FIRST + 1


def test_what_takes_long_is_put_together_seldom():
    one, published = served()
    one._publish_now()
    assert len(published) == 1 and one._pause == access.SETTLE
    one._put_together = lambda: time.sleep(0.02)
    one._publish_now()
    assert 0.4 <= one._pause < 10
    waits = []
    one._loop = SimpleNamespace(call_later=lambda seconds, call: waits.append(seconds))
    one._publish_soon()
    assert waits == [one._pause]


@pytest.mark.parametrize(
    "vnis, gone, just",
    [((100,), False, True), ((100, 100), False, True), ((100, 200), False, False), ((100,), True, False)],
)
def test_stations_that_are_just_learned(vnis, gone, just):
    one, _published = served()
    one.local = SimpleNamespace(events=lambda events: False)
    one._publish_soon = lambda: None
    one._layout = {7: (list(vnis), {8: "p1"})}
    one.events([Event(gone, 7, 8, 7, MAC, MAC, 0, 2, 0, 0, None)])
    assert one._just_learned == ({(100, MAC)} if just else set())


@pytest.mark.parametrize("error", [KernelError("list the ports of bridges", errno.EBUSY), OSError(errno.EMFILE, "x")])
def test_ports_that_changed_before_word_of_them_was_lost(error):
    """What was told first was taken in before the loss was noticed, and so the second look finds nothing new."""
    faults, later, layouts = [], [], []

    class Ports:
        def read(self):
            raise error

        def rescan(self):
            if len(faults) < 2:
                raise error
            return False

    one, _published = served()
    one._fault, one._ports, one.layout = faults.append, Ports(), layouts.append
    one._loop = SimpleNamespace(call_later=lambda seconds, call: later.append(call))
    one._links()
    later.pop()()
    assert faults == [error, error] and not layouts
    later.pop()()
    assert layouts == [one._devices] and not later
    one._ports = None
    one._rescan()
    assert len(layouts) == 1, "it has ended"


def test_an_nft_that_hangs_does_not_keep_the_agent_from_its_end(monkeypatch, caplog):
    monkeypatch.setattr(access, "LEAVE", 0.1)
    free = threading.Event()
    closed = []

    async def work(hangs):
        free.clear()
        one, _published = served()
        one._loop = asyncio.get_running_loop()
        one.limit = SimpleNamespace(
            limit=0,
            apply=lambda names: hangs == "apply" and free.wait(20),
            close=lambda: closed.append(hangs == "close" and free.wait(20)),
        )
        one.limit_soon()
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await one.close(keep=False)
        took = time.monotonic() - began
        free.set()
        return took

    assert asyncio.run(work(None)) < 1 and closed == [False] and not caplog.records
    assert asyncio.run(work("apply")) < 1 and closed == [False], "it might come before what is under way"
    assert "its table may stay" in caplog.text
    caplog.clear()
    assert asyncio.run(work("close")) < 1 and "its table may stay" in caplog.text
