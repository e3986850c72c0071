# SPDX-License-Identifier: GPL-3.0-or-later
"""Role macsec on the lab, in a kernel that has MACsec: site.yml through both modes of MACsec and back, with pings meanwhile, captures on
the hosts' links, rotation, and a reboot. In a guest of user-mode Linux that takes the better part of an hour: it is in make test-all."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
from driver import ROOT, Fabric, Ping, at_length, waited
from macsec_support import MARKS

pytestmark = [*MARKS, at_length]

UNDERLAY = ("-e", "encryption=macsec", "-e", "macsec_mode=underlay")
INSIDE = ("-e", "encryption=macsec", "-e", "macsec_mode=inside")
MARKER = "6d61726b6572"  # "marker"; ping -p repeats it
ALL = {"h2": "2001:db8:ff::11", "h3": "2001:db8:ff::12", "h4": "2001:db8:ff::13"}


class Secured(Fabric):
    """A kernel without nftables for inet and arp, as that of user-mode Linux, does without isolation and guard."""

    def command(self, *arguments):
        more = []
        if not has_nftables():
            needs = '{"preflight_require": ["root", "writable", "pyroute2", "vxlan", "frr", "ospf6d", "ospfd"], "access_isolation": false}'
            more = ["-e", needs]
        return super().command(*more, *arguments)

    def pinged(self):
        for address in ALL.values():
            self.run("h1", f"ping -n -q -c 5 -i 0.2 -W 2 {address}")
        self.run("h1", "ping -n -q -c 2 -M do -s 1452 -W 2 2001:db8:ff::13")

    def wire(self):
        """Frames on s1's link while h1 pings with a marker, in hexadecimal digits without what is between them."""
        self.run("s1", "rm -f /tmp/wire; tcpdump -U -s 0 -i eth0 -w /tmp/wire >/dev/null 2>&1 & sleep 2")
        self.run("h1", f"ping -n -q -c 10 -i 0.1 -p {MARKER} 2001:db8:ff::13")
        self.run("s1", "sleep 1; pkill -INT tcpdump; sleep 1")
        lines = self.run("s1", "tcpdump -r /tmp/wire -n -e -xx 2>/dev/null").splitlines()
        frames = []
        for line in lines:
            if line.startswith("\t0x"):
                frames[-1] += "".join(line.split(":", 1)[1].split())
            else:
                frames.append("")
        return frames


def has_nftables():
    from ansible_collections.vtep.fabric.plugins.module_utils._kernel import probe

    return probe.features()["nftables"]


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    made = Secured(tmp_path_factory.mktemp("macsec"), ROOT / "inventories" / "lab", ROOT / "inventories" / "lab-macsec")
    made.play("playbooks/lab_up.yml")
    try:
        yield made
    finally:
        made.play("playbooks/lab_down.yml")


def test_underlay_from_bare_hosts(fabric):
    predicted = fabric.site("unicast-static-nd", *UNDERLAY, "--check")
    assert ("Make the MACsec devices", "s1") in predicted
    fabric.site("unicast-static-nd", *UNDERLAY)
    fabric.pinged()
    frames = fabric.wire()
    assert len([frame for frame in frames if frame[24:28] == "88e5"]) >= 20
    assert not [frame for frame in frames if MARKER in frame]
    assert fabric.site("unicast-static-nd", *UNDERLAY) == {}
    assert fabric.site("unicast-static-nd", *UNDERLAY, "--check") == {}


def test_rotation_loses_nothing(fabric):
    with Ping(fabric, "h1", ALL["h4"]) as ping:
        done = fabric.play("playbooks/rotate_keys.yml", "-e", "variant=unicast-static-nd", *UNDERLAY, "--diff")
    assert ping.lost == 0
    assert ping.sent > 100
    for step in (
        "Receive what the others will send with",
        "Send with the new key",
        "Keep only the keys that are sent with",
    ):
        assert {host for task, host in done if task == step} == {"s1", "s2", "s3"}


def test_to_none_and_back_loses_nothing(fabric):
    with Ping(fabric, "h1", ALL["h4"]) as ping:
        fabric.site("unicast-static-nd", "-e", "encryption=none")
    assert ping.lost == 0
    assert "macsec" not in fabric.run("s1", "ip -d link")
    with Ping(fabric, "h1", ALL["h4"]) as ping:
        fabric.site("unicast-static-nd", *UNDERLAY)
    assert ping.lost == 0


def test_inside_after_underlay(fabric):
    fabric.site("unicast-static-flood", *INSIDE)
    fabric.pinged()
    frames = fabric.wire()
    assert len(frames) >= 20
    assert not [frame for frame in frames if MARKER in frame]
    # Outer headers of 70 bytes, and the inner frame's MAC addresses.
    assert [frame for frame in frames if frame[164 : 164 + 4] == "88e5"]
    assert fabric.site("unicast-static-flood", *INSIDE) == {}


def test_a_rebooted_host_comes_back_and_the_others_get_only_its_key(fabric):
    boot = "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1"
    before = fabric.run("s3", boot)
    fabric.run("s3", "systemctl --no-block reboot")

    def is_back():
        try:
            return fabric.run("s3", boot) != before and "running" in fabric.run(
                "s3", "systemctl is-system-running --wait"
            )
        except subprocess.CalledProcessError:
            return False

    waited(is_back, 300)
    done = fabric.site("unicast-static-flood", *INSIDE)
    assert {task for task, host in done if host == "s1"} == {
        "Receive what the others will send with",
        "Keep only the keys that are sent with",
    }
    fabric.pinged()


def test_teardown_leaves_nothing(fabric):
    fabric.play("playbooks/teardown.yml")
    for host in ("s1", "s2", "s3"):
        assert "macsec" not in fabric.run(host, "ip -d link")
        assert fabric.run(host, "ls /etc/vtep.fabric 2>/dev/null || true").split() == []
