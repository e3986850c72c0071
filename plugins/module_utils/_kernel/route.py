# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write routes by netlink, in bulk.

What makes it quick (docs/route.md has the measurements): messages are joined from prepared pieces, and of the routes of
a dump all but the address is decoded once for all routes that share it.
"""

from __future__ import annotations

import errno as errnos
import socket
import struct
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

from .._model import values
from .._model.errors import KernelError, MissingError
from .._model.route import (
    CREATE,
    DELETE,
    ENCAPS,
    FLAGS,
    PROTOCOL,
    REPLACE,
    TABLES,
    TYPES,
    UNICAST,
    Encap,
    Found,
    Hop,
    Seen,
    Shape,
    Way,
    protocol_name,
)
from .._model.table import address_of
from . import codec, rtnl
from .probe import has_lwtunnel
from .table import NUMBERS, Tables, index_of, steady

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, RTM_GETRULE, RTM_GETNEXTHOP = 24, 25, 26, 34, 106
IFF_UP, NHA_ID = 1, 1

# linux/rtnetlink.h
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH = 1, 2, 4, 5, 6, 7, 8, 9
RTA_CACHEINFO, RTA_TABLE, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP, RTA_NH_ID = 12, 15, 20, 21, 22, 30
KNOWN = {
    RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_CACHEINFO, RTA_TABLE,
    RTA_ENCAP_TYPE, RTA_ENCAP, RTA_NH_ID,
}  # fmt: skip
RTAX_MTU = 2
RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, interface
RTNH_F_ONLINK = 4
RTM_F_CLONED = 0x200
RT_TABLE_COMPAT = 252  # what rtm_table says when the number is in RTA_TABLE only
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 253, 254, 255
SCOPES = {"local": RT_SCOPE_HOST, "broadcast": RT_SCOPE_LINK, "anycast": RT_SCOPE_LINK, "multicast": RT_SCOPE_LINK}
TYPE_NUMBERS = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7,
    "prohibit": 8, "throw": 9,
}  # fmt: skip
TYPE_NAMES = {number: name for name, number in TYPE_NUMBERS.items()}
ENCAP_NUMBERS = {"ip": 2, "ip6": 4}  # LWTUNNEL_ENCAP_IP, LWTUNNEL_ENCAP_IP6 of linux/lwtunnel.h
# The attributes have the same numbers for both, where IP6 says hop limit for TTL and traffic class for TOS.
LWT_ID, LWT_DST, LWT_SRC, LWT_TTL, LWT_TOS, LWT_FLAGS, LWT_PAD = 1, 2, 3, 4, 5, 6, 7
FLAG_BITS = {"csum": 0x01, "key": 0x04, "seq": 0x08}  # linux/if_tunnel.h, TUNNEL_*, in network byte order

CACHED = 1 << 16  # pieces of encapsulations that are kept
DST_AT = 16 + RTMSG.size + 8  # where RTA_DST most often begins in a message: after RTA_TABLE
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}
TABLE_FILES = ("/usr/share/iproute2/rt_tables", "/etc/iproute2/rt_tables", "/etc/iproute2/rt_tables.d")


def table_names():
    """{name: number} of the routing tables that this host's iproute2 knows."""
    names = dict(TABLES)
    for place in map(Path, TABLE_FILES):
        for path in sorted(place.glob("*.conf")) if place.is_dir() else [place]:
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            for words in (line.split("#")[0].split() for line in lines):
                if len(words) == 2 and words[0].isdigit() and int(words[0]):
                    names[words[1]] = int(words[0])
    return names


