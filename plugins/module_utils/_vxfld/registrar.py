# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxrd does, without input and output: which VNIs it registers when, and what the answers make of its flood lists."""

from __future__ import annotations

from dataclasses import dataclass

from . import config, messages
from .auth import OVERHEAD, AllowList, Authenticator, Refused
from .config import shown_address as text
from .messages import Extension, Malformed, Refresh

IPV6_MORE = 20  # octets that an IPv6 header is longer than an IPv4 one
AGAIN = 1.0  # seconds until a registration without an answer is sent once more, and between two requests for one set
PATIENCE = 2.0  # seconds after a part of an answer until the whole is asked for again
SETTLE = 2.0  # seconds in which an answer may have been on its way already when the VNI was registered first


@dataclass(frozen=True)
class Device:
    """A VXLAN device. Addresses are packed. flags: what makes it none of ours, of the words in FOREIGN."""

    name: str
    index: int
    vni: int
    local: bytes | None = None
    remote: bytes | None = None
    up: bool = True
    flags: frozenset = frozenset()


FOREIGN = {
    "external": "is made with 'external' and has no VNI of its own; it is left alone",
    "multicast": "floods to a multicast group; it is left alone",
}


@dataclass
class Member:
    """A VNI of this host, and what the service node told of it."""

    device: Device
    server: bytes
    since: float | None = None  # when it was registered first
    registered: float = 0.0  # and last
    again: float | None = None  # when to register out of turn
    peers: frozenset | None = None  # all VTEPs of our family, ourselves included; None: not known yet
    flushed: bool = False  # the peers are unknown since contact was lost, and so the flood list is to be empty
    source: int | None = None
    generation: int | None = None
    missed: float | None = None  # when an answer was last without ourselves
    patience: float = AGAIN  # seconds from a registration to the next one because of that

    @property
    def family(self):
        return 4 if len(self.device.local) == 4 else 6

    def forget(self):
        self.peers = self.source = self.generation = None


COUNTERS = {
    "registers": "datagrams with registrations sent",
    "withdrawals": "datagrams with withdrawals sent",
    "unsent": "times that the network took no datagrams",
    "datagrams": "datagrams received",
    "malformed": "datagrams that could not be read",
    "refused": "datagrams that allow or auth_key_file shut out",
    "unexpected": "datagrams that are no answer to a registration",
    "answers": "answers and pushes, each counted once whatever its number of parts",
    "deltas": "changes of a VNI's set taken in",
    "gaps": "changes of a set that was not the one held, so that the whole was asked for",
    "stale": "answers that were older than what was held",
    "own missing": "sets without the own address",
    "unknown vnis": "VNIs in answers that this host does not have",
    "lost contact": "times that a service node was not heard for holdtime",
}


