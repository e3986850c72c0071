# SPDX-License-Identifier: GPL-3.0-or-later
"""The variants unicast-dynamic-* on the built-in lab with its registry: both kinds of registry, endpoints that move, agents and
registries that die, and the way from and to other variants (with TEST_ALL set to each other one) but vxfld's, which test_vxfld.py has.
"""

import json
import time

import pytest
from driver import ROOT, Fabric, Ping, at_length, surprises, waited

VTEPS, EVERYBODY = ("s1", "s2", "s3"), ("s1", "s2", "s3", "reg1")
OTHERS = (
    "unicast-static-flood", "multicast", "unicast-static-l2", "unicast-static-nd", "unicast-static-rsc", "unicast-routing",
)  # fmt: skip
L2, ND = "unicast-dynamic-l2", "unicast-dynamic-nd"
H4, H4_MAC = "2001:db8:ff::13", "50:54:33:00:00:04"
LOCAL = {host: f"2001:db8:{n}::1" for n, host in enumerate(VTEPS, 1)}
# H4's twin behind S1: what a virtual machine is that has moved there. It announces itself as hypervisors do for their guests.
TWIN = f"""
ip link add twin0 link eth0 address {H4_MAC} type macvlan mode bridge
ip netns add twin; ip link set twin0 netns twin
ip netns exec twin sysctl -q -w net.ipv6.conf.twin0.ndisc_notify=1 net.ipv6.conf.twin0.accept_dad=0
ip netns exec twin ip addr add {H4}/64 dev twin0 nodad
"""


class Dynamic(Fabric):
    kind = "file"
    learned_only = False

    def play(self, *arguments, **options):
        words = {"fabric_registry": {"kind": self.kind}}
        if self.learned_only:
            words["fabric_endpoints"] = []
        return super().play(*arguments, "-e", json.dumps(words), **options)

    def agent(self, host, *words):
        return json.loads(self.run(host, f"vtep-agent {' '.join(words)} --json"))

    def claims(self, host, address):
        return [claim for one in self.agent(host, "why", address)["vnis"] for claim in one["claims"]]

    def row(self, host, mac):
        rows = json.loads(self.run(host, "bridge -j fdb show dev vxlan100"))
        return [row["dst"] for row in rows if row["mac"] == mac and "dst" in row]

    def forget(self, *hosts):
        """What the endpoints know of one another."""
        for host in hosts:
            self.run(host, "ip neigh flush dev eth0; ip neigh flush dev eth0 nud permanent")

    def pid(self, host):
        return int(self.run(host, "systemctl show -P MainPID vtep-agent"))

    def answers(self, source, target):
        return "1 received" in self.run(source, f"ping -n -c 1 -W 0.2 {target} || true")


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    names = ("lab", "lab-registry")
    fabric = Dynamic(tmp_path_factory.mktemp("agent"), *(ROOT / "inventories" / name for name in names))
    fabric.told = {}
    try:
        fabric.play("playbooks/lab_up.yml")
        yield fabric
        path = ROOT / "build" / "dynamic.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fabric.told, indent=1) + "\n")
    finally:
        fabric.play("playbooks/lab_down.yml")


@pytest.mark.parametrize(
    ("variant", "kind"), [(L2, "file"), (ND, "file"), pytest.param(L2, "etcd", marks=at_length), (ND, "etcd")]
)
def test_each_variant_with_each_registry(fabric, variant, kind):
    """From bare hosts, from the other variant and from the other registry: predicted, proven with packets, unchanged by a rerun."""
    fabric.kind = kind
    predicted = fabric.site(variant, "--check")
    assert predicted
    done = fabric.site(variant)
    assert set(done) == set(predicted)
    if kind == "file":  # nobody predicts a certificate
        assert surprises(done, predicted) == []
    fabric.verify(variant)
    if variant == ND:
        assert fabric.site(variant) == {}
    if kind == "file":
        assert fabric.run("reg1", "systemctl is-active vtep-registry || true") == "inactive\n"


# From here on unicast-dynamic-nd with etcd.


