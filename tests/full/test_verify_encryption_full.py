# SPDX-License-Identifier: GPL-3.0-or-later
"""What verify sees of real MACsec and ESP: encrypted packets and no marker, copies that are counted all the same, a rogue, and wrong keys
by the pair of hosts that has them. iproute2 sets it up."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import overhead
from ansible_collections.vtep.fabric.plugins.module_utils._model.encryption import Encryption
from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify_encryption

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/kernel"), str(ROOT / "tests/unit")]
from verify_frames import FILES, MARKER  # noqa: E402
from wire_support import ADDRESSES, KEYS, Wire, mac  # noqa: E402

BYTES = bytes.fromhex(MARKER)
PEERS = ("s1", "s2")
HOW = {
    "inside": Encryption("macsec"),
    "underlay": Encryption("macsec", macsec_mode="underlay"),
    "esp": Encryption("ipsec"),
    "esp-tunnel": Encryption("ipsec", ipsec_esp_mode="tunnel"),
    "esp-nat": Encryption("ipsec", ipsec_nat_t=True),
}
DEVICE = {"inside": "oversec", "underlay": "sec"}
SENT = 5


class Proof:
    def __init__(self, how, family):
        self.where, self.family = how.split("-")[0], family
        self.wire = Wire(overhead.Stack(family, HOW[how]), 1500)
        self.request = {
            "where": self.where, "devices": ["wire"], "macsec": [DEVICE[self.where]] if self.where in DEVICE else [], "ports": [],
            "dstports": [4789], "marker": MARKER, "rogue_marker": verify_encryption.rogue_marker(MARKER), "seconds": 300,
            "tunnel": how == "esp-tunnel",
        }  # fmt: skip

    def program(self, number, name, *words, request):
        command = [sys.executable, str(FILES / name), *words]
        with self.wire.hosts[number].here():
            done = subprocess.run(
                command, input=json.dumps(request), capture_output=True, text=True, check=False, timeout=120
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def start(self):
        for number in (0, 1):
            self.program(number, "encryption.py", "start", request=self.request)

    def stop(self):
        return [self.program(number, "encryption.py", "stop", request=self.request) for number in (0, 1)]

    def send(self, number, destination, source, length=120):
        frame = bytes.fromhex((destination + source).replace(":", "")) + struct.pack("!HQ", 0x88B5, 0) + BYTES
        made = (self.wire.out, self.wire.arrived)[number]
        for _turn in range(SENT):
            made.send(frame.ljust(length, b"\0"))
            time.sleep(0.01)

    def both_ways(self):
        for number in (0, 1):
            self.send(number, mac(1 - number, 1), mac(number, 1))

    def attack(self):
        frame = {"mac": mac(1, 0), "dst": ADDRESSES[self.family][1], "dstport": 4789, "vni": 100}
        frames = [{**frame, "src": ADDRESSES[self.family][0], "spoofed": True}]
        self.program(0, "rogue.py", request={"dev": "wire", "marker": self.request["rogue_marker"], "frames": frames})

    def plans(self):
        plans = {}
        for number, name in enumerate(PEERS):
            plans[name] = {"local": ADDRESSES[self.family][number]}
            if self.where == "esp":
                plans[name]["ipsec"] = {"mode": "static"}
                continue
            sci = mac(1 - number, 1 if self.where == "inside" else 0).replace(":", "") + "0001"
            peers = {DEVICE[self.where]: [{"host": PEERS[1 - number], "sci": sci}]}
            plans[name]["macsec"] = {"where": self.where, "mka": False, "devices": [], "peers": peers}
        return plans

    def keys(self, seen):
        """What the report says of keys when s1's loopback does not answer to s2."""
        answers = {name: {"encryption": one} for name, one in zip(PEERS, seen)}
        answers["s2"]["underlay"] = {ADDRESSES[self.family][0]: False}
        return [line for found in verify_encryption.key_checks(self.plans(), [], answers) for line in found["detail"]]


@contextlib.contextmanager
def proving(how, family):
    made = Proof(how, family)
    try:
        yield made
    finally:
        made.wire.close()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("how", HOW)
def test_what_is_encrypted_is_seen_as_such(how, family):
    with proving(how, family) as proof:
        proof.start()
        proof.both_ways()
        seen = proof.stop()
        for one in seen:
            assert one["encrypted"] == {"sent": SENT, "received": SENT}
            assert one["clear"] == one["marker"] == {"sent": 0, "received": 0}, one["samples"]
            assert (one["dropped"], one["decrypted"]) == (0, SENT if how == "esp-tunnel" else 0)
            if proof.where != "esp":
                assert SENT / 2**32 <= one["after"]["statistics"]["pn_used"][DEVICE[how]] < 2 * SENT / 2**32
        assert proof.keys(seen) == []


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("how", HOW)
def test_copies_are_counted_all_the_same(how, family):
    """s2 counts what s1 sends, before MACsec or ESP there and after it here."""
    with proving(how, family) as proof:
        source = {"mac": mac(0, 1), "vni": 100, "dstport": 4789}
        if proof.where == "inside":
            source["secured_length"] = 8 + 8 + verify_encryption.PROBE + overhead.MACSEC
        node = {"sources": [source], "segments": [], "paths": [], "encryption": proof.request}
        node.update(devices=[], ports=[], sysctls=[], ospf=[], loopbacks=[], local="", registrations=False)
        for number in (0, 1):
            proof.program(number, "node.py", "start", request=node)
        proof.both_ways()
        proof.send(0, "ff:ff:ff:ff:ff:ff", mac(0, 1), verify_encryption.PROBE)
        copies = [proof.program(number, "node.py", "stop", request=node)["copies"] for number in (0, 1)]
        if "uncounted" in copies[0]:
            assert copies == [{"sent": {}, "received": {}, "uncounted": copies[0]["uncounted"]}] * 2
            pytest.skip(f"only that it is told: {copies[0]['uncounted']}")
        key = f"broadcast/100/{mac(0, 1)}"
        assert (copies[0]["sent"][key], copies[1]["received"][key]) == (SENT, SENT)


