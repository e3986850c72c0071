# SPDX-License-Identifier: GPL-3.0-or-later
"""vxrd as a process, against the kernel and a service node that says what a test wants, judged by `bridge`."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import messages
from device_support import MARKS, private, sh
from vxrd_support import SERVERS, ZERO, Program, ServiceNode, answer, flood, install, ip, until

pytestmark = MARKS

# Of the vectors, from upstream's encoder: an answer with VNI 100 = 192.0.2.1, .3, .2.
R4 = bytes.fromhex("03010800105a180020002a23086412090a070a05c00100020112090a070a05c00100020312090a070a05c001000202")
OWN, OWN6 = "192.0.2.1", "2001:db8::1"
VX100 = f"ip link add vx100 type vxlan id 100 dstport 4789 local {OWN}"
VX600 = f"ip link add vx600 type vxlan id 600 dstport 4790 local {OWN6}"


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh("ip link set lo up")
        for address in (OWN, OWN6, *SERVERS.values()):
            sh(f"ip address add {address} dev lo{' nodad' if ':' in address else ''}")
        yield


@pytest.fixture
def node(namespace):
    made = ServiceNode()
    yield made
    made.close()


@pytest.fixture
def vxrd(tmp_path, namespace):
    made = Program(
        install(tmp_path),
        src_ip=f"{OWN} {OWN6}",
        svcnode_ip=" ".join(SERVERS.values()),
    )
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()
    print(made.said())


def device(line=VX100, up=True):
    name = line.split()[3]
    sh(line, *([f"ip link set {name} up"] if up else []))


def is_flood(dev, *wanted):
    return until(lambda: flood(dev) == sorted(wanted))


def stays(dev, *wanted, seconds=0.5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert flood(dev) == sorted(wanted)
        time.sleep(0.02)


def test_both_families_from_the_start_to_the_end(vxrd, node):
    device()
    device(VX600)
    vxrd.start()
    register = node.registers(100)
    assert (register.originator, register.holdtime, register.response_type) == (True, 90, 1)
    assert register.vteps == {100: [ip(OWN)]} and register.identifier == 0x020000000001
    assert register.extension.revision == 1 and len(register.extension.machine) == 16
    assert flood("vx100") == flood("vx600") == []
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    node.answer(600, OWN6, "2001:db8::2", "2001:db8::3", to=OWN6)
    is_flood("vx600", "2001:db8::2", "2001:db8::3")
    rows = [row for row in json.loads(sh("bridge -j fdb show dev vx100")) if row["mac"] == ZERO]
    assert all(row["flags"] == ["self"] and row["state"] == "permanent" for row in rows)
    node.answer(100, OWN, "192.0.2.3", "192.0.2.4")
    is_flood("vx100", "192.0.2.3", "192.0.2.4")
    assert vxrd.stop() == 0
    withdrawn = [one.vteps for one in node.heard(0.2) if not one.holdtime]
    assert withdrawn == [{100: [ip(OWN)]}, {600: [ip(OWN6)]}]
    assert flood("vx100") == flood("vx600") == []
    assert not list((vxrd.directory / "vxrd-state").iterdir())
    assert not vxrd.keys["pidfile"].exists() and not vxrd.keys["udsfile"].exists()


def test_the_first_registrations_come_at_once_and_a_second_later(vxrd, node):
    device()
    vxrd.start()
    node.registers(100)
    first = time.monotonic()
    node.registers(100)
    assert 0.8 < time.monotonic() - first < 1.5


def test_foreign_rows_survive_everything(vxrd, node):
    device()
    device(f"ip link add vxother type vxlan id 300 dstport 4791 local {OWN}", up=False)
    device("ip link add vxgroup type vxlan id 301 dstport 4792 group 239.1.1.1 dev lo")
    device(f"ip link add vxext type vxlan external dstport 4793 local {OWN}")
    device("ip link add vxnone type vxlan id 302 dstport 4794")
    sh(
        f"bridge fdb append {ZERO} dev vx100 dst 198.51.100.1 self permanent",
        f"bridge fdb append {ZERO} dev vx100 dst 198.51.100.2 via lo self permanent",
        "bridge fdb append 50:54:33:00:00:01 dev vx100 dst 198.51.100.3 self static",
        "bridge fdb append 50:54:33:00:00:02 dev vx100 dst 198.51.100.3 self extern_learn",
        f"bridge fdb append {ZERO} dev vxother dst 198.51.100.1 self permanent extern_learn",
        f"bridge fdb append {ZERO} dev vxgroup dst 198.51.100.1 self permanent",
        f"bridge fdb append {ZERO} dev vxext src_vni 5 dst 198.51.100.1 self permanent",
        f"bridge fdb append {ZERO} dev vxnone dst 198.51.100.1 self permanent",
    )

    def others():
        rows = json.loads(sh("bridge -j fdb show"))
        return sorted(json.dumps(row, sort_keys=True) for row in rows if row.get("dst", "")[:9] != "192.0.2.2")

    before = others()
    vxrd.write(own={"config_check_rate": 1})
    vxrd.start()
    node.registers(100)
    # .1 is wanted and there already, and so it stays somebody's.
    node.answer(100, OWN, "192.0.2.2", "198.51.100.1", "198.51.100.2")
    is_flood("vx100", "192.0.2.2", "198.51.100.1", "198.51.100.2")
    assert others() == before
    node.answer(100, OWN)
    is_flood("vx100", "198.51.100.1", "198.51.100.2")
    node.answer(100, OWN, "192.0.2.2")
    is_flood("vx100", "192.0.2.2", "198.51.100.1", "198.51.100.2")
    time.sleep(1.2)
    assert others() == before
    vxrd.stop(signal.SIGKILL)
    node.heard()
    vxrd.start()
    node.registers(100)
    node.answer(100, OWN)
    is_flood("vx100", "198.51.100.1", "198.51.100.2")
    assert vxrd.stop() == 0
    assert others() == before
    said = vxrd.said()
    for words in (
        "vxnone has no local address",
        "vxext is made with 'external'",
        "vxgroup floods to a multicast group",
    ):
        assert said.count(words) == 2, f"once a start: {words}"
    assert "vxother" not in said


def test_entries_stay_over_a_kill_until_the_first_answer(vxrd, node):
    device()
    vxrd.start()
    node.registers(100)
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    vxrd.stop(signal.SIGKILL)
    assert flood("vx100") == ["192.0.2.2", "192.0.2.3"]
    vxrd.write(own={"config_check_rate": 1})
    node.heard()
    vxrd.start()
    node.registers(100)
    stays("vx100", "192.0.2.2", "192.0.2.3", seconds=2.5)
    node.answer(100, OWN, "192.0.2.3", "192.0.2.4")
    is_flood("vx100", "192.0.2.3", "192.0.2.4")
    # Killed once more, and ended before anything is heard: the rows of the former processes go as well.
    vxrd.stop(signal.SIGKILL)
    node.heard()
    vxrd.start()
    node.registers(100)
    assert vxrd.stop() == 0
    assert flood("vx100") == []


@pytest.mark.parametrize("job", ["restart", "stop", None])
def test_when_systemd_restarts_the_service_everything_stays(vxrd, node, job, tmp_path):
    """A systemctl that says so; where it hangs, the service was stopped for all we know."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = f"echo '6 other.service restart running'; echo '7 vxrd.service {job} running'" if job else "exec sleep 60"
    (tools / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "systemctl").chmod(0o755)
    group = tmp_path / "cgroup"
    group.write_text("0::/system.slice/vxrd.service\n")
    vxrd.before = (
        f"import pathlib; from vtep_fabric._service import lifecycle; lifecycle.CGROUP = pathlib.Path({str(group)!r})"
    )
    path = f"PATH={tools}:{os.environ['PATH']}"
    device()
    with listening(vxrd):
        vxrd.start("env", path)
        node.registers(100)
        node.say(R4)
        is_flood("vx100", "192.0.2.2", "192.0.2.3")
        node.heard(1.2)
        assert vxrd.stop() == 0
    withdrawn = [one for one in node.heard() if not one.holdtime]
    if job == "restart":
        assert flood("vx100") == ["192.0.2.2", "192.0.2.3"] and not withdrawn
        vxrd.notify = None
        node.heard()
        vxrd.start()
        node.registers(100)
        stays("vx100", "192.0.2.2", "192.0.2.3")
        node.answer(100, OWN, "192.0.2.3")
        is_flood("vx100", "192.0.2.3")
    else:
        assert flood("vx100") == [] and withdrawn