class Routes(Tables):
    """The routes of this network namespace."""

    def __init__(self):
        super().__init__()
        self._shapes = {}  # what has been decoded: most of it comes again when what was written is read back

    # Reading

    def look(self, wanted, purge=False, anew=(), compare=True):
        """What there is of the wanted routes, as Seen; with purge, also our own that nobody wants.

        anew: devices whose routes are taken as gone. compare=False: routes that are as wanted are reported as well,
        among `different`.
        """
        scopes = [(4, 0), (6, 0)] if purge else wanted.scopes()
        return steady("routes", lambda: self._look(wanted, scopes, frozenset(anew), compare))

    def _look(self, wanted, scopes, anew, compare):
        positions = {key: i for i, key in enumerate(wanted.keys)}
        ways = {way: k for k, way in enumerate(wanted.ways)} if compare else {}
        index, there = wanted.index, bytearray(len(wanted))
        seen = Seen()
        for family, table in scopes:
            known = {}  # what a message says besides the address: (Shape, key without the address, position in ways)
            for address, raw in self._dump(family, table):
                shape, suffix, k = known.get(raw) or known.setdefault(raw, self._known(raw, anew, ways))
                if shape is None:
                    continue
                i = positions.get(address + suffix)
                if i is not None:
                    if index[i] == k:
                        there[i] = 1
                    else:
                        seen.different.append((i, Found(address + raw[1:2], shape)))
                elif shape.owned:
                    seen.strangers.append(Found(address + raw[1:2], shape))
        taken = {i for i, _found in seen.different}
        seen.exact = {i for i in taken if there[i]}
        seen.missing = [i for i, is_there in enumerate(there) if not is_there and i not in taken]
        return seen

    def _dump(self, family, table):
        """(address, all that follows the netlink header but RTA_DST) of each route of a table; of all with table 0."""
        body = RTMSG.pack(FAMILIES[family], 0, 0, 0, 0, 0, 0, 0, 0)
        if table:
            body += codec.attribute(RTA_TABLE, codec.U32.pack(table))
        size = SIZES[FAMILIES[family]]
        header, nothing = codec.ATTRIBUTE.pack(4 + size, RTA_DST), bytes(size)
        here, end_of = DST_AT + 4, DST_AT + 4 + size
        try:
            for data, stride in self.socket.dump(RTM_GETROUTE, body, f"IPv{family} routes"):
                if stride:
                    spans = zip(range(0, len(data), stride), range(stride, len(data) + 1, stride))
                else:
                    spans = [(start, end) for kind, _f, _s, start, end in codec.messages(data) if kind == RTM_NEWROUTE]
                for start, end in spans:
                    if data[start + DST_AT : start + here] == header:
                        yield (
                            data[start + here : start + end_of],
                            data[start + 16 : start + DST_AT] + data[start + end_of : end],
                        )
                    else:
                        yield _cut_out(data, start, end, nothing)
        except KernelError as error:
            # No such table, or no such family: nothing there.
            if error.errno not in (errnos.ENOENT, errnos.EAFNOSUPPORT, errnos.EOPNOTSUPP):
                raise

    def _known(self, raw, anew, ways):
        shape = self.shape(raw)
        if shape is None:
            return None, b"", None
        if anew.intersection(shape.devs):
            # A group of next hops loses those whose devices go; the route goes with the last.
            hops = tuple(hop for hop in shape.way.hops if hop.dev not in anew)
            if not hops:
                return None, b"", None
            shape = replace(shape, way=replace(shape.way, hops=hops))
        suffix = shape.way.key(raw[1])
        return shape, suffix, ways.get(shape.way) if shape.owned else None

    def shape(self, raw):
        if raw not in self._shapes:
            self._shapes[raw] = self._shape(raw)
        return self._shapes[raw]

    def _shape(self, raw):
        """The Shape in a message without its header and RTA_DST, or None when it is no route of a table."""
        if len(raw) < RTMSG.size:
            return None
        header = RTMSG.unpack_from(raw)
        family, dst_len, src_len, tos, table, protocol, scope, kind, flags = header
        if family not in SIZES or flags & RTM_F_CLONED:
            return None
        given = codec.attributes(raw, RTMSG.size, len(raw))
        kind = TYPE_NAMES.get(kind, str(kind))
        other = []
        mtu = None
        metrics = codec.attributes(given.get(RTA_METRICS, b""), 0, 1 << 16)
        for number, value in metrics.items():
            if number == RTAX_MTU:
                mtu = codec.number(value)
            else:
                other += ["rtax", f"{number}:{value.hex()}"]
        hops = self._hops(given, flags, other)
        devs = tuple(dict.fromkeys(hop.dev for hop in hops))
        nhid = codec.number(given.get(RTA_NH_ID))
        if nhid is not None:
            kind, hops = UNICAST, ()  # the group says where to; its next hops are shown for old programs only
        if kind in TYPES and kind != UNICAST:
            hops, devs = (), ()  # IPv6 shows lo
        if src_len:
            other += ["from", f"{_address(given.get(RTA_SRC, b'')) or '::'}/{src_len}"]
        if any(given.get(RTA_PREF, b"")):
            other += ["pref", given[RTA_PREF].hex()]
        for number, value in given.items():
            if number not in KNOWN and number not in (RTA_SRC, RTA_PREF):
                other += ["rta", f"{number}:{value.hex()}"]
        way = Way(
            family=4 if family == socket.AF_INET else 6,
            type=kind,
            table=codec.number(given.get(RTA_TABLE), table),
            metric=codec.number(given.get(RTA_PRIORITY), 0),
            tos=tos,
            hops=hops,
            nhid=nhid,
            src=_address(given.get(RTA_PREFSRC, b"")),
            mtu=mtu,
        )
        if family == socket.AF_INET and scope != _scope(way):
            other += ["scope", str(scope)]
        if other:
            way = replace(way, other=tuple(other))
        return Shape(way, protocol, devs, raw)

    def _hops(self, given, flags, other):
        """The next hops in attributes."""
        if RTA_MULTIPATH in given:
            hops, data, at = [], given[RTA_MULTIPATH], 0
            while at + RTNEXTHOP.size <= len(data):
                length, flags, weight, index = RTNEXTHOP.unpack_from(data, at)
                if length < RTNEXTHOP.size or at + length > len(data):
                    break
                inner = codec.attributes(data, at + RTNEXTHOP.size, at + length)
                hops.append(self._hop(inner, index, flags, weight + 1, other))
                at += codec.align(length)
            return tuple(sorted(hops, key=str))
        index = codec.number(given.get(RTA_OIF))
        return () if index is None else (self._hop(given, index, flags, 1, other),)

    def _hop(self, given, index, flags, weight, other):
        encap = None
        if RTA_ENCAP_TYPE in given:
            kind = codec.number(given[RTA_ENCAP_TYPE])
            data = given.get(RTA_ENCAP, b"")
            encap = _decoded_encap(kind, data)
            if encap is None:
                other += ["encap", f"{kind}:{data.hex()}"]
        return Hop(
            dev=self.name(index),
            via=_address(given.get(RTA_GATEWAY, b"")),
            onlink=bool(flags & RTNH_F_ONLINK),
            encap=encap,
            weight=weight,
        )

    def rows(self, tables, devs, owned):
        """All routes as dictionaries; only of some tables, devices, or our own."""
        return steady(
            "routes", lambda: [told for family in FAMILIES for told in self._rows(family, tables, devs, owned)]
        )

    def _rows(self, family, tables, devs, owned):
        for table in tables or [0]:
            for address, raw in self._dump(family, table):
                shape = self.shape(raw)
                if not shape or (tables and shape.way.table not in tables) or (owned and not shape.owned):
                    continue
                if not devs or devs.intersection(shape.devs):
                    yield _told(address, raw, shape)

    # Checks before the first change

    def faults(self, wanted, positions):
        """Why the routes at some positions cannot be written, in words. Raises MissingError where the kernel cannot."""
        ways = [wanted.ways[k] for k in dict.fromkeys(wanted.index[i] for i in positions)]
        for family in sorted({way.family for way in ways if way.table not in TABLES.values()}):
            check_policy_routing(self.socket, family)
        hops = [hop for way in ways for hop in way.hops]
        faults = []
        for dev in sorted({hop.dev for hop in hops}):
            fault = self._unfit(dev)
            if fault:
                faults.append(fault)
        for src in sorted({way.src for way in ways if way.src}):
            if not _is_local(src):
                faults.append(f"src: {src} is not an address of this host; add it first")
        for nhid in sorted({way.nhid for way in ways if way.nhid is not None}):
            if not self._has_nexthop(nhid):
                faults.append(f"nhid: there is no nexthop {nhid}; make it first")
        if not faults and any(hop.encap for hop in hops) and not has_lwtunnel(self.socket):
            raise MissingError("kernel has no LWTUNNEL", "CONFIG_LWTUNNEL")
        return faults

    def missing_devices(self, wanted):
        devs = {hop.dev for k in set(wanted.index) for hop in wanted.ways[k].hops}
        return sorted(dev for dev in devs if not index_of(dev))

    def _unfit(self, dev):
        link = self.link(dev)
        if not link:
            return f"dev: there is no device {dev}; make it first"
        _index, flags, _given = link
        up = flags & IFF_UP
        return None if up else f"dev: {dev} is down, and the kernel keeps no routes over it; set it up first"

    def _has_nexthop(self, nhid):
        body = bytes(8) + codec.attribute(NHA_ID, codec.U32.pack(nhid))
        try:
            self.socket.request(RTM_GETNEXTHOP, body, f"nexthop {nhid}")
        except KernelError as error:
            if error.errno == errnos.ENOENT:
                return False
            if error.errno == errnos.EOPNOTSUPP:
                raise MissingError("kernel has no nexthop groups", "Linux 5.3 or newer") from None
            raise
        return True

    # Writing

    def write(self, operation, wanted):
        """Carry out one operation of a plan. The error names the route that failed; those of its batch were all tried."""
        pieces, indices = {}, {}
        for at in range(0, len(operation.rows), rtnl.BATCH):
            some = operation.rows[at : at + rtnl.BATCH]
            if operation.kind == DELETE:
                payload = b"".join(_deletion(i, found) for i, found in enumerate(some))
                # A route that is gone already is as it should be.
                self.send(f"route {DELETE}", payload, lambda i, some=some: some[i].text(), (errnos.ESRCH,))
                continue
            parts = []
            for number, i in zip(NUMBERS, some):
                prefix, k = wanted.prefixes[i], wanted.index[i]
                mark = (k, prefix[-1])
                if mark not in pieces:
                    way = wanted.ways[k]
                    indices.update((hop.dev, index_of(hop.dev)) for hop in way.hops if hop.dev not in indices)
                    pieces[mark] = _pieces(way, prefix[-1], PUT[operation.kind], indices)
                first, middle, end = pieces[mark]
                parts.append((first, number, middle, prefix[:-1] if prefix[-1] else b"", end))
            payload = b"".join(chain.from_iterable(parts))
            self.send(f"route {operation.kind}", payload, lambda i, some=some: wanted.text(some[i]))


