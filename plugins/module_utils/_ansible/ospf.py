# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the modules ospfv3 and ospfv2, their argument specs, and what their _info modules answer."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass

from .._daemons import files, frr
from .._daemons import ospf as daemon
from .._model import frr as text_of
from .._model import ospf as model
from .._model.errors import DaemonError, InputError
from .._plan import ospf as planning
from .run import Outcome, Resource

V2, V3 = model.V2, model.V3


def spec(protocol):
    authentication = {
        "key_id": {"type": "int", "required": True},
        "key": {"type": "str", "no_log": True},
    }
    algorithms = list(model.ALGORITHMS) if protocol.family == 6 else ["md5"]
    default = "hmac-sha-256" if protocol.family == 6 else "md5"
    authentication["algorithm"] = {"type": "str", "choices": algorithms, "default": default}
    interface = {
        "name": {"type": "str", "required": True},
        "area": {"type": "str"},
        "network": {"type": "str", "choices": list(model.NETWORKS)},
        "cost": {"type": "int"},
        "hello_interval": {"type": "int"},
        "dead_interval": {"type": "int"},
        "retransmit_interval": {"type": "int"},
        "priority": {"type": "int"},
        "passive": {"type": "bool"},
        "mtu_ignore": {"type": "bool"},
        "bfd": {"type": "str"},
        "authentication": {"type": "dict", "options": authentication},
    }
    area = {
        "area": {"type": "str", "required": True},
        "type": {"type": "str", "choices": list(model.AREA_TYPES), "default": "normal"},
        "no_summary": {"type": "bool", "default": False},
    }
    redistribute = {
        "protocol": {"type": "str", "required": True, "choices": list(protocol.redistribute)},
        "metric": {"type": "int"},
        "metric_type": {"type": "int", "choices": [1, 2], "default": 2},
        "route_map": {"type": "str"},
    }
    spf = {"type": "dict", "options": {key: {"type": "int", "required": True} for key in model.SPF}}
    return {
        "router_id": {"type": "str"},
        "areas": {"type": "list", "elements": "dict", "options": area},
        "interfaces": {"type": "list", "elements": "dict", "options": interface},
        "redistribute": {"type": "list", "elements": "dict", "options": redistribute},
        "authentication_key": {"type": "str", "no_log": True},
        "timers": {"type": "dict", "options": {"lsa_min_arrival": {"type": "int"}, "spf": spf}},
        "enable_daemon": {"type": "bool", "default": True},
        "frr_started": {"type": "bool", "default": False},
        "save": {"type": "bool", "default": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


INFO_SPEC = {
    "wait_for": {
        "type": "dict",
        "options": {
            "routes": {"type": "list", "elements": "str", "default": []},
            "loopbacks": {"type": "dict", "default": {}},
            "neighbors": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 60},
        },
    },
}

# Lines that need a daemon; without any it can be switched off again.
_NEEDS = {"ospf6d": re.compile(r"\bospf6\b"), "ospfd": re.compile(r"\bospf\b"), "bfdd": re.compile(r"\bbfd\b")}


@dataclass(frozen=True)
class Observed:
    record: daemon.Record
    installed: bool = True
    alive: bool = False  # the daemon answers
    enabled: str = ""  # the text of /etc/frr/daemons
    off: tuple = ()  # daemons that are needed and not switched on
    dead: tuple = ()  # daemons that are needed and do not run
    text: str = ""  # the configuration that runs; where nothing runs, the one that a start would load
    running: model.Configuration = model.NOTHING
    path: object = None  # the file that a start loads
    saved_text: str = ""
    saved: model.Configuration = model.NOTHING
    router_id: str | None = None  # in use


class Ospf(Resource):
    def __init__(self, protocol):
        self.protocol = protocol
        self.name = protocol.daemon
        self.warnings = []
        self.desired = self.observed = self.lock = None

    def normalise(self, params):
        return model.normalise(self.protocol, params)

    def read(self, desired):
        if frr.installed():
            self.lock = frr.lock()
        record = daemon.load(self.protocol)
        if record.damaged:
            self.warnings.append(record.damaged)
        if not desired.present and not (frr.installed() and frr.has(self.name)):
            return Observed(record, installed=False)
        needed = self.needed(desired)
        frr.require(*needed)
        enabled = frr.daemons_text()
        path = frr.boot_file(self.name)
        saved_text = files.read(path)
        alive = frr.alive(self.name)
        text = frr.running_config(self.name) if alive else saved_text
        running = model.observe(self.protocol, text)
        asked = alive and desired.router_id and (self.protocol.router, "") in running.lines
        return Observed(
            record=record,
            alive=alive,
            enabled=enabled,
            off=tuple(one for one in needed if not frr.enabled(enabled, one)),
            dead=tuple(one for one in needed if not frr.alive(one) and not self.comes_up(desired, enabled, one)),
            text=text,
            running=running,
            path=path,
            saved_text=saved_text,
            saved=model.observe(self.protocol, saved_text),
            router_id=daemon.router_id(self.protocol) if asked else None,
        )

    def close(self):
        if self.lock is not None:
            os.close(self.lock)

    @staticmethod
    def comes_up(desired, enabled, one):
        """Whether the task before this one, which check mode leaves out, starts the daemon with all that are switched on."""
        return desired.frr_started and frr.enabled(enabled, one)

    def needed(self, desired):
        return [self.name, "bfdd"] if desired.bfd else [self.name]

    def plan(self, desired, observed):
        self.desired, self.observed = desired, observed
        record, plan = observed.record, planning.Plan()
        if not observed.installed:
            plan.record = bool(record.lines or record.daemons)
            return plan
        if observed.alive or desired.present:
            plan.running = planning.changes(desired, record.lines, record.salt, observed.running)
        if desired.save:
            plan.saved = planning.changes(desired, record.lines, record.salt, observed.saved)
        if not desired.present:
            plan.switch_off = self.unneeded(plan)
        elif desired.enable_daemon:
            plan.switch_on, plan.start = list(observed.off), list(observed.dead)
        else:
            self.refuse_without_daemon()
        if desired.present and observed.router_id not in (None, desired.router_id):
            plan.renumber = True
            self.warnings.append(
                f"the router id changes from {observed.router_id} to {desired.router_id}: all adjacencies start anew"
            )
        if not plan and not record.damaged:
            plan.record = record.lines != planning.record_after(desired, record.lines, record.salt, observed.running)
        return plan

    def refuse_without_daemon(self):
        if not self.observed.alive:
            off = self.name in self.observed.off
            state = f"is switched off in {frr.ETC / 'daemons'}" if off else "is switched on, but does not run"
            raise DaemonError(f"{self.name} {state}: set enable_daemon: true, or start it first")
        if "bfdd" in self.observed.dead:
            self.warnings.append("bfdd does not run, so bfd has no effect: set enable_daemon: true, or start it")

    def unneeded(self, plan):
        """Those of the daemons that we switched on that nothing needs any more, neither what runs nor what is saved."""
        observed, found = self.observed, []
        for one in sorted(observed.record.daemons):
            text, running = observed.text, observed.running
            if one != self.name and observed.alive:
                text = frr.running_config()  # of all daemons: others may use BFD as well
                running = model.observe(self.protocol, text)
            change = plan.running if observed.alive else plan.saved
            if planning.unused(text, change, running, _NEEDS[one]) and planning.unused(
                observed.saved_text, plan.saved, observed.saved, _NEEDS[one]
            ):
                found.append(one)
        return found

    def apply(self, plan):
        """The record goes first, so that a run which breaks off in the middle is completed by the next one."""
        desired, observed, record = self.desired, self.observed, self.observed.record
        if not observed.installed:
            return
        changes, running = plan.running, observed.running
        if plan.switch_on or plan.start:
            self.start(plan)
            running = model.observe(self.protocol, frr.running_config(self.name))
            changes = planning.changes(desired, record.lines, record.salt, running)
        record.lines = planning.record_before(record.lines, record.salt, changes)
        daemon.store(self.protocol, record)
        settings, joins = planning.parted(changes)
        if settings:
            frr.configure(self.name, planning.commands(self.protocol, settings, running.written))
        if joins:
            # While ospf6d loads a file it sends no Hello, and what it hears first makes it elect a designated router. A new router
            # would then elect itself, and if its id is the highest it would take over a segment that has one, whose routes go
            # for a moment. Entered by itself the first Hello goes out at once, and the answer to it names who is there.
            frr.enter(self.name, planning.commands(self.protocol, joins, running.written))
        if plan.saved:
            frr.write_boot_file(observed.path, planning.rewritten(plan.saved, observed.saved, observed.saved_text))
        if plan.switch_off:
            frr.write_daemons(frr.switched(observed.enabled, plan.switch_off, on=False))
            frr.apply_daemons(stop=[one for one in plan.switch_off if frr.alive(one)])

    def start(self, plan):
        record = self.observed.record
        record.daemons |= set(plan.switch_on)
        daemon.store(self.protocol, record)
        if plan.switch_on:
            frr.write_daemons(frr.switched(self.observed.enabled, plan.switch_on, on=True))
        frr.apply_daemons()
        frr.wait_alive(self.needed(self.desired))

    def verify(self, desired, plan):
        observed, record = self.observed, self.observed.record
        if not observed.installed:
            daemon.store(self.protocol, daemon.Record())
            return []
        running = model.NOTHING
        differences = []
        if desired.present or frr.alive(self.name):
            running = model.observe(self.protocol, frr.running_config(self.name))
            left = planning.changes(desired, record.lines, record.salt, running)
            differences += _told("", left)
        if desired.save:
            saved = model.observe(self.protocol, files.read(observed.path))
            left = planning.changes(desired, record.lines, record.salt, saved)
            differences += _told(f"{observed.path}: ", left)
        if differences:
            return differences
        if desired.present:
            record.lines = planning.record_after(desired, record.lines, record.salt, running)
            daemon.store(self.protocol, record)
            return self.renumber(desired.router_id)
        daemon.store(self.protocol, daemon.Record())
        return []

    def renumber(self, wanted):
        """A router with neighbours takes another id only when its process starts anew (RFC 2328, appendix C.1)."""
        if wanted is None or daemon.router_id(self.protocol) == wanted:
            return []
        frr.execute(f"clear {self.protocol.prefix} process", self.name)
        found = daemon.router_id(self.protocol)
        return [] if found == wanted else [f"the router id in use is {found}, not {wanted}"]

    def outcome(self, desired, observed, plan, checking):
        before, after = [], []
        if observed.installed:
            before, after = self.sides(desired, observed, plan)
        return Outcome(
            changed=bool(plan),
            before="".join(f"{line}\n" for line in before),
            after="".join(f"{line}\n" for line in after),
            header=f"{self.name} of FRR",
            result={
                "added": _listed(plan.running.add),
                "removed": _listed(plan.running.remove),
                "saved": str(observed.path) if plan.saved else "",
                "daemons_started": sorted({*plan.switch_on, *plan.start}),
                "daemons_stopped": plan.switch_off,
            },
            warnings=self.warnings,
        )

    def sides(self, desired, observed, plan):
        """The two sides of the diff: the switches, what runs, and what the file holds."""
        lines, left = observed.running.lines, planning.after(plan.running, observed.running.lines)
        before, after = [], []
        for one in self.needed(desired) if desired.present else plan.switch_off:
            on, off = f"# {frr.ETC / 'daemons'}: {one}=yes", f"# {frr.ETC / 'daemons'}: {one}=no"
            before.append(off if one in plan.switch_on else on)
            after.append(off if one in plan.switch_off else on)
            if one in plan.start:
                before.append(f"# {one} does not run")
                after.append(f"# {one} runs")
        before += planning.shown(self.protocol, lines)
        after += planning.shown(self.protocol, left, lines)
        if desired.save:
            saved, kept = observed.saved.lines, planning.after(plan.saved, observed.saved.lines)
            before += [f"# saved in {observed.path}", *planning.shown(self.protocol, saved)]
            after += [f"# saved in {observed.path}", *planning.shown(self.protocol, kept, saved)]
        return before, after


def _listed(items):
    return [f"{block}: {text_of.masked(text)}" if slot else text for (block, slot), text in items]


def _told(where, changes):
    return [f"{where}{one} is missing" for one in _listed(changes.add)] + [
        f"{where}{one} is still there" for one in _listed(changes.remove)
    ]


def info(protocol, checking):
    """The reader of an _info module."""

    def read(params):
        wanted = _wanted(params["wait_for"])
        found = {"installed": frr.installed(), "running": False, "waited": 0.0}
        found.update({"version": "", "router_id": "", "neighbors": [], "interfaces": [], "routes": []})
        waits = wanted is not None and not checking
        if waits:
            daemons = [one.daemon for one in daemon.needed(protocol, wanted["owners"], wanted["neighbors"])]
            frr.require(*daemons)
            silent = [one for one in daemons if not frr.alive(one)]
            if silent:
                raise DaemonError(f"{' and '.join(silent)} does not run, so nothing can be waited for")
            found["waited"] = round(daemon.wait(protocol, **wanted), 2)
        if found["installed"]:
            found["version"] = frr.version()
        if found["installed"] and frr.alive(protocol.daemon):
            found.update(daemon.state(protocol), running=True, router_id=daemon.router_id(protocol) or "")
        return found

    return read


def _wanted(wait_for):
    """The checked wait_for, or None where there is none."""
    if wait_for is None:
        return None
    faults, owners = [], {}  # {prefix: whose loopback it is, None where that is not known}
    rows = [(text, None) for text in wait_for["routes"]] + [*wait_for["loopbacks"].items()]
    for row, (text, host) in enumerate(rows, 1):
        try:
            owners[str(ipaddress.ip_network(str(text).strip()))] = host
        except ValueError as error:
            where = f"routes row {row}" if host is None else "loopbacks"
            faults.append(f"wait_for: {where}: {error}; write a prefix, such as 2001:db8::1/128")
    for key, low, high in (("neighbors", 0, 1000), ("timeout", 1, 3600)):
        if not low <= wait_for[key] <= high:
            faults.append(f"wait_for: {key}: {wait_for[key]} is out of range; it must be {low} to {high}")
    if faults:
        raise InputError(faults)
    return {"owners": owners, "neighbors": wait_for["neighbors"], "timeout": wait_for["timeout"]}
