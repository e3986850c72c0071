# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec of a whole fabric, as role macsec sets it up: what the plan says, step by step on three hosts in network namespaces, judged
by packets and by what is on the wire."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.bridge_ports import BridgePorts
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as planning
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_fabric
from macsec_support import MARKS, Host, counted, ping, pinging

pytestmark = MARKS

SECRET = "5e" * 32
OTHER = "7d" * 32
MARKER = b"marker "
NAMES = ("s1", "s2", "s3")


class Fabric:
    """Three VTEPs on one Ethernet segment. Steps are done as the role does them: each on all hosts before the next one."""

    def __init__(self, disk, where):
        self.hosts = {name: Host(name, disk) for name in NAMES}
        self.switch = Host("switch", disk)
        self.where, self.secret = where, SECRET
        self.switch.sh("ip link add br0 type bridge mcast_snooping 0", "ip link set br0 mtu 1700 up")
        for number, host in enumerate(self.hosts.values(), 1):
            self.plug(host, f"02:00:00:00:00:0{number}")
            host.sh(f"ip addr add 203.0.113.{number}/32 dev lo")
        words = {
            "fabric_segments": [{"vni": 100, "mtu": 1500}],
            "encryption": "macsec",
            "fabric_encryption": {"macsec_mode": where, "macsec_secret": SECRET},
        }
        vteps = {
            name: {
                "vtep_address": f"203.0.113.{number}",
                "vtep_underlay_interfaces": [{"dev": "eth0", "mtu": 1700, "addresses": [f"10.0.0.{number}/24"]}],
            }
            for number, name in enumerate(NAMES, 1)
        }
        fabric, faults = planning.read(words, vteps, "unicast-static-flood")
        assert faults == []
        self.plans = {name: planning.compile_host(fabric, "unicast-static-flood", name) for name in NAMES}
        self.device = self.plans["s1"]["macsec"]["devices"][0]["name"]

    def plug(self, host, mac, name="eth0"):
        port = f"p-{host.name}"
        host.sh(f"ip link add {name} address {mac} mtu 1700 type veth peer name {port} netns {self.switch.path}")
        host.sh("ip link set lo up", f"ip link set {name} up")
        self.switch.sh(f"ip link set {port} mtu 1700 master br0 up")

    def close(self):
        for host in (*self.hosts.values(), self.switch):
            host.close()

    def build(self):
        for name in NAMES:
            self.make(name)
        self.turn()

    def make(self, name):
        """What is below and above the MACsec devices, and those without keys."""
        host, number = self.hosts[name], NAMES.index(name) + 1
        if self.where == "inside":
            host.sh(f"ip addr add 10.9.0.{number}/24 dev eth0")
            for other in range(1, 4):
                if other != number:
                    host.sh(f"ip route add 203.0.113.{other}/32 via 10.9.0.{other}")
            host.sh(
                f"ip link add vxlan100 mtu 1532 type vxlan id 100 dstport 4789 local 203.0.113.{number}",
                "ip link set vxlan100 up",
            )
            for other in range(1, 4):
                if other != number:
                    host.sh(f"bridge fdb append 00:00:00:00:00:00 dev vxlan100 dst 203.0.113.{other}")
        host.macsec(devices=self.plans[name]["macsec"]["devices"])
        if self.where == "inside":
            host.sh(
                "ip link add br100 type bridge mcast_snooping 0",
                f"ip link set {self.device} master br100",
                "ip link set br100 up",
            )
        host.sh(f"ip addr add 10.0.0.{number}/24 dev {'br100' if self.where == 'inside' else self.device}")

    def told(self):
        return {name: host.info()["devices"] for name, host in self.hosts.items()}

    def step(self, name, told, step, rotate=False):
        made = macsec_fabric.turn(self.plans[name]["macsec"], told, self.secret, name, step, rotate)
        self.hosts[name].macsec(devices=made["devices"], purge_associations=made["purge"])

    def turn(self, rotate=False, until=()):
        """As tasks/turn.yml. until: (step, the hosts that do it) where the run is killed."""
        told = self.told()
        looks = [
            macsec_fabric.turn(self.plans[name]["macsec"], told, self.secret, name, "receive", rotate) for name in NAMES
        ]
        steps = [
            *(["settle"] if any(look["settle"] for look in looks) else []),
            *(["receive", "transmit"] if any(look["turning"] for look in looks) else []),
            "drop",
        ]
        for step in steps:
            if until and step == until[0]:
                for name in until[1]:
                    self.step(name, told, step, rotate)
                return steps
            for name in NAMES:
                self.step(name, told, step, rotate)
        return steps

    def keys(self):
        return {name: [sa["key_id"] for sa in device["tx"]] for name, (device,) in self.told().items()}

    def all_speak(self, but=()):
        """Each host and each other one, but a pair that pings meanwhile: pings of one host to another hear each other's answers."""
        pairs = [(one, other) for one in NAMES for other in NAMES if one != other and (one, other) != but]
        return {
            pair: ping(self.hosts[pair[0]], f"10.0.0.{NAMES.index(pair[1]) + 1}", 3) for pair in pairs
        } == dict.fromkeys(pairs, 3)


