# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption on the lab by site.yml, as a user has it: each mode under each variant that it goes with, proven by verify with what is on
the wire, from bare hosts and from one mode to another, unchanged by a rerun, and nothing left by the teardown.

In a guest a play takes minutes, and all of this two hours. build/encryption-PREFIX.json has the pings lost between modes, of 100 a second.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._plan import mtu

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from driver import ALL, ROOT, Fabric, Ping, told, waited
from macsec_support import MARKS
from test_certificate_faults import CA, Makes

pytestmark = [*MARKS, pytest.mark.timeout(5400)]

SUITE = os.environ.get("LAB_SUITE", "trixie")
WORDS = {
    "none": {"encryption": "none"},
    "inside": {"encryption": "macsec", "macsec_mode": "inside"},
    "underlay": {"encryption": "macsec", "macsec_mode": "underlay"},
    "mka": {"encryption": "macsec-mka", "macsec_mode": "underlay"},
    "ike": {"encryption": "ipsec", "ipsec_mode": "ike"},
    "static": {"encryption": "ipsec", "ipsec_mode": "static"},
    "opportunistic": {"encryption": "ipsec-opportunistic"},
    "or-clear": {"encryption": "ipsec-opportunistic", "ipsec_group": "private-or-clear"},
}
VTEPS = ("s1", "s2", "s3")
ADDRESSES = {host: f"2001:db8:{host[1]}::1" for host in VTEPS}
FLOOD = "unicast-static-flood"
EACH_TO_EACH = [
    "none", "ike", "none", "static", "none", "inside", "none", "underlay", "ike", "static", "inside", "underlay", "static",
    "ike", "inside", "ike", "underlay", "inside", "static", "underlay", "none",
]  # fmt: skip
# By default into each mode once.
MODES = EACH_TO_EACH if ALL else ["ike", "static", "inside", "underlay", "mka", "none"]
# The variants that most will encrypt with each mode that they go with, and the others with one: a mode each, so that all have their turn.
VARIANTS = [
    *[("unicast-static-nd", mode) for mode in ("underlay", "ike", "static")],
    *[("unicast-dynamic-nd", mode) for mode in ("static", "ike", "underlay")],
    *[("unicast-routing", mode) for mode in ("underlay", "ike", "static")],
    *[("vxfld-hrep", mode) for mode in ("static", "ike", "inside", "underlay")],
    ("unicast-static-l2", "ike"),
    ("unicast-static-rsc", "static"),
    ("unicast-dynamic-l2", "inside"),
    ("vxfld-snr", "underlay"),
]
# VXLAN is on MACsec of the underlay's under multicast, and MACsec inside is on VXLAN; and the kernel removes what is on what goes.
STACKED = [
    ("multicast", "underlay"),
    ("multicast", "mka"),
    ("multicast", "inside"),
    (FLOOD, "inside"),
    ("multicast", "underlay"),
]
# A run from one mode to another is killed at a task, and the next one goes on, or back. In the first VXLAN is plain still, and the former
# mode's guard is all that keeps it from the wire; service nodes, which encrypt nothing inside, have one too.
KILLED = [
    (
        "vxfld-snr",
        "underlay",
        "inside",
        "macsec : Remove MACsec devices that have no use any more",
        "underlay",
    ),
    (FLOOD, "ike", "static", "ipsec : Encrypt what is sent", "static"),
    (FLOOD, "static", "underlay", "underlay : Wait until all OSPFv3 neighbours", "underlay"),
]
# How strongSwan is no longer to be had on a host: gone for good while systemd goes on starting it, or there and deaf.
DEAD = {
    "gone": (
        "mv /usr/sbin/charon-systemd /usr/sbin/away; pkill -KILL charon-systemd",
        "mv /usr/sbin/away /usr/sbin/charon-systemd",
    ),
    "deaf": ("pkill -STOP charon-systemd", "true"),
}
# Counts VXLAN that hosts send to the underlay's bridge and that holds no MACsec; ESP, and MACsec below it, show none.
CLEAR = r"""
import socket, struct, sys, threading
found, ended, samples = 0, threading.Event(), []
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as raw:  # ETH_P_ALL, of each port of the bridge
    raw.settimeout(0.1)
    raw.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
    print("ready", flush=True)
    while not ended.is_set():
        try:
            frame = raw.recv(2048)
        except socket.timeout:
            continue
        udp = {b"\x86\xdd": 54 if frame[20] == 17 else 0, b"\x08\x00": 34 if frame[23] == 17 else 0}.get(frame[12:14], 0)
        if udp and int.from_bytes(frame[udp + 2 : udp + 4], "big") in (4789, 4790) and frame[udp + 28 : udp + 30] != b"\x88\xe5":
            found += 1
            samples.append(frame[:udp + 60].hex())
    _taken, unseen = struct.unpack("II", raw.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
print(found, *samples[:3], *[f"and {unseen} frames not looked at"] * bool(unseen))
"""
# What the lab leaves at its defaults.
OTHER = [
    ("ike", {"mode": "ipsec", "ipsec_cipher": "aes256-sha256"}, {"ipsec_authentication": "secret"}),
    ("static", {"mode": "ipsec", "ipsec_mode": "static", "ipsec_esp_mode": "tunnel", "ipsec_cipher": "aes256gcm16"}, {}),
    ("underlay", {"mode": "macsec", "macsec_mode": "underlay", "macsec_cipher": "gcm-aes-xpn-256"}, {}),
    ("inside", {"mode": "macsec", "macsec_mode": "inside", "macsec_cipher": "gcm-aes-256"}, {}),
]  # fmt: skip
# Of Libreswan, which has hosts of its own.
LIBRESWAN = ["or-clear", "opportunistic", "static", "opportunistic", "none"]
PROOF = ("marker on the wire", "a rogue's VXLAN let in", "VXLAN from a VTEP's address let in")
# What a dry run cannot know: what hosts agree on in the run, and OSPF's steps in between.
UNFORESEEN = {
    "before": re.compile(r"interface \S+$"),
    "after": re.compile(r"ms-\S+ (encodingsa|tx|rx) |interface \S+$"),
}
# New keys come after 15 to 60 s.
SOON = ["-e", json.dumps({"ipsec_rekey": 60, "ipsec_ike_rekey": 60})]
RESTORED = ["-e", "boot_restore=true"]
# What a host has of encryption and of the collection, whoever made it; the record of keys that were sent with stays.
LOOK = """
ip -d -o link | grep -o ' macsec .*'; ip -o xfrm state; ip -o xfrm policy; nft list ruleset; ls /etc/vtep.fabric /etc/swanctl/*
systemctl is-active strongswan; systemctl is-enabled strongswan; ip -o -6 addr show dev eth0 | grep -o 'inet6 2.*'; ip -o link | cut -d: -f2
systemctl is-active ipsec; systemctl is-enabled ipsec; ls /etc/ipsec.d /etc/ipsec.d/policies
certutil -L -d sql:/var/lib/ipsec/nss 2>&1 | grep vtep; true
"""

