# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes: what a route is, tables of routes in the words of `ip route`, and their validation.

Routes are kept by the column as FDB rows are: a list of prefixes and, beside it, where each leads. The ways that prefixes
lead are few and shared, since many endpoints are behind one VTEP.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from . import values
from .errors import InputError
from .table import Faults, address_of, chunks, cut, row_names

PROTOCOL = values.PROTOCOL
UNICAST = "unicast"
TYPES = (UNICAST, "unreachable", "blackhole", "prohibit")
ENCAPS = ("ip", "ip6")
FLAGS = ("csum", "key", "seq")
CREATE, REPLACE, DELETE = "create", "replace", "delete"

MAIN = 254
TABLES = {"default": 253, "main": MAIN, "local": 255}  # linux/rtnetlink.h
U32_MAX = (1 << 32) - 1
METRIC_6 = 1024  # IP6_RT_PRIO_USER of linux/ipv6_route.h: what the kernel takes for no metric
MTU_MAX = 65535 - 15  # the kernel cuts larger ones to this (ip_metrics_convert)
MTU_MIN = {4: 68, 6: 1280}  # RFC 791, RFC 8200

ROUTE_WORDS = ("table", "metric", "tos", "src", "mtu", "nhid")
HOP_WORDS = ("dev", "via", "weight")
ENCAP_WORDS = {"id": "id", "src": "src", "dst": "dst", "ttl": "ttl", "hoplimit": "ttl", "tos": "tos", "tc": "tos"}

_KEY = struct.Struct("!BIIB")  # prefix length, table, metric, tos


@dataclass(frozen=True)
class Encap:
    """What a packet is put into (linux/lwtunnel.h): for a VXLAN device made with `external` a VXLAN header and more."""

    type: str
    id: int
    dst: str | None
    src: str | None = None
    ttl: int = 0  # 0: what the route to `dst` says, most often 64
    tos: int = 0
    flags: tuple = ()

    def words(self):
        parts = ["encap", self.type, "id", str(self.id)]
        for name in ("src", "dst"):
            if getattr(self, name):
                parts += [name, getattr(self, name)]
        for name in ("ttl", "tos"):
            if getattr(self, name):
                parts += [name, str(getattr(self, name))]
        return [*parts, *self.flags]


@dataclass(frozen=True)
class Hop:
    """One way out."""

    dev: str
    via: str | None = None
    onlink: bool = False
    encap: Encap | None = None
    weight: int = 1

    def words(self):
        parts = self.encap.words() if self.encap else []
        if self.via:
            parts += ["via", self.via]
        return [*parts, "dev", self.dev, *(["onlink"] if self.onlink else [])]


@dataclass(frozen=True)
class Way:
    """All of a route but its prefix."""

    family: int
    type: str = UNICAST
    table: int = MAIN
    metric: int = 0
    tos: int = 0
    hops: tuple = ()
    nhid: int | None = None
    src: str | None = None
    mtu: int | None = None
    other: tuple = ()  # in words, what the kernel shows and no route of ours has

    def key(self, length):
        """What tells the routes to one network apart, in bytes: the prefix length, the table, the metric, and tos."""
        return _KEY.pack(length, self.table, self.metric, self.tos)

    def text(self, prefix):
        """The route in the words of `ip route`."""
        parts = [] if self.type == UNICAST else [self.type]
        parts.append(text_of(prefix))
        if len(self.hops) == 1:
            parts += self.hops[0].words()
        if self.nhid is not None:
            parts += ["nhid", str(self.nhid)]
        if self.table != MAIN:
            parts += ["table", str(self.table)]
        if self.metric:
            parts += ["metric", str(self.metric)]
        if self.tos:
            parts += ["tos", str(self.tos)]
        for name in ("src", "mtu"):
            if getattr(self, name) is not None:
                parts += [name, str(getattr(self, name))]
        if len(self.hops) > 1:
            for hop in self.hops:
                parts += ["nexthop", *hop.words(), "weight", str(hop.weight)]
        return " ".join([*parts, *self.other])


