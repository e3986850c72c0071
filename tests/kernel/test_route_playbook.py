"""The route and rule modules as Ansible runs them, in a private network namespace: forms, check mode, diff, messages."""

from functools import partial

import playbook_support

pytestmark = playbook_support.MARKS

LINKS = (
    "ip link add vxlan100 type vxlan external dstport 4789 && ip link set vxlan100 up && "
    "ip link add eth1 type veth peer name far1 && ip link set eth1 up"
)
play = partial(playbook_support.play, setup=LINKS)
ENCAP = "encap ip6 id 100 src 2001:db8:1::1 dst 2001:db8:2::1 ttl 5"


def route(task=None, **arguments):
    return {"vtep.fabric.route": arguments, **(task or {})}


def rule(task=None, **arguments):
    return {"vtep.fabric.rule": arguments, **(task or {})}


def test_routes_and_rules(tmp_path):
    table = f"2001:db8:ff::11 {ENCAP} dev vxlan100\n192.0.2.10/32 dev eth1 table 1000\n"
    entries = [
        {"dst": "2001:db8:ff::11", "dev": "vxlan100", "encap": {"type": "ip6", "id": 7, "dst": "2001:db8:2::1"}},
        {"dst": "192.0.2.10", "dev": "eth1", "table": 1000},
    ]
    rules = [{"family": 6, "priority": 1000, "iif": "eth1", "table": 1000, "from": "2001:db8::/32", "fwmark": 0x10}]
    checking = {"check_mode": True, "diff": True}
    results, out = play(
        tmp_path,
        route(checking, table=table, purge="owned"),
        route({"diff": True}, table=table, purge="owned"),
        route({"diff": True}, entries=entries),
        rule({"diff": True}, rules=rules),
        rule(checking, rules=rules, purge="owned"),
        {"ansible.builtin.shell": "ip -6 rule show priority 1000; ip -6 route show 2001:db8:ff::11"},
        {"vtep.fabric.route_info": {"owned": True}},
        {"vtep.fabric.rule_info": {"owned": True}},
        route(checking, table=f"192.0.2.99 {ENCAP} dev vxlan200"),
        route(table="default dev eth1\n10.0.0.1/8 dev eth1"),
        rule(rules=[{**rules[0], "priority": 0, "table": "nowhere"}]),
        route(entries=[], purge="owned"),
    )
    checked, made, changed, rule_made, rule_again, shown, routes, there, missing, bad, bad_rule, none = results
    assert checked["rows"] == made["rows"] == {"added": 2, "changed": 0, "removed": 0, "unchanged": 0}
    assert checked["diff"] == made["diff"] and made["changed"]
    assert "192.0.2.10/32 dev eth1 table 1000" in made["diff"]["after"].splitlines()
    assert changed["rows"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": 1}
    assert "id 100" in changed["diff"]["before"] and "id 7" in changed["diff"]["after"]
    assert rule_made["rows"] == {"added": 1, "changed": 0, "removed": 0, "unchanged": 0}
    assert rule_made["diff"]["after"] and not rule_again["changed"]
    words = " ".join(shown["stdout"].split())
    assert "from 2001:db8::/32 fwmark 0x10 iif eth1 lookup 1000 proto 118" in words
    assert "encap ip6 id 7 src :: dst 2001:db8:2::1" in words
    assert [row["dst"] for row in routes["routes"]] == ["192.0.2.10/32", "2001:db8:ff::11/128"]
    assert there["rules"][0]["fwmark"] == "0x10"
    assert missing["rows"]["added"] == 1 and "there are no such devices yet: vxlan200" in out
    assert len(bad["faults"]) == 2 and bad["msg"].startswith("nothing was changed: table row 1: dst: 'default'")
    assert len(bad_rule["faults"]) == 2
    assert none["rows"]["removed"] == 2


def test_a_large_table_leaves_nothing_on_the_host_nor_in_the_output(tmp_path):
    lines = [f"2001:db8:ff::{i:x} {ENCAP} dev vxlan100" for i in range(2000)]
    (tmp_path / "table").write_text("\n".join(lines))
    table = "{{ lookup('ansible.builtin.file', '" + str(tmp_path / "table") + "') }}"
    results, out = play(
        tmp_path,
        route(table=table, purge="owned"),
        route(src=str(tmp_path / "table"), purge="owned"),
    )
    assert results[0]["rows"]["added"] == 2000 and results[1]["rows"]["unchanged"] == 2000
    assert len(out) < 10_000 and not any((tmp_path / "remote").iterdir())
