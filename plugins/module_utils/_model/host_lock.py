# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a host: which run of ansible-playbook may change it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    """A run of ansible-playbook. All is told by its controller."""

    run: str  # one an ansible-playbook process
    controller: str  # one a machine, boot and process namespace: where `pid` means something
    hostname: str
    user: str
    pid: int
    start: str  # when the process started, in the controller kernel's ticks since boot; empty where it cannot be told


@dataclass(frozen=True)
class Lock:
    holder: Holder
    purpose: str
    since: float  # seconds since the host's boot, as `until`: its clock may be set meanwhile
    until: float


def refusal(holder, same_controller):
    """Why a run cannot have the host, who has it and what to do. `holder` is the module's return value of that name."""
    end = "for as long as that process lives" if same_controller else f"until {holder['until']} at most"
    return (
        f"another run holds this host: {holder['purpose'] or 'no purpose given'}, by {holder['user']} on "
        f"{holder['hostname']} (process {holder['pid']}), since {holder['since']}, {end}. Nothing was changed. Wait for it "
        "to end, or take the host from it with -e preflight_break_lock=true"
    )
