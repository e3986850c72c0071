# SPDX-License-Identifier: GPL-3.0-or-later
"""vxrdctl: shows what a running vxrd knows."""

from __future__ import annotations

from .._service import ctl, table
from .._service.ctl import Usage

PLACE = ctl.Place("/etc/vxrd.conf", ("common",), "/var/run/vxrd.sock")
DESCRIPTION = "Shows what the vxrd of this host has registered, and what the service node told it."

COMMANDS = """\
commands:
  show                 protocol version, addresses, and whether head-end replication is on
  vxlans [VNI]         the registered VNIs, with the VTEP's address and the service node
  vxlans hrep [VNI]    their devices, and the VTEPs in the flood lists
  peers [VNI]          the VTEPs of each VNI as the service node told them, this host included
  counters             what was sent, received and refused since the start
  metrics              the same and more for Prometheus (text format)
  get config [KEY]     settings in force, as JSON

examples:
  vxrdctl vxlans hrep 100
  vxrdctl -j peers | jq '.["100"] | length'

files:
  /etc/vxrd.conf, /etc/vxrd.conf.override   where the daemon's socket is read (udsfile)
  /var/run/vxrd.sock                        the socket if they name none; only root and the daemon's user may use it

exit codes: 0 done, 1 refused or no daemon (the reason is on standard error), 2 wrong usage
"""
OFF = "Head-end replication is off: BUM frames go to the service node"
COLUMNS = 4  # addresses a line


def run(asking, words):
    command, *rest = words
    known = {
        "show": _show, "vxlans": _vxlans, "peers": _peers, "counters": _counters, "metrics": _metrics, "get": _get,
    }  # fmt: skip
    if command not in known:
        raise Usage(f"{command!r} is not a command; known are {', '.join(sorted(known))}")
    known[command](asking, rest)


def _show(asking, words):
    ctl.most(words, 0, "show")

    def text(told):
        rows = [
            ("Local address", told["src_ip"]),
            ("Svcnode address", told["snd_ip"]),
            ("Head rep.", "Enabled" if told["head_rep"] else "Disabled"),
        ]
        width = max(len(name) for name, _value in rows)
        return "\n".join(
            [f"Protocol version: {told['version']}", *(f"{name.ljust(width)}  {value}" for name, value in rows)]
        )

    asking.print(asking.ask("show"), text)


def _vxlans(asking, words):
    hrep = words[:1] == ["hrep"]
    found = asking.ask("vxlans", **_vni(words[hrep:], "vxlans [hrep] [VNI]"))

    def text(told):
        return _table(["VNI", "Local Addr", "Svc Node"], [[vni, one["localip"], one["svcnodeip"]] for vni, one in told])

    def lists(told):
        rows = [row for vni, one in told for row in _wrapped([vni, one["dev_name"]], one["hrep_addrs"])]
        return _table(["VNI", "Device", "HREP Addrs"], rows)

    if hrep and _off(asking):
        return
    asking.print(found, lambda told: (lists if hrep else text)(_by_vni(told)))


def _peers(asking, words):
    found = asking.ask("peers", **_vni(words, "peers [VNI]"))

    def text(told):
        return _table(["VNI", "Peer Addrs"], [row for vni, one in _by_vni(told) for row in _wrapped([vni], one)])

    if not _off(asking):
        asking.print(found, text)


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
    ctl.say(ctl.pretty(asking.ask("get config", **({"key": words[1]} if words[1:] else {}))))


def _off(asking):
    """Whether there are no flood lists to show, which then has been said. JSON is the same in both modes."""
    if asking.json or asking.ask("show")["head_rep"]:
        return False
    ctl.say(OFF)
    return True


def _vni(words, synopsis):
    ctl.most(words, 1, synopsis)
    return {"vni": ctl.vni(words[0])} if words else {}


def _by_vni(told):
    return sorted(told.items(), key=lambda item: int(item[0]))


def _wrapped(cells, addresses):
    """Rows with a few addresses each, the other cells in the first one only."""
    for at in range(0, len(addresses) or 1, COLUMNS):
        yield [*(cells if at == 0 else [""] * len(cells)), ", ".join(addresses[at : at + COLUMNS])]


def _table(heads, rows):
    return table.text(heads, rows) if rows else "None"


def main(argv=None):
    return ctl.main("vxrdctl", PLACE, DESCRIPTION, COMMANDS, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
