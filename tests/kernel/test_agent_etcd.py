# SPDX-License-Identifier: GPL-3.0-or-later
"""The source in etcd against the etcd of each suite: what it tells, what it publishes, and all that may go wrong with it."""

import asyncio
import contextlib
import logging
import os
import re
import time
from base64 import b64encode
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import etcd as client
from ansible_collections.vtep.fabric.plugins.module_utils._agent import publisher, source_etcd
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings
from device_support import MARKS, private, sh
from etcd_support import PASSWORD, VERSIONS, Between, Certificates, Etcd, packed, program

pytestmark = MARKS

PREFIX = "/vtep.fabric/endpoints/"
M1, M2 = bytes.fromhex("505433000001"), bytes.fromhex("505433000002")
V1, V2 = packed("192.0.2.1"), packed("2001:db8::2")
A1, A2 = packed("10.0.0.1"), packed("2001:db8:ff::1")
WAIT = 20.0  # seconds; after an outage up to five for an answer that never comes, and five until the next attempt
log = logging.getLogger("test")


@pytest.fixture(params=VERSIONS)
def server(request, tmp_path):
    program(request.param)  # skips before anything is made
    with private():
        sh("ip link set lo up")
        made = Etcd(request.param, tmp_path / "etcd")
        try:
            yield made.start()
        finally:
            made.kill()


def key(vni, mac, vtep):
    return f"{PREFIX}{vni}/{mac}/{vtep}"


class Sink:
    """What a source has told."""

    def __init__(self):
        self.rows = {}  # (vni, mac, vtep): Claim
        self.faults, self.snapshots, self.states = [], [], 0

    def snapshot(self, claims, grace=0.0):
        self.snapshots.append((len(claims), grace))
        self.rows = {one[:3]: one for one in claims}

    def put(self, claim):
        self.rows[claim[:3]] = claim

    def drop(self, vni, mac, vtep):
        self.rows.pop((vni, mac, vtep), None)

    def fault(self, key, text):
        self.faults.append((key, text))

    alarm = fault

    def mended(self, key):
        pass

    def state(self):
        self.states += 1

    def said(self, words):
        return any(words in text for _key, text in self.faults)


@contextlib.asynccontextmanager
async def agent(server, directory="/nonexistent", keep=False, **settings):
    """A running source."""
    directory = str(directory)
    settings = {"urls": (server.url,), "statedir": directory, "kind": "etcd", "lease": 5, **settings}
    sink = Sink()
    source = source_etcd.EtcdSource(Settings(**settings), sink, log)
    task = asyncio.ensure_future(source.run())
    try:
        yield SimpleNamespace(source=source, sink=sink, rows=sink.rows, task=task)
    finally:
        assert not task.done(), "run() has ended"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await source.close(keep)


async def until(what, seconds=WAIT):
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s"
        await asyncio.sleep(0.002)


async def aside(call, *arguments):
    """A blocking call, while the loop goes on. The thread that makes it is in another network namespace, its programs are not."""
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def inside():
        from device_support import LIBC

        assert LIBC.setns(namespace, 0) == 0
        return call(*arguments)

    try:
        return await asyncio.get_running_loop().run_in_executor(None, inside)
    finally:
        os.close(namespace)


def run(work):
    asyncio.run(asyncio.wait_for(work, 120))


def test_it_is_the_suites_own_version(server):
    assert VERSIONS[server.suite] in server.ctl("endpoint", "status")


# --- reading


def test_what_is_there_and_what_changes(server):
    async def work():
        server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), '{"addresses": ["10.0.0.1"]}')
        server.put(PREFIX[:-1] + "0", "the key behind all of them")
        server.put("/vtep.fabric/other", "x")
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            assert [row[1:4] for row in one.sink.rows.values()] == [(M1, V1, (A1,))]
            first = one.sink.rows[100, M1, V1].order
            server.put(key(100, "50:54:33:00:00:01", "2001:db8::2"), '{"addresses": ["10.0.0.1", "2001:db8:ff::1"]}')
            await until(lambda: (100, M1, V2) in one.sink.rows)
            assert one.sink.rows[100, M1, V2].addresses == (A1, A2)
            assert one.sink.rows[100, M1, V2].order > first
            server.delete(key(100, "50:54:33:00:00:01", "192.0.2.1"))
            await until(lambda: (100, M1, V1) not in one.sink.rows)
            assert one.sink.snapshots == [(1, 0.0)]
            assert not one.sink.faults

    run(work())


