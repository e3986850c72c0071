# SPDX-License-Identifier: GPL-3.0-or-later
"""The judgement of a proof: every kind of wrong answer must turn a check red."""

import copy

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify

ENDPOINTS = [
    {
        "name": "h1",
        "mac": "50:54:33:00:00:01",
        "addresses": ["2001:db8:ff::10"],
        "vtep": "s1",
        "port": "eth1",
        "vni": 100,
    },
    {
        "name": "h2",
        "mac": "50:54:33:00:00:02",
        "addresses": ["2001:db8:ff::11"],
        "vtep": "s2",
        "port": "eth1",
        "vni": 100,
    },
]


def plan(host, local, remote, learning=True):
    return {
        "host": host,
        "variant": "unicast-static-flood",
        "vnis": [100],
        "family": 6,
        "local": local,
        "underlay": {
            "ospfv3": {"router_id": "1.1.1.1"},
            "ospfv2": None,
            "loopbacks": {"6": [local + "/128", remote + "/128"]},
        },
        "vxfld": None,
        "agent": None,
        "overlay": {
            "vxlans": [{"name": "vxlan100", "id": 100, "dstport": 4789, "mtu": 1500, "learning": learning}],
            "fdb": {"dev": ["vxlan100"], "table": f"00:00:00:00:00:00 dev vxlan100 dst {remote} permanent self\n"},
            "neighbors": {"table": ""},
            "routes": {"table": ""},
            "rules": [],
            "sysctls": {},
        },
        "access": {"links": [{"name": "br100"}, {"name": "eth1"}]},
        "expect": {"broadcast_copies": {"100": 1}, "paths": []},
    }


PLANS = {"s1": plan("s1", "2001:db8:1::1", "2001:db8:2::1"), "s2": plan("s2", "2001:db8:2::1", "2001:db8:1::1")}


def vtep_answer(me, other, mine, theirs):
    return {
        "copies": {
            "sent": {f"{kind}/{mine}": 20 for kind in ("broadcast", "unknown")},
            "received": {f"{kind}/{theirs}": 20 for kind in ("broadcast", "unknown")},
        },
        "fdb": [
            {"ifname": "vxlan100", "mac": "00:00:00:00:00:00", "dst": other, "flags": ["self"], "state": "permanent"},
            {"ifname": "vxlan100", "mac": "50:54:33:00:00:09", "dst": other, "flags": ["self"], "state": ""},
        ],
        "neighbors": {"permanent": [], "agent": [], "proxy": []},
        "routes": [],
        "rules": [],
        "sysctls": {},
        "ospf": {"3": [{"id": "2.2.2.2", "state": "Full"}, {"id": "0.0.0.0", "state": "Init"}]},
        "underlay": {me: True, other: True},
    }


def endpoint_answer(target):
    return {
        "reach": {target: {"sent": 3, "received": 1}},
        "loss": {target: {"sent": 10, "received": 10}},
        "full": {target: {"sent": 3, "received": 3}},
    }


@pytest.fixture
def answers():
    h1, h2 = "100/50:54:33:00:00:01", "100/50:54:33:00:00:02"
    return {
        "s1": vtep_answer("2001:db8:1::1", "2001:db8:2::1", h1, h2),
        "s2": vtep_answer("2001:db8:2::1", "2001:db8:1::1", h2, h1),
        "h1": endpoint_answer("2001:db8:ff::11"),
        "h2": endpoint_answer("2001:db8:ff::10"),
    }


def failed(answers, plans=None):
    return [f"{c['host']} {c['check']}" for c in verify.checks(plans or PLANS, ENDPOINTS, answers, 20) if not c["ok"]]


def test_a_good_fabric_passes_every_check(answers):
    found = verify.checks(PLANS, ENDPOINTS, answers, 20)
    assert failed(answers) == []
    assert len(found) == 2 * 3 + 2 * 3 + 2 * 2 * 2
    assert verify.table(found)[-1] == f"{len(found)} of {len(found)} checks passed"


