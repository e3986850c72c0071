# SPDX-License-Identifier: GPL-3.0-or-later
"""OSPF: input to lines, bad input, and the plan from one configuration to another."""

import copy
import random

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.ospf import spec
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import ospf as reading
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._model.ospf import V2, V3, normalise, observe
from ansible_collections.vtep.fabric.plugins.module_utils._plan import ospf as planning


def filled(params, options):
    found = {}
    for key, one in options.items():
        value = params.get(key, one.get("default"))
        if value is not None and "options" in one:
            rows = value if isinstance(value, list) else [value]
            rows = [filled(row, one["options"]) for row in rows]
            value = rows if isinstance(value, list) else rows[0]
        found[key] = value
    return found


def desired(protocol=V3, **params):
    return normalise(protocol, filled(params, spec(protocol)))


def faults(protocol=V3, **params):
    with pytest.raises(InputError) as caught:
        desired(protocol, **params)
    return caught.value.faults


def test_every_fault_is_told_at_once():
    found = faults(
        router_id="203.0.113",
        areas=[
            {"area": "0", "type": "stub"},
            {"area": "x"},
            {"area": 1},
            {"area": "0.0.0.1"},
            {"area": 2, "no_summary": True},
        ],
        interfaces=[
            {"name": "eth0", "area": 9, "cost": 0, "priority": 256},
            {"name": "eth0"},
            {"name": "a/b"},
            {"name": "eth1", "hello_interval": 5, "dead_interval": 5},
            {"name": "eth2", "hello_interval": 40},
            {"name": "eth3", "dead_interval": 10},
            {"name": "eth4", "hello_interval": 0, "dead_interval": 65536, "retransmit_interval": 0},
            {"name": "eth5", "bfd": "two words", "authentication": {"key_id": 0, "key": "top secret"}},
            {"name": "eth6", "authentication": {"key_id": 1, "key": "seventeen-letters", "algorithm": "md5"}},
        ],
        redistribute=[
            {"protocol": "static", "metric": -1, "route_map": "a b"},
            {"protocol": "static"},
        ],
        timers={"lsa_min_arrival": 600001, "spf": {"delay": 0, "initial_hold": 9, "max_hold": 8}},
    )
    expected = [
        "router_id: '203.0.113' is not a router id",
        "timers: lsa_min_arrival: 600001 is out of range; it must be 0 to 600000",
        "timers: spf: max_hold: 8 is less than the initial_hold of 9",
        "redistribute row 1: metric: -1 is out of range",
        "redistribute row 1: route_map: 'a b' is not a name",
        "redistribute row 2: protocol: static is there twice",
        "areas row 1: type: the backbone 0.0.0.0 cannot be stub",
        "areas row 2: area: 'x' is not an area",
        "areas row 4: area: 0.0.0.1 is there twice",
        "areas row 5: no_summary: only a stub or nssa area can have it",
        "interfaces eth0: cost: 0 is out of range; it must be 1 to 65535",
        "interfaces eth0: priority: 256 is out of range; it must be 0 to 255",
        "interfaces eth0: area: 0.0.0.9 is not among areas (0.0.0.0, 0.0.0.1, 0.0.0.2)",
        "interfaces row 2: name: eth0 is there twice",
        "interfaces row 3: name: 'a/b' is not a device name",
        "interfaces eth1: dead_interval: 5 s is not longer than the hello interval of 5 s;",
        "interfaces eth2: dead_interval: 40 s is not longer than the hello interval of 40 s, the default: set both",
        "interfaces eth3: dead_interval: 10 s is not longer than the hello interval of 10 s, the default: set both",
        "interfaces eth4: hello_interval: 0 is out of range",
        "interfaces eth4: dead_interval: 65536 is out of range",
        "interfaces eth4: retransmit_interval: 0 is out of range",
        "interfaces eth5: bfd: 'two words' is not a name",
        "interfaces eth5: authentication: key_id: 0 is out of range; it must be 1 to 65535",
        "interfaces eth5: authentication: key: must be printable ASCII without blanks",
        "interfaces eth6: authentication: key: has 17 characters; md5 takes at most 16",
    ]
    for part in expected:
        assert any(part in one for one in found), (part, found)
    assert len(found) == len(expected)
    assert not any("secret" in one or "seventeen" in one for one in found)


