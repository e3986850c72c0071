# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN as ESP by strongSwan, with the files of role ipsec, on hosts of two Debians: what is on the wire, what is let in, and what
is lost when keys change and daemons die.

The hosts are network namespaces with an image's root, on one switch; the role itself is proven where it runs, in labs.
"""

import base64
import contextlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "kernel"), str(ROOT / "tests" / "unit")]
from suite_host import SuiteHost, needs_image  # noqa: E402
from test_compile import words_of  # noqa: E402

ROLE = ROOT / "roles" / "ipsec"
SECRET = "correct-horse-battery-staple-0123456789"
MARKER = "4d41524b4552" * 4  # MARKERMARKERMARKERMARKER
OURS = ("s1", "s2", "s3")
STRONGSWAN = "usr/sbin/charon-systemd"  # not in images with Libreswan
STRANGER = {4: "203.0.113.99", 6: "2001:db8:99::1"}
HOST = {4: "/32", 6: "/128"}

ROGUE = r"""
import socket, struct, sys
dev, dstmac, family, src, dst = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((dev, 0))
inner = b"\xff" * 6 + b"\x02\x00\x00\x00\x66\x66" + b"\x88\xb5" + b"ROGUE" * 16
vxlan = struct.pack("!II", 0x08000000, 100 << 8) + inner
length = 8 + len(vxlan)
def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
if family == "6":
    a, b = (socket.inet_pton(socket.AF_INET6, one) for one in (src, dst))
    udp = struct.pack("!HHHH", 40000, 4789, length, 0)
    found = checksum(a + b + struct.pack("!II", length, 17) + udp + vxlan)
    udp = struct.pack("!HHHH", 40000, 4789, length, found or 0xFFFF)
    head = b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, length, 17, 64) + a + b
else:
    a, b = (socket.inet_aton(one) for one in (src, dst))
    udp = struct.pack("!HHHH", 40000, 4789, length, 0)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, 17, 0) + a + b
    head = b"\x08\x00" + ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
for _ in range(5):
    s.send(bytes.fromhex(dstmac.replace(":", "")) + s.getsockname()[4] + head + udp + vxlan)
"""


def render(name, **words):
    """A file of the role, as Ansible would make it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["b64encode"] = lambda text: base64.b64encode(text.encode()).decode()
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    return environment.get_template(name).render({**defaults, **words})


