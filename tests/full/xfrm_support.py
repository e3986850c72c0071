# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of IPsec on a full kernel: hosts that are network namespaces on one Ethernet, with VXLAN between two of them."""

import contextlib
import ctypes
import os
import re
import secrets
import select
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import xfrm, xfrm_keys
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.xfrm import Xfrm
from ansible_collections.vtep.fabric.plugins.module_utils._model import xfrm as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError

CLONE_NEWNET = 0x40000000
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2  # linux/udp.h
ETH_P_ALL = 3
LIBC = ctypes.CDLL(None, use_errno=True)
MARKER = b"this must not be read on the wire"
VNI, PORT = 100, 4789
FORMS = {4: ("192.0.2.%d", 24), 6: ("2001:db8::%d", 64)}


def has_esp():
    """Whether this kernel makes states of ESP."""
    if os.geteuid():
        return False
    state = model.State(
        b"\1\1\1\1", b"\1\1\1\2", 256, model.Shape("transport", "aes-gcm", "out"), None, bytes(range(20))
    )
    try:
        Xfrm().check([state])
    except FabricError:
        return False
    return True


MARKS = [
    pytest.mark.skipif(not has_esp(), reason="this kernel has no ESP: tools/full runs these tests on one that has")
]


class Space:
    """A network namespace, with a record of used keys of its own. `with` puts this thread into it."""

    def __init__(self, folder):
        self.record = Path(folder) / "used-keys"
        with open("/proc/thread-self/ns/net") as home:
            assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            self.handle = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            assert LIBC.setns(home.fileno(), 0) == 0
        self.path = f"/proc/{os.getpid()}/fd/{self.handle}"
        self.ip("link set lo up")

    def close(self):
        os.close(self.handle)

    @contextlib.contextmanager
    def here(self):
        was = xfrm_keys.RECORD
        with open("/proc/thread-self/ns/net") as home:
            assert LIBC.setns(self.handle, 0) == 0, os.strerror(ctypes.get_errno())
            xfrm_keys.RECORD = self.record
            try:
                yield
            finally:
                xfrm_keys.RECORD = was
                assert LIBC.setns(home.fileno(), 0) == 0

    def sh(self, line):
        """Run a command; what it printed."""
        with self.here():
            done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def ip(self, *lines):
        """Run lines of `ip` at one start of it."""
        with self.here():
            done = subprocess.run(
                ["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr

    def run(self, check=False, **given):
        """The module's run loop on this host."""
        params = {name: spec.get("default") for name, spec in xfrm.ARGUMENTS.items()}
        with self.here():
            resource = xfrm.XfrmResource(diff=True)
            try:
                return converge(resource, {**params, **given}, check)
            finally:
                resource.close()

    def counted(self, **given):
        """(added, changed, removed, unchanged), after a check mode that must have said the same and done nothing."""
        before = self.shown()
        checked = self.run(check=True, **given)
        assert self.shown() == before
        outcome = self.run(**given)
        assert (outcome.result, outcome.before, outcome.after) == (checked.result, checked.before, checked.after)
        again = self.run(**given)
        assert (again.changed, again.before, again.after) == (False, "", "")
        rows = outcome.result["rows"]
        return rows["added"], rows["changed"], rows["removed"], rows["unchanged"]

    def info(self, owned=False):
        with self.here():
            return xfrm.read_info({"owned": owned})

    def shown(self):
        return self.sh("ip xfrm state") + self.sh("ip -s xfrm policy")

    def packets(self):
        """{SPI: packets} by `ip -s xfrm state`."""
        found = re.findall(
            r"\tproto esp spi (0x[0-9a-f]+)\(.*?lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)",
            self.sh("ip -s xfrm state"),
            re.DOTALL,
        )
        return {int(spi, 16): int(packets) for spi, packets in found}

    def drops(self, name):
        """A counter of /proc/net/xfrm_stat."""
        return int(re.search(rf"^{name}\s+(\d+)", self.sh("cat /proc/thread-self/net/xfrm_stat"), re.MULTILINE)[1])

    def socket(self, *how):
        with self.here():
            return socket.socket(*how)


class Fabric:
    """Hosts a and b with VXLAN between them, and a rogue, on one bridge."""

    def __init__(self, folder, family):
        self.family = family
        self.form, length = FORMS[family]
        self.spaces = []
        for name in ("wire", "a", "b", "rogue"):
            (folder / name).mkdir()
            setattr(self, name, Space(folder / name))
            self.spaces.append(getattr(self, name))
        self.wire.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        for number, host in enumerate((self.a, self.b, self.rogue), 1):
            host.address = self.form % number
            self.wire.ip(
                f"link add p{number} type veth peer name u0 netns {host.path}", f"link set p{number} master br0 up"
            )
            nodad = " nodad" if family == 6 else ""
            host.ip("link set u0 up", f"addr add {host.address}/{length} dev u0{nodad}")
            host.mac = _mac(host)
        for number, (host, peer) in enumerate(((self.a, self.b), (self.b, self.a)), 1):
            host.inner = f"198.51.100.{number}"
            host.ip(
                f"link add vxlan100 address 02:00:00:00:00:0{number} mtu 1200 type vxlan id {VNI} "
                f"local {host.address} remote {peer.address} dstport {PORT}",
                "link set vxlan100 up",
                f"addr add {host.inner}/24 dev vxlan100",
            )
        self.a.ip("neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev vxlan100")
        self.b.ip("neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev vxlan100")

    def close(self):
        for space in self.spaces:
            space.close()


def _mac(host):
    return re.search(r"link/ether (\S+)", host.sh("ip link show dev u0"))[1]


class Pings:
    """Numbered datagrams from a to b through the VXLAN, each of which b sends back."""

    def __init__(self, fabric):
        self.here, self.there = (host.socket(socket.AF_INET, socket.SOCK_DGRAM) for host in (fabric.a, fabric.b))
        for sock, host in ((self.here, fabric.a), (self.there, fabric.b)):
            sock.bind((host.inner, 7000))
            sock.setblocking(False)
        self.target = (fabric.b.inner, 7000)
        self.strangers = 0  # datagrams that b got and a did not send
        self.lost = []
        self.sent = 0
        self._end = threading.Event()

    def close(self):
        self.here.close()
        self.there.close()

    def go(self, count=5, interval=0.01, patience=0.5):
        """How many of so many come back."""
        waiting = set()
        turn = time.monotonic()
        for _number in range(count):
            self._send(waiting)
            turn += interval
            self._pump(waiting, turn)
        self._pump(waiting, time.monotonic() + patience, until_empty=True)
        return count - len(waiting)

    def _send(self, waiting):
        self.sent += 1
        self.here.sendto(MARKER + struct.pack("!I", self.sent), self.target)
        waiting.add(self.sent)

    def _pump(self, waiting, end, until_empty=False):
        while (left := end - time.monotonic()) > 0 and (waiting or not until_empty):
            ready, _out, _bad = select.select([self.here, self.there], [], [], left)
            for sock in ready:
                data, sender = sock.recvfrom(2048)
                number = struct.unpack("!I", data[-4:])[0]
                if sock is self.there:
                    self.strangers += number > self.sent
                    with contextlib.suppress(OSError):
                        sock.sendto(data, sender)
                else:
                    waiting.discard(number)

    @contextlib.contextmanager
    def running(self, interval=0.01):
        """All the while, in a thread; what was lost is in `lost` afterwards, what was sent in `sent`."""
        waiting = set()

        def send():
            turn = time.monotonic()
            while not self._end.is_set():
                self._send(waiting)
                turn += interval
                self._pump(waiting, turn)
            self._pump(waiting, time.monotonic() + 1, until_empty=True)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()
            self.lost = sorted(waiting)


class Wire:
    """All frames of host a's cable while the block lasts.

    Taken at its far end: on the host itself a frame that leaves a tunnel shows up a second time.
    """

    def __init__(self, fabric):
        self.sock = fabric.wire.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.bind(("p1", ETH_P_ALL))
        self.frames = []

    def __enter__(self):
        return self

    def __exit__(self, *_what):
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.frames.append(self.sock.recv(1 << 16))
        self.sock.close()

    def kinds(self):
        """{(protocol, destination port or None): how many frames of IP}; neighbour discovery and MLD are left out."""
        found = {}
        for frame in self.frames:
            kind = int.from_bytes(frame[12:14], "big")
            if kind == 0x0800:
                proto, rest = frame[23], frame[14 + 4 * (frame[14] & 15) :]
            elif kind == 0x86DD:
                proto, rest = frame[20], frame[54:]
            else:
                continue
            if proto in (0, 58):
                continue
            key = (proto, int.from_bytes(rest[2:4], "big") if proto == 17 else None)
            found[key] = found.get(key, 0) + 1
        return found

    def clear(self):
        """Whether the marker can be read in any frame."""
        return any(MARKER in frame for frame in self.frames)


def udp_encap(host, family, port=4500):
    """A socket that makes the kernel take ESP in UDP on a port, as a key daemon's does."""
    sock = host.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    sock.bind(("::" if family == 6 else "0.0.0.0", port))
    return sock


def forged(fabric, source, number):
    """A frame to b in clear: VXLAN from `source` with a datagram in it as a would send to b."""
    family = socket.AF_INET6 if fabric.family == 6 else socket.AF_INET
    inner_ip = _ipv4(
        socket.inet_aton(fabric.a.inner),
        socket.inet_aton(fabric.b.inner),
        17,
        _udp(7000, 7000, MARKER + struct.pack("!I", number)),
    )
    inner = bytes.fromhex("0200000000020200000000010800") + inner_ip
    vxlan = struct.pack("!II", 0x08000000, VNI << 8) + inner
    src, dst = (socket.inet_pton(family, address) for address in (source, fabric.b.address))
    udp = _udp(50000, PORT, vxlan)
    if fabric.family == 6:
        total = _sum(src + dst + struct.pack("!II", len(udp), 17) + udp)
        udp = udp[:6] + struct.pack("!H", total or 0xFFFF) + udp[8:]
        packet, kind = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + src + dst + udp, "86dd"
    else:
        packet, kind = _ipv4(src, dst, 17, udp), "0800"
    return bytes.fromhex(fabric.b.mac.replace(":", "") + fabric.rogue.mac.replace(":", "") + kind) + packet


def inject(fabric, frame):
    sock = fabric.rogue.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sock:
        sock.bind(("u0", 0))
        sock.send(frame)


def _udp(sport, dport, payload):
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def _ipv4(src, dst, proto, payload):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, proto, 0) + src + dst
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + payload


def _sum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def key(length):
    return "0x" + secrets.token_hex(length)


KEYS = {
    "aes-gcm": (36, 0),
    "aes-gcm-128": (20, 0),
    "chacha20-poly1305": (36, 0),
    "aes-cbc-sha256": (32, 32),
    "aes-cbc-sha384": (32, 48),
    "aes-cbc-sha512": (32, 64),
}


def pair(fabric, algorithm="aes-gcm", mode="transport", spi=0x1000, encap=False, **more):
    """One state in each direction, as both hosts have them but for `dir`."""
    made = []
    for number, (src, dst) in enumerate(((fabric.a, fabric.b), (fabric.b, fabric.a))):
        cipher, auth = KEYS[algorithm]
        state = {
            "src": src.address,
            "dst": dst.address,
            "spi": hex(spi + number),
            "mode": mode,
            "reqid": "7",
            "algorithm": algorithm.replace("-gcm-128", "-gcm"),
            "key": key(cipher),
            "sel": {"src": src.address, "dst": dst.address, "proto": "udp", "dport": PORT},
            **more,
        }
        if auth:
            state["auth_key"] = key(auth)
        if encap:
            state["encap"] = {"type": "espinudp", "sport": 4500, "dport": 4500}
        made.append(state)
    return made


def on(fabric, host, states):
    """The states as one host is given them."""
    return [{**state, "dir": "out" if state["src"] == host.address else "in"} for state in states]


def policies(fabric, host, spi=None, mode="transport", level="required", block=True):
    """What goes between a and b has to be ESP; VXLAN from anybody else is dropped. spi: of the state that is used for output."""
    peer = fabric.b if host is fabric.a else fabric.a
    made = []
    for direction, src, dst in (("out", host, peer), ("in", peer, host)):
        tmpl = {"src": src.address, "dst": dst.address, "reqid": "7", "mode": mode, "level": level}
        if spi and direction == "out":
            tmpl["spi"] = hex(spi)
        made.append(
            {
                "dir": direction,
                "src": src.address,
                "dst": dst.address,
                "proto": "udp",
                "dport": PORT,
                "priority": "1000",
                "tmpl": [tmpl],
            }
        )
    if block:
        made.append(
            {"dir": "in", "dst": host.address, "proto": "udp", "dport": PORT, "priority": "2000", "action": "block"}
        )
    return made


def encrypt(fabric, states, first_spi=0x1000, **how):
    """Run the module on both hosts; what each counted."""
    return [
        host.counted(
            states=on(fabric, host, states), policies=policies(fabric, host, first_spi + number, **how), purge="owned"
        )
        for number, host in enumerate((fabric.a, fabric.b))
    ]
