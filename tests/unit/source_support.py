# SPDX-License-Identifier: GPL-3.0-or-later
"""A source of the agent on a loop, and what it tells."""

import asyncio
import logging
import time

WAIT = 20


class Sink:
    def __init__(self):
        self.snapshots, self.faults, self.states = [], [], 0

    def snapshot(self, found, grace=0.0):
        assert grace == 0.0
        self.snapshots.append([one.mac[5] for one in found])

    def fault(self, key, text):
        self.faults.append(text)

    def state(self):
        self.states += 1

    @property
    def last(self):
        return self.snapshots[-1] if self.snapshots else None


class Running:
    """The source runs within `async with`. `until` waits for something to be true."""

    def __init__(self, make, settings):
        self.sink, self.told = Sink(), []
        logger = logging.Logger("test")
        logger.handle = lambda record: self.told.append(record.getMessage())
        self.source = make(settings, self.sink, logger)

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.source.run())
        return self

    async def __aexit__(self, *_error):
        assert not self.task.done(), "it ends by itself"
        while not self.task.done():  # Python's wait_for may forget one
            self.task.cancel()
            await asyncio.wait([self.task], timeout=0.2)
        await self.source.close()
        await self.source.close()

    async def until(self, what):
        end = time.monotonic() + WAIT
        while not what():
            assert time.monotonic() < end, (self.sink.snapshots, self.source.why, self.told)
            await asyncio.sleep(0.01)

    async def has(self, *numbers):
        await self.until(lambda: self.sink.last == list(numbers))
