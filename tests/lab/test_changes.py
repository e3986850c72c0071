# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenants with the same MAC and IP addresses side by side, and what is added to or taken from a running fabric.

Tenant A has VNI 100 and endpoints a1 to a3 on s1 to s3; tenant B has VNI 200 and b1 on s1, b2 on s2. The addresses of b1
and b2 are those of a1 and a2.
"""

import json

import pytest
from driver import Fabric, Ping, at_length, surprises

VARIANTS = (
    "multicast", "unicast-static-flood", "unicast-static-l2", "unicast-static-nd", "unicast-static-rsc", "unicast-routing",
)  # fmt: skip
A, B = 100, 200
MACS = {n: f"50:54:33:00:00:0{n}" for n in (1, 2, 3)}
ADDRESSES = {n: [f"2001:db8:ff::1{n}", f"192.0.2.1{n}"] for n in (1, 2, 3)}


def segment(vni):
    router = {"mac": "02:00:00:00:00:01", "addresses": ["2001:db8:ff::fe/64", "192.0.2.254/24"]}
    return {
        "vni": vni,
        "multicast_group": f"ff05::{vni}",
        "routers": [{**router, "vtep_address": "2001:db8:99::1"}],
        "table": 1000000000 + vni,
    }


def endpoint(name):
    n = int(name[1])
    addresses = [*ADDRESSES[n], "2001:db8:ff::b2"] if name == "b2" else ADDRESSES[n]
    port, vni = ("eth1", A) if name[0] == "a" else ("eth2", B)
    return {"name": name, "mac": MACS[n], "addresses": addresses, "vtep": f"s{n}", "port": port, "vni": vni}


def inventory(endpoints=("a1", "a2", "a3", "b1", "b2"), segments=(A, B), vteps=("s1", "s2", "s3")):
    """The hosts are always there and cabled; what of them the fabric knows differs."""
    hosts = {}
    for n in (1, 2, 3):
        tenants = [name for name in ("a1", "a2", "a3", "b1", "b2") if name[1] == str(n)]
        hosts[f"s{n}"] = {
            "vtep_address": f"2001:db8:{n}::1",
            "vtep_underlay_interfaces": ["eth0"],
            "vtep_access_ports": [
                {"dev": "eth1" if name[0] == "a" else "eth2", "vni": vni}
                for name in tenants
                for vni in segments
                if (vni == A) == (name[0] == "a")
            ],
            "lab_links": [
                {"name": "eth0", "to": "underlay", "mtu": 1600},
                *({"name": "eth1" if name[0] == "a" else "eth2", "to": name} for name in tenants),
            ],
        }
        for name in tenants:
            link = {"name": "eth0", "to": f"s{n}", "mac": MACS[n]}
            link["addresses"] = [a + ("/64" if ":" in a else "/24") for a in endpoint(name)["addresses"]]
            hosts[name] = {"lab_links": [link], "lab_masked_units": ["frr.service"]}
    words = {
        "fabric_segments": [segment(vni) for vni in segments],
        "fabric_endpoints": [endpoint(name) for name in endpoints],
        "underlay_ospf_hello_interval": 1,
        "underlay_ospf_dead_interval": 3,
        "underlay_ospf_retransmit_interval": 1,
        "underlay_ospf_lsa_min_arrival": 0,
    }
    return {
        "lab": {
            "vars": {
                "ansible_connection": "vtep.fabric.nspawn",
                "ansible_python_interpreter": "/usr/bin/python3",
                **words,
            },
            "hosts": hosts,
        },
        "vteps": {"hosts": dict.fromkeys(vteps)},
        "endpoints": {"hosts": dict.fromkeys(endpoints)},
    }


class Tenants(Fabric):
    def know(self, **words):
        self.inventories[0].write_text(json.dumps(inventory(**words)))


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tenants")
    fabric = Tenants(directory, directory / "hosts.json")
    fabric.know()
    try:
        fabric.play("playbooks/lab_up.yml")
        yield fabric
    finally:
        fabric.play("playbooks/lab_down.yml")


def answers(fabric, host, address):
    return "1 received" in fabric.run(host, f"ping -n -c 1 -W 1 {address} || true")


@pytest.mark.parametrize(
    "variant",
    [pytest.param(one, marks=() if one in ("unicast-static-nd", "unicast-routing") else at_length) for one in VARIANTS],
)
def test_tenants_with_the_same_addresses(fabric, variant):
    """Every endpoint of a tenant reaches every other one (the proof), and nobody another tenant's."""
    fabric.know()
    fabric.site(variant)
    fabric.verify(variant)
    assert answers(fabric, "b1", "2001:db8:ff::b2")
    assert not answers(fabric, "a1", "2001:db8:ff::b2")
    assert not answers(fabric, "b1", ADDRESSES[3][0])


