# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration database of a service node."""

import random
import tracemalloc

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import STATIC
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.registrations import (
    LONGEST,
    MOST_MOVES,
    MOST_REMOVALS,
    REMEMBERED,
    Registrations,
)
from hypothesis import given, settings
from hypothesis import strategies as st

A, B, C = (bytes([192, 0, 2, n]) for n in (1, 2, 3))
A6, B6 = (bytes.fromhex("20010db8") + bytes(11) + bytes([n]) for n in (1, 2))
ID = 0x020000000001


@pytest.fixture
def db():
    return Registrations()


def rows(db, now=0.0, vni=None):
    return list(db.dump(now, vni))


# -- REFRESH


def test_a_registration_changes_the_set_and_a_refresh_does_not(db):
    assert db.register({100: [A], 101: [A]}, ID, 90, 0) == {100, 101}
    assert db.register({100: [A]}, ID, 90, 30) == set()
    assert rows(db, 30) == [(100, A, 90, ID), (101, A, 60, ID)]


def test_who_loses_its_place_to_another_address_is_noted(db):
    one, two = object(), object()
    db.register({100: [A]}, ID, 90, 0, one)
    db.register({100: [B]}, ID, 90, 1, one)
    assert db.evicted == [], "it moved itself"
    db.register({100: [A]}, ID, 90, 2, two)
    db.register({100: [B]}, ID, 90, 3)
    assert db.evicted == [(100, one), (100, two)]
    db.register({100: [C]}, ID, 90, 4, one)
    db.merge({100: [(A, 95, ID)]}, 5)
    assert db.evicted[2:] == [(100, one)]


def test_who_is_still_there_under_another_identifier_lost_nothing(db):
    db.register({100: [A]}, 0, 90, 0)
    db.register({100: [A]}, ID, 90, 0, object())
    db.register({100: [B]}, ID, 90, 1, object())
    assert db.addresses(100) == (A, B) and db.evicted == []


def test_a_databases_entry_of_holdtime_0_ends_no_registration(db):
    """Old service nodes tell 0 in the last second, of what may have been refreshed here."""
    db.register({100: [A]}, ID, 90, 0)
    assert db.merge({100: [(A, 0, ID)]}, 10) == set()
    assert rows(db, 10) == [(100, A, 80, ID)]
    assert db.merge({100: [(A, 0, ID)]}, 10, event=True) == {100}
    db.add_static(100, B, 10)
    assert db.merge({100: [(B, 0, 0)]}, 10) == {100}, "a static entry that was removed"


def test_a_node_has_one_address_in_a_vni(db):
    db.register({100: [A], 101: [A]}, ID, 90, 0)
    assert db.register({100: [B]}, ID, 90, 10) == {100}
    assert (db.addresses(100), db.addresses(101)) == ((B,), (A,))
    assert db.count == 2


def test_of_several_addresses_of_a_node_the_last_one_counts_and_repeating_them_is_no_change(db):
    assert db.register({100: [A, B]}, ID, 90, 0) == {100}
    assert db.addresses(100) == (B,)
    assert db.register({100: [A, B]}, ID, 90, 30) == set()


def test_identifier_0_has_any_number_of_addresses(db):
    assert db.register({100: [A, B, A6]}, 0, 90, 0) == {100}
    assert db.addresses(100) == (A, B, A6)
    db.register({100: [B]}, 0, 90, 60)
    assert [left for _vni, _address, left, _id in rows(db, 60)] == [30, 90, 30]


def test_both_families_share_a_vni(db):
    db.register({100: [A]}, 1, 90, 0)
    db.register({100: [A6]}, 2, 90, 0)
    assert db.addresses(100) == (A, A6)


def test_one_address_under_two_identifiers_is_one_target_and_stays_until_both_are_gone(db):
    db.register({100: [A]}, 1, 90, 0)
    assert db.register({100: [A]}, 2, 90, 0) == set()
    assert db.addresses(100) == (A,)
    assert db.withdraw({100: [A]}, 1, 1) == set()
    assert db.addresses(100) == (A,)
    assert db.withdraw({100: [A]}, 2, 1) == {100}
    assert 100 not in db


def test_replacing_an_address_that_another_node_shares_keeps_it(db):
    db.register({100: [A]}, 1, 90, 0)
    db.register({100: [A]}, 2, 90, 0)
    assert db.register({100: [B]}, 2, 90, 1) == {100}
    assert db.addresses(100) == (A, B)
    assert db.register({100: [A]}, 2, 90, 1) == {100}
    assert db.addresses(100) == (A,)


