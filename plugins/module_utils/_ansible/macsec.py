# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the macsec module, and what macsec_info answers."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace

from .._daemons import macsec as files
from .._kernel import macsec as kernel
from .._model import link
from .._model import macsec as model
from .._model.errors import KernelError, RefusedError
from .._plan import macsec as planning
from . import link as base

ASSOCIATION = {
    "an": {"type": "int", "required": True},
    "key": {"type": "str", "no_log": True},
    "key_file": {"type": "path", "no_log": False},
    "key_id": {"type": "str", "no_log": False},
    "active": {"type": "bool", "default": True},
    "pn": {"type": "int"},
    "ssci": {"type": "int"},
    "salt": {"type": "str"},
}
CHANNEL = {
    "sci": {"type": "str"},
    "address": {"type": "str"},
    "port": {"type": "int"},
    "active": {"type": "bool"},
    "sa": {"type": "list", "elements": "dict", "options": ASSOCIATION},
}


class Macsecs(base.Devices):
    listing = "devices"
    device = {
        **base.DEVICE,
        **base.arguments((*link.LINK, *model.ATTRIBUTES)),
        "tx": {"type": "list", "elements": "dict", "options": {**ASSOCIATION, "epoch": {"type": "str"}}},
        "rx": {"type": "list", "elements": "dict", "options": CHANNEL},
    }

    def __init__(self):
        super().__init__()
        self.lock = self.associations = self.state = None
        self.record, self.secys, self.kinds = [], {}, []
        self.beyond = {}  # by device, what model.beyond() tells of what has gone in this run

    @classmethod
    def spec(cls):
        purge = {"type": "str", "choices": ["none", "listed"], "default": "none"}
        return {**base.with_list(cls.listing, cls.device), "purge_associations": purge}

    def parse(self, listed):
        return model.devices(listed, files.read_key)

    def read(self, desired):
        self.lock = files.lock()
        self.record = files.load()
        state = super().read(desired)
        self.secys = self._secys(state)
        planning.refuse_unreadable(desired, state, self.secys)
        return state

    def _secys(self, state):
        """{device: Secy}. The kernel's module is left unloaded where there is no device that needs it."""
        if not any(found.kind == "macsec" for found in state.devices.values()):
            return {}
        if self.associations is None:
            self.associations = kernel.Associations()
        names = {found.index: name for name, found in state.devices.items()}
        return self.associations.read(names.get)

    def plan(self, desired, observed):
        kind = planning.Kind(observed, self.secys, self.record, self.params["purge_associations"])
        return planning.plan(desired, kind, self.params["purge"])

    def methods(self):
        return {
            **super().methods(),
            planning.AddChannel: self.associations.add_channel,
            planning.SetChannel: self.associations.set_channel,
            planning.RemoveChannel: self.associations.remove_channel,
            planning.AddAssociation: self.add,
            planning.SetAssociation: self.associations.set_association,
            planning.RemoveAssociation: self.remove,
            planning.Seal: self.seal,
            planning.Record: self.note,
        }

    def apply(self, plan):
        if self.associations is None:
            self.associations = kernel.Associations()
        super().apply(plan)

    # What touches the record. It is written before a key is in use, and after it is no longer.

    def add(self, operation):
        secy = self.associations.read_one(operation.name)
        xpn = model.CIPHERS[secy.cipher].xpn
        if operation.sci is not None:
            self.associations.add_association(operation, operation.sa.pn or 1, xpn)
            return
        try:
            least = max(model.beyond(secy, self.record), self.beyond.get(operation.name, 1))
            pn = model.first_pn(self.record, secy.cipher, secy.sci, operation.sa, least)
        except ValueError as error:
            raise RefusedError(f"{operation.name}: tx an {operation.sa.an}: {error}") from None
        before = self.record
        self._store(self._row(secy, operation.sa))
        try:
            self.associations.add_association(operation, pn, xpn)
        except KernelError:
            self.record = before
            files.store(before)
            raise

    def note(self, operation):
        self._store(self._row(self.associations.read_one(operation.name), operation.sa))

    def _row(self, secy, one):
        return model.Used(secy.sci, one.fingerprint, one.an, one.key_id, one.ssci, one.epoch, kernel.boot_id())

    def _store(self, *rows):
        places = {(row.sci, row.fingerprint) for row in rows}
        self.record = [row for row in self.record if (row.sci, row.fingerprint) not in places] + list(rows)
        files.store(self.record)

    def remove(self, operation):
        if operation.sci is None:
            self._stop(operation.name, [operation.an], {})
        self.associations.remove_association(operation)

    def seal(self, operation):
        self._stop(operation.name, list(self.associations.read_one(operation.name).tx), dict(operation.fingerprints))

    def _stop(self, name, numbers, fingerprints):
        for an in numbers:
            self.associations.stop(name, an)
        secy = self.associations.read_one(name)
        self.beyond[name] = max(model.beyond(secy, self.record, fingerprints), self.beyond.get(name, 1))
        rows = []
        for an in numbers:
            one = secy.tx[an]
            row = model.Used(secy.sci, fingerprints.get(one.key_id, one.key_id), an, one.key_id, one.ssci)
            row = next((known for known in self.record if (known.sci, known.key_id) == (row.sci, row.key_id)), row)
            rows.append(replace(row, pn=secy.free_pn(one)))
        self._store(*rows)

    def verify(self, desired, plan):
        state = self.links.read()
        return planning.differences(desired, state, self._secys(state), plan, self.params["purge_associations"])

    def close(self):
        if self.associations:
            self.associations.close()
        if self.lock is not None:
            os.close(self.lock)
        super().close()