def text_of(prefix):
    """A prefix in words. In bytes it is the address, and a byte more for its length."""
    return f"{address_of(prefix[:-1])}/{prefix[-1]}"


@dataclass(frozen=True)
class Shape:
    """What the kernel tells of a route besides its prefix; thousands of routes share one."""

    way: Way
    protocol: int
    devs: tuple = ()  # all devices it leads over, also by a nexthop group
    raw: bytes = b""  # the kernel's message without its header and RTA_DST

    @property
    def owned(self):
        return self.protocol == PROTOCOL


@dataclass(frozen=True)
class Found:
    """A route that the kernel holds."""

    prefix: bytes
    shape: Shape

    @property
    def owned(self):
        return self.shape.owned

    def text(self):
        text = self.shape.way.text(self.prefix)
        return text if self.owned else f"{text} proto {protocol_name(self.shape.protocol)}"


# linux/rtnetlink.h
PROTOCOLS = {
    0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra",
    12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted", 18: "keepalived", 42: "babel",
    84: "ovn", 99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
}  # fmt: skip


def protocol_name(number):
    return PROTOCOLS.get(number, str(number))


@dataclass
class Wanted:
    """Routes by the column."""

    ways: list = field(default_factory=list)
    prefixes: list = field(default_factory=list)
    index: list = field(default_factory=list)  # of each row, into ways

    def __len__(self):
        return len(self.prefixes)

    def text(self, i):
        return self.ways[self.index[i]].text(self.prefixes[i])

    @cached_property
    def keys(self):
        """What the kernel holds one route for, of each row: the address and Way.key(). Only once the rows are complete."""
        known = {}
        keys = []
        for prefix, k in zip(self.prefixes, self.index):
            mark = (k, prefix[-1])
            suffix = known.get(mark)
            if suffix is None:
                suffix = known[mark] = self.ways[k].key(prefix[-1])
            keys.append(prefix[:-1] + suffix)
        return keys

    def scopes(self):
        """The (family, table) pairs that the rows stand in."""
        return list(dict.fromkeys((self.ways[k].family, self.ways[k].table) for k in dict.fromkeys(self.index)))


@dataclass
class Seen:
    """What was seen, as far as the plan needs it. Positions count the wanted rows."""

    missing: list = field(default_factory=list)
    different: list = field(default_factory=list)  # (position, Found): a route at that key, not as wanted
    exact: set = field(default_factory=set)  # of those positions the ones whose wanted route is there as well
    strangers: list = field(default_factory=list)  # Found: our own that nobody wants; only after a complete read


@dataclass
class Operation:
    """One kind of change, in bulk."""

    kind: str
    rows: list  # positions of wanted rows; Found for DELETE


# Reading what the user wrote


def from_table(text, tables=None, absent=False):
    """Routes from text in the words of `ip route`. Raises InputError with every fault, each with its line."""
    tables = TABLES if tables is None else tables
    faults = Faults()
    number = row_names(text)
    wanted = Wanted()
    known, seen, bad = {}, {}, {}  # (line end, size of the prefix) -> position in ways; Way -> the same; faults
    for lines in chunks(text):
        for key, tail in zip(*cut(lines)):
            if key in TYPES:
                key, tail = _after_type(key, tail)
            try:
                prefix = _prefix(key)
            except ValueError as error:
                faults.add(f"{number(len(wanted))}: {error}")
                prefix = b"\0"
            mark = (tail, len(prefix))
            k = known.get(mark)
            if k is None and len(prefix) > 1:
                k = known[mark] = _known(wanted, seen, bad, lambda t=tail, p=prefix: _way(_line(t), p, tables, absent))
            wanted.prefixes.append(prefix)
            wanted.index.append(k or 0)
    _tell_bad(wanted, bad, number, faults)
    return _checked(wanted, number, faults)


