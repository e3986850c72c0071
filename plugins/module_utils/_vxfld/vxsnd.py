# SPDX-License-Identifier: GPL-3.0-or-later
"""vxsnd: the service node. It keeps which VTEPs each VNI has, tells VTEPs and peers, and replicates BUM frames."""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import logging
import secrets
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from .._kernel.local_address import LocalAddresses
from .._model.errors import FabricError, InputError, MissingError
from .._service import control, instance, log, metrics, notify
from . import anycast, config, replicate_nft, service_node, sockets, static_entries
from .auth import AllowList
from .messages import STATIC, Malformed
from .replication import Replication

CONFIG = "/etc/vxsnd.conf"
SNAPSHOT = 10.0  # seconds between snapshots at least; a long one waits SNAPSHOT_SHARE times as long as it takes
SNAPSHOT_SHARE = 50
HOUSEKEEPING = 1.0
CHECK = 10.0  # seconds between looks at what others may have changed in the kernel
LATE = 5.0  # seconds after which the loop is not healthy
MOST_TRACED = 100
FIRST_SYNC = 10.0  # seconds that the start waits for peers

HELP = """\
The service node of a VXLAN fabric: vxrd registers VTEPs with it, it tells them of one another, relays to its peers, and
in service-node mode replicates BUM frames, with the kernel's help where that is to be had.
"""
EPILOG = """\
signals:
  SIGTERM, SIGINT   withdraw svcnode_ip if it was installed here, go on replicating for `drain` seconds, and end
  SIGHUP            read the configuration again; what takes effect only at a restart is named in the log

files:
  /etc/vxsnd.conf, /etc/vxsnd.conf.override   configuration; vxsndctl get config shows what is in force
  /run/vxsnd/snapshot                         the database, for the next start (key statedir)
  /run/vxsnd/anycast.json                     which addresses were installed here

exit status: 0 after a signal, 1 when it cannot start, 2 for wrong usage
"""