@pytest.mark.parametrize(("address", "identifier"), [(B, ID), (A, ID + 1), (A, 0)])
def test_a_withdrawal_needs_the_exact_address_and_identifier(db, address, identifier):
    db.register({100: [A]}, ID, 90, 0)
    assert db.withdraw({100: [address]}, identifier, 1) == set()
    assert db.addresses(100) == (A,)


def test_a_withdrawal_of_what_is_not_there_is_nothing(db):
    assert db.withdraw({100: [A]}, ID, 0) == set()
    assert db.count == 0


# -- Ageing


def test_an_entry_lasts_its_holdtime_and_no_more_than_a_second_longer(db):
    db.register({100: [A]}, ID, 90, 0.5)
    assert db.expire(90.4) == set()
    assert db.addresses(100) == (A,)
    assert db.next_expiry() == 91
    assert db.expire(91) == {100}
    assert (100 in db, db.count, db.expired) == (False, 0, 1)


def test_a_refresh_puts_off_the_end(db):
    db.register({100: [A]}, 1, 90, 0)
    db.register({100: [B]}, 2, 90, 0)
    db.register({100: [A]}, 1, 90, 60)
    assert db.expire(90) == {100}
    assert db.addresses(100) == (A,)
    assert db.expire(149.9) == set()
    assert db.expire(150) == {100}


def test_a_shorter_holdtime_brings_the_end_forward(db):
    db.register({100: [A]}, ID, 90, 0)
    db.register({100: [A]}, ID, 5, 10)
    assert db.expire(15) == {100}


def test_many_entries_expire_each_at_its_own_time(db):
    for n in range(200):
        db.register({100: [bytes([10, 0, 0, n + 1])]}, n + 1, 10 + n, 0)
    for n in range(200):
        db.expire(9.9 + n)
        assert len(db.addresses(100)) == 200 - n
        db.expire(10 + n)
        assert len(db.addresses(100)) == 199 - n


def test_no_holdtime_makes_a_registration_static(db):
    db.register({100: [A]}, ID, STATIC, 0)
    db.register({101: [A]}, 0, 1 << 31, 0)
    assert rows(db) == [(100, A, LONGEST, ID), (101, A, LONGEST, 0)]
    db.expire(LONGEST)
    assert db.count == 0


def test_places_of_shortened_entries_do_not_pile_up(db):
    """Whoever shortens holdtimes for ever must not fill the memory."""
    for n in range(5000):
        db.register({100: [A]}, ID, LONGEST - n, 0)
    assert db._filed <= 4 + 1024 + 1
    db.register({100: [A]}, ID, 10, 0)
    assert db.expire(10) == {100}


# -- Static and learned


def test_a_static_entry_stays_static(db):
    db.add_static(100, A, 0)
    db.register({100: [A]}, 0, 90, 0)
    db.learn(100, A, 90, 0)
    db.merge({100: [(A, 60, 0)]}, 0, event=True)
    assert db.withdraw({100: [A]}, 0, 1) == set()
    db.expire(1e6)
    assert rows(db, 1e6) == [(100, A, STATIC, 0)]
    assert db.statics() == [(100, A)]


def test_a_dynamic_entry_becomes_static_when_it_is_told(db):
    db.learn(100, A, 90, 0)
    assert db.add_static(100, A, 1) == set()
    assert rows(db) == [(100, A, STATIC, 0)]


def test_static_with_an_identifier_is_none(db):
    db.merge({100: [(A, STATIC, ID)]}, 0, event=True)
    assert rows(db) == [(100, A, LONGEST, ID)]


def test_removing_takes_static_entries_and_forced_also_registered_ones(db):
    db.add_static(100, A, 0)
    db.register({100: [A]}, ID, 90, 0)
    assert db.remove(100, A, 1) == ([(A, 0, 0)], set())
    assert rows(db, 1) == [(100, A, 89, ID)]
    assert db.remove(100, A, 1, forced=True) == ([(A, 0, 0), (A, 0, ID)], {100})
    assert db.count == 0


def test_learning_is_news_once_and_then_keeps_the_entry_alive(db):
    assert db.learn(100, A, 90, 0)[0] is True
    news, lease, changed = db.learn(100, A, 90, 50)
    assert (news, lease.expiry, changed) == (False, 140, set())
    assert rows(db, 50) == [(100, A, 90, 0)]


