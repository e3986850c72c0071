# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory: the newest claim counts, what changed is told and nothing else, and conflicts are told when they last."""

import tracemalloc
from collections import Counter

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import directory
from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import Claim
from ansible_collections.vtep.fabric.plugins.module_utils._agent.directory import Directory
from hypothesis import example, given, settings
from hypothesis import strategies as st


def mac(number):
    return b"\x50\x54\x33" + number.to_bytes(3, "big")


def vtep(number):
    return bytes([192, 0, 2, number])


def ip(number):
    return b"\x0a" + number.to_bytes(3, "big")


def claim(number, at, order=1, addresses=None, vni=100):
    return Claim(vni, mac(number), vtep(at), tuple(map(ip, [number] if addresses is None else addresses)), order)


@pytest.fixture
def known():
    """Two endpoints, of which nobody need be told any more."""
    found = Directory()
    found.snapshot([claim(1, 1), claim(2, 2)], 0)
    found.changes()
    return found


def test_an_empty_directory_knows_nothing():
    none = Directory()
    assert none.mac(100, mac(1)) is None
    assert none.address(100, ip(1)) is None
    assert none.claims(100, mac(1)) == []
    assert list(none.of_vni(100)) == []
    assert (len(none), none.changes(), none.conflicts, none.alarms, none.tick(0)) == (0, [], {}, [], None)
    none.drop(100, mac(1), vtep(1), 0)
    none.snapshot([], 0)
    assert (len(none), none.changes()) == (0, [])


def test_a_claim_is_found_by_mac_and_by_address(known):
    assert known.mac(100, mac(1)) == claim(1, 1)
    assert known.address(100, ip(1)) == mac(1)
    assert known.mac(200, mac(1)) is None
    assert known.address(200, ip(1)) is None
    assert known.claims(100, mac(1)) == [claim(1, 1)]
    assert list(known.of_vni(100)) == [claim(1, 1), claim(2, 2)]
    assert len(known) == 2


def test_segments_are_apart(known):
    known.put(claim(1, 9, 5, vni=200), 0)
    assert known.changes() == [(200, mac(1))]
    assert known.mac(100, mac(1)) == claim(1, 1)
    assert known.conflicts == {}
    assert len(known) == 3
    known.drop(200, mac(1), vtep(9), 0)
    assert list(known.of_vni(200)) == []
    assert len(known) == 2


# -- Changes


def test_a_change_is_told_once(known):
    known.put(claim(3, 1), 0)
    assert known.changes() == [(100, mac(3))]
    assert known.changes() == []


@pytest.mark.parametrize(
    "other, changes",
    [
        (claim(1, 1), 0),
        (claim(1, 1, 9), 0),
        (claim(1, 1, addresses=[1, 7]), 1),
        (claim(1, 1, addresses=[]), 1),
        (claim(1, 9, 9), 1),
        (claim(1, 9, 0), 0),
    ],
)
def test_a_change_is_one_of_what_counts(known, other, changes):
    known.put(other, 0)
    assert known.changes() == [(100, mac(1))] * changes


def test_a_snapshot_that_changes_10_rows_tells_10_changes():
    many = [claim(n, n % 50, n) for n in range(1000)]
    found = Directory()
    found.snapshot(many, 0)
    assert len(found.changes()) == 1000
    # A new row at the top moves the order of all others.
    later = [claim(7777, 1), *[one._replace(order=one.order + 1) for one in many]]
    for n in (10, 20, 30):
        later[n] = later[n]._replace(vtep=vtep(99))
    for n in (40, 50, 60):
        later[n] = later[n]._replace(addresses=(ip(5000 + n),))
    del later[70:73]
    found.snapshot(later, 1)
    changes = found.changes()
    assert len(changes) == 10
    assert {key for _vni, key in changes} == {mac(n) for n in (7777, 9, 19, 29, 39, 49, 59, 69, 70, 71)}
    assert sorted(found.of_vni(100)) == sorted(later)
    found.snapshot(later, 2)
    assert found.changes() == []


def test_what_is_not_in_a_snapshot_goes(known):
    known.snapshot([claim(2, 2)], 1)
    assert known.mac(100, mac(1)) is None
    assert known.address(100, ip(1)) is None
    assert known.changes() == [(100, mac(1))]
    known.snapshot([], 2)
    assert (len(known), list(known.of_vni(100)), known.vnis()) == (0, [], [])


