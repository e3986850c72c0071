# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is: kernel, interfaces, programs, Python, rights, memory. Reads only, and without pyroute2."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from . import codec
from .probe import features
from .rtnl import Interrupted, Rtnl

# Program: what to run for its version. vtysh does not tell its own, but is of one package with watchfrr.
PROGRAMS = {
    "bridge": ("bridge", "-V"),
    "ip": ("ip", "-V"),
    "nft": ("nft", "--version"),
    "vtysh": ("watchfrr", "--version"),
}
SEARCHED = "/usr/sbin:/sbin:/usr/local/sbin:/usr/lib/frr:/usr/libexec/frr"  # beside PATH, which often lacks these
FRR = Path("/usr/lib/frr")
ETC_FRR = Path("/etc/frr")
RECORDS = Path("/var/lib/vtep.fabric")
# Where packages, daemons' settings and the collection's records go, and the files there that are replaced.
WRITTEN = ("/", "/etc", str(ETC_FRR), "/var/lib", str(RECORDS))
REPLACED = ("daemons", "frr.conf", "ospf6d.conf", "ospfd.conf")
ROOM = 256 * 1024  # bytes: each file is written anew beside the old one, and a configuration seldom has 100 KiB
# What shows that a role has been at work, by the role's name: files that are there as long as its work is.
INSTALLED = {
    "macsec": (
        (Path("/etc/vtep.fabric"), "mka-*.conf"),
        (Path("/etc/systemd/system"), "vtep-mka@.service"),
        (Path("/usr/local/sbin"), "vtep-mka"),
    ),
    "underlay": ((RECORDS, "ospfv[23].json"),),
    "vxfld": (
        (Path("/usr/local/lib/vtep.fabric"), "vxfld.pyz"),
        (Path("/etc/systemd/system"), "vx[rs]*d.service"),
        (RECORDS, "vx*.json"),
    ),
    "agent": (
        (Path("/usr/local/lib/vtep.fabric"), "vtep-agent.pyz"),
        (Path("/etc/systemd/system"), "vtep-agent.service"),
        (RECORDS, "endpoints.json"),
        (RECORDS, "given.json"),
    ),
    "registry": ((Path("/etc/systemd/system"), "vtep-registry.service*"), (Path("/etc/vtep.fabric"), "registry-ca")),
    "boot": (
        (Path("/usr/local/lib/vtep.fabric"), "vtep-boot.pyz"),
        (Path("/etc/systemd/system"), "vtep-boot.service"),
        (RECORDS, "boot.*"),
    ),
    "ipsec": ((RECORDS, "ipsec.json"), (Path("/etc/vtep.fabric"), "ipsec-ca")),
}
CAP_NET_ADMIN = 12  # <linux/capability.h>

RTM_GETLINK, RTM_GETADDR = 18, 22  # <linux/rtnetlink.h>
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
# <linux/if_link.h>. The flags are those of the kernel's VXLAN_F_RCV_FLAGS: devices that differ in one share no socket.
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_PORT, IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6 = (
    1,
    3,
    4,
    15,
    16,
    17,
)
VXLAN_FLAGS = {
    20: "udp_zero_csum6_rx",
    22: "remcsum_rx",
    23: "gbp",
    24: "remcsum_nopartial",
    25: "external",
    27: "gpe",
    30: "vnifilter",
}
IFA_ADDRESS, IFA_LOCAL = 1, 2  # <linux/if_addr.h>


def facts():
    status = _colon_separated("/proc/self/status")
    memory = _colon_separated("/proc/meminfo")
    obstacles = {path: obstacle(path) for path in written()}
    return {
        "kernel": os.uname().release,
        "features": features(),
        "interfaces": interfaces(),
        "programs": programs(),
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable,
            "pyroute2": _version_of("pyroute2"),
        },
        "frr": {"daemons": frr_daemons(), "switches": there(ETC_FRR / "daemons")},
        "installed": installed(),
        "writable": {path: not found for path, found in obstacles.items()},
        "obstacles": {path: found for path, found in obstacles.items() if found},
        "uid": os.geteuid(),
        "cap_net_admin": bool(int(status["CapEff"], 16) >> CAP_NET_ADMIN & 1),
        "memory": {key: int(memory[name].split()[0]) // 1024 for key, name in _MEMORY.items()},
    }


_MEMORY = {"total_mib": "MemTotal", "available_mib": "MemAvailable"}


def _colon_separated(path):
    lines = (line.partition(":") for line in Path(path).read_text().splitlines())
    return {key: value.strip() for key, _colon, value in lines}


def interfaces():
    """{name: what is known of it} for all devices of this network namespace."""
    rtnl = Rtnl(words=False)
    try:
        while True:
            with contextlib.suppress(Interrupted):
                return _interfaces(rtnl)
    finally:
        rtnl.close()


