# SPDX-License-Identifier: GPL-3.0-or-later
"""OSPFv3 (RFC 5340) and OSPFv2 (RFC 2328) as FRR is told of them: what a user may ask for, and the lines that say so.

A setting has a place: the block it stands in and a slot there, such as ("interface eth0", "cost"). FRR holds one line
in a slot, and none where the value is FRR's default.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple

from . import frr, values
from .errors import InputError


@dataclass(frozen=True)
class Protocol:
    name: str  # of the module
    daemon: str
    family: int
    router: str  # the block of the router's settings
    router_id: str  # the command
    prefix: str  # of the commands of an interface
    redistribute: tuple  # the protocols that FRR knows here


V3 = Protocol(
    name="ospfv3",
    daemon="ospf6d",
    family=6,
    router="router ospf6",
    router_id="ospf6 router-id",
    prefix="ipv6 ospf6",
    redistribute=("babel", "bgp", "connected", "isis", "kernel", "nhrp", "openfabric", "ripng", "static"),
)
V2 = Protocol(
    name="ospfv2",
    daemon="ospfd",
    family=4,
    router="router ospf",
    router_id="ospf router-id",
    prefix="ip ospf",
    redistribute=("babel", "bgp", "connected", "eigrp", "isis", "kernel", "nhrp", "openfabric", "rip", "static"),
)

NETWORKS = ("broadcast", "point-to-point", "point-to-multipoint")
AREA_TYPES = ("normal", "stub", "nssa")
# The longest key that is used as it is: the length of the hash (RFC 7166, section 4.5; RFC 2328, appendix D.3).
ALGORITHMS = {"md5": 16, "hmac-sha-1": 20, "hmac-sha-256": 32, "hmac-sha-384": 48, "hmac-sha-512": 64}
KEY_IDS = {4: 255, 6: 65535}

# FRR's defaults (ospfd/ospf_interface.h, ospf6d/ospf6_interface.h, ospfd/ospfd.h). RFC 2328, appendix C.3, has them too.
HELLO, DEAD = 10, 40
NUMBERS = {  # option: (command, low, high, default or None where there is no fixed one)
    "cost": ("cost", 1, 65535, None),
    "hello_interval": ("hello-interval", 1, 65535, HELLO),
    "dead_interval": ("dead-interval", 1, 65535, DEAD),
    "retransmit_interval": ("retransmit-interval", 1, 65535, 5),
    "priority": ("priority", 0, 255, 1),
}
LSA_MIN_ARRIVAL = 1000
SPF = {"delay": 0, "initial_hold": 50, "max_hold": 5000}
MILLISECONDS = 600000

_NAME = re.compile(r"[!-~]{1,64}")
_KEY = re.compile(r"[!->@-~]+")  # printable, without blanks and without `?`, which asks vtysh for help


class Line(NamedTuple):
    """What a slot shall hold. `default`: FRR holds no line, or this one, when the value is its default."""

    text: str
    default: bool = False


@dataclass(frozen=True)
class Desired:
    protocol: Protocol
    present: bool
    lines: dict  # {(block, slot): Line}, in the order in which they are to be given
    bfd: bool
    router_id: str | None
    enable_daemon: bool
    save: bool
    frr_started: bool = False


def normalise(protocol, params):
    """The Desired of a module's parameters. Raises InputError with every fault."""
    reader = _Reader(protocol, params)
    lines = reader.lines() if params["state"] == "present" else {}
    if reader.faults:
        raise InputError(reader.faults)
    return Desired(
        protocol=protocol,
        present=params["state"] == "present",
        lines=lines,
        bfd=any(slot == "bfd" and not line.default for (_block, slot), line in lines.items()),
        router_id=reader.router_id,
        enable_daemon=params["enable_daemon"],
        save=params["save"],
        frr_started=params["frr_started"],
    )