def test_a_snapshot_takes_any_iterable_and_none_of_one_that_breaks(known):
    def broken():
        yield claim(3, 3)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        known.snapshot(broken(), 1)
    assert known.changes() == []
    assert len(known) == 2
    known.snapshot(iter([claim(3, 3)]), 1)
    assert list(known.of_vni(100)) == [claim(3, 3)]


def test_of_two_rows_of_one_vtep_the_later_counts(known):
    rows = [claim(1, 1, 3), claim(1, 1, 1, [5]), claim(1, 1, 2, [6])]
    known.snapshot(rows, 1)
    assert known.claims(100, mac(1)) == [claim(1, 1, 3)]
    assert known.conflicts == {}


# -- Several claims


def test_the_newest_claim_counts_and_the_older_one_after_it(known):
    known.put(claim(1, 9, 5), 0)
    assert known.mac(100, mac(1)) == claim(1, 9, 5)
    assert known.claims(100, mac(1)) == [claim(1, 9, 5), claim(1, 1, 1)]
    assert known.conflicts == {(100, mac(1)): [claim(1, 9, 5), claim(1, 1, 1)]}
    assert len(known) == 2
    known.changes()
    known.drop(100, mac(1), vtep(9), 0)
    assert known.mac(100, mac(1)) == claim(1, 1, 1)
    assert known.changes() == [(100, mac(1))]
    assert known.conflicts == {}


def test_an_older_claim_that_comes_late_does_not_count(known):
    known.put(claim(2, 9, 5), 0)
    known.put(claim(2, 8, 3), 0)
    assert [one.order for one in known.claims(100, mac(2))] == [5, 3, 1]


def test_of_claims_of_one_order_all_hosts_choose_the_same():
    one, other = Directory(), Directory()
    rows = [claim(1, 1), claim(1, 2), claim(1, 3)]
    one.snapshot(rows, 0)
    for row in rows[::-1]:
        other.put(row, 0)
    assert one.claims(100, mac(1)) == other.claims(100, mac(1))


def test_an_address_is_the_newest_endpoints(known):
    known.put(claim(2, 2, 5, [1, 2]), 0)
    assert known.address(100, ip(1)) == mac(2)
    assert sorted(known.changes()) == [(100, mac(1)), (100, mac(2))]  # 1 lost its address
    assert known.conflicts == {(100, ip(1)): [claim(2, 2, 5, [1, 2]), claim(1, 1)]}
    known.put(claim(1, 1, 6), 0)  # no more than newer
    assert known.address(100, ip(1)) == mac(1)
    assert sorted(known.changes()) == [(100, mac(1)), (100, mac(2))]
    known.drop(100, mac(1), vtep(1), 0)
    assert known.address(100, ip(1)) == mac(2)
    known.drop(100, mac(2), vtep(2), 0)
    assert known.address(100, ip(1)) is None


def test_a_snapshot_that_changes_the_order_only_may_give_an_address_to_another(known):
    known.snapshot([claim(1, 1, 1, [7]), claim(2, 2, 2, [7])], 0)
    assert known.address(100, ip(7)) == mac(2)
    known.changes()
    known.snapshot([claim(1, 1, 4, [7]), claim(2, 2, 3, [7])], 0)
    assert known.address(100, ip(7)) == mac(1)
    assert sorted(known.changes()) == [(100, mac(1)), (100, mac(2))]


def test_addresses_of_a_claim_that_does_not_count_are_nobodys(known):
    known.put(claim(1, 9, 0, [5]), 0)
    assert known.address(100, ip(5)) is None
    known.drop(100, mac(1), vtep(1), 0)
    assert known.address(100, ip(5)) == mac(1)
    assert known.address(100, ip(1)) is None


# -- Grace


def test_with_grace_what_is_missing_stays_a_while(known):
    known.snapshot([claim(2, 2)], 10, grace=60)
    assert known.changes() == []
    assert known.mac(100, mac(1)) == claim(1, 1)
    assert known.tick(10) == 70
    assert known.tick(69) == 70
    assert known.mac(100, mac(1)) == claim(1, 1)
    assert known.tick(70) is None
    assert known.mac(100, mac(1)) is None
    assert known.changes() == [(100, mac(1))]
    assert known.tick(1000) is None


