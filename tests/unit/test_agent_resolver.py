# SPDX-License-Identifier: GPL-3.0-or-later
"""The resolver: misses and the registry's changes to operations on the kernel's tables."""

import pytest
from agent_support import claim, ip, mac, vtep
from ansible_collections.vtep.fabric.plugins.module_utils._agent import resolver
from ansible_collections.vtep.fabric.plugins.module_utils._agent.directory import Directory
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import (
    COUNTERS,
    DEVICES,
    FDB,
    NEIGHBOR,
    NEW_FDB,
    NO_FDB,
    NO_NEIGHBOR,
    Device,
    Resolver,
)
from hypothesis import given, settings
from hypothesis import strategies as st

OWN = 1  # the VTEP that the devices are of
VX = Device(5, "vx100", 100, vtep(OWN))
OTHER = Device(6, "vx200", 200, vtep(OWN))
SIX = Device(7, "six100", 100, vtep(OWN, 6))


class Agent:
    """A resolver, its directory, and a clock."""

    def __init__(self, *claims, devices=(VX,), **settings):
        self.directory = Directory()
        self.directory.snapshot(claims, 0.0)
        self.directory.changes()
        self.resolver = Resolver(self.directory, **settings)
        self.now = 1000.0
        assert self.serve(*devices) == []

    def serve(self, *devices):
        return self.resolver.devices({device.index: device for device in devices}, self.now)

    def miss(self, *keys, index=VX.index):
        return self.resolver.misses([(index, key) for key in keys], self.now)

    def put(self, *claims):
        for one in claims:
            self.directory.put(one, self.now)
        return self.resolver.changed(self.directory.changes(), self.now)

    def drop(self, *claims):
        for one in claims:
            self.directory.drop(one.vni, one.mac, one.vtep, self.now)
        return self.resolver.changed(self.directory.changes(), self.now)

    def adopt(self, fdb=(), neighbors=(), index=VX.index):
        return self.resolver.adopt(index, list(fdb), list(neighbors), self.now)

    def told(self, **counters):
        names = {name.replace("_", " "): value for name, value in counters.items()}
        return {name: self.resolver.counters[name] for name in names} == names

    def waiting(self):
        return [one["key"] for one in self.resolver.missing(self.now)]


# -- Misses


def test_a_miss_of_a_mac_is_answered_with_the_row_of_its_vtep():
    agent = Agent(claim(1, 2))
    assert agent.miss(mac(1)) == [(NEW_FDB, 5, mac(1), vtep(2))]
    assert agent.told(l2_misses=1, l3_misses=0, answered=1, unanswered=0)


@pytest.mark.parametrize("address", [ip(1), ip(1, 6)])
def test_a_miss_of_an_address_installs_the_row_of_the_mac_first_and_then_the_neighbour(address):
    agent = Agent(claim(1, 2, address))
    assert agent.miss(address) == [(NEW_FDB, 5, mac(1), vtep(2)), (NEIGHBOR, 5, address, mac(1))]
    assert agent.told(l2_misses=0, l3_misses=1, answered=1)


def test_a_second_address_of_a_mac_needs_no_second_row_of_it():
    agent = Agent(claim(1, 2, ip(1), ip(2)))
    agent.miss(ip(1))
    agent.now += 1
    assert agent.miss(ip(2)) == [(NEIGHBOR, 5, ip(2), mac(1))]


def test_a_vni_is_the_device_s():
    agent = Agent(claim(1, 2), claim(1, 3, vni=200), devices=(VX, OTHER))
    assert agent.miss(mac(1), index=6) == [(NEW_FDB, 6, mac(1), vtep(3))]
    assert agent.miss(mac(1)) == [(NEW_FDB, 5, mac(1), vtep(2))]


def test_a_device_that_is_not_served_has_no_misses():
    agent = Agent(claim(1, 2))
    assert agent.miss(mac(1), ip(1), index=9) == []
    assert agent.told(l2_misses=0, l3_misses=0)


