# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims as registries have them: what is sound is read, what is not is refused by itself, whatever it is."""

import json
import tracemalloc
from unittest import mock

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import claims
from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import Claim
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PREFIX = "/vtep.fabric"
MAC = bytes.fromhex("505433000001")
VTEP, VTEP6 = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8000000000000000000000001")
ONE, ONE6 = bytes([10, 0, 0, 1]), bytes.fromhex("fe800000000000000000000000000001")
ENTRY = {"vni": 100, "mac": "50:54:33:00:00:01", "vtep": "192.0.2.1", "addresses": ["fe80::1", "10.0.0.1"]}
CLAIM = Claim(100, MAC, VTEP, (ONE, ONE6), 7)
KEY = b"/vtep.fabric/endpoints/100/50:54:33:00:00:01/192.0.2.1"

# What a registry may hold: JSON of any kind, and entries that are nearly sound.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "50:54:33:00:00:01",
        "192.0.2.1",
        "2001:db8::1",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "\0",
        "\ud800",
        "\x1b[31m",
        "9" * 5000,
    ]
)
VALUES = JSON | WORDS | st.sampled_from([100, 1 << 24, -1, 10**4000, True])
ENTRIES = JSON | st.fixed_dictionaries(
    {}, optional={key: VALUES | st.lists(VALUES, max_size=3) for key in (*ENTRY, "more")}
)


def name(value):
    """Of a parameter, in a test's name."""
    return claims.shown(value)[:40]


def is_sound(claim):
    return (
        0 < claim.vni < 1 << 24
        and len(claim.mac) == 6
        and any(claim.mac)
        and not claim.mac[0] & 1
        and len(claim.vtep) in (4, 16)
        and any(claim.vtep)
        and all(len(one) in (4, 16) and any(one) for one in claim.addresses)
        and list(claim.addresses) == sorted(set(claim.addresses))
    )


def is_one_short_line(text):
    return text.isprintable() and len(text) < 400


def refusal(call, *arguments):
    """The words of the ValueError that the call raises."""
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    assert is_one_short_line(str(caught.value))
    return str(caught.value)


def without(key):
    return {name: value for name, value in ENTRY.items() if name != key}


# -- An entry


def test_an_entry_is_read():
    assert claims.claim(ENTRY, 7) == CLAIM


@pytest.mark.parametrize(
    "change, key, value",
    [
        ({"vtep": "2001:DB8::1"}, "vtep", VTEP6),
        ({"mac": "50-54-33-00-00-01"}, "mac", MAC),
        ({"mac": " 50:54:33:00:00:0A "}, "mac", bytes.fromhex("50543300000a")),
        ({"addresses": []}, "addresses", ()),
        ({"addresses": None}, "addresses", ()),
        ({"addresses": ["10.0.0.1"] * 3}, "addresses", (ONE,)),
        (
            {"addresses": [f"10.0.1.{n}" for n in range(256)]},
            "addresses",
            tuple(bytes([10, 0, 1, n]) for n in range(256)),
        ),
        ({"vni": 1}, "vni", 1),
        ({"vni": 16777215}, "vni", 16777215),
        ({"name": "web"}, "vni", 100),
    ],
)
def test_what_may_be_written_otherwise(change, key, value):
    assert getattr(claims.claim({**ENTRY, **change}, 1), key) == value


def test_addresses_may_be_left_out():
    assert claims.claim(without("addresses"), 1).addresses == ()


