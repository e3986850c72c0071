# SPDX-License-Identifier: GPL-3.0-or-later
"""A resolver with a real directory and a model of the kernel: what may happen to them, and what has to be true all the time."""

from agent_support import Kernel, answer, contradictions, vtep
from ansible_collections.vtep.fabric.plugins.module_utils._agent.directory import Directory
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import (
    FDB,
    FOLD,
    NEIGHBOR,
    NO_FDB,
    NO_NEIGHBOR,
    SETTLE,
    Device,
    Resolver,
)

LATEST = SETTLE / 2  # after which word of a change, or a dump, is not on its way any more
DEVICES = {
    index: Device(index, name, vni, local)
    for index, name, vni, local in (
        (5, "vx100", 100, vtep(1)),
        (6, "vx200", 200, vtep(1)),
        (7, "six100", 100, vtep(1, 6)),
        (8, "other100", 100, vtep(2)),
    )
}


class World:
    def __init__(self, start=0.0, ageing=300.0, **settings):
        self.directory = Directory()
        self.ageing = ageing
        self.resolver = Resolver(self.directory, **settings)
        self.limit = settings.get("limit", 65536)
        self.unanswered = settings.get("unanswered", 8192)
        self.kernel = Kernel(DEVICES, ageing)
        self.devices = {index: device._replace(ageing=ageing) for index, device in DEVICES.items()}
        self.now = self.kernel.now = start
        self.dump = None
        self.answered = {}  # (index, key): when a row of it was last sent
        self.asked = {}  # (index, address): when it was last asked for, as far as the resolver can know
        self.missed = {}  # (index, mac): when a miss of it was last answered
        self.told = set()  # (index, key) of rows of others of which the resolver knows
        self.did = dict.fromkeys(("answers", "folds", "waits", "moves", "ages", "evictions", "takeovers", "losses"), 0)
        self.carry_out(self.resolver.devices(self.devices, self.now))

    # -- What may happen

    def publish(self, claim):
        self.directory.put(claim, self.now)
        self.follow()

    def withdraw(self, vni, mac, vtep):
        self.directory.drop(vni, mac, vtep, self.now)
        self.follow()

    def snapshot(self, claims, grace=0.0):
        self.directory.snapshot(claims, self.now, grace)
        self.follow()

    def follow(self):
        """Tell the resolver what has changed."""
        waiting = self.waiting()
        before = dict(self.resolver.counters)
        self.carry_out(self.resolver.changed(self.directory.changes(), self.now))
        self.did["moves"] += self.resolver.counters["moved"] - before["moved"]
        if self.resolver.counters["evicted"] == before["evicted"]:
            for index, key in waiting:
                wanted = answer(self.directory, self.devices[index], key)
                assert wanted is None or self.has(index, key), f"{key.hex()} waited, is known, and is not installed"

    def pass_time(self, seconds):
        """Word that is under way arrives before it is old."""
        end = self.now + seconds
        while self.now < end:
            self.now = self.kernel.now = min(end, self.now + LATEST)
            self.deliver()
            if end - self.now > 10 * LATEST:
                self.now = self.kernel.now = self.now + 5 * LATEST
            self.kernel.age()
        if self.dump and self.dump[0] < self.now - LATEST:
            self.dump = None
        self.directory.tick(self.now)
        self.follow()

    def use(self, index, *keys, copies=1):
        """Frames to MACs, and questions for addresses; each frame that finds no row is a miss."""
        missed = [key for key in keys if self.kernel.uses(index, key)]
        self.miss(index, missed * copies)
        return missed

    def miss(self, index, keys):
        before = dict(self.resolver.counters)
        self.carry_out(self.resolver.misses([(index, key) for key in keys], self.now), answers=True)
        after = self.resolver.counters
        self.did["answers"] += after["answered"] - before["answered"]
        self.did["folds"] += after["folded"] - before["folded"]
        self.did["waits"] += after["unanswered"] - before["unanswered"]
        if after["evicted"] > before["evicted"]:
            return
        for key in keys:
            wanted = answer(self.directory, self.devices[index], key)
            if wanted is None or self.has(index, key):
                continue
            held = self.now - self.answered.get((index, key), -1e9)
            assert held < FOLD, f"{key.hex()} is missed, known, and was last answered {held} s ago"

    def remove(self, index, key):
        """Somebody removes a row."""
        self.kernel.remove(index, key)
        self.did["losses"] += 1

    def take(self, index, key):
        """Somebody makes a row his own. Were this told late, the next sweep would find what went wrong meanwhile."""
        self.kernel.take(index, key)
        self.deliver()
        self.did["takeovers"] += 1

    def lose_word(self):
        """The receive buffer was too small: everything is read anew."""
        self.kernel.events.clear()
        self.told = {(index, key) for index, keys in self.kernel.others.items() for key in keys}
        self.resolver.lost()
        for index, key in self.told:
            self.resolver.gone(index, key, self.now, taken=True)
        self.sweep()

    def deliver(self):
        for index, key, taken in self.kernel.events:
            if taken:
                self.told.add((index, key))
            else:
                self.told.discard((index, key))
            self.resolver.gone(index, key, self.now, taken=taken)
        self.kernel.events.clear()

    def read(self):
        """Read the kernel's tables; `adopt` takes them later."""
        self.dump = self.now, {index: self.kernel.ours(index) for index in self.devices}

    def sweep(self):
        self.read()
        self.adopt()

    def adopt(self):
        if self.dump is None:
            return
        when, tables = self.dump
        self.dump = None
        for index, (fdb, neighbors) in tables.items():
            idle = [(mac, destination, seconds + self.now - when) for mac, destination, seconds in fdb]
            before = dict(self.resolver.counters)
            ops = self.resolver.adopt(index, idle, neighbors, self.now, since=when)
            self._learn(index, idle, neighbors)
            if self.resolver.counters["evicted"] == before["evicted"]:
                self._check_aged(index, ops)
            self.carry_out(ops)
            if when == self.now:
                self._check_neighbors(index)

    def restart(self):
        """Killed, and started again: what the kernel tells meanwhile is heard by nobody."""
        old = self.resolver
        self.resolver = Resolver(self.directory, self.limit, self.unanswered, old.unanswered_ttl)
        self.asked.clear()
        self.answered.clear()
        self.carry_out(self.resolver.devices(self.devices, self.now))
        self.lose_word()

    # -- What has to be true

    def check(self):
        found = contradictions(self.directory, self.devices, self.kernel)
        assert not found, f"the kernel has at {self.now} what the registry does not say: {found}"
        sizes = self.resolver.sizes()
        for name, table in (("fdb", self.kernel.fdb), ("neighbors", self.kernel.neighbors)):
            assert sizes[name] <= self.limit
            ours = {
                (index, key) for index, rows in table.items() for key in rows if key not in self.kernel.others[index]
            }
            assert len(ours) <= self.limit, f"{len(ours)} in the kernel's {name} of {self.limit}"
        self.check_memory()

    def check_memory(self):
        """The resolver's parts agree with one another."""
        resolver = self.resolver
        for table in (resolver._fdb, resolver._neighbors, resolver._waiting):
            assert table.count == sum(map(len, table.devices.values()))
        for index, here in resolver._here.items():
            linked = {(address, mac) for mac, some in here.addresses.items() for address in some}
            assert linked == {(address, row.value) for address, row in here.neighbors.items()}
            assert sum(map(len, here.addresses.values())) == len(here.neighbors)
            assert len(here.waiting) <= self.unanswered
            for key in [*here.fdb, *here.neighbors]:
                row = (here.fdb if len(key) == 6 else here.neighbors)[key]
                assert row.value == answer(self.directory, self.devices[index], key)
            for rows, table in ((here.fdb, resolver._fdb), (here.neighbors, resolver._neighbors)):
                used = [row.used for row in rows.values()]
                assert index in table.unsorted or used == sorted(used)

    # -- Inside

    def carry_out(self, ops, answers=False):
        evicted = 0
        for kind, index, key, value in ops:
            if kind in (NO_FDB, NO_NEIGHBOR):
                assert (index, key) not in self.told, f"{key.hex()} is somebody else's, and is removed"
                evicted += answer(self.directory, self.devices[index], key) is not None
            else:
                assert value == answer(self.directory, self.devices[index], key)
                assert kind != FDB or (index, key) not in self.told, (
                    f"{key.hex()} is somebody else's, and is overwritten"
                )
                if key not in self.kernel.others[index] or kind == NEIGHBOR:
                    self.told.discard((index, key))
                self.answered[index, key] = self.now
                if answers:
                    self.missed[index, key] = self.now
            if kind == NEIGHBOR:
                self.asked[index, key] = self.now
        self.did["evictions"] += evicted * answers
        for index, macs in self.kernel.put(ops).items():
            ours = self.kernel.of(index, macs)
            for key in macs.difference(row[0] for row in ours):
                self.told.add((index, key))
                self.resolver.gone(index, key, self.now, taken=True)
            self.carry_out(self.resolver.found(index, ours, self.now))

    def has(self, index, key):
        return key in (self.kernel.fdb if len(key) == 6 else self.kernel.neighbors)[index]

    def waiting(self):
        """(index, key) of what was asked for so lately that it is to be installed as soon as it is known."""
        ttl = self.resolver.unanswered_ttl
        return [
            (index, key)
            for index, here in self.resolver._here.items()
            for key, one in here.waiting.items()
            if self.now - one.used <= ttl
        ]

    def _learn(self, index, fdb, neighbors):
        """What a sweep tells of when addresses were asked for: who asks uses the row of the MAC."""
        used = {mac: self.now - idle for mac, _destination, idle in fdb}
        for address, mac in neighbors:
            known = self.asked.setdefault((index, address), self.now)
            self.asked[index, address] = max(known, used.get(mac, known))

    def _check_aged(self, index, ops):
        """No neighbour goes that is known and was asked for."""
        for kind, _index, key, _value in ops:
            mac = answer(self.directory, self.devices[index], key) if kind == NO_NEIGHBOR else None
            if mac is not None:
                idle = self.now - self.asked[index, key]
                assert idle >= self.ageing, f"{key.hex()} aged, and was asked for {idle} s ago"
                self.did["ages"] += 1

    def _check_neighbors(self, index):
        """No neighbour stays whose MAC's row is gone and that was not asked for."""
        for address, mac in self.kernel.ours(index)[1]:
            if mac not in self.kernel.fdb[index] and self.now - self.answered.get((index, mac), -1e9) >= SETTLE:
                idle = self.now - max(self.asked[index, address], self.missed.get((index, mac), -1e9))
                assert idle < self.ageing, f"{address.hex()} was asked for {idle} s ago and is still there"
