# SPDX-License-Identifier: GPL-3.0-or-later
"""Module link against the kernel, judged by iproute2."""

import json
import os

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.link import info
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.link import Links
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    MissingError,
    RefusedError,
)
from device_support import MARKS, data, ip, link, names, port, private, sh, twice, vxlan

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _namespace():
    with private():
        sh("ip link set lo up")
        yield


@pytest.fixture
def links():
    adapter = Links()
    yield adapter
    adapter.close()


def addresses(name):
    found = json.loads(sh(f"ip -j addr show dev {name}"))[0]["addr_info"]
    return {f"{one['local']}/{one['prefixlen']}" for one in found if one["scope"] == "global"}


def has(kind):
    adapter = Links()
    try:
        return adapter.has_kind(kind)
    finally:
        adapter.close()


FABRIC = [
    {
        "name": "eth9",
        "master": "br100",
        "port": {"learning": False, "flood": False, "isolated": True, "cost": 7, "priority": 3, "neigh_suppress": True},
        "up": True,
    },
    {
        "name": "br100",
        "type": "bridge",
        "mtu": 1500,
        "address": "02:00:00:00:01:00",
        "alias": "vtep.fabric vni 100",
        "addrgenmode": "none",
        "bridge": {
            "mcast_snooping": False,
            "mcast_querier": True,
            "stp_state": True,
            "priority": 4096,
            "forward_delay": 400,
            "ageing_time": 12300,
            "group_fwd_mask": 8,
        },
        "up": True,
    },
    {"name": "eth8", "type": "veth", "veth": {"peer": "eth9"}, "mtu": 1600, "up": True, "addresses": ["192.0.2.1/24"]},
]


def test_a_fabric_in_one_call_listed_in_any_order():
    done = twice(link, links=FABRIC)
    assert {one["name"]: one["action"] for one in done.result["links"]} == {
        "eth9": "changed",
        "br100": "created",
        "eth8": "created",
    }
    bridge = ip("br100")
    assert (bridge["mtu"], bridge["address"]) == (1500, "02:00:00:00:01:00")
    assert (bridge["ifalias"], bridge["inet6_addr_gen_mode"]) == ("vtep.fabric vni 100", "none")
    assert "UP" in bridge["flags"]
    told = data("br100")
    assert (told["mcast_snooping"], told["mcast_querier"], told["stp_state"]) == (0, 1, 1)
    assert (told["priority"], told["forward_delay"], told["ageing_time"]) == (4096, 400, 12300)
    assert int(str(told["group_fwd_mask"]), 0) == 8
    assert (ip("eth9")["master"], ip("eth9")["link"]) == ("br100", "eth8")
    told = port("eth9")
    assert (told["learning"], told["flood"], told["isolated"], told["neigh_suppress"]) == (False, False, True, True)
    assert (told["cost"], told["priority"], told["mcast_flood"]) == (7, 3, True)
    assert ip("eth8")["mtu"] == 1600
    assert addresses("eth8") == {"192.0.2.1/24"}


def test_each_port_setting_and_bridge_setting_is_the_one_it_says():
    sh("ip link add br1 type bridge")
    sh("ip link add p1 type veth peer name p2")
    sh("ip link set p1 master br1")
    words = {"mcast_flood": "mcast_flood", "bcast_flood": "bcast_flood", "hairpin": "hairpin", "guard": "guard"}
    words |= {"learning": "learning", "flood": "flood", "neigh_suppress": "neigh_suppress", "isolated": "isolated"}
    for option, word in words.items():
        before = port("p1")
        twice(link, name="p1", port={option: not before[word]})
        after = port("p1")
        assert {key for key in before if before[key] != after[key]} - {"forward_delay_timer"} == {word}


def test_what_is_not_given_is_left_alone():
    link(links=FABRIC)
    sh("ip link set br100 mtu 1400")
    link(links=[{"name": "br100", "type": "bridge", "bridge": {"mcast_querier": False}}])
    assert ip("br100")["mtu"] == 1400
    assert data("br100")["mcast_snooping"] == 0
    assert data("br100")["mcast_querier"] == 0


def test_answers_can_be_given_back():
    link(links=FABRIC)
    sh("ip link add vxlan5 type vxlan id 5 dstport 4789")
    told = info({"name": None, "type": None})["links"]
    assert {one["name"] for one in told} == names()
    options = set(link.__globals__["Devices"].device)
    entries = [{key: value for key, value in one.items() if key in options} for one in told]
    assert not link(links=entries).changed