def test_what_comes_back_within_its_grace_stays(known):
    known.snapshot([], 10, grace=60)
    known.put(claim(1, 1), 20)
    known.snapshot([claim(1, 1), claim(2, 2)], 30)
    assert known.tick(1000) is None
    assert len(known) == 2
    assert known.changes() == []


def test_grace_is_not_given_twice(known):
    known.snapshot([], 10, grace=60)
    known.snapshot([], 50, grace=60)
    assert known.tick(50) == 70
    known.tick(70)
    assert len(known) == 0


def test_grace_is_given_again_to_what_came_back(known):
    known.snapshot([], 10, grace=60)
    known.snapshot([claim(1, 1)], 20, grace=60)
    known.snapshot([], 30, grace=60)
    assert known.tick(70) == 90
    assert list(known.of_vni(100)) == [claim(1, 1)]


def test_what_comes_back_takes_its_addresses_again(known):
    newer, older = claim(1, 1, 5, [7]), claim(2, 2, 3, [7])
    known.snapshot([newer, older], 0)
    known.snapshot([older], 10, grace=60)
    assert known.address(100, ip(7)) == mac(2)
    assert known.conflicts == {}
    known.changes()
    known.snapshot([newer, older], 20)
    assert known.address(100, ip(7)) == mac(1)
    assert known.conflicts == {(100, ip(7)): [newer, older]}
    assert sorted(known.changes()) == [(100, mac(1)), (100, mac(2))]


def test_a_snapshot_without_grace_ends_it(known):
    known.snapshot([], 10, grace=60)
    known.snapshot([claim(2, 2)], 20)
    assert list(known.of_vni(100)) == [claim(2, 2)]
    assert known.tick(70) is None
    assert len(known) == 1


def test_what_is_dropped_has_no_grace(known):
    known.snapshot([], 10, grace=60)
    known.drop(100, mac(1), vtep(1), 11)
    assert known.mac(100, mac(1)) is None
    known.put(claim(1, 1), 12)
    known.tick(70)
    assert list(known.of_vni(100)) == [claim(1, 1)]


def test_after_a_loss_of_data_what_is_new_counts_whatever_its_order(known):
    """A registry that starts anew counts from 1 again."""
    known.put(claim(1, 1, 5000), 0)
    known.snapshot([], 10, grace=60)
    known.put(claim(1, 9, 3), 11)
    assert known.mac(100, mac(1)) == claim(1, 9, 3)
    known.put(claim(3, 9, 2, [2]), 12)
    assert known.address(100, ip(2)) == mac(3)
    assert known.conflicts == {}
    known.tick(70)
    assert known.alarms == []
    assert known.claims(100, mac(1)) == [claim(1, 9, 3)]
    assert len(known) == 2


# -- Conflicts


def test_a_migration_raises_no_alarm(known):
    known.put(claim(1, 9, 5), 100)
    assert known.tick(100) == 105
    known.tick(104.9)
    known.drop(100, mac(1), vtep(1), 104.9)
    assert known.tick(105) is None
    assert known.alarms == []


def test_a_conflict_that_lasts_raises_one_alarm_that_names_all(known):
    known.put(claim(1, 9, 5), 100)
    assert known.tick(105) is None
    text = "is claimed by VTEP 192.0.2.9, VTEP 192.0.2.1; the newest counts, VTEP 192.0.2.9; withdraw what is wrong"
    assert known.alarms == [((100, mac(1)), f"VNI 100: MAC address 50:54:33:00:00:01 {text}")]
    known.put(claim(1, 1, 6), 200)  # the other one is newer now
    known.tick(205)
    known.tick(10000)
    assert len(known.alarms) == 1
    known.put(claim(1, 8, 7), 20000)
    assert known.tick(20000) == 20005
    known.tick(20005)
    assert "VTEP 192.0.2.8, VTEP 192.0.2.1, VTEP 192.0.2.9;" in known.alarms[1][1]


