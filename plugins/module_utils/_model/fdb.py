# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of forwarding tables (FDB): what a row is, tables of rows, and their validation.

Rows are kept by the column: a list of MACs and, beside it, where each leads. The places that MACs lead to are few and
shared, so a row costs two list slots and one six-byte string, whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from . import values
from .errors import InputError
from .table import Faults, address_of, chunks, cut, mac_column, packed_address, packed_mac, row_names, words

SELF = "self"  # the VXLAN device's own table
MASTER = "master"  # the table of the bridge that the device is a port of
STATES = ("permanent", "static", "dynamic")
CREATE, APPEND, REPLACE, DELETE = "create", "append", "replace", "delete"
ZERO = b"\0\0\0\0\0\0"

WITH_VALUE = ("dev", "dst", "vni", "src_vni", "port", "via", "nhid", "vlan")
ALONE = ("router", "sticky", "self", "master", "permanent", "static", "dynamic")


def text_of(mac):
    return mac.hex(":")


def is_flood(mac):
    """Whether a VXLAN device sends to several destinations for this MAC: the all-zero one and multicast ones."""
    return bool(mac[0] & 1) or mac == ZERO


@dataclass(frozen=True)
class Way:
    """All of a row but its MAC: the table it stands in, and where frames go."""

    dev: str
    target: str = SELF
    src_vni: int | None = None
    vlan: int | None = None
    dst: str | None = None
    vni: int | None = None
    port: int | None = None
    via: str | None = None
    nhid: int | None = None
    state: str = "permanent"
    router: bool = False
    sticky: bool = False  # of a bridge's row: frames from other ports do not move the MAC

    def key(self):
        """What tells rows of one MAC in one table apart, in bytes: the source VNI or the VLAN."""
        number = self.src_vni if self.target == SELF else self.vlan
        return b"" if number is None else number.to_bytes(4, "big")

    def place(self):
        """Where frames go, without how long the row lives."""
        return (self.dst, self.vni, self.port, self.via, self.nhid)

    def text(self, mac):
        """The row in the words of `bridge fdb`."""
        parts = [text_of(mac), "dev", self.dev]
        for name in ("dst", "vlan", "port", "vni", "src_vni", "via", "nhid"):
            value = getattr(self, name)
            if value is not None:
                parts += [name, str(value)]
        parts += [flag for flag in ("router", "sticky") if getattr(self, flag)]
        return " ".join([*parts, self.target, self.state])


@dataclass(frozen=True)
class Device:
    """What of a device matters to its rows."""

    name: str
    index: int
    kind: str | None = None
    master: int | None = None  # the index of the bridge it is a port of
    master_kind: str | None = None
    vni: int | None = None
    port: int | None = None
    family: int | None = None  # of its tunnels, 4 or 6; None where the kernel does not tell
    external: bool = False
    remote: str | None = None  # the default destination, which the kernel keeps as a row for the all-zero MAC
    link: str | None = None  # and the device it goes out by

    def normal(self, way):
        """The way without what the device does by itself, as the kernel shows it."""
        if way.target != SELF:
            return way
        port = None if way.port == self.port else way.port
        vni = None if way.vni == self.vni else way.vni
        return way if (port, vni) == (way.port, way.vni) else replace(way, port=port, vni=vni)


@dataclass(frozen=True)
class Found:
    """A row that the kernel holds."""

    mac: bytes
    way: Way
    nud: int = 0  # ndm_state, and
    flags: int = 0  # ndm_flags as they came
    owned: bool = False  # carries the collection's mark
    recorded: bool = False  # a destination of a flood list without the mark, which the host's record says is ours
    extern_learn: bool = False
    default: bool = False  # the VXLAN device's own default destination
    attributes: bytes = b""  # what names the row to the kernel when it is to be deleted

    def text(self):
        return self.way.text(self.mac) + (" extern_learn" if self.extern_learn else "")


@dataclass
class Wanted:
    """The wanted rows of one table of one device, by the column."""

    dev: str
    target: str
    ways: list  # shared by all tables
    macs: list = field(default_factory=list)
    index: list = field(default_factory=list)  # of each row, into ways

    def __len__(self):
        return len(self.macs)

    def row(self, i):
        return self.macs[i], self.ways[self.index[i]]

    def text(self, i):
        return self.ways[self.index[i]].text(self.macs[i])

    def keys(self):
        """What is unique in the table, for each row: the MAC, and the source VNI or VLAN if there is one."""
        suffixes = [way.key() for way in self.ways]
        if not any(suffixes):
            return self.macs
        return [mac + suffixes[k] for mac, k in zip(self.macs, self.index)]

    def floods(self):
        """The positions of rows whose MAC may have several destinations."""
        if self.target != SELF:
            return []
        first = b"".join(self.macs)[::6].translate(_MAYBE_FLOOD)
        return [i for i in _ones(first) if is_flood(self.macs[i])]

    def subset(self, positions):
        if len(positions) == len(self):
            return self
        return Wanted(
            self.dev, self.target, self.ways, [self.macs[i] for i in positions], [self.index[i] for i in positions]
        )