@pytest.mark.parametrize("key", [mac(1), ip(1)])
def test_a_key_just_answered_is_not_answered_again(key):
    agent = Agent(claim(1, 2))
    assert len(agent.miss(key, key, key)) == (1 if key == mac(1) else 2)
    agent.now += 0.049
    assert agent.miss(key) == []
    assert agent.told(folded=3, answered=1)
    agent.now += 0.002
    assert agent.miss(key)[-1][2] == key, "it is still missed"


def test_own_endpoints_are_never_installed():
    agent = Agent(claim(1, OWN))
    assert agent.miss(mac(1), ip(1)) == []
    assert agent.told(own=2, unanswered=2, other_family=0)
    assert {one["why"] for one in agent.resolver.missing()} == {"own"}
    assert agent.adopt([(mac(1), vtep(OWN), 0.0)], [(ip(1), mac(1))]) == [
        (NO_FDB, 5, mac(1), None),
        (NO_NEIGHBOR, 5, ip(1), None),
    ]


def test_a_vtep_of_another_family_is_told_once():
    agent = Agent(claim(1, vtep(2, 6)), claim(2, vtep(2, 6)), claim(3, vtep(3, 6)), devices=(VX, SIX))
    assert agent.miss(mac(1), mac(2), ip(1)) == []
    assert agent.told(other_family=3, unanswered=3, own=0)
    [(key, words)] = agent.resolver.alarms
    assert all(word in words for word in ("vx100", "2001:db8::2", "192.0.2.1", "02:00:00:00:00:01", "VNI 100"))
    agent.miss(mac(3))
    assert len({key for key, _words in agent.resolver.alarms}) == 2
    assert agent.miss(mac(1), index=SIX.index) == [(NEW_FDB, 7, mac(1), vtep(2, 6))]


def test_alarms_of_a_device_are_few():
    agent = Agent(*(claim(number, vtep(number, 6)) for number in range(2, 100)))
    agent.miss(*map(mac, range(2, 100)))
    assert agent.told(other_family=98)
    assert len(agent.resolver.alarms) == 10


def test_a_device_without_a_local_address_is_told_and_gets_nothing():
    bare = VX._replace(local=None)
    agent = Agent(claim(1, 2), devices=(bare,))
    assert agent.miss(mac(1), ip(1)) == []
    assert agent.put(claim(1, 3)) == []
    [(_key, words)] = agent.resolver.alarms
    assert "vx100 has no local address" in words
    assert agent.resolver.missing()[0]["why"] == "no local address"
    agent.serve(bare)
    assert len(agent.resolver.alarms) == 1
    assert (NEW_FDB, 5, mac(1), vtep(3)) in agent.serve(VX), "what waited"


def test_only_a_row_that_is_about_to_be_moved_is_written_over():
    """Else the MAC may have somebody's row by now: he is not to lose it."""
    agent = Agent(claim(1, 2))
    agent.miss(mac(1))
    agent.now += 1
    assert agent.miss(mac(1)) == [(NEW_FDB, 5, mac(1), vtep(2))]
    agent.directory.put(claim(1, 3, order=2), agent.now)
    agent.now += 1
    assert agent.miss(mac(1)) == [(FDB, 5, mac(1), vtep(3))]


def test_what_waits_is_written_as_a_new_row():
    agent = Agent()
    agent.miss(ip(1), mac(2))
    ops = agent.put(claim(1, 2), claim(2, 2))
    assert {op[0] for op in ops if op[0] != NEIGHBOR} == {NEW_FDB}


# -- What has no answer


def test_what_has_no_answer_is_shown():
    agent = Agent()
    agent.miss(mac(1), mac(1))
    agent.now += 3
    agent.miss(mac(1), ip(2, 6))
    first, second = agent.resolver.missing()
    assert first == {
        "device": "vx100",
        "vni": 100,
        "key": "02:00:00:00:00:01",
        "count": 3,
        "first": 3.0,
        "last": 0.0,
        "why": "unknown",
    }
    assert (second["key"], second["count"]) == ("fd00::2", 1)
    assert agent.told(unanswered=4, folded=0)


