# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules neighbor and neighbor_info."""

from __future__ import annotations

import sys
from functools import cached_property, partial
from itertools import chain

from .._daemons.last_run import LastRun
from .._kernel.neighbor import Neighbors
from .._model import neighbor as model
from .._model import table, values
from .._model.errors import InputError
from .._plan import neighbor as planner
from .run import Resource
from .table import NAMES, arguments, bounded, checked, outcome_of, rows_of, text_of

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
ARGUMENTS = {"dev": NAMES, **arguments(ENTRY, ["none", "owned", "all"])}
INFO_ARGUMENTS = {"dev": NAMES, "ip": NAMES}


LARGE = 1 << 20  # characters; to compare a smaller text row by row takes less time than to start Python
SAME = object()  # observed: what the last run found to be as wanted


class Desired:
    """The wanted rows, and what to do about them."""

    def __init__(self, devs, state, purge, anew, parse):
        self.devs, self.state, self.purge, self.anew, self.parse = devs, state, purge, anew, parse
        self.last_run = None  # of large tables: the LastRun, and
        self.found = None  # what it tells

    @cached_property
    def wanted(self):
        return self.parse()

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
        self.proof = None  # the digest of the kernel's rows that were all seen to be as wanted

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
        try:
            entries, text = params["entries"], text_of(params)
            parse = partial(rows_of, entries, text, model.from_entries, model.from_table, devs, absent)
            desired = Desired(devs, params["state"], params["purge"], anew, parse)
            if text and len(text) > LARGE and not (faults or absent or anew or params["purge"] == "all"):
                desired.last_run = LastRun([repr((devs, params["purge"])).encode()], [*_code(), text.encode()])
                desired.found = desired.last_run.load()
            if not desired.found:
                desired.wanted  # noqa: B018 (reads it, and so finds its faults)
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return desired

    def read(self, desired):
        if desired.found and self._is_same(desired):
            return SAME
        names = dict.fromkeys([*desired.devs, *desired.wanted.devs()])
        self.devices = {name: self.kernel.device(name) for name in names}
        if desired.state == "present":
            for name in desired.wanted.devs():
                # An earlier task may be about to make the device fit, so only apply() can refuse it.
                faults = model.check_device(desired.wanted, self.devices[name], name)
                if faults:
                    self.unfit[name] = faults
        devices = {name: None if name in desired.anew else device for name, device in self.devices.items()}
        seen = self.kernel.look(
            desired.wanted, devices, desired.scope(), desired.state == "present", bool(desired.last_run)
        )
        seen.strangers = [found for found in seen.strangers if found.kind.dev not in desired.anew]
        return seen

    def _is_same(self, desired):
        """Whether the kernel holds what the last run compared with the same text, and found to be as wanted."""
        devices = {name: self.kernel.device(name) for name in desired.found["devices"]}
        if _told(devices) != desired.found["devices"]:
            return False
        return self.kernel.digest(devices, desired.scope()) == desired.found["digest"]

    def plan(self, desired, observed):
        if observed is SAME:
            return planner.Plan(None)
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
            table = desired.wanted.subset(put)
            whole = desired.last_run and table is desired.wanted
            seen = self.kernel.look(table, self.devices, desired.scope() if whole else (), digest=bool(whole))
            strangers, seen.strangers = seen.strangers, []
            again = planner.plan(table, seen, purge="all")  # whoever's they are, they are not what was just written
            wrong += [f"{table.text(i)} is missing" for i in again.added]
            wrong += [f"{found.text()} stands where {table.text(i)} should" for i, found in again.changed]
            if not wrong and not any(planner.purgeable(found, desired.purge) for found in strangers):
                self.proof = seen.digest
        if plan.removed:
            gone = model.wanted_of(plan.removed)
            devices = {found.kind.dev: model.Device(found.kind.dev, found.index) for found in plan.removed}
            left = self.kernel.look(gone, devices, compare=False).different
            wrong += [
                f"{found.text()} is still there" for i, found in left if found.configured and found.mac == gone.macs[i]
            ]
        return bounded(wrong)

    def outcome(self, desired, observed, plan, checking):
        wanted = plan.wanted
        if observed is SAME:
            given = desired.found["rows"]
        else:
            given = len(wanted) if desired.state == "present" else 0
            if not checking:
                self._remember(desired, plan, observed)
        return outcome_of(
            plan,
            header="neighbours and proxy entries that differ",
            given=given,
            added=len(plan.added),
            new=lambda: (wanted.text(i) for i in plan.added),
            changed=lambda: ((old.text(), wanted.text(i)) for i, old in plan.changed),
            diff=self.diff,
            warnings=self._warnings(),
        )

    def _remember(self, desired, plan, observed):
        proof = self.proof if plan else observed.digest
        if proof and not self.unfit:
            found = {"devices": _told(self.devices), "rows": len(desired.wanted), "digest": proof}
            desired.last_run.store(found)

    def _warnings(self):
        faults = list(chain.from_iterable(self.unfit.values()))
        return ["not yet as these rows need it: " + "; ".join(bounded(faults))] if faults else []


def _told(devices):
    """Devices as the record of a run has them."""
    return {name: device and list(vars(device).values()) for name, device in devices.items()}


def _code():
    """What made of a text and the kernel's rows what it made; another version may see them otherwise."""
    modules = [sys.modules[one.__module__] for one in (model.Kind, planner.Plan, Neighbors, NeighborResource)]
    return [one.__spec__.loader.get_data(one.__file__) for one in (*modules, table)]


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
