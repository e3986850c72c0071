# SPDX-License-Identifier: GPL-3.0-or-later
"""Neighbours (ARP, ND) and proxy entries: what a row is, tables of rows in the words of `ip neigh`, and their validation.

Rows are kept by the column: IP addresses, link-layer addresses and, beside them, all else that a row says. That is the
same for many rows.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from functools import partial

from . import values
from .errors import InputError
from .table import Faults, address_of, mac_column, packed_address, packed_mac, pieces, row_names, words

NUDS = ("permanent", "noarp")  # what configuration may say; all other states are the kernel's own doing
PUT, DELETE = "put", "delete"

FLAGS = ("router", "extern_learn", "managed")
WITH_VALUE = ("dev", "lladdr", "nud", "proto", "protocol")
ALONE = ("proxy", *FLAGS, *NUDS, *(nud.upper() for nud in NUDS))
NO_MAC = b""


@dataclass(frozen=True)
class Kind:
    """All of a row but its addresses."""

    dev: str
    proxy: bool = False
    nud: str | None = "permanent"  # None: proxy entries have no state, that of managed neighbours is the kernel's
    router: bool = False
    extern_learn: bool = False
    managed: bool = False

    def place(self):
        """The table that the row stands in: there its IP is unique."""
        return (self.dev, self.proxy)

    def text(self, ip, mac):
        """The row in the words of `ip neigh`."""
        parts = [address_of(ip)]
        if mac:
            parts += ["lladdr", mac.hex(":")]
        parts += ["dev", self.dev]
        parts += [flag for flag in ("proxy", *FLAGS) if getattr(self, flag)]
        if self.nud:
            parts += ["nud", self.nud]
        return " ".join(parts)


@dataclass(frozen=True)
class Device:
    """What of a device matters to its rows."""

    name: str
    index: int
    address_length: int = 6  # in bytes
    ipv6: bool = True


@dataclass(frozen=True)
class Found:
    """A row that the kernel holds."""

    ip: bytes
    mac: bytes
    kind: Kind
    index: int = 0  # of the device
    configured: bool = True  # somebody wrote it; the others the kernel learned or made, and takes away again
    owned: bool = False  # carries the collection's mark
    foreign: bool = False  # another program says that it is its own

    def text(self):
        return self.kind.text(self.ip, self.mac)


@dataclass
class Wanted:
    """The wanted rows, by the column."""

    kinds: list
    ips: list = field(default_factory=list)
    macs: list = field(default_factory=list)  # NO_MAC where the row has none
    index: list = field(default_factory=list)  # of each row, into kinds

    def __len__(self):
        return len(self.ips)

    def row(self, i):
        return self.ips[i], self.macs[i], self.kinds[self.index[i]]

    def text(self, i):
        return self.kinds[self.index[i]].text(self.ips[i], self.macs[i])

    def devs(self):
        return dict.fromkeys(kind.dev for kind in self.kinds)

    def keys(self):
        """What is unique, for each row."""
        places = [kind.place() for kind in self.kinds]
        return list(zip(map(places.__getitem__, self.index), self.ips))

    def subset(self, positions):
        if len(positions) == len(self):
            return self
        columns = ([column[i] for i in positions] for column in (self.ips, self.macs, self.index))
        return Wanted(self.kinds, *columns)


def wanted_of(rows):
    """The rows of some Found, as Wanted."""
    kinds = list({found.kind: None for found in rows})
    at = {kind: k for k, kind in enumerate(kinds)}
    return Wanted(kinds, [f.ip for f in rows], [f.mac for f in rows], [at[f.kind] for f in rows])


@dataclass
class Seen:
    """What was seen of the wanted rows, and of others. Positions count the wanted rows."""

    missing: list = field(default_factory=list)  # positions
    different: list = field(default_factory=list)  # (position, Found): there, perhaps with other content
    strangers: list = field(default_factory=list)  # Found that nobody wants, in the scope that was asked for
    digest: str | None = None  # of all rows with the mark, when it was asked for


@dataclass
class Operation:
    """One kind of change, in bulk."""

    kind: str
    rows: list  # positions of wanted rows for PUT, Found for DELETE


# Reading what the user wrote


class _Rows:
    """Rows while they are read."""

    def __init__(self, devs, absent, number):
        self.devs, self.absent, self.number = devs, absent, number
        self.faults = Faults()
        self.wanted = Wanted([])
        self.known = {}  # (words of a row without its addresses, whether it has a MAC) -> index into kinds
        self.seen = {}  # Kind -> index into kinds
        self.bad = {}  # index into kinds -> why there can be no such row

    def kind(self, key, has_mac, found):
        """The index of a row's kind. `found` gives its words."""
        known = self.known.get((key, has_mac))
        if known is None:
            try:
                made, error = _kind(found(), has_mac, self.devs, self.absent), None
            except ValueError as fault:
                made, error = None, str(fault)
            kinds = self.wanted.kinds
            known = self.known[key, has_mac] = self.seen.setdefault(made or (key, has_mac), len(kinds))
            if known == len(kinds):
                kinds.append(made)
            if error:
                self.bad[known] = error
        return known

    def add(self, ip, mac, kind):
        """One row that may have any fault."""
        wanted, position = self.wanted, len(self.wanted)
        try:
            packed = _ip(ip)
        except ValueError as error:
            packed = None
            self.faults.add(f"{self.number(position)}: ip: {error}")
        try:
            lladdr = _lladdr(mac) if mac is not None else NO_MAC
        except ValueError as error:
            lladdr = None
            self.faults.add(f"{self.number(position)}: lladdr: {error}")
        wanted.ips.append(packed)
        wanted.macs.append(lladdr)
        wanted.index.append(kind)

    def done(self):
        """The rows, if nothing is wrong with them one by one nor together."""
        wanted, faults = self.wanted, self.faults
        if self.bad:
            faults.add_alike(self.bad, wanted.index, self.number)
        else:
            _check_unique(self)
        if faults.count:
            raise InputError(faults.lines())
        return wanted


