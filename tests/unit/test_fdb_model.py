"""Rows of forwarding tables: what is read from text and entries, and what is refused before anything happens."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import fdb
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

DEV = ("vxlan100",)
ZERO = "00:00:00:00:00:00"


def rows(text, devs=DEV, **more):
    read = fdb.from_table(text, devs, **more)
    return [(mac.hex(":"), read.ways[k]) for mac, k in zip(read.macs, read.index)]


def faults(read, *args, **more):
    with pytest.raises(InputError) as caught:
        read(*args, **more)
    return caught.value.faults


def test_all_words():
    line = "50:54:33:00:00:01 dev vxlan9 dst 2001:DB8:2::1 vni 200 port 4790 via eth0 src_vni 7 router permanent self"
    way = fdb.Way("vxlan9", "self", 7, None, "2001:db8:2::1", 200, 4790, "eth0", None, "permanent", True)
    assert rows(line, []) == [("50:54:33:00:00:01", way)]
    assert rows(way.text(bytes.fromhex("505433000001")), []) == [("50:54:33:00:00:01", way)]


def test_static_rows_of_a_bridge_are_sticky():
    way = fdb.Way("eth1", "master", vlan=5, state="static", sticky=True)
    for line in ("50:54:33:00:00:01 dev eth1 vlan 5 master static", way.text(bytes.fromhex("505433000001"))):
        assert rows(line, []) == [("50:54:33:00:00:01", way)]
    assert not rows("50:54:33:00:00:01 dev eth1 master dynamic", [])[0][1].sticky
    assert not rows("50:54:33:00:00:01 dst 192.0.2.1 static")[0][1].sticky


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (None, "there is no device eth1"),
        (fdb.Device("eth1", 3), "not a port of a bridge"),
        (fdb.Device("eth1", 3, master=4, master_kind="bond"), "not a port of a bridge"),
        (fdb.Device("eth1", 3, master=4, master_kind="bridge"), None),
    ],
)
def test_devices_that_hold_rows_of_a_bridge(device, words):
    told = fdb.check_device(fdb.Wanted("eth1", "master", []), device)
    assert told == [] if words is None else words in told[0]


def test_blank_lines_comments_spaces_and_spellings():
    text = "\n# VTEPs\n  50-54-33-00-00-0A\tdst 192.0.2.1  \r\n\n50:54:33:00:00:0B dst 192.0.2.1\n   # end"
    way = fdb.Way("vxlan100", dst="192.0.2.1")
    assert rows(text) == [("50:54:33:00:00:0a", way), ("50:54:33:00:00:0b", way)]


def test_entries_and_table_say_the_same():
    entries = [
        {"mac": "50:54:33:00:00:01", "dst": ["192.0.2.1"], "vni": 7, "port": 1, "via": "eth0", "router": True},
        {"mac": ZERO, "dst": ["192.0.2.1", "192.0.2.2"], "state": "static"},
        {"mac": "50:54:33:00:00:02", "dev": "eth1", "target": "master", "vlan": 5, "state": "static"},
        {"mac": "50:54:33:00:00:03", "nhid": 5, "dst": None, "router": False, "target": "self"},
    ]
    text = f"""50:54:33:00:00:01 dst 192.0.2.1 vni 7 port 1 via eth0 router
        {ZERO} dst 192.0.2.1 static\n{ZERO} dst 192.0.2.2 static
        50:54:33:00:00:02 dev eth1 master vlan 5 static\n50:54:33:00:00:03 nhid 5"""
    devs = ["vxlan100", "eth1"]
    for entry in entries:
        entry["dev"] = entry.get("dev") or "vxlan100"
    read = fdb.from_entries(entries, devs)
    text = "\n".join(line if " dev " in line else line + " dev vxlan100" for line in text.split("\n"))
    assert [(mac.hex(":"), read.ways[k]) for mac, k in zip(read.macs, read.index)] == rows(text, devs)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("50:54:33:00:00 dst 192.0.2.1", ["mac", "'50:54:33:00:00'", "write it like"]),
        ("50:54:33:00:00:0g dst 192.0.2.1", ["mac", "'50:54:33:00:00:0g'"]),
        ("50:54:33:00:00:01", ["dst", "missing"]),
        ("50:54:33:00:00:01 dst", ["'dst' lacks its value"]),
        ("50:54:33:00:00:01 dst 192.0.2.300", ["dst", "'192.0.2.300'"]),
        ("50:54:33:00:00:01 dst ::", ["dst", "'::'", "no destination"]),
        ("50:54:33:00:00:01 dst 2001:db8::1/64", ["dst", "without a prefix length"]),
        ("50:54:33:00:00:01 dst 239.1.1.1", ["dst", "239.1.1.1", "multicast"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 vni 0", ["vni", "'0'", "1 to 16777215"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 vni 16777216", ["vni", "'16777216'"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 src_vni x", ["src_vni", "'x'"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 port 65536", ["port", "'65536'", "1 to 65535"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 via a/b", ["via", "'a/b'"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 nhid 5", ["nhid and dst"]),
        ("00:00:00:00:00:00 nhid 5", ["nhid", "cannot flood"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 vlan 5", ["vlan", "5", "no meaning"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 dst 192.0.2.2", ["'dst' stands twice"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 static permanent", ["one state"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 extern_learn", ["'extern_learn'", "not a word"]),
        ("50:54:33:00:00:01 dev vxlan7 dst 192.0.2.1", ["dev", "'vxlan7'", "add it there"]),
        ("50:54:33:00:00:01 master", ["state: missing"]),
        ("50:54:33:00:00:01 master static dst 192.0.2.1", ["dst", "192.0.2.1", "bridge"]),
        ("50:54:33:00:00:01 master self static", ["self and master"]),
        ("50:54:33:00:00:01 master permanent sticky", ["sticky", "'master static'"]),
        ("50:54:33:00:00:01 master dynamic sticky", ["sticky", "'master static'"]),
        ("50:54:33:00:00:01 dst 192.0.2.1 static sticky", ["sticky", "'master static'"]),
        ("00:00:00:00:00:00 master static", ["all-zero MAC"]),
    ],
)
def test_a_fault_names_row_key_and_value(line, words):
    (fault,) = faults(fdb.from_table, "# header\n50:54:33:ff:00:01 dst 192.0.2.9\n" + line, DEV)
    assert fault.startswith("table row 3: "), fault
    for word in words:
        assert word in fault


def test_without_a_device():
    (fault,) = faults(fdb.from_table, "50:54:33:00:00:01 dst 192.0.2.1", ["a", "b"])
    assert "row 1: dev: missing" in fault


def test_a_multicast_group_is_told_from_other_addresses():
    for dst in ("ff00::1", "ff02::1", "224.0.0.1", "239.255.255.255"):
        (fault,) = faults(fdb.from_table, f"50:54:33:00:00:01 dst {dst}", DEV)
        assert f"{dst} is a multicast group" in fault
    for dst in ("ff::1", "feff::1", "223.255.255.255", "240.0.0.1"):
        assert rows(f"50:54:33:00:00:01 dst {dst}")[0][1].dst == dst


def test_one_unicast_mac_has_one_destination():
    text = "50:54:33:00:00:01 dst 192.0.2.1\n50:54:33:00:00:02 dst 192.0.2.1\n50:54:33:00:00:01 dst 192.0.2.2"
    (fault,) = faults(fdb.from_table, text, DEV)
    assert "row 3: dst: 50:54:33:00:00:01 already leads to 192.0.2.1 in table row 1" in fault
    apart = "50:54:33:00:00:01 src_vni 1 dst 192.0.2.1\n50:54:33:00:00:01 src_vni 2 dst 192.0.2.2"
    assert len(rows(apart)) == 2
    (fault,) = faults(fdb.from_entries, [{"mac": "50:54:33:00:00:01", "dst": ["192.0.2.1", "192.0.2.2"]}], DEV)
    assert "entries row 1: dst:" in fault


def test_multicast_macs_and_the_zero_mac_have_several():
    for mac in (ZERO, "33:33:ff:00:00:10", "ff:ff:ff:ff:ff:ff"):
        assert len(rows(f"{mac} dst 192.0.2.1\n{mac} dst 192.0.2.2\n{mac} dst 192.0.2.2 vni 7")) == 3


def test_duplicates():
    (fault,) = faults(fdb.from_table, f"{ZERO} dst 192.0.2.1\n#\n{ZERO} dst 192.0.2.1", DEV)
    assert "table row 3: the same row as table row 1" in fault
    (fault,) = faults(fdb.from_table, f"{ZERO} dst 192.0.2.1\n{ZERO} dst 192.0.2.2 router", DEV)
    assert "row 2: state or router differs" in fault


def test_families_are_not_mixed():
    (fault,) = faults(fdb.from_table, f"{ZERO} dst 192.0.2.1\n{ZERO} dst 192.0.2.2\n{ZERO} dst 2001:db8::2", DEV)
    assert "row 3: dst: 2001:db8::2 and 192.0.2.1 (table row 1) mix IPv4 and IPv6" in fault
    assert len(rows(f"{ZERO} dev a dst 192.0.2.1\n{ZERO} dev b dst 2001:db8::2", [])) == 2


def line(i):
    return f"50:54:33:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x} dst 2001:db8:{i % 1000 + 1:x}::1"


def test_row_57123_of_a_large_table():
    lines = [line(i) for i in range(100_000)]
    lines[57_122] = lines[57_122].replace("50:54:33", "50:54:3x")
    (fault,) = faults(fdb.from_table, "\n".join(lines), DEV)
    assert "table row 57123: mac: '50:54:3x" in fault


def test_many_faults_are_told_in_one_bounded_report():
    text = "\n".join(f"bad{i} dst 192.0.2.x{i}" for i in range(50_000))
    told = faults(fdb.from_table, text, DEV)
    assert len(told) == 20
    assert told[-1] == "and 99981 more faults (100000 in all)"


def test_one_fault_of_many_rows_is_told_once():
    (fault,) = faults(fdb.from_table, "\n".join(line(i) + " vni 0" for i in range(0, 5000, 1000)), DEV)
    assert fault.startswith("table row 1: vni: '0'")
    assert fault.endswith("(and 4 more rows like it)")


def test_a_mac_that_yaml_read_as_a_number():
    (fault,) = faults(fdb.from_entries, [{"mac": "39277980001", "dst": ["192.0.2.1"]}], DEV)
    assert "quote it" in fault


def test_absent_rows_may_leave_the_destination_out():
    assert rows("50:54:33:00:00:01", absent=True)[0][1].dst is None


macs = st.binary(min_size=6, max_size=6)
ways = st.builds(
    fdb.Way,
    dev=st.just("vxlan100"),
    src_vni=st.none() | st.integers(1, 3),
    dst=st.sampled_from(["192.0.2.1", "192.0.2.2", "203.0.113.7"]),
    vni=st.none() | st.integers(1, 16777215),
    port=st.none() | st.integers(1, 65535),
    via=st.none() | st.just("eth0"),
    state=st.sampled_from(fdb.STATES),
    router=st.booleans(),
)


@given(st.dictionaries(macs, ways, max_size=20))
def test_text_round_trip(table):
    read = fdb.from_table("\n".join(way.text(mac) for mac, way in table.items()), [])
    assert dict(zip(read.macs, [read.ways[k] for k in read.index])) == table


@given(st.text(alphabet="05af:-# \n\tdstvi.2xyz", max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        fdb.from_table(text, DEV)
    except InputError as error:
        assert error.faults
