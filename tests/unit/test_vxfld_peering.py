# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a service node asks for a database, when peers change meanwhile."""

import collections
import random

from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import config
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.peering import Peering

ONE, TWO, THREE, FOUR = ((bytes((192, 0, 2, number)), 10001) for number in range(1, 5))


class Bench:
    def __init__(self, *peers, targets=1):
        self.peering = Peering(collections.Counter(), [], random.Random(1))
        self.settings = config.Vxsnd(sync_targets=targets)
        self.peers(*peers, now=0.0)

    def peers(self, *peers, now):
        self.peering.configure(peers, (), self.settings, now)

    def asked(self, now):
        return set(self.peering.ask(now))


def test_the_peer_that_was_asked_is_gone():
    bench = Bench(ONE, TWO)
    (asked,) = bench.asked(0.0)
    (other,) = {ONE, TWO} - {asked}
    bench.peers(other, now=1.0)
    bench.peering.failed(asked, 2.0, "it is no peer any more")
    assert bench.peering.next() <= 1.0
    assert bench.asked(2.0) == {other}


def test_anti_entropy_goes_on_without_the_peer_that_was_asked():
    bench = Bench(ONE, TWO, targets=2)
    assert bench.asked(0.0) == {ONE, TWO}
    bench.peering.answered(ONE, 1.0)
    bench.peers(ONE, now=2.0)
    assert bench.peering.synced  # nobody is left who could answer
    assert bench.peering.next() == 2.0 + bench.settings.holdtime
    assert bench.asked(2.0 + bench.settings.holdtime) == {ONE}


def test_no_peer_and_then_one():
    bench = Bench(ONE)
    assert bench.asked(0.0) == {ONE}
    bench.peers(now=1.0)
    assert bench.peering.synced and bench.asked(2.0) == set()
    bench.peers(TWO, now=3.0)
    assert bench.asked(3.0) == {TWO}


def test_more_are_asked_than_are_wanted_now():
    bench = Bench(ONE, TWO, THREE, targets=2)
    assert len(bench.asked(0.0)) == 2
    bench.peers(ONE, TWO, THREE, FOUR, now=1.0)  # one answer is wanted from here on; two have been asked
    assert bench.asked(1.0) == set()
