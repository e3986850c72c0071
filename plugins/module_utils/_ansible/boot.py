# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-boot: brings back after a reboot what a run of Ansible had put into the kernel, by the same code, without Ansible."""

from __future__ import annotations

import argparse
import json
import os
import sys

from .._daemons import files, host_lock
from .._kernel import nft
from .._model.errors import FabricError
from . import fdb, isolation, link, macsec, neighbor, route, rule, sysctl, vxlan, xfrm
from .run import converge

RECORD = "/var/lib/vtep.fabric/boot.json"
# Of each module its options, and what makes the resource that it runs.
MODULES = {
    "fdb": (fdb.ARGUMENTS, lambda: fdb.FdbResource(diff=True)),
    "isolation": (isolation.SPEC, isolation.Isolation),
    "link": (link.Devices.spec(), link.Devices),
    "macsec": (macsec.Macsecs.spec(), macsec.Macsecs),
    "neighbor": (neighbor.ARGUMENTS, lambda: neighbor.NeighborResource(diff=True)),
    "route": (route.ARGUMENTS, lambda: route.RouteResource(diff=True)),
    "rule": (rule.ARGUMENTS, rule.RuleResource),
    "sysctl": (sysctl.SPEC, sysctl.Sysctl),
    "vxlan": (vxlan.Vxlans.spec(), vxlan.Vxlans),
    "xfrm": (xfrm.ARGUMENTS, lambda: xfrm.XfrmResource(diff=True)),
}
DESCRIPTION = """\
Brings this host's VXLAN devices, tables and rules back after a reboot, out of what the last run of site.yml recorded. It adds and changes,
and removes nothing. vtep-boot.service runs it; by hand it may run at any time.
"""
EXIT_CODES = """\
exit codes: 0 done, or with --check nothing to do; 1 with --check there is something to do; 2 wrong usage;
            3 failed (the reason is on standard error), what came before it is done
"""


def main(arguments):
    parser = argparse.ArgumentParser(
        "vtep-boot", description=DESCRIPTION, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only tell what would be done")
    parser.add_argument("record", nargs="?", default=RECORD, help=f"the record, by default {RECORD}")
    given = parser.parse_args(arguments)
    try:
        return restore(_steps(given.record), given.check)
    except FabricError as error:
        sys.stderr.write(f"vtep-boot: {error}\n")
        return 3


def restore(steps, checking):
    """Take the steps, in order, and print what each one does. The exit code."""
    found = False
    # A run that begins meanwhile waits, and one that has the host has the last word.
    lock = host_lock.exclusive()
    try:
        holder = host_lock.load()
        if holder and holder.until > host_lock.now() and not checking:
            raise FabricError(f"{holder.purpose} of {holder.holder.user}@{holder.holder.hostname} has this host")
        for step in steps:
            found = _take(step, checking) or found
    finally:
        os.close(lock)
    return int(checking and found)


def _steps(path):
    text = files.read(path)
    if not text:
        raise FabricError(f"{path} is not there; a run of site.yml with boot_restore writes it")
    try:
        steps = json.loads(text)["steps"]
        calls = [(step["module"], step["options"]) for step in steps if "nft" not in step]
    except (ValueError, TypeError, KeyError):
        raise FabricError(f"{path} is not a record of this program; the next run of site.yml writes it anew") from None
    unknown = {module for module, _options in calls} - MODULES.keys()
    if unknown:
        raise FabricError(f"{path}: this program does not know {', '.join(sorted(unknown))}; run site.yml")
    return steps


def filled(options, given):
    """Options as Ansible hands them to a module: with all that are missing, in suboptions too, and numbers as text where text is wanted."""
    return {name: _value(spec, given.get(name)) for name, spec in options.items()}


def _value(spec, value):
    if value is None:
        return spec.get("default")
    if "options" not in spec:
        return str(value) if spec["type"] == "str" else value
    if spec["type"] == "list":
        return [filled(spec["options"], entry) for entry in value]
    return filled(spec["options"], value)


def _take(step, checking):
    """Whether it changes something."""
    if "nft" in step:
        return _rules(step["nft"], checking)
    options, make = MODULES[step["module"]]
    resource = make()
    try:
        outcome = converge(resource, filled(options, step["options"]), checking)
    except FabricError as error:
        raise FabricError(f"{step['module']}: {error}") from None
    finally:
        resource.close()
    for warning in outcome.warnings:
        sys.stdout.write(f"{step['module']}: warning: {warning}\n")
    for sign, text in (("-", outcome.before), ("+", outcome.after)):
        for line in text.splitlines() if outcome.changed else ():
            sys.stdout.write(f"{step['module']}: {sign} {line}\n")
    return outcome.changed


def _rules(text, checking):
    """Rules of nftables: a table as nft prints it, which replaces one of its name."""
    family, name = text.split()[1:3]
    if nft.text(family, name).strip() == text.strip():
        return False
    sys.stdout.write(f"nft: + table {family} {name}\n")
    if not checking:
        nft.load(f"table {family} {name}\ndelete table {family} {name}\n{text}\n")
    return True