def test_a_change_is_seen_soon(server, record_property):
    async def work():
        async with agent(server) as one, agent(server) as other:
            await until(lambda: one.source.ok and other.source.ok)
            took = []
            for number in range(1, 21):
                began = time.monotonic()
                one.source.publish({(number, M1): (A1,)}, {number: V1})
                await until(lambda number=number: (number, M1, V1) in other.sink.rows)
                took.append(time.monotonic() - began)
            took.sort()
            record_property("seen_ms", f"median {took[10] * 1000:.1f}, longest {took[-1] * 1000:.1f}")
            print(f"etcd {server.suite}: seen after {took[10] * 1000:.1f} ms, at most {took[-1] * 1000:.1f} ms")
            assert took[-1] < 2.0

    run(work())


def test_entries_that_are_refused_one_by_one(server):
    async def work():
        good = '{"addresses": ["10.0.0.1"]}'
        server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), good)
        for bad in ("100/50:54:33:00:00:0g/192.0.2.1", "0/50:54:33:00:00:01/192.0.2.1", "100/a/b/c", "\x1b[31m/x/y"):
            server.put(PREFIX + bad, good)
        server.put(key(100, "50:54:33:00:00:02", "192.0.2.1"), '{"addresses": ["10.0.0.300"]}')
        server.put(key(100, "50:54:33:00:00:03", "192.0.2.1"), "x" * 70000)
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            assert list(one.sink.rows) == [(100, M1, V1)]
            assert len(one.sink.faults) == 6
            assert all("\x1b" not in text and len(text) < 400 for _key, text in one.sink.faults)
            assert one.source.counters["entries refused"] == 6
            # What takes the place of a good entry takes it away.
            server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), "[" * 60000)
            await until(lambda: not one.sink.rows)
            server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), good)
            await until(lambda: one.sink.rows)
            assert one.source.ok

    run(work())


def test_ten_thousand_keys_at_the_start_and_a_page_that_is_too_long(server, record_property, monkeypatch):
    async def work():
        link = client.Etcd(server.url)
        lease = await link.grant(600)
        for at in range(0, 10000, 100):
            keys = [key(100, f"50:54:33:00:{at // 100:02x}:{n:02x}", "192.0.2.1").encode() for n in range(100)]
            value = b'{"addresses": ["10.0.%d.1"]}' % (at // 100)
            await link.transaction([client.put(one, value, lease) for one in keys])
        began, cpu = time.monotonic(), time.process_time()
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            took, cpu = time.monotonic() - began, time.process_time() - cpu
            record_property("start", f"{took:.2f} s, {cpu:.2f} s of CPU")
            print(f"etcd {server.suite}: 10,000 keys after {took:.2f} s, {cpu:.2f} s of CPU")
            assert len(one.sink.rows) == 10000
            assert one.sink.snapshots == [(10000, 0.0)]
            assert took < 20
            # All of them go at once.
            await link.revoke(lease)
            await until(lambda: not one.sink.rows)
        # Values of 60 KiB: a page of 1000 would have 80 MB.
        for number in range(300):
            where = key(100, f"50:54:33:00:00:{number // 2:02x}", f"192.0.2.{number % 2 + 1}").encode()
            await link.transaction([client.put(where, b'{"addresses": []' + b" " * 60000 + b"}", 0)])
        link.close()
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            assert len(one.sink.rows) == 300

    run(work())


def test_many_changes_at_once_come_whole(server):
    """The answer to a watch that begins late is long; etcd sends it in parts."""

    async def work():
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            server.put(key(1, "50:54:33:00:00:01", "192.0.2.1"), "{}")
            await until(lambda: one.sink.rows)
            one.source._again.set()  # the watch is opened anew, from where it was
            link = client.Etcd(server.url)
            for _dummy in range(5):
                rows = [
                    client.put(
                        key(n + 2, "50:54:33:00:00:01", "192.0.2.1").encode(),
                        b'{"addresses": []' + b" " * 9000 + b"}",
                        0,
                    )
                    for n in range(100)
                ]
                await link.transaction(rows)
            link.close()
            await until(lambda: len(one.sink.rows) == 101)
            assert len(one.sink.snapshots) == 1
            assert one.source.counters["watches"] == 2

    run(work())


# --- what may go wrong


def test_it_is_killed_and_comes_back(server):
    async def work():
        server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), "{}")
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            server.kill()
            await until(lambda: not one.source.ok)
            assert one.sink.rows
            await until(lambda: "Connection refused" in one.source.why)
            states = one.sink.states
            await aside(server.start)
            await until(lambda: one.source.ok)
            assert one.sink.states > states
            assert one.sink.snapshots == [(1, 0.0)], "only the changes are asked for"
            server.put(key(100, "50:54:33:00:00:02", "192.0.2.1"), "{}")
            await until(lambda: len(one.sink.rows) == 2)
            assert one.source.counters["contacts lost"] == 1
            assert one.source.counters["data lost"] == 0

    run(work())