class _Reader:
    """Reads parameters into lines and gathers the faults."""

    def __init__(self, protocol, params):
        self.protocol = protocol
        self.params = params
        self.faults = []
        self.router_id = None

    def check(self, where, key, parse, value, *extra):
        """The parsed value; None where there is none or a faulty one."""
        if value is None:
            return None
        try:
            return parse(value, *extra)
        except ValueError as error:
            self.faults.append(f"{where}{key}: {error}")
            return None

    def lines(self):
        found = {(self.protocol.router, ""): Line(self.protocol.router)}
        found.update(self.router())
        areas = self.areas(found)
        names = set()
        for number, entry in enumerate(self.params["interfaces"] or [], 1):
            name = self.check(f"interfaces row {number}: ", "name", values.dev, entry["name"])
            if name is None:
                continue
            if name in names:
                self.faults.append(f"interfaces row {number}: name: {name} is there twice; join the rows")
            names.add(name)
            found.update(self.interface(name, entry, areas))
        return found

    def router(self):
        block, params = self.protocol.router, self.params
        self.router_id = self.check("", "router_id", router_id, params["router_id"])
        if self.router_id:
            yield (block, "router-id"), Line(f"{self.protocol.router_id} {self.router_id}")
        timers = params["timers"] or {}
        arrival = self.check(
            "timers: ", "lsa_min_arrival", values.integer, timers.get("lsa_min_arrival"), 0, MILLISECONDS
        )
        if arrival is not None:
            line = Line(f"timers lsa min-arrival {arrival}", arrival == LSA_MIN_ARRIVAL)
            yield (block, "timers lsa min-arrival"), line
        if timers.get("spf"):
            yield from self.spf(block, timers["spf"])
        protocols = set()
        for number, entry in enumerate(params["redistribute"] or [], 1):
            where = f"redistribute row {number}: "
            if entry["protocol"] in protocols:
                self.faults.append(f"{where}protocol: {entry['protocol']} is there twice; join the rows")
            protocols.add(entry["protocol"])
            metric = self.check(where, "metric", values.integer, entry["metric"], 0, 16777214)
            route_map = self.check(where, "route_map", word, entry["route_map"])
            text = redistribution(entry["protocol"], metric, entry["metric_type"], route_map)
            yield (block, f"redistribute {entry['protocol']}"), Line(text)

    def spf(self, block, entry):
        given = [self.check("timers: spf: ", key, values.integer, entry[key], 0, MILLISECONDS) for key in SPF]
        if None in given:
            return
        delay, initial, longest = given
        if initial > longest:
            self.faults.append(
                f"timers: spf: max_hold: {longest} is less than the initial_hold of {initial}; swap them"
            )
        line = Line(f"timers throttle spf {delay} {initial} {longest}", given == list(SPF.values()))
        yield (block, "timers throttle spf"), line

    def areas(self, found):
        """The areas that are named, or None where the user names none. Their lines go to `found`."""
        entries = self.params["areas"]
        if entries is None:
            return None
        known = set()
        for number, entry in enumerate(entries, 1):
            where = f"areas row {number}: "
            one = self.check(where, "area", area, entry["area"])
            if one is None:
                continue
            if one in known:
                self.faults.append(f"{where}area: {one} is there twice; join the rows")
            known.add(one)
            if entry["type"] != "normal" and one == "0.0.0.0":
                self.faults.append(f"{where}type: the backbone 0.0.0.0 cannot be {entry['type']}; make it normal")
            if entry["type"] == "normal" and entry["no_summary"]:
                self.faults.append(f"{where}no_summary: only a stub or nssa area can have it; drop it or set type")
            text = f"area {one} {entry['type']}" + (" no-summary" if entry["no_summary"] else "")
            found[self.protocol.router, f"area {one}"] = Line(text, entry["type"] == "normal")
        return known

    def interface(self, name, entry, areas):
        block, prefix, where = f"interface {name}", self.protocol.prefix, f"interfaces {name}: "
        if entry["network"] is not None:
            # OSPFv2 of FRR 8 holds no line for the type that the device has anyway, which is broadcast for Ethernet.
            hidden = self.protocol.family == 4 and entry["network"] == "broadcast"
            yield (block, "network"), Line(f"{prefix} network {entry['network']}", hidden)
        yield from self.numbers(block, where, entry)
        for option, command in (("mtu_ignore", "mtu-ignore"), ("passive", "passive")):
            if entry[option] is not None:
                no = "" if entry[option] else "no "
                yield (block, command), Line(f"{no}{prefix} {command}", not entry[option])
        yield from self.bfd(block, where, entry["bfd"])
        yield from self.authentication(block, where, entry["authentication"])
        one = self.check(where, "area", area, entry["area"])
        if one:
            if areas is not None and one not in areas:
                known = ", ".join(sorted(areas)) or "none"
                self.faults.append(f"{where}area: {one} is not among areas ({known}); add it there or correct it")
            yield (block, "area"), Line(f"{prefix} area {one}")

    def numbers(self, block, where, entry):
        given = {}
        for option, (command, low, high, default) in NUMBERS.items():
            number = self.check(where, option, values.integer, entry[option], low, high)
            if number is not None:
                given[option] = number
                yield (block, command), Line(f"{self.protocol.prefix} {command} {number}", number == default)
        hello, dead = given.get("hello_interval"), given.get("dead_interval")
        if hello is None and dead is None:
            return
        if (dead or DEAD) <= (hello or HELLO):
            other = "" if hello and dead else ", the default: set both"
            self.faults.append(
                f"{where}dead_interval: {dead or DEAD} s is not longer than the hello interval of"
                f" {hello or HELLO} s{other}; take four times the hello interval"
            )

    def bfd(self, block, where, value):
        """Two slots: BFD itself, and the profile of its timers."""
        if value is None:
            return
        text = str(value).strip()
        on, off = text.lower() in ("true", "yes", "on"), text.lower() in ("false", "no", "off")
        command = f"{self.protocol.prefix} bfd"
        profile = None if on or off else self.check(where, "bfd", word, text)
        yield (block, "bfd"), Line(f"no {command}", True) if off else Line(command)
        yield (
            (block, "bfd profile"),
            Line(f"{command} profile {profile}") if profile else Line(f"no {command} profile", True),
        )

    def authentication(self, block, where, entry):
        if entry is None:
            return
        where += "authentication: "
        key_id = self.check(where, "key_id", values.integer, entry["key_id"], 1, KEY_IDS[self.protocol.family])
        given = entry["key"] if entry["key"] is not None else self.params["authentication_key"]
        if given is None:
            self.faults.append(f"{where}key: is missing; give it here or, for all interfaces, as authentication_key")
        secret = self.check(where, "key", key, given, entry["algorithm"])
        if key_id is None or secret is None:
            return
        prefix = self.protocol.prefix
        if self.protocol.family == 6:
            text = f"{prefix} authentication key-id {key_id} hash-algo {entry['algorithm']} key {secret}"
            yield (block, "authentication"), Line(text)
        else:
            text = f"{prefix} message-digest-key {key_id} md5 {secret}"
            yield (block, f"message-digest-key {key_id}"), Line(text)
            yield (block, "authentication"), Line(f"{prefix} authentication message-digest")