@pytest.mark.parametrize("key", ["", "a b", "what?", "tab\t", "\u00e9", "nul\x00", "line\nbreak"])
def test_keys_that_vtysh_would_misread_are_refused(key):
    (fault,) = faults(interfaces=[{"name": "e", "authentication": {"key_id": 1, "key": key}}])
    assert fault.startswith("interfaces e: authentication: key: must be")


def test_ospfv2_has_its_own_limits():
    (fault,) = faults(V2, interfaces=[{"name": "e", "authentication": {"key_id": 256, "key": "k"}}])
    assert fault == "interfaces e: authentication: key_id: 256 is out of range; it must be 1 to 255"


def test_absent_asks_nothing_of_the_other_options():
    assert desired(state="absent", router_id="nonsense").lines == {}


# A running configuration as FRR 10.3 prints it, with lines of others.
RUNNING = """\
frr version 10.3
!
interface eth0
 ip ospf cost 9 192.0.2.1
 ipv6 ospf6 area 0
 ipv6 ospf6 cost 10
 ipv6 ospf6 hello-interval 3
 ipv6 ospf6 transmit-delay 4
exit
!
interface eth1 vrf red
 ipv6 ospf6 area 0
exit
!
router ospf6
 ospf6 router-id 1.1.1.1
 log-adjacency-changes
 redistribute static metric 20 metric-type 2 route-map X
 area 1 nssa range 2001:db8::/32
 area 0.0.0.1 nssa
exit
!
router ospf6 vrf red
 ospf6 router-id 9.9.9.9
exit
!
end
"""


def test_lines_are_read_in_normal_form():
    found = observe(V3, RUNNING)
    assert found.lines == {
        ("interface eth0", "area"): "ipv6 ospf6 area 0.0.0.0",
        ("interface eth0", "cost"): "ipv6 ospf6 cost 10",
        ("interface eth0", "hello-interval"): "ipv6 ospf6 hello-interval 3",
        ("router ospf6", ""): "router ospf6",
        ("router ospf6", "router-id"): "ospf6 router-id 1.1.1.1",
        ("router ospf6", "redistribute static"): "redistribute static metric 20 route-map X",
        ("router ospf6", "area 0.0.0.1"): "area 0.0.0.1 nssa",
    }
    assert found.others == {"", "interface eth0", "interface eth1 vrf red", "router ospf6", "router ospf6 vrf red"}


@pytest.mark.parametrize(
    ("line", "slot"),
    [
        ("ip ospf dead-interval 40", "dead-interval"),
        ("ip ospf dead-interval minimal hello-multiplier 4", "dead-interval"),
        ("ip ospf bfd", "bfd"),
        ("ip ospf bfd 3 300 300", "bfd"),
        ("ip ospf bfd profile fast", "bfd profile"),
        ("no ip ospf passive", "passive"),
        ("ip ospf message-digest-key 7 md5 x", "message-digest-key 7"),
        ("ip ospf authentication", "authentication"),
        ("ip ospf authentication key-chain x", "authentication"),
        ("ip ospf cost 3 192.0.2.1", None),
        ("ip ospf authentication-key x", None),
        ("ip ospf prefix-suppression", None),
        ("ipv6 ospf6 cost 3", None),
    ],
)
def test_slots_of_ospfv2(line, slot):
    found = observe(V2, f"interface e\n {line}\nexit\n").lines
    assert list(found) == ([("interface e", slot)] if slot else [])


def test_frr_8_tells_an_nssa_area_in_two_lines():
    found = observe(V2, "router ospf\n area 2 nssa \n area 2 nssa no-summary\nexit\n")
    assert found.lines["router ospf", "area 0.0.0.2"] == "area 0.0.0.2 nssa no-summary"


def test_commands_take_away_before_they_add_and_join_the_area_last():
    wanted = desired(
        router_id="2.2.2.2",
        areas=[{"area": 0}, {"area": 1, "type": "stub"}],
        interfaces=[{"name": "eth0", "area": 1, "cost": 11, "hello_interval": 10}],
    )
    found = observe(V3, RUNNING)
    change = planning.changes(wanted, {}, "salt", found)
    assert planning.commands(V3, change, found.written).splitlines() == [
        "interface eth0",
        " no ipv6 ospf6 hello-interval",
        " no ipv6 ospf6 area",
        "exit",
        "router ospf6",
        " no area 0.0.0.1 nssa",
        " ospf6 router-id 2.2.2.2",
        " area 0.0.0.1 stub",
        "exit",
        "interface eth0",
        " ipv6 ospf6 cost 11",
        " ipv6 ospf6 area 0.0.0.1",
        "exit",
    ]


