# SPDX-License-Identifier: GPL-3.0-or-later
"""Which encryption goes with which variant."""

from __future__ import annotations

from . import ipsec

PROXIES = ("unicast-static-nd", "unicast-static-rsc", "unicast-dynamic-nd")  # the VXLAN device reads ARP and ND


def check(fabric, variant, faults):
    """Adds why the fabric's encryption does not go with its variant."""
    how = fabric.encryption
    if how is None:
        return
    reason = mismatch(how, variant)
    if reason:
        faults.add("fabric", "encryption", f"{how.mode} does not go with variant {variant}: {reason}")
    ipsec.check(fabric, faults)


def mismatch(how, variant):
    if how.esp and variant == "multicast":
        return (
            "a security association of ESP has one receiver, and VXLAN packets to a multicast group have many; take another "
            "variant, or macsec"
        )
    if how.esp and variant == "vxfld-snr":
        return (
            "service nodes share one address and send copies on under the sender's, and so neither is an end of a security "
            "association; take vxfld-hrep, or macsec"
        )
    if how.macsec == "inside" and variant in PROXIES:
        return (
            "the VXLAN device answers ARP and ND by proxy, which it cannot read below MACsec; write macsec_mode: underlay "
            "into fabric_encryption, or take ipsec"
        )
    if how.macsec == "inside" and variant == "unicast-routing":
        return (
            "routes lead straight into the VXLAN device, which leaves no place for MACsec above it; write macsec_mode: "
            "underlay into fabric_encryption, or take ipsec"
        )
    return None
