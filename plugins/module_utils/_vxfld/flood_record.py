# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of which destinations in flood lists vxrd wrote, which the kernel cannot tell.

A file for each device, so that a change costs what that device has. It outlives the process, however that ends, and is worth
nothing after a boot: it is bound to the boot, to the network namespace's cookie and to the device's index, which the
kernel does not use twice.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from .._model.errors import KernelError
from .config import packed, shown_address

BOOT = Path("/proc/sys/kernel/random/boot_id")


class FloodRecord:
    """{device index: the destinations, packed}; `put` writes it to the directory.

    faults: what is wrong with files that were found, in words; what they told is lost.
    """

    def __init__(self, directory, space):
        self._directory = Path(directory)
        self._space = space
        self._boot = BOOT.read_text(encoding="ascii").strip()
        self._known = {}
        self._unwritten = set()  # indexes whose file is not as it should be
        self.faults = []
        for path in sorted(self._directory.glob("flood-*.json")):
            self._load(path)

    def _load(self, path):
        match = re.fullmatch(r"flood-(.+)-(\d+)\.json", path.name)
        if not match or match[1] != self._space:
            return  # of another network namespace, whose vxrd has the same directory
        try:
            told = json.loads(path.read_text(encoding="ascii"))
            if told["boot"] != self._boot:
                path.unlink()
                return
            destinations = frozenset(map(packed, told["destinations"]))
            if None in destinations:
                raise ValueError("a destination is no address")
            self._known[int(match[2])] = destinations
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.faults.append(f"{path} is damaged ({error}): what it named in a flood list is not taken for ours")

    def __iter__(self):
        """The indexes of the devices that have destinations of ours."""
        return iter(list(self._known))

    def get(self, index):
        return self._known.get(index, frozenset())

    def put(self, device, destinations):
        """Tell the destinations of a device (name, index) anew. Raises KernelError; what is in memory is right all the same."""
        destinations = frozenset(destinations)
        if destinations == self.get(device.index) and device.index not in self._unwritten:
            return
        if not destinations:
            self.drop(device.index)
            return
        self._known[device.index] = destinations
        self._unwritten.add(device.index)
        told = {"boot": self._boot, "dev": device.name, "destinations": sorted(map(shown_address, destinations))}
        path = self._path(device.index)
        temporary = path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # At once, but not flushed to the disk: what a power cut takes from it, it takes from the kernel as well.
            temporary.write_text(json.dumps(told) + "\n", encoding="ascii")
            temporary.replace(path)
            self._unwritten.discard(device.index)
        except OSError as error:
            raise KernelError(f"write {path}", error.errno) from None

    def drop(self, index):
        """Forget a device."""
        self._known.pop(index, None)
        self._unwritten.discard(index)
        try:
            self._path(index).unlink(missing_ok=True)
        except OSError as error:
            raise KernelError(f"remove {self._path(index)}", error.errno) from None

    def _path(self, index):
        return self._directory / f"flood-{self._space}-{index}.json"