def broken(answers, path, value):
    answers = copy.deepcopy(answers)
    *inner, last = path
    place = answers
    for key in inner:
        place = place[key]
    place[last] = value
    return answers


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (("h1", "reach", "2001:db8:ff::11", "received"), 0, "h1 ping"),
        (("h1", "loss", "2001:db8:ff::11", "received"), 9, "h1 no loss"),
        (("h1", "full", "2001:db8:ff::11", "received"), 0, "h1 full frame, DF"),
        (("h1", "reach"), {}, "h1 ping"),
        (("s1", "copies", "sent", "broadcast/100/50:54:33:00:00:01"), 40, "s1 broadcast copies sent for h1"),
        (("s2", "copies", "received", "broadcast/100/50:54:33:00:00:01"), 19, "s2 broadcast copies received for h1"),
        (("s1", "copies", "sent", "unknown/100/50:54:33:00:00:01"), 0, "s1 unknown-unicast copies sent for h1"),
        (("s1", "neighbors", "permanent"), [["vxlan100", "192.0.2.1", "x"]], "s1 neighbours row by row"),
        (("s1", "neighbors", "agent"), [["vxlan100", "192.0.2.1", "x"]], "s1 neighbours row by row"),
        (("s1", "neighbors", "proxy"), [["eth1", "192.0.2.1"]], "s1 neighbour proxies row by row"),
        (("s1", "routes"), [[("dst", "192.0.2.1"), ("dev", "eth1")]], "s1 routes row by row"),
        (("s1", "rules"), [[6, "eth1", "7"]], "s1 routing rules row by row"),
        (("s1", "fdb"), [], "s1 FDB row by row"),
        (("s1", "fdb", 1, "state"), "permanent", "s1 FDB row by row"),
        (("s1", "ospf", "3"), [], "s1 OSPFv3 neighbours"),
        (("s1", "ospf", "3", 0, "state"), "Init", "s1 OSPFv3 neighbours"),
        (("s1", "underlay", "2001:db8:2::1"), False, "s1 loopbacks answer"),
    ],
)
def test_each_fault_turns_its_check_red(answers, path, value, check):
    assert failed(broken(answers, path, value)) == [check]


def test_a_learned_row_is_wrong_on_a_device_that_does_not_learn(answers):
    plans = dict(PLANS, s1=plan("s1", "2001:db8:1::1", "2001:db8:2::1", learning=False))
    assert failed(answers, plans) == ["s1 FDB row by row"]


def test_a_silent_vtep_is_a_failure(answers):
    del answers["s2"]
    assert "s2 answer" in failed(answers)


def test_what_a_host_cannot_count_is_not_run_and_says_why(answers):
    answers["s1"]["copies"] = {"sent": {}, "received": {}, "uncounted": "kernel has no nftables"}
    found = verify.checks(PLANS, ENDPOINTS, answers, 20)
    assert failed(answers) == [f"{c['host']} {c['check']}" for c in found if c["ok"] is None]
    assert {c["host"] for c in found if c["ok"] is None} == {"s1"}
    assert sum("copies" in c["check"] for c in found if c["host"] == "s1") == len(failed(answers)) == 4
    lines = verify.table(found)
    assert "s1: broadcast copies sent for h1: kernel has no nftables" in lines
    assert lines[-1] == f"{len(found) - 4} of {len(found)} checks passed, 4 not run"


@pytest.mark.parametrize(
    ("state", "ok"),
    [
        ("Full", True),
        ("Full/DR", True),
        ("2-Way/DROther", True),
        ("Twoway", True),
        ("2-Way/DR", False),
        ("ExStart", False),
    ],
)
def test_adjacency(state, ok):
    assert verify.adjacent(state) is ok


def test_requests_ask_for_all_others_and_full_frames():
    request = verify.endpoint_request(ENDPOINTS[0], ENDPOINTS, PLANS, 20, 10)
    assert request["targets"] == ["2001:db8:ff::11"]
    assert request["mtu"] == 1500
    request = verify.node_request(PLANS["s1"], PLANS, ENDPOINTS)
    assert [s["mac"] for s in request["sources"]] == ["50:54:33:00:00:01", "50:54:33:00:00:02"]
    assert request["ospf"] == ["3"]
    assert request["loopbacks"] == ["2001:db8:1::1", "2001:db8:2::1"]


