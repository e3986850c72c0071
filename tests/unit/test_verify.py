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


def plan(local, remote, learning=True):
    return {
        "variant": "unicast-static-flood",
        "vnis": [100],
        "family": 6,
        "local": local,
        "underlay": {
            "ospfv3": {"router_id": "1.1.1.1"},
            "ospfv2": None,
            "loopbacks": {"6": [local + "/128", remote + "/128"]},
        },
        "overlay": {
            "vxlans": [{"name": "vxlan100", "id": 100, "dstport": 4789, "mtu": 1500, "learning": learning}],
            "fdb": {"dev": ["vxlan100"], "table": f"00:00:00:00:00:00 dev vxlan100 dst {remote} permanent self\n"},
        },
        "expect": {"broadcast_copies": {"100": 1}},
    }


PLANS = {"s1": plan("2001:db8:1::1", "2001:db8:2::1"), "s2": plan("2001:db8:2::1", "2001:db8:1::1")}


def vtep_answer(me, other, mine, theirs):
    return {
        "copies": {"sent": {mine: 20, theirs: 0}, "received": {mine: 0, theirs: 20}},
        "fdb": [
            {"ifname": "vxlan100", "mac": "00:00:00:00:00:00", "dst": other, "flags": ["self"], "state": "permanent"},
            {"ifname": "vxlan100", "mac": "50:54:33:00:00:09", "dst": other, "flags": ["self"], "state": ""},
        ],
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
    assert len(found) == 2 * 3 + 2 * 3 + 2 * 2
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
        (("s1", "copies", "sent", "100/50:54:33:00:00:01"), 40, "s1 broadcast copies sent for h1"),
        (("s2", "copies", "received", "100/50:54:33:00:00:01"), 19, "s2 broadcast copies received for h1"),
        (("s1", "fdb"), [], "s1 FDB row by row"),
        (("s1", "fdb", 1, "state"), "permanent", "s1 FDB row by row"),
        (("s1", "ospf", "3"), [], "s1 OSPFv3 neighbours"),
        (("s1", "ospf", "3", 0, "state"), "Init", "s1 OSPFv3 neighbours"),
        (("s1", "underlay", "2001:db8:2::1"), False, "s1 VTEP loopbacks answer"),
    ],
)
def test_each_fault_turns_its_check_red(answers, path, value, check):
    assert failed(broken(answers, path, value)) == [check]


def test_a_learned_row_is_wrong_on_a_device_that_does_not_learn(answers):
    plans = dict(PLANS, s1=plan("2001:db8:1::1", "2001:db8:2::1", learning=False))
    assert failed(answers, plans) == ["s1 FDB row by row"]


def test_a_silent_vtep_is_a_failure(answers):
    del answers["s2"]
    assert "s2 answer" in failed(answers)


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
    request = verify.vtep_request(PLANS["s1"], ENDPOINTS)
    assert [s["mac"] for s in request["sources"]] == ["50:54:33:00:00:01", "50:54:33:00:00:02"]
    assert request["ospf"] == ["3"]
    assert request["loopbacks"] == ["2001:db8:1::1", "2001:db8:2::1"]


def test_the_group_row_of_multicast_is_expected_with_its_device(answers):
    multicast = plan("2001:db8:1::1", "2001:db8:2::1")
    multicast["overlay"]["vxlans"][0].update(group="ff05::100", dev="eth0")
    multicast["overlay"]["fdb"]["table"] = ""
    row = {"ifname": "vxlan100", "mac": "00:00:00:00:00:00", "dst": "ff05::100", "viaIf": "eth0", "state": "permanent"}
    answers["s1"]["fdb"] = [row]
    plans = dict(PLANS, s1=multicast)
    assert failed(answers, plans) == []
    row["viaIf"] = "eth1"
    assert failed(answers, plans) == ["s1 FDB row by row"]