@pytest.mark.parametrize("key", [mac(1), ip(1)])
@pytest.mark.parametrize(("after", "installed"), [(0.5, True), (9.9, True), (10.1, False)])
def test_who_asked_lately_is_answered_as_soon_as_the_registry_knows(key, after, installed):
    agent = Agent()
    agent.miss(key)
    agent.now += after
    ops = agent.put(claim(1, 2))
    assert (len(ops) > 0) == installed == agent.told(answered=1)
    assert agent.waiting() == []
    if installed:
        assert ops[0] == (NEW_FDB, 5, mac(1), vtep(2)) and ops[-1][2] == key


def test_nobody_asked_and_nothing_is_installed():
    agent = Agent()
    assert agent.put(claim(1, 2)) == []


def test_who_asks_for_an_endpoint_that_leaves_this_host_is_answered_when_it_has_left():
    agent = Agent(claim(1, OWN))
    agent.miss(mac(1))
    agent.now += 1
    assert agent.put(claim(1, 2, order=2)) == [(NEW_FDB, 5, mac(1), vtep(2))]


def test_what_waits_for_an_address_gets_it_from_its_new_holder():
    agent = Agent(claim(1, 2, ip(1)))
    agent.miss(ip(9))
    assert agent.put(claim(1, 2, ip(1), ip(9), order=2)) == [
        (NEW_FDB, 5, mac(1), vtep(2)),
        (NEIGHBOR, 5, ip(9), mac(1)),
    ]


def test_what_waits_is_bounded_in_all():
    devices = [Device(index, f"vx{index}", index, vtep(OWN)) for index in range(100, 120)]
    agent = Agent(devices=devices, unanswered=8)
    for device in devices:
        agent.miss(*map(mac, range(20)), index=device.index)
    assert agent.resolver.sizes()["unanswered"] <= DEVICES * 8
    assert len({one["device"] for one in agent.resolver.missing()}) == 20, "each has a share"


KEYS = st.sampled_from([*map(mac, range(12)), *map(ip, range(6))])


@given(st.lists(st.tuples(st.sampled_from([5, 6, 7]), st.lists(KEYS, min_size=1, max_size=12)), max_size=30))
def test_one_device_s_scan_leaves_what_others_have_unanswered(calls):
    agent = Agent(devices=(VX, OTHER, SIX), unanswered=8)
    wanted = {"vx100": {}, "vx200": {}, "six100": {}}
    names = {device.index: device.name for device in (VX, OTHER, SIX)}
    for index, keys in calls:
        agent.miss(*keys, index=index)
        for key in keys:
            mine = wanted[names[index]]
            mine[key] = mine.pop(key, 0) + 1
            if len(mine) > 8:
                del mine[next(iter(mine))]
    found = {name: [one["count"] for one in agent.resolver.missing() if one["device"] == name] for name in wanted}
    assert found == {name: list(mine.values()) for name, mine in wanted.items()}


# -- The registry's changes


def test_a_moved_endpoint_is_corrected_and_its_neighbour_stays():
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    assert agent.put(claim(1, 3, order=2)) == [(FDB, 5, mac(1), vtep(3))]
    assert agent.told(moved=1, withdrawn=0)
    assert agent.put(claim(1, 3, order=3)) == []


@pytest.mark.parametrize("new", [claim(1, OWN, order=2), claim(1, vtep(3, 6), order=2)])
def test_an_endpoint_that_moves_out_of_reach_is_withdrawn(new):
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    assert sorted(agent.put(new)) == [(NO_FDB, 5, mac(1), None), (NO_NEIGHBOR, 5, ip(1), None)]
    assert agent.told(withdrawn=2, moved=0)
    assert agent.resolver.entries() == []


def test_an_endpoint_that_goes_is_withdrawn_and_only_where_it_is_installed():
    one = claim(1, 2)
    agent = Agent(one, claim(2, 2), devices=(VX, VX._replace(index=8, name="second")))
    agent.miss(ip(1))
    agent.miss(ip(2))
    assert sorted(agent.drop(one)) == [(NO_FDB, 5, mac(1), None), (NO_NEIGHBOR, 5, ip(1), None)]
    assert agent.drop(one) == []


