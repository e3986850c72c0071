# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolation without a kernel: names, the plan, and nft's complaints in words."""

import stat

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import nft
from ansible_collections.vtep.fabric.plugins.module_utils._model import isolation as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError, InputError, MissingError
from ansible_collections.vtep.fabric.plugins.module_utils._plan.isolation import alone, complete, isolated, lines, plan


def test_names_are_sorted_and_told_once():
    assert model.devices(["eth1", "br100", "eth1"]) == ("br100", "eth1")
    assert model.devices([]) == ()


@pytest.mark.parametrize(
    "name",
    [
        "br*",
        "*",
        'a"b',
        "a b",
        "a\\*",
        "a;b",
        "a{b",
        "@a\n",
        "",
        "x" * 16,
        "a/b",
        "a:b",
        ".",
        "..",
        "é",
        "lo",
        "$a",
        "a,b",
    ],
)
def test_a_bad_name_is_refused(name):
    with pytest.raises(InputError) as caught:
        model.devices(["br100", name])
    assert len(caught.value.faults) == 1
    assert "interfaces[1]" in caught.value.faults[0] and repr(name) in caught.value.faults[0]


def test_all_bad_names_are_told():
    with pytest.raises(InputError) as caught:
        model.devices(["br*", "ok", "lo"])
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("before", [(), ("br100",), ("br100", "eth1")])
@pytest.mark.parametrize("after", [(), ("br100",), ("br200", "eth1")])
def test_a_plan_applied_gives_an_empty_plan(before, after):
    first = plan(after, model.objects(before))
    assert bool(first) == (before != after)
    if first:
        made = [command["add"] for command in first.commands if "add" in command]
        deleted = [command["delete"] for command in first.commands if "delete" in command]
        assert deleted == [{"table": {"family": family, "name": "vtep_fabric"}} for family in ("inet", "arp")]
        left = made[len(deleted) :]
        assert not plan(after, left)
        assert complete(left) and isolated(left) == set(after)
    assert (set(before) | set(first.added)) - set(first.removed) == set(after)


GROUPS = (("eth1", "eth2", "vxlan100"), ("eth9",))


def test_groups_are_sorted_and_each_device_is_told_once():
    assert model.groups([["eth9"], ["vxlan100", "eth2", "eth1", "eth2"]], set()) == GROUPS


@pytest.mark.parametrize(
    "groups, told",
    [
        ([["eth1", "br100"]], "routed[0]: 'br100' is in interfaces too"),
        ([["eth1"], ["eth2", "eth1"]], "routed[1]: 'eth1' is in routed[0] too"),
        ([["eth1"], []], "routed[1]: an empty group"),
        ([["eth1", "eth 2"]], "routed[0]: 'eth 2' is not a device name"),
        ([["lo"]], "routed[0]: 'lo' cannot be isolated"),
        ([[f"d{number}" for number in range(257)]], "routed[0]: 257 devices; a group has 256 at most"),
    ],
)
def test_a_bad_group_is_refused(groups, told):
    with pytest.raises(InputError) as caught:
        model.groups(groups, {"br100"})
    assert len(caught.value.faults) == 1 and caught.value.faults[0].startswith(told)


def test_groups_are_read_back():
    found = model.objects(("br100",), GROUPS)
    assert model.grouping(found) == GROUPS
    assert alone(found) == {"br100"} and complete(found)
    assert not plan(("br100",), found, GROUPS)
    assert plan(("br100",), found, (("eth1", "eth2"), ("eth9", "vxlan100")))
    assert not plan(("br100",), found, (("eth1", "eth2"), ("eth9", "vxlan100"))).repaired


def test_a_member_leads_to_members_of_its_group_only():
    sets = {thing["set"]["name"]: thing["set"] for thing in model.objects((), GROUPS) if "set" in thing}
    pairs = {tuple(pair["concat"]) for pair in sets["routed"]["elem"]}
    assert pairs == {(one, other) for one in GROUPS[0] for other in GROUPS[0] if one != other}


def test_only_our_own_two_tables_are_spoken_of():
    for command in plan(("br100",), []).commands:
        for thing in command.values():
            for body in thing.values():
                assert body["family"] in ("inet", "arp")
                assert "vtep_fabric" in (body.get("table"), body["name"] if "table" in thing else None)


def test_a_family_that_is_not_there_is_not_removed():
    """A kernel without the arp family can still be cleaned."""
    inet = [thing for thing in model.objects(("br100",)) for body in thing.values() if body["family"] == "inet"]
    families = [command["delete"]["table"]["family"] for command in plan((), inet).commands if "delete" in command]
    assert families == ["inet"]


def test_handles_and_order_do_not_matter_but_the_order_of_rules_does():
    wanted = model.objects(("br100", "eth1"))
    found = [{kind: dict(body, handle=7) for kind, body in thing.items()} for thing in wanted]
    sets = [thing for thing in found if "set" in thing]
    others = [thing for thing in found if "set" not in thing]
    for thing in sets:
        thing["set"]["elem"].reverse()
    assert not plan(("br100", "eth1"), others + sets)
    rules = [thing for thing in found if "rule" in thing and thing["rule"]["chain"] == "forward"]
    first, second = found.index(rules[0]), found.index(rules[1])
    found[first], found[second] = found[second], found[first]
    assert plan(("br100", "eth1"), found).repaired


def test_strange_elements_are_told_from_devices():
    found = model.objects(("br100",))
    pairs = next(thing["set"] for thing in found if "set" in thing and thing["set"]["name"] == "bridged")
    pairs["elem"].append({"concat": ["br100", "eth0"]})
    pairs["elem"].append({"elem": {"val": "x", "comment": "c"}})
    assert plan(("br100",), found)
    assert isolated(found) == {"br100"}
    assert sum("only in inet set bridged" in line for line in lines(found)) == 2


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """An nft that says what it is told to."""

    def say(words, code=1):
        path = tmp_path / "nft"
        path.write_text(f"#!/bin/sh\ncat >/dev/null\ncat >&2 <<'END'\n{words}\nEND\nexit {code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(nft, "program", lambda: str(path))

    return say


@pytest.mark.parametrize(
    "words",
    [
        "internal:0:0-0: Error: Could not process rule: Address family not supported by protocol",
        "internal:0:0-0: Error: Could not process rule: Operation not supported",
        "Error: cache initialization failed: Invalid argument",
        "mnl.c:51: Unable to initialize Netlink socket: Protocol not supported",
    ],
)
def test_a_kernel_without_nftables_is_named(stub, words):
    stub(words)
    with pytest.raises(MissingError, match="kernel has no nftables.*CONFIG_NF_TABLES_ARP"):
        nft.commit([])


def test_missing_rights_are_named(stub):
    stub("Operation not permitted (you must be root)")
    with pytest.raises(FabricError, match="use become"):
        nft.table("vtep_fabric", ("inet",))


def test_an_nft_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "nft"
    path.write_text("#!/bin/sh\nexec sleep 30\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(nft, "program", lambda: str(path))
    monkeypatch.setattr(nft, "TIMEOUT", 0.2)
    with pytest.raises(FabricError, match="^nft: no answer within 0.2 s$"):
        nft.table("vtep_fabric", ("inet",))


def test_other_complaints_are_passed_on(stub):
    stub("internal:0:0-0: Error: Could not process rule: No buffer space available\n\n")
    with pytest.raises(FabricError, match="^nft: Could not process rule: No buffer space available$"):
        nft.commit([])