def test_its_data_are_lost(server, tmp_path):
    async def work():
        server.put(key(100, "50:54:33:00:00:02", "192.0.2.1"), "{}")
        async with agent(server, tmp_path, grace=7.0) as one:
            one.source.publish({(100, M1): (A1,)}, {100: V1})
            await until(lambda: len(one.sink.rows) == 2)
            server.kill()
            server.wipe()
            await until(lambda: not one.source.ok)
            await aside(server.start)
            await until(lambda: one.source.counters["data lost"])
            assert one.sink.snapshots[-1] == (0, 7.0)
            assert one.sink.said("are not those of before")
            await until(lambda: list(server.keys()) == [key(100, "50:54:33:00:00:01", "192.0.2.1")])
            await until(lambda: list(one.sink.rows) == [(100, M1, V1)])
            assert one.source.ok

    run(work())


def test_its_data_are_lost_and_it_has_gone_further_meanwhile(server):
    """Neither the cluster's number nor the revision tells then, but a row that is no longer what it was."""

    async def work():
        server.put(key(100, "50:54:33:00:00:02", "192.0.2.1"), "{}")
        async with Between(3379, 2379) as between, agent(server, urls=("http://127.0.0.1:3379",), grace=7.0) as one:
            await until(lambda: one.source.ok)
            before = server.revision()
            between.swallow = True
            server.kill()
            server.wipe()
            await aside(server.start)
            for _dummy in range(before + 3):
                server.put("/something", "else")
            await until(lambda: not one.source.ok, 12)
            assert one.sink.rows
            assert server.revision() > before
            between.swallow = False
            await until(lambda: one.source.ok)
            assert one.source.counters["data lost"] == 1
            assert one.sink.snapshots[-1] == (0, 7.0)

    run(work())


def test_what_it_has_forgotten(server):
    """Compaction while nobody listened: all keys are asked for anew, and what went is gone."""

    async def work():
        for mac in ("50:54:33:00:00:01", "50:54:33:00:00:02"):
            server.put(key(100, mac, "192.0.2.1"), "{}")
        async with Between(3379, 2379) as between, agent(server, urls=("http://127.0.0.1:3379",)) as one:
            await until(lambda: one.source.ok)
            between.swallow = True
            server.delete(key(100, "50:54:33:00:00:02", "192.0.2.1"))
            server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), '{"addresses": ["10.0.0.1"]}')
            server.ctl("compact", str(server.revision()))
            await until(lambda: not one.source.ok, 12)
            assert len(one.sink.rows) == 2
            between.swallow = False
            await until(lambda: one.source.ok and len(one.sink.rows) == 1)
            assert one.sink.rows[100, M1, V1].addresses == (A1,)
            assert one.source.counters["data lost"] == 0
            assert len(one.sink.snapshots) == 2

    run(work())