class Registrar:
    """The caller sends and empties `outbox`, writes the flood lists named in `changed`, and tells `alarms`.

    outbox   [(data, (packed address, port))]
    floods   {device name: its set of packed peers; None when that is not known yet and all is to stay as it is}
    changed  names of devices whose entry in `floods` came, changed or went, or that are other devices by now
    alarms   [(key, text)]
    """

    def __init__(self, settings, node_id, machine, now):
        self.node_id = node_id
        self.machine = machine
        self.outbox, self.alarms = [], []
        self.floods, self.changed = {}, set()
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.members = {}  # vni: Member
        self.heard = {}  # family: when a service node was last heard, or first written to
        self.lost = set()  # families without contact
        self._devices = []
        self._indexes = {}  # device name: its index
        self._named = {}  # device name: what has been said of it
        self._refresh_at = now + AGAIN  # the first registration is repeated so soon, since it may be lost
        self._reassembly = messages.Reassembly()
        self._ended = False
        self.settings = None
        self._set(settings)

    def _set(self, settings):
        # With the same key, what was received before is still to be known again.
        if self.settings is None or settings.auth_key != self.settings.auth_key:
            self._authenticator = Authenticator(settings.auth_key) if settings.auth_key else None
        self.settings = settings
        self._allowed = AllowList(config.Prefix(*prefix) for prefix in settings.allow)

    # Devices

    def devices(self, devices, now, wall=0.0):
        """Take in the VXLAN devices that there are: register those that came or changed, withdraw those that went."""
        if self._ended:
            return
        self._devices = sorted(devices, key=lambda device: device.name)
        before, self.members = self.members, {}
        named, self._named = self._named, {}
        for device in self._devices:
            trouble = self._join(device, before)
            if trouble:
                self._named[device.name] = trouble
                if named.get(device.name) != trouble:
                    self.alarms.append((f"device {device.name}", f"{device.name} {trouble}"))
        self._leave(before, wall)
        new = [vni for vni, member in self.members.items() if member is not before.get(vni)]
        self._register(new, now, wall)
        for family in (4, 6):
            if not any(member.family == family for member in self.members.values()):
                self.heard.pop(family, None)
                self.lost.discard(family)
        self._flood_all()

    def configure(self, settings, now, wall=0.0):
        """Go on with other settings."""
        kept = self.settings.lost_contact == "keep"
        self._set(settings)
        self._refresh_at = now
        self.devices(self._devices, now, wall)
        if kept and settings.lost_contact != "keep":
            for family in sorted(self.lost):
                self._empty(family, wall)

    def _join(self, device, before):
        """Make the device's VNI a member, or tell what is wrong with it; None also for one that is merely down."""
        for flag, words in FOREIGN.items():
            if flag in device.flags:
                return words
        if not 0 < device.vni <= messages.MAX_VNI:
            return f"has VNI {device.vni}, which is none; it is left alone"
        if not device.up:
            return None
        if not device.local:
            return "has no local address, which is what is registered; make it with 'local ADDRESS'"
        if not messages.is_vtep(device.local):
            return f"has the local address {text(device.local)}, which is no VTEP's"
        family = 4 if len(device.local) == 4 else 6
        if not self.settings.head_rep and not device.remote:
            return "has no remote, and in service-node mode that is where BUM frames go; make it with 'remote ADDRESS'"
        server = self.settings.svcnode_ip.get(family) or (None if self.settings.head_rep else device.remote)
        if not server:
            return f"has an IPv{family} address, and svcnode_ip names no service node of IPv{family}"
        other = self.members.get(device.vni)
        if other:
            return f"has VNI {device.vni} as {other.device.name} has; only {other.device.name} is registered"
        known = before.get(device.vni)
        if known and (known.device.local, known.server) == (device.local, server):
            known.device = device
            self.members[device.vni] = known
        else:
            self.members[device.vni] = Member(device, server)
        return None

    def _leave(self, before, wall):
        """Withdraw what is registered no longer. At one and the same service node, the new registration replaces the old."""
        gone = {}
        for vni, old in before.items():
            new = self.members.get(vni)
            if new is None or new.server != old.server:
                gone.setdefault(old.server, {})[vni] = [old.device.local]
        self._withdraw(gone, wall)

    # What is sent

    def _register(self, vnis, now, wall):
        """Register some VNIs now: a message for each service node, or several when it gets too long."""
        servers = {}
        for vni in sorted(vnis):
            member = self.members[vni]
            if member.since is None:
                member.since = now
            member.registered, member.again = now, None
            if self.settings.head_rep and member.peers is None:
                member.again = now + AGAIN
            servers.setdefault(member.server, {})[vni] = [member.device.local]
            self.heard.setdefault(member.family, now)
        asked = messages.ASKED if self.settings.head_rep else None
        for server, vteps in servers.items():
            self.counters["registers"] += self._send(server, vteps, self.settings.holdtime, asked, wall)

    def _withdraw(self, servers, wall):
        """servers: {packed address: {vni: [address]}}"""
        for server, vteps in servers.items():
            self.counters["withdrawals"] += self._send(server, vteps, 0, None, wall)

    def _send(self, server, vteps, holdtime, response_type, wall):
        """The number of datagrams made of a message."""
        message = Refresh(
            originator=True,
            holdtime=holdtime,
            response_type=response_type,
            identifier=self.node_id,
            vteps=vteps,
            extension=Extension(machine=self.machine),
        )
        reserve = (OVERHEAD if self._authenticator else 0) + (IPV6_MORE if len(server) == 16 else 0)
        parts = messages.split(message, self.settings.max_packet_size, reserve)
        for part in parts:
            data = self._authenticator.seal(part, wall) if self._authenticator else messages.encode(part)
            self.outbox.append((data, (server, self.settings.vxfld_port)))
        return len(parts)

    def unsent(self, now):
        """What was in the outbox could not be sent: register everything anew soon."""
        self.counters["unsent"] += 1
        self._refresh_at = min(self._refresh_at, now + AGAIN)

    def _interval(self):
        return max(1, self.settings.holdtime // self.settings.refresh_rate)

    # Time

    def tick(self, now, wall):
        """Do what is due. When to be called next."""
        if self._ended:
            return now + 3600
        if now >= self._refresh_at:
            self._refresh_at = now + self._interval()
            self._register(list(self.members), now, wall)
        self._register(
            [vni for vni, one in self.members.items() if one.again is not None and one.again <= now], now, wall
        )
        self._reassembly.expire(now)
        for family in sorted(set(self.heard) - self.lost) if self.settings.head_rep else ():
            if now - self.heard[family] > self.settings.holdtime:
                self._lose(family, wall)
        times = [self._refresh_at]
        times += [one.again for one in self.members.values() if one.again is not None]
        if self.settings.head_rep:
            times += [
                when + self.settings.holdtime + 0.001 for family, when in self.heard.items() if family not in self.lost
            ]
        return min(times)

    def _lose(self, family, wall):
        """Nothing was heard of a family's service node for holdtime."""
        self.lost.add(family)
        self.counters["lost contact"] += 1
        members = {vni: one for vni, one in self.members.items() if one.family == family}
        keep = self.settings.lost_contact == "keep"
        servers = ", ".join(sorted({text(one.server) for one in members.values()}))
        done = "the flood lists stay as they are" if keep else "the flood lists are emptied"
        self.alarms.append(
            (
                f"lost contact IPv{family}",
                f"Lost contact: nothing heard from {servers} for {self.settings.holdtime} s; {done}",
            )
        )
        if not keep:
            self._empty(family, wall)

    def _empty(self, family, wall):
        """Empty the flood lists of a family without contact, and withdraw, until there is an answer."""
        gone = {}
        for vni, member in self.members.items():
            if member.family != family:
                continue
            gone.setdefault(member.server, {})[vni] = [member.device.local]
            member.forget()
            member.flushed = True
        self._withdraw(gone, wall)
        self._flood_all()

    def withdraw(self, now, wall=0.0):
        """The end: withdraw all registrations, and leave nothing in the flood lists."""
        gone = {}
        for vni, member in self.members.items():
            gone.setdefault(member.server, {})[vni] = [member.device.local]
        self._withdraw(gone, wall)
        self.members = {}
        self._ended = True
        self._flood_all()

    # What comes in

    def datagram(self, data, source, now, wall):
        """Take in a datagram from (packed address, port). Whatever it is, nothing is raised."""
        if self._ended:
            return
        self.counters["datagrams"] += 1
        if source[0] not in self._allowed:
            self._refuse(source, "not allowed", "is not in the prefixes of allow")
            return
        try:
            message = self._authenticator.open(data, now, wall) if self._authenticator else messages.decode(data)
        except Malformed as error:
            self.counters["malformed"] += 1
            self.alarms.append(("malformed", f"a datagram from {text(source[0])} is malformed: {error}"))
            return
        except Refused as error:
            self._refuse(source, error.reason, error)
            return
        # A registration, or its relay between service nodes, is not meant for us, and names one VTEP only.
        if not isinstance(message, Refresh) or message.value("originator") or message.value("identifier"):
            self.counters["unexpected"] += 1
            return
        if not self.settings.head_rep:
            self.counters["unexpected"] += 1
            return
        self._contact(4 if len(source[0]) == 4 else 6, now)
        part, message = message, self._reassembly.add(message, now)
        if message is None:
            for vni in part.vteps.keys() & self.members.keys():
                self.members[vni].again = now + PATIENCE
            return
        self.counters["answers"] += 1
        for vni in {*message.vteps, *(message.extension.gone if message.extension else ())}:
            member = self.members.get(vni)
            if member is None:
                self.counters["unknown vnis"] += 1
            else:
                self._answer(vni, member, message, now)

    def _refuse(self, source, reason, why):
        self.counters["refused"] += 1
        self.alarms.append((f"refused {reason}", f"a datagram from {text(source[0])} {why}"))

    def _contact(self, family, now):
        if family in self.heard:
            self.heard[family] = now
        if family in self.lost:
            self.lost.discard(family)
            self.alarms.append((f"contact IPv{family}", f"contact with the service node of IPv{family} is back"))

    def _answer(self, vni, member, message, now):
        """What a message says of one of our VNIs."""
        extension = message.extension
        size = len(member.device.local)
        told = {one for one in message.vteps.get(vni, ()) if len(one) == size}
        if extension is None and size == 16:
            return  # an old service node knows nothing of IPv6
        if extension is None or extension.generation is None:
            if self._replace(vni, member, told, now):
                member.source = member.generation = None
            return
        ours = member.peers is not None and extension.source == member.source
        if ours and extension.generation < member.generation:
            self.counters["stale"] += 1
            return
        if extension.base is None:
            new = told
        else:
            if ours and extension.generation == member.generation:
                return
            if not ours or extension.base != member.generation:
                self.counters["gaps"] += 1
                self._again(member, now)
                return
            self.counters["deltas"] += 1
            new = (member.peers | told).difference(extension.gone.get(vni, ()))
        if self._replace(vni, member, new, now):
            member.source, member.generation = extension.source, extension.generation

    def _replace(self, vni, member, peers, now):
        """Make the told set the VNI's, unless we are missing in it: then it was told of another host, or too early."""
        if member.device.local not in peers:
            self.counters["own missing"] += 1
            if now - member.since >= SETTLE:
                self.alarms.append(
                    (
                        "clash",
                        f"the service node's VTEPs of VNI {vni} lack {text(member.device.local)}, which is registered again: "
                        f"another host registers with node id {self.node_id}, or the registration was lost",
                    )
                )
            self._missed(member, now)
            return False
        member.peers = frozenset(peers)
        member.flushed = False
        member.again = None
        self._flood(member)
        return True

    def _missed(self, member, now):
        """Register again, the more slowly the longer it goes on: two hosts with one node id each make the other do so."""
        if member.again is not None:
            return
        recent = member.missed is not None and now - member.missed <= 2 * self._interval()
        member.patience = min(2 * member.patience, self._interval()) if recent else AGAIN
        member.missed = now
        member.again = max(now, member.registered + member.patience)

    def _again(self, member, now):
        """Register a VNI out of turn, which asks for its whole set; not more often than once a second."""
        member.again = max(now, member.registered + AGAIN)

    # Flood lists

    def _flood(self, member):
        wanted = None
        if member.peers is not None:
            wanted = member.peers - {member.device.local}
        elif member.flushed:
            wanted = frozenset()
        self._set_flood(member.device.name, wanted)

    def _set_flood(self, name, wanted):
        if self.floods[name] != wanted:
            self.floods[name] = wanted
            self.changed.add(name)

    def _flood_all(self):
        """The flood lists of all devices. Those that are not ours, or not now, have nothing of ours in them."""
        ours = {member.device.name: member for member in self.members.values()} if self.settings.head_rep else {}
        before, self._indexes = self._indexes, {device.name: device.index for device in self._devices}
        for name in before.keys() | self._indexes.keys():
            if before.get(name) != self._indexes.get(name):
                self.changed.add(name)
        self.floods = {name: self.floods.get(name) for name in self._indexes}
        for name in self._indexes:
            if name in ours:
                self._flood(ours[name])
            else:
                self._set_flood(name, frozenset())
