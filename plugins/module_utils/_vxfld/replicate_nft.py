# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication of BUM frames in the kernel, by nftables' `dup`. docs/vxfld-replication.md has the rules and their limits.

A table a family. Its map knows (VNI, registered sender) and leads to the chain of the VNI, which sends a copy to each other
VTEP and drops the frame. What the map does not know goes on to the process's socket.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess

from .._kernel import codec, nft
from .._model.errors import FabricError
from . import sockets
from .replicate import HOPS
from .replicate import Replicator as Process

TABLE = "vtep_fabric_vxsnd"
FAMILIES = {4: "ip", 6: "ip6"}
TIMEOUT = 60  # seconds for a transaction
ROWS = 10_000  # destinations a transaction: more cost nft memory (6 kB each) and hold up others who change nftables

NETLINK_NETFILTER = 12
NFT_GETOBJ = 10 << 8 | 19  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ
NFPROTO = {4: 2, 6: 10}
NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA = 1, 2, 3, 4
NFTA_COUNTER_PACKETS = 2
NFT_OBJECT_COUNTER = 1
_GENERIC = struct.Struct("!BBH")  # nfgenmsg: family, version, resource
_COUNT = struct.Struct("!Q")


def available(settings):
    """(whether this host and these settings can have it, the reason why not). The kernel tries the rules and forgets them."""
    if settings.vxfld_proxy_servers:
        return False, "vxfld_proxy_servers get every frame, so the process must see every frame"
    if settings.dest_port != settings.listen_port:
        # `udp dport set` works a checksum out where there is none, and a wrong one.
        return (
            False,
            f"vxlan_dest_port {settings.dest_port} is not the port that frames come to, {settings.listen_port}",
        )
    families = list(settings.svcnode_ip or {4: None})
    samples = {4: (b"\xc0\0\x02\1",), 6: (b"\x20\1\x0d\xb8" + bytes(11) + b"\1",)}
    try:
        # Every kind of expression that is used.
        text = "".join(
            _table(family, settings, settings.allow)
            + _chain(family, 1, samples[family])
            + _senders(family, "add", 1, samples[family])
            for family in families
        )
        _run(text, check=True)
    except FabricError as error:
        return False, str(error)
    return True, ""


def remove():
    """Take the tables away; what they did falls to the process. No error when there are none."""
    _run("".join(f"add table {word} {TABLE}\ndelete table {word} {TABLE}\n" for word in FAMILIES.values()))


