# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts on which a fabric cannot be built: all that is wrong is told in one run, and nothing is changed."""

import json
import time

import pytest

# Two VTEPs. What they are given here does not matter as long as it is sound: no test gets as far as building it.
LAB = {
    "lab": {
        "vars": {"ansible_connection": "vtep.fabric.nspawn", "ansible_python_interpreter": "/usr/bin/python3"},
        "hosts": {
            f"s{n}": {
                "lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600}, {"name": "eth1", "to": "underlay"}],
                "vtep_address": f"2001:db8:{n}::1",
                "vtep_underlay_interfaces": ["eth0"],
                "vtep_access_ports": ["eth1"],
            }
            for n in (1, 2)
        },
    },
    "vteps": {"hosts": {"s1": None, "s2": None}, "vars": {"fabric_segments": [{"vni": 100}]}},
}


def refused(lab, *arguments):
    """What site.yml says that fails before the first change."""
    said = lab.playbook("site.yml", "-e", "variant=unicast-static-flood", *arguments, fails=True)
    assert said.count("changed=0") == 2, said
    return said


@pytest.fixture
def on(running_lab):
    """on(host, script) runs it; on(host, script, undo) undoes it after the test."""
    undone = []

    def run(host, script, undo=None):
        if undo:
            undone.append((host, undo))
        return running_lab.run(host, "sh", "-ec", script)

    yield run
    for host, undo in undone:
        running_lab.run(host, "sh", "-ec", undo)


def test_what_each_host_lacks(running_lab, on):
    on("s1", "mv /usr/bin/vtysh /usr/bin/away", "mv /usr/bin/away /usr/bin/vtysh")
    on("s1", "mv /usr/sbin/nft /usr/sbin/away", "mv /usr/sbin/away /usr/sbin/nft")
    library = "/usr/lib/python3/dist-packages/"
    on("s2", f"mv {library}pyroute2 {library}away", f"mv {library}away {library}pyroute2")
    on("s2", "mount --bind /var/lib /var/lib; mount -o remount,bind,ro /var/lib", "umount /var/lib")
    said = refused(running_lab)
    for words in (
        "FRR is not installed: apt-get install frr",
        "nftables is not installed: apt-get install nftables",
        "pyroute2 is not installed for /usr/bin/python3: apt-get install python3-pyroute2",
        "/var/lib: mounted read-only",
    ):
        assert words in said


def test_what_others_made_is_left_to_them(running_lab, on):
    on("s1", "ip link add br100 type bridge; ip link set eth1 master br100; ip addr add 192.0.2.99/24 dev br100",
       "ip link del br100")  # fmt: skip
    on("s2", "ip link add vxlan100 type vxlan id 7 dstport 4789 local 192.0.2.1; ip link set vxlan100 up;"
       "bridge fdb append 02:00:00:00:00:01 dst 192.0.2.9 dev vxlan100;"
       "ip link add lan type bridge; ip link set eth1 master lan", "ip link del vxlan100; ip link del lan")  # fmt: skip
    said = refused(running_lab)
    for words in (
        "s1: fabric_segments: VNI 100: bridge: the host has a bridge device br100 that vtep.fabric did not make",
        "s2: fabric_segments: VNI 100: vxlan: the host has a vxlan device vxlan100 that vtep.fabric did not make",
        "s2: vtep_access_ports: eth1 is in lan, which vtep.fabric did not make",
    ):
        assert words in said
    running_lab.playbook("playbooks/teardown.yml")
    assert "192.0.2.99" in on("s1", "ip addr show br100")
    assert "02:00:00:00:00:01 dst 192.0.2.9" in on("s2", "bridge fdb show dev vxlan100")


def test_systemd_hears_of_a_new_watchfrr_in_time(running_lab, on):
    """systemd takes a unit whose reload ends before the new watchfrr's READY=1 for one that stops, and kills FRR."""
    late = 'watchfrr_wrap="env -u NOTIFY_SOCKET"'  # as late as can be: never
    on("s1", f"echo '{late}' >>/etc/frr/daemons", "sed -i /watchfrr_wrap/d /etc/frr/daemons; systemctl restart frr")
    playbook = running_lab.directory / "ospfv3.yml"
    ospfv3 = {
        "vtep.fabric.ospfv3": {"areas": [{"area": "0.0.0.0"}], "interfaces": [{"name": "eth0", "area": "0.0.0.0"}]}
    }
    playbook.write_text(json.dumps([{"hosts": "s1", "gather_facts": False, "tasks": [ospfv3]}]))
    running_lab.playbook(str(playbook))
    assert on("s1", "systemctl is-active frr") == "active\n"
    running_lab.playbook("playbooks/teardown.yml")


def test_a_vtep_that_cannot_be_reached_stops_all(running_lab, on):
    running_lab.run("s2", "systemctl", "poweroff")
    limit = time.monotonic() + 30
    while running_lab.status()["s2"] == "running":
        assert time.monotonic() < limit
        time.sleep(0.1)
    said = refused(running_lab)
    assert f"{running_lab.prefix}-s2 is not running" in said
    assert "br100" not in on("s1", "ip -br link")
    running_lab.up()
