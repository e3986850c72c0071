"""The route module's core against the kernel, in a private network namespace, cross-checked with `ip`."""

import errno
import itertools
import json
import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.route import RouteResource, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, rtnl
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import route as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    MissingError,
    RefusedError,
    VerifyError,
)
from device_support import MARKS, private, sh
from table_support import converged, counted

pytestmark = MARKS

ENCAP = "encap ip6 id 100 src 2001:db8:1::1 dst 2001:db8:2::1 ttl 5"
MAC, FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture(autouse=True)
def namespace():
    with private():
        Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("1")  # no link-local addresses
        sh(
            "ip link set lo up",
            f"ip link add vxlan100 address {MAC} type vxlan external dstport 4789 udp6zerocsumrx",
            "ip link add eth1 type veth peer name far1",
            "ip link set vxlan100 up",
            "ip link set far1 up",
            "ip link set eth1 up",
            "ip addr add 198.51.100.1/24 dev eth1",
            "ip addr add 2001:db8:5::1/64 dev eth1 nodad",
        )
        yield


def run(table=None, check=False, diff=False, **more):
    return converged(RouteResource(diff), check, table=table, **more)


def counts(*args, **more):
    return counted(run, shown, *args, **more)


def shown(**words):
    """What `ip` shows of all routes, or of those with some words."""
    texts = [sh(f"ip -{family} -j -d route show table all") for family in (4, 6)]
    rows = [row for text in texts for row in json.loads(text, object_pairs_hook=_flat) if not _late(row)]
    return [row for row in rows if set(words.items()) <= _plain(row)]


def _late(row):
    """Whether the kernel brings this route by itself, some time after eth1 has come up."""
    return row["dst"].startswith(("ff00::/8", "2001:db8:5::")) and row["protocol"] in ("kernel", 2)


def _plain(row):
    return {(name, value) for name, value in row.items() if not isinstance(value, (list, dict))}


def _flat(pairs):
    """A dictionary of what `ip` writes. iproute2 6.1 writes the encapsulation's words among the route's, newer ones apart."""
    flat = {}
    for name, value in pairs:
        if name == "encap" and isinstance(value, dict):
            flat.update({f"encap_{word}" if word in flat else word: known for word, known in value.items()})
            name, value = "encap", flat.pop("encap_type")
        flat[f"encap_{name}" if name in flat else name] = value
    return flat


def ours():
    return {(row["type"], row["dst"], row["table"], row.get("metric")): row for row in shown(protocol="118")}


