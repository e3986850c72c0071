# SPDX-License-Identifier: GPL-3.0-or-later
"""From the settings that are there, and the record of those we set, to those wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .._model import sysctl as model


@dataclass(frozen=True)
class Plan:
    during: dict  # the record while the settings are written, so that a run that breaks off is completed by the next
    after: dict  # the record when all are written
    writes: list  # (key, value) in the order in which they are written
    set: tuple  # keys that get a wanted value
    restored: tuple  # keys that get back the value of before
    kept: tuple  # keys of the record whose value somebody changed after us: theirs stays
    dropped: tuple  # keys of the record whose device went, or that are back by themselves
    mended: tuple  # keys that a run which broke off left as the kernel made them
    recorded: bool  # the record differs
    missing: tuple  # wanted keys that are not there, or not yet

    @property
    def changes(self):
        return bool(self.writes or self.recorded)

    def __bool__(self):
        return bool(self.changes or self.missing)


def plan(wanted, current, record, purge, others, missing=()):
    """
    wanted: {key: value}. current: {key: value, or None where there is no such setting}. record: {key: Held}.
    others: {key: value} of what writing model.FORWARDING changes too. missing: wanted keys that are not there; of a
    device that is not there `current` holds what it will start with.
    """
    kept_by_forwarding = record[model.FORWARDING].others if model.FORWARDING in record else {}
    # What the keys were before a run that broke off wrote FORWARDING and so changed them.
    true = {**current, **{key: value for key, value in kept_by_forwarding.items() if current.get(key) is not None}}
    target, after = dict(true), dict(record)
    restored, kept, dropped = [], [], []
    for key, value in wanted.items():
        target[key] = value
        if key in record:
            after[key] = model.Held(record[key].before, value)
        elif true[key] != value:
            after[key] = model.Held(true[key], value)
    for key in sorted(set(record) - set(wanted)) if purge else ():
        held = after.pop(key)
        if true[key] is None or true[key] == held.before:
            dropped.append(key)
        elif held.ours(true[key]):
            restored.append(key)
            target[key] = held.before
        else:
            kept.append(key)
    after = {key: model.Held(held.before, held.set) for key, held in after.items()}
    keys = sorted((key for key in target if target[key] != current[key]), key=_turn)
    during = {key: _during(record.get(key), held, true.get(key)) for key, held in {**record, **after}.items()}
    if model.FORWARDING in keys or kept_by_forwarding:
        others = {key: target.get(key, value) for key, value in {**others, **kept_by_forwarding}.items()}
        during[model.FORWARDING] = replace(during[model.FORWARDING], others=others)
    return Plan(
        during=during,
        after=after,
        writes=[(key, target[key]) for key in keys],
        set=tuple(key for key in keys if key in wanted),
        restored=tuple(restored),
        kept=tuple(kept),
        dropped=tuple(dropped),
        mended=tuple(key for key in keys if key not in wanted and key not in restored),
        recorded=after != record,
        missing=tuple(missing),
    )


def _during(old, new, current):
    """Both what we set before and what we are about to set are ours until all is written."""
    return replace(new, was=current) if old and old.ours(current) and current != new.set else new


def _turn(key):
    """FORWARDING goes before what it changes, and after what may protect learned routes from it (accept_ra)."""
    if key == model.FORWARDING:
        return (1, key)
    parts = model.parts(key)
    return (2 if parts[1:3] == ["ipv6", "conf"] and parts[-1] in model.FORWARDED else 0, key)
