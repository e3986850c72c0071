"""The fdb modules as Ansible runs them, in a private network namespace: forms, check mode, diff, messages, echo."""

from playbook_support import MARKS, play

pytestmark = MARKS

ZERO = "00:00:00:00:00:00"


def fdb(task=None, **arguments):
    return {"vtep.fabric.fdb": {"dev": "vxlan100", **arguments}, **(task or {})}


def test_a_small_table(tmp_path):
    entries = [
        {"mac": ZERO, "dst": ["2001:db8:2::1", "2001:db8:3::1"]},
        {"mac": "50:54:33:00:00:01", "dst": "2001:db8:2::1"},
    ]
    table = f"{ZERO} dst 2001:db8:3::1\n50:54:33:00:00:01 dst 2001:db8:3::1 vni 7"
    results, _out = play(
        tmp_path,
        fdb({"check_mode": True, "diff": True}, entries=entries),
        fdb({"diff": True}, entries=entries),
        fdb(entries=entries),
        fdb({"diff": True}, table=table, purge="owned"),
        {"vtep.fabric.fdb_info": {"dev": "vxlan100"}},
        fdb(table="50:54:33:00:00:01 dst 2001:db8:3::1", src="/dev/null"),
        fdb(table="50:54:33:00:00:0x dst 2001:db8:3::1\n50:54:33:00:00:02 dst 2001:db8:3::1 vni 0"),
    )
    checked, done, again, changed, info, both, bad = results
    assert checked["changed"] and checked["rows"] == done["rows"] and checked["diff"] == done["diff"]
    assert done["rows"] == {"added": 3, "changed": 0, "removed": 0, "unchanged": 0, "shared": 0}
    assert done["diff"]["after"].splitlines()[0] == f"{ZERO} dev vxlan100 dst 2001:db8:2::1 self permanent"
    assert not again["changed"] and again["rows"]["unchanged"] == 3 and again["sample"] == []
    assert changed["rows"] == {"added": 0, "changed": 1, "removed": 1, "unchanged": 1, "shared": 0}
    assert changed["diff"]["before"].count("\n") == 2 and "vni 7" in changed["diff"]["after"]
    assert {(row["mac"], row["dst"], row.get("vni"), row["owned"]) for row in info["fdb"]} == {
        ("50:54:33:00:00:01", "2001:db8:3::1", 7, True),
        (ZERO, "2001:db8:3::1", None, True),
    }
    assert "mutually exclusive" in both["msg"]
    assert bad["msg"].startswith("nothing was changed: ") and len(bad["faults"]) == 2
    assert "row 1: mac: '50:54:33:00:00:0x'" in bad["msg"] and "row 2: vni: '0'" in bad["msg"]


def test_a_large_table_leaves_nothing_on_the_host_nor_in_the_output(tmp_path):
    lines = [f"50:54:33:00:{i >> 8:02x}:{i & 255:02x} dst 2001:db8:{i % 9 + 1}::1" for i in range(5000)]
    broken = [*lines[:-1], "50:54:33:00:zz:01 dst 2001:db8:1::1"]
    results, printed = play(
        tmp_path, fdb(table="\n".join(lines)), fdb(table="\n".join(lines)), fdb(table="\n".join(broken))
    )
    done, again, bad = results
    assert done["rows"]["added"] == 5000 and done["changed"] and len(done["sample"]) == 10
    assert again["rows"]["unchanged"] == 5000 and not again["changed"]
    assert "table row 5000: mac: '50:54:33:00:zz:01'" in bad["msg"]
    assert len(printed) < 10_000
    assert not any((tmp_path / "remote").iterdir())


def test_check_mode_on_a_host_where_nothing_is_made_yet(tmp_path):
    table = "50:54:33:00:00:01 dev eth1 master static\n50:54:33:00:00:02 dev lo master static"
    task = {"dev": ["eth1", "lo"], "table": table, "purge": "owned"}
    results, printed = play(tmp_path, fdb({"check_mode": True, "diff": True}, **task), fdb(**task))
    checked, refused = results
    assert checked["rows"]["added"] == 2 and checked["diff"]["after"].count("sticky master static") == 2
    assert "counted as an empty table: dev: there is no device eth1" in checked["warnings"][0]
    assert "lo is not a port of a bridge" in checked["warnings"][0] and "[WARNING]" in printed
    assert len(refused["faults"]) == 2 and refused["msg"].startswith("nothing was changed: ")