def test_learning_does_not_touch_what_is_registered(db):
    db.register({100: [A]}, ID, 90, 0)
    assert db.learn(100, A, 90, 50) == (False, None, set())
    db.register({101: [A]}, 0, 30, 0)
    db.register({101: [A]}, ID, 90, 0)
    assert db.learn(101, A, 90, 10) == (False, None, set())
    assert rows(db, 50) == [(100, A, 40, ID), (101, A, 40, ID)]


def test_registered_leaves_identifier_0_out(db):
    db.learn(100, A, 90, 0)
    db.add_static(100, B, 0)
    db.register({100: [C]}, 1, 90, 0)
    assert (db.registered(100), db.addresses(100)) == ((C,), (A, B, C))
    db.reshaped.clear()
    assert db.register({100: [A]}, 2, 90, 0) == set()
    assert db.reshaped == {100}, "the set is the same, but who is registered is not"


# -- SYNC


def test_a_sync_carries_what_is_left_and_the_order_is_that_of_arrival(db):
    db.register({100: [C]}, 3, 90, 0)
    db.register({100: [A6]}, 1, 90, 30)
    db.add_static(101, B, 0)
    assert db.entries(30) == {100: [(C, 60, 3), (A6, 90, 1)], 101: [(B, STATIC, 0)]}
    other = Registrations()
    assert other.merge(db.entries(30), 1000) == {100, 101}
    assert other.entries(1000) == db.entries(30)


def test_an_entry_with_less_than_a_second_left_is_not_told(db):
    db.register({100: [A]}, ID, 90, 0)
    assert db.entries(89.5) == {}


def test_exchanging_syncs_does_not_keep_an_entry_alive():
    one, other = Registrations(), Registrations()
    one.register({100: [A]}, ID, 90, 0)
    now = 0.0
    while now < 200:
        now += 0.37
        for from_, to, skew in ((one, other, 5000.55), (other, one, 0)):
            from_.expire(now + (0 if from_ is one else 5000.55))
            to.merge(from_.entries(now + (0 if from_ is one else 5000.55)), now + skew)
        if one.count == other.count == 0:
            break
    assert 88 < now < 95


def test_of_two_states_the_later_one_wins(db):
    db.register({100: [B]}, ID, 90, 60)
    assert db.merge({100: [(A, 80, ID)]}, 60) == set()
    assert db.addresses(100) == (B,)
    assert db.merge({100: [(B, 20, ID)]}, 60) == set()
    assert rows(db, 60) == [(100, B, 90, ID)]
    assert db.merge({100: [(C, 90, ID)]}, 70) == {100}
    assert rows(db, 70) == [(100, C, 90, ID)]


@pytest.mark.parametrize("identifier", [0, ID])
def test_a_sync_entry_of_holdtime_0_removes_exactly_that(db, identifier):
    db.register({100: [A]}, identifier, 90, 0)
    assert db.merge({100: [(A, 0, identifier + 1), (B, 0, identifier)]}, 1, event=True) == set()
    assert db.merge({100: [(A, 0, identifier)]}, 1, event=True) == {100}
    assert db.count == 0


def test_what_was_withdrawn_does_not_come_back_by_the_state_of_a_peer_but_by_news(db):
    db.register({100: [A]}, ID, 90, 0)
    db.withdraw({100: [A]}, ID, 30)
    assert db.merge({100: [(A, 55, ID)]}, 35) == set()
    assert db.merge({100: [(A, 85, ID)]}, 40) == {100}, "the peer heard of it after it was withdrawn here"


def test_a_new_registration_ends_the_memory_of_a_removal(db):
    db.register({100: [A]}, ID, 90, 0)
    db.withdraw({100: [A]}, ID, 30)
    db.register({100: [A]}, ID, 20, 31)
    db.expire(51)
    assert db.merge({100: [(A, 30, ID)]}, 55) == {100}


def test_a_static_entry_that_was_removed_does_not_come_back_by_the_state_of_a_peer(db):
    db.remove(100, A, 0)
    db.expire(3600)
    assert db.merge({100: [(A, STATIC, 0)]}, 3600) == set()
    assert db.removals() == {100: [(A, 0, 0)]}
    assert db.merge({100: [(A, 90, 0)]}, 3600) == {100}, "a learned one of the same address may"
    assert db.merge({100: [(A, STATIC, 0)]}, 3600) == set()
    assert rows(db, 3600) == [(100, A, 90, 0)]
    db.merge({100: [(A, STATIC, 0)]}, 3600, event=True)
    assert rows(db, 3600) == [(100, A, STATIC, 0)], "somebody added it again"
    assert db.removals() == {}


