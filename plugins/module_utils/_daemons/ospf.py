# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of the lines that we wrote, and what FRR tells of its OSPF neighbours, interfaces and routes."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from .._model.errors import DaemonError
from .._model.ospf import V2, V3
from . import files, frr

DIRECTORY = Path("/var/lib/vtep.fabric")


@dataclass
class Record:
    """Which configuration lines and daemons of FRR are ours."""

    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    lines: dict = field(default_factory=dict)  # {(block, slot): {fingerprint, ...}}
    daemons: set = field(default_factory=set)  # that we switched on
    damaged: str = ""


def load(protocol):
    path = DIRECTORY / f"{protocol.name}.json"
    text = files.read(path)
    if not text:
        return Record()
    try:
        found = json.loads(text)
        lines = {(row["block"], row["slot"]): set(map(str, row["lines"])) for row in found["lines"]}
        return Record(str(found["salt"]), lines, set(map(str, found["daemons"])))
    except (ValueError, KeyError, TypeError) as error:
        return Record(damaged=f"{path} is damaged ({error}): no line of FRR is taken for ours, and none is removed")


def store(protocol, record):
    path = DIRECTORY / f"{protocol.name}.json"
    if not record.lines and not record.daemons:
        files.remove(path)
        with contextlib.suppress(OSError):  # others have their records there too
            DIRECTORY.rmdir()
        return
    lines = [{"block": block, "slot": slot, "lines": sorted(prints)} for (block, slot), prints in record.lines.items()]
    text = json.dumps({"salt": record.salt, "lines": lines, "daemons": sorted(record.daemons)}, indent=1)
    files.make_directory(DIRECTORY, 0o755)
    files.write(path, text + "\n", 0o600)


# What FRR tells


def router_id(protocol):
    """The router id in use, or None."""
    (found,) = frr.ask("show ipv6 ospf6 json" if protocol.family == 6 else "show ip ospf json")
    return found.get("routerId")


def state(protocol):
    """Neighbours, interfaces and routes, each as a list of plain dictionaries."""
    if protocol.family == 6:
        neighbors, interfaces, routes = frr.ask(
            "show ipv6 ospf6 neighbor detail json", "show ipv6 ospf6 interface json", "show ipv6 ospf6 route json"
        )
        return judged(
            {
                "neighbors": neighbors_v3(neighbors),
                "interfaces": interfaces_v3(interfaces),
                "routes": routes_v3(routes),
            }
        )
    neighbors, interfaces, routes = frr.ask(
        "show ip ospf neighbor json", "show ip ospf interface json", "show ip ospf route json"
    )
    return judged(
        {
            "neighbors": neighbors_v2(neighbors, interfaces),
            "interfaces": interfaces_v2(interfaces),
            "routes": routes_v2(routes),
        }
    )


def judged(state):
    """With whether each neighbour is settled."""
    ready = settled(state)
    return {**state, "neighbors": [{**row, "settled": row in ready} for row in state["neighbors"]]}


def neighbors_v3(found):
    rows = [
        {
            "id": name.partition("%")[0],
            "state": _state(row["neighborState"]),
            "interface": row["interface"],
            "address": row["linkLocalAddress"],
            "dr": row.get("neighborDRouter", ""),
            "bdr": row.get("neighborBdRouter", ""),
        }
        for name, row in found.items()
    ]
    return _real(rows)


def neighbors_v2(found, interfaces):
    interfaces = interfaces.get("interfaces", {})
    rows = []
    for name, several in found.get("neighbors", {}).items():
        for row in several:
            dev = row["ifaceName"].partition(":")[0]
            own = interfaces.get(dev, {})
            rows.append(
                {
                    "id": name,
                    "state": _state((row.get("nbrState") or row["state"]).partition("/")[0]),
                    "interface": dev,
                    "address": row.get("ifaceAddress") or row.get("address", ""),
                    "dr": own.get("drId", ""),
                    "bdr": own.get("bdrId", ""),
                }
            )
    return _real(rows)


