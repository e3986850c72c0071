# SPDX-License-Identifier: GPL-3.0-or-later
"""svcnode_ip on this host: added when it is to be installed, and removed only when it was added here.

A record in the state directory knows which addresses were added, also after a crash. It is worth nothing after a boot.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from .._model.errors import FabricError, InputError
from .config import packed, shown_address

BOOT = Path("/proc/sys/kernel/random/boot_id")


class Anycast:
    """`kernel` is a _kernel.local_address.LocalAddresses."""

    def __init__(self, settings, kernel):
        self._settings = settings
        self._kernel = kernel
        self._record = Path(settings.statedir) / "anycast.json"
        self._boot = BOOT.read_text(encoding="ascii").strip()
        self._ours = self._read()  # {packed: device}
        self._held = []

    def _read(self):
        try:
            told = json.loads(self._record.read_text(encoding="ascii"))
            found = {packed(one): dev for one, dev in told["addresses"].items()}
            return found if told["boot"] == self._boot and None not in found else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # an address that nobody remembers to have added stays

    def _write(self):
        told = {"boot": self._boot, "addresses": {shown_address(one): dev for one, dev in self._ours.items()}}
        write(self._record, (json.dumps(told) + "\n").encode())

    def missing(self):
        """The addresses of svcnode_ip that this host does not have."""
        return [one for one in self._settings.svcnode_ip.values() if not self._kernel.places(one)]

    def install(self):
        """Make sure that this host has the addresses, and none of a former svcnode_ip. Those added now. Raises FabricError."""
        faults, added = [], []
        for address in self._ours.keys() - set(self._settings.svcnode_ip.values()):
            self._remove(address, self._ours.pop(address))
            self._write()
        for address in self._settings.svcnode_ip.values():
            shown, places = shown_address(address), self._kernel.places(address)
            failed = [place for place in places if place.failed]
            if failed:
                faults.append(
                    f"[common] svcnode_ip: {shown} on {failed[0].dev} is in use by another host of that link (address conflict); "
                    f"put it on a device that leads nowhere, such as lo"
                )
            elif not places and not self._settings.install_svcnode_ip:
                faults.append(
                    f"[common] svcnode_ip: {shown} is not an address of this host; add it, or write install_svcnode_ip = true"
                )
            elif not places:
                self._ours[address] = self._settings.svcnode_dev
                self._write()  # first: what is not remembered would stay for ever
                self._kernel.add(self._settings.svcnode_dev, address)
                added.append(address)
        if faults:
            raise InputError(faults)
        return added

    def withdraw(self, hold=False):
        """Remove the addresses that were added here. hold: packets to them go on coming in until `release`."""
        removed = []
        for address, dev in self._ours.items():
            if hold and any(place.dev == dev for place in self._kernel.places(address)):
                with contextlib.suppress(FabricError):  # then frames under way are lost, and nothing else
                    self._kernel.hold(address)
                    self._held.append(address)
            if self._remove(address, dev):
                removed.append(address)
        self._ours = {}
        with contextlib.suppress(OSError):
            self._record.unlink()
        return removed

    def _remove(self, address, dev):
        """False when it was gone already; a device that is gone took the address with it."""
        try:
            return self._kernel.remove(dev, address)
        except InputError:
            return False

    def release(self):
        while self._held:
            self._kernel.release(self._held.pop())


def write(path, data):
    """Put a file into the state directory, all of it at once. Raises InputError."""
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"[vxsnd] statedir: {path.parent} cannot be written ({error.strerror}); write a directory that can"
        ) from None
