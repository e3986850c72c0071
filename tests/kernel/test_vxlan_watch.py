# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN devices as the kernel tells them: at the start, and as they come, change and go."""

import select
import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import vxlan_watch
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.vxlan_watch import VxlanDevice, VxlanWatch, scan
from device_support import MARKS, ip, private, sh

pytestmark = MARKS


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh("ip link set lo up")
        yield


@pytest.fixture
def watch(namespace):
    made = VxlanWatch()
    yield made
    made.close()


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def named(devices):
    return {device.name: device for device in devices.values()}


def test_every_kind_of_device():
    sh(
        "ip link add vx4 type vxlan id 100 dstport 4789 local 192.0.2.1",
        "ip link add vx6 type vxlan id 101 dstport 4790 local 2001:db8::1 remote 2001:db8::9",
        "ip link add vxany type vxlan id 102 dstport 4789",
        "ip link add vxgroup type vxlan id 103 dstport 4789 local 2001:db8::1 group ff05::100 dev lo",
        "ip link add vxgroup4 type vxlan id 104 dstport 4789 group 239.1.1.1 dev lo",
        "ip link add vxext type vxlan external dstport 4791 local 192.0.2.1",
        "ip link add vxfilter type vxlan external vnifilter dstport 4792 local 192.0.2.1",
        "ip link add veth0 type veth peer name veth1",
        "ip link add br0 type bridge",
        "ip link set vx4 up",
    )
    found = named(scan())
    assert found["vx4"] == VxlanDevice(
        "vx4", ip("vx4")["ifindex"], 100, packed("192.0.2.1"), None, None, 4, "unknown", False, False, 4789
    )
    assert found["vx6"] == VxlanDevice(
        "vx6",
        ip("vx6")["ifindex"],
        101,
        packed("2001:db8::1"),
        packed("2001:db8::9"),
        None,
        6,
        "down",
        False,
        False,
        4790,
    )
    assert (found["vxany"].local, found["vxany"].family) == (None, None)
    assert (found["vxgroup"].group, found["vxgroup"].remote) == (packed("ff05::100"), None)
    assert (found["vxgroup4"].group, found["vxgroup4"].family) == (packed("239.1.1.1"), 4)
    assert (found["vxext"].external, found["vxext"].vnifilter) == (True, False)
    assert (found["vxfilter"].external, found["vxfilter"].vnifilter) == (True, True)
    assert set(found) == {"vx4", "vx6", "vxany", "vxgroup", "vxgroup4", "vxext", "vxfilter"}
    assert [name for name, device in found.items() if device.usable] == ["vx4"]
    assert found["vx4"].learning and not (found["vx4"].misses or found["vx4"].l2)


@pytest.mark.parametrize(("words", "l2", "l3"), [("l2miss", True, False), ("l3miss", False, True)])
def test_what_a_device_tells_of_and_whether_it_learns(words, l2, l3):
    sh(f"ip link add vx4 type vxlan id 100 dstport 4789 nolearning {words}")
    device = next(iter(scan().values()))
    assert (device.misses, device.l2, device.l3, device.learning) == (True, l2, l3, False)


def test_a_bridges_port_has_a_state_of_its_own(watch):
    """The port is blocked and its bridge down; the device carries frames all the same."""
    sh(
        "ip link add br0 type bridge",
        "ip link add vx0 type vxlan id 100 dstport 4789 local 192.0.2.1",
        "ip link set vx0 master br0",
        "ip link set vx0 up",
    )
    watch.read()
    (found,) = list(scan().values())
    assert found.usable and watch.devices == {found.index: found}
    sh("ip link set br0 up", "bridge link set dev vx0 state 4")
    watch.read()
    (found,) = list(scan().values())
    assert found.usable and watch.devices == {found.index: found}
    # Leaving the bridge is told as RTM_DELLINK, of the bridge's family.
    sh("ip link set vx0 nomaster")
    watch.read()
    assert watch.devices == scan() and len(watch.devices) == 1


def test_changes_are_told(watch):
    assert watch.read() is False

    def change(line):
        sh(line)
        assert select.select([watch], [], [], 5)[0], f"nothing told after: {line}"
        told = watch.read()
        assert watch.devices == scan(), line
        return told, named(watch.devices)

    told, devices = change("ip link add vx0 type vxlan id 100 dstport 4789 local 192.0.2.1")
    assert told and devices["vx0"].state == "down"
    told, devices = change("ip link set vx0 up")
    assert told and devices["vx0"].usable
    told, devices = change("ip link set vx0 type vxlan local 192.0.2.2")
    assert told and devices["vx0"].local == packed("192.0.2.2")
    told, devices = change("ip link set vx0 down")
    assert told and not devices["vx0"].usable
    told, devices = change("ip link set vx0 name other")
    assert told and set(devices) == {"other"}
    assert change("ip link set other mtu 1400")[0] is False, "nothing of interest"
    assert change("ip link add veth0 type veth peer name veth1") == (False, devices)
    told, devices = change("ip link del other")
    assert told and devices == {}


def test_what_was_lost_is_read_again(watch, monkeypatch, tmp_path):
    """More changes than the buffer holds."""
    watch.close()
    monkeypatch.setattr(vxlan_watch, "RECEIVE_BUFFER", 4096)
    small = VxlanWatch()
    try:
        lines = [f"link add vx{n} type vxlan id {n} dstport 4789 local 192.0.2.1" for n in range(1, 51)]
        lines += [f"link set vx{n} up" for n in range(1, 51)]
        lines += [f"link del vx{n}" for n in range(1, 26)]
        (tmp_path / "batch").write_text("\n".join(lines) + "\n")
        sh(f"ip -batch {tmp_path}/batch")
        assert small.read() is True
        assert small.rescans == 1
        small.read()
        assert small.devices == scan() and len(small.devices) == 25
    finally:
        small.close()


def test_others_cannot_tell_us_devices(watch):
    """A process of the host may write to our socket; only the kernel is believed."""
    sh("ip link add vx0 type vxlan id 100 dstport 4789 local 192.0.2.1")
    watch.read()
    index = next(iter(watch.devices))
    port = watch._socket.getsockname()[0]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as liar:
        body = vxlan_watch.IFINFOMSG.pack(0, 0, index, 0, 0)
        data = vxlan_watch.codec.message(vxlan_watch.RTM_DELLINK, 0, 0, body)
        liar.sendto(data, (port, 0))
    assert select.select([watch], [], [], 5)[0]
    assert watch.read() is False and index in watch.devices