@pytest.mark.parametrize(
    "key, value, shown",
    [
        ("vni", None, "None"),
        ("vni", 0, "0"),
        ("vni", -1, "-1"),
        ("vni", 1 << 24, "16777216"),
        ("vni", True, "True"),
        ("vni", 100.0, "100.0"),
        ("vni", "100", "'100'"),
        ("vni", float("nan"), "nan"),
        ("vni", 10**5000, ""),
        ("mac", None, "None"),
        ("mac", 505433000001, "505433000001"),
        ("mac", "", "''"),
        ("mac", "50:54:33:00:00", "'50:54:33:00:00'"),
        ("mac", "01:00:5e:00:00:01", "'01:00:5e:00:00:01'"),
        ("mac", "ff:ff:ff:ff:ff:ff", "'ff:ff:ff:ff:ff:ff'"),
        ("mac", "00:00:00:00:00:00", "'00:00:00:00:00:00'"),
        ("mac", "50:54:33:00:00:01\n", None),
        ("mac", "50:54:33:00:00:\x1b[1m", r"'50:54:33:00:00:\x1b[1m'"),
        ("mac", "x" * 100000, "'xxxx"),
        ("mac", ["50:54:33:00:00:01"], "['50:54:33:00:00:01']"),
        ("vtep", None, "None"),
        ("vtep", 3221225985, "3221225985"),
        ("vtep", "0.0.0.0", "'0.0.0.0'"),
        ("vtep", "0.0.0.1", "'0.0.0.1'"),
        ("vtep", "127.0.0.1", "'127.0.0.1'"),
        ("vtep", "224.0.0.1", "'224.0.0.1'"),
        ("vtep", "240.0.0.1", "'240.0.0.1'"),
        ("vtep", "255.255.255.255", "'255.255.255.255'"),
        ("vtep", "192.0.2.1/24", "'192.0.2.1/24'"),
        ("vtep", "::", "'::'"),
        ("vtep", "::1", "'::1'"),
        ("vtep", "ff05::100", "'ff05::100'"),
        ("vtep", "fe80::1", "'fe80::1'"),
        ("vtep", "2001:db8::1%eth0", "'2001:db8::1%eth0'"),
        ("vtep", "::ffff:192.0.2.1", "'::ffff:192.0.2.1'"),
        ("vtep", "vtep1", "'vtep1'"),
        ("vtep", "192.0.2.1" + " " * 300 + "x", "'192.0.2.1  "),
        ("addresses", "10.0.0.1", "'10.0.0.1'"),
        ("addresses", {}, "{}"),
        ("addresses", ["10.0.0.1", None], "None"),
        ("addresses", [10], "10"),
        ("addresses", ["10.0.0.1/24"], "'10.0.0.1/24'"),
        ("addresses", ["10.0.0.1", "0.0.0.0"], "'0.0.0.0'"),
        ("addresses", ["::"], "'::'"),
        ("addresses", ["224.0.0.5"], "'224.0.0.5'"),
        ("addresses", ["255.255.255.255"], "'255.255.255.255'"),
        ("addresses", ["ff02::1"], "'ff02::1'"),
        ("addresses", ["fe80::1%eth0"], "'fe80::1%eth0'"),
        ("addresses", ["10.0.0.1\0"], r"'10.0.0.1\x00'"),
        ("addresses", ["\ud800:"], r"'\ud800:'"),
        ("addresses", ["10.0.0.1"] * 257, "257"),
        ("addresses", [["10.0.0.1"]], "['10.0.0.1']"),
    ],
    ids=name,
)
def test_a_refusal_names_key_value_and_remedy(key, value, shown):
    if shown is None:  # blanks around it do no harm
        assert claims.claim({**ENTRY, key: value}, 1).mac == MAC
        return
    text = refusal(claims.claim, {**ENTRY, key: value}, 1)
    assert text.startswith(f"{key}: {shown}")
    assert "; " in text


@pytest.mark.parametrize("key", ["vni", "mac", "vtep"])
def test_what_is_missing_is_named(key):
    assert refusal(claims.claim, without(key), 1).startswith(f"{key}: None ")


@pytest.mark.parametrize("entry", [None, 1, "x" * 1000, [], [ENTRY], float("inf")])
def test_what_is_no_mapping_is_refused(entry):
    assert "is no endpoint" in refusal(claims.claim, entry, 1)


@MANY
@given(ENTRIES)
@example({**ENTRY, "vni": [10**5000]})
def test_any_entry_is_a_claim_or_refused(entry):
    try:
        found = claims.claim(entry, 1)
    except ValueError as error:
        assert is_one_short_line(str(error))
    else:
        assert is_sound(found)


# -- A document


