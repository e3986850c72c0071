# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of groups: which are the agent's stays known, whatever fails and whenever it is killed."""

import errno
import json
import logging
from types import SimpleNamespace

import pytest
from agent_support import ip, vtep
from ansible_collections.vtep.fabric.plugins.module_utils._agent import groups as module
from ansible_collections.vtep.fabric.plugins.module_utils._agent.groups import BROADCAST, Groups, group
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError

VX = SimpleNamespace(index=5, name="vx100")
GROUPS = [group(ip(number, 6)) for number in range(1, 20)]


class Rows:
    """A kernel's rows. refuse: {(MAC, destination): errno}. watch: called before each change."""

    def __init__(self):
        self.there, self.refuse, self.watch, self.tries, self.renewed = {}, {}, None, 0, 0

    def _change(self, mac, dst):
        self.tries += 1
        if self.watch:
            self.watch(mac, dst)
        if (mac, dst) in self.refuse:
            raise KernelError("fdb append", self.refuse[mac, dst])

    def append(self, _index, mac, dst):
        self._change(mac, dst)
        self.there.setdefault(mac, set()).add(dst)

    def remove(self, _index, mac, dst):
        self._change(mac, dst)
        self.there[mac].discard(dst)

    def groups(self, _index):
        return {mac: set(found) for mac, found in self.there.items() if found}

    def renew(self):
        self.renewed += 1


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def groups(rows, tmp_path):
    return Groups(rows, tmp_path, logging.getLogger("test"))


def recorded(tmp_path):
    """What the agent after a kill would know."""
    return Groups(Rows(), tmp_path, logging.getLogger("test")).ours.get(5, set())


def review(groups, rows, want):
    return groups.review(VX, want, rows.groups(5))


def test_what_is_written_is_in_the_record_before(groups, rows, tmp_path):
    rows.watch = lambda mac, dst: (mac, dst) in recorded(tmp_path) or pytest.fail("it would be taken for somebody's")
    assert not review(groups, rows, {BROADCAST: {vtep(2), vtep(3)}})
    assert not review(groups, rows, {BROADCAST: {vtep(3)}, GROUPS[0]: {vtep(2)}})
    assert rows.groups(5) == {BROADCAST: {vtep(3)}, GROUPS[0]: {vtep(2)}}
    assert recorded(tmp_path) == {(BROADCAST, vtep(3)), (GROUPS[0], vtep(2))}


def test_what_somebody_wrote_stays_his(groups, rows):
    rows.there = {BROADCAST: {vtep(2)}}
    review(groups, rows, {BROADCAST: {vtep(2), vtep(3)}})
    assert groups.ours == {5: {(BROADCAST, vtep(3))}}
    groups.withdraw(rows.groups)
    assert rows.groups(5) == {BROADCAST: {vtep(2)}} and groups.ours == {}


def test_a_refused_row_is_told_once_and_keeps_no_other_from_being_written(groups, rows, tmp_path, caplog):
    rows.refuse = {(BROADCAST, vtep(2)): errno.EOPNOTSUPP}
    want = {BROADCAST: {vtep(2)}, GROUPS[0]: {vtep(2)}}
    for _twice in range(2):
        assert not review(groups, rows, want)
    assert rows.groups(5) == {GROUPS[0]: {vtep(2)}}
    assert recorded(tmp_path) == {(GROUPS[0], vtep(2))}
    assert [one.message.split(":")[0] for one in caplog.records] == ["vx100"] and "fdb append" in caplog.text
    rows.refuse = {}
    review(groups, rows, want)
    assert recorded(tmp_path) == {(BROADCAST, vtep(2)), (GROUPS[0], vtep(2))}


def test_what_cannot_be_removed_stays_the_agents(groups, rows, tmp_path, caplog):
    review(groups, rows, {BROADCAST: {vtep(2)}, GROUPS[0]: {vtep(2)}})
    rows.refuse = {(BROADCAST, vtep(2)): errno.ENOMEM}
    review(groups, rows, {})
    assert recorded(tmp_path) == {(BROADCAST, vtep(2))}
    groups.withdraw(rows.groups)
    assert groups.ours == {5: {(BROADCAST, vtep(2))}}
    assert len(caplog.records) == 1


def test_a_device_that_goes_is_no_trouble(groups, rows, caplog):
    rows.refuse = {(BROADCAST, vtep(2)): errno.ENODEV}
    review(groups, rows, {BROADCAST: {vtep(2)}})
    groups.forget({})
    assert not caplog.records and groups._refused == {}


def test_misses_wait_for_a_part_of_the_rows_alone(groups, rows, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 8)
    want = {one: {vtep(2)} for one in GROUPS}
    assert [review(groups, rows, want) for _pass in range(3)] == [True, True, False]
    assert rows.groups(5) == want and rows.tries == len(want)
    assert [review(groups, rows, {}) for _pass in range(3)] == [True, True, False]
    assert rows.groups(5) == {} and groups.ours == {}


def test_refused_rows_are_tried_after_others_and_told_once_in_all(groups, rows, monkeypatch, caplog):
    monkeypatch.setattr(module, "AT_ONCE", 8)
    want = {one: {vtep(2)} for one in GROUPS}
    rows.refuse = {(one, vtep(2)): errno.ENOSPC for one in sorted(GROUPS)[:10]}
    passes = [review(groups, rows, want) for _pass in range(5)]
    assert passes[-1] is False and len(rows.groups(5)) == len(GROUPS) - 10
    assert 1 <= len(caplog.records) <= 2
    told = len(caplog.records)
    for _pass in range(4):
        review(groups, rows, want)
    assert len(caplog.records) == told


def test_without_a_record_nothing_is_written(groups, rows, tmp_path):
    (tmp_path / "groups.new").mkdir()
    for _twice in range(2):
        with pytest.raises(KernelError, match=r"write .*groups\.json"):
            review(groups, rows, {BROADCAST: {vtep(2)}})
    assert rows.tries == 0
    (tmp_path / "groups.new").rmdir()
    review(groups, rows, {BROADCAST: {vtep(2)}})
    assert json.loads((tmp_path / "groups.json").read_text(encoding="ascii"))["rows"]["5"]


def test_a_record_that_cannot_be_removed_is_told_like_one_that_cannot_be_written(groups, rows, tmp_path):
    review(groups, rows, {BROADCAST: {vtep(2)}})
    (tmp_path / "groups.json").unlink()
    (tmp_path / "groups.json").mkdir()
    with pytest.raises(KernelError, match=r"write .*groups\.json"):
        groups.withdraw(rows.groups)


def test_after_an_answer_that_did_not_come_another_socket_is_taken(groups, rows):
    def late(_mac, _dst):
        raise BlockingIOError

    rows.watch = late
    with pytest.raises(BlockingIOError):
        review(groups, rows, {BROADCAST: {vtep(2)}})
    assert rows.renewed == 1
