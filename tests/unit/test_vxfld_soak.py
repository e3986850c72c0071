# SPDX-License-Identifier: GPL-3.0-or-later
"""Half an hour of VTEPs and service nodes behind an anycast address, with all that networks and hosts do to them.

The time is simulated. The seed is in the message of whatever fails, and VXFLD_SOAK_SEED sets it.
"""

import heapq
import ipaddress
import itertools
import os
import random

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import config
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.registrar import Device, Registrar
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.service_node import ServiceNode

PORT = 10001
HOLDTIME, REFRESH = 90, 30
HALF_HOUR = 1800.0
VTEPS = 30
VNIS = range(100, 108)


def ip(text):
    return ipaddress.ip_address(text).packed


ANYCAST = {4: ip("203.0.113.100"), 6: ip("2001:db8:f::100")}


def family(address):
    return 4 if len(address) == 4 else 6


class Host:
    def __init__(self, net, number):
        self.net, self.number = net, number
        self.side = 0  # of a partition
        self.core = None  # None: not running
        self.life = 0  # what was under way to a former life does not reach the next one
        self.due = None

    def begin(self, core):
        self.core = core
        self.life += 1
        self.due = None
        self.work()

    def kill(self):
        self.core = None
        self.life += 1

    def work(self):
        """Send what is to be sent, and be woken when there is something to do."""
        core, net = self.core, self.net
        due = core.tick(net.now, net.now)
        assert due > net.now, f"{net.seed}: a wake-up that is due already"
        self.collect()
        if self.due is None or due < self.due or self.due <= net.now:
            self.due = due
            net.at(due, self.wake, self.life, due)

    def wake(self, life, due):
        if self.core is not None and life == self.life and due == self.due:
            self.due = None
            self.work()

    def collect(self):
        sent, self.core.outbox[:] = list(self.core.outbox), []
        for data, (address, port) in sent:
            assert port == PORT
            self.net.datagram(self, data, address)
        self.core.changed.clear()
        self.core.alarms.clear()


class Vtep(Host):
    """Its VNIs are of either family, and change with each start."""

    def __init__(self, net, number):
        super().__init__(net, number)
        self.addresses = {4: ip(f"192.0.2.{number}"), 6: ip(f"2001:db8::{number:x}")}
        self.vnis = {}  # vni: family

    def start(self):
        chance = self.net.random
        self.vnis = {vni: chance.choice((4, 6)) for vni in chance.sample(VNIS, chance.randint(1, 4))}
        settings = config.Vxrd(svcnode_ip=ANYCAST, holdtime=HOLDTIME)
        core = Registrar(settings, 1000 + self.number, self.number.to_bytes(16, "big"), self.net.now)
        devices = [Device(f"vx{vni}", vni, vni, self.addresses[one]) for vni, one in self.vnis.items()]
        core.devices(devices, self.net.now, self.net.now)
        self.begin(core)

    def withdraw(self):
        self.core.withdraw(self.net.now, self.net.now)
        self.collect()
        self.kill()


class Node(Host):
    def __init__(self, net, number):
        super().__init__(net, number)
        self.addresses = {4: ip(f"198.51.100.{number}"), 6: ip(f"2001:db8:f::{number:x}")}

    def start(self):
        peers = [(ip(f"198.51.100.{number}"), PORT) for number in (1, 2, 3)]
        settings = config.Vxsnd(src_ip=self.addresses, svcnode_ip=ANYCAST, svcnode_peers=peers, holdtime=HOLDTIME)
        self.begin(ServiceNode(settings, self.net.random.getrandbits(63), self.net.random))

    def collect(self):
        super().collect()
        core, net = self.core, self.net
        for peer, data in core.syncs:
            net.stream(self, net.hosts[peer[0]], data, asks=True)
        for peer, data in core.pushes:
            net.stream(self, net.hosts[peer[0]], data, asks=False)
        core.syncs.clear()
        core.pushes.clear()


