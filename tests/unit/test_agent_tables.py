# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the kernel's tables: by one thread alone, of devices that may go meanwhile, and what is done when they fail."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings
from ansible_collections.vtep.fabric.plugins.module_utils._agent.looks import Looks
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import Device
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import dynamic_rows

DEVICE = Device(5, "vx100", 100, bytes([192, 0, 2, 1]))


class Tables:
    """Notes how many threads are in it at once."""

    def __init__(self, error=None):
        self.error, self.inside, self.most, self.renewed = error, 0, 0, 0

    def fdb(self, _index, _keep=False):
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.01)
        self.inside -= 1
        if self.error:
            raise self.error
        return []

    def of(self, _index, _macs):
        return []

    def neighbors(self, _index):
        return []

    def failures(self):
        return []

    def renew(self):
        self.renewed += 1


class Agent:
    """What looks need of one."""

    def __init__(self, *devices, **settings):
        self.settings = Settings(**settings)
        self.devices = {device.index: device for device in devices}
        self.resolver = SimpleNamespace(macs=lambda _index: [])
        self.groups = SimpleNamespace(ours={})
        self.registry = SimpleNamespace(known=True)
        self.access = SimpleNamespace(tick=lambda _now: None)
        self.looked = []

    @staticmethod
    def now():
        return time.monotonic()

    def tell_ready(self):
        pass


def made(tables, *devices, **settings):
    looks = Looks(Agent(*devices, **settings))
    looks._rows = tables
    return looks


def test_one_thread_reads_also_of_a_device_that_is_gone():
    async def work():
        looks = made(Tables())
        found = await asyncio.gather(*(looks.read(DEVICE) for _dummy in range(10)))
        assert found == [([], [], {}, {})] * 10 and looks._rows.most == 1
        looks.reader.shutdown()

    asyncio.run(work())
    assert not [one for one in threading.enumerate() if one.name.startswith("tables")]


def test_what_fails_is_read_by_another_socket_the_next_time():
    async def work():
        looks = made(Tables(BlockingIOError()))
        with pytest.raises(BlockingIOError):
            await looks.read(DEVICE)
        assert looks._rows.renewed == 1
        looks.reader.shutdown()

    asyncio.run(work())


def test_a_long_look_is_not_followed_by_a_rest_in_which_rows_get_old():
    async def work():
        looks = made(None, DEVICE, DEVICE._replace(index=6, ageing=8.0))
        assert looks.rest(0.0) == 0.05
        assert looks.rest(0.01) == pytest.approx(0.2)
        assert looks.rest(60.0) == 1.0
        assert made(None, DEVICE._replace(ageing=float("inf"))).rest(60.0) == 1200.0

    asyncio.run(work())


@pytest.mark.parametrize(
    "change",
    [
        lambda agent: setattr(agent, "settings", Settings(sweep=0.1)),
        lambda agent: agent.devices.update({5: DEVICE._replace(ageing=0.4)}),
    ],
    ids=["sweep", "ageing"],
)
def test_a_shorter_time_between_looks_counts_at_once(change):
    async def work():
        looks = made(None, DEVICE, sweep=3000.0)
        agent = looks._agent
        looked = []

        async def look_at(index):
            looked.append(index)

        looks._look_at = look_at
        task = asyncio.ensure_future(looks.run())
        await asyncio.sleep(0.1)
        assert looked == [5]
        change(agent)
        looks.sooner()
        await asyncio.sleep(0.5)
        task.cancel()
        assert len(looked) > 1
        looks.reader.shutdown()

    asyncio.run(work())


def test_a_receive_that_nothing_comes_to_ends(monkeypatch):
    monkeypatch.setattr(dynamic_rows, "PATIENCE", 1)
    rows = dynamic_rows.DynamicRows()
    try:
        with pytest.raises(BlockingIOError):
            rows._reader.socket.recv(100)
        before = rows._reader
        rows.renew()
        assert before.socket.fileno() == -1
        assert rows.neighbors(1) == []
    finally:
        rows.close()