def from_table(text, devs, absent=False):
    """Rows from text in the words of `ip neigh`. Raises InputError with every fault, each with its line."""
    rows = _Rows(devs, absent, row_names(text))
    for piece in pieces(text):
        if not _add_columns(rows, piece):
            for line in piece.split("\n"):
                _add_line(rows, line)
    return rows.done()


def _add_columns(rows, piece):
    """Add a piece whose lines differ in nothing but their addresses, which is the rule in large tables. False: they differ."""
    first = piece.partition("\n")[0]
    ip, _blank, tail = first.partition(" ")
    before, word, after = tail.partition("lladdr ")
    mac, blank, after = after.partition(" ")
    if not word:
        return False
    middle, end = f" {before}lladdr ", f"{blank}{after}\n"
    marked = (piece + "\n").replace(end, "\n").replace(middle, "\t")
    columns = marked.split()
    if marked.encode(errors="replace").translate(None, _NO_SEPARATORS) != b"\t\n" * (len(columns) // 2):
        return False
    ips, macs = columns[::2], columns[1::2]
    ips, macs = _ip_column(ips), mac_column(macs)
    if not ips or not macs or any(b"".join(macs)[::6].translate(_MAYBE_GROUP)):
        return False
    kind = rows.kind(before + after, True, lambda: words(before + after, WITH_VALUE, ALONE))
    rows.wanted.ips += ips
    rows.wanted.macs += macs
    rows.wanted.index += [kind] * len(ips)
    return True


def _add_line(rows, line):
    parts = line.split()
    if not parts or parts[0][0] == "#":
        return
    mac = None
    for at in range(1, len(parts) - 1):
        if parts[at] == "lladdr":
            mac = parts[at + 1]
            del parts[at : at + 2]
            break
    tail = " ".join(parts[1:])
    rows.add(parts[0], mac, rows.kind(tail, mac is not None, lambda: words(tail, WITH_VALUE, ALONE)))


def from_entries(entries, devs, absent=False):
    """Rows from a list of dictionaries. Raises InputError with every fault."""
    rows = _Rows(devs, absent, lambda i: f"entries row {i + 1}")
    for entry in entries:
        given = {name: value for name, value in entry.items() if value not in (None, False)}
        ip, mac = given.pop("ip", ""), given.pop("lladdr", None)
        key = tuple(sorted(given.items()))
        rows.add(ip, mac, rows.kind(key, mac is not None, lambda given=given: given))
    return rows.done()


def _ip_column(ips):
    """Many addresses of one family in bytes, or None when one of them needs a closer look."""
    family = socket.AF_INET6 if ":" in ips[0] else socket.AF_INET
    try:
        packed = list(map(partial(socket.inet_pton, family), ips))
    except (OSError, ValueError):
        return None
    return None if any(b"".join(packed)[:: len(packed[0])].translate(_MAYBE_NO_STATION)) else packed


_NO_SEPARATORS = bytes(byte for byte in range(256) if byte not in b"\t\n")
# By the first byte: addresses that may be none of a single station, so that a closer look is due.
_MAYBE_NO_STATION = bytes(byte == 0 or byte >= 0xE0 and byte not in (0xFC, 0xFD, 0xFE) for byte in range(256))
_MAYBE_GROUP = bytes(byte & 1 or byte == 0 for byte in range(256))


def _ip(value):
    """A neighbour's address in bytes."""
    packed = packed_address(value)
    what = None
    if not any(packed):
        what = "the unspecified address"
    elif packed == b"\xff\xff\xff\xff":
        what = "the broadcast address"
    elif packed[0] == 0xFF if len(packed) == 16 else packed[0] >> 4 == 0xE:
        what = "a multicast address"
    if what:
        raise ValueError(f"{value!r} is {what}, which is no neighbour; write the address of one station")
    return packed


def _lladdr(value):
    packed = packed_mac(value)
    if _is_group(packed):
        raise ValueError(f"{value!r} is not one station's MAC (multicast or all zero); write the neighbour's own")
    return packed


def _is_group(mac):
    return mac[0] & 1 or not any(mac)


def _kind(found, has_mac, devs, absent):
    """A Kind from words. Raises ValueError that names the key, the value and the fix."""
    if "lladdr" in found:  # once it was cut off already, or its value is missing
        raise ValueError("'lladdr' stands twice; leave one out")
    if "dev" not in found:
        if len(devs) != 1:
            raise ValueError("dev: missing; name the device in the row, or exactly one in the option dev")
        dev = devs[0]
    else:
        try:
            dev = values.dev(found["dev"])
        except ValueError as error:
            raise ValueError(f"dev: {error}") from None
        if devs and dev not in devs:
            raise ValueError(f"dev: {dev!r} is not in the option dev ({', '.join(devs)}); add it there")
    for name in ("proto", "protocol"):
        if name in found and str(found[name]) != str(values.PROTOCOL):
            raise ValueError(f"{name}: {found[name]!r}: rows of this module carry {values.PROTOCOL}; leave it out")
    nuds = [str(found["nud"]).lower()] if "nud" in found else []
    nuds += [nud for nud in NUDS if nud in found or nud.upper() in found]
    if len(nuds) > 1:
        raise ValueError(f"{' and '.join(nuds)}: a row has one state; leave one out")
    if nuds and nuds[0] not in NUDS:
        raise ValueError(
            f"nud: {found['nud']!r} is no configuration, the kernel moves on from it; write {' or '.join(NUDS)}"
        )
    flags = {flag: flag in found for flag in FLAGS}
    if "proxy" in found:
        if has_mac:
            raise ValueError("lladdr: a proxy entry has none, the host answers with its own; leave it out")
        for flag in ("extern_learn", "managed"):
            if flags[flag]:
                raise ValueError(f"{flag}: it has no meaning for a proxy entry; leave it out")
        if "noarp" in nuds:
            raise ValueError("nud: 'noarp' has no meaning for a proxy entry; leave it out")
        return Kind(dev, proxy=True, nud=None, router=flags["router"])
    if flags["managed"]:
        if has_mac:
            raise ValueError("lladdr: the kernel resolves a managed neighbour itself; leave it out")
        if nuds:
            raise ValueError(f"nud: {nuds[0]!r}: the kernel keeps a managed neighbour's state; leave it out")
        return Kind(dev, nud=None, **flags)
    if not has_mac and not absent:
        raise ValueError("lladdr: missing; write the neighbour's MAC address, or 'proxy' or 'managed'")
    return Kind(dev, nud=nuds[0] if nuds else NUDS[0], **flags)


def _check_unique(rows):
    wanted, faults = rows.wanted, rows.faults
    keys = wanted.ips if len({kind.place() for kind in wanted.kinds}) == 1 else wanted.keys()
    if len(set(keys)) == len(keys):
        return
    first = {}
    for i, key in enumerate(keys):
        twin = first.setdefault(key, i)
        if twin == i or wanted.ips[i] is None:
            continue
        if wanted.row(twin)[1:] == wanted.row(i)[1:]:
            faults.add(f"{rows.number(i)}: the same row as {rows.number(twin)}, {wanted.text(twin)}; leave one out")
        elif wanted.macs[i] is not None and wanted.macs[twin] is not None:
            faults.add(
                f"{rows.number(i)}: ip: {address_of(wanted.ips[i])} stands in {rows.number(twin)} already, as "
                f"{wanted.text(twin)}; an address has one row a device: leave one out"
            )


def check_device(wanted, device, name):
    """Why the wanted rows of a device (None: there is none) cannot stand on it, in words; an empty list when they can."""
    if not device:
        return [f"dev: there is no device {name}; make it first"]
    here = {k: kind for k, kind in enumerate(wanted.kinds) if kind.dev == name and not kind.proxy}
    used = here.keys() & set(wanted.index) if here else ()
    if not used:
        return []
    faults = []
    if device.address_length != 6 and any(not here[k].managed for k in used):
        faults.append(
            f"dev: {name} has link-layer addresses of {device.address_length} bytes, not 6; it takes no lladdr"
        )
    if not device.ipv6 and any(len(ip) == 16 for ip, k in zip(wanted.ips, wanted.index) if k in used):
        faults.append(f"dev: IPv6 is disabled on {name}, so it has no IPv6 neighbours; enable it (disable_ipv6 0)")
    return faults
