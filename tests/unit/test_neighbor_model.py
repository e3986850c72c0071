"""Neighbours and proxy entries: what is read from text and entries, and what is refused before anything happens."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import neighbor as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

DEV = ("vxlan100",)
MAC = "50:54:33:00:00:01"


def rows(text, devs=DEV, **more):
    read = model.from_table(text, devs, **more)
    return [told(*read.row(i)) for i in range(len(read))]


def told(ip, mac, kind):
    return (model.address_of(ip), mac.hex(":"), kind)


def faults(read, *args, **more):
    with pytest.raises(InputError) as caught:
        read(*args, **more)
    return caught.value.faults


def test_all_words():
    line = f"2001:DB8:FF::11 dev eth1 lladdr {MAC.upper()} router extern_learn nud noarp"
    kind = model.Kind("eth1", False, "noarp", True, True)
    assert rows(line, []) == [("2001:db8:ff::11", MAC, kind)]
    assert rows("192.0.2.1 proxy router") == [("192.0.2.1", "", model.Kind("vxlan100", True, None, True))]
    managed = model.Kind("vxlan100", nud=None, extern_learn=True, managed=True)
    assert rows("192.0.2.1 managed extern_learn") == [("192.0.2.1", "", managed)]


@pytest.mark.parametrize(
    "state", ["", "permanent", "PERMANENT", "nud permanent", "nud PERMANENT", "PERMANENT proto 118"]
)
def test_spellings_of_permanent(state):
    assert rows(f"192.0.2.1 lladdr {MAC} {state}") == [("192.0.2.1", MAC, model.Kind("vxlan100"))]


def test_what_a_row_says_of_itself_is_read_as_the_same_row():
    for kind in (
        model.Kind("eth1"),
        model.Kind("eth1", nud="noarp", router=True, extern_learn=True),
        model.Kind("eth1", proxy=True, nud=None, router=True),
        model.Kind("eth1", nud=None, managed=True),
    ):
        mac = b"" if kind.nud is None else bytes.fromhex("505433000001")
        read = model.from_table(kind.text(b"\xc0\0\2\1", mac), [])
        assert read.row(0) == (b"\xc0\0\2\1", mac, kind)


def test_blank_lines_comments_and_spaces():
    text = f"\n# H1\n  192.0.2.1\tlladdr   50-54-33-00-00-01  \r\n\n192.0.2.2 permanent lladdr {MAC}\n   # end"
    kind = model.Kind("vxlan100")
    assert rows(text) == [("192.0.2.1", MAC, kind), ("192.0.2.2", MAC, kind)]


def test_entries_and_table_say_the_same():
    entries = [
        {"ip": "192.0.2.1", "lladdr": MAC, "nud": None, "proxy": False, "dev": None},
        {"ip": "2001:db8::1", "lladdr": MAC, "nud": "noarp", "router": True, "extern_learn": True, "dev": "eth1"},
        {"ip": "2001:db8::1", "proxy": True, "dev": "eth1", "lladdr": None},
        {"ip": "2001:db8::2", "managed": True, "dev": "eth1"},
    ]
    text = f"""192.0.2.1 lladdr {MAC}\n2001:db8::1 lladdr {MAC} nud noarp router extern_learn dev eth1
        2001:db8::1 proxy dev eth1\n2001:db8::2 managed dev eth1"""
    devs = ["vxlan100", "eth1"]
    for entry in entries:
        entry["dev"] = entry.get("dev") or "vxlan100"
    read = model.from_entries(entries, devs)
    text = "\n".join(line if " dev " in line else line + " dev vxlan100" for line in text.split("\n"))
    assert [told(*read.row(i)) for i in range(len(read))] == rows(text, devs)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"192.0.2.300 lladdr {MAC}", ["ip", "'192.0.2.300'"]),
        (f"192.0.2.1/32 lladdr {MAC}", ["ip", "without a prefix length"]),
        (f"fe80::1%eth0 lladdr {MAC}", ["ip", "%eth0"]),
        (f"0.0.0.0 lladdr {MAC}", ["ip", "unspecified"]),
        (f":: lladdr {MAC}", ["ip", "unspecified"]),
        (f"224.0.0.5 lladdr {MAC}", ["ip", "multicast"]),
        (f"ff02::1 lladdr {MAC}", ["ip", "multicast"]),
        (f"255.255.255.255 lladdr {MAC}", ["ip", "broadcast"]),
        ("ff02::1 proxy", ["ip", "multicast"]),
        ("192.0.2.1 lladdr 50:54:33:00:00", ["lladdr", "'50:54:33:00:00'", "write it like"]),
        ("192.0.2.1 lladdr 01:00:5e:00:00:01", ["lladdr", "'01:00:5e:00:00:01'", "one station"]),
        ("192.0.2.1 lladdr 00:00:00:00:00:00", ["lladdr", "one station"]),
        ("192.0.2.1", ["lladdr", "missing"]),
        ("192.0.2.1 nud permanent", ["lladdr", "missing"]),
        ("192.0.2.1 lladdr", ["'lladdr' lacks its value"]),
        (f"192.0.2.1 lladdr {MAC} lladdr {MAC}", ["'lladdr' stands twice"]),
        (f"192.0.2.1 proxy lladdr {MAC}", ["lladdr", "proxy"]),
        ("192.0.2.1 proxy nud noarp", ["nud", "proxy"]),
        ("192.0.2.1 proxy managed", ["managed", "proxy"]),
        ("192.0.2.1 proxy extern_learn", ["extern_learn", "proxy"]),
        (f"192.0.2.1 managed lladdr {MAC}", ["lladdr", "managed"]),
        ("192.0.2.1 managed nud permanent", ["nud", "managed"]),
        (f"192.0.2.1 lladdr {MAC} nud reachable", ["nud", "'reachable'", "permanent or noarp"]),
        (f"192.0.2.1 lladdr {MAC} nud", ["'nud' lacks its value"]),
        (f"192.0.2.1 lladdr {MAC} nud noarp permanent", ["one state"]),
        (f"192.0.2.1 lladdr {MAC} STALE", ["'STALE'", "not a word"]),
        (f"192.0.2.1 lladdr {MAC} proto zebra", ["proto", "'zebra'", "leave it out"]),
        (f"192.0.2.1 lladdr {MAC} use", ["'use'", "not a word"]),
        (f"192.0.2.1 dev eth7 lladdr {MAC}", ["dev", "'eth7'", "add it there"]),
        (f"192.0.2.1 dev a/b lladdr {MAC}", ["dev", "'a/b'"]),
        (f"192.0.2.9 lladdr {MAC}", ["the same row as table row 2"]),
        ("192.0.2.9 lladdr 50:54:33:00:00:02", ["ip", "192.0.2.9", "table row 2", MAC]),
        ("192.0.2.9 managed", ["ip", "192.0.2.9", "table row 2"]),
    ],
)
def test_a_fault_names_row_key_and_value(line, words):
    (fault,) = faults(model.from_table, f"# header\n192.0.2.9 lladdr {MAC}\n" + line, DEV)
    assert fault.startswith("table row 3: "), fault
    for word in words:
        assert word in fault


def test_without_a_device():
    (fault,) = faults(model.from_table, f"192.0.2.1 lladdr {MAC}", ["a", "b"])
    assert "row 1: dev: missing" in fault


def test_the_key_is_device_ip_and_whether_it_is_a_proxy():
    text = f"192.0.2.1 dev a lladdr {MAC}\n192.0.2.1 dev b lladdr {MAC}\n192.0.2.1 dev a proxy\n192.0.2.1 dev b proxy"
    assert len(rows(text, [])) == 4
    assert len(faults(model.from_table, text + "\n192.0.2.1 dev b proxy router", [])) == 1


def test_all_faults_are_told_together():
    text = f"192.0.2.1 lladdr 50:54\nff02::1 lladdr {MAC}\n192.0.2.3\n192.0.2.4 lladdr {MAC} wrong\n192.0.2.5 proxy x\n192.0.2.6 proxy x"
    told = faults(model.from_table, text, DEV)
    assert len(told) == 5
    assert any("and 1 more rows like it" in fault for fault in told)
    entries = [
        {"ip": "192.0.2", "lladdr": 505433000001},
        {"ip": "192.0.2.1", "lladdr": MAC},
        {"ip": "192.0.2.1", "lladdr": "2"},
    ]
    told = faults(model.from_entries, entries, DEV)
    assert [fault.split(":")[0] for fault in told] == ["entries row 1", "entries row 1", "entries row 3"]
    assert "quote it" in told[1]


def test_many_faults_are_counted():
    told = faults(model.from_table, "\n".join(f"192.0.2.{i} lladdr x" for i in range(1, 101)), DEV)
    assert len(told) == 20
    assert "100 in all" in told[-1]


def test_to_remove_a_row_its_address_is_enough():
    assert rows("192.0.2.1\n192.0.2.2 proxy", absent=True)[0] == ("192.0.2.1", "", model.Kind("vxlan100"))


IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
    lambda ip: not (ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255")
)


@given(
    st.lists(st.tuples(IPS, st.integers(1, 2**40 - 1)), unique_by=lambda row: row[0], min_size=1),
    st.sampled_from(["", " nud permanent", " router"]),
)
def test_columns_and_single_lines_are_read_alike(table, end):
    """A piece of like lines takes a quick way; a comment in it forces the other."""
    lines = [f"{ip} dev vxlan100 lladdr {mac.to_bytes(6, 'big').hex(':')}{end}" for ip, mac in table]
    quick = rows("\n".join(lines))
    assert quick == rows("\n".join([*lines, "#"]))
    assert quick == rows("\n".join(reversed([line.replace(" ", "  ") for line in reversed(lines)])))
    assert [(ip, mac) for ip, mac, _kind in quick] == [
        (model.address_of(ip.packed), mac.to_bytes(6, "big").hex(":")) for ip, mac in table
    ]


@given(
    st.lists(
        st.sampled_from(
            ["192.0.2.1", "2001:db8::1", "dev", "vxlan100", "lladdr", MAC, "nud", "permanent", "\n", "proxy"]
        ),
        max_size=20,
    )
)
def test_any_words_are_read_or_refused(words):
    """Whatever the quick way takes, the slow one takes, and reads the same."""
    text = " ".join(words).replace(" \n ", "\n")
    try:
        quick = rows(text)
    except InputError:
        return
    assert quick == rows(text + "\n#")


def test_lines_that_only_together_look_like_rows_are_refused():
    """The quick way cuts a piece at the words that its first line has between the addresses."""
    text = f"192.0.2.1 lladdr {MAC}\n192.0.2.2 lladdr {MAC} lladdr 192.0.2.3\n{MAC}"
    assert len(faults(model.from_table, text, DEV)) == 3


def test_the_quick_way_is_taken():
    """The measurements of docs/neighbor.md are of this way."""
    read = model._Rows([], False, None)
    assert model._add_columns(
        read, "\n".join(f"2001:db8::{i:x} dev a lladdr 50:54:33:00:00:{i:02x} nud permanent" for i in range(1, 200))
    )
    assert len(read.wanted) == 199


@pytest.mark.parametrize(
    ("text", "device", "words"),
    [
        (f"192.0.2.1 lladdr {MAC}", None, "there is no device vxlan100"),
        (f"192.0.2.1 lladdr {MAC}", model.Device("vxlan100", 3, 0), "of 0 bytes"),
        ("192.0.2.1 proxy", model.Device("vxlan100", 3, 0), None),
        (f"192.0.2.1 lladdr {MAC}", model.Device("vxlan100", 3, 6, ipv6=False), None),
        (f"2001:db8::1 lladdr {MAC}", model.Device("vxlan100", 3, 6, ipv6=False), "IPv6 is disabled on vxlan100"),
        ("2001:db8::1 proxy", model.Device("vxlan100", 3, 6, ipv6=False), None),
    ],
)
def test_devices_that_hold_neighbours(text, device, words):
    told = model.check_device(model.from_table(text, DEV), device, "vxlan100")
    assert told == [] if words is None else words in told[0]
