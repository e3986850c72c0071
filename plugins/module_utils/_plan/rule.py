# SPDX-License-Identifier: GPL-3.0-or-later
"""From the wanted rules and those that are there to what is to be added and deleted. Pure.

Whose a rule is, and so what may be replaced or purged, is decided here and nowhere else; docs/route.md has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model.errors import RefusedError


@dataclass
class Plan:
    added: list = field(default_factory=list)  # Rule
    changed: list = field(default_factory=list)  # (Rule, Found)
    removed: list = field(default_factory=list)  # Found

    def __bool__(self):
        return bool(self.added or self.changed or self.removed)

    def created(self):
        """Rules to write; before anything is deleted, so that no packet misses both the old rule and the new one."""
        return self.added + [rule for rule, _found in self.changed]

    def deleted(self):
        return [found for _rule, found in self.changed] + self.removed


def plan(wanted, there, state="present", purge="none"):
    """The plan. Raises RefusedError when rules of other programs stand in the place of given ones."""
    made = Plan()
    refused = []
    at = {}
    for found in there:
        at.setdefault(found.rule.key(), []).append(found)
    for rule in wanted:
        rows = at.get(rule.key(), [])
        mine = [found for found in rows if found.owned]
        exact = [found for found in mine if found.rule == rule]
        others = [found for found in rows if not found.owned]
        if state == "present" and exact:
            made.removed += [found for found in mine if found is not exact[0]]
        elif others:
            refused += [found.text() for found in others]
        elif state == "absent":
            made.removed += mine
        elif mine:
            made.changed.append((rule, mine[0]))
            made.removed += mine[1:]
        else:
            made.added.append(rule)
    if refused:
        raise RefusedError(
            "nothing was changed: these rules belong to others, by their protocol: "
            + "; ".join(refused)
            + ". Leave them out, use another priority, or remove them first"
        )
    if purge == "owned":
        keys = {rule.key() for rule in wanted}
        made.removed += [found for found in there if found.owned and found.rule.key() not in keys]
    return made