class Vxsnd:
    """The daemon, between its sockets. `reread` gives (settings, warnings) anew; `started` is called once it runs."""

    def __init__(self, settings, reread, logger, started):
        self.settings = settings
        self.log = logger
        self._reread, self._started = reread, started
        self._alarms = log.Alarms(lambda text: logger.warning("%s", text))
        self._since = time.time()
        self._source = secrets.randbits(63)
        self._node = service_node.ServiceNode(settings, self._source, secrets.SystemRandom())
        self._addresses = LocalAddresses()
        self._anycast = anycast.Anycast(settings, self._addresses)
        self._snapshot_file = Path(settings.statedir) / "snapshot"
        self._snapshot_due = self._check_due = 0.0
        self._udp = []
        self._senders = {}  # family: sockets.Udp
        self._streams = self._replication = self._server = None
        self._allowed = AllowList(settings.allow)
        self._loop = self._timer = self._stopping = None
        self._born = self._due = 0.0
        self._soon = False
        self._tasks = set()
        self._exchanges = {}  # peer: (when, how it went)
        self._counters = collections.Counter()
        self._traced = set()  # faults that were told with their traceback
        self._heard_all = None  # set once enough peers have answered, or all have been tried

    # Start and end

    async def run(self):
        """Until a signal ends it. Raises FabricError where it cannot start."""
        self._loop = asyncio.get_running_loop()
        self._born = self._loop.time()
        self._loop.set_exception_handler(
            lambda _loop, context: self._fault(context.get("exception") or RuntimeError(context["message"]))
        )
        self._stopping, self._heard_all = asyncio.Event(), asyncio.Event()
        self._server = control.Server(self.settings.udsfile, self._handlers(), self.log)
        try:
            await self._start()
            self._housekeeping()
            self._keep_alive()
            await self._stopping.wait()
            await self._end()
        except BaseException:
            # Whoever cannot do the work must not attract it, and what an earlier process installed attracts it still.
            self._anycast.withdraw()
            raise
        finally:
            self._close()

    async def _start(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        self._restore()
        self._load_static(self.settings)
        await self._server.start()
        self._streams = sockets.Streams(self._stream, self._allowed.__contains__, self._fault)
        anycasts, own = self._layout()
        for one in own:
            self._open(one, sender=True)
        for family, address in self._tcp_addresses():
            one = self._bound(socket.SOCK_STREAM, family, address)
            if one:
                await self._streams.start(one)
        self._pump()
        if self.settings.install_svcnode_ip and self._anycast.missing():
            # VTEPs that come here with the address find a node that knows what its peers know.
            await self._first_sync()
        for address in self._anycast.install():
            self.log.info("%s installed on %s", sockets.text(address), self.settings.svcnode_dev)
        for one in anycasts:
            self._open(one, sender=False)
        await self._start_replication()
        await self._first_sync()
        if not self._stopping.is_set():
            self._started()
            notify.ready(self._status())
            self.log.info("ready: %s", self._status())

    def _layout(self):
        """(ends that only receive, ends that send and receive), each (family, address, source to send from).

        As upstream: two sockets where both src_ip and svcnode_ip are given, else one for all addresses.
        """
        src_ip, svcnode_ip = self.settings.src_ip, self.settings.svcnode_ip
        anycasts, own = [], []
        for family in sorted({*src_ip, *svcnode_ip} or {4, 6}):
            src, anycast_address = src_ip.get(family), svcnode_ip.get(family)
            if src and anycast_address:
                own.append((family, src, None))
                if src != anycast_address:
                    anycasts.append((family, anycast_address, None))
            else:
                own.append((family, sockets.wildcard(family), src))
        return anycasts, own

    def _tcp_addresses(self):
        src_ip, svcnode_ip = self.settings.src_ip, self.settings.svcnode_ip
        for family in sorted({*src_ip, *svcnode_ip} or {4, 6}):
            yield family, src_ip.get(family) or sockets.wildcard(family)

    def _bound(self, kind, family, address):
        """A bound socket; None for IPv6 that nobody asked for and the host does not have."""
        try:
            key = "svcnode_ip" if address == self.settings.svcnode_ip.get(family) else "src_ip"
            return sockets.bound(kind, address, self.settings.vxfld_port, key)
        except FabricError:
            if (
                family == 6
                and not self.settings.src_ip
                and not self.settings.svcnode_ip
                and not socket.has_dualstack_ipv6()
            ):
                return None
            raise

    def _open(self, end, sender):
        family, address, source = end
        bound = self._bound(socket.SOCK_DGRAM, family, address)
        if bound is None:
            return
        one = sockets.Udp(bound, source)
        self._udp.append(one)
        if sender:
            self._senders[family] = one
        one.start(self._loop, self._received, self._pump, self._fault)

    async def _start_replication(self):
        if self.settings.no_flood or not self.settings.enable_vxlan_listen:
            self.log.info("BUM frames are not replicated here, as configured")
            return
        self._replication = Replication(
            self.settings, self._loop, self._learned, self._proxy(), self._pump, self._fault
        )
        # All of the database, before anything of a former process is replaced.
        self._node.changed.update(self._node.registrations)
        self._pump()
        await self._replication.start()
        self.log.info("%s", self._replicating())

    def _replicating(self):
        if not self._replication:
            return "nobody replicates BUM frames here"
        if self._replication.kernel:
            return "the kernel replicates BUM frames"
        return f"the process replicates BUM frames ({self._replication.why})"

    async def _first_sync(self):
        """Wait until enough peers have answered, or all have been tried; for all calls together, FIRST_SYNC at most."""
        left = max(0.0, self._born + FIRST_SYNC - self._loop.time())
        waiting = [asyncio.ensure_future(one.wait()) for one in (self._heard_all, self._stopping)]
        if self._node.synced:
            self._heard_all.set()
        await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    async def _end(self):
        notify.stopping()
        removed = self._anycast.withdraw(hold=True)
        if removed:
            self.log.info("withdrawn: %s; ending in %g s", ", ".join(map(sockets.text, removed)), self.settings.drain)
            await asyncio.sleep(self.settings.drain)
        if self._replication:
            replication, self._replication = self._replication, None
            await replication.close()
        self._anycast.release()
        self._snapshot()
        self.log.info("ended")

    def _close(self):
        if self._timer:
            self._timer.cancel()
        self._server.close()
        if self._streams:
            self._streams.close()
        for one in self._udp:
            one.close()
        for task in self._tasks:
            task.cancel()
        self._addresses.close()

    # The clock

    def _pump(self):
        """Let the node do what is due, and do what it wants done."""
        self._soon = False
        now = self._loop.time()
        due = self._node.tick(now, time.time())
        self._take_all(now)
        if self._timer:
            self._timer.cancel()
        self._due = max(due, now + 0.001)
        self._timer = self._loop.call_at(self._due, self._pump_safely)

    def _pump_safely(self):
        try:
            self._pump()
        except Exception as error:
            self._fault(error)
            self._timer = self._loop.call_later(1.0, self._pump_safely)

    def _pump_soon(self):
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._pump_safely)

    def _housekeeping(self):
        """Once a second, what no event brings about."""
        self._loop.call_later(HOUSEKEEPING, self._housekeeping)
        now = self._loop.time()
        try:
            self._alarms.tick(now)
            if self._node.unsaved and now >= self._snapshot_due:
                self._snapshot()
            if now >= self._check_due:
                self._check_due = now + CHECK
                notify.status(self._status())
                self._task(self._check())
        except Exception as error:
            self._fault(error)

    async def _check(self):
        """Put back what somebody took away."""
        if self._stopping.is_set():
            return
        if self.settings.install_svcnode_ip:
            for address in self._anycast.install():
                self._alarm("address", f"{sockets.text(address)} was gone from this host and is installed again")
        if self._replication:
            await self._replication.check()

    def _keep_alive(self):
        """The watchdog hears of the loop, by itself, as long as it and its sockets work."""
        interval = notify.watchdog_interval()
        if interval:
            if self._healthy():
                notify.alive()
            self._loop.call_later(interval / 3, self._keep_alive)

    def _healthy(self):
        try:
            late = self._loop.time() - self._due
            broken = [one for one in self._udp if one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
            if late < LATE and not broken and (not self._replication or self._replication.healthy()):
                return True
            self._alarm("health", f"not healthy: {late:.1f} s late, {len(broken)} broken sockets")
        except OSError as error:
            self._fault(error)
        return False

    def _status(self):
        return f"{self._node.registrations.count} registrations in {len(self._node.registrations)} VNIs; {self._replicating()}"

    # What the node wants done

    def _take_all(self, now):
        node = self._node
        outbox, node.outbox[:] = list(node.outbox), []
        for data, end in outbox:
            self._send(data, end)
        if node.pushes:
            pushes, node.pushes[:] = list(node.pushes), []
            for peer, data in pushes:
                self._task(self._push(peer, data))
        if node.syncs:
            syncs, node.syncs[:] = list(node.syncs), []
            for peer, data in syncs:
                self._task(self._sync(peer, data))
        if node.frames:
            frames, node.frames[:] = list(node.frames), []
            for vni, source, port, packet in frames if self._replication else ():
                self._replication.inject(packet, source, port, vni)
        if node.changed:
            for vni in node.changed if self._replication else ():
                self._replication.update(vni, node.targets(vni), node.registered(vni))
            node.changed.clear()
            if self._replication:
                self._replication.flush_soon()
        for source in (node, self._replication):
            if source and source.alarms:
                alarms, source.alarms[:] = list(source.alarms), []
                for key, text in alarms:
                    self._alarms.add(key, text, now)

    def _send(self, data, end):
        sender = self._senders.get(4 if len(end[0]) == 4 else 6)
        try:
            if sender is None:
                raise OSError(0, "there is no control socket of its family; write src_ip")
            sender.send(data, end)
        except OSError as error:
            self._counters["datagrams unsent"] += 1
            self._alarm(("send", end[0]), f"nothing can be sent to {sockets.shown(end)}: {error.strerror or error}")

    def _source_to(self, peer):
        return self.settings.src_ip.get(4 if len(peer[0]) == 4 else 6)

    async def _push(self, peer, data):
        try:
            await sockets.exchange(peer, data, self._source_to(peer))
        except OSError as error:
            self._node.push_failed(peer, self._loop.time(), self._outcome(peer, error))
        else:
            self._node.pushed(peer)
            self._outcome(peer)
        self._pump_soon()

    async def _sync(self, peer, data):
        try:
            answer = await sockets.exchange(peer, data, self._source_to(peer), answered=True)
        except OSError as error:
            self._node.sync_failed(peer, self._loop.time(), self._outcome(peer, error))
        else:
            self._outcome(peer)
            self._node.sync_answer(answer, peer, self._loop.time(), time.time())
        if self._node.synced or all(one in self._exchanges for one in self._node.peers):
            self._heard_all.set()
        self._pump_soon()

    def _outcome(self, peer, error=None):
        words = (error.strerror or str(error)) if error else "done"
        if len(self._exchanges) > 1000:
            self._exchanges.clear()  # peers that came and went
        self._exchanges[peer] = self._loop.time(), words
        return words

    def _task(self, coroutine):
        """Run it by itself; what it raises is told."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self._fault(task.exception())

    # What comes in

    def _received(self, data, end):
        self._node.datagram(data, end, self._loop.time(), time.time())

    def _stream(self, data, end):
        answer = self._node.sync_request(data, end, self._loop.time(), time.time())
        self._pump_soon()
        return answer

    def _learned(self, vni, source):
        self._node.learned(vni, source, self._loop.time())

    def _proxy(self):
        """What gets each frame, where there are proxies."""
        if not self.settings.vxfld_proxy_servers:
            return None
        return lambda _vni, source, port, packet: self._node.frame(
            packet, (source, port), self._loop.time(), time.time()
        )

    # Faults

    def _fault(self, error):
        """Something must not end the daemon: others depend on it. What nobody foresaw is told once with its traceback."""
        self._counters["faults"] += 1
        if isinstance(error, (OSError, FabricError)):
            self._alarm(f"{type(error).__name__} {error}", str(error))
            return
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
        key = f"fault {type(error).__name__} {place}"
        if key in self._traced or len(self._traced) >= MOST_TRACED:
            self._alarm(key, f"fault, the daemon goes on: {type(error).__name__} {error} at {place}")
        else:
            self._traced.add(key)
            self.log.error("fault, the daemon goes on: %s at %s", error, place, exc_info=error)

    def _alarm(self, key, text):
        self._alarms.add(key, text, self._loop.time())

    # What is on disk

    def _restore(self):
        try:
            self._node.restore(self._snapshot_file.read_bytes(), self._loop.time(), time.time())
            self.log.info("%d registrations of a former process", self._node.registrations.count)
        except FileNotFoundError:
            return
        except (OSError, Malformed) as error:
            self.log.warning("%s is left alone: %s", self._snapshot_file, error)

    def _snapshot(self):
        before = time.monotonic()
        try:
            anycast.write(self._snapshot_file, self._node.snapshot(self._loop.time(), time.time()))
        except InputError as error:
            self._node.unsaved = True
            self._fault(error)
        took = time.monotonic() - before
        self._snapshot_due = self._loop.time() + max(SNAPSHOT, SNAPSHOT_SHARE * took)

    def _load_static(self, settings):
        if settings.static_file:
            self._node.static_replace(static_entries.read(settings.static_file), self._loop.time())

    # Settings

    def _reload_soon(self):
        self._task(self._reload())

    async def _reload(self):
        notify.reloading()
        try:
            settings, warnings = await self._loop.run_in_executor(None, self._reread)
            for warning in warnings:
                self.log.warning("%s", warning)
            settings, waiting = config.reloaded(self.settings, settings)
            self._load_static(settings)
            for name in waiting:
                self.log.warning("%s: takes effect when vxsnd is restarted", name)
            await self._configure(settings)
            self.log.info("configuration read again")
        except FabricError as error:
            for fault in getattr(error, "faults", [error]):
                self.log.error("%s", fault)
            self.log.error("the configuration stays as it was")
        notify.ready(self._status())

    async def _configure(self, settings):
        self.settings = settings
        self.log.setLevel(settings.loglevel)
        self._allowed = AllowList(settings.allow)
        self._streams.welcome = self._allowed.__contains__
        self._node.configure(settings, self._loop.time())
        if self._replication:
            self._replication.proxy = self._proxy()
            self._replication.allow(settings.allow)
            if self._replication.kernel and settings.vxfld_proxy_servers:
                await self._replication.without_kernel("vxfld_proxy_servers get every frame")
                self.log.info("%s", self._replicating())
        self._pump()

    # Requests

    def _handlers(self):
        return {
            "show": self._show,
            "fdb": self._fdb,
            "fdb add": self._fdb_add,
            "fdb del": self._fdb_del,
            "fdb file": self._fdb_file,
            "peers": self._peers,
            "counters": lambda _arguments: self._all_counters(),
            "metrics": lambda _arguments: metrics.text(self._metrics()),
            "get config": self._get,
            "set config": self._set,
            "set debug": self._set_debug,
        }

    def _show(self, arguments):
        told = config.shown(self.settings)
        found = {
            "version": 3,
            "local": told["src_ip"],
            "anycast": told["svcnode_ip"],
            "peers": [sockets.shown(peer) for peer in self._node.peers],
        }
        if arguments.get("detail"):
            found["data_port"], found["ctrl_port"] = self.settings.listen_port, self.settings.vxfld_port
            found["more"] = {
                "registrations": self._node.registrations.count,
                "vnis": len(self._node.registrations),
                "replication": self._replicating(),
                "synchronized": "yes" if self._node.synced else "not yet",
                "seconds_since_start": int(time.time() - self._since),
            }
        return found

    def _fdb(self, arguments):
        vni = _vni(arguments["vni"]) if "vni" in arguments else None
        found = {}
        for number, address, left, identifier in self._node.dump(self._loop.time(), vni):
            row = [sockets.text(address), "STATIC" if left == STATIC else str(left), str(identifier or "")]
            found.setdefault(str(number), []).append(row)
        if vni is not None and not found:
            raise InputError(f"VNI {vni} has no entries here")
        return found

    def _fdb_add(self, arguments):
        vni, address = _vni(arguments.get("vni")), _address(arguments.get("address"))
        self._node.static_add(vni, address, self._loop.time())
        self._pump_soon()

    def _fdb_del(self, arguments):
        vni, address = _vni(arguments.get("vni")), _address(arguments.get("address"))
        removed = self._node.static_del(vni, address, self._loop.time(), bool(arguments.get("force")))
        self._pump_soon()
        if not removed:
            shown = sockets.text(address)
            if address in self._node.targets(vni):
                raise InputError(f"{shown} registers itself in VNI {vni}; --force removes it until it does so again")
            raise InputError(f"VNI {vni} has no entry of {shown} here; peers have been told to remove theirs")

    def _fdb_file(self, arguments):
        entries = arguments.get("entries")
        if not isinstance(entries, dict) or not all(isinstance(one, list) for one in entries.values()):
            raise InputError('entries is not {"VNI": [ADDRESS, ...]}')
        wanted = [(_vni(vni), _address(one)) for vni, addresses in entries.items() for one in addresses]
        self._node.static_replace(wanted, self._loop.time())
        self._pump_soon()

    def _peers(self, _arguments):
        found = []
        for peer in (*self._node.peers, *self._node.proxies):
            when, outcome = self._exchanges.get(peer, (None, "none yet"))
            ago = None if when is None else int(self._loop.time() - when)
            found.append({"peer": sockets.shown(peer), "ago": ago, "outcome": outcome})
        return found

    def _all_counters(self):
        told = dict(self._node.counters)
        told["datagrams unsent"] = self._counters["datagrams unsent"] + sum(one.dropped for one in self._udp)
        told["faults"] = self._counters["faults"]
        if self._streams:
            told["connections refused"], told["connections cut"] = self._streams.refused, self._streams.cut
        for name, value in self._replication.counters().items() if self._replication else ():
            told[f"replicated: {name}"] = value
        return told

    def _metrics(self):
        words = {
            **service_node.COUNTERS,
            "datagrams unsent": "datagrams that could not be sent",
            "faults": "faults that did not end the daemon",
            "connections refused": "TCP connections beyond the limits, or from outside the allow-list",
            "connections cut": "TCP connections that were too slow, too long, or broke",
        }
        told = {
            f"vxsnd_{metrics.name(name)}_total": (words.get(name, name), "counter", [({}, value)])
            for name, value in self._all_counters().items()
        }
        registrations = self._node.registrations
        told["vxsnd_start_time_seconds"] = ("Unix time of the start", "gauge", [({}, self._since)])
        told["vxsnd_registrations"] = ("entries of the database", "gauge", [({}, registrations.count)])
        told["vxsnd_synced"] = ("whether the peers gave their database", "gauge", [({}, self._node.synced)])
        kernel = bool(self._replication and self._replication.kernel)
        told["vxsnd_kernel_replication"] = ("whether the kernel replicates", "gauge", [({}, kernel)])
        vteps = [({"vni": vni}, len(registrations.addresses(vni))) for vni in sorted(registrations)]
        told["vxsnd_vteps"] = ("VTEPs of a VNI", "gauge", vteps)
        frames = self._replication.by_vni() if self._replication else {}
        for at, name in enumerate(("frames", "copies")):
            samples = [({"vni": vni}, both[at]) for vni, both in sorted(frames.items())]
            told[f"vxsnd_kernel_vni_{name}"] = (
                f"{name} in the kernel since the VNI's rules were made",
                "gauge",
                samples,
            )
        peers = [
            ({"peer": one["peer"]}, one["outcome"] == "done") for one in self._peers(None) if one["ago"] is not None
        ]
        told["vxsnd_peer_up"] = ("whether the last exchange with a peer was done", "gauge", peers)
        return told

    def _get(self, arguments):
        told = config.shown(self.settings)
        key = arguments.get("key")
        if key is None:
            return told
        if key not in told:
            raise InputError(f"{key}: Unknown parameter")
        return {key: told[key]}

    async def _set(self, arguments):
        key, value = arguments.get("key"), arguments.get("value")
        if not isinstance(key, str) or not isinstance(value, (str, type(None))):
            raise InputError("key and value are not text")
        # In a thread: a name may have to be looked up.
        settings = await self._loop.run_in_executor(None, config.changed, "vxsnd", self.settings, key, value)
        if key == "static_file":
            self._load_static(settings)
        await self._configure(settings)
        self.log.info("%s set to %s", key, value)

    def _set_debug(self, arguments):
        self.log.setLevel("DEBUG" if arguments.get("on") else self.settings.loglevel)


def _vni(value):
    try:
        return static_entries.vni(str(value))
    except ValueError as error:
        raise InputError(str(error)) from None


def _address(value):
    try:
        return static_entries.address(str(value))
    except ValueError as error:
        raise InputError(str(error)) from None


# The command line


def parser():
    made = argparse.ArgumentParser(
        "vxsnd", description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("-c", "--config", metavar="FILE", default=CONFIG, help="configuration (%(default)s)")
    made.add_argument("-d", "--daemon", action="store_true", help="go into the background")
    made.add_argument("-p", "--pidfile", metavar="FILE", help="pid file (key pidfile)")
    made.add_argument("-u", "--udsfile", metavar="FILE", help="socket for vxsndctl (key udsfile)")
    made.add_argument("-D", "--debug", action="store_true", help="log at level DEBUG")
    made.add_argument("-R", "--no-flood", action="store_true", help="do not replicate BUM frames")
    made.add_argument(
        "--withdraw",
        action="store_true",
        help="remove what a dead vxsnd left in the kernel, svcnode_ip if it had installed it and rules, and end",
    )
    return made


def withdraw(settings):
    """Take a dead daemon's address and rules away, so that routing leads VTEPs to other service nodes."""
    addresses = LocalAddresses()
    try:
        removed = anycast.Anycast(settings, addresses).withdraw()
    finally:
        addresses.close()
    for address in removed:
        print(f"vxsnd: {sockets.text(address)} withdrawn")
    with contextlib.suppress(MissingError):  # without nft there are no rules
        replicate_nft.remove()


def main(argv=None):
    """Return the exit code."""
    given = parser().parse_args(argv)
    overrides = {
        "pidfile": given.pidfile,
        "udsfile": given.udsfile,
        "loglevel": "DEBUG" if given.debug else None,
        "no_flood": "true" if given.no_flood else None,
    }
    overrides = {key: value for key, value in overrides.items() if value is not None}
    file = str(Path(given.config).absolute())

    def reread():
        return config.load("vxsnd", file, overrides)

    only = None
    try:
        settings, warnings = reread()
        only = instance.Instance("vxsnd", settings.pidfile)
        if given.withdraw:
            withdraw(settings)
            return 0
        started = instance.background() if given.daemon else lambda: None
        only.write()
        logger = log.start("vxsnd", settings.logdest, settings.loglevel, settings.logfilesize, settings.logbackupcount)
        for warning in warnings:
            logger.warning("%s", warning)
        asyncio.run(Vxsnd(settings, reread, logger, started).run())
    except FabricError as error:
        for fault in getattr(error, "faults", [error]):
            print(f"vxsnd: {fault}", file=sys.stderr)
            logging.getLogger("vxsnd").error("%s", fault)
        return 1
    finally:
        if only:
            only.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
