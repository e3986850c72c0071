# SPDX-License-Identifier: GPL-3.0-or-later
"""ospfv3, ospfv2 and their _info modules against real FRR of three Debian suites, cross-checked with vtysh and iproute2."""

import json
import time

import pytest
from frr_host import Host, Lan
from suite_host import SUITES, image, needs_image

ALL = {
    "router_id": "203.0.113.1",
    "areas": [{"area": "0"}, {"area": 1, "type": "stub", "no_summary": True}, {"area": "0.0.0.2", "type": "nssa"}],
    "interfaces": [
        {"name": "lo", "area": 0, "passive": True},
        {
            "name": "u0",
            "area": "0.0.0.0",
            "network": "point-to-point",
            "cost": 7,
            "hello_interval": 1,
            "dead_interval": 3,
            "retransmit_interval": 4,
            "priority": 0,
            "passive": False,
            "mtu_ignore": True,
            "bfd": "fast",
            "authentication": {"key_id": 3, "key": "hush-hush"},
        },
        {"name": "u1", "area": 1, "bfd": "true", "network": "broadcast"},
        {"name": "u2", "area": 2},
    ],
    "redistribute": [
        {"protocol": "connected", "metric": 20, "metric_type": 2},
        {"protocol": "static", "metric_type": 1, "route_map": "SOME"},
    ],
    "timers": {"lsa_min_arrival": 0, "spf": {"delay": 10, "initial_hold": 60, "max_hold": 5000}},
}
# What FRR must show of it, by vtysh; P stands for the prefix of an interface's commands.
ALL_SHOWN = """
interface lo
 P area 0.0.0.0
 P passive
interface u0
 P area 0.0.0.0
 P bfd
 P bfd profile fast
 P cost 7
 P dead-interval 3
 P hello-interval 1
 P mtu-ignore
 P network point-to-point
 P priority 0
 P retransmit-interval 4
interface u1
 P area 0.0.0.1
 P bfd
interface u2
 P area 0.0.0.2
 area 0.0.0.1 stub no-summary
 area 0.0.0.2 nssa
 redistribute connected metric 20
 redistribute static metric-type 1 route-map SOME
 timers lsa min-arrival 0
 timers throttle spf 10 60 5000
"""
SECRET = {
    "ospfv3": " ipv6 ospf6 authentication key-id 3 hash-algo hmac-sha-256 key hush-hush",
    "ospfv2": " ip ospf message-digest-key 3 md5 hush-hush",
}
PREFIX = {"ospfv3": "ipv6 ospf6", "ospfv2": "ip ospf"}
ROUTER = {"ospfv3": "router ospf6", "ospfv2": "router ospf"}
DAEMON = {"ospfv3": "ospf6d", "ospfv2": "ospfd"}

# A busy FRR of somebody else: BGP with neighbours, lists, other interfaces and areas in both OSPFs.
FOREIGN = """
ip route 192.0.2.0/24 blackhole
ipv6 route 2001:db8:f::/64 blackhole
ipv6 prefix-list SOMEBODY seq 5 permit 2001:db8::/32 le 128
route-map SOMEBODY permit 10
 match ipv6 address prefix-list SOMEBODY
exit
router bgp 65000
 bgp router-id 198.51.100.1
 no bgp ebgp-requires-policy
 neighbor 2001:db8:99::1 remote-as 65001
 neighbor 2001:db8:99::1 description the other side
 address-family ipv6 unicast
  network 2001:db8:f::/64
  neighbor 2001:db8:99::1 activate
 exit-address-family
exit
interface f0
 description somebody else's
 ipv6 ospf6 area 9
 ipv6 ospf6 cost 99
 ipv6 ospf6 hello-interval 7
 ip ospf area 9
 ip ospf cost 99
exit
interface u0
 description shared
 ipv6 ospf6 transmit-delay 2
exit
router ospf6
 log-adjacency-changes
 area 9 stub
exit
router ospf
 log-adjacency-changes
 area 9 stub
exit
"""

MINIMAL = {"router_id": "203.0.113.1", "interfaces": [{"name": "u0", "area": 0}]}


