"""Routes: what is read from text and entries, and what is refused before anything happens."""

import ipaddress

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import route
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

ENCAP = "encap ip6 id 100 dst 2001:db8:2::1"


def rows(text, **more):
    read = route.from_table(text, **more)
    return [(route.text_of(prefix), read.ways[k]) for prefix, k in zip(read.prefixes, read.index)]


def faults(read, *args, **more):
    with pytest.raises(InputError) as caught:
        read(*args, **more)
    return caught.value.faults


def test_all_words_of_one_way():
    line = (
        "2001:DB8:ff::11/128 encap ip6 id 100 src 2001:db8:1::1 dst 2001:DB8:2::1 hoplimit 5 tc 4 seq csum "
        "via fe80::1 dev vxlan100 onlink table 1000 metric 7 src 2001:db8:1::2 mtu 1400"
    )
    encap = route.Encap("ip6", 100, "2001:db8:2::1", "2001:db8:1::1", 5, 4, ("csum", "seq"))
    hop = route.Hop("vxlan100", "fe80::1", True, encap)
    way = route.Way(6, "unicast", 1000, 7, 0, (hop,), None, "2001:db8:1::2", 1400)
    assert rows(line) == [("2001:db8:ff::11/128", way)]


def test_words_of_encap_end_at_the_first_other_word():
    """As with `ip`: `src` and `tos` mean the outer packet before it, and the route after it."""
    [(_dst, way)] = rows("192.0.2.1 encap ip id 1 dst 192.0.2.2 tos 4 src 192.0.2.3 dev vxlan100 tos 8 src 192.0.2.9")
    assert (way.tos, way.src) == (8, "192.0.2.9")
    assert (way.hops[0].encap.tos, way.hops[0].encap.src) == (4, "192.0.2.3")


def test_what_the_kernel_makes_of_words_that_are_left_out():
    [(four, way4), (six, way6), (_zero, way0)] = rows("192.0.2.1 dev a\n2001:db8::1 dev a\n::/0 dev a metric 0")
    assert (four, way4.metric, way4.table) == ("192.0.2.1/32", 0, 254)
    assert (six, way6.metric, way6.table) == ("2001:db8::1/128", 1024, 254)
    assert way0.metric == 1024


def test_one_nexthop_is_no_list_and_order_does_not_matter():
    assert rows("192.0.2.0/24 nexthop via 10.0.0.1 dev a weight 7") == rows("192.0.2.0/24 via 10.0.0.1 dev a")
    one, two = "nexthop via 10.0.0.1 dev a weight 3", f"nexthop {ENCAP} dev b"
    assert rows(f"192.0.2.0/24 {one} {two}") == rows(f"192.0.2.0/24 {two} {one}")


def test_blank_lines_comments_and_types():
    text = "\n# walls\n  unreachable   0.0.0.0/0\ttable 1000 \r\n\nblackhole ::/0 metric 9\nunicast 10.0.0.0/8 dev a\n"
    assert [(dst, way.type, way.table) for dst, way in rows(text)] == [
        ("0.0.0.0/0", "unreachable", 1000),
        ("::/0", "blackhole", 254),
        ("10.0.0.0/8", "unicast", 254),
    ]


def test_tables_by_name():
    text = "10.0.0.0/8 dev a table overlay\n10.0.0.0/8 dev a table 7\n10.0.0.0/8 dev a table main"
    assert [way.table for _dst, way in rows(text, tables={"main": 254, "overlay": 1000})] == [1000, 7, 254]


