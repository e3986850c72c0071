# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules fdb and fdb_info."""

from __future__ import annotations

from itertools import chain

from .._daemons import flood_lists
from .._kernel.fdb import Fdb, check_vias
from .._model import fdb as model
from .._model import values
from .._model.errors import InputError
from .._plan import fdb as planner
from .run import Resource
from .table import NAMES, arguments, bounded, checked, outcome_of, rows_of, text_of

ENTRY = {
    "mac": {"type": "str", "required": True},
    "dev": {"type": "str"},
    "dst": {"type": "list", "elements": "str"},
    "vni": {"type": "int"},
    "src_vni": {"type": "int"},
    "port": {"type": "int"},
    "via": {"type": "str"},
    "nhid": {"type": "int"},
    "vlan": {"type": "int"},
    "router": {"type": "bool", "default": False},
    "target": {"type": "str", "choices": [model.SELF, model.MASTER], "default": model.SELF},
    "state": {"type": "str", "choices": list(model.STATES)},
}
ARGUMENTS = {"dev": NAMES, **arguments(ENTRY, ["none", "owned", "all"])}
INFO_ARGUMENTS = {"dev": NAMES, "mac": NAMES}


class Desired:
    """The wanted tables, by device and table, and what to do about them."""

    def __init__(self, devs, tables, state, purge, anew):
        self.devs, self.tables, self.state, self.purge, self.anew = devs, tables, state, purge, anew


