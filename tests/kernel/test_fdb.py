"""The fdb module's core against the kernel, in a private network namespace, cross-checked with `bridge` and `ip`."""

import errno
import json
import socket
import struct
import time

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.fdb import FdbResource, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import flood_lists
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import fdb as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model import fdb as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    RefusedError,
    VerifyError,
)
from device_support import MARKS, private, sh
from table_support import converged, counted

pytestmark = MARKS

ZERO = "00:00:00:00:00:00"
MAC = "50:54:33:00:00:01"
A, B, C = (f"2001:db8:{n}::1" for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    """The records of flood lists, which are a host's, in a directory of the test's own."""
    monkeypatch.setattr(flood_lists, "DIRECTORY", tmp_path / "flood-lists")
    return lambda: sorted(path.name for path in (tmp_path / "flood-lists").glob("*"))


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh("ip link set lo up", "ip link add vxlan100 type vxlan id 100 dstport 4789 local 2001:db8:9::1")
        yield


@pytest.fixture(params=["dump", "ask"])
def way_of_reading(request, monkeypatch):
    """Small and large tables are read in different ways; both must see the same."""
    monkeypatch.setattr(kernel, "FEW", -1 if request.param == "dump" else 1 << 30)
    monkeypatch.setattr(kernel, "LOOK", 1 << 30)
    return request.param


def run(table=None, dev=("vxlan100",), check=False, resource=None, diff=False, **more):
    return converged(resource or FdbResource(diff), check, dev=list(dev), table=table, **more)


def counts(*args, **more):
    return counted(run, shown, *args, **more)


def shown(dev="vxlan100"):
    """What `bridge` shows of a device's own table."""
    rows = json.loads(sh(f"bridge -j fdb show dev {dev}"))
    return sorted((row for row in rows if "self" in row["flags"]), key=str)


def pairs(dev="vxlan100"):
    return sorted((row["mac"], row.get("dst")) for row in shown(dev))


def states():
    return {row["mac"]: row["ndm_state"] for row in read_info({"dev": ["vxlan100"], "mac": []})["fdb"]}


def test_rows_as_bridge_shows_them(way_of_reading):
    sh("ip link add dummy0 type veth peer name dummy1")
    table = f"""
    {MAC} dst {A}
    50:54:33:00:00:02 dst {A} vni 200 port 4790 via dummy0 router static
    50:54:33:00:00:03 dst {B} dynamic
    50:54:33:00:00:04 dst {B} vni 100 port 4789
    """
    assert counts(table) == (4, 0, 0, 0)
    assert shown() == sorted(
        [
            {"mac": MAC, "dst": A, "flags": ["self"], "state": "permanent"},
            {
                "mac": "50:54:33:00:00:02",
                "dst": A,
                "port": 4790,
                "vni": 200,
                "viaIf": "dummy0",
                "flags": ["self", "router"],
                "state": "static",
            },
            {"mac": "50:54:33:00:00:03", "dst": B, "flags": ["self"], "state": ""},
            {"mac": "50:54:33:00:00:04", "dst": B, "flags": ["self"], "state": "permanent"},
        ],
        key=str,
    )
    assert states() == {MAC: 0xD0, "50:54:33:00:00:02": 0x52, "50:54:33:00:00:03": 0x12, "50:54:33:00:00:04": 0xD0}


@pytest.mark.parametrize(
    "change",
    [
        f"dst {B}",
        "dst 2001:db8:1::2",
        f"dst {A} vni 200",
        f"dst {A} port 4790",
        f"dst {A} via lo",
        f"dst {A} router",
        f"dst {A} static",
        f"dst {A} dynamic",
        "nhid 10",
    ],
)
def test_each_word_is_changed_and_changed_back(way_of_reading, change):
    sh("ip nexthop add id 1 via 2001:db8:2::1 fdb", "ip nexthop add id 10 group 1 fdb")
    first = f"{MAC} dst {A}\n50:54:33:00:00:02 dst {A}"
    assert counts(first) == (2, 0, 0, 0)
    before = shown()
    assert counts(f"{MAC} {change}\n50:54:33:00:00:02 dst {A}") == (0, 1, 0, 1)
    assert shown() != before
    assert counts(first) == (0, 1, 0, 1)
    assert shown() == before


def test_source_vnis_tell_rows_apart(way_of_reading):
    sh("ip link add vxlan0 type vxlan external dstport 4790 local 2001:db8:9::1")
    table = (
        f"{MAC} src_vni 7 dst {A}\n{MAC} src_vni 8 dst {B} vni 9\n{ZERO} src_vni 7 dst {A}\n{ZERO} src_vni 7 dst {B}"
    )
    assert counts(table, ["vxlan0"]) == (4, 0, 0, 0)
    rows = {(row["mac"], row["src_vni"], row["dst"], row.get("vni")) for row in shown("vxlan0")}
    assert rows == {(MAC, 7, A, None), (MAC, 8, B, 9), (ZERO, 7, A, None), (ZERO, 7, B, None)}
    assert counts(f"{MAC} src_vni 7 dst {B}", ["vxlan0"], purge="owned") == (0, 1, 3, 0)
    with pytest.raises(InputError, match="src_vni: 7 needs a VXLAN device made with 'external', and vxlan100 is not"):
        run(f"{MAC} src_vni 7 dst {A}")


def test_flood_lists(way_of_reading):
    assert counts(entries=[{"mac": ZERO, "dst": [A, B]}, {"mac": "33:33:00:00:00:01", "dst": [A, B]}]) == (4, 0, 0, 0)
    assert counts(f"{ZERO} dst {B}\n{ZERO} dst {C}", purge="owned") == (1, 0, 3, 1)
    assert pairs() == [(ZERO, B), (ZERO, C)]
    assert counts(f"{ZERO} dst {B} static\n{ZERO} dst {C} static") == (0, 2, 0, 0)
    assert {row["state"] for row in shown()} == {"static"}
    assert counts(f"{ZERO} dst {C}", state="absent") == (0, 0, 1, 0)
    assert counts(f"{ZERO} dst {B}\n{ZERO} dst {A} ", purge="all") == (1, 1, 0, 0)
    assert counts("", purge="owned") == (0, 0, 2, 0)
    assert shown() == []


def test_a_flood_list_that_others_write_to(way_of_reading):
    sh(f"bridge fdb append {ZERO} dev vxlan100 dst {B}")
    assert counts(f"{ZERO} dst {A}", purge="owned") == (1, 0, 0, 0)
    assert counts(f"{ZERO} dst {C}") == (1, 0, 0, 0)
    assert pairs() == [(ZERO, A), (ZERO, B), (ZERO, C)]
    assert states() == {ZERO: 0xC0}
    assert counts(f"{ZERO} dst {A}", state="absent") == (0, 0, 1, 0)
    assert counts(f"{ZERO} dst {C}", purge="all") == (0, 1, 1, 0)
    assert states() == {ZERO: 0xD0}


def owned():
    return {row["dst"]: row["owned"] for row in read_info({"dev": ["vxlan100"], "mac": [ZERO]})["fdb"]}


def test_destinations_of_somebody_in_our_flood_list(way_of_reading, records):
    """Appending takes our mark from the list; what is ours goes all the same, and what is theirs stays."""
    assert counts(f"{ZERO} dst {A}\n{ZERO} dst {B}") == (2, 0, 0, 0)
    sh(f"bridge fdb append {ZERO} dev vxlan100 dst {C}")
    assert states() == {ZERO: 0xC0}
    assert owned() == {A: True, B: True, C: False}
    assert counts(f"{ZERO} dst {A}\n{ZERO} dst {B}", purge="owned") == (0, 0, 0, 2)
    assert counts(f"{ZERO} dst {B}", purge="owned") == (0, 0, 1, 1)
    assert owned() == {B: True, C: False}
    assert counts("", purge="owned") == (0, 0, 1, 0)
    assert owned() == {C: False}
    assert records() == []
    # Theirs gone, the list is ours again, with the mark.
    assert counts(f"{ZERO} dst {A}") == (1, 0, 0, 0)
    sh(f"bridge fdb del {ZERO} dev vxlan100 dst {C}")
    assert counts(f"{ZERO} dst {A}", purge="owned") == (0, 1, 0, 0)
    assert states() == {ZERO: 0xD0}


def test_places_in_a_flood_list_are_more_than_addresses(way_of_reading):
    sh("ip link add under0 type veth peer name under1")
    ours = "\n".join(f"{ZERO} dst {A}{more}" for more in ("", " port 4790", " vni 200", " via under0"))
    assert counts(ours) == (4, 0, 0, 0)
    sh(f"bridge fdb append {ZERO} dev vxlan100 dst {A} port 4791")
    assert counts("", purge="owned") == (0, 0, 4, 0)
    assert [row["port"] for row in shown()] == [4791]


def test_the_record_of_a_device_that_is_gone_counts_for_no_other(records):
    run(f"{ZERO} dst {A}")
    (first,) = records()
    sh(
        "ip link del vxlan100",
        "ip link add vxlan100 type vxlan id 100 dstport 4789 local 2001:db8:9::1",
        f"bridge fdb append {ZERO} dev vxlan100 dst {A}",
    )
    assert counts("", purge="owned") == (0, 0, 0, 0)
    assert pairs() == [(ZERO, A)]
    run(f"{ZERO} dst {B}")
    assert len(records()) == 1
    assert first not in records()


def test_a_run_that_breaks_off_knows_what_it_wrote():
    class Breaking(kernel.Fdb):
        def write(self, operation, device):
            super().write(operation, device)
            raise KernelError("broken off", errno.EINTR)

    resource = FdbResource()
    resource.kernel = Breaking()
    with pytest.raises(KernelError, match="broken off"):
        run(f"{ZERO} dst {A}\n{ZERO} dst {B}", resource=resource)
    sh(f"bridge fdb append {ZERO} dev vxlan100 dst {C}")
    assert pairs() == [(ZERO, A), (ZERO, C)]
    assert counts("", purge="owned") == (0, 0, 1, 0)
    assert pairs() == [(ZERO, C)]


def test_a_damaged_record_claims_nothing(records, tmp_path):
    run(f"{ZERO} dst {A}")
    sh(f"bridge fdb append {ZERO} dev vxlan100 dst {C}")
    (name,) = records()
    (tmp_path / "flood-lists" / name).write_text('{"lists": {"00": [["x"]]}}')
    done = run("", purge="owned")
    assert not done.changed
    assert "is damaged" in done.warnings[0]
    assert pairs() == [(ZERO, A), (ZERO, C)]


def test_a_check_writes_no_record(records):
    run(f"{ZERO} dst {A}", check=True)
    run(f"{MAC} dst {A}")
    assert records() == []


def test_the_default_destination_of_the_device_stays():
    sh("ip link add vxlan7 type vxlan id 7 dstport 4790 remote 2001:db8:7::1 local 2001:db8:9::1 dev lo")
    own = (ZERO, "2001:db8:7::1")
    assert pairs("vxlan7") == [own]
    assert counts(f"{ZERO} dst {A}", ["vxlan7"], purge="owned") == (1, 0, 0, 0)
    assert pairs("vxlan7") == [(ZERO, A), own]
    assert counts("", ["vxlan7"], purge="all") == (0, 0, 1, 0)
    assert pairs("vxlan7") == [own]


def learn(mac):
    """Make the device learn a MAC: a VXLAN packet comes in over the loopback."""
    sh("ip -6 address replace 2001:db8:9::1/128 dev lo", "ip link set vxlan100 up")
    frame = bytes.fromhex("ffffffffffff" + mac.replace(":", "") + "88b5") + bytes(46)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        deadline = time.monotonic() + 10
        while (mac, "2001:db8:9::1") not in pairs():
            assert time.monotonic() < deadline, "the device learned nothing"
            sender.sendto(struct.pack(">II", 0x08000000, 100 << 8) + frame, ("2001:db8:9::1", 4789))
            time.sleep(0.01)


def test_purge(way_of_reading):
    learned, outside, theirs, ours, more = (f"50:54:33:00:00:1{n}" for n in range(5))
    learn(learned)
    assert pairs() == [(learned, "2001:db8:9::1")]
    sh(
        f"bridge fdb add {outside} dev vxlan100 dst {A} extern_learn",
        f"bridge fdb add {theirs} dev vxlan100 dst {A}",
        f"bridge fdb append {ZERO} dev vxlan100 dst {A}",
    )
    others = shown()
    assert counts(f"{ours} dst {A}\n{more} dst {A}\n33:33:00:00:00:01 dst {A}") == (3, 0, 0, 0)
    assert counts(f"{ours} dst {A}", purge="none") == (0, 0, 0, 1)
    assert counts(f"{ours} dst {A}", purge="owned") == (0, 0, 2, 1)
    assert counts("", purge="owned") == (0, 0, 1, 0)
    assert shown() == others
    assert counts(f"{ours} dst {A}", purge="all") == (1, 0, 4, 0)
    assert pairs() == [(ours, A)]


def test_a_row_of_somebody_is_adopted(way_of_reading):
    sh(f"bridge fdb add {MAC} dev vxlan100 dst {A}")
    before = shown()
    assert counts(f"{MAC} dst {A}") == (0, 1, 0, 0)
    assert shown() == before
    assert states() == {MAC: 0xD0}


def test_a_learned_row_gives_way(way_of_reading):
    learn(MAC)
    assert counts(f"{MAC} dst {A}") == (0, 1, 0, 0)
    assert pairs() == [(MAC, A)]


@pytest.mark.parametrize("mac", [MAC, ZERO])
def test_rows_of_a_routing_daemon_are_refused(way_of_reading, mac):
    sh(f"bridge fdb add {mac} dev vxlan100 dst {A} extern_learn")
    before = shown()
    for table, more in (
        (f"50:54:33:00:00:09 dst {A}\n{mac} dst {B}", {}),
        (f"50:54:33:00:00:09 dst {A}\n{mac} dst {A}", {"purge": "owned"}),
        (f"{mac} dst {A}", {"state": "absent"}),
    ):
        with pytest.raises(RefusedError, match=f"extern_learn.*{mac} dev vxlan100 dst {A}"):
            run(table, **more)
        assert shown() == before
    run(f"{mac} dst {B}", purge="all")
    assert pairs() == [(mac, B)]
    assert states() == {mac: 0xD0}


def test_absent(way_of_reading):
    run(f"{MAC} dst {A}\n50:54:33:00:00:02 dst {A}\n{ZERO} dst {A}\n{ZERO} dst {B}")
    gone = f"{MAC} dst {B}\n50:54:33:00:00:02\n50:54:33:00:00:03 dst {A}\n{ZERO}"
    assert counts(gone, state="absent") == (0, 0, 3, 0)
    assert pairs() == [(MAC, A)]
    sh(f"bridge fdb replace {MAC} dev vxlan100 dst {C}")
    assert counts(MAC, state="absent") == (0, 0, 1, 0)
    with pytest.raises(InputError, match="purge: goes with state: present"):
        run(MAC, state="absent", purge="owned")


DEVICES = ("br100", "eth1", "far1", "eth2", "far2")


@pytest.fixture
def bridge():
    sh(
        "ip link add br100 type bridge vlan_default_pvid 0",  # rows stand in no VLAN besides
        "ip link add eth1 type veth peer name far1",
        "ip link add eth2 type veth peer name far2",
        "ip link set eth1 master br100",
        "ip link set eth2 master br100",
        "ip link set vxlan100 master br100",
        # Silent ports, so that the bridge learns nothing by itself. In one command they would come up first.
        *(f"ip link set {dev} {to}" for to in ("addrgenmode none", "up") for dev in DEVICES),
    )
    # The kernel tells a bridge of a carrier some time later, and takes no dynamic row of a port that is not forwarding.
    deadline = time.monotonic() + 10
    while not {"eth1", "eth2"} <= {p["ifname"] for p in json.loads(sh("bridge -j link")) if p["state"] == "forwarding"}:
        assert time.monotonic() < deadline, "the ports do not forward"
        time.sleep(0.01)


def ports():
    rows = json.loads(sh("bridge -j fdb show br br100"))
    return sorted(
        (row["mac"], row["ifname"], " ".join([*row["flags"], row["state"]]))
        for row in rows
        if "master" in row and row["mac"].startswith("50:54")
    )


def test_rows_of_a_bridge(bridge):
    one, two, three, four, five = (f"50:54:33:00:00:0{n}" for n in (1, 2, 3, 4, 5))
    sh(
        f"bridge fdb add {two} dev eth1 master dynamic",
        f"bridge fdb add {three} dev eth1 master",
        f"bridge fdb add {four} dev eth2 master static extern_learn",
        f"bridge fdb add {five} dev eth1 master static",
    )
    table = f"{one} dev eth1 master static\n{one} dev vxlan100 dst {A}"
    assert counts(table, []) == (2, 0, 0, 0)
    assert (one, "eth1", "sticky static") in ports()
    assert pairs() == [(one, A)]
    assert counts(f"{one} dev eth2 master static", []) == (0, 1, 0, 0)
    assert [row for row in ports() if row[0] == one] == [(one, "eth2", "sticky static")]
    with pytest.raises(RefusedError, match="extern_learn"):
        run(f"{four} dev eth1 master static", [])
    before = ports()
    assert counts("", ["eth1", "eth2"], purge="owned") == (0, 0, 1, 0)
    assert ports() == [row for row in before if row[0] != one]
    assert counts(f"{one} master static", ["eth1"], purge="all") == (1, 0, 2, 0)
    assert ports() == [(one, "eth1", "sticky static"), (three, "eth1", "permanent"), (four, "eth2", "extern_learn ")]
    assert counts(f"{one} dev eth1 master", [], state="absent") == (0, 0, 1, 0)
    assert counts(f"{four} master static", ["eth2"], purge="all") == (0, 1, 0, 0)
    assert ports() == [(three, "eth1", "permanent"), (four, "eth2", "sticky static")]


def test_a_static_row_of_somebody_is_adopted(bridge):
    sh(f"bridge fdb add {MAC} dev eth1 master static")
    assert counts(f"{MAC} master static", ["eth1"], purge="owned") == (0, 1, 0, 0)
    assert ports() == [(MAC, "eth1", "sticky static")]
    assert counts(f"{MAC} master dynamic", ["eth1"], purge="owned") == (0, 1, 0, 0)
    assert ports() == [(MAC, "eth1", "")]


def test_a_spoofed_frame_moves_a_static_row_but_not_one_of_ours(bridge):
    theirs, ours, learned = (f"50:54:33:00:00:0{n}" for n in (1, 2, 3))
    sh(f"bridge fdb add {theirs} dev eth1 master static")
    run(f"{ours} master static", ["eth1"])
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as attacker:
        attacker.bind(("far2", 0))
        deadline = time.monotonic() + 10
        while learned not in [row[0] for row in ports()]:  # the last of three: so the others have been seen as well
            assert time.monotonic() < deadline, "the bridge learned nothing"
            for mac in (theirs, ours, learned):
                attacker.send(bytes.fromhex("ffffffffffff" + mac.replace(":", "") + "88b5") + bytes(46))
            time.sleep(0.01)
    assert ports() == [(theirs, "eth2", "static"), (ours, "eth1", "sticky static"), (learned, "eth2", "")]


@pytest.mark.parametrize("filtering", [0, 1])
def test_a_row_without_vlan_stands_in_each_vlan_of_the_port(bridge, filtering):
    """By default every port is in VLAN 1 where the kernel knows VLANs, even if the bridge filters none."""
    try:
        sh(*(f"bridge vlan add dev {dev} vid {vid}" for dev in ("eth1", "eth2") for vid in (1, 5)))
    except AssertionError as error:
        pytest.skip(f"this kernel's bridge knows no VLANs (CONFIG_BRIDGE_VLAN_FILTERING): {error}")
    sh(f"ip link set br100 type bridge vlan_filtering {filtering}")
    one, two, three = (f"50:54:33:00:00:0{n}" for n in (1, 2, 3))

    def of(mac):
        rows = [row for row in json.loads(sh("bridge -j fdb show br br100")) if row["mac"] == mac]
        return sorted((row.get("vlan", 0), row["ifname"], " ".join([*row["flags"], row["state"]])) for row in rows)

    everywhere = [(vlan, "eth1", "sticky static") for vlan in (0, 1, 5)]
    sh(
        f"bridge fdb add {one} dev eth2 master dynamic vlan 1",
        f"bridge fdb add {one} dev eth1 master static vlan 5",
        f"bridge fdb add {three} dev eth1 master static vlan 5",
    )
    assert counts(f"{one} master static\n{two} vlan 5 master static", ["eth1"], purge="owned") == (2, 0, 0, 0)
    assert (of(one), of(two)) == (everywhere, [(5, "eth1", "sticky static")])
    sh(f"bridge fdb replace {one} dev eth1 master static vlan 1", f"bridge fdb del {one} dev eth1 master vlan 5")
    assert counts(f"{one} master static", ["eth1"], purge="owned") == (0, 1, 1, 0)
    assert of(one) == everywhere
    sh(f"bridge fdb del {one} dev eth1 master vlan 1", f"bridge fdb add {one} dev eth2 master vlan 1 extern_learn")
    with pytest.raises(RefusedError, match=f"{one} dev eth2 vlan 1 .*extern_learn"):
        run(f"{one} master static", ["eth1"])
    assert run(f"{one} master static", ["eth1"], purge="all").result["rows"]["changed"] == 1
    assert (of(one), of(three)) == (everywhere, [])
    assert counts(f"{one} dev eth1 master", [], state="absent") == (0, 0, 3, 0)
    assert of(one) == []
    run(f"{one} master static", ["eth1"])
    assert counts("", ["eth1"], purge="owned") == (0, 0, 3, 0)


def test_the_bridges_rows_for_a_vxlan_port_are_not_purged(bridge):
    run(f"{MAC} master static\n50:54:33:00:00:02 master static\n{MAC} dst {A}\n{ZERO} dst {A}")
    assert counts(f"{MAC} master static\n{MAC} dst {A}", purge="owned") == (0, 0, 1, 2)
    assert [row[:2] for row in ports()] == [(MAC, "vxlan100"), ("50:54:33:00:00:02", "vxlan100")]


def test_a_vxlan_device_in_a_bridge(bridge, way_of_reading):
    """On a port of a bridge too, rows land in the device's own table, with their destination."""
    assert counts(f"{MAC} dst {A}\n{ZERO} dst {A}", purge="owned") == (2, 0, 0, 0)
    assert pairs() == [(ZERO, A), (MAC, A)]
    assert not [row for row in ports() if row[0] == MAC and row[1] != "vxlan100"]
    assert counts("", purge="owned") == (0, 0, 2, 0)


def test_a_device_that_is_not_there():
    outcome = run(f"{MAC} dst {A}\n{ZERO} dst {A}\n{ZERO} dst {B}", ["vxlan7"], check=True, purge="owned", diff=True)
    assert outcome.result["rows"]["added"] == 3
    assert outcome.after.count("\n") == 3
    with pytest.raises(InputError, match="there is no device vxlan7"):
        run(f"{MAC} dev vxlan100 dst {A}\n{MAC} dev vxlan7 dst {A}", [])
    assert shown() == []
    assert not run(f"{MAC}", ["vxlan7"], state="absent").changed
    outcome = run("", ["vxlan7"], purge="all")
    assert not outcome.changed
    assert outcome.warnings == ["counted as an empty table: dev: there is no device vxlan7; make it first"]


def unfit():
    """A device of another kind, one that is in no bridge, and a VXLAN device of another sort."""
    sh("ip link add vxlan7 type veth peer name eth1", "ip link add vxlan4 type vxlan id 4 dstport 4790 local 192.0.2.1")


@pytest.mark.parametrize("prepare", [lambda: None, unfit])
def test_a_device_that_an_earlier_task_would_make_fit(prepare):
    prepare()
    table = f"""
    {MAC} dev vxlan7 dst {A}
    {ZERO} dev vxlan7 dst {A}
    {MAC} dev eth1 master static
    {MAC} dev vxlan4 src_vni 7 dst {A}
    {MAC} dev vxlan100 dst {A}
    """
    devs = ["vxlan7", "eth1", "vxlan4", "vxlan100"]
    outcome = run(table, devs, check=True, purge="owned", diff=True)
    assert outcome.result["rows"] == {"added": 5, "changed": 0, "removed": 0, "unchanged": 0, "shared": 0}
    assert outcome.after.count("\n") == 5
    (warning,) = outcome.warnings
    with pytest.raises(InputError) as caught:
        run(table, devs, purge="owned")
    for dev in devs[:3]:
        assert warning.count(f" {dev}") == (2 if prepare is unfit and dev == "vxlan4" else 1)
        assert dev in " ".join(caught.value.faults)
    assert "vxlan100" not in warning
    assert shown() == []
    sh(
        *(("ip link del vxlan7", "ip link del vxlan4") if prepare is unfit else ()),
        "ip link add vxlan7 type vxlan id 7 dstport 4789 local 2001:db8:9::1",
        "ip link add vxlan4 type vxlan external dstport 4790 local 2001:db8:9::1",
        "ip link add br100 type bridge",
        "ip link add eth1 type veth peer name far1",
        "ip link set eth1 master br100",
    )
    assert run(table, devs, purge="owned").result["rows"] == outcome.result["rows"]


def test_a_device_that_an_earlier_task_would_make_anew():
    run(f"{ZERO} dst {A}\n{MAC} dst {A}")
    told = [run(f"{ZERO} dst {B}", purge="owned", check=True, anew=anew).result["rows"] for anew in ([], ["vxlan100"])]
    assert [(rows["added"], rows["removed"]) for rows in told] == [(1, 2), (1, 0)]


def test_an_empty_table_on_a_port_of_no_bridge():
    """There is nothing to write and nothing to purge, in check mode and in a run."""
    sh("ip link add eth1 type veth peer name far1")
    for check in (True, False):
        outcome = run(f"{MAC} dev vxlan100 dst {A}", ["eth1", "vxlan100"], check=check, purge="owned")
        assert outcome.result["rows"]["added"] == 1
        assert "eth1 is not a port of a bridge" in outcome.warnings[0]
    outcome = run(f"{MAC} dst {A}", purge="owned")
    assert not outcome.changed and not outcome.warnings


def test_what_cannot_be_is_refused_before_any_change():
    good = f"{MAC} dev vxlan100 dst {A}\n"
    for row, words in (
        (f"{MAC} dev lo dst {A}", "lo is a plain device, not VXLAN"),
        (f"{MAC} dev lo master static", "lo is not a port of a bridge"),
        ("50:54:33:00:00:02 dev vxlan4 dst 2001:db8::1", "not IPv4, which the tunnels of vxlan4 are"),
        (f"50:54:33:00:00:02 dev vxlan100 dst {A} via eth9", "via: there is no device eth9"),
    ):
        if row.split()[2] == "vxlan4":
            sh("ip link add vxlan4 type vxlan id 4 dstport 4790 local 192.0.2.1")
        with pytest.raises(InputError, match=words):
            run(good + row, [])
        assert shown() == []


def test_the_kernels_words_and_the_row():
    with pytest.raises(KernelError, match=f"{MAC} dev vxlan100 nhid 77.*Nexthop id does not exist"):
        run(f"{MAC} nhid 77")


def many(count, dst=lambda i: f"2001:db8:{i % 1000 + 1:x}::1"):
    return [
        f"50:54:{i >> 24 & 255:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x} dst {dst(i)}"
        for i in range(count)
    ]


def test_more_failures_than_a_receive_buffer_holds():
    sh("ip link add vxlan4 type vxlan id 4 dstport 4790")  # IPv4, though the kernel does not tell
    with pytest.raises(KernelError, match="dev vxlan4 dst 2001:db8:1::1.*127 more rows") as caught:
        run("\n".join(many(5000)), ["vxlan4"])
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_large_tables():
    """20,000 rows: more than is looked at before rows are asked for one by one."""
    lines = many(20_000)
    assert counts("\n".join(lines)) == (20_000, 0, 0, 0)
    assert pairs() == sorted(tuple(line.split()[::2]) for line in lines)
    lines[17] = lines[17].split()[0] + " dst 2001:db8:ffff::1"
    lines[19_999] = lines[19_999] + " router"
    lines[5] = "50:54:33:ff:ff:ff dst 2001:db8:1::1"
    sh(f"bridge fdb del {many(20)[19].split()[0]} dev vxlan100")
    assert counts("\n".join(lines)) == (2, 2, 0, 19_996)
    assert counts("\n".join(lines), purge="owned") == (0, 0, 1, 20_000)
    assert pairs() == sorted(tuple(line.split()[:3:2]) for line in lines)
    taken = lines[9000].split()[0]
    sh(f"bridge fdb del {taken} dev vxlan100", f"bridge fdb add {taken} dev vxlan100 dst {A} extern_learn")
    with pytest.raises(RefusedError, match=taken):
        run("\n".join(lines))
    assert counts("\n".join(lines), purge="all") == (0, 1, 0, 19_999)
    assert counts("\n".join(lines[:15_000]), state="absent") == (0, 0, 15_000, 0)
    assert counts("", purge="owned") == (0, 0, 5_000, 0)


def test_a_row_that_gets_lost_is_noticed(monkeypatch):
    class Forgetful(kernel.Fdb):
        def write(self, operation, device):
            operation.rows = operation.rows[1:]
            super().write(operation, device)

    resource = FdbResource()
    resource.kernel = Forgetful()
    with pytest.raises(VerifyError, match=f"{MAC} dev vxlan100 dst {A} self permanent is missing"):
        run(f"{MAC} dst {A}\n50:54:33:00:00:02 dst {A}", resource=resource)
    resource.kernel = Forgetful()
    run(f"{MAC} dst {A}")
    with pytest.raises(VerifyError, match=f"{MAC} .* is still there"):
        run(f"{MAC}\n50:54:33:00:00:02", resource=resource, state="absent")


def test_a_row_that_goes_may_come_back_as_a_learned_one():
    """What the next frame teaches the kernel is no row that has stayed."""

    class Busy(kernel.Fdb):
        def write(self, operation, device):
            super().write(operation, device)
            if operation.kind == model.DELETE:
                sh(f"bridge fdb add {MAC} dev vxlan100 dst {A} self dynamic")

    run(f"{MAC} dst {A}")
    resource = FdbResource()
    resource.kernel = Busy()
    assert run("", resource=resource, purge="owned").result["rows"]["removed"] == 1


def test_the_filter_lets_everything_through_that_is_not_as_wanted():
    """Each answer that differs by one thing must reach us, and none that is as wanted."""
    device = kernel.Fdb().device("vxlan100")
    way = model.Way("vxlan100", dst=A)
    run(f"{MAC} dst {A}")
    mac = bytes.fromhex(MAC.replace(":", ""))

    def asked(other):
        fdb = kernel.Fdb()
        seen = fdb._ask(model.Wanted("vxlan100", "self", [other], [mac], [0]), device, range(1), True)
        fdb.close()
        return len(seen.different)

    assert asked(way) == 0
    for bit in range(128):
        packed = (int.from_bytes(socket.inet_pton(socket.AF_INET6, A), "big") ^ 1 << bit).to_bytes(16, "big")
        assert asked(model.Way("vxlan100", dst=socket.inet_ntop(socket.AF_INET6, packed))) == 1
    for more in ({"router": True}, {"state": "static"}, {"vni": 7}, {"port": 7}, {"via": "lo"}):
        assert asked(model.Way("vxlan100", dst=A, **more)) == 1
        run(model.Way("vxlan100", dst=A, **more).text(mac))
        assert asked(model.Way("vxlan100", dst=A, **more)) == 0
        assert asked(way) == 1
    sh("ip link add vxlan4 type vxlan id 4 dstport 4790 local 192.0.2.1")
    device = kernel.Fdb().device("vxlan4")
    run(f"{MAC} dst 192.0.2.7", ["vxlan4"])
    assert asked(model.Way("vxlan4", dst="192.0.2.7")) == 0
    assert asked(model.Way("vxlan4", dst="192.0.2.8")) == 1


def test_a_diff_is_bounded_and_says_what_it_left_out():
    outcome = run("\n".join(many(1500)), diff=True)
    lines = outcome.after.splitlines()
    assert (len(lines), lines[-1], outcome.before) == (1001, "... and 500 more rows", "")
    assert len(outcome.result["sample"]) == 10
    outcome = run(f"50:54:00:00:00:00 dst {B}", purge="owned", check=True, diff=True)
    assert outcome.after == f"50:54:00:00:00:00 dev vxlan100 dst {B} self permanent\n"
    assert outcome.before.splitlines()[0] == "50:54:00:00:00:00 dev vxlan100 dst 2001:db8:1::1 self permanent"
    assert outcome.before.splitlines()[-1] == "... and 500 more rows"


def test_src(tmp_path):
    file = tmp_path / "fdb"
    with pytest.raises(InputError, match="src: .*No such file"):
        run(src=str(file))
    file.write_text(f"# ours\n{MAC} dst {A}\n")
    assert counts(src=str(file)) == (1, 0, 0, 0)
    file.write_text(f"{MAC} dst {A}\n{MAC} dst {B}\n")
    with pytest.raises(InputError, match="table row 2: dst"):
        run(src=str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        run(src=str(file))


def test_info_agrees_with_bridge(bridge):
    run(f"{MAC} dst {A} vni 7 port 8 via lo router\n{ZERO} dst {A}\n50:54:33:00:00:02 dst {B} static")
    sh(
        f"bridge fdb add 50:54:33:00:00:03 dev vxlan100 dst {A} extern_learn",
        "bridge fdb add 50:54:33:00:00:04 dev eth1 master static sticky",
        "bridge fdb add 50:54:33:00:00:05 dev eth1 master static",
    )
    theirs = json.loads(sh("bridge -j fdb show"))
    ours = read_info({"dev": [], "mac": []})["fdb"]
    assert len(ours) == len(theirs)
    for row, their in zip(ours, theirs):
        assert (row["mac"], row["dev"], row["state"]) == (their["mac"], their["ifname"], their["state"] or "dynamic")
        for ours_called, theirs_called in (
            ("dst",) * 2,
            ("port",) * 2,
            ("vni",) * 2,
            ("via", "viaIf"),
            ("master",) * 2,
        ):
            assert row.get(ours_called) == their.get(theirs_called)
        for flag in ("router", "extern_learn", "sticky"):
            assert row[flag] == (flag in their["flags"])
    assert [row["owned"] for row in read_info({"dev": ["vxlan100"], "mac": [MAC.upper()]})["fdb"]] == [True]
    (row,) = read_info({"dev": ["eth1"], "mac": ["50:54:33:00:00:04"]})["fdb"]
    assert (row["target"], row["master"], row["owned"]) == ("master", "br100", True)
    assert [row["owned"] for row in read_info({"dev": ["eth1"], "mac": ["50:54:33:00:00:05"]})["fdb"]] == [False]
    with pytest.raises(InputError, match="no device vxlan7"):
        read_info({"dev": ["vxlan7"], "mac": []})
    with pytest.raises(InputError, match="'x' is not a MAC"):
        read_info({"dev": [], "mac": ["x"]})