@pytest.fixture(params=SUITES)
def host(request):
    """A host with FRR installed and not running, as a package leaves it, but for what the image's making started."""
    needs_image(request.param)
    one = Host(request.param)
    try:
        for name in ("u0", "u1", "u2", "f0"):
            one.veth(name)
        yield one
    finally:
        one.close()


def one_of(*suites):
    """For tests whose subject does not depend on the version: the first suite that there is."""
    return pytest.mark.parametrize("host", suites or ["trixie"], indirect=True)


def ok(outcome):
    assert "error" not in outcome, outcome
    return outcome


def shown(host, module):
    """The lines of what runs that concern a module."""
    prefix = PREFIX[module]
    found, block = [], ""
    for line in host.running().splitlines():
        block = line if line and not line.startswith(" ") else block
        if block.startswith("interface ") and line.startswith(f" {prefix} "):
            found.append((block, line))
        elif block == ROUTER[module] and line.startswith(" "):
            found.append((block, line.rstrip()))
    return found


def state_of(host):
    """All that a run could change: files with owners and modes, and processes."""
    files = host.sh(
        "cat /etc/frr/*.conf /etc/frr/daemons; stat -c '%n %U %G %a' /etc/frr/*;"
        "[ ! -e /var/lib/vtep.fabric ] || ls -R /var/lib/vtep.fabric"
    )
    return files, host.pids()


@pytest.mark.parametrize("module", ["ospfv3", "ospfv2"])
def test_all_settings_on_a_bare_host_are_predicted_set_saved_and_removed(host, module):
    bare = state_of(host)
    predicted = ok(host.module(module, check=True, **ALL))
    assert predicted["changed"]
    assert state_of(host) == bare, "check mode changed something"

    done = ok(host.module(module, **ALL))
    assert done == predicted
    expected, block = set(), ROUTER[module]
    for line in ALL_SHOWN.strip().splitlines():
        block = line if not line.startswith(" ") else ROUTER[module] if not line.startswith(" P") else block
        if line.startswith(" "):
            expected.add((block, line.replace(" P ", f" {PREFIX[module]} ")))
    expected.add((ROUTER[module], f" {ROUTER[module].split()[1]} router-id 203.0.113.1"))
    expected.add(("interface u0", SECRET[module]))
    if module == "ospfv2":
        expected.add(("interface u0", " ip ospf authentication message-digest"))
    # FRR 8's ospfd shows no type that the device has anyway, and the module does not ask for it.
    if module == "ospfv3":
        expected.add(("interface u1", " ipv6 ospf6 network broadcast"))
    assert set(shown(host, module)) == expected
    assert "hush" not in json.dumps(done)
    assert "hush" not in host.read(f"/var/lib/vtep.fabric/{module}.json")
    assert host.sh(f"stat -c '%a %U' /var/lib/vtep.fabric/{module}.json") == "600 root\n"

    again = ok(host.module(module, **ALL))
    assert not again["changed"]
    assert again["before"] == again["after"]

    before = host.running()
    host.run("/usr/lib/frr/frrinit.sh", "restart")
    assert host.running() == before, "the saved configuration is not what ran"
    assert not ok(host.module(module, **ALL))["changed"]

    gone = ok(host.module(module, state="absent"))
    assert gone["changed"]
    assert sorted(gone["daemons_stopped"]) == sorted(["bfdd", DAEMON[module]])
    files, _pids = state_of(host)
    assert files == bare[0]
    assert DAEMON[module] not in host.pids()
    assert not ok(host.module(module, state="absent"))["changed"]


