# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on a host that encrypts: see what goes over its underlay, and read what tells of wrong keys and of keys in the open.

`encryption.py start` begins a capture that goes on without it, `encryption.py stop` ends that and prints what it has seen. JSON in and
out. A capture that nobody ends does so itself after the request's `seconds`.

The capture reads what the kernel hands to packet sockets on the underlay's own interfaces: below MACsec, and after ESP. What a
network card does by itself (offloading of MACsec or ESP) comes after that, and would look unencrypted here.
"""

import ipaddress
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

TALK = "\0vtep.fabric verify"  # an abstract address belongs to one network namespace, and leaves no file
ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS = 263, 6  # linux/socket.h, linux/if_packet.h
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
BUFFER = 32 << 20  # bytes that wait to be looked at
DRAIN = 1.0  # seconds at most for what is left when the capture is to end
SAMPLES = 10

VLANS = (0x8100, 0x88A8)  # IEEE 802.1Q
IPV4, IPV6, MACSEC, OWN = 0x0800, 0x86DD, 0x88E5, 0x88B5
UDP, ESP = 17, 50
EXTENSIONS = (0, 43, 60)  # of IPv6: hop-by-hop options, routing, destination options (RFC 8200, section 4)
FRAGMENT = 44
DISCARD = 9  # UDP port (RFC 863)
NAT_T = 4500  # UDP port of ESP in UDP (RFC 3948)
ENCRYPTED = 0x08  # bit E of a SecTAG (IEEE 802.1AE, 9.5)
HAS_SCI = 0x20  # bit SC
VALID_VNI = 0x08  # flag I of VXLAN (RFC 7348, section 5)


# What a frame is


def ethertype(frame, at=12):
    """(EtherType, where what follows it begins), with VLAN tags and a readable SecTAG behind."""
    while True:
        (kind,) = struct.unpack_from("!H", frame, at)
        if kind in VLANS:
            at += 4
        elif kind == MACSEC and not frame[at + 2] & ENCRYPTED:
            # Protected, but in clear: EtherType, flags, length and packet number are before what was the frame's own EtherType.
            at += 16 if frame[at + 2] & HAS_SCI else 8
        else:
            return kind, at + 2


def transport(frame, kind, at):
    """(protocol, where its header begins, source, destination) of an IP packet. The protocol is None in a later fragment."""
    if kind == IPV4:
        (fragment,) = struct.unpack_from("!H", frame, at + 6)
        ends = frame[at + 12 : at + 16], frame[at + 16 : at + 20]
        return (None if fragment & 0x1FFF else frame[at + 9]), at + 4 * (frame[at] & 15), *ends
    protocol, here = frame[at + 6], at + 40
    while protocol in EXTENSIONS or protocol == FRAGMENT:
        if protocol == FRAGMENT:
            (fragment,) = struct.unpack_from("!H", frame, here + 2)
            length = 8
            if fragment & 0xFFF8:
                return None, here, frame[at + 8 : at + 24], frame[at + 24 : at + 40]
        else:
            length = 8 * (frame[here + 1] + 1)
        protocol, here = frame[here], here + length
    return protocol, here, frame[at + 8 : at + 24], frame[at + 24 : at + 40]


def look(frame, dstports):
    """(what a frame of the underlay is, words about it): macsec, esp, vxlan with what is in it, or other.

    vxlan-macsec holds a frame that MACsec has encrypted, vxlan anything else.
    """
    try:
        kind, at = ethertype(frame)
        if kind == MACSEC:
            return "macsec", ""
        if kind not in (IPV4, IPV6):
            return "other", ""
        protocol, at, src, dst = transport(frame, kind, at)
        if protocol == ESP:
            return "esp", ""
        if protocol != UDP:
            return "other", ""
        sport, dport = struct.unpack_from("!HH", frame, at)
        # Four bytes of zero are IKE's, one byte of ones only keeps a NAT's entry.
        if NAT_T in (sport, dport) and len(frame) >= at + 16 and any(frame[at + 8 : at + 12]):
            return "esp", ""
        if dport in dstports and frame[at + 8] & VALID_VNI:
            inner = frame[at + 16 :]
            (carried, _at) = ethertype(inner)
            vni = int.from_bytes(frame[at + 12 : at + 15], "big")
            words = f"{ipaddress.ip_address(src)} > {ipaddress.ip_address(dst)} UDP {dport} VNI {vni} EtherType {carried:#06x}"
            return "vxlan-macsec" if carried == MACSEC else "vxlan", words
    except (IndexError, struct.error):  # too short for what it says it is
        pass
    return "other", ""


# By what a fabric encrypts: what has to be there. Other VXLAN must not be.
RIGHT = {"inside": "vxlan-macsec", "underlay": "macsec", "esp": "esp"}


class Seen:
    """Counts of what came by."""

    def __init__(self, request):
        self.right = RIGHT[request["where"]]
        self.dstports = request["dstports"]
        # The kernel hands what came out of an ESP tunnel to the interface once more.
        self.tunnel = request.get("tunnel", False)
        self.marker, self.rogue = (bytes.fromhex(request[key]) for key in ("marker", "rogue_marker"))
        ways = ("sent", "received")
        self.counts = {
            "packets": dict.fromkeys(ways, 0), "clear": dict.fromkeys(ways, 0), "encrypted": dict.fromkeys(ways, 0),
            "marker": dict.fromkeys(ways, 0), "arrived": {"own": 0, "spoofed": 0}, "forwarded": {"own": 0, "spoofed": 0},
            "decrypted": 0, "samples": [],
        }  # fmt: skip

    def underlay(self, dev, frame, packet_type):
        way = "sent" if packet_type == socket.PACKET_OUTGOING else "received"
        self.counts["packets"][way] += 1
        rogue = self.rogue_of(frame)
        if rogue:
            self.counts["arrived"][rogue] += packet_type == socket.PACKET_HOST
            return
        kind, words = look(frame, self.dstports)
        if self.tunnel and way == "received" and kind.startswith("vxlan"):
            self.counts["decrypted"] += 1
            return
        if kind == self.right:
            self.counts["encrypted"][way] += 1
        elif kind.startswith("vxlan"):
            self.counts["clear"][way] += 1
            self.sample(f"{dev}: {way} in clear: {words}")
        if self.marker in frame:
            self.counts["marker"][way] += 1
            self.sample(f"{dev}: {way} with the marker: {kind} of {len(frame)} bytes {words}".rstrip())

    def port(self, _dev, frame, packet_type):
        """A frame at an access port: what leaves by it, an endpoint gets."""
        rogue = self.rogue_of(frame)
        if rogue and packet_type == socket.PACKET_OUTGOING:
            self.counts["forwarded"][rogue] += 1

    def rogue_of(self, frame):
        at = frame.find(self.rogue)
        return ("spoofed" if frame[at + len(self.rogue)] else "own") if 0 <= at < len(frame) - len(self.rogue) else None

    def sample(self, words):
        if len(self.counts["samples"]) < SAMPLES:
            self.counts["samples"].append(words)


# The capture

BYTE, HALF, IS, TAKE = 0x30, 0x28, 0x15, 0x06  # linux/bpf_common.h: BPF_LD with BPF_ABS, BPF_JMP with BPF_JEQ, BPF_RET
# What rogue.py sends leaves an access port as one of these: a broadcast, or UDP to port 9 in IPv6 and IPv4 without options.
FROM_ROGUES = (
    ((HALF, 12, OWN),),
    ((HALF, 12, IPV6), (BYTE, 20, UDP), (HALF, 56, DISCARD)),
    ((HALF, 12, IPV4), (BYTE, 23, UDP), (HALF, 36, DISCARD)),
)


def opened(dev, wanted=()):
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    if wanted:
        attach(made, wanted)
    try:
        made.bind((dev, ETH_P_ALL))
    except OSError as error:
        raise SystemExit(f"cannot capture on {dev}: {error.strerror}") from None
    made.setblocking(False)
    return made


def attach(made, wanted):
    """The kernel hands over frames of which one of the kinds in `wanted` is true, and nothing else (linux/filter.h)."""
    import ctypes

    lines = []
    for kind in wanted:
        for number, (load, at, value) in enumerate(kind, 1):
            # Where it is not so, on to the next kind: past what is left of this one and past TAKE.
            lines += [(load, 0, 0, at), (IS, 0, 2 * (len(kind) - number) + 1, value)]
        lines.append((TAKE, 0, 0, 0xFFFFFFFF))
    lines.append((TAKE, 0, 0, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(lines), ctypes.addressof(code)))


def dropped(made):
    return struct.unpack("II", made.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]


def start(request):
    ask(request)  # one that a run before has left
    seen = Seen(request)
    captures = {opened(dev): (dev, seen.underlay) for dev in request["devices"]}
    captures.update({opened(dev, FROM_ROGUES): (dev, seen.port) for dev in request["ports"]})
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(TALK)
    listener.listen(1)
    before = {"statistics": statistics(request), "since": int(time.time())}
    sys.stdout.flush()
    if os.fork():
        return {}
    # With a session of its own it outlives the task.
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    answer = capture(captures, listener, time.monotonic() + request["seconds"])
    if answer is not None:
        with answer as connection:
            seen.counts["dropped"] = sum(map(dropped, captures))
            connection.sendall(json.dumps({**seen.counts, "before": before}).encode())
    os._exit(0)


def capture(captures, listener, end):
    """Until somebody asks: his connection. None when nobody has until the end."""
    space = memoryview(bytearray(1 << 18))
    while True:
        ready = select.select([listener, *captures], [], [], max(0, end - time.monotonic()))[0]
        if not ready:
            return None
        for one in ready:
            if one is not listener:
                take(one, *captures[one], space, once=True)
                continue
            connection = listener.accept()[0]
            if user_of(connection) != os.geteuid():
                connection.close()
                continue
            listener.close()  # so that the next capture may begin as soon as this one has answered
            for each, (dev, tell) in captures.items():
                take(each, dev, tell, space)
            return connection


def take(made, dev, tell, space, once=False):
    """Look at what waits: a handful, or all of it."""
    end = time.monotonic() + DRAIN
    for _turn in range(64) if once else iter(lambda: time.monotonic() < end, False):
        try:
            length, address = made.recvfrom_into(space)
        except BlockingIOError:
            return
        except OSError:  # the interface went down
            return
        tell(dev, bytes(space[:length]), address[2])


def user_of(connection):
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]


def ask(request):
    """What the capture has seen; it ends. None where none runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(TALK)
        except ConnectionRefusedError:
            return None
        if user_of(connection) != os.geteuid():
            raise SystemExit("somebody else listens where the capture of verify should")
        connection.settimeout(30)
        parts = iter(lambda: connection.recv(1 << 16), b"")
        return json.loads(b"".join(parts))


