# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent answers at its control socket."""

from __future__ import annotations

from .._model.errors import FabricError, InputError
from . import metrics, why
from .claims import address_text
from .listing import key_text

MOST_NAMED = 100  # conflicts in an answer


class Requests:
    def __init__(self, agent):
        self._agent = agent

    def handlers(self):
        return {
            "status": self._status,
            "entries": self._entries,
            "misses": self._misses,
            "why": self._why,
            "metrics": lambda _arguments: metrics.text(self._agent),
        }

    def _status(self, _arguments):
        agent = self._agent
        rows = agent.resolver.sizes()
        return {
            "started": agent.started,
            "registry": {"kind": agent.settings.kind, **agent.registry.shown()},
            "conflicts": self._conflicts(),
            "devices": [_device(agent, index, device) for index, device in sorted(agent.devices.items())],
            "left_out": agent.left_out,
            "rows": {**rows, "limit": agent.settings.limit, "groups": sum(map(len, agent.groups.ours.values()))},
            "access": {**agent.access.shown(), **({} if agent.registry.publishes else {"published": None})},
            "counters": agent.counts(),
            "answer_seconds": {"p50": agent.latency.quantile(0.5), "p99": _finite(agent.latency.quantile(0.99))},
        }

    def _conflicts(self):
        return [
            {
                "vni": vni,
                "key": key_text(key),
                "claims": [{"mac": key_text(one.mac), "vtep": address_text(one.vtep)} for one in claims[:8]],
            }
            for (vni, key), claims in list(self._agent.directory.conflicts.items())[:MOST_NAMED]
        ]

    async def _entries(self, arguments):
        agent = self._agent
        found = await self._beside(lambda: agent.resolver.entries(agent.now()))
        names = {index: (device.name, device.vni) for index, device in agent.devices.items()}
        return self._of_device(found + agent.groups.entries(names), arguments)

    async def _misses(self, arguments):
        agent = self._agent
        return self._of_device(await self._beside(lambda: agent.resolver.missing(agent.now())), arguments)

    async def _beside(self, make):
        """Make a long answer beside the loop, which has misses to answer. What is read may change meanwhile."""
        for _dummy in range(3):
            try:
                return await self._agent.beside(make)
            except RuntimeError:  # a table has changed its size
                continue
        return make()

    def _of_device(self, found, arguments):
        name = arguments.get("device")
        if name is None:
            return found
        if name not in {device.name for device in self._agent.devices.values()}:
            raise InputError(f"{str(name)[:80]!r} is not a device that the agent serves")
        return [one for one in found if one["device"] == name]

    async def _why(self, arguments):
        agent = self._agent
        key = why.key_of(arguments.get("address", ""))
        vni = arguments.get("vni")
        if vni is not None and (not isinstance(vni, int) or isinstance(vni, bool)):
            raise InputError(f"vni: {str(vni)[:80]!r} is not a number")
        kernel = {}
        for index, device in list(agent.devices.items()):
            if vni in (None, device.vni) and (vni is not None or why.mac_of(agent.directory, device.vni, key)):
                try:
                    kernel[index] = (await agent.looks.read(device))[:2]
                except (OSError, FabricError) as error:
                    if index in agent.devices:
                        raise InputError(f"{device.name}: {error}") from None
        others = {}
        for index, device in agent.watch.devices.items():
            if index not in agent.devices and device.vni:
                others.setdefault(device.vni, []).append(device.name)
        facts = why.Facts(
            directory=agent.directory,
            devices=agent.devices,
            others=others,
            registry=agent.registry.shown(),
            missing=await self._beside(lambda: agent.resolver.missing(agent.now())),
            kernel=kernel,
        )
        return why.explain(facts, key, vni)


def _device(agent, index, device):
    here = agent.watch.devices.get(index)
    return {
        "device": device.name,
        "vni": device.vni,
        "local": device.local and address_text(device.local),
        "state": here.state if here else None,
        "l3": bool(here and here.l3),
        **agent.resolver.sizes(index),
    }


def _finite(value):
    """JSON has no infinity."""
    return None if value in (None, float("inf")) else value
