# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write neighbours (ARP, ND) and proxy entries by netlink, in bulk.

What makes it quick (docs/neighbor.md has the measurements): messages are joined from prepared pieces, and a row of a dump
is compared as slices of bytes with what the kernel would dump for a wanted row, and decoded only when there is none.
"""

from __future__ import annotations

import errno as errnos
import hashlib
import socket
import struct
from itertools import chain, repeat

from .._model.errors import InputError
from .._model.neighbor import DELETE, FLAGS, NO_MAC, Device, Found, Kind, Seen
from .._model.table import address_of
from .._model.values import AGENT_PROTOCOL, PROTOCOL
from . import codec, rtnl
from .ndm import (
    BODY,
    NDA_CACHEINFO,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_PROBES,
    NDA_PROTOCOL,
    NDMSG,
    NTF_EXT_LEARNED,
    NTF_EXT_MANAGED,
    NTF_OFFLOADED,
    NTF_PROXY,
    NTF_ROUTER,
    NUD_DELAY,
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_PROBE,
    NUD_REACHABLE,
    NUD_STALE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    RTN_UNICAST,
    USER_HZ,
)
from .table import NUMBERS, Tables, steady

IFLA_ADDRESS = 1

STATES = {
    NUD_INCOMPLETE: "incomplete",
    NUD_REACHABLE: "reachable",
    NUD_STALE: "stale",
    NUD_DELAY: "delay",
    NUD_PROBE: "probe",
    NUD_FAILED: "failed",
    NUD_NOARP: "noarp",
    NUD_PERMANENT: "permanent",
}
NUD = {"permanent": NUD_PERMANENT, "noarp": NUD_NOARP, None: 0}
RTPROT_STATIC = (
    4  # linux/rtnetlink.h: the numbers up to this are the kernel's and the administrator's, others a program's
)
FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}
KNOWN = (NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_PROTOCOL, NDA_FLAGS_EXT)

MARK = codec.attribute(NDA_PROTOCOL, bytes([PROTOCOL]))
_LLADDR = codec.ATTRIBUTE.pack(10, NDA_LLADDR)
_PROBES = codec.ATTRIBUTE.pack(8, NDA_PROBES)
_CACHEINFO = codec.ATTRIBUTE.pack(20, NDA_CACHEINFO)
AGES = 4 + 20  # NDA_PROBES' value and NDA_CACHEINFO, which change all the time


class Neighbors(Tables):
    """Neighbours and proxy entries of this network namespace."""

    # Devices

    def device(self, name):
        """The Device of a name, or None."""
        link = self.link(name)
        if not link:
            return None
        index, _flags, given = link
        self._names[index] = name
        return Device(name, index, len(given.get(IFLA_ADDRESS, b"")), _has_ipv6(name))

    # Reading

    def look(self, wanted, devices, scope=(), compare=True, digest=False):
        """What there is of the wanted rows, as Seen; and of other rows of the devices named in `scope` (None: of all).

        `devices`: the Device of each name, or None for those whose tables count as empty. compare=False: rows that are as
        wanted are reported as well, among `different`. digest: tell `digest` of the very rows that were looked at.
        """
        return steady("neighbours", lambda: self._look(wanted, devices, scope, compare, digest))

    def digest(self, devices, scope):
        """A digest of all rows with the mark, but what changes by itself, in the kernel's order."""
        indexes = {name: device.index for name, device in devices.items() if device}
        return steady("neighbours", lambda: self._digest(indexes, scope))

    def _digest(self, indexes, scope):
        digest = _Digest()
        for proxy in (False, True):
            for datagram in self._dump(proxy, scope, indexes):
                digest.add(proxy, *datagram)
        return digest.told()

    def _look(self, wanted, devices, scope, compare, digest):
        indexes = {name: device.index for name, device in devices.items() if device}
        scoped = None if scope is None else {indexes[name] for name in scope if name in indexes}
        images = self._images(wanted, indexes) if compare else {}
        spans = {}  # of dumped rows that are not as wanted, by whether they are proxy entries
        told = _Digest() if digest else None
        for proxy in (False, True):
            used = scoped is None or scoped or any(kind.proxy == proxy and kind.dev in indexes for kind in wanted.kinds)
            if used or told:
                datagrams = self._dump(proxy, scoped, indexes)
                if told:
                    datagrams = told.adding(proxy, datagrams)
                spans[proxy] = _unlike(datagrams, images, 0 if proxy else AGES)
        seen = Seen(digest=told.told() if told else None)
        if compare:
            plain = [k for k, kind in enumerate(wanted.kinds) if not _has_image(kind, indexes)]
            left = [i for i, k in enumerate(wanted.index) if k in plain] if plain else []
            left += images.values()
        else:
            left = range(len(wanted))
        if not any(spans.values()):
            seen.missing = sorted(left)
            return seen
        rest = {}
        for i in left:
            kind = wanted.kinds[wanted.index[i]]
            if kind.dev in indexes:
                rest[kind.proxy, codec.U32.pack(indexes[kind.dev]) + wanted.ips[i]] = i
            else:
                seen.missing.append(i)
        for proxy, some in spans.items():
            for data, start, end in some:
                key = data[start + 20 : start + 24] + _dst(data, start, end)
                i = rest.pop((proxy, key), None)
                if i is None and scoped is not None and codec.U32.unpack_from(key)[0] not in scoped:
                    continue
                found = self._found(data, start, end)
                if found and i is not None:
                    seen.different.append((i, found))
                elif found:
                    seen.strangers.append(found)
        seen.missing = sorted([*seen.missing, *rest.values()])
        return seen

    def _images(self, wanted, indexes):
        """{what the kernel dumps of a row that is as wanted, but its ages and mark: its position}."""
        forms = []  # of each kind, what stands before the IP address, by its length, and what after the MAC
        for kind in wanted.kinds:
            if not _has_image(kind, indexes):
                forms.append(None)
                continue
            head = struct.pack("=iHBB", indexes[kind.dev], NUD[kind.nud], _flags(kind), RTN_UNICAST)
            fronts = {size: head + codec.ATTRIBUTE.pack(4 + size, NDA_DST) for size in FAMILY}
            forms.append((fronts, b"", b"") if kind.proxy else (fronts, _LLADDR, b"\0\0" + _PROBES))
        if None not in forms and len(set(wanted.index)) == 1 and len(set(map(len, wanted.ips))) == 1:
            fronts, middle, end = forms[wanted.index[0]]
            front = fronts[len(wanted.ips[0])]
            return {front + ip + middle + mac + end: i for i, (ip, mac) in enumerate(zip(wanted.ips, wanted.macs))}
        images = {}
        for i, (k, ip, mac) in enumerate(zip(wanted.index, wanted.ips, wanted.macs)):
            if forms[k]:
                fronts, middle, end = forms[k]
                images[fronts[len(ip)] + ip + middle + mac + end] = i
        return images

    def _dump(self, proxy, scoped, indexes):
        """The datagrams of a dump with the stride of their messages."""
        body = NDMSG.pack(socket.AF_UNSPEC, 0, 0, NTF_PROXY if proxy else 0, 0)
        if scoped is not None and len(indexes) == 1:
            body += codec.attribute(NDA_IFINDEX, codec.U32.pack(*indexes.values()))
        return self.socket.dump(RTM_GETNEIGH, body, "proxy entries" if proxy else "neighbours")

    def _found(self, data, start, end):
        """The row of a message, or None when it is none."""
        row = _decoded(data, start, end)
        return row and Found(
            ip=row["ip"],
            mac=row["mac"],
            kind=Kind(
                dev=self.name(row["index"]),
                proxy=row["proxy"],
                nud=None if row["proxy"] or row["managed"] else row["state"],
                **{flag: row[flag] for flag in FLAGS},
            ),
            index=row["index"],
            **{name: row[name] for name in ("configured", "owned", "foreign")},
        )

    def rows(self, devs, ips):
        """All that the kernel tells about rows, as dictionaries; of the named devices and addresses, or of all."""
        indexes = {}
        for name in devs:
            device = self.device(name)
            if not device:
                raise InputError(f"dev: there is no device {name}")
            indexes[name] = device.index
        told = []
        for proxy in (False, True):
            for data, _stride in list(self._dump(proxy, set() if devs else None, indexes)):
                for kind, _bits, _seq, start, end in codec.messages(data):
                    row = _decoded(data, start, end) if kind == RTM_NEWNEIGH else None
                    if row and (not devs or row["index"] in indexes.values()) and (not ips or row["ip"] in ips):
                        told.append(self._told(row))
        return told

    def _told(self, row):
        told = {"ip": address_of(row["ip"]), "dev": self.name(row["index"])}
        if row["mac"]:
            told["lladdr"] = row["mac"].hex(":")
        for name in ("state", "proxy", *FLAGS, "offload", "owned", "protocol", "ndm_state", "ndm_flags"):
            told[name] = row[name]
        given = row["given"]
        ages = given.get(NDA_CACHEINFO, b"")
        if len(ages) >= 12:
            for name, ticks in zip(("confirmed", "used", "updated"), struct.unpack_from("=III", ages)):
                told[name] = ticks // USER_HZ
        if NDA_PROBES in given:
            told["probes"] = codec.number(given[NDA_PROBES])
        others = {str(kind): payload.hex() for kind, payload in given.items() if kind not in KNOWN}
        if others:
            told["other"] = others
        return told

    # Writing

    def write(self, operation, wanted, devices):
        """Carry out one operation of a plan. The error names the row that failed; the rows of its batch were all tried."""
        if operation.kind == DELETE:
            self._delete(operation.rows)
        else:
            self._put(operation.rows, wanted, devices)

    def _put(self, rows, wanted, devices):
        ips, macs, index = wanted.ips, wanted.macs, wanted.index
        forms = {}
        for at in range(0, len(rows), rtnl.BATCH):
            some = rows[at : at + rtnl.BATCH]
            parts = []
            for number, i in zip(NUMBERS, some):
                ip, k = ips[i], index[i]
                form = forms.get((k, len(ip)))
                if form is None:
                    kind = wanted.kinds[k]
                    form = forms[k, len(ip)] = _form(kind, devices[kind.dev].index, len(ip), bool(macs[i]))
                parts.append((form[0], number, form[1], ip, form[2], macs[i], form[3]))
            self.send("neighbour put", b"".join(chain.from_iterable(parts)), lambda i, some=some: wanted.text(some[i]))

    def _delete(self, rows):
        for at in range(0, len(rows), rtnl.BATCH):
            some = rows[at : at + rtnl.BATCH]
            payload = []
            for i, found in enumerate(some):
                flags = NTF_PROXY if found.kind.proxy else 0
                body = NDMSG.pack(FAMILY[len(found.ip)], found.index, 0, flags, 0) + codec.attribute(NDA_DST, found.ip)
                payload.append(codec.message(RTM_DELNEIGH, codec.NLM_F_REQUEST, i, body))
            # A row that is gone already, perhaps with its device, is as it should be.
            gone = (errnos.ENOENT, errnos.ENODEV)
            self.send(f"neighbour {DELETE}", b"".join(payload), lambda i, some=some: some[i].text(), gone)