def test_that_a_static_entry_was_removed_is_forgotten_after_a_day_so_that_service_nodes_agree_in_the_end(db):
    db.remove(100, A, 0)
    for now, changed in ((REMEMBERED - 1, set()), (REMEMBERED + 60, {100})):
        db.expire(now)
        assert db.merge({100: [(A, STATIC, 0)]}, now) == changed


def test_a_learned_entry_that_was_removed_does_not_come_back_by_the_state_of_a_peer(db):
    db.learn(100, A, 90, 0)
    db.remove(100, A, 30)
    assert db.merge({100: [(A, 55, 0)]}, 35) == set()
    assert db.merge({100: [(A, 85, 0)]}, 40) == {100}


# -- Clashes


def machine(n):
    return bytes([n]) * 16


def test_two_fingerprints_with_one_identifier_clash_at_once(db):
    db.register({100: [A]}, ID, 90, 0, machine=machine(1))
    db.register({100: [B]}, ID, 90, 1, machine=machine(2))
    assert db.clashes == [(ID, A, B)]


def test_one_host_that_moves_does_not_clash(db):
    for n in range(10):
        db.register({100: [(A, B)[n % 2]]}, ID, 90, n, machine=machine(1))
    assert db.clashes == []


def test_old_nodes_clash_when_they_take_turns(db):
    found = []
    for n in range(6):
        db.register({100: [(A, B)[n % 2]]}, ID, 90, 15 * n)
        found.append(len(db.clashes))
    assert found == [0, 0, 0, 0, 1, 2], "the third return to a former address is a clash"
    assert db.clashes[0] == (ID, B, A)


def test_moving_there_and_back_or_slowly_or_with_a_late_duplicate_is_no_clash(db):
    for n, address in enumerate((A, B, A, B)):
        db.register({100: [address]}, 1, 90, n)
    for n in range(10):
        db.register({101: [(A, B)[n % 2]]}, 2, 90, 100 * n)
    assert db.clashes == []


def test_a_node_of_which_an_old_service_node_tells_is_the_same_node(db):
    for n in range(20):
        db.register({100: [A]}, ID, 90, n, machine=(machine(1), None)[n % 2])
    assert db.clashes == []


# -- Bounds


def test_entries_beyond_the_most_are_refused_and_counted():
    db = Registrations(most=3)
    db.register({vni: [A] for vni in range(5)}, ID, 90, 0)
    db.learn(100, B, 90, 0)
    db.merge({101: [(A, 90, 7)]}, 0)
    assert (db.count, db.refused, sorted(db)) == (3, 4, [0, 1, 2])
    assert db.register({0: [B]}, ID, 90, 1) == {0}, "what is there may be refreshed and replaced"
    db.withdraw({1: [A]}, ID, 1)
    assert db.register({4: [A]}, ID, 90, 2) == {4}


def test_the_memory_of_removals_and_moves_is_bounded(db):
    for n in range(MOST_REMOVALS + 100):
        db.remove(n, A, 0)
    assert len(db._deleted) == MOST_REMOVALS
    for n in range(MOST_REMOVALS + 100):
        db.register({n: [A]}, ID, 90, 0)
        db.withdraw({n: [A]}, ID, 0)
    assert len(db._removed) == MOST_REMOVALS
    for n in range(1, MOST_MOVES + 100):
        db.register({100: [A]}, n, 90, 0)
        db.register({100: [B]}, n, 90, 0)
    assert len(db._moves) == MOST_MOVES


def test_nothing_is_left_when_everything_is_gone():
    db = Registrations()
    tracemalloc.start()
    try:
        for turn in range(4):
            now = 1000 * turn
            for n in range(1, 2000):
                db.register({vni: [n.to_bytes(4, "big")] for vni in range(5)}, n, 90, now)
            db.touched.clear()
            db.reshaped.clear()
            db.expire(now + 500)
            db.touched.clear()
            db.reshaped.clear()
            if turn == 1:
                before = tracemalloc.get_traced_memory()[0]
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert db.count == len(db) == len(db._buckets) == db._filed == 0
    # Two turns that left their 10,000 entries would take megabytes; a dictionary that is empty now may keep its table.
    assert after - before < 300_000


