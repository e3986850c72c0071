# SPDX-License-Identifier: GPL-3.0-or-later
"""Flood lists against the kernel, judged by `bridge`; and vxrd's ways with what others have in them."""

import json
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.flood_list import FloodLists, Row
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import flood_record
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.flood_record import FloodRecord
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.flooder import Flooder, plan
from device_support import MARKS, private, sh
from vxrd_support import ZERO, flood, ip

pytestmark = MARKS
A, B, C, D = (ip(f"2001:db8:{n}::1") for n in (1, 2, 3, 4))
MARK, EXTERN = 0x10, 0x10  # NUD_PROBE in the state, NTF_EXT_LEARNED in the flags


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh(
            "ip link set lo up",
            "ip link add vx0 type vxlan id 100 dstport 4789 local 2001:db8:9::1",
            "ip link add vx4 type vxlan id 200 dstport 4790 local 192.0.2.1",
        )
        yield


@pytest.fixture
def lists(namespace):
    made = FloodLists()
    yield made
    made.close()


@pytest.fixture
def record(tmp_path, lists):
    return lambda: FloodRecord(tmp_path / "state", lists.space())


def device(name):
    return SimpleNamespace(name=name, index=socket.if_nametoindex(name))


def shown(name):
    return json.loads(sh(f"bridge -j fdb show dev {name}"))


def append(name, dst, more="self permanent"):
    sh(f"bridge fdb append {ZERO} dev {name} dst {dst} {more}")


def test_rows_are_as_bridge_writes_them(lists):
    lists.append(device("vx0"), [A, B])
    lists.append(device("vx4"), [ip("192.0.2.2")])
    ours = shown("vx0"), shown("vx4"), lists.read(device("vx0"))
    sh(f"bridge fdb del {ZERO} dev vx0", f"bridge fdb del {ZERO} dev vx4")
    append("vx0", "2001:db8:1::1")
    append("vx0", "2001:db8:2::1")
    append("vx4", "192.0.2.2")
    assert ours == (shown("vx0"), shown("vx4"), lists.read(device("vx0")))
    assert ours[2] == [Row(A, None, None, None, None, None, 0xC0, 2), Row(B, None, None, None, None, None, 0xC0, 2)]


def test_only_the_devices_own_all_zero_rows_are_read(lists):
    append("vx0", "2001:db8:1::1")
    append("vx4", "192.0.2.2")
    sh("bridge fdb append 50:54:33:00:00:01 dev vx0 dst 2001:db8:7::1")
    sh("bridge fdb append 01:00:5e:00:00:01 dev vx0 dst 2001:db8:8::1")
    assert [row.dst for row in lists.read(device("vx0"))] == [A]
    assert [row.dst for row in lists.read(device("vx4"))] == [ip("192.0.2.2")]
    sh("ip link add vxempty type vxlan id 300 dstport 4791 local 192.0.2.1")
    assert lists.read(device("vxempty")) == []


def test_what_a_row_may_have_besides(lists):
    append("vx0", "2001:db8:1::1", "vni 7 port 4799 via lo")
    append("vx0", "2001:db8:2::1", "via lo")
    (first, second) = lists.read(device("vx0"))
    assert (first.vni, first.port, first.via, first.plain, first.reaches) == (7, 4799, 1, False, False)
    assert (second.plain, second.reaches) == (False, True)
    sh("ip nexthop add id 1 via 192.0.2.7 fdb", "ip nexthop add id 10 group 1 fdb")
    sh(f"bridge fdb add {ZERO} dev vx4 nhid 10")
    (row,) = lists.read(device("vx4"))
    assert (row.nhid, row.dst, row.plain) == (10, None, False)


@pytest.mark.parametrize(
    "words", ["self static", "self dynamic", "self permanent extern_learn", "self permanent router"]
)
def test_an_entry_keeps_the_state_and_flags_that_it_has(lists, words):
    append("vx0", "2001:db8:1::1", words)
    (before,) = lists.read(device("vx0"))
    lists.append(device("vx0"), [B, C], before)
    rows = lists.read(device("vx0"))
    assert [(row.dst, row.nud, row.flags) for row in rows] == [(dst, before.nud, before.flags) for dst in (A, B, C)]
    lists.delete(device("vx0"), [B, C])
    assert lists.read(device("vx0")) == [before]