# By what keys are told from one another: MACsec tells an id, and ESP has another SPI with each key.
KEYS = "(ip macsec show | grep -o 'key [0-9a-f]*'; ip -o xfrm state | grep -o 'spi 0x[0-9a-f]*') | sort -u"
TELLTALE = "journalctl -q -o cat --no-pager; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
# Files with one of the lines of {} that everybody may read.
READABLE = """
umask 077; cat >/root/secrets <<'END'
{}
END
find /etc /root /run /tmp /usr/local /var -xdev -type f -perm /o+r -print0 2>/dev/null |
    xargs -0r grep -lsFf /root/secrets
rm /root/secrets
"""
LAB = (ROOT / "inventories" / "lab-encryption" / "hosts.yml").read_text()
SECRETS = re.findall(r"\b[0-9a-f]{32,}\b", LAB)
# s2 takes what the others send for something else: by iproute2, or by a run for it alone.
WRONG_KEYS = """
ip macsec show ms-eth0 | awk '/RXSC:/ {sci = substr($2, 1, 16)} /PN/ && sci {print sci, substr($1, 1, 1)}' | while read sci an; do
    ip macsec set ms-eth0 rx sci $sci sa $an off
    ip macsec del ms-eth0 rx sci $sci sa $an
    ip macsec add ms-eth0 rx sci $sci sa $an pn 1 on key 77 77777777777777777777777777777777
done
"""
WRONG_WORDS = {"ike": {"ipsec_secret": "7" * 32}, "mka": {"mka_keys": [{"ckn": "01", "cak": "7" * 32}]}}
ESP, LIBRESWAN_ONLY = ("ike", "static", "opportunistic", "or-clear"), ("opportunistic", "or-clear")
# What modes have, and all others must not.
LEFT = {
    tuple(WORDS.keys() - {"none"}): "ls -d /etc/vtep.fabric/* /usr/local/sbin/vtep-* /etc/systemd/system/vtep-*",
    ("inside", "underlay", "mka"): "ip -d -o link | grep -o ' macsec .*'",
    ("underlay", "mka"): "nft list tables | grep vtep_fabric_macsec",
    ("mka",): """
ls -d /etc/vtep.fabric/mka* /usr/local/sbin/vtep-mka /etc/systemd/system/vtep-mka* /run/vtep-mka/*; pgrep -l wpa_supplicant""",
    ESP: "ip -o xfrm state; ip -o xfrm policy; ls -d /var/lib/vtep.fabric/ipsec.json",
    ("ike",): """
ls -d /etc/swanctl/*/vtep-fabric* /etc/strongswan.d/vtep-fabric* /etc/systemd/system/strongswan.service.d
systemctl is-active --quiet strongswan && echo strongswan; pgrep -l charon""",
    LIBRESWAN_ONLY: """
nft list tables | grep vtep_fabric_ipsec; ls -d /etc/ipsec.d/vtep-fabric* /etc/ipsec.d/policies/vtep-fabric* /etc/vtep.fabric/ipsec
ls -d /etc/systemd/system/ipsec.service.d /usr/local/sbin/vtep-nss /usr/local/sbin/vtep-ask; pgrep -l pluto
certutil -L -d sql:/var/lib/ipsec/nss | grep vtep""",
    ("ike", *LIBRESWAN_ONLY): "ls -d /etc/vtep.fabric/ipsec-ca",
}  # fmt: skip


