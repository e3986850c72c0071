# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `ipsec` of a VTEP's plan: which VXLAN becomes ESP, how, and who the others are.

No key is in a plan, which anybody may print; role ipsec hands them to strongSwan or to module xfrm.
"""

from __future__ import annotations

import ipaddress

from .._model import ciphers
from . import host

# After whatever strongSwan and Libreswan write: theirs begin at a few thousand and end below 2^22.
BLOCK_PRIORITY = 1 << 31
IKE_PORTS = (500, 4500)


def check(fabric, faults):
    """Adds what the fabric's mode of IPsec cannot do."""
    how = fabric.encryption
    if not how.esp:
        return
    for vtep in fabric.vteps.values():
        check_kernel(fabric, vtep, faults)
    where = "fabric_encryption: "
    if how.ipsec_prefix and how.ipsec_mode == "opportunistic":
        addresses = {host: vtep.addresses.get(fabric.family) for host, vtep in fabric.vteps.items()}
        outside = [f"{host} has {one}" for host, one in addresses.items() if one and not within(one, how.ipsec_prefix)]
        if outside:
            message = f"{how.ipsec_prefix} does not hold all VTEPs: {', '.join(outside[:3])}; take a network that does, or leave it out"
            faults.add("fabric", f"{where}ipsec_prefix", message)
    if how.ipsec_mode != "static":
        check_ports(fabric, faults)
        if how.ipsec_esp_mode == "tunnel":
            message = (
                f"tunnel does not go with ipsec_mode {how.ipsec_mode}, which finds its peers by packets of VXLAN; take transport, "
                "or ipsec_mode static"
            )
            faults.add("fabric", f"{where}ipsec_esp_mode", message)
        return
    if not how.ipsec_secret:
        message = "is missing; ipsec_mode static makes all keys from it: 32 characters or more, random ones (openssl rand -hex 32)"
        faults.add("fabric", f"{where}ipsec_secret", message)
    if how.ipsec_nat_t:
        message = (
            "does not go with ipsec_mode static: the kernel takes ESP in UDP only where an IKE daemon has the port; take "
            "ipsec_mode ike"
        )
        faults.add("fabric", f"{where}ipsec_nat_t", message)
    ports = sorted({segment.dstport for segment in fabric.segments})
    if len(ports) > 1:
        message = (
            f"the segments use {', '.join(map(str, ports))}, and ipsec_mode static has keys for one port; give all the same, or "
            "take ipsec_mode ike"
        )
        faults.add("fabric", "fabric_segments: dstport", message)


def check_kernel(fabric, vtep, faults):
    """Of ESP the kernel is asked with AES-GCM only; role ipsec tries other ciphers (tasks/judge.yml)."""
    for word in ("xfrm", f"esp{fabric.family}") if "gcm" in fabric.encryption.ipsec_cipher else ("xfrm",):
        if vtep.features.get(word) is False:
            name, option = host.FEATURES[word]
            faults.add(
                vtep.host, "encryption", f"kernel has no {name}: {option}; take another mode of encryption, or none"
            )
            return


def check_ports(fabric, faults):
    for each in fabric.segments:
        if each.dstport in IKE_PORTS:
            message = (
                f"{each.dstport} is a port of IKE (RFC 7296, section 2), whose daemon ipsec_mode {fabric.encryption.ipsec_mode} runs; "
                "take another one, such as 4789"
            )
            faults.add("fabric", f"fabric_segments: VNI {each.vni}: dstport", message)


def section(fabric, vtep, vxlans):
    """{"ipsec": the section}, or nothing without ESP. vxlans: options of the variant's VXLAN devices."""
    return {"ipsec": compile_vtep(fabric, vtep, vxlans)} if fabric.encryption.esp else {}


def compile_vtep(fabric, vtep, vxlans):
    """Plain data for role ipsec."""
    how = fabric.encryption
    local = fabric.local(vtep)
    # VTEPs that share no segment send one another no VXLAN, and so have nothing to agree on.
    peers = {peer.host: peer for segment in fabric.segments_of(vtep) for peer in fabric.peers(segment, vtep)}
    ports = sorted({segment.dstport for segment in fabric.segments_of(vtep)})
    group = how.ipsec_group if how.ipsec_mode == "opportunistic" else None
    return {
        "mode": how.ipsec_mode,
        "local": local,
        "family": fabric.family,
        "ports": ports,
        "cipher": how.ipsec_cipher,
        "esp_mode": how.ipsec_esp_mode,
        "nat_t": how.ipsec_nat_t,
        "peers": [{"name": host, "address": fabric.local(peers[host])} for host in fabric.vteps if host in peers],
        "static": static(how) if how.ipsec_mode == "static" else None,
        "group": group,
        "prefix": how.ipsec_prefix or spanning([fabric.local(one) for one in fabric.vteps.values()]) if group else None,
        "block": [
            policy
            for port in ports
            if group != "private-or-clear"
            for policy in block(local, fabric.family, port, external=any(one["external"] for one in vxlans))
        ],
    }


def within(address, prefix):
    return ipaddress.ip_address(address) in ipaddress.ip_network(prefix)


def spanning(addresses):
    """The smallest network that holds all the addresses."""
    found = ipaddress.ip_network(addresses[0])
    while not all(ipaddress.ip_address(one) in found for one in addresses):
        found = found.supernet()
    return str(found)


def static(how):
    """Options of filter xfrm_mesh."""
    algorithm, bits = ciphers.ESP[how.ipsec_cipher].xfrm
    return {"algorithm": algorithm, "key_bits": bits, "mode": how.ipsec_esp_mode, "block": False}


def block(local, family, port, external):
    """Policies for module xfrm that drop VXLAN of the VTEP's address, and to any of the host's, which no association takes.

    They are there whether or not the daemon runs, so that nothing goes in clear when it has stopped, and nobody gets a frame in
    without ESP, whatever address he sends from or to (CVE-2023-28840): a VXLAN device takes packets to all addresses that the host
    has, whatever its `local` (vxlan_create_sock, drivers/net/vxlan/vxlan_core.c), and an external one to those of both families
    (vxlan_sock_add). Where none is external, VXLAN of the other family is somebody else's.
    """
    everybody = {4: "0.0.0.0/0", 6: "::/0"}
    halves = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}[family]
    shared = {"proto": "udp", "dport": port, "priority": str(BLOCK_PRIORITY), "action": "block"}
    # The kernel holds one policy for a selector, and strongSwan has its own for this one.
    outward = [{"dir": "out", "src": f"{local}/{32 if family == 4 else 128}", "dst": half, **shared} for half in halves]
    inward = [
        {"dir": "in", "src": everybody[one], "dst": everybody[one], **shared}
        for one in ((4, 6) if external else (family,))
    ]
    return outward + inward