@pytest.mark.parametrize("how", ["hangs", "is out of reach"])
def test_silence_is_noticed_within_ten_seconds(server, how):
    async def work():
        async with Between(3379, 2379) as between, agent(server, urls=("http://127.0.0.1:3379",)) as one:
            await until(lambda: one.source.ok)
            began = time.monotonic()
            if how == "hangs":
                server.hang()
            else:
                between.swallow = True
            await until(lambda: not one.source.ok, 10)
            print(f"noticed after {time.monotonic() - began:.1f} s: {one.source.why}")
            assert "no answer within" in one.source.why

    run(work())


def test_a_watch_that_leaves_out_changes_is_opened_anew(server, monkeypatch):
    monkeypatch.setattr(source_etcd, "PROBE", 0.1)
    monkeypatch.setattr(source_etcd, "BEHIND", 0.3)
    monkeypatch.setattr(source_etcd, "CHECK", 0.3)

    async def work():
        async with agent(server) as one:
            await until(lambda: one.source.ok)
            swallowed, change = [], one.source._change
            one.source._change = swallowed.append
            real = one.source._read

            async def deaf(changes):
                async for _header, _events, _more in changes:
                    pass

            one.source._read = deaf
            one.source._again.set()
            await until(lambda: one.source.counters["watches"] == 2)
            server.put(key(100, "50:54:33:00:00:01", "192.0.2.1"), "{}")
            await until(lambda: one.source.lag > 0)
            one.source._read, one.source._change = real, change
            await until(lambda: one.sink.rows)
            assert one.source.ok
            assert one.source.counters["contacts lost"] == 0

    run(work())


def test_the_next_url_is_asked(server):
    async def work():
        async with agent(server, urls=("http://127.0.0.1:1", "http://127.0.0.1:2", server.url)) as one:
            await until(lambda: one.source.ok)

    run(work())


# --- TLS and users


def test_tls_and_users(server, tmp_path):
    async def work():
        server.kill()
        tls = Certificates(tmp_path / "tls")
        server.tls, server.url = tls, server.url.replace("http:", "https:")
        await aside(server.start)
        server.users()
        given = {"ca_file": str(tls.ca), "username": "agent", "password": PASSWORD}
        async with agent(server, tmp_path, **given) as one:
            one.source.publish({(100, M1): (A1,)}, {100: V1})
            await until(lambda: one.sink.rows)
            assert one.source.ok
            # A restarted etcd does not know its tokens any more.
            server.kill()
            await until(lambda: not one.source.ok)
            await aside(server.start)
            await until(lambda: one.source.ok)
            one.source.publish({(100, M1): (A1,), (100, M2): ()}, {100: V1})
            await until(lambda: (100, M2, V1) in one.sink.rows)
        assert not server.keys(), "they are taken back at the end"

        async with agent(server, tmp_path, **{**given, "password": "wrong"}) as one:
            await until(lambda: "invalid user ID or password" in one.source.why)
            assert not one.source.ok
            assert "wrong" not in one.source.why
        async with agent(server, tmp_path, ca_file=str(tls.ca)) as one:
            await until(lambda: "user name is empty" in one.source.why)
        async with agent(server, tmp_path, **{**given, "prefix": "/others"}) as one:
            await until(lambda: "permission denied" in one.source.why)
        other = Certificates(tmp_path / "other")
        async with agent(server, tmp_path, **{**given, "ca_file": str(other.ca)}) as one:
            await until(lambda: "certificate is refused" in one.source.why)
        async with agent(server, tmp_path, urls=(server.url.replace("127.0.0.1", "localhost"),), **given) as one:
            await until(lambda: "certificate is refused" in one.source.why)
        async with agent(server, tmp_path, urls=(server.url.replace("https", "http"),), **given) as one:
            await until(lambda: "http://" in one.source.why)

    run(work())