def _flags(kind):
    return (
        (NTF_PROXY if kind.proxy else 0)
        | (NTF_ROUTER if kind.router else 0)
        | (NTF_EXT_LEARNED if kind.extern_learn else 0)
    )


def _has_image(kind, indexes):
    """Whether it is known beforehand what the kernel dumps of such rows. It keeps a managed neighbour's state and MAC."""
    return kind.dev in indexes and not kind.managed


def _form(kind, index, size, has_mac):
    """The pieces of a request around its sequence number, its IP address and its MAC."""
    # Proxy entries are written as permanent so that since Linux 6.13 they outlive a loss of carrier; before, none does.
    nud = NUD["permanent" if kind.proxy else kind.nud]
    before = NDMSG.pack(FAMILY[size], index, nud, _flags(kind), 0) + codec.ATTRIBUTE.pack(4 + size, NDA_DST)
    middle, end = (_LLADDR, b"\0\0" + MARK) if has_mac else (b"", MARK)
    if kind.managed:
        end += codec.attribute(NDA_FLAGS_EXT, codec.U32.pack(NTF_EXT_MANAGED))
    length = 16 + len(before) + size + len(middle) + (6 if has_mac else 0) + len(end)
    # The kernel learns and forgets neighbours all the time, so a row that is put may exist or not, whatever was seen.
    flags = codec.NLM_F_REQUEST | codec.NLM_F_CREATE | codec.NLM_F_REPLACE
    head = codec.HEADER.pack(length, RTM_NEWNEIGH, flags, 0, 0)
    return head[:8], head[12:] + before, middle, end