def test_an_address_that_an_endpoint_gives_up_goes():
    agent = Agent(claim(1, 2, ip(1), ip(2)))
    agent.miss(ip(1), ip(2))
    assert agent.put(claim(1, 2, ip(2), order=2)) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_an_address_follows_to_its_new_holder_and_back():
    newer = claim(2, 3, ip(1), order=2)
    agent = Agent(claim(1, 2, ip(1)))
    agent.miss(ip(1))
    assert agent.put(newer) == [(NEW_FDB, 5, mac(2), vtep(3)), (NEIGHBOR, 5, ip(1), mac(2))]
    assert agent.drop(newer) == [(NO_FDB, 5, mac(2), None), (NEIGHBOR, 5, ip(1), mac(1))]


def test_an_address_whose_new_holder_is_here_goes():
    agent = Agent(claim(1, 2, ip(1)))
    agent.miss(ip(1))
    assert agent.put(claim(2, OWN, ip(1), order=2)) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_devices_of_one_vni_all_follow():
    second = VX._replace(index=8, name="second", local=vtep(3))
    agent = Agent(claim(1, 2), devices=(VX, second))
    agent.miss(mac(1))
    agent.miss(mac(1), index=8)
    assert agent.put(claim(1, 3, order=2)) == [(FDB, 5, mac(1), vtep(3)), (NO_FDB, 8, mac(1), None)]


# -- The kernel's word


def test_a_row_that_is_gone_is_answered_again_at_once_and_no_longer_followed():
    agent = Agent(claim(1, 2))
    agent.miss(mac(1))
    agent.now += 300
    agent.resolver.gone(5, mac(1), agent.now)
    assert agent.told(aged=1)
    assert agent.put(claim(1, 3, order=2)) == []
    assert agent.miss(mac(1)) == [(NEW_FDB, 5, mac(1), vtep(3))]


def test_word_of_a_removal_just_after_an_answer_is_of_the_former_row():
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    for key in (mac(1), ip(1)):
        agent.resolver.gone(5, key, agent.now + 0.5)
    assert len(agent.put(claim(1, 3, order=2))) == 1, "still followed"
    assert agent.told(aged=0)


def test_a_row_that_somebody_has_taken_is_left_alone_from_then_on():
    one = claim(1, 2)
    agent = Agent(one)
    agent.miss(ip(1))
    for key in (mac(1), ip(1)):
        agent.resolver.gone(5, key, agent.now, taken=True)
    assert agent.put(claim(1, 3, order=2)) == []
    assert agent.drop(one, claim(1, 3)) == []
    assert agent.told(aged=0)


def test_what_somebody_else_answered_waits_no_longer():
    agent = Agent()
    agent.miss(mac(1))
    agent.resolver.gone(5, mac(1), agent.now, taken=True)
    assert agent.put(claim(1, 2)) == []


def test_word_of_rows_that_are_not_ours_is_nothing():
    agent = Agent(claim(1, 2))
    agent.resolver.gone(5, mac(1))
    agent.resolver.gone(5, ip(1), taken=True)
    agent.resolver.gone(9, mac(1))
    assert agent.told(aged=0)


def test_what_was_there_already_is_taken_in_as_it_is():
    agent = Agent(claim(1, 2), claim(2, 2), claim(3, 2))
    agent.miss(mac(1))
    there = [(mac(1), vtep(2), 7.0), (mac(2), vtep(9), 1.0), (mac(8), vtep(2), 0.0)]
    assert agent.resolver.found(5, there, agent.now) == [(FDB, 5, mac(2), vtep(2)), (NO_FDB, 5, mac(8), None)]
    assert {one["mac"] for one in agent.resolver.entries()} == {mac(1).hex(":"), mac(2).hex(":")}
    assert agent.resolver.found(9, there, agent.now) == []


def test_what_somebody_took_while_the_tables_were_read_is_his():
    one = claim(1, 2)
    agent = Agent(one, claim(2, 2))
    agent.miss(ip(1), ip(2))
    agent.now += 10
    began = agent.now
    agent.now += 1
    agent.resolver.gone(5, mac(1), agent.now, taken=True)
    agent.resolver.gone(5, ip(1), agent.now, taken=True)
    read = [(mac(1), vtep(9), 0.0), (mac(2), vtep(2), 0.0)], [(ip(1), mac(9)), (ip(2), mac(2))]
    assert agent.resolver.adopt(5, *read, agent.now, since=began) == []
    assert {one["mac"] for one in agent.resolver.entries()} == {mac(2).hex(":")}
    assert agent.drop(one) == []
    agent.now += 10
    assert len(agent.adopt(*read)) == 2, "read after that, it is ours again"