class Encrypted(Fabric):
    def __init__(self, directory, names=("lab", "lab-vxfld", "lab-encryption")):
        super().__init__(directory, *(ROOT / "inventories" / name for name in names))
        self.variant = self.mode = None
        self.static_uses = 0
        self.losses, self.seen = {}, set()
        self.more = {}

    def command(self, program, *arguments):
        return super().command(program, "-e", f"lab_suite={SUITE}", *arguments)

    def words(self, variant, mode):
        # Static keys that a host has used within a boot are never used again, so each use has a number of its own.
        return [
            "-e",
            json.dumps({"variant": variant, **WORDS[mode], "ipsec_rotation": str(self.static_uses), **self.more}),
        ]

    def go(self, variant, mode, *more):
        """site.yml; what it changed. No key is in what it says, nor in the words of what it runs."""
        with Words() as words:
            done = self.play("site.yml", "--diff", *self.words(variant, mode), *more)
        keys = [*SECRETS, *self.keys()]
        assert not [key for key in keys if key in self.said or key in self.record.read_text()]
        assert len(words.seen) > 10 and not [one for one in words.seen for key in keys if key in one]
        return done

    def broken_off(self, variant, mode, name):
        """site.yml, killed when the first host has done a task of that name, which is not one that includes others."""
        words = self.command("site.yml", *self.words(variant, mode))
        process = subprocess.Popen(
            words, cwd=ROOT, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = []
        with process:
            began = any(said.append(line) or (line.startswith("TASK") and name in line) for line in process.stdout)
            process.kill()
        assert began, "".join(said[-100:])

    def keys(self):
        """Those of ESP, which the kernel shows, unlike those of MACsec."""
        return {key for host in VTEPS for key in re.findall("0x([0-9a-f]{32,})", self.run(host, "ip xfrm state"))}

    @contextlib.contextmanager
    def on(self, more):
        """With words of its own, such as another port."""
        self.more = more
        try:
            yield
        finally:
            self.more = {}

    def convert(self, variant, mode, predict=False):
        """From where the fabric is to another variant or mode, with pings meanwhile; how many were lost. Nothing of other modes stays."""
        self.static_uses += mode == "static" and self.mode != "static"
        predicted = predict and self.go(variant, mode, "--check")
        with Ping(self, "h1", "2001:db8:ff::13") as six, Ping(self, "h1", "192.0.2.13") as four, Clear(self) as clear:
            done = self.go(variant, mode)
        # Whatever follows, that is where the fabric is now.
        former, took = self.mode, [self.variant, self.mode, variant, mode]
        self.variant, self.mode = variant, mode
        if predict:
            as_predicted(lines(done), lines(predicted), macsec=bool({"inside", "underlay", "mka"} & {former, mode}))
        # From one encryption to another, or from bare hosts, nothing is in clear, at any moment.
        assert {"none", "or-clear"} & {former, mode} or clear.found == "0", f"{took}: in clear: {clear.found}"
        self.losses[" ".join(map(str, took))] = {"IPv6": six.lost, "IPv4": four.lost, "sent": six.sent}
        path = ROOT / "build" / f"encryption-{self.prefix}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.losses, indent=1) + "\n")
        self.has_nothing_of_others()
        return six.lost, four.lost

    def has_nothing_of_others(self):
        left = [script for modes, script in LEFT.items() if self.mode not in modes]
        assert self.look("\n".join(["exec 2>/dev/null", *left, "true"])) == {host: [] for host in VTEPS}

    def comes_from(self, mode):
        """A test that is picked alone brings the fabric to where the one before it would have left it."""
        if mode not in (None, self.mode):
            self.convert(FLOOD, mode)

    def proven(self):
        """verify.yml, which fails where a check does; of encryption none may be left out."""
        report = Path(f"{self.record}.verify")
        words = self.words(self.variant, self.mode)
        self.play("playbooks/verify.yml", *words, "-e", f"verify_report_file={report}")
        checks = {(check["check"], check["host"]): check["ok"] for check in json.loads(report.read_text())["checks"]}
        for kind in PROOF:
            unproven = self.mode in ("none", "or-clear")
            assert [checks.get((kind, host)) for host in VTEPS] == [None if unproven else True] * 3, kind
        self.silent()

    def silent(self):
        """No key, and nothing that keys are made from, is in a log of a host, in a process's words or in a file for all."""
        keys = [*SECRETS, *self.keys()]
        told = {host: self.run(host, TELLTALE) for host in VTEPS}
        assert all(told.values())
        assert not [(host, key) for host, text in told.items() for key in keys if key in text]
        assert self.look(READABLE.format("\n".join(keys))) == {host: [] for host in VTEPS}

    def stays(self):
        assert self.go(self.variant, self.mode) == {}
        assert self.go(self.variant, self.mode, "--check") == {}

    def answers(self, host, address):
        return "1 received" in self.run(host, f"ping -n -c 1 -W 1 {address} || true")

    def look(self, script=LOOK):
        return {host: self.run(host, f"exec 2>&1; {script}").splitlines() for host in VTEPS}


def encryption(**words):
    """The lab's, with other words."""
    return {**yaml.safe_load(LAB)["lab"]["children"]["vteps"]["vars"]["fabric_encryption"], **words}


class Words:
    """The words of all processes of lab hosts, from `with` on until its end, but for those that are gone within 0.2 s: `seen`."""

    def __enter__(self):
        self.seen, self.ended = set(), threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.ended.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                # A process may be gone. Ansible itself is given what it must know.
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_text(errors="replace").replace("\0", " "))
        self.seen = {words for words in self.seen if "ansible-playbook" not in words}

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()


