# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the sysctl module, and what sysctl_info answers."""

from __future__ import annotations

import os

from .._daemons import sysctl as records
from .._kernel import sysctl as kernel
from .._model import sysctl as model
from .._model import values
from .._model.errors import InputError, MissingError
from .._plan import sysctl as planning
from .run import Outcome, Resource

SPEC = {
    "settings": {"type": "dict", "required": True},
    "purge": {"type": "str", "choices": ["none", "owned"], "default": "none"},
    "anew": {"type": "list", "elements": "str", "default": []},
}
INFO_SPEC = {"keys": {"type": "list", "elements": "str", "default": [], "no_log": False}}


class Sysctl(Resource):
    def __init__(self):
        self.lock = None
        self.current = self.record = {}
        self.others = {}
        self.missing = []  # wanted keys that are not there
        self.warnings = []

    def normalise(self, params):
        faults, wanted, anew = [], {}, []
        try:
            wanted = model.settings(params["settings"])
        except InputError as error:
            faults += error.faults
        for name in params["anew"]:
            try:
                anew.append(values.dev(name))
            except ValueError as error:
                faults.append(f"anew: {error}")
        if faults:
            raise InputError(faults)
        return wanted, params["purge"] == "owned", anew

    def read(self, desired):
        wanted, _purge, anew = desired
        self.lock = records.lock()
        self.record, damaged = records.load()
        if damaged:
            self.warnings.append(damaged)
        held = self.record.get(model.FORWARDING)
        for key in {**self.record, **wanted, **(held.others if held else {})}:
            self.current[key] = kernel.read(key)
            device = model.dev(key)
            if key in wanted and self.current[key] is None:
                self.missing.append(key)
            if device and (device in anew or (key in wanted and self.current[key] is None)):
                self.current[key] = kernel.read(model.default(key))
        lacking = [key for key in self.missing if model.by_device(key) and kernel.read(model.default(key)) is None]
        if lacking:
            raise MissingError(
                f"kernel has no {' and no '.join(lacking)}", "these take another kernel or more of its parts"
            )
        self.others = kernel.forwarding() if model.FORWARDING in self.current else {}
        return self.current

    def plan(self, desired, observed):
        wanted, purge, _anew = desired
        return planning.plan(wanted, observed, self.record, purge, self.others, self.missing)

    def apply(self, plan):
        if plan.missing:
            raise InputError([_lacking(key) for key in plan.missing])
        if plan.during != self.record:
            records.store(plan.during)
        for key, value in plan.writes:
            kernel.write(key, value)
            if key == model.FORWARDING:
                self.keep(plan.during[key].others)

    def keep(self, others):
        for key, value in others.items():
            if kernel.read(key) not in (None, value):
                kernel.write(key, value)

    def verify(self, desired, plan):
        found = [(key, value, kernel.read(key)) for key, value in plan.writes]
        differences = [f"{key} is {now}, not {value}" for key, value, now in found if now != value]
        if not differences and plan.after != plan.during:
            records.store(plan.after)
        return differences

    def close(self):
        if self.lock is not None:
            os.close(self.lock)

    def outcome(self, desired, observed, plan, checking):
        gone = (*plan.dropped, *plan.kept)
        before = [f"{key} = {'(absent)' if observed[key] is None else observed[key]}\n" for key, value in plan.writes]
        before += [f"recorded: {key} was {self.record[key].before} before {self.record[key].set}\n" for key in gone]
        kept = [
            f"{key} is {observed[key]}, and was set to {self.record[key].set}: somebody changed it since, so it stays"
            for key in plan.kept
        ]
        return Outcome(
            changed=plan.changes,
            before="".join(sorted(before)),
            after="".join(sorted(f"{key} = {value}\n" for key, value in plan.writes)),
            header="kernel settings",
            result={
                "set": sorted(plan.set),
                "restored": sorted([*plan.restored, *plan.mended]),
                "left": sorted(plan.kept),
                "dropped": sorted(plan.dropped),
            },
            warnings=self.warnings + kept,
        )


def _lacking(key):
    device = model.dev(key)
    if device and not kernel.device_exists(key):
        return f"{key}: there is no device {device}; make it first"
    return f"kernel has no {key}"


def info(params):
    faults, keys = [], []
    for name in params["keys"]:
        try:
            keys.append(model.key(name))
        except ValueError as error:
            faults.append(f"keys: {error}")
    if faults:
        raise InputError(faults)
    record, damaged = records.load()
    if damaged:
        raise InputError(damaged)
    return {
        "settings": {key: kernel.read(key) for key in keys},
        "owned": {
            key: {"before": held.before, "set": held.set, "current": kernel.read(key)}
            for key, held in sorted(record.items())
        },
    }