def test_a_conflict_that_comes_back_is_told_again(known):
    for now in (100, 200):
        known.put(claim(1, 9, 5), now)
        known.tick(now + 5)
        known.drop(100, mac(1), vtep(9), now + 6)
    assert len(known.alarms) == 2


def test_an_address_of_two_endpoints_raises_an_alarm(known):
    known.put(claim(2, 2, 5, [1]), 100)
    known.tick(105)
    ((key, text),) = known.alarms
    assert key == (100, ip(1))
    assert text.startswith(
        "VNI 100: address 10.0.0.1 is claimed by 50:54:33:00:00:02 at VTEP 192.0.2.2, 50:54:33:00:00:01 at VTEP 192.0.2.1; "
    )


def test_a_change_of_a_conflict_does_not_put_its_alarm_off(known):
    known.put(claim(1, 9, 5), 100)
    for now in range(101, 105):
        known.put(claim(1, now - 90, now), now)
        known.tick(now)
    known.tick(105)
    assert len(known.alarms) == 1


def test_alarms_wait_until_there_is_room_for_them():
    many = Directory()
    many.snapshot([claim(n, at) for n in range(250) for at in (1, 2)], 0)
    assert many.tick(0) == 5
    told = Counter()
    for now in range(5, 10):
        again = many.tick(now)
        assert len(many.alarms) <= directory.MOST_ALARMS
        told.update(key for key, _text in many.alarms)
        many.alarms.clear()
        assert again == (now + 1 if now < 7 else None)
    assert len(told) == 250
    assert set(told.values()) == {1}


def test_an_alarm_names_some_of_many():
    many = Directory()
    many.snapshot([claim(1, at, at) for at in range(1, 21)], 0)
    many.tick(5)
    ((_key, text),) = many.alarms
    assert "VTEP 192.0.2.20, " in text
    assert " and 12 more; " in text


# -- Against a plain model of it


class Model:
    """The same by looking at everything each time."""

    def __init__(self):
        self.all = {}  # (vni, mac, vtep) -> claim
        self.leaving = {}

    def snapshot(self, claims, now, grace):
        given = {}
        for one in sorted(claims, key=lambda one: one.order):
            given[one[:3]] = one
        if not grace:
            self.all, self.leaving = given, {}
            return
        self.leaving = {
            key: min(now + grace, self.leaving.get(key, now + grace)) for key in self.all if key not in given
        }
        self.all = {**self.all, **given}

    def put(self, one):
        self.all[one[:3]] = one
        self.leaving.pop(one[:3], None)

    def drop(self, *key):
        self.all.pop(key, None)
        self.leaving.pop(key, None)

    def tick(self, now):
        for key in [key for key, when in self.leaving.items() if when <= now]:
            self.drop(*key)

    def rank(self, one):
        return one[:3] not in self.leaving, one.order, one.vtep

    def claims(self, vni, key):
        found = [one for one in self.all.values() if one[:2] == (vni, key)]
        return sorted(found, key=self.rank, reverse=True)

    def winners(self):
        return {key: self.claims(*key)[0] for key in {one[:2] for one in self.all.values()}}

    def sharers(self, vni, packed):
        found = [one for one in self.winners().values() if one.vni == vni and packed in one.addresses]
        return sorted(found, key=lambda one: (self.rank(one), one.mac), reverse=True)

    def conflicts(self):
        found = {key: self.claims(*key) for key in self.winners()}
        found |= {(vni, ip(n)): self.sharers(vni, ip(n)) for vni in VNIS for n in ADDRESSES}
        live = {key: [one for one in claims if one[:3] not in self.leaving] for key, claims in found.items()}
        return {key: claims for key, claims in live.items() if len(claims) > 1}

    def told(self):
        """What a change is a change of."""
        owners = {}
        for vni in VNIS:
            for n in ADDRESSES:
                for one in self.sharers(vni, ip(n))[:1]:
                    owners.setdefault(one[:2], set()).add(ip(n))
        return {key: (one.vtep, one.addresses, owners.get(key)) for key, one in self.winners().items()}


