# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxsnd does, without input and output: it takes in registrations, answers them, and tells peers and VTEPs of changes."""

from __future__ import annotations

import heapq
import math
import struct
import weakref
from dataclasses import replace

from . import auth, messages
from .config import shown_address
from .messages import ALL, ASKED, MAX_VNI, STATIC, Extension, Malformed, Proxy, Refresh, Sync, is_vtep
from .pacing import Pacer
from .peering import Peering
from .registrations import MOST, Registrations

WINDOW = 0.05  # seconds in which changes of a VNI are gathered before its VTEPs are told
EACH = 1e-4  # seconds that a VNI rests for each VTEP told, so that a mass start takes no more than 10,000 datagrams/s of it
LONGEST_REST = 1.0
RATE_OLD = 4e6  # octets/s of answers pushed to old nodes for one VNI, which always get whole sets
CONFIRM = 1.0  # seconds after a change until its generation is told once more, since the datagram may be lost
SOON = 5.0  # seconds since a VNI's last news in which a registration is taken for a question: the news may be lost
IPV6_MORE = 20  # octets by which IPv6's header is longer than what messages.HEADERS counts
LARGEST = 65507  # octets of a UDP payload over IPv4
CACHED = 1024  # VNIs whose answer is kept encoded
CACHED_OLD = 8  # answers for old nodes that are; many nodes ask for the same VNIs
SAME = 5.0  # seconds in which proxies get a REFRESH of the same octets only REPEATS times: it may go round in a circle
REPEATS = 3
FARTHEST = 4  # proxies that a data frame passes at most, whatever its ttl says; upstream sends this one
MOST_SAME = 10_000
SNAPSHOT_HEAD = struct.Struct(">Q")  # Unix time in ms

COUNTERS = {
    "datagrams": "datagrams received",
    "malformed": "messages that could not be read",
    "denied": "messages from outside the allow-list",
    "refused": "messages without a valid mac, with auth_key_file, or received before",
    "unexpected": "messages that are no business of a service node, such as SYNC by UDP",
    "own": "messages from an address of this service node",
    "vnis dropped": "VNIs of more than 24 bits in messages",
    "registrations": "REFRESH messages that register",
    "withdrawals": "REFRESH messages that withdraw",
    "relayed": "REFRESH messages relayed, each counted once for each peer or proxy",
    "circling": "REFRESH messages not relayed to proxies, since they came again and again",
    "answers": "requests answered",
    "answers refused": "requests for all VNIs while the answer to the one before was not sent yet",
    "answer octets": "octets of answers to requests",
    "pushes": "datagrams sent to tell VTEPs of changes",
    "push octets": "octets of them",
    "datagrams left out": "datagrams not sent since too many were waiting",
    "entries refused": "registrations beyond the most that are kept",
    "service nodes refused": "registrations of the address of a peer or proxy",
    "expired": "registrations that were not refreshed in time",
    "learned": "VTEPs learned from data frames",
    "clashes": "registrations of a node id by two hosts in turn",
    "syncs asked": "databases asked for",
    "syncs answered": "databases given",
    "syncs failed": "databases asked for and not got",
    "sync pushes": "SYNC messages with changes for a peer",
    "pushes failed": "SYNC messages with changes that a peer did not take in",
    "untold": "changes that a peer was not told since it took in nothing for long",
    "proxied": "data frames sent to proxies",
    "proxy forwarded": "PROXY messages forwarded",
    "proxy looped": "PROXY messages that were here before",
    "proxy flooded": "data frames replicated that came by PROXY",
    "proxy unsent": "data frames not sent to proxies: over IPv6, without area, or too long",
}


class Subscriber:
    """A node that registers here directly and wants answers. Lives as long as one of its registrations."""

    __slots__ = ("__weakref__", "new", "peer", "version")

    def __init__(self, peer):
        self.peer = peer
        self.new = False  # understands the extension
        self.version = 3