def from_entries(entries, tables=None, absent=False):
    """Routes from a list of dictionaries. Raises InputError with every fault."""
    tables = TABLES if tables is None else tables
    faults = Faults()
    wanted = Wanted()
    seen, bad = {}, {}

    def number(i):
        return f"entries row {i + 1}"

    for i, entry in enumerate(entries):
        given = _given(entry)
        try:
            prefix = _prefix(str(given.pop("dst")))
        except ValueError as error:
            faults.add(f"{number(i)}: {error}")
            prefix = b"\0"
        k = 0
        if len(prefix) > 1:
            k = _known(wanted, seen, bad, lambda g=given, p=prefix: _way(g, p, tables, absent))
        wanted.prefixes.append(prefix)
        wanted.index.append(k)
    _tell_bad(wanted, bad, number, faults)
    return _checked(wanted, number, faults)


def _given(value):
    """An entry as far as it says something."""
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None and inner is not False}
    return [_given(inner) for inner in value] if isinstance(value, list) else value


def _known(wanted, seen, bad, make):
    """The position in ways of a way that is to be made; of a bad one too, with its fault."""
    try:
        way = make()
    except ValueError as error:
        bad[len(wanted.ways)] = str(error)
        wanted.ways.append(None)
        return len(wanted.ways) - 1
    k = seen.setdefault(way, len(wanted.ways))
    if k == len(wanted.ways):
        wanted.ways.append(way)
    return k


def _tell_bad(wanted, bad, number, faults):
    """The fault of a row whose prefix is bad is told already."""
    if bad:
        index = [k if len(prefix) > 1 else None for k, prefix in zip(wanted.index, wanted.prefixes)]
        faults.add_alike(bad, index, number)


def _after_type(kind, tail):
    """The prefix, and the words after it with the route's type among them."""
    words = tail.split(None, 1)
    return (words[0] if words else ""), " ".join((kind, *words[1:]))


def _prefix(text):
    """A prefix in bytes. ValueError that names the key, the value and the fix."""
    address, slash, length = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        if text == "default":
            raise ValueError("dst: 'default' names no family; write 0.0.0.0/0 or ::/0") from None
        raise ValueError(f"dst: {text!r} is not a prefix; write it like 2001:db8::/64 or 192.0.2.1") from None
    bits = 8 * len(packed)
    if not slash:
        return packed + bytes((bits,))
    if not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise ValueError(f"dst: {text!r}: the prefix length must be 0 to {bits}")
    size = int(length)
    if size < bits:
        left = int.from_bytes(packed, "big") & ((1 << bits - size) - 1)
        if left:
            network = (int.from_bytes(packed, "big") ^ left).to_bytes(len(packed), "big")
            raise ValueError(f"dst: {text!r} has host bits set; write {address_of(network)}/{size}")
    return packed + bytes((size,))


def _line(text):
    """The words of a line end as an entry. A block of `encap` words ends, as with `ip`, at the first other word."""
    words = text.split()
    entry = here = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "nexthop":
            here = {}
            entry.setdefault("nexthops", []).append(here)
        elif word == "encap":
            made, at = _encap_line(words, at)
            _put(here, word, made)
        elif word in TYPES and here is entry:
            _put(entry, "type", word)
        elif word == "onlink":
            _put(here, word, True)
        elif word in HOP_WORDS or (word in ROUTE_WORDS and here is entry):
            if at == len(words):
                raise ValueError(f"{word!r} lacks its value")
            _put(here, word, words[at])
            at += 1
        elif word in ROUTE_WORDS:
            raise ValueError(f"{word!r} belongs to the route; write it before the first 'nexthop'")
        else:
            known = ", ".join(("encap", *ROUTE_WORDS, *HOP_WORDS, "onlink", "nexthop"))
            raise ValueError(f"{word!r} is not a word of this table; known are {known}")
    return entry