def test_other_peoples_configuration_and_sessions_stay(host):
    host.start_frr(bgpd="yes", ospf6d="no", ospfd="yes")
    host.write("/tmp/saved", "! a comment of theirs\nhostname theirs\n" + FOREIGN)
    host.run("cp", "/tmp/saved", "/etc/frr/frr.conf")
    host.switch(ospf6d="yes")
    host.run("/usr/lib/frr/frrinit.sh", "restart")
    host.configure("ipv6 route 2001:db8:e::/64 blackhole\nrouter bgp 65000\nbgp bestpath as-path multipath-relax")
    before, pids = host.running(), host.pids()

    for module in ("ospfv3", "ospfv2"):
        assert ok(host.module(module, **ALL))["changed"]
        assert not ok(host.module(module, **ALL))["changed"]
    both = {(block, line) for module in PREFIX for block, line in shown(host, module)}
    assert ("interface f0", " ipv6 ospf6 cost 99") in both
    assert ("interface u0", " ipv6 ospf6 cost 7") in both
    saved = host.read("/etc/frr/frr.conf")
    assert "2001:db8:e::" not in saved, "what others have not saved was saved"
    assert saved.startswith("! a comment of theirs\n")
    ours = set(host.running().splitlines()) - set(before.splitlines())
    assert [line for line in host.running().splitlines() if line not in ours and line not in ("exit", "!")] == [
        line for line in before.splitlines() if line not in ("exit", "!")
    ], "lines of others moved or vanished"

    for module in ("ospfv3", "ospfv2"):
        ok(host.module(module, state="absent"))
    assert host.running() == before
    assert host.read("/etc/frr/frr.conf") == host.read("/tmp/saved")
    after = host.pids()
    assert {one: after[one] for one in pids if one != "watchfrr"} == {
        one: pids[one] for one in pids if one != "watchfrr"
    }, "a daemon was restarted"


def test_adding_a_daemon_leaves_the_others_and_what_they_have_not_saved(host):
    host.start_frr(bgpd="yes", ospf6d="no")
    host.configure(FOREIGN[FOREIGN.index("router bgp") : FOREIGN.index("interface f0")])
    pids, before = host.pids(), host.running()
    done = ok(host.module("ospfv3", **MINIMAL))
    assert done["daemons_started"] == ["ospf6d"]
    after = host.pids()
    assert after["bgpd"] == pids["bgpd"]
    assert after["zebra"] == pids["zebra"]
    assert "ospf6d" in host.sh("tr '\\0' ' ' < /proc/$(cat /run/frr/watchfrr.pid)/cmdline"), "nobody watches it"
    assert "neighbor 2001:db8:99::1 description the other side" in host.running()
    ok(host.module("ospfv3", state="absent"))
    assert host.running() == before
    assert host.pids()["bgpd"] == pids["bgpd"]


def test_defaults_are_no_lines_and_other_values_of_others_give_way(host):
    defaults = {
        "name": "u0",
        "hello_interval": 10,
        "dead_interval": 40,
        "retransmit_interval": 5,
        "priority": 1,
        "passive": False,
        "mtu_ignore": False,
        "bfd": "false",
    }
    params = {
        "interfaces": [defaults],
        "timers": {"lsa_min_arrival": 1000, "spf": {"delay": 0, "initial_hold": 50, "max_hold": 5000}},
        "areas": [{"area": 3}],
    }
    for module, prefix in PREFIX.items():
        ok(host.module(module, **params))
        assert shown(host, module) == []
        assert not ok(host.module(module, **params))["changed"]
        theirs = ("hello-interval 3", "dead-interval 9", "priority 9", "passive", "mtu-ignore", "bfd")
        host.configure(
            "\n".join(["interface u0", *(f"{prefix} {one}" for one in theirs), "exit", ROUTER[module], "area 3 stub"])
        )
        assert len(shown(host, module)) == 7
        done = ok(host.module(module, **params))
        assert len(done["removed"]) == 7
        assert shown(host, module) == []
        assert not ok(host.module(module, **params))["changed"]


def test_values_change_live_and_what_is_no_longer_asked_for_goes(host):
    for module, prefix in PREFIX.items():
        ok(host.module(module, **ALL))
        u0 = {"name": "u0", "area": 1, "cost": 8, "network": "broadcast", "bfd": "slow"}
        u0["authentication"] = {"key_id": 3, "key": "another"}
        changed = {
            "areas": [{"area": 1, "type": "nssa"}, {"area": 2, "type": "stub", "no_summary": True}],
            "interfaces": [u0, {"name": "u2", "area": 2, "bfd": "no"}],
            "redistribute": [{"protocol": "connected", "metric_type": 1}],
            "timers": {"lsa_min_arrival": 5},
        }
        predicted = ok(host.module(module, check=True, **changed))
        done = ok(host.module(module, **changed))
        assert done == predicted
        assert "another" not in json.dumps(done).replace("(another key)", "")
        assert "(another key)" in done["after"]
        assert not ok(host.module(module, **changed))["changed"]
        lines = {line for _block, line in shown(host, module)}
        assert f" {prefix} cost 8" in lines
        assert f" {prefix} bfd profile slow" in lines
        assert not any("hello-interval" in line or "mtu-ignore" in line or "router-id" in line for line in lines)
        assert {" area 0.0.0.1 nssa", " area 0.0.0.2 stub no-summary"} <= lines
        assert {line for line in lines if "redistribute" in line} == {" redistribute connected metric-type 1"}
        assert {block for block, line in shown(host, module) if " area " in line and prefix in line} == {
            "interface u0",
            "interface u2",
        }
        ok(host.module(module, state="absent"))
        assert shown(host, module) == []


