# SPDX-License-Identifier: GPL-3.0-or-later
"""IP isolation: the devices on which a host takes no IP or ARP part, and the nftables objects that make it so.

The objects are written as nft's JSON (libnftables-json(5)), which is also what `nft -j list table` answers, so wanted
and found are compared in one form.
"""

from __future__ import annotations

import json
import re

from .errors import InputError

TABLE = "vtep_fabric"
FAMILIES = ("inet", "arp")
SETS = (("inet", "isolated"), ("inet", "bridged"), ("arp", "isolated"))

# Before conntrack (-200), so that dropped packets leave no trace there, and before any chain that would reject.
PRIORITY = -300

# Narrower than the kernel: nft takes a `*` at the end of a name for a wildcard, and quotes end a name.
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,15}")

# What is compared of each object; handles and what a later nft may add are not. A dormant table's flags matter.
_KEYS = {
    "table": ("flags",),
    "chain": ("type", "hook", "prio", "policy"),
    "set": ("type", "flags", "timeout"),
    "rule": ("expr",),
}


def devices(names):
    """The device names as a sorted tuple without repetitions. Raises InputError with every bad one."""
    faults = [f"interfaces[{row}]: {fault}" for row, name in enumerate(names) for fault in _faults(name)]
    if faults:
        raise InputError(faults)
    return tuple(sorted(set(names)))


def _faults(name):
    if not _NAME.fullmatch(name) or name in (".", ".."):
        yield f"{name!r} is not a device name that nftables can match; 1 to 15 of letters, digits and _ . @ + -"
    elif name == "lo":
        yield "'lo' cannot be isolated: the host would no longer reach itself; leave it out"


def objects(names):
    """The nft objects that isolate these devices; none for no devices."""
    if not names:
        return []
    from_device = _match({"meta": {"key": "iifname"}}, "@isolated")
    to_device = _match({"meta": {"key": "oifname"}}, "@isolated")
    # With br_netfilter a frame between two ports of one bridge passes the forward hook, going from the bridge to the
    # bridge. nft cannot compare two names in a rule, so the pairs of equal names are a set.
    stays = _match({"concat": [{"meta": {"key": "iifname"}}, {"meta": {"key": "oifname"}}]}, "@bridged")
    # Only requests: the answers of a bridge's neigh_suppress leave through this hook, and they must.
    asks = _match({"payload": {"protocol": "arp", "field": "operation"}}, "request")
    return [
        _table("inet"),
        _set("inet", "isolated", "ifname", names),
        _set("inet", "bridged", ["ifname", "ifname"], [{"concat": [name, name]} for name in names]),
        *_chain("inet", "input", [from_device, _DROP]),
        *_chain("inet", "forward", [stays, {"accept": None}], [from_device, _DROP], [to_device, _DROP]),
        *_chain("inet", "output", [to_device, _DROP]),
        _table("arp"),
        _set("arp", "isolated", "ifname", names),
        *_chain("arp", "input", [from_device, _DROP]),
        *_chain("arp", "output", [to_device, asks, _DROP]),
    ]


_DROP = {"drop": None}


def _match(left, right):
    return {"match": {"op": "==", "left": left, "right": right}}


def _table(family):
    return {"table": {"family": family, "name": TABLE}}


def _set(family, name, kind, elements):
    return {"set": {"family": family, "table": TABLE, "name": name, "type": kind, "elem": list(elements)}}


def _chain(family, hook, *rules):
    home = {"family": family, "table": TABLE}
    yield {"chain": dict(home, name=hook, type="filter", hook=hook, prio=PRIORITY, policy="accept")}
    for expressions in rules:
        yield {"rule": dict(home, chain=hook, expr=expressions)}


def frame(found):
    """All of a list of objects but the sets' elements, as lines of text in a stable order."""
    lines = []
    places = {}
    for kind, body in _bodies(found):
        if kind == "rule":  # rules have no names, but their order counts
            chain = (body["family"], body["chain"])
            places[chain] = places.get(chain, 0) + 1
            name = f"{body['chain']} {places[chain]}"
        else:
            name = body.get("name", "")
        kept = {key: body[key] for key in _KEYS.get(kind, ()) if key in body}
        lines.append(f"{body['family']} {kind} {name}: {json.dumps(kept, sort_keys=True)}")
    return sorted(lines)


def members(found):
    """{(family, set): frozenset of device names} for our sets. A pair of equal names stands for that name."""
    held = {key: frozenset() for key in SETS}
    for kind, body in _bodies(found):
        if kind == "set":
            held[body["family"], body["name"]] = frozenset(map(_member, body.get("elem", ())))
    return held


def _member(element):
    names = element.get("concat") if isinstance(element, dict) else [element]
    if names and all(isinstance(name, str) for name in names) and len(set(names)) == 1:
        return names[0]
    return json.dumps(element, sort_keys=True)  # not ours; unequal to every device name


def _bodies(found):
    for thing in found:
        yield from thing.items()
