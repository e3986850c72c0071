# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the isolation module, and what isolation_info answers."""

from __future__ import annotations

from .._kernel import nft
from .._model import isolation as model
from .._model.errors import InputError
from .._plan import isolation as planning
from .run import Outcome, Resource

SHOWN = 200  # lines of each side of a diff

SPEC = {
    "interfaces": {"type": "list", "elements": "str"},
    "routed": {"type": "list", "elements": "list"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
REQUIRED_IF = [("state", "present", ["interfaces", "routed"], True)]  # any of them


class Isolation(Resource):
    def normalise(self, params):
        faults, alone, groups = [], (), ()
        try:
            alone = model.devices(params["interfaces"] or [])
        except InputError as error:
            faults += error.faults
        try:
            groups = model.groups(params["routed"] or [], set(params["interfaces"] or []))
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return (alone, groups) if params["state"] == "present" else ((), ())

    def read(self, desired):
        # Without nft there is nothing to read. In check mode an earlier task may be about to install it.
        return nft.table(model.TABLE, model.FAMILIES) if nft.program() else []

    def plan(self, desired, observed):
        alone, groups = desired
        return planning.plan(alone, observed, groups)

    def apply(self, plan):
        nft.commit(plan.commands)

    def verify(self, desired, plan):
        return _bounded(planning.differences(model.objects(*desired), nft.table(model.TABLE, model.FAMILIES)))

    def outcome(self, desired, observed, plan, checking):
        wanted = model.objects(*desired)
        routed = sum(map(len, desired[1]))
        before, after = planning.lines(observed), planning.lines(wanted)
        gone, new = set(before) - set(after), set(after) - set(before)
        return Outcome(
            changed=bool(plan),
            before=_text(line for line in before if line in gone),
            after=_text(line for line in after if line in new),
            header=f"nftables tables inet and arp {model.TABLE}",
            result={
                "count": len(desired[0]) + routed,
                "routed": routed,
                "added": len(plan.added),
                "removed": len(plan.removed),
                "repaired": plan.repaired,
            },
            warnings=[] if nft.program() else [WITHOUT_NFT],
        )


WITHOUT_NFT = "nftables is not installed, so the host's tables could not be read; they are taken as absent"


def info(params):
    found = nft.table(model.TABLE, model.FAMILIES)
    return {
        "present": bool(found),
        "interfaces": sorted(planning.alone(found)),
        "routed": [list(group) for group in model.grouping(found)],
        "complete": bool(found) and planning.complete(found),
    }


def _bounded(lines):
    lines = list(lines)
    return lines[:SHOWN] + ([f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])


def _text(lines):
    return "".join(f"{line}\n" for line in _bounded(lines))
