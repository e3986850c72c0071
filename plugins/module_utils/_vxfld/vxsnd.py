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
from .._model.errors import FabricError, MissingError
from .._service import control, instance, lifecycle, log, notify
from . import anycast, config, replicate_nft, service_node, sockets, static_entries
from .auth import AllowList
from .messages import Malformed
from .replication import Replication
from .vxsnd_requests import Requests

CONFIG = "/etc/vxsnd.conf"
# Seconds between snapshots at least. What is not in one is forgotten by a crash. A long one waits SNAPSHOT_SHARE times as long as it took.
SNAPSHOT = 1.0
SNAPSHOT_SHARE = 50
HOUSEKEEPING = 1.0
CHECK = 10.0  # seconds between looks at what others may have changed in the kernel
LATE = 5.0  # seconds after which the loop is not healthy
MOST_TRACED = 100
FIRST_SYNC = 10.0  # seconds that the start waits for peers
SYNC_CONNECT = 3.0  # seconds for a peer to take the connection: within FIRST_SYNC another one is to have its turn

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
        self.since = time.time()
        self._source = secrets.randbits(63)
        self.node = service_node.ServiceNode(settings, self._source, secrets.SystemRandom())
        self._addresses = LocalAddresses()
        self._anycast = anycast.Anycast(settings, self._addresses)
        self._snapshot_file = Path(settings.statedir) / "snapshot"
        self._snapshot_due = self._check_due = 0.0
        self.udp = []
        self._senders = {}  # family: sockets.Udp
        self.streams = self.replication = self._server = None
        self._allowed = AllowList(settings.allow)
        self.loop = self._timer = self._stopping = None
        self._born = self._due = 0.0
        self._soon = False
        self._tasks = set()
        self.exchanges = {}  # peer: (when, how it went)
        self.counters = collections.Counter()
        self._traced = set()  # faults that were told with their traceback
        self._heard_all = None  # set once enough peers have answered, or all have been tried

    # Start and end

    async def run(self):
        """Until a signal ends it. Raises FabricError where it cannot start."""
        self.loop = asyncio.get_running_loop()
        self._born = self.loop.time()
        self.loop.set_exception_handler(
            lambda _loop, context: self._fault(context.get("exception") or RuntimeError(context["message"]))
        )
        self._stopping, self._heard_all = asyncio.Event(), asyncio.Event()
        self._server = control.Server(self.settings.udsfile, Requests(self).handlers(), self.log)
        try:
            await self._start()
            self._housekeeping()
            lifecycle.keep_alive(self.loop, self._healthy)
            await self._stopping.wait()
            await self._end()
        except BaseException:
            # Whoever cannot do the work must not attract it, and what an earlier process installed attracts it still.
            with contextlib.suppress(FabricError):
                self._anycast.withdraw()
            raise
        finally:
            self._close()

    async def _start(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._stopping.set)
        self.loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        self._restore()
        self.load_static(self.settings)
        await self._server.start()
        self.streams = sockets.Streams(self._stream, self._allowed.__contains__, self._fault)
        anycasts, own = self._layout()
        for one in own:
            self._open(one, sender=True)
        for family, address in self._tcp_addresses():
            one = self._bound(socket.SOCK_STREAM, family, address)
            if one:
                await self.streams.start(one)
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
        self.udp.append(one)
        if sender:
            self._senders[family] = one
        one.start(self.loop, self._received, self._pump, self._fault)

    async def _start_replication(self):
        if self.settings.no_flood or not self.settings.enable_vxlan_listen:
            self.log.info("BUM frames are not replicated here, as configured")
            with contextlib.suppress(FabricError):  # no nft: no rules of a former process; not permitted: not ours
                await self.loop.run_in_executor(None, replicate_nft.remove)
            return
        self.replication = Replication(self.settings, self.loop, self._learned, self._proxy(), self._pump, self._fault)
        # All of the database, before anything of a former process is replaced.
        self.node.changed.update(self.node.registrations)
        self._pump()
        await self.replication.start()
        self.log.info("%s", self.replicating())

    def replicating(self):
        if not self.replication:
            return "nobody replicates BUM frames here"
        if self.replication.kernel:
            return "the kernel replicates BUM frames"
        return f"the process replicates BUM frames ({self.replication.why})"

    async def _first_sync(self):
        """Wait until enough peers have answered, or all have been tried; for all calls together, FIRST_SYNC at most."""
        left = max(0.0, self._born + FIRST_SYNC - self.loop.time())
        waiting = [asyncio.ensure_future(one.wait()) for one in (self._heard_all, self._stopping)]
        if self.node.synced:
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
        if self.replication:
            replication, self.replication = self.replication, None
            await replication.close()
        self._anycast.release()
        self._snapshot()
        self.log.info("ended")

    def _close(self):
        if self._timer:
            self._timer.cancel()
        self._server.close()
        if self.streams:
            self.streams.close()
        for one in self.udp:
            one.close()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(FabricError):
            self._anycast.release()
        self._addresses.close()

    # The clock

    def _pump(self):
        """Let the node do what is due, and do what it wants done."""
        self._soon = False
        now = self.loop.time()
        due = self.node.tick(now, time.time())
        self._take_all(now)
        if self._timer:
            self._timer.cancel()
        self._due = max(due, now + 0.001)
        self._timer = self.loop.call_at(self._due, self._pump_safely)

    def _pump_safely(self):
        try:
            self._pump()
        except Exception as error:
            self._fault(error)
            self._timer = self.loop.call_later(1.0, self._pump_safely)

    def pump_soon(self):
        if not self._soon:
            self._soon = True
            self.loop.call_soon(self._pump_safely)

    def _housekeeping(self):
        """Once a second, what no event brings about."""
        self.loop.call_later(HOUSEKEEPING, self._housekeeping)
        now = self.loop.time()
        try:
            self._alarms.tick(now)
            if self.node.unsaved and now >= self._snapshot_due:
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
        if self.replication:
            await self.replication.check()

    def _healthy(self):
        """Whether the loop and its sockets work."""
        try:
            late = self.loop.time() - self._due
            broken = [one for one in self.udp if one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
            if late < LATE and not broken and (not self.replication or self.replication.healthy()):
                return True
            self._alarm("health", f"not healthy: {late:.1f} s late, {len(broken)} broken sockets")
        except OSError as error:
            self._fault(error)
        return False

    def _status(self):
        return f"{self.node.registrations.count} registrations in {len(self.node.registrations)} VNIs; {self.replicating()}"

    # What the node wants done

    def _take_all(self, now):
        node = self.node
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
            for vni, source, port, packet in frames if self.replication else ():
                self.replication.inject(packet, source, port, vni)
        if node.changed:
            for vni in node.changed if self.replication else ():
                self.replication.update(vni, node.targets(vni), node.registered(vni))
            node.changed.clear()
            if self.replication:
                self.replication.flush_soon()
        for source in (node, self.replication):
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
            self.counters["datagrams unsent"] += 1
            self._alarm(("send", end[0]), f"nothing can be sent to {sockets.shown(end)}: {error.strerror or error}")

    def _source_to(self, peer):
        return self.settings.src_ip.get(4 if len(peer[0]) == 4 else 6)

    async def _push(self, peer, data):
        try:
            await sockets.exchange(peer, data, self._source_to(peer))
        except OSError as error:
            self.node.push_failed(peer, self.loop.time(), self._outcome(peer, error))
        else:
            self.node.pushed(peer)
            self._outcome(peer)
        self.pump_soon()

    async def _sync(self, peer, data):
        try:
            answer = await sockets.exchange(
                peer, data, self._source_to(peer), answered=True, connect_timeout=SYNC_CONNECT
            )
        except OSError as error:
            self.node.sync_failed(peer, self.loop.time(), self._outcome(peer, error))
        else:
            self._outcome(peer)
            self.node.sync_answer(answer, peer, self.loop.time(), time.time())
        if self.node.synced or all(one in self.exchanges for one in self.node.peers):
            self._heard_all.set()
        self.pump_soon()

    def _outcome(self, peer, error=None):
        words = (error.strerror or str(error)) if error else "done"
        if len(self.exchanges) > 1000:
            self.exchanges.clear()  # peers that came and went
        self.exchanges[peer] = self.loop.time(), words
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
        self.node.datagram(data, end, self.loop.time(), time.time())

    def _stream(self, data, end):
        answer = self.node.sync_request(data, end, self.loop.time(), time.time())
        self.pump_soon()
        return answer

    def _learned(self, vni, source):
        self.node.learned(vni, source, self.loop.time())

    def _proxy(self):
        """What gets each frame, where there are proxies."""
        if not self.settings.vxfld_proxy_servers:
            return None
        return lambda _vni, source, port, packet: self.node.frame(packet, (source, port), self.loop.time(), time.time())

    # Faults

    def _fault(self, error):
        """Something must not end the daemon: others depend on it. What nobody foresaw is told once with its traceback."""
        self.counters["faults"] += 1
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
        self._alarms.add(key, text, self.loop.time())

    # What is on disk

    def _restore(self):
        try:
            self.node.restore(self._snapshot_file.read_bytes(), self.loop.time(), time.time())
            self.log.info("%d registrations of a former process", self.node.registrations.count)
        except FileNotFoundError:
            return
        except (OSError, Malformed) as error:
            self.log.warning("%s is left alone: %s", self._snapshot_file, error)

    def _snapshot(self):
        before = time.monotonic()
        try:
            anycast.write(self._snapshot_file, self.node.snapshot(self.loop.time(), time.time()))
        except Exception as error:  # whatever it is, the rest of the housekeeping, or of the end, goes on
            self.node.unsaved = True
            self._fault(error)
        took = time.monotonic() - before
        self._snapshot_due = self.loop.time() + max(SNAPSHOT, SNAPSHOT_SHARE * took)

    def load_static(self, settings):
        if settings.static_file:
            self.node.static_replace(static_entries.read(settings.static_file), self.loop.time())

    # Settings

    def _reload_soon(self):
        self._task(self._reload())

    async def _reload(self):
        notify.reloading()
        try:
            settings, warnings = await self.loop.run_in_executor(None, self._reread)
            for warning in warnings:
                self.log.warning("%s", warning)
            settings, waiting = config.reloaded(self.settings, settings)
            self.load_static(settings)
            for name in waiting:
                self.log.warning("%s: takes effect when vxsnd is restarted", name)
            await self.configure(settings)
            self.log.info("configuration read again")
        except FabricError as error:
            for fault in getattr(error, "faults", [error]):
                self.log.error("%s", fault)
            self.log.error("the configuration stays as it was")
        notify.ready(self._status())

    async def configure(self, settings):
        self.settings = settings
        self.log.setLevel(settings.loglevel)
        self._allowed = AllowList(settings.allow)
        self.streams.welcome = self._allowed.__contains__
        self.node.configure(settings, self.loop.time())
        if self.replication:
            self.replication.proxy = self._proxy()
            self.replication.allow(settings.allow)
            if self.replication.kernel and settings.vxfld_proxy_servers:
                await self.replication.without_kernel("vxfld_proxy_servers get every frame")
                self.log.info("%s", self.replicating())
        self._pump()


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
        sys.stdout.write(f"vxsnd: {sockets.text(address)} withdrawn\n")
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
            sys.stderr.write(f"vxsnd: {fault}\n")
            logging.getLogger("vxsnd").error("%s", fault)
        return 1
    finally:
        if only:
            only.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