def text_of(*entries, **more):
    return json.dumps({"version": 1, "endpoints": list(entries), **more}).encode()


def test_a_document_is_read_row_by_row():
    other = {**ENTRY, "vni": 200}
    assert claims.document(text_of(ENTRY, other)) == ([CLAIM._replace(order=1), CLAIM._replace(vni=200, order=2)], [])


def test_the_order_counts_rows_that_were_refused():
    found, faults = claims.document(text_of({**ENTRY, "mac": "x"}, 7, ENTRY))
    assert found == [CLAIM._replace(order=3)]
    assert [fault.partition(":")[0] for fault in faults] == ["row 1", "row 2"]


def test_a_number_of_a_million_digits_spoils_its_row_only():
    data = text_of({**ENTRY, "vni": 5}, ENTRY).replace(b"5,", b"9" * 1000000 + b",", 1)
    found, faults = claims.document(data)
    assert found == [CLAIM._replace(order=2)]
    assert faults[0].startswith("row 1: vni: inf is not a VNI")


def test_no_more_than_100_faults_are_told():
    found, faults = claims.document(text_of(*[0] * 250, ENTRY))
    assert len(found) == 1
    assert len(faults) == 101
    assert faults[-1] == "and 150 more"
    assert len(claims.document(text_of(*[0] * 100))[1]) == 100


@pytest.mark.parametrize(
    "data",
    [
        b'{"endpoints": [], "version": 1}',
        b'{"version": 1, "written": {"by": ["role"]}, "endpoints": []}',
        b'\xef\xbb\xbf{"version": 1, "endpoints": []}',
        b' {\r\n"version"\t:\n1 ,"endpoints" : [ ] } \n',
    ],
)
def test_an_empty_document_however_written(data):
    assert claims.document(data) == ([], [])


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "its end is missing"),
        (b"  \n", "its end is missing"),
        (b"{", "its end is missing"),
        (b"{}", "version: None"),
        (b"[]", "is not JSON from '[]' on"),
        (b"null", "is not JSON from 'null' on"),
        (b'{"version": 1}', "endpoints: is missing"),
        (b'{"version": 2, "endpoints": []}', "version: 2 is not known"),
        (b'{"version": true, "endpoints": []}', "version: True is not known"),
        (b'{"version": "1", "endpoints": []}', "version: '1' is not known"),
        (b'{"endpoints": []}', "version: None is not known"),
        (b'{"version": 1, "endpoints": {}}', "is not JSON from '{}}' on"),
        (b'{"version": 1, "endpoints": null}', "is not JSON from 'null}' on"),
        (b'{"version": 1, "endpoints": [], "endpoints": []}', "endpoints twice"),
        (b'{"version": 1, "endpoints": []} x', "is not JSON from 'x' on"),
        (b'{"version": 1, "endpoints": [],}', "is not JSON from '}' on"),
        (b'{"version": 1, "endpoints": [1,]}', "is not JSON from ']}' on"),
        (b'{"version": 1, "endpoints": [1 2]}', "is not JSON from '2]}' on"),
        (b'{"version": 1, "endpoints": [1', "its end is missing"),
        (b'{"version": 1, "endpoints": ["\x00"]}', r"""is not JSON from '"\x00"]}' on"""),
        (b'{"version": 1, "endpoints": [' + b"[" * 100000, "is not JSON from '[[["),
        (b'{1: 2, "version": 1, "endpoints": []}', "is not JSON from '1: 2"),
        (b'{"version": 1, "endpoints": ["\xff"]}', "is not UTF-8"),
        (b'{"version": 1, "endpoints": ["\xc3', "is not UTF-8"),
        ('{"version": 1, "endpoints": []}'.encode("utf-16"), "is not UTF-8"),
    ],
    ids=name,
)
def test_what_is_no_document_is_refused_as_a_whole(data, words):
    assert words in refusal(claims.document, data)


def test_a_document_that_is_too_large_is_not_looked_at():
    with mock.patch.object(claims, "LARGEST", 20):
        assert "20 are the most" in refusal(claims.document, text_of())


