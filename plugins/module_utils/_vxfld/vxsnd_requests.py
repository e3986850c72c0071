# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running vxsnd answers to vxsndctl."""

from __future__ import annotations

import time

from .._model.errors import InputError
from .._service import metrics
from . import config, service_node, sockets, static_entries
from .messages import STATIC


class Requests:
    """Of the Vxsnd `daemon`."""

    def __init__(self, daemon):
        self._daemon = daemon

    def handlers(self):
        """{command: what answers it}"""
        return {
            "show": self._show,
            "fdb": self._fdb,
            "fdb add": self._fdb_add,
            "fdb del": self._fdb_del,
            "fdb file": self._fdb_file,
            "peers": self._peers,
            "counters": lambda _arguments: self._all_counters(),
            "metrics": lambda _arguments: metrics.text(self._metrics()),
            "get config": self._get,
            "set config": self._set,
            "set debug": self._set_debug,
        }

    def _show(self, arguments):
        told = config.shown(self._daemon.settings)
        found = {
            "version": 3,
            "local": told["src_ip"],
            "anycast": told["svcnode_ip"],
            "peers": [sockets.shown(peer) for peer in self._daemon.node.peers],
        }
        if arguments.get("detail"):
            found["data_port"], found["ctrl_port"] = self._daemon.settings.listen_port, self._daemon.settings.vxfld_port
            found["more"] = {
                "registrations": self._daemon.node.registrations.count,
                "vnis": len(self._daemon.node.registrations),
                "replication": self._daemon.replicating(),
                "synchronized": "yes" if self._daemon.node.synced else "not yet",
                "seconds_since_start": int(time.time() - self._daemon.since),
            }
        return found

    def _fdb(self, arguments):
        vni = _vni(arguments["vni"]) if "vni" in arguments else None
        found = {}
        for number, address, left, identifier in self._daemon.node.dump(self._daemon.loop.time(), vni):
            row = [sockets.text(address), "STATIC" if left == STATIC else str(left), str(identifier or "")]
            found.setdefault(str(number), []).append(row)
        if vni is not None and not found:
            raise InputError(f"VNI {vni} has no entries here")
        return found

    def _fdb_add(self, arguments):
        vni, address = _vni(arguments.get("vni")), _address(arguments.get("address"))
        self._daemon.node.static_add(vni, address, self._daemon.loop.time())
        self._daemon.pump_soon()

    def _fdb_del(self, arguments):
        vni, address = _vni(arguments.get("vni")), _address(arguments.get("address"))
        removed = self._daemon.node.static_del(vni, address, self._daemon.loop.time(), bool(arguments.get("force")))
        self._daemon.pump_soon()
        if not removed:
            shown = sockets.text(address)
            if address in self._daemon.node.targets(vni):
                raise InputError(f"{shown} registers itself in VNI {vni}; --force removes it until it does so again")
            raise InputError(f"VNI {vni} has no entry of {shown} here; peers have been told to remove theirs")

    def _fdb_file(self, arguments):
        entries = arguments.get("entries")
        if not isinstance(entries, dict) or not all(isinstance(one, list) for one in entries.values()):
            raise InputError('entries is not {"VNI": [ADDRESS, ...]}')
        wanted = [(_vni(vni), _address(one)) for vni, addresses in entries.items() for one in addresses]
        self._daemon.node.static_replace(wanted, self._daemon.loop.time())
        self._daemon.pump_soon()

    def _peers(self, _arguments):
        found = []
        for peer in (*self._daemon.node.peers, *self._daemon.node.proxies):
            when, outcome = self._daemon.exchanges.get(peer, (None, "none yet"))
            ago = None if when is None else int(self._daemon.loop.time() - when)
            found.append({"peer": sockets.shown(peer), "ago": ago, "outcome": outcome})
        return found

    def _all_counters(self):
        told = dict(self._daemon.node.counters)
        told["datagrams unsent"] = self._daemon.counters["datagrams unsent"] + sum(
            one.dropped for one in self._daemon.udp
        )
        told["faults"] = self._daemon.counters["faults"]
        if self._daemon.streams:
            told["connections refused"], told["connections cut"] = (
                self._daemon.streams.refused,
                self._daemon.streams.cut,
            )
        for name, value in self._daemon.replication.counters().items() if self._daemon.replication else ():
            told[f"replicated: {name}"] = value
        return told

    def _metrics(self):
        words = {
            **service_node.COUNTERS,
            "datagrams unsent": "datagrams that could not be sent",
            "faults": "faults that did not end the daemon",
            "connections refused": "TCP connections beyond the limits, or from outside the allow-list",
            "connections cut": "TCP connections that were too slow, too long, or broke",
        }
        told = {
            f"vxsnd_{metrics.name(name)}_total": (words.get(name, name), "counter", [({}, value)])
            for name, value in self._all_counters().items()
        }
        registrations = self._daemon.node.registrations
        told["vxsnd_start_time_seconds"] = ("Unix time of the start", "gauge", [({}, self._daemon.since)])
        told["vxsnd_registrations"] = ("entries of the database", "gauge", [({}, registrations.count)])
        told["vxsnd_synced"] = ("whether the peers gave their database", "gauge", [({}, self._daemon.node.synced)])
        kernel = bool(self._daemon.replication and self._daemon.replication.kernel)
        told["vxsnd_kernel_replication"] = ("whether the kernel replicates", "gauge", [({}, kernel)])
        vteps = [({"vni": vni}, len(registrations.addresses(vni))) for vni in sorted(registrations)]
        told["vxsnd_vteps"] = ("VTEPs of a VNI", "gauge", vteps)
        frames = self._daemon.replication.by_vni() if self._daemon.replication else {}
        for at, name in enumerate(("frames", "copies")):
            samples = [({"vni": vni}, both[at]) for vni, both in sorted(frames.items())]
            told[f"vxsnd_kernel_vni_{name}"] = (
                f"{name} in the kernel since the VNI's rules were made",
                "gauge",
                samples,
            )
        peers = [
            ({"peer": one["peer"]}, one["outcome"] == "done") for one in self._peers(None) if one["ago"] is not None
        ]
        told["vxsnd_peer_up"] = ("whether the last exchange with a peer was done", "gauge", peers)
        return told

    def _get(self, arguments):
        told = config.shown(self._daemon.settings)
        key = arguments.get("key")
        if key is None:
            return told
        if key not in told:
            raise InputError(f"{key}: Unknown parameter")
        return {key: told[key]}

    async def _set(self, arguments):
        key, value = arguments.get("key"), arguments.get("value")
        if not isinstance(key, str) or not isinstance(value, (str, type(None))):
            raise InputError("key and value are not text")
        # In a thread: a name may have to be looked up.
        settings = await self._daemon.loop.run_in_executor(
            None, config.changed, "vxsnd", self._daemon.settings, key, value
        )
        if key == "static_file":
            self._daemon.load_static(settings)
        await self._daemon.configure(settings)
        self._daemon.log.info("%s set to %s", key, value)

    def _set_debug(self, arguments):
        self._daemon.log.setLevel("DEBUG" if arguments.get("on") else self._daemon.settings.loglevel)


def _vni(value):
    try:
        return static_entries.vni(str(value))
    except ValueError as error:
        raise InputError(str(error)) from None


def _address(value):
    try:
        return static_entries.address(str(value))
    except ValueError as error:
        raise InputError(str(error)) from None
