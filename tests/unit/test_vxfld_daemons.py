# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxsnd and vxrd do on their event loop where something fails, and the bounds of TCP streams."""

import asyncio
import contextlib
import errno
import logging
import socket
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import config, sockets, static_entries, vxrd, vxsnd

LOOPBACK = bytes((127, 0, 0, 1))


@pytest.mark.parametrize("address", ["0.1.2.3", "0.0.0.0", "::"])
def test_a_static_entry_is_one_that_can_be_told(address):
    with pytest.raises(ValueError, match="no VTEP's address"):
        static_entries.address(address)
    with pytest.raises(InputError, match="f:1: .* no VTEP's address"):
        static_entries.parse("f", [f"100 {address}"])


def test_a_snapshot_that_fails_does_not_keep_the_checks_from_running(tmp_path):
    async def run():
        one = vxsnd.Vxsnd(config.Vxsnd(statedir=str(tmp_path)), None, logging.getLogger("test"), None)
        one.loop, one._stopping = asyncio.get_running_loop(), asyncio.Event()
        one.node.unsaved = True
        one.node.snapshot = lambda now, wall: 1 // 0
        checked = []

        async def check():
            checked.append(True)

        one._check = check
        one._housekeeping()
        await asyncio.sleep(0.01)
        assert checked and one.node.unsaved and one.counters["faults"] == 1
        assert one._snapshot_due > one.loop.time() + vxsnd.SNAPSHOT / 2  # not at once again
        one._addresses.close()

    asyncio.run(run())


def test_a_sync_waits_less_for_its_connection_than_the_start_for_all(monkeypatch):
    given = []

    async def exchange(peer, data, source, **more):
        given.append(more)
        raise OSError(errno.ETIMEDOUT, "no connection")

    async def run():
        one = vxsnd.Vxsnd(config.Vxsnd(), None, logging.getLogger("test"), None)
        one.loop, one._heard_all = asyncio.get_running_loop(), asyncio.Event()
        one.pump_soon = lambda: None
        await one._sync((LOOPBACK, 10001), b"")
        one._addresses.close()

    monkeypatch.setattr(sockets, "exchange", exchange)
    asyncio.run(run())
    # Two peers that nobody answers for, with the first backoffs, and time for a third.
    assert 2 * given[0]["connect_timeout"] + 1 + 2 < vxsnd.FIRST_SYNC


def test_a_connection_that_does_not_come_about(monkeypatch):
    async def never(*_words, **_more):
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio, "open_connection", never)
    with pytest.raises(OSError, match=r"no connection within 0.01 s"):
        asyncio.run(sockets.exchange((LOOPBACK, 1), b"", connect_timeout=0.01))


@contextlib.asynccontextmanager
async def streams(answer, **bounds):
    faults = []
    one = sockets.Streams(answer, lambda _address: True, faults.append, **bounds)
    bound = socket.create_server(("127.0.0.1", 0))
    bound.setblocking(False)
    await one.start(bound)
    yield one, (LOOPBACK, bound.getsockname()[1])
    one.close()
    await asyncio.sleep(0.05)
    assert faults == [] and not one._held and not one._open


def test_500000_entries_fit_into_a_stream():
    entry = len(bytes.fromhex("12220a120a10")) + 16 + len("\x10") + 3 + len("\x18") + 10
    assert 500_000 * (entry + len(bytes.fromhex("12260880808001"))) < sockets.MOST


def test_all_streams_of_a_host_have_one_budget():
    async def run():
        async with streams(lambda data, end: data, most=1000, most_of_all=5000) as (one, end):
            reader, writer = await asyncio.open_connection("127.0.0.1", end[1])
            writer.write(bytes(700))
            await asyncio.sleep(0.05)
            with pytest.raises(OSError):
                await sockets.exchange(end, bytes(400), answered=True)
            assert one.cut == 1
            writer.transport.abort()
            await asyncio.sleep(0.05)
            assert await sockets.exchange(end, bytes(400), answered=True) == bytes(400)

    asyncio.run(run())


def test_all_hosts_have_one_budget_and_answers_count():
    async def run():
        async with streams(lambda data, end: bytes(700), most=1000, most_of_all=1200) as (one, end):
            one._held[b"other"] = 600
            with pytest.raises(OSError):
                found = await sockets.exchange(end, bytes(10), answered=True)
                raise OSError if found == b"" else AssertionError(found)
            assert one.cut == 1
            del one._held[b"other"]
            assert await sockets.exchange(end, bytes(10), answered=True) == bytes(700)

    asyncio.run(run())


def daemon(**settings):
    one = vxrd.Vxrd(config.Vxrd(**settings), None, logging.getLogger("test"))
    one._loop = asyncio.get_running_loop()
    one.registrar = SimpleNamespace(floods={"a": set(), "b": set()}, configure=lambda *_: None, members={})
    one._pump = lambda: None
    return one


def test_repair_goes_on_whatever_is_raised():
    async def run():
        one, seen, faults = daemon(config_check_rate=0.01), [], []

        def flood(name):
            seen.append(name)
            raise ValueError(name)

        one._flood, one._fault = flood, lambda error: faults.append(str(error))
        one._pump = lambda: 1 // 0
        task = asyncio.ensure_future(one._repairs())
        await asyncio.sleep(0.1)
        assert not task.done()
        task.cancel()
        assert seen[:4] == ["a", "b", "a", "b"]
        assert faults[:3] == ["a", "b", "integer division or modulo by zero"]

    asyncio.run(run())


def test_a_shorter_rate_of_repair_counts_at_once():
    async def run():
        one, seen = daemon(config_check_rate=3600), []
        one._flood = seen.append
        one._repairing = asyncio.ensure_future(one._repairs())
        await asyncio.sleep(0.02)
        assert seen == ["a", "b"]
        one.reread = lambda: (config.Vxrd(config_check_rate=0.02), [])
        one._reload()
        await asyncio.sleep(0.2)
        assert len(seen) >= 8  # the look of the reload, and more
        one._repairing.cancel()

    asyncio.run(run())
