# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables through the nft program's JSON: list a table, carry out a transaction."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from .._model.errors import FabricError, MissingError

TIMEOUT = 10.0  # seconds for one call; nft waits for the kernel, which may be busy with another's tables

# What nft prints of the kernel's errno where a whole family or nf_tables itself is absent.
_ABSENT = ("Operation not supported", "not supported by protocol", "Protocol not supported", "cache initialization")


def missing():
    """The error of a host without nft."""
    return MissingError("nftables is not installed", "apt-get install nftables")


def program():
    """The path of nft, or None. A task's PATH often lacks the sbin directories."""
    return shutil.which("nft", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/usr/local/sbin")


def table(name, families, terse=False):
    """The objects of the tables of that name in those families, without the listing's own header. terse: nor what is in the sets."""
    present = _nft(["list", "tables"]).splitlines()
    there = [family for family in families if f"table {family} {name}" in present]
    return [thing for family in there for thing in _objects(family, name, terse)]


def _objects(family, name, terse):
    text = _nft(["-j", *(["-t"] if terse else []), "list", "table", family, name])
    try:
        return [thing for thing in json.loads(text)["nftables"] if "metainfo" not in thing]
    except ValueError:
        # nft 1.0.6 prints broken JSON for a table with flags. A table like that is not ours, whatever else it holds.
        return [{"unreadable": {"family": family, "name": name}}]


def text(family, name):
    """A table as nft prints it, without the values of counters; empty where there is none."""
    there = f"table {family} {name}" in _nft(["list", "tables"]).splitlines()
    return _nft(["--stateless", "list", "table", family, name]) if there else ""


def load(commands):
    """Carry out commands in nft's own words, all or none."""
    _nft(["-f", "-"], commands)


def elements(family, table, name):
    """What is in a set."""
    found = json.loads(_nft(["-j", "list", "set", family, table, name]))["nftables"]
    return next((one["set"].get("elem", []) for one in found if "set" in one), [])


def counter(family, table, name):
    """The packets that a named counter has counted. Without reading the rest of its table, whose sets may be large."""
    found = json.loads(_nft(["-j", "list", "counter", family, table, name]))["nftables"]
    return next(one["counter"]["packets"] for one in found if "counter" in one)


def commit(commands):
    """Carry out all commands or none."""
    _nft(["-j", "-f", "-"], json.dumps({"nftables": commands}))


def _nft(arguments, text=""):
    path = program()
    if not path:
        raise missing()
    try:
        done = subprocess.run(
            [path, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(os.environ, LC_ALL="C"),
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise FabricError(f"nft: no answer within {TIMEOUT:g} s") from None
    if done.returncode:
        raise _error(done.stderr)
    return done.stdout


def _error(words):
    """nft's first complaint, without the place in a text that the user never saw."""
    first = next((line for line in words.splitlines() if line.strip()), "nft failed without a word")
    reason = first.split("Error: ", 1)[-1].strip()
    if "Operation not permitted" in words:
        return FabricError(f"nft: {reason}: root is needed, use become")
    if any(mark in words for mark in _ABSENT):
        return MissingError(
            f"kernel has no nftables of the families inet and arp (nft: {reason})",
            "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NF_TABLES_ARP",
        )
    return FabricError(f"nft: {reason}")
