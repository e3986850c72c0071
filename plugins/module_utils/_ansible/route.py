# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules route and route_info."""

from __future__ import annotations

from itertools import chain, islice

from .._kernel.route import Routes, table_names
from .._model import route as model
from .._model import values
from .._model.errors import InputError
from .._plan import route as planner
from .run import Outcome, Resource

SAMPLE = 10  # routes named in the result
DIFF = 1000  # routes shown on each side of a diff

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
ARGUMENTS = {
    "entries": {"type": "list", "elements": "dict", "options": ENTRY},
    "table": {"type": "str"},
    "src": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "str", "choices": ["none", "owned"], "default": "none"},
    "anew": {"type": "list", "elements": "str", "default": []},
}
FORMS = ["entries", "table", "src"]
INFO_ARGUMENTS = {
    "table": {"type": "list", "elements": "str", "default": []},
    "dev": {"type": "list", "elements": "str", "default": []},
    "owned": {"type": "bool", "default": False},
}


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
        anew = [_checked(values.dev, name, "anew", faults) for name in params["anew"]]
        absent = params["state"] == "absent"
        if absent and params["purge"] != "none":
            faults.append("purge: goes with state: present, which names the routes to keep; leave purge out")
        wanted = None
        try:
            tables = table_names()
            if params["entries"] is not None:
                wanted = model.from_entries(params["entries"], tables, absent)
            else:
                text = params["table"] if params["src"] is None else _content(params["src"])
                wanted = model.from_table(text, tables, absent)
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
        return wrong if len(wrong) <= SAMPLE else [*wrong[:SAMPLE], f"and {len(wrong) - SAMPLE} more routes"]

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
            before=_lines(before, changed + removed) if self.diff else "",
            after=_lines(after, changed + added) if self.diff else "",
            header="routes that differ",
            warnings=self._warnings(desired) if checking else [],
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

    def _warnings(self, desired):
        devs = self.kernel.missing_devices(desired.wanted) if desired.state == "present" else []
        more = [f"and {len(devs) - SAMPLE} more"] if len(devs) > SAMPLE else []
        return ["there are no such devices yet: " + ", ".join(devs[:SAMPLE] + more)] if devs else []


def _lines(rows, count):
    """One side of a diff: a line a route, the first DIFF of them, and how many were left out."""
    lines = sorted(islice(rows, DIFF))
    left = count - len(lines)
    return "".join(line + "\n" for line in lines) + (f"... and {left} more routes\n" if left else "")


def _checked(check, value, name, faults):
    try:
        return check(value)
    except ValueError as error:
        faults.append(f"{name}: {error}")
        return value


def _content(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"src: {path}: {error.strerror}; write the table to that file on the host first") from None
    except UnicodeDecodeError:
        raise InputError(f"src: {path} is not text in UTF-8; write a table in the words of `ip route`") from None


def read_info(params):
    """The return values of route_info."""
    faults = []
    devs = {_checked(values.dev, name, "dev", faults) for name in params["dev"]}
    names = table_names()
    tables = {
        _checked(lambda value: model.table_number(value, names), name, "table", faults) for name in params["table"]
    }
    if faults:
        raise InputError(faults)
    kernel = Routes()
    try:
        return {"routes": kernel.rows(tables, devs, params["owned"])}
    finally:
        kernel.close()
