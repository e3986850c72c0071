# SPDX-License-Identifier: GPL-3.0-or-later
"""Flood lists as vxrd wants them: what is missing is appended, of what is too much only that which is ours is deleted."""

from __future__ import annotations

from dataclasses import dataclass

from .._model.errors import KernelError


@dataclass(frozen=True)
class Plan:
    """What to do with a list. record: the destinations that are ours afterwards. refused: why nothing is to be done."""

    append: tuple = ()
    delete: tuple = ()
    record: frozenset = frozenset()
    refused: str | None = None


def plan(rows, recorded, wanted):
    """rows: of the kernel's list; recorded: what we wrote; wanted: packed addresses."""
    if any(row.marked for row in rows):
        # In a marked list all is the collection's, what we wrote included (docs/fdb.md).
        return Plan(refused="its flood list has been taken over by a module of the collection, and is left alone")
    if any(row.nhid is not None for row in rows):
        return Plan(refused="its flood list leads to a nexthop group, and is left alone")
    # A copy gets there by somebody's row just as well, and that stays his.
    reached = {row.dst for row in rows if row.reaches}
    ours = recorded & {row.dst for row in rows if row.plain}
    append = wanted - reached
    return Plan(
        append=tuple(sorted(append)),
        delete=tuple(sorted(ours - wanted)),
        record=frozenset((ours & wanted) | append),
    )


class Flooder:
    """Brings flood lists in line and keeps the record. `kernel` is a _kernel.flood_list.FloodLists."""

    def __init__(self, kernel, record):
        self._kernel = kernel
        self._record = record
        self.refused = {}  # device index: why its list is left alone
        self.appended = self.deleted = 0

    def apply(self, device, wanted):
        """Bring the list of a device (name, index) in line with a set of packed addresses. Raises KernelError.

        Returns the Plan that was carried out, None where there was nothing to look at.
        """
        recorded = self._record.get(device.index)
        if not wanted and not recorded:
            return None
        rows = self._kernel.read(device)
        made = plan(rows, recorded, wanted)
        if made.refused:
            self.refused[device.index] = made.refused
        else:
            self.refused.pop(device.index, None)
        # Whenever we are killed, no row of ours is missing in the record: it is told first, and what goes is told last.
        trouble = self._tell(device, made.record | set(made.delete))
        if made.append:
            self._kernel.append(device, made.append, rows[0] if rows else None)
            self.appended += len(made.append)
        if made.delete:
            self._kernel.delete(device, made.delete)
            self.deleted += len(made.delete)
        trouble = self._tell(device, made.record) or trouble
        if trouble:
            raise trouble
        return made

    def _tell(self, device, destinations):
        """The error of a record that cannot be written. Traffic goes first: what is not recorded is written all the same."""
        try:
            self._record.put(device, destinations)
        except KernelError as error:
            return error
        return None

    def forget(self, indexes):
        """Of devices that are not among the indexes, nothing is known any more."""
        for index in self._record:
            if index not in indexes:
                self._record.drop(index)
        for index in set(self.refused) - set(indexes):
            del self.refused[index]

    def ours(self, device):
        """The destinations that we wrote."""
        return self._record.get(device.index)
