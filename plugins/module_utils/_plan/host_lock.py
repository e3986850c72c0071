# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets the lock of a host."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .._model.host_lock import Lock


@dataclass(frozen=True)
class Plan:
    after: object  # the Lock that is to be there then, or None
    held: bool  # whether it is this run's
    refused: bool  # another run has it, and keeps it
    writes: bool

    def __bool__(self):
        return self.writes


def plan(found, wanted, state, force, stale):
    """
    found: the Lock that is there, or None. wanted: this run's, whose `since` is now. force: take it from anybody.
    stale: the run that this one's controller knows to be dead.
    """
    ours = found is not None and found.holder.run == wanted.holder.run
    if state == "released":
        keep = found is not None and not (ours or force)
        return Plan(after=found if keep else None, held=False, refused=keep, writes=found is not None and not keep)
    if ours:
        return Plan(after=replace(wanted, since=found.since), held=True, refused=False, writes=True)
    if found is not None and not force and found.holder.run != stale and _valid(found, wanted):
        return Plan(after=found, held=False, refused=True, writes=False)
    return Plan(after=wanted, held=True, refused=False, writes=True)


def _valid(found, wanted):
    """On its own controller a run has the lock for as long as it lives; what another one says ends with the lease."""
    judged_by_life = found.holder.controller == wanted.holder.controller and found.holder.start
    return bool(judged_by_life) or found.since <= wanted.since < found.until


def lock(holder, purpose, now, lease):
    return Lock(holder, purpose, now, now + lease)
