# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lacks of what is required, in words that say how to mend it."""

from __future__ import annotations

import re

# Feature: (how a person calls it, what provides it)
FEATURES = {
    "bridge": ("bridges", "CONFIG_BRIDGE"),
    "bridge_vlan_filtering": ("VLAN-aware bridges", "CONFIG_BRIDGE_VLAN_FILTERING"),
    "dummy": ("dummy devices", "CONFIG_DUMMY"),
    "esp4": ("IPsec ESP over IPv4 with AES-GCM", "CONFIG_INET_ESP and CONFIG_CRYPTO_GCM"),
    "esp6": ("IPsec ESP over IPv6 with AES-GCM", "CONFIG_INET6_ESP and CONFIG_CRYPTO_GCM"),
    "force_forwarding": ("IPv6 forwarding of single devices", "Linux 6.17 (net.ipv6.conf.all.force_forwarding)"),
    "ip_mroute": ("IPv4 multicast routing", "CONFIG_IP_MROUTE"),
    "ip6_mroute": ("IPv6 multicast routing", "CONFIG_IPV6_MROUTE"),
    "ipv6": ("IPv6", "CONFIG_IPV6, and net.ipv6.conf.all.disable_ipv6 must be 0"),
    "lwtunnel": ("routes with encapsulation", "CONFIG_LWTUNNEL"),
    "macsec": ("MACsec", "CONFIG_MACSEC"),
    "macsec_xpn": ("MACsec with extended packet numbers", "Linux 5.7 with CONFIG_MACSEC"),
    "nftables": (
        "nftables for inet and arp",
        "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NF_TABLES_ARP",
    ),
    "veth": ("veth pairs", "CONFIG_VETH"),
    "vlan": ("VLAN devices", "CONFIG_VLAN_8021Q"),
    "vrf": ("VRF", "CONFIG_NET_VRF"),
    "vxlan": ("VXLAN", "CONFIG_VXLAN"),
    "xfrm": ("IPsec states and policies", "CONFIG_XFRM_USER"),
}
# Word: (programs, what a person calls them, Debian's package)
PROGRAMS = {
    "frr": (("vtysh",), "FRR", "frr"),
    "iproute2": (("ip", "bridge"), "iproute2", "iproute2"),
    "nftables": (("nft",), "nftables", "nftables"),
}
DAEMONS = ("ospf6d", "ospfd")  # of FRR
WORDS = sorted({*FEATURES, *PROGRAMS, *DAEMONS, "pyroute2", "root", "writable"})

PYROUTE2 = (0, 7, 2)  # the oldest that the collection is tested with


def missing(facts, words):
    """All that is lacking, a sentence each."""
    return [
        *(_root(facts) if "root" in words else ()),
        *_features(facts["features"], [word for word in words if word in FEATURES], "root" in words),
        *_programs(facts["programs"], [word for word in words if word in PROGRAMS]),
        *(_frr(facts, [word for word in words if word in DAEMONS]) if "frr" in words else ()),
        *(_pyroute2(facts["python"]) if "pyroute2" in words else ()),
        *(_writable(facts) if "writable" in words else ()),
    ]


def _root(facts):
    if facts["uid"] != 0:
        yield "not root: use become"
    elif not facts["cap_net_admin"]:
        yield "root without CAP_NET_ADMIN: give the container this capability"


def _features(features, words, root_told):
    for word in words:
        name, provider = FEATURES[word]
        if features[word] is False:
            yield f"kernel has no {name}: {provider}"
    unknown = [word for word in words if features[word] is None]
    if unknown and not root_told:
        yield f"the kernel cannot be asked for {', '.join(unknown)}: that takes root with CAP_NET_ADMIN and CAP_SYS_ADMIN, use become"


def _programs(programs, words):
    for word in words:
        needed, name, package = PROGRAMS[word]
        if not all(programs[program] for program in needed):
            yield f"{name} is not installed: apt-get install {package}"


def _frr(facts, daemons):
    """What vtysh alone does not tell."""
    if not facts["programs"]["vtysh"]:
        return
    has = facts["frr"]["daemons"]
    if not {"watchfrr", "zebra"} <= set(has):
        yield "FRR is not whole, /usr/lib/frr lacks watchfrr or zebra: apt-get install --reinstall frr"
        return
    for daemon in daemons:
        if daemon not in has:
            yield f"this FRR has no {daemon}: install a package of FRR with /usr/lib/frr/{daemon}"
    if facts["frr"]["switches"] is False:
        yield (
            "/etc/frr/daemons is not there: apt-get install --reinstall -o DPkg::Options::=--force-confmiss frr, "
            "or write which daemons run"
        )


def _pyroute2(python):
    version = python["pyroute2"]
    if version is None:
        yield f"pyroute2 is not installed for {python['executable']}: apt-get install python3-pyroute2"
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers and numbers < PYROUTE2:
        yield f"pyroute2 {version} is too old: {'.'.join(map(str, PYROUTE2))} or newer is needed"


# Obstacle: what to do about it
OBSTACLES = {
    "full": "less than 256 KiB or no inode free; make room",
    "locked": "not writable; see lsattr, chattr -i",
    "mounted": "a mount point, which cannot be replaced as a file is; mount its directory instead",
    "read-only": "mounted read-only; remount with rw",
}


def _writable(facts):
    """The root file system may be read-only, or full, by design where /etc and /var/lib are others."""
    found = {}
    for path, obstacle in facts["obstacles"].items():
        if path != "/":
            found.setdefault(obstacle, []).append(path)
    if facts["uid"] != 0:
        found.pop("locked", None)  # root can, perhaps
    for obstacle, paths in sorted(found.items()):
        names = " and ".join(filter(None, (", ".join(paths[:-1]), paths[-1])))
        if obstacle == "read-only" and facts["obstacles"].get("/") == obstacle:
            yield f"the root file system is read-only, with {names}: mount -o remount,rw /"
        else:
            yield f"{names}: {OBSTACLES[obstacle]}"