class ServiceNode:
    """The caller passes in what it receives and the time, and takes what it finds in the lists below, emptying them.

    outbox   [(data, (packed address, port))]: datagrams to send from src_ip
    pushes   [(peer, data)]: to send by TCP; then pushed() or push_failed()
    syncs    [(peer, data)]: to send by TCP, for an answer; then sync_answer() or sync_failed()
    frames   [(vni, source address, source port, VXLAN packet)]: to replicate, from PROXY
    changed  VNIs whose targets() or registered() may differ
    alarms   [(key, text)]
    """

    def __init__(self, settings, source, random, most=MOST):
        self.source = source
        self.registrations = Registrations(most)
        self.outbox, self.pushes, self.syncs, self.frames = [], [], [], []
        self.changed, self.alarms = set(), []
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.unsaved = False  # whether a snapshot would tell anything new
        self.settings = None
        self.peering = Peering(self.counters, self.alarms, random)
        self._auth = None
        self._configured = False
        self._pacer = Pacer(self.outbox)
        self._subscribers = weakref.WeakValueDictionary()  # peer -> Subscriber
        self._generation = 0
        self._timers = []  # heap of (when, what, vni)
        self._timed = {}  # (what, vni) -> when
        self._owed = {}  # vni -> {peer: None} who get the whole set with the next change
        self._owed_old = {}  # vni -> {peer: version} of old nodes that do
        self._answers = {}  # vni -> (generation, datagrams)
        self._old_cache = {}  # (version, vni ...) -> datagrams; until anything changes
        self._same = {}  # octets relayed to proxies -> [when first, times]
        self._set(settings)

    def configure(self, settings, now):
        """Go on with other settings: holdtime, peers, proxies, allow-list and so on."""
        changed = self._set(settings)
        self._connect(now)
        if changed:
            self.unsaved = True
        self._after(changed, now)

    def _set(self, settings):
        """Take up settings. The VNIs changed, since service nodes are no VTEPs."""
        if self.settings is None or settings.auth_key != self.settings.auth_key:
            self._auth = auth.Authenticator(settings.auth_key) if settings.auth_key else None
        self.settings = settings
        self._allowed = auth.AllowList(settings.allow)
        self._own = {*settings.src_ip.values(), *settings.svcnode_ip.values()}
        self.peers = tuple(peer for peer in map(tuple, settings.svcnode_peers) if not self._is_own(peer))
        self.proxies = tuple(peer for peer in map(tuple, settings.vxfld_proxy_servers) if not self._is_own(peer))
        self._answers.clear()
        self._old_cache.clear()
        return self.registrations.keep_out(address for address, _port in (*self.peers, *self.proxies))

    def _connect(self, now):
        self._configured = True
        self.peering.configure(self.peers, self.proxies, self.settings, now)

    def _is_own(self, peer):
        return peer[0] in self._own and peer[1] == self.settings.vxfld_port

    # -- For the replicator and for commands

    def targets(self, vni):
        """The addresses of a VNI, packed."""
        return self.registrations.addresses(vni)

    def registered(self, vni):
        """Those that registered, other than learned and static ones."""
        return self.registrations.registered(vni)

    @property
    def synced(self):
        """Whether as many peers as sync_targets says gave their database since the start."""
        return self.peering.synced

    def dump(self, now, vni=None):
        """(vni, address, seconds left or STATIC, identifier) of each entry, sorted."""
        self._expire(now)
        return self.registrations.dump(now, vni)

    # -- Datagrams

    def datagram(self, data, source, now, wall):
        """Take in a datagram from (packed address, port). Whatever it is, nothing is raised.

        Answers go to where a request says that it comes from, which cannot be known. Whom a forger can have flooded that
        way is limited by the allow-list and by the key, and how much by the pacer: PAGE datagrams in PAUSE.
        """
        self.counters["datagrams"] += 1
        message = self._opened(data, source, now, wall)
        if isinstance(message, Refresh):
            self._expire(now)
            self._refresh(message, source, now, wall)
        elif isinstance(message, Proxy):
            self._expire(now)
            self._proxy(message, source, wall)
        elif message is not None:
            self.counters["unexpected"] += 1

    def _opened(self, data, source, now, wall):
        """The message in octets that are to be believed, else None."""
        if self._is_own(source):
            self.counters["own"] += 1
            return None
        if source[0] not in self._allowed:
            self._alarm("denied", source, "is not in the allow-list")
            return None
        try:
            message = self._auth.open(data, now, wall) if self._auth else messages.decode(data)
        except Malformed as error:
            self._alarm("malformed", source, f"is malformed: {error}")
            return None
        except auth.Refused as error:
            self._alarm("refused", source, str(error))
            return None
        dropped = getattr(message, "dropped", 0)
        if dropped:
            self.counters["vnis dropped"] += dropped
            self.alarms.append(
                ("vnis dropped", f"a message from {shown_address(source[0])} has VNIs of more than 24 bits")
            )
        return message

    def _alarm(self, counter, source, words):
        self.counters[counter] += 1
        self.alarms.append((counter, f"a message from {shown_address(source[0])} {words}"))

    def _sealed(self, message, wall):
        """The octets of a message."""
        if self._auth and message.version not in (1, 2):
            return self._auth.seal(message, wall)
        return messages.encode(message)

    @property
    def _reserve(self):
        return IPV6_MORE + (auth.OVERHEAD if self._auth else 0)

    # -- REFRESH

    def _refresh(self, message, source, now, wall):
        vteps, identifier = message.vteps, message.value("identifier")
        machine = message.extension.machine if message.extension else None
        asked = message.value("response_type") in (ASKED, ALL)
        subscriber = self._subscriber(source, message) if message.originator and asked else None
        in_step = ()
        if message.value("holdtime"):
            self.counters["registrations"] += 1
            if subscriber and subscriber.new and self.settings.push:
                in_step = self._in_step(vteps, identifier, subscriber, now)
            changed = self.registrations.register(
                vteps, identifier, message.value("holdtime"), now, subscriber, machine
            )
        else:
            self.counters["withdrawals"] += 1
            changed = self.registrations.withdraw(vteps, identifier, now)
        self.unsaved = True
        self._after(changed, now)
        if message.originator and vteps:
            self._relay(message, source, now, wall)
        if asked:
            self._answer(message, source, in_step, now, wall)

    def _subscriber(self, source, message):
        subscriber = self._subscribers.get(source)
        if subscriber is None:
            subscriber = self._subscribers[source] = Subscriber(source)
        subscriber.new = message.extension is not None
        subscriber.version = message.version
        return subscriber

    def _in_step(self, vteps, identifier, subscriber, now):
        """VNIs whose set this node should have, by what it was told since its last registration. Not soon after news: then it
        asks since it did not get them."""
        found = set()
        for vni in vteps:
            one = self.registrations.vni(vni)
            lease = one.members.get(identifier) if one else None
            if lease and lease.subscriber is subscriber and now - max(lease.since, one.told) >= SOON:
                found.add(vni)
        return found

    def _relay(self, message, source, now, wall):
        extension = message.extension
        if extension:
            extension = replace(extension, time=None, nonce=None, mac=None)
        relay = replace(message, originator=False, response_type=0, extension=extension)
        if self._auth and message.version in (1, 2):
            return
        targets = [peer for peer in self.peers if peer != source]
        if targets:
            data = self._sealed(relay, wall)
            self.outbox += [(data, peer) for peer in targets]
            self.counters["relayed"] += len(targets)
        targets = [peer for peer in self.proxies if peer != source] if self.settings.refresh_proxy_servers else ()
        if targets:
            relay.originator = True
            data = messages.encode(relay)
            if self._is_circling(data, now):
                self.counters["circling"] += 1
                return
            data = self._sealed(relay, wall) if self._auth else data
            self.outbox += [(data, peer) for peer in targets]
            self.counters["relayed"] += len(targets)

    def _is_circling(self, data, now):
        """Proxies relay to their proxies in turn, and nothing in a message says where it was."""
        same = self._same.get(data)
        if same is None or now - same[0] >= SAME:
            same = self._same[data] = [now, 0]
            if len(self._same) > MOST_SAME:
                self._same = {key: one for key, one in self._same.items() if now - one[0] < SAME} or {data: same}
                while len(self._same) > MOST_SAME:
                    del self._same[next(iter(self._same))]
        same[1] += 1
        return same[1] > REPEATS

    # -- Answers

    def _answer(self, message, source, in_step, now, wall):
        everything = message.value("response_type") == ALL
        if everything and self._pacer.waits(source):
            self.counters["answers refused"] += 1
            return
        self.counters["answers"] += 1
        vnis = list(self.registrations) if everything else list(message.vteps)
        if message.extension is None:
            self._send(source, self._old_answers(message.version, vnis, wall), now, "answer octets")
            return
        for vni in vnis:
            if vni in self.registrations.touched:
                # Between two generations there is none that an answer could name.
                self._owed.setdefault(vni, {})[source] = None
                continue
            one = self.registrations.vni(vni)
            datagrams = [self._confirmation(vni, one, wall)] if vni in in_step else self._whole(vni, one, wall)
            self._send(source, datagrams, now, "answer octets")

    def _send(self, destination, datagrams, now, octets):
        """Send, at the pace that receivers bear; the octets that are or will be sent."""
        taken, left_out = self._pacer.add(destination, datagrams, now)
        self.counters[octets] += taken
        self.counters["datagrams left out"] += left_out
        return taken

    def _message(self, vteps, version=3, extension=None):
        return Refresh(
            version=version,
            originator=False,
            holdtime=self.settings.holdtime,
            response_type=0,
            identifier=0,
            vteps=vteps,
            extension=extension,
        )

    def _old_answers(self, version, vnis, wall):
        """For nodes without the extension: several VNIs in a datagram, and a VNI always in one."""
        key = version, *vnis
        if key not in self._old_cache:
            if len(self._old_cache) >= CACHED_OLD:
                self._old_cache.clear()
            self._old_cache[key] = self._make_old_answers(version, vnis, wall)
        return self._old_cache[key]

    def _make_old_answers(self, version, vnis, wall):
        vteps = {}
        for vni in vnis:
            addresses = [address for address in self.registrations.addresses(vni) if len(address) == 4]
            if addresses:
                vteps[vni] = addresses
        datagrams, limit = [], self.settings.max_packet_size
        for part in messages.split(self._message(vteps, version), limit) if vteps else ():
            data = self._sealed(part, wall)
            if len(data) + messages.HEADERS > limit:
                vni = next(iter(part.vteps))
                words = "cannot be sent to old nodes at all"
                if len(data) <= LARGEST:
                    words = f"needs max_packet_size {len(data) + messages.HEADERS} on old vxrds, which cut it off else"
                text = f"the answer for VNI {vni}, of {len(part.vteps[vni])} VTEPs, {words}"
                self.alarms.append((("long", vni), text))
            if len(data) <= LARGEST:
                datagrams.append(data)
        return datagrams

    def _told(self, vni, one, **what):
        """What a message to a new node says of a VNI's generation."""
        generation = one.generation if one else self._generation
        return self._message(what.pop("vteps"), extension=Extension(generation=generation, source=self.source, **what))

    def _whole(self, vni, one, wall):
        """The datagrams with the whole set of a VNI, for new nodes."""
        generation, datagrams = self._answers.get(vni, (None, None))
        if one is None or generation != one.generation or self._auth:
            answer = self._told(vni, one, vteps={vni: list(one.addresses) if one else []})
            datagrams = self._parts(vni, answer, wall)
            if one and not self._auth:  # what is sealed goes to nobody twice
                if len(self._answers) >= CACHED:
                    self._answers.clear()
                self._answers[vni] = one.generation, datagrams
        return datagrams

    def _confirmation(self, vni, one, wall):
        """A change from the VNI's generation to the same: who has it knows that nothing is missing, all others ask."""
        return self._sealed(self._told(vni, one, vteps={vni: []}, base=one.generation), wall)

    def _parts(self, vni, answer, wall):
        try:
            parts = messages.split_answer(answer, self.settings.max_packet_size, self._reserve)
        except ValueError as error:
            self.alarms.append((("long", vni), f"{error}; make max_packet_size larger"))
            return []
        return [self._sealed(part, wall) for part in parts]

    # -- Changes

    def _after(self, changed, now):
        """Have told what changed in the database."""
        registrations = self.registrations
        self.changed |= changed | registrations.reshaped
        registrations.reshaped.clear()
        if changed:
            self._old_cache.clear()
        for vni in changed:
            one = registrations.vni(vni)
            self._at(max(now + WINDOW, one.rest if one else 0), "flush", vni)
            self._at(now + WINDOW, "old", vni)
        if registrations.evicted:
            self._owe_evicted()
        for address, times in registrations.barred.items():
            self.counters["service nodes refused"] += times
            host = shown_address(address)
            text = f"{host} is the address of a service node or proxy, and is not registered as a VTEP"
            self.alarms.append((("service node refused", address), text))
        registrations.barred.clear()
        if registrations.clashes:
            for identifier, old, new in registrations.clashes:
                hosts = f"{shown_address(old)} and {shown_address(new)}"
                text = f"two hosts register with node id {identifier}: {hosts}; give one of them another node_id"
                self.alarms.append((("clash", identifier), text))
            self.counters["clashes"] += len(registrations.clashes)
            registrations.clashes.clear()
        if registrations.refused:
            self.counters["entries refused"] += registrations.refused
            registrations.refused = 0
            text = f"{registrations.most} registrations are the most that are kept; further ones are refused"
            self.alarms.append(("entries refused", text))

    def _owe_evicted(self):
        """Who lost its place to another address of its node id is no subscriber any more: it gets the set without it once, and
        so finds out, and registers again."""
        for vni, subscriber in self.registrations.evicted if self.settings.push else ():
            if subscriber.new:
                self._owed.setdefault(vni, {})[subscriber.peer] = None
            else:
                self._owed_old.setdefault(vni, {})[subscriber.peer] = subscriber.version
        self.registrations.evicted.clear()

    def _subscribed(self, vni, new):
        """Subscribers of a VNI, new or old nodes, each once."""
        one = self.registrations.vni(vni)
        found = {lease.subscriber: None for lease in one.members.values() if lease.subscriber} if one else ()
        return [subscriber for subscriber in found if subscriber.new == new]

    def _flush(self, vni, now, wall):
        """Tell new nodes how the set of a VNI changed since the last generation."""
        come, gone = self.registrations.net(vni)
        self.registrations.touched.pop(vni, None)
        owed = self._owed.pop(vni, {})
        one = self.registrations.vni(vni)
        base = one.generation if one else 0
        if come or gone:
            self._generation += 1
            self.unsaved = True
            if one:
                one.generation = self._generation
        for peer in owed:
            self._send(peer, self._whole(vni, one, wall), now, "answer octets")
        if not (come or gone) or one is None or not self.settings.push:
            return
        peers = [one.peer for one in self._subscribed(vni, new=True) if one.peer not in owed]
        if peers:
            if base == 0 or len(come) + len(gone) >= len(one.addresses):
                datagrams = self._whole(vni, one, wall)
            else:
                datagrams = self._parts(
                    vni, self._told(vni, one, vteps={vni: come}, base=base, gone={vni: gone} if gone else {}), wall
                )
            for peer in peers:
                self._send(peer, datagrams, now, "push octets")
            self.counters["pushes"] += len(datagrams) * len(peers)
        one.told = now
        one.rest = now + min(LONGEST_REST, EACH * len(peers))
        self._at(now + CONFIRM, "confirm", vni)

    def _confirm(self, vni, now, wall):
        """Who lost the datagram of a change finds out now, and not by the next change."""
        one = self.registrations.vni(vni)
        if one is None or vni in self.registrations.touched:
            return
        if self._pacer.busy:
            self._at(now + CONFIRM, "confirm", vni)
            return
        subscribers = self._subscribed(vni, new=True)
        if subscribers:
            data = self._confirmation(vni, one, wall)
            for subscriber in subscribers:
                self._send(subscriber.peer, [data], now, "push octets")
            self.counters["pushes"] += len(subscribers)
            one.told = now

    def _push_old(self, vni, now, wall):
        """Tell old nodes the whole set of a VNI, as an answer to nobody's question, which they take all the same."""
        peers = self._owed_old.pop(vni, {})
        if not self.settings.push:
            return
        octets = 0
        made = {}
        peers.update((subscriber.peer, subscriber.version) for subscriber in self._subscribed(vni, new=False))
        for peer, version in peers.items():
            if version not in made:
                made[version] = self._old_answers(version, [vni], wall)
            datagrams = made[version]
            octets += self._send(peer, datagrams, now, "push octets")
            self.counters["pushes"] += len(datagrams)
        if octets > RATE_OLD * WINDOW:
            # They ask themselves before a rest longer than this is over.
            self._at(now + min(octets / RATE_OLD, self.settings.holdtime / 3), "old rest", vni)

    # -- SYNC, by TCP

    def sync_request(self, data, peer, now, wall):
        """A connection from a peer, read to its end. What to answer, or None."""
        message = self._opened(data, peer, now, wall)
        if not isinstance(message, Sync):
            self.counters["unexpected"] += message is not None
            return None
        self._merge(message.vteps, now, event=True)
        if message.value("response_type") != ALL:
            return None
        self.counters["syncs answered"] += 1
        extension = Extension() if message.extension else None
        return self._sealed(Sync(vteps=self.registrations.entries(now), response_type=0, extension=extension), wall)

    def sync_answer(self, data, peer, now, wall):
        """What a peer answered to a request in `syncs`."""
        message = self._opened(data, peer, now, wall)
        if not isinstance(message, Sync):
            self.sync_failed(peer, now, "the answer is not to be used")
            return
        self._merge(message.vteps, now, event=False)
        self.peering.answered(peer, now)

    def sync_failed(self, peer, now, reason):
        self.peering.failed(peer, now, reason)

    def pushed(self, peer):
        """A peer took in what was in `pushes`."""
        self.peering.pushed(peer)

    def push_failed(self, peer, now, reason):
        self.peering.push_failed(peer, now, reason)

    def _merge(self, vteps, now, event):
        self._expire(now)
        self.unsaved = True
        self._after(self.registrations.merge(vteps, now, event), now)

    def snapshot(self, now, wall):
        """The database as octets, for restore()."""
        self._expire(now)
        self.unsaved = False
        vteps = self.registrations.removals()
        for vni, entries in self.registrations.entries(now).items():
            vteps.setdefault(vni, []).extend(entries)
        return SNAPSHOT_HEAD.pack(int(wall * 1000)) + messages.encode(Sync(vteps=vteps, response_type=0))

    def restore(self, data, now, wall):
        """Take in a snapshot. Holdtimes went on meanwhile. Raises Malformed."""
        if len(data) < SNAPSHOT_HEAD.size:
            raise Malformed(f"{len(data)} octets are less than the head of a snapshot")
        away = max(0, math.ceil(wall - SNAPSHOT_HEAD.unpack_from(data)[0] / 1000))
        message = messages.decode(data[SNAPSHOT_HEAD.size :])
        if not isinstance(message, Sync):
            raise Malformed("is not a SYNC message")
        vteps = {}
        for vni, entries in message.vteps.items():
            vteps[vni] = [
                (address, holdtime if holdtime in (0, STATIC) else holdtime - away, identifier)
                for address, holdtime, identifier in entries
                if holdtime in (0, STATIC) or holdtime > away
            ]
        self._merge(vteps, now, event=False)

    # -- Static and learned entries

    def static_add(self, vni, address, now):
        """An entry that stays; peers are told."""
        changed = self.registrations.add_static(vni, address, now)
        refused = address in self.registrations.barred
        self._change(changed, {} if refused else {vni: [(address, STATIC, 0)]}, now)

    def static_del(self, vni, address, now, force=False):
        """Remove an entry here and at all peers; forced: registrations of the address too. Whether there was one here."""
        before = self.registrations.count
        gone, changed = self.registrations.remove(vni, address, now, force)
        self._change(changed, {vni: gone}, now)
        return self.registrations.count < before

    def static_replace(self, wanted, now):
        """Make the [(vni, address)] all static entries that there are."""
        wanted = dict.fromkeys(wanted)
        there = dict.fromkeys(self.registrations.statics())
        for vni, address in there:
            if (vni, address) not in wanted:
                self.static_del(vni, address, now)
        for vni, address in wanted:
            if (vni, address) not in there:
                self.static_add(vni, address, now)

    def learned(self, vni, address, now):
        """A data frame came from an address that is not registered, or under identifier 0 only."""
        if address not in self._allowed or not is_vtep(address) or not 0 <= vni <= MAX_VNI:
            return
        self._expire(now)
        holdtime = self.settings.holdtime
        news, lease, changed = self.registrations.learn(vni, address, holdtime, now)
        if news:
            self.counters["learned"] += 1
        if lease and not lease.is_static and (news or now - lease.since >= holdtime / 3):
            # Upstream tells the first frame only, and after holdtime other service nodes have forgotten the VTEP.
            self.registrations.told(vni, address, now)
            self._tell({vni: [(address, holdtime, 0)]}, now)
        self._after(changed, now)

    def _change(self, changed, vteps, now):
        self.unsaved = True
        self._tell(vteps, now)
        self._after(changed, now)

    def _tell(self, vteps, now):
        """Have peers told, also of what happens before the first tick()."""
        if not self._configured:
            self._connect(now)
        self.peering.tell(vteps, now)

    # -- PROXY

    def frame(self, packet, source, now, wall):
        """A VXLAN packet that a VTEP sent from (packed address, port): for the proxies, where there are any."""
        if not self.proxies or not is_vxlan(packet):
            return
        area = self.settings.area
        if area is None or len(source[0]) != 4:
            self.counters["proxy unsent"] += 1
            words = "no area is configured" if area is None else "PROXY has no place for the address of an IPv6 VTEP"
            self.alarms.append(("proxy unsent", f"data frames do not go to proxies: {words}"))
            return
        message = Proxy(srcport=source[1], srcip=source[0], area=area, vxlan_pkt=bytes(packet))
        self._to_proxies(message, self.proxies, "proxied", wall)

    def _proxy(self, message, source, wall):
        packet, srcip = message.value("vxlan_pkt"), message.srcip
        if srcip is None or not is_vxlan(packet):
            self.counters["malformed"] += 1
            return
        own = self.settings.src_ip.get(4)
        if own in message.proxy_ips:
            self.counters["proxy looped"] += 1
            return
        area, ttl = message.value("area"), min(message.value("ttl"), FARTHEST)
        if ttl > 1 and (not self.settings.proxy_local_only or area == self.settings.area):
            been = {source[0], *message.proxy_ips}
            targets = [peer for peer in self.proxies if peer[0] not in been]
            self._to_proxies(replace(message, ttl=ttl - 1, extension=None), targets, "proxy forwarded", wall)
        if self.settings.enable_flooding and area != self.settings.area:
            self.counters["proxy flooded"] += 1
            self.frames.append((int.from_bytes(packet[4:7], "big"), srcip, message.value("srcport"), packet))

    def _to_proxies(self, message, targets, counter, wall):
        """Send it on, with our address in it: who finds his own there ends the circle. Upstream never fills it in."""
        own = self.settings.src_ip.get(4)
        if own:
            hops = [*message.proxy_ips, own]
            message = replace(message, proxy_ips=hops, proxy_hops=len(hops))
        data = self._sealed(message, wall)
        if len(data) > LARGEST:
            self.counters["proxy unsent"] += 1
            return
        self.outbox += [(data, peer) for peer in targets]
        self.counters[counter] += len(targets)

    # -- Time

    def tick(self, now, wall):
        """Do what is due. When to be called next, at the latest."""
        if not self._configured:
            self._connect(now)
        self._expire(now)
        while self._timers and self._timers[0][0] <= now:
            when, what, vni = heapq.heappop(self._timers)
            if self._timed.get((what, vni)) == when:
                del self._timed[what, vni]
                self._DUE[what](self, vni, now, wall)
        for peer in self.peering.ask(now):
            self.counters["syncs asked"] += 1
            extension = Extension() if self._auth else None
            self.syncs.append((peer, self._sealed(Sync(response_type=ALL, extension=extension), wall)))
        for peer, vteps in self.peering.pushes(now):
            self.counters["sync pushes"] += 1
            self.pushes.append((peer, self._sealed(Sync(vteps=vteps, response_type=0), wall)))
        times = [self._pacer.tick(now), self.peering.next(), self.registrations.next_expiry(), now + 30]
        if self._timers:
            times.append(self._timers[0][0])
        return min(times)

    def _at(self, when, what, vni):
        """Have something done once, unless it is to be done anyway."""
        if (what, vni) not in self._timed:
            self._timed[what, vni] = when
            heapq.heappush(self._timers, (when, what, vni))

    def _old(self, vni, now, wall):
        if ("old rest", vni) in self._timed:
            self._at(self._timed["old rest", vni] + 0.001, "old", vni)
        elif self._pacer.busy:
            self._at(now + CONFIRM, "old", vni)
        else:
            self._push_old(vni, now, wall)

    def _rested(self, vni, now, wall):
        """The end of a rest is what its timer is there for."""

    _DUE = {"flush": _flush, "confirm": _confirm, "old": _old, "old rest": _rested}

    def _expire(self, now):
        if self.registrations.next_expiry() <= now:
            changed = self.registrations.expire(now)
            self.counters["expired"] = self.registrations.expired
            self.unsaved = True
            self._after(changed, now)


def is_vxlan(packet):
    """Whether it has a VXLAN header with a VNI (RFC 7348, 5)."""
    return len(packet) >= 8 and bool(packet[0] & 0x08)
