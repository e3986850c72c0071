# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml and teardown.yml on the built-in lab, the whole way: check mode predicts, reruns change nothing, every variant
turns into others (with TEST_ALL set into every other), a killed run is completed by the next, and teardown leaves the hosts as they were.
"""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from driver import ALL, ROOT, Fabric, Ping, surprises

VTEPS = ("s1", "s2", "s3")
VARIANTS = (
    "multicast", "unicast-static-flood", "unicast-static-l2", "unicast-static-nd", "unicast-static-rsc", "unicast-routing",
)  # fmt: skip
LIVE = set(VARIANTS[:3])  # between these the kernel changes a VXLAN device in place, but for the way out of multicast


def circuit(names):
    """A round trip that goes from each name to each other one exactly once (an Eulerian circuit, by Hierholzer)."""
    ahead = {name: [other for other in names if other != name] for name in names}
    path, done = [names[0]], []
    while path:
        if ahead[path[-1]]:
            path.append(ahead[path[-1]].pop())
        else:
            done.append(path.pop())
    return done[::-1]


# By default from each to the next and all the way back: those whose device stays, those where it is made anew, those that are routed.
TOUR = circuit(VARIANTS) if ALL else [*VARIANTS, *VARIANTS[-2::-1]]

# An operator's own things on a host, beside and in the way of the fabric's.
OWN = r"""
ip link add own0 type veth peer name own1
ip link add own2 type bridge forward_delay 0
ip link add own3 type vxlan id 9999 dstport 4790 local 203.0.113.77
ip link set own0 master own2 alias "the operator's"
ip link set own0 up; ip link set own1 up; ip link set own2 up; ip link set own3 up
ip addr add 198.18.0.1/24 dev own2; ip addr add 198.18.1.1/32 dev lo; ip addr add 2001:db8:5::1/64 dev own2 nodad
bridge fdb append 00:00:00:00:00:00 dev own3 dst 203.0.113.88
bridge fdb add 02:00:00:00:09:09 dev own3 dst 203.0.113.88
bridge fdb add 02:00:00:00:09:10 dev own0 master static
ip neigh add 198.18.0.9 lladdr 02:00:00:00:09:09 dev own2 nud permanent
ip neigh add proxy 198.18.0.10 dev own2; ip neigh add proxy 2001:db8:5::10 dev own2
ip route add 198.18.2.0/24 via 198.18.0.9; ip route add 198.18.3.0/24 via 198.18.0.9 table 77 proto static
ip rule add from 198.18.0.0/24 lookup 77 priority 900
sysctl -q -w net.ipv4.conf.own2.proxy_arp=1 net.ipv4.conf.eth1.proxy_arp=1 net.ipv6.conf.eth0.accept_ra=2
nft add table inet own; nft add chain inet own input '{ type filter hook input priority 0; }'
nft add rule inet own input iifname own2 counter drop
vtysh -c 'configure terminal' -c 'route-map OWN permit 10' -c 'exit' -c 'ip prefix-list OWN seq 5 permit 198.18.0.0/15'
for try in $(seq 50); do ip -6 addr show tentative | grep -q . || break; sleep 0.1; done
"""

# What a host had before the collection came. Counters, indexes and ages are left out, and what FRR's daemons note in
# /var/lib/frr by themselves: sequence numbers, which must not go back.
SNAPSHOT = r"""
ip -d -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/ (promiscuity|allmulti) [0-9]+ / /g; s/[a-z_]+_timer +[0-9.]+//g'
ip -o addr | sed -E 's/^[0-9]+: //; s/valid_lft.*//'
ip -4 route show table all; ip -6 route show table all | sed -E 's/ expires [0-9a-z]+//'
ip -4 rule; ip -6 rule
ip neigh show nud permanent; ip -4 neigh show proxy; ip -6 neigh show proxy; bridge fdb | grep -E 'permanent|static'
nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'
sysctl -a 2>/dev/null | grep -E '^net\.(ipv[46]|bridge)\.' | grep -vE 'stable_secret|random|tcp_mem|udp_mem|\.mtu = '
systemctl list-unit-files --no-pager --no-legend; systemctl list-units --type=service --state=running --no-pager --no-legend --plain
vtysh -c 'show running-config'
find /etc /var/lib -xdev -type f -not -path '*/systemd/*' -not -path '/var/lib/frr/*' -not -name '.updated' | sort | xargs sha256sum
"""

# What a variant puts into a host, as other people's tools tell it; without what traffic teaches the kernel.
STATE = r"""
bridge fdb show dev vxlan100 | grep ' self permanent'
bridge vni show 2>/dev/null
ip neigh show nud permanent; ip -4 neigh show proxy; ip -6 neigh show proxy
ip -4 route show table all proto 118; ip -6 route show table all proto 118; ip -4 rule; ip -6 rule
nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'
sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.(conf|neigh)\.' | grep -vE 'stable_secret|\.mtu = '
systemctl list-units --type=service --state=running --no-pager --no-legend --plain
"""


def on_all(look):
    """{VTEP: what look(host) finds}. Looking takes seconds, so it is done on all of them at once."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(VTEPS, pool.map(look, VTEPS)))


