# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent does, without input and output: misses, and the registry's changes, to operations on the kernel's tables.

The memory of what the kernel has is never quite right: rows age, and others remove them, and word of that comes late. Where in doubt
a row is taken to be there. That costs nothing, since each miss is answered whatever the memory says, unless its answer has only
just been sent; while a row that is forgotten would not follow the registry until the next `adopt`.
"""

from __future__ import annotations

from collections import namedtuple

from . import listing
from .bounded import Bounded
from .claims import address_text

# local: packed, of the family that the device takes; None: it has none. ageing: seconds, infinite where rows stay. l2: it tells of
# MACs without a row. learning: the driver writes rows too.
Device = namedtuple("Device", "index name vni local ageing l2 learning", defaults=(300.0, True, False))

# An operation is (kind, index, key, value): (FDB, index, mac, vtep), (NEIGHBOR, index, ip, mac), (NO_FDB, index, mac, None),
# (NO_NEIGHBOR, index, ip, None), and (NEW_FDB, index, mac, vtep), which the kernel refuses where the MAC has a row: that may be somebody's.
FDB, NEIGHBOR, NO_FDB, NO_NEIGHBOR, NEW_FDB = range(5)

FOLD = 0.05  # seconds after an answer in which a miss of the same key is one that was under way already
SETTLE = 1.0  # seconds after an answer in which the kernel's word, or its table, may be of the time before
DEVICES = 8  # what all devices together may have unanswered is so many times what one may have
FEW = 10  # alarms of a kind and device
TAKEN = 1 << 16  # rows of a device that are known to be somebody's, between two looks

COUNTERS = {
    "l2 misses": "misses of a MAC address",
    "l3 misses": "misses of an IP address",
    "folded": "misses of what had been answered within the last 50 ms",
    "answered": "misses that were answered, at once or when the registry knew",
    "unanswered": "misses that had no answer at once",
    "own": "of these, misses of an endpoint that is behind this host itself",
    "other family": "of these, misses of an endpoint whose VTEP has no address of the device's family",
    "evicted": "rows removed since there were too many",
    "aged": "rows that the kernel removed, and neighbours that went after them",
    "moved": "rows that lead elsewhere since the registry says so",
    "withdrawn": "rows removed since the registry does not have them any more",
}


class _Row:
    """What the kernel has. value: VTEP, or the MAC of a neighbour."""

    __slots__ = ("answered", "used", "value")

    def __init__(self, value, used, answered):
        self.value = value
        self.used = used  # when, as far as is known
        self.answered = answered  # when it was last written


class _Waiting:
    """A key that was asked for and has no answer."""

    __slots__ = ("count", "first", "used")

    def __init__(self, now):
        self.count = 1
        self.first = self.used = now


class _Here:
    """What there is of a device: parts of the three tables, and the addresses of each MAC that has neighbours."""

    __slots__ = ("addresses", "device", "fdb", "local", "neighbors", "taken", "vni", "waiting")

    def __init__(self, device, fdb, neighbors, waiting):
        self.be(device)
        self.fdb, self.neighbors, self.waiting = fdb, neighbors, waiting
        self.addresses = {}  # mac: tuple of packed addresses
        self.taken = {}  # key of a row that is somebody's: when that was told. For long only of MACs that have neighbours

    def be(self, device):
        self.device = device
        self.vni = device.vni
        self.local = device.local or b""  # no VTEP's address is as long


class Resolver:
    """The caller carries out the operations that are returned, in order, and tells `alarms`, a list of (key, text), and empties it.

    The directory is to say already what is told to `changed` and `adopt`. `now` is monotonic.
    """

    def __init__(self, directory, limit=65536, unanswered=8192, unanswered_ttl=10.0):
        """limit: of FDB rows, and as many neighbours; of all devices. unanswered: of one device; of all, 8 times as many."""
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.alarms = []
        self.unanswered_ttl = unanswered_ttl
        self._directory = directory
        self._fdb, self._neighbors = Bounded(limit), Bounded(limit)
        self._waiting = Bounded(DEVICES * unanswered, each=unanswered)
        self._here = {}  # index: _Here
        self._of_vni = {}  # vni: [_Here]
        self._said = {}  # index: {what has been said of it}
        self._now = 0.0

    def configure(self, limit, unanswered, unanswered_ttl):
        """Other bounds. What is beyond them goes with the next operations."""
        self._fdb.limit = self._neighbors.limit = limit
        self._waiting.limit, self._waiting.each = DEVICES * unanswered, unanswered
        self.unanswered_ttl = unanswered_ttl

    # -- Devices

    def devices(self, devices, now):
        """Take in the devices that are to be served: {index: Device}. Operations; the kernel has none of the rows of a device that it
        does not have any more, and refuses to remove them."""
        self._now = now
        ops, kept = [], []
        for index in [index for index, here in self._here.items() if not _is_same(here.device, devices.get(index))]:
            self._leave(index, ops)
        for index, device in devices.items():
            here = self._here.get(index)
            if here is None:
                tables = (self._fdb, self._neighbors, self._waiting)
                here = self._here[index] = _Here(device, *(table.add(index) for table in tables))
            elif here.device != device:
                here.be(device)
                kept.append(here)
                self._said.pop(index, None)
            self._say_what_it_lacks(device)
        self._of_vni = {}
        for here in self._here.values():
            self._of_vni.setdefault(here.vni, []).append(here)
        for here in kept:
            self._review_all(here, now, ops)
        return self._trimmed(ops)

    def _leave(self, index, ops):
        for table, kind in ((self._neighbors, NO_NEIGHBOR), (self._fdb, NO_FDB)):
            rows = table.remove(index)
            self.counters["withdrawn"] += len(rows)
            ops += [(kind, index, key, None) for key in rows]
        self._waiting.remove(index)
        self._said.pop(index, None)
        del self._here[index]

    # -- Misses

    def misses(self, rows, now):
        """Answer misses: [(index, key)]. A key of 6 octets is a MAC, of 4 or 16 an address, whose answer has the row of its MAC as well."""
        self._now = now
        ops, counters, devices, fdb = [], self.counters, self._here, self._fdb
        claim_of, mac_of = self._directory.mac, self._directory.address
        level2 = level3 = folded = answered = 0
        for index, key in rows:
            here = devices.get(index)
            if here is None:
                continue
            is_mac = len(key) == 6
            row = (here.fdb if is_mac else here.neighbors).get(key)
            if is_mac:
                level2 += 1
            else:
                level3 += 1
            if row is not None and now - row.answered < FOLD:
                folded += 1
                continue
            mac = key if is_mac else mac_of(here.vni, key)
            claim = None if mac is None else claim_of(here.vni, mac)
            if claim is None or not _is_reachable(here, claim):
                self._wait(here, key, claim, now)
                continue
            answered += 1
            mac = claim.mac  # the same octets as elsewhere, not one more copy
            known = here.fdb.get(mac)
            if is_mac or known is None:
                # One of ours that leads elsewhere is about to be moved.
                new = known is None or known.value == claim.vtep
                ops.append((NEW_FDB if new else FDB, index, mac, claim.vtep))
                fdb.put(index, mac, _Row(claim.vtep, now, now))
            if not is_mac:
                self._put_neighbor(here, key, mac, now, ops)
        counters["l2 misses"] += level2
        counters["l3 misses"] += level3
        counters["folded"] += folded
        counters["answered"] += answered
        return self._trimmed(ops)

    def _wait(self, here, key, claim, now):
        index = here.device.index
        waiting = here.waiting.get(key)
        if waiting is None:
            waiting = _Waiting(now)
        else:
            waiting.count += 1
            waiting.used = now
        self._waiting.put(index, key, waiting)
        self.counters["unanswered"] += 1
        why = listing.why(here.device, claim)
        if why in self.counters:
            self.counters[why] += 1
        if why == "other family":
            device = here.device
            self._say(
                index,
                claim.vtep,
                f"{device.name} has the local address {address_text(device.local)}, and cannot reach VTEP {address_text(claim.vtep)}, "
                f"behind which the registry has {claim.mac.hex(':')} of VNI {device.vni}; give the VTEP an address of the same family",
            )

    # -- The registry

    def changed(self, keys, now):
        """Follow the registry after it has changed: [(vni, mac)]."""
        self._now = now
        ops = []
        for vni, mac in keys:
            for here in self._of_vni.get(vni, ()):
                if not (here.fdb or here.neighbors or here.waiting):
                    continue  # as at the start, when all that the registry has is new
                claim = self._directory.mac(vni, mac)
                self._review_mac(here, mac, claim, now, ops)
                for address in claim.addresses if claim else ():
                    self._review_address(here, address, now, ops)
                for address in here.addresses.get(mac, ()):
                    self._review_address(here, address, now, ops)
        return self._trimmed(ops)

    def _review_all(self, here, now, ops):
        vni = here.vni
        for mac in [*here.fdb, *(key for key in here.waiting if len(key) == 6)]:
            self._review_mac(here, mac, self._directory.mac(vni, mac), now, ops)
        for address in [*here.neighbors, *(key for key in here.waiting if len(key) != 6)]:
            self._review_address(here, address, now, ops)

    def _review_mac(self, here, mac, claim, now, ops):
        index = here.device.index
        row = here.fdb.get(mac)
        if claim is None or not _is_reachable(here, claim):
            if row is not None:
                self._fdb.pop(index, mac)
                self.counters["withdrawn"] += 1
                ops.append((NO_FDB, index, mac, None))
            return
        awaited = self._end_wait(here, mac, now)
        if row is None:
            if awaited:
                self.counters["answered"] += 1
                self._put_fdb(here, claim, now, ops)
        elif row.value != claim.vtep:
            self.counters["moved"] += 1
            row.value, row.answered = claim.vtep, now
            ops.append((FDB, index, mac, claim.vtep))

    def _review_address(self, here, address, now, ops):
        row = here.neighbors.get(address)
        if row is None and address not in here.waiting:
            return
        claim = self._holder(here.vni, address)
        if claim is None or not _is_reachable(here, claim):
            if row is not None:
                self._drop_neighbor(here, address, ops)
                self.counters["withdrawn"] += 1
            return
        awaited = self._end_wait(here, address, now)
        if row is not None and row.value == claim.mac:
            return
        if row is None and not awaited:
            return
        self.counters["answered" if row is None else "moved"] += 1
        if claim.mac not in here.fdb:
            self._put_fdb(here, claim, now, ops)
        self._put_neighbor(here, address, claim.mac, now, ops)

    def _end_wait(self, here, key, now):
        """Whether somebody asked for the key, which is known now, so lately that the answer is still of use."""
        waiting = self._waiting.pop(here.device.index, key)
        return waiting is not None and now - waiting.used <= self.unanswered_ttl

    # -- The kernel

    def gone(self, index, key, now=None, taken=False):
        """The kernel does not have a row any more. taken: it is there and not ours, since it is somebody's or he has made it his.

        Just after an answer, word of a removal is taken to be of the former row. Not so word of taking: what is somebody else's is not
        to be removed, whereas a row of ours that is forgotten is found by the next `adopt`.
        """
        here = self._here.get(index)
        if here is None:
            return
        self._now = now = self._now if now is None else now
        here.taken.pop(key, None)
        if taken:
            self._waiting.pop(index, key)
            here.taken[key] = now
            if len(here.taken) > TAKEN:
                del here.taken[next(iter(here.taken))]
        row = (here.fdb if len(key) == 6 else here.neighbors).get(key)
        if row is None or (now - row.answered < SETTLE and not taken):
            return
        self._forget(here, key)
        self.counters["aged"] += not taken

    def refused(self, index, key):
        """The kernel did not take an operation, for whatever reason."""
        here = self._here.get(index)
        if here is not None:
            self._waiting.pop(index, key)
            self._forget(here, key)

    def found(self, index, fdb, now):
        """Rows of ours that were there already when they were to be written as new ones, as of `adopt`."""
        self._now = now
        here, ops = self._here.get(index), []
        if here is not None:
            for mac, vtep, idle in fdb:
                self._adopt_fdb(here, mac, self._directory.mac(here.vni, mac), vtep, now - idle, now, ops)
            self._fdb.unsorted.add(index)
        return self._trimmed(ops)

    def lost(self):
        """Word of changes was lost, maybe that what was somebody's is gone."""
        for here in self._here.values():
            here.taken.clear()

    def adopt(self, index, fdb, neighbors, now, since=None):
        """Bring in line the registry, the memory, and what the kernel has of ours: [(mac, VTEP, seconds since its use)] and [(ip, mac)].

        Not before the directory has been filled, since what the registry does not have is removed. since: when reading the kernel's
        tables began. Rows that were written after that may be missing, and such as were written within the last second; and what was
        taken after that is somebody's, whatever was read.
        """
        self._now = now
        since = now if since is None else since
        here = self._here.get(index)
        if here is None:
            return []
        ops = []
        settled = min(since, now - SETTLE)
        late = {key for key, when in here.taken.items() if when >= since}
        if late:
            fdb, neighbors = ([row for row in rows if row[0] not in late] for rows in (fdb, neighbors))
        there = {mac for mac, _vtep, _idle in fdb} | {address for address, _mac in neighbors}
        for rows in (here.fdb, here.neighbors):
            for key in [key for key, row in rows.items() if key not in there and row.answered <= settled]:
                self._forget(here, key)
                self.counters["aged"] += 1
        # Nearly all rows are as they are known, and a large table is not to keep misses waiting.
        vni, known, claim_of, mac_of = here.vni, here.fdb, self._directory.mac, self._directory.address
        for mac, vtep, idle in fdb:
            row, claim = known.get(mac), claim_of(vni, mac)
            if row is not None and claim is not None and claim.vtep == vtep == row.value:
                # The kernel does not know of misses, which are uses as well.
                row.used = max(now - idle, row.used)
            else:
                self._adopt_fdb(here, mac, claim, vtep, now - idle, now, ops)
        for address, mac in neighbors:
            row, forwarding = here.neighbors.get(address), known.get(mac)
            if row is not None and forwarding is not None and row.value == mac == mac_of(vni, address):
                # Who asks for the address uses the row of its MAC: the kernel looks for that before it answers.
                row.used = max(row.used, forwarding.used)
            else:
                self._adopt_neighbor(here, address, mac, now, ops)
        here.taken = {
            key: when
            for key, when in here.taken.items()
            if when >= since or (key in here.addresses and key not in there)
        }
        self._fdb.unsorted.add(index)
        self._neighbors.unsorted.add(index)
        return self._trimmed(ops)

    def _adopt_fdb(self, here, mac, claim, vtep, used, now, ops):
        index = here.device.index
        row = here.fdb.get(mac)
        if claim is None or not _is_reachable(here, claim):
            self._fdb.pop(index, mac)
            self.counters["withdrawn"] += 1
            ops.append((NO_FDB, index, mac, None))
            return
        if row is None:
            row = _Row(claim.vtep, used, -SETTLE)
            self._fdb.put(index, claim.mac, row)
        else:
            row.value, row.used = claim.vtep, max(used, row.used)
        if vtep != claim.vtep:
            self.counters["moved"] += 1
            row.answered = now
            ops.append((FDB, index, mac, claim.vtep))

    def _adopt_neighbor(self, here, address, mac, now, ops):
        claim = self._holder(here.vni, address)
        row = here.neighbors.get(address)
        if claim is None or not _is_reachable(here, claim):
            self._drop_neighbor(here, address, ops)
            self.counters["withdrawn"] += 1
            return
        if mac != claim.mac:
            self.counters["moved"] += 1
            self._put_neighbor(here, address, claim.mac, now, ops)
            return
        if row is None or row.value != mac:
            row = self._keep_neighbor(here, address, _Row(claim.mac, now, -SETTLE))
        forwarding = here.fdb.get(claim.mac)
        if forwarding is not None:
            row.used = max(row.used, forwarding.used)
        elif claim.mac in here.taken:
            pass  # somebody's row has not gone, and does not tell here when it was used
        elif now - row.used >= here.device.ageing:
            self._drop_neighbor(here, address, ops)
            self.counters["aged"] += 1
        elif not here.device.l2:
            # Nobody would ask for it: the neighbour answers, and no miss of its MAC is told.
            self._put_fdb(here, claim, now, ops)

    # -- What there is to be seen

    def entries(self, now=None):
        return listing.entries(self._here.values(), self._now if now is None else now)

    def missing(self, now=None):
        return listing.missing(self._here.values(), self._claim, self._now if now is None else now)

    def macs(self, index):
        """Of which a device has FDB rows, as far as is known."""
        here = self._here.get(index)
        return list(here.fdb) if here else []

    def sizes(self, index=None):
        """{table: number of rows}, of all devices or of one."""
        tables = {"fdb": self._fdb, "neighbors": self._neighbors, "unanswered": self._waiting}
        if index is None:
            return {name: table.count for name, table in tables.items()}
        return {name: len(table.devices.get(index, ())) for name, table in tables.items()}

    # -- Inside

    def _claim(self, vni, key):
        return self._directory.mac(vni, key) if len(key) == 6 else self._holder(vni, key)

    def _holder(self, vni, address):
        """The claim of the endpoint that has an address, or None."""
        mac = self._directory.address(vni, address)
        return None if mac is None else self._directory.mac(vni, mac)

    def _put_fdb(self, here, claim, now, ops):
        index = here.device.index
        self._fdb.put(index, claim.mac, _Row(claim.vtep, now, now))
        ops.append((NEW_FDB, index, claim.mac, claim.vtep))

    def _put_neighbor(self, here, address, mac, now, ops):
        self._keep_neighbor(here, address, _Row(mac, now, now))
        ops.append((NEIGHBOR, here.device.index, address, mac))

    def _keep_neighbor(self, here, address, row):
        old, mac = here.neighbors.get(address), row.value
        if old is None or old.value != mac:
            if old is not None:
                _unlink(here, address, old.value)
            others = here.addresses.get(mac)
            here.addresses[mac] = (*others, address) if others else (address,)
        self._neighbors.put(here.device.index, address, row)
        return row

    def _drop_neighbor(self, here, address, ops):
        self._forget(here, address)
        ops.append((NO_NEIGHBOR, here.device.index, address, None))

    def _forget(self, here, key):
        if len(key) == 6:
            self._fdb.pop(here.device.index, key)
            return
        row = self._neighbors.pop(here.device.index, key)
        if row is not None:
            _unlink(here, key, row.value)

    def _trimmed(self, ops):
        """The operations, and those that make the tables keep to their limits."""
        for index, key, _row in self._fdb.trim():
            self.counters["evicted"] += 1
            ops.append((NO_FDB, index, key, None))
        for index, key, row in self._neighbors.trim():
            self.counters["evicted"] += 1
            _unlink(self._here[index], key, row.value)
            ops.append((NO_NEIGHBOR, index, key, None))
        self._waiting.trim()
        return ops

    def _say_what_it_lacks(self, device):
        name = device.name
        if device.local is None:
            text = "has no local address, by which own endpoints are known; make it with 'local ADDRESS'"
            self._say(device.index, b"local", f"{name} {text}")
        if not device.l2:
            text = "is made without l2miss: MACs that are not asked for by an address get no rows; make it with l2miss"
            self._say(device.index, b"l2miss", f"{name} {text}")
        if device.learning:
            text = "learns from frames: rows that it writes or moves are set right by the next look only; make it with nolearning"
            self._say(device.index, b"learning", f"{name} {text}")

    def _say(self, index, what, text):
        said = self._said.setdefault(index, set())
        if what not in said and len(said) < FEW:
            said.add(what)
            self.alarms.append((f"device {index} {what.hex()}", text))


def _is_same(device, other):
    """Whether what the kernel has for a device is there for the other one."""
    return other is not None and device.vni == other.vni


def _is_reachable(here, claim):
    """Whether the endpoint is behind another VTEP that the device can send to."""
    vtep = claim.vtep
    return vtep != here.local and len(vtep) == len(here.local)


def _unlink(here, address, mac):
    left = tuple(one for one in here.addresses[mac] if one != address)
    if left:
        here.addresses[mac] = left
    else:
        del here.addresses[mac]
