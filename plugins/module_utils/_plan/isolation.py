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


def plan(names, found):
    """`found` holds what lies in our tables now. Any difference replaces both tables as a whole."""
    wanted = model.objects(names)
    held, wants = model.members(found), model.members(wanted)
    before, after = isolated(found), set(names)
    same_frame = model.frame(found) == model.frame(wanted)
    if same_frame and held == wants:
        return Plan([], (), (), False)
    return Plan(
        [*_emptied(_families(found, wanted)), *({"add": thing} for thing in wanted)],
        tuple(sorted(after - before)),
        tuple(sorted(before - after)),
        bool(found and wanted and (not same_frame or len(set(held.values())) > 1)),
    )


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


def complete(found):
    """Whether the tables are exactly what isolates the devices that they name."""
    return not plan(tuple(sorted(isolated(found))), found)


def differences(names, found):
    """In words, what a table read back lacks or has too much."""
    held, wanted = set(lines(found)), set(lines(model.objects(names)))
    return [f"missing: {line}" for line in sorted(wanted - held)] + [f"extra: {line}" for line in sorted(held - wanted)]


def lines(found):
    """What lies in our tables, a line an entry, for a diff."""
    held = model.members(found)
    everywhere = frozenset.intersection(*(held[key] for key in model.SETS))
    text = [f"isolated {name}" for name in sorted(everywhere)]
    for (family, name), names in sorted(held.items()):
        text += [f"isolated {member} only in {family} set {name}" for member in sorted(names - everywhere)]
    return text + model.frame(found)
