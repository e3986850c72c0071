# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the host_lock module."""

from __future__ import annotations

import os
import time
from dataclasses import asdict

from .._daemons import host_lock as adapter
from .._model.errors import InputError
from .._model.host_lock import Holder
from .._plan import host_lock as planning
from .run import Outcome, Resource

LEASE = (1, 86400)
HOLDER = {
    "run": {"type": "str", "required": True},
    "controller": {"type": "str", "required": True},
    "hostname": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "pid": {"type": "int", "required": True},
    "start": {"type": "str", "required": True},
}
SPEC = {
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
    "purpose": {"type": "str", "default": ""},
    "break_lock": {"type": "bool", "default": False},
    "lease": {"type": "int", "default": 600},
    "holder": {"type": "dict", "options": HOLDER},
    "stale": {"type": "str"},
}


class HostLock(Resource):
    def __init__(self):
        self.handle = None
        self.options = {}

    def normalise(self, params):
        if not LEASE[0] <= params["lease"] <= LEASE[1]:
            raise InputError(f"lease: {params['lease']} is out of range; it must be {LEASE[0]} to {LEASE[1]} seconds")
        if params["holder"] is None:
            raise InputError("holder: missing; the action plugin of this module gives it, so call it from a playbook")
        self.options = {"state": params["state"], "force": params["break_lock"], "stale": params["stale"]}
        purpose = " ".join(params["purpose"].split())
        return planning.lock(Holder(**params["holder"]), purpose, adapter.now(), params["lease"])

    def read(self, desired):
        self.handle = adapter.exclusive()
        return adapter.load()

    def plan(self, desired, observed):
        return planning.plan(observed, desired, **self.options)

    def apply(self, plan):
        adapter.store(plan.after)

    def verify(self, desired, plan):
        return [] if adapter.load() == plan.after else [f"{adapter.path()} is not what was written"]

    def close(self):
        if self.handle is not None:
            os.close(self.handle)

    def outcome(self, desired, observed, plan, checking):
        other = observed and observed.holder.run != desired.holder.run
        return Outcome(
            changed=False,
            result={
                "held": plan.held and not checking,
                "holder": _told(observed) if plan.refused else None,
                "taken_from": _told(observed) if other and plan.held and not checking else None,
            },
        )


def _told(lock):
    """A lock for people, with times by the host's clock."""
    boot = time.time() - adapter.now()
    times = {key: _utc(boot + getattr(lock, key)) for key in ("since", "until")}
    return {**asdict(lock.holder), "purpose": lock.purpose, **times}


def _utc(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
