"""Policy rules: what is read, and what is refused before anything happens."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import rule as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError

GOOD = {"family": 4, "priority": 1000, "iif": "eth1", "table": "1000"}


def text(**words):
    return model.from_list([{"family": 4, "priority": 7, "table": 9, **words}])[0].text()


def test_normal_forms():
    assert text() == text(**{"from": "0.0.0.0/0"}, to="all", iif=None) == "-4 priority 7 from all lookup 9"
    assert text(**{"from": "192.0.2.1"}) == "-4 priority 7 from 192.0.2.1/32 lookup 9"
    assert text(family=6, to="2001:DB8:0::/48") == "-6 priority 7 from all to 2001:db8::/48 lookup 9"
    assert text(fwmark="16") == text(fwmark="0x10/0xffffffff") == "-4 priority 7 from all fwmark 0x10 lookup 9"
    assert text(fwmark="0/1") == "-4 priority 7 from all fwmark 0x0/0x1 lookup 9"
    assert text(table="main") == "-4 priority 7 from all lookup 254"
    assert text(table=None, action="prohibit", oif="eth2") == "-4 priority 7 from all oif eth2 prohibit"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"family": 5}, "family: 5 is none; write 4 or 6"),
        ({"priority": None}, "priority: missing; write 1 to 32765"),
        ({"priority": 0}, "priority: 0 is out of range; it must be 1 to 4294967295"),
        ({"from": "2001:db8::/64"}, "from: '2001:db8::/64' is not of IPv4, which the rule is for"),
        ({"to": "192.0.2.1/24"}, "to: '192.0.2.1/24' has host bits set; write 192.0.2.0/24"),
        ({"to": "there"}, "to: 'there' is not a prefix"),
        ({"iif": "a/b"}, "iif: 'a/b' is not a device name"),
        ({"oif": ""}, "oif: '' is not a device name"),
        ({"fwmark": "0"}, "fwmark: 0 is no mark"),
        ({"fwmark": "0x11/0x10"}, "fwmark: '0x11/0x10' has bits that its mask leaves out; write 0x10/0x10"),
        ({"fwmark": "1/0"}, "fwmark: '0' is out of range"),
        ({"fwmark": "4294967296"}, "fwmark: '4294967296' is out of range"),
        ({"table": 0}, "table: 0 is no routing table"),
        ({"table": "overlay"}, "table: 'overlay' is no routing table"),
        ({"table": None}, "table: missing; name the routing table to look into, or another action"),
        ({"action": "blackhole"}, "table: it has no meaning for a rule that is blackhole; leave it out"),
        ({"action": "goto"}, "action: 'goto' is none of lookup, unreachable, blackhole, prohibit"),
    ],
)
def test_a_bad_rule_is_told_with_its_number(words, fault):
    with pytest.raises(InputError) as caught:
        model.from_list([{**GOOD, "priority": 999}, {**GOOD, **words}])
    [told] = caught.value.faults
    assert told.startswith("rules 2: ") and fault in told


def test_all_faults_are_told_at_once():
    bad = [{**GOOD, "priority": -1, "to": "x", "fwmark": "y"}, GOOD, {**GOOD, "family": 9}]
    with pytest.raises(InputError) as caught:
        model.from_list(bad)
    assert len(caught.value.faults) == 4


def test_rules_that_take_the_same_packets():
    for other, words in ((GOOD, "the same rule as rules 1"), ({**GOOD, "table": 7}, "one of them is never asked")):
        with pytest.raises(InputError, match=words):
            model.from_list([GOOD, other])
    assert len(model.from_list([GOOD, {**GOOD, "family": 6}, {**GOOD, "priority": 1001}, {**GOOD, "oif": "a"}])) == 4


def test_absent_needs_no_table():
    [rule] = model.from_list([{"family": 4, "priority": 7, "iif": "eth1"}], absent=True)
    assert rule.table is None