class Clear:
    """What VXLAN is in clear on the underlay, from `with` on until its end: `found`, a number and some samples."""

    def __init__(self, fabric):
        self.words = ["ip", "netns", "exec", f"{fabric.prefix}-underlay", sys.executable, "-c", CLEAR]

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error):
        self.found = self.process.communicate(timeout=30)[0].strip()


def rekeyed(fabric, seconds):
    """How many associations of ESP came to s1 in so many seconds, each one with a key of its own; how many of the pings meanwhile
    were lost; and the VXLAN in clear."""
    look = "ip -o xfrm state | grep -o 'spi 0x[0-9a-f]*' || true"
    waited(lambda: fabric.answers("h1", "2001:db8:ff::13"), 60)
    first = found = set(fabric.run("s1", look).splitlines())
    end = time.monotonic() + seconds
    with Ping(fabric, "h1", "2001:db8:ff::13") as ping, Clear(fabric) as clear:
        while time.monotonic() < end:
            time.sleep(2)
            found = found | set(fabric.run("s1", look).splitlines())
    return len(found - first), ping.lost, clear.found


def as_predicted(done, predicted, macsec):
    assert not predicted - done
    # Of a device that an earlier task of the run has made, a dry run has no lines of what it was before.
    new = {(host, line.split()[0]) for host, side, line in done if side == "after" and line.endswith(" type macsec")}

    def unforeseen(host, side, line):
        return UNFORESEEN[side].match(line) or (side == "before" and (host, line.split()[0]) in new)

    assert not {words for words in done - predicted if not (macsec and unforeseen(*words))}


def lines(done):
    """What a run changes, on which host, in whatever task: a dry run tells all rows of IPsec where a run sets the last of them."""
    return {tuple(words) for _task, *words in told(done)}


def comes_back_by_itself(fabric, mode):
    fabric.convert(FLOOD, mode)
    assert fabric.go(FLOOD, mode, *RESTORED)
    # Also while the host comes up, with something to send to it; what it sends first is what announces its endpoints.
    with Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13"):
        fabric.reboot("s3")
        waited(lambda: fabric.answers("h1", "2001:db8:ff::13"), 150)
    assert clear.found == "0"
    fabric.proven()
    # Libreswan has removed what vtep-boot had set; its guard drops the same.
    changed = {name for name, _host in fabric.go(FLOOD, mode, *RESTORED)}
    assert changed == ({"vtep.fabric.ipsec : Drop VXLAN that is not encrypted"} if mode == "opportunistic" else set())
    assert fabric.go(FLOOD, mode)


def on_port(port):
    words = yaml.safe_load((ROOT / "inventories" / "lab" / "group_vars" / "all.yml").read_text())
    return {"fabric_segments": [{**one, "dstport": port} for one in words["fabric_segments"]]}


def another_port(fabric, mode):
    """What keeps VXLAN from going in clear knows the former port as long as a VXLAN device has it, and then no more."""
    fabric.convert(FLOOD, mode)
    for port in (4790, 4789):
        with fabric.on(on_port(port)), Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13"):
            assert fabric.go(FLOOD, mode)
        assert clear.found == "0"
        told = fabric.look("nft list ruleset; ip xfrm policy")
        assert all("dport %d" % port in " ".join(lines) for lines in told.values())
        assert not [line for lines in told.values() for line in lines if f"dport {4789 + 4790 - port}" in line]
    fabric.proven()
    fabric.stays()


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    made = Encrypted(tmp_path_factory.mktemp("encryption"))
    made.play("playbooks/lab_up.yml")
    made.bare = made.look()
    try:
        yield made
    finally:
        made.play("playbooks/lab_down.yml")


