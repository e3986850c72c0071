# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-ask where the peer has an association to this host, and so runs Libreswan by now; see tests/kernel/test_ipsec_ask.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))
from test_ipsec_ask import PEER, VTEP, program, removed, rows

KEY = f"proto esp spi 0x1000 mode transport aead 'rfc4106(gcm(aes))' 0x{'5e' * 20} 128"


@pytest.mark.parametrize("family", [4, 6])
def test_who_has_an_association_is_asked_soon(tmp_path, family):
    here, there = VTEP[family], PEER[family]
    path = program(tmp_path, family, "private-or-clear")
    wanted = [selector for selector, (_row, gone) in rows(family).items() if gone]
    assert removed(path, family, "-1 60", [f"ip xfrm state add src {there} dst {here} {KEY}"]) == wanted
    # One that goes from this host tells nothing of the peer.
    assert not removed(path, family, "-1 60", [f"ip xfrm state add src {here} dst {there} {KEY}"])
