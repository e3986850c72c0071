"""The rule module's core against the kernel, in a private network namespace, cross-checked with `ip rule`."""

import errno
import json
import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.rule import RuleResource, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, rtnl
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import rule as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    KernelError,
    MissingError,
    RefusedError,
    VerifyError,
)
from device_support import MARKS, private, sh
from table_support import converged, counted

pytestmark = MARKS


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh("ip link set lo up")
        yield


def run(*rules, check=False, **more):
    return converged(RuleResource(), check, rules=rules, **more)


def counts(*rules, **more):
    return counted(run, shown, *rules, **more)


def shown():
    return [row for family in (4, 6) for row in json.loads(sh(f"ip -{family} -j -d rule show"))]


def ours():
    return [row for row in shown() if row["protocol"] == "118"]


FOUR = {"family": 4, "priority": 1000, "iif": "eth1", "table": "1000"}
SIX = {"family": 6, "priority": 1000, "iif": "eth1", "table": "1000"}


def test_rules_as_ip_shows_them():
    rules = [
        FOUR,
        {"family": 4, "priority": 1001, "from": "192.0.2.7", "to": "10.0.0.0/8", "action": "prohibit"},
        {"family": 4, "priority": 1002, "fwmark": "16/0xff", "oif": "eth2", "table": "main"},
        {"family": 4, "priority": 4294967295, "action": "unreachable", "to": "0.0.0.0/0"},
        {"family": 6, "priority": 7, "from": "2001:db8:ff::/64", "fwmark": "0xffffffff", "action": "blackhole"},
        {**SIX, "table": "4294967295"},
    ]
    assert counts(*rules) == (6, 0, 0, 0)
    got = [{name: value for name, value in row.items() if name not in ("protocol", "iif_detached")} for row in ours()]
    for row in got:
        row.pop("oif_detached", None)
    assert got == [
        {"priority": 1000, "src": "all", "iif": "eth1", "table": "1000"},
        {"priority": 1001, "src": "192.0.2.7", "dst": "10.0.0.0", "dstlen": 8, "action": "prohibit"},
        {"priority": 1002, "src": "all", "fwmark": "0x10", "fwmask": "0xff", "oif": "eth2", "table": "main"},
        {"priority": 4294967295, "src": "all", "action": "unreachable"},
        {"priority": 7, "src": "2001:db8:ff::", "srclen": 64, "fwmark": "0xffffffff", "action": "blackhole"},
        {"priority": 1000, "src": "all", "iif": "eth1", "table": "4294967295"},
    ]


def test_purge_takes_our_own_of_both_families_and_nothing_else():
    before = shown()
    sh("ip rule add priority 7 iif eth1 table 7", "ip -6 rule add priority 7 iif eth1 table 7 proto static")
    sh("ip rule add not from 10.0.0.0/8 priority 9 table 9 suppress_prefixlength 0 proto 118")
    counts(FOUR, SIX, {**SIX, "priority": 1001})
    assert counts(SIX, purge="owned") == (0, 0, 3, 1)
    assert counts(purge="owned") == (0, 0, 1, 0)
    assert len(shown()) == len(before) + 2


def test_a_change_writes_the_new_rule_before_the_old_one_goes():
    counts(FOUR, SIX)
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, 1 << 7 | 1 << 18))  # RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE
    sock.setblocking(False)
    assert run(FOUR, {**SIX, "action": "prohibit", "table": None}).result["rows"]["changed"] == 1
    told = [kind for kind, *_rest in codec.messages(sock.recv(1 << 16))]
    told += [kind for kind, *_rest in codec.messages(sock.recv(1 << 16))]
    sock.close()
    assert told == [kernel.RTM_NEWRULE, kernel.RTM_DELRULE]
    assert counts(FOUR, SIX) == (0, 1, 0, 1)
    assert len(ours()) == 2


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize(
    "theirs",
    [
        "priority 1000 iif eth1 table 1000 proto static",  # the very rule
        "priority 1000 iif eth1 table 99",  # which would be asked before ours
        "priority 1000 iif eth1 prohibit proto bgp",
    ],
)
def test_rules_of_others_are_refused_by_name(theirs, state):
    sh(f"ip rule add {theirs}")
    before = shown()
    for check in (True, False):
        with pytest.raises(RefusedError, match=r"priority 1000 from all iif eth1 .* proto (static|unspec|boot|bgp)"):
            run(SIX, FOUR, check=check, state=state)
    with pytest.raises(RefusedError, match="priority 32766 from all lookup 254 proto kernel"):
        run({"family": 6, "priority": 32766, "table": "main"}, state=state)
    assert shown() == before
    assert counts({**FOUR, "priority": 999}, {**FOUR, "from": "192.0.2.0/24"}) == (2, 0, 0, 0)


