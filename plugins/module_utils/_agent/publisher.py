# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps in etcd what this host claims: a key an endpoint, all under one lease, and writes only what differs from what is there.

A later claim of another VTEP wins, and ours is withdrawn, unless the endpoint is heard of here anew after that. Each change is
made on the condition that the key is as it is known here, and so what got lost on the way does no harm when it is tried again.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import math
import time
from pathlib import Path

from . import claims, etcd, http
from .source import Backoff

SETTLE = 120.0  # seconds after a restart in which what was published before it is not taken back
TICK = 1.0
TOO_MANY, WITHIN, HOLD = 5, 180.0, 60.0  # so often withdrawn in so many seconds: not claimed again for a while
MOST_MOVES = 1000  # endpoints of which it is remembered how often they were withdrawn
MOST_REMEMBERED = 20_000  # withdrawn endpoints that a restart does not forget
LARGEST_STATE = 1 << 20  # octets of the record
MISSES = 3  # changes in a row that find a key otherwise than it was known
CLOSING = 2.0  # seconds for the lease's end
STATE = "etcd-lease.json"


class _Mine:
    """An endpoint of this host."""

    __slots__ = ("addresses", "order", "rivals", "since")

    def __init__(self, addresses):
        self.addresses = addresses
        self.order = None  # the revision at which it was written since it was heard of
        self.rivals = {}  # other VTEP: the revision of its claim
        self.since = None  # while withdrawn: when the last rival went; infinite while there are any


# where: (vni, mac, vtep). value: None removes it. revision: at which the key was changed last. order: that of `mine`, its _Mine.
_Write = collections.namedtuple("_Write", "where value revision mine order")
_Withdrawal = collections.namedtuple("_Withdrawal", "where rival revision mine order ours")


