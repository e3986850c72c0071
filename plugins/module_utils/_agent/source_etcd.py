# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry in etcd: all keys once, then every change as it happens; and this host's own endpoints, see publisher.py.

That contact is lost is noticed within 10 seconds: the watch's connection by TCP's keep-alive, an etcd that hangs or has lost the
other members by asking it something every other second, and a watch that leaves out changes by the revision in the answer.
"""

from __future__ import annotations

import asyncio
import time

from . import claims, etcd, http
from .publisher import Publisher
from .source import Backoff, Faults, Source

PROBE = 2.0  # seconds between two questions
PATIENCE = 3.0  # seconds for their answers; the second one in a row that stays away is one too many
BEHIND = 4.0  # seconds that etcd may be further than the watch, before that is opened anew
CHECK = 60.0  # seconds between two times of that: others may use the etcd too, and its revision counts their keys
SLICE = 200  # rows that are taken in at once; misses are waited for meanwhile


class EtcdSource(Source):
    """The keys PREFIX/endpoints/VNI/MAC/VTEP. Of two claims, the one that was written later is newer."""

    name = "etcd"
    publishes = True

    def __init__(self, settings, sink, log):
        super().__init__(settings, sink, log)
        self.counters.update({"events": 0, "watches": 0, "compactions": 0, "data lost": 0})
        self.lag = 0.0
        self._start = claims.etcd_start(settings.prefix).encode()
        self._end = etcd.prefix_end(self._start)
        self._publisher = Publisher(settings, self.counters, sink.alarm, log)
        self._etcd = None
        self._at = 0  # which URL is asked
        self._backoff = Backoff()
        self._cluster = self._witness = None  # witness: the latest row that is known
        self._seen = 0  # up to which revision all is known
        self._replaced = False  # the etcd there is another one than before
        self._checked = 0  # up to which revision it is known that nothing was left out
        self._behind = None  # since when etcd is further
        self._opened = 0.0
        self._again = None

    def publish(self, endpoints, local, learned=()):
        """What this host's endpoints are now: {(vni, mac): addresses} and {vni: own VTEP}.

        learned: those of them that were just heard of here, though they may have been there in the last call; that makes this
        host's claim the newest one. So does an endpoint, or an address of it, that was not there in the last call.
        """
        self._publisher.publish(endpoints, local, learned)

    def configure(self, settings):
        """Other settings for the same keys of the same etcd, while run() is not running."""
        self.settings = settings
        self._publisher.configure(settings)
        if self._etcd:
            self._etcd.close()
        self._etcd = None  # the next one has the new password

    @property
    def yielded(self):
        """The (vni, mac) of endpoints of this host that are not published since another VTEP has claimed them later."""
        return self._publisher.yielded()

    def on_yield(self, call):
        """call(vni, mac) when an endpoint becomes one of `yielded`."""
        self._publisher.on_yield = call

    async def run(self):
        while True:
            try:
                if self._etcd is None:
                    self._etcd = self._client()
                await self._session(self._etcd)
            except asyncio.CancelledError:
                raise
            except etcd.Compacted:
                self.counters["compactions"] += 1
                self._witness = None  # all keys anew
            except (etcd.EtcdError, OSError) as error:
                self.lost(str(error))
                self._at += 1
            except Exception as error:  # nobody foresaw it, and the next attempt may go well
                self.log.error("fault: etcd: %s", error, exc_info=error)
                self.lost("a fault of the agent, told in its log")
            if self._etcd:
                self._etcd.close()
            self._etcd = None  # made anew: the files of its certificates may have been replaced
            await asyncio.sleep(self._backoff.next())

    async def close(self, keep=False):
        """Take back what is published, unless the agent will be there again in a moment (keep)."""
        client, self._etcd = self._etcd, None
        try:
            if self._publisher.holds and not keep:
                client = client or self._client()
                await self._publisher.close(client)
        except (etcd.EtcdError, OSError) as error:
            self.log.warning("etcd: what is published here stays until its lease ends: %s", error)
        finally:
            if client:
                client.close()

    def _client(self):
        given = self.settings
        tls = None
        if any(url.startswith("https:") for url in given.urls):
            try:
                tls = http.context(given.ca_file, given.cert_file, given.key_file)
            except OSError as error:
                files = ", ".join(one for one in (given.ca_file, given.cert_file, given.key_file) if one)
                raise OSError(f"{files}: {error.strerror or error}") from None
        return etcd.Etcd(given.urls[self._at % len(given.urls)], tls, given.username, given.password)

    async def _session(self, client):
        """For as long as there is contact."""
        if not await self._resumable(client):
            await self._load(client)
        self._again = asyncio.Event()
        tasks = [asyncio.ensure_future(one(client)) for one in (self._watch, self._probe, self._publisher.run)]
        try:
            done, _running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if client.unauthenticated:
                self.log.warning("etcd: it knows no users, and lets everybody in; the user name is not used")

    # --- all of it

    async def _resumable(self, client):
        """Whether the etcd there is the one that was there before, so that the changes since then are enough."""
        if self._witness is None:
            return False
        try:
            header, row = await client.get(self._witness.key, self._witness.revision)
        except etcd.Compacted:
            return False
        except etcd.EtcdError as error:
            if error.code != etcd.OUT_OF_RANGE:
                raise
            return False  # a revision that it has not reached
        same = header.cluster == self._cluster and header.revision >= self._seen
        if not same or row is None or row.revision != self._witness.revision:
            self._replaced = True
        return not self._replaced

    async def _load(self, client):
        found, faults, witness, latest = [], Faults(self), None, None
        self._publisher.forget()
        async for header, rows in client.pages(self._start, self._end):
            for at in range(0, len(rows), SLICE):
                for row in rows[at : at + SLICE]:
                    claim = self._claim(row, faults.add)
                    if claim:
                        found.append(claim)
                    if witness is None or row.revision > witness.revision:
                        witness = row
                await asyncio.sleep(0)
            latest = header
        faults.end()
        self.reached()
        self.counters["snapshots"] += 1
        known = self._cluster is not None
        lost = known and (self._replaced or latest.cluster != self._cluster or latest.revision < self._seen)
        self._replaced = False
        if lost:
            self._tell_lost(latest)
        self._cluster, self._seen, self._checked = latest.cluster, latest.revision, latest.revision
        self._witness = witness and witness._replace(value=b"")
        self.sink.snapshot(found, self.settings.grace if lost else 0.0)
        if not known:
            self.good()  # before the watch says so too

    def _tell_lost(self, header):
        self.counters["data lost"] += 1
        text = (
            f"etcd's data are not those of before: cluster {self._cluster:x} at revision {self._seen} has become "
            f"{header.cluster:x} at {header.revision}; endpoints that it does not name stay for {self.settings.grace:g} s, "
            f"and those of this host are published again"
        )
        self.sink.alarm(("etcd", "data lost"), text)
        self.log.warning("%s", text)
        self._publisher.lost()

    def _claim(self, row, fault):
        """The claim of a row, or None. What is refused takes the place of what was there."""
        where = None
        try:
            where = claims.etcd_endpoint(self.settings.prefix, row.key)
            found = claims.from_etcd(self.settings.prefix, row.key, row.value, row.revision)
        except ValueError as error:
            fault(row.key, f"etcd: {error}")
            if where:
                self._publisher.row(where, row, ())
                self.sink.drop(*where)
            return None
        self._publisher.row(where, row, found.addresses)
        return found

    # --- changes

    async def _watch(self, client):
        while True:
            self._again.clear()
            self._opened = time.monotonic()
            self.counters["watches"] += 1
            async with client.watch(self._start, self._end, self._seen + 1) as changes:
                tasks = [asyncio.ensure_future(self._read(changes)), asyncio.ensure_future(self._again.wait())]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    if tasks[0].done():
                        tasks[0].result()
                finally:
                    for one in tasks:
                        one.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, changes):
        first = True
        async for header, events, more in _first_in_time(changes, http.TIMEOUT):
            if header.cluster != self._cluster:
                raise etcd.EtcdError("etcd's data were replaced")
            self.good()
            self._backoff.reset()
            for at in range(0, len(events), SLICE):
                for event in events[at : at + SLICE]:
                    self._change(event)
                if len(events) > SLICE:
                    await asyncio.sleep(0)
            if events and not more:
                # The header's revision may be of changes that are still to come.
                self._seen = max(self._seen, max(event.row.revision for event in events))
            elif not events and not first:
                self._checked = max(self._checked, header.revision)
            first = False

    def _change(self, event):
        self.counters["events"] += 1
        row = event.row
        if event.gone:
            self.sink.mended(row.key)
        else:
            claim = self._claim(row, self._fault)
            if claim:
                self.sink.mended(row.key)
                self.sink.put(claim)
            if self._witness is None or row.revision >= self._witness.revision:
                self._witness = row._replace(value=b"")
            return
        try:
            where = claims.etcd_endpoint(self.settings.prefix, row.key)
        except ValueError:
            return  # it was refused
        self._publisher.gone(where, row)
        self.sink.drop(*where)

    def _fault(self, key, text):
        self.counters["entries refused"] += 1
        self.sink.fault(key, text)

    # --- whether it is still there

    async def _probe(self, client):
        failed = False
        while True:
            if not failed:
                await asyncio.sleep(PROBE)
            try:
                header = await client.revision(self._start, timeout=PATIENCE)
            except etcd.EtcdError:
                if failed:
                    raise
                failed = True
                await asyncio.sleep(PROBE / 10)
                continue
            failed = False
            self.reached()
            if header.cluster != self._cluster or header.revision < self._seen:
                raise etcd.EtcdError("etcd's data were replaced")
            self._compare(header.revision)

    def _compare(self, revision):
        """How long etcd has been further than what is known here."""
        now = time.monotonic()
        if revision <= max(self._seen, self._checked):
            self._behind = None
        elif self._behind is None:
            self._behind = now
        elif now - self._behind >= BEHIND and now - self._opened >= CHECK:
            # Either others' keys have changed, or the watch leaves something out; the new one tells.
            self._checked, self._behind = revision, None
            self._again.set()
        self.lag = round(now - self._behind, 3) if self._behind is not None else 0.0


async def _first_in_time(changes, timeout):
    """What `changes` gives; the first of it has to be there in time."""
    try:
        yield await http.within(timeout, changes.__anext__())
    except StopAsyncIteration:
        return
    except asyncio.TimeoutError:
        raise etcd.EtcdError(f"the watch does not begin within {timeout:g} s") from None
    async for one in changes:
        yield one
