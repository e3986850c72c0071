# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry as the agent sees it: a source, what it has told, and whether it is heard."""

from __future__ import annotations

import asyncio
import collections
import time

from .._model.errors import FabricError

MOST_REFUSED = 100  # entries kept for `vtep-agent status`
CANCEL = 0.5  # seconds until a source that goes on is told again to end


def make(settings, sink, log):
    """The source that the settings name."""
    if settings.kind == "etcd":
        from .source_etcd import EtcdSource as Source
    elif settings.kind == "http":
        from .source_http import HttpSource as Source
    else:
        from .source_file import FileSource as Source
    return Source(settings, sink, log)


def _same(before, now):
    """Whether two settings lead to the same keys of the same registry."""
    return all(getattr(before, name) == getattr(now, name) for name in ("kind", "urls", "prefix", "username"))


class Registry:
    """Fills the directory, as the sink of the source. `changed` is called after that, `told` with (key, text) of what is refused.

    known: whether the registry has told all that it has, at least once.
    """

    def __init__(self, directory, changed, told, log, make=make):
        self.directory = directory
        self.source = None
        self.yielded = None  # called with (vni, mac) of an endpoint of this host that another VTEP has claimed since
        self.known = False
        self.entries_refused = 0
        self.refused = collections.OrderedDict()  # key: (when, text, after how many snapshots), latest last
        self._snapshots = 0
        self._changed, self._told, self._log = changed, told, log
        self._make = make
        self._restarting = asyncio.Lock()
        self._task = self._publication = None

    # Start and end

    def start(self, settings):
        self.source = self._make(settings, self, self._log)
        if self.publishes:
            self.source.on_yield(self._yielded)
        if self._publication:
            self._publish()
        self._task = asyncio.ensure_future(self._run(self.source))

    async def _run(self, source):
        try:
            await source.run()
        except asyncio.CancelledError:
            raise
        except Exception:  # it is not to; the directory stays, and somebody has to know
            source.ok, source.why = False, "a fault of the agent, told in its log"
            self._log.exception("fault in the registry's source")

    async def restart(self, settings):
        """Go on with other settings. What is known stays until the source has told what it has; and with the same registry so does
        what is published here.
        """
        async with self._restarting:
            source = self.source
            if source is None or not source.publishes or not _same(source.settings, settings):
                await self.close()
                self.start(settings)
                return
            await self._cancel()
            source.configure(settings)
            self._task = asyncio.ensure_future(self._run(source))

    async def close(self, keep=False):
        """keep: what is published here is to stay, since the agent will be there again in a moment."""
        source = self.source
        if source is None:
            return
        # It is there until it has closed: when this is cancelled, whoever closes next ends what is published.
        await self._cancel()
        try:
            await (source.close(keep) if source.publishes else source.close())
        except (OSError, FabricError) as error:
            self._log.warning("registry: %s", error)
        self.source = None

    async def _cancel(self):
        while not self._task.done():
            # Again, since wait_for of Python before 3.12 forgets it when what it waits for comes in the same moment.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL)

    # What the source calls

    def snapshot(self, claims, grace=0.0):
        self.directory.snapshot(claims, self._now(), grace)
        # Told before the last snapshot, and not of this one.
        for key in [key for key, (_when, _text, snapshot) in self.refused.items() if snapshot < self._snapshots]:
            del self.refused[key]
        self._snapshots += 1
        self.known = True
        self._changed()

    def put(self, claim):
        self.directory.put(claim, self._now())
        self._changed()

    def drop(self, vni, mac, vtep):
        self.directory.drop(vni, mac, vtep, self._now())
        self._changed()

    def fault(self, key, text):
        """An entry is refused; the others go on."""
        self.entries_refused += 1
        self.refused.pop(key, None)
        self.refused[key] = (self._now(), text, self._snapshots)
        if len(self.refused) > MOST_REFUSED:
            self.refused.popitem(last=False)
        self._told(key, f"registry: {text}")

    def alarm(self, key, text):
        """There is trouble that is of no entry."""
        self._told(key, f"registry: {text}")

    def mended(self, key):
        """What is in the place of an entry is well-formed, or gone."""
        self.refused.pop(key, None)

    def state(self):
        """Whether it is heard has changed; the source has told it."""
        self._changed()

    # Publication

    def publish(self, endpoints, local, learned=()):
        """What this host's endpoints are from now on, see source_etcd.py."""
        self._publication = endpoints, local
        self._publish(learned)

    def _publish(self, learned=()):
        if self.publishes:
            self.source.publish(*self._publication, learned)

    def _yielded(self, vni, mac):
        if self.yielded:
            self.yielded(vni, mac)

    @property
    def publishes(self):
        return self.source is not None and self.source.publishes

    # To be seen

    def shown(self):
        source, now = self.source, self._now()
        if source is None:
            return {"name": None, "ok": False, "why": "the agent is ending"}
        heard = source.heard
        return {
            "name": source.name,
            "ok": source.ok,
            "why": None if source.ok else source.why,
            "known": self.known,
            "heard": None if heard is None else round(max(0.0, now - heard), 3),
            "endpoints": len(self.directory),
            "refused": self.entries_refused,
            "refusals": [text for _when, text, _snapshot in self.refused.values()],
            "counters": dict(source.counters),
            "lag": source.lag,
        }

    @staticmethod
    def _now():
        return time.monotonic()
