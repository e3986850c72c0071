# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are written as they are asked for, judged by `bridge` and `ip`; how they age; and what modules make of them."""

import errno
import json
import socket
import time
from itertools import chain
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.neighbor import NeighborResource
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import dynamic_rows, rtnl
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.dynamic_rows import (
    FDB,
    NEIGHBOR,
    NEW_FDB,
    NO_FDB,
    NO_NEIGHBOR,
    DynamicRows,
)
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.neighbor_watch import NeighborWatch
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError
from device_support import MARKS, private, sh
from miss_support import ALL, arp, closing, frame, mac, packed, send, solicitation, until
from table_support import converged

pytestmark = MARKS
A, B, C = (mac(f"50:54:33:00:00:0{n}") for n in (1, 2, 3))
GROUP = mac("33:33:ff:00:00:09")
V4, V4B = packed("192.0.2.2"), packed("192.0.2.3")
V6, V6B = packed("2001:db8:2::1"), packed("2001:db8:3::1")
IP4, IP6 = packed("10.0.0.9"), packed("fd00::9")


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh(
            "ip link set lo up",
            "ip link add vx4 type vxlan id 100 dstport 4789 local 192.0.2.1 nolearning l2miss l3miss proxy ageing 2",
            "ip link add vx6 type vxlan id 101 dstport 4790 local 2001:db8:9::1 nolearning l2miss l3miss proxy",
            "ip link set vx4 up",
            "ip link set vx6 up",
        )
        yield


@pytest.fixture
def rows(namespace):
    with closing(DynamicRows()) as made:
        yield made


@pytest.fixture
def vx4(namespace):
    return socket.if_nametoindex("vx4")


@pytest.fixture
def vx6(namespace):
    return socket.if_nametoindex("vx6")


def fdb(name):
    return {
        (one["mac"], one.get("dst"), one["state"] or "reachable", *one["flags"])
        for one in json.loads(sh(f"bridge -d -j fdb show dev {name}"))
    }


def neighbors(name):
    """What `ip` shows but the kernel's own rows of multicast addresses."""
    return {
        (one["dst"], one.get("lladdr"), one["state"][0], one.get("protocol"))
        for one in json.loads(sh(f"ip -d -j neigh show dev {name}"))
    }


def plain(found):
    return [row[:2] for row in found]


def test_rows_as_tools_see_them(rows, vx4, vx6):
    rows.put(
        [
            (FDB, vx4, A, V4),
            (FDB, vx6, A, V6),
            (NEIGHBOR, vx4, IP4, A),
            (NEIGHBOR, vx4, IP6, A),
            (NEIGHBOR, vx6, IP4, B),
        ]
    )
    assert rows.failures() == []
    assert fdb("vx4") == {("50:54:33:00:00:01", "192.0.2.2", "reachable", "self")}
    assert fdb("vx6") == {("50:54:33:00:00:01", "2001:db8:2::1", "reachable", "self")}
    assert neighbors("vx4") == {(ip, "50:54:33:00:00:01", "PERMANENT", "119") for ip in ("10.0.0.9", "fd00::9")}
    assert neighbors("vx6") == {("10.0.0.9", "50:54:33:00:00:02", "PERMANENT", "119")}
    ours = fdb("vx4")
    sh(
        "bridge fdb del 50:54:33:00:00:01 dev vx4",
        "bridge fdb add 50:54:33:00:00:01 dev vx4 dst 192.0.2.2 self dynamic",
    )
    assert fdb("vx4") == ours
    assert plain(rows.fdb(vx4)) == [(A, V4)] and plain(rows.fdb(vx6)) == [(A, V6)]
    assert sorted(rows.neighbors(vx4)) == sorted([(IP4, A, 0x80), (IP6, A, 0x80)])
    assert rows.neighbors(vx6) == [(IP4, B, 0x80)]


def test_operations_are_carried_out_in_order(rows, vx4):
    rows.put([(FDB, vx4, A, V4), (FDB, vx4, A, V4B), (FDB, vx4, B, V4), (NO_FDB, vx4, B, None), (FDB, vx4, C, V4)])
    rows.put([(NEIGHBOR, vx4, IP4, A), (NO_NEIGHBOR, vx4, IP4, None), (NEIGHBOR, vx4, IP4, C)])
    rows.put([])
    assert sorted(plain(rows.fdb(vx4))) == [(A, V4B), (C, V4)]
    assert plain(rows.neighbors(vx4)) == [(IP4, C)]
    rows.put(
        [(NO_FDB, vx4, A, None), (NO_FDB, vx4, C, None), (NO_NEIGHBOR, vx4, IP4, None), (NO_NEIGHBOR, vx4, IP6, None)]
    )
    assert (rows.fdb(vx4), rows.neighbors(vx4), rows.failures()) == ([], [], [])


