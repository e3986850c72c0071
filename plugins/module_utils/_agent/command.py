# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-agent: runs the agent, and shows what a running one knows."""

from __future__ import annotations

from .._service import ctl, table
from .._service.ctl import Usage

PLACE = ctl.Place("/etc/vtep-agent.conf", ("agent",), "/run/vtep-agent/vtep-agent.sock")

DESCRIPTION = """\
Answers the L2 and L3 misses of this host's VXLAN devices out of a registry: it writes the FDB row, or the neighbour and its row,
that a frame was in want of, keeps them in line with the registry, and removes what is no longer used or true. Devices that are made
with l2miss or l3miss are served. Without `run`, a running agent is asked.
"""

COMMANDS = """\
commands:
  run                  be the agent, until a signal ends it
  status               the registry, the devices, and what was done since the start
  entries [DEVICE]     the rows that the agent wrote, and how long ago each was used
  misses [DEVICE]      what was asked for and has no answer
  why ADDRESS [VNI]    of a MAC or IP address: who claims it, what the kernel has, and why not
  metrics              figures for Prometheus (text format)

examples:
  vtep-agent why 50:54:33:00:00:01
  vtep-agent -j misses | jq -r '.[] | select(.why == "unknown").key'
  vtep-agent run --debug -c /etc/vtep-agent.conf

signals of `run`:
  SIGTERM, SIGINT   remove all rows that are still the agent's, and end. When systemd says that it restarts the service,
                    do as with SIGUSR1
  SIGUSR1           end, and leave all rows to the next process, which takes them over
  SIGHUP            read the configuration again; what takes effect only at a restart is named in the log

files:
  /etc/vtep-agent.conf, /etc/vtep-agent.conf.override   configuration
  /var/lib/vtep.fabric/endpoints.json                   the registry of kind file (key file)
  /run/vtep-agent/vtep-agent.sock                       the agent's socket (key udsfile); only root and the agent's user may ask
  /run/vtep-agent/groups.json                           which rows for multicast MACs it wrote (key statedir)

exit codes: 0 done, or ended by a signal; 1 refused, no agent, or it cannot start (the reason is on standard error); 2 wrong usage
"""


def run(asking, words):
    command, *rest = words
    known = {
        "run": _run, "status": _status, "entries": _entries, "misses": _misses, "why": _why, "metrics": _metrics,
    }  # fmt: skip
    if command not in known:
        raise Usage(f"{command!r} is not a command; known are {', '.join(sorted(known))}")
    return known[command](asking, rest)


def _run(asking, words):
    ctl.most(words, 0, "run")
    from pathlib import Path

    from . import agent  # all that a daemon needs, and whoever only asks does not

    given = asking.options
    overrides = {"udsfile": given.uds_file, "loglevel": "DEBUG" if given.debug else None}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    return agent.run(str(Path(given.config).absolute()), overrides)


def _status(asking, words):
    ctl.most(words, 0, "status")
    asking.print(asking.ask("status"), status)


def _entries(asking, words):
    ctl.most(words, 1, "entries [DEVICE]")
    asking.print(asking.ask("entries", **_device(words)), entries)


def _misses(asking, words):
    ctl.most(words, 1, "misses [DEVICE]")
    asking.print(asking.ask("misses", **_device(words)), misses)


def _why(asking, words):
    ctl.most(words, 2, "why ADDRESS [VNI]")
    if not words:
        raise Usage("write why ADDRESS [VNI]")
    more = {"vni": ctl.vni(words[1])} if words[1:] else {}
    asking.print(asking.ask("why", address=words[0], **more), why)


def _metrics(asking, words):
    ctl.most(words, 0, "metrics")
    asking.print(asking.ask("metrics"), str)


def _device(words):
    return {"device": words[0]} if words else {}


# --- as text -------------------------------------------------------------------------------------------------------


