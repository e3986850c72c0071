# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a vxrd says that it is: a node identifier, and a fingerprint that differs where machines were cloned."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from .._model.errors import MissingError

_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_RANDOM = "1"  # addr_assign_type: the kernel drew the MAC address (NET_ADDR_RANDOM in linux/netdevice.h)


@dataclass(frozen=True)
class Identity:
    node_id: int
    machine: bytes


def node_id(machine_id):
    """63 bits, never 0, which means no node. The machine id itself is not for others to see (machine-id(5))."""
    digest = hashlib.sha256(b"vxfld" + machine_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 or 1


def fingerprint(machine_id, hostname, mac):
    """16 octets. A clone has the machine id of its template, but another name or MAC address."""
    return hashlib.sha256("\0".join(("vxfld machine", machine_id, hostname, mac)).encode()).digest()[:16]


def read(root="/"):
    """This host's Identity."""
    root = Path(root)
    machine_id = _line(root / "etc/machine-id").lower()
    if not _MACHINE_ID.fullmatch(machine_id):
        raise MissingError("/etc/machine-id holds no machine id", "run systemd-machine-id-setup, or set node_id")
    hostname = _line(root / "proc/sys/kernel/hostname")
    return Identity(node_id(machine_id), fingerprint(machine_id, hostname, first_mac(root / "sys/class/net")))


def first_mac(devices):
    """The MAC address of the oldest Ethernet device that has the same one at the next start, else nothing."""
    found = []
    for device in devices.glob("*"):
        mac = _line(device / "address")
        if len(mac) == 17 and mac.strip("0:") and _line(device / "addr_assign_type") != _RANDOM:
            found.append((int(_line(device / "ifindex") or 0), mac))
    return min(found, default=(0, ""))[1]


def _line(path):
    """The file's one line, empty where it cannot be read, such as a device that goes away."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