# IPv6 appends another next hop to a route that is there, unless one of REPLACE and EXCL forbids it.
PUT = {CREATE: codec.NLM_F_CREATE | codec.NLM_F_EXCL, REPLACE: codec.NLM_F_REPLACE}


def check_policy_routing(sock, family):
    """Raises MissingError where the kernel has no policy routing: it would put routes of any table into `main`."""
    try:
        for _datagram in sock.dump(RTM_GETRULE, RTMSG.pack(FAMILIES[family], 0, 0, 0, 0, 0, 0, 0, 0), "rules"):
            pass
    except KernelError as error:
        if error.errno not in (errnos.EAFNOSUPPORT, errnos.EOPNOTSUPP):
            raise
        name = {4: "CONFIG_IP_MULTIPLE_TABLES", 6: "CONFIG_IPV6_MULTIPLE_TABLES"}[family]
        raise MissingError(f"kernel has no policy routing for IPv{family}", name) from None
    except rtnl.Interrupted:
        pass


def _scope(way):
    """The scope that a route has: how near its destination is, as `ip` picks it."""
    if way.family == 6:
        return RT_SCOPE_UNIVERSE
    near = way.type == UNICAST and len(way.hops) == 1 and not way.hops[0].via
    return RT_SCOPE_LINK if near else SCOPES.get(way.type, RT_SCOPE_UNIVERSE)