def test_what_is_known_of_others_rows_is_bounded(monkeypatch):
    monkeypatch.setattr(resolver, "TAKEN", 3)
    agent = Agent()
    for number in range(5):
        agent.resolver.gone(5, mac(number), agent.now, taken=True)
    assert list(agent.resolver._here[5].taken) == [mac(2), mac(3), mac(4)]
    agent.now += 1
    agent.adopt()
    assert not agent.resolver._here[5].taken


def test_a_refused_row_is_forgotten_and_so_are_rows_of_devices_that_are_gone():
    agent = Agent(claim(1, 2))
    agent.miss(mac(1))
    agent.resolver.refused(5, mac(1))
    agent.resolver.refused(9, mac(1))
    assert agent.resolver.entries() == [] and agent.put(claim(1, 3, order=2)) == []


# -- Adopting


def test_a_start_adopts_what_the_registry_still_says_and_removes_the_rest():
    agent = Agent(claim(1, 2), claim(2, 3), claim(3, 2, ip(3)))
    fdb = [(mac(1), vtep(2), 7.0), (mac(2), vtep(9), 1.0), (mac(8), vtep(2), 0.0)]
    neighbors = [(ip(1), mac(1)), (ip(3), mac(1)), (ip(8), mac(8))]
    assert agent.adopt(fdb, neighbors) == [
        (FDB, 5, mac(2), vtep(3)),
        (NO_FDB, 5, mac(8), None),
        (NEIGHBOR, 5, ip(3), mac(3)),
        (NO_NEIGHBOR, 5, ip(8), None),
    ]
    assert agent.told(moved=2, withdrawn=2)
    rows = {one.get("address", one["mac"]): one for one in agent.resolver.entries()}
    assert {key: one["idle"] for key, one in rows.items() if one["kind"] == "fdb"} == {
        "02:00:00:00:00:01": 7.0,
        "02:00:00:00:00:02": 1.0,
    }
    assert rows["10.0.0.3"]["mac"] == "02:00:00:00:00:03"
    agent.now += 1
    assert agent.adopt([(mac(1), vtep(2), 8.0), (mac(2), vtep(3), 2.0)], [(ip(1), mac(1)), (ip(3), mac(3))]) == []
    assert agent.put(claim(1, 4, order=2)) == [(FDB, 5, mac(1), vtep(4))], "it is followed"


def test_adopting_follows_the_registry_though_nothing_of_its_change_was_told():
    agent = Agent(claim(1, 2, ip(1)), claim(2, 2, ip(2)))
    agent.miss(ip(1), ip(2))
    agent.directory.put(claim(1, 3, ip(1), order=2), agent.now)
    agent.directory.put(claim(3, 2, ip(2), order=2), agent.now)
    kernel = [(mac(1), vtep(2), 0.0), (mac(2), vtep(2), 0.0)], [(ip(1), mac(1)), (ip(2), mac(2))]
    assert agent.adopt(*kernel) == [(FDB, 5, mac(1), vtep(3)), (NEIGHBOR, 5, ip(2), mac(3))]


def test_what_the_kernel_has_lost_is_forgotten_but_not_what_was_just_written():
    agent = Agent(claim(1, 2), claim(2, 2))
    agent.miss(ip(1))
    agent.now += 1
    agent.miss(ip(2))
    assert agent.adopt() == []
    assert {one["mac"] for one in agent.resolver.entries()} == {"02:00:00:00:00:02"}
    assert agent.told(aged=2)


def test_what_was_written_while_the_tables_were_read_is_not_forgotten():
    agent = Agent(claim(1, 2), claim(2, 2))
    agent.miss(mac(2))
    agent.now += 10
    agent.miss(mac(1))
    assert agent.resolver.adopt(5, [], [], agent.now + 3, since=agent.now - 1) == []
    assert agent.put(claim(1, 3, order=2), claim(2, 3, order=2)) == [(FDB, 5, mac(1), vtep(3))]


