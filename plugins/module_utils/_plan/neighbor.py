# SPDX-License-Identifier: GPL-3.0-or-later
"""From the wanted neighbours and what was seen of them to operations. Pure.

Who owns a row, and so what may be replaced or purged, is decided here and nowhere else; docs/neighbor.md has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model.errors import RefusedError
from .._model.neighbor import DELETE, NO_MAC, PUT, Operation, Wanted

NAMED = 10  # rows named in a refusal


@dataclass
class Plan:
    wanted: Wanted
    added: list = field(default_factory=list)  # positions
    changed: list = field(default_factory=list)  # (position, Found)
    removed: list = field(default_factory=list)  # Found

    def operations(self):
        """What to do, in this order: so nothing that is wanted is away for a moment."""
        put = self.added + [i for i, found in self.changed]
        return [Operation(kind, rows) for kind, rows in ((PUT, put), (DELETE, self.removed)) if rows]

    def __bool__(self):
        return bool(self.added or self.changed or self.removed)


def plan(wanted, seen, state="present", purge="none"):
    """The plan. Raises RefusedError when rows of other programs stand in the way."""
    made = Plan(wanted)
    refused = _absent(made, seen) if state == "absent" else _present(made, seen, purge)
    if refused:
        more = len(refused) - NAMED
        raise RefusedError(
            "nothing was changed: these rows belong to another program (extern_learn or its own protocol number; a routing "
            "daemon, for instance): "
            + "; ".join(found.text() for found in refused[:NAMED])
            + (f"; and {more} more" if more > 0 else "")
            + ". Leave them out, or stop that program from writing them; with purge: all they are taken over"
        )
    return made


def purgeable(found, purge):
    """Whether purge may remove a row that nobody wants."""
    return found.configured and (purge == "all" or purge == "owned" and found.owned)


def _present(made, seen, purge):
    refused = []
    made.added += seen.missing
    for i, found in seen.different:
        if found.foreign and purge != "all":
            refused.append(found)
        elif not _as_wanted(found, *made.wanted.row(i)):
            made.changed.append((i, found))
    made.removed += [found for found in seen.strangers if purgeable(found, purge)]
    return refused


def _as_wanted(found, _ip, mac, kind):
    return found.owned and found.kind == kind and (kind.managed or found.mac == mac)


def _absent(made, seen):
    refused = []
    for i, found in seen.different:
        _ip, mac, _kind = made.wanted.row(i)
        # What the kernel learned is not there because somebody wrote it. A row without a MAC means whatever MAC there is.
        if found.configured and mac in (NO_MAC, found.mac):
            (refused if found.foreign else made.removed).append(found)
    return refused