def test_masters_are_left_and_changed():
    link(links=FABRIC)
    sh("ip link add br200 type bridge")
    twice(link, name="eth9", master="br200", port={"learning": False})
    assert (ip("eth9")["master"], port("eth9")["learning"]) == ("br200", False)
    twice(link, name="eth9", master="")
    assert "master" not in ip("eth9")


@pytest.mark.parametrize(("ports", "wanted"), [(1500, 1400), (1600, 1500)])
def test_a_bridge_has_its_mtu_whatever_its_ports_have(ports, wanted):
    for name in ("p0", "p1"):
        sh(f"ip link add {name} mtu {ports} type veth peer name {name}x")
    bridge = {"name": "br1", "type": "bridge", "mtu": wanted}
    twice(link, links=[bridge, {"name": "p0", "master": "br1"}])
    twice(link, links=[bridge, {"name": "p1", "master": "br1"}])
    assert ip("br1")["mtu"] == wanted


def test_down_and_up():
    link(links=FABRIC)
    twice(link, name="eth8", up=False)
    assert "UP" not in ip("eth8")["flags"]
    twice(link, name="eth8", up=True)
    assert "UP" in ip("eth8")["flags"]


# Addresses


def test_addresses_are_marked_and_only_the_marked_go():
    sh("ip addr add 198.51.100.1/32 dev lo")
    sh("ip link add v0 type veth peer name v1")
    sh("ip addr add 2001:db8::99/64 dev v0")
    listed = [
        {"name": "lo", "addresses": ["2001:db8:1::1", "203.0.113.1", "198.51.100.1/32"]},
        {"name": "v0", "addresses": ["192.0.2.7/24"]},
    ]
    twice(link, links=listed)
    assert addresses("lo") == {"2001:db8:1::1/128", "203.0.113.1/32", "198.51.100.1/32"}
    told = {one["name"]: one for one in info({"name": None, "type": None})["links"]}
    assert told["lo"]["owned_addresses"] == ["203.0.113.1/32", "2001:db8:1::1/128"]
    twice(link, name="lo", addresses=["203.0.113.1"], purge_addresses="listed")
    assert addresses("lo") == {"203.0.113.1/32", "198.51.100.1/32"}
    assert addresses("v0") == {"2001:db8::99/64", "192.0.2.7/24"}
    twice(link, links=[], purge_addresses="owned")
    assert addresses("lo") == {"198.51.100.1/32"}
    assert addresses("v0") == {"2001:db8::99/64"}


def test_another_prefix_length_replaces_the_address():
    for before, after in (("2001:db8::1/128", "2001:db8::1/64"), ("192.0.2.1/32", "192.0.2.1/24")):
        twice(link, name="lo", addresses=[before])
        twice(link, name="lo", addresses=[after])
        assert after in addresses("lo")
        assert before not in addresses("lo")


# Removing


def test_purge_removes_ours_in_an_order_that_works():
    sh("ip link add mine type bridge")
    link(links=[*FABRIC, {"name": "br7", "type": "bridge", "alias": "vtep.fabric"}])
    link(links=[{"name": "eth8", "type": "veth", "alias": "vtep.fabric"}])
    twice(link, links=[{"name": "br7"}], purge="owned")
    assert names() == {"lo", "mine", "br7"}
    twice(link, links=[], purge="owned")
    assert names() == {"lo", "mine"}


PORTS = ("mine", "moved", "parent", "theirs")
BRIDGE = {"name": "br100", "type": "bridge", "alias": "vtep.fabric vni 100", "up": True}


def ports_of():
    """{port: (its bridge, its link group)}, as iproute2 tells."""
    told = {one["ifname"]: one for one in json.loads(sh("ip -j link"))}
    return {name: (told[name].get("master"), told[name]["group"]) for name in PORTS}