class Replicator:
    """What the process's Replicator does, with the frames of registered senders handled in the kernel.

    An update counts at once for frames that come up to the process, and in the kernel after flush(), which may run in a
    thread, one at a time.
    """

    def __init__(self, settings, counters=None):
        self._settings = settings
        self._allow = settings.allow
        self._process = Process(settings, counters)
        self._families = list(settings.svcnode_ip or {4: None})
        self._pending = {}  # vni: None, in the order of the updates
        self._made = {family: {} for family in self._families}  # vni -> its registered senders in the kernel
        self._anew = True  # make the tables anew; until then those of a former process count
        self._stands = set()  # the families that have chains in the kernel, as far as we know
        self._gone = [0, 0, 0]  # frames, copies and refused frames that chains counted which are no more
        self.alarms = self._process.alarms
        self.filenos, self.handle, self.inject = self._process.filenos, self._process.handle, self._process.inject

    def close(self):
        """The tables stay and go on replicating; remove() takes them away."""
        self._process.close()

    def allow(self, prefixes):
        """Change the list of senders; the kernel has it after flush()."""
        self._process.allow(prefixes)
        self._allow = prefixes
        self._anew = True

    def update(self, vni, addresses, registered):
        self._process.update(vni, addresses, registered)
        self._pending[vni] = None

    def flush(self):
        """Carry the updates out. Raises FabricError with nft's words; then the next flush makes all anew."""
        if not self._anew:
            try:
                return self._carry_out()
            except FabricError:
                pass  # maybe somebody flushed the ruleset; the second attempt does not build on what is there
        return self._carry_out()

    def _carry_out(self):
        pending, self._pending = self._pending, {}
        anew, self._anew = self._anew, False
        texts, rows = [], 0
        try:
            if anew:
                self._stands = set()
                pending = self._process.vnis()
                self._keep(lambda family, vni: vni in self._made[family], any(self._made.values()))
                self._made = {family: {} for family in self._families}
                texts = [_table(family, self._settings, self._allow) for family in self._families]
            elif any(self._leaves(family, vni) for family in self._families for vni in pending):
                self._keep(lambda family, vni: vni in pending and self._leaves(family, vni))
            for vni in pending:
                for family in self._families:
                    more, text = self._change(family, vni)
                    rows += more
                    texts.append(text)
                if rows >= ROWS:
                    _run("".join(texts))
                    texts, rows = [], 0
            _run("".join(texts))
            self._stands = {family for family, made in self._made.items() if made}
        except FabricError:
            self._anew = True
            raise

    def _leaves(self, family, vni):
        return vni in self._made[family] and not self._process.members(vni, family)[1]

    def _change(self, family, vni):
        """(rows, commands) that make a VNI what it should be."""
        made = self._made[family]
        addresses, registered = self._process.members(vni, family)
        before = made.pop(vni, ())
        if not registered:
            return len(before), _senders(family, "delete", vni, before) + _unchain(family, vni) if before else ""
        made[vni] = registered
        old, new = set(before), set(registered)
        return len(addresses), (
            _chain(family, vni, addresses)
            + _senders(family, "delete", vni, [one for one in before if one not in new])
            + _senders(family, "add", vni, [one for one in registered if one not in old])
        )

    # --- counting

    def _keep(self, going, table=False):
        """Remember what the chains counted that go, and the table with them."""
        chains, refused = _counts(self._families)
        for (family, vni), (frames, copies) in chains.items():
            if going(family, vni):
                self._gone[0] += frames
                self._gone[1] += copies
        self._gone[2] += refused if table else 0

    def by_vni(self):
        """{vni: (frames, copies)} that the kernel has replicated in the chains that there are."""
        return _by_vni(_counts(self._families)[0])

    def counters(self):
        """The process's counters, and those of the kernel, which counts a copy before it looks for its route."""
        chains, refused = _counts(self._families)
        found = _by_vni(chains)
        if self._stands - {family for family, _vni in chains}:
            self._anew = True  # somebody removed a table of ours
        return {
            **self._process.counters(),
            "kernel_frames": self._gone[0] + sum(frames for frames, _copies in found.values()),
            "kernel_copies": self._gone[1] + sum(copies for _frames, copies in found.values()),
            "kernel_drops_not_allowed": self._gone[2] + refused,
        }


# --- what nft is told


def _table(family, settings, allow):
    """A new table without VNIs, in the place of the present one."""
    word = FAMILIES[family]
    address = settings.svcnode_ip.get(family)
    to_us = f"{word} daddr {sockets.text(address)}" if address else "fib daddr type local"
    to_us += f" udp dport {settings.listen_port}"
    # The first fragment has ports as well, but no copy may go out before the frame is whole: the socket puts it together.
    whole = "ip frag-off & 0x3fff == 0" if family == 4 else "ip6 nexthdr udp"
    checks = ""
    if allow:
        nets = [ipaddress.ip_network(prefix) for prefix in allow]
        nets = ipaddress.collapse_addresses(one for one in nets if one.version == family)
        listed = ", ".join(map(str, nets))
        outside = f"{word} saddr != {{ {listed} }} " if listed else ""
        checks = f"  {to_us} {outside}counter name not_allowed drop\n"
    return f"""add table {word} {TABLE}
delete table {word} {TABLE}
table {word} {TABLE} {{
 map senders {{
  typeof @th,96,24 . {word} saddr : verdict
 }}
 counter not_allowed {{ }}
 chain frames {{
  type filter hook prerouting priority -300; policy accept;
{checks}  {to_us} {whole} udp length >= 16 @th,64,8 & 0x08 == 0x08 @th,96,24 . {word} saddr vmap @senders
 }}
}}
"""


