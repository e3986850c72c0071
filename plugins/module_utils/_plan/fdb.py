# SPDX-License-Identifier: GPL-3.0-or-later
"""From the wanted rows of a table and what was seen of it to operations. Pure.

Who owns a row, and so what may be replaced or purged, is decided here and nowhere else; docs/fdb.md has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .._model.errors import RefusedError
from .._model.fdb import APPEND, CREATE, DELETE, MASTER, REPLACE, Operation

NAMED = 10  # rows named in a refusal


@dataclass
class Plan:
    operations: list = field(default_factory=list)
    added: list = field(default_factory=list)  # (table, positions)
    changed: list = field(default_factory=list)  # (table, position, Found)
    removed: list = field(default_factory=list)  # Found
    shared: list = field(default_factory=list)  # (table, position) in flood lists that others write to as well
    refused: list = field(default_factory=list)
    lists: list = field(default_factory=list)  # (device, key of a flood list, Found in it, those that go, our places)

    def __bool__(self):
        return bool(self.operations)

    def add(self, kind, table, rows, keep=None):
        if rows:
            self.operations.append(Operation(kind, table, list(rows), keep))


def plan(pairs, state="present", purge="none"):
    """The plan for pairs of (Wanted, Seen). Raises RefusedError when rows of other programs stand in the way."""
    made = Plan()
    for wanted, seen in pairs:
        if state == "absent":
            _absent(made, wanted, seen)
        else:
            _present(made, wanted, seen, purge)
    if made.refused:
        more = len(made.refused) - NAMED
        raise RefusedError(
            "nothing was changed: these rows belong to another program (extern_learn: a routing daemon, for instance): "
            + "; ".join(made.refused[:NAMED])
            + (f"; and {more} more" if more > 0 else "")
            + ". Leave them out, or stop that program from writing them; with purge: all they are taken over"
        )
    return made


def purgeable(found, purge):
    """Whether purge may remove a row that nobody wants."""
    hosts_own = found.way.target == MASTER and found.way.state == "permanent"
    if purge == "none" or found.default or hosts_own:
        return False
    return purge == "all" or found.owned or found.recorded


def ours(made):
    """{device: {key of a flood list: the places in it that are ours after the run}}, as far as lists were looked at."""
    told = {}
    for dev, key, rows, gone, places in made.lists:
        told.setdefault(dev, {})[key] = (_ours(rows) - _ours(gone)).union(places)
    return told


def _ours(rows):
    return {found.way.place() for found in rows if (found.owned or found.recorded) and not found.default}


def _present(made, wanted, seen, purge):
    normal = [seen.device.normal(way) if seen.device else way for way in wanted.ways]
    replaced, swapped, old = [], [], []
    for i, found in seen.different:
        way = normal[wanted.index[i]]
        if found.extern_learn and purge != "all":
            made.refused.append(found.text())
        elif not _as_wanted(found, way):
            made.changed.append((wanted, i, found))
            # The kernel turns no row with a destination into one with a nexthop group, nor back; and a bridge keeps
            # extern_learn on a row that is replaced.
            if (found.way.nhid is None) == (way.nhid is None) and not (found.extern_learn and way.target == MASTER):
                replaced.append(i)
            else:
                old.append(found)
                swapped.append(i)
    # The kernel writes a row without a VLAN into each VLAN of the bridge's port as well.
    written = {*seen.missing, *replaced, *swapped} if seen.copies else ()
    for i, found in seen.copies:
        way = normal[wanted.index[i]]
        if found.extern_learn and purge != "all":
            made.refused.append(found.text())
        elif found.extern_learn or (
            found.way.dev == way.dev and not _as_wanted(found, replace(way, vlan=found.way.vlan))
        ):
            if found.extern_learn:
                old.append(found)
            if i not in written:
                written.add(i)
                replaced.append(i)
                made.changed.append((wanted, i, found))
    made.added.append((wanted, seen.missing))
    made.add(DELETE, wanted, old)
    made.add(CREATE, wanted, seen.missing + swapped)
    made.add(REPLACE, wanted, replaced)
    lists = {}
    floods = wanted.floods()
    keys = wanted.keys() if floods else []
    for i in floods:
        lists.setdefault(keys[i], []).append(i)
    for key, positions in lists.items():
        _flood(made, wanted, positions, key, seen.floods.get(key, []), normal, purge)
    doomed = [found for found in seen.strangers if purgeable(found, purge)]
    for key, rows in seen.floods.items():
        if key not in lists:
            gone = [found for found in rows if purgeable(found, purge)]
            made.lists.append((wanted.dev, key, rows, gone, ()))
            doomed += gone
    made.removed += doomed
    made.add(DELETE, wanted, doomed)


def _as_wanted(found, way):
    return found.way == way and not found.extern_learn and (found.owned or way.target == MASTER)


def _flood(made, wanted, positions, key, rows, normal, purge):
    """One MAC with all its destinations. The kernel keeps one state, so one mark, for all of them; the host's record
    says which of them are ours where the mark cannot.
    """
    if any(found.extern_learn for found in rows) and purge != "all":
        made.refused += [found.text() for found in rows]
        return
    places = {normal[wanted.index[i]].place(): i for i in positions}
    there = {found.way.place(): found for found in rows}
    added = [i for place, i in places.items() if place not in there]
    others = [found for place, found in there.items() if place not in places and not found.default]
    doomed = [found for found in others if purgeable(found, purge)]
    keep = None
    if len(doomed) < len(others) and not others[0].owned:
        keep = rows[0]  # marking the list would claim destinations that are not ours
        made.shared += [(wanted, i) for i in positions]
        made.lists.append((wanted.dev, key, rows, doomed, [place for place in places if place not in there]))
    else:
        made.lists.append((wanted.dev, key, rows, doomed, places))
        way = normal[wanted.index[positions[0]]]
        stale = [f for f in rows if not f.owned or (f.way.state, f.way.router) != (way.state, way.router)]
        kept = [(places[found.way.place()], found) for found in stale if found.way.place() in places]
        made.changed += [(wanted, i, found) for i, found in kept]
        if kept and not added:
            made.add(APPEND, wanted, [kept[0][0]])  # appending what is there writes the state of the whole list
    made.added.append((wanted, added))
    if rows:
        made.add(APPEND, wanted, added, keep)
    else:
        made.add(CREATE, wanted, added[:1])
        made.add(APPEND, wanted, added[1:])
    made.removed += doomed
    made.add(DELETE, wanted, doomed)


def _absent(made, wanted, seen):
    matches = [(wanted.row(i)[1], found) for i, found in seen.different + seen.copies]
    if seen.floods:
        keys = wanted.keys()
        matches += [(wanted.row(i)[1], found) for i in wanted.floods() for found in seen.floods.get(keys[i], [])]
    gone, of_lists = [], {}
    for way, found in matches:
        # A row without a destination means the MAC with all its destinations.
        everything = way.dst is None and way.nhid is None
        if found.way.dev != way.dev or not (everything or seen.device.normal(way).place() == found.way.place()):
            continue
        if found.extern_learn:
            made.refused.append(found.text())
        else:
            gone.append(found)
            of_lists.setdefault(found.mac + found.way.key(), []).append(found)
    made.lists += [(wanted.dev, key, rows, of_lists.get(key, ()), ()) for key, rows in seen.floods.items()]
    made.removed += gone
    made.add(DELETE, wanted, gone)