def test_entries_and_table_say_the_same():
    encap = {"type": "ip6", "id": 100, "dst": "2001:db8:2::1", "ttl": 5, "tos": 0, "flags": ["key"], "src": None}
    hops = [
        {"dev": "a", "via": "10.0.0.1", "weight": 3, "onlink": False, "encap": None},
        {"dev": "b", "via": "10.0.0.2", "weight": 1, "onlink": True, "encap": encap},
    ]
    entries = [
        {"dst": "2001:db8::/64", "dev": "a", "encap": encap, "table": "1000", "onlink": False, "via": None},
        {"dst": "192.0.2.0/24", "nexthops": hops, "type": "unicast", "mtu": 1400},
        {"dst": "0.0.0.0/0", "type": "prohibit", "metric": 5},
        {"dst": "10.0.0.0/8", "nhid": 7, "src": "10.0.0.9"},
    ]
    text = f"""
    2001:db8::/64 {ENCAP} ttl 5 key dev a table 1000
    192.0.2.0/24 mtu 1400 nexthop via 10.0.0.1 dev a weight 3 nexthop {ENCAP} ttl 5 key via 10.0.0.2 dev b onlink
    prohibit 0.0.0.0/0 metric 5
    10.0.0.0/8 nhid 7 src 10.0.0.9
    """
    read = route.from_entries(entries)
    assert [(route.text_of(prefix), read.ways[k]) for prefix, k in zip(read.prefixes, read.index)] == rows(text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("192.0.2.1/24 dev a", "dst: '192.0.2.1/24' has host bits set; write 192.0.2.0/24"),
        ("2001:db8::1/64 dev a", "dst: '2001:db8::1/64' has host bits set; write 2001:db8::/64"),
        ("192.0.2.0/33 dev a", "dst: '192.0.2.0/33': the prefix length must be 0 to 32"),
        ("192.0.2.0/+8 dev a", "the prefix length must be 0 to 32"),
        ("2001:db8::/129 dev a", "the prefix length must be 0 to 128"),
        ("default dev a", "dst: 'default' names no family; write 0.0.0.0/0 or ::/0"),
        ("unreachable default", "dst: 'default' names no family; write 0.0.0.0/0 or ::/0"),
        ("10/8 dev a", "dst: '10/8' is not a prefix"),
        ("unreachable", "dst: '' is not a prefix"),
        ("throw 10.0.0.0/8", "dst: 'throw' is not a prefix"),
        ("10.0.0.0/8", "dev: missing; name the device"),
        ("10.0.0.0/8 via 10.0.0.1", "dev: missing; name the device"),
        ("10.0.0.0/8 dev a b", "'b' is not a word of this table; known are encap, table"),
        ("10.0.0.0/8 dev", "'dev' lacks its value"),
        ("10.0.0.0/8 dev a dev b", "'dev' stands twice; leave one out"),
        ("10.0.0.0/8 dev a/b", "dev: 'a/b' is not a device name"),
        ("10.0.0.0/8 dev a proto 4", "'proto' is not a word of this table"),
        ("10.0.0.0/8 via fe80::1 dev a", "via: 'fe80::1' is not an IPv4 address"),
        ("2001:db8::/64 via 10.0.0.1 dev a", "via: '10.0.0.1' is not an IPv6 address"),
        ("10.0.0.0/8 via 0.0.0.0 dev a", "via: '0.0.0.0' is not the address of one host"),
        ("10.0.0.0/8 dev a src 2001:db8::1", "src: '2001:db8::1' is not an IPv4 address"),
        ("10.0.0.0/8 dev a onlink", "onlink: it says that 'via' is on the link; add via, or leave it out"),
        ("10.0.0.0/8 dev a table 0", "table: '0' is no routing table; write its number, 1 to 4294967295"),
        ("10.0.0.0/8 dev a table 4294967296", "table: '4294967296' is no routing table"),
        ("10.0.0.0/8 dev a table nowhere", "(default, local, main)"),
        ("10.0.0.0/8 dev a metric -1", "metric: '-1' is out of range; it must be 0 to 4294967295"),
        ("10.0.0.0/8 dev a mtu 67", "mtu: '67' is out of range; it must be 68 to 65520"),
        ("2001:db8::/64 dev a mtu 1279", "mtu: '1279' is out of range; it must be 1280 to 65520"),
        ("10.0.0.0/8 dev a tos 5", "tos: '5' has ECN bits set, which routes do not look at; write 4"),
        ("2001:db8::/64 dev a tos 4", "tos: '4': IPv6 has no routes by tos; leave it out"),
        ("10.0.0.0/8 dev a weight 4", "weight: only one of several nexthops has a weight; leave it out"),
        ("10.0.0.0/8 nhid 0", "nhid: '0' is out of range"),
        ("10.0.0.0/8 nhid 7 dev a", "nhid and dev: the nexthop group says where to; leave dev out"),
        ("blackhole 10.0.0.0/8 dev a", "dev: it has no meaning for a route that is blackhole; leave it out"),
        ("prohibit 10.0.0.0/8 src 10.0.0.1", "src: it has no meaning for a route that is prohibit"),
        ("10.0.0.0/8 encap", "encap: '' is none of ip, ip6"),
        ("10.0.0.0/8 encap mpls 100 dev a", "encap: 'mpls' is none of ip, ip6"),
        (
            "10.0.0.0/8 encap ip6 id 16777216 dst ::2 dev a",
            "encap ip6: id: '16777216' is out of range; it must be 0 to",
        ),
        ("10.0.0.0/8 encap ip6 id -1 dst ::2 dev a", "encap ip6: id: '-1' is out of range"),
        ("10.0.0.0/8 encap ip6 dst ::2 dev a", "encap ip6: id: missing; write the VNI"),
        ("10.0.0.0/8 encap ip6 id 1 dev a", "encap ip6: dst: missing; write the address of the VTEP"),
        ("10.0.0.0/8 encap ip6 id 1 dst :: dev a", "encap ip6: dst: '::' is no destination"),
        ("10.0.0.0/8 encap ip6 id 1 dst 10.0.0.1 dev a", "encap ip6: dst: '10.0.0.1' is not an IPv6 address"),
        ("2001:db8::/64 encap ip id 1 dst ::2 dev a", "encap ip: dst: '::2' is not an IPv4 address"),
        ("10.0.0.0/8 encap ip6 id 1 dst ::2 src 10.0.0.1 dev a", "encap ip6: src: '10.0.0.1' is not an IPv6 address"),
        (
            "10.0.0.0/8 encap ip6 id 1 dst ::2 ttl 256 dev a",
            "encap ip6: ttl: '256' is out of range; it must be 0 to 255",
        ),
        ("10.0.0.0/8 encap ip6 id 1 id 2 dst ::2 dev a", "'id' stands twice"),
        ("10.0.0.0/8 encap ip6 id 1 dst ::2 csum csum dev a", "'csum' stands twice in encap"),
        ("10.0.0.0/8 encap ip6 id 1 dst ::2 ttl 1 hoplimit 2 dev a", "'ttl' stands twice"),
        ("10.0.0.0/8 encap ip6 id 1 dst", "'dst' lacks its value"),
        ("10.0.0.0/8 dev a nexthop dev b nexthop dev c", "dev: with nexthops it stands in each of them"),
        ("10.0.0.0/8 nexthop via 10.0.0.1 nexthop dev a", "nexthop 1: dev: missing"),
        ("10.0.0.0/8 nexthop dev a nexthop via ::1 dev a", "nexthop 2: via: '::1' is not an IPv4 address"),
        ("10.0.0.0/8 nexthop dev a nexthop dev b weight 257", "nexthop 2: weight: '257' is out of range"),
        ("10.0.0.0/8 nexthop dev a nexthop encap ip6 id 1 dev b", "nexthop 2: encap ip6: dst: missing"),
        (
            "10.0.0.0/8 nexthop dev a nexthop dev a",
            "nexthop dev a: stands twice; leave one out, or give it more weight",
        ),
        ("10.0.0.0/8 nexthop dev a table 7", "'table' belongs to the route; write it before the first 'nexthop'"),
        ("2001:db8::/64 nexthop dev a nexthop via fe80::1 dev a", "nexthop dev a: via: missing; each of several IPv6"),
    ],
)
def test_a_bad_line_is_told_with_its_number(line, words):
    [fault] = faults(route.from_table, f"# first\n10.99.0.0/16 dev fine\n{line}\n2001:db8:99::/64 dev fine")
    assert fault.startswith("table row 3: ") and words in fault