def _dst(data, start, end):
    """The IP address of a row: the kernel puts NDA_DST first."""
    if end - start < BODY + 4:
        return b""
    length, kind = codec.ATTRIBUTE.unpack_from(data, start + BODY)
    return data[start + BODY + 4 : min(start + BODY + length, end)] if kind == NDA_DST else b""


def _decoded(data, start, end):
    """What a message says, or None when it tells of no neighbour."""
    if end - start < BODY:
        return None
    family, index, nud, flags, _type = NDMSG.unpack_from(data, start + 16)
    given = codec.attributes(data, start + BODY, end)
    ip = given.get(NDA_DST, b"")
    if FAMILY.get(len(ip)) != family:
        return None
    protocol = codec.number(given.get(NDA_PROTOCOL), 0)
    proxy, extern_learn = bool(flags & NTF_PROXY), bool(flags & NTF_EXT_LEARNED)
    managed = bool(codec.number(given.get(NDA_FLAGS_EXT), 0) & NTF_EXT_MANAGED)
    # The kernel makes NUD_NOARP rows of its own, for multicast addresses and point-to-point devices. And a row that was
    # deleted while in use stays on as failed, with its protocol number, perhaps to be learned again.
    configured = bool(proxy or extern_learn or managed or nud & NUD_PERMANENT or (nud & NUD_NOARP and protocol))
    owned = configured and protocol == PROTOCOL
    return {
        "ip": ip,
        "index": index,
        "mac": given.get(NDA_LLADDR, NO_MAC),
        "proxy": proxy,
        "state": STATES.get(nud, "none" if not nud else hex(nud)),
        "router": bool(flags & NTF_ROUTER),
        "extern_learn": extern_learn,
        "managed": managed,
        "offload": bool(flags & NTF_OFFLOADED),
        "protocol": protocol,
        "configured": configured,
        "owned": owned,
        # Rows of vtep-agent are answers to what was asked. A configured row has the better claim, as with learned ones.
        "foreign": configured
        and not owned
        and (extern_learn or protocol > RTPROT_STATIC and protocol != AGENT_PROTOCOL),
        "ndm_state": nud,
        "ndm_flags": flags,
        "given": given,
    }