def test_a_row_that_is_too_large_is_not_read_to_its_end():
    with mock.patch.object(claims, "_PIECE", 100), mock.patch.object(claims, "_LARGEST_ROW", 1000):
        assert claims.document(text_of(ENTRY, "x" * 900, ENTRY))[1][0].startswith("row 2: 'xxx")
        assert "a value of more than 1000 characters" in refusal(claims.document, text_of(ENTRY, "x" * 5000, ENTRY))


@MANY
@given(st.lists(ENTRIES, max_size=4), st.integers(1, 40), st.booleans(), st.sampled_from([None, 1]))
@example(["é\U0001f600"], 1, False, None)
@example([12345, 0.5, 1e30, 1e-30, float("-inf")], 1, False, None)
def test_a_document_is_read_alike_in_pieces_of_any_size(entries, size, is_ascii, indent):
    data = json.dumps({"version": 1, "endpoints": entries}, ensure_ascii=is_ascii, indent=indent)
    data = data.encode(errors="replace")
    whole = claims.document(data)
    with mock.patch.object(claims, "_PIECE", size):
        assert claims.document(data) == whole
    assert len(whole[0]) + len(whole[1]) == len(entries)


@MANY
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()) | st.text().map(str.encode))
def test_any_octets_are_a_document_or_refused(data):
    try:
        found, faults = claims.document(data)
    except ValueError as error:
        assert is_one_short_line(str(error))
    else:
        assert all(map(is_sound, found))
        assert all(map(is_one_short_line, faults))


@MANY
@given(st.data())
def test_a_document_with_some_octets_changed_is_read_or_refused(data):
    octets = bytearray(text_of(ENTRY, {**ENTRY, "vni": 1}, more=[{}]))
    for _dummy in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        found, faults = claims.document(bytes(octets))
    except ValueError as error:
        assert is_one_short_line(str(error))
    else:
        assert all(map(is_sound, found))
        assert all(map(is_one_short_line, faults))


def unicast(length, first):
    return st.binary(min_size=length - 1, max_size=length - 1).map(lambda rest: bytes([first]) + rest)


CLAIMS = st.builds(
    Claim,
    vni=st.integers(1, (1 << 24) - 1),
    mac=unicast(6, 0x50),
    vtep=unicast(4, 192) | unicast(16, 0x20),
    addresses=st.lists(unicast(4, 10) | unicast(16, 0xFD), max_size=4).map(lambda found: tuple(sorted(set(found)))),
    order=st.integers(1, 1000),
)


@MANY
@given(st.lists(CLAIMS, max_size=5))
def test_a_dump_is_read_back(some):
    found, faults = claims.document(claims.dump(some).encode())
    assert not faults
    assert sorted(one[:4] for one in found) == sorted(one[:4] for one in some)


def test_a_dump_has_an_endpoint_a_line_sorted():
    older, newer = CLAIM._replace(vtep=VTEP6, order=1), CLAIM._replace(order=2)
    first = CLAIM._replace(vni=9, addresses=(), order=3)
    text = claims.dump([newer, first, older])
    assert text == (
        '{"version": 1, "endpoints": [\n'
        '{"vni": 9, "mac": "50:54:33:00:00:01", "vtep": "192.0.2.1", "addresses": []},\n'
        '{"vni": 100, "mac": "50:54:33:00:00:01", "vtep": "2001:db8::1", "addresses": ["10.0.0.1", "fe80::1"]},\n'
        '{"vni": 100, "mac": "50:54:33:00:00:01", "vtep": "192.0.2.1", "addresses": ["10.0.0.1", "fe80::1"]}\n'
        "]}\n"
    )
    assert json.loads(text)["version"] == 1
    assert claims.dump([]) == '{"version": 1, "endpoints": [\n\n]}\n'
    assert claims.document(claims.dump([]).encode()) == ([], [])


def test_reading_a_document_takes_little_more_memory_than_their_claims():
    some = [
        CLAIM._replace(mac=b"P" + n.to_bytes(5, "big"), addresses=(b"\n" + n.to_bytes(3, "big"),)) for n in range(20000)
    ]
    data = claims.dump(some).encode()
    del some
    tracemalloc.start()
    try:
        found, _faults = claims.document(data)
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 20000
    assert size < 20000 * 350
    assert peak < size + (2 << 20)


