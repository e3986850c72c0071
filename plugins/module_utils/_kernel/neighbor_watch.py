# SPDX-License-Identifier: GPL-3.0-or-later
"""Word of rows that come, change and go in the tables of neighbours, bridges and VXLAN devices."""

from __future__ import annotations

import errno as errnos
import struct
from collections import namedtuple

from .._model.errors import KernelError
from . import codec
from .listen import listen
from .misses import RTMGRP_NEIGH
from .ndm import (
    BODY,
    NDA_DST,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROTOCOL,
    NDA_VLAN,
    NDMSG,
    NTF_SELF,
    NUD_REACHABLE,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
)

AF_BRIDGE = 7
RECEIVE_BUFFER = 32 << 20
AT_ONCE = 1000  # datagrams handled in one call, so that a storm of changes cannot hold the caller for ever
STATE = struct.calcsize("=IHHIIB3xi")  # where ndm_state is, and behind it ndm_flags and ndm_type
FLAGS = STATE + 2
RTN_UNICAST = 1  # what the driver writes as ndm_type
_WRITTEN = struct.pack("=HBB", NUD_REACHABLE, NTF_SELF, RTN_UNICAST)

# gone: removed by the kernel or by somebody. family: 7 of a bridge or a VXLAN device, 2 and 10 of neighbours. master: the bridge
# whose row it is, 0 where it is a row of the device itself (NTF_SELF in the flags). key: a MAC with family 7, else an address.
# lladdr: a neighbour's MAC; b"" where it has none. dst: where a VXLAN device's row leads to, else None. protocol: NDA_PROTOCOL.
Event = namedtuple("Event", "gone family index master key lladdr vlan state flags protocol dst")


class NeighborWatch:
    """`lost` counts the times that the kernel had to leave out something; then the tables are to be read again.

    own: tell also of rows that VXLAN devices themselves get. ageing: also of those of them that are as DynamicRows writes them, which
    mostly are the listener's own.
    """

    def __init__(self, own=False, ageing=True):
        self.lost = 0
        ignore = ((RTM_NEWNEIGH, AF_BRIDGE, FLAGS, NTF_SELF),)
        if own:
            ignore = () if ageing else ((RTM_NEWNEIGH, AF_BRIDGE, STATE, _WRITTEN),)
        self._socket = listen(RTMGRP_NEIGH, RECEIVE_BUFFER, (RTM_NEWNEIGH, RTM_DELNEIGH), ignore)

    def close(self):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    def read(self):
        """The Events since the last call, or some of them: `fileno` stays readable while there are more."""
        events = []
        for _dummy in range(AT_ONCE):
            try:
                data, (sender, _groups) = self._socket.recvfrom(1 << 12)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errnos.ENOBUFS:
                    raise KernelError("listen to changes of neighbours", error.errno) from None
                self.lost += 1
                continue
            if sender == 0:  # the kernel; other processes of the host may send as well
                for kind, _flags, _seq, start, end in codec.messages(data):
                    event = _event(data, kind, start, end)
                    if event:
                        events.append(event)
        return events


def _event(data, kind, start, end):
    """The Event of a message, or None when it tells of no row that has a key."""
    if kind not in (RTM_NEWNEIGH, RTM_DELNEIGH) or end - start < BODY:
        return None
    family, index, state, flags, _type = NDMSG.unpack_from(data, start + 16)
    given = codec.attributes(data, start + BODY, end)
    lladdr, dst = given.get(NDA_LLADDR, b""), given.get(NDA_DST)
    key = lladdr if family == AF_BRIDGE else dst
    if not key:
        return None
    return Event(
        gone=kind == RTM_DELNEIGH,
        family=family,
        index=index,
        master=codec.number(given.get(NDA_MASTER), 0),
        key=key,
        lladdr=lladdr,
        vlan=codec.number(given.get(NDA_VLAN), 0),
        state=state,
        flags=flags,
        protocol=codec.number(given.get(NDA_PROTOCOL), 0),
        dst=dst if family == AF_BRIDGE else None,
    )