def overlay(fabric):
    """What a variant puts into each host, as other people's tools tell it."""

    def look(host):
        devices = json.loads(fabric.run(host, "ip -j -d link show"))
        kept = {
            # What iproute2 tells of a bridge beside this is its spanning tree's timers and addresses.
            d["ifname"]: (d.get("master"), d.get("ifalias"), d["mtu"], kind == "vxlan" and d["linkinfo"]["info_data"])
            for d in devices
            if (kind := d.get("linkinfo", {}).get("info_kind")) in ("vxlan", "bridge")
        }
        return kept, sorted(fabric.run(host, STATE).splitlines())

    return on_all(look)


def snapshot(fabric):
    return on_all(lambda host: sorted(fabric.run(host, SNAPSHOT).splitlines()))


def differences(found, wanted):
    """{host: lines that one of two snapshots lacks}."""
    return {host: sorted(set(found[host]) ^ set(wanted[host])) for host in wanted if found[host] != wanted[host]}


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    fabric = Fabric(tmp_path_factory.mktemp("site"))
    try:
        fabric.play("playbooks/lab_up.yml")
        for host in VTEPS:
            fabric.run(host, "set -e" + OWN)
        fabric.before = snapshot(fabric)
        fabric.states = {}
        fabric.losses = {}
        yield fabric
    finally:
        fabric.play("playbooks/lab_down.yml")


def test_an_unknown_variant_is_refused_and_the_known_are_named(fabric):
    fabric.play("site.yml", "-e", "variant=unicast-flood", fails=True)
    messages = [
        h["msg"] for t in json.loads(fabric.record.read_text())["tasks"] for h in t["hosts"].values() if h["failed"]
    ]
    assert all(name in str(messages) for name in ("unicast-flood", *VARIANTS))
    assert differences(snapshot(fabric), fabric.before) == {}


def test_check_mode_changes_nothing_and_predicts_the_first_run(fabric):
    predicted = fabric.site(TOUR[0], "--check")
    assert differences(snapshot(fabric), fabric.before) == {}
    assert predicted
    assert fabric.site(TOUR[0]) == predicted
    fabric.verify(TOUR[0])
    fabric.states[TOUR[0]] = overlay(fabric)


def test_the_whole_tour_goes_from_each_variant_to_each_other():
    whole = circuit(VARIANTS)
    pairs = list(zip(whole, whole[1:]))
    assert len(pairs) == len(set(pairs)) == len(VARIANTS) * (len(VARIANTS) - 1)


@pytest.mark.parametrize(("old", "new"), list(zip(TOUR, TOUR[1:])))
def test_conversion_leaves_nothing(fabric, old, new):
    """The first way into each variant is also predicted by check mode."""
    foretold = new not in fabric.states
    predicted = foretold and fabric.site(new, "--check")
    with Ping(fabric, "h1", "2001:db8:ff::11") as six, Ping(fabric, "h1", "192.0.2.11") as four:
        done = fabric.site(new)
    assert not foretold or surprises(done, predicted) == []
    found = overlay(fabric)
    assert found == fabric.states.setdefault(new, found), f"{old} left something behind"
    fabric.losses[f"{old} to {new}"] = {"IPv6": six.lost, "IPv4": four.lost, "sent": six.sent}
    assert six.lost < six.sent
    assert four.lost < four.sent
    if {old, new} <= LIVE and old != "multicast":
        assert six.lost == four.lost == 0


def test_the_tour_ends_in_a_working_fabric(fabric):
    """And tells the pings lost on the way, of 100 a second, which docs/variants.md has."""
    assert fabric.site(TOUR[-1], "--check") == {}
    fabric.verify(TOUR[-1])
    path = ROOT / "build" / "conversions.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(fabric.losses, indent=1) + "\n")


def test_teardown_leaves_the_hosts_as_they_were(fabric):
    predicted = fabric.play("playbooks/teardown.yml", "--check", "--diff")
    done = fabric.play("playbooks/teardown.yml", "--diff")
    assert surprises(done, predicted) == []
    assert differences(snapshot(fabric), fabric.before) == {}
    assert fabric.play("playbooks/teardown.yml") == {}


def test_a_killed_run_is_completed_by_the_next(fabric):
    run = subprocess.Popen(
        fabric.command("site.yml", "-e", f"variant={TOUR[0]}"),
        cwd=ROOT, env=fabric.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while "br100" not in fabric.run("s1", "ip -o link") and time.monotonic() < deadline:
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert fabric.site(TOUR[0])
    assert overlay(fabric) == fabric.states[TOUR[0]]
    fabric.verify(TOUR[0])
