# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel's tables as far as a resolver is concerned: its operations, rows that age, and others who change rows."""

from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import Claim
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import (
    FDB,
    NEIGHBOR,
    NEW_FDB,
    NO_FDB,
    NO_NEIGHBOR,
)


def mac(number):
    return b"\x02\x00" + number.to_bytes(4, "big")


def ip(number, family=4):
    return b"\x0a" + number.to_bytes(3, "big") if family == 4 else b"\xfd" + bytes(11) + number.to_bytes(4, "big")


def vtep(number, family=4):
    return b"\xc0\x00\x02" + bytes([number]) if family == 4 else b"\x20\x01\x0d\xb8" + bytes(11) + bytes([number])


def claim(number, behind, *addresses, vni=100, order=1):
    """An endpoint behind a VTEP; numbers are mac's and vtep's, or octets."""
    behind = vtep(behind) if isinstance(behind, int) else behind
    return Claim(vni, mac(number), behind, addresses or (ip(number),), order)


class Kernel:
    """`events` are (index, key, taken), not yet told. `now` is set by whoever has the clock."""

    def __init__(self, indexes, ageing):
        self.ageing = ageing
        self.now = 0.0
        self.fdb = {index: {} for index in indexes}  # mac: [destination, used]
        self.neighbors = {index: {} for index in indexes}  # address: mac
        self.others = {index: set() for index in indexes}  # keys of rows that are somebody else's
        self.events = []

    def put(self, ops):
        """Carry out operations. {index: MACs} that had rows where new ones were to be."""
        refused = {}
        for kind, index, key, value in ops:
            assert len(key) == 6 if kind in (FDB, NEW_FDB, NO_FDB) else len(key) in (4, 16), (kind, key)
            if kind == NEW_FDB and key in self.fdb[index]:
                refused.setdefault(index, set()).add(key)
            elif kind in (FDB, NEW_FDB):
                row = self.fdb[index].setdefault(key, [value, self.now])
                row[0] = value
                self.others[index].discard(key)
            elif kind == NEIGHBOR:
                self.neighbors[index][key] = value
                self.others[index].discard(key)
            else:
                assert kind in (NO_FDB, NO_NEIGHBOR) and value is None
                self.remove(index, key)
        return refused

    def of(self, index, macs):
        """Those of the rows of `ours` that are of some MACs."""
        return [row for row in self.ours(index)[0] if row[0] in macs]

    def remove(self, index, key):
        self.others[index].discard(key)
        if self._table(index, key).pop(key, None) is not None:
            self.events.append((index, key, False))

    def take(self, index, key):
        """Somebody makes a row his own."""
        if key in self._table(index, key):
            self.others[index].add(key)
            self.events.append((index, key, True))

    def age(self):
        for index, rows in self.fdb.items():
            for key in [key for key, row in rows.items() if row[1] + self.ageing <= self.now]:
                if key not in self.others[index]:
                    self.remove(index, key)

    def uses(self, index, key):
        """A frame to a MAC, or a question for an address: whether that is a miss."""
        row = self.fdb[index].get(key if len(key) == 6 else self.neighbors[index].get(key))
        if row is not None:
            row[1] = self.now
        return key not in self._table(index, key)

    def ours(self, index):
        """What `adopt` takes: the FDB rows and the neighbours that are nobody else's."""
        others = self.others[index]
        fdb = [(key, row[0], self.now - row[1]) for key, row in self.fdb[index].items() if key not in others]
        return fdb, [(key, value) for key, value in self.neighbors[index].items() if key not in others]

    def _table(self, index, key):
        return (self.fdb if len(key) == 6 else self.neighbors)[index]


def contradictions(directory, devices, kernel):
    """What the kernel has of ours that the registry does not say, or that is behind the host itself."""
    found = []
    for index, device in devices.items():
        fdb, neighbors = kernel.ours(index)
        for key, destination, _idle in fdb:
            if answer(directory, device, key) != destination:
                found.append((device.name, key.hex(), destination.hex()))
        for key, value in neighbors:
            if answer(directory, device, key) != value:
                found.append((device.name, key.hex(), value.hex()))
    return found


def answer(directory, device, key):
    """What a row of the key is to have: the VTEP of a MAC, the MAC of an address; None: there is to be none."""
    owner = key if len(key) == 6 else directory.address(device.vni, key)
    claim = owner and directory.mac(device.vni, owner)
    local = device.local or b""
    if claim is None or claim.vtep == local or len(claim.vtep) != len(local):
        return None
    return claim.vtep if len(key) == 6 else claim.mac