def test_what_was_refused_is_told_and_the_rest_is_done(rows, vx4, vx6):
    bad = [(FDB, vx4, A, V6), (FDB, 9999, A, V4), (NEIGHBOR, 9999, IP4, A), (FDB, socket.if_nametoindex("lo"), A, V4)]
    fine = [
        (NO_FDB, vx4, B, None),
        (NO_FDB, 9999, B, None),
        (NO_NEIGHBOR, vx4, IP6, None),
        (NO_NEIGHBOR, 9999, IP6, None),
    ]
    rows.put([*bad, *fine, (FDB, vx4, C, V4)])
    told = rows.failures()
    assert [op for op, _errno, _words in told] == bad
    assert [code for _op, code, _words in told][1:3] == [errno.ENODEV] * 2
    assert any(words for _op, _errno, words in told), "the kernel's own words"
    assert plain(rows.fdb(vx4)) == [(C, V4)] and rows.failures() == []


@pytest.mark.parametrize("words", ["permanent", "static", "dynamic extern_learn", "dynamic"])
def test_a_new_row_is_refused_where_its_mac_has_one(rows, vx4, vx6, words):
    sh(f"bridge fdb add 50:54:33:00:00:01 dev vx4 dst 192.0.2.3 self {words}")
    before = fdb("vx4")
    ops = [(NEW_FDB, vx4, A, V4), (NEW_FDB, vx4, B, V4), (NEW_FDB, vx4, B, V4B), (NEW_FDB, vx6, A, V6)]
    rows.put(ops)
    assert [(op, code) for op, code, _words in rows.failures()] == [(ops[0], errno.EEXIST), (ops[2], errno.EEXIST)]
    assert fdb("vx4") == before | {("50:54:33:00:00:02", "192.0.2.2", "reachable", "self")}
    assert plain(rows.fdb(vx6)) == [(A, V6)]
    assert plain(rows.of(vx4, [A])) == ([(A, V4B)] if words == "dynamic" else [])
    assert rows.absent(vx4, [A, C]) == [C]


def test_more_refusals_than_the_socket_holds(rows, vx4, monkeypatch):
    monkeypatch.setattr(rtnl, "RECEIVE_BUFFER", 1 << 12)
    with closing(DynamicRows()) as small:
        small.put([(FDB, 9999, A, V4)] * 1000 + [(FDB, vx4, A, V4)])
        told = small.failures()
        assert 1 < len(told) < 1000
        assert [code for op, code, _words in told if op is None] == [errno.ENOBUFS]
        small.put([(FDB, 9998, A, V4), (FDB, vx4, B, V4)])
        assert [op for op, *_more in small.failures()] == [(FDB, 9998, A, V4)]
        assert sorted(plain(small.fdb(vx4))) == [(A, V4), (B, V4)]


def test_only_rows_of_the_agents_kind_are_read(rows, vx4, vx6):
    rows.put([(FDB, vx4, A, V4), (NEIGHBOR, vx4, IP4, A)])
    sh(
        "ip link add br0 type bridge",
        "ip link set br0 up",
        "ip link set vx4 master br0",
        "bridge fdb add 50:54:33:00:00:11 dev vx4 dst 192.0.2.2 self permanent",
        "bridge fdb add 50:54:33:00:00:12 dev vx4 dst 192.0.2.2 self static",
        "bridge fdb add 50:54:33:00:00:13 dev vx4 dst 192.0.2.2 self dynamic extern_learn",
        "bridge fdb add 50:54:33:00:00:14 dev vx4 master dynamic",
        "bridge fdb add 33:33:ff:00:00:09 dev vx4 dst 192.0.2.2 self dynamic",
        "bridge fdb add 50:54:33:00:00:16 dev vx6 dst 2001:db8:2::1 self dynamic",
        "bridge fdb add 50:54:33:00:00:17 dev vx4 dst 192.0.2.2 vni 7 port 4799 self dynamic",
        "ip neigh add 10.0.0.10 lladdr 50:54:33:00:00:01 dev vx4",
        "ip neigh add 10.0.0.11 lladdr 50:54:33:00:00:01 dev vx4 protocol 118",
        "ip neigh add 10.0.0.12 lladdr 50:54:33:00:00:01 dev vx4 nud reachable protocol 119",
        "ip neigh add 10.0.0.13 lladdr 50:54:33:00:00:01 dev vx6 protocol 119",
        "ip neigh add proxy 10.0.0.14 dev vx4 protocol 119",
    )
    assert sorted(plain(rows.fdb(vx4))) == [(A, V4), (mac("50:54:33:00:00:17"), V4)]
    assert plain(rows.neighbors(vx4)) == [(IP4, A)]
    assert (rows.fdb(9999), rows.neighbors(9999)) == ([], [])


