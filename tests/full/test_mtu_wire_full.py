# SPDX-License-Identifier: GPL-3.0-or-later
"""What the MTU planner says of VLAN tags, MACsec and ESP, against lengths on a wire: each combination of family, encryption and
tag, to the byte, and with frames of the full size. iproute2 sets it up. What was measured is left in build/mtu_wire.json."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import ciphers, overhead
from ansible_collections.vtep.fabric.plugins.module_utils._model.encryption import Encryption

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/kernel"))
from device_support import private  # noqa: E402
from wire_support import Wire  # noqa: E402

MTU = 1500
NEEDED = {
    "link add name x type macsec": "CONFIG_MACSEC",
    "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode transport aead rfc4106(gcm(aes)) 0x"
    + 20 * "00"
    + " 128": "CONFIG_INET_ESP",
    "link add link y name x type vlan id 7": "CONFIG_VLAN_8021Q",
}


def lacking():
    """The first option that this kernel lacks, or None."""
    if os.geteuid() != 0:
        return "root"
    with private():
        subprocess.run(["ip", "link", "add", "y", "type", "veth"], check=False, capture_output=True)
        for command, option in NEEDED.items():
            if option == "CONFIG_MACSEC":
                command = command.replace("link add", "link add link y")
            done = subprocess.run(["ip", *command.split()], check=False, capture_output=True)
            if done.returncode:
                return option
            subprocess.run(["ip", "link", "del", "x"], check=False, capture_output=True)
    return None


LACKING = lacking()
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"this kernel has no {LACKING}; tools/full pytest tests/full runs it"
)


def encryptions():
    yield "none", Encryption()
    for where, sci in itertools.product(("inside", "underlay"), (True, False)):
        how = Encryption("macsec", macsec_mode=where, macsec_send_sci=sci)
        yield f"macsec-{where}-{'sci' if sci else 'nosci'}", how
    for cipher, mode, nat_t in itertools.product(ciphers.ESP, ("transport", "tunnel"), (False, True)):
        how = Encryption("ipsec", ipsec_cipher=cipher, ipsec_esp_mode=mode, ipsec_nat_t=nat_t)
        yield f"{cipher}-{mode}{'-nat' if nat_t else ''}", how


ALL = [
    pytest.param(overhead.Stack(family, how, vlan_tags=tags), id=f"ipv{family}-{name}{'-vlan' if tags else ''}")
    for family, (name, how), tags in itertools.product((4, 6), encryptions(), (0, 1))
]
# Tags of endpoints are within the MACsec that is within the VXLAN. tests/kernel/test_mtu_wire.py has them without it.
ALL += [
    pytest.param(overhead.Stack(family, how, inner_vlan_tags=tags), id=f"ipv{family}-{name}-{tags}inner")
    for family, (name, how), tags in itertools.product((4, 6), encryptions(), (1, 2))
    if how.macsec == "inside"
]


@pytest.fixture(scope="module")
def measured():
    rows = []
    yield rows
    if rows:
        path = ROOT / "build" / "mtu_wire.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rows, indent=1) + "\n")


@pytest.mark.parametrize("stack", ALL)
def test_every_combination(stack, measured, request):
    wire = Wire(stack, MTU)
    try:
        # Two blocks of the largest cipher, and the last before what does not fit.
        lengths = [*range(100, 132), 576, *range(wire.overlay - 16, wire.overlay + 1)]
        seen = {length: wire.carried(length) for length in lengths}
        assert seen == {length: (overhead.on_wire(stack, length), length) for length in lengths}
        one_byte_more(wire)
        measured.append(
            {
                "stack": request.node.callspec.id,
                "overlay_mtu": wire.overlay,
                "wire": seen[wire.overlay][0],
                "added": sorted({on_wire - length for length, (on_wire, _arrived) in seen.items()}),
            }
        )
    finally:
        wire.close()


def one_byte_more(wire):
    """With the VXLAN device's MTU out of the way: the largest passes, and the next does not, over the wire or by the kernel's word."""
    how = wire.stack.encryption
    if how.macsec == "inside":
        tags = 4 * wire.stack.inner_vlan_tags
        assert wire.set_mtu("oversec", wire.overlay + tags)
        assert not wire.set_mtu("oversec", wire.overlay + tags + 1)
    if how.macsec == "underlay":
        assert wire.set_mtu("sec", wire.mtu - overhead.MACSEC)
        assert not wire.set_mtu("sec", wire.mtu - overhead.MACSEC + 1)
    assert wire.set_mtu("over", wire.mtu)
    if how.macsec == "inside":
        assert wire.set_mtu("oversec", wire.mtu - overhead.MACSEC)
    # Without SCI inside the VXLAN the wire has 8 bytes left, which Linux keeps back by the MTU of the MACsec device.
    room = 8 if how.macsec == "inside" and not how.macsec_send_sci else 0
    assert wire.is_delivered(wire.overlay)
    assert wire.is_delivered(wire.overlay + room)
    assert not wire.is_delivered(wire.overlay + room + 1)
    assert wire.is_delivered(wire.overlay)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sci", [True, False])
def test_a_vlan_device_on_macsec_counts_its_tag(family, sci):
    """The kernel holds the tag against the MTU then, and only then (netif_reduces_vlan_mtu)."""
    how = Encryption("macsec", macsec_mode="underlay", macsec_send_sci=sci)
    stack = overhead.Stack(family, how, vlan_tags=1, vlan_tags_counted=True)
    wire = Wire(stack, MTU, tag_above_macsec=True)
    try:
        assert wire.overlay == overhead.largest(overhead.Stack(family, how), MTU) - 4
        for length in (100, 576, wire.overlay):
            assert wire.carried(length) == (overhead.on_wire(stack, length), length)
        assert wire.set_mtu("tag", MTU - overhead.MACSEC - 4)
        assert not wire.set_mtu("tag", MTU - overhead.MACSEC - 3)
        assert wire.set_mtu("over", MTU)
        assert wire.is_delivered(wire.overlay)
        assert not wire.is_delivered(wire.overlay + 1)
    finally:
        wire.close()


@pytest.mark.parametrize("cipher", ["gcm-aes-128", "gcm-aes-256", "gcm-aes-xpn-128", "gcm-aes-xpn-256"])
def test_ciphers_of_macsec_add_the_same(cipher):
    stack = overhead.Stack(6, Encryption("macsec", macsec_mode="underlay", macsec_cipher=cipher))
    wire = Wire(stack, MTU)
    try:
        for length in (100, 576, wire.overlay):
            assert wire.carried(length) == (overhead.on_wire(stack, length), length)
    finally:
        wire.close()
