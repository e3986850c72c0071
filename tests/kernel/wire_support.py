# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts on a wire, with a stack of the MTU planner between them, and what is seen on the wire of a frame of the overlay.

A host is a network namespace. Both hold the same: the wire (veth), and on it, as the stack asks, a VLAN device, MACsec, ESP, a VXLAN
device and MACsec again. Addresses are on lo and neighbours are permanent, so that nothing but the tests' own frames is on the wire.
Everything is set up by iproute2, by hand as the planner knows nothing of it.
"""

import contextlib
import json
import os
import socket
import struct
import subprocess
import time

from ansible_collections.vtep.fabric.plugins.module_utils._model import overhead
from device_support import CLONE_NEWNET, LIBC

ETHERTYPE = 0x88B5  # for experiments (IEEE 802, 9.2.3): the tests' own frames
TAG = bytes.fromhex("81000007")  # VLAN 7
ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/socket.h, linux/if_packet.h
TP_STATUS_VLAN_VALID = 0x10
SOL_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP = 17, 100, 2  # linux/udp.h
ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
KEYS = {16: "00112233445566778899aabbccddeeff", 32: "00112233445566778899aabbccddeeff" * 2}
# By the planner's names, what `ip xfrm state` calls them; the keys' lengths in bytes.
ALGORITHMS = {
    "aes128gcm16": [("aead", "rfc4106(gcm(aes))", 20, 128)],
    "aes256gcm16": [("aead", "rfc4106(gcm(aes))", 36, 128)],
    "chacha20poly1305": [("aead", "rfc7539esp(chacha20,poly1305)", 36, 128)],
    "aes128-sha256": [("enc", "cbc(aes)", 16, None), ("auth-trunc", "hmac(sha256)", 32, 128)],
    "aes256-sha256": [("enc", "cbc(aes)", 32, None), ("auth-trunc", "hmac(sha256)", 32, 128)],
    "aes256-sha384": [("enc", "cbc(aes)", 32, None), ("auth-trunc", "hmac(sha384)", 48, 192)],
    "aes256-sha512": [("enc", "cbc(aes)", 32, None), ("auth-trunc", "hmac(sha512)", 64, 256)],
}


class Host:
    def __init__(self, number):
        """number: 0 or 1."""
        self.number = number
        with open("/proc/thread-self/ns/net") as home:
            assert LIBC.unshare(CLONE_NEWNET) == 0
            self.net = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            assert LIBC.setns(home.fileno(), 0) == 0
        self.path = f"/proc/{os.getpid()}/fd/{self.net}"

    @contextlib.contextmanager
    def here(self):
        """This thread, and what it starts, on this host."""
        with open("/proc/thread-self/ns/net") as home:
            assert LIBC.setns(self.net, 0) == 0
            try:
                yield
            finally:
                assert LIBC.setns(home.fileno(), 0) == 0

    def ip(self, lines):
        with self.here():
            done = subprocess.run(
                ["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, f"{done.stderr}{lines}"

    def carries(self):
        """Wait until its devices send: a veth pair, and what is on it, does so some time after it was set up (linkwatch), and drops what
        comes before."""
        end = time.monotonic() + 10
        while True:
            with self.here():
                told = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
            if {one["operstate"] for one in json.loads(told)} <= {"UP", "UNKNOWN"}:
                return
            assert time.monotonic() < end, told
            time.sleep(0.01)

    def packets(self, dev):
        """A socket that sees whole frames of a device."""
        with self.here():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        made.bind((dev, ETH_P_ALL))
        made.settimeout(2)
        return made


def mac(number, layer):
    return f"02:00:00:00:{layer:02x}:{number + 1:02x}"


class Wire:
    """Both hosts, their devices with the MTUs that the planner gives for the wire's, and sockets on the wire and above all."""

    def __init__(self, stack, mtu, tag_above_macsec=False):
        self.stack, self.mtu = stack, mtu
        self.overlay = overhead.largest(stack, mtu)
        self.top = "oversec" if stack.encryption.macsec == "inside" else "over"
        self.hosts = [Host(0), Host(1)]
        self.encapsulation = None
        try:
            self._connect(tag_above_macsec)
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.encapsulation:
            self.encapsulation.close()
        for host in self.hosts:
            os.close(host.net)  # the last hold on the namespace, and its devices go with it

    def _connect(self, tag_above_macsec):
        one, other = self.hosts
        peer = f"peer name wire netns {other.path} address {mac(1, 0)} mtu {self.mtu}"
        one.ip([f"link add wire address {mac(0, 0)} mtu {self.mtu} type veth {peer}"])
        for host in self.hosts:
            host.ip(self._lines(host.number, tag_above_macsec))
        for host in self.hosts:
            host.carries()
        if self.stack.encryption.ipsec_nat_t:
            # Without a socket like that of an IKE daemon, what comes to port 4500 is not for ESP.
            with other.here():
                family = {4: socket.AF_INET, 6: socket.AF_INET6}[self.stack.family]
                self.encapsulation = socket.socket(family, socket.SOCK_DGRAM)
                self.encapsulation.bind(("", 4500))
                self.encapsulation.setsockopt(SOL_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
        # Not at the receiver's end, where what comes out of a tunnel shows up once more.
        self.wire = one.packets("wire")
        self.out, self.arrived = one.packets(self.top), other.packets(self.top)

    def _lines(self, number, tag_above_macsec):
        stack, how = self.stack, self.stack.encryption
        yield "link set lo up"
        yield from up("wire")
        below = "wire"
        layers = (["tag"] if stack.vlan_tags else []) + (["sec"] if how.macsec == "underlay" else [])
        for name in reversed(layers) if tag_above_macsec else layers:
            if name == "tag":
                yield f"link add link {below} name tag type vlan id 7"
                yield from up("tag")
            else:
                yield from macsec(below, "sec", how, number, layer=0)
            below = name
        here, there = ADDRESSES[stack.family][number], ADDRESSES[stack.family][1 - number]
        yield f"addr add {here}/" + {4: "32 dev lo", 6: "128 dev lo nodad"}[stack.family]
        yield f"route add {there} dev {below} src {here}"
        yield f"neigh add {there} lladdr {mac(1 - number, 0)} nud permanent dev {below}"
        yield (
            f"link add over address {mac(number, 1)} type vxlan id 100 dstport 4789 nolearning "
            f"local {here} remote {there}" + (" df set" if stack.family == 4 else "")
        )
        yield f"link set over mtu {overhead.device_mtu(stack, self.overlay)}"
        yield from up("over")
        if how.macsec == "inside":
            yield from macsec("over", "oversec", how, number, layer=1)
        if how.esp:
            yield from esp(how, stack.family, here, there)

    def send(self, length):
        """Send a frame that has a length after its Ethernet header and tags, from the first host."""
        macs = bytes.fromhex((mac(1, 1) + mac(0, 1)).replace(":", ""))
        self.out.send(macs + TAG * self.stack.inner_vlan_tags + struct.pack("!H", ETHERTYPE) + os.urandom(length))

    def seen(self):
        """How long the next frame is that went onto the wire, with its VLAN tag, which the kernel keeps beside the frame."""
        data, ancillary, _flags, address = self.wire.recvmsg(70000, socket.CMSG_SPACE(20))
        assert address[2] == socket.PACKET_OUTGOING  # the other host sends nothing
        status = [struct.unpack_from("I", value)[0] for level, kind, value in ancillary if kind == PACKET_AUXDATA]
        return len(data) + (4 if status[0] & TP_STATUS_VLAN_VALID else 0)

    def delivered(self):
        """What the next frame at the other host's end of the overlay has after its Ethernet header and tags."""
        data = self.arrived.recv(70000)[12:]
        while data.startswith(TAG):  # but for the first, which the kernel keeps beside the frame
            data = data[len(TAG) :]
        assert data.startswith(struct.pack("!H", ETHERTYPE))
        return len(data) - 2

    def carried(self, length):
        """(the frame's length on the wire, what was delivered) of one frame."""
        self.send(length)
        return self.seen(), self.delivered()

    def is_delivered(self, length):
        """Whether a frame arrives as one packet on the wire. Looks for as long as a small frame that follows takes."""
        with contextlib.suppress(OSError):  # the kernel may say that it is too long, or drop it
            self.send(length)
        time.sleep(0.05)
        self.send(64)
        packets, arrived = 1, self.delivered()
        while self.seen() != overhead.on_wire(self.stack, 64):
            packets += 1
        if arrived == 64:
            return False
        assert self.delivered() == 64
        return packets == 2

    def set_mtu(self, dev, mtu):
        """Whether both hosts' kernels take an MTU for a device."""
        taken = []
        for host in self.hosts:
            with host.here():
                done = subprocess.run(
                    ["ip", "link", "set", dev, "mtu", str(mtu)], capture_output=True, text=True, check=False
                )
            taken.append(done.returncode == 0)
        assert len(set(taken)) == 1
        return taken[0]


def up(dev):
    """A device that sends nothing by itself."""
    yield f"link set {dev} addrgenmode none"
    yield f"link set {dev} up"


def macsec(below, name, how, number, layer):
    """A MACsec device with static keys and its peer's secure channel."""
    key = KEYS[32 if how.macsec_cipher.endswith("256") else 16]
    sci = "on" if how.macsec_send_sci else "off"
    yield (f"link add link {below} name {name} type macsec port 1 cipher {how.macsec_cipher} encrypt on send_sci {sci}")
    peer = f"rx port 1 address {mac(1 - number, layer)}"
    yield f"macsec add {name} tx sa 0 {packet_number(how, number)} on key 01 {key}"
    yield f"macsec add {name} {peer} on"
    yield f"macsec add {name} {peer} sa 0 {packet_number(how, 1 - number)} on key 01 {key}"
    yield from up(name)


def packet_number(how, sender):
    """Where a secure association of a sender starts."""
    return f"xpn 1 salt {KEYS[16][:24]} ssci {sender + 1}" if "xpn" in how.macsec_cipher else "pn 1"


def esp(how, family, here, there):
    """Static states and policies for both directions of VXLAN."""
    algorithms = " ".join(
        f"{word} {name} 0x{'5a' * key}" + (f" {icv}" if icv else "")
        for word, name, key, icv in ALGORITHMS[how.ipsec_cipher]
    )
    nowhere = {4: "0.0.0.0", 6: "::"}[family]
    encap = f" encap espinudp 4500 4500 {nowhere}" if how.ipsec_nat_t else ""
    for src, dst, direction in ((here, there, "out"), (there, here, "in")):
        spi = 0x100 + (src < dst)
        state = f"src {src} dst {dst} proto esp spi {spi:#x} reqid 1 mode {how.ipsec_esp_mode}"
        yield f"xfrm state add {state} replay-window 32 {algorithms}{encap}"
        yield (
            f"xfrm policy add src {src} dst {dst} proto udp dport 4789 dir {direction} "
            f"tmpl src {src} dst {dst} proto esp reqid 1 mode {how.ipsec_esp_mode}"
        )
