# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's promises: idempotent, side by side, a reboot is a reboot, and nothing left whatever happened."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from driver import at_length


def wait(what, seconds=20):
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.1)


def booted(output):
    """The hosts that a run of lab_up says to have booted."""
    return set(re.findall(r"(\w+): [0-9.]+", re.search(r"booted now, in seconds: (.*) made anew", output).group(1)))


def test_up_twice_then_down_twice(lab):
    assert "changed=1" in lab.up()
    assert lab.status() == {"h1": "running", "s1": "running", "s2": "running"}
    pids = {host: lab.nspawn(host) for host in lab.status()}
    again = lab.up()
    assert "changed=0" in again
    assert booted(again) == set()
    assert pids == {host: lab.nspawn(host) for host in lab.status()}
    lab.run("s1", "ping", "-c1", "-W2", "169.254.15.2")
    assert lab.leftovers(), "the search for leftovers finds nothing, even of a lab that runs"
    assert "changed=1" in lab.down()
    assert lab.leftovers() == []
    assert "changed=0" in lab.down()


def test_the_root_namespace_sees_nothing(lab):
    before = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
    lab.up()
    after = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
    assert {link["ifname"] for link in before} == {link["ifname"] for link in after}


def test_cables_are_as_the_inventory_says(lab):
    lab.up()
    (h1,) = json.loads(lab.run("h1", "ip", "-j", "addr", "show", "eth0"))
    assert (h1["address"], h1["mtu"], h1["operstate"]) == ("50:54:33:00:00:01", 1500, "UP")
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in h1["addr_info"] if a["scope"] == "global"}
    assert addresses == {"192.0.2.10/24", "2001:db8:ff::10/64"}
    (s1,) = json.loads(lab.run("s1", "ip", "-j", "link", "show", "eth0"))
    assert (s1["mtu"], s1["operstate"]) == (1600, "UP")
    bridge = subprocess.run(["ip", "-n", f"{lab.prefix}-underlay", "-d", "-j", "link", "show", "underlay"],
                            check=True, capture_output=True).stdout  # fmt: skip
    assert json.loads(bridge)[0]["linkinfo"]["info_data"]["mcast_snooping"] == 0


def test_labs_side_by_side(make_lab):
    one, other = make_lab(), make_lab()
    one.up()
    other.up()
    pids = {host: one.nspawn(host) for host in one.status()}
    other.down()
    assert other.leftovers() == []
    assert one.status() == {"h1": "running", "s1": "running", "s2": "running"}
    assert pids == {host: one.nspawn(host) for host in pids}
    one.run("s1", "ping", "-c1", "-W2", "169.254.15.2")


def test_a_reboot_is_a_reboot(lab):
    """Files stay; what was in the kernel's tables is gone; the neighbours keep what they had."""
    lab.up()
    first = lab.run("s1", "cat", "/proc/sys/kernel/random/boot_id")
    lab.run(
        "s1",
        "sh",
        "-c",
        "echo kept >/root/file; ip link add br0 type bridge; ip link set eth1 master br0; ip link set br0 up",
    )
    lab.run("h1", "ip", "addr", "add", "10.9.9.9/32", "dev", "eth0")
    lab.run("s1", "systemctl", "reboot")
    wait(lambda: lab.status()["s1"] == "running" and lab.run("s1", "cat", "/proc/sys/kernel/random/boot_id") != first)
    assert lab.run("s1", "cat", "/root/file") == "kept\n"
    devices = {link["ifname"]: link for link in json.loads(lab.run("s1", "ip", "-j", "link"))}
    assert {"eth0", "eth1"} <= set(devices)
    assert "br0" not in devices
    lab.run("s1", "ping", "-c1", "-W2", "169.254.15.2")
    assert "10.9.9.9" in lab.run("h1", "ip", "addr", "show", "eth0")
    wait(lambda: json.loads(lab.run("h1", "ip", "-j", "link", "show", "eth0"))[0]["operstate"] == "UP")
    assert "changed=0" in lab.up()


