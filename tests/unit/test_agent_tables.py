# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the kernel's tables: by one thread alone, of devices that may go meanwhile, and what is done when they fail."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent.agent import Agent
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings
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


def made(tables):
    agent = Agent(Settings(), None, None)
    agent._tables, agent.groups = tables, SimpleNamespace(ours={})
    return agent


def test_one_thread_reads_also_of_a_device_that_is_gone():
    async def work():
        agent = made(Tables())
        agent._loop = asyncio.get_running_loop()
        found = await asyncio.gather(*(agent.read_tables(DEVICE) for _dummy in range(10)))
        assert found == [([], [], {}, {})] * 10 and agent._tables.most == 1
        agent.reader.shutdown()

    asyncio.run(work())
    assert not [one for one in threading.enumerate() if one.name.startswith("tables")]


def test_what_fails_is_read_by_another_socket_the_next_time():
    async def work():
        agent = made(Tables(BlockingIOError()))
        agent._loop = asyncio.get_running_loop()
        with pytest.raises(BlockingIOError):
            await agent.read_tables(DEVICE)
        assert agent._tables.renewed == 1
        agent.reader.shutdown()

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