class Net:
    def __init__(self, seed):
        self.seed = f"seed {seed}"
        self.random = random.Random(seed)
        self.now = 1000.0
        self.loss = self.twice = 0.0
        self.delay = 0.02
        self._events, self._order = [], itertools.count()
        self.nodes = [Node(self, number) for number in (1, 2, 3)]
        self.vteps = [Vtep(self, number) for number in range(1, VTEPS + 1)]
        self.hosts = {address: host for host in self.nodes + self.vteps for address in host.addresses.values()}
        self.lost = self.doubled = self.refused = 0

    def at(self, when, what, *arguments):
        heapq.heappush(self._events, (when, next(self._order), what, arguments))

    def run(self, seconds):
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _order, what, arguments = heapq.heappop(self._events)
            what(*arguments)
        self.now = end

    def route(self, host):
        """The service node that is nearest of those that live on the host's side; not the same one for all."""
        near = [self.nodes[(host.number + more) % 3] for more in range(3)]
        return next((node for node in near if node.core is not None and node.side == host.side), None)

    def datagram(self, sender, data, address):
        receiver = self.route(sender) if address in ANYCAST.values() else self.hosts[address]
        if receiver is None or receiver.side != sender.side or self.random.random() < self.loss:
            self.lost += 1
            return
        copies = 1 + (self.random.random() < self.twice)
        self.doubled += copies - 1
        for _copy in range(copies):
            when = self.now + self.random.uniform(0.0005, self.delay)
            self.at(when, self.arrive, receiver, receiver.life, data, (sender.addresses[family(address)], PORT))

    def arrive(self, receiver, life, data, source):
        if receiver.core is not None and receiver.life == life:
            receiver.core.datagram(data, source, self.now, self.now)
            receiver.work()

    def stream(self, sender, receiver, data, asks):
        """A connection: is there in full after a while, or fails."""
        after = self.now + self.random.uniform(0.001, 2 * self.delay)
        self.at(after, self.connect, sender, sender.life, receiver, data, asks)

    def connect(self, sender, life, receiver, data, asks):
        here, there = sender.core, receiver.core
        if here is None or sender.life != life:
            return
        peer = receiver.addresses[4], PORT
        if there is None or receiver.side != sender.side or self.random.random() < self.loss:
            self.refused += 1
            (here.sync_failed if asks else here.push_failed)(peer, self.now, "connection refused")
        else:
            answer = there.sync_request(data, (sender.addresses[4], 40000), self.now, self.now)
            receiver.work()
            assert (answer is not None) == asks, self.seed
            if asks:
                here.sync_answer(answer, peer, self.now, self.now)
            else:
                here.pushed(peer)
        sender.work()

    # -- What there is to be seen

    def registered(self):
        """{(vni, address, identifier)} of the VTEPs that live."""
        return {
            (vni, vtep.addresses[one], 1000 + vtep.number)
            for vtep in self.vteps
            if vtep.core is not None
            for vni, one in vtep.vnis.items()
        }

    def check(self, when):
        wanted = self.registered()
        for vtep in self.vteps:
            for vni, one in vtep.vnis.items() if vtep.core is not None else ():
                others = {address for number, address, _id in wanted if number == vni and family(address) == one}
                words = f"{self.seed}, {when} at {self.now}: VTEP {vtep.number}, VNI {vni}"
                found = vtep.core.floods[f"vx{vni}"]
                assert found == others - {vtep.addresses[one]}, f"{words}: {found} of {others}"
        for node in self.nodes:
            there = {(vni, address, identifier) for vni, address, _left, identifier in node.core.dump(self.now)}
            assert there == wanted, f"{self.seed}, {when} at {self.now}: service node {node.number}"

    def check_bounds(self):
        entries = VTEPS * len(VNIS)
        for node in self.nodes:
            core = node.core
            registrations, peering = core.registrations, core.peering
            sizes = {
                "count": (registrations.count, len(self.registered())),
                "_vnis": (len(registrations), len(VNIS)),
                "touched": (len(registrations.touched), 0),
                "_removed": (len(registrations._removed), entries),
                "_moves": (len(registrations._moves), entries),
                "_buckets": (len(registrations._buckets), 4 * len(VNIS) + 1024),
                "_filed": (registrations._filed, 4 * len(VNIS) + 1024),
                "_subscribers": (len(core._subscribers), 2 * VTEPS),
                "_timers": (len(core._timers), 4 * len(VNIS)),
                "_timed": (len(core._timed), 4 * len(VNIS)),
                "_owed": (len(core._owed), 0),
                "_answers": (len(core._answers), len(VNIS)),
                "_old_cache": (len(core._old_cache), 0),
                "_same": (len(core._same), 0),
                "waiting": (core._pacer.waiting, 0),
                "_untold": (sum(len(one.entries) + len(one.sent) for one in peering._untold.values()), 0),
                "_asked": (len(peering._asked), 1),
            }
            for name, (size, most) in sizes.items():
                assert size <= most, f"{self.seed}: {name} of service node {node.number} has {size} at {self.now}"
            assert core.counters["clashes"] == 0, self.seed
            assert core.counters["malformed"] == 0, self.seed
        for vtep in self.vteps:
            if vtep.core is not None:
                assert len(vtep.core._reassembly) == 0, self.seed
                assert vtep.core.counters["malformed"] == 0, self.seed
        assert len(self._events) < 100 * (VTEPS + 3), self.seed

    # -- What happens

    def trouble(self, seconds):
        """Loss, delay, duplicates, and something every few seconds; afterwards all is well again but for who is dead."""
        chance = self.random
        self.loss, self.twice, self.delay = 0.15, 0.1, 0.3
        end = self.now + seconds
        while self.now < end:
            self.run(chance.uniform(0.5, 4))
            what = chance.random()
            vtep, node = chance.choice(self.vteps), chance.choice(self.nodes)
            if what < 0.1:
                far = chance.choice(self.nodes)
                for host in self.nodes + self.vteps:
                    host.side = int(host is far or (host in self.vteps and chance.random() < 0.3))
            elif what < 0.15:
                self.heal()
            elif what < 0.3:
                if node.core is None:
                    node.start()
                elif sum(one.core is not None for one in self.nodes) > 1:
                    node.kill()
            elif vtep.core is None:
                vtep.start()
            elif what < 0.6:
                vtep.kill()
            else:
                vtep.withdraw()
        self.loss, self.twice, self.delay = 0.0, 0.0, 0.02
        self.heal()
        for node in self.nodes:
            if node.core is None:
                node.start()

    def heal(self):
        for host in self.nodes + self.vteps:
            host.side = 0

    def living(self):
        return self.random.choice([vtep for vtep in self.vteps if vtep.core is not None])