def test_the_long_way_goes_from_each_mode_to_each_other():
    pairs = list(zip(EACH_TO_EACH, EACH_TO_EACH[1:]))
    words = WORDS.keys() - {"mka", "opportunistic", "or-clear"}
    assert sorted(pairs) == sorted((one, other) for one in words for other in words if one != other)


def test_what_looks_for_keys_finds_one(fabric):
    fabric.run("s1", f"umask 022; echo {SECRETS[0]} >/etc/leak")
    with pytest.raises(AssertionError, match="/etc/leak"):
        fabric.silent()
    fabric.run("s1", "rm /etc/leak")


@pytest.mark.parametrize(("old", "new"), list(zip([None, *MODES], MODES)))
def test_from_mode_to_mode(fabric, old, new):
    """The first way into each mode is also predicted by check mode, and changes nothing when it is run again."""
    fabric.comes_from(old)
    first = new not in fabric.seen
    fabric.seen.add(new)
    fabric.convert(FLOOD, new, predict=first)
    fabric.proven()
    if first:
        fabric.stays()
    if new == "none":
        # What says otherwise that there is nothing in clear can see it.
        with Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13"):
            time.sleep(2)
        assert clear.found != "0"


@pytest.mark.parametrize(("variant", "mode"), VARIANTS)
def test_each_variant_with_each_mode(fabric, variant, mode):
    former = fabric.variant
    fabric.convert(variant, mode)
    if "unicast-static-rsc" in (former, variant):
        # There h4 is in a subnet of its own.
        fabric.play("playbooks/lab_up.yml", "-e", f"variant={variant}")
    fabric.proven()
    if ALL:
        fabric.stays()


@pytest.mark.parametrize(("variant", "mode"), STACKED)
def test_what_is_on_what_goes_anew_comes_back(fabric, variant, mode):
    fabric.convert(variant, mode, predict=True)
    fabric.proven()
    fabric.stays()


@pytest.mark.parametrize(("variant", "old", "new", "task", "then"), KILLED, ids=["-".join(row[:3]) for row in KILLED])
def test_after_a_run_that_was_killed(fabric, variant, old, new, task, then):
    if (fabric.variant, fabric.mode) != (variant, old):
        fabric.convert(variant, old)
    with Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13"):
        fabric.static_uses += "static" in (new, then)
        fabric.broken_off(variant, new, task)
        time.sleep(15)
        fabric.go(variant, then)
    assert clear.found == "0"
    fabric.mode = then
    fabric.has_nothing_of_others()
    fabric.proven()
    fabric.stays()


def test_a_supplicant_whose_device_was_made_anew_is_started_again(fabric):
    """By the run after the one that made it and was killed before it came to supplicants."""
    fabric.convert(FLOOD, "mka")
    fabric.run("s2", "ip link del ms-eth0")
    fabric.broken_off(FLOOD, "mka", "macsec : Write the unit")
    time.sleep(15)
    assert fabric.go(FLOOD, "mka")
    fabric.proven()
    fabric.stays()


@pytest.mark.parametrize(("how", "mode"), [("gone", "static"), ("gone", "none"), ("deaf", "underlay")])
def test_a_strongswan_that_is_dead_is_left(fabric, how, mode):
    fabric.convert(FLOOD, "ike")
    dies, back = DEAD[how]
    fabric.run("s2", dies)
    fabric.convert(FLOOD, mode)
    fabric.run("s2", back)
    fabric.proven()
    fabric.stays()


def test_roles_one_by_one_encrypt_what_they_build(fabric, tmp_path):
    """In one run of ansible-playbook: built, taken down, and built again. Nobody calls role ipsec."""
    fabric.play("playbooks/teardown.yml")
    fabric.variant = fabric.mode = None
    build = ["preflight", "underlay", "access", "unicast_static_flood"]
    plays = [
        {"hosts": "vteps", "gather_facts": False, "roles": [f"vtep.fabric.{role}" for role in roles]}
        for roles in (build, ["teardown"], build)
    ]
    path = tmp_path / "plays.yml"
    path.write_text(json.dumps(plays))
    with Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13"):
        assert fabric.play(str(path), *fabric.words(FLOOD, "ike"))
    assert clear.found == "0", clear.found
    fabric.variant, fabric.mode = FLOOD, "ike"
    fabric.proven()
    fabric.stays()


@pytest.mark.parametrize("mode", ["ike", "mka"])
def test_a_rebooted_vtep_comes_back_by_itself(fabric, mode):
    comes_back_by_itself(fabric, mode)


@pytest.mark.parametrize("mode", ["underlay", *(["static", "inside"] if ALL else [])])
def test_with_static_keys_a_rebooted_vtep_comes_back_by_a_run(fabric, mode):
    """A key that was used is never used again, and only the controller can give others."""
    fabric.convert(FLOOD, mode)
    assert fabric.go(FLOOD, mode, *RESTORED)
    with Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13"):
        fabric.reboot("s3")
        time.sleep(20)
        assert not fabric.answers("h1", "2001:db8:ff::13")
    assert clear.found == "0"
    assert fabric.go(FLOOD, mode)
    fabric.proven()
    fabric.stays()