def test_the_first_ping(fabric):
    """Nothing is known in the kernel: the first packet's ARP or ND is a miss, and is answered when it is asked again, or at once."""
    for host in VTEPS:
        fabric.run(host, "bridge fdb flush dev vxlan100; ip neigh flush dev vxlan100 nud permanent")
    fabric.forget("h1", "h4")
    out = fabric.run("h1", f"ping -n -c 3 -i 0.2 -W 2 {H4}")
    times = [float(line.split("time=")[1].split()[0]) for line in out.splitlines() if "time=" in line]
    fabric.told["first ping"] = {"received of 3": len(times), "milliseconds": times}
    assert len(times) >= 2
    assert fabric.row("s1", H4_MAC) == [LOCAL["s3"]]


def test_an_endpoint_moves_under_a_running_ping(fabric):
    fabric.run("h1", TWIN)
    try:
        with Ping(fabric, "h2", H4) as ping:
            time.sleep(1)
            fabric.run("h4", "sysctl -q -w net.ipv6.conf.eth0.keep_addr_on_down=1; ip link set eth0 down")
            fabric.run("h1", "ip netns exec twin ip link set twin0 up")
            moved = waited(lambda: fabric.row("s2", H4_MAC) == [LOCAL["s1"]], 10)
            waited(lambda: fabric.answers("h2", H4), 10)
            time.sleep(0.5)
        fabric.told["move"] = {
            "seconds until S2's row was right": round(moved, 2),
            "pings lost of 100 a second": ping.lost,
        }
        assert moved < 2
        assert ping.lost < 300
        assert fabric.claims("s2", H4_MAC)[0]["vtep"] == LOCAL["s1"]
    finally:
        fabric.run("h1", "ip netns del twin")
        fabric.run("h4", "ip link set eth0 up")
    fabric.run("h4", "ping -n -c 1 -W 2 2001:db8:ff::11 || true")
    waited(lambda: fabric.row("s2", H4_MAC) == [LOCAL["s3"]] and fabric.answers("h2", H4), 60)


def test_an_agent_killed_under_load_loses_no_frame(fabric):
    waited(lambda: fabric.answers("h1", H4), 10)
    with Ping(fabric, "h1", H4) as ping:
        for host in ("s1", "s3"):
            pid = fabric.pid(host)
            fabric.run(host, f"kill -9 {pid}")
            waited(lambda host=host, pid=pid: fabric.pid(host) not in (0, pid), 5)
            time.sleep(0.5)
        fabric.run("s1", "systemctl restart vtep-agent")
        time.sleep(1)
    assert ping.lost == 0
    fabric.forget("h1", "h3")
    waited(lambda: fabric.answers("h1", "2001:db8:ff::12"), 5)


def test_a_stopped_agent_leaves_nothing(fabric):
    fabric.run("s1", "systemctl stop vtep-agent")
    assert fabric.row("s1", H4_MAC) == []
    assert H4 not in fabric.run("s1", "ip neigh show dev vxlan100 nud all")
    fabric.run("s1", "systemctl start vtep-agent")
    waited(lambda: fabric.answers("h1", H4), 5)


def test_etcd_stopped_restarted_and_its_data_lost(fabric):
    with Ping(fabric, "h1", H4) as ping:
        fabric.run("reg1", "systemctl stop vtep-registry")
        waited(lambda: not fabric.agent("s1", "status")["registry"]["ok"], 15)
        time.sleep(1)
        fabric.forget("h1", "h3")
        waited(lambda: fabric.answers("h1", "2001:db8:ff::12"), 5)  # what is known stays known
        fabric.run("reg1", "systemctl start vtep-registry")
        waited(lambda: fabric.agent("s1", "status")["registry"]["ok"], 15)
        fabric.run("reg1", "systemctl stop vtep-registry; rm -rf /var/lib/private/vtep-registry/*")
        time.sleep(2)
        fabric.site(ND)
        waited(lambda: all(fabric.agent(host, "status")["registry"]["ok"] for host in VTEPS), 30)
        waited(lambda: all(fabric.claims(host, H4_MAC) for host in VTEPS), 30)
    assert ping.lost == 0
    fabric.verify(ND)