VNIS, MACS, VTEPS, ADDRESSES = (100, 200), range(1, 4), range(1, 4), range(1, 4)
CLAIMS = st.builds(
    claim,
    st.sampled_from(MACS),
    st.sampled_from(VTEPS),
    st.integers(1, 3),
    st.sets(st.sampled_from(ADDRESSES)).map(sorted),
    st.sampled_from(VNIS),
)
STEPS = st.one_of(
    st.tuples(st.just("put"), CLAIMS),
    st.tuples(st.just("drop"), CLAIMS),
    st.tuples(st.just("snapshot"), st.lists(CLAIMS, max_size=8), st.sampled_from([0.0, 0.0, 3.0, 9.0])),
    st.tuples(st.just("tick")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=12))
@example([
    ("snapshot", [claim(1, 1, 1, []), claim(1, 1, 1, [1], 200), claim(3, 1, 1, [1], 200)], 0.0), ("put", claim(1, 1, 1, [])),
    ("put", claim(1, 1, 1, [])), ("tick",), ("put", claim(2, 1, 1, [1], 200)), ("tick",),
])  # fmt: skip
def test_it_says_what_a_plain_model_says(steps):
    one, model = Directory(), Model()
    for now, (what, *arguments) in enumerate(steps):
        before = model.told()
        if what == "snapshot":
            one.snapshot(arguments[0], now, arguments[1])
            model.snapshot(arguments[0], now, arguments[1])
        elif what == "put":
            one.put(arguments[0], now)
            model.put(arguments[0])
        elif what == "drop":
            one.drop(*arguments[0][:3], now)
            model.drop(*arguments[0][:3])
        else:
            one.tick(now)
            model.tick(now)
        after = model.told()
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert changed <= set(one.changes())
        assert len(one) == len(after)
        assert one.conflicts == model.conflicts()
        for vni in VNIS:
            assert sorted(one.of_vni(vni)) == sorted(won for key, won in model.winners().items() if key[0] == vni)
            for n in MACS:
                assert one.claims(vni, mac(n)) == model.claims(vni, mac(n))
                assert one.mac(vni, mac(n)) == next(iter(model.claims(vni, mac(n))), None)
            for n in ADDRESSES:
                sharers = model.sharers(vni, ip(n))
                assert one.address(vni, ip(n)) == (sharers[0].mac if sharers else None)
    one.snapshot([], 1000)
    # A conflict that came and went within the snapshot may still have it called once.
    assert (len(one), one.vnis(), one.conflicts, one.tick(1000 + directory.PATIENCE)) == (0, [], {}, None)


@settings(max_examples=100, deadline=None)
@given(st.lists(CLAIMS, max_size=8), st.lists(CLAIMS, max_size=8))
def test_without_conflicts_a_snapshot_tells_no_change_that_is_none(first, second):
    def apart(rows):
        """One claim an endpoint, and addresses of its own."""
        found = {}
        for row in rows:
            found[row[:2]] = row._replace(addresses=tuple(row.mac[-2:] + one[2:] for one in row.addresses))
        return list(found.values())

    first, second = apart(first), apart(second)
    one = Directory()
    one.snapshot(first, 0)
    one.changes()
    one.snapshot(second, 1)
    before, after = ({row[:2]: row[2:4] for row in rows} for rows in (first, second))
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    assert sorted(one.changes()) == sorted(changed)


# -- Size


def test_an_endpoint_takes_some_300_octets_and_no_more_after_many_snapshots():
    def rows(shift):
        return (claim(n, n % 50, n + shift, vni=100 + n % 10) for n in range(20000))

    found = Directory()
    tracemalloc.start()
    try:
        sizes = []
        for shift in (1, 2, 3):
            found.snapshot(rows(shift), shift)
            found.changes()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert len(found) == 20000
    assert max(sizes) < 20000 * 600
    assert sizes[2] < sizes[0] * 1.1


def test_one_address_that_all_endpoints_claim_does_not_cost_a_look_at_each():
    """Each look would be 5000 endpoints; counted are comparisons of their ranks."""
    compared = Counter()

    class Order(int):
        def __lt__(self, other):
            compared["all"] += 1
            return int(self) < int(other)

        def __hash__(self):
            return int(self)

    found = Directory()
    for n in range(5000):
        found.put(claim(n, 1, Order(n), [1]), 0)
    for n in range(5000):
        found.drop(100, mac(n), vtep(1), 0)
    assert len(found) == 0
    assert compared["all"] < 5000 * 60
