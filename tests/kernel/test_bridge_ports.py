# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of VXLAN devices' bridges, as they come, change and go, judged by `bridge`."""

import json
import select
import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.bridge_ports import BridgePorts
from device_support import MARKS, private, sh
from miss_support import closing

pytestmark = MARKS


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh(
            "ip link set lo up",
            "ip link add br0 type bridge",
            "ip link add br1 type bridge",
            "ip link add vx0 type vxlan id 100 dstport 4789 local 192.0.2.1",
            "ip link add vx1 type vxlan id 101 dstport 4790 local 192.0.2.1",
            *(f"ip link add p{n} type veth peer name q{n}" for n in range(4)),
        )
        yield


def index(name):
    return socket.if_nametoindex(name)


def shown():
    """{bridge: names of ports} as `bridge` has it."""
    found = {}
    for one in json.loads(sh("bridge -j link show")):
        found.setdefault(one["master"], set()).add(one["ifname"])
    return found


def test_the_ports_of_bridges_with_a_vxlan_device():
    sh(*(f"ip link set {name} master br0" for name in ("p0", "vx0", "p1", "vx1")), "ip link set p2 master br1")
    with closing(BridgePorts()) as watch:
        assert watch.ports == {index("br0"): [(index("p0"), "p0"), (index("p1"), "p1")]}
        assert watch.bridges == {index("vx0"): index("br0"), index("vx1"): index("br0")}
        assert shown() == {"br0": {"p0", "p1", "vx0", "vx1"}, "br1": {"p2"}}


def test_changes_are_told():
    with closing(BridgePorts()) as watch:
        assert (watch.ports, watch.bridges, watch.read()) == ({}, {}, False)

        def change(line):
            """The names of ports by that of their bridge; whether the watch woke up and told so."""
            sh(line)
            assert select.select([watch], [], [], 5)[0], f"nothing told after: {line}"
            watch.read()
            fresh = BridgePorts()
            fresh.close()
            assert (watch.ports, watch.bridges) == (fresh.ports, fresh.bridges), line
            names = {
                socket.if_indextoname(bridge): [name for _index, name in ports] for bridge, ports in watch.ports.items()
            }
            assert all(shown().get(bridge, set()) >= set(ports) for bridge, ports in names.items())
            return names

        assert change("ip link set p0 master br0") == {}
        assert change("ip link set vx0 master br0") == {"br0": ["p0"]}
        assert change("ip link set p1 master br0") == {"br0": ["p0", "p1"]}
        assert change("ip link set vx1 master br1") == {"br0": ["p0", "p1"], "br1": []}
        assert change("ip link set p0 master br1") == {"br0": ["p1"], "br1": ["p0"]}
        assert change("ip link set p1 nomaster") == {"br0": [], "br1": ["p0"]}
        assert change("ip link set p0 name other") == {"br0": [], "br1": ["other"]}
        assert change("ip link del q0") == {"br0": [], "br1": []}
        assert change("ip link set vx0 nomaster") == {"br1": []}
        assert change("ip link del br1") == {}