class Mesh:
    """Three VTEPs on a switch, which is where one listens and where a stranger sits."""

    def __init__(self, suite, family, by_certificate, **encryption):
        self.family = family
        words, hosts, *_others = words_of("lab")
        words["fabric_segments"] = [{"vni": 100, "mtu": 1400}]
        words.update(
            fabric_encryption={"mode": "ipsec", "ipsec_secret": SECRET, **encryption}, fabric_underlay_family=family
        )
        fabric, faults = plan.read(words, hosts, "unicast-static-flood")
        assert faults == []
        self.plans = {host: plan.compile_host(fabric, "unicast-static-flood", host)["ipsec"] for host in OURS}
        self.by_certificate = by_certificate
        self.switch = SuiteHost(suite, STRONGSWAN)
        self.switch.sh("ip link add br0 type bridge mcast_snooping 0; ip link set br0 up")
        self.hosts = {host: SuiteHost(suite, STRONGSWAN) for host in OURS}
        self.wire()
        if by_certificate:
            self.certify()
        for host in OURS:
            self.configure(host)

    def close(self):
        for host in (*self.hosts.values(), self.switch):
            host.close()

    def wire(self):
        for name, host in self.hosts.items():
            # From outside of the hosts, which do not see one another's processes.
            add = ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid)]
            subprocess.run(["nsenter", "-t", str(self.switch.pid), "-n", *add], check=True)
            self.switch.sh(f"ip link set {name} master br0 up")
            local, size = self.plans[name]["local"], HOST[self.family]
            others = [self.plans[one]["local"] for one in OURS if one != name]
            lines = [
                "ip link set eth0 up mtu 1600",
                f"ip addr add {local}{size} dev eth0{' nodad' if self.family == 6 else ''}",
                *(f"ip route add {other}{size} dev eth0" for other in others),
                # IPv4 hosts take nothing from whom they have no route to.
                f"ip -{self.family} route add default dev eth0",
            ]
            host.sh("set -e\n" + "\n".join(lines))

    def up(self):
        """All of it, in the order of site.yml."""
        for name in OURS:
            self.start(name)
            self.block(name)
        for number, name in enumerate(OURS, 1):
            lines = [
                f"ip link add vx type vxlan id 100 local {self.plans[name]['local']} dstport 4789",
                f"ip addr add 10.9.0.{number}/24 dev vx",
                "ip link set vx mtu 1400 addrgenmode none up",
                *(
                    f"bridge fdb append 00:00:00:00:00:00 dev vx dst {self.plans[one]['local']}"
                    for one in OURS
                    if one != name
                ),
            ]
            self.hosts[name].sh("set -e\n" + "\n".join(lines))

    def certify(self):
        """A CA on the first host, and certificates of it, by what the role gives to openssl."""
        first = self.hosts[OURS[0]]
        curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        request = f"openssl req -x509 -config /dev/stdin -days 30 {curve}"
        first.run("sh", "-euc", f"{request} -keyout /root/ca.key -out /root/ca", text=render("ca.cnf.j2"))
        for name, host in self.hosts.items():
            text = render("vtep.cnf.j2", ipsec_name=name, ipsec_plan=self.plans[name])
            made = first.run("sh", "-euc", f"{request} -CA /root/ca -CAkey /root/ca.key 2>/dev/null", text=text)
            parts = re.findall("-----BEGIN ([A-Z ]+)-----[^-]+-----END \\1-----\n?", made)
            assert sorted(parts) == ["CERTIFICATE", "PRIVATE KEY"]
            for kind, path in (("CERTIFICATE", "x509"), ("PRIVATE KEY", "private")):
                text = re.search(f"-----BEGIN {kind}-----[^-]+-----END {kind}-----\n?", made)[0]
                host.write(f"/etc/swanctl/{path}/vtep-fabric.pem", text)
            host.write("/etc/swanctl/x509ca/vtep-fabric.pem", first.read("/root/ca"))

    def configure(self, name, secret=SECRET):
        host, section = self.hosts[name], self.plans[name]
        words = {
            "ipsec_plan": section,
            "ipsec_proposal": f"{section['cipher']}-x25519",
            "ipsec_rekey_packets": 3000000000,
        }
        text = render("connection.conf.j2", ipsec_by_certificate=self.by_certificate, **words)
        host.write("/etc/swanctl/conf.d/vtep-fabric.conf", text)
        if not self.by_certificate:
            host.write(
                "/etc/swanctl/conf.d/vtep-fabric-secret.conf", render("secret.conf.j2", ipsec_shared_secret=secret)
            )
        # Without systemd there is no journal.
        log = "charon-systemd { filelog { log { path = /run/charon.log\n default = 1\n flush_line = yes } } }\n"
        host.write("/etc/strongswan.d/vtep-fabric.conf", render("strongswan.conf.j2") + log)

    def start(self, name):
        host = self.hosts[name]
        host.sh("mkdir -p /run/lock; rm -f /run/charon.vici; setsid charon-systemd >/dev/null 2>&1 </dev/null &")
        host.sh(
            "for i in $(seq 100); do test -S /run/charon.vici && break; sleep 0.1; done; swanctl --load-all --noprompt 2>&1"
        )

    def forget(self, name):
        """What the unit does when strongSwan has ended."""
        words = {"ipsec_loaded": "/run/loaded", "ipsec_started": "/run/started", "ipsec_plan": self.plans[name]}
        unit = render("strongswan-unit.conf.j2", **words)
        found = re.findall("^ExecStopPost=-(.*)$", unit, re.MULTILINE)
        assert len(found) == 6
        self.hosts[name].sh("\n".join(found))

    def block(self, name):
        for one in self.plans[name]["block"]:
            words = " ".join(
                f"{key} {one[key]}" for key in ("dir", "src", "dst", "proto", "dport", "action", "priority")
            )
            self.hosts[name].sh(f"ip xfrm policy add {words}")

    def ping(self, source, target, count, interval=0.01):
        """How many were lost."""
        number = OURS.index(target) + 1
        said = self.hosts[source].run(
            *f"ping -n -q -c {count} -i {interval} -W 1 -p {MARKER[:32]} 10.9.0.{number}".split(), check=False
        )
        sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
        return int(sent) - int(received)

    def answers(self, source, target, seconds=20):
        limit = time.monotonic() + seconds
        while self.ping(source, target, 1):
            assert time.monotonic() < limit, f"{source} does not reach {target}: {self.log(source)}"

    def log(self, name):
        return self.hosts[name].run("cat", "/run/charon.log", check=False)

    def sas(self, name):
        return self.hosts[name].run("sh", "-c", "swanctl --list-sas 2>/dev/null")

    @contextlib.contextmanager
    def capture(self):
        """What is on the switch meanwhile: a function that counts packets of a filter, and the bytes."""
        self.switch.sh(
            "tcpdump -U -i br0 -w /run/wire.pcap >/dev/null 2>/run/dump & sleep 1; grep -q listening /run/dump"
        )
        try:
            yield
        finally:
            time.sleep(0.5)
            self.switch.sh("pkill -INT tcpdump; sleep 0.3")

    def seen(self, words):
        return len(self.switch.sh(f"tcpdump -nr /run/wire.pcap {words} 2>/dev/null").splitlines())

    def rogue(self, target, source):
        """How many of the five frames that somebody on the switch sends in VXLAN come out at a VTEP."""
        host = self.hosts[target]
        mac = host.read("/sys/class/net/eth0/address").strip()
        host.sh("tcpdump -U -i vx -w /run/vx.pcap >/dev/null 2>/run/dump & sleep 1; grep -q listening /run/dump")
        words = ["br0", mac, str(self.family), source, self.plans[target]["local"]]
        self.switch.run("python3", "-c", ROGUE, *words)
        limit = time.monotonic() + 3
        while (found := self.heard(host)) < 5 and time.monotonic() < limit:
            time.sleep(0.2)
        host.sh("pkill -INT tcpdump")
        return found

    def heard(self, host):
        # grep fails where it counts none; tcpdump must not.
        return int(host.sh("tcpdump -nr /run/vx.pcap >/run/told 2>/dev/null && { grep -c 0x88b5 /run/told || true; }"))


