# SPDX-License-Identifier: GPL-3.0-or-later
"""vxfld-hrep and vxfld-snr on the built-in lab with its two service nodes: both families, what is where on the wire, and what
happens when VTEPs, service nodes and daemons come and go under traffic.
"""

import json
import time

import pytest
from driver import ROOT, Broadcasts, Fabric, Ping, at_length, surprises, waited

VTEPS, SERVICE_NODES, ENDPOINTS = ("s1", "s2", "s3"), ("sn1", "sn2"), ("h1", "h2", "h3", "h4")
S3 = {6: "2001:db8:3::1", 4: "203.0.113.3"}
H4 = "2001:db8:ff::13"
PLACES = "/etc/vx* /run/vx* /usr/local/lib/vtep.fabric /etc/systemd/system/vtep-boot.service /var/lib/vtep.fabric/boot*"
SNR = ("vxfld-snr", "-e", "boot_restore=true")
HOLDTIME = 9  # seconds, so that a death is seen while one waits; hence a refresh every 3 s


class Vxfld(Fabric):
    family = 6

    def play(self, *arguments, **options):
        words = {"vxfld_holdtime": HOLDTIME, "fabric_underlay_family": self.family}
        return super().play(*arguments, "-e", json.dumps(words), **options)

    def flood_list(self, host):
        rows = json.loads(self.run(host, "bridge -j fdb show dev vxlan100"))
        return {row["dst"] for row in rows if row["mac"] == "00:00:00:00:00:00" and "dst" in row}

    def registered(self, host):
        return {row[0] for rows in json.loads(self.run(host, "vxsndctl -j fdb")).values() for row in rows}

    def pid(self, host, unit):
        return int(self.run(host, f"systemctl show -P MainPID {unit}"))

    def kill(self, host, unit):
        """kill -9, and wait until systemd has started it again."""
        pid = self.pid(host, unit)
        self.run(host, f"kill -9 {pid}")
        waited(lambda: self.pid(host, unit) not in (0, pid), 5)

    def serving(self):
        """The service node that S1's BUM frames go to: the one whose anycast address OSPF has picked."""
        anycast = {6: "2001:db8:100::100", 4: "203.0.113.100"}[self.family]
        route = self.run("s1", f"ip route get {anycast}").split()
        via = route[route.index("via") + 1 :] if "via" in route else [anycast]
        gateway = via[1] if via[0] == "inet6" else via[0]
        return next(host for host in SERVICE_NODES if gateway in self.run(host, "ip addr show dev eth0"))


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    sources = [ROOT / "inventories" / name for name in ("lab", "lab-vxfld")]
    fabric = Vxfld(tmp_path_factory.mktemp("vxfld"), *sources)
    try:
        fabric.play("playbooks/lab_up.yml")
        yield fabric
    finally:
        fabric.play("playbooks/lab_down.yml")


@pytest.mark.parametrize(
    ("variant", "family"),
    [
        ("vxfld-snr", 4),
        pytest.param("vxfld-hrep", 4, marks=at_length),
        pytest.param("vxfld-snr", 6, marks=at_length),
        ("vxfld-hrep", 6),
    ],
)
def test_each_mode_in_each_family(fabric, variant, family):
    """From bare hosts, from the other mode and from the other family: predicted, proven with packets, unchanged by a rerun."""
    fabric.family = family
    predicted = fabric.site(variant, "--check")
    assert predicted
    assert surprises(fabric.site(variant), predicted) == []
    fabric.verify(variant)
    assert fabric.site(variant) == {}
    assert fabric.site(variant, "--check") == {}


# From here on vxfld-hrep over IPv6.


def test_what_others_put_into_a_flood_list_stays(fabric):
    other = "2001:db8:77::77"
    fabric.run("s1", f"bridge fdb append 00:00:00:00:00:00 dev vxlan100 dst {other}")
    fabric.run("s1", "systemctl reload vxrd; systemctl restart vxrd")
    time.sleep(HOLDTIME / 3 + 1)
    assert fabric.flood_list("s1") == {other, "2001:db8:2::1", S3[6]}
    fabric.run("s1", f"bridge fdb del 00:00:00:00:00:00 dev vxlan100 dst {other}")