def lines(changes):
    """What a run changed, line by line: {(task, host): lines that stand on one side only}."""
    found = {}
    for key, diff in changes.items():
        before, after = (set(diff[side].splitlines()) for side in ("before", "after"))
        found[key] = sorted(before ^ after)
    return found


def changed(fabric, variant, **words):
    """The lines that a run changes, while endpoints of others lose no ping; check mode told them before."""
    fabric.know(**words)
    predicted = fabric.site(variant, "--check")
    with Ping(fabric, "a1", ADDRESSES[2][0]) as six, Ping(fabric, "a1", ADDRESSES[2][1]) as four:
        done = fabric.site(variant)
    assert surprises(done, predicted) == []
    assert (six.lost, four.lost) == (0, 0), f"of {six.sent} pings"
    return lines(done)


ROWS = {  # task and lines a VTEP, for an endpoint that comes or goes behind another one, and behind the VTEP itself
    "unicast-static-nd": {"Set the forwarding entries": (1, 0), "Set the neighbours": (2, 0)},
    "unicast-routing": {"Set the neighbours": (4, 2), "Set the routes": (2, 2)},
}


@pytest.mark.parametrize("variant", ["unicast-static-nd", pytest.param("unicast-routing", marks=at_length)])
def test_an_endpoint_comes_and_goes(fabric, variant):
    rest = ("a1", "a2", "b1", "b2")
    fabric.know(endpoints=rest)
    fabric.site(variant)
    for endpoints in ((*rest, "a3"), rest):
        found = changed(fabric, variant, endpoints=endpoints)
        counted = {(task.split(" : ")[-1], host): len(rows) for (task, host), rows in found.items()}
        assert counted == {
            (task, host): counts[host == "s3"]
            for task, counts in ROWS[variant].items()
            for host in ("s1", "s2", "s3")
            if counts[host == "s3"]
        }
        for rows in found.values():
            assert all(MACS[3] in row or any(address in row for address in ADDRESSES[3]) for row in rows)


@pytest.mark.parametrize("variant", ["unicast-routing"])
def test_a_segment_comes_and_goes(fabric, variant):
    only_a = {"segments": (A,), "endpoints": ("a1", "a2", "a3")}
    fabric.know(**only_a)
    fabric.site(variant)
    for words in ({}, only_a):
        found = changed(fabric, variant, **words)
        rows = [row for some in found.values() for row in some]
        assert rows
        assert [row for row in rows if not any(word in row for word in ("200", "eth2"))] == []
    assert "vxlan200" not in fabric.run(
        "s1", "ip -o link; nft list ruleset; ip rule; ip -6 rule; ip route show table all"
    )


@pytest.mark.parametrize("variant", ["unicast-static-flood"])
def test_a_vtep_comes_and_goes(fabric, variant):
    """One that leaves is torn down first, as docs/inventory.md says, while the others still know it."""
    without = {"vteps": ("s1", "s2"), "endpoints": ("a1", "a2", "b1", "b2")}
    fabric.know()
    fabric.play("playbooks/teardown.yml", "--limit", "s3")
    fabric.know(**without)
    fabric.site(variant)
    rows = changed(fabric, variant)
    assert {host for _task, host in rows} == {"s1", "s2", "s3"}
    fabric.verify(variant)
    fabric.play("playbooks/teardown.yml", "--limit", "s3")
    gone = changed(fabric, variant, **without)
    for found in (rows, gone):
        for (_task, host), some in found.items():
            if host != "s3":
                words = ("2001:db8:3::1", MACS[3], *ADDRESSES[3])
                assert [row for row in some if not any(word in row for word in words)] == []
    assert {host for _task, host in gone} == {"s1", "s2"}