def notes(groups=0x440):
    """A socket that hears of every change to routes of both families."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, groups))
    sock.setblocking(False)
    return sock


def heard(sock):
    """(message type, flags) of the changes."""
    told = []
    while True:
        try:
            data = sock.recv(1 << 16)
        except BlockingIOError:
            return told
        told += [found[:2] for found in codec.messages(data)]


def test_routes_as_ip_shows_them():
    sh("ip nexthop add id 7 via 198.51.100.7 dev eth1", "ip -6 nexthop add id 8 dev vxlan100")
    table = f"""
    2001:db8:ff::11/128 {ENCAP} tos 4 csum dev vxlan100
    192.0.2.11/32 {ENCAP} key dev vxlan100 table 1000 tos 16 metric 5 src 198.51.100.1 mtu 1400
    192.0.2.12 encap ip id 16777215 dst 203.0.113.2 seq dev vxlan100
    192.0.2.10/32 dev eth1 table 4294967295
    unreachable 0.0.0.0/0 table 1000 metric 4278198272
    prohibit ::/0 table 1000 metric 4278198272
    blackhole 2001:db8:66::/48 table local
    203.0.113.0/24 via 198.51.100.9 dev eth1
    198.18.0.0/15 via 203.0.113.200 dev eth1 onlink
    10.1.0.0/16 nexthop via 198.51.100.2 dev eth1 weight 3 nexthop {ENCAP} via 192.0.2.99 dev vxlan100 onlink
    2001:db8:7::/64 nexthop via 2001:db8:5::2 dev eth1 weight 256 nexthop {ENCAP} via fe80::3 dev vxlan100
    10.2.0.0/16 nhid 7
    2001:db8:8::/64 nhid 8
    2001:db8:9::/64 via fe80::9 dev eth1 src 2001:db8:5::1 mtu 1280
    """
    assert counts(table) == (14, 0, 0, 0)
    got = ours()
    six = {"encap": "ip6", "id": 100, "src": "2001:db8:1::1", "encap_dst": "2001:db8:2::1", "hoplimit": 5}

    def expect(key, **words):
        row = got.pop(key)
        assert {name: row.get(name) for name in words} == words, row

    expect(("unicast", "2001:db8:ff::11", "main", 1024), dev="vxlan100", **six, tc=4)
    expect(
        ("unicast", "192.0.2.11", "1000", 5), dev="vxlan100", tos="0x10", prefsrc="198.51.100.1", scope="link", **six
    )
    expect(("unicast", "192.0.2.12", "main", None), encap="ip", id=16777215, ttl=0, scope="link")
    expect(("unicast", "192.0.2.10", "4294967295", None), dev="eth1", scope="link")
    expect(("unreachable", "default", "1000", 4278198272), scope="global")
    got.pop(("blackhole", "2001:db8:66::/48", "local", 1024))
    got.pop(("prohibit", "default", "1000", 4278198272))
    expect(("unicast", "203.0.113.0/24", "main", None), gateway="198.51.100.9", dev="eth1", scope="global", flags=[])
    expect(("unicast", "198.18.0.0/15", "main", None), gateway="203.0.113.200", flags=["onlink"])
    hops = got.pop(("unicast", "10.1.0.0/16", "main", None))["nexthops"]
    assert [(hop["gateway"], hop["dev"], hop["weight"]) for hop in hops] == [
        ("198.51.100.2", "eth1", 3),
        ("192.0.2.99", "vxlan100", 1),
    ]
    assert hops[1]["id"] == 100 and hops[1]["flags"] == ["onlink"]
    hops = got.pop(("unicast", "2001:db8:7::/64", "main", 1024))["nexthops"]
    assert {hop["gateway"]: hop["weight"] for hop in hops} == {"2001:db8:5::2": 256, "fe80::3": 1}
    expect(("unicast", "10.2.0.0/16", "main", None), nhid=7)
    expect(("unicast", "2001:db8:8::/64", "main", 1024), nhid=8)
    expect(
        ("unicast", "2001:db8:9::/64", "main", 1024),
        gateway="fe80::9",
        prefsrc="2001:db8:5::1",
        metrics=[{"mtu": 1280}],
    )
    assert not got
    text = (
        sh("ip -d route show table 1000") + sh("ip -6 -d route show table 1000") + sh("ip -6 -d route show table main")
    )
    assert "tos 0x10" in text and "mtu 1400" in text and "prohibit default" in text
    assert "hoplimit 5 tc 4 csum dev vxlan100" in text


def test_entries_say_the_same_as_the_table():
    encap = {"type": "ip6", "id": 100, "src": "2001:db8:1::1", "dst": "2001:db8:2::1", "ttl": 5, "flags": ["csum"]}
    hops = [{"dev": "eth1", "via": "198.51.100.2", "weight": 3}, {"dev": "eth1", "via": "198.51.100.3"}]
    entries = [
        {"dst": "2001:db8:ff::11", "dev": "vxlan100", "encap": encap, "table": "1000"},
        {"dst": "10.1.0.0/16", "nexthops": hops, "via": None, "onlink": False},
        {"dst": "::/0", "type": "unreachable", "table": "77", "metric": 9},
    ]
    table = f"""
    2001:db8:ff::11/128 {ENCAP} csum dev vxlan100 table 1000
    10.1.0.0/16 nexthop via 198.51.100.2 dev eth1 weight 3 nexthop via 198.51.100.3 dev eth1
    unreachable ::/0 metric 9 table 77
    """
    assert counts(entries=entries) == (3, 0, 0, 0)
    assert run(table, check=True).result["rows"]["unchanged"] == 3


def test_purge_takes_our_own_in_all_tables_and_nothing_else():
    sh("ip route add 10.9.0.0/16 dev eth1 proto static", "ip route add 10.9.1.0/24 dev eth1 table 1000 proto bgp")
    before = shown()
    table = f"2001:db8:ff::11 {ENCAP} dev vxlan100 table 1000\n192.0.2.10 dev eth1\nunreachable ::/0 table 7\n"
    many = "".join(f"10.8.{i >> 8}.{i & 255} {ENCAP} dev vxlan100 table 1000\n" for i in range(700))
    counts(table + many)
    assert counts("192.0.2.10/32 dev eth1", purge="owned") == (0, 0, 702, 1)
    assert counts("", purge="owned") == (0, 0, 1, 0)
    assert shown() == before


@pytest.mark.parametrize("proto", ["kernel", "boot", "static", "bgp", "ra", "dhcp", "zebra", "77"])
@pytest.mark.parametrize("dst", ["192.0.2.0/24", "2001:db8:ff::/64"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_routes_of_others_are_refused_by_name(proto, dst, state):
    sh(f"ip route add {dst} dev eth1 proto {proto}")
    before = shown()
    for check in (True, False):
        with pytest.raises(RefusedError) as caught:
            run(f"203.0.113.0/24 dev eth1\n{dst} dev eth1", check=check, state=state)
        assert dst in str(caught.value) and f"proto {proto}" in str(caught.value)
    assert shown() == before


def test_another_metric_or_table_stands_beside_routes_of_others():
    sh("ip route add 192.0.2.0/24 dev eth1 proto static", "ip route add 2001:db8:ff::/64 dev eth1 proto static")
    table = "192.0.2.0/24 dev eth1 metric 5\n192.0.2.0/24 dev eth1 tos 8\n192.0.2.0/24 dev eth1 table 9\n"
    assert counts(table + "2001:db8:ff::/64 dev eth1 metric 7", purge="owned") == (4, 0, 0, 0)
    assert len(shown(dst="192.0.2.0/24")) == 4
    assert counts("", purge="owned") == (0, 0, 4, 0)
    assert len(shown(protocol="static")) == 2


@pytest.mark.parametrize(
    ("dst", "old", "new"),
    [
        ("192.0.2.11", f"{ENCAP} dev vxlan100", f"{ENCAP} tos 8 dev vxlan100"),
        ("2001:db8:ff::11", f"{ENCAP} dev vxlan100", f"{ENCAP.replace('100', '200')} dev vxlan100"),
        ("2001:db8:ff::11", "via fe80::1 dev eth1", "via fe80::2 dev eth1"),
        ("2001:db8:ff::11", "dev eth1", "nexthop via fe80::1 dev eth1 nexthop via fe80::2 dev eth1"),
        ("2001:db8:ff::11", "nexthop via fe80::1 dev eth1 nexthop via fe80::2 dev eth1", f"{ENCAP} dev vxlan100"),
        ("2001:db8:ff::11", "via fe80::1 dev eth1", "nhid 8"),
        ("192.0.2.11", "nhid 7", "dev eth1 mtu 1400"),
        ("192.0.2.11", "dev eth1", "dev eth1 src 198.51.100.1"),
    ],
)
def test_a_change_is_one_replacement(dst, old, new):
    sh("ip nexthop add id 7 via 198.51.100.7 dev eth1", "ip -6 nexthop add id 8 dev vxlan100")
    assert counts(f"{dst} table 5 {old}") == (1, 0, 0, 0)
    run(f"unreachable {dst} table 6")
    with notes() as sock:
        assert run(f"{dst} table 5 {new}").result["rows"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": 0}
        told = heard(sock)
        if new != "nhid 8":  # where the kernel tells nothing
            assert told and told[0] == (kernel.RTM_NEWROUTE, codec.NLM_F_REPLACE)
        assert all(kind == kernel.RTM_NEWROUTE for kind, _flags in told)
    assert len(shown(table="5")) == len(shown(table="6")) == 1
    assert counts(f"{dst} table 5 {new}") == (0, 0, 0, 1)
    assert counts(f"unreachable {dst} table 5") == (0, 1, 0, 0)


def test_what_was_appended_to_our_routes_goes():
    counts("2001:db8:ff::/64 via fe80::1 dev eth1\n192.0.2.0/24 via 198.51.100.2 dev eth1")
    sh("ip route append 2001:db8:ff::/64 via fe80::2 dev eth1 proto 118")
    sh("ip route append 192.0.2.0/24 via 198.51.100.3 dev eth1 proto 118")
    sh("ip route append 192.0.2.0/24 via 198.51.100.4 dev eth1 proto static")
    table = "2001:db8:ff::/64 via fe80::1 dev eth1\n192.0.2.0/24 via 198.51.100.2 dev eth1"
    assert counts(table) == (0, 1, 1, 1)
    assert [row["gateway"] for row in shown(dst="192.0.2.0/24")] == ["198.51.100.2", "198.51.100.4"]
    assert [row["gateway"] for row in shown(dst="2001:db8:ff::/64")] == ["fe80::1"]


def test_two_of_our_own_at_one_place_become_one():
    sh("ip route add 192.0.2.0/24 via 198.51.100.3 dev eth1 proto 118")
    sh("ip route append 192.0.2.0/24 via 198.51.100.4 dev eth1 proto 118")
    sh("ip route add 2001:db8:ff::/64 dev eth1 proto 118", "ip route append 2001:db8:ff::/64 dev vxlan100 proto 118")
    assert counts("192.0.2.0/24 dev eth1\n2001:db8:ff::/64 via fe80::1 dev eth1") == (0, 2, 2, 0)
    assert len(ours()) == 2 == len(shown(protocol="118"))


def test_what_we_never_write_is_put_right():
    sh(
        "ip route add 192.0.2.0/24 dev eth1 proto 118 initcwnd 20",
        "ip route add 192.0.3.0/24 dev eth1 proto 118 scope global",
        "ip route add throw 192.0.4.0/24 proto 118",
        "ip -6 route add 2001:db8:6::/64 encap seg6 mode encap segs fc00::1 dev eth1 proto 118",
        "ip -6 route add 2001:db8:7::/64 dev eth1 proto 118 pref high",
    )
    table = "192.0.2.0/24\n192.0.3.0/24\n192.0.4.0/24\n2001:db8:6::/64\n2001:db8:7::/64\n".replace("\n", " dev eth1\n")
    assert counts(table) == (0, 5, 0, 0)
    assert not any({"metrics", "encap"} & row.keys() or row["type"] == "throw" for row in ours().values())


def test_absent_names_the_place_only():
    counts(f"192.0.2.11 {ENCAP} dev vxlan100\n2001:db8:ff::11 dev eth1\n2001:db8:ff::11 dev eth1 table 9 metric 5")
    assert counts("192.0.2.11/32\n2001:db8:ff::11 metric 5\n10.0.0.0/8", state="absent") == (0, 0, 1, 0)
    assert counts("2001:db8:ff::11 table 9 metric 5", state="absent") == (0, 0, 1, 0)
    assert [row["dst"] for row in shown(protocol="118")] == ["2001:db8:ff::11"]


def test_devices_that_are_not_there_yet():
    table = f"2001:db8:ff::11 {ENCAP} dev vxlan200\n192.0.2.10 dev eth1"
    checked = run(table, check=True)
    assert checked.result["rows"]["added"] == 2 and "vxlan200" in checked.warnings[0]
    before = shown()
    with pytest.raises(InputError, match="there is no device vxlan200; make it first"):
        run(table)
    sh("ip link add vxlan200 type vxlan external dstport 4790")
    with pytest.raises(InputError, match="vxlan200 is down"):
        run(table)
    with pytest.raises(InputError, match="no nexthop 12; make it first"):
        run("192.0.2.10 dev eth1\n192.0.2.11 nhid 12")
    with pytest.raises(InputError, match=r"src: 203\.0\.113\.7 is not an address of this host"):
        run("192.0.2.10 dev eth1\n192.0.2.11 dev eth1 src 203.0.113.7")
    assert shown() == before
    sh("ip link set vxlan200 up")
    assert run(table).result == checked.result


def test_devices_that_are_about_to_be_made_anew():
    table = f"""
    2001:db8:ff::11 {ENCAP} dev vxlan100
    192.0.2.10 dev eth1
    2001:db8:7::/64 nexthop via fe80::1 dev eth1 nexthop {ENCAP} via fe80::2 dev vxlan100
    2001:db8:8::/64 nexthop {ENCAP} via fe80::1 dev vxlan100 nexthop {ENCAP} via fe80::2 dev vxlan100
    """
    counts(f"{table}\n192.0.2.99 {ENCAP} dev vxlan100")
    checked = run(table, check=True, purge="owned", anew=["vxlan100"])
    assert checked.result["rows"] == {"added": 2, "changed": 1, "removed": 0, "unchanged": 1}
    sh("ip link del vxlan100", "ip link add vxlan100 type vxlan external dstport 4789", "ip link set vxlan100 up")
    outcome = run(table, purge="owned", anew=["vxlan100"])
    assert outcome.result["rows"] == checked.result["rows"]
    assert not run(table, purge="owned").changed


def test_the_kernels_words_are_told():
    with pytest.raises(KernelError) as caught:
        run("192.0.2.0/24 dev eth1\n192.0.3.0/24 via 203.0.113.1 dev eth1")
    assert "192.0.3.0/24 via 203.0.113.1 dev eth1: Nexthop has invalid gateway" in str(caught.value)


def test_what_is_not_there_in_the_end_is_told(monkeypatch):
    write = kernel.Routes.write

    def forgetful(self, operation, wanted):
        operation.rows = operation.rows[1:]
        write(self, operation, wanted)

    monkeypatch.setattr(kernel.Routes, "write", forgetful)
    with pytest.raises(VerifyError, match=r"192\.0\.2\.0/24 dev eth1 is missing"):
        run("192.0.2.0/24 dev eth1\n192.0.3.0/24 dev eth1")


@pytest.mark.parametrize("dst", ["192.0.2.0/24", "2001:db8:ff::/64"])
@pytest.mark.parametrize(
    ("before", "meanwhile", "words", "left"),
    [
        (None, "add {} dev vxlan100 proto static", "File exists", "static"),
        ("118", "del {} dev vxlan100 proto 118", "No such (process|file or directory)|no match found", None),
    ],
)
def test_what_another_does_meanwhile_is_an_error(dst, before, meanwhile, words, left):
    if before:
        sh(f"ip route add {dst} dev vxlan100 proto {before}")
    resource = RouteResource()
    params = {"entries": None, "table": f"{dst} dev eth1", "src": None, "state": "present", "purge": "none", "anew": []}
    desired = resource.normalise(params)
    plan = resource.plan(desired, resource.read(desired))
    sh(f"ip route {meanwhile.format(dst)}")
    with pytest.raises(KernelError, match=words):
        resource.apply(plan)
    resource.close()
    assert [(row["dev"], row["protocol"]) for row in shown(dst=dst)] == ([("vxlan100", left)] if left else [])


def test_a_kernel_without_lwtunnel_is_named(monkeypatch):
    monkeypatch.setattr(kernel, "has_lwtunnel", lambda sock: False)
    with pytest.raises(MissingError, match="kernel has no LWTUNNEL: CONFIG_LWTUNNEL"):
        run(f"192.0.2.10 dev eth1\n192.0.2.11 {ENCAP} dev vxlan100")
    assert not ours()
    assert counts("192.0.2.10 dev eth1") == (1, 0, 0, 0)


def test_a_kernel_without_policy_routing_is_named(monkeypatch):
    """It would put routes of any table into main."""
    dump = rtnl.Rtnl.dump

    def without(self, kind, body, what):
        if kind == kernel.RTM_GETRULE:
            raise KernelError(what, errno.EOPNOTSUPP)
        return dump(self, kind, body, what)

    monkeypatch.setattr(rtnl.Rtnl, "dump", without)
    with pytest.raises(MissingError, match="kernel has no policy routing for IPv6: CONFIG_IPV6_MULTIPLE_TABLES"):
        run("2001:db8:ff::/64 dev eth1 table 1000")
    assert not ours()
    assert counts("2001:db8:ff::/64 dev eth1") == (1, 0, 0, 0)


def test_probing_for_lwtunnel_leaves_nothing():
    before = shown()
    sock = rtnl.Rtnl()
    assert kernel.has_lwtunnel(sock)
    sock.close()
    assert shown() == before


def test_names_of_tables(tmp_path, monkeypatch):
    (tmp_path / "rt_tables").write_text("#\n255 local\n0 unspec\n1000 overlay # a comment\nnonsense\n")
    folder = tmp_path / "rt_tables.d"
    folder.mkdir()
    (folder / "more.conf").write_text("1001 backup\n")
    (folder / "not.read").write_text("1002 nothing\n")
    monkeypatch.setattr(kernel, "TABLE_FILES", (tmp_path / "rt_tables", tmp_path / "absent", folder))
    assert counts("192.0.2.10 dev eth1 table overlay\n192.0.2.10 dev eth1 table backup") == (2, 0, 0, 0)
    assert {row["table"] for row in shown(protocol="118")} == {"1000", "1001"}
    with pytest.raises(InputError, match="'nothing' is no routing table"):
        run("192.0.2.10 dev eth1 table nothing")
    assert len(read_info({"table": ["overlay"], "dev": [], "owned": True})["routes"]) == 1


def test_info_tells_what_ip_tells():
    sh("ip nexthop add id 7 via 198.51.100.7 dev eth1", "ip route add 10.9.0.0/16 dev eth1 proto static")
    sh("ip route add 10.4.0.0/16 dev eth1 initcwnd 20")
    sh("ip route add 2001:db8:6::/64 encap seg6 mode encap segs fc00::1 dev eth1")
    counts(
        f"2001:db8:ff::11 {ENCAP} csum dev vxlan100 table 1000\n192.0.2.11 nhid 7\nblackhole ::/0 table 8\n"
        f"10.1.0.0/16 nexthop via 198.51.100.2 dev eth1 weight 3 nexthop {ENCAP} via 192.0.2.9 dev vxlan100 onlink\n"
    )
    told = read_info({"table": [], "dev": [], "owned": False})["routes"]
    assert len([row for row in told if not _late(row)]) == len(shown())
    by = {(row["dst"], row["table"]): row for row in told}
    assert by["2001:db8:ff::11/128", 1000] == {
        "dst": "2001:db8:ff::11/128", "family": 6, "type": "unicast", "table": 1000, "metric": 1024, "protocol": 118,
        "protocol_name": "118", "owned": True, "dev": "vxlan100", "onlink": False,
        "encap": {
            "type": "ip6", "id": 100, "src": "2001:db8:1::1", "dst": "2001:db8:2::1", "ttl": 5, "tos": 0,
            "flags": ["csum"],
        },
    }  # fmt: skip
    hops = by["10.1.0.0/16", 254]["nexthops"]
    assert [(hop["dev"], hop["via"], hop["weight"], hop["onlink"]) for hop in hops] == [
        ("eth1", "198.51.100.2", 3, False),
        ("vxlan100", "192.0.2.9", 1, True),
    ]
    assert by["192.0.2.11/32", 254]["nhid"] == 7 and by["::/0", 8]["type"] == "blackhole"
    assert by["10.9.0.0/16", 254]["protocol_name"] == "static" and not by["10.9.0.0/16", 254]["owned"]
    assert by["10.4.0.0/16", 254]["other"] == "rtax 11:14000000"
    assert by["2001:db8:6::/64", 254]["other"].startswith("encap 5:")  # LWTUNNEL_ENCAP_SEG6
    assert by["198.51.100.1/32", 255]["type"] == "local" and "other" not in by["198.51.100.1/32", 255]
    for select, count in (
        ({"table": ["1000", "8"]}, 2),
        ({"owned": True}, 4),
        ({"dev": ["vxlan100"], "owned": True}, 2),
    ):
        assert len(read_info({"table": [], "dev": [], "owned": False, **select})["routes"]) == count


def test_thousands_of_routes_in_one_call():
    four = [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32" for i in range(3000)]
    six = [f"2001:db8:ff::{i:x}/128" for i in range(3000)]
    table = "".join(
        f"{dst} encap ip6 id 100 dst 2001:db8:{i % 50 + 1:x}::1 dev vxlan100 table 1000\n"
        for i, dst in itertools.chain(enumerate(four), enumerate(six))
    )
    assert counts(table, purge="owned") == (6000, 0, 0, 0)
    got = {row["dst"]: row["id"] for row in shown(table="1000")}
    assert got.keys() == {dst.rsplit("/", 1)[0].replace("ff::0", "ff::") for dst in four + six}
    moved = table.replace("2001:db8:7::1", "2001:db8:77::1")
    assert counts(moved, purge="owned") == (0, 120, 0, 5880)
    fewer = "".join(moved.splitlines(keepends=True)[::2])
    assert counts(fewer, purge="owned") == (0, 0, 3000, 3000)


@pytest.fixture
def far_namespace():
    """Another network namespace, which eth1's peer has gone to, with a VXLAN device; all of it made with `ip`."""
    name = f"vtfroute{os.getpid()}"
    sh(f"ip netns add {name}")
    try:
        inside = f"ip -n {name}"
        sh(
            f"ip link set far1 netns {name}",
            f"{inside} link set lo up",
            f"{inside} addr add 2001:db8:5::2/64 dev far1 nodad",
            f"{inside} link set far1 up",
            f"{inside} link add vxlan100 address {FAR_MAC} type vxlan external dstport 4789 udp6zerocsumrx",
            f"{inside} link set vxlan100 up",
            f"{inside} addr add 192.0.2.11/32 dev lo",
            f"{inside} addr add 2001:db8:ff::11/128 dev lo nodad",
            f"ip neigh add 192.0.2.11 lladdr {FAR_MAC} dev vxlan100 nud permanent",
            f"ip neigh add 2001:db8:ff::11 lladdr {FAR_MAC} dev vxlan100 nud permanent",
            "ip addr add 192.0.2.10/32 dev lo",
            "ip addr add 2001:db8:ff::10/128 dev lo nodad",
        )
        yield name
    finally:
        sh(f"ip netns del {name}")


