# SPDX-License-Identifier: GPL-3.0-or-later
"""A resolver, a directory and a model of the kernel, in whatever order things happen."""

import pytest
from agent_support import ip, mac, vtep
from agent_world import DEVICES, World
from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import Claim
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

MACS = list(map(mac, range(1, 5)))
IPS = [*map(ip, range(1, 4)), ip(1, 6)]
VTEPS = [*map(vtep, range(1, 5)), vtep(2, 6)]
INDEXES = st.sampled_from([5, 5, 5, *DEVICES])  # few things at many places never meet
KEYS = st.sampled_from(MACS + IPS)
CLAIMS = st.builds(
    Claim,
    st.sampled_from([100, 100, 200]),
    st.sampled_from(MACS),
    st.sampled_from(VTEPS),
    st.sets(st.sampled_from(IPS), max_size=3).map(sorted).map(tuple),
    st.integers(1, 9),
)


class Anything(RuleBasedStateMachine):
    limits = {"limit": 1000, "unanswered": 1000}

    @initialize(claims=st.lists(CLAIMS, max_size=12))
    def start(self, claims):
        self.world = World(start=5.0, unanswered_ttl=10.0, ageing=20.0, **self.limits)
        self.world.snapshot(claims)

    @rule(claim=CLAIMS)
    def publish(self, claim):
        self.world.publish(claim)

    @rule(claim=CLAIMS)
    def withdraw(self, claim):
        self.world.withdraw(*claim[:3])

    @rule(claims=st.lists(CLAIMS, max_size=12), grace=st.sampled_from([0.0, 3.0]))
    def snapshot(self, claims, grace):
        self.world.snapshot(claims, grace)

    @rule(index=INDEXES, keys=st.lists(KEYS, min_size=1, max_size=6), copies=st.integers(1, 2))
    def use(self, index, keys, copies):
        self.world.use(index, *keys, copies=copies)

    @rule(index=INDEXES, key=KEYS)
    def late_miss(self, index, key):
        """A miss that was under way when somebody answered it."""
        if key not in self.world.kernel.others[index]:
            self.world.miss(index, [key])

    @rule(seconds=st.sampled_from([0.02, 0.03, 0.05, 0.3, 1.0, 4.0, 11.0, 20.0, 30.0]))
    def pass_time(self, seconds):
        self.world.pass_time(seconds)

    @rule(place=st.integers(0, 99), taken=st.sampled_from([False, False, True]), again=st.booleans())
    def meddle(self, place, taken, again):
        """Somebody removes a row, which may be missed at once, or makes it his own."""
        kernel = self.world.kernel
        rows = [(index, key) for index in DEVICES for key in [*kernel.fdb[index], *kernel.neighbors[index]]]
        if rows:
            row = rows[place % len(rows)]
            (self.world.take if taken else self.world.remove)(*row)
            if again:
                self.world.use(*row)

    @rule()
    def hear(self):
        self.world.deliver()

    @rule()
    def read(self):
        self.world.read()

    @rule()
    def adopt(self):
        self.world.adopt()

    @rule()
    def sweep(self):
        self.world.sweep()

    @rule()
    def lose_word(self):
        self.world.lose_word()

    @rule()
    def restart(self):
        self.world.restart()

    @rule(index=INDEXES, local=st.sampled_from([None, *VTEPS]))
    def change_local(self, index, local):
        world = self.world
        world.devices[index] = world.devices[index]._replace(local=local)
        world.carry_out(world.resolver.devices(world.devices, world.now))

    @invariant()
    def holds(self):
        self.world.check()


class Full(Anything):
    limits = {"limit": 5, "unanswered": 3}


@pytest.mark.parametrize("machine", [Anything, Full])
def test_whatever_happens(machine):
    test = machine.TestCase
    test.settings = settings(
        max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    test("runTest").runTest()
