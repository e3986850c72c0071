# SPDX-License-Identifier: GPL-3.0-or-later
"""Why frames to an endpoint get where they get: what is known of a MAC or an address, in sentences."""

from __future__ import annotations

import socket
from collections import namedtuple

from .._model import values
from .._model.errors import InputError
from .claims import address_text
from .listing import key_text


def key_of(text):
    """The packed MAC or address of a text."""
    text = str(text).strip()
    try:
        return bytes.fromhex(values.mac(text).replace(":", ""))
    except ValueError:
        pass
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    raise InputError(
        f"{text[:80]!r} is neither a MAC nor an IP address; write it like 50:54:33:00:00:01 or 2001:db8::1"
    )


def mac_of(directory, vni, key):
    """The MAC of the endpoint that a key stands for, whether that is known or not; None for an address of nobody."""
    return key if len(key) == 6 else directory.address(vni, key)


# What the answer is made of. directory: as the registry fills it. devices: {index: resolver.Device} that are served. others: {VNI: names
# of VXLAN devices that are not}. registry: as Registry.shown tells it. missing: the resolver's. kernel: {index of a device: (FDB rows,
# neighbours) that are the agent's, as the kernel has them}.
Facts = namedtuple("Facts", "directory devices others registry missing kernel")


def vnis(facts):
    """Where an endpoint may be known, or be asked for."""
    return sorted({device.vni for device in facts.devices.values()} | set(facts.directory.vnis()) | set(facts.others))


def explain(facts, key, vni=None):
    """{"address", "registry", "vnis": [{"vni", "known", "claims", "devices", "sentences"}]}"""
    found = [_in_vni(facts, key, one) for one in ([vni] if vni is not None else vnis(facts))]
    # Where nothing is known and nobody has asked there is nothing to tell, unless that is so everywhere.
    told = [one for one in found if one["known"] or any(device["asked"] for device in one["devices"])]
    sentences = [_registry(facts.registry)]
    if not found:
        sentences.append("This host has no VXLAN device with l2miss or l3miss, so nothing is asked here.")
    elif not told:
        sentences.append(f"{key_text(key)} is unknown to the registry.")
    return {"address": key_text(key), "sentences": sentences, "vnis": told or (found if vni is not None else [])}


def _registry(registry):
    name, count = registry["name"], registry.get("endpoints", 0)
    if not registry.get("known"):
        why = f": {registry['why']}" if registry["why"] else ""
        return f"The registry {name} has told nothing yet{why}."
    if not registry["ok"]:
        return f"The registry {name} is lost, {registry['why']}; what it told before, {count} endpoints, still counts."
    return f"The registry {name} is heard and has {count} endpoints."


def _in_vni(facts, key, vni):
    directory = facts.directory
    mac = mac_of(directory, vni, key)
    claim = directory.mac(vni, mac) if mac else None
    claims = directory.claims(vni, mac) if mac else []
    sentences = _claims(facts, key, vni, claim, claims)
    devices = []
    for index, device in sorted(facts.devices.items()):
        if device.vni == vni:
            devices.append(_on_device(facts, index, device, key, claim))
            sentences += [f"{device.name}: {one}" for one in devices[-1].pop("sentences")]
    if not devices:
        others = facts.others.get(vni)
        what = f"{', '.join(others)} has neither l2miss nor l3miss" if others else "no VXLAN device here has it"
        sentences.append(f"VNI {vni} is not served by the agent of this host: {what}.")
    shown = [
        {"mac": one.mac.hex(":"), "vtep": address_text(one.vtep), "addresses": [*map(address_text, one.addresses)]}
        for one in claims
    ]
    return {"vni": vni, "known": claim is not None, "claims": shown, "devices": devices, "sentences": sentences}


def _claims(facts, key, vni, claim, claims):
    if claim is None:
        return [f"In VNI {vni} {key_text(key)} is unknown to the registry."]
    addresses = ", ".join(map(address_text, claim.addresses)) or "no addresses"
    if len(key) == 6:
        found = [f"In VNI {vni} it is behind VTEP {address_text(claim.vtep)}, with {addresses}."]
    else:
        found = [f"In VNI {vni} it is of {claim.mac.hex(':')}, behind VTEP {address_text(claim.vtep)}."]
        rivals = [one for one in facts.directory.conflicts.get((vni, key), ()) if one.mac != claim.mac]
        if rivals:
            named = ", ".join(f"{one.mac.hex(':')} behind {address_text(one.vtep)}" for one in rivals[:8])
            found.append(f"Other endpoints claim the address as well: {named}; the newest claim counts.")
    if len(claims) > 1:
        newest, *others = (address_text(one.vtep) for one in claims[:9])
        found.append(
            f"{len(claims)} VTEPs claim {claim.mac.hex(':')}: {newest} is the newest and counts, not {', '.join(others)}."
        )
    return found


def _on_device(facts, index, device, key, claim):
    fdb, neighbors = facts.kernel.get(index, ((), ()))
    mac = key if len(key) == 6 else claim.mac if claim else None
    row = next(((vtep, used) for one, vtep, used, *_state in fdb if one == mac), None)
    near = None if len(key) == 6 else next((one for address, one, *_state in neighbors if address == key), None)
    asked = next((one for one in facts.missing if (one["device"], one["key"]) == (device.name, key_text(key))), None)
    sentences = [_row(key, mac, row, claim)] if mac else []
    if len(key) != 6:
        sentences.append(
            f"it answers for {key_text(key)} with {near.hex(':')}." if near else f"it has no neighbour {key_text(key)}."
        )
    obstacle = _obstacle(facts, device, claim)
    if obstacle:
        sentences.append(obstacle)
    elif row is None and not near:
        sentences.append("it would be installed as soon as somebody asks.")
    if asked:
        times = "once" if asked["count"] == 1 else f"{asked['count']} times"
        sentences.append(f"it was asked for {times} without an answer, last {asked['last']:.1f} s ago.")
    return {
        "device": device.name,
        "row": row and {"vtep": address_text(row[0]), "used": round(row[1], 3)},
        "neighbor": near and near.hex(":"),
        "asked": asked and {"count": asked["count"], "last": asked["last"]},
        "sentences": sentences,
    }


def _row(key, mac, row, claim):
    what = "it" if len(key) == 6 else mac.hex(":")
    if row is None:
        return f"the agent has no row of {what} there."
    leads = "" if claim and claim.vtep == row[0] else ", which is to change,"
    return f"the row of {what} leads to {address_text(row[0])}{leads} and was used {row[1]:.0f} s ago."


def _obstacle(facts, device, claim):
    """Why it is not installed, or None."""
    if claim is None:
        if not facts.registry["ok"]:
            return "it cannot be installed, since it is unknown and the registry is lost."
        return "it cannot be installed, since the registry does not have it."
    if device.local is None:
        return "nothing is installed, since the device has no local address."
    if claim.vtep == device.local:
        return "it is never installed, since it is behind this host itself."
    if len(claim.vtep) != len(device.local):
        return (
            f"it is never installed, since VTEP {address_text(claim.vtep)} is of another family than the device's local address "
            f"{address_text(device.local)}."
        )
    return None