def test_a_user_where_nobody_is_asked_for_one(server, tmp_path):
    async def work():
        async with agent(server, tmp_path, username="agent", password="x") as one:
            await until(lambda: one.source.ok)

    run(work())


# --- publishing


def test_only_differences_are_written(server, tmp_path):
    async def work():
        many = {(100, bytes([0, 0, 0, 0, n >> 8, n & 255])): (A1,) for n in range(1, 501)}
        async with agent(server, tmp_path) as one:
            one.source.publish(many, {100: V1})
            await until(lambda: len(one.sink.rows) == 500 and one.source.counters["keys written"] == 500)
            before = server.revision()
            one.source.publish(dict(many), {100: V1})
            await asyncio.sleep(0.3)
            assert server.revision() == before
            changed = {**many, (100, M2): ()}
            del changed[100, bytes([0, 0, 0, 0, 0, 1])]
            changed[100, bytes([0, 0, 0, 0, 0, 2])] = (A2,)
            one.source.publish(changed, {100: V1})
            await until(lambda: len(one.sink.rows) == 500 and (100, M2, V1) in one.sink.rows)
            await until(lambda: one.source.counters["keys written"] == 502)
            assert one.source.counters["keys removed"] == 1
            # Another VTEP address: other keys.
            one.source.publish({(100, M2): ()}, {100: V2})
            await until(lambda: list(one.sink.rows) == [(100, M2, V2)])
            # Somebody takes a key away.
            order = one.sink.rows[100, M2, V2].order
            server.delete(key(100, "50:54:33:00:00:02", "2001:db8::2"))
            await until(lambda: one.sink.rows and one.sink.rows[100, M2, V2].order > order)
            # A VNI without a VTEP here.
            one.source.publish({(100, M2): (), (200, M2): ()}, {200: V2})
            await until(lambda: list(one.sink.rows) == [(200, M2, V2)])
        assert not server.keys()
        assert not server.leases()

    run(work())


def test_a_restart_leaves_and_takes_over(server, tmp_path):
    async def work():
        async with agent(server, tmp_path, keep=True) as one:
            one.source.publish({(100, M1): (A1,), (100, M2): (A1,)}, {100: V1})
            await until(lambda: len(one.sink.rows) == 2)
            order = one.sink.rows[100, M1, V1].order
        assert len(server.keys()) == 2
        async with agent(server, tmp_path) as one:
            await until(lambda: one.source.ok)
            # The addresses are not heard yet; that is no reason to take them back.
            one.source.publish({(100, M1): ()}, {100: V1})
            await asyncio.sleep(7)  # more than the lease
            assert len(server.keys()) == 2
            assert one.sink.rows[100, M1, V1].order == order
            assert one.source.counters["keys written"] == 0
            one.source.publish({(100, M1): (A2,)}, {100: V1})
            await until(lambda: one.sink.rows[100, M1, V1].addresses == (A1, A2))
            one.source._publisher._settled = 0.0  # as after a while
            await until(lambda: len(one.sink.rows) == 1 and one.sink.rows[100, M1, V1].addresses == (A2,))
        assert not server.keys()

    run(work())


def test_a_lease_that_is_gone(server, tmp_path):
    async def work():
        async with agent(server, tmp_path) as one:
            one.source.publish({(100, M1): (A1,)}, {100: V1})
            await until(lambda: one.sink.rows)
            order = one.sink.rows[100, M1, V1].order
            (lease,) = server.leases()
            server.ctl("lease", "revoke", lease)
            await until(lambda: one.sink.rows and one.sink.rows[100, M1, V1].order > order)
            assert server.leases() != [lease]
            assert one.source.ok

    run(work())


