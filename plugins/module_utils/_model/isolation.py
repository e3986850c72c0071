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
SETS = (("inet", "isolated"), ("inet", "bridged"), ("inet", "routing"), ("inet", "routed"), ("arp", "isolated"))
GROUP_MAX = 256  # devices; a group is a set of all pairs of its members, so that a packet costs one lookup

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


def groups(lists, alone):
    """Groups of devices as sorted tuples, sorted. `alone`: the normal form of `interfaces`. Raises InputError with every fault."""
    faults, places = [], {}
    for row, names in enumerate(lists):
        where = f"routed[{row}]"
        if not names:
            faults.append(f"{where}: an empty group; name the devices that may forward to one another, or leave it out")
        if len(set(names)) > GROUP_MAX:
            faults.append(f"{where}: {len(set(names))} devices; a group has {GROUP_MAX} at most")
        for name in dict.fromkeys(names):
            faults += [f"{where}: {fault}" for fault in _faults(name)]
            if name in places:
                faults.append(f"{where}: {name!r} is in {places[name]} too; a device is in one group, so join them")
            elif name in alone:
                faults.append(f"{where}: {name!r} is in interfaces too, which forward nothing; name it once")
            places.setdefault(name, where)
    if faults:
        raise InputError(faults)
    return tuple(sorted(tuple(sorted(set(names))) for names in lists))


def _faults(name):
    if not _NAME.fullmatch(name) or name in (".", ".."):
        yield f"{name!r} is not a device name that nftables can match; 1 to 15 of letters, digits and _ . @ + -"
    elif name == "lo":
        yield "'lo' cannot be isolated: the host would no longer reach itself; leave it out"


def objects(names, groups=()):
    """The nft objects that isolate these devices, and the groups of devices as such; none for no devices."""
    routing = sorted(name for group in groups for name in group)
    everyone = sorted([*names, *routing])
    if not everyone:
        return []
    from_device = _match({"meta": {"key": "iifname"}}, "@isolated")
    to_device = _match({"meta": {"key": "oifname"}}, "@isolated")
    # With br_netfilter a frame between two ports of one bridge passes the forward hook, going from the bridge to the
    # bridge. nft cannot compare two names in a rule, so the pairs of equal names are a set.
    stays = _match(_BOTH, "@bridged")
    # Only requests: the answers of a bridge's neigh_suppress leave through this hook, and they must.
    asks = _match({"payload": {"protocol": "arp", "field": "operation"}}, "request")
    sets, inwards, between, outwards = [], [], [], []
    if groups:
        pairs = [{"concat": [a, b]} for group in groups for a in group for b in group if a != b]
        sets = [_set("inet", "routing", "ifname", routing), _set("inet", "routed", ["ifname", "ifname"], pairs)]
        to_routing = _match({"meta": {"key": "oifname"}}, "@routing")
        inwards = [[_match({"meta": {"key": "iifname"}}, "@routing"), *_NEIGHBOURS, _ACCEPT]]
        between = [[_match(_BOTH, "@routed"), _ACCEPT]]
        outwards = [[to_routing, *_NEIGHBOURS, _ACCEPT], *([to_routing, errors, _ACCEPT] for errors in _ERRORS)]
    return [
        _table("inet"),
        _set("inet", "isolated", "ifname", everyone),
        _set("inet", "bridged", ["ifname", "ifname"], [{"concat": [name, name]} for name in everyone]),
        *sets,
        *_chain("inet", "input", *inwards, [from_device, _DROP]),
        *_chain("inet", "forward", [stays, _ACCEPT], *between, [from_device, _DROP], [to_device, _DROP]),
        *_chain("inet", "output", *outwards, [to_device, _DROP]),
        _table("arp"),
        _set("arp", "isolated", "ifname", names),
        *_chain("arp", "input", [from_device, _DROP]),
        *_chain("arp", "output", [to_device, asks, _DROP]),
    ]


def _match(left, right):
    return {"match": {"op": "==", "left": left, "right": right}}


_ACCEPT, _DROP = {"accept": None}, {"drop": None}
_BOTH = {"concat": [{"meta": {"key": "iifname"}}, {"meta": {"key": "oifname"}}]}


def _types(protocol, *names):
    return _match({"payload": {"protocol": protocol, "field": "type"}}, {"set": list(names)})


# A hop limit below 255 was routed here, and is to be ignored (RFC 4861, sections 7.1.1 and 7.1.2).
_NEIGHBOURS = (
    _types("icmpv6", "nd-neighbor-solicit", "nd-neighbor-advert"),
    _match({"payload": {"protocol": "ip6", "field": "hoplimit"}}, 255),
)
# What a router tells of a packet that it cannot pass on (RFC 792, RFC 4443): path MTU discovery needs it.
_ERRORS = (
    _types("icmp", "destination-unreachable", "time-exceeded", "parameter-problem"),
    _types("icmpv6", "destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"),
)


def _table(family):
    return {"table": {"family": family, "name": TABLE}}


def _set(family, name, kind, elements):
    body = {"family": family, "table": TABLE, "name": name, "type": kind}
    return {"set": dict(body, elem=list(elements)) if elements else body}  # nft 1.0.6 takes no empty list


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
        kept = {key: _ordered(body[key]) for key in _KEYS.get(kind, ()) if key in body}
        lines.append(f"{body['family']} {kind} {name}: {json.dumps(kept, sort_keys=True)}")
    return sorted(lines)


def _ordered(value):
    """With the elements of sets in rules in one order: nft lists them as the kernel holds them."""
    if isinstance(value, dict):
        return {key: sorted(one, key=str) if key == "set" else _ordered(one) for key, one in value.items()}
    return [_ordered(one) for one in value] if isinstance(value, list) else value


def members(found):
    """{(family, set): frozenset of device names} for our sets. A pair of equal names stands for that name."""
    held = {key: frozenset() for key in SETS}
    for kind, body in _bodies(found):
        if kind == "set":
            held[body["family"], body["name"]] = frozenset(map(_member, body.get("elem", ())))
    return held


def grouping(found):
    """The groups of devices that lie in our tables: those that pairs join, and single ones."""
    left = set(members(found)["inet", "routing"])
    beside = {name: {name} for name in left}
    for kind, body in _bodies(found):
        if kind == "set" and (body["family"], body["name"]) == ("inet", "routed"):
            for element in body.get("elem", ()):
                pair = element.get("concat", ()) if isinstance(element, dict) else ()
                if len(pair) == 2 and left.issuperset(pair):
                    beside[pair[0]].add(pair[1])
    joined = []
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            new = set().union(*(beside[name] for name in new)) - group
        joined.append(tuple(sorted(group)))
        left -= group
    return tuple(sorted(joined))


def _member(element):
    names = element.get("concat") if isinstance(element, dict) else [element]
    if names and all(isinstance(name, str) for name in names):
        return names[0] if len(set(names)) == 1 else " . ".join(names)
    return json.dumps(element, sort_keys=True)  # not ours; unequal to every device name


def _bodies(found):
    for thing in found:
        yield from thing.items()