def test_sigusr1_leaves_everything_to_the_next_process(vxrd, node):
    device()
    vxrd.start()
    node.registers(100)
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    vxrd.process.send_signal(signal.SIGUSR1)
    assert vxrd.stop() == 0, "a SIGTERM behind it changes nothing"
    assert flood("vx100") == ["192.0.2.2", "192.0.2.3"]
    assert not [one for one in node.heard() if not one.holdtime]
    assert not vxrd.keys["pidfile"].exists()


class listening:
    """What systemd would hear; `said` has its lines."""

    def __init__(self, program):
        self.program = program

    def __enter__(self):
        self.program.notify = str(self.program.directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.program.notify)
        self.socket.settimeout(10)
        return self

    def __exit__(self, *_error):
        self.socket.close()

    def next(self):
        return self.socket.recv(4096).decode().split("\n")


def test_systemd_is_told(vxrd, node):
    device()
    with listening(vxrd) as systemd:
        vxrd.start("env", "WATCHDOG_USEC=300000")
        lines = [*systemd.next(), *systemd.next(), *systemd.next(), *systemd.next()]
        assert "READY=1" in lines and "WATCHDOG=1" in lines
        assert node.heard(), "ready is who has registered"
        vxrd.process.send_signal(signal.SIGHUP)
        until(lambda: any(line == "RELOADING=1" for line in systemd.next()))
        until(lambda: any(line == "READY=1" for line in systemd.next()))
        vxrd.process.send_signal(signal.SIGTERM)
        until(lambda: any(line == "STOPPING=1" for line in systemd.next()))
        assert vxrd.process.wait(10) == 0


