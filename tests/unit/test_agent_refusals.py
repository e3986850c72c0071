# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent beside its sockets: what the kernel refuses, devices that change, and what comes when it is about to end."""

import asyncio
import errno
import logging
import os
from types import SimpleNamespace

import pytest
from agent_support import claim, ip, mac, vtep
from ansible_collections.vtep.fabric.plugins.module_utils._agent import agent as program
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import FDB, NEIGHBOR, NEW_FDB, Device
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.vxlan_watch import VxlanDevice
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError

log = logging.getLogger("test")
VX = Device(5, "vx100", 100, vtep(1))
FOUND = VxlanDevice(
    "vx100", 5, 100, vtep(1), None, None, 4, "up", False, False, 4789, misses=True, l2=True, learning=False
)


class Rows:
    """Of a kernel that has `ours` and `others`, and tells `refused`."""

    def __init__(self):
        self.sent, self.refused, self.ours, self.others, self.error, self.renewed = [], [], {}, set(), None, 0

    def put(self, ops):
        self.sent += ops

    def failures(self):
        told, self.refused = self.refused, []
        return told

    def of(self, _index, macs):
        if self.error:
            raise self.error
        return [(one, self.ours[one], 1.0, 2) for one in macs if one in self.ours]

    def absent(self, _index, macs):
        return [one for one in macs if one not in self.ours and one not in self.others]

    def renew(self):
        self.renewed += 1


class Looks:
    def __init__(self):
        self.due, self.sooner_times = [], 0

    def soon(self, indexes):
        self.due += indexes

    def sooner(self):
        self.sooner_times += 1

    def known(self):
        pass


def made(*claims):
    """An agent in the running loop, without sockets."""
    agent = program.Agent(Settings(), None, log)
    agent._loop, agent._stopping = asyncio.get_running_loop(), asyncio.Event()
    agent._rows, agent.looks = Rows(), Looks()
    agent.registry = SimpleNamespace(known=True)
    agent.access = SimpleNamespace(layout=lambda _devices: None)
    agent.groups = SimpleNamespace(forget=lambda _kept: None)
    agent.watch = SimpleNamespace(devices={5: FOUND})
    agent.directory.snapshot(claims, 0.0)
    agent.directory.changes()
    agent._take_devices()
    return agent


def run(work):
    asyncio.run(work())


def refuse(agent, *macs, error=errno.EEXIST):
    agent._rows.refused = [((NEW_FDB, 5, one, vtep(2)), error, None) for one in macs]
    agent._take_refusals()


def test_what_was_there_already_is_ours_or_somebodys_and_no_trouble():
    async def work():
        agent = made(*(claim(number, 2) for number in (1, 2, 3, 4)))
        agent.write(agent.resolver.misses([(5, mac(number)) for number in (1, 2, 3, 4)], agent.now()))
        agent._rows.ours = {mac(1): vtep(2), mac(2): vtep(9)}
        agent._rows.others = {mac(3)}
        del agent._rows.sent[:]
        refuse(agent, *map(mac, (1, 2, 3, 4)))
        assert agent._rows.sent == [(FDB, 5, mac(2), vtep(2))], "one of ours that led elsewhere"
        assert {one["mac"] for one in agent.resolver.entries()} == {mac(1).hex(":"), mac(2).hex(":")}
        assert agent.counters["rows refused"] == 0 and not agent.alarms._known
        assert set(agent.resolver._here[5].taken) == {mac(3)}, "what went meanwhile is nobody's"

    run(work)


def test_when_it_cannot_be_told_whose_it_is_the_tables_are_looked_at():
    async def work():
        agent = made(claim(1, 2))
        agent._rows.error = BlockingIOError()
        agent.looks.due.clear()
        refuse(agent, mac(1))
        assert agent.looks.due == [5] and agent._rows.renewed == 1 and agent.counters["faults"] == 1

    run(work)