def _pieces(way, length, flags, indices):
    """The three pieces of a request around its sequence number and its address. indices: of devices, by name."""
    onlink = RTNH_F_ONLINK if len(way.hops) == 1 and way.hops[0].onlink else 0
    family = FAMILIES[way.family]
    table = way.table if way.table < 256 else RT_TABLE_COMPAT
    header = RTMSG.pack(family, length, 0, way.tos, table, PROTOCOL, _scope(way), TYPE_NUMBERS[way.type], onlink)
    end = codec.attribute(RTA_TABLE, codec.U32.pack(way.table))
    if way.metric:
        end += codec.attribute(RTA_PRIORITY, codec.U32.pack(way.metric))
    if way.mtu is not None:
        end += codec.attribute(RTA_METRICS, codec.attribute(RTAX_MTU, codec.U32.pack(way.mtu)))
    if way.src is not None:
        end += codec.attribute(RTA_PREFSRC, values.pack(way.src))
    if way.nhid is not None:
        end += codec.attribute(RTA_NH_ID, codec.U32.pack(way.nhid))
    elif len(way.hops) == 1:
        hop = way.hops[0]
        end += codec.attribute(RTA_OIF, codec.S32.pack(indices[hop.dev])) + _encoded_hop(hop)
    elif way.hops:
        end += codec.attribute(RTA_MULTIPATH, b"".join(_nexthop(hop, indices) for hop in way.hops))
    if length:
        size = SIZES[family]
        header += codec.ATTRIBUTE.pack(4 + size, RTA_DST)
    else:
        size = 0
    head = codec.HEADER.pack(16 + len(header) + size + len(end), RTM_NEWROUTE, codec.NLM_F_REQUEST | flags, 0, 0)
    return head[:8], head[12:] + header, end