def test_devices_come_change_and_go(vxrd, node):
    sh("ip link add br0 type bridge")
    vxrd.start()
    until(vxrd.keys["udsfile"].exists)
    assert node.heard(0.3) == []
    device()
    began = time.monotonic()
    node.registers(100)
    assert time.monotonic() - began < 1
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    sh("ip link set vx100 master br0", "bridge link set dev vx100 state 0")
    stays("vx100", "192.0.2.2", "192.0.2.3")
    assert not [one for one in node.heard() if not one.holdtime], "a port that is blocked is still a VTEP"
    # Another local address.
    sh("ip address add 192.0.2.77 dev lo", "ip link set vx100 type vxlan local 192.0.2.77")
    assert node.expect(lambda one: one.vteps.get(100) == [ip("192.0.2.77")]).holdtime == 90
    node.answer(100, "192.0.2.77", "192.0.2.9")
    is_flood("vx100", "192.0.2.9")
    # Down, and up again.
    sh("ip link set vx100 down")
    node.withdraws(100)
    is_flood("vx100")
    sh("ip link set vx100 up")
    node.registers(100)
    node.answer(100, "192.0.2.77", "192.0.2.9")
    is_flood("vx100", "192.0.2.9")
    # Another device with the same name and VNI, at once: it gets the list without an answer.
    sh("ip link del vx100", f"{VX100.replace(OWN, '192.0.2.77')}", "ip link set vx100 up")
    node.registers(100)
    node.answer(100, "192.0.2.77", "192.0.2.9")
    is_flood("vx100", "192.0.2.9")
    sh("ip link set vx100 down", "ip link set vx100 name vxnew", "ip link set vxnew up")
    node.registers(100)
    node.answer(100, "192.0.2.77", "192.0.2.9")
    is_flood("vxnew", "192.0.2.9")
    sh("ip link del vxnew")
    node.withdraws(100)
    until(lambda: not list((vxrd.directory / "vxrd-state").iterdir()))
    assert vxrd.process.poll() is None and "fault" not in vxrd.said()


def test_a_device_that_was_a_bridges_port_before_is_found(vxrd, node):
    sh("ip link add br0 type bridge")
    device()
    sh("ip link set vx100 master br0")
    vxrd.start()
    node.registers(100)