def _interfaces(rtnl):
    names, found = {}, {}
    for head, values in _dump(rtnl, RTM_GETLINK, 16):
        link = {key: codec.number(values.get(key)) for key in (IFLA_MTU, IFLA_MASTER)}
        name = names[codec.number(head[4:8])] = _text(values[IFLA_IFNAME])
        info = _nested(values.get(IFLA_LINKINFO, b""))
        kind = _text(info.get(IFLA_INFO_KIND, b"")) or None
        found[name] = {
            "mtu": link[IFLA_MTU],
            "kind": kind,
            "vxlan": _vxlan(_nested(info.get(IFLA_INFO_DATA, b""))) if kind == "vxlan" else None,
            "alias": _text(values.get(IFLA_IFALIAS, b"")) or None,
            "mac": ":".join(f"{byte:02x}" for byte in values.get(IFLA_ADDRESS, b"")) or None,
            "master": link[IFLA_MASTER],
            "up": bool(codec.number(head[8:12]) & 1),  # IFF_UP
            "addresses": [],
        }
    for entry in found.values():
        entry["master"] = names.get(entry["master"])
        if entry["vxlan"]:
            entry["vxlan"]["dev"] = names.get(entry["vxlan"]["dev"])
    for head, values in _dump(rtnl, RTM_GETADDR, 8):
        family, length = head[0], head[1]
        packed = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)  # IFA_ADDRESS may be the other end's
        name = names.get(codec.number(head[4:8]))
        if name and family in (socket.AF_INET, socket.AF_INET6):
            found[name]["addresses"].append(f"{socket.inet_ntop(family, packed)}/{length}")
    return found


def _vxlan(data):
    """What decides whether two VXLAN devices of one network namespace can be there at once, the device below and its address."""
    local = data.get(IFLA_VXLAN_LOCAL) or data.get(IFLA_VXLAN_LOCAL6)
    return {
        "id": codec.number(data.get(IFLA_VXLAN_ID), 0),
        "dstport": int.from_bytes(data.get(IFLA_VXLAN_PORT, b""), "big"),
        "family": 6 if {IFLA_VXLAN_LOCAL6, IFLA_VXLAN_GROUP6} & data.keys() else 4,
        # An attribute without a value is a flag that is set.
        "flags": sorted(name for number, name in VXLAN_FLAGS.items() if data.get(number, b"\0") in (b"", b"\1")),
        "dev": codec.number(data.get(IFLA_VXLAN_LINK)),
        "local": local and socket.inet_ntop(socket.AF_INET if len(local) == 4 else socket.AF_INET6, local),
    }


def _nested(payload):
    return codec.attributes(payload, 0, len(payload))


def _dump(rtnl, kind, size):
    """(the family's header, {attribute: payload}) of each message of a dump."""
    for data, _stride in rtnl.dump(kind, bytes(size), "list the interfaces"):
        for _kind, _flags, _seq, start, end in codec.messages(data):
            yield data[start + 16 : start + 16 + size], codec.attributes(data, start + 16 + size, end)


def _text(payload):
    return payload.rstrip(b"\0").decode(errors="backslashreplace")


def frr_daemons():
    """The names of FRR's daemons that are there, watchfrr and zebra among them. vtysh may be there without any."""
    if not FRR.is_dir():
        return []
    return sorted(one.name for one in FRR.iterdir() if not one.suffix and one.is_file() and os.access(one, os.X_OK))


def installed():
    """{role: the files that show its work}."""
    return {
        role: sorted(str(path) for folder, pattern in places for path in folder.glob(pattern))
        for role, places in INSTALLED.items()
    }


def written():
    """The directories and files that the collection writes, those of them that are there and that this user may know of."""
    files = [ETC_FRR / name for name in REPLACED]
    if RECORDS.is_dir():
        files += sorted(RECORDS.glob("*.json"))
    return [path for path in (*WRITTEN, *map(str, files)) if there(Path(path))]


def there(path):
    """Whether a path is there; None where this user may not know."""
    try:
        return path.exists()
    except PermissionError:
        return None


def obstacle(path):
    """Why a directory cannot be written to or a file cannot be replaced; "" where it can."""
    has = os.statvfs(path)
    if has.f_flag & os.ST_RDONLY:
        return "read-only"
    if not os.access(path, os.W_OK, effective_ids=True):
        return "locked"  # by chattr +i, or by missing rights
    if Path(path).is_dir():
        # Free, not available: root may use what is reserved. File systems without inodes say 0 of 0.
        full = has.f_bfree * has.f_frsize < ROOM or (has.f_files and not has.f_ffree)
        return "full" if full else ""
    return "mounted" if path in mount_points() else ""


def mount_points():
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def programs():
    """{name: {path, version} or None}. All are started before the first is waited for."""
    found = {name: {"path": _which(name), "version": None} if _which(name) else None for name in PROGRAMS}
    asked = {name: _which(PROGRAMS[name][0]) for name in PROGRAMS if found[name]}
    running = {
        name: subprocess.Popen(
            [path, PROGRAMS[name][1]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for name, path in asked.items()
        if path
    }
    for name, process in running.items():
        said = re.search(rb"\d+(\.\d+)+", process.communicate()[0])
        found[name]["version"] = said.group().decode() if said else None
    return found


def _which(program):
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SEARCHED}")


def _version_of(library):
    """The version of a library that this Python would import, without importing it; None where there is none.

    Read from the name of its metadata's directory beside it, in a few microseconds; importlib.metadata takes 20 ms.
    """
    spec = importlib.util.find_spec(library)
    if not spec or not spec.origin:
        return None
    beside = Path(spec.origin).parent.parent
    for found in [*beside.glob(f"{library}-*.dist-info"), *beside.glob(f"{library}-*.egg-info")]:
        return found.name[len(library) + 1 :].rsplit(".", 1)[0].split("-py")[0]
    return "unknown"
