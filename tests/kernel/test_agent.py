# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-agent as a process, with a registry that is a file, judged by frames that arrive and by `bridge` and `ip`."""

import concurrent.futures
import json
import signal
import subprocess
import time

import pytest
from agent_net import HOST_MAC, OWN, TWO, TWO_MAC, VTEPS, Agent, Net, ask, entry, fdb, frames, neighbors
from device_support import MARKS, sh
from vxrd_support import install, until

pytestmark = MARKS

B, C = VTEPS["b"], VTEPS["c"]
THREE, THREE_MAC = "10.0.0.3", "50:54:33:00:00:03"
NOBODY = "50:54:33:00:00:99"


@pytest.fixture
def net():
    with Net() as made:
        yield made


@pytest.fixture
def agent(tmp_path, net):
    made = Agent(install(tmp_path))
    made.endpoints(entry(TWO_MAC, B, TWO), entry(THREE_MAC, B, THREE), entry(HOST_MAC, OWN, "10.0.0.1"))
    yield made
    made.end()
    print(made.said())


def macs(count, start=0x1000):
    return [f"50:54:33:01:{number >> 8:02x}:{number & 255:02x}" for number in range(start, start + count)]


def test_misses_are_answered_and_frames_arrive(agent, net):
    agent.start()
    assert fdb() == {} and neighbors() == {}
    assert net.ping() >= 1  # the first request asks, and the kernel asks anew after a second
    assert fdb() == {TWO_MAC: B}
    assert neighbors() == {TWO: TWO_MAC}
    frames([THREE_MAC])
    until(lambda: fdb() == {TWO_MAC: B, THREE_MAC: B})
    rows = json.loads(sh("bridge -j fdb show dev vx100"))
    assert [row["state"] for row in rows if row["mac"] == TWO_MAC and row.get("dst")] == [""]


def test_a_move_is_followed_within_a_second(agent, net):
    agent.start()
    assert net.ping() >= 1
    running = net.pinging(count=100)  # two seconds
    time.sleep(0.5)
    net.ip("b", "link set vx100 down")
    moved = time.time()
    agent.endpoints(entry(TWO_MAC, C, TWO))
    until(lambda: fdb() == {TWO_MAC: C}, 1.0)
    lost = [when - moved for when, answered in net.pings(running) if not answered]
    assert len(lost) < 50 and max(lost, default=0) < 1.0, lost


def test_what_the_registry_drops_goes_and_what_waits_is_installed(agent, net):
    agent.start()
    ask([TWO, "10.0.0.4"])
    until(lambda: neighbors() == {TWO: TWO_MAC} and fdb() == {TWO_MAC: B})
    agent.endpoints(entry("50:54:33:00:00:04", C, "10.0.0.4"))
    until(lambda: neighbors() == {"10.0.0.4": "50:54:33:00:00:04"}, 2.0)
    assert fdb() == {"50:54:33:00:00:04": C}


def test_sigterm_removes_its_rows_and_leaves_those_that_are_somebodys_now(agent, net):
    agent.endpoints(*(entry(mac, B, f"10.0.1.{at}") for at, mac in enumerate(macs(20))))
    agent.start()
    ask([f"10.0.1.{at}" for at in range(20)])
    until(lambda: len(fdb()) == 20 and len(neighbors()) == 20)
    taken, near, moved = macs(3)
    sh(
        f"bridge fdb replace {taken} dev vx100 dst {C} self permanent",
        f"bridge fdb add {THREE_MAC} dev vx100 dst {C} self permanent",
        f"ip neigh replace 10.0.1.1 lladdr {NOBODY} nud permanent proto static dev vx100",
        f"ip neigh add 10.0.2.1 lladdr {near} nud permanent dev vx100",
    )
    # What was made permanent is not the registry's to move.
    agent.endpoints(entry(taken, "192.0.2.4", "10.0.1.0"), entry(moved, C, "10.0.1.1", "10.0.1.2"))
    until(lambda: fdb() == {moved: C})
    assert agent.stop() == 0
    assert fdb() == {} and neighbors() == {}
    rows = {row["mac"]: row["dst"] for row in json.loads(sh("bridge -j fdb show dev vx100")) if row.get("dst")}
    assert rows == {taken: C, THREE_MAC: C}
    left = {row["dst"]: row["lladdr"] for row in json.loads(sh("ip -j neigh show dev vx100 nud permanent"))}
    assert left == {"10.0.1.1": NOBODY, "10.0.2.1": near}
    assert not agent.keys["pidfile"].exists() and not agent.keys["udsfile"].exists()
    assert "rows removed" in agent.said() and "fault" not in agent.said()