def test_a_host_that_was_switched_off_comes_back_with_its_files(lab):
    lab.up()
    lab.run("s1", "touch", "/root/file")
    others = {host: lab.nspawn(host) for host in ("s2", "h1")}
    lab.run("s1", "systemctl", "poweroff")
    wait(lambda: lab.status()["s1"] == "stopped")
    message = lab.playbook("--limit=s1", str(ping_playbook(lab)), fails=True)
    assert f"{lab.prefix}-s1 is not running" in message
    assert "make lab" in message
    assert booted(lab.up()) == {"s1"}
    lab.run("s1", "stat", "/root/file")
    assert others == {host: lab.nspawn(host) for host in others}


def ping_playbook(lab):
    path = lab.inventory.with_suffix(".yml")
    path.write_text("- {hosts: lab, gather_facts: false, tasks: [{ansible.builtin.ping: }]}")
    return path


def test_killed_containers(lab):
    """nspawn killed without a chance to clean up: `up` repairs, and `down` leaves nothing."""
    lab.up()
    lab.run("s1", "touch", "/root/file")
    os.kill(lab.nspawn("s1"), signal.SIGKILL)
    wait(lambda: lab.status()["s1"] == "stopped")
    assert booted(lab.up()) == {"s1"}
    lab.run("s1", "stat", "/root/file")
    for pid in [lab.nspawn(host) for host in lab.status()]:
        os.kill(pid, signal.SIGKILL)
    lab.down()
    assert lab.leftovers() == []


@pytest.mark.parametrize("seconds", [0.15, 0.6, *(pytest.param(one, marks=at_length) for one in (0.05, 0.3, 1.2))])
def test_up_killed_half_way(lab, seconds, lab_up_process):
    process = lab_up_process(lab)
    time.sleep(seconds)
    process.kill()
    process.wait()
    if seconds > 0.2:
        assert "changed=" in lab.up()
        assert set(lab.status().values()) == {"running"}
        lab.run("s1", "ping", "-c1", "-W2", "169.254.15.2")
        lab_up_process(lab).kill()
    lab.down()
    assert lab.leftovers() == []


def test_down_of_a_lab_that_never_booted(lab):
    """What an `up` leaves that is killed after its first step: the state is there, and nothing else is."""
    Path("/run/vtep-fabric", lab.prefix, "s1").mkdir(parents=True)
    lab.down()
    assert lab.leftovers() == []


def test_down_killed_half_way(lab, lab_program):
    lab.up()
    process = subprocess.Popen([*lab_program, "down", lab.prefix], stdout=subprocess.DEVNULL)
    time.sleep(0.1)
    process.kill()
    process.wait()
    lab.down()
    assert lab.leftovers() == []


def test_the_inventory_decides_who_is_there(lab):
    """A host more is booted and cabled while the others run; one less is removed."""
    lab.up()
    hosts = lab.hosts["lab"]["hosts"]
    others = {host: lab.nspawn(host) for host in ("s1", "s2", "h1")}
    hosts["rr"] = {"lab_links": [{"name": "eth0", "to": "underlay", "addresses": ["169.254.15.9/24"]}]}
    hosts["h2"] = {"lab_links": [{"name": "eth0", "to": "s2", "addresses": ["192.0.2.11/24"]}]}
    hosts["s2"]["lab_links"].append({"name": "eth1", "to": "h2", "addresses": ["192.0.2.1/24"]})
    lab.write()
    assert booted(lab.up()) == {"rr", "h2"}
    lab.run("rr", "ping", "-c1", "-W2", "169.254.15.1")
    lab.run("h2", "ping", "-c1", "-W2", "192.0.2.1")
    lab.run("s2", "systemctl", "reboot")  # it comes back with the cable that it did not have at its first boot
    wait(lambda: lab.nspawn("s2") != others["s2"] and lab.status()["s2"] == "running")
    others["s2"] = lab.nspawn("s2")
    lab.run("h2", "ping", "-c1", "-W2", "192.0.2.1")
    del hosts["rr"], hosts["h2"], hosts["s2"]["lab_links"][1]
    lab.write()
    assert "removed, as no longer in the inventory: h2, rr" in lab.up()
    assert set(lab.status()) == {"s1", "s2", "h1"}
    assert "eth1" not in lab.run("s2", "ip", "-br", "link")
    assert others == {host: lab.nspawn(host) for host in others}


