"""The plan for forwarding tables, tried on a simulated kernel: what a plan does, and that a second one is empty."""

import dataclasses

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import fdb as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._plan.fdb import ours, plan
from hypothesis import given, settings
from hypothesis import strategies as st

DEVICE = model.Device("vxlan100", 7, "vxlan", vni=100, port=4789, family=4, remote="203.0.113.1", link="eth0")
A, B, C = (f"192.0.2.{n}" for n in (1, 2, 3))
DEFAULT = model.Way("vxlan100", dst="203.0.113.1", via="eth0").place()
STATES = {"permanent": 0x80, "static": 0x40, "dynamic": 0x02}
MAC = bytes.fromhex("505433000001")
GROUP = bytes.fromhex("3333ff000010")


@dataclasses.dataclass
class Entry:
    """A MAC as the VXLAN driver keeps it: one state, one mark, and a list of places."""

    places: list
    state: str = "permanent"
    router: bool = False
    marked: bool = False
    extern: bool = False


class Kernel:
    """The VXLAN driver's table, by the rules of vxlan_fdb_update_existing and its neighbours."""

    def __init__(self, entries):
        self.record = {}  # the host's, beside the kernel
        self.entries = {key: dataclasses.replace(entry, places=list(entry.places)) for key, entry in entries.items()}

    def found(self, mac):
        entry = self.entries[mac]
        for place in entry.places:
            dst, vni, port, via, nhid = place
            way = model.Way("vxlan100", dst=dst, vni=vni, port=port, via=via, nhid=nhid)
            way = dataclasses.replace(way, state=entry.state, router=entry.router)
            default = mac == model.ZERO and place == DEFAULT
            yield model.Found(
                mac,
                way,
                nud=STATES[entry.state] | (0x10 if entry.marked else 0),
                owned=entry.marked and not entry.extern,
                extern_learn=entry.extern,
                default=default,
            )

    def look(self, wanted, everything=True):
        seen = model.Seen(DEVICE)
        at = {mac: i for i, mac in enumerate(wanted.macs)}
        for i, mac in enumerate(wanted.macs):
            if not model.is_flood(mac) and mac not in self.entries:
                seen.missing.append(i)
        for mac in self.entries:
            rows = list(self.found(mac))
            if model.is_flood(mac):
                seen.floods[mac] = rows
            elif mac in at:
                seen.different += [(at[mac], row) for row in rows]
            elif everything:
                seen.strangers += rows
        model.recall(seen, lambda: self.record)
        return seen

    def carry_out(self, made):
        for operation in made.operations:
            for row in operation.rows:
                if operation.kind == model.DELETE:
                    self.delete(row)
                else:
                    self.put(operation, *operation.table.row(row))
        if made:
            self.record.update(ours(made).get("vxlan100", {}))

    def theirs(self, mac, *dsts):
        """Somebody appends destinations with `bridge fdb append`."""
        entry = self.entries.setdefault(mac, Entry([]))
        entry.places += [place for place in places(*dsts) if place not in entry.places]
        entry.state, entry.router, entry.marked = "permanent", False, False

    def delete(self, found):
        entry = self.entries[found.mac]
        assert found.way.place() in entry.places
        entry.places.remove(found.way.place())
        if not entry.places:
            del self.entries[found.mac]

    def put(self, operation, mac, way):
        way = DEVICE.normal(way)
        kind, keep, entry = operation.kind, operation.keep, self.entries.get(mac)
        if kind == model.CREATE:
            assert entry is None, "File exists"
            entry = self.entries[mac] = Entry([way.place()])
        elif kind == model.REPLACE:
            assert entry and not model.is_flood(mac)
            assert (entry.places[0][4] is None) == (way.nhid is None), "Cannot replace a nexthop"
            entry.places = [way.place()]
        else:
            assert kind == model.APPEND and model.is_flood(mac)
            entry = entry or self.entries.setdefault(mac, Entry([]))
            if way.place() not in entry.places:
                entry.places.append(way.place())
        entry.state, entry.router = (keep.way.state, keep.way.router) if keep else (way.state, way.router)
        entry.marked = bool(keep.nud & 0x10) if keep else True
        entry.extern = keep.extern_learn if keep else False


def wanted(*rows):
    made = model.Wanted("vxlan100", "self", [])
    for mac, way in rows:
        made.index.append(len(made.ways))
        made.ways.append(way)
        made.macs.append(mac)
    return made


def way(dst=A, **more):
    return model.Way("vxlan100", dst=dst, **more)


def run(kernel, table, state="present", purge="none"):
    made = plan([(table, kernel.look(table))], state, purge)
    kernel.carry_out(made)
    return {
        "added": sum(len(rows) for _table, rows in made.added),
        "changed": len(made.changed),
        "removed": len(made.removed),
        "shared": len(made.shared),
    }