@pytest.mark.parametrize("words", ["permanent", "static", "dynamic extern_learn"])
def test_somebodys_row_is_neither_written_over_nor_removed(agent, net, words):
    """Of a MAC whose addresses the agent answers for."""

    def row():
        rows = json.loads(sh("bridge -j fdb show dev vx100"))
        return [one for one in rows if one["mac"] == THREE_MAC and one.get("dst")]

    agent.start()
    sh(f"bridge fdb add {THREE_MAC} dev vx100 dst {C} self {words}")
    before = row()
    ask([THREE])
    until(lambda: neighbors() == {THREE: THREE_MAC})
    time.sleep(0.2)
    assert row() == before
    # And one that waits for its answer.
    ask(["10.0.0.33"])
    until(lambda: agent.json("misses"))
    agent.endpoints(entry(TWO_MAC, B, TWO), entry(THREE_MAC, "192.0.2.4", THREE, "10.0.0.33"))
    until(lambda: set(neighbors()) == {THREE, "10.0.0.33"})
    agent.endpoints(entry(TWO_MAC, B, TWO))
    until(lambda: neighbors() == {}, 3.0)
    assert row() == before
    assert agent.counters()["rows refused"] == 0 and "write row" not in agent.said()
    assert agent.stop() == 0
    assert row() == before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_rows_outlive_the_process_and_the_next_one_takes_them_over(agent, net, number):
    gone, moved, kept = macs(3)
    agent.endpoints(entry(gone, B, "10.0.1.0"), entry(moved, B, "10.0.1.1"), entry(kept, B, "10.0.1.2"))
    agent.start()
    ask(["10.0.1.0", "10.0.1.1", "10.0.1.2"])
    until(lambda: len(fdb()) == len(neighbors()) == 3)
    assert agent.stop(number) == (0 if number == signal.SIGUSR1 else -number)
    assert len(fdb()) == len(neighbors()) == 3
    agent.endpoints(entry(moved, C, "10.0.1.1"), entry(kept, B, "10.0.1.2"))
    agent.start()
    assert fdb() == {moved: C, kept: B}
    assert neighbors() == {"10.0.1.1": moved, "10.0.1.2": kept}
    assert {one["mac"] for one in agent.json("entries")} == {moved, kept}
    agent.endpoints(entry(kept, C, "10.0.1.2"))
    until(lambda: fdb() == {kept: C}, 2.0)
    assert agent.stop() == 0
    assert fdb() == {} and neighbors() == {}


def test_many_ask_why_while_tables_are_looked_at_and_it_ends(agent, net):
    agent.keys.update(sweep="0.1")
    agent.endpoints(entry(TWO_MAC, B, TWO), *(entry(mac, B) for mac in macs(2000)))
    agent.start()
    assert net.ping() >= 1
    frames(macs(2000))
    until(lambda: len(fdb()) == 2001)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _number: agent.ctl("why", TWO), range(24)))
    assert all(f"leads to {B}" in one for one in told)
    assert agent.stop() == 0
    assert fdb() == {} and "Error" not in agent.said(), agent.said()


def test_a_thread_that_hangs_does_not_keep_it_from_ending(agent, net):
    agent.before = (
        "import time; from vtep_fabric._kernel.dynamic_rows import DynamicRows as Rows; from vtep_fabric._agent import agent; "
        "agent.LEAVE = 0.5; Rows.neighbors = lambda *_more: time.sleep(3600)"
    )
    agent.start(ready=False)
    until(lambda: "ready" in agent.said() or agent.keys["udsfile"].exists())
    time.sleep(1)
    agent.process.send_signal(signal.SIGUSR1)
    assert agent.process.wait(10) == 0
    assert not agent.keys["pidfile"].exists()


def test_without_a_registry_rows_stay(agent, net):
    agent.start()
    assert net.ping() >= 1
    agent.stop(signal.SIGKILL)
    agent.source.unlink()
    agent.start(ready=False)
    until(lambda: "no contact" in agent.said())
    assert fdb() == {TWO_MAC: B} and neighbors() == {TWO: TWO_MAC}
    assert "has told nothing yet" in agent.ctl("why", TWO)
    agent.endpoints(entry(TWO_MAC, C, TWO))
    until(lambda: fdb() == {TWO_MAC: C}, 6.0)
    agent.source.unlink()
    until(lambda: not agent.json("status")["registry"]["ok"], 20)
    frames([THREE_MAC])
    assert "the registry is lost" in until(lambda: agent.ctl("why", THREE_MAC))
    assert fdb() == {TWO_MAC: C}, "what is known stays"