@pytest.mark.parametrize("mode", ["underlay", *(["ike", "static"] if ALL else [])])
def test_another_port_is_never_in_clear(fabric, mode):
    another_port(fabric, mode)


def test_another_port_and_another_mode(fabric):
    """ESP is for the new port only, and MACsec leaves the hosts before the VXLAN devices leave the former one."""
    fabric.convert(FLOOD, "underlay")
    with fabric.on(on_port(4790)):
        fabric.convert(FLOOD, "ike")
        fabric.proven()


@pytest.mark.parametrize("mode", ["ike", "underlay", "static"])
def test_over_an_ipv4_underlay(fabric, mode):
    with fabric.on({"fabric_underlay_family": 4}):
        fabric.convert(FLOOD, mode)
        fabric.proven()
        fabric.stays()


def test_from_macsec_over_ipv4_to_esp_over_ipv6(fabric):
    """Hosts have both addresses all the time, and ESP is for the new one only."""
    with fabric.on({"fabric_underlay_family": 4}):
        fabric.convert(FLOOD, "underlay")
    fabric.convert(FLOOD, "static")
    fabric.proven()


def test_from_macsec_to_esp_from_another_address(fabric):
    """Which is not for what VXLAN devices send from the former one."""
    fabric.convert(FLOOD, "underlay")
    with fabric.on({"vtep_address": "2001:db8:{{ inventory_hostname[1] }}::9"}):
        fabric.convert(FLOOD, "static")
        fabric.proven()


def test_from_macsec_of_routes_to_esp_of_bridges(fabric):
    """The routes' device takes VXLAN of both families, and ESP is for one."""
    fabric.convert("unicast-routing", "underlay")
    fabric.convert(FLOOD, "static")
    fabric.proven()


def test_certificates_of_ones_own(fabric, tmp_path):
    """With which strongSwan begins, so that no association of before hides that they are not believed."""
    fabric.convert(FLOOD, "static")
    made = Makes(tmp_path)
    made.make("ca", extensions=CA)
    own = {host: made.member(host, address=address) for host, address in ADDRESSES.items()}
    words = {f"ipsec_{word}": f"{{{{ own[inventory_hostname].{word} }}}}" for word in ("ca", "cert", "key")}
    with fabric.on({**words, "own": own}):
        fabric.convert(FLOOD, "ike")
        fabric.proven()
        fabric.stays()
    # Those of peers that it knows by now are among them, and none that the role made.
    known = fabric.look("swanctl --list-certs --type x509 2>/dev/null | grep -o 'CN=[^\"]*'")
    for host, found in known.items():
        assert {f"CN={host}", "CN=ca"} <= set(found) <= {f"CN={name}" for name in (*VTEPS, "ca")}, known
    told = fabric.record.read_text() + "".join(fabric.run(host, TELLTALE) for host in VTEPS)
    assert not [line for one in own.values() for line in one["key"].splitlines()[1:-1] if line in told]


def test_one_more_link_loses_nothing(fabric):
    """The rules that take VXLAN from MACsec devices only know the new one before OSPF leads traffic there."""
    links = [{"dev": "eth0", "addresses": ["169.254.16.{{ inventory_hostname[1] }}/24"]}]
    more = {"dev": "eth0.5", "addresses": ["169.254.5.{{ inventory_hostname[1] }}/24"]}
    segments = [{"vni": 100, "mtu": 1400}]
    for host in VTEPS:
        fabric.run(host, "ip link add link eth0 name eth0.5 type vlan id 5")
    with fabric.on({"fabric_segments": segments, "vtep_underlay_interfaces": links}):
        fabric.convert(FLOOD, "underlay")
    with fabric.on({"fabric_segments": segments, "vtep_underlay_interfaces": [*links, more]}):
        assert fabric.convert(FLOOD, "underlay", predict=True) == (0, 0)
        found = fabric.look("ip -o -6 route show proto ospf | grep -o 'dev ms-[a-z0-9.]*' | sort -u")
        assert found == {host: ["dev ms-eth0", "dev ms-eth0.5"] for host in VTEPS}, found
        fabric.proven()
        fabric.stays()
    with fabric.on({"fabric_segments": segments, "vtep_underlay_interfaces": links}):
        fabric.convert(FLOOD, "underlay", predict=True)
        assert fabric.look("ip -o link show type macsec | grep -o 'ms-[a-z0-9.]*'") == {
            host: ["ms-eth0"] for host in VTEPS
        }
        fabric.proven()
    for host in VTEPS:
        fabric.run(host, "ip link del eth0.5")