def places(*dsts):
    return [way(dst).place() for dst in dsts]


def test_missing_rows_are_created_and_then_left_alone():
    kernel = Kernel({})
    table = wanted((MAC, way()), (model.ZERO, way(A)), (model.ZERO, way(B)))
    assert run(kernel, table) == {"added": 3, "changed": 0, "removed": 0, "shared": 0}
    assert run(kernel, table) == {"added": 0, "changed": 0, "removed": 0, "shared": 0}
    assert kernel.entries[model.ZERO] == Entry(places(A, B), marked=True)


def test_a_row_of_somebody_is_adopted_as_a_change():
    kernel = Kernel({MAC: Entry(places(A))})
    assert run(kernel, wanted((MAC, way())))["changed"] == 1
    assert kernel.entries[MAC].marked


def test_extern_learn_is_refused_unless_all_is_purged():
    for mac in (MAC, model.ZERO):
        kernel = Kernel({mac: Entry(places(B), extern=True)})
        for purge in ("none", "owned"):
            with pytest.raises(RefusedError, match=r"extern_learn.*192\.0\.2\.2"):
                run(kernel, wanted((mac, way())), purge=purge)
        assert kernel.entries[mac].extern
        run(kernel, wanted((mac, way())), purge="all")
        assert kernel.entries == {mac: Entry(places(A), marked=True)}
        with pytest.raises(RefusedError):
            run(Kernel({mac: Entry(places(A), extern=True)}), wanted((mac, way())), "absent")


def test_a_nexthop_group_is_swapped_by_deleting_first():
    kernel = Kernel({MAC: Entry(places(A), marked=True)})
    group = model.Way("vxlan100", nhid=5)
    assert run(kernel, wanted((MAC, group))) == {"added": 0, "changed": 1, "removed": 0, "shared": 0}
    assert kernel.entries[MAC].places == [group.place()]
    assert run(kernel, wanted((MAC, way())))["changed"] == 1
    assert kernel.entries[MAC].places == places(A)


def test_a_flood_list_that_others_write_to_stays_unmarked():
    kernel = Kernel({model.ZERO: Entry(places(B))})
    table = wanted((model.ZERO, way(A)))
    assert run(kernel, table, purge="owned") == {"added": 1, "changed": 0, "removed": 0, "shared": 1}
    assert kernel.entries[model.ZERO] == Entry(places(B, A))
    assert run(kernel, table, purge="owned") == {"added": 0, "changed": 0, "removed": 0, "shared": 1}
    run(kernel, wanted(), purge="owned")
    assert kernel.entries[model.ZERO] == Entry(places(B))
    run(kernel, table, purge="all")
    assert kernel.entries[model.ZERO] == Entry(places(A), marked=True)


def test_destinations_of_somebody_and_ours_are_told_apart_without_the_mark():
    kernel = Kernel({})
    run(kernel, wanted((model.ZERO, way(A)), (model.ZERO, way(B))))
    kernel.theirs(model.ZERO, C)
    table = wanted((model.ZERO, way(B)))
    assert run(kernel, table) == {"added": 0, "changed": 0, "removed": 0, "shared": 1}
    assert run(kernel, table, purge="owned") == {"added": 0, "changed": 0, "removed": 1, "shared": 1}
    assert kernel.entries[model.ZERO] == Entry(places(B, C))
    assert run(kernel, wanted(), purge="owned")["removed"] == 1
    assert kernel.entries == {model.ZERO: Entry(places(C))}
    assert kernel.record == {model.ZERO: set()}


def test_a_destination_that_was_there_is_not_ours_while_others_write_to_the_list():
    kernel = Kernel({})
    kernel.theirs(model.ZERO, A, B)
    table = wanted((model.ZERO, way(A)), (model.ZERO, way(C)))
    assert run(kernel, table, purge="owned") == {"added": 1, "changed": 0, "removed": 0, "shared": 2}
    run(kernel, wanted(), purge="owned")
    assert kernel.entries[model.ZERO].places == places(A, B)
    # Nor does the record outlive what it tells of.
    run(kernel, table)
    run(kernel, wanted((model.ZERO, way(C))), "absent")
    kernel.theirs(model.ZERO, C)
    run(kernel, wanted(), purge="owned")
    assert kernel.entries[model.ZERO].places == places(A, B, C)


def test_the_mark_counts_before_the_record():
    kernel = Kernel({model.ZERO: Entry(places(A, B), marked=True)})
    kernel.record = {model.ZERO: set(places(A))}
    run(kernel, wanted(), purge="owned")
    assert kernel.entries == {}
    kernel = Kernel({model.ZERO: Entry(places(A, B), extern=True)})
    kernel.record = {model.ZERO: set(places(A, B))}
    run(kernel, wanted(), purge="owned")
    assert kernel.entries[model.ZERO].places == places(A, B)