# What tells of wrong keys


def out(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    except OSError:
        return ""


def statistics(request):
    if request["where"] == "esp":
        return {"xfrm": xfrm_stat(), "states": states(out("ip", "-s", "xfrm", "state", "list", "nokeys"))}
    told = {dev: json.loads(out("ip", "-j", "-s", "macsec", "show", dev) or "[]") for dev in request["macsec"]}
    return {
        "macsec": {dev: channels(devices) for dev, devices in told.items()},
        "pn_used": {dev: pn_used(devices) for dev, devices in told.items()},
    }


def xfrm_stat():
    try:
        lines = Path("/proc/net/xfrm_stat").read_text().splitlines()
    except OSError:  # without CONFIG_XFRM_STATISTICS
        return {}
    return {name: int(number) for name, number in map(str.split, lines)}


def states(text):
    """[[source, destination, SPI, packets that failed]]: iproute2 tells a state in several lines, the first without indentation."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if line.startswith("src ") and "dst" in words:
            found.append([words[1], words[3], "", 0])
        elif found and "spi" in words:
            found[-1][2] = words[words.index("spi") + 1].split("(")[0]
        elif found and "failed" in words:
            found[-1][3] = int(words[words.index("failed") + 1])
    return found


def channels(devices):
    """Counters of a MACsec device: its own under "", and those of each secure channel under its identifier."""
    found = {}
    for device in devices:
        found[""] = numbers(device)
        for channel in device.get("rx_sc", ()):
            found[f"{int(channel['sci'], 16):016x}"] = numbers(channel)
    return found


def pn_used(devices):
    """The largest share of packet numbers that a key of a MACsec device has been used with. The kernel tells 0 when the last one was."""
    shares = [0.0]
    for device in devices:
        count = 1 << (64 if "XPN" in device["cipher_suite"] else 32)
        shares += [(one["pn"] - 1) / count if one["pn"] else 1.0 for one in device["sa_list"]]
    return max(shares)


def numbers(told):
    return {name: value for name, value in told.items() if name.startswith("InPkts")}


# Of strongSwan, Libreswan and wpa_supplicant
TELLING = re.compile(
    r"MAC mismatched|AUTHENTICATION_FAILED|no shared key|no private key|no trusted|no issuer certificate|constraint check failed|"
    r"certificate .*(invalid|expired|revoked|not yet valid)|NO_PROPOSAL_CHOSEN|no proposal|no matching (peer|CHILD_SA) config|"
    r"PSK|authentication failed|TS_UNACCEPTABLE|peer not responding|CAK|ICV",
    re.IGNORECASE,
)


def journal(since):
    text = out("journalctl", "-q", "--no-pager", "-o", "cat", f"--since=@{since}", "-u", "strongswan", "-u", "ipsec",
               "-u", "wpa_supplicant*", "-u", "vtep-mka*")  # fmt: skip
    found = [line.strip()[:300] for line in text.splitlines() if TELLING.search(line)]
    return list(dict.fromkeys(found))[-20:]


# Keys in the open

# What is in these is a key, whatever it looks like.
SECRET_FILES = (
    "/etc/swanctl/private/*", "/etc/swanctl/rsa/*", "/etc/swanctl/ecdsa/*", "/etc/swanctl/pkcs8/*", "/etc/swanctl/pkcs12/*",
    "/etc/ipsec.d/private/*", "/var/lib/ipsec/nss/key*.db", "/var/lib/ipsec/nss/pkcs11.txt",
)  # fmt: skip
# And in these there may be one.
PLACES = (
    "/etc/swanctl/swanctl.conf", "/etc/swanctl/conf.d/*", "/etc/strongswan.conf", "/etc/strongswan.d/*", "/etc/ipsec.conf",
    "/etc/ipsec.secrets", "/etc/ipsec.d/*", "/etc/wpa_supplicant/*", "/etc/vtep.fabric/**/*", "/var/lib/vtep.fabric/**/*",
    "/run/vtep.fabric/**/*", "/run/vtep-*/**/*",
)  # fmt: skip
KEY = re.compile(
    rb"PRIVATE KEY-----|"
    rb"^[^#\n]*:\s*PSK\s+(?:[\"'][^\"'\n]{8,}|\S{8,})|"  # of ipsec.secrets
    rb"\b(?:secret|psk|cak|mka_cak|sak|key|password|passphrase|private_key_passwd)\b[\"']?\s*[=:]\s*"
    rb"[\"']?(?!/)(?:0x|0s)?[0-9A-Za-z+/]{16,}",
    re.IGNORECASE | re.MULTILINE,
)


def readable(path):
    """Whether everybody can read a file: it and all directories above let him."""
    return bool(path.stat().st_mode & 0o004) and all(above.stat().st_mode & 0o001 for above in path.parents)


def matching(patterns):
    return {path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))}


def exposed(secret_files=SECRET_FILES, places=PLACES):
    """Files with keys that everybody can read, and how many were looked at."""
    found, looked = [], 0
    certain = matching(secret_files)
    for path in sorted(certain | matching(places)):
        try:
            if not path.is_file():
                continue
            looked += 1
            if readable(path) and (path in certain or holds_key(path)):
                found.append(f"{path} has mode {path.stat().st_mode & 0o7777:04o}")
        except FileNotFoundError:  # it went meanwhile
            continue
    return {"looked": looked, "exposed": found}


def holds_key(path):
    with path.open("rb") as file:
        return bool(KEY.search(file.read(1 << 20)))


def stop(request):
    time.sleep(0.2)  # the last frames are on their way
    answer = ask(request)
    if answer is None:
        raise SystemExit("the capture is not there any more: it was not begun, or ended after its time")
    answer["after"] = {"statistics": statistics(request), "journal": journal(answer["before"]["since"])}
    answer["files"] = exposed()
    return answer


if __name__ == "__main__":
    print(json.dumps({"start": start, "stop": stop}[sys.argv[1]](json.load(sys.stdin))))
