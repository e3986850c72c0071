# SPDX-License-Identifier: GPL-3.0-or-later
"""vxrd: registers this host's VXLAN devices with a service node and keeps their flood lists."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import time
from pathlib import Path

from .._kernel.flood_list import FloodLists
from .._kernel.vxlan_watch import VxlanWatch
from .._model.errors import FabricError, InputError, KernelError, MissingError
from .._service import control, instance, lifecycle, log, metrics, notify
from . import config, identity, sockets
from .flood_record import FloodRecord
from .flooder import Flooder
from .registrar import COUNTERS, Device, Registrar

CONFIG = "/etc/vxrd.conf"
AGAIN = 1.0  # seconds until what the kernel refused is tried again
SETTLE = 2.0  # seconds from a device's change until its flood list is looked at once more
READY = 10.0  # seconds after which a service is ready even if the network takes no registration yet
AT_ONCE = 20  # flood lists looked at before anything else may have its turn

HELP = """\
Registers each VXLAN device of this host that is up and has a local address with the service node named by svcnode_ip.
With head_rep (the default) it keeps the devices' flood lists, the all-zero rows that `bridge fdb` shows, in line with what the
service node answers. Rows that it did not write stay as they are.
"""
SIGNALS = """\
signals:
  SIGTERM, SIGINT   withdraw all registrations, remove the rows that vxrd wrote, and end. When systemd says that it
                    restarts the service, do as with SIGUSR1
  SIGUSR1           end, and leave registrations and rows for the next process to go on with
  SIGHUP            read the configuration again

files:
  /etc/vxrd.conf, /etc/vxrd.conf.override   configuration; vxrdctl get config shows what is in force
  /run/vxrd/                                which rows vxrd wrote (key statedir)