def test_an_append_without_a_look_would_take_the_mark(lists):
    """The reason for `like`."""
    lists.append(device("vx0"), [A], Row(A, None, None, None, None, None, 0xD0, 2))
    (marked,) = lists.read(device("vx0"))
    assert marked.marked
    lists.append(device("vx0"), [B], marked)
    assert all(row.marked for row in lists.read(device("vx0")))
    lists.append(device("vx0"), [C])
    assert not any(row.marked for row in lists.read(device("vx0")))


def test_deleting_what_is_gone_is_no_error_and_errors_have_the_kernels_words(lists):
    lists.append(device("vx0"), [A])
    lists.delete(device("vx0"), [B, A, C])
    assert flood("vx0") == []
    lists.delete(device("vx0"), [A])
    with pytest.raises(KernelError, match=rf"fdb append {ZERO} dev vx4 dst 2001:db8:1::1.*: .*\(errno"):
        lists.append(device("vx4"), [A])
    gone = SimpleNamespace(name="vx9", index=9999)
    with pytest.raises(KernelError, match="vx9"):
        lists.append(gone, [A])
    append("vx0", "2001:db8:1::1", "via lo")
    lists.delete(device("vx0"), [A])
    assert flood("vx0") == ["2001:db8:1::1"], "a row with more to it than the address is not the plain one"


def test_2000_destinations(lists):
    many = [ip(f"2001:db8:aaaa::{n:x}") for n in range(1, 2001)]
    lists.append(device("vx0"), many)
    assert [row.dst for row in lists.read(device("vx0"))] == many
    assert len(flood("vx0")) == 2000
    lists.delete(device("vx0"), many[:-1])
    assert flood("vx0") == ["2001:db8:aaaa::7d0"]


# vxrd's record of its own


def test_ours_come_and_go_and_theirs_stay(lists, record):
    append("vx0", "2001:db8:1::1")
    append("vx0", "2001:db8:2::1", "via lo")
    append("vx0", "2001:db8:3::1", "vni 7")
    theirs = shown("vx0")
    flooder = Flooder(lists, record())
    # A is there already, B gets a copy by a row with a device, C only for another VNI.
    made = flooder.apply(device("vx0"), {A, B, C, D})
    assert set(made.append) == {C, D} and flooder.ours(device("vx0")) == {C, D}
    assert flooder.apply(device("vx0"), {A, B, C, D}).append == ()
    # Whoever comes after us knows the same.
    after = Flooder(lists, record())
    assert after.ours(device("vx0")) == {C, D}
    assert set(after.apply(device("vx0"), {C}).delete) == {D}
    assert set(after.apply(device("vx0"), set()).delete) == {C}
    assert shown("vx0") == theirs
    assert after.apply(device("vx0"), set()) is None
    assert (after.appended, after.deleted) == (0, 2)


def test_what_somebody_took_away_is_put_back_and_is_not_deleted_when_he_puts_it_back(lists, record):
    flooder = Flooder(lists, record())
    flooder.apply(device("vx0"), {A, B})
    sh(f"bridge fdb del {ZERO} dev vx0 dst 2001:db8:1::1")
    assert flooder.apply(device("vx0"), {A, B}).append == (A,)
    sh(f"bridge fdb del {ZERO} dev vx0 dst 2001:db8:1::1")
    flooder.apply(device("vx0"), {B})
    append("vx0", "2001:db8:1::1")
    flooder.apply(device("vx0"), set())
    assert flood("vx0") == ["2001:db8:1::1"]


def test_a_list_that_the_collection_took_over_is_left_alone(lists, record):
    flooder = Flooder(lists, record())
    flooder.apply(device("vx0"), {A, B})
    rows = lists.read(device("vx0"))
    lists.append(device("vx0"), [A], replace(rows[0], nud=rows[0].nud | MARK))
    for wanted in ({A, C}, set(), {C}):
        flooder.apply(device("vx0"), wanted)
        assert flood("vx0") == ["2001:db8:1::1", "2001:db8:2::1"]
        assert all(row.marked for row in lists.read(device("vx0")))
    assert "taken over by a module of the collection" in flooder.refused[device("vx0").index]
    sh(f"bridge fdb del {ZERO} dev vx0")
    flooder.apply(device("vx0"), {C})
    assert flood("vx0") == ["2001:db8:3::1"] and flooder.refused == {}


