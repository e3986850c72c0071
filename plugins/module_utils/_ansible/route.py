# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules route and route_info."""

from __future__ import annotations

from .._kernel.route import Routes, table_names
from .._model import route as model
from .._model import values
from .._model.errors import InputError
from .._plan import route as planner
from .run import Resource
from .table import NAMES, arguments, bounded, checked, outcome_of, rows_of, text_of

ENCAP = {
    "type": {"type": "str", "choices": list(model.ENCAPS), "required": True},
    "id": {"type": "int", "required": True},
    "dst": {"type": "str", "required": True},
    "src": {"type": "str"},
    "ttl": {"type": "int", "default": 0},
    "tos": {"type": "int", "default": 0},
    "flags": {"type": "list", "elements": "str", "choices": list(model.FLAGS), "default": []},
}
HOP = {
    "dev": {"type": "str", "required": True},
    "via": {"type": "str"},
    "onlink": {"type": "bool", "default": False},
    "weight": {"type": "int", "default": 1},
    "encap": {"type": "dict", "options": ENCAP},
}
ENTRY = {
    "dst": {"type": "str", "required": True},
    "type": {"type": "str", "choices": list(model.TYPES), "default": model.UNICAST},
    "table": {"type": "str"},
    "metric": {"type": "int"},
    "tos": {"type": "int"},
    "dev": {"type": "str"},
    "via": {"type": "str"},
    "onlink": {"type": "bool", "default": False},
    "encap": {"type": "dict", "options": ENCAP},
    "nexthops": {"type": "list", "elements": "dict", "options": HOP},
    "nhid": {"type": "int"},
    "src": {"type": "str"},
    "mtu": {"type": "int"},
}
ARGUMENTS = arguments(ENTRY, ["none", "owned"])
INFO_ARGUMENTS = {"table": NAMES, "dev": NAMES, "owned": {"type": "bool", "default": False}}


class Desired:
    """The given routes, and what to do about them."""

    def __init__(self, wanted, state, purge, anew):
        self.wanted, self.state, self.purge, self.anew = wanted, state, purge, anew


class RouteResource(Resource):
    def __init__(self, diff=False):
        self.diff = diff
        self.kernel = Routes()

    def close(self):
        self.kernel.close()

    def normalise(self, params):
        faults = []
        anew = [checked(values.dev, name, "anew", faults) for name in params["anew"]]
        absent = params["state"] == "absent"
        if absent and params["purge"] != "none":
            faults.append("purge: goes with state: present, which names the routes to keep; leave purge out")
        wanted = None
        try:
            forms = params["entries"], text_of(params)
            wanted = rows_of(*forms, model.from_entries, model.from_table, table_names(), absent)
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return Desired(wanted, params["state"], params["purge"], anew)

    def read(self, desired):
        return self._look(desired, desired.anew)

    def _look(self, desired, anew=()):
        compare = desired.state == "present"  # what is to be absent is told even when it is as given
        return self.kernel.look(desired.wanted, desired.purge != "none", anew, compare)

    def plan(self, desired, observed):
        return planner.plan(desired.wanted, observed, desired.state, desired.purge)

    def apply(self, plan):
        faults = self.kernel.faults(plan.wanted, plan.added + [i for i, found in plan.changed])
        if faults:
            raise InputError(faults)
        for operation in plan.operations:
            self.kernel.write(operation, plan.wanted)

    def verify(self, desired, plan):
        """What a second plan would do is what is wrong."""
        again = self.plan(desired, self._look(desired))
        wrong = [f"{desired.wanted.text(i)} is missing" for i in again.added]
        wrong += [f"{found.text()} stands where {desired.wanted.text(i)} should" for i, found in again.changed]
        wrong += [f"{found.text()} is still there" for found in again.removed]
        return bounded(wrong)

    def outcome(self, desired, observed, plan, checking):
        wanted = plan.wanted
        return outcome_of(
            plan,
            header="routes that differ",
            given=len(wanted) if desired.state == "present" else 0,
            added=len(plan.added),
            new=lambda: (wanted.text(i) for i in plan.added),
            changed=lambda: ((old.text(), wanted.text(i)) for i, old in plan.changed),
            diff=self.diff,
            warnings=self._warnings(desired) if checking else [],
        )

    def _warnings(self, desired):
        devs = self.kernel.missing_devices(desired.wanted) if desired.state == "present" else []
        return ["there are no such devices yet: " + ", ".join(bounded(devs))] if devs else []


def read_info(params):
    """The return values of route_info."""
    faults = []
    devs = {checked(values.dev, name, "dev", faults) for name in params["dev"]}
    names = table_names()
    tables = {
        checked(lambda value: model.table_number(value, names), name, "table", faults) for name in params["table"]
    }
    if faults:
        raise InputError(faults)
    kernel = Routes()
    try:
        return {"routes": kernel.rows(tables, devs, params["owned"])}
    finally:
        kernel.close()