def addresses(lab, host):
    (device,) = json.loads(lab.run(host, "ip", "-j", "addr", "show", "eth0"))
    return {f"{a['local']}/{a['prefixlen']}" for a in device["addr_info"] if a["scope"] == "global"}


def routes(lab, host):
    """The routes through a gateway, and the gateways' permanent link-layer addresses."""
    shown = [route for family in "46" for route in json.loads(lab.run(host, "ip", f"-{family}", "-j", "route"))]
    fixed = json.loads(lab.run(host, "ip", "-j", "neigh", "show", "nud", "permanent"))
    return {(r["dst"], r["gateway"]) for r in shown if "gateway" in r}, {(n["dst"], n["lladdr"]) for n in fixed}


def test_addresses_and_routes_change_while_the_hosts_run(lab):
    """As -e variant=... changes them: nothing reboots, no cable is laid anew, and what others gave the hosts stays."""
    lab.up()
    (link,) = lab.hosts["lab"]["hosts"]["h1"]["lab_links"]
    pids = {host: lab.nspawn(host) for host in lab.status()}
    lab.run("s1", "sh", "-c", "ip link add br0 type bridge; ip link set eth1 master br0; ip link set br0 up")
    lab.run("h1", "ip", "addr", "add", "192.0.2.99/24", "dev", "eth0")
    lab.run("h1", "ip", "neigh", "add", "192.0.2.98", "lladdr", "02:00:00:00:00:98", "dev", "eth0")
    lab.run("h1", "ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.97", "dev", "eth0", "onlink")
    others = {("203.0.113.0/24", "192.0.2.97")}, {("192.0.2.98", "02:00:00:00:00:98")}

    def change(*addresses, **more):
        link.clear()
        link.update({"name": "eth0", "to": "s1", "addresses": list(addresses), **more})
        lab.write()
        assert "changed=1" in lab.up()

    away = {"lladdr": "02:00:00:00:00:02"}
    change("198.51.100.13/24", "2001:db8:fe::13/64",
           mac="50:54:33:00:00:01", mtu=1400,
           routes=[{"to": "192.0.2.0/25", "via": "198.51.100.1", **away},
                   {"to": "2001:db8:ff::/64", "via": "2001:db8:fe::1", **away}])  # fmt: skip
    assert addresses(lab, "h1") == {"198.51.100.13/24", "2001:db8:fe::13/64", "192.0.2.99/24"}
    found = routes(lab, "h1")
    assert found[0] == {("192.0.2.0/25", "198.51.100.1"), ("2001:db8:ff::/64", "2001:db8:fe::1"), *others[0]}
    assert found[1] == {(via, away["lladdr"]) for via in ("198.51.100.1", "2001:db8:fe::1")} | others[1]
    (h1,) = json.loads(lab.run("h1", "ip", "-j", "link", "show", "eth0"))
    assert h1["mtu"] == 1400
    again = lab.up()
    assert "changed=0" in again
    assert booted(again) == set()
    assert pids == {host: lab.nspawn(host) for host in pids}
    (s1,) = json.loads(lab.run("s1", "ip", "-j", "link", "show", "eth1"))
    assert (s1["master"], s1["operstate"]) == ("br0", "UP")

    # Another gateway for the same prefix, defaults, and a second address of the subnet that the first one leaves.
    change("198.51.100.14/24", "2001:db8:fe::13/64",
           routes=[{"to": "0.0.0.0/0", "via": "198.51.100.2"}, {"to": "::/0", "via": "2001:db8:fe::2"},
                   {"to": "2001:db8:ff::/64", "via": "2001:db8:fe::3", **away}])  # fmt: skip
    assert addresses(lab, "h1") == {"198.51.100.14/24", "2001:db8:fe::13/64", "192.0.2.99/24"}
    found = routes(lab, "h1")
    defaults = {("default", "198.51.100.2"), ("default", "2001:db8:fe::2")}
    assert found[0] == defaults | {("2001:db8:ff::/64", "2001:db8:fe::3")} | others[0]
    assert found[1] == {("2001:db8:fe::3", away["lladdr"])} | others[1]

    lab.run("h1", "systemctl", "reboot")
    wait(lambda: lab.nspawn("h1") != pids["h1"] and lab.status()["h1"] == "running")
    assert addresses(lab, "h1") == {"198.51.100.14/24", "2001:db8:fe::13/64"}
    found = routes(lab, "h1")
    assert found[0] == defaults | {("2001:db8:ff::/64", "2001:db8:fe::3")}
    assert found[1] == {("2001:db8:fe::3", away["lladdr"])}
    assert "changed=0" in lab.up()

    lab.run("h1", "ip", "route", "del", "default", "via", "198.51.100.2")  # what is gone already is no fault
    change("2001:db8:ff::10/64", "192.0.2.10/24", mac="50:54:33:00:00:0a")
    (h1,) = json.loads(lab.run("h1", "ip", "-j", "link", "show", "eth0"))
    assert (h1["address"], h1["mtu"]) == ("50:54:33:00:00:0a", 1500)
    assert addresses(lab, "h1") == {"192.0.2.10/24", "2001:db8:ff::10/64"}
    assert routes(lab, "h1") == (set(), set())

    link["addresses"] = (
        "{{ ['198.51.100.13/24'] if variant | default('') == 'unicast-static-rsc' else ['192.0.2.10/24'] }}"
    )
    lab.write()
    assert "changed=1" in lab.playbook("playbooks/lab_up.yml", "-e", "variant=unicast-static-rsc")
    assert addresses(lab, "h1") == {"198.51.100.13/24"}
    pids["h1"] = lab.nspawn("h1")
    assert pids == {host: lab.nspawn(host) for host in pids}


