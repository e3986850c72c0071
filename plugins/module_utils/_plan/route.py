# SPDX-License-Identifier: GPL-3.0-or-later
"""From the wanted routes and what was seen of them to operations. Pure.

Whose a route is, and so what may be replaced or purged, is decided here and nowhere else; docs/route.md has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model.errors import RefusedError
from .._model.route import CREATE, DELETE, REPLACE, Operation

NAMED = 10  # routes named in a refusal


@dataclass
class Plan:
    wanted: object
    operations: list = field(default_factory=list)
    added: list = field(default_factory=list)  # positions
    changed: list = field(default_factory=list)  # (position, Found)
    removed: list = field(default_factory=list)  # Found
    refused: list = field(default_factory=list)

    def __bool__(self):
        return bool(self.operations)

    def add(self, kind, rows):
        if rows:
            self.operations.append(Operation(kind, list(rows)))


def plan(wanted, seen, state="present", purge="none"):
    """The plan. Raises RefusedError when routes of other programs stand in the place of given ones."""
    made = Plan(wanted)
    at = {}
    for i, found in seen.different:
        at.setdefault(i, []).append(found)
    for i, rows in at.items():
        mine = [found for found in rows if found.owned]
        if i in seen.exact:
            made.removed += mine  # a second route at the key; others' are none of our business while ours is there
        elif len(mine) < len(rows):
            made.refused += [found.text() for found in rows if not found.owned]
        elif state == "absent":
            made.removed += mine
        else:
            # The kernel replaces the first route at a key, so it must be the only one.
            made.changed.append((i, mine[0]))
            made.removed += mine[1:]
    if made.refused:
        more = len(made.refused) - NAMED
        raise RefusedError(
            "nothing was changed: these routes belong to others, by their protocol: "
            + "; ".join(made.refused[:NAMED])
            + (f"; and {more} more" if more > 0 else "")
            + ". Leave them out, use another metric or table, or remove them first"
        )
    made.add(DELETE, made.removed)
    made.add(REPLACE, [i for i, found in made.changed])
    if state == "present":
        made.added = seen.missing
        made.add(CREATE, made.added)
        if purge == "owned":
            made.removed = made.removed + seen.strangers
            made.add(DELETE, seen.strangers)  # last: what is on its way finds the new route first
    return made