def test_overflows_end_in_tables_that_are_read_again(agent, net):
    """Buffers too small for what comes while the agent stands still: some twenty messages."""
    agent.endpoints(*(entry(mac, B) for mac in macs(400)))
    agent.before = "from vtep_fabric._kernel import misses, neighbor_watch; misses.RECEIVE_BUFFER = neighbor_watch.RECEIVE_BUFFER = 8192"
    agent.start()
    until(lambda: (frames(macs(100)), time.sleep(0.1), len(fdb()) == 100)[-1])
    agent.process.send_signal(signal.SIGSTOP)
    for mac in macs(50):
        sh(f"bridge fdb del {mac} dev vx100 self")
    frames(macs(200, 0x1064))
    agent.process.send_signal(signal.SIGCONT)
    until(lambda: agent.counters()["misses lost"] and agent.counters()["changes lost"])
    time.sleep(1.0)
    asked = macs(4, 0x1180)
    until(lambda: (frames(asked), time.sleep(0.1), set(asked) <= set(fdb()))[-1])
    # Nobody asks for the rows that went, and the agent does not believe that it has them.
    until(lambda: {one["mac"] for one in agent.json("entries")} == set(fdb()))
    assert not set(macs(50)) & set(fdb())
    said = agent.said()
    assert "misses came faster than they were read" in said and "changes of tables came faster" in said
    assert "fault" not in said


def test_bad_entries_are_refused_one_by_one(agent, net):
    bad = [
        entry("50:54:33:00:00:0g", B, TWO), entry(NOBODY, "192.0.2.999"), entry("ff:ff:ff:ff:ff:ff", B), 5,
        entry("50:54:33:00:00:05", B, "10.0.0.5/24"), entry("50:54:33:00:00:06", B, "a\x1b[31m\n" * 100),
        entry("50:54:33:00:00:07", B, vni=1 << 24),
    ]  # fmt: skip
    agent.endpoints(*bad, entry(TWO_MAC, B, TWO), entry("50:54:33:00:00:08", "2001:db8::2", "10.0.0.8"))
    agent.start()
    assert net.ping() >= 1
    said = agent.said()
    for number in range(1, 8):
        assert f"row {number}: " in said
    assert "\x1b" not in said and max(map(len, said.splitlines())) < 400
    status = agent.json("status")
    assert status["registry"]["endpoints"] == 2 and status["registry"]["refused"] == len(bad)
    frames(["50:54:33:00:00:08"])
    until(lambda: "cannot reach VTEP 2001:db8::2" in agent.said())
    assert "another family" in agent.ctl("why", "10.0.0.8")
    assert fdb() == {TWO_MAC: B}


def test_two_vteps_claim_an_endpoint(agent, net):
    agent.endpoints(entry(TWO_MAC, B, TWO), entry(TWO_MAC, C, TWO))
    agent.start()
    net.ping()
    assert fdb() == {TWO_MAC: C}, "the later row is newer"
    told = agent.ctl("why", TWO_MAC)
    assert f"2 VTEPs claim {TWO_MAC}: {C} is the newest and counts, not {B}." in told
    assert f"Conflict in VNI 100 over {TWO_MAC}: " in agent.ctl("status")
    until(lambda: any(B in line and C in line and TWO_MAC in line for line in agent.said().splitlines()))


