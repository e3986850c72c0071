# SPDX-License-Identifier: GPL-3.0-or-later
"""Two vtep-agents and a real etcd: a fabric that nobody has told its endpoints."""

import json
import signal
import time

import pytest
from agent_net import HOST, HOST_MAC, OWN, TWO, TWO_MAC, VTEPS, Agent, Net, entry, fdb, frames, neighbors
from device_support import MARKS, sh
from etcd_support import Etcd
from vxrd_support import install, until

pytestmark = MARKS

B, C = VTEPS["b"], VTEPS["c"]
PREFIX = "/vtep.fabric/endpoints/100"


@pytest.fixture
def net():
    with Net() as made:
        made.ip(
            "b",
            "link del vx100",
            f"link add vx100 address {TWO_MAC} type vxlan id 100 dstport 4789 local {B} nolearning l2miss l3miss proxy",
            "link set vx100 up",
            f"address add {TWO}/24 dev vx100",
            # A host's own requests by the device are no misses, since its table has an entry of what it looks for.
            f"neigh add {HOST} lladdr {HOST_MAC} dev vx100",
        )
        yield made


@pytest.fixture
def etcd(tmp_path, net):
    made = Etcd("bookworm", tmp_path / "etcd", address=OWN)
    yield made.start()
    made.kill()


@pytest.fixture
def agents(tmp_path, net, etcd):
    """The agents of VTEPs a and b."""
    made = {}
    for role in "ab":
        (tmp_path / role).mkdir()
        made[role] = one = Agent(install(tmp_path / role), learn="true")
        one.registry = {"kind": "etcd", "urls": etcd.url}
    made["b"].given = {"endpoints_file": tmp_path / "given.json"}
    made["b"].endpoints(entry(TWO_MAC, B, TWO), name=tmp_path / "given.json")
    made["a"].start()
    made["b"].start("ip", "netns", "exec", net.names["b"])
    yield made
    for one in made.values():
        one.end()
        print(one.said())


def keys(etcd):
    return set(etcd.ctl("get", "--prefix", "--keys-only", PREFIX).split())


def behind_p1():
    return HOST_MAC in {row["mac"] for row in json.loads(sh("bridge -j fdb show br br0 brport p1"))}


def test_endpoints_that_nobody_listed_find_one_another(agents, net, etcd):
    until(lambda: f"{PREFIX}/{TWO_MAC}/{B}" in keys(etcd))
    assert net.ping() >= 1
    assert (fdb(), neighbors()) == ({TWO_MAC: B}, {TWO: TWO_MAC})
    assert keys(etcd) == {f"{PREFIX}/{TWO_MAC}/{B}", f"{PREFIX}/{HOST_MAC}/{OWN}"}
    assert json.loads(etcd.ctl("get", "--print-value-only", f"{PREFIX}/{HOST_MAC}/{OWN}")) == {"addresses": [HOST]}
    assert "In VNI 100 it is of" in agents["a"].ctl("why", HOST)
    # What its host does not claim any more goes everywhere, and so does what a host that is stopped had claimed.
    agents["b"].endpoints(name=agents["b"].given["endpoints_file"])
    until(lambda: fdb() == {} and neighbors() == {})
    assert agents["a"].stop() == 0
    assert keys(etcd) == set()


def test_an_agent_that_starts_again_keeps_its_claims(agents, net, etcd):
    assert net.ping() >= 1
    until(lambda: len(keys(etcd)) == 2)
    for number in (signal.SIGKILL, signal.SIGUSR1):
        before = keys(etcd)
        agents["b"].stop(number)
        assert keys(etcd) == before
        agents["b"].start("ip", "netns", "exec", net.names["b"])
        assert keys(etcd) == before and fdb() == {TWO_MAC: B}


def test_a_reload_keeps_what_is_published(agents, net, etcd):
    until(lambda: len(keys(etcd)) == 2)
    one = agents["a"]
    assert not any("not heard" in line for line in one.said().splitlines() if "ready: " in line)
    before = etcd.ctl("get", "--prefix", PREFIX, "-w", "json")
    lease = json.loads((one.own["statedir"] / "etcd-lease.json").read_text())
    one.write(interval="7")
    one.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration read again" in one.said())
    until(lambda: one.json("status")["registry"]["counters"]["watches"] == 2)
    time.sleep(1)
    rows = [json.loads(found)["kvs"] for found in (before, etcd.ctl("get", "--prefix", PREFIX, "-w", "json"))]
    assert rows[0] == rows[1]
    assert json.loads((one.own["statedir"] / "etcd-lease.json").read_text()) == lease


def test_a_given_endpoint_that_another_vtep_claims_stays_there_after_a_restart(agents, net, etcd):
    until(lambda: f"{PREFIX}/{TWO_MAC}/{B}" in keys(etcd))
    etcd.ctl("put", f"{PREFIX}/{TWO_MAC}/{C}", json.dumps({"addresses": [TWO]}))
    until(lambda: f"{PREFIX}/{TWO_MAC}/{B}" not in keys(etcd))
    until(lambda: TWO_MAC.replace(":", "") in (agents["b"].own["statedir"] / "etcd-lease.json").read_text())
    for number in (signal.SIGKILL, signal.SIGUSR1):
        agents["b"].stop(number)
        agents["b"].start("ip", "netns", "exec", net.names["b"])
        time.sleep(1)
        assert f"{PREFIX}/{TWO_MAC}/{B}" not in keys(etcd)


def test_a_station_that_another_vtep_claims_is_given_up_until_it_is_heard_again(agents, net, etcd):
    assert net.ping() >= 1
    until(lambda: f"{PREFIX}/{HOST_MAC}/{OWN}" in keys(etcd))
    assert behind_p1()
    etcd.ctl("put", f"{PREFIX}/{HOST_MAC}/{C}", json.dumps({"addresses": [HOST]}))
    until(lambda: f"{PREFIX}/{HOST_MAC}/{OWN}" not in keys(etcd))
    until(lambda: not behind_p1())
    frames([HOST_MAC])
    until(lambda: fdb().get(HOST_MAC) == C)
    net.ping(count=1)
    until(lambda: f"{PREFIX}/{HOST_MAC}/{OWN}" in keys(etcd))
    until(lambda: HOST_MAC not in fdb())


def test_without_etcd_what_is_known_stays(agents, net, etcd):
    assert net.ping() >= 1
    etcd.kill()
    until(lambda: "LOST" in agents["a"].ctl("status"), 20)
    assert net.ping() >= 8 and fdb() == {TWO_MAC: B}
    etcd.start()
    etcd.ctl("put", f"{PREFIX}/{TWO_MAC}/{C}", json.dumps({"addresses": [TWO]}))
    until(lambda: fdb() == {TWO_MAC: C}, 20)
    until(lambda: agents["a"].json("status")["registry"]["ok"])


def test_a_reload_goes_on_with_another_registry(agents, net, etcd):
    assert net.ping() >= 1
    one = agents["a"]
    one.endpoints(entry(TWO_MAC, C, TWO))
    one.registry = {"kind": "file", "file": one.source}
    one.write()
    one.process.send_signal(signal.SIGHUP)
    until(lambda: fdb() == {TWO_MAC: C})
    until(lambda: f"{PREFIX}/{HOST_MAC}/{OWN}" not in keys(etcd))
