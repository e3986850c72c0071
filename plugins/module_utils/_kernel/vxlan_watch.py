# SPDX-License-Identifier: GPL-3.0-or-later
"""The VXLAN devices of this network namespace, and word of each change, by netlink."""

from __future__ import annotations

import errno as errnos
from dataclasses import dataclass

from .._model.errors import KernelError
from . import codec, rtnl
from .listen import listen
from .table import IFINFOMSG, RTM_GETLINK, steady

RTM_NEWLINK, RTM_DELLINK = 16, 17  # linux/rtnetlink.h
RTMGRP_LINK = 1
AF_UNSPEC = 0
IFLA_IFNAME, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_EXT_MASK = 3, 16, 18, 29  # linux/if_link.h
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_VXLAN_ID, IFLA_VXLAN_GROUP, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING, IFLA_VXLAN_AGEING = 1, 2, 4, 7, 8
IFLA_VXLAN_L2MISS, IFLA_VXLAN_L3MISS, IFLA_VXLAN_PORT = 13, 14, 15
IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6, IFLA_VXLAN_COLLECT_METADATA, IFLA_VXLAN_VNIFILTER = 16, 17, 25, 30
RTEXT_FILTER_SKIP_STATS = 1 << 3
NLA_F_NESTED = 0x8000

# RFC 2863, in the order of the kernel's IF_OPER_*.
STATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
USABLE = ("unknown", "up")  # a VXLAN device that is up has no carrier to tell of, and so is mostly "unknown"
RECEIVE_BUFFER = 8 << 20  # about 4000 notifications; what does not fit is lost, and everything is read again
AT_ONCE = 1000  # datagrams handled in one call, so that a storm of changes cannot hold the caller for ever
_KIND = codec.attribute(IFLA_LINKINFO | NLA_F_NESTED, codec.attribute(IFLA_INFO_KIND, b"vxlan\0"))
_MASK = codec.attribute(IFLA_EXT_MASK, codec.U32.pack(RTEXT_FILTER_SKIP_STATS))


@dataclass(frozen=True)
class VxlanDevice:
    """A VXLAN device as the kernel tells it. Addresses are packed."""

    name: str
    index: int
    vni: int
    local: bytes | None
    remote: bytes | None  # where the default entry leads to, when it is no group
    group: bytes | None
    family: int | None  # 4, 6, or None where no address tells it
    state: str  # one of STATES: its own, not that of the bridge's port that it may be
    external: bool
    vnifilter: bool
    port: int | None
    misses: bool = False  # it tells of misses, see misses.py
    l3: bool = False  # of those of neighbours
    ageing: int = 300  # seconds after which rows that are not permanent go
    l2: bool = False  # of those of rows
    learning: bool = True  # the driver writes rows of what it hears

    @property
    def usable(self):
        return self.state in USABLE


class LinkWatch:
    """`devices` is {index: device}, as `read` last saw it. `fileno` becomes readable when there is more to read.

    What a device is, a class that builds on this one says: `_scan` and `_device`.
    """

    def __init__(self):
        self.rescans = 0
        self.devices = {}
        self._socket = listen(RTMGRP_LINK, RECEIVE_BUFFER)
        try:
            # Listening comes first: a change during the scan is told afterwards once more.
            self.devices = self._scan()
        except BaseException:
            self._socket.close()
            raise

    def close(self):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    def read(self):
        """Take in what has been told meanwhile. True when a device came, changed or went."""
        before = dict(self.devices)
        lost = False
        for _dummy in range(AT_ONCE):
            try:
                data, (sender, _groups) = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errnos.ENOBUFS:
                    raise KernelError("listen to changes of links", error.errno) from None
                lost = True
                continue
            if sender == 0:  # the kernel; other processes of the host may send as well
                self._take(data)
        if lost:
            self.rescans += 1
            self.devices = self._scan()
        return self.devices != before

    def rescan(self):
        """Look at all devices again. True when something had gone unnoticed."""
        before, self.devices = self.devices, self._scan()
        return self.devices != before

    def _take(self, data):
        for kind, _flags, _seq, start, end in codec.messages(data):
            if kind == RTM_NEWLINK:
                device = self._device(data, start, end)
                if device:
                    self.devices[device.index] = device
            elif kind == RTM_DELLINK and end - start >= 16 + IFINFOMSG.size:
                family, _type, index, _flags, _change = IFINFOMSG.unpack_from(data, start + 16)
                if family == AF_UNSPEC:  # a bridge tells with AF_BRIDGE that a port has left it
                    self.devices.pop(index, None)