def test_the_group_row_of_multicast_is_expected_with_its_device(answers):
    multicast = plan("s1", "2001:db8:1::1", "2001:db8:2::1")
    multicast["overlay"]["vxlans"][0].update(group="ff05::100", dev="eth0")
    multicast["overlay"]["fdb"]["table"] = ""
    row = {"ifname": "vxlan100", "mac": "00:00:00:00:00:00", "dst": "ff05::100", "viaIf": "eth0", "state": "permanent"}
    answers["s1"]["fdb"] = [row]
    plans = dict(PLANS, s1=multicast)
    assert failed(answers, plans) == []
    row["viaIf"] = "eth1"
    assert failed(answers, plans) == ["s1 FDB row by row"]


# What iproute2 6.1 and 6.15 print (ip -j -d route show table all) for the routes of test_routing_by_hand.
ROUTED = {
    "routes": [
        [("type", "unicast"), ("dst", "192.0.2.10"), ("encap", "ip6"), ("id", 100), ("src", "2001:db8:3::1"),
         ("dst", "2001:db8:1::1"), ("hoplimit", 5), ("tc", 0), ("dev", "vxlan100"), ("protocol", "118"), ("flags", [])],
        [("type", "unicast"), ("dst", "2001:db8:ff::10"), ("encap", [["encap_type", "ip6"], ["id", 100],
         ["src", "2001:db8:3::1"], ["dst", "2001:db8:1::1"], ["hoplimit", 5], ["tc", 0]]), ("dev", "vxlan100"),
         ("table", "main"), ("metric", 1024), ("flags", []), ("pref", "medium")],
        [("type", "unicast"), ("dst", "2001:db8:ff::13"), ("dev", "eth1"), ("protocol", "118"), ("metric", 1024),
         ("flags", []), ("pref", "medium")],
        [("type", "unreachable"), ("dst", "default"), ("table", "1000000100"), ("metric", 4278198272), ("flags", [])],
        [("type", "unreachable"), ("dst", "default"), ("dev", "lo"), ("table", "1000000100"), ("metric", 4278198272),
         ("flags", []), ("pref", "medium")],
    ],
    "table": (
        "192.0.2.10/32 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:1::1 ttl 5 tos 0 dev vxlan100\n"
        "2001:db8:ff::10/128 encap ip6 id 100 src 2001:db8:3::1 dst 2001:db8:1::1 ttl 5 tos 0 dev vxlan100\n"
        "2001:db8:ff::13/128 dev eth1\n"
        "unreachable 0.0.0.0/0 table 1000000100 metric 4278198272\n"
        "unreachable ::/0 table 1000000100 metric 4278198272\n"
    ),
}  # fmt: skip


def routed(answers):
    """The plans and answers of a fabric in which s1 routes."""
    plans = copy.deepcopy(PLANS)
    overlay = plans["s1"]["overlay"]
    overlay["routes"]["table"] = ROUTED["table"]
    overlay["rules"] = [{"family": 6, "priority": 1000, "iif": "eth1", "table": 1000000100}]
    overlay["sysctls"] = {"net/ipv4/conf/eth1/proxy_arp": "1"}
    overlay["neighbors"]["table"] = (
        "192.0.2.10 dev vxlan100 lladdr 02:00:00:00:00:01 nud permanent\n2001:db8:ff::10 dev eth1 proxy\n"
    )
    plans["s1"]["expect"] = {
        "broadcast_copies": {"100": 0},
        "paths": [{"vni": 100, "mac": "02:00:00:00:00:01", "dst": "2001:db8:2::1"}],
    }
    answers["s1"].update(
        routes=copy.deepcopy(ROUTED["routes"]),
        rules=[[6, "eth1", "1000000100"]],
        sysctls={"net/ipv4/conf/eth1/proxy_arp": "1"},
        neighbors={
            "permanent": [["vxlan100", "192.0.2.10", "02:00:00:00:00:01"]],
            "agent": [],
            "proxy": [["eth1", "2001:db8:ff::10"]],
        },
    )
    mine = "100/50:54:33:00:00:01"
    answers["s1"]["copies"]["sent"] = {
        f"broadcast/{mine}": 0, f"unknown/{mine}": 0, "bum/100": 0,
        "straight/100/02:00:00:00:00:01": 30, "stray/100/02:00:00:00:00:01": 0,
    }  # fmt: skip
    answers["s2"]["copies"]["received"] = {f"broadcast/{mine}": 0, f"unknown/{mine}": 0}
    return plans, answers