def test_a_new_vtep_is_reached_within_two_seconds(fabric):
    fabric.run("s3", "systemctl stop vxrd")
    waited(lambda: S3[6] not in fabric.flood_list("s1") | fabric.flood_list("s2"), 2)
    fabric.run("h1", f"ip neigh flush dev eth0; ip neigh flush dev eth0 nud permanent; ! ping -n -c 1 -W 1 {H4}")
    fabric.run("s3", "systemctl start --no-block vxrd")
    took = waited(lambda: "1 received" in fabric.run("h1", f"ping -n -c 1 -W 0.2 {H4} || true"), 10)
    assert took < 2, f"{took:.2f} s"


def test_a_dead_vtep_is_forgotten_within_the_holdtime(fabric):
    """Its cable is cut: nobody says goodbye."""
    fabric.run("s3", "ip link set eth0 down")
    try:
        took = waited(lambda: S3[6] not in fabric.flood_list("s1") | fabric.flood_list("s2"), HOLDTIME + 2)
        assert took < HOLDTIME + 1, f"{took:.2f} s"
        assert all(S3[6] not in fabric.registered(host) for host in SERVICE_NODES)
    finally:
        fabric.run("s3", "ip link set eth0 up")
    waited(lambda: S3[6] in fabric.flood_list("s1"), HOLDTIME + 20)


def test_vxrd_killed_and_restarted_loses_no_frame(fabric):
    with Broadcasts(fabric, "h1", "h2", "h4") as frames, Ping(fabric, "h1", H4) as ping:
        for host in ("s1", "s3"):
            fabric.kill(host, "vxrd")
            time.sleep(1)
        fabric.run("s1", "systemctl restart vxrd")
        time.sleep(HOLDTIME / 3 + 1)
    assert frames.sent > 300
    assert frames.lost == {"h2": 0, "h4": 0} == frames.twice
    assert ping.lost == 0


def test_head_end_replication_outlives_a_service_node(fabric):
    """Registrations are at both; the VTEPs go on with the other one."""
    host = fabric.serving()
    with Broadcasts(fabric, "h1", "h2", "h4") as frames:
        fabric.run(host, "ip link set eth0 down")
        try:
            time.sleep(HOLDTIME + 3)
            assert all(fabric.flood_list(vtep) for vtep in VTEPS)
        finally:
            fabric.run(host, "ip link set eth0 up")
    assert frames.lost == {"h2": 0, "h4": 0}
    waited(lambda: len(fabric.registered(host)) == len(VTEPS), HOLDTIME + 20)


def test_hrep_becomes_a_static_list_and_back(fabric):
    """The daemons go, with all that they had."""
    predicted = fabric.site("unicast-static-flood", "--check")
    with Broadcasts(fabric, "h1", "h2", "h4") as frames:
        done = fabric.site("unicast-static-flood")
    assert surprises(done, predicted) == []
    assert frames.lost == {"h2": 0, "h4": 0}, "the list is taken over as it is"
    fabric.verify("unicast-static-flood")
    left = "ls /etc/vx* /etc/systemd/system/vx* /usr/local/sbin/vx* /usr/local/lib/vtep.fabric /run/vx* 2>/dev/null || true"
    assert all(fabric.run(host, left) == "" for host in (*VTEPS, *SERVICE_NODES))
    assert all(
        "203.0.113.9" not in fabric.run(host, "ip addr; vtysh -c 'show running-config'") for host in SERVICE_NODES
    )


@at_length
def test_hrep_becomes_a_dynamic_variant(fabric):
    """The daemons of both kinds take each other's place, here and in what comes next."""
    fabric.site("vxfld-hrep")
    becomes(fabric, "unicast-dynamic-nd")


def test_another_variant_becomes_snr(fabric):
    becomes(fabric, *SNR)


