# SPDX-License-Identifier: GPL-3.0-or-later
"""What the MTU planner says of VXLAN, against lengths on a wire. tests/full/test_mtu_wire_full.py has VLAN tags and encryption."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import overhead
from device_support import MARKS
from wire_support import Wire

pytestmark = MARKS
MTU = 1500


STACKS = [overhead.Stack(family, inner_vlan_tags=tags) for family in (4, 6) for tags in (0, 1, 2)]


@pytest.fixture(params=STACKS, ids=lambda stack: f"ipv{stack.family}-{stack.inner_vlan_tags}")
def wire(request):
    made = Wire(request.param, MTU)
    assert made.set_mtu("over", MTU)  # so that it is the wire that sets the limit
    yield made
    made.close()


def test_lengths_on_the_wire(wire):
    for length in (*range(46, 110), 500, 1279, 1280, *range(wire.overlay - 8, wire.overlay + 1)):
        assert wire.carried(length) == (overhead.on_wire(wire.stack, length), length)


def test_the_largest_passes_and_one_byte_more_does_not(wire):
    assert wire.overlay == MTU - overhead.VXLAN[wire.stack.family] - 4 * wire.stack.inner_vlan_tags
    assert wire.is_delivered(wire.overlay)
    assert not wire.is_delivered(wire.overlay + 1)
    assert wire.is_delivered(wire.overlay)