_MAYBE_FLOOD = bytes(1 if byte & 1 or byte == 0 else 0 for byte in range(256))


def _ones(marks):
    at = marks.find(1)
    while at >= 0:
        yield at
        at = marks.find(1, at + 1)


@dataclass
class Seen:
    """What was seen of a table, as far as the plan needs it. Positions count the wanted rows."""

    device: Device | None  # None: there is no such device (yet), so the table is empty
    missing: list = field(default_factory=list)  # positions of one-destination rows whose MAC is not there
    different: list = field(default_factory=list)  # (position, Found): the MAC is there, perhaps with other content
    copies: list = field(default_factory=list)  # (position, Found): the same MAC in a VLAN, of a row without VLAN
    floods: dict = field(default_factory=dict)  # key -> [Found]: each MAC with several destinations that is there
    strangers: list = field(default_factory=list)  # Found that nobody wants; only after a complete read


def recall(seen, load):
    """Set `recorded` in the flood lists of Seen that have no mark. load() gives {key: the places that are ours}."""
    record = None
    for key, rows in seen.floods.items():
        if rows[0].owned or rows[0].extern_learn:  # the rows of a list share their state
            continue
        record = load() if record is None else record
        places = record.get(key, ())
        seen.floods[key] = [
            replace(found, recorded=True) if found.way.place() in places and not found.default else found
            for found in rows
        ]


@dataclass
class Operation:
    """One kind of change to one table, in bulk."""

    kind: str
    table: Wanted
    rows: list  # positions of wanted rows; Found for DELETE
    keep: Found | None = None  # a row whose state and flags are written instead of the wanted row's


@dataclass
class Rows:
    """Rows as they were given, with what is needed to name them in a message."""

    macs: list
    index: list
    ways: list
    number: object  # position -> "row 17"


# Reading what the user wrote


def from_table(text, devs, absent=False):
    """Rows from text in the words of `bridge fdb`. Raises InputError with every fault, each with its line."""
    faults = Faults()
    number = row_names(text)
    macs, index, ways, bad = [], [], [], {}
    known, seen = {}, {}
    for lines in chunks(text):
        keys, tails = cut(lines)
        for tail in set(tails).difference(known):
            try:
                way, error = _way(words(tail, WITH_VALUE, ALONE), devs, absent), None
            except ValueError as fault:
                way, error = None, str(fault)
            known[tail] = seen.setdefault(way or tail, len(ways))
            if known[tail] == len(ways):
                ways.append(way)
            if error:
                bad[known[tail]] = error
        packed = mac_column(keys)
        if packed is None:
            packed = [_mac(key, faults, number, len(macs) + i) for i, key in enumerate(keys)]
        macs += packed
        index += [known[tail] for tail in tails]
    if bad:
        faults.add_alike(bad, index, number)
    return _checked(Rows(macs, index, ways, number), faults)


def from_entries(entries, devs, absent=False):
    """Rows from a list of dictionaries; `dst` may be a list. Raises InputError with every fault."""
    faults = Faults()
    macs, index, ways, numbers, seen = [], [], [], [], {}

    def number(i):
        return f"entries row {numbers[i]}"

    for position, entry in enumerate(entries, 1):
        given = {name: value for name, value in entry.items() if value is not None}
        several = given.pop("dst", None)
        for dst in several if isinstance(several, list) and several else [several]:
            numbers.append(position)
            mac = _mac(given.get("mac", ""), faults, number, len(macs))
            try:
                way = _way(_words_of(given, dst), devs, absent)
            except ValueError as fault:
                faults.add(f"{number(len(macs))}: {fault}")
                numbers.pop()
                continue
            macs.append(mac)
            index.append(seen.setdefault(way, len(ways)))
            if index[-1] == len(ways):
                ways.append(way)
    return _checked(Rows(macs, index, ways, number), faults)


