# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own side: its access ports, how much may be asked there, and which endpoints are behind them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from pathlib import Path

from .._kernel.bridge_ports import BridgePorts
from .._kernel.bridge_rows import BridgeRows
from .._model.errors import FabricError
from . import claims, http
from .claims import address_text
from .local import LocalEndpoints
from .snoop import Snoop
from .source_limit import SourceLimit

SETTLE = 0.05  # seconds from a change of the own endpoints until they are published
REOPEN = 3.0  # seconds until ports are listened on again where that has failed
REST = 20  # what is published is put together in one part of so many of the time
LEAVE = 5.0  # seconds that nft has at the end
FIRST = 10  # of the same trouble are told one by one
AGAIN = 1.0  # seconds until links are looked at again after word of them was lost


class Access:
    """publish: see source_etcd.py. fault: function of an exception."""

    def __init__(self, settings, publish, fault, log):
        self.settings = settings
        self.dropped = None  # requests beyond source_limit, as last looked up
        self.limit = SourceLimit(settings.source_limit, log)
        self.local = self.snoop = None
        self._publish, self._fault, self._log = publish, fault, log
        self._ports = self._rows = None
        self._devices = {}  # {index: resolver.Device} that are served
        self._layout = {}  # {bridge: (VNIs of its served devices, {access port: name})}
        self._just_learned = set()  # (vni, mac) since the last publication
        self._yielded = set()  # (vni, mac) that other VTEPs have claimed, a moment ago
        self._given = {}  # {(vni, mac): Claim} of endpoints_file
        self._seen = None  # that file as it was read, from outside
        self._loop = self._timer = self._limiting = None
        self._limit_due = False
        self._last = None  # what was published last
        self._pause = SETTLE  # until the next publication
        self._strange = None  # (given, VTEPs) of which it is told what is others'
        self._told = OrderedDict()  # the latest faults that were told
        self._reopen = 0.0  # when ports that are not heard are tried again

    # Start and end

    def start(self):
        self._loop = asyncio.get_running_loop()
        self._ports = BridgePorts()
        self._loop.add_reader(self._ports, self._links)
        self._configure()

    def configure(self, settings):
        """Go on with other settings. The given file is read again."""
        self.settings = settings
        self.limit.limit = settings.source_limit
        self._configure()
        self.layout(self._devices)

    def _configure(self):
        if self.settings.learn and not self.local:
            self.snoop = Snoop(self._listen, self._loop.remove_reader)
            self._rows = BridgeRows()
            self.local = LocalEndpoints(self._rows, self.snoop.heard, self._log)
        elif self.local and not self.settings.learn:
            self._forget()
        self._given = self._read_given()
        self._publish_soon()

    def _forget(self):
        if self.local:
            self.snoop.close()
            self._rows.close()
        self.local = self.snoop = self._rows = None

    async def close(self, keep):
        """keep: the limit outlives this process."""
        if self._timer:
            self._timer.cancel()
        self._forget()
        if self._ports:
            self._loop.remove_reader(self._ports)
            self._ports.close()
            self._ports = None
        if self._limiting:
            await asyncio.wait([self._limiting], timeout=LEAVE)
        if keep or not self._loop:
            return
        try:
            if self._limiting and not self._limiting.done():
                raise asyncio.TimeoutError
            await http.within(LEAVE, self._loop.run_in_executor(None, self.limit.close))
        except asyncio.TimeoutError:
            self._log.warning("source_limit: its table may stay: nft does not answer")

    # What happens

    def layout(self, devices):
        """The served devices, {index: resolver.Device}, or the ports of their bridges, have changed."""
        self._devices = devices
        if not self._loop:
            return
        self._layout = bridges = self._bridges()
        self.limit_soon()
        if self.local:
            self._listen_on_ports()
            self.local.layout(bridges)
        self._publish_soon()

    def _bridges(self):
        found, ports = {}, self._ports.ports
        for index, bridge in sorted(self._ports.bridges.items()):
            if index in self._devices:
                vnis, _ports = found.setdefault(bridge, ([], dict(ports.get(bridge, ()))))
                vnis.append(self._devices[index].vni)
        return found

    def events(self, events):
        """Of NeighborWatch."""
        if not self.local:
            return
        for event in events:
            vnis, ports = self._layout.get(event.master, ((), ()))
            if event.index in ports and len(set(vnis)) == 1 and not event.gone:
                # It may be there already, and another VTEP may have claimed it meanwhile.
                self._just_learned.add((vnis[0], event.key))
        if self.local.events(events) or self._just_learned:
            self._publish_soon()

    def resync(self):
        """Events were lost."""
        if self.local and self.local.resync():
            self._publish_soon()

    def tick(self, now):
        """Now and then: what is due, and what others may have changed."""
        if self.local:
            if self.local.tick(now):
                self._publish_soon()
            self.snoop.dropped()
        self.limit_soon()

    def yielded(self, vni, mac):
        """Another VTEP has claimed an endpoint of this host since."""
        if not self._yielded:
            self._loop.call_soon(self._give_up)
        self._yielded.add((vni, mac))

    def _give_up(self):
        """The bridge is to look for endpoints elsewhere than where it has learned them."""
        keys, self._yielded = self._yielded, set()
        for port, mac, vlan in self.local.places(keys) if self.local else ():
            try:
                self._rows.remove(port, mac, vlan)
            except FabricError as error:
                self._fault(error)

    def _links(self):
        try:
            if self._ports.read():
                self.layout(self._devices)
        except (OSError, FabricError) as error:
            self._fault(error)
            self._loop.call_later(AGAIN, self._rescan)

    def _rescan(self):
        if not self._ports:  # it has ended, and a limit is not to come back
            return
        try:
            self._ports.rescan()
            # Whatever it says: what failed may have taken in changes that nobody was told of.
            self.layout(self._devices)
        except (OSError, FabricError) as error:
            self._fault(error)
            self._loop.call_later(AGAIN, self._rescan)

    def _listen(self, fileno):
        self._loop.add_reader(fileno, self._frames, fileno)

    def _listen_on_ports(self):
        self.snoop.ports({index: name for _vnis, ports in self._layout.values() for index, name in ports.items()})
        self._tell_unheard()

    def _tell_unheard(self):
        texts = [f"learn: addresses behind {name} are not heard: {why}" for name, why in self.snoop.faults.items()]
        self._tell_some(texts, "learn")
        self._reopen = self._loop.time() + REOPEN

    def _frames(self, fileno):
        if not self.snoop:
            return
        if self.snoop.read(fileno, self._loop.time()):
            self.local.changed()
            self._publish_soon()
        if self.snoop.faults:
            self._tell_unheard()

    # The limit

    def limit_soon(self):
        self._limit_due = True
        if self._limiting is None or self._limiting.done():
            self._limiting = asyncio.ensure_future(self._limit())

    async def _limit(self):
        while self._limit_due:
            self._limit_due = False
            names = {name for _vnis, ports in self._layout.values() for name in ports.values()}
            try:
                await self._loop.run_in_executor(None, self.limit.apply, names)
                if self.limit.limit and names:
                    self.dropped = await self._loop.run_in_executor(None, self.limit.dropped)
            except Exception as error:  # nft's answers are others' words
                self._fault(error)

    # Publication

    def _read_given(self):
        """{(vni, mac): Claim} of endpoints_file; what it said before where it cannot be read."""
        file = self.settings.endpoints_file
        if not file:
            return {}
        try:
            self._seen = _outside(file)
            found, faults = claims.document(Path(file).read_bytes())
        except (OSError, ValueError) as error:
            self._tell(f"endpoints_file: {file}: {getattr(error, 'strerror', None) or error}; it stays as it was")
            return self._given
        for fault in faults:
            self._tell(f"endpoints_file: {file}: {fault}")
        return {(one.vni, one.mac): one for one in found}

    def look(self):
        """Read endpoints_file again when it has changed, and listen again on ports that are not heard."""
        if self.snoop and self.snoop.faults and self._loop.time() >= self._reopen:
            self._listen_on_ports()
        file = self.settings.endpoints_file
        if file and _outside(file) != self._seen:
            self._given = self._read_given()
            self._publish_soon()

    def _publish_soon(self):
        if self._timer is None:
            self._timer = self._loop.call_later(self._pause, self._publish_now)

    def _publish_now(self):
        self._timer = None
        began = time.monotonic()
        self._put_together()
        self._pause = max(SETTLE, REST * (time.monotonic() - began))

    def _put_together(self):
        local = {device.vni: device.local for device in self._devices.values() if device.local}
        learned = {key: found for key, found in self._learned().items() if key[0] in local}
        self._tell_strange(local)
        found = dict(learned)
        for (vni, mac), claim in self._given.items():
            if claim.vtep != local.get(vni):
                continue
            found[vni, mac] = tuple(sorted({*claim.addresses, *learned.get((vni, mac), ())}))[: claims.MOST_ADDRESSES]
        just, self._just_learned = self._just_learned & set(learned), set()
        if (found, local) != self._last or just:
            self._last = found, local
            self._publish(found, local, just)

    def _tell_strange(self, local):
        """What of endpoints_file is others'. There may be much of it, so once only for what it says and where this host is."""
        if (self._given, local) == self._strange:
            return
        self._strange = self._given, local
        texts = [
            f"endpoints_file: {mac.hex(':')} of VNI {vni} is behind {address_text(claim.vtep)}, and this host is "
            f"{address_text(local[vni])}; it is not published"
            for (vni, mac), claim in self._given.items()
            if claim.vtep != local.get(vni, claim.vtep)
        ]
        self._tell_some(texts, "endpoints_file")

    def _learned(self):
        return self.local.endpoints() if self.local else {}

    def _tell_some(self, texts, what):
        for text in texts[:FIRST]:
            self._tell(text)
        if len(texts) > FIRST:
            self._tell(f"{what}: and {len(texts) - FIRST} more of these")

    def _tell(self, text):
        if text not in self._told:
            self._log.warning("%s", text)
        self._told[text] = True
        self._told.move_to_end(text)
        if len(self._told) > claims.MOST_FAULTS:
            self._told.popitem(last=False)

    # To be seen

    def shown(self):
        found = self._last[0] if self._last else {}
        limit = self.limit
        return {
            "learn": self.settings.learn,
            "learned": len(self._learned()),
            "given": len(self._given),
            "published": len(found),
            "ports": sorted(name for _vnis, ports in self._layout.values() for name in ports.values()),
            "source_limit": {"limit": limit.limit, "ok": limit.ok, "why": limit.why, "dropped": self.dropped},
        }

    def figures(self):
        """(name, help, kind, value) for metrics."""
        yield "local_endpoints", "endpoints behind the access ports that were learned", "gauge", len(self._learned())
        yield "given_endpoints", "endpoints of endpoints_file", "gauge", len(self._given)
        if self.dropped is not None:
            yield "source_limit_dropped_total", "requests beyond source_limit", "counter", self.dropped
        if self.snoop:
            for name, value in self.snoop.counters.items():
                yield f"heard_{name}_total", f"ARP and ND on access ports: {name}", "counter", value


def _outside(file):
    """What a file is to those who do not look into it; None when it is not there."""
    try:
        found = os.stat(file)  # noqa: PTH116 (as plain as the rest here)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
