# SPDX-License-Identifier: GPL-3.0-or-later
"""vxrdctl: asks vxrd what it knows."""

from __future__ import annotations

import argparse
import json
import sys

from .._model.errors import FabricError
from .._service.ask import ask
from . import table

UDSFILE = "/var/run/vxrd.sock"
OFF = "Head-end replication is off: the service node replicates\n"
COLUMNS = 4  # addresses a line

HELP = """\
Asks the vxrd of this host, by its socket, which only root and vxrd's own user may use.
"""
COMMANDS = """\
commands:
  show                 protocol version, addresses, and whether head-end replication is on
  vxlans [VNI]         the VNIs that are registered, with the VTEP's address and the service node
  vxlans hrep [VNI]    their devices and the VTEPs in the flood lists
  peers [VNI]          the VTEPs of each VNI, as the service node told them, this host included
  get config [KEY]     the configuration in force, as JSON
  counters             what has been sent, received and refused since the start
  metrics              the same and more in Prometheus' text format

exit status: 0, or 1 with a message when vxrd cannot be asked or says no, 2 for wrong usage
"""


def parser():
    made = argparse.ArgumentParser(
        "vxrdctl",
        usage="vxrdctl [-h] [-j] [-u UDS_FILE] COMMAND ...",
        description=HELP,
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("-u", dest="udsfile", metavar="UDS_FILE", default=UDSFILE, help="vxrd's socket (%(default)s)")
    made.add_argument("-j", dest="json", action="store_true", help="print JSON")
    made.add_argument("words", nargs="*", metavar="COMMAND", help="see below; without one, this help")
    return made


def main(argv=None):
    made = parser()
    given = made.parse_intermixed_args(argv)
    if not given.words:
        made.print_help()
        return 0
    try:
        command, arguments, show = _understood(given.words)
    except ValueError as error:
        made.error(str(error))
    try:
        result = ask(given.udsfile, command, arguments)
        # Only `show` tells whether there is head-end replication to tell of.
        off = show in (_hrep, _peers) and not given.json and not ask(given.udsfile, "show")["head_rep"]
    except FabricError as error:
        print(f"vxrdctl: {error}", file=sys.stderr)
        return 1
    if off:
        sys.stdout.write(OFF)
    elif given.json and show is not _metrics:
        print(json.dumps(result, indent=4, sort_keys=True))
    else:
        sys.stdout.write(show(result))
    return 0


def _understood(words):
    """(command, arguments, function that makes the answer readable). Raises ValueError with what is wrong."""
    command, *rest = words
    if command == "vxlans":
        hrep = rest[:1] == ["hrep"]
        return "vxlans", _vni(rest[hrep:]), _hrep if hrep else _vxlans
    if command == "peers":
        return "peers", _vni(rest), _peers
    if command == "get":
        if rest[:1] != ["config"] or len(rest) > 2:
            raise ValueError("write: get config [KEY]")
        return "get", {"key": rest[1]} if rest[1:] else {}, _config
    if command not in SIMPLE:
        raise ValueError(f"{command!r} is not a command; known are show, vxlans, peers, get, counters, metrics")
    if rest:
        raise ValueError(f"{command} takes nothing behind it, and not {' '.join(rest)!r}")
    return command, {}, SIMPLE[command]


def _vni(rest):
    if not rest:
        return {}
    if len(rest) > 1 or not (rest[0].isascii() and rest[0].isdigit()):
        raise ValueError(f"{' '.join(rest)!r} is not a VNI; write a number")
    return {"vni": int(rest[0])}


def _show(result):
    rows = [
        ["Local address", result["src_ip"]],
        ["Svcnode address", result["snd_ip"]],
        ["Head rep.", "Enabled" if result["head_rep"] else "Disabled"],
    ]
    width = max(len(name) for name, _value in rows)
    lines = [f"{name.ljust(width)} : {value}" for name, value in rows]
    return "\n".join([f"VXFLD protocol version: {result['version']}", *lines]) + "\n"


def _vxlans(result):
    return _table(
        ["VNI", "Local Addr", "Svc Node"], [[vni, one["localip"], one["svcnodeip"]] for vni, one in _by_vni(result)]
    )


def _hrep(result):
    rows = []
    for vni, one in _by_vni(result):
        rows += _wrapped([vni, one["dev_name"]], one["hrep_addrs"])
    return _table(["VNI", "Device", "HREP Addrs"], rows)


def _peers(result):
    rows = []
    for vni, addresses in _by_vni(result):
        rows += _wrapped([vni], addresses)
    return _table(["VNI", "Peer Addrs"], rows)


def _wrapped(cells, addresses):
    """Rows with a few addresses each; the other cells are in the first one only."""
    rows = []
    for at in range(0, len(addresses) or 1, COLUMNS):
        rows.append([*(cells if not at else [""] * len(cells)), ", ".join(addresses[at : at + COLUMNS])])
    return rows


def _by_vni(result):
    return sorted(result.items(), key=lambda item: int(item[0]))


def _table(heads, rows):
    return table.text(heads, rows) if rows else "None\n"


def _config(result):
    return json.dumps(result, indent=4, sort_keys=True) + "\n"


def _counters(result):
    width = max(map(len, result))
    return "".join(f"{name.ljust(width)}  {value}\n" for name, value in result.items())


def _metrics(result):
    return result


SIMPLE = {"show": _show, "counters": _counters, "metrics": _metrics}


if __name__ == "__main__":
    sys.exit(main())