def _words_of(entry, dst):
    """The words of an entry, as if it had been a line."""
    found = {name: entry[name] for name in WITH_VALUE if name in entry}
    if dst is not None:
        found["dst"] = dst
    for name in ("state", "target"):
        if name in entry:
            found[entry[name]] = True
    if entry.get("router"):
        found["router"] = True
    return found


def _mac(key, faults, number, position):
    try:
        return packed_mac(key)
    except ValueError as error:
        faults.add(f"{number(position)}: mac: {error}")
        return None


def _way(found, devs, absent):
    """A Way from words. Raises ValueError that names the key, the value and the fix."""
    made = {}
    for name, check in (
        ("dev", values.dev),
        ("dst", _destination),
        ("vni", values.vni),
        ("src_vni", values.vni),
        ("port", lambda value: values.integer(value, 1, 65535)),
        ("via", values.dev),
        ("nhid", lambda value: values.integer(value, 1, (1 << 32) - 1)),
        ("vlan", lambda value: values.integer(value, 1, 4094)),
    ):
        if name in found:
            try:
                made[name] = check(found[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    if "dev" not in made:
        if len(devs) != 1:
            raise ValueError("dev: missing; name the device in the row, or exactly one in the option dev")
        made["dev"] = devs[0]
    elif devs and made["dev"] not in devs:
        raise ValueError(f"dev: {made['dev']!r} is not in the option dev ({', '.join(devs)}); add it there")
    if SELF in found and MASTER in found:
        raise ValueError("self and master: a row stands in one table; leave one word out, or write two rows")
    made["target"] = MASTER if MASTER in found else SELF
    states = [state for state in STATES if state in found]
    if len(states) > 1:
        raise ValueError(f"{' and '.join(states)}: a row has one state; leave one out")
    made["router"] = "router" in found
    if made["target"] == MASTER:
        _check_master(made, states, absent)
    else:
        _check_self(made, absent)
    made["state"] = states[0] if states else "permanent"
    made["sticky"] = (made["target"], made["state"]) == (MASTER, "static")
    if "sticky" in found and not made["sticky"]:
        raise ValueError("sticky: it goes with 'master static', where it is always set; leave it out")
    return Way(**made)


def _destination(value):
    """A VTEP's address, in canonical form."""
    packed = packed_address(value)
    if not any(packed):
        raise ValueError(f"{value!r} is no destination; write a VTEP's address")
    return address_of(packed)


def _check_master(made, states, absent):
    for name in ("dst", "vni", "src_vni", "port", "via", "nhid", "router"):
        if made.get(name):
            raise ValueError(
                f"{name}: {made[name]!r} has no meaning in a bridge's table; leave it out, or write 'self'"
            )
    if not states and not absent:
        raise ValueError(
            "state: missing; a row of a bridge's table is 'static', 'dynamic', or 'permanent' (a local MAC)"
        )


def _check_self(made, absent):
    if "vlan" in made:
        raise ValueError(f"vlan: {made['vlan']} has no meaning in a VXLAN device's own table; leave it out")
    if "nhid" in made:
        for name in ("dst", "vni", "port", "via"):
            if name in made:
                raise ValueError(f"nhid and {name}: a nexthop group stands in for the destination; leave {name} out")
    elif "dst" not in made and not absent:
        raise ValueError("dst: missing; write the address of the VTEP behind which the MAC is")


# What rows must be together


def _checked(rows, faults):
    """The rows, if nothing is wrong with them one by one nor together."""
    if not faults.count:
        _check_together(rows, faults)
    if faults.count:
        raise InputError(faults.lines())
    return rows


def _check_together(rows, faults):
    groups = [0] * len(rows.ways)  # multicast destination 1, nexthop 2: what only some MACs may have
    for k, way in enumerate(rows.ways):
        groups[k] = 1 if way.dst and values.is_multicast(way.dst) else 2 if way.nhid else 0
    if any(groups):
        for i, k in enumerate(rows.index):
            mac = rows.macs[i]
            if groups[k] == 1 and not is_flood(mac):
                faults.add(
                    f"{rows.number(i)}: dst: {rows.ways[k].dst} is a multicast group and {text_of(mac)} one station's MAC; "
                    "write the VTEP's own address"
                )
            elif groups[k] == 2 and is_flood(mac):
                faults.add(
                    f"{rows.number(i)}: nhid: a nexthop group sends each frame to one member, so it cannot flood "
                    f"{text_of(mac)}; write a row with dst for each destination"
                )
    for table in split(rows).values():
        _check_family(rows, table, faults)
        _check_unique(rows, table, faults)


def _check_family(rows, table, faults):
    """A VXLAN device sends over IPv4 or over IPv6, so no flood list of its can hold both."""
    of = {k: values.family(rows.ways[k].dst) for k in set(table.index) if rows.ways[k].dst}
    if len(set(of.values())) > 1:
        fours = [i for i in _positions(rows, table) if of.get(rows.index[i]) == 4]
        sixes = [i for i in _positions(rows, table) if of.get(rows.index[i]) == 6]
        fewer, more = sorted((fours, sixes), key=len)
        faults.add(
            f"{rows.number(fewer[0])}: dst: {rows.ways[rows.index[fewer[0]]].dst} and {rows.ways[rows.index[more[0]]].dst} "
            f"({rows.number(more[0])}) mix IPv4 and IPv6 in one flood list or table of {table.dev}, which sends over one "
            f"of them ({len(fours)} rows with IPv4, {len(sixes)} with IPv6); write one family"
        )


def _check_unique(rows, table, faults):
    keys = table.keys()
    if len(set(keys)) == len(keys):
        if table.target == MASTER and ZERO in keys:
            _check_no_zero(rows, table, faults)
        return
    at = {}
    for i, key in enumerate(keys):
        at.setdefault(key, []).append(i)
    positions = _positions(rows, table)
    for same in at.values():
        if len(same) > 1:
            _check_list(rows, [positions[i] for i in same], faults)
    _check_no_zero(rows, table, faults)


def _check_no_zero(rows, table, faults):
    if table.target != MASTER:
        return
    positions = _positions(rows, table)
    for i, mac in enumerate(table.macs):
        if mac == ZERO:
            faults.add(
                f"{rows.number(positions[i])}: mac: the all-zero MAC has no meaning in a bridge's table; leave it out"
            )


def _positions(rows, table):
    """Of each row of a table, its position among all rows."""
    here = [(way.dev, way.target) == (table.dev, table.target) for way in rows.ways]
    return [i for i, k in enumerate(rows.index) if here[k]]


def _check_list(rows, positions, faults):
    """Rows of one MAC in one table: no duplicates, and several destinations only where the kernel sends to several."""
    first, way = positions[0], rows.ways[rows.index[positions[0]]]
    mac = rows.macs[first]
    places = {}
    for i in positions:
        other = rows.ways[rows.index[i]]
        twin = places.setdefault(other.place(), i)
        if twin != i:
            faults.add(f"{rows.number(i)}: the same row as {rows.number(twin)}, {other.text(mac)}; leave one out")
        elif i != first and not (is_flood(mac) and way.target == SELF):
            faults.add(
                f"{rows.number(i)}: dst: {text_of(mac)} already leads to {way.dst or way.dev} in {rows.number(first)}, and a "
                "unicast MAC has one destination (the kernel would ignore the second); leave one out"
            )
        elif (other.state, other.router) != (way.state, way.router):
            faults.add(
                f"{rows.number(i)}: state or router differs from {rows.number(first)}; the kernel keeps one for all "
                f"destinations of {text_of(mac)}: write the same in each"
            )


def split(rows):
    """{(device, table): Wanted}: the rows of each table, in the order in which the tables first appear."""
    where = [(way.dev, way.target) for way in rows.ways]
    if len(set(where)) == 1:
        return {where[0]: Wanted(*where[0], rows.ways, rows.macs, rows.index)} if rows.macs else {}
    tables = {}
    for mac, k in zip(rows.macs, rows.index):
        table = tables.get(where[k])
        if table is None:
            table = tables[where[k]] = Wanted(*where[k], rows.ways)
        table.macs.append(mac)
        table.index.append(k)
    return tables


def check_device(table, device):
    """Why the rows of a table cannot stand on this device (None: there is none), in words; an empty list when they can."""
    if not device:
        return [f"dev: there is no device {table.dev}; make it first"]
    if table.target == MASTER:
        if device.master_kind == "bridge":
            return []
        return [f"dev: {device.name} is not a port of a bridge, so it has no 'master' rows"]
    if device.kind != "vxlan":
        return [f"dev: {device.name} is a {device.kind or 'plain'} device, not VXLAN; only VXLAN has 'self' rows here"]
    faults = []
    for k in sorted(set(table.index)):
        way = table.ways[k]
        if way.src_vni is not None and not device.external:
            faults.append(f"src_vni: {way.src_vni} needs a VXLAN device made with 'external', and {device.name} is not")
        if way.dst and device.family and values.family(way.dst) != device.family:
            faults.append(f"dst: {way.dst} is not IPv{device.family}, which the tunnels of {device.name} are")
    return faults