def _encap_line(words, at):
    found = {"type": words[at] if at < len(words) else ""}
    if found["type"] not in ENCAPS:
        raise ValueError(f"encap: {found['type']!r} is none of {', '.join(ENCAPS)}")
    at += 1
    while at < len(words):
        word = words[at]
        if word in FLAGS:
            if word in found.setdefault("flags", []):
                raise ValueError(f"{word!r} stands twice in encap; leave one out")
            found["flags"].append(word)
            at += 1
        elif word in ENCAP_WORDS:
            if at + 1 == len(words):
                raise ValueError(f"{word!r} lacks its value")
            _put(found, ENCAP_WORDS[word], words[at + 1])
            at += 2
        else:
            break
    return found, at


def _put(found, name, value):
    if name in found:
        raise ValueError(f"{name!r} stands twice; leave one out")
    found[name] = value


def _way(given, prefix, tables, absent):
    """A Way from an entry. Raises ValueError that names the key, the value and the fix."""
    family = 4 if len(prefix) == 5 else 6
    made = {"family": family, "type": given.get("type", UNICAST)}
    for name, check in (
        ("table", lambda value: table_number(value, tables)),
        ("metric", lambda value: values.integer(value, 0, U32_MAX)),
        ("tos", lambda value: _tos(value, family)),
        ("src", lambda value: _one_address(value, family)),
        ("mtu", lambda value: values.integer(value, MTU_MIN[family], MTU_MAX)),
        ("nhid", lambda value: values.integer(value, 1, U32_MAX)),
    ):
        if name in given:
            made[name] = _named(name, check, given[name])
    if family == 6 and not made.get("metric"):
        made["metric"] = METRIC_6
    hops = [_hop(hop, family, f"nexthop {i}: ") for i, hop in enumerate(given.get("nexthops") or [], 1)]
    own = [name for name in ("dev", "via", "onlink", "encap", "weight") if name in given]
    leads = [*own, *(name for name in ("nexthops", "nhid") if name in given)]
    if made["type"] != UNICAST:
        for name in (*leads, "src", "mtu"):
            if name in given:
                raise ValueError(f"{name}: it has no meaning for a route that is {made['type']}; leave it out")
    elif "nhid" in given and len(leads) > 1:
        other = next(name for name in leads if name != "nhid")
        raise ValueError(f"nhid and {other}: the nexthop group says where to; leave {other} out")
    elif hops and own:
        raise ValueError(f"{own[0]}: with nexthops it stands in each of them; leave it out here")
    elif own:
        if "weight" in own:
            raise ValueError("weight: only one of several nexthops has a weight; leave it out")
        if not absent or "dev" in given:
            hops = [_hop(given, family, "")]
    elif not leads and not absent:
        raise ValueError("dev: missing; name the device that the route leads over")
    _check_hops(hops, family)
    if len(hops) == 1:
        hops = [Hop(hops[0].dev, hops[0].via, hops[0].onlink, hops[0].encap)]
    return Way(hops=tuple(sorted(hops, key=str)), **made)


def _named(name, check, value):
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def table_number(value, tables):
    """The number of a routing table, from the number or a name."""
    text = str(value)
    if text in tables:
        return tables[text]
    try:
        return values.integer(value, 1, U32_MAX)
    except ValueError:
        raise ValueError(
            f"{value!r} is no routing table; write its number, 1 to {U32_MAX}, or a name of the host's rt_tables "
            f"({', '.join(sorted(tables)[:10])})"
        ) from None


def _tos(value, family):
    number = values.integer(value, 0, 255)
    if number and family == 6:
        raise ValueError(f"{value!r}: IPv6 has no routes by tos; leave it out")
    if number & 3:
        raise ValueError(f"{value!r} has ECN bits set, which routes do not look at; write {number & ~3}")
    return number


