# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-ask, which role ipsec runs beside Libreswan: of the kernel's policies it removes those that a peer has left that did not answer,
and no others."""

import subprocess
from pathlib import Path

import pytest
from device_support import MARKS
from jinja2 import Environment

pytestmark = MARKS

TEMPLATE = Path(__file__).parents[2] / "roles" / "ipsec" / "templates" / "vtep-ask.j2"
VTEP = {4: "203.0.113.1", 6: "2001:db8:1::1"}
PEER = {4: "203.0.113.2", 6: "2001:db8:2::1"}
PREFIX = {4: "203.0.113.0/28", 6: "2001:db8::/46"}
OTHER = {4: "203.0.113.3", 6: "2001:db8:3::1"}
BEYOND = {4: "203.0.113.22", 6: "2001:db8:22::1"}
ALL = {4: "0.0.0.0/0", 6: "::/0"}
ESP = "tmpl proto esp mode transport"


def rows(family):
    """{selector and direction: (what it does, whether it goes)}"""
    here, there = VTEP[family], PEER[family]
    peer = f"src {here} dst {there}"
    return {
        # As Libreswan's, while it negotiates and ever after.
        f"{peer} proto udp dport 4789 dir out": (f"action block priority 2359296 {ESP}", True),
        f"{peer} proto udp sport 4789 dir out": (f"action block priority 2359296 {ESP}", True),
        # As with private-or-clear.
        f"{peer} proto udp dport 4790 dir out": ("priority 2359296", True),
        # And what it leaves of all UDP.
        f"{peer} proto udp dir out": ("priority 0", True),
        # What encrypts, and what catches the first packet to a peer.
        f"src {here} dst {ALL[family]} proto udp dport 4789 dir out": (f"priority 3000000 {ESP}", False),
        # The role's own, others', and of others' ports.
        f"src {here} dst {ALL[family]} proto udp dport 4790 dir out": ("action block priority 2147483648", False),
        f"src {there} dst {here} proto udp dport 4789 dir in": ("action block priority 2359296", False),
        f"src {there} dst {here} proto udp dport 4789 dir out": ("action block priority 2359296", False),
        f"{peer} proto udp dport 4791 dir out": ("action block priority 2359296", False),
        f"{peer} proto tcp dport 4789 dir out": ("action block priority 2359296", False),
        f"src {here} dst {BEYOND[family]} proto udp dport 4789 dir out": ("action block priority 2359296", False),
        f"src {here} dst {BEYOND[family]} proto udp dir out": ("priority 0", False),
        f"src {here} dst {PREFIX[family]} proto udp dir out": ("priority 0", False),
        f"{peer} proto tcp dir out": ("priority 0", False),
        f"src {here} dst {OTHER[family]} proto udp dir out": ("priority 5", False),
        f"src {there} dst {here} proto udp dir out": ("priority 0", False),
        f"{peer} dir out": ("priority 0", False),
    }


def program(place, family, group):
    plan = {"family": family, "local": VTEP[family], "ports": [4789, 4790], "prefix": PREFIX[family], "group": group}
    path = place / "vtep-ask"
    path.write_text(Environment(trim_blocks=True).from_string(TEMPLATE.read_text()).render(ipsec_plan=plan))
    return path


def removed(path, family, words, before=()):
    """Which of the rows the program removes in two seconds, given how old they have to be."""
    wanted = rows(family)
    adds = "\n".join([*before, *(f"ip xfrm policy add {selector} {row}" for selector, (row, _goes) in wanted.items())])
    look = f"ip -{family} -o xfrm policy list | wc -l"
    # The program never ends by itself, so timeout always tells an error.
    script = f"set -e\n{adds}\n{look}\ntimeout 2 sh {path} 0.2 {words} || true\n{look}\n" + "\n".join(
        f"ip xfrm policy get {selector} >/dev/null 2>&1 && echo there || echo gone" for selector in wanted
    )
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    before, after, *told = done.stdout.split()
    assert int(before) - int(after) == told.count("gone")
    return [selector for selector, said in zip(wanted, told) if said == "gone"]


@pytest.mark.parametrize(("words", "goes"), [("20 -1", True), ("60 60", False), ("-1 60", False)])
@pytest.mark.parametrize("family", [4, 6])
def test_what_a_silent_peer_has_left_is_removed(tmp_path, family, words, goes):
    """When it is late enough; soon alone is not enough, where there is no association of the peer's."""
    wanted = [selector for selector, (_row, gone) in rows(family).items() if gone] if goes else []
    assert removed(program(tmp_path, family, "private"), family, words) == wanted


def test_with_private_or_clear_a_peer_is_asked_at_leisure(tmp_path):
    told = {group: program(tmp_path, 6, group).read_text() for group in ("private", "private-or-clear")}
    assert {group: text.split("late=${3-", 1)[1].split("}", 1)[0] for group, text in told.items()} == {
        "private": "20",
        "private-or-clear": "900",
    }
