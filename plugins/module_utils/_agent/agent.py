# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-agent: answers the misses of this host's VXLAN devices out of a registry, and keeps what it has answered right."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno as errnos
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

from .._kernel.dynamic_rows import DynamicRows
from .._kernel.misses import Misses
from .._kernel.neighbor_watch import NeighborWatch
from .._kernel.vxlan_watch import VxlanWatch
from .._model import values
from .._model.errors import FabricError, InputError
from .._service import control, instance, lifecycle, log, metrics, notify
from . import config
from . import metrics as figures
from .access import Access
from .directory import Directory
from .groups import Groups
from .listing import key_text
from .looks import Looks, all_rows
from .registry import Registry
from .requests import Requests
from .resolver import FDB, NEIGHBOR, NEW_FDB, NO_FDB, NO_NEIGHBOR, SETTLE, Device, Resolver

AGAIN = 1.0  # seconds until what failed is tried again
READY = 10.0  # seconds after which a service is ready even if its registry has told nothing
REFUSALS = 0.05  # seconds from writing rows until the kernel's refusals are read
HOUSEKEEPING = 1.0
PAUSE = 0.05  # seconds between two looks at the directory for what time changes, at least
SWITCH = 0.0002  # seconds after which a thread that works beside the loop lets it go on
MISSES = 1000  # that are answered in one go
LEAVE = 5.0  # seconds that threads have after the end
MANY = 1000  # changes of the directory, after which what there is will be there for long

AF_BRIDGE = 7
NUD_OTHERS = 0x80 | 0x40  # NUD_PERMANENT, NUD_NOARP: no state of a row of the agent's in a forwarding table
NTF_EXT_LEARNED = 0x10
VERBS = {
    FDB: "write row",
    NEW_FDB: "write row",
    NEIGHBOR: "write neighbour",
    NO_FDB: "remove row",
    NO_NEIGHBOR: "remove neighbour",
}


