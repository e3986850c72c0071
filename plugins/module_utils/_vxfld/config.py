# SPDX-License-Identifier: GPL-3.0-or-later
"""/etc/vxrd.conf and /etc/vxsnd.conf: keys, defaults, and which may change while the daemon runs."""

from __future__ import annotations

import re
import socket
from collections import namedtuple
from dataclasses import dataclass, field, fields, replace

from .._model.errors import InputError
from .._service import settings as reading
from .._service.settings import (
    anything,
    dev,
    key,
    keys,
    level,
    logdest,
    number,
    packed,
    path,
    seconds,
    secret,
    shown_address,
    truth,
    word,
)

_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-][A-Za-z0-9._-]*")
_HOST_PORT = re.compile(r"\[([^]]+)\](?::(.*))?|([^:]*)(?::([^:]*))?")


class Server(namedtuple("Server", "host port")):
    """(packed address, port)"""

    def __str__(self):
        host = shown_address(self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class Prefix(namedtuple("Prefix", "network length")):
    """(packed network, prefix length)"""

    def __str__(self):
        return f"{shown_address(self.network)}/{self.length}"


# --- what a value may be -------------------------------------------------------------------------------------------


def address(text):
    """The address of a literal or of a name: its first IPv4 one, as upstream, else its first IPv6 one."""
    found = packed(text)
    if found is None:
        found = _resolved(text)
    mapped = len(found) == 16 and found[:12] == bytes(10) + b"\xff\xff"
    if mapped or found[0] == 0xFF or (len(found) == 4 and found[0] >> 4 >= 0xE):
        raise ValueError(f"{text!r} is not an address that one host can have; write a unicast one")
    if len(found) == 16 and found[0] == 0xFE and found[1] >> 6 == 2:
        raise ValueError(f"{text!r} means something on one link only; write an address that is routed")
    return found


def _resolved(name):
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not an address; write one such as 192.0.2.1 or 2001:db8::1, blanks between two")
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{name!r} is not found ({words}); write an address") from None
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        for one in answers:
            if one[0] == family:
                return socket.inet_pton(family, one[4][0].partition("%")[0])[:size]
    raise ValueError(f"{name!r} has no address; write one")


def addresses(text):
    """{family: packed} of at most one address of each family; 0.0.0.0 and :: stand for none."""
    found = {}
    for one in text.split():
        made = address(one)
        family = 4 if len(made) == 4 else 6
        if family in found:
            raise ValueError(f"{text!r} is two addresses of IPv{family}; write one of each family at most")
        found[family] = made
    if not found:
        raise ValueError("is empty; write an address or leave the key out")
    return {family: made for family, made in found.items() if any(made)}


def servers(port_needed=False):
    """A parser of `host[:port] ...`; port None stands for vxfld_port. An IPv6 address with a port is written in brackets."""

    def parse(text):
        found = []
        for one in text.split():
            literal = packed(one)
            match = _HOST_PORT.fullmatch(one)
            if not literal and not match:
                raise ValueError(
                    f"{one!r} is not host[:port]; write an IPv6 address with a port like [2001:db8::1]:10001"
                )
            host, port = (one, None) if literal else (match[1] or match[3], match[2] if match[1] else match[4])
            if port is None and port_needed:
                raise ValueError(f"{one!r} is without a port; write host:port")
            made = address(host)
            if not any(made):
                raise ValueError(f"{one!r} is not a host; write the address of a service node")
            made = Server(made, None if port is None else _port(port))
            if made not in found:
                found.append(made)
        return tuple(found)

    return parse


def prefixes(text):
    """((packed network, prefix length), ...)"""
    found = []
    for one in text.split():
        head, slash, tail = one.partition("/")
        network = packed(head)
        bits = 8 * len(network or b"")
        if network is None or (slash and not (tail.isascii() and tail.isdigit() and int(tail) <= bits)):
            raise ValueError(
                f"{one!r} is not a prefix; write it like 192.0.2.0/24 or 2001:db8::/32, blanks between two"
            )
        length = int(tail) if slash else bits
        whole = int.from_bytes(network, "big")
        if whole & ((1 << bits - length) - 1):
            raise ValueError(f"{one!r} has bits behind its prefix length; write the network's own address")
        found.append(Prefix(network, length))
    return tuple(found)


_port = number(1, 65535)

# --- the keys ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Common:
    """[common] of both files."""

    src_ip: dict = key(addresses, {})  # {family: packed}; without an entry the kernel chooses
    svcnode_ip: dict = key(addresses, {})
    vxfld_port: int = key(_port, 10001)
    holdtime: int = key(number(1, 65534), 90, live=True)  # 65535 stands for static entries
    max_packet_size: int = key(number(320, 65535), 1500)  # what a part of an answer needs: messages.SMALLEST_LIMIT
    node_id: int | None = key(number(1, (1 << 64) - 1), None)  # None: derived from the machine id
    loglevel: str = key(level, "INFO", live=True)
    logdest: str = key(logdest, "syslog")
    logfilesize: int = key(number(0, 1 << 40), 512000)
    logbackupcount: int = key(number(0, 10000), 14)
    pidfile: str = key(path, None)
    udsfile: str = key(path, None)
    allow: tuple = key(prefixes, (), live=True, empty=True)  # ((packed network, prefix length), ...); none: all hosts
    auth_key_file: str | None = key(path, None, live=True)
    concurrency: str = key(anything, "1000", empty=True, used=False)
    eventlet_backdoor_port: str = key(anything, "9000", empty=True, used=False)
    debug: str = key(anything, "false", empty=True, used=False)
    auth_key: bytes | None = field(default=None, repr=False)  # what auth_key_file holds


@dataclass(frozen=True)
class Vxrd(Common):
    pidfile: str = key(path, "/var/run/vxrd.pid")
    udsfile: str = key(path, "/var/run/vxrd.sock")
    svcnode_ip: dict = key(addresses, {}, live=True)
    head_rep: bool = key(truth, True)
    refresh_rate: int = key(number(1, 65534), 3, live=True)  # refreshes a holdtime
    config_check_rate: int = key(number(1, 1 << 31), 60, live=True)
    lost_contact: str = key(word("flush", "keep"), "flush", live=True)
    statedir: str = key(path, "/run/vxrd")


@dataclass(frozen=True)
class Vxsnd(Common):
    pidfile: str = key(path, "/var/run/vxsnd.pid")
    udsfile: str = key(path, "/var/run/vxsnd.sock")
    svcnode_peers: tuple = key(servers(), (), live=True, empty=True)  # ((packed, port), ...)
    enable_vxlan_listen: bool = key(truth, True)
    install_svcnode_ip: bool = key(truth, False)
    age_check: int = key(number(1, 1 << 31), 90, live=True)
    vxlan_port: int = key(_port, 4789)
    vxlan_listen_port: int | None = key(_port, None)
    vxlan_dest_port: int | None = key(_port, None)
    receive_queue: int = key(number(0, 1 << 30), 131072)
    sync_targets: int = key(number(0, 10000), 1, live=True)
    sync_from_proxy: bool = key(truth, False, live=True)
    area: int | None = key(number(0, (1 << 32) - 1), None)
    proxy_id: str | None = key(anything, None, empty=True, used=False)
    vxfld_proxy_servers: tuple = key(servers(port_needed=True), (), live=True, empty=True)
    refresh_proxy_servers: bool = key(truth, False, live=True)
    proxy_local_only: bool = key(truth, True, live=True)
    enable_flooding: bool = key(truth, True, live=True)
    no_flood: bool = key(truth, False)  # option -R: no replication
    replicate: str = key(word("auto", "kernel", "process"), "auto")
    svcnode_dev: str = key(dev, "lo")
    statedir: str = key(path, "/run/vxsnd")
    push: bool = key(truth, True, live=True)
    drain: float = key(seconds(0, 60), 1.0, live=True)
    static_file: str | None = key(
        path, None, live=True
    )  # lines `VNI ADDRESS`; replaces all static entries at start and reload

    peers_written: tuple | None = field(
        default=None, repr=False, compare=False
    )  # svcnode_peers before vxfld_port came in

    @property
    def listen_port(self):
        return self.vxlan_listen_port or self.vxlan_port

    @property
    def dest_port(self):
        return self.vxlan_dest_port or self.vxlan_port


KINDS = {"vxrd": Vxrd, "vxsnd": Vxsnd}
_COMMON = {one.name for one in fields(Common)}


def section(kind, name):
    return "common" if name in _COMMON else kind


# --- reading -------------------------------------------------------------------------------------------------------


def load(kind, file, overrides=None):
    """(settings, warnings) of a file, FILE.override on top, and texts from the command line on top of that.

    Raises InputError with every fault.
    """
    made, places, faults, warnings = reading.read(KINDS[kind], file, overrides, lambda name: section(kind, name), KINDS)
    made, more = _finish(kind, made, places)
    if faults or more:
        raise InputError(faults + more)
    return made, warnings


def _finish(kind, settings, where):
    """(settings with what follows from several keys, faults of keys that do not go together)"""
    faults = []

    def fault(name, message):
        faults.append(f"{where.get(name) or f'[{section(kind, name)}] {name}'}: {message}")

    if kind == "vxrd" and settings.refresh_rate > settings.holdtime:
        fault(
            "refresh_rate",
            f"'{settings.refresh_rate}' is more than one a second; write holdtime ({settings.holdtime}) at most",
        )
    if kind == "vxsnd":
        peers = settings.svcnode_peers
        settings = replace(settings, svcnode_peers=_with_ports(peers, settings.vxfld_port), peers_written=peers)
        if settings.install_svcnode_ip and not settings.svcnode_ip:
            fault("install_svcnode_ip", "'true' is without an address to install; write svcnode_ip")
        if settings.enable_vxlan_listen and settings.listen_port == settings.vxfld_port:
            fault("vxfld_port", f"'{settings.vxfld_port}' is the port of VXLAN too; write another one")
    try:
        key_file = settings.auth_key_file
        settings = replace(settings, auth_key=_read_key(key_file) if key_file else None)
    except ValueError as error:
        fault("auth_key_file", str(error))
    return settings, faults


def _with_ports(peers, port):
    return tuple(dict.fromkeys(Server(host, own or port) for host, own in peers))


def _read_key(file):
    """The key in a file that only its owner and group may read."""
    from . import auth  # few have a key, and it is much to import

    found = secret(file, "key")
    try:
        return auth.read_key(found)
    except ValueError as error:
        raise ValueError(f"{file!r} holds {error}") from None


# --- while the daemon runs -----------------------------------------------------------------------------------------


def changed(kind, settings, name, text):
    """Settings with one key changed, by the same rules as in a file. Raises InputError."""
    made = replace(settings, **{name: reading.changed(settings, name, text, kind)})
    made, faults = _finish(kind, made, {name: name})
    if faults:
        raise InputError(faults)
    return made


def reloaded(settings, new):
    """(settings with the live keys of `new`, names of changed keys that need a restart)"""
    live = {"auth_key": new.auth_key}
    if getattr(new, "peers_written", None) is not None:
        # Peers are spoken to on the port that this process has, not on the one that waits for a restart.
        new = replace(new, svcnode_peers=_with_ports(new.peers_written, settings.vxfld_port))
        live["peers_written"] = new.peers_written
    more, waiting = reading.differences(settings, new)
    return replace(settings, **live, **more), waiting


def shown(settings):
    """{key: value} as JSON has them; addresses as text. The key itself is not among them."""
    return {name: _shown(getattr(settings, name)) for name in keys(type(settings))}


def _shown(value):
    if isinstance(value, dict):
        return " ".join(map(shown_address, value.values())) or "0.0.0.0"
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