OURS, THEIRS = ["192.0.2.1", "192.0.2.2", "192.0.2.3"], ["198.51.100.1", "198.51.100.2"]
STEPS = st.one_of(
    st.tuples(st.just("ours"), st.sets(st.sampled_from(OURS)), st.sampled_from(["none", "owned"])),
    st.tuples(st.just("absent"), st.sets(st.sampled_from(OURS)), st.none()),
    st.tuples(st.just("append"), st.sampled_from(THEIRS), st.none()),
    st.tuples(st.just("delete"), st.sampled_from(THEIRS), st.none()),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=8))
def test_a_purge_takes_exactly_our_destinations_whatever_happened(steps):
    """We and somebody else write to one list in turns."""
    kernel = Kernel({})
    mine, theirs = set(), set()
    for step, what, purge in steps:
        if step == "ours":
            run(kernel, wanted(*((model.ZERO, way(dst)) for dst in sorted(what))), purge=purge)
            mine = what if purge == "owned" else mine | what
        elif step == "absent":
            run(kernel, wanted(*((model.ZERO, way(dst)) for dst in sorted(what))), "absent")
            mine = mine - what
        elif step == "append":
            kernel.theirs(model.ZERO, what)
            theirs.add(what)
        elif what in theirs:
            kernel.delete(next(found for found in kernel.found(model.ZERO) if found.way.dst == what))
            theirs.remove(what)
        there = kernel.entries[model.ZERO].places if model.ZERO in kernel.entries else []
        assert set(there) == set(places(*mine, *theirs))
    run(kernel, wanted(), purge="owned")
    assert set(kernel.entries[model.ZERO].places if kernel.entries else []) == set(places(*theirs))


def test_the_devices_own_destination_is_nobodys_to_purge():
    kernel = Kernel({model.ZERO: Entry([DEFAULT])})
    run(kernel, wanted((model.ZERO, way(A))), purge="owned")
    assert kernel.entries[model.ZERO] == Entry([DEFAULT, *places(A)], marked=True)
    for purge in ("owned", "all"):
        run(kernel, wanted(), purge=purge)
        assert kernel.entries[model.ZERO].places == [DEFAULT]


def test_absent():
    kernel = Kernel({MAC: Entry(places(A)), model.ZERO: Entry(places(A, B, C)), GROUP: Entry(places(A, B))})
    assert run(kernel, wanted((MAC, way(B))), "absent")["removed"] == 0
    assert run(kernel, wanted((MAC, way(None)), (model.ZERO, way(B)), (GROUP, way(None))), "absent")["removed"] == 4
    assert kernel.entries == {model.ZERO: Entry(places(A, C))}


def test_a_bridges_table():
    port = model.Device("eth1", 3, "veth", master=9, master_kind="bridge")

    def found(state, sticky=False, extern=False, dev="eth1"):
        way = model.Way(dev, "master", state=state, sticky=sticky)
        return model.Found(MAC, way, owned=sticky and state == "static" and not extern, extern_learn=extern)

    def decide(purge, *strangers):
        made = plan([(model.Wanted("eth1", "master", []), model.Seen(port, strangers=list(strangers)))], purge=purge)
        return made.removed

    ours = found("static", sticky=True)
    rows = found("permanent"), ours, found("static"), found("dynamic"), found("static", sticky=True, extern=True)
    assert decide("owned", *rows) == [ours]
    assert decide("all", *rows) == list(rows[1:])
    assert decide("none", *rows) == []

    def adopt(other, state="static", purge="none"):
        way = model.Way("eth1", "master", state=state, sticky=state == "static")
        table = model.Wanted("eth1", "master", [way], [MAC], [0])
        made = plan([(table, model.Seen(port, different=[(0, other)]))], purge=purge)
        assert len(made.changed) == bool(made)
        return [operation.kind for operation in made.operations]

    assert adopt(ours) == adopt(found("permanent"), "permanent") == adopt(found("dynamic"), "dynamic") == []
    for other in (found("static"), found("dynamic"), found("static", sticky=True, dev="eth2")):
        assert adopt(other) == [model.REPLACE]
    with pytest.raises(RefusedError, match="extern_learn"):
        adopt(found("static", extern=True))
    for other in (found("static", extern=True), found("static", sticky=True, extern=True)):
        assert adopt(other, purge="all") == [model.DELETE, model.CREATE]