def test_all_faults_are_told_at_once():
    text = "\n".join(
        ["1.2.3.4/8 dev a", "10.0.0.0/8 dev a", "10.1.0.0/16 dev a", "default dev a", "::/0 via 1.2.3.4 dev b"]
    )
    told = faults(route.from_table, text.replace("dev a", "dev a/"))
    assert [fault.split(":")[0] for fault in told] == ["table row 1", "table row 4", "table row 2", "table row 5"]
    assert told[2].endswith("(and 1 more rows like it)")
    many = faults(route.from_table, "".join(f"1.2.3.{i + 1}/24 dev a\n" for i in range(200)))
    assert len(many) == 20 and many[-1] == "and 181 more faults (200 in all)"


def test_faults_of_entries():
    entries = [{"dst": "10.0.0.0/8", "dev": "a"}, {"dst": "default"}, {"dst": "::/0", "via": "1.2.3.4", "dev": "a"}]
    told = faults(route.from_entries, entries)
    assert [fault[:20] for fault in told] == ["entries row 2: dst: ", "entries row 3: via: "]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("10.0.0.0/8 dev a", "row 2: the same route as table row 1, 10.0.0.0/8 dev a; leave one out"),
        ("10.0.0.0/8 dev b", "two routes to one network with one metric in one table"),
        ("unreachable 10.0.0.0/8 table main metric 0", "two routes to one network"),
    ],
)
def test_two_routes_at_one_place_are_refused(second, words):
    [fault] = faults(route.from_table, f"10.0.0.0/8 dev a\n{second}")
    assert fault.startswith("table row 2") and words in fault