def _chain(family, vni, addresses):
    """The chain of a VNI, new or in the place of the present one. `dup` lowers the TTL that it finds by one.

    A command a line: each block `table ... { }` would cost nft half a megabyte.
    """
    word, name = FAMILIES[family], f"{FAMILIES[family]} {TABLE}"
    rule = f"add rule {name} vni_{vni}"
    lines = [
        f"add counter {name} frames_{vni}",
        f"add counter {name} copies_{vni}",
        f"add chain {name} vni_{vni}",
        f"flush chain {name} vni_{vni}",
        f"{rule} counter name frames_{vni}",
        f"{rule} {'ip ttl' if family == 4 else 'ip6 hoplimit'} set {HOPS + 1}",
    ]
    for address in map(sockets.text, addresses):
        lines.append(
            f"{rule} {word} saddr != {address} counter name copies_{vni} {word} daddr set {address} dup to {address}"
        )
    return "\n".join([*lines, f"{rule} drop\n"])


def _unchain(family, vni):
    name = f"{FAMILIES[family]} {TABLE}"
    return f"delete chain {name} vni_{vni}\ndelete counter {name} frames_{vni}\ndelete counter {name} copies_{vni}\n"


def _senders(family, verb, vni, addresses):
    if not addresses:
        return ""
    rows = ", ".join(f"{vni} . {sockets.text(one)} : goto vni_{vni}" for one in addresses)
    return f"{verb} element {FAMILIES[family]} {TABLE} senders {{ {rows} }}\n"


def _run(text, check=False):
    """One transaction: all of it or nothing. check: the kernel tries it and forgets it."""
    if not text:
        return
    path = nft.program()
    if not path:
        raise nft.missing()
    command = [path, *(["-c"] if check else []), "-f", "-"]
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(os.environ, LC_ALL="C"),
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FabricError(f"nft: was not done after {TIMEOUT} s") from None
    except OSError as error:
        raise FabricError(f"nft: {path}: {error.strerror}") from None
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if line.strip()), f"exit status {done.returncode}")
        reason = first.split("Error: ", 1)[-1].strip()
        fix = ": CAP_NET_ADMIN is needed" if "Operation not permitted" in done.stderr else ""
        raise FabricError(f"nft: {reason}{fix}")


# --- what the kernel counted


def _counts(families):
    """({(family, vni): (frames, copies)}, frames refused), straight from netlink: nft would read all rules for it."""
    found, refused = {}, 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as one:
        for family in families:
            body = _GENERIC.pack(NFPROTO[family], 0, 0)
            body += codec.attribute(NFTA_OBJ_TABLE, TABLE.encode() + b"\0")
            body += codec.attribute(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER.to_bytes(4, "big"))
            one.send(codec.message(NFT_GETOBJ, codec.NLM_F_REQUEST | codec.NLM_F_DUMP, family, body))
            for name, packets in _counters(one):
                word, _dash, vni = name.partition("_")
                if word in ("frames", "copies"):
                    found.setdefault((family, int(vni)), [0, 0])[word == "copies"] = packets
                else:
                    refused += packets
    return found, refused


def _by_vni(chains):
    found = {}
    for (_family, vni), (frames, copies) in chains.items():
        before = found.get(vni, (0, 0))
        found[vni] = before[0] + frames, before[1] + copies
    return found


def _counters(one):
    """(name, packets) of each counter in a dump."""
    while True:
        data = one.recv(1 << 16)
        for kind, _flags, _seq, start, end in codec.messages(data):
            if kind in (codec.NLMSG_DONE, codec.NLMSG_ERROR):
                return
            attributes = codec.attributes(data, start + 16 + _GENERIC.size, end)
            inner = attributes.get(NFTA_OBJ_DATA, b"")
            packets = codec.attributes(inner, 0, len(inner)).get(NFTA_COUNTER_PACKETS, bytes(8))
            yield codec.text(attributes.get(NFTA_OBJ_NAME)) or "", _COUNT.unpack(packets)[0]