def test_what_frr_refuses_is_told_in_its_words_and_completed_by_the_next_run(host):
    refused = {
        **MINIMAL,
        "interfaces": [
            {"name": "u0", "area": 0, "authentication": {"key_id": 1, "key": "hush-hush", "algorithm": "hmac-sha-512"}},
            {"name": "u1", "area": 0, "cost": 5},
        ],
    }
    outcome = host.module("ospfv3", **refused)
    assert outcome["kind"] == "DaemonError"
    assert "Hash algorithm not supported, compile with --with-crypto=openssl" in outcome["error"]
    assert {"bookworm": "8.4.4", "trixie": "10.3", "forky": "10.7"}[host.suite] in outcome["error"]
    assert "hush" not in outcome["error"]
    ok(host.module("ospfv3", **MINIMAL))
    assert shown(host, "ospfv3") == [
        ("interface u0", " ipv6 ospf6 area 0.0.0.0"),
        ("router ospf6", " ospf6 router-id 203.0.113.1"),
    ], "lines of the run that failed were left"
    host.module("ospfv3", **refused)
    ok(host.module("ospfv3", state="absent"))
    assert shown(host, "ospfv3") == []


@one_of("bookworm")
def test_a_version_that_lacks_a_command_is_named(host):
    params = {"interfaces": [{"name": "u0", "area": 0, "network": "point-to-multipoint"}]}
    error = host.module("ospfv3", **params)["error"]
    assert error.startswith("ospf6d of FRR 8.4.4 refused: 'ipv6 ospf6 network point-to-multipoint' in 'interface u0': ")
    assert "Unknown command" in error and "does not know it" in error


@one_of()
def test_a_broken_off_run_is_completed(host):
    """The run ends after the lines are given and before anything is saved: the disk is full or read-only."""
    host.start_frr(ospf6d="yes")
    host.sh(
        "mount -t tmpfs none /mnt; cp -a /etc/frr/. /mnt; mount --bind /mnt /etc/frr; mount -o remount,bind,ro /etc/frr"
    )
    outcome = host.module("ospfv3", **MINIMAL)
    assert outcome["kind"] == "KernelError"
    assert outcome["error"].startswith("write /etc/frr/frr.conf: Read-only file system")
    assert shown(host, "ospfv3")
    host.sh("umount /etc/frr")
    done = ok(host.module("ospfv3", check=True, **MINIMAL))
    assert done["changed"] and done["saved"] and not done["added"]
    ok(host.module("ospfv3", state="absent"))
    assert shown(host, "ospfv3") == []


@one_of()
def test_a_damaged_record_means_that_nothing_is_ours(host):
    ok(host.module("ospfv3", **MINIMAL))
    for text in ("{", "[]", '{"salt": 1, "lines": [{"block": 1}], "daemons": []}', "\x00\x00"):
        host.write("/var/lib/vtep.fabric/ospfv3.json", text)
        outcome = ok(host.module("ospfv3", state="absent"))
        assert not outcome["changed"]
        assert "ospfv3.json is damaged" in outcome["warnings"][0]
    assert len(shown(host, "ospfv3")) == 2
    host.run("rm", "/var/lib/vtep.fabric/ospfv3.json")
    outcome = ok(host.module("ospfv3", **MINIMAL))
    assert not outcome["changed"] and not outcome["warnings"]


