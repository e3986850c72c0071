# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing: whatever is lost on the way, in the end each endpoint is claimed once, by a host that has it."""

import asyncio
import contextlib
import json
import logging
import random
from base64 import b64decode
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import claims, etcd, publisher
from ansible_collections.vtep.fabric.plugins.module_utils._agent.publisher import Publisher
from ansible_collections.vtep.fabric.plugins.module_utils._agent.source import Backoff

PREFIX = "/vtep.fabric"
M1, M2 = (bytes.fromhex(f"50543300000{number}") for number in (1, 2))
A1, A2 = b"\x0a\0\0\1", b"\x0a\0\0\2"
VTEPS = [bytes([192, 0, 2, number]) for number in (1, 2, 3)]
log = logging.getLogger("test")


class Store:
    """What an etcd keeps, of the requests that a publisher makes. `tell` are called with each (gone, Row)."""

    def __init__(self):
        self.rows, self.revision, self.leases, self.tell = {}, 1, set(), []
        self.writes = 0

    def transaction(self, operations, compares, otherwise):
        done = all(self._holds(one) for one in compares)
        found = []
        if done and any("request_put" in one and one["request_put"]["lease"] not in self.leases for one in operations):
            raise etcd.EtcdError("requested lease not found", etcd.NOT_FOUND)
        if done and operations:
            self.revision += 1
            for one in operations:
                self._do(one)
        for one in otherwise if not done else ():
            found.append(sorted(self._within(one["request_range"]), key=lambda row: -row.revision)[:32])
        return done, etcd.Header(1, self.revision), [[row._replace(value=b"") for row in rows] for rows in found]

    def _within(self, where):
        start, end = b64decode(where["key"]), b64decode(where.get("range_end", ""))
        return [row for key, row in self.rows.items() if (start <= key < end if end else key == start)]

    def _holds(self, one):
        rows = self._within(one)
        revisions = [row.revision for row in rows] or [0]
        assert one["target"] == "MOD"
        wanted = one["mod_revision"]
        return all(number == wanted if one["result"] == "EQUAL" else number < wanted for number in revisions)

    def _do(self, one):
        self.writes += 1
        if "request_put" in one:
            put = one["request_put"]
            self.put(b64decode(put["key"]), b64decode(put["value"]), put["lease"])
        else:
            self.delete(b64decode(one["request_delete_range"]["key"]))

    def put(self, key, value, lease=0):
        self.rows[key] = etcd.Row(key, value, self.revision, self.revision, lease)
        self._say(False, self.rows[key])

    def delete(self, key):
        if self.rows.pop(key, None):
            self._say(True, etcd.Row(key, b"", 0, self.revision, 0))

    def revoke(self, lease):
        self.leases.discard(lease)
        self.revision += 1
        for key in [key for key, row in self.rows.items() if row.lease == lease]:
            self.delete(key)

    def _say(self, gone, row):
        for call in self.tell:
            call(gone, row)


class Link:
    """A publisher's way to the store: it may lose requests and answers, and takes its time."""

    def __init__(self, store, chance=None):
        self.store, self.chance, self.bad = store, chance, 0.0

    async def _ask(self, call, *arguments):
        await self._pause()
        if self._bad():
            raise etcd.EtcdError("lost on the way there")
        try:
            found = call(*arguments)
        finally:
            await self._pause()
        if self._bad():
            raise etcd.EtcdError("lost on the way back")
        return found

    async def _pause(self):
        await asyncio.sleep(self.chance.random() * 0.002 if self.chance and self.bad else 0)

    def _bad(self):
        return self.chance is not None and self.chance.random() < self.bad

    async def transaction(self, operations, compares=(), otherwise=()):
        json.dumps([operations, compares, otherwise])
        assert max(len(operations), len(compares), len(otherwise)) <= 128
        return await self._ask(self.store.transaction, operations, compares, otherwise)

    async def grant(self, _seconds):
        def make():
            lease = 1000 + self.store.revision * 1000 + len(self.store.leases)
            self.store.leases.add(lease)
            return lease

        return await self._ask(make)

    async def keep_alive(self, lease):
        return await self._ask(lambda: 30 if lease in self.store.leases else 0)

    async def revoke(self, lease, _timeout):
        await self._ask(self.store.revoke, lease)