def test_3000_rows_of_both_tables(rows, vx6):
    macs = [b"\x52\0" + n.to_bytes(4, "big") for n in range(3000)]
    ips = [IP6[:8] + n.to_bytes(8, "big") for n in range(1, 3001)]
    rows.put([(FDB, vx6, one, V6) for one in macs])
    rows.put([(NEIGHBOR, vx6, ip, one) for ip, one in zip(ips, macs)])
    assert rows.failures() == []
    assert sorted(plain(rows.fdb(vx6))) == [(one, V6) for one in macs]
    assert sorted(plain(rows.neighbors(vx6))) == list(zip(ips, macs))
    pieces = rows.fdb_pieces(vx6)
    first = next(pieces)
    rows.append(vx6, GROUP, V6)
    rest = list(pieces)
    assert len(rest) > 2 and set(plain(chain(first, *rest))) == {(one, V6) for one in macs}
    assert rows.absent(vx6, [A, *macs, GROUP, B]) == [A, B]
    assert rows.absent(vx6, []) == [] and rows.absent(9999, [A]) == [A]
    assert len(fdb("vx6")) == 3001


# Ageing


def test_since_when_a_row_is_out_of_use(rows, vx4):
    """Frames by it count, and so do answers to those who ask for its neighbour."""
    rows.put(
        [(FDB, vx4, A, V4), (FDB, vx4, B, V4), (FDB, vx4, C, V4), (NEIGHBOR, vx4, IP4, B), (NEIGHBOR, vx4, IP6, B)]
    )
    time.sleep(1)
    send("vx4", frame(A), arp("10.0.0.9"))
    used = {key: seconds for key, _dst, seconds, _state in rows.fdb(vx4)}
    assert used[A] < 0.5 and used[B] < 0.5 and 0.9 < used[C] < 3
    time.sleep(1)
    send("vx4", solicitation("fd00::9"))
    used = {key: seconds for key, _dst, seconds, _state in rows.fdb(vx4)}
    assert used[A] > 0.9 and used[B] < 0.5


@pytest.mark.parametrize(
    "sweep_by",
    [lambda rows, index: rows.fdb(index, keep=True), lambda rows, index: list(rows.fdb_pieces(index, keep=True))],
    ids=["at once", "in pieces"],
)
def test_what_is_in_use_stays_and_the_rest_goes_and_is_told(rows, vx4, sweep_by):
    """The kernel looks every 10 s; the time that it leaves to rows of this device is 2 s."""
    rows.put([(FDB, vx4, A, V4), (FDB, vx4, B, V4)])
    gone = []
    with closing(NeighborWatch()) as watch:

        def sweep():
            send("vx4", frame(A))
            sweep_by(rows, vx4)
            gone.extend(event for event in watch.read() if event.family == 7)
            return gone

        until(sweep)
    assert [(event.gone, event.index, event.key, event.master, event.dst) for event in gone] == [(True, vx4, B, 0, V4)]
    assert plain(rows.fdb(vx4)) == [(A, V4)] and fdb("vx4") == {("50:54:33:00:00:01", "192.0.2.2", "reachable", "self")}
    # And when it is out of use, `keep` keeps it no longer.
    until(lambda: not rows.fdb(vx4, keep=True))


def test_keeping_neither_brings_back_nor_changes_a_row(rows, vx4):
    rows.put([(FDB, vx4, A, V4), (FDB, vx4, B, V4)])
    before = [(A, V4, 0.0, 2, 1.0), (B, V4, 0.0, 2, 1.0), (C, V4, 0.0, 2, 1.0)]
    rows.put([(FDB, vx4, A, V4B), (NO_FDB, vx4, B, None)])
    rows._keep(vx4, before)
    assert plain(rows.fdb(vx4)) == [(A, V4B)]
    assert rows.failures() == []


@pytest.mark.parametrize("pieces", [False, True])
def test_what_somebody_makes_permanent_while_rows_are_read_stays_so(rows, vx4, pieces, monkeypatch):
    macs = [b"\x52\0" + n.to_bytes(4, "big") for n in range(1000)]
    rows.put([(FDB, vx4, one, V4) for one in macs])
    first, dumped = [], dynamic_rows._dumped

    def meddled(*arguments):
        for found in dumped(*arguments):
            if first and not first[1:]:
                sh(f"bridge fdb replace {first[0].hex(':')} dev vx4 dst 192.0.2.2 self permanent")
                first.append(None)
            first.extend(row[0] for row in found[:1] if not first)
            yield [(mac, dst, 0.0, state, 9.0) for mac, dst, _used, state, _updated in found]  # all have been used

    monkeypatch.setattr(dynamic_rows, "_dumped", meddled)
    list(rows.fdb_pieces(vx4, keep=True) if pieces else rows.fdb(vx4, keep=True))
    assert first[1:], "it was read in one piece"
    assert (first[0].hex(":"), "192.0.2.2", "permanent", "self") in fdb("vx4")