exit status: 0 after a signal, 1 when it cannot start, 2 for wrong usage
"""


class Vxrd:
    """The daemon, between its sockets. `reread` gives (settings, warnings) anew."""

    def __init__(self, settings, reread, logger):
        self.settings = settings
        self.reread = reread
        self.log = logger
        self.alarms = log.Alarms(lambda text: logger.warning("%s", text))
        self.started = time.time()
        self.udp = {}  # family: sockets.Udp
        self.devices = {}  # name: VxlanDevice
        self.undone = set()  # names of devices whose flood list is to be tried again
        self.watch = self.kernel = self.registrar = self.flooder = None
        self._loop = self._timer = self._repair_timer = self._repairing = None
        self._ready = False
        self._stopping = None
        self._keep = False  # whether registrations and flood lists outlive this process
        self._server = None

    # Start and end

    async def run(self, started):
        """Until a signal ends it. Raises FabricError where it cannot start, else calls `started`."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda _loop, context: self._fault(context.get("exception") or context["message"])
        )
        self._stopping = asyncio.Event()
        node = _identity(self.settings)
        self._server = control.Server(self.settings.udsfile, self._handlers(), self.log)
        try:
            self.watch, self.kernel = VxlanWatch(), FloodLists()
            record = FloodRecord(self.settings.statedir, self.kernel.space())
            for fault in record.faults:
                self.log.warning("%s", fault)
            self.flooder = Flooder(self.kernel, record)
            self.registrar = Registrar(self.settings, node.node_id, node.machine, self._loop.time())
            await self._server.start()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                self._loop.add_signal_handler(number, self._stop, number)
            self._loop.add_signal_handler(signal.SIGHUP, self._reload)
            self._loop.add_reader(self.watch, self._links)
            self._loop.call_later(READY, self._tell_ready)
            self.log.info(
                "node id %d, %s",
                node.node_id,
                "head-end replication" if self.settings.head_rep else "service-node replication",
            )
            started()
            self._take_devices()
            lifecycle.keep_alive(self._loop)
            self._repairing = asyncio.ensure_future(self._repairs())
            await self._stopping.wait()
            self._repairing.cancel()
            self._end()
        finally:
            self._close()

    def _stop(self, number):
        # systemd sends SIGTERM behind SIGUSR1, and of two signals at once the later one may be told first.
        self._keep = self._keep or number == signal.SIGUSR1
        self._stopping.set()

    def _end(self):
        notify.stopping()
        if self._keep or lifecycle.restarted_by_systemd():
            self.log.info("another process is to go on: registrations and flood lists stay")
            return
        self.registrar.withdraw(self._loop.time(), time.time())
        self._pump()
        # What is left of devices that are not registered now, if anything.
        for name in sorted(self.devices):
            self._flood(name)
        self.log.info("registrations withdrawn, flood lists cleaned up")

    def _close(self):
        self._server.close()
        for one in self.udp.values():
            one.close()
        for one in (self.watch, self.kernel):
            if one:
                one.close()

    def _tell_ready(self):
        if not self._ready and not self._stopping.is_set():
            self._ready = True
            notify.ready(self._status())

    def _status(self):
        return f"{len(self.registrar.members)} VNIs registered"

    def _reload(self):
        notify.reloading()
        try:
            settings, warnings = self.reread()
            for warning in warnings:
                self.log.warning("%s", warning)
            rate = self.settings.config_check_rate
            self.settings, waiting = config.reloaded(self.settings, settings)
            if self._repairing and self.settings.config_check_rate != rate:
                # It may be asleep for much longer than it should from now on.
                self._repairing.cancel()
                self._repairing = asyncio.ensure_future(self._repairs())
            for name in waiting:
                self.log.warning("%s: takes effect when vxrd is restarted", name)
            self.log.setLevel(self.settings.loglevel)
            self.registrar.configure(self.settings, self._loop.time(), time.time())
            self.log.info("configuration read again")
            self._pump()
        except InputError as error:
            for fault in error.faults:
                self.log.error("%s", fault)
            self.log.error("the configuration stays as it was")
        except Exception as error:
            self._fault(error)
        notify.ready(self._status())

    def _fault(self, error):
        """Something that nobody foresaw; it must not end the daemon, whose flood lists carry traffic."""
        if isinstance(error, (OSError, FabricError)):
            self._alarm(f"{type(error).__name__} {error}", str(error))
        else:
            trace = error if isinstance(error, BaseException) else None
            self.log.error("fault: %s", error, exc_info=trace)

    def _alarm(self, key, text):
        self.alarms.add(key, text, self._loop.time())

    # What happens

    def _links(self):
        """Links have changed."""
        try:
            changed = self.watch.read()
        except FabricError as error:
            self._fault(error)
            self._loop.call_later(AGAIN, self._rescan)
            return
        if changed:
            self._take_devices()

    def _rescan(self):
        try:
            if self.watch.rescan():
                self._take_devices()
        except FabricError as error:
            self._fault(error)
            self._loop.call_later(AGAIN, self._rescan)

    def _take_devices(self):
        self.devices = {device.name: device for device in self.watch.devices.values()}
        self.registrar.devices([_device(one) for one in self.watch.devices.values()], self._loop.time(), time.time())
        try:
            self.flooder.forget(self.watch.devices)
        except KernelError as error:
            self._fault(error)
        self._pump()
        # Whoever made the device may go on to change its rows.
        if self._repair_timer is None:
            self._repair_timer = self._loop.call_later(SETTLE, self._repair_soon)

    def _repair_soon(self):
        self._repair_timer = None
        asyncio.ensure_future(self._repair())

    def _received(self, data, end):
        self.registrar.datagram(data, end, self._loop.time(), time.time())

    def _pump(self):
        """Let the registrar do what is due, and do what it wants done."""
        now = self._loop.time()
        if self._timer:
            self._timer.cancel()
        due = now + AGAIN  # should anything be raised
        try:
            due = self.registrar.tick(now, time.time())
            self._send()
            changed, self.undone = self.registrar.changed | self.undone, set()
            self.registrar.changed.clear()
            for name in sorted(changed):
                self._flood(name)
            if self.undone:
                due = min(due, now + AGAIN)
            alarms, self.registrar.alarms[:] = list(self.registrar.alarms), []
            for key, text in alarms:
                self._alarm(key, text)
            self.alarms.tick(now)
        finally:
            self._timer = self._loop.call_at(max(due, now + 0.001), self._pump)

    def _send(self):
        outbox, self.registrar.outbox[:] = list(self.registrar.outbox), []
        failed = False
        for data, end in outbox:
            try:
                self._socket(4 if len(end[0]) == 4 else 6).send(data, end)
            except (OSError, FabricError) as error:
                words = error if isinstance(error, FabricError) else f"{sockets.shown(end)}: {error.strerror or error}"
                self._alarm(f"send {words}", f"cannot register, trying again each second: {words}")
                failed = True
        if failed:
            self.registrar.unsent(self._loop.time())
        elif outbox or not self.registrar.members:
            self._tell_ready()

    def _socket(self, family):
        """The socket of a family, opened when it is first needed, since its address may come late in a boot."""
        if family not in self.udp:
            address = self.settings.src_ip.get(family) or sockets.wildcard(family)
            one = sockets.Udp(sockets.bound(socket.SOCK_DGRAM, address, self.settings.vxfld_port))
            one.start(self._loop, self._received, self._pump, self._fault)
            self.udp[family] = one
        return self.udp[family]

    # Flood lists

    def _flood(self, name):
        """Bring the flood list of a device in line."""
        device, wanted = self.devices.get(name), self.registrar.floods.get(name)
        if device is None or wanted is None:
            return
        try:
            self.flooder.apply(device, wanted)
        except (KernelError, OSError) as error:
            self.kernel.close()  # an answer may still be on its way; the next one comes by a new socket
            try:
                gone = socket.if_indextoname(device.index) != name
            except OSError:
                gone = True
            if not gone:  # else the kernel will tell, or has told, that the device has changed
                self.undone.add(name)
                self._alarm(f"flood {name}", f"{name}: {error}; trying again each second")
            return
        refused = self.flooder.refused.get(device.index)
        if refused:
            self._alarm(f"refused {name}", f"{name}: {refused}")

    async def _repair(self):
        """Look at all flood lists, in between other work."""
        names = sorted(self.registrar.floods)
        for at in range(0, len(names), AT_ONCE):
            for name in names[at : at + AT_ONCE]:
                try:
                    self._flood(name)
                except Exception as error:  # the other devices go on, and so does repair
                    self._fault(error)
            await asyncio.sleep(0)
        try:
            self._pump()
        except Exception as error:
            self._fault(error)

    async def _repairs(self):
        while True:
            await self._repair()
            await asyncio.sleep(self.settings.config_check_rate)

    # Requests

    def _handlers(self):
        return {
            "show": self._show,
            "vxlans": self._vxlans,
            "peers": self._peers,
            "get config": self._get,
            "counters": lambda _arguments: self._counters(),
            "metrics": lambda _arguments: metrics.text(self._metrics()),
        }

    def _show(self, _arguments):
        return {
            "version": 3,
            "src_ip": config.shown(self.settings)["src_ip"],
            "snd_ip": config.shown(self.settings)["svcnode_ip"],
            "head_rep": self.settings.head_rep,
        }

    def _members(self, arguments):
        """{vni: Member}, of all or of the one asked for."""
        vni = arguments.get("vni")
        if vni is None:
            return self.registrar.members
        if not isinstance(vni, int) or vni not in self.registrar.members:
            raise InputError(f"VNI {vni} is not registered by this host")
        return {vni: self.registrar.members[vni]}

    def _vxlans(self, arguments):
        shown = config.shown_address
        return {
            str(vni): {
                "dev_name": member.device.name,
                "localip": shown(member.device.local),
                "svcnodeip": shown(member.server),
                "hrep_addrs": _shown(self.registrar.floods.get(member.device.name)),
            }
            for vni, member in sorted(self._members(arguments).items())
        }

    def _peers(self, arguments):
        return {str(vni): _shown(member.peers) for vni, member in sorted(self._members(arguments).items())}

    def _get(self, arguments):
        told = config.shown(self.settings)
        key = arguments.get("key")
        if key is None:
            return told
        if key not in told:
            raise InputError(f"{key}: Unknown parameter")
        return {key: told[key]}

    def _counters(self):
        told = dict(self.registrar.counters)
        told["rows appended"], told["rows deleted"] = self.flooder.appended, self.flooder.deleted
        told["rescans"] = self.watch.rescans
        return told

    def _metrics(self):
        words = {
            **COUNTERS,
            "rows appended": "destinations added to flood lists",
            "rows deleted": "destinations removed from flood lists",
            "rescans": "times that changes of links came faster than they were read",
        }
        told = {
            f"vxrd_{metrics.name(name)}_total": (words[name], "counter", [({}, value)])
            for name, value in self._counters().items()
        }
        members = self.registrar.members
        peers = [({"vni": vni}, len(one.peers)) for vni, one in sorted(members.items()) if one.peers is not None]
        now = self._loop.time()
        heard = [({"family": f"ipv{family}"}, now - when) for family, when in sorted(self.registrar.heard.items())]
        contact = [
            ({"family": f"ipv{family}"}, family not in self.registrar.lost) for family in sorted(self.registrar.heard)
        ]
        told["vxrd_start_time_seconds"] = ("Unix time of the start", "gauge", [({}, self.started)])
        told["vxrd_vnis"] = ("VNIs registered", "gauge", [({}, len(members))])
        if self.settings.head_rep:
            told["vxrd_peers"] = ("VTEPs of a VNI, this host included", "gauge", peers)
            told["vxrd_contact"] = ("whether the service node is heard", "gauge", contact)
            told["vxrd_contact_age_seconds"] = ("time since it was heard, or first written to", "gauge", heard)
        told["vxrd_flood_lists_refused"] = ("flood lists left alone", "gauge", [({}, len(self.flooder.refused))])
        return told