def test_a_host_that_scans_harms_nobody_else(fabric):
    """H2 asks for 65,536 addresses as fast as it can; H3, behind the same VTEP, finds H1 as quickly as before."""

    def first():
        """Milliseconds of a ping whose address has to be resolved, the median of some."""
        found = []
        for _dummy in range(5):
            fabric.forget("h3")
            out = fabric.run("h3", "ping -n -c 1 -W 2 2001:db8:ff::10")
            found.append(float(out.split("time=")[1].split()[0]))
        return sorted(found)[2]

    before = first()
    fabric.run("h2", "ip addr add 10.0.0.1/16 dev eth0")
    try:
        fabric.run("h2", SCAN)
        during = first()
        waited(
            lambda: "[s]can" not in fabric.run("h2", "pgrep -f '[s]can65536' >/dev/null && echo '[s]can' || true"), 60
        )
    finally:
        fabric.run("h2", "ip addr del 10.0.0.1/16 dev eth0")
    status = fabric.agent("s2", "status")
    fabric.told["scan"] = {"ms before": before, "ms during": during}
    assert during < 10 * before + 20
    assert status["rows"]["unanswered"] <= 8192


# Sends one ARP request for each address of 10.0.0.0/16, in the background.
SCAN = r"""
setsid python3 -c '
import socket
scan65536 = True
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("eth0", 0))
    mac = raw.getsockname()[4]
    head = b"\xff" * 6 + mac + b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" + mac + bytes([10, 0, 0, 1]) + bytes(6)
    for n in range(65536):
        raw.send(head + bytes([10, 0, n >> 8, n & 255]))
' </dev/null >/dev/null 2>&1 &
"""


def test_without_an_endpoint_list_the_vteps_tell_one_another(fabric):
    """What the access ports teach is all that there is."""
    fabric.learned_only = True
    try:
        fabric.site(ND)
        for host in ("h1", "h2", "h3", "h4"):
            fabric.forget(host)
            fabric.run(host, "ping -n -c 1 -W 0.2 2001:db8:ff::99 || true; ping -n -c 1 -W 0.2 192.0.2.99 || true")
        waited(lambda: fabric.answers("h1", H4) and fabric.answers("h4", "192.0.2.11"), 10)
    finally:
        fabric.learned_only = False  # from the next run on


@pytest.mark.parametrize("other", [OTHERS[0], *(pytest.param(one, marks=at_length) for one in OTHERS[1:])])
def test_from_and_to_each_other_variant(fabric, other):
    """By turns from the one and into the other dynamic variant; the way out is predicted by check mode, and takes all along."""
    old, new = (ND, L2) if OTHERS.index(other) % 2 == 0 else (L2, ND)
    predicted = fabric.site(other, "--check")
    with Ping(fabric, "h1", "2001:db8:ff::11") as ping:
        done = fabric.site(other)
    assert surprises(done, predicted) == []
    fabric.told[f"{old} to {other}"] = f"{ping.lost} of {ping.sent}"
    fabric.verify(other)
    places = "/etc/vtep-agent* /etc/systemd/system/vtep-agent* /usr/local/sbin/vtep-agent /run/vtep-agent"
    left = f"ls {places} /var/lib/vtep.fabric/endpoints.json 2>/dev/null || true"
    assert all(fabric.run(host, left) == "" for host in VTEPS)
    assert "vtep_agent" not in fabric.run("s1", "nft list ruleset")
    with Ping(fabric, "h1", "2001:db8:ff::11") as ping:
        fabric.site(new)
    fabric.told[f"{other} to {new}"] = f"{ping.lost} of {ping.sent}"
    waited(lambda: fabric.answers("h1", H4) and fabric.answers("h4", "192.0.2.10"), 10)


def test_teardown_leaves_nothing(fabric):
    predicted = fabric.play("playbooks/teardown.yml", "--check", "--diff")
    assert surprises(fabric.play("playbooks/teardown.yml", "--diff"), predicted) == []
    for host in EVERYBODY:
        places = (
            "/etc/vtep* /run/vtep-* /usr/local/lib/vtep.fabric /var/lib/vtep-registry /var/lib/private/vtep-registry"
        )
        left = f"nft list ruleset; ls {places} 2>/dev/null || true"
        assert fabric.run(host, left) == ""
        assert "2001:db8" not in fabric.run(host, "ip addr")
    assert fabric.play("playbooks/teardown.yml") == {}