def test_absent_whatever_the_rule_does():
    counts(FOUR, SIX)
    wanted = {name: FOUR[name] for name in ("family", "priority", "iif")}
    assert counts({**wanted, "priority": 5}, wanted, state="absent") == (0, 0, 1, 0)
    assert counts({**SIX, "table": "5"}, state="absent") == (0, 0, 1, 0)
    counts(FOUR)
    assert counts(FOUR, state="absent") == (0, 0, 1, 0)
    assert not ours()


def test_what_another_writes_meanwhile_is_not_doubled():
    resource = RuleResource()
    desired = resource.normalise({"rules": [FOUR], "state": "present", "purge": "none"})
    plan = resource.plan(desired, resource.read(desired))
    sh("ip rule add priority 1000 iif eth1 table 1000 proto 118")
    with pytest.raises(KernelError, match="File exists"):
        resource.apply(plan)
    resource.close()
    assert len(ours()) == 1


def test_two_of_our_own_become_one():
    sh("ip rule add priority 1000 iif eth1 table 1 proto 118", "ip rule add priority 1000 iif eth1 table 2 proto 118")
    assert counts({**FOUR, "table": "2"}) == (0, 0, 1, 1)
    sh("ip rule add priority 1000 iif eth1 table 1 proto 118")
    assert counts({**FOUR, "table": "3"}) == (0, 1, 1, 0)
    assert [row["table"] for row in ours()] == ["3"]


def test_a_kernel_without_policy_routing_is_named(monkeypatch):
    dump = rtnl.Rtnl.dump

    def without(self, kind, body, what):
        if body[0] == socket.AF_INET6:
            raise KernelError(what, errno.EAFNOSUPPORT)
        return dump(self, kind, body, what)

    monkeypatch.setattr(rtnl.Rtnl, "dump", without)
    with pytest.raises(MissingError, match="kernel has no policy routing for IPv6: CONFIG_IPV6_MULTIPLE_TABLES"):
        run(FOUR, SIX, check=True)
    assert counts(FOUR, purge="owned") == (1, 0, 0, 0)


def test_what_is_not_there_in_the_end_is_told(monkeypatch):
    monkeypatch.setattr(kernel.Rules, "add", lambda self, rule: None)
    with pytest.raises(VerifyError, match="-4 priority 1000 from all iif eth1 lookup 1000 is missing"):
        run(FOUR)


def test_info_tells_what_ip_tells():
    counts(FOUR, {"family": 6, "priority": 8, "from": "2001:db8::/32", "fwmark": "1/3", "action": "prohibit"})
    sh("ip rule add not to 10.0.0.0/8 priority 9 ipproto udp table 9 suppress_prefixlength 0 proto static")
    told = read_info({"family": None, "owned": False})["rules"]
    assert len(told) == len(shown())
    assert told[0]["protocol_name"] == "kernel" and not told[0]["owned"]
    assert read_info({"family": 6, "owned": True})["rules"] == [
        {
            "family": 6, "priority": 8, "action": "prohibit", "from": "2001:db8::/32", "fwmark": "0x1/0x3",
            "protocol": 118, "protocol_name": "118", "owned": True,
        }
    ]  # fmt: skip
    theirs = next(row for row in told if row["priority"] == 9)
    assert theirs["to"] == "10.0.0.0/8" and theirs["table"] == 9
    assert theirs["other"] == "not fra 14:00000000 fra 22:11"