@lru_cache(maxsize=1 << 16)
def _address(text, family):
    """An address in its normal form. The C library is 20 times quicker here than ipaddress, and as strict."""
    try:
        packed = socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, text)
    except (OSError, ValueError):
        return values.address(text, family)
    return address_of(packed)


def _one_address(value, family):
    text = _address(str(value), family)
    if values.is_multicast(text) or not any(values.pack(text)):
        raise ValueError(f"{value!r} is not the address of one host")
    return text


def _hop(given, family, where):
    if "dev" not in given:
        raise ValueError(f"{where}dev: missing; name the device that the route leads over")
    encap = _encap(given["encap"], where) if "encap" in given else None
    via = None
    if "via" in given:
        via = _named(f"{where}via", lambda value: _one_address(value, family), given["via"])
    if given.get("onlink") and not via:
        raise ValueError(f"{where}onlink: it says that 'via' is on the link; add via, or leave it out")
    weight = _named(f"{where}weight", lambda value: values.integer(value, 1, 256), given.get("weight", 1))
    dev = _named(f"{where}dev", values.dev, given["dev"])
    return Hop(dev, via, bool(given.get("onlink")), encap, weight)


def _encap(given, where):
    kind = given["type"]
    family = 4 if kind == "ip" else 6
    for name in ("id", "dst"):
        if name not in given:
            what = "the VNI" if name == "id" else "the address of the VTEP behind which the prefix is"
            raise ValueError(f"{where}encap {kind}: {name}: missing; write {what}")
    made = {"src": None, "ttl": 0, "tos": 0}
    for name, check in (
        ("id", lambda value: values.integer(value, 0, values.VNI_MAX)),
        ("dst", lambda value: _address_in(value, family)),
        ("src", lambda value: _one_address(value, family)),
        ("ttl", lambda value: values.integer(value, 0, 255)),
        ("tos", lambda value: values.integer(value, 0, 255)),
    ):
        if name in given:
            made[name] = _named(f"{where}encap {kind}: {name}", check, given[name])
    flags = given.get("flags") or []
    for flag in flags:
        if flag not in FLAGS:
            raise ValueError(f"{where}encap {kind}: flags: {flag!r} is none of {', '.join(FLAGS)}")
    return Encap(type=kind, flags=tuple(sorted(set(flags))), **made)


def _address_in(value, family):
    text = _address(str(value), family)
    if not any(values.pack(text)):
        raise ValueError(f"{value!r} is no destination; write a VTEP's address")
    return text


def _check_hops(hops, family):
    if len(hops) < 2:
        return
    for hop in hops:
        if family == 6 and not hop.via:
            raise ValueError(f"nexthop dev {hop.dev}: via: missing; each of several IPv6 nexthops needs one")
        if sum(_place(other) == _place(hop) for other in hops) > 1:
            raise ValueError(f"nexthop {' '.join(hop.words())}: stands twice; leave one out, or give it more weight")


def _place(hop):
    return (hop.dev, hop.via, hop.encap)


# What routes must be together


def _checked(wanted, number, faults):
    """The routes, if nothing is wrong with them one by one nor together."""
    if not faults.count:
        _check_unique(wanted, number, faults)
    if faults.count:
        raise InputError(faults.lines())
    return wanted


def _check_unique(wanted, number, faults):
    keys = wanted.keys
    if len(set(keys)) == len(keys):
        return
    first = {}
    for i, key in enumerate(keys):
        twin = first.setdefault(key, i)
        if twin == i:
            continue
        if wanted.index[twin] == wanted.index[i]:
            faults.add(f"{number(i)}: the same route as {number(twin)}, {wanted.text(i)}; leave one out")
        else:
            faults.add(
                f"{number(i)}: dst: {wanted.text(i)} and {number(twin)} ({wanted.text(twin)}) are two routes to one "
                "network with one metric in one table; write one, or several nexthops in it, or another metric"
            )