def test_what_the_commands_tell(agent, net):
    agent.start()
    assert net.ping() >= 1
    frames([NOBODY, NOBODY, HOST_MAC])
    until(lambda: len(agent.json("misses")) >= 2)
    status = agent.ctl("status")
    for words in (
        "Registry",
        "file, heard ",
        "3 known, 0 entries refused",
        "1 FDB, 1 neighbours",
        "vx100   100  192.0.2.1",
    ):
        assert words in status, status
    entries = agent.ctl("entries", "vx100").splitlines()
    assert entries[0].split() == ["Device", "VNI", "Address", "MAC", "VTEP", "Used"]
    assert sorted(line.split()[2:4] for line in entries[2:]) == [[TWO, TWO_MAC], [TWO_MAC, B]]
    misses = {one["key"]: one for one in agent.json("misses")}
    assert (misses[NOBODY]["count"], misses[NOBODY]["why"], misses[HOST_MAC]["why"]) == (2, "unknown", "own")
    assert NOBODY in agent.ctl("misses")
    told = agent.ctl("why", TWO)
    assert f"In VNI 100 it is of {TWO_MAC}, behind VTEP {B}." in told
    assert f"vx100: the row of {TWO_MAC} leads to {B} and was used " in told
    assert f"vx100: it answers for {TWO} with {TWO_MAC}." in told
    for words, sentence in (
        ([THREE], "vx100: it would be installed as soon as somebody asks."),
        ([NOBODY], "vx100: it cannot be installed, since the registry does not have it."),
        ([NOBODY], "vx100: it was asked for 2 times without an answer, last "),
        ([HOST_MAC], "vx100: it is never installed, since it is behind this host itself."),
        (["10.9.9.9"], "10.9.9.9 is unknown to the registry."),
        ([TWO, "7"], "VNI 7 is not served by the agent of this host: no VXLAN device here has it."),
    ):
        assert sentence in agent.ctl("why", *words), (words, sentence)
    assert agent.json("why", TWO)["vnis"][0]["devices"][0]["neighbor"] == TWO_MAC
    assert "is neither a MAC nor an IP address" in agent.ctl("why", "nonsense", code=1)
    assert "is not a device that the agent serves" in agent.ctl("entries", "br0", code=1)
    assert "is not a command" in agent.ctl("shw", code=2)
    metrics = agent.ctl("metrics")
    for line in (
        'vtep_agent_rows{table="fdb"} 1',
        "vtep_agent_registry_ok 1",
        'vtep_agent_answer_seconds_bucket{le="+Inf"} ',
    ):
        assert line in metrics
    second = subprocess.run(
        agent_command(agent), env=agent.environment(), capture_output=True, text=True, timeout=10, check=False
    )
    assert second.returncode == 1 and "another instance of vtep-agent is already running" in second.stderr


def agent_command(agent):
    return ["python3", "-m", "vtep_fabric._agent.command", "run", "-c", str(agent.config)]


def test_faults_of_the_configuration_keep_it_from_starting_and_a_reload_as_it_was(agent, net):
    agent.write({"limit": 3, "sweep": "often"})
    done = subprocess.run(agent_command(agent), env=agent.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("vtep-agent: ") == 2, done.stderr
    agent.own.update(limit=100, sweep=1)
    agent.start()
    agent.write({"limit": 3})
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: "the configuration stays as it was" in agent.said())
    other = agent.directory / "other.json"
    agent.endpoints(entry(TWO_MAC, C, TWO), name=other)
    agent.write({"limit": 200, "statedir": agent.directory / "elsewhere"}, file=other)
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: "statedir: takes effect when vtep-agent is restarted" in agent.said())
    until(lambda: agent.json("status")["registry"]["endpoints"] == 1)
    net.ping()
    assert fdb() == {TWO_MAC: C}
    assert agent.json("status")["rows"]["limit"] == 200


def test_the_table_is_bounded(agent, net):
    agent.endpoints(*(entry(mac, B) for mac in macs(200)))
    agent.own["limit"] = 50
    agent.start()
    for at in range(0, 200, 20):
        frames(macs(20, 0x1000 + at))
        time.sleep(0.02)
    until(lambda: agent.counters()["evicted"] >= 150)
    until(lambda: 45 <= len(fdb()) <= 50)
    assert macs(200)[-1] in fdb() and macs(1)[0] not in fdb()


def test_rows_that_are_used_stay_and_others_age(agent, net):
    sh("ip link set vx100 type vxlan ageing 4")
    agent.start()
    ask([TWO, THREE])
    until(lambda: set(fdb()) == {TWO_MAC, THREE_MAC} and set(neighbors()) == {TWO, THREE})
    end = time.monotonic() + 12
    while time.monotonic() < end:
        frames([TWO_MAC])
        assert TWO_MAC in fdb()
        time.sleep(0.5)
    assert fdb() == {TWO_MAC: B}
    until(lambda: neighbors() == {TWO: TWO_MAC})
    assert agent.counters()["aged"] >= 2


def test_what_devices_lack_is_told_and_what_they_learn_is_set_right(agent, net):
    agent.keys.update(sweep="0.5")
    sh("ip link set vx100 type vxlan learning", "ip link add vx3 type vxlan id 300 dstport 4793 local 192.0.2.1 l3miss")
    sh("ip link set vx3 up")
    agent.endpoints(entry(TWO_MAC, B, TWO, vni=300), entry(THREE_MAC, B, THREE))
    agent.start()
    until(lambda: "vx100 learns from frames" in agent.said() and "vx3 learns from frames" in agent.said())
    assert "vx3 is made without l2miss" in agent.said() and "vx100 is made without" not in agent.said()
    sh(
        f"bridge fdb add {THREE_MAC} dev vx100 dst {C} self dynamic",
        f"ip neigh add {TWO} lladdr {TWO_MAC} dev vx3 proto 119",
    )
    until(lambda: fdb() == {THREE_MAC: B} and fdb("vx3") == {TWO_MAC: B}, 3.0)
    sh("ip link set vx100 type vxlan ageing 1")
    until(lambda: fdb() == {}, 15)  # the kernel looks every 10 s


