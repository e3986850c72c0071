# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of linux/neighbour.h, which FDB rows and neighbours share."""

from __future__ import annotations

import struct

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

NDMSG = struct.Struct("=B3xiHBB")  # family, interface, state, flags, type
BODY = 28  # where attributes begin: after the netlink header and ndmsg

NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_VLAN, NDA_PORT, NDA_VNI, NDA_IFINDEX = 1, 2, 3, 4, 5, 6, 7, 8
NDA_MASTER, NDA_LINK_NETNSID, NDA_SRC_VNI, NDA_PROTOCOL, NDA_NH_ID, NDA_FLAGS_EXT = 9, 10, 11, 12, 13, 15

NUD_INCOMPLETE, NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_FAILED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80

NTF_USE, NTF_SELF, NTF_MASTER, NTF_PROXY, NTF_EXT_LEARNED = 0x01, 0x02, 0x04, 0x08, 0x10
NTF_OFFLOADED, NTF_STICKY, NTF_ROUTER = 0x20, 0x40, 0x80
NTF_EXT_MANAGED, NTF_EXT_LOCKED = 0x01, 0x02  # in NDA_FLAGS_EXT

RTN_UNICAST = 1
USER_HZ = 100  # ages come in hundredths of a second on every architecture of Debian
