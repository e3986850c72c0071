# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the modules rule and rule_info."""

from __future__ import annotations

from .._kernel.route import table_names
from .._kernel.rule import Rules
from .._model import rule as model
from .._model.errors import InputError
from .._model.route import protocol_name
from .._plan import rule as planner
from .run import Resource
from .table import bounded, outcome_of

RULE = {
    "family": {"type": "int", "choices": [4, 6], "required": True},
    "priority": {"type": "int", "required": True},
    "from": {"type": "str"},
    "to": {"type": "str"},
    "iif": {"type": "str"},
    "oif": {"type": "str"},
    "fwmark": {"type": "str"},
    "action": {"type": "str", "choices": list(model.ACTIONS), "default": model.LOOKUP},
    "table": {"type": "str"},
}
ARGUMENTS = {
    "rules": {"type": "list", "elements": "dict", "options": RULE, "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "str", "choices": ["none", "owned"], "default": "none"},
}
INFO_ARGUMENTS = {
    "family": {"type": "int", "choices": [4, 6]},
    "owned": {"type": "bool", "default": False},
}


class Desired:
    """The given rules, and what to do about them."""

    def __init__(self, rules, state, purge):
        self.rules, self.state, self.purge = rules, state, purge


class RuleResource(Resource):
    def __init__(self):
        self.kernel = Rules()

    def close(self):
        self.kernel.close()

    def normalise(self, params):
        faults = []
        absent = params["state"] == "absent"
        if absent and params["purge"] != "none":
            faults.append("purge: goes with state: present, which names the rules to keep; leave purge out")
        rules = []
        try:
            rules = model.from_list(params["rules"], table_names(), absent)
        except InputError as error:
            faults += error.faults
        if faults:
            raise InputError(faults)
        return Desired(rules, params["state"], params["purge"])

    def read(self, desired):
        self.kernel.check(sorted({rule.family for rule in desired.rules}))
        return self.kernel.rules()

    def plan(self, desired, observed):
        return planner.plan(desired.rules, observed, desired.state, desired.purge)

    def apply(self, plan):
        for rule in plan.created():
            self.kernel.add(rule)
        for found in plan.deleted():
            self.kernel.delete(found)

    def verify(self, desired, plan):
        """What a second plan would do is what is wrong."""
        again = self.plan(desired, self.kernel.rules())
        wrong = [f"{rule.text()} is missing" for rule in again.added]
        wrong += [f"{found.text()} stands where {rule.text()} should" for rule, found in again.changed]
        wrong += [f"{found.text()} is still there" for found in again.removed]
        return bounded(wrong)

    def outcome(self, desired, observed, plan, checking):
        return outcome_of(
            plan,
            header="policy rules that differ",
            given=len(desired.rules) if desired.state == "present" else 0,
            added=len(plan.added),
            new=lambda: (rule.text() for rule in plan.added),
            changed=lambda: ((old.text(), rule.text()) for rule, old in plan.changed),
        )


def read_info(params):
    """The return values of rule_info."""
    kernel = Rules()
    try:
        there = kernel.rules()
    finally:
        kernel.close()
    return {
        "rules": [
            _told(found)
            for found in there
            if (found.owned or not params["owned"]) and params["family"] in (None, found.rule.family)
        ]
    }


def _told(found):
    rule = found.rule
    told = {"family": rule.family, "priority": rule.priority, "action": rule.action}
    for name, value in (("from", rule.source), ("to", rule.to), ("iif", rule.iif), ("oif", rule.oif)):
        if value is not None:
            told[name] = value
    if rule.fwmark:
        told["fwmark"] = model.mark_text(rule.fwmark)
    if rule.table is not None:
        told["table"] = rule.table
    if rule.other:
        told["other"] = " ".join(rule.other)
    return {**told, "protocol": found.protocol, "protocol_name": protocol_name(found.protocol), "owned": found.owned}