def record(lines, salt="salt"):
    return {place: {planning.fingerprint(text, salt)} for place, text in lines.items()}


def test_only_what_the_record_names_is_removed():
    found = observe(V3, RUNNING)
    absent = desired(state="absent")
    assert not planning.changes(absent, {}, "salt", found)
    ours = {("interface eth0", "cost"): "ipv6 ospf6 cost 10", ("interface eth0", "area"): "ipv6 ospf6 area 0.0.0.7"}
    change = planning.changes(absent, record(ours), "salt", found)
    # The area is another one by now: somebody has changed it since.
    assert change.remove == ((("interface eth0", "cost"), "ipv6 ospf6 cost 10"),)


def test_the_router_stays_while_others_use_it():
    absent = desired(state="absent")
    own = "router ospf6\n ospf6 router-id 1.1.1.1\nexit\ninterface a\n ipv6 ospf6 area 0.0.0.0\nexit\n"
    found = observe(V3, own)
    owned = record(found.lines)
    header = (("router ospf6", ""), "router ospf6")
    assert header in planning.changes(absent, owned, "salt", found).remove
    for theirs in (" log-adjacency-changes\n", " area 5 stub\n"):
        busy = observe(V3, own.replace("router ospf6\n", "router ospf6\n" + theirs))
        assert header not in planning.changes(absent, owned, "salt", busy).remove
    busy = observe(V3, own + "interface b\n ipv6 ospf6 area 0\nexit\n")
    assert header not in planning.changes(absent, owned, "salt", busy).remove


def test_a_key_is_recorded_only_as_a_salted_hash():
    line = "ipv6 ospf6 authentication key-id 3 hash-algo md5 key hush"
    prints = {planning.fingerprint(line, salt) for salt in ("a", "b")}
    assert len(prints) == 2
    assert not any("hush" in one for one in prints)
    assert planning.fingerprint(line, "a") != planning.fingerprint(line.replace("hush", "hash"), "a")


def arbitrary(chance, protocol):
    """Parameters at random, of a small world so that they meet."""

    def maybe(value):
        return value if chance.random() < 0.6 else None

    interfaces = [
        {
            "name": name,
            "area": maybe(chance.choice(["0", "1", "0.0.0.2"])),
            "network": maybe(chance.choice(["broadcast", "point-to-point"])),
            "cost": maybe(chance.randint(1, 3)),
            "hello_interval": maybe(chance.choice([1, 10])),
            "dead_interval": maybe(chance.choice([20, 40])),
            "priority": maybe(chance.choice([0, 1])),
            "passive": maybe(chance.random() < 0.5),
            "bfd": maybe(chance.choice(["true", "false", "slow"])),
            "authentication": maybe({"key_id": chance.randint(1, 2), "key": chance.choice("xy")}),
        }
        for name in chance.sample(["a", "b", "c"], 2)
    ]
    return desired(
        protocol,
        router_id=maybe(chance.choice(["1.1.1.1", "2.2.2.2"])),
        areas=[{"area": "0"}, {"area": "1", "type": chance.choice(["normal", "stub"])}, {"area": "2", "type": "nssa"}],
        interfaces=interfaces,
        redistribute=[{"protocol": "static", "metric": maybe(chance.randint(1, 2))}] if chance.random() < 0.5 else [],
        timers={"lsa_min_arrival": maybe(chance.choice([0, 1000]))},
    )


FOREIGN = {
    V3: "! theirs\ninterface a\n description x\n ipv6 ospf6 transmit-delay 3\nexit\n!\nrouter bgp 1\n neighbor x\nexit\n!\n",
    V2: "! theirs\ninterface a\n description x\n ip ospf transmit-delay 3\nexit\n!\nrouter bgp 1\n neighbor x\nexit\n!\n",
}


@pytest.mark.parametrize("protocol", [V3, V2], ids=["ospfv3", "ospfv2"])
@pytest.mark.parametrize("seed", range(60))
def test_a_plan_that_was_carried_out_leaves_nothing_to_do_and_can_be_taken_back(seed, protocol):
    """On a configuration file, which the planner treats as it does what runs."""
    chance = random.Random(seed)
    start = text = FOREIGN[protocol]
    owned = {}
    for _step in range(4):
        wanted = arbitrary(chance, protocol)
        found = observe(protocol, text)
        change = planning.changes(wanted, owned, "salt", found)
        before = copy.deepcopy(owned)
        during = planning.record_before(owned, "salt", change)
        assert owned == before
        text = planning.rewritten(change, found, text)
        now = observe(protocol, text)
        assert not planning.changes(wanted, during, "salt", now)
        assert now.lines == planning.after(change, found.lines)
        owned = planning.record_after(wanted, during, "salt", now)
        assert not planning.changes(wanted, owned, "salt", now)
        for line in start.splitlines():
            assert line in text.splitlines()
        if chance.random() < 0.3:
            owned = during  # the run broke off before the record was written anew
    found = observe(protocol, text)
    text = planning.rewritten(planning.changes(desired(protocol, state="absent"), owned, "salt", found), found, text)
    assert text == start