def test_mka_goes_on_past_a_dead_link_and_a_host_that_is_away(fabric):
    links = "{'dev': 'eth0', 'mtu': 1700, 'addresses': ['169.254.16.' ~ inventory_hostname[1] ~ '/24']}"
    dead = "{'dev': 'dead', 'mtu': 1700, 'addresses': ['169.254.6.1/24']}"
    own = "{{ [%s] + ([%s] if inventory_hostname == 's1' else []) }}" % (links, dead)
    fabric.run("s1", "ip link add dead type veth peer name nobody; ip link set nobody down")
    with fabric.on({"vtep_underlay_interfaces": own}):
        fabric.convert(FLOOD, "mka")
        fabric.proven()
        fabric.stays()
        # s3 goes, and s1 has lost what it had, as by a reboot. On its other link there is nobody, as if it were s3's.
        fabric.run("s3", "systemctl stop vtep-mka@eth0; ip link set eth0 down")
        fabric.run("s1", "systemctl stop vtep-mka@eth0; ip link del ms-eth0; ip link set nobody up")
        with Clear(fabric) as clear:
            assert fabric.go(FLOOD, "mka", "--limit", "s1,s2")
            waited(lambda: fabric.answers("h1", "2001:db8:ff::11"), 60)
        assert clear.found == "0"
        fabric.run("s3", "ip link set eth0 up")
        fabric.run("s1", "ip link set nobody down")
        assert fabric.go(FLOOD, "mka")
        fabric.proven()
    fabric.run("s1", "ip link del dead")


@pytest.mark.parametrize(("mode", "words", "more"), OTHER, ids=[mode for mode, _words, _more in OTHER])
def test_other_words_over_links_without_a_byte_to_spare(fabric, mode, words, more):
    planned, faults = mtu.plan(1500, "overlay", {"encryption": words})
    assert not faults

    def over(bytes_):
        links = [{"dev": "eth0", "mtu": bytes_, "addresses": ["169.254.16.{{ inventory_hostname[1] }}/24"]}]
        return {"fabric_encryption": encryption(**words), "vtep_underlay_interfaces": links, **more}

    with fabric.on(over(planned["underlay_mtu"] - 1)):
        refused = fabric.command("site.yml", *fabric.words(FLOOD, mode))
        done = subprocess.run(refused, cwd=ROOT, env=fabric.environment(), capture_output=True, text=True, check=False)
        assert done.returncode and f"needs {planned['underlay_mtu']}" in " ".join(done.stdout.split()), done.stdout
    with fabric.on(over(planned["underlay_mtu"])):
        fabric.convert(FLOOD, mode)
        fabric.proven()
        fabric.stays()


@pytest.mark.parametrize("mode", ["underlay", "ike", "mka"])
def test_a_wrong_key_is_named(fabric, mode):
    with fabric.on({"ipsec_authentication": "secret"}):
        fabric.convert(FLOOD, mode)
        words = fabric.words(FLOOD, mode)
        if mode == "underlay":
            fabric.run("s2", WRONG_KEYS)
        else:
            wrong = json.dumps({"fabric_encryption": encryption(**WRONG_WORDS[mode])})
            fabric.play("site.yml", "--limit", "s2", *words, "-e", wrong)
        if mode == "ike":
            # What was agreed on before goes on until there are new keys.
            fabric.run("s2", "systemctl restart strongswan")
        report = Path(f"{fabric.record}.verify")
        fabric.play("playbooks/verify.yml", *words, "-e", f"verify_report_file={report}", fails=True)
        found = [check for check in json.loads(report.read_text())["checks"] if check["check"] == "keys"]
        assert [check["host"] for check in found] == ["s1, s2", "s2, s3"], found
        assert not any(check["ok"] for check in found), found
        assert fabric.go(FLOOD, mode)
        fabric.proven()


@pytest.mark.parametrize("mode", ["underlay", "inside", "static"])
def test_new_keys_lose_nothing(fabric, mode):
    """On all hosts at once, as users have them: by rotate_keys.yml, and by another ipsec_rotation."""
    fabric.convert(FLOOD, mode)
    before = fabric.look(KEYS)
    with Clear(fabric) as clear, Ping(fabric, "h1", "2001:db8:ff::13") as six, Ping(fabric, "h1", "192.0.2.13") as four:
        if mode == "static":
            fabric.static_uses += 1
            assert fabric.go(FLOOD, mode)
        else:
            fabric.play("playbooks/rotate_keys.yml", *fabric.words(FLOOD, mode))
    after = fabric.look(KEYS)
    for host in VTEPS:
        # One of each host, or two of each pair.
        count = 4 if mode == "static" else 3
        assert len(before[host]) == len(after[host]) == count and not set(before[host]) & set(after[host]), (
            before,
            after,
        )
    assert (six.lost, four.lost, clear.found) == (0, 0, "0") and six.sent > 1000
    fabric.proven()
    fabric.stays()


def test_a_run_that_others_would_not_hear_of_is_refused_before_the_first_change(fabric):
    assert fabric.mode not in (None, "inside")
    before = fabric.look()
    words = fabric.command("site.yml", "--limit", "s1", *fabric.words(FLOOD, "inside"))
    done = subprocess.run(words, cwd=ROOT, env=fabric.environment(), capture_output=True, text=True, check=False)
    told = "s1: ms-vxlan100 would be made, or made anew, with keys that s2, s3 would not hear of"
    assert done.returncode and told in " ".join(done.stdout.split()), done.stdout
    assert fabric.look() == before