def router_id(value):
    try:
        found = ipaddress.IPv4Address(str(value).strip())
    except ValueError:
        raise ValueError(f"{value!r} is not a router id; write it like an IPv4 address, 203.0.113.1") from None
    if int(found) == 0:
        raise ValueError("0.0.0.0 means no router id; take another, unique one")
    return str(found)


def area(value):
    """An area's number in dotted form, from either form."""
    text = str(value).strip()
    try:
        return str(ipaddress.IPv4Address(int(text) if text.isdigit() else text))
    except ValueError:
        raise ValueError(f"{value!r} is not an area; write 0 to 4294967295, or like 0.0.0.0") from None


def word(value):
    text = str(value)
    if not _NAME.fullmatch(text):
        raise ValueError(f"{value!r} is not a name; 1 to 64 printable ASCII characters without blanks")
    return text


def key(value, algorithm):
    """A secret. Messages never quote it."""
    text, longest = str(value), ALGORITHMS[algorithm]
    if not _KEY.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks and '?', and not empty")
    if len(text) > longest:
        raise ValueError(f"has {len(text)} characters; {algorithm} takes at most {longest}")
    return text


def redistribution(protocol, metric, metric_type, route_map):
    """The line as FRR writes it: metric type 2 is the default and left out."""
    text = f"redistribute {protocol}"
    text += f" metric {metric}" if metric is not None else ""
    text += " metric-type 1" if metric_type == 1 else ""
    return text + (f" route-map {route_map}" if route_map else "")