def _state(word):
    """The names of RFC 2328, section 10.1; ospf6d writes some of them without the dash."""
    return {"Twoway": "2-Way", "Exstart": "ExStart", "Exchange": "Exchange"}.get(word, word)


def _real(rows):
    """Without the row 0.0.0.0, which FRR shows for a neighbour that restarted under another id, or is not known yet."""
    return sorted((row for row in rows if row["id"] != "0.0.0.0"), key=lambda row: (row["interface"], row["id"]))


def interfaces_v3(found):
    return [
        {
            "name": name,
            "area": row["areaId"],
            "state": row["ospf6InterfaceState"],
            "network": row["type"].lower(),
            "cost": row["cost"],
            "hello_interval": row["timerIntervalsConfigHello"],
            "dead_interval": row["timerIntervalsConfigDead"],
            "passive": row.get("timerPassiveIface"),  # FRR 8 does not tell
            "dr": row.get("dr", ""),
            "bdr": row.get("bdr", ""),
        }
        for name, row in sorted(found.items())
        if row.get("attachedToArea")
    ]


def interfaces_v2(found):
    return [
        {
            "name": name,
            "area": row["area"].split()[0],
            "state": row["state"],
            "network": row["networkType"].lower(),
            "cost": row["cost"],
            "hello_interval": row["timerMsecs"] // 1000,
            "dead_interval": row["timerDeadSecs"],
            "passive": bool(row.get("timerPassiveIface")),
            "dr": row.get("drId", ""),
            "bdr": row.get("bdrId", ""),
        }
        for name, row in sorted(found.get("interfaces", {}).items())
        if row.get("ospfEnabled")
    ]


_PATHS = {
    "IA": "intra-area",
    "IE": "inter-area",
    "E1": "external-1",
    "E2": "external-2",
    "N": "intra-area",
    "N IA": "inter-area",
    "D IA": "inter-area",  # the discard route of an area's range
    "N E1": "external-1",
    "N E2": "external-2",
}


def routes_v3(found):
    rows = []
    for prefix, paths in found.get("routes", {}).items():
        for row in paths if isinstance(paths, list) else [paths]:  # FRR 8 to 10.5 tell one path, later a list
            if row.get("destinationType", "N") != "N" or not row.get("isBestRoute", True):
                continue
            hops = [{"address": _hop(one["nextHop"]), "interface": one["interfaceName"]} for one in row["nextHops"]]
            rows.append({"prefix": prefix, "type": _PATHS.get(row["pathType"], row["pathType"]), "nexthops": hops})
    return rows


def routes_v2(found):
    rows = []
    for prefix, row in found.items():
        kind = row.get("routeType", "") if isinstance(row, dict) else ""
        if kind not in _PATHS:  # border routers, whose type begins with R
            continue
        hops = [
            {
                "address": _hop(one.get("ip", "").strip()),
                "interface": one.get("via") or one.get("directlyAttachedTo", ""),
            }
            for one in row["nexthops"]
        ]
        rows.append({"prefix": prefix, "type": _PATHS[kind], "nexthops": hops})
    return rows


def _hop(address):
    """A next hop's address; "" for a link that is attached directly."""
    return "" if address in ("::", "0.0.0.0") else address


def settled(state):
    """The neighbours that need no more: Full, or 2-Way between two routers of a LAN that are neither DR nor BDR."""
    others = {row["name"] for row in state["interfaces"] if row["state"] == "DROther"}
    return [
        row
        for row in state["neighbors"]
        if row["state"] == "Full"
        or (row["state"] == "2-Way" and row["interface"] in others and row["id"] not in (row["dr"], row["bdr"]))
    ]


