# SPDX-License-Identifier: GPL-3.0-or-later
"""What VXLAN devices with l2miss or l3miss ask: destinations of frames that they know no way to, and addresses whose neighbour
they do not know.

The kernel tells a miss as RTM_GETNEIGH to the group of neighbours, once a frame: NDA_LLADDR alone for a MAC, NDA_DST for an
address, which comes first in either (vxlan_fdb_info, drivers/net/vxlan/vxlan_core.c). The family says nothing: it is AF_INET for
every MAC. A neighbour that is to be asked of a program (app_solicit) comes in the same form, with NDA_DST.
"""

from __future__ import annotations

import errno as errnos
import struct

from .._model.errors import KernelError
from . import codec
from .listen import listen
from .ndm import BODY, NDA_DST, NDA_LLADDR, RTM_GETNEIGH

RTMGRP_NEIGH = 1 << 2
RECEIVE_BUFFER = 64 << 20  # some 150,000 misses
LONGEST = 1024  # of a miss; they are 64 to 100 bytes
# The netlink header's length and type, the interface, and the first attribute's header.
_HEAD = struct.Struct("=IH14xi4xI")
_KEY = BODY + 4
_ENDS = {
    codec.U32.unpack(codec.ATTRIBUTE.pack(4 + size, kind))[0]: _KEY + size
    for kind, size in ((NDA_LLADDR, 6), (NDA_DST, 4), (NDA_DST, 16))
}


class Misses:
    """`lost` counts the times that the kernel had to leave misses out. Frames that meet no entry tell again."""

    def __init__(self):
        self.lost = 0
        self._socket = listen(RTMGRP_NEIGH, RECEIVE_BUFFER, (RTM_GETNEIGH,))

    def close(self):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    def read(self, most=1000):
        """(index, key) of so many misses at most, oldest first. A key of 6 bytes is a MAC, one of 4 or 16 an address."""
        rows = []
        add, receive, head, ends = rows.append, self._socket.recvfrom, _HEAD.unpack_from, _ENDS
        while len(rows) < most:
            try:
                data, (sender, _groups) = receive(LONGEST)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errnos.ENOBUFS:
                    raise KernelError("listen to misses", error.errno) from None
                self.lost += 1
                continue
            if sender:  # the kernel has 0; other processes of the host may send as well
                continue
            if len(data) > _KEY:
                length, kind, index, first = head(data)
                end = ends.get(first)
                if end and kind == RTM_GETNEIGH and end <= length <= len(data):
                    add((index, data[_KEY:end]))
                    continue
            row = _walk(data)
            if row:
                add(row)
        return rows


def _walk(data):
    """The miss of a message of any form, or None. A device that came from another network namespace tells that one first."""
    for kind, _flags, _seq, start, end in codec.messages(data):
        if kind == RTM_GETNEIGH and end - start >= BODY:
            index = codec.S32.unpack_from(data, start + 20)[0]
            given = codec.attributes(data, start + BODY, end)
            key = given.get(NDA_DST) or given.get(NDA_LLADDR)
            if key and len(key) in ((4, 16) if NDA_DST in given else (6,)):
                return index, key
    return None