def test_cables_change_places(lab):
    """Two cables between the same two hosts are crossed while the hosts run."""
    hosts = lab.hosts["lab"]["hosts"]
    for host, other, start in (("s1", "s2", 1), ("s2", "s1", 3)):
        hosts[host]["lab_links"] += [
            {"name": f"x{n}", "to": other, "addresses": [f"198.18.{n}.{start}/24"]} for n in (0, 1)
        ]
    lab.write()
    lab.up()
    lab.run("s1", "ping", "-c1", "-W2", "-I", "x0", "198.18.0.3")
    for link in hosts["s1"]["lab_links"][-2:]:
        link["name"] = {"x0": "x1", "x1": "x0"}[link["name"]]
    lab.write()
    assert "changed=1" in lab.up()
    lab.run("s1", "ping", "-c1", "-W2", "-I", "x1", "198.18.0.3")
    assert "changed=0" in lab.up()


def test_a_host_whose_disk_would_differ_is_made_anew(lab):
    lab.up()
    lab.run("s1", "touch", "/root/file")
    others = {host: lab.nspawn(host) for host in ("s2", "h1")}
    lab.hosts["lab"]["hosts"]["s1"]["lab_masked_units"] = ["frr.service"]
    lab.write()
    output = lab.up()
    assert "made anew, on another image or with other units: s1 " in output
    assert booted(output) == {"s1"}
    assert "file" not in lab.run("s1", "ls", "/root")
    assert lab.run("s1", "systemctl", "show", "-P", "LoadState", "frr.service") == "masked\n"
    lab.run("s1", "ping", "-c1", "-W2", "169.254.15.2")
    assert others == {host: lab.nspawn(host) for host in others}


def test_a_failed_unit_is_named(lab):
    lab.up()
    unit = "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"
    lab.run("s1", "sh", "-c", f"printf '{unit}' >/etc/systemd/system/broken.service; systemctl enable broken")
    lab.run("s1", "systemctl", "poweroff")
    wait(lambda: lab.status()["s1"] == "stopped")
    message = lab.up(fails=True)
    assert "s1: booted, but units failed" in message
    assert "broken.service" in message
    assert "changed=0" in lab.up(), "a unit that failed on a host that runs must not stop the deployment that mends it"


def test_bad_links_are_refused_before_anything_is_made(lab):
    lab.hosts["lab"]["hosts"]["s1"]["lab_links"] = [{"name": "eth0", "to": "nowhere", "speed": 10}]
    lab.write()
    message = lab.up(fails=True)
    assert "nothing was changed" in message
    assert "unknown keys speed" in message
    assert "'nowhere'" in message
    assert lab.leftovers() == []
