"""The neighbor modules as Ansible runs them, in a private network namespace: forms, check mode, diff, messages."""

from playbook_support import MARKS, play

pytestmark = MARKS

MAC = "50:54:33:00:00:01"
SIX = "2001:db8:ff::11"


def neighbor(task=None, **arguments):
    return {"vtep.fabric.neighbor": arguments, **(task or {})}


def test_a_small_table(tmp_path):
    entries = [{"ip": SIX, "lladdr": MAC}, {"ip": SIX, "proxy": True}]
    (tmp_path / "rows").write_text(f"{SIX} dev vxlan100 lladdr {MAC} nud permanent\n")
    results, _out = play(
        tmp_path,
        neighbor({"check_mode": True, "diff": True}, dev="vxlan100", entries=entries),
        neighbor({"diff": True}, dev="vxlan100", entries=entries),
        neighbor(dev="vxlan100", entries=entries),
        neighbor({"diff": True}, src=str(tmp_path / "rows"), purge="owned"),
        {"vtep.fabric.neighbor_info": {"dev": "vxlan100", "ip": SIX}},
        neighbor(table=f"{SIX} dev vxlan100 lladdr {MAC}", src="/dev/null"),
        neighbor(dev="vxlan100", table=f"{SIX}/64 lladdr {MAC}\nff02::1 proxy", purge="owned"),
        neighbor(entries=[], purge="owned"),
    )
    checked, done, again, purged, info, both, bad, gone = results
    assert checked["changed"] and checked["rows"] == done["rows"] and checked["diff"] == done["diff"]
    assert done["rows"] == {"added": 2, "changed": 0, "removed": 0, "unchanged": 0}
    assert done["diff"]["after"] == f"{SIX} dev vxlan100 proxy\n{SIX} lladdr {MAC} dev vxlan100 nud permanent\n"
    assert not again["changed"] and again["rows"]["unchanged"] == 2 and again["sample"] == []
    assert purged["rows"]["removed"] == 1 and purged["diff"]["before"] == f"{SIX} dev vxlan100 proxy\n"
    assert [(row["ip"], row["lladdr"], row["owned"]) for row in info["neighbors"]] == [(SIX, MAC, True)]
    assert "mutually exclusive" in both["msg"]
    assert bad["msg"].startswith("nothing was changed: ") and len(bad["faults"]) == 2
    assert "table row 1: ip" in bad["msg"] and "table row 2: ip: 'ff02::1' is a multicast address" in bad["msg"]
    assert gone["rows"]["removed"] == 1


def test_a_large_table_leaves_nothing_on_the_host_nor_in_the_output(tmp_path):
    """The second run goes by the record of the first, which it finds by what Ansible made of the code on the host."""
    rows = (
        f"2001:db8::{i:x} dev vxlan100 lladdr 50:54:33:00:{i >> 8:02x}:{i & 255:02x} nud permanent"
        for i in range(1, 18001)
    )
    table = "\n".join(rows)
    results, printed = play(
        tmp_path, neighbor(table=table), neighbor(table=table), neighbor(table=table, purge="owned")
    )
    done, again, purged = results
    assert done["rows"]["added"] == 18000 and done["changed"] and len(done["sample"]) == 10
    assert again["rows"] == purged["rows"] == {"added": 0, "changed": 0, "removed": 0, "unchanged": 18000}
    assert not again["changed"] and not purged["changed"]
    assert len(printed) < 10_000
    assert not any((tmp_path / "remote").iterdir())


def test_check_mode_on_a_host_where_nothing_is_made_yet(tmp_path):
    table = f"{SIX} dev eth1 proxy\n{SIX} dev vxlan7 lladdr {MAC}"
    task = {"dev": ["eth1", "vxlan7"], "table": table, "purge": "owned", "anew": ["vxlan7"]}
    results, printed = play(tmp_path, neighbor({"check_mode": True, "diff": True}, **task), neighbor(**task))
    checked, refused = results
    assert checked["rows"]["added"] == 2 and checked["diff"]["after"].count("\n") == 2
    assert "there is no device eth1" in checked["warnings"][0] and "[WARNING]" in printed
    assert len(refused["faults"]) == 2 and refused["msg"].startswith("nothing was changed: ")