def test_a_routed_fabric_passes(answers):
    plans, answers = routed(answers)
    assert failed(answers, plans) == []
    assert verify.node_request(plans["s1"], plans, ENDPOINTS)["paths"] == [
        {"vni": 100, "mac": "02:00:00:00:00:01", "dst": "2001:db8:2::1", "dstport": 4789}
    ]


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (("routes", 0, 3), ("id", 101), "routes row by row"),
        (("routes", 0, 4), ("src", "2001:db8:9::1"), "routes row by row"),
        (("routes", 0, 5), ("dst", "2001:db8:9::1"), "routes row by row"),
        (("routes", 2, 2), ("dev", "eth2"), "routes row by row"),
        (("routes", 3, 2), ("table", "7"), "routes row by row"),
        (("rules",), [], "routing rules row by row"),
        (("rules", 0), [4, "eth1", "1000000100"], "routing rules row by row"),
        (("sysctls", "net/ipv4/conf/eth1/proxy_arp"), "0", "kernel settings row by row"),
        (("neighbors", "permanent", 0), ["vxlan100", "192.0.2.10", "02:00:00:00:00:02"], "neighbours row by row"),
        (("neighbors", "proxy"), [], "neighbour proxies row by row"),
        (("copies", "sent", "bum/100"), 1, "BUM frames sent in VNI 100"),
        (("copies", "sent", "stray/100/02:00:00:00:00:01"), 1, "frames go straight"),
        (("copies", "sent", "straight/100/02:00:00:00:00:01"), 0, "frames go straight"),
    ],
)
def test_each_fault_of_a_routed_fabric_turns_its_check_red(answers, path, value, check):
    plans, answers = routed(answers)
    assert failed(broken(answers, ("s1", *path), value), plans) == [f"s1 {check}"]


ANYCAST = "2001:db8:100::100"
H1 = "100/50:54:33:00:00:01"


def served(answers, replicating):
    """The plans and answers of a fabric with two service nodes, of which sn2 gets the frames."""
    plans = copy.deepcopy(PLANS)
    for name in ("s1", "s2"):
        plans[name]["vxfld"] = {"daemon": "vxrd", "settings": {"common": {"svcnode_ip": ANYCAST}, "vxrd": {}}}
        flood = plans[name]["overlay"]["fdb"]
        flood["table"], expected = "", flood["table"]
        if replicating:
            plans[name]["overlay"]["vxlans"][0]["remote"] = ANYCAST
            answers[name]["fdb"][0]["dst"] = ANYCAST
        else:
            plans[name]["expect"]["fdb"] = expected
        answers[name]["underlay"][ANYCAST] = True
    for name, copies in (("sn1", 0), ("sn2", 20 if replicating else 0)):
        plans[name] = {
            "host": name, "variant": "x", "family": 6, "local": "2001:db8:98::1", "vnis": [100],
            "underlay": {"ospfv3": {}, "ospfv2": None, "loopbacks": {"6": ["2001:db8:1::1/128"]}}, "agent": None,
            "vxfld": {"daemon": "vxsnd", "settings": {"common": {"svcnode_ip": ANYCAST}, "vxsnd": {}}},
            "expect": {
                "registrations": {"100": ["2001:db8:1::1", "2001:db8:2::1"]},
                "broadcast_copies": {"100": 1 if replicating else 0},
            },
        }  # fmt: skip
        sent = {f"{kind}/{e['vni']}/{e['mac']}": copies for e in ENDPOINTS for kind in ("broadcast", "unknown")}
        answers[name] = {
            "copies": {"sent": {**sent, "bum/100": 2 * copies}, "received": {}},
            "registrations": {"100": [["2001:db8:2::1", "88", "7"], ["2001:db8:1::1", "71", "5"]]},
            "ospf": {"3": [{"id": "2.2.2.2", "state": "Full"}]},
            "underlay": {"2001:db8:1::1": True},
        }
    return plans, answers