def test_other_refusals_are_told_and_the_row_is_forgotten():
    async def work():
        agent = made(claim(1, 2))
        agent.write(agent.resolver.misses([(5, ip(1))], agent.now()))
        refuse(agent, mac(1), error=errno.ENOSPC)
        assert agent.counters["rows refused"] == 1
        assert [one["kind"] for one in agent.resolver.entries()] == ["neighbor"]
        assert not agent.resolver._here[5].taken
        assert [key for key in agent.alarms._known if "refused 5" in key] == list(agent.alarms._known) != []

    run(work)


def test_what_was_refused_a_moment_ago_is_not_removed():
    async def work():
        agent = made(claim(1, 2))
        agent.write(agent.resolver.misses([(5, mac(1))], agent.now()))
        agent._rows.others = {mac(1)}
        agent._rows.refused = [((NEW_FDB, 5, mac(1), vtep(2)), errno.EEXIST, None)]
        agent.directory.snapshot([], agent.now())
        del agent._rows.sent[:]
        agent._follow()
        assert agent._rows.sent == []

    run(work)


def test_nothing_is_written_once_it_is_about_to_end():
    async def work():
        agent = made(claim(1, 2))
        ops = agent.resolver.misses([(5, mac(1)), (5, ip(7))], agent.now())
        agent.directory.put(claim(7, 2), agent.now())
        agent.reread = lambda: pytest.fail("the configuration is read again")
        agent._stopping.set()
        agent.write(ops)
        agent._follow()
        agent._reload()
        agent.watch.rescan = lambda: pytest.fail("devices are looked at")
        agent._rescan()
        assert agent._rows.sent == [] and agent.directory.changes()

    run(work)


def test_what_fails_at_the_end_leaves_nothing_else_behind():
    async def work():
        agent = made()
        done = []
        agent.devices = {5: VX, 6: VX._replace(index=6)}
        agent.watch = agent._misses = agent._neighbors = os.pipe()[0]
        agent.groups = SimpleNamespace(withdraw=lambda _there: done.append("groups"))
        agent._rows.groups = None

        def withdraw(index):
            done.append(index)
            raise BlockingIOError

        agent._withdraw = withdraw
        await agent._end()
        os.close(agent.watch)
        assert done == [5, 6, "groups"]

    run(work)


def test_another_ageing_time_is_taken_up():
    async def work():
        agent = made()
        assert agent.devices == {5: VX}
        before = agent.looks.sooner_times
        agent.watch.devices = {5: VxlanDevice(**{**vars(FOUND), "ageing": 4})}
        agent._take_devices()
        assert agent.devices[5].ageing == 4 and agent.looks.sooner_times == before + 1
        agent.watch.devices = {5: VxlanDevice(**{**vars(FOUND), "ageing": 0})}
        agent._take_devices()
        assert agent.resolver._here[5].device.ageing == float("inf")

    run(work)


@pytest.mark.parametrize("error", [KernelError("list", errno.EAGAIN), OSError(errno.EMFILE, "none left")])
def test_a_device_that_was_told_of_before_looking_failed_is_served(error, monkeypatch):
    async def work():
        agent = made()
        monkeypatch.setattr(program, "AGAIN", 0.01)
        six = VxlanDevice(**{**vars(FOUND), "name": "vx200", "index": 6, "vni": 200})

        def read():
            agent.watch.devices[6] = six
            raise error

        agent.watch.read, agent.watch.rescan = read, lambda: False
        agent._links()
        await asyncio.sleep(0.1)
        assert set(agent.devices) == {5, 6}

    run(work)


def test_the_last_resort_ends_the_process_though_the_lock_is_closed_already(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)

    def close():
        raise OSError(errno.EBADF, "closed")

    program._leave(SimpleNamespace(close=close), 1)
    assert ended == [1]


def test_a_neighbour_is_written_whoever_has_the_row_of_its_mac():
    async def work():
        agent = made(claim(1, 2))
        agent._rows.others = {mac(1)}
        agent.write(agent.resolver.misses([(5, ip(1))], agent.now()))
        assert [op[0] for op in agent._rows.sent] == [NEW_FDB, NEIGHBOR]
        refuse(agent, mac(1))
        assert [one["kind"] for one in agent.resolver.entries()] == ["neighbor"]

    run(work)