def test_a_nexthop_group_is_left_alone(lists, record):
    sh("ip nexthop add id 1 via 2001:db8:2::1 fdb", "ip nexthop add id 10 group 1 fdb")
    sh(f"bridge fdb add {ZERO} dev vx0 nhid 10")
    flooder = Flooder(lists, record())
    flooder.apply(device("vx0"), {A})
    assert "nexthop group" in flooder.refused[device("vx0").index]
    assert [row.get("nhid") for row in shown("vx0")] == [10]


class Killed(Exception):
    """Stands for kill -9."""


@pytest.mark.parametrize("at", ["append", "delete"])
def test_a_kill_at_any_point_leaves_no_row_that_nobody_knows(lists, record, at, monkeypatch):
    flooder = Flooder(lists, record())
    flooder.apply(device("vx0"), {A, B})
    original = getattr(FloodLists, at)

    def killed(self, *args):
        original(self, *args)
        raise Killed

    monkeypatch.setattr(FloodLists, at, killed)
    with pytest.raises(Killed):
        flooder.apply(device("vx0"), {B, C})
    monkeypatch.undo()
    Flooder(lists, record()).apply(device("vx0"), set())
    assert flood("vx0") == []


def test_the_record_is_of_this_boot_this_namespace_and_this_device(lists, record, monkeypatch, tmp_path):
    Flooder(lists, record()).apply(device("vx0"), {A})
    (file,) = (tmp_path / "state").iterdir()
    assert json.loads(file.read_text())["destinations"] == ["2001:db8:1::1"]
    # The device goes and another one with its name comes: its rows are not ours.
    sh("ip link del vx0", "ip link add vx0 type vxlan id 100 dstport 4789 local 2001:db8:9::1")
    append("vx0", "2001:db8:1::1")
    flooder = Flooder(lists, record())
    flooder.apply(device("vx0"), set())
    assert flood("vx0") == ["2001:db8:1::1"]
    flooder.forget({device("vx0").index: None})
    assert list((tmp_path / "state").iterdir()) == []
    # After a boot there are the same indexes again.
    flooder.apply(device("vx0"), {A, B})
    monkeypatch.setattr(flood_record, "BOOT", tmp_path / "boot")
    (tmp_path / "boot").write_text("another\n")
    assert record().get(device("vx0").index) == frozenset()
    monkeypatch.undo()
    # Another namespace has the same indexes at the same time.
    assert list((tmp_path / "state").iterdir()) == []
    Flooder(lists, record()).apply(device("vx0"), {A, C})
    with private():
        sh("ip link add vx0 type vxlan id 100 dstport 4789 local 2001:db8:9::1")
        other = FloodLists()
        assert list(FloodRecord(tmp_path / "state", other.space())) == []
        other.close()
    assert record().get(device("vx0").index) == {C}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', '{"boot": "%s", "destinations": ["x"]}', "\xff"])
def test_a_damaged_record_is_told_and_counts_as_none(lists, record, tmp_path, text):
    Flooder(lists, record()).apply(device("vx0"), {A})
    (file,) = (tmp_path / "state").iterdir()
    boot = flood_record.BOOT.read_text().strip()
    file.write_bytes((text % boot if "%s" in text else text).encode("latin-1"))
    found = record()
    assert found.get(device("vx0").index) == frozenset()
    if text != '{"boot": 1}':
        assert len(found.faults) == 1 and "is damaged" in found.faults[0]


def test_without_a_record_the_rows_are_written_all_the_same(lists, tmp_path):
    (tmp_path / "file").write_text("")
    flooder = Flooder(lists, FloodRecord(tmp_path / "file", lists.space()))
    for _dummy in range(2):
        with pytest.raises(KernelError, match="write .*File exists"):
            flooder.apply(device("vx0"), {A})
        assert flood("vx0") == ["2001:db8:1::1"]
    (tmp_path / "file").unlink()
    flooder.apply(device("vx0"), {A})
    assert Flooder(lists, FloodRecord(tmp_path / "file", lists.space())).ours(device("vx0")) == {A}


def test_the_plan_is_empty_when_nothing_is_to_do():
    row = Row(A, None, None, None, None, None, 0xC0, 2)
    made = plan([row], frozenset([A]), {A})
    assert (made.append, made.delete, made.record, made.refused) == ((), (), {A}, None)