# -- etcd


def test_a_key_and_its_value_are_a_claim():
    assert claims.etcd_key(PREFIX, 100, MAC, VTEP).encode() == KEY
    assert claims.etcd_key(PREFIX + "/", 100, MAC, VTEP6) == f"{KEY.decode()[:-9]}2001:db8::1"
    assert claims.to_etcd(CLAIM) == b'{"addresses": ["10.0.0.1", "fe80::1"]}'
    assert claims.from_etcd(PREFIX, KEY, claims.to_etcd(CLAIM), 7) == CLAIM
    assert claims.from_etcd(PREFIX, KEY, b"{}", 7) == CLAIM._replace(addresses=())
    assert claims.etcd_endpoint(PREFIX, KEY) == (100, MAC, VTEP)


@MANY
@given(CLAIMS, st.sampled_from(["", "/", "/vtep.fabric", "/a/b/"]))
def test_what_is_written_to_etcd_is_read_back(claim, prefix):
    key = claims.etcd_key(prefix, *claim[:3]).encode()
    assert claims.from_etcd(prefix, key, claims.to_etcd(claim), claim.order) == claim


@pytest.mark.parametrize(
    "old, new",
    [
        (b"/100/", b"/0/"),
        (b"/100/", b"/0100/"),
        (b"/100/", b"/+100/"),
        (b"/100/", b"/1_0/"),
        (b"/100/", b"/ 100/"),
        (b"/100/", b"/16777216/"),
        (b"/100/", b"/%s/" % (b"9" * 5000)),
        (b"/100/", "/१००/".encode()),
        (b"33:00:00:01", b"33-00-00-01"),
        (b"50:54:33", b"50:54:3A"),
        (b"50:54:33", b"51:54:33"),
        (b"192.0.2.1", b"224.0.0.1"),
        (b"192.0.2.1", b"2001:db8:0::1"),
        (b"192.0.2.1", b"192.0.2.1/"),
        (b"192.0.2.1", b""),
        (b"/vtep.fabric", b"/vtep.other"),
        (b"/endpoints/", b"/endpoint/"),
        (b"/100/", b"/\xff/"),
        (b"/100/", b"/\n/"),
    ],
    ids=name,
)
def test_a_key_in_another_spelling_is_no_endpoints(old, new):
    assert "is no endpoint's; write it like /vtep.fabric/endpoints/" in refusal(
        claims.etcd_endpoint, PREFIX, KEY.replace(old, new)
    )


@pytest.mark.parametrize(
    "value, words",
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"addresses": []} x', "is not JSON"),
        (b"[" * 60000, "is not JSON"),
        (b'{"addresses": [%s]}' % (b"9" * 60000), "addresses: inf is not one station's address"),
        (b"[]", "[] is no endpoint"),
        (b"null", "None is no endpoint"),
        (b'{"addresses": ["10.0.0.1/24"]}', "addresses: '10.0.0.1/24' is not one station's address"),
        (b" " * 65537, "has 65537 octets"),
    ],
    ids=name,
)
def test_a_value_that_is_refused_is_named_by_its_key(value, words):
    text = refusal(claims.from_etcd, PREFIX, KEY, value, 1)
    assert text.startswith("100/50:54:33:00:00:01/192.0.2.1: ")
    assert words in text


@MANY
@given(
    st.sampled_from([PREFIX, "", "/\x1b\n" * 100]),
    st.binary(max_size=200)
    | st.sampled_from([KEY, KEY + b"\x1b"])
    | st.text().map(lambda text: KEY[:23] + text.encode()),
    st.binary(max_size=100) | ENTRIES.map(lambda value: json.dumps(value).encode()),
)
def test_any_key_and_value_are_a_claim_or_refused(prefix, key, value):
    try:
        found = claims.from_etcd(prefix, key, value, 1)
    except ValueError as error:
        assert is_one_short_line(str(error))
    else:
        assert is_sound(found)