def test_a_host_that_dies_is_forgotten(server, tmp_path):
    async def work():
        async with agent(server) as watcher:
            async with agent(server, tmp_path, keep=True) as one:
                one.source.publish({(100, M1): (A1,)}, {100: V1})
                await until(lambda: watcher.sink.rows)
            began = time.monotonic()
            await until(lambda: not watcher.sink.rows, 15)
            assert time.monotonic() - began > 2

    run(work())


def test_of_two_that_claim_one_mac_the_later_wins(server, tmp_path):
    async def work():
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        async with agent(server, tmp_path / "a") as one, agent(server, tmp_path / "b") as two:
            told = []
            one.source.on_yield(lambda *key: told.append(key))
            one.source.publish({(100, M1): (A1,), (100, M2): ()}, {100: V1})
            await until(lambda: len(two.sink.rows) == 2)
            two.source.publish({(100, M1): (A1,)}, {100: V2})
            await until(lambda: set(one.sink.rows) == {(100, M1, V2), (100, M2, V1)})
            await until(lambda: one.source.yielded == [(100, M1)] == told)
            assert two.source.yielded == []
            # The same again, or another endpoint, is nothing new.
            one.source.publish({(100, M1): (A1,), (100, M2): (A2,)}, {100: V1})
            await until(lambda: one.sink.rows[100, M2, V1].addresses == (A2,))
            await asyncio.sleep(0.3)
            assert (100, M1, V1) not in one.sink.rows
            # It comes back.
            one.source.publish({(100, M2): (A2,)}, {100: V1})
            one.source.publish({(100, M1): (A1,), (100, M2): (A2,)}, {100: V1})
            await until(lambda: set(two.sink.rows) == {(100, M1, V1), (100, M2, V1)})
            await until(lambda: two.source.yielded == [(100, M1)])
            # And goes once more, as told by the other word for it.
            two.source.publish({(100, M1): (A1,)}, {100: V2}, learned=[(100, M1)])
            await until(lambda: set(one.sink.rows) == {(100, M1, V2), (100, M2, V1)})
            # The other one is gone for longer than its lease would last: here it still is.
            two.source.publish({}, {100: V2})
            await until(lambda: (100, M1, V1) in one.sink.rows, 15)

    run(work())


def test_two_that_claim_one_mac_at_the_same_moment(server, tmp_path):
    """Each time one of them is left, never both and never none."""

    async def work():
        names = ("a", "b")
        for name in names:
            (tmp_path / name).mkdir()
        async with agent(server, tmp_path / "a") as one, agent(server, tmp_path / "b") as two:
            await until(lambda: one.source.ok and two.source.ok)
            for number in range(1, 31):
                one.source.publish({(number, M1): ()}, {number: V1})
                two.source.publish({(number, M1): ()}, {number: V2})
                await until(lambda: len(one.source.yielded) + len(two.source.yielded) == 1)
                (left,) = {V1, V2} - ({V1} if one.source.yielded else {V2})
                await until(lambda left=left, number=number: list(one.sink.rows) == [(number, M1, left)])
                await until(lambda: one.sink.rows.keys() == two.sink.rows.keys())

    run(work())


def test_a_mac_that_is_used_twice(server, tmp_path, monkeypatch):
    """It is claimed in turn only so often; the trouble is told, with both VTEPs."""
    monkeypatch.setattr(publisher, "HOLD", 2.0)

    async def work():
        names = ("a", "b")
        for name in names:
            (tmp_path / name).mkdir()
        async with agent(server, tmp_path / "a") as one, agent(server, tmp_path / "b") as two:
            for _dummy in range(5):
                one.source.publish({(100, M1): ()}, {100: V1}, learned=[(100, M1)])
                await until(lambda: list(one.sink.rows) == [(100, M1, V1)])
                two.source.publish({(100, M1): ()}, {100: V2}, learned=[(100, M1)])
                await until(lambda: one.source.yielded and list(one.sink.rows) == [(100, M1, V2)])
            assert one.sink.said("192.0.2.1 and 2001:db8::2 in turn")
            one.source.publish({(100, M1): ()}, {100: V1}, learned=[(100, M1)])
            await asyncio.sleep(1)
            assert list(one.sink.rows) == [(100, M1, V2)]
            await until(lambda: list(one.sink.rows) == [(100, M1, V1)])

    run(work())