def test_devices_that_cannot_take_part_are_named_and_the_others_go_on(vxrd, node):
    vxrd.write(svcnode_ip=SERVERS[4])
    device()
    device(VX600)
    vxrd.start()
    node.registers(100)
    device("ip link add vxnone type vxlan id 302 dstport 4794")
    device(f"ip link add vx099 type vxlan id 100 dstport 4795 local {OWN}")
    until(lambda: "vx100 has VNI 100 as vx099 has; only vx099 is registered" in vxrd.said())
    until(lambda: "vxnone has no local address" in vxrd.said())
    assert vxrd.said().count("vx600 has an IPv6 address, and svcnode_ip names no service node of IPv6") == 1
    node.answer(100, OWN, "192.0.2.2")
    is_flood("vx099", "192.0.2.2")
    assert flood("vx100") == []
    sh("ip link del vx099")
    node.registers(100)
    node.answer(100, OWN, "192.0.2.2")
    is_flood("vx100", "192.0.2.2")


def test_repair(vxrd, node):
    device()
    vxrd.write(own={"config_check_rate": 1})
    vxrd.start()
    node.registers(100)
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    sh(f"bridge fdb del {ZERO} dev vx100 dst 192.0.2.2")
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    sh(f"bridge fdb del {ZERO} dev vx100")
    is_flood("vx100", "192.0.2.2", "192.0.2.3")


def test_lost_contact(vxrd, node):
    device()
    device(VX600)
    vxrd.write(holdtime=3)
    vxrd.start()
    node.registers(100)
    node.registers(600)  # by IPv6, whose socket is another
    node.say(R4)
    node.answer(600, OWN6, "2001:db8::2", to=OWN6)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")
    is_flood("vx600", "2001:db8::2")
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        node.answer(600, OWN6, "2001:db8::2", to=OWN6)
        for data in (b"", b"\3\1\xff", b"\4\1", bytes(100)):
            node.say(data)
        time.sleep(0.2)
    assert flood("vx100") == [] and flood("vx600") == ["2001:db8::2"]
    assert "Lost contact: nothing heard from 203.0.113.100 for 3 s" in vxrd.said()
    assert any(100 in one.vteps and not one.holdtime for one in node.heard())
    node.registers(100)
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3")


def test_a_network_that_is_not_there_yet(vxrd, node):
    """As in a boot: neither the own address nor a way to the service node, until later."""
    vxrd.write(src_ip="192.0.2.50", svcnode_ip=SERVERS[4])
    device()
    vxrd.start()
    until(lambda: "this host does not have the address" in vxrd.said())
    time.sleep(1)
    assert vxrd.process.poll() is None
    sh("ip address add 192.0.2.50 dev lo")
    began = time.monotonic()
    node.registers(100)
    assert time.monotonic() - began < 2.5
    sh(f"ip route add unreachable {SERVERS[4]} table 7", "ip rule add pref 0 table 7", "ip rule del pref 0 table local")
    sh("ip rule add pref 1 table local")
    device(f"ip link add vx200 type vxlan id 200 dstport 4791 local {OWN}")
    until(lambda: "trying again each second" in vxrd.said().split("does not have the address")[-1])
    sh("ip rule del pref 0 table 7")
    began = time.monotonic()
    node.registers(200)
    assert time.monotonic() - began < 2.5


def test_the_list_of_another_variant_is_left_alone(vxrd, node):
    from ansible_collections.vtep.fabric.plugins.module_utils._kernel.flood_list import FloodLists, Row

    device()
    index = socket.if_nametoindex("vx100")

    class Dev:
        name = "vx100"

    Dev.index = index
    kernel = FloodLists()
    kernel.append(Dev, [ip("198.51.100.1")], Row(None, None, None, None, None, None, 0xD0, 2))
    vxrd.write(own={"config_check_rate": 1})
    vxrd.start()
    node.registers(100)
    node.say(R4)
    until(lambda: "vx100: its flood list has been taken over by a module of the collection" in vxrd.said())
    assert flood("vx100") == ["198.51.100.1"]
    assert all(row.marked for row in kernel.read(Dev))
    kernel.close()
    sh(f"bridge fdb del {ZERO} dev vx100")
    is_flood("vx100", "192.0.2.2", "192.0.2.3")