# What FRR of three versions answers, cut to what is read.
V3_NEIGHBORS = {
    "10.0.0.2%u0": {
        "interface": "u0",
        "linkLocalAddress": "fe80::2",
        "neighborState": "Full",
        "neighborDRouter": "10.0.0.2",
        "neighborBdRouter": "10.0.0.1",
    },
    "10.0.0.3%u0": {
        "interface": "u0",
        "linkLocalAddress": "fe80::3",
        "neighborState": "Twoway",
        "neighborDRouter": "10.0.0.2",
        "neighborBdRouter": "10.0.0.4",
    },
    "0.0.0.0%u0": {"interface": "u0", "linkLocalAddress": "fe80::9", "neighborState": "Init"},
}


def test_neighbours_of_ospfv3():
    found = reading.neighbors_v3(V3_NEIGHBORS)
    assert [(row["id"], row["state"]) for row in found] == [("10.0.0.2", "Full"), ("10.0.0.3", "2-Way")]
    for own, ready in (("DROther", 2), ("BDR", 1)):
        state = {"neighbors": found, "interfaces": [{"name": "u0", "state": own}]}
        assert len(reading.settled(state)) == ready
        assert [row["settled"] for row in reading.judged(state)["neighbors"]] == [True, ready == 2]


def test_a_neighbour_that_is_to_become_adjacent_is_not_ready_at_2_way():
    found = [dict(row, dr=row["id"]) for row in reading.neighbors_v3(V3_NEIGHBORS)]
    assert len(reading.settled({"neighbors": found, "interfaces": [{"name": "u0", "state": "DROther"}]})) == 1


@pytest.mark.parametrize("state", ["nbrState", "state"])
def test_neighbours_of_ospfv2(state):
    row = {state: "Full/Backup", "ifaceAddress": "192.0.2.2", "ifaceName": "u0:192.0.2.1"}
    interfaces = {"interfaces": {"u0": {"drId": "3.3.3.3", "bdrId": "2.2.2.2"}}}
    found = reading.neighbors_v2({"neighbors": {"2.2.2.2": [row], "0.0.0.0": [row]}}, interfaces)
    assert found == [
        {
            "id": "2.2.2.2",
            "state": "Full",
            "interface": "u0",
            "address": "192.0.2.2",
            "dr": "3.3.3.3",
            "bdr": "2.2.2.2",
        }
    ]


ROUTE = {
    "isBestRoute": True,
    "destinationType": "N",
    "pathType": "IE",
    "nextHops": [{"nextHop": "fe80::2", "interfaceName": "u0"}],
}


@pytest.mark.parametrize("paths", [ROUTE, [ROUTE], [dict(ROUTE, isBestRoute=False), ROUTE]], ids=["8.4", "10.7", "two"])
def test_routes_of_ospfv3(paths):
    assert reading.routes_v3({"routes": {"2001:db8::/64": paths}}) == [
        {"prefix": "2001:db8::/64", "type": "inter-area", "nexthops": [{"address": "fe80::2", "interface": "u0"}]}
    ]


def test_routes_of_ospfv2():
    hop = {"ip": "192.0.2.2", "via": "u0"}
    found = reading.routes_v2(
        {
            "203.0.113.1/32": {"routeType": "N", "nexthops": [{"ip": " ", "directlyAttachedTo": "lo"}]},
            "203.0.113.2/32": {"routeType": "N E2", "nexthops": [hop]},
            "203.0.113.9": {"routeType": "R ", "nexthops": [hop]},
        }
    )
    assert [(row["prefix"], row["type"], row["nexthops"]) for row in found] == [
        ("203.0.113.1/32", "intra-area", [{"address": "", "interface": "lo"}]),
        ("203.0.113.2/32", "external-2", [{"address": "192.0.2.2", "interface": "u0"}]),
    ]