def test_a_port_that_is_no_longer_named_leaves_our_bridge_and_no_other():
    for name in PORTS:
        sh(f"ip link add {name} type veth peer name {name}-peer")
    ours = [{"name": name, "master": "br100", "port": {"isolated": True, "learning": False}} for name in PORTS[:3]]
    twice(link, links=[BRIDGE, *ours], purge="owned")
    for command in (
        "ip link add own type bridge",
        "ip link set moved master own",
        "ip link set theirs master br100",
        "bridge fdb add 02:00:00:00:00:07 dev mine master static",
        "ip link add vxlan1 type vxlan id 1 dstport 4789",
        "ip link set vxlan1 alias vtep.fabric",
        "ip link set vxlan1 master br100",
    ):
        sh(command)
    assert ports_of() == {
        "mine": ("br100", "118"), "moved": ("own", "118"), "parent": ("br100", "118"), "theirs": ("br100", "default"),
    }  # fmt: skip
    twice(link, links=[BRIDGE, *ours], purge="none")  # which takes "moved" back
    sh("ip link set moved master own")
    twice(link, links=[BRIDGE, {"name": "parent", "up": True}], purge="owned")
    assert ports_of() == {
        "mine": (None, "default"), "moved": ("own", "default"), "parent": (None, "default"), "theirs": ("br100", "default"),
    }  # fmt: skip
    assert "02:00:00:00:00:07" not in sh("bridge fdb show dev mine")
    assert "master br100" in sh("ip link show vxlan1")
    sh("ip link set mine master own")
    assert " isolated off" in sh("bridge -d link show dev mine")
    assert " learning on" in sh("bridge -d link show dev mine")


def test_a_port_loses_the_mark_with_the_bridge_and_keeps_a_group_of_somebody_elses():
    for name in PORTS:
        sh(f"ip link add {name} type veth peer name {name}-peer")
    sh("ip link set mine group 7")
    twice(
        link, links=[BRIDGE, {"name": "mine", "master": "br100"}, {"name": "moved", "master": "br100"}], purge="owned"
    )
    sh("ip link add own type bridge")
    twice(link, links=[{"name": "parent", "master": "own"}])
    assert ports_of() == {
        "mine": ("br100", "7"), "moved": ("br100", "118"), "parent": ("own", "default"), "theirs": (None, "default"),
    }  # fmt: skip
    twice(link, links=[], purge="owned")
    assert ports_of() == {
        "mine": (None, "7"), "moved": (None, "default"), "parent": ("own", "default"), "theirs": (None, "default"),
    }  # fmt: skip


def test_absent():
    sh("ip link add br1 type bridge")
    twice(link, name="br1", type="bridge", state="absent")
    assert names() == {"lo"}
    assert not link(name="br1", type="bridge", state="absent").changed
    sh("ip link add vxlan1 type vxlan id 1 dstport 4789")
    for state in ("absent", "present"):
        with pytest.raises(RefusedError, match="vxlan1: it is a device of kind vxlan, not bridge, and is not touched"):
            link(name="vxlan1", type="bridge", state=state)


def test_a_device_under_another_stays():
    sh("ip link add br1 type bridge")
    sh("ip link set br1 alias vtep.fabric")
    sh("ip link add vxlan1 type vxlan id 1 dstport 4789 dev br1")
    for options in ({"links": [], "purge": "owned"}, {"name": "br1", "type": "bridge", "state": "absent"}):
        with pytest.raises(RefusedError, match="br1: vxlan1 is on top of it"):
            link(**options)
        # What an earlier task of a dry run would have removed.
        assert link(checking=True, assume_gone=["vxlan1"], **options).changed
    assert names() == {"lo", "br1", "vxlan1"}


def test_a_device_that_a_dry_run_has_not_removed_is_made():
    options = {"name": "vxlan1", "id": 1, "dstport": 4789}
    vxlan(**options)
    assert not vxlan(checking=True, **options).changed
    told = vxlan(checking=True, assume_gone=["vxlan1", "nix"], **options)
    assert [device["action"] for device in told.result["devices"]] == ["created"]


# Refused, before anything changed


def test_a_missing_master_is_told_before_the_first_change():
    sh("ip link add v0 type veth peer name v1")
    options = {"links": [{"name": "v0", "mtu": 1400, "master": "br9"}, {"name": "nix", "up": True}]}
    assert link(checking=True, **options).changed
    with pytest.raises(InputError, match="v0: master: there is no device br9; nix: name: there is no such device"):
        link(**options)
    assert ip("v0")["mtu"] == 1500