@pytest.mark.parametrize("how", ["inside", "underlay", "esp"])
def test_encryption_that_is_switched_off_is_a_leak(how):
    with proving(how, 6) as proof:
        proof.start()
        if how == "esp":
            proof.wire.hosts[0].ip(["xfrm policy flush", "xfrm state flush"])
        else:
            proof.wire.hosts[0].ip([f"link set {DEVICE[how]} type macsec encrypt off"])
        proof.send(0, mac(1, 1), mac(0, 1))
        seen = proof.stop()
        assert seen[0]["clear"]["sent"] == seen[0]["marker"]["sent"] == SENT and seen[0]["encrypted"]["sent"] == 0
        assert seen[1]["clear"]["received"] == seen[1]["marker"]["received"] == SENT


@pytest.mark.parametrize("how", ["inside", "underlay", "esp", "esp-tunnel"])
def test_a_wrong_key_names_the_pair(how):
    with proving(how, 6) as proof:
        proof.start()
        one, other = ADDRESSES[6]
        if proof.where == "esp":
            mode = HOW[how].ipsec_esp_mode
            state = f"src {one} dst {other} proto esp spi {0x100 + (one < other):#x}"
            key = "0x" + "5b" * 20
            proof.wire.hosts[1].ip([
                f"xfrm state delete src {one} dst {other} proto esp spi {0x100 + (one < other):#x}",
                f"xfrm state add {state} reqid 1 mode {mode} replay-window 32 aead rfc4106(gcm(aes)) {key} 128",
            ])  # fmt: skip
        else:
            peer = f"rx port 1 address {mac(0, 1 if how == 'inside' else 0)} sa 0"
            proof.wire.hosts[1].ip([
                f"macsec set {DEVICE[how]} {peer} off", f"macsec del {DEVICE[how]} {peer}",
                f"macsec add {DEVICE[how]} {peer} pn 1 on key 01 {KEYS[16][::-1]}",
            ])  # fmt: skip
        before = proof.stop()
        proof.start()
        proof.send(0, mac(1, 1), mac(0, 1))
        seen = proof.stop()
        assert proof.keys(before) == []
        told = proof.keys(seen)
        assert len(told) == 1 and "s2 and s1 have different keys" in told[0] and f"{SENT} " in told[0], told


@pytest.mark.parametrize("how", ["underlay", "inside"])
def test_a_key_that_the_receiver_lacks_is_told(how):
    with proving(how, 6) as proof:
        peer = f"rx port 1 address {mac(0, 1 if how == 'inside' else 0)} sa 0"
        proof.wire.hosts[1].ip([f"macsec set {DEVICE[how]} {peer} off", f"macsec del {DEVICE[how]} {peer}"])
        proof.start()
        proof.send(0, mac(1, 1), mac(0, 1))
        [told] = proof.keys(proof.stop())
        assert "s2 has no key of the number that s1 sends with" in told and "InPktsNotUsingSA" in told


def test_an_association_that_the_receiver_lacks_is_told():
    with proving("esp", 6) as proof:
        proof.wire.hosts[1].ip(["xfrm state flush"])
        proof.start()
        proof.send(0, mac(1, 1), mac(0, 1))
        [told] = proof.keys(proof.stop())
        assert f"s2 has no association for {SENT} packets (XfrmInNoStates)" in told


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("how", ["esp", "inside"])
def test_a_rogue_that_spoofs_a_peer_does_not_get_in_and_is_not_taken_for_a_wrong_key(how, family):
    """ESP's policy counts him where it would count a peer that sends in clear."""
    with proving(how, family) as proof:
        proof.start()
        proof.attack()
        seen = proof.stop()
        assert seen[1]["arrived"] == {"own": 0, "spoofed": 3}
        assert seen[1]["clear"] == {"sent": 0, "received": 0}
        if how == "esp":
            before, after = (seen[1][when]["statistics"]["xfrm"]["XfrmInTmplMismatch"] for when in ("before", "after"))
            assert after - before == 3
        assert proof.keys(seen) == []
        proof.wire.arrived.settimeout(0.5)
        with pytest.raises(socket.timeout):
            proof.wire.arrived.recv(2000)
