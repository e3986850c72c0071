# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of which destinations of a VXLAN device's flood lists are ours.

The kernel keeps one state, and so one mark, for all destinations of a list; whoever appends one takes the mark from all
(docs/fdb.md). The record is as short-lived as what it tells of: it goes with the host's boot, and it is bound to the
network namespace's cookie and the device's index, of which the kernel uses neither twice.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

from . import files

DIRECTORY = Path("/run/vtep.fabric/flood-lists")


def load(device):
    """({key: {place, ...}}, what is wrong with it in words). device: what _kernel.fdb.identity tells."""
    path = DIRECTORY / device
    text = files.read(path)
    if not text:
        return {}, ""
    try:
        lists = json.loads(text)["lists"]
        return {bytes.fromhex(key): {_place(*place) for place in places} for key, places in lists.items()}, ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, f"{path} is damaged ({error}): no destination without the mark is taken for ours"


def _place(dst, vni, port, via, nhid):
    return (dst, vni, port, via, nhid)


def store(device, name, lists):
    """Write the record of a device, or remove it when nothing is left in it. Those of devices that are gone go too."""
    told = {key.hex(): sorted(places, key=str) for key, places in sorted(lists.items()) if places}
    if told:
        files.make_directory(DIRECTORY, 0o755)
        files.write(DIRECTORY / device, json.dumps({"dev": name, "lists": told}) + "\n", 0o644)
    else:
        files.remove(DIRECTORY / device)
    space = device.rpartition("-")[0]
    for path in DIRECTORY.glob(f"{space}-*"):
        index = re.fullmatch(r"\d+", path.name.rpartition("-")[2])
        if index and not _exists(int(index[0])):
            files.remove(path)


def _exists(index):
    try:
        return bool(socket.if_indextoname(index))
    except OSError:
        return False
