# SPDX-License-Identifier: GPL-3.0-or-later
"""Half an hour of an agent's life: endpoints that talk, move and vanish, scans, sweeps, lost word, restarts, and a registry that loses
its data.

The time is simulated. The seed is in the message of whatever fails, and AGENT_SOAK_SEED sets it.
"""

import os
import random
import time

import pytest
from agent_support import ip, mac, vtep
from agent_world import DEVICES, World
from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import Claim

HALF_HOUR = 1800.0
SWEEP = 30.0
AGEING = 120.0
ENDPOINTS = 400
STRANGERS = 5000  # addresses that nobody has
VTEPS = [*map(vtep, range(1, 9)), vtep(1, 6), vtep(2, 6), vtep(3, 6)]
SEEDS = [int(os.environ["AGENT_SOAK_SEED"])] if "AGENT_SOAK_SEED" in os.environ else [1, 2, 3]


class Fabric:
    """What other hosts do, by way of the registry; what this one's endpoints do; and what befalls the agent."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        # Monotonic time has nothing to do with the time of day: it may begin anywhere.
        self.world = World(start=self.random.choice([0.0, 1e6]), limit=120, unanswered=128, ageing=AGEING)
        self.order = 0
        self.numbers = range(1, ENDPOINTS)
        self.endpoints = {}  # (vni, number): claim
        for number in self.numbers:
            self.move(number)
        self.world.snapshot(self.endpoints.values())

    def move(self, number):
        """An endpoint, new or elsewhere."""
        chance = self.random
        self.order += 1
        addresses = {ip(number), ip(number, 6)} if chance.random() < 0.9 else {ip(chance.choice(self.numbers))}
        vni = 100 + 100 * (number % 2)
        found = Claim(vni, mac(number), chance.choice(VTEPS), tuple(sorted(addresses)), self.order)
        self.endpoints[vni, number] = found
        return found

    def talk(self):
        """Each device's endpoints have friends, and sometimes write to others."""
        chance, world = self.random, self.world
        index = chance.choice(list(DEVICES))
        friends = range(index * 20, index * 20 + 30)
        numbers = [chance.choice(friends if chance.random() < 0.9 else self.numbers) for _dummy in range(20)]
        keys = [chance.choice((mac, ip, lambda number: ip(number, 6)))(number) for number in numbers]
        world.use(index, *keys, copies=chance.choice([1, 1, 5]))

    def scan(self):
        chance = self.random
        start = chance.randrange(STRANGERS)
        kind = chance.choice((mac, ip))
        self.world.use(chance.choice(list(DEVICES)), *(kind(10_000 + start + number) for number in range(200)))

    def churn(self):
        chance, world = self.random, self.world
        what = chance.random()
        if what < 0.6:
            world.publish(self.move(chance.choice(self.numbers)))
        elif what < 0.8:
            key = chance.choice(list(self.endpoints))
            gone = self.endpoints.pop(key)
            world.withdraw(gone.vni, gone.mac, gone.vtep)
        elif what < 0.9:
            number = chance.choice(self.numbers)
            if (100 + 100 * (number % 2), number) not in self.endpoints:
                world.publish(self.move(number))
        elif what < 0.95:
            world.snapshot(self.endpoints.values())
        else:
            left = chance.sample(sorted(self.endpoints.values()), k=len(self.endpoints) // 3)
            world.snapshot(left, grace=60.0)

    def meddle(self):
        """Others have the right to change the tables."""
        chance, world = self.random, self.world
        index = chance.choice(list(DEVICES))
        keys = [*world.kernel.fdb[index], *world.kernel.neighbors[index]]
        if keys:
            chance.choice([world.remove, world.remove, world.take])(index, chance.choice(sorted(keys)))

    def run(self, seconds):
        chance, world = self.random, self.world
        end = world.now + seconds
        sweep = world.now + SWEEP
        while world.now < end:
            world.pass_time(chance.choice([0.01, 0.02, 0.1, 0.6]))
            what = chance.random()
            if what < 0.6:
                self.talk()
            elif what < 0.65:
                self.scan()
            elif what < 0.9:
                self.churn()
            elif what < 0.98:
                self.meddle()
            elif what < 0.984:
                world.lose_word()
            elif what < 0.985:
                world.restart()
            if world.now >= sweep:
                sweep += SWEEP
                world.sweep()
                world.check()
        world.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_half_an_hour(seed, monkeypatch):
    def step():
        raise AssertionError("the time of day was asked for, which may be set")

    print(f"seed {seed}")
    fabric = Fabric(seed)
    world = fabric.world
    monkeypatch.setattr(time, "time", step)
    fabric.run(HALF_HOUR)
    print(world.did, world.resolver.counters, world.resolver.sizes())
    least = {"answers": 1000, "folds": 1000, "waits": 10_000, "moves": 100, "ages": 100, "evictions": 100}
    for name, count in {**least, "takeovers": 50, "losses": 100}.items():
        assert world.did[name] >= count, f"seed {seed}: {name} {world.did[name]}"

    # Nobody talks any more.
    for _dummy in range(round(2 * AGEING / SWEEP) + 2):
        world.pass_time(SWEEP)
        world.sweep()
        world.check()
    # What nobody uses has gone, but for neighbours whose MACs have rows of others.
    for index in DEVICES:
        left, neighbors = world.kernel.ours(index)
        assert not left, f"seed {seed}: rows that nobody uses"
        assert {value for _address, value in neighbors} <= world.kernel.others[index], f"seed {seed}: neighbours"
    assert {one["kind"] for one in world.resolver.entries()} <= {"neighbor"}