@pytest.mark.parametrize("seed", [int(os.environ["VXFLD_SOAK_SEED"])] if "VXFLD_SOAK_SEED" in os.environ else [1, 2, 3])
def test_half_an_hour(seed):
    print(f"seed {seed}")
    net = Net(seed)
    for host in net.nodes + net.vteps:
        host.start()
    end = net.now + HALF_HOUR
    net.run(3)
    net.check("the start")
    rounds = 0
    while net.now < end:
        rounds += 1
        net.trouble(90)
        net.run(HOLDTIME + REFRESH + 2)
        net.check("after trouble")
        net.check_bounds()

        for vtep in [one for one in net.vteps if one.core is None][:3]:
            vtep.start()
            net.run(2)
            net.check("a join")
        net.living().withdraw()
        net.run(2)
        net.check("a withdrawal")

        dead = net.living()
        gone = {(vni, dead.addresses[one], 1000 + dead.number) for vni, one in dead.vnis.items()}
        dead.kill()
        net.run(HOLDTIME - REFRESH - 2)  # it registered up to 30 s before
        held = {row[:2] + row[3:] for row in net.nodes[0].core.dump(net.now)}
        assert gone <= held, f"{net.seed}: a VTEP was taken for dead before its holdtime was over, at {net.now}"
        net.run(2 * REFRESH + 2)
        net.check("a death")
    print(f"{rounds} rounds, {net.lost} datagrams lost, {net.doubled} doubled, {net.refused} connections refused")
    assert rounds >= 4
    assert net.lost > 1000 and net.doubled > 100 and net.refused > 10
