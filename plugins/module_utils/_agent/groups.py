# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows for multicast and broadcast MACs, by which an address can be asked for: VXLAN tells no miss of these.

An endpoint with an IPv6 address is reached at its solicited-node MAC (RFC 4861, RFC 2464), one with an IPv4 address by broadcast.
The kernel keeps no mark at such rows, so a record tells which destinations the agent wrote. It outlives the process, and is worth
nothing after a boot: it is bound to the boot, to the network namespace and to the device's index, which is not used twice.
"""

from __future__ import annotations

import errno as errnos
import json
import os
from pathlib import Path

from .._model.errors import KernelError
from .claims import address_text

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = "/proc/thread-self/ns/net"
BROADCAST = b"\xff" * 6
_SOLICITED = b"\x33\x33\xff"
AT_ONCE = 500  # rows written in one go, while misses wait


def group(address):
    """The MAC at which one asks for an address."""
    return BROADCAST if len(address) == 4 else _SOLICITED + address[13:]


def wanted(device, claims):
    """{MAC: destinations} of a device, out of the claims of its VNI."""
    found = {}
    for claim in claims:
        if device.local is None or claim.vtep == device.local or len(claim.vtep) != len(device.local):
            continue
        for address in claim.addresses:
            found.setdefault(group(address), set()).add(claim.vtep)
    return found


class Groups:
    """`ours` is {device index: {(MAC, destination)}} of what the agent wrote and is still there, as far as it knows."""

    def __init__(self, rows, directory, log):
        self.ours = {}
        self._refused = {}  # {device index: {(MAC, destination)}} of which the log has it
        self._saved = True
        self._rows, self._log = rows, log
        self._path = Path(directory) / "groups.json"
        self._bound = f"{BOOT.read_text(encoding='ascii').strip()} {os.stat(NAMESPACE).st_ino}"  # noqa: PTH116
        self._load()

    def review(self, device, want, there):
        """Bring a device in line. want, there: {MAC: destinations}, what is there whoever wrote it. Whether there is more to do."""
        index, ours = device.index, self.ours.get(device.index, set())
        wants = {(mac, dst) for mac, found in want.items() for dst in found}
        has = {(mac, dst) for mac, found in there.items() for dst in found}
        # What was refused goes last, or it would keep others waiting.
        refused = self._refused.get(index, set())
        missing = sorted(wants - has, key=lambda row: (row in refused, row))[:AT_ONCE]
        surplus = sorted((ours & has) - wants)[:AT_ONCE]
        # Noted first: what a kill leaves behind is not to be taken for somebody's. What he has written for us to find is his.
        self._note(index, (ours & has).union(missing))
        failed = self._each(index, self._rows.append, missing)
        kept = self._each(index, self._rows.remove, surplus)
        self._note(index, (ours & has).difference(surplus).union(missing).difference(failed).union(kept))
        self._tell(device.name, index, {**failed, **kept}, (refused & (wants ^ has)).difference(missing, surplus))
        return len(missing) == AT_ONCE > len(failed) or len(surplus) == AT_ONCE > len(kept)

    def _each(self, index, change, rows):
        """Change rows one by one: {row: error} of those that were refused."""
        failed = {}
        for row in rows:
            try:
                change(index, *row)
            except KernelError as error:
                failed[row] = error
            except OSError:  # the answer may be still to come
                self._rows.renew()
                raise
        return failed

    def _tell(self, name, index, failed, others=()):
        """Each refused row once, for as long as it is. others: refused before, and not tried now."""
        new = [row for row in failed if row not in self._refused.get(index, ())]
        self._refused[index] = {*failed, *others}
        if new and failed[new[0]].errno != errnos.ENODEV:  # a device that goes
            more = f" (and {len(new) - 1} more)" if len(new) > 1 else ""
            self._log.warning("%s: a row of a group is refused: %s%s", name, failed[new[0]], more)

    def forget(self, kept):
        """Devices that are not among the kept indexes are gone, with their rows."""
        for index in [index for index in self._refused if index not in kept]:
            del self._refused[index]
        for index in [index for index in self.ours if index not in kept]:
            self._note(index, set())

    def withdraw(self, there):
        """Remove what the agent wrote. there: function of a device's index."""
        for index, ours in list(self.ours.items()):
            has = there(index)
            rows = [(mac, dst) for mac, dst in sorted(ours) if dst in has.get(mac, ())]
            kept = self._each(index, self._rows.remove, rows)
            self._note(index, set(kept))
            self._tell(f"ifindex {index}", index, kept)

    def _note(self, index, ours):
        if ours != self.ours.get(index, set()):
            self.ours[index] = ours
            if not ours:
                del self.ours[index]
            self._saved = False
        if not self._saved:
            self._save()
            self._saved = True

    # The record

    def _load(self):
        try:
            told = json.loads(self._path.read_text(encoding="ascii"))
            if told["bound"] != self._bound:
                return
            self.ours = {
                int(index): {(bytes.fromhex(mac), bytes.fromhex(dst)) for mac, dst in rows}
                for index, rows in told["rows"].items()
            }
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._log.warning("%s is damaged (%s): rows of groups that it named stay", self._path, error)

    def _save(self):
        rows = {index: sorted([mac.hex(), dst.hex()] for mac, dst in found) for index, found in self.ours.items()}
        temporary = self._path.with_suffix(".new")
        try:
            if not self.ours:
                self._path.unlink(missing_ok=True)
                return
            # At once, but not flushed to the disk: what a power cut takes from it, it takes from the kernel as well.
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"bound": self._bound, "rows": rows}) + "\n", encoding="ascii")
            temporary.replace(self._path)
        except OSError as error:
            raise KernelError(f"write {self._path}", error.errno) from None

    def entries(self, names):
        """For `vtep-agent entries`. names: {index: (device, VNI)}"""
        return [
            {
                "device": names[index][0],
                "vni": names[index][1],
                "kind": "group",
                "mac": mac.hex(":"),
                "vtep": address_text(dst),
            }
            for index, ours in self.ours.items()
            if index in names
            for mac, dst in sorted(ours)
        ]