def _unlike(datagrams, images, ages):
    """(datagram, start, end) of the messages whose row is not among the images; the images lose those that are.

    An image begins with the interface in a message and ends before its last attributes: `ages` bytes, and the mark.
    """
    unlike = []
    for data, stride in datagrams:
        if stride and _all_marked(data, stride):
            size = stride - 20 - ages - 8
            fronts = [data[at : at + size] for at in range(20, len(data), stride)]
            hits = list(map(images.pop, fronts, repeat(None)))
            if None in hits:
                unlike += [(data, at * stride, (at + 1) * stride) for at, hit in enumerate(hits) if hit is None]
            continue
        for kind, _bits, _seq, start, end in codec.messages(data):
            if kind == RTM_NEWNEIGH:
                marked = data[end - 8 : end] == MARK
                if not marked or images.pop(data[start + 20 : end - 8 - ages], None) is None:
                    unlike.append((data, start, end))
    return unlike


class _Digest:
    """A digest of dumped rows that carry the mark, without what changes by itself: sequence numbers and ages."""

    def __init__(self):
        self.hash = hashlib.blake2b()

    def told(self):
        return self.hash.hexdigest()

    def adding(self, proxy, datagrams):
        for data, stride in datagrams:
            self.add(proxy, data, stride)
            yield data, stride

    def add(self, proxy, data, stride):
        ages = 0 if proxy else AGES
        if stride and _all_marked(data, stride) and (proxy or _has_ages(data, stride - 8)):
            lasting = bytearray(data)
            blank = bytes(len(data) // stride)
            for at in (*range(8, 16), *range(stride - 8 - ages, stride - 8)):
                lasting[at::stride] = blank
            self.hash.update(lasting)
            return
        for _kind, _bits, _seq, start, end in codec.messages(data):
            at = data.rfind(MARK, start + BODY, end)
            if at >= 0:
                blank = ages if _has_ages(data, at) else 0
                self.hash.update(data[start : start + 8] + bytes(8) + data[start + 16 : at - blank])
                self.hash.update(bytes(blank) + data[at:end])


def _has_ages(data, at):
    """Whether what ends there is NDA_PROBES and NDA_CACHEINFO."""
    return data[at - 28 : at - 24] == _PROBES and data[at - 20 : at - 16] == _CACHEINFO


def _all_marked(data, stride):
    """Whether the mark is the last attribute of every message, all of one length."""
    count = len(data) // stride
    return all(data[stride - 8 + k :: stride] == MARK[k : k + 1] * count for k in range(8))


def _has_ipv6(name):
    """Whether a device may have IPv6 neighbours (ndisc_allow_add)."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", encoding="ascii") as file:
            return file.read().strip() == "0"
    except OSError:  # no IPv6 in the kernel, or not on this device
        return False