def test_a_claim_that_came_while_there_was_no_contact(server, tmp_path):
    async def work():
        async with Between(3379, 2379) as between, agent(server, tmp_path, urls=("http://127.0.0.1:3379",)) as one:
            one.source.publish({(100, M1): (), (100, M2): ()}, {100: V1})
            await until(lambda: one.source.counters["keys written"] == len(one.sink.rows) == 2)
            await claimed_meanwhile(server, one, between)

    run(work())


def test_a_claim_that_came_after_one_of_which_only_the_watch_told(server, tmp_path, monkeypatch):
    """The answer was lost; for all that, what was claimed then is older than what others have claimed since."""
    transaction = client.Etcd.transaction

    async def work():
        async with Between(3379, 2379) as between, agent(server, tmp_path, urls=("http://127.0.0.1:3379",)) as one:

            async def unanswered(*words):
                await transaction(*words)
                await until(lambda: len(one.sink.rows) == 2)
                between.swallow = True
                raise client.EtcdError("no answer")

            monkeypatch.setattr(client.Etcd, "transaction", unanswered)
            one.source.publish({(100, M1): (), (100, M2): ()}, {100: V1})
            await until(lambda: between.swallow)
            monkeypatch.undo()
            assert one.source.counters["keys written"] == 0
            await claimed_meanwhile(server, one, between)

    run(work())


async def claimed_meanwhile(server, one, between):
    """Contact is lost for longer than what `one` published lasts, and another VTEP claims the first of its two endpoints."""
    between.swallow = True
    server.put(key(100, "50:54:33:00:00:01", "2001:db8::2"), "{}")
    await until(lambda: not one.source.ok, 12)
    await until(lambda: not server.leases(), 12)
    between.swallow = False
    await until(lambda: set(one.sink.rows) == {(100, M1, V2), (100, M2, V1)} and one.source.ok)
    assert one.source.yielded == [(100, M1)]


def test_writing_that_is_not_allowed_does_not_end_reading(server, tmp_path):
    async def work():
        server.users()
        server.ctl("role", "revoke-permission", "--prefix=true", "agent", "/vtep.fabric/")
        server.ctl("role", "grant-permission", "--prefix=true", "agent", "read", "/vtep.fabric/")
        async with agent(server, tmp_path, username="agent", password=PASSWORD) as one:
            one.source.publish({(100, M1): ()}, {100: V1})
            await until(lambda: one.sink.said("permission denied"))
            server.put(key(100, "50:54:33:00:00:02", "192.0.2.1"), "{}")
            await until(lambda: one.sink.rows)
            assert one.source.ok

    run(work())


def test_base64_of_keys_is_what_etcd_takes(server):
    """A key of every octet comes back as it was."""

    async def work():
        link = client.Etcd(server.url)
        every = bytes(range(1, 256))
        done, _header, _rows = await link.transaction([client.put(every, every, 0)], [client.unchanged(every, 0)])
        assert done
        _header, row = await link.get(every)
        assert (row.key, row.value) == (every, every)
        done, _header, rows = await link.transaction([], [client.unchanged(every, 0)], [client.newest(every)])
        assert (done, rows) == (False, [[row._replace(value=b"")]])
        done, _header, rows = await link.transaction([], [client.all_older(every[:9], row.revision)])
        assert not done
        done, _header, rows = await link.transaction([], [client.all_older(every[:9], row.revision + 1)])
        assert done
        done, _header, rows = await link.transaction([], [client.all_older(b"nothing like it", 1)])
        assert done
        link.close()
        assert re.search(b64encode(every[:30]).decode()[:20], server.ctl("get", "--prefix", "\x01", "-w", "json"))

    run(work())