class FdbResource(Resource):
    def __init__(self, diff=False):
        self.diff = diff
        self.kernel = Fdb()
        self.devices = {}
        self.unfit = {}  # (device, table): why its rows cannot stand there, or not yet
        self.records = {}  # device: what the host's record says of its flood lists
        self.damaged = []

    def close(self):
        self.kernel.close()

    def normalise(self, params):
        faults = []
        devs = [checked(values.dev, name, "dev", faults) for name in params["dev"]]
        anew = [checked(values.dev, name, "anew", faults) for name in params["anew"]]
        if params["purge"] != "none":
            if not devs:
                faults.append("dev: missing; purge needs to be told which devices' tables it may clean")
            if params["state"] == "absent":
                faults.append("purge: goes with state: present, which names the rows to keep; leave purge out")
        absent = params["state"] == "absent"
        rows = None
        try:
            forms = params["entries"], text_of(params)
            rows = rows_of(*forms, model.from_entries, model.from_table, devs, absent)
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return Desired(devs, model.split(rows), params["state"], params["purge"], anew)

    def read(self, desired):
        names = dict.fromkeys([*desired.devs, *(dev for dev, target in desired.tables)])
        self.devices = {name: self.kernel.device(name) for name in names}
        tables = dict(desired.tables)
        purged = [(name, self._purged(name, tables)) for name in desired.devs] if desired.purge != "none" else []
        for key in purged:
            tables.setdefault(key, model.Wanted(*key, []))
        pairs = []
        for key, table in tables.items():
            device = self.devices[table.dev]
            faults = model.check_device(table, device)
            if faults:  # an earlier task may be about to make the device fit, so only apply() can refuse it
                self.unfit[key] = faults
            fit = None if faults or table.dev in desired.anew else device
            seen = self.kernel.look(table, fit, key in purged, desired.state == "present")
            model.recall(seen, lambda dev=table.dev: self._recorded(dev))
            pairs.append((table, seen))
        return pairs

    def _purged(self, name, wanted):
        """Purge cleans one table of a device: a VXLAN device's own, and the bridge's for any other port."""
        device = self.devices[name]
        other = device and device.kind != "vxlan" and (name, model.SELF) not in wanted  # what it is not yet, rows tell
        return model.MASTER if other else model.SELF

    def plan(self, desired, observed):
        return planner.plan(observed, desired.state, desired.purge)

    def apply(self, plan):
        faults = []
        for table in {id(operation.table): operation.table for operation in plan.operations}.values():
            faults += self.unfit.get((table.dev, table.target), [])
            faults += check_vias(table)
        if faults:
            raise InputError(faults)
        after = planner.ours(plan)
        # Before the kernel has them, so that what a run wrote that broke off is known.
        for dev, lists in after.items():
            had = self._recorded(dev)
            self._record(dev, {**had, **{key: places | had.get(key, set()) for key, places in lists.items()}})
        for operation in plan.operations:
            self.kernel.write(operation, self.devices[operation.table.dev])
        for dev, lists in after.items():
            self._record(dev, {**self._recorded(dev), **lists})

    def _recorded(self, dev):
        if dev not in self.records:
            self.records[dev], damaged = flood_lists.load(self.kernel.identity(self.devices[dev]))
            self.damaged += [damaged] if damaged else []
        return self.records[dev]

    def _record(self, dev, lists):
        lists = {key: places for key, places in lists.items() if places}
        if lists != self.records[dev]:
            flood_lists.store(self.kernel.identity(self.devices[dev]), dev, lists)
        self.records[dev] = lists

    def verify(self, desired, plan):
        """Ask the kernel for every row that was touched; what a second plan would do is what is wrong."""
        wrong = []
        touched = {}
        for table, positions in plan.added + [(table, [i]) for table, i, old in plan.changed]:
            touched.setdefault(id(table), (table, []))[1].extend(positions)
        again = self._again([table.subset(positions) for table, positions in touched.values() if positions], "present")
        wrong += [f"{table.text(i)} is missing" for table, positions in again.added for i in positions]
        wrong += [f"{found.text()} stands where {table.text(i)} should" for table, i, found in again.changed]
        # A row may come back by itself at once, and then as a learned one: the kernel makes it from the next frame.
        gone = {}
        for found in plan.removed:
            if found.way.state != "dynamic":
                key = (found.way.dev, found.way.target)
                table = gone.setdefault(key, model.Wanted(*key, []))
                table.index.append(len(table.ways))
                table.ways.append(found.way)
                table.macs.append(found.mac)
        left = self._again(gone.values(), "absent").removed
        wrong += [f"{found.text()} is still there" for found in left if found.way.state != "dynamic"]
        return bounded(wrong)

    def _again(self, tables, state):
        pairs = []
        for table in tables:
            device = self.devices[table.dev]
            pairs.append((table, self.kernel.look(table, device, compare=state == "present")))
        return planner.plan(pairs, state)

    def outcome(self, desired, observed, plan, checking):
        return outcome_of(
            plan,
            header="rows that differ in the FDB of " + ", ".join(self.devices),
            given=0 if desired.state == "absent" else sum(len(table) for table in desired.tables.values()),
            added=sum(len(positions) for table, positions in plan.added),
            new=lambda: (table.text(i) for table, positions in plan.added for i in positions),
            changed=lambda: ((old.text(), table.text(i)) for table, i, old in plan.changed),
            diff=self.diff,
            warnings=self._warnings(),
            shared=len(plan.shared),
        )

    def _warnings(self):
        faults = list(dict.fromkeys(chain.from_iterable(self.unfit.values())))
        return self.damaged + (["counted as an empty table: " + "; ".join(bounded(faults))] if faults else [])


def read_info(params):
    """The return values of fdb_info."""
    faults = []
    devs = [checked(values.dev, name, "dev", faults) for name in params["dev"]]
    macs = {checked(values.mac, mac, "mac", faults) for mac in params["mac"]}
    if faults:
        raise InputError(faults)
    kernel = Fdb()
    try:
        rows = kernel.rows(devs, macs)
        records = {}
        for row in rows:
            if not (row["owned"] or row["extern_learn"] or row["default"]) and row["target"] == model.SELF:
                row["owned"] = _recorded(kernel, row, records)
        return {"fdb": rows}
    finally:
        kernel.close()


def _recorded(kernel, row, records):
    """Whether the host's record says that a row without the mark is ours."""
    dev, mac = row["dev"], bytes.fromhex(row["mac"].replace(":", ""))
    if not model.is_flood(mac):
        return False
    if dev not in records:
        device = kernel.device(dev)
        records[dev] = flood_lists.load(kernel.identity(device))[0] if device else {}
    way = model.Way(dev, **{name: row.get(name) for name in ("src_vni", "dst", "vni", "port", "via", "nhid")})
    return way.place() in records[dev].get(mac + way.key(), ())