def _nexthop(hop, indices):
    inner = _encoded_hop(hop)
    flags = RTNH_F_ONLINK if hop.onlink else 0
    return RTNEXTHOP.pack(RTNEXTHOP.size + len(inner), flags, hop.weight - 1, indices[hop.dev]) + inner


def _encoded_hop(hop):
    parts = b""
    if hop.via:
        parts += codec.attribute(RTA_GATEWAY, values.pack(hop.via))
    if hop.encap:
        parts += codec.attribute(RTA_ENCAP_TYPE, codec.U16.pack(ENCAP_NUMBERS[hop.encap.type]))
        parts += codec.attribute(RTA_ENCAP, _encoded_encap(hop.encap))
    return parts


def _encoded_encap(encap):
    rest = _encoded_rest(encap.dst, encap.src, encap.ttl, encap.tos, encap.flags)
    return codec.attribute(LWT_ID, encap.id.to_bytes(8, "big")) + rest


@lru_cache(maxsize=CACHED)
def _encoded_rest(dst, src, ttl, tos, flags):
    """All of an encapsulation but the VNI; many VNIs share it."""
    parts = b""
    if dst:
        parts += codec.attribute(LWT_DST, values.pack(dst))
    if src:
        parts += codec.attribute(LWT_SRC, values.pack(src))
    parts += codec.attribute(LWT_TTL, bytes((ttl,))) + codec.attribute(LWT_TOS, bytes((tos,)))
    bits = sum(FLAG_BITS[flag] for flag in flags)
    return parts + codec.attribute(LWT_FLAGS, bits.to_bytes(2, "big"))


def _decoded_encap(number, data):
    """An Encap, or None when it is of a kind that this module does not write."""
    kind = next((kind for kind in ENCAPS if ENCAP_NUMBERS[kind] == number), None)
    if data[:4] == _ID:  # the kernel puts it first
        vni, rest = data[4:12], _decoded_rest(data[12:])
    else:
        vni, rest = codec.attributes(data, 0, len(data)).get(LWT_ID, b""), _decoded_rest(data)
    return Encap(kind, int.from_bytes(vni, "big"), *rest) if kind and rest else None