def scan():
    """{index: VxlanDevice} of all there are."""
    return scanned(_KIND, _device, "list the VXLAN devices")


def scanned(kind, decode, what):
    """{index: device} of all of a kind (an attribute, or b"" for all), by the function that reads a message."""
    sock = rtnl.Rtnl()
    try:
        return steady(what, lambda: _scanned(sock, kind, decode, what))
    finally:
        sock.close()


def _scanned(sock, kind, decode, what):
    found = {}
    for data, _stride in sock.dump(RTM_GETLINK, bytes(IFINFOMSG.size) + _MASK + kind, what):
        for got, _flags, _seq, start, end in codec.messages(data):
            device = decode(data, start, end) if got == RTM_NEWLINK else None
            if device:
                found[device.index] = device
    return found


class VxlanWatch(LinkWatch):
    """`devices` is {index: VxlanDevice}."""

    def _scan(self):
        return scan()

    def _device(self, data, start, end):
        return _device(data, start, end)


def link_of(data, start, end):
    """(index, attributes, those of IFLA_LINKINFO) of an RTM_NEWLINK, or None when it is a bridge's about its port."""
    if end - start < 16 + IFINFOMSG.size:
        return None
    family, _type, index, _flags, _change = IFINFOMSG.unpack_from(data, start + 16)
    link = codec.attributes(data, start + 16 + IFINFOMSG.size, end)
    if family != AF_UNSPEC or IFLA_IFNAME not in link:
        return None
    return index, link, _nested(link.get(IFLA_LINKINFO))


def _device(data, start, end):
    """The device of an RTM_NEWLINK, or None when it is not VXLAN."""
    index, link, info = link_of(data, start, end) or (0, {}, {})
    if codec.text(info.get(IFLA_INFO_KIND)) != "vxlan":
        return None
    given = _nested(info.get(IFLA_INFO_DATA))
    local = _packed(given.get(IFLA_VXLAN_LOCAL6) or given.get(IFLA_VXLAN_LOCAL))
    remote = _packed(given.get(IFLA_VXLAN_GROUP6) or given.get(IFLA_VXLAN_GROUP))
    group = remote if remote and (remote[0] == 0xFF if len(remote) == 16 else remote[0] >> 4 == 0xE) else None
    told = local or remote
    state = codec.number(link.get(IFLA_OPERSTATE), 0)
    l2, l3 = (bool(codec.number(given.get(kind), 0)) for kind in (IFLA_VXLAN_L2MISS, IFLA_VXLAN_L3MISS))
    return VxlanDevice(
        name=codec.text(link[IFLA_IFNAME]),
        index=index,
        vni=codec.number(given.get(IFLA_VXLAN_ID), 0),
        local=local,
        remote=None if group else remote,
        group=group,
        family=None if not told else 6 if len(told) == 16 else 4,
        state=STATES[state] if state < len(STATES) else STATES[0],
        external=bool(codec.number(given.get(IFLA_VXLAN_COLLECT_METADATA), 0)),
        vnifilter=bool(codec.number(given.get(IFLA_VXLAN_VNIFILTER), 0)),
        port=int.from_bytes(given.get(IFLA_VXLAN_PORT, b""), "big") or None,
        misses=l2 or l3,
        l3=l3,
        ageing=codec.number(given.get(IFLA_VXLAN_AGEING), 0),
        l2=l2,
        learning=bool(codec.number(given.get(IFLA_VXLAN_LEARNING), 0)),
    )


def _nested(payload):
    return codec.attributes(payload, 0, len(payload)) if payload else {}


def _packed(payload):
    """An address, or None; the unspecified one is none."""
    return payload if payload and len(payload) in (4, 16) and any(payload) else None