class Publisher:
    """Of one source. The source tells it what is there, and lets it run while there is contact."""

    def __init__(self, settings, counters, fault, log):
        self._settings, self._counters, self._fault, self._log = settings, counters, fault, log
        counters.update({"keys written": 0, "keys removed": 0, "withdrawn": 0, "leases": 0, "publications failed": 0})
        self.on_yield = None
        self._file = Path(settings.statedir) / STATE
        self._local = {}  # vni: own VTEP
        self._mine = {}  # (vni, mac): _Mine
        self._there = {}  # (vni, mac): {vtep: (value, lease, revision)} of this host's keys
        self._under_way = {}  # (vni, mac, vtep) that is being written: the revision at which it went meanwhile
        self._unanswered = {}  # the same, or no answer came: the revision that it had before
        self._adopted = {}  # (vni, mac, vtep): addresses, of keys from before a restart
        self._dirty = set()  # (vni, mac) that may differ from what is there
        self._moves = {}  # (vni, mac): when it was withdrawn
        self._lease, self._former = self._stored()  # former: (vni, mac) that were withdrawn before a restart
        self._remembered = set(self._former)
        self._kept = -math.inf  # when the lease was renewed
        self._adopting = self._lease is not None
        self._settled = None  # when what was adopted is taken back
        self._wake = None
        self._misses = 0
        self._told = None  # the trouble that is in the log

    # --- what is wanted

    def publish(self, endpoints, local, learned=()):
        """See EtcdSource.publish."""
        if self._settled is None:
            self._settled = time.monotonic() + SETTLE
        if local != self._local:
            self._dirty.update(self._mine, self._there)
            self._local = dict(local)
        for key in [key for key in self._mine if key not in endpoints]:
            del self._mine[key]
            self._adopted.pop((*key, self._local.get(key[0])), None)
            self._dirty.add(key)
        for key, addresses in endpoints.items():
            mine = self._mine.get(key)
            if mine is None:
                self._mine[key] = mine = _Mine(addresses)
                if key in self._former:
                    self._former.discard(key)
                    mine.order, mine.since = 0, math.inf  # older than whatever there is
            elif mine.addresses == addresses:
                continue
            else:
                if mine.since is not None and not set(addresses) <= set(mine.addresses):
                    mine.order = mine.since = None
                mine.addresses = addresses
            self._dirty.add(key)
        for key in learned:
            mine = self._mine.get(key)
            if mine and (mine.since is not None or _rival(mine)):
                mine.order = mine.since = None
                self._unanswered.pop((*key, self._local.get(key[0])), None)
                self._dirty.add(key)
        self._stir()

    def configure(self, settings):
        """Other settings for the same keys, while run() is not running."""
        if settings.lease != self._settings.lease and self._lease:
            # What is there goes over to a new lease; the old one ends by itself.
            self._lease = None
            self._adopted.clear()
            self._dirty.update(self._mine)
        self._settings = settings

    def yielded(self):
        return [key for key, mine in self._mine.items() if mine.since is not None]

    # --- what is there

    def forget(self):
        """All rows come anew, before the next run."""
        self._there.clear()
        for mine in self._mine.values():
            mine.rivals.clear()
        self._dirty.update(self._mine)

    def lost(self):
        """What is there is no continuation of what was: revisions do not compare, and the lease is none of its."""
        self._lease = None
        self._adopted.clear()
        self._unanswered = {}
        for mine in self._mine.values():
            mine.order = None

    def row(self, where, row, addresses):
        """A key has been written, or is there. where: (vni, mac, vtep)"""
        key, vtep = where[:2], where[2]
        mine = self._mine.get(key)
        if vtep == self._local.get(where[0]) or (row.lease and row.lease == self._lease):
            known = self._there.setdefault(key, {}).get(vtep)
            if known and known[2] >= row.revision:
                return
            self._there[key][vtep] = row.value, row.lease, row.revision
            if mine and mine.order is None and row.revision > self._unanswered.get(where, math.inf):
                mine.order = row.revision  # the answer may never come
            if self._adopting and row.lease == self._lease:
                self._adopted[where] = addresses
        elif mine:
            mine.rivals[vtep] = row.revision
            if mine.since is not None:
                mine.since = math.inf
        else:
            return
        self._dirty.add(key)
        self._stir()

    def gone(self, where, row):
        key, vtep = where[:2], where[2]
        if where in self._under_way:
            self._under_way[where] = row.revision
        mine = self._mine.get(key)
        known = self._there.get(key, {}).get(vtep)
        if known and known[2] < row.revision:
            self._drop(key, vtep)
        elif mine and mine.rivals.pop(vtep, None) is not None:
            if mine.since is not None and not mine.rivals:
                mine.since = time.monotonic()
        else:
            return
        self._dirty.add(key)
        self._stir()

    def _drop(self, key, vtep):
        rows = self._there.get(key, {})
        rows.pop(vtep, None)
        if not rows:
            self._there.pop(key, None)

    def _stir(self):
        if self._wake:
            self._wake.set()

    # --- bringing the two together

    async def run(self, client):
        """Until cancelled, in which case it is not known what of the last change came through."""
        self._wake = asyncio.Event()
        self._adopting = False
        self._dirty.update(self._mine, self._there)
        for mine in self._mine.values():
            if mine.since == math.inf and not mine.rivals:
                mine.since = time.monotonic()
        backoff = Backoff()
        while True:
            self._wake.clear()
            try:
                await self._renew(client)
                while self._dirty:
                    await self._change(client)
                    await self._renew(client)
                self._remember()
                self._good()
                backoff.reset()
            except etcd.EtcdError as error:
                self._bad(error)
                await asyncio.sleep(backoff.next())
                continue
            with contextlib.suppress(asyncio.TimeoutError):
                await http.within(TICK, self._wake.wait())
            self._tick(time.monotonic())

    async def _renew(self, client):
        """See to it that there is a lease, as far as one is needed."""
        now = time.monotonic()
        if self._lease and now - self._kept >= self._settings.lease / 3:
            if await client.keep_alive(self._lease):
                self._kept = now
            else:
                self._lose()
        if not self._lease and any(mine.since is None for mine in self._mine.values()):
            self._lease = await client.grant(self._settings.lease)
            self._kept = now
            self._counters["leases"] += 1
            self._store()
            self._dirty.update(self._mine)

    def _lose(self):
        if self._counters["leases"] or self._adopted:
            self._log.warning("etcd: the lease of what is published here has ended; all is published again")
        self._lease = None
        self._adopted.clear()
        self._dirty.update(self._mine)

    def _tick(self, now):
        if self._settled is not None and now >= self._settled:
            self._former.clear()
        if self._adopted and self._settled is not None and now >= self._settled:
            self._dirty.update(where[:2] for where in self._adopted)
            self._adopted.clear()
        for key, mine in self._mine.items():
            if mine.since is not None and now - mine.since >= self._settings.lease:
                # Whoever had it is gone for good, and here it still is.
                mine.order = mine.since = None
                self._dirty.add(key)
        self._dirty.update(key for key in self._moves if key in self._mine and self._held(key, now) is False)

    async def _change(self, client):
        """Make some of the changes that are due."""
        writes, withdrawals, octets = [], [], 0
        now = time.monotonic()
        while self._dirty and max(len(writes), len(withdrawals)) < etcd.MOST_OPERATIONS - 3:
            key = self._dirty.pop()
            before = len(writes)
            self._differences(key, now, writes, withdrawals)
            octets += sum(len(one.value or b"") + 200 for one in writes[before:])
            if octets > etcd.MOST_OCTETS:
                break
        done = False
        try:
            done = (not withdrawals or await self._withdraw(client, withdrawals)) and (
                not writes or await self._write(client, writes)
            )
        finally:
            if not done:
                self._dirty.update(one.where[:2] for one in (*writes, *withdrawals))

    def _differences(self, key, now, writes, withdrawals):
        """Add what has to be done about an endpoint."""
        mine, vtep = self._mine.get(key), self._local.get(key[0])
        rows = self._there.get(key, {})
        for other, (_value, lease, revision) in rows.items():
            unwanted = mine is None or mine.since is not None or other != vtep
            if unwanted and self._lease and lease == self._lease and (*key, other) not in self._adopted:
                writes.append(_Write((*key, other), None, revision, None, None))
        if mine is None or mine.since is not None or vtep is None:
            return
        where = (*key, vtep)
        value, lease, revision = rows.get(vtep, (None, 0, 0))
        addresses = tuple(sorted({*mine.addresses, *self._adopted.get(where, ())}))[: claims.MOST_ADDRESSES]
        wanted = claims.to_etcd(claims.Claim(*where, addresses, 0))
        # From before a restart; or without a lease, of somebody who wants it to stay as it is.
        if mine.order is None and revision and (where in self._adopted or not (lease or mine.rivals)):
            mine.order = revision
        rival = _rival(mine)
        there = value == wanted and lease == self._lease or revision and not lease
        if rival:
            withdrawals.append(_Withdrawal(where, rival, mine.rivals[rival], mine, mine.order, not revision or lease))
        elif not self._held(key, now) and (mine.order is None or not there):
            writes.append(_Write(where, wanted, revision, mine, mine.order))

    async def _write(self, client, writes):
        """Whether it was done."""
        keys = [self._key(one.where) for one in writes]
        operations = [
            etcd.delete(key) if one.value is None else etcd.put(key, one.value, self._lease)
            for key, one in zip(keys, writes)
        ]
        compares = [
            # What was claimed before must not become newer than what others have claimed since.
            etcd.all_older(_directory(key), one.order + 1) if one.order else etcd.unchanged(key, one.revision)
            for key, one in zip(keys, writes)
        ]
        looks = [etcd.newest(_directory(key)) for key in keys]
        # The watch may tell of the change, and of later ones, before its answer comes, or without one.
        went = self._under_way = dict.fromkeys((one.where for one in writes), 0)
        asked = self._unanswered = {one.where: one.revision for one in writes if one.value is not None}
        try:
            done, header, rows = await client.transaction(operations, compares, looks)
        except etcd.EtcdError as error:
            if error.code == etcd.NOT_FOUND and "lease" in str(error):
                self._unanswered = {}
                self._lose()
                return False
            raise
        finally:
            self._under_way = {}
        self._unanswered = {}
        if not done:
            return self._correct(writes, rows)
        self._misses = 0
        for one in writes:
            key, vtep = one.where[:2], one.where[2]
            self._counters["keys removed" if one.value is None else "keys written"] += 1
            if one.where in asked:
                one.mine.order = header.revision
            known = self._there.get(key, {}).get(vtep)
            if max(went[one.where], known[2] if known else 0) > header.revision:
                self._dirty.add(key)
            elif one.value is None:
                self._drop(key, vtep)
            else:
                self._there.setdefault(key, {})[vtep] = one.value, self._lease, header.revision
        return True

    async def _withdraw(self, client, withdrawals):
        """Whether it was done."""
        keys = [self._key(one.where) for one in withdrawals]
        compares = [etcd.older(key, one.revision) for key, one in zip(keys, withdrawals)]
        looks = [etcd.newest(_directory(key)) for key in keys]
        operations = [etcd.delete(key) for key, one in zip(keys, withdrawals) if one.ours]
        done, _header, rows = await client.transaction(operations, compares, looks)
        if not done:
            return self._correct(withdrawals, rows)
        self._misses = 0
        for one in withdrawals:
            key = one.where[:2]
            if one.ours:
                self._drop(key, one.where[2])
            self._counters["withdrawn"] += 1
            self._log.info("etcd: %s is behind %s now", _shown(key), claims.address_text(one.rival))
            self._moved(one.where, one.rival)
            if self._mine.get(key) is not one.mine or one.mine.order != one.order:
                self._dirty.add(key)  # heard of here anew in the meantime
                continue
            one.mine.since = math.inf if one.mine.rivals else time.monotonic()
            if self.on_yield:
                self.on_yield(*key)
        return True

    def _correct(self, changes, found):
        """What is there is not what was known: take it in. False: nothing has been done."""
        self._misses += 1
        if self._misses > MISSES:
            self._misses = 0
            raise etcd.EtcdError("somebody else keeps changing this host's keys")
        for one, rows in zip(changes, found):
            key = one.where[:2]
            mine = self._mine.get(key)
            self._there.pop(key, None)
            if mine:
                mine.rivals.clear()
            for row in rows:
                with contextlib.suppress(ValueError):
                    self.row(claims.etcd_endpoint(self._settings.prefix, row.key), row._replace(value=None), ())
            ours = self._there.get(key, {}).get(self._local.get(key[0]))
            if mine and ours and ours[1] == self._lease:
                mine.order = max(ours[2], mine.order or 0)  # it was written, and the answer was lost
            if mine and mine.order and not _rival(mine):
                # Of keys that are nobody's claim, or of older ones.
                mine.order = max(mine.order, *(row.revision for row in rows), 0)
        return False

    def _key(self, where):
        return claims.etcd_key(self._settings.prefix, *where).encode()

    # --- endpoints that two VTEPs claim in turn

    def _moved(self, where, rival):
        now = time.monotonic()
        key = where[:2]
        times = [when for when in self._moves.pop(key, ()) if now - when < WITHIN] + [now]
        self._moves[key] = times[-TOO_MANY:]
        if len(self._moves) > MOST_MOVES:
            del self._moves[next(iter(self._moves))]
        if len(times) >= TOO_MANY:
            own, other = claims.address_text(where[2]), claims.address_text(rival)
            self._fault(
                ("moves", *key),
                f"endpoint {_shown(key)} is claimed by {own} and {other} in turn, {len(times)} times within {WITHIN:g} s; "
                f"is its MAC address used twice? {own} does not claim it for {HOLD:g} s",
            )

    def _held(self, key, now):
        """Whether it may not be claimed for now; None if it never was so."""
        times = self._moves.get(key)
        if not times or len(times) < TOO_MANY:
            return None
        if now - times[-1] < HOLD:
            return True
        del times[:-1]
        return False

    # --- the lease of before

    def _remember(self):
        """Write down what is withdrawn, when that has changed."""
        if self._lease and self._remembered != self._former.union(self.yielded()):
            self._store()

    def _stored(self):
        """(lease or None, withdrawn (vni, mac)) of the agent that was here before."""
        try:
            with open(self._file, "rb") as file:
                found = json.loads(file.read(LARGEST_STATE))
            if found["prefix"] == self._settings.prefix and _is_number(found["lease"]) and found["lease"] > 0:
                return found["lease"], {(vni, bytes.fromhex(mac)) for vni, mac in found.get("withdrawn", ())}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        return None, set()

    def _store(self):
        new = self._file.with_suffix(".new")
        self._remembered = self._former.union(self.yielded())
        withdrawn = [[vni, mac.hex()] for vni, mac in sorted(self._remembered)[:MOST_REMEMBERED]]
        try:
            found = {"prefix": self._settings.prefix, "lease": self._lease, "withdrawn": withdrawn}
            new.write_text(json.dumps(found) + "\n")
            new.replace(self._file)
        except OSError as error:
            self._log.warning("%s: %s; a restart publishes all endpoints anew", self._file, error.strerror)

    @property
    def holds(self):
        """Whether there may be keys of this host."""
        return self._lease is not None

    async def close(self, client):
        """End the lease, and with it this host's keys."""
        with contextlib.suppress(OSError):
            self._file.unlink()
        await client.revoke(self._lease, CLOSING)
        self._lease = None

    # --- trouble

    def _good(self):
        if self._told:
            self._told = None
            self._log.info("etcd: what this host has to publish is published again")

    def _bad(self, error):
        self._counters["publications failed"] += 1
        if str(error) != self._told:
            self._told = str(error)
            self._log.warning("etcd: this host's endpoints are not published: %s", error)
            self._fault(("etcd", "publish"), f"this host's endpoints are not published: {error}")


def _rival(mine):
    """The VTEP whose claim is newer than ours, or None."""
    if mine.order is None or not mine.rivals:
        return None
    vtep = max(mine.rivals, key=mine.rivals.get)
    return vtep if mine.rivals[vtep] > mine.order else None


def _directory(key):
    """What the keys of all claims of an endpoint begin with."""
    return key[: key.rindex(b"/") + 1]


def _shown(key):
    return f"{key[0]}/{key[1].hex(':')}"


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool)