_ID = codec.ATTRIBUTE.pack(12, LWT_ID)


@lru_cache(maxsize=CACHED)
def _decoded_rest(data):
    """(dst, src, ttl, tos, flags) of an encapsulation, or None where it says more than that."""
    given = codec.attributes(data, 0, len(data))
    bits = int.from_bytes(given.get(LWT_FLAGS, b""), "big")
    flags = tuple(sorted(flag for flag in FLAGS if bits & FLAG_BITS[flag]))
    if bits != sum(FLAG_BITS[flag] for flag in flags) or any(key > LWT_PAD for key in given):
        return None
    ttl, tos = (codec.number(given.get(key), 0) for key in (LWT_TTL, LWT_TOS))
    return _address(given.get(LWT_DST, b"")), _address(given.get(LWT_SRC, b"")), ttl, tos, flags


def _deletion(number, found):
    raw, length = found.shape.raw, found.prefix[-1]
    family, dst_len, src_len, tos, table, protocol, _scope, kind, _flags = RTMSG.unpack_from(raw)
    body = RTMSG.pack(family, dst_len, src_len, tos, table, protocol, RT_SCOPE_NOWHERE, kind, 0)
    if length:
        body += codec.attribute(RTA_DST, found.prefix[:-1])
    given = codec.attributes(raw, RTMSG.size, len(raw))
    for name in (RTA_SRC, RTA_TABLE, RTA_PRIORITY, *((RTA_NH_ID,) if RTA_NH_ID in given else (RTA_OIF, RTA_GATEWAY))):
        if name in given:
            body += codec.attribute(name, given[name])
    return codec.message(RTM_DELROUTE, codec.NLM_F_REQUEST, number, body)


def _cut_out(data, start, end, nothing):
    """What _dump yields of a message in which RTA_DST is elsewhere, or nowhere."""
    at = start + 16 + RTMSG.size
    while at + 4 <= end:
        length, kind = codec.ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            break
        if kind & codec.TYPE_MASK == RTA_DST and length == 4 + len(nothing):
            return data[at + 4 : at + length], data[start + 16 : at] + data[at + length : end]
        at += codec.align(length)
    return nothing, data[start + 16 : end]


def _told(address, raw, shape):
    way = shape.way
    told = {
        "dst": f"{address_of(address)}/{raw[1]}",
        "family": way.family,
        "type": way.type,
        "table": way.table,
        "metric": way.metric,
        "protocol": shape.protocol,
        "protocol_name": protocol_name(shape.protocol),
        "owned": shape.owned,
    }
    if way.family == 4:
        told.update(tos=way.tos, scope=raw[6])
    for name in ("nhid", "src", "mtu"):
        if getattr(way, name) is not None:
            told[name] = getattr(way, name)
    if len(way.hops) == 1:
        hop = _told_hop(way.hops[0])
        del hop["weight"]
        told.update(hop)
    elif way.hops:
        told["nexthops"] = [_told_hop(hop) for hop in way.hops]
    if way.other:
        told["other"] = " ".join(way.other)
    return told


def _told_hop(hop):
    told = {"dev": hop.dev, "onlink": hop.onlink, "weight": hop.weight}
    if hop.via:
        told["via"] = hop.via
    if hop.encap:
        encap = hop.encap
        told["encap"] = {"type": encap.type, "id": encap.id, "ttl": encap.ttl, "tos": encap.tos}
        told["encap"].update(
            flags=list(encap.flags), **{n: getattr(encap, n) for n in ("src", "dst") if getattr(encap, n)}
        )
    return told


def _is_local(address):
    """Whether the host has the address, and has it in use: a socket can be bound to it."""
    with socket.socket(FAMILIES[values.family(address)], socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            return error.errno != errnos.EADDRNOTAVAIL  # a link-local one wants its device named
    return True


def _address(packed):
    """An address in words; None where there is none, or the one that means none."""
    return address_of(packed) if len(packed) in (4, 16) and any(packed) else None
