# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry between its source and the agent: reloads, and what is told of entries that are refused."""

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings
from ansible_collections.vtep.fabric.plugins.module_utils._agent.directory import Directory
from ansible_collections.vtep.fabric.plugins.module_utils._agent.publisher import Publisher
from ansible_collections.vtep.fabric.plugins.module_utils._agent.registry import Registry
from ansible_collections.vtep.fabric.plugins.module_utils._agent.source_etcd import EtcdSource

log = logging.getLogger("test")
ETCD = Settings(kind="etcd", urls=("https://127.0.0.1:9",), username="u", password="p")


class Fake:
    """A source that publishes, and does nothing."""

    publishes, ok, why, heard, name, counters, lag = True, True, "", None, "fake", {}, None

    def __init__(self, settings, _sink, _log):
        self.settings, self.told = settings, []

    def on_yield(self, _call):
        pass

    def publish(self, *what):
        self.told.append(what)

    def configure(self, settings):
        self.settings = settings
        self.told.append("configured")

    async def run(self):
        self.told.append("runs")
        await asyncio.Event().wait()

    async def close(self, keep=False):
        self.told.append(("closed", keep))


def made(make=Fake):
    told = []
    registry = Registry(Directory(), lambda: None, lambda key, text: told.append(text), log, make)
    return registry, told


@pytest.mark.parametrize(
    "change", [{"interval": 9.0}, {"grace": 1.0}, {"password": "q"}, {"lease": 60}, {"ca_file": "/x"}]
)
def test_a_reload_with_the_same_registry_keeps_what_is_published(change):
    async def work():
        registry, _told = made()
        registry.start(ETCD)
        source = registry.source
        registry.publish({}, {})
        await asyncio.sleep(0)
        settings = replace(ETCD, **change)
        await asyncio.gather(registry.restart(settings), registry.restart(settings))
        await asyncio.sleep(0)
        assert registry.source is source and source.settings == settings
        assert source.told == [({}, {}, ()), "runs", "configured", "runs", "configured", "runs"]
        await registry.close()
        assert source.told[-1] == ("closed", False)

    asyncio.run(work())


@pytest.mark.parametrize("change", [{"urls": ("https://127.0.0.1:8",)}, {"prefix": "/other"}, {"username": "v"}])
def test_a_reload_with_another_registry_takes_back_what_is_published(change):
    async def work():
        registry, _told = made()
        registry.start(ETCD)
        registry.publish({}, {})
        source = registry.source
        await registry.restart(replace(ETCD, **change))
        assert source.told[-1] == ("closed", False)
        assert registry.source is not source and registry.source.told == [({}, {}, ())]
        await registry.close()

    asyncio.run(work())


def test_what_is_published_ends_though_a_reload_was_about_to_end_it():
    """The agent ends, and with it its tasks, while a reload goes over to another registry."""

    class Slow(Fake):
        async def close(self, keep=False):
            await super().close(keep)
            if self.told.count(("closed", keep)) == 1:
                await asyncio.Event().wait()

    async def work():
        registry, _told = made(Slow)
        registry.start(ETCD)
        source = registry.source
        reload = asyncio.ensure_future(registry.restart(replace(ETCD, prefix="/other")))
        await asyncio.sleep(0.01)
        reload.cancel()
        await asyncio.gather(reload, return_exceptions=True)
        await registry.close()
        assert source.told[-2:] == [("closed", False)] * 2 and registry.source is None
        await registry.close()

    asyncio.run(work())


def test_a_lease_whose_end_was_not_told_is_still_held(tmp_path):
    class Client:
        revoked = ()

        async def revoke(self, lease, _timeout):
            self.revoked += (lease,)
            if len(self.revoked) == 1:
                await asyncio.Event().wait()

    async def work():
        publisher = Publisher(replace(ETCD, statedir=str(tmp_path)), Counter(), None, log)
        publisher._lease, client = 7, Client()
        task = asyncio.ensure_future(publisher.close(client))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert publisher.holds
        await publisher.close(client)
        assert client.revoked == (7, 7) and not publisher.holds

    asyncio.run(work())


def test_refused_entries_go_with_the_document_that_had_them():
    async def work():
        registry, _told = made()
        registry.start(ETCD)
        registry.fault("a", "first")
        registry.snapshot([])
        assert registry.shown()["refusals"] == ["first"]
        registry.fault("b", "second")
        registry.snapshot([])
        assert registry.shown()["refusals"] == ["second"]
        registry.fault("c", "of a change")
        registry.mended("c")
        registry.snapshot([])
        assert (registry.shown()["refusals"], registry.shown()["refused"]) == ([], 3)
        await registry.close()

    asyncio.run(work())


def test_trouble_with_publishing_and_lost_data_are_no_refused_entries():
    async def work():
        registry, told = made(EtcdSource)
        registry.start(ETCD)
        registry.source._publisher._bad(OSError("no space"))
        registry.source._cluster = 1
        registry.source._tell_lost(SimpleNamespace(cluster=2, revision=1))
        assert registry.entries_refused == 0 and registry.shown()["refusals"] == []
        assert len(told) == 2 and "no space" in told[0] and "data are not those" in told[1]
        assert registry.shown()["lag"] == 0 and "lag ms" not in registry.shown()["counters"]
        await registry.close()

    asyncio.run(work())