def test_service_node_mode_leaves_flood_lists_alone(vxrd, node):
    device(f"{VX100} remote {SERVERS[4]}")
    device(f"ip link add vx300 type vxlan id 300 dstport 4791 local {OWN}")
    vxrd.write(own={"head_rep": "false"})
    vxrd.start()
    register = node.registers(100)
    assert register.response_type is None and 300 not in register.vteps
    until(lambda: "vx300 has no remote" in vxrd.said())
    node.say(R4)
    stays("vx100", SERVERS[4])
    assert vxrd.stop() == 0
    assert flood("vx100") == [SERVERS[4]]


def test_rows_of_head_end_replication_do_not_outlive_it(vxrd, node):
    device(f"{VX100} remote {SERVERS[4]}")
    vxrd.start()
    node.registers(100)
    node.say(R4)
    is_flood("vx100", "192.0.2.2", "192.0.2.3", SERVERS[4])
    vxrd.stop(signal.SIGKILL)
    vxrd.write(own={"head_rep": "false"})
    vxrd.start()
    is_flood("vx100", SERVERS[4])


def test_reload(vxrd, node):
    device()
    vxrd.write(svcnode_ip="203.0.113.99")
    vxrd.start()
    until(lambda: "registers" in vxrd.said() or vxrd.keys["udsfile"].exists())
    assert node.heard(0.5) == []
    vxrd.write(svcnode_ip=SERVERS[4], holdtime=60, src_ip=OWN)
    vxrd.process.send_signal(signal.SIGHUP)
    assert node.registers(100).holdtime == 60
    until(lambda: "src_ip: takes effect when vxrd is restarted" in vxrd.said())
    vxrd.write(holdtime="many")
    vxrd.process.send_signal(signal.SIGHUP)
    until(lambda: "[common] holdtime: 'many' is not a whole number" in vxrd.said())
    until(lambda: "the configuration stays as it was" in vxrd.said())
    assert json.loads(vxrd.ctl("get", "config", "holdtime")) == {"holdtime": 60}