def status(told):
    registry, rows, access, times = told["registry"], told["rows"], told["access"], told["answer_seconds"]
    heard = "never heard" if registry.get("heard") is None else f"heard {ago(registry['heard'])}"
    state = heard if registry["ok"] else f"LOST, {heard}: {registry['why']}"
    limit = access["source_limit"]
    lines = [
        ("Registry", f"{registry['kind']}, {state}"),
        ("Endpoints", f"{registry.get('endpoints', 0)} known, {registry.get('refused', 0)} entries refused"),
        ("Conflicts", "none" if not told["conflicts"] else str(len(told["conflicts"]))),
        (
            "Rows",
            f"{rows['fdb']} FDB, {rows['neighbors']} neighbours (up to {rows['limit']} each), {rows['groups']} of groups",
        ),
        ("Unanswered", str(rows["unanswered"])),
        (
            "Answer time",
            "none yet"
            if times["p50"] is None
            else f"half within {span(times['p50'])}, 99% within {span(times['p99'])}",
        ),
        ("Own endpoints", _own(access)),
        ("Source limit", _limit(limit)),
    ]
    text = _pairs(lines)
    if told["devices"]:
        heads = ["Device", "VNI", "Local", "State", "L3", "FDB", "Neighbours", "Unanswered"]
        text += "\n" + table.text(
            heads,
            [
                [one["device"], one["vni"], one["local"] or "none", one["state"], "yes" if one["l3"] else "no"]
                + [one["fdb"], one["neighbors"], one["unanswered"]]
                for one in told["devices"]
            ],
        )
    for name, reason in sorted(told["left_out"].items()):
        text += f"\n{name} is left out: {reason}\n"
    for one in told["conflicts"]:
        rivals = ", ".join(f"{claim['mac']} behind {claim['vtep']}" for claim in one["claims"])
        text += f"\nConflict in VNI {one['vni']} over {one['key']}: {rivals}\n"
    if registry.get("refusals"):
        text += "\nRefused, latest last:\n" + "".join(f"  {one}\n" for one in registry["refusals"][-10:])
    return text + "\n" + table.text(["Counter", "Value"], sorted(told["counters"].items()))


def _own(access):
    # Only etcd takes what is published.
    published = "" if access["published"] is None else f", {access['published']} published"
    return f"{access['learned']} learned, {access['given']} given{published}"


def _limit(limit):
    if not limit["limit"]:
        return "off"
    if not limit["ok"]:
        return f"NOT IN FORCE: {limit['why'] or 'not yet'}"
    return f"{limit['limit']} requests a second of one MAC, {limit['dropped'] or 0} dropped"


def entries(told):
    rows = [
        [one["device"], one["vni"], one.get("address", ""), one["mac"], one.get("vtep", ""), ago(one.get("idle"))]
        for one in told
    ]
    return _table(["Device", "VNI", "Address", "MAC", "VTEP", "Used"], rows)


def misses(told):
    rows = [
        [one["device"], one["vni"], one["key"], one["count"], ago(one["first"]), ago(one["last"]), one["why"]]
        for one in sorted(told, key=lambda one: one["last"])
    ]
    return _table(["Device", "VNI", "Asked for", "Times", "First", "Last", "Why"], rows)


def why(told):
    return "\n".join([*told["sentences"], *(line for one in told["vnis"] for line in one["sentences"])]) + "\n"


def _table(heads, rows):
    return table.text(heads, rows) if rows else "None"


def _pairs(rows):
    width = max(len(name) for name, _value in rows)
    return "".join(f"{name.ljust(width)}  {value}\n" for name, value in rows)


def ago(seconds):
    if seconds is None:
        return ""
    return f"{seconds:.1f} s ago" if seconds < 60 else f"{seconds / 60:.0f} min ago"


def span(seconds):
    return "more" if seconds is None else f"{seconds * 1e6:g} us" if seconds < 1e-3 else f"{seconds * 1e3:g} ms"


def main(argv=None):
    options = {"--debug": "with run: log at level DEBUG"}
    return ctl.main("vtep-agent", PLACE, DESCRIPTION, COMMANDS, run, argv, options)


if __name__ == "__main__":
    raise SystemExit(main())