@dataclass(frozen=True)
class Configuration:
    """What a configuration text says about the protocol."""

    lines: dict  # {(block, slot): text in normal form}
    written: dict  # the same, as it is written
    numbers: dict  # {(block, slot): [number of the line, ...]}
    others: frozenset  # blocks in which there are also lines that have no slot here


NOTHING = Configuration({}, {}, {}, frozenset())


def observe(protocol, text):
    lines, written, numbers, others = {}, {}, {}, set()
    for line in frr.read(text):
        found = place(protocol, line.header, line.text)
        if found:
            slot, normal = found
            lines[line.header, slot] = normal
            written[line.header, slot] = line.text
            numbers.setdefault((line.header, slot), []).append(line.number)
        elif line.text != line.header:
            others.add(line.header)
    return Configuration(lines, written, numbers, frozenset(others))


def place(protocol, block, text):
    """(slot, the line in normal form) of a line that a module can write, else None."""
    if block == protocol.router:
        return ("", text) if text == block else _router_place(protocol, text)
    if block.startswith("interface ") and len(block.split()) == 2:
        return _interface_place(protocol, text)
    return None


def _router_place(protocol, text):
    words = text.split()
    if text.startswith(protocol.router_id + " "):
        return "router-id", text
    if words[0] == "area" and len(words) > 2 and words[2] in ("stub", "nssa") and words[3:4] != ["range"]:
        one = area(words[1])
        return f"area {one}", " ".join(["area", one, *words[2:]])
    if words[0] == "redistribute" and (len(words) == 2 or words[2] in ("metric", "metric-type", "route-map")):
        return f"redistribute {words[1]}", text.replace(" metric-type 2", "")
    for timer, length in (("timers lsa min-arrival", 4), ("timers throttle spf", 6)):
        if text.startswith(timer + " ") and len(words) == length:
            return timer, text
    return None


_SLOTS = re.compile(
    r"(?P<one>area|network|cost|hello-interval|dead-interval|retransmit-interval|priority) (?P<value>\S+)"
    r"|(?P<flag>passive|mtu-ignore)"
    r"|(?P<dead>dead-interval) minimal hello-multiplier \d+"
    r"|(?P<profile>bfd profile) \S+"
    r"|(?P<bfd>bfd)( \d+ \d+ \d+)?"
    r"|(?P<key>message-digest-key \d+) md5 \S+"
    r"|(?P<authentication>authentication)( .+)?"
)


def _interface_place(protocol, text):
    no = "no " if text.startswith("no ") else ""
    start = f"{no}{protocol.prefix} "
    found = _SLOTS.fullmatch(text[len(start) :]) if text.startswith(start) else None
    if not found:
        return None
    if found["one"] == "area":
        return "area", f"{start}area {area(found['value'])}"
    return next(filter(None, (found[name] for name in found.groupdict() if name != "value"))), text


# FRR refuses a new value here while there is an old one.
REPLACED = re.compile(r"area|redistribute |message-digest-key |bfd$")


def undo(protocol, block, slot, text):
    """The command that takes a line away."""
    if text.startswith("no "):
        return text[3:]
    if block == protocol.router:
        if not slot:
            return f"no {block}"
        if slot.startswith("area"):
            return f"no {' '.join(text.split()[:3])}"
        return f"no {protocol.router_id if slot == 'router-id' else slot}"
    if slot in ("authentication", "bfd profile"):
        # `no ipv6 ospf6 authentication key-id` alone makes an ospf6d without OpenSSL read beyond the command's end.
        return f"no {text}"
    return f"no {protocol.prefix} {slot}"
