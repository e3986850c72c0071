# SPDX-License-Identifier: GPL-3.0-or-later
"""vxrd on several hosts, with vxsnd between them: who is in whose flood list, and how soon."""

import contextlib
import json
import time

import pytest
from device_support import MARKS
from vxfld_support import ANYCAST, Program, Star, eventually, sh

pytestmark = MARKS
VTEPS = ("a", "b", "c")
ZERO = "00:00:00:00:00:00"
SOON = 2.0  # seconds in which a change is everywhere; the next refresh would come after 30


@pytest.fixture(scope="module")
def star():
    with Star((*VTEPS, "n", "m")) as made:
        yield made


class Fabric:
    def __init__(self, star, tmp_path, **common):
        self.star, self.path, self.common = star, tmp_path, common
        self.programs = {}

    def service_node(self, role="n"):
        if ANYCAST[4] not in self.star.ip(role, "addr", "show", "dev", "lo"):
            for address in ANYCAST.values():
                self.star.ip(role, "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        self.star.route_anycast(role)
        peers = " ".join(f"{self.star.host(other, 4)}" for other in ("n", "m"))
        own = {"svcnode_peers": peers, "replicate": "process"}
        return self.start(role, "vxsnd", own)

    def start(self, role, name, own=None):
        common = {
            "src_ip": f"{self.star.host(role, 4)} {self.star.host(role, 6)}",
            "svcnode_ip": " ".join(ANYCAST.values()),
            "node_id": self.star.numbers[role],
            **self.common,
        }
        made = self.programs.get(role)
        if made is None:
            made = Program(self.star, role, name, self.path / role, {"common": common, name: own or {}})
            self.programs[role] = made
        return made.start()

    def device(self, role, vni=100, family=4):
        words = [
            "type",
            "vxlan",
            "id",
            str(vni),
            "dstport",
            str(4700 + vni % 100),
            "local",
            self.star.host(role, family),
        ]
        self.star.ip(role, "link", "add", f"vx{vni}", *words)
        self.star.ip(role, "link", "set", f"vx{vni}", "up")

    def flood(self, role, vni=100):
        with self.star.inside(role):
            rows = json.loads(sh("bridge", "-j", "fdb", "show", "dev", f"vx{vni}"))
        return sorted(row["dst"] for row in rows if row["mac"] == ZERO)

    def complete(self, *roles, vni=100, family=4, seconds=SOON):
        """Wait until each of the hosts floods to all others of them, and to nobody else."""
        wanted = {one: sorted(self.star.host(other, family) for other in roles if other != one) for one in roles}
        eventually(lambda: {one: self.flood(one, vni) for one in roles} == wanted, seconds)

    def end(self):
        for program in self.programs.values():
            program.end()
            print(program.name, program.role, program.told())
        for role in VTEPS:
            for vni in (100, 600):
                with contextlib.suppress(AssertionError):
                    self.star.ip(role, "link", "del", f"vx{vni}")


@pytest.fixture
def fabric(star, tmp_path):
    made = Fabric(star, tmp_path)
    yield made
    made.end()


def test_vteps_come_and_go(fabric):
    fabric.service_node()
    for role in ("a", "b"):
        fabric.device(role)
        fabric.device(role, 600, 6)
        fabric.start(role, "vxrd")
    fabric.complete("a", "b")
    fabric.complete("a", "b", vni=600, family=6)
    # A new one is in all lists at once, by a push.
    fabric.start("c", "vxrd")
    fabric.device("c")
    fabric.device("c", 600, 6)
    fabric.complete("a", "b", "c")
    fabric.complete("a", "b", "c", vni=600, family=6)
    # So is one that goes.
    fabric.star.ip("b", "link", "set", "vx100", "down")
    fabric.complete("a", "c")
    assert fabric.flood("b") == []
    fabric.complete("a", "b", "c", vni=600, family=6)
    fabric.star.ip("b", "link", "set", "vx100", "up")
    fabric.complete("a", "b", "c")
    fabric.programs["c"].stop()
    fabric.complete("a", "b")
    fabric.complete("a", "b", vni=600, family=6)
    assert fabric.flood("c") == fabric.flood("c", 600) == []


def test_nobody_notices_a_kill(fabric):
    """The lists of all hosts stay as they are while each daemon is killed and started again."""
    fabric.service_node()
    for role in VTEPS:
        fabric.device(role)
        fabric.start(role, "vxrd")
    fabric.complete(*VTEPS)
    for role in ("a", "n", "b"):
        fabric.programs[role].kill()
        fabric.programs[role].start()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            fabric.complete(*VTEPS, seconds=0)
    assert len(fabric.programs["a"].ctl("-j", "peers")["100"]) == 3


def test_another_service_node_goes_on(fabric):
    fabric.service_node("m")
    fabric.service_node("n")
    for role in ("a", "b"):
        fabric.device(role)
        fabric.start(role, "vxrd")
    fabric.complete("a", "b")
    fabric.programs["n"].kill()
    fabric.star.route_anycast("m")
    fabric.device("c")
    fabric.start("c", "vxrd")
    # c learns of all at once; the others are known to m as subscribers when they have refreshed.
    eventually(lambda: fabric.flood("c") == sorted(fabric.star.host(one, 4) for one in ("a", "b")), SOON)
    assert fabric.star.host("b", 4) in fabric.flood("a")


def test_with_a_key(star, tmp_path):
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "other").write_text("another key that nobody else has\n")
    (tmp_path / "other").chmod(0o600)
    fabric = Fabric(star, tmp_path, auth_key_file=tmp_path / "key")
    try:
        fabric.service_node()
        for role in VTEPS:
            fabric.device(role)
            fabric.common["auth_key_file"] = tmp_path / ("other" if role == "c" else "key")
            fabric.start(role, "vxrd")
        fabric.complete("a", "b")
        assert fabric.flood("c") == []
    finally:
        fabric.end()


def test_service_node_mode_registers(fabric):
    node = fabric.service_node()
    for family, vni in ((4, 100), (6, 600)):
        for role in ("a", "b"):
            words = [
                "type",
                "vxlan",
                "id",
                str(vni),
                "dstport",
                str(4700 + family),
                "local",
                fabric.star.host(role, family),
            ]
            fabric.star.ip(role, "link", "add", f"vx{vni}", *words, "remote", ANYCAST[family])
            fabric.star.ip(role, "link", "set", f"vx{vni}", "up")
    for role in ("a", "b"):
        fabric.start(role, "vxrd", {"head_rep": "false"})

    def registered():
        told = node.ctl("-j", "fdb")
        return {vni: sorted(entry[0] for entry in entries) for vni, entries in told.items()}

    wanted = {str(vni): [fabric.star.host(one, family) for one in ("a", "b")] for family, vni in ((4, 100), (6, 600))}
    eventually(lambda: registered() == wanted, SOON)
    assert fabric.flood("a") == [ANYCAST[4]]
    fabric.programs["a"].stop()
    eventually(lambda: registered() == {vni: one[1:] for vni, one in wanted.items()}, SOON)
