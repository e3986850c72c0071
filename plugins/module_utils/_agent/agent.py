# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-agent: answers the misses of this host's VXLAN devices out of a registry, and keeps what it has answered right."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
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
from .groups import Groups, wanted
from .listing import key_text
from .registry import Registry
from .requests import Requests
from .resolver import FDB, NEIGHBOR, NO_FDB, NO_NEIGHBOR, Device, Resolver

AGAIN = 1.0  # seconds until what failed is tried again
READY = 10.0  # seconds after which a service is ready even if its registry has told nothing
REFUSALS = 0.05  # seconds from writing rows until the kernel's refusals are read
HOUSEKEEPING = 1.0
REST = 20  # looks at tables are followed by so many times the time that they took without one
PAUSE = 0.05  # and at least by this
SWITCH = 0.0002  # seconds after which a thread that works beside the loop lets it go on
MISSES = 1000  # that are answered in one go
LEAVE = 5.0  # seconds that threads have after the end
MANY = 1000  # changes of the directory, after which what there is will be there for long

AF_BRIDGE = 7
NUD_OTHERS = 0x80 | 0x40  # NUD_PERMANENT, NUD_NOARP: no state of a row of the agent's in a forwarding table
NTF_EXT_LEARNED = 0x10
VERBS = {FDB: "write row", NEIGHBOR: "write neighbour", NO_FDB: "remove row", NO_NEIGHBOR: "remove neighbour"}


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
        # One thread, since the sockets of `_tables` are one's alone.
        self.reader = concurrent.futures.ThreadPoolExecutor(1, "tables")
        self.devices = {}  # {index: resolver.Device} that are served
        self.left_out = {}  # {name: why} of devices that tell of misses and are not served
        self.registry = self.access = self.groups = None
        self.watch = self._misses = self._neighbors = self._rows = self._tables = None
        self._loop = self._stopping = self._server = None
        self.leaving = None  # ends the process if threads do not
        self._keep = self._is_ready = False
        self._following = self._checking = False
        self._tick_timer = None
        self._due, self._full, self._wake = set(), 0.0, None  # indexes of devices whose tables are to be looked at
        self._shortest = 300.0  # ageing time of any device
        self._written = 0.0
        self._tasks = set()

    # Start and end

    async def run(self):
        """Until a signal ends it. Raises FabricError where it cannot start."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda _loop, context: self.fault(context.get("exception") or context["message"])
        )
        self._stopping, self._wake = asyncio.Event(), asyncio.Event()
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
            self._loop.call_later(READY, self._tell_ready)
            self._housekeeping()
            lifecycle.keep_alive(self._loop)
            self._task(self._looks())
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
        self._rows, self._tables = DynamicRows(), DynamicRows()  # two, since tables are read beside the loop
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
            except FabricError as error:
                self.log.error("%s: its rows stay: %s", device.name, error)
        try:
            self.groups.withdraw(self._rows.groups)
        except FabricError as error:
            self.log.error("rows of groups stay: %s", error)
        self.log.info("%d rows removed", removed)

    def _withdraw(self, index):
        """Remove the rows of a device that are the agent's now, whatever it remembers of them. How many."""
        fdb = [(NO_FDB, index, row[0], None) for row in _all(self._rows, index, self.resolver.macs(index))]
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
        if self._tables:
            self.reader.submit(self._tables.close)
        self.reader.shutdown(wait=False)

    def _task(self, work):
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.fault(task.exception())

    def _tell_ready(self):
        if not self._is_ready and not self._stopping.is_set():
            self._is_ready = True
            notify.ready(self._status())
            self.log.info("ready: %s", self._status())

    def _status(self):
        heard = self.registry.shown()
        state = "" if heard["ok"] else f", registry not heard: {heard['why']}"
        return f"{len(self.devices)} devices, {len(self.directory)} endpoints{state}"

    def _reload(self):
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
            self._look_soon(self.devices)
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

    def _take_alarms(self):
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

    def beside(self, make):
        """What a function makes that takes long, by a thread; to be awaited."""
        return self._loop.run_in_executor(None, make)

    async def read_tables(self, device, keep=False):
        """(FDB rows, neighbours, groups that are there, groups that are wanted) of a device. keep: rows that were used since the last time
        are to live on.
        """
        # Of the MACs that are known to have rows none is to be left out.
        macs = self.resolver.macs(device.index)
        return await self._loop.run_in_executor(self.reader, self._read_tables, device, macs, keep)

    # Devices

    def _links(self):
        try:
            if self.watch.read():
                self._take_devices()
        except FabricError as error:
            self.fault(error)
            self._loop.call_later(AGAIN, self._rescan)

    def _rescan(self):
        try:
            if self.watch.rescan():
                self._take_devices()
        except FabricError as error:
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
            found[index] = Device(index, one.name, one.vni, one.local)
        before, self.devices = self.devices, found
        if found == before:
            return
        # 0 stands for never. The kernel ages the rows of each device by itself; neighbours are the agent's to age.
        ageing = [self.watch.devices[index].ageing or float("inf") for index in found]
        self.resolver.ageing = max(ageing, default=300.0)
        self._shortest = min(ageing, default=300.0)
        self._write(self.resolver.devices(found, self.now()))
        self._take_alarms()
        try:
            self.groups.forget(self.watch.devices)
        except FabricError as error:
            self.fault(error)
        self.access.layout(found)
        self._look_soon(index for index in found if found[index] != before.get(index))

    # Misses and other changes of the kernel's tables

    def _missed(self):
        lost = self._misses.lost
        # Mostly there is one alone, which is not to wait until it is known that there are no more.
        for most in (1, MISSES):
            began = time.monotonic()
            ops = self.resolver.misses(self._misses.read(most), began)
            if ops:
                self._write(ops)
                self.latency.observe(time.monotonic() - began, len(ops))
        if self._misses.lost != lost:
            self._alarm("misses lost", "misses came faster than they were read; the tables are read again")
            self._look_soon(self.devices)
        if self.resolver.alarms:
            self._take_alarms()

    def _write(self, ops):
        if not ops:
            return
        try:
            self._rows.put(ops)
        except (OSError, FabricError) as error:
            self.fault(error)
            self._loop.call_later(AGAIN, self._look_soon, self.devices)
        if not self._checking:
            self._checking = True
            self._loop.call_later(REFUSALS, self._take_refusals)

    def _take_refusals(self):
        self._checking = False
        for op, _errno, words in self._rows.failures():
            self.counters["rows refused"] += 1
            if op is None:
                self._alarm("refusals lost", words)
                self._look_soon(self.devices)
                continue
            kind, index, key, _value = op
            device = self.devices.get(index)
            if device is None:
                continue
            self.resolver.gone(index, key, self.now(), taken=True)
            self._alarm(f"refused {index} {kind} {words}", f"{device.name}: {VERBS[kind]} of {key_text(key)}: {words}")

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
            self.access.resync()
            self._look_soon(self.devices)

    # The registry

    def _follow_soon(self):
        if not self._following:
            self._following = True
            self._loop.call_soon(self._follow)

    def _follow(self):
        """Let the kernel have what the registry says now."""
        self._following = False
        now = self.now()
        due = self.directory.tick(now)
        if self._tick_timer:
            self._tick_timer.cancel()
        self._tick_timer = self._loop.call_at(max(due, now + PAUSE), self._follow) if due is not None else None
        keys = self.directory.changes()
        if keys:
            self._write(self.resolver.changed(keys, now))
            if self.settings.groups:
                vnis = {vni for vni, _mac in keys}
                self._look_soon(index for index, device in self.devices.items() if device.vni in vnis)
        if len(keys) >= MANY:
            gc.freeze()  # else the collector looks through all of it again and again, while misses wait
        self._take_alarms()
        if self.registry.known and not self._full:
            self._wake.set()

    # Looks at the tables

    def _look_soon(self, indexes):
        self._due.update(indexes)
        if self._due:
            self._wake.set()

    async def _looks(self):
        """Look at the tables of all devices now and then, and of those that are due soon. Not before the registry has told what it
        has, since what it does not have is removed.
        """
        while True:
            now = self.now()
            if self.registry.known and now >= self._full:
                # Rows that are used must not get old from one look to the next.
                self._full = now + min(self.settings.sweep, self._shortest / 4)
                self._due.update(self.devices)
                self.access.tick(now)
            due, self._due = (self._due, set()) if self.registry.known else (set(), self._due)
            self._wake.clear()
            for index in sorted(due):
                try:
                    await self._look_at(index)
                except Exception as error:  # the other devices go on
                    self.fault(error)
                    self._loop.call_later(AGAIN, self._look_soon, [index])
            if self.registry.known and not self._due:
                self._tell_ready()
            await asyncio.sleep(max(PAUSE, REST * (self.now() - now)) if due else 0)
            left = max(0.0, self._full - self.now()) if self.registry.known else None
            woken = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait([woken], timeout=left)
            finally:
                woken.cancel()

    async def _look_at(self, index):
        device = self.devices.get(index)
        if device is None:
            return
        began = self.now()
        try:
            fdb, neighbors, there, want = await self.read_tables(device, keep=True)
        except FabricError:
            if index in self.devices:
                raise
            return
        if self.devices.get(index) != device:
            self._look_soon([index])
            return
        self.counters["sweeps"] += 1
        self._write(self.resolver.adopt(index, fdb, neighbors, self.now(), since=began))
        self._take_alarms()
        self.groups.review(device, want, there)

    def _read_tables(self, device, macs, keep):
        try:
            return self._tables_of(device, macs, keep)
        except (OSError, FabricError):
            self._tables.renew()
            raise

    def _tables_of(self, device, macs, keep):
        index = device.index
        fdb = [row[:3] for row in _all(self._tables, index, macs, keep)]
        neighbors = [row[:2] for row in self._tables.neighbors(index)]
        self._tables.failures()  # rows that went before they could be kept
        if not self.settings.groups:
            return fdb, neighbors, self._tables.groups(index) if index in self.groups.ours else {}, {}
        return fdb, neighbors, self._tables.groups(index), wanted(device, self.directory.of_vni(device.vni))

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


def _all(rows, index, macs, keep=False):
    """The FDB rows of a device. When rows go during a dump, it may leave out others; those are asked for by their MACs."""
    found = rows.fdb(index, keep)
    there = {row[0] for row in found}
    return found + rows.of(index, [mac for mac in macs if mac not in there])


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
        agent.reader.shutdown()
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
