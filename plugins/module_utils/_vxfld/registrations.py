# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration database of a service node: which VTEPs each VNI has, from whom that is known, and for how long.

Built for 100,000 entries that are refreshed all the time. A refresh puts one `Lease`, shared by all VNIs of the message, in
the place of the former one, and nothing else. Ageing looks at a VNI again only when the entry that was the first to
expire at the last look is due, and at most once a second.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

from .messages import STATIC

LONGEST = STATIC - 1  # seconds that an entry lasts at most without a refresh; more would be STATIC
FOREVER = 1 << 62  # the expiry of a static entry
MOST = 500_000  # entries; a SYNC of them all stays below what messages.decode accepts
LATE = 2  # seconds by which an entry may expire later at a peer that heard of the same registration
MOST_REMOVALS = 50_000
REMEMBERED = 86400  # seconds for which a static entry that was removed does not come back from a peer that was away
MOST_MOVES = 10_000
RETURNS = 3  # times that two holders of one identifier take turns before it is called a clash


class Lease(NamedTuple):
    """What a registration says, for all VNIs that it names."""

    address: bytes
    expiry: int  # a whole second of `now`: entries last at most one second longer than their holdtime
    subscriber: object = None  # who registered directly and wants answers
    since: float = 0  # when the registration came
    machine: bytes | None = None  # fingerprint of the host, of new nodes

    @property
    def is_static(self):
        return self.expiry == FOREVER


class _Vni:
    """members: identifier, or the address where that is 0, -> Lease. addresses: address -> number of its members."""

    __slots__ = ("addresses", "due", "generation", "members", "rest", "told")

    def __init__(self):
        self.members = {}
        self.addresses = {}
        self.due = FOREVER  # when to look for expired members; no later than the first expiry
        self.generation = 0  # of the address set that was last told to subscribers
        self.told = -math.inf  # when
        self.rest = 0  # when to tell the next change, at the earliest