def test_other_bounds_take_effect():
    agent = Agent(*(claim(number, 2) for number in range(1, 9)))
    agent.miss(*map(mac, range(1, 20)))
    agent.resolver.configure(limit=3, unanswered=2, unanswered_ttl=1.0)
    agent.now += 1
    assert len(agent.miss(mac(30))) == 5
    assert agent.waiting() == ["02:00:00:00:00:13", "02:00:00:00:00:1e"]


def test_the_vtep_of_a_device_may_change():
    agent = Agent(claim(1, 2), claim(2, 3))
    agent.miss(ip(1), ip(2))
    assert sorted(agent.serve(VX._replace(local=vtep(2)))) == [(NO_FDB, 5, mac(1), None), (NO_NEIGHBOR, 5, ip(1), None)]
    assert agent.serve(VX._replace(local=vtep(2), name="renamed")) == []
    assert {one["device"] for one in agent.resolver.entries()} == {"renamed"}


@pytest.mark.parametrize("devices", [(), (VX._replace(vni=200),)])
def test_a_device_that_is_served_no_longer_is_left_without_rows(devices):
    agent = Agent(claim(1, 2))
    agent.miss(ip(1), mac(9))
    assert agent.serve(*devices) == [(NO_NEIGHBOR, 5, ip(1), None), (NO_FDB, 5, mac(1), None)]
    assert set(agent.resolver.sizes().values()) == {0}
    assert agent.put(claim(1, 3, order=2)) == []


# -- Ageing


def test_a_neighbour_goes_when_the_row_of_its_mac_is_gone_and_nobody_asked_for_it():
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    agent.now += 299
    assert agent.adopt([], [(ip(1), mac(1))]) == []
    agent.now += 1
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]
    assert agent.told(aged=2, withdrawn=0)


def test_a_neighbour_stays_as_long_as_the_row_of_its_mac():
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    agent.now += 1000
    assert agent.adopt([(mac(1), vtep(2), 100.0)], [(ip(1), mac(1))]) == []
    agent.now += 199
    assert agent.adopt([], [(ip(1), mac(1))]) == [], "its row was used 299 s ago"
    agent.now += 1
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_an_adopted_neighbour_without_a_row_has_its_time():
    agent = Agent(claim(1, 2), devices=(VX._replace(ageing=20.0), SIX))
    assert agent.adopt([], [(ip(1), mac(1))]) == []
    agent.now += 20
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_each_device_has_an_ageing_time_of_its_own():
    agent = Agent(claim(1, 2), devices=(VX._replace(ageing=20.0), OTHER._replace(vni=100, ageing=float("inf"))))
    for index in (5, 6):
        agent.miss(ip(1), index=index)
    agent.now += 30
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]
    assert agent.adopt([], [(ip(1), mac(1))], index=6) == []


def test_a_neighbour_whose_mac_has_somebodys_row_stays_as_long_as_that():
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    agent.resolver.gone(5, mac(1), agent.now, taken=True)
    for _twice in range(2):
        agent.now += 1000
        assert agent.adopt([], [(ip(1), mac(1))]) == []
    agent.resolver.gone(5, mac(1), agent.now)
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_lost_word_may_have_been_of_others_rows_that_went():
    agent = Agent(claim(1, 2))
    agent.miss(ip(1))
    agent.resolver.gone(5, mac(1), agent.now, taken=True)
    agent.resolver.lost()
    agent.now += 300
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_where_macs_are_not_asked_for_a_neighbour_has_its_row_or_goes():
    agent = Agent(claim(1, 2), devices=(VX._replace(l2=False),))
    [(_key, words)] = agent.resolver.alarms
    assert "vx100 is made without l2miss" in words
    agent.miss(ip(1))
    agent.now += 10
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NEW_FDB, 5, mac(1), vtep(2))]
    agent.resolver.gone(5, mac(1), agent.now, taken=True)
    agent.now += 10
    assert agent.adopt([], [(ip(1), mac(1))]) == [], "somebody has it now"
    agent.resolver.gone(5, mac(1), agent.now)
    agent.now += 300
    assert agent.adopt([], [(ip(1), mac(1))]) == [(NO_NEIGHBOR, 5, ip(1), None)]