@pytest.mark.parametrize("replicating", [True, False])
def test_a_fabric_with_service_nodes_passes(answers, replicating):
    plans, answers = served(answers, replicating)
    assert failed(answers, plans) == []
    told = {c["check"]: c for c in verify.checks(plans, ENDPOINTS, answers, 20)}
    assert told["broadcast copies sent for h2"]["host"] == "sn1, sn2"
    assert told["broadcast copies sent for h2"]["expected"] == (20 if replicating else 0)


@pytest.mark.parametrize(
    ("path", "value", "replicating", "check"),
    [
        (("s1", "underlay", ANYCAST), False, True, "s1 service nodes' address answers"),
        (("s1", "fdb"), [], False, "s1 FDB row by row"),
        (("s1", "fdb", 0, "dst"), "2001:db8:9::1", False, "s1 FDB row by row"),
        (("s1", "fdb", 0, "dst"), "2001:db8:2::1", True, "s1 FDB row by row"),
        (("sn1", "registrations"), {}, False, "sn1 registrations row by row"),
        (("sn1", "registrations"), "vxsndctl -j fdb: none", False, "sn1 registrations row by row"),
        (("sn1", "registrations", "100", 0, 0), "2001:db8:9::1", True, "sn1 registrations row by row"),
        (("sn1", "registrations", "100", 0, 2), "", True, "sn1 registrations row by row"),
        (("sn1", "registrations", "101"), [["2001:db8:1::1", "9", "5"]], True, "sn1 registrations row by row"),
        (("sn1", "ospf", "3"), [], True, "sn1 OSPFv3 neighbours"),
        (("sn1", "underlay", "2001:db8:1::1"), False, True, "sn1 loopbacks answer"),
        (("sn1", "copies", "sent", f"broadcast/{H1}"), 20, True, "sn1, sn2 broadcast copies sent for h1"),
        (("sn2", "copies", "sent", f"unknown/{H1}"), 19, True, "sn1, sn2 unknown-unicast copies sent for h1"),
        (("sn2", "copies", "sent", f"unknown/{H1}"), 1, False, "sn1, sn2 unknown-unicast copies sent for h1"),
        (("sn2", "copies", "sent", "bum/100"), 1, False, "sn2 BUM frames sent in VNI 100"),
    ],
)
def test_each_fault_of_a_fabric_with_service_nodes_turns_its_check_red(answers, path, value, replicating, check):
    plans, answers = served(answers, replicating)
    assert failed(broken(answers, path, value), plans) == [check]


def test_a_silent_service_node_is_a_failure_and_one_without_use_is_not_asked(answers):
    plans, answers = served(answers, True)
    del answers["sn1"]
    assert failed(answers, plans) == ["sn1 answer"]
    plans = {**PLANS, "sn1": {"host": "sn1", "underlay": None, "vxfld": None, "vnis": []}}
    assert verify.node_request(plans["sn1"], plans, ENDPOINTS) == {"kind": "none"}
    assert [c for c in verify.checks(plans, [], {}, 20) if c["host"] == "sn1"] == []


def test_requests_to_a_fabric_with_service_nodes(answers):
    plans, _answers = served(answers, True)
    request = verify.node_request(plans["sn1"], plans, ENDPOINTS)
    assert (request["kind"], request["devices"], request["registrations"]) == ("node", [], True)
    assert [s["dstport"] for s in request["sources"]] == [4789, 4789]
    assert request["loopbacks"] == ["2001:db8:1::1"]
    request = verify.node_request(plans["s1"], plans, ENDPOINTS)
    assert request["loopbacks"] == ["2001:db8:1::1", "2001:db8:2::1", ANYCAST]
    assert request["registrations"] is False


# Agents