def test_copies_of_a_bridges_row_in_vlans():
    """A row without a VLAN stands in each VLAN of the port as well, and is changed where one of them is not as wanted."""
    port = model.Device("eth1", 3, "veth", master=9, master_kind="bridge")
    way = model.Way("eth1", "master", state="static", sticky=True)
    table = model.Wanted("eth1", "master", [way], [MAC], [0])
    ours = model.Found(MAC, way, owned=True)

    def copy(vlan=1, extern=False, **more):
        return 0, model.Found(MAC, dataclasses.replace(way, vlan=vlan, **more), owned=not extern, extern_learn=extern)

    def decide(*copies, there=True, **more):
        seen = model.Seen(port, copies=list(copies))
        seen.different, seen.missing = ([(0, ours)], []) if there else ([], [0])
        made = plan([(table, seen)], **more)
        assert len(made.changed) == (there and bool(made) and "state" not in more)
        return [operation.kind for operation in made.operations]

    assert decide(copy(1), copy(2), purge="all") == []
    assert decide(copy(1), copy(dev="eth2", vlan=7, state="dynamic", sticky=False)) == []
    assert decide(copy(1, sticky=False), copy(2, state="dynamic", sticky=False)) == [model.REPLACE]
    assert decide(copy(1, sticky=False), there=False) == [model.CREATE]
    for dev in ("eth1", "eth2"):
        with pytest.raises(RefusedError, match=f"{dev} vlan 1 .*extern_learn"):
            decide(copy(1, extern=True, dev=dev), purge="owned")
        assert decide(copy(1, extern=True, dev=dev), purge="all") == [model.DELETE, model.REPLACE]
    assert decide(copy(1), copy(2, dev="eth2"), state="absent") == [model.DELETE]


MACS = [MAC, bytes.fromhex("505433000002"), model.ZERO, GROUP]
SOME = places(A, B, C)


@st.composite
def kernels(draw):
    entries = {}
    for mac in draw(st.sets(st.sampled_from(MACS))):
        known = [*SOME, DEFAULT] if mac == model.ZERO else SOME
        count = 3 if model.is_flood(mac) else 1
        entry = Entry(draw(st.lists(st.sampled_from(known), min_size=1, max_size=count, unique=True)))
        entry.state, entry.router = draw(st.sampled_from(model.STATES)), draw(st.booleans())
        entry.marked, entry.extern = draw(st.sampled_from([(0, 0), (1, 0), (0, 1), (1, 1)]))
        if not model.is_flood(mac) and draw(st.booleans()):
            entry.places = [model.Way("vxlan100", nhid=5).place()]
        entries[mac] = entry
    return Kernel(entries)


@st.composite
def tables(draw):
    rows = []
    for mac in draw(st.sets(st.sampled_from(MACS))):
        state, router = draw(st.sampled_from(model.STATES)), draw(st.booleans())
        count = 3 if model.is_flood(mac) else 1
        for dst in draw(st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=count, unique=True)):
            if not model.is_flood(mac) and draw(st.booleans()):
                rows.append((mac, model.Way("vxlan100", nhid=5, state=state, router=router)))
            else:
                rows.append((mac, way(dst, state=state, router=router, port=draw(st.sampled_from([None, 4789])))))
    return wanted(*rows)


@settings(max_examples=500)
@given(kernels(), tables(), st.sampled_from(["none", "owned", "all"]))
def test_a_second_plan_is_empty_and_nothing_foreign_is_lost(kernel, table, purge):
    before = Kernel(kernel.entries)
    try:
        done = run(kernel, table, purge=purge)
    except RefusedError:
        assert purge != "all" and any(before.entries[mac].extern for mac in table.macs if mac in before.entries)
        return
    again = plan([(table, kernel.look(table))], "present", purge)
    assert not again
    assert not again.changed and not any(rows for _table, rows in again.added) and not again.removed
    for i in range(len(table)):
        mac, wish = table.row(i)
        assert DEVICE.normal(wish).place() in kernel.entries[mac].places
    for mac, entry in before.entries.items():
        for place in entry.places:
            kept = mac in kernel.entries and place in kernel.entries[mac].places
            if mac == model.ZERO and place == DEFAULT:
                assert kept
            elif not model.is_flood(mac) and mac in table.macs:
                continue  # a unicast MAC leads where it is wanted to
            elif purge == "none" or (purge == "owned" and (not entry.marked or entry.extern)):
                assert kept, "a row that is not ours was lost"
    assert sum(done.values()) or kernel.entries == before.entries


@given(kernels(), tables())
def test_absent_rows_are_gone_and_no_others(kernel, table):
    before = Kernel(kernel.entries)
    try:
        run(kernel, table, "absent")
    except RefusedError:
        return
    assert not plan([(table, kernel.look(table))], "absent")
    named = {(mac, DEVICE.normal(wish).place()) for mac, wish in map(table.row, range(len(table)))}
    for mac, entry in before.entries.items():
        for place in entry.places:
            assert (mac in kernel.entries and place in kernel.entries[mac].places) == ((mac, place) not in named)