def test_devices_come_change_and_go(agent, net):
    sh("ip link add vx200 type vxlan id 200 dstport 4790 local 192.0.2.1 nolearning")
    agent.endpoints(entry(TWO_MAC, B, TWO), entry(THREE_MAC, C, THREE, vni=200))
    agent.start()
    sh("ip link set vx200 up")
    assert "vx200 has neither l2miss nor l3miss" in agent.ctl("why", THREE_MAC)
    sh("ip link del vx200", "ip link add vx200 type vxlan id 200 dstport 4790 local 192.0.2.1 nolearning l2miss")
    sh("ip link set vx200 up")
    until(lambda: len(agent.json("status")["devices"]) == 2)
    frames([THREE_MAC], "vx200")
    until(lambda: fdb("vx200") == {THREE_MAC: C})
    frames([TWO_MAC])
    until(lambda: fdb() == {TWO_MAC: B})
    sh("ip link del vx200", "ip link add vxext type vxlan external dstport 4791 l2miss")
    until(lambda: [one["device"] for one in agent.json("status")["devices"]] == ["vx100"])
    assert "vxext is left out: it is made with 'external'" in agent.ctl("status")
    assert "fault" not in agent.said()


def groups(dev="vx100"):
    rows = json.loads(sh(f"bridge -j fdb show dev {dev}"))
    return {(row["mac"], row["dst"]) for row in rows if row.get("dst") and int(row["mac"][1], 16) & 1}


def test_groups_of_endpoints_that_the_registry_knows(agent, net):
    agent.own["groups"] = "true"
    six = "2001:db8:ff::12:3456"
    agent.endpoints(entry(TWO_MAC, B, TWO, six), entry(HOST_MAC, OWN, "2001:db8:ff::1"))
    sh(f"bridge fdb append ff:ff:ff:ff:ff:ff dev vx100 dst {C} self permanent")
    agent.start()
    foreign, solicited = ("ff:ff:ff:ff:ff:ff", C), "33:33:ff:12:34:56"
    until(lambda: groups() == {foreign, ("ff:ff:ff:ff:ff:ff", B), (solicited, B)})
    agent.endpoints(entry(TWO_MAC, C, TWO, six))
    until(lambda: groups() == {foreign, (solicited, C)}, 3.0)
    assert {one["mac"] for one in agent.json("entries") if one["kind"] == "group"} == {solicited}
    agent.stop(signal.SIGKILL)
    agent.endpoints(entry(TWO_MAC, B, TWO))
    agent.start()
    until(lambda: groups() == {foreign, ("ff:ff:ff:ff:ff:ff", B)})
    assert agent.stop() == 0
    assert groups() == {foreign}
    assert not (agent.directory / "state/groups.json").exists()


def test_the_source_limit_is_there_while_the_agent_is(agent, net):
    agent.start()
    until(lambda: "vtep_agent" in sh("nft list tables"))
    assert '"p1"' in sh("nft list set bridge vtep_agent ports")
    agent.write({"source_limit": 0})
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: "vtep_agent" not in sh("nft list tables"))
    agent.write({"source_limit": 50})
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: "vtep_agent" in sh("nft list tables"))
    assert agent.stop() == 0
    assert "vtep_agent" not in sh("nft list tables")


def test_learned_endpoints_are_counted(agent, net):
    agent.own["learn"] = "true"
    agent.start()
    net.ping()
    until(lambda: agent.json("status")["access"]["learned"])
    access = agent.json("status")["access"]
    assert (access["learned"], access["published"], access["ports"]) == (1, None, ["p1"])


def test_the_textfile(agent, net):
    agent.own["textfile"] = agent.directory / "agent.prom"
    agent.start()
    until(agent.own["textfile"].exists)
    assert "vtep_agent_devices 1\n" in agent.own["textfile"].read_text()
    assert agent.own["textfile"].stat().st_mode & 0o777 == 0o644
    assert [one.name for one in agent.directory.glob("*prom*")] == ["agent.prom"]