@pytest.fixture(params=["underlay", "inside"])
def fabric(request, tmp_path):
    made = Fabric(tmp_path, request.param)
    made.build()
    yield made
    made.close()


CAPTURE = """
import socket, sys, time
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind((sys.argv[1], 0))
raw.settimeout(0.2)
print("begun", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        print(raw.recv(4096).hex(), flush=True)
    except TimeoutError:
        pass
"""


@contextlib.contextmanager
def captured(host, device, seconds):
    """The frames that a device of a host sends and receives, as a list that is full at the end."""
    with host.here():
        made = subprocess.Popen(
            [sys.executable, "-c", CAPTURE, device, str(seconds)], stdout=subprocess.PIPE, text=True
        )
    assert made.stdout.readline() == "begun\n"
    frames = []
    yield frames
    out = made.communicate(timeout=60)[0]
    frames += [bytes.fromhex(line) for line in out.split()]


def test_all_speak_and_the_wire_tells_nothing(fabric):
    with captured(fabric.switch, "p-s1", 4) as frames:
        assert fabric.all_speak()
    assert len(frames) > 12
    assert not any(MARKER in frame for frame in frames)
    kinds = {frame[12:14].hex() for frame in frames}
    if fabric.where == "underlay":
        # What hosts say of themselves on the bare link, such as MLD reports, is IPv6; no IPv4 leaves it.
        assert "88e5" in kinds
        assert "0800" not in kinds
        assert "0806" not in kinds
    else:
        # IPv4, UDP and VXLAN headers, then the inner frame's MAC addresses and its Ethertype.
        inner = {frame[14 + 20 + 8 + 8 + 12 :][:2].hex() for frame in frames if frame[12:14].hex() == "0800"}
        assert inner == {"88e5"}


def test_a_second_run_changes_nothing(fabric):
    before = fabric.keys()
    told = fabric.told()
    assert fabric.turn() == ["drop"]
    for name in NAMES:
        made = macsec_fabric.turn(fabric.plans[name]["macsec"], told, SECRET, name, "drop")
        done = fabric.hosts[name].macsec(devices=made["devices"], purge_associations="listed")
        assert (done.changed, done.before, done.after) == (False, "", "")
    assert fabric.keys() == before


def test_rotation_loses_nothing(fabric):
    before = fabric.keys()
    pings = [pinging(fabric.hosts["s1"], "10.0.0.2", 400), pinging(fabric.hosts["s3"], "10.0.0.1", 400)]
    assert fabric.turn(rotate=True) == ["receive", "transmit", "drop"]
    took = [process.poll() is None for process in pings]
    assert [counted(process) for process in pings] == [(400, 400)] * 2
    assert all(took), "the pings were over before the rotation was"
    after = fabric.keys()
    assert all(len(ids) == 1 for ids in after.values())
    assert not {one for ids in before.values() for one in ids} & {one for ids in after.values() for one in ids}


@pytest.mark.parametrize(
    "until",
    [
        ("receive", ("s1",)),
        ("receive", NAMES),
        ("transmit", ("s2",)),
        ("transmit", NAMES),
        ("drop", ("s3",)),
    ],
    ids=lambda until: f"{until[0]}-{len(until[1])}",
)
def test_a_killed_rotation_is_completed_by_the_next(fabric, until):
    before = fabric.keys()
    process = pinging(fabric.hosts["s1"], "10.0.0.2", 600)
    fabric.turn(rotate=True, until=until)
    assert fabric.all_speak(but=("s1", "s2"))
    fabric.turn(rotate=True)
    assert counted(process) == (600, 600)
    after = fabric.keys()
    assert all(len(ids) == 1 for ids in after.values())
    assert not {one for ids in before.values() for one in ids} & {one for ids in after.values() for one in ids}
    for device in fabric.told().values():
        assert all(len(channel["sa"]) == 1 for channel in device[0]["rx"])