def test_kernels_whose_keeping_looks_like_use(rows, vx4, monkeypatch):
    """Before Linux 6.15 NTF_USE sets `used`: what was kept is not kept again for that."""
    kept = []
    monkeypatch.setattr(rows._writer, "socket", SimpleNamespace(send=kept.append, close=rows._writer.close))

    def keep(*told):
        monkeypatch.setattr(dynamic_rows, "_dumped", lambda *_: [told])
        assert rows.fdb(vx4, keep=True) == [row[:4] for row in told]

    keep((A, V4, 1.0, 2, 50.0))
    assert len(kept) == 1, "used since it was written"
    time.sleep(0.2)
    keep((A, V4, 0.2, 2, 50.2))
    assert len(kept) == 1, "that was we"
    time.sleep(0.2)
    keep((A, V4, 0.1, 2, 50.4), (B, V4, 50.4, 2, 50.4))
    assert len(kept) == 2 and A in kept[1] and B not in kept[1]


# Groups


def test_destinations_of_groups(rows, vx4, vx6):
    rows.put([(FDB, vx4, A, V4)])
    assert rows.groups(vx4) == {}
    rows.append(vx4, ALL, V4)
    rows.append(vx4, ALL, V4B)
    rows.append(vx6, GROUP, V6)
    assert rows.groups(vx4) == {ALL: {V4, V4B}} and rows.groups(vx6) == {GROUP: {V6}}
    assert {row for row in fdb("vx4") if row[0] == "ff:ff:ff:ff:ff:ff"} == {
        ("ff:ff:ff:ff:ff:ff", dst, "permanent", "self") for dst in ("192.0.2.2", "192.0.2.3")
    }
    ours = fdb("vx6")
    sh("bridge fdb del 33:33:ff:00:00:09 dev vx6", "bridge fdb append 33:33:ff:00:00:09 dev vx6 dst 2001:db8:2::1")
    assert fdb("vx6") == ours
    for _twice in range(2):
        rows.remove(vx4, ALL, V4)
        assert rows.groups(vx4) == {ALL: {V4B}}
    rows.remove(vx4, ALL, V4B)
    rows.remove(9999, ALL, V4B)
    assert rows.groups(vx4) == {}
    sh("bridge fdb append 00:00:00:00:00:00 dev vx4 dst 192.0.2.2")
    assert rows.groups(vx4) == {}
    with pytest.raises(KernelError, match=r"fdb get ff:ff:ff:ff:ff:ff ifindex 9999: .*\(errno 19\)"):
        rows.append(9999, ALL, V4)


@pytest.mark.parametrize("words", ["permanent", "static", "permanent extern_learn"])
def test_a_groups_entry_keeps_the_state_and_flags_that_it_has(rows, vx4, words):
    sh(f"bridge fdb append ff:ff:ff:ff:ff:ff dev vx4 dst 192.0.2.2 self {words}")
    before = rows._entry(vx4, ALL)
    rows.append(vx4, ALL, V4B)
    assert rows._entry(vx4, ALL) == before and rows.groups(vx4) == {ALL: {V4, V4B}}


# What module neighbor makes of the agent's rows


def modified(table, **more):
    rows = converged(NeighborResource(False), False, dev=["vx4"], table=table, **more).result["rows"]
    return rows["added"], rows["changed"], rows["removed"]


def test_configured_rows_take_the_agents_place_and_nothing_else_is_purged(rows, vx4):
    rows.put([(NEIGHBOR, vx4, IP4, A), (NEIGHBOR, vx4, IP6, A)])
    assert modified("10.0.0.9 lladdr 50:54:33:00:00:01 dev vx4\n", purge="owned") == (0, 1, 0)
    assert neighbors("vx4") == {
        ("10.0.0.9", "50:54:33:00:00:01", "PERMANENT", "118"),
        ("fd00::9", "50:54:33:00:00:01", "PERMANENT", "119"),
    }
    assert plain(rows.neighbors(vx4)) == [(IP6, A)]
    assert modified("10.0.0.9 lladdr 50:54:33:00:00:01 dev vx4\n", purge="all") == (0, 0, 1)
    rows.put([(NEIGHBOR, vx4, IP6, A)])
    assert modified("fd00::9 dev vx4\n", state="absent") == (0, 0, 1)
    assert rows.neighbors(vx4) == []
