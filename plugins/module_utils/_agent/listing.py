# SPDX-License-Identifier: GPL-3.0-or-later
"""A resolver's tables, for people. Times are seconds ago."""

from __future__ import annotations

from .claims import address_text


def key_text(key):
    return key.hex(":") if len(key) == 6 else address_text(key)


def why(device, claim):
    """Why there is no answer, in a word or two."""
    if claim is None:
        return "unknown"
    if device.local is None:
        return "no local address"
    if claim.vtep == device.local:
        return "own"
    return "other family" if len(claim.vtep) != len(device.local) else "known by now"


def entries(devices, now):
    """The rows of some devices. idle: since it was last used, as far as is known."""
    found = []
    for here in devices:
        of = {"device": here.device.name, "vni": here.device.vni}
        for mac, row in sorted(here.fdb.items()):
            said = {"mac": key_text(mac), "vtep": address_text(row.value), "idle": round(now - row.used, 3)}
            found.append({**of, "kind": "fdb", **said})
        for address, row in sorted(here.neighbors.items(), key=lambda item: (len(item[0]), item[0])):
            said = {"address": key_text(address), "mac": key_text(row.value), "idle": round(now - row.used, 3)}
            found.append({**of, "kind": "neighbor", **said})
    return found


def missing(devices, claim_of, now):
    """What was asked for and has no answer, at some devices. claim_of: of a VNI and key."""
    return [
        {
            "device": here.device.name,
            "vni": here.device.vni,
            "key": key_text(key),
            "count": one.count,
            "first": round(now - one.first, 3),
            "last": round(now - one.used, 3),
            "why": why(here.device, claim_of(here.device.vni, key)),
        }
        for here in devices
        for key, one in here.waiting.items()
    ]
