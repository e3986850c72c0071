# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's figures for Prometheus: at the control socket, and in a file for the textfile collector of node_exporter."""

from __future__ import annotations

import os
from pathlib import Path

from .._service import metrics
from .resolver import COUNTERS

# Of the time from reading a miss to having sent its row, in seconds.
BOUNDS = (10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3)
INTERVAL = 15.0  # seconds between two writes of the file

OWN = {
    "misses lost": "times that misses came faster than they were read, after which the tables are read again",
    "changes lost": "times that changes of tables came faster than they were read",
    "sweeps": "looks at a device's tables",
    "rows refused": "rows that the kernel did not take",
    "entries refused": "entries of the registry that are not well-formed",
    "faults": "faults of the agent, told in its log",
}


def families(agent):
    """{name: (help, kind, samples)} of a running agent."""
    counters, registry = agent.counts(), agent.registry.shown()
    words = {**COUNTERS, **OWN}
    told = {
        f"vtep_agent_{metrics.name(name)}_total": (words[name], "counter", [({}, value)])
        for name, value in counters.items()
    }
    told["vtep_agent_answer_seconds"] = (
        "time from reading a miss to having sent its row", "histogram", agent.latency,
    )  # fmt: skip
    sizes = agent.resolver.sizes()
    told["vtep_agent_rows"] = (
        "rows in the kernel that are the agent's", "gauge",
        [({"table": name}, sizes[name]) for name in ("fdb", "neighbors")],
    )  # fmt: skip
    told["vtep_agent_waiting"] = ("keys that were asked for and have no answer", "gauge", [({}, sizes["unanswered"])])
    told["vtep_agent_devices"] = ("VXLAN devices that are served", "gauge", [({}, len(agent.devices))])
    told["vtep_agent_start_time_seconds"] = ("Unix time of the start", "gauge", [({}, agent.started)])
    told["vtep_agent_registry_ok"] = ("whether the registry is heard", "gauge", [({}, registry["ok"])])
    told["vtep_agent_registry_endpoints"] = ("endpoints that are known", "gauge", [({}, len(agent.directory))])
    told["vtep_agent_registry_conflicts"] = (
        "endpoints or addresses that several claim", "gauge", [({}, len(agent.directory.conflicts))],
    )  # fmt: skip
    if registry.get("heard") is not None:
        told["vtep_agent_registry_heard_seconds"] = ("time since it was heard", "gauge", [({}, registry["heard"])])
    if registry.get("lag") is not None:
        told["vtep_agent_registry_lag_seconds"] = (
            "for how long etcd has been further than what is known here", "gauge", [({}, registry["lag"])],
        )  # fmt: skip
    told["vtep_agent_registry_events_total"] = (
        "what the registry's source has done", "counter",
        [({"event": metrics.name(name)}, value) for name, value in sorted(registry.get("counters", {}).items())],
    )  # fmt: skip
    for name, help_, kind, value in agent.access.figures():
        told[f"vtep_agent_{name}"] = (help_, kind, [({}, value)])
    return told


def text(agent):
    return metrics.text(families(agent))


def write(path, found):
    """Put a text in the place of a file, at once. Raises OSError."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # no *.prom, which the collector would read
    try:
        temporary.unlink(missing_ok=True)
        # Whoever else may write into the directory must not lead this elsewhere.
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(file, "w", encoding="utf-8") as opened:
            os.fchmod(file, 0o644)
            opened.write(found)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