@pytest.mark.parametrize("until", [("receive", NAMES), ("transmit", ("s2",))], ids=lambda until: until[0])
def test_a_killed_rotation_is_completed_by_a_run_of_the_site(fabric, until):
    fabric.turn(rotate=True, until=until)
    fabric.turn()
    assert fabric.all_speak()
    for device in fabric.told().values():
        assert len(device[0]["tx"]) == 1
        assert all(len(channel["sa"]) == 1 for channel in device[0]["rx"])


def test_a_rebooted_host_comes_back_with_another_key(fabric):
    before = fabric.keys()
    host = fabric.hosts["s3"]
    host.boot = "another boot"
    below = "vxlan100" if fabric.where == "inside" else fabric.device
    host.sh(f"ip link del {below}")
    if fabric.where == "inside":
        host.sh("ip link del br100", "ip addr flush dev eth0")
    process = pinging(fabric.hosts["s1"], "10.0.0.2", 500)
    fabric.make("s3")
    assert fabric.turn() == ["receive", "transmit", "drop"]
    for other in ("s1", "s2"):  # which may have asked for it in vain, and do not ask again at once
        fabric.hosts[other].sh("ip neigh flush all")
    assert fabric.all_speak(but=("s1", "s2"))
    assert counted(process) == (500, 500)
    after = fabric.keys()
    assert [after[name] == before[name] for name in NAMES] == [True, True, False]


def test_another_secret_takes_the_place_of_the_first(fabric):
    before = fabric.keys()
    fabric.secret = OTHER
    process = pinging(fabric.hosts["s1"], "10.0.0.2", 400)
    assert fabric.turn() == ["receive", "transmit", "drop"]
    assert counted(process) == (400, 400)
    assert all(len(ids) == 1 and ids != before[name] for name, ids in fabric.keys().items())


def rogue_frame(number):
    """A broadcast of an endpoint, as VXLAN in IPv4 from the address of s2, without MACsec."""
    inner = b"\xff" * 6 + bytes.fromhex("5054330000ff") + b"\x88\xb5" + MARKER + bytes([number]) * 60
    udp = struct.pack(">HHHH", 50000, 4789, 8 + 8 + len(inner), 0) + b"\x08\0\0\0\0\0\x64\0" + inner
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes([203, 0, 113, 2]), bytes([203, 0, 113, 1])
    )
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return bytes.fromhex("020000000001") + bytes.fromhex("020000000002") + b"\x08\0" + head + udp


def test_what_a_rogue_sends_in_cleartext_reaches_no_bridge(tmp_path):
    fabric = Fabric(tmp_path, "inside")
    try:
        fabric.build()
        rogue = Host("rogue", tmp_path)
        fabric.plug(rogue, "02:00:00:00:00:99")

        def heard():
            with captured(fabric.hosts["s1"], "br100", 2) as frames, rogue.here():
                time.sleep(0.3)
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                    raw.bind(("eth0", 0))
                    for number in range(5):
                        raw.send(rogue_frame(number))
            return sum(MARKER in frame for frame in frames)

        assert heard() == 0
        # The same frames are good ones where nothing encrypts, or this test could not fail.
        s1 = fabric.hosts["s1"]
        s1.sh(f"ip link del {fabric.device}", "ip link set vxlan100 master br100")
        assert heard() == 5
        rogue.close()
    finally:
        fabric.close()


def test_json_of_the_plan(fabric):
    """A fact goes through JSON."""
    section = fabric.plans["s1"]["macsec"]
    assert json.loads(json.dumps(section)) == section
    assert SECRET not in json.dumps(fabric.plans)


def test_the_agent_finds_the_bridge_of_a_vxlan_device_with_macsec_on_it(tmp_path):
    fabric = Fabric(tmp_path, "inside")
    try:
        fabric.build()
        host = fabric.hosts["s1"]
        host.sh("ip link add p0 type dummy", "ip link set p0 master br100")
        with host.here():
            watch = BridgePorts()
            try:
                bridge, vxlan, port = map(socket.if_nametoindex, ("br100", "vxlan100", "p0"))
                assert (watch.bridges, watch.ports) == ({vxlan: bridge}, {bridge: [(port, "p0")]})
            finally:
                watch.close()
    finally:
        fabric.close()