def test_teardown_leaves_nothing(fabric):
    assert fabric.mode
    taken_down(fabric)
    # MACsec devices take their addresses with them.
    fabric.convert(FLOOD, "underlay")
    taken_down(fabric)


def taken_down(fabric):
    predicted = lines(fabric.play("playbooks/teardown.yml", "--check", "--diff"))
    done = lines(fabric.play("playbooks/teardown.yml", "--diff"))
    assert done and sorted(done ^ predicted) == []
    assert fabric.look() == fabric.bare
    fabric.variant = fabric.mode = None


@pytest.fixture(scope="module")
def libreswan(tmp_path_factory):
    made = Encrypted(tmp_path_factory.mktemp("libreswan"), ("lab", "lab-encryption"))
    made.play("playbooks/lab_up.yml", "-e", "lab_ike=libreswan")
    made.bare = made.look()
    try:
        yield made
    finally:
        made.play("playbooks/lab_down.yml")


@pytest.mark.parametrize(("old", "new"), list(zip([None, *LIBRESWAN], LIBRESWAN)))
def test_libreswan_from_mode_to_mode(libreswan, old, new):
    libreswan.comes_from(old)
    first = new not in libreswan.seen
    libreswan.seen.add(new)
    libreswan.convert(FLOOD, new, predict=first)
    libreswan.proven()
    if first:
        libreswan.stays()
    if new == "opportunistic" and first:
        assert libreswan.go(FLOOD, new, *SOON)
        keys, lost, clear = rekeyed(libreswan, 200)
        # Who is asked sends with the new key while its answer is on the way, so of 100 packets a second one may come too early.
        assert keys >= 8 and lost <= keys // 2 and clear == "0", (keys, lost, clear)
        assert libreswan.go(FLOOD, new)
        # It starts by removing all of the kernel's policies.
        with Clear(libreswan) as clear, Ping(libreswan, "h1", "2001:db8:ff::13"):
            libreswan.run("s1", "systemctl kill -s KILL ipsec; sleep 5; systemctl restart ipsec")
        assert clear.found == "0"
        # Peers notice after some 20 s that what they had is gone, and vtep-ask helps on who was asked meanwhile.
        waited(lambda: libreswan.answers("h1", "2001:db8:ff::13"), 150)
        waited(lambda: libreswan.answers("h4", "2001:db8:ff::10"), 150)
        libreswan.proven()


def test_libreswan_host_by_host(libreswan):
    """From clear to encrypted, each VTEP by a run for it alone, and all reach one another meanwhile."""
    libreswan.convert(FLOOD, "none")
    words = libreswan.words(FLOOD, "or-clear")
    with Ping(libreswan, "h1", "2001:db8:ff::11") as ping:
        for host in ("s1", "s2"):
            libreswan.play("site.yml", "--limit", host, *words)
            waited(lambda: libreswan.answers("h1", "2001:db8:ff::11"), 60)
            waited(lambda: libreswan.answers("h1", "2001:db8:ff::13"), 60)
    print("host by host", ping.lost, "of", ping.sent)
    found = libreswan.look("ip -o xfrm state | grep -o 'src [0-9a-f:]* dst [0-9a-f:]*' | sort -u")
    pair = [f"src {ADDRESSES[one]} dst {ADDRESSES[other]}" for one, other in (("s1", "s2"), ("s2", "s1"))]
    assert found == {"s1": pair, "s2": pair, "s3": []}, found
    libreswan.convert(FLOOD, "opportunistic")
    libreswan.proven()


def test_with_libreswan_another_port_is_never_in_clear(libreswan):
    another_port(libreswan, "opportunistic")


def test_another_port_and_another_mode_after_libreswan_was_killed(libreswan):
    """It has taken with it what drops VXLAN of the former port, which the next mode does not encrypt."""
    libreswan.convert(FLOOD, "opportunistic")
    libreswan.run("s1", "systemctl kill -s KILL ipsec; sleep 5; systemctl restart ipsec")
    with libreswan.on(on_port(4790)):
        libreswan.convert(FLOOD, "static")
        libreswan.proven()


def test_with_libreswan_a_rebooted_vtep_comes_back_by_itself(libreswan):
    comes_back_by_itself(libreswan, "opportunistic")


def test_strongswan_is_refused_where_libreswan_is(libreswan):
    words = libreswan.command("site.yml", *libreswan.words(FLOOD, "ike"))
    done = subprocess.run(words, cwd=ROOT, env=libreswan.environment(), capture_output=True, text=True, check=False)
    assert done.returncode and "s1: ipsec_mode ike: Libreswan is installed" in " ".join(done.stdout.split()), (
        done.stdout
    )


def test_libreswan_leaves_nothing(libreswan):
    assert libreswan.mode
    libreswan.play("playbooks/teardown.yml")
    assert libreswan.look() == libreswan.bare