@pytest.mark.parametrize(("dst", "kind"), [("192.0.2.11", 0x0800), ("2001:db8:ff::11", 0x86DD)])
@pytest.mark.parametrize("csum", ["", "csum"])
def test_packets_carry_the_vni_and_the_outer_addresses(far_namespace, dst, kind, csum):
    encap = f"encap ip6 id 4711 src 2001:db8:5::1 dst 2001:db8:5::2 ttl 5 tos 0x20 {csum}"
    counts(f"{dst} {encap} dev vxlan100 src {'2001:db8:ff::10' if ':' in dst else '192.0.2.10'}")
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    listen = (
        f"import socket; s = socket.socket({int(family)}, socket.SOCK_DGRAM); s.bind(('{dst}', 7)); s.settimeout(5);"
        "print('ready', flush=True); print(s.recvfrom(99)[1][0])"
    )
    command = ["ip", "netns", "exec", far_namespace, "python3", "-c", listen]
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        wire.bind(("eth1", 0))
        wire.settimeout(5)
        assert listener.stdout.readline() == "ready\n"
        sender.sendto(b"through the tunnel", (dst, 7))
        frame = b""
        while frame[12:14] != b"\x86\xdd" or frame[20] != 17:  # neighbour discovery comes first
            frame = wire.recv(2000)
        assert listener.stdout.read() == ("2001:db8:ff::10\n" if ":" in dst else "192.0.2.10\n")
    head, packet = frame[14:54], frame[54:]
    assert head[0] << 4 & 0xF0 | head[1] >> 4 == 0x20  # traffic class
    assert head[7] == 5  # hop limit
    assert socket.inet_ntop(socket.AF_INET6, head[8:24]) == "2001:db8:5::1"
    assert socket.inet_ntop(socket.AF_INET6, head[24:40]) == "2001:db8:5::2"
    _port, port, _length, checksum = struct.unpack_from("!HHHH", packet)
    assert port == 4789 and bool(checksum) == bool(csum)
    assert int.from_bytes(packet[12:15], "big") == 4711
    inner = packet[16:]
    assert inner[:6].hex(":") == FAR_MAC and struct.unpack_from("!H", inner, 12)[0] == kind
    assert inner.endswith(b"through the tunnel")
