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
WRITTEN = ("/", "/etc", "/var/lib")  # where packages, daemons' settings and the collection's records go
CAP_NET_ADMIN = 12  # <linux/capability.h>

RTM_GETLINK, RTM_GETADDR = 18, 22  # <linux/rtnetlink.h>
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2  # <linux/if_addr.h>


def facts():
    status = _colon_separated("/proc/self/status")
    memory = _colon_separated("/proc/meminfo")
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
        "writable": {path: not os.statvfs(path).f_flag & os.ST_RDONLY for path in WRITTEN},
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
        info = values.get(IFLA_LINKINFO, b"")
        found[name] = {
            "mtu": link[IFLA_MTU],
            "kind": _text(codec.attributes(info, 0, len(info)).get(IFLA_INFO_KIND, b"")) or None,
            "alias": _text(values.get(IFLA_IFALIAS, b"")) or None,
            "mac": ":".join(f"{byte:02x}" for byte in values.get(IFLA_ADDRESS, b"")) or None,
            "master": link[IFLA_MASTER],
            "up": bool(codec.number(head[8:12]) & 1),  # IFF_UP
            "addresses": [],
        }
    for entry in found.values():
        entry["master"] = names.get(entry["master"])
    for head, values in _dump(rtnl, RTM_GETADDR, 8):
        family, length = head[0], head[1]
        packed = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)  # IFA_ADDRESS may be the other end's
        name = names.get(codec.number(head[4:8]))
        if name and family in (socket.AF_INET, socket.AF_INET6):
            found[name]["addresses"].append(f"{socket.inet_ntop(family, packed)}/{length}")
    return found


def _dump(rtnl, kind, size):
    """(the family's header, {attribute: payload}) of each message of a dump."""
    for data, _stride in rtnl.dump(kind, bytes(size), "list the interfaces"):
        for _kind, _flags, _seq, start, end in codec.messages(data):
            yield data[start + 16 : start + 16 + size], codec.attributes(data, start + 16 + size, end)


def _text(payload):
    return payload.rstrip(b"\0").decode(errors="backslashreplace")


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