class Registrations:
    """The database. `touched` gathers the changes of address sets until somebody takes them, `clashes`, `reshaped`, `evicted` and
    `barred` likewise."""

    def __init__(self, most=MOST):
        self.most = most
        self.count = 0
        self.refused = 0  # new entries beyond `most`
        self.expired = 0
        self.touched = {}  # vni -> {address: whether it was there before}
        self.reshaped = set()  # VNIs in which another set of addresses is registered (identifier not 0)
        self.clashes = []  # (identifier, former address, new address)
        self.evicted = []  # (vni, subscriber) whose address went since another one came under its identifier
        self.barred = {}  # address of a service node -> how often it was refused
        self._kept_out = frozenset()
        self._vnis = {}
        self._removed = {}  # (vni, key) -> expiry of the entry removed; older news of it from a peer are refused
        self._deleted = {}  # (vni, address) of static entries removed -> when to forget that
        self._prune_at = 0
        self._moves = {}  # (vni, identifier) -> (former holder, when, returns)
        self._buckets = {}  # second -> [vni]
        self._seconds = []  # heap of the keys of _buckets
        self._filed = 0  # in all buckets

    # -- Changes; each returns the set of VNIs whose address set changed

    def register(self, vteps, identifier, holdtime, now, subscriber=None, machine=None):
        """A REFRESH: {vni: [address]}. With an identifier a VNI has one address of it, the last one named."""
        expiry = _expiry(now, holdtime)
        changed, leases, vnis = set(), {}, self._vnis
        for vni, addresses in vteps.items():
            for address in addresses[-1:] if identifier else addresses:
                lease = leases.get(address)
                if lease is None:
                    if self._is_barred(address):
                        continue
                    lease = leases[address] = Lease(address, expiry, subscriber, now, machine)
                one = vnis.get(vni)
                old = one.members.get(identifier or address) if one else None
                if old is None:
                    if self._add(vni, one, identifier or address, lease):
                        changed.add(vni)
                    continue
                if old.address != address or old.machine != machine:
                    self._look_for_clash(vni, identifier, old, lease)
                if self._put(vni, one, identifier or address, old, lease):
                    changed.add(vni)
        return changed

    def withdraw(self, vteps, identifier, now):
        """A REFRESH of holdtime 0 removes exactly (address, identifier); static entries stay."""
        changed = set()
        for vni, addresses in vteps.items():
            for address in addresses:
                old = self.lease(vni, identifier or address)
                if old and old.address == address and old.expiry != FOREVER:
                    _remember(self._removed, (vni, identifier or address), old.expiry)
                    if self._delete(vni, identifier or address, old):
                        changed.add(vni)
        return changed

    def learn(self, vni, address, holdtime, now):
        """A data frame of an address. (Whether that is news, its lease of identifier 0, the VNIs changed); the lease is None
        where the address is registered, or refused."""
        if self._is_barred(address):
            return False, None, set()
        one = self._vnis.get(vni)
        old = one.members.get(address) if one else None
        if one and one.addresses.get(address, 0) > (old is not None):
            return False, None, set()
        lease = Lease(address, _expiry(now, holdtime), None, now)
        if old is None:
            added = self._add(vni, one, address, lease)
            return added, lease if added else None, {vni} if added else set()
        lease = old._replace(expiry=max(old.expiry, lease.expiry))
        self._put(vni, one, address, old, lease)
        return False, lease, set()

    def told(self, vni, address, now):
        """Note that peers have been told of a learned address."""
        old = self.lease(vni, address)
        if old:
            self._vnis[vni].members[address] = old._replace(since=now)

    def add_static(self, vni, address, now):
        """An entry of identifier 0 that never ages, also where there is one that does."""
        return self.merge({vni: [(address, STATIC, 0)]}, now, event=True)

    def remove(self, vni, address, now, forced=False):
        """Remove a static or learned entry; forced: registered ones of the address too.

        Returns ([(address, 0, identifier)] that tell peers to do the same, which may have what is not here; VNIs changed).
        """
        one = self._vnis.get(vni)
        gone = [(address, 0, 0)]
        if one and forced:
            gone += [
                (address, 0, key) for key, lease in one.members.items() if lease.address == address and key != address
            ]
        return gone, self.merge({vni: gone}, now, event=True)

    def keep_out(self, addresses):
        """Keep these addresses out from now on, instead of those named before: a copy to a service node comes back as copies."""
        kept = frozenset(addresses)
        new, self._kept_out = kept - self._kept_out, kept
        changed = set()
        for vni, one in list(self._vnis.items()) if new else ():
            if new.isdisjoint(one.addresses):
                continue
            for key, old in [(key, lease) for key, lease in one.members.items() if self._is_barred(lease.address)]:
                if self._delete(vni, key, old):
                    changed.add(vni)
        return changed

    def merge(self, vteps, now, event=False):
        """Entries of a SYNC: {vni: [(address, holdtime, identifier)]}.

        Not an event but the state of a peer, they may be older than what is known here: the entry that expires later wins,
        and what was removed here does not come back before the peer hears of it afresh. Nor does such news end a registration:
        an old peer tells 0 of one in its last second, which may have been refreshed here.
        """
        changed = set()
        for vni, entries in vteps.items():
            for address, holdtime, identifier in entries:
                key = identifier or address
                one = self._vnis.get(vni)
                old = one.members.get(key) if one else None
                if holdtime == 0:
                    if identifier and not event:
                        continue
                    if not identifier:
                        _remember(self._deleted, (vni, address), now + REMEMBERED)
                    if old and old.address == address:
                        if not old.is_static:
                            _remember(self._removed, (vni, key), old.expiry)
                        if self._delete(vni, key, old):
                            changed.add(vni)
                    continue
                if self._is_barred(address):
                    continue
                # Rounded down, unlike elsewhere: each telling would add up to a second, and peers keep an entry alive.
                expiry = int(now + min(holdtime, LONGEST))
                if holdtime == STATIC and not identifier:
                    expiry = FOREVER
                if not event and self._is_late(vni, key, expiry):
                    continue
                if event:
                    (self._deleted if expiry == FOREVER else self._removed).pop((vni, key), None)
                if old is None:
                    added = self._add(vni, one, key, Lease(address, expiry, None, now))
                elif expiry <= old.expiry:
                    continue
                elif address == old.address:
                    added = self._put(vni, one, key, old, old._replace(expiry=expiry))
                else:
                    added = self._put(vni, one, key, old, Lease(address, expiry, None, now))
                if added:
                    changed.add(vni)
        return changed

    def expire(self, now):
        """Drop what has expired."""
        changed = set()
        while self._seconds and self._seconds[0] <= now:
            second = heapq.heappop(self._seconds)
            bucket = self._buckets.pop(second)
            self._filed -= len(bucket)
            for vni in bucket:
                one = self._vnis.get(vni)
                if one is None or one.due != second:
                    continue
                for key, old in [(key, lease) for key, lease in one.members.items() if lease.expiry <= second]:
                    self.expired += 1
                    if self._delete(vni, key, old):
                        changed.add(vni)
                if one.members:
                    self._file(vni, one, min(lease.expiry for lease in one.members.values()))
        if now >= self._prune_at:
            self._prune_at = now + 30
            self._removed = {key: expiry for key, expiry in self._removed.items() if expiry + LATE > now}
            self._deleted = {key: until for key, until in self._deleted.items() if until > now}
            self._moves = {key: move for key, move in self._moves.items() if move[1] + LONGEST > now}
        return changed

    def next_expiry(self):
        return self._seconds[0] if self._seconds else math.inf

    # -- Reading. Callers expire() first

    def __contains__(self, vni):
        return vni in self._vnis

    def __iter__(self):
        return iter(self._vnis)

    def __len__(self):
        return len(self._vnis)

    def vni(self, vni):
        """The VNI's members, addresses and generation, or None."""
        return self._vnis.get(vni)

    def lease(self, vni, key):
        one = self._vnis.get(vni)
        return one.members.get(key) if one else None

    def addresses(self, vni):
        """The distinct addresses of a VNI, the one known longest first."""
        one = self._vnis.get(vni)
        return tuple(one.addresses) if one else ()

    def registered(self, vni):
        """Those that are there under an identifier other than 0."""
        one = self._vnis.get(vni)
        if one is None:
            return ()
        return tuple(dict.fromkeys(lease.address for key, lease in one.members.items() if isinstance(key, int)))

    def entries(self, now, vni=None):
        """{vni: [(address, remaining holdtime, identifier)]} as a SYNC has them."""
        found = {}
        for number in self._vnis if vni is None else [vni] if vni in self._vnis else []:
            rows = []
            for key, lease in self._vnis[number].members.items():
                left = STATIC if lease.expiry == FOREVER else min(int(lease.expiry - now), LONGEST)
                if left > 0:
                    rows.append((lease.address, left, key if isinstance(key, int) else 0))
            if rows:
                found[number] = rows
        return found

    def removals(self):
        """{vni: [(address, 0, 0)]} of static entries removed here, which a peer that did not hear of it may still tell."""
        found = {}
        for vni, address in self._deleted:
            found.setdefault(vni, []).append((address, 0, 0))
        return found

    def dump(self, now, vni=None):
        """(vni, address, seconds left or STATIC, identifier) in the order of VNI, address, identifier."""
        found = self.entries(now, vni)
        for number in sorted(found):
            for address, left, identifier in sorted(found[number], key=lambda row: (len(row[0]), row[0], row[2])):
                yield number, address, left, identifier

    def statics(self):
        """[(vni, address)] of the static entries."""
        return [
            (vni, lease.address)
            for vni, one in self._vnis.items()
            for lease in one.members.values()
            if lease.expiry == FOREVER
        ]

    # -- Inside

    def _add(self, vni, one, key, lease):
        """A member that was not there. True when that adds to the address set."""
        if self.count >= self.most:
            self.refused += 1
            return False
        if one is None:
            one = self._vnis[vni] = _Vni()
        self._removed.pop((vni, key), None)
        self.count += 1
        one.members[key] = lease
        if isinstance(key, int):
            self.reshaped.add(vni)
        if lease.expiry < one.due:
            self._file(vni, one, lease.expiry)
        return self._come(vni, one, lease.address)

    def _put(self, vni, one, key, old, lease):
        """Another lease for a member. True when that changes the address set."""
        if old.expiry == FOREVER and lease.expiry != FOREVER:
            lease = lease._replace(expiry=FOREVER)
        one.members[key] = lease
        if lease.expiry < one.due:
            self._file(vni, one, lease.expiry)
        if old.address == lease.address:
            return False
        self.reshaped.add(vni)
        come = self._come(vni, one, lease.address)
        gone = self._go(vni, one, old.address)
        if gone and old.subscriber and old.subscriber is not lease.subscriber:
            self.evicted.append((vni, old.subscriber))
        return gone or come

    def _delete(self, vni, key, old):
        one = self._vnis[vni]
        del one.members[key]
        self.count -= 1
        if isinstance(key, int):
            self.reshaped.add(vni)
        changed = self._go(vni, one, old.address)
        if not one.members:
            del self._vnis[vni]
        return changed

    def _come(self, vni, one, address):
        holders = one.addresses.get(address, 0)
        one.addresses[address] = holders + 1
        if not holders:
            self.touched.setdefault(vni, {}).setdefault(address, False)
        return not holders

    def _go(self, vni, one, address):
        holders = one.addresses[address] - 1
        if holders:
            one.addresses[address] = holders
            return False
        del one.addresses[address]
        self.touched.setdefault(vni, {}).setdefault(address, True)
        return True

    def net(self, vni):
        """([addresses that have come], [that are gone]) since `touched` was last taken."""
        one = self._vnis.get(vni)
        there = one.addresses if one else {}
        touched = self.touched.get(vni, {})
        come = [address for address, before in touched.items() if not before and address in there]
        return come, [address for address, before in touched.items() if before and address not in there]

    def _file(self, vni, one, second):
        one.due = second
        if second == FOREVER:
            return
        bucket = self._buckets.get(second)
        if bucket is None:
            self._buckets[second] = [vni]
            heapq.heappush(self._seconds, second)
        else:
            bucket.append(vni)
        self._filed += 1
        # Whoever shortens holdtimes again and again leaves places in buckets that nobody waits for.
        if self._filed > 4 * len(self._vnis) + 1024:
            self._refile()

    def _refile(self):
        self._buckets, self._filed = {}, 0
        for vni, one in self._vnis.items():
            if one.due != FOREVER:
                self._buckets.setdefault(one.due, []).append(vni)
                self._filed += 1
        self._seconds = sorted(self._buckets)

    def _is_barred(self, address):
        if address not in self._kept_out:
            return False
        self.barred[address] = self.barred.get(address, 0) + 1
        return True

    def _is_late(self, vni, key, expiry):
        """Whether news of a peer are of before the removal. It heard of the registration a little later, and rounds up."""
        if expiry == FOREVER:
            return (vni, key) in self._deleted
        return expiry <= self._removed.get((vni, key), -math.inf) + LATE

    def _look_for_clash(self, vni, identifier, old, lease):
        """Two hosts with one identifier: fingerprints tell at once, or else that they take turns."""
        if not identifier:
            return
        if old.machine and lease.machine and old.machine != lease.machine and old.address != lease.address:
            self.clashes.append((identifier, old.address, lease.address))
            return
        if lease.machine is not None and old.machine == lease.machine:
            return  # one host, which moved
        if old.address == lease.address and None in (old.machine, lease.machine):
            return  # perhaps one host, of which an old service node told
        former, when, returns = self._moves.pop((vni, identifier), (None, -math.inf, 0))
        holder = lease.address, lease.machine
        if holder == former and lease.since - when <= old.expiry - old.since:
            returns += 1
            if returns >= RETURNS:
                self.clashes.append((identifier, old.address, lease.address))
        else:
            returns = 0
        _remember(self._moves, (vni, identifier), ((old.address, old.machine), lease.since, returns), MOST_MOVES)


def _expiry(now, holdtime):
    return math.ceil(now + min(holdtime, LONGEST))


def _remember(memory, key, value, most=MOST_REMOVALS):
    """Keep a value as the latest of a bounded number."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > most:
        del memory[next(iter(memory))]