def test_a_killed_daemon_is_started_again_with_its_configuration(host):
    ok(host.module("ospfv3", **MINIMAL))
    pids, before = host.pids(), host.running()
    host.sh("kill -9 $(cat /run/frr/watchfrr.pid) $(cat /run/frr/ospf6d.pid)")
    predicted = ok(host.module("ospfv3", check=True, **MINIMAL))
    assert predicted["changed"] and predicted["daemons_started"] == ["ospf6d"]
    assert ok(host.module("ospfv3", **MINIMAL)) == predicted
    assert host.running() == before
    assert host.pids()["zebra"] == pids["zebra"]
    assert not ok(host.module("ospfv3", **MINIMAL))["changed"]
    host.sh("kill -9 $(cat /run/frr/watchfrr.pid) $(cat /run/frr/ospf6d.pid)")
    error = host.module("ospfv3", enable_daemon=False, **MINIMAL)["error"]
    assert error == "ospf6d is switched on, but does not run: set enable_daemon: true, or start it first"


@one_of()
def test_a_daemon_that_hangs_is_named(host):
    ok(host.module("ospfv3", **MINIMAL))
    host.sh("kill -STOP $(cat /run/frr/ospf6d.pid)")
    error = host.module("ospfv3", patience=1, **MINIMAL)["error"]
    assert error.startswith("ospf6d did not answer vtysh within 1 s: it hangs or is very busy")


@one_of()
def test_daemon_off_and_not_to_be_switched_on(host):
    host.start_frr()
    assert (
        "ospf6d is switched off in /etc/frr/daemons" in host.module("ospfv3", enable_daemon=False, **MINIMAL)["error"]
    )
    assert not ok(host.module("ospfv3", state="absent"))["changed"]


@one_of()
def test_without_frr(host):
    host.sh("mv /usr/bin/vtysh /usr/bin/vtysh.away")
    for check in (True, False):
        outcome = host.module("ospfv3", check=check, **MINIMAL)
        assert outcome == {"kind": "MissingError", "error": "FRR is not installed: apt-get install frr"}
    assert not ok(host.module("ospfv3", state="absent"))["changed"]
    assert ok(host.module("ospfv3_info"))["installed"] is False
    outcome = host.module("ospfv3_info", wait_for={"neighbors": 1})
    assert outcome["kind"] == "MissingError"


def test_a_file_for_each_daemon_stays_so(host):
    host.sh("rm /etc/frr/frr.conf; echo 'no service integrated-vtysh-config' > /etc/frr/vtysh.conf")
    host.write("/etc/frr/staticd.conf", "ip route 192.0.2.0/24 blackhole\n")
    host.sh("chown frr:frr /etc/frr/*.conf")
    done = ok(host.module("ospfv3", **MINIMAL))
    assert done["saved"] == "/etc/frr/ospf6d.conf"
    assert host.sh("ls /etc/frr/frr.conf 2>/dev/null; stat -c '%U %a' /etc/frr/ospf6d.conf") == "frr 640\n"
    before = host.running()
    assert "ip route 192.0.2.0/24 blackhole" in before
    host.run("/usr/lib/frr/frrinit.sh", "restart")
    assert host.running() == before
    assert not ok(host.module("ospfv3", **MINIMAL))["changed"]


@one_of()
def test_without_saving_a_restart_forgets_and_the_next_run_sets_again(host):
    ok(host.module("ospfv3", save=False, **MINIMAL))
    assert "ospf6" not in host.read("/etc/frr/frr.conf")
    assert not ok(host.module("ospfv3", save=False, **MINIMAL))["changed"]
    host.run("/usr/lib/frr/frrinit.sh", "restart")
    assert shown(host, "ospfv3") == []
    assert len(ok(host.module("ospfv3", **MINIMAL))["added"]) == 3


@one_of()
def test_a_line_that_was_there_before_is_not_taken_over(host):
    host.start_frr(ospf6d="yes")
    host.configure("router ospf6\nospf6 router-id 203.0.113.1\nexit\ninterface u0\nipv6 ospf6 area 0")
    done = ok(host.module("ospfv3", save=False, **MINIMAL))
    assert not done["changed"]
    params = {**MINIMAL, "interfaces": [{"name": "u0", "area": 0, "cost": 5}]}
    assert ok(host.module("ospfv3", save=False, **params))["added"] == ["interface u0: ipv6 ospf6 cost 5"]
    ok(host.module("ospfv3", save=False, state="absent"))
    assert shown(host, "ospfv3") == [
        ("interface u0", " ipv6 ospf6 area 0"),
        ("router ospf6", " ospf6 router-id 203.0.113.1"),
    ]


