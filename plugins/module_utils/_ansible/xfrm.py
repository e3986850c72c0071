# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules xfrm and xfrm_info."""

from __future__ import annotations

import os

from .._kernel.xfrm import Xfrm
from .._kernel.xfrm_messages import selector_told
from .._model import xfrm as model
from .._model.errors import FabricError, InputError
from .._model.xfrm_lines import from_table
from .._model.xfrm_read import from_entries
from .._plan import xfrm as planner
from . import xfrm_keys
from .run import Resource
from .table import bounded, outcome_of

SELECTOR = {
    "src": {"type": "str"},
    "dst": {"type": "str"},
    "proto": {"type": "str"},
    "sport": {"type": "int"},
    "dport": {"type": "int"},
}
ENCAP = {
    "type": {"type": "str", "choices": [model.ESPINUDP], "default": model.ESPINUDP},
    "sport": {"type": "int", "default": 4500},
    "dport": {"type": "int", "default": 4500},
}
STATE = {
    "src": {"type": "str"},
    "dst": {"type": "str"},
    "spi": {"type": "str"},
    "dir": {"type": "str"},
    "mode": {"type": "str"},
    "reqid": {"type": "str"},
    "algorithm": {"type": "str"},
    "key": {"type": "str", "no_log": True},
    "auth_key": {"type": "str", "no_log": True},
    "key_file": {"type": "path", "no_log": False},
    "encap": {"type": "dict", "options": ENCAP},
    "mark": {"type": "str"},
    "if_id": {"type": "str"},
    "sel": {"type": "dict", "options": SELECTOR},
    "replay_window": {"type": "int"},
    "esn": {"type": "bool"},
    "flags": {"type": "list", "elements": "str"},
}
TEMPLATE = {
    "src": {"type": "str"},
    "dst": {"type": "str"},
    "spi": {"type": "str"},
    "reqid": {"type": "str"},
    "mode": {"type": "str"},
    "level": {"type": "str"},
}
POLICY = {
    "dir": {"type": "str"},
    **SELECTOR,
    "priority": {"type": "str"},
    "action": {"type": "str"},
    "mark": {"type": "str"},
    "if_id": {"type": "str"},
    "tmpl": {"type": "list", "elements": "dict", "options": TEMPLATE},
}
ARGUMENTS = {
    "states": {"type": "list", "elements": "dict", "options": STATE},
    "policies": {"type": "list", "elements": "dict", "options": POLICY},
    "src": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "str", "choices": ["none", "owned"], "default": "none"},
    "assume_gone": {"type": "bool", "default": False},
}
EXCLUSIVE = [["src", "states"], ["src", "policies"]]
NEEDED = [["src", "states", "policies"]]
INFO_ARGUMENTS = {"owned": {"type": "bool", "default": False}}


class Desired:
    """The given states and policies, and what to do about them."""

    def __init__(self, wanted, state, purge, assume_gone):
        self.wanted, self.state, self.purge, self.assume_gone = wanted, state, purge, assume_gone


class XfrmResource(Resource):
    def __init__(self, diff=False):
        self.diff = diff
        self.kernel = Xfrm()
        self.lock = None

    def close(self):
        self.kernel.close()
        if self.lock is not None:
            os.close(self.lock)

    def normalise(self, params):
        faults = []
        absent = params["state"] == "absent"
        if absent and params["purge"] != "none":
            faults.append("purge: goes with state: present, which names what to keep; leave purge out")
        wanted = None
        try:
            wanted = _wanted(params, absent)
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return Desired(wanted, params["state"], params["purge"], params["assume_gone"])

    def read(self, desired):
        self.lock = xfrm_keys.lock()
        return self._look(desired), xfrm_keys.used()

    def _look(self, desired):
        return self.kernel.look(desired.wanted, desired.purge == "owned", desired.state == "present")

    def plan(self, desired, observed):
        seen, used = observed
        made = planner.plan(desired.wanted, seen, desired.state, desired.purge, used, desired.assume_gone)
        if made.new_keys():
            planner.refuse_shared(made, self.kernel.digests() or ())
        self.kernel.check(made.new_states())
        return made

    def apply(self, plan):
        keys = plan.new_keys()
        xfrm_keys.add(keys)
        try:
            for operation in plan.operations:
                self.kernel.write(operation)
        except FabricError:
            there = self.kernel.digests()
            if there is not None:  # else any of them may be in use
                xfrm_keys.forget(key for key in keys if key not in there)
            raise

    def verify(self, desired, plan):
        """What a second plan would do is what is wrong."""
        again = planner.plan(desired.wanted, self._look(desired), desired.state, desired.purge, refuse=False)
        wrong = [f"{row.text()} is missing" for row in again.added]
        wrong += [f"{found.text()} stands where {row.text()} should{_with(how)}" for row, found, how in again.changed]
        wrong += [f"{found.text()} is still there" for found in again.removed]
        return bounded(wrong)

    def outcome(self, desired, observed, plan, checking):
        return outcome_of(
            plan,
            header="IPsec states and policies that differ",
            given=len(desired.wanted.rows()) if desired.state == "present" else 0,
            added=len(plan.added),
            new=lambda: (row.text() for row in plan.added),
            changed=lambda: ((old.text(), row.text() + _with(how)) for row, old, how in plan.changed),
            diff=self.diff,
        )


def _with(how):
    return f" with {how}" if how else ""


def _wanted(params, absent):
    if params["src"] is None:
        return from_entries(params["states"], params["policies"], absent, xfrm_keys.private_text)
    try:
        text = xfrm_keys.private_text(params["src"])
    except ValueError as error:
        raise InputError(f"src: {error}") from None
    return from_table(text, absent, xfrm_keys.private_text)


def read_info(params):
    """The return values of xfrm_info."""
    kernel = Xfrm()
    try:
        found = {"states": kernel.told(model.STATE), "policies": kernel.told(model.POLICY)}
    finally:
        kernel.close()
    for state in found["states"]:
        state["selector"] = selector_told(state["selector"])
    return {name: [row for row in rows if row["owned"] or not params["owned"]] for name, rows in found.items()}
