# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write forwarding tables (FDB) of VXLAN devices and bridges by netlink, in bulk.

What makes it quick (docs/fdb.md has the measurements):
* messages are joined from prepared pieces, since the places that MACs lead to are few;
* a row of a dump is compared as a slice of bytes, and decoded only when it is not as wanted;
* against a large table each wanted row is asked for by its MAC, and a filter on our socket drops the answers that are as
  wanted before they reach us (_expected).
"""

from __future__ import annotations

import array
import errno as errnos
import os
import socket
import struct
from itertools import chain

from .._model.errors import InputError, KernelError
from .._model.fdb import (
    APPEND,
    CREATE,
    DELETE,
    MASTER,
    REPLACE,
    SELF,
    ZERO,
    Device,
    Found,
    Seen,
    Way,
    is_flood,
)
from .._model.table import address_of
from .._model.values import pack
from . import codec, rtnl
from .ndm import (
    BODY,
    NDA_CACHEINFO,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LINK_NETNSID,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_NH_ID,
    NDA_PORT,
    NDA_SRC_VNI,
    NDA_VLAN,
    NDA_VNI,
    NDMSG,
    NTF_EXT_LEARNED,
    NTF_EXT_LOCKED,
    NTF_MASTER,
    NTF_OFFLOADED,
    NTF_ROUTER,
    NTF_SELF,
    NTF_STICKY,
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
from .table import NUMBERS, Tables, index_of, steady

IFLA_MASTER, IFLA_LINKINFO = 10, 18
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND = 1, 2, 4
IFLA_VXLAN_ID, IFLA_VXLAN_GROUP, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_PORT = 1, 2, 3, 4, 15
IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6, IFLA_VXLAN_COLLECT_METADATA = 16, 17, 25

NAMING = (NDA_NH_ID, NDA_DST, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_SRC_VNI, NDA_VLAN)  # in the kernel's order
KNOWN = (*NAMING, NDA_LLADDR, NDA_CACHEINFO, NDA_MASTER, NDA_LINK_NETNSID, NDA_FLAGS_EXT)
AF_BRIDGE = 7

MARK = NUD_PROBE  # the VXLAN driver keeps and dumps the state as it is given; nothing else sets this bit on its rows
STATE = {"permanent": NUD_PERMANENT | NUD_NOARP, "static": NUD_NOARP | NUD_REACHABLE, "dynamic": NUD_REACHABLE}

TAIL = 20  # NDA_CACHEINFO, which the kernel puts last
FEW = 512  # wanted rows that are asked for one by one without a look at the table's size
LOOK = 12288  # rows read of a table to see whether it is small; dumping grows with the square of the size
FAILURES = 10  # rows of a failed batch named in the error
ROOM = 128  # the longest answer that the filter compares

_LLADDR = codec.ATTRIBUTE.pack(10, NDA_LLADDR)
_CACHEINFO = codec.ATTRIBUTE.pack(TAIL, NDA_CACHEINFO)
_ERROR = codec.U16.pack(codec.NLMSG_ERROR)
SO_ATTACH_FILTER = 26
SO_NETNS_COOKIE = 71


class Fdb(Tables):
    """Forwarding tables of this network namespace."""

    # Devices

    def device(self, name):
        """The Device of a name, or None."""
        link = self.link(name)
        return link and self._device(name, *link)

    def _device(self, name, index, _flags, link):
        info = link.get(IFLA_LINKINFO, b"")
        info = codec.attributes(info, 0, len(info))
        kind = codec.text(info.get(IFLA_INFO_KIND))
        found = {
            "name": name,
            "index": index,
            "kind": kind,
            "master": codec.number(link.get(IFLA_MASTER)),
            "master_kind": codec.text(info.get(IFLA_INFO_SLAVE_KIND)),
        }
        if kind == "vxlan":
            given = info.get(IFLA_INFO_DATA, b"")
            given = codec.attributes(given, 0, len(given))
            six = IFLA_VXLAN_GROUP6 in given or IFLA_VXLAN_LOCAL6 in given
            four = IFLA_VXLAN_GROUP in given or IFLA_VXLAN_LOCAL in given
            remote = given.get(IFLA_VXLAN_GROUP6) or given.get(IFLA_VXLAN_GROUP)
            out_by = codec.number(given.get(IFLA_VXLAN_LINK))
            found.update(
                vni=codec.number(given.get(IFLA_VXLAN_ID)),
                port=int.from_bytes(given.get(IFLA_VXLAN_PORT, b""), "big") or None,
                family=6 if six else 4 if four else None,
                external=bool(codec.number(given.get(IFLA_VXLAN_COLLECT_METADATA))),
                remote=_address(remote) if remote else None,
                link=self.name(out_by) if out_by else None,
            )
        return Device(**found)

    def identity(self, device):
        """What tells a device from every other one of this boot, also from one that has its name or index later."""
        try:
            space = codec.number(self.socket.socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))
        except OSError:  # kernels before 5.14
            space = f"net:{os.stat('/proc/thread-self/ns/net').st_ino}"  # noqa: PTH116 (as plain as the rest here)
        return f"{space}-{device.index}"

    # Reading

    def look(self, wanted, device, complete=False, compare=True):
        """What there is of the wanted rows, as Seen; with complete, also all other rows of the table.

        compare=False: rows that are as wanted are reported as well, among `different`.
        """
        if not device:
            floods = set(wanted.floods())
            return Seen(None, missing=[i for i in range(len(wanted)) if i not in floods])
        return steady(f"fdb of {device.name}", lambda: self._look(wanted, device, complete, compare))

    def _look(self, wanted, device, complete, compare):
        floods = set(wanted.floods())
        singles = [i for i in range(len(wanted)) if i not in floods] if floods else range(len(wanted))
        # A dump is the only way to see all destinations of a MAC, and all ports of a bridge.
        whole = complete or bool(floods) or (wanted.target == MASTER and bool(wanted.macs))
        datagrams = self._dump(wanted.target, device)
        if not whole:
            datagrams = self._first(datagrams, LOOK) if len(wanted) > FEW else None
        if datagrams is None:
            return self._ask(wanted, device, singles, compare)
        keys = wanted.keys()
        if datagrams == []:
            return Seen(device, missing=list(singles))
        if compare and wanted.target == SELF:
            images = self._images(wanted, device, singles)
            rows = self._others(datagrams, wanted.target, device, images)
            rest = {keys[i]: i for i in images.values()}
        else:
            rows = self._others(datagrams, wanted.target, device, {})
            rest = {keys[i]: i for i in singles}
        everywhere = {key: i for key, i in rest.items() if wanted.target == MASTER and len(key) == len(ZERO)}
        seen = Seen(device)
        for found in rows:
            key = found.mac + found.way.key()
            if wanted.target == SELF and is_flood(found.mac):
                seen.floods.setdefault(key, []).append(found)
            elif key in rest:
                seen.different.append((rest.pop(key), found))
            elif found.mac in everywhere:
                seen.copies.append((everywhere[found.mac], found))
            elif complete and found.way.dev == device.name:
                seen.strangers.append(found)
        seen.missing = list(rest.values())
        return seen

    def _images(self, wanted, device, positions):
        """{what the kernel dumps of a row that is as wanted: its position}."""
        ways = [device.normal(way) for way in wanted.ways]
        heads = [_head_image(way) + _LLADDR for way in ways]
        ends = [b"\0\0" + self._naming(way) for way in ways]
        macs, index = wanted.macs, wanted.index
        return {heads[index[i]] + macs[i] + ends[index[i]]: i for i in positions}

    def _naming(self, way):
        """The attributes that name a row besides its MAC, in the order in which the kernel gives them."""
        parts = []
        if way.nhid is not None:
            parts.append(codec.attribute(NDA_NH_ID, codec.U32.pack(way.nhid)))
        if way.dst is not None:
            parts.append(codec.attribute(NDA_DST, pack(way.dst)))
        if way.port is not None:
            parts.append(codec.attribute(NDA_PORT, way.port.to_bytes(2, "big")))
        if way.vni is not None:
            parts.append(codec.attribute(NDA_VNI, codec.U32.pack(way.vni)))
        if way.via is not None:
            parts.append(codec.attribute(NDA_IFINDEX, codec.U32.pack(index_of(way.via))))
        if way.src_vni is not None:
            parts.append(codec.attribute(NDA_SRC_VNI, codec.U32.pack(way.src_vni)))
        if way.vlan is not None:
            parts.append(codec.attribute(NDA_VLAN, codec.U16.pack(way.vlan)))
        return b"".join(parts)

    def _dump(self, target, device):
        """The datagrams of a table's dump, with the stride of their messages."""
        body = NDMSG.pack(AF_BRIDGE, device.index if target == SELF else 0, 0, 0, 0)
        if target == MASTER:
            body += codec.attribute(NDA_MASTER, codec.U32.pack(device.master))
        return self.socket.dump(RTM_GETNEIGH, body, f"fdb of {device.name}")

    def _first(self, datagrams, limit):
        """All datagrams of a dump as a list, or None when there are more than so many rows."""
        got, count = [], 0
        for data, stride in datagrams:
            if data:
                got.append((data, stride))
            count += len(data) // (stride or BODY + 12 + TAIL)
            if count > limit:
                self.close()  # ends the dump
                return None
        return got

    def _others(self, datagrams, target, device, images):
        """The rows of a dump that are not among the images, which lose those that are."""
        rows = []
        for data, stride in datagrams:
            for start, end in _unlike(data, stride, images):
                found = self._found(data, start, end, device)
                if found and found.way.target == target and (target == MASTER or found.way.dev == device.name):
                    rows.append(found)
        return rows

    def _ask(self, wanted, device, positions, compare):
        """Seen of the rows at some positions, each asked for by its MAC."""
        seen = Seen(device)
        macs, index = wanted.macs, wanted.index
        position_of = {}

        def position(key):
            if not position_of:  # most often no row needs it
                keys = wanted.keys()
                position_of.update((keys[i], i) for i in positions)
            return position_of.get(key)

        asking = rtnl.Rtnl(words=False)
        try:
            requests = self._requests(wanted, device, asking.socket if compare else None)
            for at in range(0, len(positions), rtnl.BATCH):
                some = positions[at : at + rtnl.BATCH]
                heads, ends = zip(*[requests[index[i]] for i in some])
                payload = b"".join(chain.from_iterable(zip(heads, [macs[i] for i in some], ends)))
                for data in asking.batch(payload):
                    for kind, flags, _dummy, start, end in codec.messages(data):
                        if kind == codec.NLMSG_ERROR:
                            seen.missing.append(_not_there(data, start, end, flags, position, wanted))
                            continue
                        found = self._found(data, start, end, device)
                        i = position(found.mac + found.way.key()) if found else None
                        if i is not None:
                            seen.different.append((i, found))
        finally:
            asking.close()
        return seen

    def _requests(self, wanted, device, filtered):
        """For each way the two pieces around the MAC of a request; and the filter for the answers, when one is wanted."""
        images = []
        for way in map(device.normal, wanted.ways):
            images.append(_head_image(way) + self._naming(way))
        digests = _expected(filtered, images) if filtered else [1] * len(images)
        body = NDMSG.pack(AF_BRIDGE, device.index, 0, NTF_SELF, 0) + _LLADDR
        pieces = []
        for way, digest in zip(wanted.ways, digests):
            # The kernel looks a row up by NDA_VNI where it means the source VNI.
            end = b"\0\0" + (codec.attribute(NDA_VNI, codec.U32.pack(way.src_vni)) if way.src_vni is not None else b"")
            length = BODY + 4 + 6 + len(end)
            head = codec.HEADER.pack(length, RTM_GETNEIGH, codec.NLM_F_REQUEST, 0, 0)
            pieces.append((head[:8] + digest.to_bytes(4, "big") + head[12:] + body, end))
        return pieces

    def _found(self, data, start, end, device):
        """The row of a message, or None when it is none."""
        if end - start < BODY:
            return None
        family, index, nud, flags, dummy = NDMSG.unpack_from(data, start + 16)
        given = codec.attributes(data, start + BODY, end)
        mac = given.get(NDA_LLADDR)
        if family != AF_BRIDGE or mac is None or len(mac) != 6:
            return None
        master = NDA_MASTER in given
        state = "permanent" if nud & NUD_PERMANENT else "static" if nud & NUD_NOARP else "dynamic"
        extern_learn = bool(flags & NTF_EXT_LEARNED)
        via = codec.number(given.get(NDA_IFINDEX))
        way = Way(
            dev=device.name if index == device.index else self.name(index),
            target=MASTER if master else SELF,
            src_vni=codec.number(given.get(NDA_SRC_VNI)),
            vlan=codec.number(given.get(NDA_VLAN)),
            dst=_address(given[NDA_DST]) if NDA_DST in given else None,
            vni=codec.number(given.get(NDA_VNI)),
            port=int.from_bytes(given.get(NDA_PORT, b""), "big") or None,
            via=None if via is None else self.name(via),
            nhid=codec.number(given.get(NDA_NH_ID)),
            state=state,
            router=bool(flags & NTF_ROUTER),
            sticky=master and bool(flags & NTF_STICKY),
        )
        own = bool(nud & MARK) if not master else way.sticky and state == "static"
        return Found(
            mac=mac,
            way=way,
            nud=nud,
            flags=flags,
            owned=own and not extern_learn,
            extern_learn=extern_learn,
            default=not master and mac == ZERO and way.place() == (device.remote, None, None, device.link, None),
            attributes=b"".join(codec.attribute(kind, given[kind]) for kind in NAMING if kind in given),
        )

    def rows(self, devs, macs):
        """All that the kernel tells about rows, as dictionaries; of the named devices and MACs, or of all."""
        told = []
        for name in devs or [None]:
            device = self.device(name) if name else None
            if name and not device:
                raise InputError(f"dev: there is no device {name}")
            devices = {device.index: device} if device else {}
            body = NDMSG.pack(AF_BRIDGE, device.index if device else 0, 0, 0, 0)
            for data, _dummy in list(self.socket.dump(RTM_GETNEIGH, body, f"fdb of {name or 'all devices'}")):
                for kind, _flags, _seq, start, end in codec.messages(data):
                    if kind != RTM_NEWNEIGH or end - start < BODY:
                        continue
                    index = codec.S32.unpack_from(data, start + 20)[0]
                    if index not in devices:
                        devices[index] = None if name else self.device(self.name(index))
                    row = self._told(data, start, end, devices[index]) if devices[index] else None
                    if row and (not macs or row["mac"] in macs):
                        told.append(row)
        return told

    def _told(self, data, start, end, device):
        row = self._found(data, start, end, device)
        if not row:
            return None
        way, given = row.way, codec.attributes(data, start + BODY, end)
        told = {"mac": row.mac.hex(":"), "dev": way.dev, "target": way.target}
        for name in ("dst", "vlan", "port", "vni", "src_vni", "via", "nhid"):
            if getattr(way, name) is not None:
                told[name] = getattr(way, name)
        master = codec.number(given.get(NDA_MASTER))
        if master is not None:
            told["master"] = self.name(master)
        if NDA_LINK_NETNSID in given:
            told["link_netnsid"] = codec.number(given[NDA_LINK_NETNSID])
        ages = given.get(NDA_CACHEINFO, b"")
        if len(ages) >= 16:
            used, updated = struct.unpack_from("=4xII", ages)
            told.update(used=used // USER_HZ, updated=updated // USER_HZ)
        flags = row.flags
        told.update(
            state="stale" if row.nud & NUD_STALE and way.state == "dynamic" else way.state,
            owned=row.owned,
            extern_learn=row.extern_learn,
            offload=bool(flags & NTF_OFFLOADED),
            sticky=bool(flags & NTF_STICKY),
            router=way.router,
            locked=bool((codec.number(given.get(NDA_FLAGS_EXT)) or 0) & NTF_EXT_LOCKED),
            default=row.default,
            ndm_state=row.nud,
            ndm_flags=flags,
        )
        others = {str(kind): payload.hex() for kind, payload in given.items() if kind not in KNOWN}
        if others:
            told["other"] = others
        return told

    # Writing

    def write(self, operation, device):
        """Carry out one operation of a plan. The error names the row that failed; the rows of its batch were all tried."""
        if operation.kind == DELETE:
            self._delete(operation, device)
        else:
            self._put(operation, device)

    def _put(self, operation, device):
        table, keep = operation.table, operation.keep
        macs, index = table.macs, table.index
        pieces = {}
        for k in {index[i] for i in operation.rows}:
            way = device.normal(table.ways[k])
            nud, ntf = (keep.nud, keep.flags & ~NTF_OFFLOADED) if keep else _state(way)
            end = b"\0\0" + self._naming(way)
            # A row without a VLAN goes into each VLAN of a bridge's port as well, where it may exist or not.
            put = PUT[operation.kind] if table.target == SELF or way.vlan is not None else PUT_EVERYWHERE
            head = codec.HEADER.pack(BODY + 4 + 6 + len(end), RTM_NEWNEIGH, codec.NLM_F_REQUEST | put, 0, 0)
            body = NDMSG.pack(AF_BRIDGE, device.index, nud, ntf, 0)
            pieces[k] = head[:8], head[12:] + body + _LLADDR, end
        for at in range(0, len(operation.rows), rtnl.BATCH):
            some = operation.rows[at : at + rtnl.BATCH]
            firsts, middles, ends = zip(*[pieces[index[i]] for i in some])
            payload = b"".join(chain.from_iterable(zip(firsts, NUMBERS, middles, [macs[i] for i in some], ends)))
            self.send(f"fdb {operation.kind}", payload, lambda i, some=some: table.text(some[i]))

    def _delete(self, operation, device):
        target = NTF_SELF if operation.table.target == SELF else NTF_MASTER
        for at in range(0, len(operation.rows), rtnl.BATCH):
            some = operation.rows[at : at + rtnl.BATCH]
            payload = []
            for i, found in enumerate(some):
                index = device.index if found.way.dev == device.name else index_of(found.way.dev)
                body = NDMSG.pack(AF_BRIDGE, index, 0, target, 0)
                body += _LLADDR + found.mac + b"\0\0" + found.attributes
                payload.append(codec.message(RTM_DELNEIGH, codec.NLM_F_REQUEST, i, body))
            # A row that is gone already is as it should be.
            self.send(f"fdb {DELETE}", b"".join(payload), lambda i, some=some: some[i].text(), (errnos.ENOENT,))


PUT = {
    CREATE: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    APPEND: codec.NLM_F_CREATE | codec.NLM_F_APPEND,
    REPLACE: codec.NLM_F_REPLACE,
}
PUT_EVERYWHERE = codec.NLM_F_CREATE | codec.NLM_F_REPLACE


def check_vias(table):
    """Why rows cannot be written, in words: devices named by `via` that do not exist."""
    vias = {table.ways[k].via for k in table.index} - {None}
    return [f"via: there is no device {via}" for via in sorted(vias) if not index_of(via)]


def _state(way):
    """(ndm_state, ndm_flags) of a row of ours."""
    if way.target == MASTER:
        return STATE[way.state], NTF_MASTER | (NTF_STICKY if way.sticky else 0)
    return STATE[way.state] | MARK, NTF_SELF | (NTF_ROUTER if way.router else 0)


def _head_image(way):
    """The last four bytes of ndmsg as the kernel dumps them for a row of ours."""
    return struct.pack("=HBB", *_state(way), RTN_UNICAST)


def _not_there(data, start, end, flags, position, wanted):
    """The position of the row that an error answer says is missing; any other error is raised."""
    errno, text = codec.error(data, start, end, flags)
    given = codec.attributes(data, start + 20 + BODY, end)  # the request comes back with the error
    vni = codec.number(given.get(NDA_VNI))
    i = position(given.get(NDA_LLADDR, b"") + (b"" if vni is None else vni.to_bytes(4, "big")))
    if errno != errnos.ENOENT or i is None:
        raise KernelError("fdb get" if i is None else f"fdb get {wanted.text(i)}", errno, text)
    return i


def _unlike(data, stride, images):
    """(start, end) of the messages whose row is not among the images; the images lose those that are."""
    if stride > BODY + TAIL and data[stride - TAIL : stride - TAIL + 4] == _CACHEINFO:
        ends = range(stride, len(data) + 1, stride)
        starts = range(0, len(data), stride)
        spans = zip(starts, ends)
    else:
        spans = [message[3:] for message in codec.messages(data) if message[0] == RTM_NEWNEIGH]
    for start, end in spans:
        if images.pop(data[start + 24 : end - TAIL], None) is None:
            yield start, end


def _expected(sock, images):
    """Make the kernel drop answers to RTM_GETNEIGH that are as expected. The sequence number to put on each request.

    The sequence number, which the kernel copies into its answer, is a digest of all that the answer should say: state,
    flags and every attribute but the MAC, which the row was looked up by, and the ages. A socket filter (classic BPF)
    computes the digest of the answer and drops it when the two agree. The multiplier is random and odd: addresses that
    differ in one 32-bit word never agree, any others with a chance of 2 to the -32, and not twice with the next run.
    """
    while True:
        factor = int.from_bytes(os.urandom(4), "big") | 1
        digests = [_digest(image, factor) for image in images]
        if rtnl.FENCE not in digests:
            break
    program = array.array("B", _filter(factor))
    address, length = program.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", length // 8, address))
    return digests


def _digest(image, factor):
    digest = 0
    for (word,) in struct.iter_unpack(">I", image):
        digest = (digest + word) * factor & 0xFFFFFFFF
    return digest


def _filter(factor):
    """The filter program in bytes. Loads are big-endian whatever the machine; a load past the end would drop."""
    load, load16, length = 0x20, 0x28, 0x80  # A = packet[k], A = len
    equal, at_least, equal_x = 0x15, 0x35, 0x1D  # jump if A == k, A >= k, A == X
    and_, times, plus_x, to_x, store, recall, recall_x, end = 0x54, 0x24, 0x0C, 0x07, 0x02, 0x60, 0x61, 0x06
    first = BODY + 12  # the attribute after NDA_LLADDR
    newneigh = int.from_bytes(codec.U16.pack(RTM_NEWNEIGH), "big")
    code = [  # operation, k, jump if true, jump if false
        (load16, 4, None, None),
        (equal, newneigh, None, "deliver"),
        (length, 0, None, None),
        (at_least, first + TAIL, None, "deliver"),
        (at_least, ROOM + 1, "deliver", None),
        (and_, 3, None, None),
        (equal, 0, None, "deliver"),
        (load, 24, None, None),
        (times, factor, None, None),
        (store, 0, None, None),
    ]
    for at in range(first, ROOM, 4):
        code += [
            (length, 0, None, None),
            (equal, at + TAIL, "compare", None),
            (load, at, None, None),
            (recall_x, 0, None, None),
            (plus_x, 0, None, None),
            (times, factor, None, None),
            (store, 0, None, None),
        ]
    labels = {"compare": len(code), "deliver": len(code) + 4, "drop": len(code) + 5}
    code += [
        (load, 8, None, None),  # the sequence number
        (to_x, 0, None, None),
        (recall, 0, None, None),
        (equal_x, 0, "drop", "deliver"),
        (end, 0xFFFFFFFF, None, None),
        (end, 0, None, None),
    ]
    done = bytearray()
    for here, (operation, k, true, false) in enumerate(code):
        jumps = [labels[label] - here - 1 if label else 0 for label in (true, false)]
        done += struct.pack("=HBBI", operation, *jumps, k)
    return bytes(done)


def _address(packed):
    return address_of(packed) if len(packed) in (4, 16) else None