class Agent:
    """The daemon, between its sockets. `reread` gives (settings, warnings) anew."""

    def __init__(self, settings, reread, logger):
        self.settings, self.reread, self.log = settings, reread, logger
        self.alarms = log.Alarms(lambda text: logger.warning("%s", text))
        self.started = time.time()
        self.counters = collections.Counter(dict.fromkeys(figures.OWN, 0))
        self.latency = metrics.Histogram(figures.BOUNDS)
        self.directory = Directory()
        self.resolver = Resolver(self.directory, settings.limit, settings.unanswered, settings.unanswered_ttl)
        self.devices = {}  # {index: resolver.Device} that are served
        self.left_out = {}  # {name: why} of devices that tell of misses and are not served
        self.registry = self.access = self.groups = None
        self.watch = self._misses = self._neighbors = self._rows = self.looks = None
        self._loop = self._stopping = self._server = None
        self.leaving = None  # ends the process if threads do not
        self._keep = self._is_ready = False
        self._following = self._checking = False
        self._tick_timer = None
        self._written = 0.0
        self._tasks = set()

    # Start and end

    async def run(self):
        """Until a signal ends it. Raises FabricError where it cannot start."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda _loop, context: self.fault(context.get("exception") or context["message"])
        )
        self._stopping = asyncio.Event()
        self.looks = Looks(self)
        self.registry = Registry(self.directory, self._follow_soon, self._alarm, self.log)
        self.access = Access(self.settings, self.registry.publish, self.fault, self.log)
        self.registry.yielded = self.access.yielded
        self._server = control.Server(self.settings.udsfile, Requests(self).handlers(), self.log)
        try:
            self._open()
            await self._server.start()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                self._loop.add_signal_handler(number, self._stop, number)
            self._loop.add_signal_handler(signal.SIGHUP, self._reload)
            self.access.start()
            self._take_devices()
            self._loop.add_reader(self.watch, self._links)
            self._loop.add_reader(self._misses, self._missed)
            self._loop.add_reader(self._neighbors, self._changed)
            self.registry.start(self.settings)
            self._loop.call_later(READY, self.tell_ready)
            self._housekeeping()
            lifecycle.keep_alive(self._loop)
            self._task(self.looks.run())
            await self._stopping.wait()
            await self._end()
        finally:
            await self._close()

    def _open(self):
        try:
            Path(self.settings.statedir).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.settings.statedir}: {error.strerror}; write statedir with a place for it"
            ) from None
        # Listening comes first: what changes while tables are read is told afterwards.
        self._misses, self._neighbors = Misses(), NeighborWatch(own=True, ageing=False)
        self.watch = VxlanWatch()
        self._rows = DynamicRows()
        self.looks.open()
        self.groups = Groups(self._rows, self.settings.statedir, self.log)

    def _stop(self, number):
        # systemd sends SIGTERM behind SIGUSR1, and of two signals at once the later one may be told first.
        self._keep = self._keep or number == signal.SIGUSR1
        self._stopping.set()

    async def _end(self):
        notify.stopping()
        self._keep = self._keep or lifecycle.restarted_by_systemd()
        for one in (self.watch, self._misses, self._neighbors):
            self._loop.remove_reader(one)
        if self._keep:
            self.log.info("another process is to go on: all rows stay")
            return
        removed = 0
        for index, device in self.devices.items():
            try:
                removed += self._withdraw(index)
            except (OSError, FabricError) as error:
                self.log.error("%s: its rows stay: %s", device.name, error)
        try:
            self.groups.withdraw(self._rows.groups)
        except (OSError, FabricError) as error:
            self.log.error("rows of groups stay: %s", error)
        self.log.info("%d rows removed", removed)

    def _withdraw(self, index):
        """Remove the rows of a device that are the agent's now, whatever it remembers of them. How many."""
        fdb = [(NO_FDB, index, row[0], None) for row in all_rows(self._rows, index, self.resolver.macs(index))]
        neighbors = [(NO_NEIGHBOR, index, row[0], None) for row in self._rows.neighbors(index)]
        self._rows.put(neighbors + fdb)
        self._take_refusals()
        return len(fdb) + len(neighbors)

    async def _close(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.registry.close(self._keep)
        await self.access.close(self._keep)
        self._server.close()
        for one in (self.watch, self._misses, self._neighbors, self._rows):
            if one:
                one.close()
        self.looks.close()

    def _task(self, work):
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.fault(task.exception())

    def tell_ready(self):
        if not self._is_ready and not self._stopping.is_set():
            self._is_ready = True
            notify.ready(self._status())
            self.log.info("ready: %s", self._status())

    def _status(self):
        heard = self.registry.shown()
        state = "" if heard["ok"] else f", registry not heard: {heard['why']}"
        return f"{len(self.devices)} devices, {len(self.directory)} endpoints{state}"

    def _reload(self):
        if self._stopping.is_set():
            return
        notify.reloading()
        try:
            settings, warnings = self.reread()
            for warning in warnings:
                self.log.warning("%s", warning)
            before = self.settings
            self.settings, waiting = config.reloaded(before, settings)
            for name in waiting:
                self.log.warning("%s: takes effect when vtep-agent is restarted", name)
            self.log.setLevel(self.settings.loglevel)
            self.resolver.configure(self.settings.limit, self.settings.unanswered, self.settings.unanswered_ttl)
            self.access.configure(self.settings)
            if config.of_registry(before) != config.of_registry(self.settings):
                self._task(self.registry.restart(self.settings))
            self.looks.soon(self.devices)
            self.looks.sooner()
            self.log.info("configuration read again")
        except InputError as error:
            for fault in error.faults:
                self.log.error("%s", fault)
            self.log.error("the configuration stays as it was")
        except Exception as error:
            self.fault(error)
        notify.ready(self._status())

    def fault(self, error):
        """Something that nobody foresaw; it must not end the daemon, by which hosts find one another."""
        self.counters["faults"] += 1
        if isinstance(error, (OSError, FabricError)):
            self._alarm(f"{type(error).__name__} {error}", str(error))
        else:
            trace = error if isinstance(error, BaseException) else None
            self.log.error("fault: %s", error, exc_info=trace)

    def _alarm(self, key, text):
        self.alarms.add(key, text, self.now())

    def take_alarms(self):
        for one in (self.directory, self.resolver):
            alarms, one.alarms[:] = list(one.alarms), []
            for key, text in alarms:
                self._alarm(key, text)

    def now(self):
        return self._loop.time()

    def counts(self):
        """{name: number} of all counters."""
        more = {"misses lost": self._misses.lost, "changes lost": self._neighbors.lost}
        return {**self.resolver.counters, **self.counters, **more, "entries refused": self.registry.entries_refused}

    def later(self, seconds, call, *arguments):
        self._loop.call_later(seconds, call, *arguments)

    def beside(self, make):
        """What a function makes that takes long, by a thread; to be awaited."""
        return self._loop.run_in_executor(None, make)

    # Devices

    def _links(self):
        try:
            if self.watch.read():
                self._take_devices()
        except (OSError, FabricError) as error:
            self.fault(error)
            self._loop.call_later(AGAIN, self._rescan)

    def _rescan(self):
        if self._stopping.is_set():
            return
        try:
            # Of what `read` took in before it failed, `rescan` knows no difference.
            self.watch.rescan()
            self._take_devices()
        except (OSError, FabricError) as error:
            self.fault(error)
            self._loop.call_later(AGAIN, self._rescan)

    def _take_devices(self):
        found, self.left_out = {}, {}
        for index, one in self.watch.devices.items():
            if not one.misses:
                continue
            if one.external or one.vnifilter:
                self.left_out[one.name] = "it is made with 'external', and so its misses do not tell their VNI"
                self._alarm(f"external {one.name}", f"{one.name} is left out: {self.left_out[one.name]}")
                continue
            # 0 stands for never. The kernel ages the rows of each device by itself; neighbours are the agent's to age.
            ageing = one.ageing or float("inf")
            found[index] = Device(index, one.name, one.vni, one.local, ageing, one.l2, one.learning)
        before, self.devices = self.devices, found
        if found == before:
            return
        self.looks.sooner()
        self._take_refusals()
        self.write(self.resolver.devices(found, self.now()))
        self.take_alarms()
        try:
            self.groups.forget(self.watch.devices)
        except FabricError as error:
            self.fault(error)
        self.access.layout(found)
        self.looks.soon(index for index in found if found[index] != before.get(index))

    # Misses and other changes of the kernel's tables

    def _missed(self):
        lost = self._misses.lost
        # Mostly there is one alone, which is not to wait until it is known that there are no more.
        for most in (1, MISSES):
            began = time.monotonic()
            ops = self.resolver.misses(self._misses.read(most), began)
            if ops:
                self.write(ops)
                self.latency.observe(time.monotonic() - began, len(ops))
        if self._misses.lost != lost:
            self._alarm("misses lost", "misses came faster than they were read; the tables are read again")
            self.looks.soon(self.devices)
        if self.resolver.alarms:
            self.take_alarms()

    def write(self, ops):
        """Carry out the resolver's operations."""
        if not ops or self._stopping.is_set():  # what is to go has gone
            return
        try:
            self._rows.put(ops)
        except (OSError, FabricError) as error:
            self.fault(error)
            self._loop.call_later(AGAIN, self.looks.soon, self.devices)
        if not self._checking:
            self._checking = True
            self._loop.call_later(REFUSALS, self._take_refusals)

    def _take_refusals(self):
        self._checking = False
        there = {}
        for op, errno, words in self._rows.failures():
            if op is not None and op[0] == NEW_FDB and errno == errnos.EEXIST:
                there.setdefault(op[1], set()).add(op[2])
                continue
            self.counters["rows refused"] += 1
            if op is None:
                self._alarm("refusals lost", words)
                self.looks.soon(self.devices)
                continue
            kind, index, key, _value = op
            device = self.devices.get(index)
            if device is None:
                continue
            self.resolver.refused(index, key)
            self._alarm(f"refused {index} {kind} {words}", f"{device.name}: {VERBS[kind]} of {key_text(key)}: {words}")
        for index, macs in there.items():
            if index in self.devices:
                self._take_existing(index, macs)

    def _take_existing(self, index, macs):
        """MACs had rows before new ones could be written. Those that age are ours, of a moment ago, learned, or from before."""
        try:
            ours = self._rows.of(index, list(macs))
            others = macs.difference(row[0] for row in ours)
            absent = set(self._rows.absent(index, list(others)))
        except (OSError, FabricError) as error:
            self._rows.renew()
            self.fault(error)
            self.looks.soon([index])
            return
        now = self.now()
        for mac in others - absent:
            self.resolver.gone(index, mac, now, taken=True)
        for mac in absent:  # it went meanwhile, and is asked for again
            self.resolver.refused(index, mac)
        self.write(self.resolver.found(index, [row[:3] for row in ours], now))

    def _changed(self):
        lost = self._neighbors.lost
        events = self._neighbors.read()
        now = self.now()
        for event in events:
            if event.index in self.devices and not event.master:
                # A row that somebody has made permanent is his.
                if event.gone:
                    self.resolver.gone(event.index, event.key, now)
                elif not _is_ours(event):
                    self.resolver.gone(event.index, event.key, now, taken=True)
        self.access.events(events)
        if self._neighbors.lost != lost:
            self._alarm("changes lost", "changes of tables came faster than they were read; the tables are read again")
            self.resolver.lost()
            self.access.resync()
            self.looks.soon(self.devices)
            # What was written just before that look is taken to be there whatever it sees; this one sees it as it is.
            self.later(SETTLE + PAUSE, self.looks.soon, self.devices)

    # The registry

    def _follow_soon(self):
        if not self._following:
            self._following = True
            self._loop.call_soon(self._follow)

    def _follow(self):
        """Let the kernel have what the registry says now."""
        self._following = False
        if self._stopping.is_set():
            return
        now = self.now()
        due = self.directory.tick(now)
        if self._tick_timer:
            self._tick_timer.cancel()
        self._tick_timer = self._loop.call_at(max(due, now + PAUSE), self._follow) if due is not None else None
        keys = self.directory.changes()
        if keys:
            self._take_refusals()  # what turns out not to be ours is not to be moved or removed
            self.write(self.resolver.changed(keys, now))
            if self.settings.groups:
                vnis = {vni for vni, _mac in keys}
                self.looks.soon(index for index, device in self.devices.items() if device.vni in vnis)
        if len(keys) >= MANY:
            gc.freeze()  # else the collector looks through all of it again and again, while misses wait
        self.take_alarms()
        if self.registry.known:
            self.looks.known()

    # The clock

    def _housekeeping(self):
        """Once a second, what no event brings about."""
        self._loop.call_later(HOUSEKEEPING, self._housekeeping)
        now = self.now()
        self.alarms.tick(now)
        self.access.look()
        if now - self._written < figures.INTERVAL:
            return
        self._written = now
        notify.status(self._status())
        if self.settings.textfile:
            try:
                figures.write(self.settings.textfile, figures.text(self))
            except OSError as error:
                self._alarm("textfile", f"textfile: {self.settings.textfile}: {error.strerror}")


def _is_ours(event):
    if event.family == AF_BRIDGE:
        return not event.state & NUD_OTHERS and not event.flags & NTF_EXT_LEARNED
    return event.protocol == values.AGENT_PROTOCOL


async def _live(agent, only):
    try:
        await agent.run()
    finally:
        # Python waits for threads, and one that hangs in a system call has no end.
        agent.leaving = threading.Timer(LEAVE, _leave, [only, 1 if sys.exc_info()[0] else 0])
        agent.leaving.daemon = True
        agent.leaving.start()


def _leave(only, code):
    with contextlib.suppress(OSError):  # it is closed, if it is only threads that go on
        only.close()
    os._exit(code)


def run(file, overrides):
    """The daemon from its start to its end. The exit code."""

    def reread():
        return config.load(file, overrides)

    only = logger = None
    try:
        settings, warnings = reread()
        only = instance.Instance(config.PROGRAM, settings.pidfile)
        only.write()
        logger = log.start(config.PROGRAM, settings.logdest, settings.loglevel)
        for warning in warnings:
            logger.warning("%s", warning)
        sys.setswitchinterval(SWITCH)
        agent = Agent(settings, reread, logger)
        asyncio.run(_live(agent, only))
        agent.looks.reader.shutdown()
        agent.leaving.cancel()
    except FabricError as error:
        for fault in getattr(error, "faults", [error]):
            sys.stderr.write(f"{config.PROGRAM}: {fault}\n")
            if logger and settings.logdest != "stdout":
                logger.error("%s", fault)
        return 1
    finally:
        if only:
            only.close()
    return 0
