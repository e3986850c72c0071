# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for IPsec states and policies: whose rows are touched, in which order, and which keys are refused."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import xfrm as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_read import from_entries
from ansible_collections.vtep.fabric.plugins.module_utils._plan.xfrm import plan, refuse_shared

OURS, PEER = "2001:db8:1::1", "2001:db8:2::1"


def state(direction, spi, **more):
    ends = {"src": OURS, "dst": PEER} if direction == "out" else {"src": PEER, "dst": OURS}
    key = f"0x{spi:040x}"
    return {**ends, "dir": direction, "spi": spi, "mode": "transport", "algorithm": "aes-gcm", "key": key, **more}


def policy(direction, **more):
    return {"dir": direction, "src": OURS, "dst": PEER, "tmpl": [{"mode": "transport"}], **more}


def found(row, owned=True):
    return model.Found(row.kind, owned, row.text(), b"", row.digest() if row.kind == model.STATE else "")


def steps(made):
    """Operations in words: kind, and of each row its kind with its direction or SPI."""
    told = []
    for operation in made.operations:
        for row in operation.rows:
            words = row.text().split()
            told.append(
                " ".join((operation.kind, words[0], words[words.index("spi" if words[0] == "state" else "dir") + 1]))
            )
    return told


ROWS = from_entries(
    [state("out", 0x1000), state("in", 0x2000), state("out", 0x3000), state("in", 0x4000)],
    [policy("in"), policy("out"), policy("fwd")],
)
OLD = from_entries([state("out", 0x500), state("in", 0x600)], [policy("in", dst="::/0"), policy("out", dst="::/0")])


def test_the_order_keeps_traffic_going():
    seen = model.Seen(missing=[0, 1, 4, 5, 6])
    seen.different = [(2, other(2), "another key")]
    seen.different += [(3, other(3), "")]
    seen.strangers = [found(row) for row in OLD.rows()]
    made = plan(ROWS, seen, purge="owned")
    assert steps(made) == [
        "create state 0x2000", "create state 0x1000",
        "delete state 0x4000", "create state 0x4000", "delete state 0x3000", "create state 0x3000",
        "create policy out", "create policy in", "create policy fwd",
        "delete policy in", "delete policy out", "delete state 0x500", "delete state 0x600",
    ]  # fmt: skip
    assert (len(made.added), len(made.changed), len(made.removed)) == (5, 2, 4)


def other(i):
    """What stands in the place of a wanted state and has another key."""
    return model.Found(model.STATE, True, ROWS.states[i].text(), b"", "of another key")


def test_all_that_stands_in_the_way_of_a_state_goes_before_it_is_made():
    seen = model.Seen(different=[(0, other(0), ""), (0, found(OLD.states[0]), "")], same=[1, 2, 3, 4, 5, 6])
    made = plan(ROWS, seen)
    assert steps(made) == ["delete state 0x500", "delete state 0x1000", "create state 0x1000"]
    assert (len(made.changed), made.removed) == (1, [found(OLD.states[0])])


def test_a_policy_that_differs_is_replaced_in_its_place():
    seen = model.Seen(same=[0, 1, 2, 3, 5, 6], different=[(4, found(ROWS.policies[0]), "")])
    assert steps(plan(ROWS, seen)) == ["replace policy in"]


def test_nothing_to_do_is_false():
    assert not plan(ROWS, model.Seen(same=list(range(7)), strangers=[found(OLD.states[0])]))


def test_rows_of_others_are_refused_and_named():
    for state_ in ("present", "absent"):
        with pytest.raises(
            RefusedError,
            match="belong to others, by their seq or index: state .* spi 0x1000 .*of another owner.*policy dir in",
        ):
            plan(
                ROWS,
                model.Seen(different=[(0, found(ROWS.states[0], False), ""), (4, found(ROWS.policies[0], False), "")]),
                state_,
            )


def test_absent_takes_what_is_ours():
    made = plan(
        ROWS,
        model.Seen(
            missing=[1, 2, 3, 5, 6], different=[(0, found(ROWS.states[0]), ""), (4, found(ROWS.policies[0]), "")]
        ),
        "absent",
    )
    assert steps(made) == ["delete policy in", "delete state 0x1000"]


@pytest.mark.parametrize("rows", [{"missing": [0]}, {"different": [(0, other(0), "another key")]}])
def test_a_used_key_is_refused_for_output(rows):
    used = {ROWS.states[0].digest()}
    with pytest.raises(RefusedError, match="used for output before.*0x1000"):
        plan(ROWS, model.Seen(**rows), used=used)
    assert plan(ROWS, model.Seen(**rows), used={ROWS.states[2].digest()})


def test_rows_of_others_that_an_earlier_task_removes_can_be_taken_for_gone():
    seen = model.Seen(missing=[0])
    seen.different = [(4, found(ROWS.policies[0], owned=False), ""), (5, found(ROWS.policies[1]), "another priority")]
    with pytest.raises(RefusedError):
        plan(ROWS, seen)
    made = plan(ROWS, seen, assume_gone=True)
    assert steps(made) == ["create state 0x1000", "replace policy out", "create policy in"]
    assert [row.text() for row in made.added] == [ROWS.rows()[i].text() for i in (0, 4)]


def test_after_a_run_what_must_not_be_is_told_and_not_refused():
    seen = model.Seen(missing=[0], strangers=[found(ROWS.states[0])], same=[1, 2, 3, 5])
    seen.different = [(4, found(ROWS.policies[0], owned=False), ""), (6, found(ROWS.policies[2]), "another action")]
    made = plan(ROWS, seen, purge="owned", refuse=False)
    assert (made.added, [row.text() for row, _old, _how in made.changed]) == (
        [ROWS.states[0]],
        [ROWS.policies[i].text() for i in (0, 2)],
    )
    assert plan(ROWS, seen, "absent", refuse=False).removed == [found(ROWS.policies[0], False), found(ROWS.policies[2])]


def test_a_key_that_another_state_has_is_refused_for_output():
    for rows in (
        {"missing": [0], "strangers": [found(ROWS.states[0])]},
        {"different": [(0, found(ROWS.states[0]), "")]},
    ):
        with pytest.raises(RefusedError, match="used for output before"):
            plan(ROWS, model.Seen(**rows), purge="owned")


def test_a_key_of_a_state_that_comes_in_is_refused_for_output():
    made = plan(ROWS, model.Seen(missing=[0, 1]))
    refuse_shared(made, {ROWS.states[1].digest(), ""})
    with pytest.raises(RefusedError, match="the keys of these states are those of other states .* spi 0x1000"):
        refuse_shared(made, {ROWS.states[0].digest()})


def test_what_comes_in_and_what_is_random_may_come_again():
    used = {ROWS.states[1].digest()}
    assert plan(ROWS, model.Seen(missing=[1]), used=used).new_keys() == []
    cbc = from_entries(
        [state("out", 0x1000, algorithm="aes-cbc-sha256", key="0x" + "12" * 16, auth_key="0x" + "34" * 32)], None
    )
    assert plan(cbc, model.Seen(missing=[0]), used={cbc.states[0].digest()}).new_keys() == []


def test_new_keys_are_those_of_new_states_that_go_out():
    made = plan(ROWS, model.Seen(missing=[0, 1], different=[(2, other(2), "another key")], same=[3, 4, 5, 6]))
    assert made.new_keys() == [ROWS.states[0].digest(), ROWS.states[2].digest()]
