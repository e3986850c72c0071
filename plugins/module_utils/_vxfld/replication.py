# SPDX-License-Identifier: GPL-3.0-or-later
"""Who replicates BUM frames, the kernel or the process, and when it hears of changes."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from .._kernel import vxlan_watch
from .._model.errors import FabricError, InputError
from . import replicate, replicate_nft

TOGETHER = 0.05  # seconds in which changes are gathered for the kernel
AGAIN = 5.0  # seconds until what the kernel refused is tried again


class Replication:
    """The replicator on the loop. `kernel` tells whether the kernel does it, `why` why not.

    learned(vni, source) and proxy(vni, source, port, packet) or None: as the replicator calls them; idle(): behind each
    batch of frames; fault(exception): what must not end the daemon.
    """

    def __init__(self, settings, loop, learned, proxy, idle, fault):
        self.kernel, self.why = choose(settings)
        self._loop = loop
        self._learned, self.proxy, self._idle, self._fault = learned, proxy, idle, fault
        self._timer = None
        self._flushing = None  # the task that flushes
        self._dirty = False
        self._tables = True  # whether the kernel may have tables, of this process or of one before
        try:
            self._replicator = (replicate_nft if self.kernel else replicate).Replicator(settings)
        except InputError as error:
            raise InputError(_with_owner(error.faults, settings.listen_port)) from None

    @property
    def alarms(self):
        return self._replicator.alarms

    async def start(self):
        """Replicate; what `update` told before takes the place of what a former process has left in the kernel."""
        refused = await self.flush()
        for fileno in self._replicator.filenos():
            self._loop.add_reader(fileno, self._readable, fileno)
        if not self.kernel:
            await self._loop.run_in_executor(None, self._remove)
        if refused:
            self.flush_soon(AGAIN)

    def _readable(self, fileno):
        try:
            self._replicator.handle(fileno, self._learned, self.proxy)
            self._idle()
        except Exception as error:
            self._fault(error)

    def healthy(self):
        """Whether the sockets are open and without an error of their own."""
        for fileno in self._replicator.filenos():
            with socket.socket(fileno=socket.dup(fileno)) as one:
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return False
        return bool(self._replicator.filenos())

    def inject(self, packet, source, port, vni):
        self._replicator.inject(packet, source, port, vni)

    def update(self, vni, addresses, registered):
        self._replicator.update(vni, addresses, registered)
        self._dirty = True

    def allow(self, prefixes):
        self._replicator.allow(prefixes)
        self._dirty = True
        self.flush_soon()

    def counters(self):
        return self._replicator.counters()

    def by_vni(self):
        """{vni: (frames, copies)}, in the kernel."""
        return self._replicator.by_vni() if self.kernel else {}

    # --- the kernel

    def flush_soon(self, delay=TOGETHER):
        """Have the kernel told of changes, in a thread: nft takes its time."""
        if self._dirty and self.kernel and not self._timer and not self._flushing:
            self._timer = self._loop.call_later(delay, self._flush_now)

    def _flush_now(self):
        self._timer = None
        self._flushing = asyncio.ensure_future(self.flush())
        self._flushing.add_done_callback(self._flushed)

    def _flushed(self, task):
        self._flushing = None
        if not task.cancelled():
            self.flush_soon(AGAIN if task.result() else TOGETHER)

    async def flush(self):
        """Tell the kernel now. True when it refused: the process replicates then, and it is tried again."""
        self._dirty = False
        if not self.kernel:
            return False
        try:
            await self._loop.run_in_executor(None, self._replicator.flush)
            self._tables = True
        except FabricError as error:
            self._fault(error)
            self._dirty = True
            await self._loop.run_in_executor(None, self._remove)
            return True
        return False

    async def check(self):
        """Make tables anew that somebody removed: the replicator notices when it reads the kernel's counters."""
        if self.kernel and not self._flushing:
            self._replicator.counters()
            self._dirty = True
            self.flush_soon()

    async def without_kernel(self, why):
        """Leave it to the process from now on."""
        self.kernel, self.why = False, why
        await self._settled()
        await self._loop.run_in_executor(None, self._remove)

    def _remove(self):
        if self._tables:
            with contextlib.suppress(FabricError):  # no nft: no tables; not permitted: they are not ours
                replicate_nft.remove()
                self._tables = False

    async def _settled(self):
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._flushing:
            await asyncio.wait([self._flushing])

    async def close(self):
        """Replicate no more."""
        await self._settled()
        for fileno in self._replicator.filenos():
            self._loop.remove_reader(fileno)
        self._replicator.close()
        self._remove()


def choose(settings):
    """(whether the kernel replicates, why not). Raises InputError where it must and cannot."""
    if settings.replicate == "process":
        return False, "as configured"
    possible, why = replicate_nft.available(settings)
    if not possible and settings.replicate == "kernel":
        raise InputError(f"[vxsnd] replicate: 'kernel' is not possible here ({why}); write auto or process")
    return possible, why


def _with_owner(faults, port):
    """Name the VXLAN device that has the port, if one does."""
    with contextlib.suppress(FabricError):
        names = sorted(one.name for one in vxlan_watch.scan().values() if one.port == port)
        if names:
            words = f"the VXLAN device {names[0]} of this host has it; a service node does not go onto a VTEP"
            return [fault.replace("another program has this port; end it", words) for fault in faults]
    return faults