SOLICITED, BROADCAST = "33:33:ff:00:00:11", "ff:ff:ff:ff:ff:ff"


def dynamic(answers, kind="file", proxy=False):
    """The plans and answers of a fabric in which an agent answers, out of a registry of that kind."""
    plans = copy.deepcopy(PLANS)
    for me, other, number, far in (("s1", "s2", 1, 2), ("s2", "s1", 2, 1)):
        dst, mac = plans[other]["local"], f"50:54:33:00:00:0{far}"
        groups = [] if proxy else [SOLICITED.replace("11", f"1{far - 1}"), BROADCAST]
        plans[me]["overlay"]["vxlans"][0]["learning"] = False
        plans[me]["overlay"]["fdb"]["table"] = "".join(f"{m} dev vxlan100 dst {dst} permanent self\n" for m in groups)
        plans[me]["agent"] = {
            "settings": {
                "agent": {"groups": "true" if kind != "file" and not proxy else "false"}, "registry": {"kind": kind},
            }
        }  # fmt: skip
        plans[me]["expect"] = {
            "broadcast_copies": {"100": 0 if proxy else 1}, "unknown_copies": {"100": 0},
            "paths": [{"vni": 100, "mac": mac, "dst": dst}],
        }  # fmt: skip
        permanent = [
            {"ifname": "vxlan100", "mac": m, "dst": dst, "flags": ["self"], "state": "permanent"} for m in groups
        ]
        asked = {"ifname": "vxlan100", "mac": mac, "dst": dst, "flags": ["self"], "state": ""}
        answers[me]["fdb"] = [asked, *permanent]
        mine, theirs = f"100/50:54:33:00:00:0{number}", f"100/{mac}"
        sent, received = answers[me]["copies"]["sent"], answers[me]["copies"]["received"]
        sent.update({f"unknown/{mine}": 0, "bum/100": 0, f"straight/{theirs}": 9, f"stray/{theirs}": 0})
        received[f"unknown/{theirs}"] = 0
        if proxy:
            sent[f"broadcast/{mine}"] = received[f"broadcast/{theirs}"] = 0
            answers[me]["neighbors"]["agent"] = [["vxlan100", f"2001:db8:ff::1{far - 1}", mac]]
    return plans, answers


@pytest.mark.parametrize("kind", ["file", "etcd", "http"])
@pytest.mark.parametrize("proxy", [False, True])
def test_a_fabric_with_agents_passes(answers, kind, proxy):
    plans, answers = dynamic(answers, kind, proxy)
    assert failed(answers, plans) == []
    told = {c["check"]: c for c in verify.checks(plans, ENDPOINTS, answers, 20) if c["host"] == "s1"}
    assert told["agent's entries"]["seen"] == (2 if proxy else 1)
    for host in ("s1", "s2"):  # nobody has been asked for, or the entries have aged
        answers[host]["fdb"] = answers[host]["fdb"][1:]
        answers[host]["neighbors"]["agent"] = []
    assert failed(answers, plans) == []


OTHER = {"ifname": "vxlan100", "dst": "2001:db8:2::1", "flags": ["self"]}


