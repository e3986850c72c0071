# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit for each station behind an access port: how many addresses it may ask for in a second, by nftables.

Whoever asks for addresses that nobody has (a scan) causes a miss with each. What is beyond the limit is dropped before the
bridge sees it; all other frames of that station pass, and all frames of others.
"""

from __future__ import annotations

import json
import re

from .._kernel import nft
from .._model.errors import FabricError, MissingError

FAMILY, TABLE, COUNTER = "bridge", "vtep_agent", "dropped"
PRIORITY = -300  # as in the collection's other tables
# A station that is silent for longer has its whole allowance again, so nothing is lost when it is forgotten.
TIMEOUT = 5
STATIONS = 65535  # stations counted one by one; all others share one allowance
LIMIT_MAX = 1_000_000

# nft takes a `*` at the end of a name for a wildcard, and quotes end a name.
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,15}")


class SourceLimit:
    """`limit` requests a second, and as many at once. What stands in the way is told once, and again when it is another thing.

    `apply` and `close` run nft, and are for a thread.
    """

    def __init__(self, limit, log):
        self.limit = min(limit, LIMIT_MAX)
        self.ok, self.why = False, None
        self._log = log
        self._unnamed = frozenset()

    def apply(self, ports):
        """Limit what comes in on the ports of these names, and on no others. Does nothing where it is so already."""
        usable = {name for name in ports if _NAME.fullmatch(name)}
        unnamed = frozenset(ports) - usable
        if unnamed - self._unnamed:
            self._log.warning(
                "source_limit: nftables cannot match the ports %s by their names, and so they have no limit; rename them",
                ", ".join(sorted(unnamed - self._unnamed)),
            )
        self._unnamed = unnamed
        wanted = objects(self.limit, usable) if self.limit and usable else []
        try:
            # What stations have used may be 131,070 elements, which others would wait for while they are decoded.
            changes = _changes(nft.table(TABLE, [FAMILY], terse=True), wanted)
            if changes:
                nft.commit(changes)
            self._tell(None)
        except MissingError as error:
            # Without the programs or the kernel's part there is no table either.
            self._tell(_missing(error) if wanted else None)
        except FabricError as error:
            self._tell(str(error))

    def dropped(self):
        """Requests dropped since the table was made, as nft tells it; None where it cannot be told."""
        try:
            return nft.counter(FAMILY, TABLE, COUNTER)
        except FabricError:
            return None

    def close(self):
        """Take the table away. Without a table there is nothing to say."""
        try:
            if nft.table(TABLE, [FAMILY], terse=True):
                nft.commit([{"delete": {"table": {"family": FAMILY, "name": TABLE}}}])
        except FabricError as error:
            if self.ok:
                self._log.warning("source_limit: table %s %s stays: %s", FAMILY, TABLE, error)
        self.ok = False

    def _tell(self, why):
        if why and why != self.why:
            self._log.warning("source_limit: no station is limited, all else goes on: %s", why)
        elif self.why and not why:
            self._log.info("source_limit: stations are limited again")
        self.ok, self.why = why is None, why


def _missing(error):
    if error.what.startswith("kernel"):
        return f"{error.what.partition(' (')[0]} of the family bridge: CONFIG_NF_TABLES_BRIDGE and CONFIG_NFT_LIMIT"
    return str(error)


def objects(limit, ports):
    """The table as nft's JSON (libnftables-json(5))."""
    home = {"family": FAMILY, "table": TABLE}
    stations = {"type": "ether_addr", "size": STATIONS, "flags": ["timeout"], "timeout": TIMEOUT}
    over = {"limit": {"rate": limit, "burst": limit, "per": "second", "inv": True}}
    drop = [{"counter": COUNTER}, {"drop": None}]
    enter = {"op": "update", "elem": {"payload": {"protocol": "ether", "field": "saddr"}}}
    comes_in = _match({"meta": {"key": "iifname"}}, "@ports")
    arp = _match({"payload": {"protocol": "arp", "field": "operation"}}, "request")
    solicit = _match({"payload": {"protocol": "icmpv6", "field": "type"}}, "nd-neighbor-solicit")
    rules = (
        ("station", [{"set": dict(enter, set="@stations", stmt=[over])}, *drop]),
        # No room in a set ends a rule. The set `known` has room when `stations` has, and so it tells which of the two it is.
        ("request", [{"set": dict(enter, set="@known")}, {"goto": {"target": "station"}}]),
        ("request", [over, *drop]),
        ("frames", [comes_in, arp, {"goto": {"target": "request"}}]),
        ("frames", [comes_in, solicit, {"goto": {"target": "request"}}]),
    )
    return [
        {"table": {"family": FAMILY, "name": TABLE}},
        {"counter": dict(home, name=COUNTER)},
        {"set": dict(home, name="ports", type="ifname", elem=sorted(ports))},
        {"set": dict(home, name="known", **stations)},
        {"set": dict(home, name="stations", **stations)},
        {"chain": dict(home, name="station")},
        {"chain": dict(home, name="request")},
        {"chain": dict(home, name="frames", type="filter", hook="prerouting", prio=PRIORITY, policy="accept")},
        *({"rule": dict(home, chain=chain, expr=expr)} for chain, expr in rules),
    ]


def _match(left, right):
    return {"match": {"op": "==", "left": left, "right": right}}


def _changes(found, wanted):
    """The commands that make a table what it should be. Where only the ports differ, what stations have used stays counted."""
    if not found and not wanted:
        return []
    if not found or not wanted or _frame(found) != _frame(wanted):
        table = {"table": {"family": FAMILY, "name": TABLE}}
        # Adding first makes the deletion sure of its table.
        return [{"add": table}, {"delete": table}, *({"add": one} for one in wanted)]
    before = {_port(one) for one in nft.elements(FAMILY, TABLE, "ports")}
    after = next(set(one["set"]["elem"]) for one in wanted if one.get("set", {}).get("name") == "ports")
    home = {"family": FAMILY, "table": TABLE, "name": "ports"}
    changes = []
    for verb, names in (("delete", before - after), ("add", after - before)):
        if names:
            changes.append({verb: {"element": dict(home, elem=sorted(names))}})
    return changes


def _port(element):
    """A port, as it is in the set; what is none of ours, as text."""
    return element if isinstance(element, str) else json.dumps(element, sort_keys=True)


_KEPT = {
    "counter": ("name",),
    "set": ("name", "type", "size", "timeout"),
    "chain": ("name", "type", "hook", "prio", "policy"),
    "rule": ("chain", "expr"),
    "table": ("flags",),
}


def _frame(objects):
    """All but handles and the sets' elements, in an order that does not depend on nft's."""
    lines = []
    for one in objects:
        for kind, body in one.items():
            kept = {key: body[key] for key in _KEPT.get(kind, ()) if key in body}
            if kind not in _KEPT:
                kept = body
            lines.append(json.dumps([kind, kept], sort_keys=True))
    # Rules of a chain count in their order, and stay in it: sorting is stable and compares the chains only.
    return sorted(lines, key=lambda line: line if not line.startswith('["rule"') else line.split('"expr"')[0])