def test_a_device_that_learns_is_told_once():
    learns = VX._replace(learning=True)
    agent = Agent(devices=(learns,))
    assert agent.serve(learns, OTHER) == []
    [(_key, words)] = agent.resolver.alarms
    assert "vx100 learns from frames" in words


# -- Limits


IDLE = st.integers(0, 299)


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 40), IDLE, min_size=5, max_size=30), st.data())
def test_what_was_used_longest_ago_goes_first(idle, data):
    """Of the used times last seen: when they were installed, or what the kernel said of them afterwards."""
    agent = Agent(*(claim(number, 2) for number in range(100)), limit=len(idle))
    agent.miss(*map(mac, data.draw(st.permutations(sorted(idle)))))
    agent.now += 300
    agent.adopt([(mac(number), vtep(2), seconds) for number, seconds in idle.items()])
    again = data.draw(st.sets(st.sampled_from(sorted(idle))))
    agent.miss(*map(mac, again))
    new = data.draw(st.integers(1, len(idle)))
    ops = agent.miss(*map(mac, range(50, 50 + new)))
    used = {number: -1.0 if number in again else seconds for number, seconds in idle.items()}
    gone = [int.from_bytes(key[2:], "big") for kind, _index, key, _value in ops if kind == NO_FDB]
    assert len(gone) == new == agent.resolver.counters["evicted"]
    kept = set(used) - set(gone)
    assert all(used[one] >= used[other] for one in gone for other in kept)
    assert [used[one] for one in gone] == sorted((used[one] for one in gone), reverse=True)


def test_neighbours_are_bounded_as_well_and_keep_their_macs_rows():
    agent = Agent(claim(1, 2, *map(ip, range(1, 11))), limit=4)
    ops = agent.miss(*map(ip, range(1, 11)))
    assert [key for kind, _index, key, _value in ops if kind == NO_NEIGHBOR] == [ip(number) for number in range(1, 7)]
    assert not [op for op in ops if op[0] == NO_FDB]
    assert agent.resolver.sizes() == {"fdb": 1, "neighbors": 4, "unanswered": 0}
    assert len(agent.drop(claim(1, 2))) == 5


@settings(deadline=None)
@given(
    st.integers(6, 20),
    st.lists(st.tuples(st.sampled_from([5, 6, 7]), st.lists(st.integers(1, 30), min_size=1, max_size=30)), max_size=20),
)
def test_who_has_no_more_than_its_share_loses_nothing_to_others(limit, calls):
    devices = [Device(index, f"vx{index}", 100, vtep(OWN)) for index in (5, 6, 7)]
    agent = Agent(*(claim(number, 2) for number in range(1, 31)), devices=devices, limit=limit)
    rows = {index: set() for index in (5, 6, 7)}
    for index, numbers in calls:
        agent.now += 1
        ops = agent.miss(*map(mac, numbers), index=index)
        rows[index] |= set(map(mac, numbers))
        before = {index: len(one) for index, one in rows.items()}
        for kind, at, key, _value in ops:
            if kind == NO_FDB:
                assert before[at] > limit // 3
                rows[at].remove(key)
        assert sum(map(len, rows.values())) <= limit
        assert min(limit, sum(before.values())) - sum(map(len, rows.values())) < 3, "no more goes than has to"
    assert agent.resolver.sizes()["fdb"] == sum(map(len, rows.values()))


def test_a_full_table_makes_room_at_once_for_many():
    """Or each miss would look at all devices."""
    agent = Agent(*(claim(number, 2) for number in range(3000)), limit=1024)
    evictions = []
    for number in range(3000):
        evictions.append(sum(op[0] == NO_FDB for op in agent.miss(mac(number))))
    assert set(evictions) == {0, 5}
    assert agent.resolver.sizes()["fdb"] in range(1020, 1025)


def test_counters_are_those_that_are_described():
    agent = Agent(claim(1, 2))
    agent.miss(mac(1), mac(2), ip(1))
    assert set(agent.resolver.counters) == set(COUNTERS)