def meshes(*names):
    return pytest.mark.parametrize(("suite", "family", "by_certificate"), names)


@pytest.fixture
def mesh(suite, family, by_certificate):
    needs_image(suite, STRONGSWAN)
    made = Mesh(suite, family, by_certificate)
    yield made
    made.close()


@meshes(("trixie", 6, True), ("bookworm", 4, False))
def test_what_is_on_the_wire_and_what_is_let_in(mesh, suite, family):
    with mesh.capture():
        mesh.up()
        for source, target in (("s1", "s2"), ("s2", "s3"), ("s3", "s1")):
            mesh.answers(source, target)
            assert mesh.ping(source, target, 20, 0.05) == 0
    assert mesh.seen("udp port 4789") == 0
    assert mesh.seen("esp") >= 120
    assert b"MARKER" not in mesh.switch.path("/run/wire.pcap").read_bytes()
    found = mesh.sas("s1")
    for other in ("s2", "s3"):
        assert len(re.findall(f"remote +'{re.escape(mesh.plans[other]['local'])}'", found)) == 2, found
    assert len(re.findall(r"out4789: .*INSTALLED, TRANSPORT, ESP:AES_GCM_16-128", found)) == 2, found

    assert mesh.rogue("s1", mesh.plans["s2"]["local"]) == 0
    assert mesh.rogue("s1", STRANGER[family]) == 0
    # And what would be let in without what the role adds to strongSwan's policies.
    mesh.hosts["s1"].sh(
        "ip xfrm policy delete dir in src {src} dst {dst} proto udp dport 4789".format(**mesh.plans["s1"]["block"][-1])
    )
    assert mesh.rogue("s1", STRANGER[family]) == 5
    assert mesh.rogue("s1", mesh.plans["s2"]["local"]) == 0


@meshes(("trixie", 6, True), ("bookworm", 6, False))
def test_new_keys_lose_nothing_and_a_dead_daemon_lets_nothing_out(mesh):
    mesh.up()
    mesh.answers("s1", "s2")
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(mesh.ping, "s1", "s2", 500)
        time.sleep(1)
        for words in ("--child out4789", "--child in4789", "--ike vtep-fabric"):
            mesh.hosts["s1"].sh(f"swanctl --rekey {words} 2>&1")
            time.sleep(0.5)
        assert not lost.done(), "the pings ended too early to prove anything"
        assert lost.result() == 0
    assert len(re.findall("rekeyed CHILD_SA|IKE_SA .* rekeyed", mesh.log("s1"))) >= 3

    with mesh.capture():
        mesh.hosts["s1"].sh("pkill charon; while pgrep charon; do sleep 0.1; done")
        assert mesh.ping("s1", "s2", 20) == 20
        assert mesh.ping("s2", "s1", 20) == 20
        mesh.start("s1")
        mesh.answers("s1", "s2")

        # One that is killed leaves its policies, and the unit removes them then.
        mesh.hosts["s1"].sh("pkill -KILL charon; while pgrep charon; do sleep 0.1; done")
        assert "spi" in mesh.hosts["s1"].sh("ip xfrm policy")
        mesh.forget("s1")
        assert "tmpl" not in mesh.hosts["s1"].sh("ip xfrm policy")
        mesh.start("s1")
        mesh.answers("s1", "s2", 40)  # s2 notices by itself
    assert mesh.seen("udp port 4789") == 0
    assert mesh.seen("esp") > 0


@meshes(("trixie", 6, False))
def test_another_secret_is_told_and_lets_nothing_through(mesh):
    mesh.configure("s2", secret=SECRET[::-1])
    mesh.up()
    with mesh.capture():
        mesh.answers("s1", "s3")
        assert mesh.ping("s1", "s2", 3, 0.5) == 3
    assert "AUTHENTICATION_FAILED" in mesh.log("s1")
    assert mesh.seen("udp port 4789") == 0


@pytest.mark.parametrize("family", [6, 4])
def test_with_nat_traversal_it_goes_in_udp(family):
    needs_image("trixie", STRONGSWAN)
    with contextlib.closing(Mesh("trixie", family, True, ipsec_nat_t=True)) as mesh:
        with mesh.capture():
            mesh.up()
            mesh.answers("s1", "s2")
            assert mesh.ping("s1", "s2", 20, 0.05) == 0
        # Of what goes to this port, IKE begins with four zeros (RFC 3948, section 2.2).
        payload = {4: "udp[8:4]", 6: "ip6[48:4]"}[family]
        assert mesh.seen(f"'udp port 4500 and {payload} != 0'") >= 40
        assert mesh.seen("esp") == mesh.seen("udp port 4789") == 0
        assert b"MARKER" not in mesh.switch.path("/run/wire.pcap").read_bytes()
