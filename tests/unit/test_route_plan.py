"""The plan for routes, tried on a simulated kernel: what a plan does, and that a second one is empty."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import route as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._plan.route import plan
from hypothesis import given
from hypothesis import strategies as st

OURS, THEIRS = model.PROTOCOL, 186


class Kernel:
    """Tables that may hold several routes at one place, the first of which a replacement changes."""

    def __init__(self, rows):
        self.rows = [(text.split()[0], self.row(text, protocol)) for text, protocol in rows]

    def row(self, text, protocol):
        read = model.from_table(text)
        return model.Found(read.prefixes[0], model.Shape(read.ways[0], protocol))

    def look(self, wanted, compare=True):
        seen = model.Seen()
        at = {wanted.text(i).split()[0]: i for i in range(len(wanted))}
        exact = set()
        for dst, found in self.rows:
            if dst not in at:
                if found.owned:
                    seen.strangers.append(found)
            elif compare and found.owned and found.shape.way == wanted.ways[wanted.index[at[dst]]]:
                exact.add(at[dst])
            else:
                seen.different.append((at[dst], found))
        taken = {i for i, _found in seen.different}
        seen.exact = exact & taken
        seen.missing = [i for i in range(len(wanted)) if i not in exact and i not in taken]
        return seen

    def apply(self, made):
        for operation in made.operations:
            for row in operation.rows:
                if operation.kind == model.DELETE:
                    self.rows.remove(next(pair for pair in self.rows if pair[1] is row))
                    continue
                text = made.wanted.text(row)
                dst = text.split()[0]
                there = [i for i, pair in enumerate(self.rows) if pair[0] == dst]
                new = (dst, self.row(text, OURS))
                if operation.kind == model.REPLACE:
                    assert self.rows[there[0]][1].owned, "only our own routes are replaced"
                    self.rows[there[0]] = new
                else:
                    assert not there, "the kernel would refuse it"
                    self.rows.append(new)

    def texts(self, protocol):
        return sorted(
            found.shape.way.text(found.prefix) for _dst, found in self.rows if found.shape.protocol == protocol
        )


def test_each_kind_of_change():
    kernel = Kernel([("10.0.0.0/8 dev a", OURS), ("10.1.0.0/16 dev a", OURS), ("10.2.0.0/16 dev a", THEIRS)])
    wanted = model.from_table("10.0.0.0/8 dev b\n10.3.0.0/16 dev a")
    made = plan(wanted, kernel.look(wanted), "present", "owned")
    assert [operation.kind for operation in made.operations] == [model.REPLACE, model.CREATE, model.DELETE]
    kernel.apply(made)
    assert kernel.texts(OURS) == ["10.0.0.0/8 dev b", "10.3.0.0/16 dev a"]
    assert kernel.texts(THEIRS) == ["10.2.0.0/16 dev a"]


def test_a_refusal_names_some_and_counts_the_rest():
    kernel = Kernel([(f"10.{i}.0.0/16 dev a", THEIRS) for i in range(13)])
    wanted = model.from_table("".join(f"10.{i}.0.0/16 dev b\n" for i in range(20)))
    with pytest.raises(RefusedError) as caught:
        plan(wanted, kernel.look(wanted))
    assert "10.0.0.0/16 dev a proto bgp" in str(caught.value) and "; and 3 more. " in str(caught.value)


prefixes = st.sampled_from([f"10.{i}.0.0/16" for i in range(4)])
devs = st.sampled_from("abc")
held = st.lists(st.tuples(prefixes, devs, st.sampled_from([OURS, THEIRS])), max_size=8, unique_by=lambda row: row[:2])
given_rows = st.dictionaries(prefixes, devs)


@given(held, given_rows, st.sampled_from(["none", "owned"]), st.sampled_from(["present", "absent"]))
def test_what_is_wanted_is_there_in_the_end_and_others_are_untouched(rows, wanted, purge, state):
    kernel = Kernel([(f"{dst} dev {dev}", protocol) for dst, dev, protocol in rows])
    theirs = kernel.texts(THEIRS)
    mine = set(kernel.texts(OURS))
    wanted_text = [f"{dst} dev {dev}" for dst, dev in wanted.items()]
    table = model.from_table("\n".join(wanted_text))
    if state == "absent":
        purge = "none"
    blocked = {dst for dst, _dev, protocol in rows if protocol == THEIRS and dst in wanted}
    if state == "present":
        blocked -= {dst for dst in blocked if f"{dst} dev {wanted[dst]}" in mine}
    try:
        made = plan(table, kernel.look(table, state == "present"), state, purge)
    except RefusedError:
        assert blocked
        return
    assert not blocked
    kernel.apply(made)
    assert kernel.texts(THEIRS) == theirs
    left = [text for text in mine if text.split()[0] not in wanted]
    expected = wanted_text if state == "present" else []
    assert kernel.texts(OURS) == sorted(expected if purge == "owned" else expected + left)
    assert not plan(table, kernel.look(table, state == "present"), state, purge)