class Host:
    """A publisher, and the watch that tells it what is there, with a delay."""

    def __init__(self, store, directory, chance=None, lease=30):
        self.faults, self.chance, self.store = [], chance, store
        settings = SimpleNamespace(prefix=PREFIX, lease=lease, statedir=str(directory))
        counters = {}
        self.one = Publisher(settings, counters, lambda key, text: self.faults.append(text), log)
        self.counters = counters
        self.link = Link(store, chance)
        self.task = None
        self.queue = asyncio.Queue()
        store.tell.append(lambda gone, row: self.queue.put_nowait((gone, row)))
        self.pump = asyncio.ensure_future(self._pump())

    async def _pump(self):
        while True:
            gone, row = await self.queue.get()
            if self.chance and self.link.bad:
                await asyncio.sleep(self.chance.random() * 0.002)
            self._take(gone, row)
            self.queue.task_done()

    def _take(self, gone, row):
        where = claims.etcd_endpoint(PREFIX, row.key)
        if gone:
            self.one.gone(where, row)
        else:
            self.one.row(where, row, claims.from_etcd(PREFIX, row.key, row.value, row.revision).addresses)

    def load(self):
        self.one.forget()
        for row in self.store.rows.values():
            self._take(False, row)

    def start(self):
        self.task = asyncio.ensure_future(self.one.run(self.link))

    async def stop(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def end(self):
        await self.stop()
        self.pump.cancel()
        await asyncio.gather(self.pump, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(publisher, "TICK", 0.005)
    monkeypatch.setattr(publisher, "Backoff", lambda: Backoff(0.001, 0.005))


async def until(what, seconds=20):
    for _dummy in range(int(seconds * 500)):
        if what():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("not in time")


def key(vtep, mac=M1, vni=100):
    return claims.etcd_key(PREFIX, vni, mac, vtep).encode()


def run(work):
    asyncio.run(asyncio.wait_for(work, 100))


@contextlib.asynccontextmanager
async def host(store, directory, **arguments):
    directory.mkdir(exist_ok=True)
    one = Host(store, directory, **arguments)
    one.load()
    one.start()
    try:
        yield one
    finally:
        await one.end()


def test_nothing_to_publish_takes_no_lease(tmp_path):
    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            one.one.publish({}, {100: VTEPS[0]})
            one.one.publish({(200, M1): ()}, {100: VTEPS[0]})
            await asyncio.sleep(0.05)
            assert not store.rows
            one.one.publish({}, {})
        assert store.writes == 0

    run(work())


@pytest.mark.parametrize("known", [True, False])
def test_a_key_of_somebody_by_hand_is_left_alone(tmp_path, known):
    """It has no lease, and so it is to outlive the host; whether or not it was seen before the host had the endpoint."""

    async def work():
        store = Store()
        store.put(key(VTEPS[0]), b'{"addresses": ["10.0.0.9"]}')
        one = Host(store, tmp_path)
        if known:
            one.one.publish({}, {100: VTEPS[0]})
        one.load()
        one.start()
        one.one.publish({(100, M1): (A1,), (100, M2): ()}, {100: VTEPS[0]})
        await until(lambda: len(store.rows) == 2)
        await asyncio.sleep(0.05)
        # Somebody else claims it, and it comes back.
        store.revision += 1
        store.put(key(VTEPS[1]), b"{}", 5)
        await until(lambda: one.one.yielded() == [(100, M1)])
        assert store.rows[key(VTEPS[0])].lease == 0
        one.one.publish({(100, M1): (A1,)}, {100: VTEPS[0]}, [(100, M1)])
        await until(lambda: store.rows[key(VTEPS[0])].lease)
        await one.end()

    run(work())


def test_a_stranger_next_to_our_key_does_not_stop_us(tmp_path):
    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            one.one.publish({(100, M1): ()}, {100: VTEPS[0]})
            await until(lambda: store.rows)
            store.revision += 1
            store.rows[key(VTEPS[0])[:-9] + b"nonsense"] = etcd.Row(
                key(VTEPS[0])[:-9] + b"nonsense", b"", 9, store.revision, 0
            )
            one.one.publish({(100, M1): (A1,)}, {100: VTEPS[0]})
            await until(lambda: b"10.0.0.1" in store.rows[key(VTEPS[0])].value)
            assert not one.faults

    run(work())


def test_a_claim_that_is_not_known_yet_is_not_overtaken(tmp_path):
    """The lease has ended, and word of what others have claimed meanwhile comes later than the new lease."""

    async def work():
        store = Store()
        async with host(store, tmp_path, lease=0.06) as one:
            one.one.publish({(100, M1): (), (100, M2): ()}, {100: VTEPS[0]})
            await until(lambda: len(store.rows) == 2)
            await one.queue.join()
            one.pump.cancel()
            store.revision += 1
            store.put(key(VTEPS[1]), b"{}", 5)
            store.revoke(next(iter(store.leases)))
            while not one.queue.empty():
                gone, row = one.queue.get_nowait()
                if gone:
                    one._take(gone, row)
            writes = store.writes
            await until(lambda: key(VTEPS[0], M2) in store.rows and one.one.yielded() == [(100, M1)])
            assert key(VTEPS[0]) not in store.rows
            assert store.writes <= writes + 2, "one claim, and a withdrawal of what is gone"

    run(work())


def test_what_is_heard_of_while_it_is_withdrawn(tmp_path):
    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            one.one.publish({(100, M1): ()}, {100: VTEPS[0]})
            await until(lambda: store.rows)
            real = one.link.transaction

            async def slow(operations, *more):
                found = await real(operations, *more)
                if "request_delete_range" in operations[0]:
                    one.one.publish({(100, M1): ()}, {100: VTEPS[0]}, [(100, M1)])
                return found

            one.link.transaction = slow
            store.revision += 1
            store.put(key(VTEPS[1]), b"{}", 5)
            rival = store.revision
            await until(lambda: key(VTEPS[0]) in store.rows and store.rows[key(VTEPS[0])].revision > rival)
            assert not one.one.yielded()

    run(work())


def test_a_key_that_is_removed_before_the_answer_of_its_writing_comes(tmp_path):
    """The watch is quicker than the answer."""

    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            real, removed = one.link.transaction, []

            async def slow(operations, *more):
                found = await real(operations, *more)
                if not removed:
                    removed.append(True)
                    store.revision += 1
                    store.delete(key(VTEPS[0]))
                    await one.queue.join()
                return found

            one.link.transaction = slow
            one.one.publish({(100, M1): ()}, {100: VTEPS[0]})
            await until(lambda: removed and key(VTEPS[0]) in store.rows)

    run(work())


def test_many_go_in_few_transactions_of_bounded_size(tmp_path):
    async def work():
        store = Store()
        sizes = []
        async with host(store, tmp_path) as one:
            real = one.link.transaction

            async def seen(operations, *more):
                sizes.append((len(operations), len(json.dumps(operations))))
                return await real(operations, *more)

            one.link.transaction = seen
            wide = tuple(b"\x20\x01\x0d\xb8" + bytes(10) + number.to_bytes(2, "big") for number in range(1, 257))
            many = {(100, bytes([0, 0, 0, 1, n >> 8, n & 255])): (A1,) for n in range(1, 1001)}
            one.one.publish(
                {**many, **{(100, bytes([0, 0, 0, 2, 0, n])): wide for n in range(1, 200)}}, {100: VTEPS[0]}
            )
            await until(lambda: len(store.rows) == 1199)
        assert max(count for count, _size in sizes) <= etcd.MOST_OPERATIONS
        assert max(size for _count, size in sizes) < 1 << 20
        assert len(sizes) < 60

    run(work())


@pytest.mark.parametrize("text", ["", "x", "[]", "null", '{"lease": "1"}', '{"prefix": "/vtep.fabric", "lease": true}',
                                  '{"prefix": "/vtep.fabric", "lease": -5}', '{"prefix": "/other", "lease": 5}', "[" * 4000])  # fmt: skip
def test_a_record_of_the_lease_that_is_none(tmp_path, text):
    (tmp_path / publisher.STATE).write_text(text)

    async def work():
        async with host(Store(), tmp_path) as one:
            assert not one.one.holds
            one.one.publish({(100, M1): ()}, {100: VTEPS[0]})
            await until(lambda: one.store.rows)
            assert json.loads((tmp_path / publisher.STATE).read_text())["lease"] in one.store.leases
            await one.stop()
            await one.one.close(one.link)
            assert not one.store.rows
            assert not (tmp_path / publisher.STATE).exists()

    run(work())


def test_a_record_that_cannot_be_written_is_no_reason_not_to_publish(tmp_path, caplog):
    async def work():
        store = Store()
        one = Host(store, tmp_path / "missing")
        one.load()
        one.start()
        one.one.publish({(100, M1): ()}, {100: VTEPS[0]})
        await until(lambda: store.rows)
        await one.end()

    run(work())
    assert "a restart publishes all endpoints anew" in caplog.text


def test_keys_under_a_lease_of_before_that_nobody_wants(tmp_path, monkeypatch):
    monkeypatch.setattr(publisher, "SETTLE", 0.3)

    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            one.one.publish({(100, M1): (A1,), (100, M2): (A1,), (200, M2): ()}, {100: VTEPS[0], 200: VTEPS[0]})
            await until(lambda: len(store.rows) == 3)
        before = dict(store.rows)
        async with host(store, tmp_path) as one:
            # Known to be gone by what is told, not for want of knowing.
            one.one.publish({(100, M1): (), (100, M2): ()}, {100: VTEPS[0], 200: VTEPS[0]})
            await asyncio.sleep(0.05)
            assert store.rows == before
            one.one.publish({(100, M1): ()}, {100: VTEPS[0], 200: VTEPS[0]})
            await until(lambda: len(store.rows) == 2)
            assert store.rows[key(VTEPS[0])] == before[key(VTEPS[0])]
            await until(lambda: list(store.rows) == [key(VTEPS[0])])
            assert store.rows[key(VTEPS[0])].value == b'{"addresses": []}'

    run(work())


@pytest.mark.parametrize("gone", [False, True])
def test_a_restart_does_not_claim_again_what_was_withdrawn(tmp_path, gone):
    """Unless it is heard of here anew, or the other one has been gone for the lease's time."""
    given, local = {(100, M1): (A1,), (100, M2): (A2,)}, {100: VTEPS[0]}

    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            one.one.publish(given, local)
            await until(lambda: len(store.rows) == 2)
            store.revision += 1
            store.put(key(VTEPS[1]), b"{}")
            await until(lambda: key(VTEPS[0]) not in store.rows)
            await until(lambda: "withdrawn" in (tmp_path / publisher.STATE).read_text())
            await until(lambda: M1.hex() in (tmp_path / publisher.STATE).read_text())
        before = dict(store.rows)
        for _dummy in range(2):
            async with host(store, tmp_path, lease=0.3 if gone else 30) as one:
                one.one.publish({}, {})
                one.one.publish(given, local)
                await asyncio.sleep(0.1)
                assert store.rows == before and one.one.yielded() == [(100, M1)]
        async with host(store, tmp_path, lease=0.3 if gone else 30) as one:
            one.one.publish(given, local)
            await asyncio.sleep(0.05)
            if gone:
                store.revision += 1
                store.delete(key(VTEPS[1]))
            else:
                one.one.publish(given, local, [(100, M1)])
            await until(lambda: key(VTEPS[0]) in store.rows)
            await until(lambda: M1.hex() not in (tmp_path / publisher.STATE).read_text())

    run(work())


def test_another_time_of_the_lease_is_a_new_lease_under_which_all_stays(tmp_path):
    async def work():
        store = Store()
        async with host(store, tmp_path) as one:
            one.one.publish({(100, M1): (A1,)}, {100: VTEPS[0]})
            await until(lambda: store.rows)
            old = store.rows[key(VTEPS[0])].lease
            await one.stop()
            one.one.configure(SimpleNamespace(prefix=PREFIX, lease=60, statedir=str(tmp_path)))
            assert key(VTEPS[0]) in store.rows
            one.start()
            await until(lambda: store.rows[key(VTEPS[0])].lease != old)
            store.revoke(old)
            assert key(VTEPS[0]) in store.rows

    run(work())


@pytest.mark.parametrize("seed", range(12))
def test_in_the_end_each_is_claimed_once(tmp_path, monkeypatch, seed):
    """Three hosts that claim, yield, lose requests, answers, contact and leases."""
    monkeypatch.setattr(publisher, "HOLD", 0.02)
    chance = random.Random(seed)
    endpoints = [(100, bytes([0, 0, 0, 0, 0, number])) for number in range(1, 7)]

    async def work():
        store = Store()
        hosts = []
        for number, vtep in enumerate(VTEPS):
            (tmp_path / str(number)).mkdir()
            hosts.append((Host(store, tmp_path / str(number), chance, lease=0.05), vtep, {}))
        for one, _vtep, _wanted in hosts:
            one.link.bad = 0.15
            one.load()
            one.start()
        for _dummy in range(150):
            one, vtep, wanted = chance.choice(hosts)
            where = chance.choice(endpoints)
            action = chance.random()
            if action < 0.4:
                wanted[where] = chance.choice([(), (A1,), (A1, A2)])
                one.one.publish(dict(wanted), {100: vtep}, chance.choice([(), [where]]))
            elif action < 0.6:
                wanted.pop(where, None)
                one.one.publish(dict(wanted), {100: vtep})
            elif action < 0.7:
                await one.stop()
                await asyncio.sleep(chance.random() * 0.01)
                if chance.random() < 0.5:
                    one.load()
                one.start()
            elif action < 0.75 and store.leases:
                store.revoke(chance.choice(sorted(store.leases)))
            else:
                await asyncio.sleep(chance.random() * 0.01)
        for one, _vtep, _wanted in hosts:
            one.link.bad = 0.0

        def settled():
            for where in endpoints:
                having = {vtep for _one, vtep, wanted in hosts if where in wanted}
                there = {
                    claims.etcd_endpoint(PREFIX, row)[2]
                    for row in store.rows
                    if claims.etcd_endpoint(PREFIX, row)[:2] == where
                }
                if not there <= having or len(there) != bool(having):
                    return False
            return all(one.queue.empty() for one, _vtep, _wanted in hosts)

        writes = -1
        for _dummy in range(20):
            await until(settled)
            if store.writes == writes:
                break
            writes = store.writes
            await asyncio.sleep(0.3)
        else:
            raise AssertionError("it does not come to rest")
        for _one, vtep, wanted in hosts:
            for where in wanted:
                row = store.rows.get(key(vtep, where[1]))
                assert row is None or row.value == claims.to_etcd(claims.Claim(*where, vtep, wanted[where], 0))
        for one, _vtep, _wanted in hosts:
            await one.end()

    run(work())