def wait(protocol, owners, neighbors, timeout):
    """Wait until every prefix is routed by OSPF, or local, and so many neighbours are settled.

    owners: {prefix: the host whose loopback it is, or None}. Returns the seconds that it took; raises DaemonError with what is
    missing, at once where a daemon is gone that would have to find it.
    """
    start = time.monotonic()
    missing = [prefix for prefix in owners if not _local(prefix)]
    pause = 0.1
    while True:
        missing = _unrouted(missing)
        found = state(protocol) if neighbors and not missing else None
        if not missing and (not neighbors or len(settled(found)) >= neighbors):
            return time.monotonic() - start
        gone = [one.daemon for one in needed(protocol, missing, neighbors) if not frr.alive(one.daemon)]
        if gone:
            raise DaemonError(
                f"no route to {_owned(missing, owners)}: {', '.join(gone)} does not run; see `journalctl -u frr`"
            )
        # Looked at once more at the very end of the time, but not after it.
        left = start + timeout - time.monotonic()
        if left <= 0:
            raise DaemonError(_lacking(protocol, missing, owners, neighbors, timeout))
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 1)
        missing = [prefix for prefix in missing if not _local(prefix)]


def _unrouted(prefixes):
    """Those of the prefixes for which neither OSPFv3 nor OSPFv2 has a route in the kernel."""
    families = sorted({6 if ":" in prefix else 4 for prefix in prefixes})
    shows = {6: "show ipv6 route ospf6 json", 4: "show ip route ospf json"}
    routed = set()
    for answer in frr.ask(*(shows[family] for family in families)) if families else []:
        for prefix, rows in answer.items():
            if any(row.get("selected") and row.get("installed") for row in rows):
                routed.add(str(ipaddress.ip_network(prefix)))
    return [prefix for prefix in prefixes if prefix not in routed]


def _local(prefix):
    """Whether a host's prefix is an address of this host: the kernel lets a socket be bound to its own addresses only."""
    network = ipaddress.ip_network(prefix)
    if network.num_addresses > 1:
        return False
    family = socket.AF_INET6 if network.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.bind((str(network.network_address), 0))
        except OSError:
            return False
    return True


def needed(protocol, prefixes, neighbors):
    """The protocols that find the prefixes, and the asked one where it has to find neighbours."""
    families = {6 if ":" in prefix else 4 for prefix in prefixes}
    return [one for one in (V3, V2) if one.family in families or (one is protocol and neighbors)]


def _owned(missing, owners):
    return " and ".join(
        f"{prefix}, the loopback of {owners[prefix]}" if owners[prefix] else prefix for prefix in missing
    )


def _lacking(protocol, missing, owners, neighbors, timeout):
    states = {one: state(one) for one in needed(protocol, missing, neighbors)}
    words = [f"no route to {_owned(missing, owners)}"] if missing else []
    if neighbors and len(settled(states[protocol])) < neighbors:
        words.append(f"{len(settled(states[protocol]))} of {neighbors} neighbours are Full")
    for one, found in states.items():
        rows = [f"{row['id']} on {row['interface']} {row['state']}" for row in found["neighbors"]]
        words.append(f"the neighbours that {one.daemon} sees: {', '.join(rows) or 'none'}")
    words.append(_advice(states.values(), owners, missing))
    return f"after {timeout} s: {'; '.join(words)}"


def _advice(states, owners, missing):
    """What is most likely wrong, from how far the neighbours have come (RFC 2328, section 10.1)."""

    def names(key, name, *words):
        return ", ".join(sorted({row[name] for found in states for row in found[key] if row["state"] in words}))

    if down := names("interfaces", "name", "Down"):
        return f"{down} is down: see `ip link` and the cable"
    if stuck := names("neighbors", "interface", "ExStart", "Exchange"):
        return f"neighbours that stay in ExStart or Exchange have another MTU: compare that of {stuck}"
    if deaf := names("neighbors", "interface", "Init"):
        return f"neighbours that stay in Init do not hear this host: look for a filter on {deaf}"
    hosts = sorted({str(owners[prefix]) for prefix in missing if owners[prefix]})
    where = f"on {', '.join(hosts)}" if hosts else "on the routers that are missing"
    return (
        f"see `journalctl -u frr` {where}; on one link area, intervals, network type and authentication must be the same on "
        "all routers; where OSPF only needs longer, raise the timeout"
    )