@pytest.mark.parametrize(
    ("path", "value", "proxy", "check"),
    [
        (("fdb", 0, "dst"), "2001:db8:9::1", False, "agent's entries"),
        (("fdb", 0, "mac"), "50:54:33:00:00:09", False, "agent's entries"),
        (("fdb", 0, "mac"), "50:54:33:00:00:01", False, "agent's entries"),  # its own
        (("fdb", 0, "state"), "permanent", False, "FDB row by row"),
        (
            ("fdb", 1),
            {**OTHER, "mac": SOLICITED, "dst": "2001:db8:9::1", "state": "permanent"},
            False,
            "FDB row by row",
        ),
        (("fdb", 0), {**OTHER, "mac": "33:33:ff:00:00:77", "state": "permanent"}, False, "FDB row by row"),
        (
            ("fdb", 0),
            {**OTHER, "mac": "50:54:33:00:00:01", "dst": "2001:db8:1::1", "state": ""},
            False,
            "agent's entries",
        ),
        (("neighbors", "agent", 0), ["vxlan100", "2001:db8:ff::11", "50:54:33:00:00:09"], True, "agent's entries"),
        (("neighbors", "agent", 0), ["vxlan100", "2001:db8:ff::10", "50:54:33:00:00:01"], True, "agent's entries"),
        (("neighbors", "agent", 0), ["vxlan100", "2001:db8:ff::77", "50:54:33:00:00:02"], True, "agent's entries"),
        (
            ("neighbors", "permanent"),
            [["vxlan100", "2001:db8:ff::11", "50:54:33:00:00:02"]],
            True,
            "neighbours row by row",
        ),
        (("copies", "sent", f"unknown/{H1}"), 20, False, "unknown-unicast copies sent for h1"),
        (("copies", "sent", f"broadcast/{H1}"), 0, False, "broadcast copies sent for h1"),
        (("copies", "sent", "bum/100"), 1, True, "BUM frames sent in VNI 100"),
        (("copies", "sent", "stray/100/50:54:33:00:00:02"), 1, False, "frames go straight"),
        (("copies", "sent", "straight/100/50:54:33:00:00:02"), 0, False, "frames go straight"),
    ],
)
def test_each_fault_of_a_fabric_with_agents_turns_its_check_red(answers, path, value, proxy, check):
    plans, answers = dynamic(answers, proxy=proxy)
    assert failed(broken(answers, ("s1", *path), value), plans) == [f"s1 {check}"]


@pytest.mark.parametrize("kind", ["etcd", "http"])
def test_the_registry_may_know_more_than_the_list(answers, kind):
    """But not otherwise of what is listed."""
    plans, answers = dynamic(answers, kind)
    answers["s1"]["fdb"] += [
        {**OTHER, "mac": "50:54:33:00:00:09", "dst": "2001:db8:2::1", "state": ""},
        {**OTHER, "mac": "33:33:ff:00:00:77", "state": "permanent"},
        {**OTHER, "mac": BROADCAST, "dst": "2001:db8:9::1", "state": "permanent"},
    ]
    answers["s1"]["neighbors"]["agent"] = [["vxlan100", "2001:db8:ff::77", "50:54:33:00:00:09"]]
    assert failed(answers, plans) == []
    for wrong in ({"mac": "50:54:33:00:00:01", "state": ""}, {"mac": "33:33:00:00:00:01", "state": "permanent"}):
        broke = broken(answers, ("s1", "fdb", 3), {**OTHER, **wrong})
        assert len(failed(broke, plans)) == 1


def test_a_host_of_the_registry_is_asked_of_the_underlay_only(answers):
    plans, answers = dynamic(answers, "etcd")
    plans["reg1"] = {
        "host": "reg1", "variant": "x", "family": 6, "local": "2001:db8:98::1", "vnis": [], "vxfld": None, "agent": None,
        "underlay": {"ospfv3": {}, "ospfv2": None, "loopbacks": {"6": ["2001:db8:1::1/128"]}},
        "registry": {"members": [], "self": "reg1", "prefix": "/"}, "expect": {"broadcast_copies": {}},
    }  # fmt: skip
    answers["reg1"] = {
        "copies": {"sent": {}, "received": {}},
        "ospf": {"3": [{"id": "2.2.2.2", "state": "Full"}]},
        "underlay": {"2001:db8:1::1": True},
    }
    assert failed(answers, plans) == []
    assert [c["check"] for c in verify.checks(plans, [], answers, 20) if c["host"] == "reg1"] == [
        "OSPFv3 neighbours", "loopbacks answer",
    ]  # fmt: skip
    assert failed(broken(answers, ("reg1", "underlay", "2001:db8:1::1"), False), plans) == ["reg1 loopbacks answer"]
    assert failed(broken(answers, ("reg1", "ospf", "3"), []), plans) == ["reg1 OSPFv3 neighbours"]
    request = verify.node_request(plans["reg1"], plans, ENDPOINTS)
    assert (request["kind"], request["sources"], request["segments"], request["registrations"]) == (
        "node",
        [],
        [],
        False,
    )
    assert request["loopbacks"] == ["2001:db8:1::1"]
