# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules neighbor and neighbor_info."""

from __future__ import annotations

from itertools import chain

from .._kernel.neighbor import Neighbors
from .._model import neighbor as model
from .._model import table, values
from .._model.errors import InputError
from .._plan import neighbor as planner
from .run import Outcome, Resource
from .table import SAMPLE, arguments, bounded, checked, lines, rows_of

ENTRY = {
    "ip": {"type": "str", "required": True},
    "dev": {"type": "str"},
    "lladdr": {"type": "str"},
    "nud": {"type": "str", "choices": list(model.NUDS)},
    "proxy": {"type": "bool", "default": False},
    "router": {"type": "bool", "default": False},
    "extern_learn": {"type": "bool", "default": False},
    "managed": {"type": "bool", "default": False},
}
ARGUMENTS = arguments(ENTRY)
INFO_ARGUMENTS = {
    "dev": {"type": "list", "elements": "str", "default": []},
    "ip": {"type": "list", "elements": "str", "default": []},
}


class Desired:
    """The wanted rows, and what to do about them."""

    def __init__(self, devs, wanted, state, purge, anew):
        self.devs, self.wanted, self.state, self.purge, self.anew = devs, wanted, state, purge, anew

    def scope(self):
        """The devices whose other rows are looked at; None: every device."""
        if self.purge == "none":
            return ()
        return self.devs or None


class NeighborResource(Resource):
    def __init__(self, diff=False):
        self.diff = diff
        self.kernel = Neighbors()
        self.devices = {}
        self.unfit = {}  # device: why its rows cannot stand there, or not yet

    def close(self):
        self.kernel.close()

    def normalise(self, params):
        faults = []
        devs = [checked(values.dev, name, "dev", faults) for name in params["dev"]]
        anew = [checked(values.dev, name, "anew", faults) for name in params["anew"]]
        absent = params["state"] == "absent"
        if params["purge"] == "all" and not devs:
            faults.append("dev: missing; purge: all needs to be told which devices' rows it may remove")
        if params["purge"] != "none" and absent:
            faults.append("purge: goes with state: present, which names the rows to keep; leave purge out")
        wanted = None
        try:
            wanted = rows_of(params, model.from_entries, model.from_table, devs, absent)
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return Desired(devs, wanted, params["state"], params["purge"], anew)

    def read(self, desired):
        names = dict.fromkeys([*desired.devs, *desired.wanted.devs()])
        self.devices = {name: self.kernel.device(name) for name in names}
        if desired.state == "present":
            for name in desired.wanted.devs():
                # An earlier task may be about to make the device fit, so only apply() can refuse it.
                faults = model.check_device(desired.wanted, self.devices[name], name)
                if faults:
                    self.unfit[name] = faults
        devices = {name: None if name in desired.anew else device for name, device in self.devices.items()}
        return self._look(desired.wanted, desired.state, desired.scope(), devices, desired.anew)

    def _look(self, wanted, state, scope, devices, anew=()):
        seen = self.kernel.look(wanted, devices, scope, compare=state == "present")
        seen.strangers = [found for found in seen.strangers if found.kind.dev not in anew]
        return seen

    def plan(self, desired, observed):
        return planner.plan(desired.wanted, observed, desired.state, desired.purge)

    def apply(self, plan):
        kinds, index = plan.wanted.kinds, plan.wanted.index
        put = {kinds[index[i]].dev for i in chain(plan.added, (i for i, found in plan.changed))}
        faults = [fault for name in self.unfit if name in put for fault in self.unfit[name]]
        if faults:
            raise InputError(faults)
        for operation in plan.operations():
            self.kernel.write(operation, plan.wanted, self.devices)

    def verify(self, desired, plan):
        """Read every row again that was touched; what a second plan would do is what is wrong."""
        wrong = []
        put = plan.added + [i for i, found in plan.changed]
        if put:
            again = self._again(desired.wanted.subset(put), self.devices, "present")
            wrong += [f"{again.wanted.text(i)} is missing" for i in again.added]
            wrong += [f"{found.text()} stands where {again.wanted.text(i)} should" for i, found in again.changed]
        if plan.removed:
            gone = model.wanted_of(plan.removed)
            devices = {found.kind.dev: model.Device(found.kind.dev, found.index) for found in plan.removed}
            wrong += [f"{found.text()} is still there" for found in self._again(gone, devices, "absent").removed]
        return bounded(wrong)

    def _again(self, wanted, devices, state):
        purge = "all" if state == "present" else "none"  # whoever's they are, they are not what was just written
        return planner.plan(wanted, self._look(wanted, state, (), devices), state, purge)

    def outcome(self, desired, observed, plan, checking):
        wanted = plan.wanted
        added, changed, removed = len(plan.added), len(plan.changed), len(plan.removed)
        given = len(wanted) if desired.state == "present" else 0
        share = SAMPLE // max(bool(added) + bool(changed) + bool(removed), 1)
        sample = [f"added {wanted.text(i)}" for i in plan.added[:share]]
        sample += [f"changed {old.text()} to {wanted.text(i)}" for i, old in plan.changed[:share]]
        sample += [f"removed {found.text()}" for found in plan.removed[:share]]
        before = chain((old.text() for i, old in plan.changed), (found.text() for found in plan.removed))
        after = chain((wanted.text(i) for i, old in plan.changed), (wanted.text(i) for i in plan.added))
        return Outcome(
            changed=bool(plan),
            before=lines(before, changed + removed) if self.diff else "",
            after=lines(after, changed + added) if self.diff else "",
            header="neighbours and proxy entries that differ",
            warnings=self._warnings(),
            result={
                "rows": {
                    "added": added,
                    "changed": changed,
                    "removed": removed,
                    "unchanged": given - added - changed if given else 0,
                },
                "sample": sample,
            },
        )

    def _warnings(self):
        faults = list(chain.from_iterable(self.unfit.values()))
        return ["not yet as these rows need it: " + "; ".join(bounded(faults))] if faults else []


def read_info(params):
    """The return values of neighbor_info."""
    faults = []
    devs = [checked(values.dev, name, "dev", faults) for name in params["dev"]]
    ips = {checked(table.packed_address, ip, "ip", faults) for ip in params["ip"]}
    if faults:
        raise InputError(faults)
    kernel = Neighbors()
    try:
        return {"neighbors": kernel.rows(devs, ips)}
    finally:
        kernel.close()
