# SPDX-License-Identifier: GPL-3.0-or-later
"""vxsndctl: shows and changes a running vxsnd."""

from __future__ import annotations

from .._service import ctl, table
from .._service.ctl import Usage
from . import config, static_entries

PLACE = ctl.Place("/etc/vxsnd.conf", ("common",), "/var/run/vxsnd.sock")
DESCRIPTION = "Shows and changes the service node vxsnd of this host while it runs."

COMMANDS = """\
commands:
  show [detail]            protocol version, addresses and peers; detail: ports, replication, registrations
  fdb [VNI] [debug]        the registration database: VNI, address, seconds left or STATIC; debug: node ids too
  fdb add VNI IP           add a static entry here and at the peers
  fdb del VNI IP           remove a static or learned entry here and at the peers
  fdb del --force VNI IP   remove registered entries of the address too; a VTEP that lives registers again
  fdb file PATH            replace all static entries by the lines `VNI IP` of a file; a fault anywhere: nothing changes
  peers                    the other service nodes, and how the last exchanges with each went
  counters                 what was received, sent, refused and dropped since the start
  metrics                  the same and more for Prometheus (text format)
  get config [KEY]         settings in force, as JSON
  set config KEY VALUE     change a setting until the next restart or SIGHUP; `set config svcnode_peers ""` empties a list
  set debug on|off         log at level DEBUG, or at the configured one

examples:
  vxsndctl fdb 100 debug
  vxsndctl -j fdb | jq 'keys'
  vxsndctl fdb add 100 192.0.2.9
  vxsndctl set config svcnode_peers 192.0.2.102 [2001:db8::102]:10001

files:
  /etc/vxsnd.conf, /etc/vxsnd.conf.override   where the daemon's socket is read (udsfile)
  /var/run/vxsnd.sock                         the socket if they name none; only root and the daemon's user may use it

exit codes: 0 done, 1 refused or no daemon (the reason is on standard error), 2 wrong usage
"""


def run(asking, words):
    command, *rest = words
    known = {
        "show": _show, "fdb": _fdb, "peers": _peers, "counters": _counters, "metrics": _metrics, "get": _get, "set": _set,
    }  # fmt: skip
    if command not in known:
        raise Usage(f"{command!r} is not a command; known are {', '.join(sorted(known))}")
    if asking.options.force and words[:2] != ["fdb", "del"]:
        raise Usage("--force goes with fdb del only")
    known[command](asking, rest)


def _show(asking, words):
    ctl.most(words, 1, "show [detail]")
    if words and words[0] != "detail":
        raise Usage(f"{words[0]!r} is not understood; write show [detail]")
    found = asking.ask("show", detail=bool(words))

    def text(told):
        lines = [f"Protocol version: {told['version']}"]
        rows = [
            ("Local address", told["local"]),
            ("Anycast address", told["anycast"]),
            ("Peer Addresses", ", ".join(told["peers"]) or "None"),
        ]
        if words:
            rows += [("Data port", told["data_port"]), ("Control port", told["ctrl_port"])]
            rows += [(name.replace("_", " ").capitalize(), value) for name, value in told["more"].items()]
        width = max(len(name) for name, _value in rows)
        return "\n".join([*lines, *(f"{name.ljust(width)}  {value}" for name, value in rows)])

    asking.print(found, text)


def _fdb(asking, words):
    if words and words[0] in ("add", "del"):
        _fdb_change(asking, *words)
    elif words and words[0] == "file":
        _fdb_file(asking, words[1:])
    else:
        _fdb_show(asking, words)


def _fdb_show(asking, words):
    debug = words[-1:] == ["debug"]
    plain = words[:-1] if debug else words
    ctl.most(plain, 1, "fdb [VNI] [debug]")
    found = asking.ask("fdb", **({"vni": ctl.vni(plain[0])} if plain else {}))
    heads = ["VNI", "Address", "Ageout", *(["NodeId"] if debug else [])]
    length = len(heads) - 1

    def text(told):
        rows = [(vni, *entry[:length]) for vni in sorted(told, key=int) for entry in told[vni]]
        return table.text(heads, rows) if rows else "None"

    asking.print(found, text)


def _fdb_change(asking, verb, *words):
    if len(words) != 2:
        raise Usage(f"fdb {verb} wants a VNI and an address; write fdb {verb} VNI IP")
    vni = ctl.vni(words[0])
    try:
        static_entries.address(words[1])
    except ValueError as error:
        raise Usage(str(error)) from None
    asking.ask(f"fdb {verb}", vni=vni, address=words[1], **({"force": True} if asking.options.force else {}))


def _fdb_file(asking, words):
    if len(words) != 1:
        raise Usage("fdb file wants the name of a file; write fdb file PATH")
    entries = {}
    for vni, address in static_entries.read(words[0]):
        entries.setdefault(str(vni), []).append(config.shown_address(address))
    asking.ask("fdb file", entries=entries)


def _peers(asking, words):
    ctl.most(words, 0, "peers")
    heads = ["Peer", "Last exchange", "Outcome"]

    def text(told):
        rows = [(one["peer"], _ago(one["ago"]), one["outcome"]) for one in told]
        return table.text(heads, rows) if rows else "None"

    asking.print(asking.ask("peers"), text)


def _ago(seconds):
    return "none yet" if seconds is None else f"{seconds} s ago"


def _counters(asking, words):
    ctl.most(words, 0, "counters")
    asking.print(asking.ask("counters"), lambda told: table.text(["Counter", "Value"], sorted(told.items())))


def _metrics(asking, words):
    ctl.most(words, 0, "metrics")
    asking.print(asking.ask("metrics"), str)


def _get(asking, words):
    if words[:1] != ["config"]:
        raise Usage("write get config [KEY]")
    ctl.most(words, 2, "get config [KEY]")
    found = asking.ask("get config", **({"key": words[1]} if words[1:] else {}))
    ctl.say(ctl.pretty(found))


def _set(asking, words):
    if words[:1] == ["debug"]:
        if len(words) != 2 or words[1] not in ("on", "off"):
            raise Usage("write set debug on, or set debug off")
        asking.ask("set debug", on=words[1] == "on")
    elif words[:1] == ["config"] and words[1:]:
        asking.ask("set config", key=words[1], value=" ".join(words[2:]) if words[2:] else None)
    else:
        raise Usage("write set config KEY VALUE, or set debug on|off")


def main(argv=None):
    """Return the exit code."""
    options = {"--force": "with fdb del: remove registered entries as well"}
    return ctl.main("vxsndctl", PLACE, DESCRIPTION, COMMANDS, run, argv, options)


if __name__ == "__main__":
    raise SystemExit(main())
