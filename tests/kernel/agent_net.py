# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of vtep-agent: a VTEP in this network namespace, a host behind it, two other VTEPs with an endpoint each."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from device_support import private, sh
from vxrd_support import Program, until

VTEPS = {"b": "192.0.2.2", "c": "192.0.2.3"}
OWN, HOST = "192.0.2.1", "10.0.0.1"
HOST_MAC = "50:54:33:00:00:01"

# Pings and tells, for each, when it was sent and whether it was answered. Standard library only, since hosts of tests need no ping.
PING = """
import os, select, socket, struct, sys, time
address, count, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sent = {}
def take(until):
    while select.select([one], [], [], max(0, until - time.time()))[0]:
        data = one.recv(2048)
        kind, _code, _sum, mark, seq = struct.unpack_from("!BBHHH", data, 20)
        if kind == 0 and mark == os.getpid() & 0xFFFF and seq in sent:
            print(sent.pop(seq), "answered", flush=True)
for seq in range(1, count + 1):
    head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, seq)
    total = sum(struct.unpack("!4H", head))
    try:
        sent[seq] = time.time()
        one.sendto(head[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[4:], (address, 0))
    except OSError:
        pass
    take(time.time() + interval)
take(time.time() + 1)
for when in sent.values():
    print(when, "lost", flush=True)
"""
TWO, TWO_MAC = "10.0.0.2", "50:54:33:00:00:02"


def entry(mac=TWO_MAC, vtep=VTEPS["b"], *addresses, vni=100):
    return {"vni": vni, "mac": mac, "vtep": vtep, "addresses": list(addresses)}


def fdb(dev="vx100"):
    """{MAC: destination} of rows that age, as `bridge` shows them."""
    rows = json.loads(sh(f"bridge -j fdb show dev {dev}"))
    return {one["mac"]: one["dst"] for one in rows if one.get("dst") and one["state"] != "permanent"}


def neighbors(dev="vx100"):
    """{address: MAC} of the agent's neighbours."""
    rows = json.loads(sh(f"ip -j -d neigh show dev {dev}"))
    return {one["dst"]: one["lladdr"] for one in rows if one.get("protocol") in ("119", 119, "0x77")}


class Net:
    """This namespace is VTEP a, with bridge br0, vx100 and access port p1, behind which is a host in namespace h."""

    def __init__(self):
        self.names = {role: f"agent{os.getpid()}-{role}" for role in ("h", *VTEPS)}

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._clean)
        self._stack.enter_context(private())
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error):
        self._stack.close()

    def _clean(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _make(self):
        for name in self.names.values():
            sh(f"ip netns add {name}", f"ip -n {name} link set lo up")
        sh(
            "ip link set lo up",
            f"ip address add {OWN} dev lo",
            "ip link add br0 type bridge",
            f"ip link add vx100 type vxlan id 100 dstport 4789 local {OWN} nolearning l2miss l3miss proxy ageing 300",
            "ip link set vx100 master br0 up",
            f"ip link add p1 type veth peer name eth0 netns {self.names['h']}",
            "ip link set p1 master br0 up",
            "ip link set br0 up",
        )
        self.ip("h", f"link set eth0 address {HOST_MAC} up", f"address add {HOST}/24 dev eth0")
        for role, address in VTEPS.items():
            sh(f"ip link add to_{role} type veth peer name to_a netns {self.names[role]}", f"ip link set to_{role} up")
            self.ip(
                role,
                f"address add {address} dev lo",
                "link set to_a up",
                f"route add {OWN} dev to_a src {address}",
                f"link add vx100 address {TWO_MAC} type vxlan id 100 dstport 4789 local {address} nolearning",
                "link set vx100 up",
                f"address add {TWO}/24 dev vx100",
                f"neigh add {HOST} lladdr {HOST_MAC} dev vx100",
            )
            sh(
                f"bridge -n {self.names[role]} fdb add {HOST_MAC} dev vx100 dst {OWN}",
                f"ip route add {address} dev to_{role} src {OWN}",
            )

    def ip(self, role, *lines):
        for line in lines:
            sh(f"ip -n {self.names[role]} {line}")

    def ping(self, address=TWO, count=8, interval=0.2):
        """How many of some pings from the host are answered."""
        return sum(answered for _when, answered in self.pings(self.pinging(address, count, interval)))

    def pinging(self, address=TWO, count=100, interval=0.02):
        words = ["ip", "netns", "exec", self.names["h"], sys.executable, "-c", PING, address, str(count), str(interval)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def pings(process):
        """[(when it was sent, whether it was answered)] once it has ended."""
        lines = sorted(line.split() for line in process.communicate()[0].splitlines())
        return [(float(when), what == "answered") for when, what in lines]


def frames(macs, dev="vx100"):
    """Send a frame to each MAC by a device."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind((dev, 0))
        for mac in macs:
            one.send(bytes.fromhex(mac.replace(":", "") + HOST_MAC.replace(":", "") + "0800") + bytes(50))


def ask(addresses, dev="vx100"):
    """ARP for each address."""
    source = bytes.fromhex(HOST_MAC.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind((dev, 0))
        for address in addresses:
            one.send(
                b"\xff" * 6 + source + bytes.fromhex("08060001080006040001") + source + socket.inet_aton(HOST)
                + bytes(6) + socket.inet_aton(address) + bytes(18)
            )  # fmt: skip


class Agent(Program):
    """vtep-agent with a registry that is a file."""

    def __init__(self, tmp_path, **keys):
        super().__init__(tmp_path, "vtep-agent")
        self.before = "pass"
        del self.keys["node_id"]
        self.own = {"statedir": tmp_path / "state", **keys}
        self.registry = {"file": tmp_path / "endpoints.json"}
        self.given = {}
        self.source = tmp_path / "endpoints.json"
        self.endpoints()

    def endpoints(self, *entries, name=None):
        """Put a list of endpoints in the place of the file, at once."""
        new = Path(self.directory) / "new.json"
        new.write_text(json.dumps({"version": 1, "endpoints": list(entries)}))
        new.replace(name or self.source)

    def write(self, own=None, **registry):
        self.own.update(own or {})
        self.registry.update(registry)
        sections = {"agent": {**self.keys, **self.own}, "registry": self.registry, "given": self.given}
        lines = []
        for section, keys in sections.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, *prefix, ready=True):
        self.write()
        code = f"import sys; from vtep_fabric._agent import command; {self.before}; sys.exit(command.main())"
        command = [*prefix, sys.executable, "-c", code, "run", "-c", str(self.config)]
        said = len(self.said())
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(command, env=self.environment(), stdout=out, stderr=out)
        if ready:
            until(lambda: "ready: " in self.said()[said:] or self.process.poll() is not None)
            assert self.process.poll() is None, self.said()
        return self

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def ctl(self, *words, code=0):
        """What the command prints (to stderr where it fails)."""
        command = [sys.executable, "-m", "vtep_fabric._agent.command", "-c", str(self.config), *words]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def json(self, *words):
        return json.loads(self.ctl("-j", *words))

    def counters(self):
        return self.json("status")["counters"]
