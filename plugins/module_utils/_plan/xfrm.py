# SPDX-License-Identifier: GPL-3.0-or-later
"""From the wanted IPsec states and policies and what was seen of them to operations. Pure.

Whose a row is, which keys may be used and in which order is decided here and nowhere else; docs/xfrm.md has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model.errors import RefusedError
from .._model.xfrm import CREATE, DELETE, FWD, IN, OUT, POLICY, REPLACE, STATE, Operation

NAMED = 10  # rows named in a refusal


@dataclass
class Plan:
    wanted: object
    operations: list = field(default_factory=list)
    added: list = field(default_factory=list)  # State or Policy
    changed: list = field(default_factory=list)  # (State or Policy, Found, in words how it differs)
    removed: list = field(default_factory=list)  # Found

    def __bool__(self):
        return bool(self.operations)

    def new_states(self):
        return [row for row in self.added if row.kind == STATE] + [
            row for row, _old, _how in self.changed if row.kind == STATE
        ]

    def new_keys(self):
        """Digests of the keys that this plan brings into use for output."""
        return [row.digest() for row in self.new_states() if _counts(row)]


def plan(wanted, seen, state="present", purge="none", used=(), assume_gone=False, refuse=True):
    """The plan. used: digests of keys that were used for output. assume_gone: whether what others have in the places of these rows
    counts as gone. Raises RefusedError for what must not be, unless refuse is false: after a run it is too late for that."""
    made = Plan(wanted)
    rows = wanted.rows()
    foreign = []
    vacant = set(seen.missing)
    at, beside = {}, []
    for i, found, how in seen.different:
        if not found.owned and assume_gone:
            vacant.add(i)
        elif not found.owned and refuse:
            foreign.append(found.text())
        elif state == "absent":
            made.removed.append(found)
        elif i in at:
            beside.append(found)  # a second state that stands in the way of one wanted
        else:
            at[i] = (rows[i], found, how)
    _refuse(
        foreign,
        "these belong to others, by their seq or index",
        "Leave them out, use another spi, mark or selector, or remove them first",
    )
    if state == "absent":
        _order(made, [], [], made.removed)
        return made
    made.changed = list(at.values())
    made.removed += beside
    made.added = [rows[i] for i in sorted(vacant - set(at))]
    here = {found.digest for _i, found, _how in seen.different} | {found.digest for found in seen.strangers}
    again = [row for row in made.new_states() if _counts(row) and (row.digest() in used or row.digest() in here)]
    _refuse(
        [row.text() for row in again if refuse],
        "the keys of these states were used for output before, and would begin again at sequence number 0, which breaks their cipher",
        "Give them new keys on both hosts (docs/xfrm.md, Keys are used once)",
    )
    if purge == "owned":
        made.removed = made.removed + seen.strangers
    _order(made, made.added, made.changed, made.removed, beside)
    return made


def refuse_shared(made, there):
    """there: digests of the keys of all states. A key of one that comes in, or that nobody here made, is not in the record."""
    _refuse(
        [row.text() for row in made.new_states() if _counts(row) and row.digest() in there],
        "the keys of these states are those of other states that are there, and two that count packets with one key break its cipher",
        "Give each state a key of its own, on both hosts (RFC 4106, section 2)",
    )


def _counts(row):
    return row.shape.dir == OUT and row.counter


def _order(made, added, changed, removed, beside=()):
    """What comes in is understood before it is demanded, and what goes out has its state before and as long as its policy asks. beside:
    what of the removed has to go before what is changed is made."""
    for direction in (IN, OUT):
        _add(made, CREATE, [row for row in added if row.kind == STATE and row.shape.dir == direction])
    _add(made, DELETE, list(beside))
    for direction in (IN, OUT):
        pairs = [(row, old) for row, old, _how in changed if row.kind == STATE and row.shape.dir == direction]
        _add(made, DELETE, [old for _row, old in pairs])
        _add(made, CREATE, [row for row, _old in pairs])
    for direction in (OUT, IN, FWD):
        _add(made, CREATE, [row for row in added if row.kind == POLICY and row.dir == direction])
        _add(made, REPLACE, [row for row, _old, _how in changed if row.kind == POLICY and row.dir == direction])
    _add(made, DELETE, [found for found in removed if found.kind == POLICY])
    _add(made, DELETE, [found for found in removed if found.kind == STATE and found not in beside])


def _add(made, kind, rows):
    if rows:
        made.operations.append(Operation(kind, rows))


def _refuse(told, why, fix):
    if told:
        more = len(told) - NAMED
        raise RefusedError(
            f"nothing was changed: {why}: "
            + "; ".join(told[:NAMED])
            + (f"; and {more} more" if more > 0 else "")
            + f". {fix}"
        )