# macsec_info

INFO = {"name": {"type": "str"}}


def info(params):
    reader = Macsecs()
    try:
        reader.links = base.kernel.Links()
        state = reader.links.read()
        secys = reader._secys(state)
        record = files.load()
        boot = kernel.boot_id()
        told = [
            _told(found, secys.get(found.name), record)
            for found in state.devices.values()
            if found.kind == "macsec" and params["name"] in (None, found.name)
        ]
        return {"devices": told, "boot_id": boot, "unreadable": planning.unreadable(state, secys)}
    finally:
        reader.close()


def _told(found, secy, record):
    has = base.common(found, model.OPTIONS)
    if not has["replay"]:
        has["window"] = None
    if has["offload"] is None:
        has["offload"] = secy.offload if secy else None
    if secy is None:
        return {**has, "operational": None, "tx": None, "rx": None, "statistics": None, "epochs": None}
    numbers = model.CIPHERS[secy.cipher].numbers if secy.cipher in model.CIPHERS else 1 << 32
    rows = {row.key_id: row for row in record if row.sci == secy.sci}
    return {
        **has,
        "operational": secy.operational,
        "tx": [
            {
                **_association(one, numbers),
                "epoch": rows[one.key_id].epoch if one.key_id in rows else None,
                "recorded": one.key_id in rows,
            }
            for one in secy.tx.values()
        ],
        "rx": [
            {
                "sci": one.sci,
                "active": one.active,
                "sa": [_association(sa, numbers) for sa in one.sa.values()],
                "statistics": one.statistics,
            }
            for one in secy.rx.values()
        ],
        "statistics": secy.statistics,
        "epochs": _epochs(secy, rows, record),
    }


def _association(one, numbers):
    told = {"an": one.an, "active": one.active, "pn": one.pn, "pn_used": pn_used(one.pn, numbers), "key_id": one.key_id}
    if one.ssci is not None:
        told["ssci"] = one.ssci
    return {**told, "statistics": one.statistics}


def pn_used(pn, numbers):
    """The share of packet numbers that are used up. The kernel tells 0 when the last one was."""
    return ((pn or numbers) - 1) / numbers if pn else 1.0


def _epochs(secy, rows, record):
    """What a role needs to derive keys: the epoch that is in use, and one that never was, with a free association."""
    now = secy.tx.get(secy.encodingsa)
    row = rows.get(now.key_id) if now else None
    current = None
    if now and now.active and row and row.epoch:
        current = {"an": now.an, "epoch": row.epoch, "pn": now.pn}
    last = now.an if now else next((one.an for one in reversed(record) if one.sci == secy.sci), -1)
    order = [(last + step) % model.ASSOCIATIONS for step in range(1, model.ASSOCIATIONS + 1)]
    free = [an for an in order if an not in secy.tx]
    return {"current": current, "fresh": {"an": free[0], "epoch": secrets.token_hex(16)} if free else None}
