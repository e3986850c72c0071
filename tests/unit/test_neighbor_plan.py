"""The plan for neighbours, tried on a simulated kernel: what a plan does, and that a second one is empty."""

import dataclasses

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import neighbor as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._plan.neighbor import plan
from hypothesis import given
from hypothesis import strategies as st

IPS = [bytes([192, 0, 2, n]) for n in range(1, 5)]
MACS = [bytes.fromhex(f"50543300000{n}") for n in range(1, 4)]
KINDS = [
    model.Kind("eth1"),
    model.Kind("eth1", nud="noarp"),
    model.Kind("eth1", router=True),
    model.Kind("eth1", extern_learn=True),
    model.Kind("eth1", nud=None, managed=True),
    model.Kind("eth1", proxy=True, nud=None),
    model.Kind("eth1", proxy=True, nud=None, router=True),
]
LEARNED = model.Kind("eth1", nud="stale")


def found(ip=IPS[0], mac=MACS[0], kind=KINDS[0], owner="ours"):
    mac = model.NO_MAC if kind.proxy else mac
    return model.Found(
        ip,
        mac,
        kind,
        3,
        configured=kind != LEARNED,
        owned=owner == "ours" and kind != LEARNED,
        foreign=owner == "program",
    )


def wanted(*rows):
    made = model.Wanted(list(dict.fromkeys(kind for ip, mac, kind in rows)))
    for ip, mac, kind in rows:
        made.ips.append(ip)
        made.macs.append(model.NO_MAC if kind.proxy or kind.managed else mac)
        made.index.append(made.kinds.index(kind))
    return made


class Kernel:
    def __init__(self, rows):
        self.rows = {(row.ip, row.kind.proxy): row for row in rows}

    def look(self, table):
        seen = model.Seen()
        for i in range(len(table)):
            ip, _mac, kind = table.row(i)
            row = self.rows.get((ip, kind.proxy))
            seen.different += [(i, row)] if row else []
            seen.missing += [] if row else [i]
        keys = {(table.row(i)[0], table.row(i)[2].proxy) for i in range(len(table))}
        seen.strangers = [row for key, row in self.rows.items() if key not in keys]
        return seen

    def carry_out(self, made):
        for operation in made.operations():
            for row in operation.rows:
                if operation.kind == model.DELETE:
                    del self.rows[row.ip, row.kind.proxy]
                else:
                    ip, mac, kind = made.wanted.row(row)
                    self.rows[ip, kind.proxy] = found(ip, mac or MACS[2], kind)


ROWS = st.builds(
    found,
    st.sampled_from(IPS),
    st.sampled_from(MACS),
    st.sampled_from([*KINDS, LEARNED]),
    st.sampled_from(["ours", "somebody", "program"]),
)
WANTED = st.lists(
    st.tuples(st.sampled_from(IPS), st.sampled_from(MACS), st.sampled_from(KINDS)),
    unique_by=lambda row: (row[0], row[2].proxy),
)


@given(st.lists(ROWS), WANTED, st.sampled_from(["none", "owned", "all"]))
def test_what_is_wanted_is_there_and_what_is_not_ours_stays(rows, rows_wanted, purge):
    kernel, table = Kernel(rows), wanted(*rows_wanted)
    before = dict(kernel.rows)
    keys = {(ip, kind.proxy) for ip, mac, kind in rows_wanted}
    try:
        made = plan(table, kernel.look(table), purge=purge)
    except RefusedError:
        assert purge != "all"
        assert any(before[key].foreign for key in keys & before.keys())
        return
    kernel.carry_out(made)
    for ip, mac, kind in rows_wanted:
        row = kernel.rows[ip, kind.proxy]
        assert row.kind == kind and row.owned
        assert kind.proxy or kind.managed or row.mac == mac
    for key, row in before.items():
        if key not in keys:
            goes = row.configured and (purge == "all" or purge == "owned" and row.owned)
            assert (key in kernel.rows) != goes
    assert not plan(table, kernel.look(table), purge=purge)


@given(st.lists(ROWS), WANTED)
def test_rows_that_are_to_be_absent(rows, rows_wanted):
    kernel, table = Kernel(rows), wanted(*rows_wanted)
    before = dict(kernel.rows)
    try:
        made = plan(table, kernel.look(table), "absent")
    except RefusedError:
        assert any(row.foreign for row in before.values())
        return
    kernel.carry_out(made)
    given_rows = {(ip, kind.proxy): table.macs[i] for i, (ip, mac, kind) in enumerate(rows_wanted)}
    for key, row in before.items():
        meant = key in given_rows and given_rows[key] in (b"", row.mac) and row.configured
        assert (key in kernel.rows) != meant
    assert not plan(table, kernel.look(table), "absent")


def test_an_unmarked_row_is_adopted_as_a_change():
    table = wanted((IPS[0], MACS[0], KINDS[0]))
    made = plan(table, model.Seen(different=[(0, found(owner="somebody"))]))
    assert (made.added, len(made.changed), made.removed) == ([], 1, [])


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3], KINDS[5]])
def test_rows_of_a_program_are_refused_with_their_names(kind):
    table = wanted((IPS[0], MACS[1], kind))
    with pytest.raises(RefusedError, match=r"nothing was changed.*192\.0\.2\.1.*purge: all"):
        plan(table, model.Seen(different=[(0, found(kind=kind, owner="program"))]))
    assert plan(table, model.Seen(different=[(0, found(kind=kind, owner="program"))]), purge="all").changed


def test_many_refused_rows_are_counted():
    table = wanted(*[(bytes([192, 0, 2, n]), MACS[0], KINDS[0]) for n in range(1, 31)])
    rows = [(i, dataclasses.replace(found(owner="program"), ip=table.ips[i])) for i in range(30)]
    with pytest.raises(RefusedError, match="; and 20 more"):
        plan(table, model.Seen(different=rows))