def test_other_places():
    text = "10.0.0.0/8 dev a\n10.0.0.0/9 dev a\n10.0.0.0/8 dev b metric 1\n10.0.0.0/8 dev b table 7\n10.0.0.0/8 dev b tos 4"
    assert len(rows(text)) == 5
    [fault] = faults(route.from_table, "2001:db8::/64 dev a\n2001:db8::/64 dev b metric 1024")
    assert "two routes" in fault


def test_absent_needs_no_way():
    [(dst, way), (_dst, other)] = rows("10.0.0.0/8 table 7\n10.0.0.0/8 via 10.0.0.1", absent=True)
    assert (dst, way.table, way.hops, other.table) == ("10.0.0.0/8", 7, (), 254)
    assert "via" in faults(route.from_table, "10.0.0.0/8 via ::1 dev a", absent=True)[0]


def test_an_empty_table():
    assert len(route.from_table("")) == len(route.from_table("\n# none\n")) == len(route.from_entries([])) == 0


addresses4 = st.integers(1, 0xDFFFFFFF).map(lambda number: str(ipaddress.IPv4Address(number)))
addresses6 = st.integers(1, (0xFF << 120) - 1).map(lambda number: str(ipaddress.IPv6Address(number)))
names = st.sampled_from(["eth0", "vxlan100", "src", "encap"])  # devices may be called so
flags = st.lists(st.sampled_from(route.FLAGS), unique=True).map(sorted).map(tuple)
octets = st.integers(0, 255)


def encaps():
    four = st.builds(
        route.Encap, st.just("ip"), st.integers(0, 0xFFFFFF), addresses4, st.none() | addresses4, octets, octets, flags
    )
    six = st.builds(
        route.Encap, st.just("ip6"), st.integers(0, 0xFFFFFF), addresses6, st.none() | addresses6, octets, octets, flags
    )
    return st.none() | four | six


def hops(via):
    return st.builds(route.Hop, names, via, st.booleans(), encaps(), st.integers(1, 256))


@st.composite
def routes(draw):
    family = draw(st.sampled_from([4, 6]))
    one = addresses4 if family == 4 else addresses6
    number = draw(one)
    length = draw(st.integers(0, 32 if family == 4 else 128))
    network = ipaddress.ip_network(f"{number}/{length}", strict=False)
    made = {"family": family, "table": draw(st.integers(1, (1 << 32) - 1))}
    made["metric"] = draw(st.integers(1, (1 << 32) - 1))
    made["tos"] = 4 * draw(st.integers(0, 63)) if family == 4 else 0
    kind = draw(st.sampled_from(["type", "nhid", "one", "several"]))
    if kind == "type":
        made["type"] = draw(st.sampled_from(route.TYPES[1:]))
        return network, route.Way(**made)
    made["src"] = draw(st.none() | one)
    made["mtu"] = draw(st.none() | st.integers(1280, 65520))
    if kind == "nhid":
        made["nhid"] = draw(st.integers(1, (1 << 32) - 1))
        return network, route.Way(**made)
    count = 1 if kind == "one" else 2
    some = draw(
        st.lists(hops(one), min_size=count, max_size=count + 1, unique_by=lambda hop: (hop.dev, hop.via, hop.encap))
    )
    if len(some) == 1:
        some = [route.Hop(some[0].dev, some[0].via, some[0].onlink, some[0].encap)]
    return network, route.Way(hops=tuple(sorted(some, key=str)), **made)


@given(routes())
def test_what_is_written_is_read_as_the_same(drawn):
    network, way = drawn
    prefix = network.network_address.packed + bytes((network.prefixlen,))
    assert rows(way.text(prefix)) == [(str(network), way)]


@given(st.text(alphabet="0123456789abcdef:./ \n#encaprstxviu", max_size=60))
def test_nonsense_is_refused_in_words(text):
    try:
        route.from_table(text)
    except InputError as error:
        assert all(fault.startswith(("table row", "and ")) for fault in error.faults)
