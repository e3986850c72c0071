# SPDX-License-Identifier: GPL-3.0-or-later
"""From the nftables objects found to those wanted, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from .._model import isolation as model


@dataclass(frozen=True)
class Plan:
    commands: list  # nft's JSON commands, carried out together or not at all
    added: tuple  # devices that were not isolated before
    removed: tuple  # devices that were
    repaired: bool  # chains, rules or sets differ apart from whole devices

    def __bool__(self):
        return bool(self.commands)


def plan(names, found, groups=()):
    """`found` holds what lies in our tables now. Any difference replaces both tables as a whole."""
    wanted = model.objects(names, groups)
    if _same(found, wanted):
        return Plan([], (), (), False)
    before, after = isolated(found), isolated(wanted)
    return Plan(
        [*_emptied(_families(found, wanted)), *({"add": thing} for thing in wanted)],
        tuple(sorted(after - before)),
        tuple(sorted(before - after)),
        bool(found and wanted and not complete(found)),
    )


def _same(found, wanted):
    return model.frame(found) == model.frame(wanted) and model.members(found) == model.members(wanted)


def _families(found, wanted):
    """Only families in use: a kernel without one of them can still be cleaned."""
    present = {body["family"] for thing in [*found, *wanted] for body in thing.values()}
    return [family for family in model.FAMILIES if family in present]


def _emptied(families):
    """Adding first makes the deletion right whether or not the table is there."""
    for family in families:
        table = {"table": {"family": family, "name": model.TABLE}}
        yield {"add": table}
        yield {"delete": table}


def isolated(found):
    """Devices of which either family's table speaks."""
    held = model.members(found)
    return held["inet", "isolated"] | held["arp", "isolated"]


def alone(found):
    """Those of them that are in no group."""
    held = model.members(found)
    return isolated(found) - held["inet", "routing"]


def complete(found):
    """Whether the tables are exactly what isolates the devices that they name, and their groups."""
    return _same(found, model.objects(sorted(alone(found)), model.grouping(found)))


def differences(wanted, found):
    """In words, what tables read back lack or have too much."""
    held, wants = set(lines(found)), set(lines(wanted))
    return [f"missing: {line}" for line in sorted(wants - held)] + [f"extra: {line}" for line in sorted(held - wants)]


def lines(found):
    """What lies in our tables, a line an entry, for a diff."""
    held, groups = model.members(found), model.grouping(found)
    everywhere = held["inet", "isolated"] & held["inet", "bridged"] & held["arp", "isolated"] - held["inet", "routing"]
    text = [f"isolated {name}" for name in sorted(everywhere)]
    text += [f"routed only to one another: {' '.join(group)}" for group in groups]
    told = model.members(model.objects(sorted(everywhere), groups))
    for (family, name), names in sorted(held.items()):
        text += [
            f"isolated {member} only in {family} set {name}"
            for member in sorted(names - told.get((family, name), set()))
        ]
        text += [f"not in {family} set {name}: {member}" for member in sorted(told.get((family, name), set()) - names)]
    return text + model.frame(found)