def becomes(fabric, variant, *words):
    predicted = fabric.site(variant, *words, "--check")
    assert surprises(fabric.site(variant, *words), predicted) == []
    fabric.verify(variant)


# From here on vxfld-snr over IPv6.


def test_rebooted_hosts_come_back_by_themselves(fabric):
    """A VTEP and a service node, without a run; and the next run finds nothing to change."""
    fabric.reboot("s3", "sn1")
    assert fabric.run("s3", "vtep-boot --check") == ""
    waited(lambda: all(len(fabric.registered(host)) == len(VTEPS) for host in SERVICE_NODES), HOLDTIME)
    fabric.verify("vxfld-snr")
    assert fabric.site(*SNR) == {}


def test_vxsnd_killed_and_restarted_loses_no_frame(fabric):
    with Broadcasts(fabric, "h1", "h2", "h4") as frames:
        for host in SERVICE_NODES:
            fabric.kill(host, "vxsnd")
            time.sleep(1.5)
    assert frames.sent > 300
    assert frames.lost == {"h2": 0, "h4": 0} == frames.twice
    assert all(len(fabric.registered(host)) == len(VTEPS) for host in SERVICE_NODES)


def test_a_service_node_stopped_hands_over_without_loss(fabric):
    host = fabric.serving()
    with Broadcasts(fabric, "h1", "h2", "h4") as frames:
        fabric.run(host, "systemctl stop vxsnd")
        waited(lambda: fabric.serving() != host, 5)
        time.sleep(1)
    assert frames.lost == {"h2": 0, "h4": 0}
    fabric.run(host, "systemctl start vxsnd")


def test_broadcasts_outlive_a_dead_service_node(fabric):
    """Dead without a goodbye: until OSPF's dead interval of 3 s has passed its frames are lost, not longer."""
    host = fabric.serving()
    with Broadcasts(fabric, "h1", "h2", "h4") as frames:
        fabric.run(host, "ip link set eth0 down")
        try:
            time.sleep(8)
        finally:
            fabric.run(host, "ip link set eth0 up")
    assert max(frames.gap.values()) < 500, frames.gap
    waited(lambda: len(fabric.registered(host)) == len(VTEPS), HOLDTIME + 20)


def test_an_unhealthy_vxsnd_gives_its_anycast_address_up(fabric):
    """It hangs: the watchdog ends it, and as it can't start any more, the other service node gets all frames."""
    host, broken = fabric.serving(), "/run/systemd/system/vxsnd.service.d"
    fabric.run(
        host,
        f"mkdir {broken}; printf '[Service]\\nExecStartPre=/bin/false\\n' >{broken}/broken.conf; systemctl daemon-reload",
    )
    fabric.run(host, "kill -STOP $(systemctl show -P MainPID vxsnd)")
    waited(lambda: "2001:db8:100::100" not in fabric.run(host, "ip addr show"), 60)
    waited(lambda: fabric.serving() != host, 10)
    # It hung for longer than this holdtime, so the other one has no registrations until the VTEPs' next refresh.
    waited(lambda: len(fabric.registered(fabric.serving())) == len(VTEPS), HOLDTIME / 3 + 1)
    with Broadcasts(fabric, "h1", "h2", "h4") as frames:
        time.sleep(2)
    assert frames.lost == {"h2": 0, "h4": 0}
    fabric.run(host, f"rm -r {broken}; systemctl daemon-reload")
    assert fabric.site(*SNR), "the next run brings it back"
    waited(lambda: len(fabric.registered(host)) == len(VTEPS), HOLDTIME)


def test_teardown_leaves_nothing(fabric):
    predicted = fabric.play("playbooks/teardown.yml", "--check", "--diff")
    assert surprises(fabric.play("playbooks/teardown.yml", "--diff"), predicted) == []
    for host in (*VTEPS, *SERVICE_NODES):
        assert fabric.run(host, f"nft list ruleset; ls {PLACES} 2>/dev/null || true") == ""
        assert "2001:db8" not in fabric.run(host, "ip addr")
    assert fabric.play("playbooks/teardown.yml") == {}
