# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are written as they are asked for: FDB rows and neighbours of VXLAN devices.

Nobody waits for acknowledgements. The kernel handles what it is sent before `send` returns, and answers only what it refused,
with the request itself, so that nothing is to be remembered meanwhile. Prepared pieces and one join make a message.

An FDB row is NUD_REACHABLE, and so the kernel removes it when its time (the device's `ageing`) is over. Since when that time
counts differs: before Linux 6.15 since the last frame sent by it (`used`); from then on since the row was `updated`, however much
it is used. There NTF_USE sets that to now, and nothing else. Before, it does so with `used`.
"""

from __future__ import annotations

import errno as errnos
import socket
import struct
import time
from itertools import chain

from .._model.errors import KernelError
from .._model.values import AGENT_PROTOCOL
from . import codec, rtnl
from .ndm import (
    BODY,
    NDA_CACHEINFO,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROTOCOL,
    NDMSG,
    NTF_EXT_LEARNED,
    NTF_OFFLOADED,
    NTF_SELF,
    NTF_USE,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_REACHABLE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    USER_HZ,
)
from .table import NUMBERS, steady

# Operations are (kind, index, key, value). FDB writes a row whatever is in its place, NEW_FDB only where its MAC has none; else it is
# refused with EEXIST. Without NLM_F_EXCL the driver writes state and flags of what there is, also of somebody's permanent row.
FDB, NEIGHBOR, NO_FDB, NO_NEIGHBOR, NEW_FDB = range(5)
AF_BRIDGE = 7
FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}
MARK = codec.attribute(NDA_PROTOCOL, bytes([AGENT_PROTOCOL]))
STATE = NUD_PERMANENT | NUD_NOARP  # what `bridge fdb append ... self permanent` writes
GONE = (errnos.ENOENT, errnos.ENODEV)
_PUT = codec.NLM_F_REQUEST | codec.NLM_F_CREATE | codec.NLM_F_REPLACE
_NEW = codec.NLM_F_REQUEST | codec.NLM_F_CREATE | codec.NLM_F_EXCL
_LLADDR = codec.ATTRIBUTE.pack(10, NDA_LLADDR)
_DST = {size: codec.ATTRIBUTE.pack(4 + size, NDA_DST) for size in FAMILY}
# A dumped FDB row with LLADDR, DST and CACHEINFO alone, by its length: family, index, state, flags; three attributes.
_ROWS = {64 + size: struct.Struct(f"=16xB3xiHBxI6s2xI{size}sI4xII4x") for size in FAMILY}
_HEADS = {
    64 + size: tuple(
        codec.U32.unpack(head)[0] for head in (_LLADDR, _DST[size], codec.ATTRIBUTE.pack(20, NDA_CACHEINFO))
    )
    for size in FAMILY
}
# A dumped neighbour with DST, LLADDR, PROBES, CACHEINFO and PROTOCOL alone: interface, state, two attributes, the last.
_NEIGHBORS = {80 + size: struct.Struct(f"=20xiH2x4s{size}s4s6s2x28x8s") for size in FAMILY}
SLACK = 0.02  # seconds by which the kernel's ages, in hundredths, may be off
PATIENCE = 5  # seconds for the next part of an answer of the kernel


class DynamicRows:
    """Rows of this network namespace. One socket writes, another one reads, so that these may be in two threads; neither may be
    in two at once.
    """

    def __init__(self):
        self._forms = {}
        self._kept = {}  # index of a device: when rows of it were last kept
        self._writer = self._reader = None
        try:
            self._writer = rtnl.Rtnl(requests=True)
            self._reader = _reader()
        except BaseException:
            self.close()
            raise

    def close(self):
        for sock in (self._writer, self._reader):
            if sock:
                sock.close()

    def renew(self):
        """Read by another socket, since answers that nobody has taken may be left in this one."""
        old, self._reader = self._reader, _reader()
        old.close()

    # Writing

    def put(self, ops):
        """Carry out operations, in order. What the kernel refuses `failures` tells."""
        forms, send = self._forms, self._writer.socket.send
        for at in range(0, len(ops), rtnl.BATCH):
            parts = []
            for kind, index, key, value in ops[at : at + rtnl.BATCH]:
                shape = kind, index, len(key), value and len(value)
                form = forms.get(shape) or self._form(*shape)
                parts += (form[0], key, form[1], value or b"", form[2])
            send(b"".join(parts))

    def _form(self, kind, index, size, value):
        """What stands before the key, between it and the value, and after that."""
        if len(self._forms) > 4096:  # devices come and go, and their indexes with them
            self._forms.clear()
        if kind in (FDB, NEW_FDB):
            body, middle, end = (
                NDMSG.pack(AF_BRIDGE, index, NUD_REACHABLE, NTF_SELF, 0) + _LLADDR,
                _pad(6) + _DST[value],
                b"",
            )
        elif kind == NO_FDB:
            body, middle, end = NDMSG.pack(AF_BRIDGE, index, 0, NTF_SELF, 0) + _LLADDR, _pad(6), b""
        elif kind == NEIGHBOR:
            body, middle, end = (
                NDMSG.pack(FAMILY[size], index, NUD_PERMANENT, 0, 0) + _DST[size],
                _LLADDR,
                _pad(6) + MARK,
            )
        else:
            body, middle, end = NDMSG.pack(FAMILY[size], index, 0, 0, 0) + _DST[size], b"", b""
        length = 16 + len(body) + size + len(middle) + (value or 0) + len(end)
        flags = {FDB: _PUT, NEIGHBOR: _PUT, NEW_FDB: _NEW}.get(kind, codec.NLM_F_REQUEST)
        put = flags != codec.NLM_F_REQUEST
        head = codec.HEADER.pack(length, RTM_NEWNEIGH if put else RTM_DELNEIGH, flags, 0, 0)
        form = self._forms[kind, index, size, value] = head + body, middle, end
        return form

    def failures(self):
        """(operation, errno, words) of what the kernel refused since the last call. An operation of None: there was more
        than the socket holds. Removing what is gone is no failure.
        """
        told = []
        while True:
            try:
                data = self._writer.socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return told
            except OSError as error:
                if error.errno != errnos.ENOBUFS:
                    raise KernelError("read what the kernel refused", error.errno) from None
                told.append((None, errnos.ENOBUFS, "the kernel refused more than could be told"))
                continue
            for kind, flags, _seq, start, end in codec.messages(data):
                errno, words = codec.error(data, start, end, flags) if kind == codec.NLMSG_ERROR else (0, None)
                op = _operation(data, start + 20, end) if errno else None  # None of `_keep`: the row went meanwhile
                if op and not (op[0] in (NO_FDB, NO_NEIGHBOR) and errno in GONE):
                    told.append((op, errno, words))

    # Reading

    def fdb(self, index, keep=False):
        """(mac, dst, seconds since the last frame by it, state) of a device's own rows that are as `put` writes them: neither
        permanent nor extern_learn.

        keep: what was used since the last such call gets its time anew, so that the kernel removes what is out of use.
        """
        what = f"fdb of ifindex {index}"
        rows = steady(what, lambda: list(chain.from_iterable(self._read(self._reader, index, what, keep))))
        if keep:
            self._kept[index] = time.monotonic()
        return rows

    def _read(self, sock, index, what, keep):
        """Lists of rows. They are kept as they come: what somebody makes permanent after it was read would age again."""
        for rows in _dumped(sock, index, what):
            if keep:
                self._keep(index, rows)
            yield [row[:4] for row in rows]

    def fdb_pieces(self, index, keep=False):
        """The same in lists of some hundred rows, by a socket of its own: for a caller who has other things to do in between.

        The kernel counts where it was, from the newest row: when rows come meanwhile, others are told twice; when some go, as
        many may be left out (by `fdb` as well, since the kernel itself removes rows). See `absent`.
        """
        sock = rtnl.Rtnl()
        try:
            yield from self._read(sock, index, f"fdb of ifindex {index}", keep)
        except rtnl.Interrupted:
            pass
        finally:
            sock.close()
        if keep:
            self._kept[index] = time.monotonic()

    def absent(self, index, macs):
        """Those of the MACs that a device has no row for, of whatever kind. Exact, unlike a dump."""
        missing = []
        for some, data in self._asked(index, macs):
            for kind, flags, seq, start, end in codec.messages(data):
                errno, words = codec.error(data, start, end, flags) if kind == codec.NLMSG_ERROR else (0, None)
                if errno in GONE:
                    missing.append(some[seq])
                elif errno:
                    raise KernelError(f"fdb get {some[seq].hex(':')} ifindex {index}", errno, words)
        return missing

    def of(self, index, macs):
        """The rows of `fdb` that are of these MACs. Exact, unlike a dump."""
        return [row[:4] for _some, data in self._asked(index, macs) for row in _walked(data, index)]

    def _asked(self, index, macs):
        """(MACs, datagram of answers) of rows that are asked for one by one; a sequence number is the place among the MACs."""
        head = codec.HEADER.pack(40, RTM_GETNEIGH, codec.NLM_F_REQUEST, 0, 0)
        body = head[12:] + NDMSG.pack(AF_BRIDGE, index, 0, NTF_SELF, 0) + _LLADDR
        for at in range(0, len(macs), rtnl.BATCH):
            some = macs[at : at + rtnl.BATCH]
            payload = b"".join([head[:8] + number + body + one + _pad(6) for number, one in zip(NUMBERS, some)])
            for data in self._reader.batch(payload):
                yield some, data

    def _keep(self, index, rows):
        """What has no frame since its time began needs no more time. And before Linux 6.15 `used` is not only what frames set,
        but also this; so only what was used since the last call counts, or a row would stay for ever.
        """
        since = time.monotonic() - self._kept.get(index, float("-inf"))
        forms, parts = {}, []
        for mac, dst, used, state, updated in rows:
            if used < updated - SLACK and used < since - SLACK:
                form = forms.get((state, len(dst)))
                if not form:
                    body = NDMSG.pack(AF_BRIDGE, index, state, NTF_SELF | NTF_USE, 0) + _LLADDR
                    length = 16 + len(body) + 8 + 4 + len(dst)
                    # Without NLM_F_CREATE and NLM_F_REPLACE, what is gone stays so, and a new destination too.
                    head = codec.HEADER.pack(length, RTM_NEWNEIGH, codec.NLM_F_REQUEST, 0, 0) + body
                    form = forms[state, len(dst)] = head, _pad(6) + _DST[len(dst)]
                parts.append(form[0] + mac + form[1] + dst)
        for at in range(0, len(parts), rtnl.BATCH):
            self._writer.socket.send(b"".join(parts[at : at + rtnl.BATCH]))

    def neighbors(self, index):
        """(ip, mac, state) of a device's neighbours that count as the agent's: permanent, with its protocol number.

        Others that have the number were removed while in use, and may have been learned since (docs/neighbor.md).
        """
        what = f"neighbours of ifindex {index}"
        return steady(what, lambda: self._neighbors(index, what))

    def _neighbors(self, index, what):
        body = NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + codec.attribute(NDA_IFINDEX, codec.U32.pack(index))
        found = []
        for data, stride in self._reader.dump(RTM_GETNEIGH, body, what):
            layout = _NEIGHBORS.get(stride)
            if not layout:
                found += _neighbors(data, index)
                continue
            for at, (of, state, dst, ip, lladdr, mac, mark) in enumerate(layout.iter_unpack(data)):
                if (dst, lladdr, mark) != (_DST[len(ip)], _LLADDR, MARK):
                    found += _neighbors(data[at * stride : (at + 1) * stride], index)
                elif of == index and state & NUD_PERMANENT:
                    found.append((ip, mac, state))
        return found

    # Groups

    def groups(self, index):
        """{mac: set of dst} of a device's multicast and broadcast MACs, whoever wrote them."""
        what = f"fdb of ifindex {index}"
        return steady(what, lambda: self._groups(index, what))

    def _groups(self, index, what):
        found = {}
        for data, _stride in self._reader.dump(RTM_GETNEIGH, NDMSG.pack(AF_BRIDGE, index, 0, 0, 0), what):
            for mac, given, _state, _flags in _own(data, index):
                if mac[0] & 1 and NDA_DST in given:
                    found.setdefault(mac, set()).add(given[NDA_DST])
        return found

    def append(self, index, mac, dst):
        """Add a destination to a group's MAC. The driver keeps one state for all destinations of a MAC, and who appends one
        writes it (flood_list.py); so it stays what it is.
        """
        state, flags = self._entry(index, mac) or (STATE, NTF_SELF)
        body = _group(index, mac, dst, state, flags & ~NTF_OFFLOADED)
        self._reader.request(
            RTM_NEWNEIGH, body, _text("append", index, mac, dst), codec.NLM_F_CREATE | codec.NLM_F_APPEND
        )

    def remove(self, index, mac, dst):
        """Remove a destination of a group's MAC. One that is gone already is as it should be."""
        try:
            self._reader.request(RTM_DELNEIGH, _group(index, mac, dst, 0, NTF_SELF), _text("delete", index, mac, dst))
        except KernelError as error:
            if error.errno not in GONE:
                raise

    def _entry(self, index, mac):
        """(state, flags) of a MAC's entry, or None when there is none."""
        body = NDMSG.pack(AF_BRIDGE, index, 0, NTF_SELF, 0) + codec.attribute(NDA_LLADDR, mac)
        try:
            reply = self._reader.request(RTM_GETNEIGH, body, f"fdb get {mac.hex(':')} ifindex {index}")
        except KernelError as error:
            if error.errno == errnos.ENOENT:
                return None
            raise
        if not reply or reply[2] - reply[1] < BODY:
            return None
        _family, _index, state, flags, _type = NDMSG.unpack_from(reply[0], reply[1] + 16)
        return state, flags


def _reader():
    made = rtnl.Rtnl()
    made.patience(PATIENCE)
    return made


def _pad(size):
    return bytes(-size % 4)


def _ages(mac, state, flags):
    """Whether a row is one that the kernel removes when its time is over, and not of a group."""
    return not (state & (NUD_PERMANENT | NUD_NOARP) or flags & NTF_EXT_LEARNED or mac[0] & 1) and flags & NTF_SELF


def _own(data, index):
    """(mac, attributes, state, flags) of rows of the device itself; what its bridge has of it as a port is left out."""
    for kind, _flags, _seq, start, end in codec.messages(data):
        if kind != RTM_NEWNEIGH or end - start < BODY:
            continue
        family, of, state, flags, _type = NDMSG.unpack_from(data, start + 16)
        given = codec.attributes(data, start + BODY, end)
        mac = given.get(NDA_LLADDR, b"")
        if family == AF_BRIDGE and of == index and len(mac) == 6 and flags & NTF_SELF and NDA_MASTER not in given:
            yield mac, given, state, flags


def _dumped(sock, index, what):
    """Lists of rows as of `fdb`, with the seconds since they were updated."""
    for data, stride in sock.dump(RTM_GETNEIGH, NDMSG.pack(AF_BRIDGE, index, 0, 0, 0), what):
        layout, heads = _ROWS.get(stride), _HEADS.get(stride)
        if not layout:
            yield list(_walked(data, index))
            continue
        found = []
        for at, row in enumerate(layout.iter_unpack(data)):
            family, of, state, flags, lladdr, mac, dst_head, dst, cache, used, updated = row
            if (lladdr, dst_head, cache) != heads:
                found += _walked(data[at * stride : (at + 1) * stride], index)
            elif of == index and family == AF_BRIDGE and _ages(mac, state, flags):
                found.append((mac, dst, used / USER_HZ, state, updated / USER_HZ))
        yield found


def _walked(data, index):
    """The rows of `_dumped` in messages of any form."""
    for mac, given, state, flags in _own(data, index):
        ages = given.get(NDA_CACHEINFO, b"")
        if len(ages) >= 12 and NDA_DST in given and _ages(mac, state, flags):
            _confirmed, used, updated = struct.unpack_from("=III", ages)
            yield mac, given[NDA_DST], used / USER_HZ, state, updated / USER_HZ


def _neighbors(data, index):
    """The rows of `neighbors` in messages of any form."""
    for kind, _flags, _seq, start, end in codec.messages(data):
        if kind != RTM_NEWNEIGH or data.find(MARK, start + BODY, end) < 0:
            continue
        family, of, state, _bits, _type = NDMSG.unpack_from(data, start + 16)
        given = codec.attributes(data, start + BODY, end)
        ip = given.get(NDA_DST, b"")
        ours = codec.number(given.get(NDA_PROTOCOL)) == AGENT_PROTOCOL and state & NUD_PERMANENT
        if of == index and ours and FAMILY.get(len(ip)) == family:
            yield ip, given.get(NDA_LLADDR, b""), state


def _group(index, mac, dst, state, flags):
    head = NDMSG.pack(AF_BRIDGE, index, state, flags, 0)
    return head + codec.attribute(NDA_LLADDR, mac) + codec.attribute(NDA_DST, dst)


def _text(word, index, mac, dst):
    shown = socket.inet_ntop(FAMILY[len(dst)], dst)
    return f"fdb {word} {mac.hex(':')} ifindex {index} dst {shown}"


def _operation(data, start, end):
    """The operation of a request that `put` made, or None."""
    if end - start < BODY:
        return None
    length, kind, bits, _seq, _port = codec.HEADER.unpack_from(data, start)
    family, index, _state, flags, _type = NDMSG.unpack_from(data, start + 16)
    if flags & NTF_USE:
        return None
    given = codec.attributes(data, start + BODY, min(end, start + length))
    mac, address = given.get(NDA_LLADDR), given.get(NDA_DST)
    if kind == RTM_NEWNEIGH:
        if family != AF_BRIDGE:
            return NEIGHBOR, index, address, mac
        return NEW_FDB if bits & codec.NLM_F_EXCL else FDB, index, mac, address
    return (NO_FDB, index, mac, None) if family == AF_BRIDGE else (NO_NEIGHBOR, index, address, None)