# Networks


@pytest.fixture
def routers(request):
    """Three routers on one segment, with a loopback address of each family."""
    suites = request.param
    lan, hosts = None, []
    for suite in set(suites):
        needs_image(suite)
    try:
        lan = Lan()
        for number, suite in enumerate(suites, 1):
            one = Host(suite)
            hosts.append(one)
            lan.join(one, "u0")
            one.ip("address", "add", f"2001:db8:{number}::1/128", "dev", "lo")
            one.ip("address", "add", f"203.0.113.{number}/32", "dev", "lo")
            one.ip("address", "add", f"192.0.2.{number}/24", "dev", "u0")
        yield hosts
    finally:
        for one in hosts:
            one.close()
        if lan:
            lan.close()


FAST = {"hello_interval": 1, "dead_interval": 3, "retransmit_interval": 1}
PREFIXES = {
    "ospfv3": [f"2001:db8:{number}::1/128" for number in (1, 2, 3)],
    "ospfv2": [f"203.0.113.{number}/32" for number in (1, 2, 3)],
}


def join(host, module, number, **u0):
    return ok(
        host.module(
            module,
            router_id=f"203.0.113.{number}",
            interfaces=[{"name": "lo", "area": 0, "passive": True}, {"name": "u0", "area": 0, **FAST, **u0}],
            timers={"lsa_min_arrival": 0},
        )
    )


# Testing may be out of reach; then it is three routers of two versions.
THIRD = "forky" if image("forky") else "trixie"
MIXED = pytest.mark.parametrize("routers", [("bookworm", "trixie", THIRD)], indirect=True, ids="-".join)


@MIXED
def test_three_routers_of_several_versions_converge_and_tell(routers):
    """Both protocols at once, since what takes time is their waiting."""
    for module in PREFIXES:
        for number, host in enumerate(routers, 1):
            join(host, module, number)
    for module in PREFIXES:
        for number, host in enumerate(routers, 1):
            converged_and_told(host, module, number)
        # Nothing more to do, and nothing is disturbed by being asked.
        assert not join(routers[0], module, 1)["changed"]


def converged_and_told(host, module, number):
    wait_for = {"routes": PREFIXES[module], "neighbors": 2, "timeout": 30}
    found = ok(host.module(f"{module}_info", wait_for=wait_for))
    assert found["running"] and found["router_id"] == f"203.0.113.{number}"
    assert {row["id"] for row in found["neighbors"]} == {f"203.0.113.{n}" for n in (1, 2, 3) if n != number}
    assert {row["state"] for row in found["neighbors"]} == {"Full"}
    assert {row["dr"] for row in found["neighbors"]} <= {f"203.0.113.{n}" for n in (1, 2, 3)}
    assert [row["name"] for row in found["interfaces"]] == ["lo", "u0"]
    u0 = found["interfaces"][1]
    assert (u0["area"], u0["network"]) == ("0.0.0.0", "broadcast")
    assert (u0["hello_interval"], u0["dead_interval"]) == (1, 3)
    assert found["interfaces"][0]["passive"] in (True, None)
    routes = {row["prefix"]: row for row in found["routes"]}
    assert set(PREFIXES[module]) <= set(routes)
    kernel = json.loads(host.run("ip", "-j", "-6" if module == "ospfv3" else "-4", "route", "show", "proto", "ospf"))
    for other in PREFIXES[module]:
        ours = routes[other]
        assert ours["type"] == "intra-area"
        if other == PREFIXES[module][number - 1]:
            assert ours["nexthops"] == [{"address": "", "interface": "lo"}]
        else:
            (row,) = [row for row in kernel if row["dst"] == other.partition("/")[0]]
            assert ours["nexthops"] == [{"address": row["gateway"], "interface": "u0"}]
            assert row["gateway"] in {one["address"] for one in found["neighbors"]}