def test_a_veth_pair_with_another_peer_is_made_anew_only_when_asked():
    sh("ip link add v0 type veth peer name v1")
    with pytest.raises(RefusedError, match=r"v0: veth.peer \(v1 -> v2\) cannot change"):
        link(name="v0", type="veth", veth={"peer": "v2"})
    sh("ip link set v0 mtu 1400 up")
    sh("ip addr add 192.0.2.1/24 dev v0")
    address = ip("v0")["address"]
    twice(link, name="v0", type="veth", veth={"peer": "v2"}, recreate=True)
    assert names() == {"lo", "v0", "v2"}
    assert (ip("v0")["mtu"], ip("v0")["address"]) == (1400, address)
    assert addresses("v0") == {"192.0.2.1/24"}


def test_a_peer_in_another_namespace_is_not_compared():
    sh("ip link add v0 type veth peer name v1")
    sh("ip netns add linktest")
    try:
        sh("ip link set v1 netns linktest")
        assert not link(name="v0", type="veth", veth={"peer": "v1"}).changed
    finally:
        sh("ip netns del linktest")


def test_the_kernels_own_words():
    sh("ip link add br1 type bridge")
    sh("ip link add br2 type bridge")
    with pytest.raises(KernelError) as told:
        link(name="br2", master="br1")
    assert str(told.value) == "br2: set master br1: Can not enslave a bridge to a bridge (errno 40)"


def test_unprivileged_names_what_it_takes():
    """A child that has no rights asks for a change."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            link(name="lo", mtu=1500)
            words = "it worked"
        except BaseException as error:
            words = str(error)
        os.write(writer, words.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        words = pipe.read()
    os.waitpid(child, 0)
    assert words == "lo: set mtu 1500: Operation not permitted: it takes root or CAP_NET_ADMIN (become: true) (errno 1)"


@pytest.mark.skipif(has("dummy"), reason="this kernel has dummy devices")
def test_a_kernel_without_dummy_is_told_before_the_first_change():
    for checking in (True, False):
        with pytest.raises(MissingError, match="^kernel has no DUMMY: CONFIG_DUMMY$"):
            link(checking, links=[{"name": "lo", "mtu": 1500}, {"name": "d0", "type": "dummy"}])
    assert ip("lo")["mtu"] == 65536


@pytest.mark.skipif(not has("dummy"), reason="this kernel has no DUMMY: test_a_kernel_without_dummy runs instead")
def test_dummy():
    twice(link, name="d0", type="dummy", mtu=1400, up=True, addresses=["192.0.2.1"])
    assert ip("d0")["mtu"] == 1400


@pytest.mark.skipif(has("vlan"), reason="this kernel has VLAN devices")
def test_a_kernel_without_vlan_is_told():
    with pytest.raises(MissingError, match="^kernel has no VLAN_8021Q: CONFIG_VLAN_8021Q$"):
        link(name="v5", type="vlan", vlan={"dev": "lo", "id": 5})


@pytest.mark.skipif(not has("vlan"), reason="this kernel has no VLAN_8021Q: test_a_kernel_without_vlan runs instead")
def test_vlan():
    sh("ip link add v0 up type veth peer name v1")  # a VLAN device comes up only on one that is up
    twice(link, name="v0.5", type="vlan", vlan={"dev": "v0", "id": 5}, mtu=1400, up=True)
    assert (data("v0.5")["id"], data("v0.5")["protocol"], ip("v0.5")["link"]) == (5, "802.1Q", "v0")
    with pytest.raises(RefusedError, match=r"vlan.id \(5 -> 6\)"):
        link(name="v0.5", type="vlan", vlan={"id": 6})
    twice(link, name="v0.5", type="vlan", vlan={"id": 6, "protocol": "802.1ad"}, recreate=True)
    assert (data("v0.5")["id"], ip("v0.5")["mtu"]) == (6, 1400)


def test_vlan_filtering_or_its_absence():
    try:
        link(name="br1", type="bridge", bridge={"vlan_filtering": True})
    except (MissingError, KernelError):
        # A half-made new device is removed again.
        assert names() == {"lo"}
    else:
        assert data("br1")["vlan_filtering"] == 1


def test_many_devices_in_one_read(monkeypatch):
    reads = []
    read = Links.read
    monkeypatch.setattr(Links, "read", lambda self: reads.append(1) or read(self))
    listed = [{"name": f"br{number}", "type": "bridge", "alias": "vtep.fabric"} for number in range(30)]
    link(links=listed)
    reads.clear()
    assert not link(links=listed).changed
    assert len(reads) == 1


def test_the_probe_makes_nothing(links):
    assert links.has_kind("bridge")
    assert links.has_kind("vxlan")
    assert not links.has_kind("nosuchkind")
    assert names() == {"lo"}