def test_2000_vteps_of_both_families_in_a_vni(db):
    everybody = [bytes([10, 1]) + n.to_bytes(2, "big") for n in range(1000)]
    everybody += [bytes.fromhex("20010db8") + n.to_bytes(12, "big") for n in range(1, 1001)]
    for n, address in enumerate(everybody, 1):
        assert db.register({100: [address]}, n, 90, n / 400) == {100}
    assert db.addresses(100) == tuple(everybody)
    assert [row[1] for row in rows(db, 6)] == sorted(everybody, key=lambda one: (len(one), one))
    db.withdraw({100: [everybody[7]]}, 8, 6)
    assert len(db.addresses(100)) == 1999


# -- Against a plain model


operations = st.lists(
    st.tuples(
        st.sampled_from(["register", "withdraw", "learn", "static", "remove", "sync", "wait"]),
        st.integers(0, 2),  # VNI
        st.sampled_from([A, B, A6, B6]),
        st.integers(0, 3),  # identifier
        st.integers(1, 40),  # holdtime, or seconds to wait
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(operations)
def test_the_set_is_that_of_a_plain_list_and_changes_are_told_exactly(steps):
    db, model, now = Registrations(), {}, 0
    for what, vni, address, identifier, holdtime in steps:
        before = {key[0]: None for key in model}
        before = {number: {one for (v, _k), (one, _e) in model.items() if v == number} for number in before}
        key = vni, identifier or address
        if what == "register":
            changed = db.register({vni: [address]}, identifier, holdtime, now)
            if model.get(key, (None, 0))[1] != "static":
                model[key] = address, now + holdtime
        elif what == "withdraw":
            changed = db.withdraw({vni: [address]}, identifier, now)
            if key in model and model[key][0] == address and model[key][1] != "static":
                del model[key]
        elif what == "learn":
            changed = db.learn(vni, address, holdtime, now)[2]
            key = vni, address
            others = any(v == vni and one == address and k != address for (v, k), (one, _e) in model.items())
            if not others and model.get(key, (None, 0))[1] != "static":
                model[key] = address, max(now + holdtime, model.get(key, (None, 0))[1])
        elif what == "static":
            changed = db.add_static(vni, address, now)
            model[vni, address] = address, "static"
        elif what == "remove":
            changed = db.remove(vni, address, now, forced=bool(identifier))[1]
            for old in [k for k, (one, _e) in model.items() if k[0] == vni and one == address]:
                if identifier or old[1] == address:
                    del model[old]
        elif what == "sync":
            changed = db.merge({vni: [(address, holdtime, identifier)]}, now, event=True)
            old = model.get(key, (None, 0))
            if old[1] != "static" and now + holdtime > old[1]:
                model[key] = address, now + holdtime
        else:
            now += holdtime
            changed = db.expire(now)
            model = {key: one for key, one in model.items() if one[1] == "static" or one[1] > now}
        after = {number: {one for (v, _k), (one, _e) in model.items() if v == number} for number in range(3)}
        for number in range(3):
            assert set(db.addresses(number)) == after[number]
            assert (number in changed) == (before.get(number, set()) != after[number])
        left = {key: STATIC if e == "static" else e - now for key, (_one, e) in model.items()}
        assert {(v, i or a): e for v, a, e, i in db.dump(now)} == left
        assert db.count == len(model)


def test_net_tells_the_sum_of_changes(db):
    db.register({100: [A]}, 1, 90, 0)
    assert db.net(100) == ([A], [])
    db.touched.clear()
    db.register({100: [B]}, 2, 90, 0)
    db.withdraw({100: [B]}, 2, 0)
    db.withdraw({100: [A]}, 1, 0)
    db.register({100: [A, C]}, 0, 90, 0)
    assert db.net(100) == ([C], [])
    db.withdraw({100: [A]}, 0, 0)
    assert db.net(100) == ([C], [A])


def test_a_random_crowd_keeps_its_bookkeeping(db):
    chance = random.Random(4)
    now = 0.0
    for _turn in range(3000):
        now += chance.random() * 3
        vteps = {chance.randrange(20): [bytes([10, 0, 0, chance.randrange(1, 30)])] for _i in range(3)}
        if chance.random() < 0.8:
            db.register(vteps, chance.randrange(8), chance.randrange(1, 60), now)
        else:
            db.withdraw(vteps, chance.randrange(8), now)
        db.expire(now)
        assert all(left > 0 for _vni, _address, left, _id in db.dump(now - 1))
        assert all(one.due <= min(lease.expiry for lease in one.members.values()) for one in db._vnis.values())
    assert db.count == sum(len(one.members) for one in db._vnis.values())
    for one in db._vnis.values():
        holders = {}
        for lease in one.members.values():
            holders[lease.address] = holders.get(lease.address, 0) + 1
        assert holders == one.addresses
