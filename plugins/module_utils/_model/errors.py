# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that the collection raises. Adapters raise them; one place (_ansible/run.py) turns them into fail_json."""

from __future__ import annotations

import os


class FabricError(Exception):
    """Anything that ends a run with a message for the user."""


class InputError(FabricError):
    """Bad input, refused before the first change. Holds every fault found, not only the first."""

    def __init__(self, faults):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("; ".join(self.faults))


class KernelError(FabricError):
    """The kernel said no. Carries its own words: the extended ACK's text where there is one, else strerror."""

    def __init__(self, what, errno, text=None):
        self.what = what
        self.errno = errno
        self.text = text or os.strerror(errno)
        super().__init__(f"{what}: {self.text} (errno {errno})")


class DaemonError(FabricError):
    """A daemon refused a setting or does not answer. Carries the daemon's own words, without secrets."""


class MissingError(FabricError):
    """A kernel feature, program or Python library that the host lacks, with what would provide it."""

    def __init__(self, what, fix):
        self.what = what
        self.fix = fix
        super().__init__(f"{what}: {fix}")


class RefusedError(FabricError):
    """A change that would lose something, and that the user has not asked for."""


class VerifyError(FabricError):
    """What was read back is not what was set."""

    def __init__(self, differences):
        self.differences = list(differences)
        super().__init__("the host does not hold what was set: " + "; ".join(self.differences))
