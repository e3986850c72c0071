# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's own endpoints: the stations behind the access ports of its bridges, and the addresses they were heard with.

That a station is there, the bridge tells; a frame alone does not make an endpoint. What the bridge has forgotten is none.
"""

from __future__ import annotations

from .._kernel.ndm import NUD_PERMANENT
from .._model.errors import KernelError
from . import snoop

AF_BRIDGE = 7
MOST = 65536  # stations of all ports
MOST_LEARNED = snoop.MACS  # of one port; static rows do not count
LOOK = 60.0  # seconds between two looks for what has been idle too long
NUD_NOARP = 0x40  # a static row


class LocalEndpoints:
    """rows: has `of(port)`, a _kernel.bridge_rows.BridgeRows. heard: a snoop.Heard.

    `version` goes up with each change of what `endpoints` gives.
    """

    def __init__(self, rows, heard, log):
        self.version = 0
        self._rows, self._heard, self._log = rows, heard, log
        self._bridges = {}  # index: (vni, {port's index})
        self._stations = {}  # bridge: {(mac, vlan): (port, static)}
        self._learned = {}  # port: how many of them are learned
        self._count = 0
        self._unread = set()  # ports whose rows the kernel did not give
        self._ambiguous = frozenset()
        self._crowded = set()  # (bridge, port) behind which stations were left out
        self._full = False  # it has been told
        self._looked = 0.0
        self._made = (-1, {})

    # --- what the kernel tells

    def layout(self, bridges):
        """All that there is now: {bridge's index: (VNIs of its VXLAN devices, {access port's index: name})}.

        True when something changed.
        """
        version = self.version
        # A device with a VNI for each packet says 0.
        clear = {index for index, (vnis, _ports) in bridges.items() if len(set(vnis)) == 1 and vnis[0]}
        ambiguous = frozenset(bridges) - clear
        if ambiguous - self._ambiguous:
            self._log.warning(
                "learn: a bridge with VXLAN devices of several VNIs does not tell which one a station is in, "
                "so the stations behind %s are not published; name them in endpoints_file",
                ", ".join(sorted(name for index in ambiguous for name in bridges[index][1].values())) or "it",
            )
        self._ambiguous = ambiguous
        before = self._bridges
        self._bridges = {index: (bridges[index][0][0], set(bridges[index][1])) for index in clear}
        if self._bridges == before:
            return False
        self.version += 1
        for bridge in [one for one in self._stations if one not in self._bridges]:
            self._drop(bridge, set())
        for bridge, (_vni, ports) in self._bridges.items():
            self._drop(bridge, ports)
            for port in sorted(ports - before.get(bridge, (None, set()))[1]):
                self._read(bridge, port)
        return self.version != version

    def events(self, events):
        """Of NeighborWatch. True when something changed."""
        before = self.version
        for event in events:
            if event.family != AF_BRIDGE or event.master not in self._bridges or len(event.key) != 6:
                continue
            if event.gone:
                self._remove(event.master, event.key, event.vlan, event.index)
            else:
                self._put(event.master, event.index, event.key, event.vlan, event.state)
        return self.version != before

    def resync(self):
        """Read all rows again: some changes were lost. True when something had gone unnoticed."""
        before = self.version
        for bridge, (_vni, ports) in self._bridges.items():
            for port in sorted(ports):
                self._read(bridge, port)
        return self.version != before

    def tick(self, now):
        """What is due. True when something changed."""
        before = self.version
        for bridge, port in sorted(self._unread):
            if port in self._bridges.get(bridge, (None, ()))[1]:
                self._read(bridge, port)
            else:
                self._unread.discard((bridge, port))
        self._make_room()
        if now - self._looked >= LOOK:
            self._looked = now
            known = {port: self._macs(bridge) for bridge, (_vni, ports) in self._bridges.items() for port in ports}
            if self._heard.forget(now, lambda port, mac: mac in known.get(port, ())):
                self.version += 1
        return self.version != before

    def _make_room(self):
        """Take in stations that were left out, where there is room now: of one that goes on talking nothing more is told."""
        for bridge, port in sorted(self._crowded):
            if port not in self._bridges.get(bridge, (None, ()))[1]:
                self._crowded.discard((bridge, port))
            elif self._count < MOST and self._learned.get(port, 0) < MOST_LEARNED:
                self._crowded.discard((bridge, port))
                self._read(bridge, port)
        if not self._crowded:
            self._full = False

    def changed(self):
        """The snoop has heard something new."""
        self.version += 1

    def _read(self, bridge, port):
        try:
            rows = self._rows.of(port)
        except KernelError as error:
            if (bridge, port) not in self._unread:
                self._log.warning("learn: %s; it is tried again", error)
            self._unread.add((bridge, port))
            return
        self._unread.discard((bridge, port))
        rows = [row for row in rows if row.master == bridge]
        there = {(row.mac, row.vlan) for row in rows if not row.state & NUD_PERMANENT}
        for (mac, vlan), (where, _static) in list(self._stations.get(bridge, {}).items()):
            if where == port and (mac, vlan) not in there:
                self._remove(bridge, mac, vlan, port)
        for row in rows:
            self._put(bridge, port, row.mac, row.vlan, row.state)

    # --- the stations

    def _put(self, bridge, port, mac, vlan, state):
        """The bridge has a station behind a port, which may be no access port, and then it is none of ours."""
        # Permanent rows are the bridge's and the ports' own addresses, which it calls local.
        access = port in self._bridges[bridge][1] and not state & NUD_PERMANENT and not mac[0] & 1 and any(mac)
        static = bool(state & NUD_NOARP)
        stations = self._stations.setdefault(bridge, {})
        key = (mac, vlan or 0)
        if stations.get(key) == (port, static) and access:
            return
        was = key in stations
        self._remove(bridge, *key)
        if not access:
            return
        full = self._count >= MOST or (not static and self._learned.get(port, 0) >= MOST_LEARNED)
        if full and not was:
            if not self._full:
                self._full = True
                self._log.warning(
                    "learn: more than %d stations behind a port, or %d behind all; the others are not published",
                    MOST_LEARNED,
                    MOST,
                )
            self._crowded.add((bridge, port))
            return
        stations[key] = port, static
        self._count += 1
        self._learned[port] = self._learned.get(port, 0) + (not static)
        self.version += 1

    def _remove(self, bridge, mac, vlan, port=None):
        """Forget a station; with a port, only one behind it."""
        stations = self._stations.get(bridge, {})
        key = (mac, vlan or 0)
        if key not in stations or port not in (None, stations[key][0]):
            return
        where, static = stations.pop(key)
        self._count -= 1
        self._learned[where] -= not static
        if not self._learned[where]:
            del self._learned[where]
        self.version += 1

    def _drop(self, bridge, ports):
        """Forget the stations of a bridge that are not behind these ports."""
        for (mac, vlan), (port, _static) in list(self._stations.get(bridge, {}).items()):
            if port not in ports:
                self._remove(bridge, mac, vlan)
        if bridge not in self._bridges:
            self._stations.pop(bridge, None)

    def _macs(self, bridge):
        return {mac for mac, _vlan in self._stations.get(bridge, ())}

    def places(self, keys):
        """[(port, mac, vlan)] of where the bridges have learned stations: (vni, mac)."""
        return [
            (port, mac, vlan)
            for bridge, (vni, _ports) in self._bridges.items()
            for (mac, vlan), (port, static) in self._stations.get(bridge, {}).items()
            if (vni, mac) in keys and not static
        ]

    # --- what others are told

    def endpoints(self):
        """{(vni, mac): addresses}, sorted and packed. An address is that of the station which was heard with it last."""
        if self._made[0] != self.version:
            self._made = self.version, self._endpoints()
        return self._made[1]

    def _endpoints(self):
        heard = {}  # (vni, mac): {address: when}
        latest = {}  # (vni, address): (when, mac)
        for bridge, (vni, ports) in self._bridges.items():
            macs = self._macs(bridge)
            for mac in macs:
                heard.setdefault((vni, mac), {})
            # A station that has moved from one port to another keeps what it was heard with.
            for port in ports:
                for mac, addresses in self._heard.of(port).items():
                    if mac not in macs:
                        continue
                    known = heard[vni, mac]
                    for address, when in addresses.items():
                        known[address] = max(when, known.get(address, when))
                        latest[vni, address] = max((when, mac), latest.get((vni, address), (when, mac)))
        return {
            (vni, mac): tuple(sorted(one for one in known if latest[vni, one][1] == mac))
            for (vni, mac), known in heard.items()
        }