def test_no_start(vxrd, tmp_path):
    vxrd.write(holdtime="x", vxfld_port=0)
    done = subprocess.run(
        vxrd.command("-c", str(vxrd.config)), env=vxrd.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "[common] holdtime: 'x'" in done.stderr and "[common] vxfld_port: '0'" in done.stderr
    vxrd.write(holdtime=90, vxfld_port=10001)
    vxrd.start()
    until(vxrd.keys["udsfile"].exists)
    done = subprocess.run(
        vxrd.command("-c", str(vxrd.config)), env=vxrd.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "another instance of vxrd is already running" in done.stderr
    assert vxrd.stop(signal.SIGINT) == 0


def test_in_the_background(vxrd, node):
    device()
    vxrd.write(logdest=vxrd.directory / "own.log")
    subprocess.run(vxrd.command("-d", "-c", str(vxrd.config)), env=vxrd.environment(), check=True, timeout=20)
    pid = int(vxrd.keys["pidfile"].read_text())
    try:
        node.registers(100)
        assert json.loads(vxrd.ctl("-j", "show"))["head_rep"] is True
    finally:
        os.kill(pid, signal.SIGTERM)
    node.withdraws(100)
    until(lambda: not vxrd.keys["pidfile"].exists())
    assert (vxrd.directory / "own.log").stat().st_mode & 0o022 == 0


def test_commands(vxrd, node):
    device()
    device(VX600)
    vxrd.start()
    node.registers(100)
    until(vxrd.keys["udsfile"].exists)
    assert json.loads(vxrd.ctl("-j", "vxlans", "hrep", "100"))["100"]["hrep_addrs"] == []
    node.answer(100, *(f"192.0.2.{n}" for n in (1, 5, 2, 3, 4, 10)))
    is_flood("vx100", *(f"192.0.2.{n}" for n in (2, 3, 4, 5, 10)))
    assert vxrd.ctl("show") == (
        "Protocol version: 3\n"
        f"Local address    {OWN} {OWN6}\n"
        f"Svcnode address  {' '.join(SERVERS.values())}\n"
        "Head rep.        Enabled\n"
    )
    assert vxrd.ctl("vxlans").splitlines()[2:] == [
        f"100  {OWN.ljust(11)}  {SERVERS[4]}",
        f"600  {OWN6.ljust(11)}  {SERVERS[6]}",
    ]
    assert vxrd.ctl("vxlans", "hrep").splitlines()[2:] == [
        "100  vx100   192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5",
        "             192.0.2.10",
        "600  vx600",
    ]
    assert vxrd.ctl("peers", "100").splitlines()[2] == "100  192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4"
    assert json.loads(vxrd.ctl("-j", "show")) == {
        "version": 3,
        "src_ip": f"{OWN} {OWN6}",
        "snd_ip": " ".join(SERVERS.values()),
        "head_rep": True,
    }
    assert json.loads(vxrd.ctl("vxlans", "-j", "100")) == {
        "100": {
            "dev_name": "vx100",
            "localip": OWN,
            "svcnodeip": SERVERS[4],
            "hrep_addrs": [f"192.0.2.{n}" for n in (2, 3, 4, 5, 10)],
        }
    }
    assert json.loads(vxrd.ctl("-j", "peers", "600")) == {"600": []}
    assert json.loads(vxrd.ctl("get", "config"))["holdtime"] == 90
    assert vxrd.counters()["answers"] == 1 and vxrd.counters()["rows appended"] == 5
    told = vxrd.ctl("metrics")
    assert "vxrd_rows_appended_total 5\n" in told and 'vxrd_peers{vni="100"} 6\n' in told
    assert "VNI 7 is not registered" in vxrd.ctl("vxlans", "7", code=1)
    assert "Unknown parameter" in vxrd.ctl("get", "config", "x", code=1)
    assert vxrd.keys["udsfile"].stat().st_mode & 0o777 == 0o600
    for wrong in (["vxlans", "x"], ["nothing"], ["show", "more"], ["get"], ["-x"], ["peers", "1", "2"]):
        assert "usage: vxrdctl" in vxrd.ctl(*wrong, code=2)
    assert "vxlans hrep [VNI]" in vxrd.ctl("-h") and vxrd.ctl() == vxrd.ctl("-h")
    vxrd.stop()
    assert "is the daemon running" in vxrd.ctl("show", code=1)
    vxrd.write(own={"head_rep": "false"})
    vxrd.start()
    until(vxrd.keys["udsfile"].exists)
    for words in (["peers"], ["vxlans", "hrep"]):
        assert vxrd.ctl(*words).startswith("Head-end replication is off")
    assert vxrd.ctl("vxlans") == "None\n"


@pytest.mark.parametrize("family", [4, 6])
def test_2000_destinations(vxrd, node, family, record_property):
    """From the datagrams of an answer to the rows. Both take their turns on the same processors."""
    if family == 4:
        device()
        vni, dev, own, to = 100, "vx100", ip(OWN), OWN
        many = [b"\x0a\x01" + number.to_bytes(2, "big") for number in range(1, 2001)]
    else:
        device(VX600)
        vni, dev, own, to = 600, "vx600", ip(OWN6), OWN6
        many = [ip("2001:db8:a::")[:14] + number.to_bytes(2, "big") for number in range(1, 2001)]
    vxrd.start()
    node.registers(vni)
    node.heard(1.2)
    parts = [messages.encode(one) for one in messages.split_answer(answer(vni, [own, *many], generation=1), 1500)]
    before = vxrd.memory()
    began = time.monotonic()
    for part in parts:
        node.say(part, to)
    until(lambda: len(flood(dev)) == 2000)
    seen = time.monotonic() - began
    assert seen < 2
    record_property("seconds until seen by bridge", round(seen, 3))
    # The same again changes nothing; a change by one costs little.
    appended = vxrd.counters()["rows appended"]
    for part in parts:
        node.say(part, to)
    node.answer(vni, to, to=to, generation=2, base=1, gone={vni: many[:1]})
    until(lambda: len(flood(dev)) == 1999)
    assert vxrd.counters()["rows appended"] == appended == 2000
    assert vxrd.memory() < 64 << 20
    record_property("resident MB", (round(before / 1e6, 1), round(vxrd.memory() / 1e6, 1)))
    assert vxrd.stop() == 0
    assert flood(dev) == []