@MIXED
def test_one_that_joins_takes_no_segment_over(routers):
    """Though its id is the highest. The others' routes stay all the while."""
    for number, host in enumerate(routers[:2], 1):
        join(host, "ospfv3", number)
    ok(routers[0].module("ospfv3_info", wait_for={"routes": PREFIXES["ospfv3"][:2], "neighbors": 1, "timeout": 30}))
    routers[0].sh("ip -6 monitor route >/tmp/routes 2>&1 & echo $! >/tmp/monitor")
    join(routers[2], "ospfv3", 3)
    ok(routers[0].module("ospfv3_info", wait_for={"routes": PREFIXES["ospfv3"], "neighbors": 2, "timeout": 30}))
    time.sleep(1)
    told = routers[0].sh("kill $(cat /tmp/monitor); cat /tmp/routes")
    assert "2001:db8:3::1" in told
    assert "Deleted" not in told
    found = ok(routers[2].module("ospfv3_info"))
    assert {row["dr"] for row in found["neighbors"]} <= {"203.0.113.1", "203.0.113.2"}


@MIXED
def test_a_wait_in_vain_names_what_is_missing(routers):
    join(routers[0], "ospfv3", 1)
    join(routers[1], "ospfv3", 2)
    wait_for = {"routes": [*PREFIXES["ospfv3"][:2], "2001:db8:7::/64"], "neighbors": 2, "timeout": 7}
    wait_for["loopbacks"] = {"2001:db8:3::1/128": "s3"}
    outcome = routers[0].module("ospfv3_info", wait_for=wait_for)
    assert outcome["error"].startswith(
        "after 7 s: no route to 2001:db8:7::/64 and 2001:db8:3::1/128, the loopback of s3; 1 of 2 neighbours are Full; "
        "the neighbours that ospf6d sees: 203.0.113.2 on u0 Full; see `journalctl -u frr` on s3; "
    )
    # Nobody looks for an IPv4 route here, so it is not waited for.
    outcome = routers[0].module("ospfv3_info", wait_for={"routes": ["203.0.113.3/32"]})
    assert outcome["error"] == "ospfd does not run, so nothing can be waited for"
    # In check mode nothing has been set up that could be waited for.
    assert ok(routers[0].module("ospfv3_info", check=True, wait_for=wait_for))["waited"] == 0
    bad = {"routes": ["2001:db8::1/64", "x"], "neighbors": -1, "timeout": 0}
    error = routers[0].module("ospfv3_info", wait_for=bad)["error"]
    for part in ("routes row 1: 2001:db8::1/64", "routes row 2: 'x'", "neighbors: -1", "timeout: 0"):
        assert part in error


@pytest.mark.parametrize(
    "routers", [("bookworm",) * 2, ("trixie",) * 2, ("forky",) * 2], indirect=True, ids=lambda x: x[0]
)
def test_another_router_id_takes_effect_and_another_key_does_too(routers):
    """Both protocols at once, since what takes time is their waiting."""

    def both(host, number, key):
        authentication = {"key_id": 1, "key": key}
        return [join(host, module, number, authentication=authentication) for module in PREFIXES]

    def neighbors(host):
        return [ok(host.module(f"{module}_info"))["neighbors"] for module in PREFIXES]

    def wait(host):
        for module, routes in PREFIXES.items():
            wait_for = {"routes": routes[:2], "neighbors": 1, "timeout": 30}
            ok(host.module(f"{module}_info", wait_for=wait_for))

    def until(fault, true):
        limit = time.monotonic() + 30
        while not true():
            assert time.monotonic() < limit, fault
            time.sleep(0.2)

    one, other = routers
    for number, host in enumerate(routers, 1):
        both(host, number, "hush-hush")
    for host in routers:
        wait(host)
    for done in both(one, 9, "hush-hush"):
        assert done["warnings"] == ["the router id changes from 203.0.113.1 to 203.0.113.9: all adjacencies start anew"]
    for module in PREFIXES:
        assert ok(one.module(f"{module}_info"))["router_id"] == "203.0.113.9"
    assert not any(done["changed"] for done in both(one, 9, "hush-hush"))
    until(
        "the neighbour does not know the new router id",
        lambda: [{row["id"] for row in rows} for rows in neighbors(other)] == [{"203.0.113.9"}] * 2,
    )
    wait(one)

    # With another key on one side the neighbour dies, so the keys are in use.
    both(one, 9, "not-hush")
    until(
        "the keys differ and the neighbours do not mind",
        lambda: not any(row["state"] == "Full" for rows in neighbors(other) for row in rows),
    )
    both(other, 2, "not-hush")
    wait(one)