def _shown(addresses):
    return [config.shown_address(one) for one in sorted(addresses or ())]


def _device(found):
    flags = {"external"} if found.external or found.vnifilter else {"multicast"} if found.group else ()
    return Device(found.name, found.index, found.vni, found.local, found.remote, found.usable, frozenset(flags))


def _identity(settings):
    """This host's identity, with the node id that the configuration may name."""
    try:
        found = identity.read()
    except MissingError:
        if settings.node_id is None:
            raise
        return identity.Identity(settings.node_id, None)
    return identity.Identity(settings.node_id or found.node_id, found.machine)


# The command line


def parser():
    made = argparse.ArgumentParser(
        "vxrd", description=HELP, epilog=SIGNALS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("-c", "--config", metavar="FILE", default=CONFIG, help="configuration (%(default)s)")
    made.add_argument("-d", "--daemon", action="store_true", help="go into the background")
    made.add_argument("-p", "--pidfile", metavar="FILE", help="pid file (key pidfile)")
    made.add_argument("-u", "--udsfile", metavar="FILE", help="socket for vxrdctl (key udsfile)")
    made.add_argument("-D", "--debug", action="store_true", help="log at level DEBUG")
    return made


def main(argv=None):
    given = parser().parse_args(argv)
    overrides = {"pidfile": given.pidfile, "udsfile": given.udsfile, "loglevel": "DEBUG" if given.debug else None}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    file = str(Path(given.config).absolute())

    def reread():
        return config.load("vxrd", file, overrides)

    only = logger = None
    try:
        settings, warnings = reread()
        only = instance.Instance("vxrd", settings.pidfile)
        started = instance.background() if given.daemon else lambda: None
        only.write()
        logger = log.start("vxrd", settings.logdest, settings.loglevel, settings.logfilesize, settings.logbackupcount)
        for warning in warnings:
            logger.warning("%s", warning)
        asyncio.run(Vxrd(settings, reread, logger).run(started))
    except FabricError as error:
        for fault in getattr(error, "faults", [error]):
            sys.stderr.write(f"vxrd: {fault}\n")
            if logger and settings.logdest != "stdout":
                logger.error("%s", fault)
        return 1
    finally:
        if only:
            only.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
