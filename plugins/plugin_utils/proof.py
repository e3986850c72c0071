# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a proof of the fabric needs out of Ansible's variables, for the filters."""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError

from ..module_utils._plan import compile as plan
from . import inventory


def read(hostvars, groups):
    """({VTEP or service node: its plan}, endpoints as plain dicts)."""
    plans = {}
    for host in (*groups["vteps"], *groups.get("service_nodes", ())):
        if "preflight_plan" not in hostvars[host]:
            raise AnsibleFilterError(
                f"{host}: has no preflight_plan; run the role vtep.fabric.preflight on all VTEPs and service nodes first"
            )
        plans[str(host)] = inventory.plain(hostvars[host]["preflight_plan"])
    words, hosts, service_hosts, unread = inventory.read(hostvars, groups)
    fabric, faults = plan.read(words, hosts, next(iter(plans.values()))["variant"], unread, service_hosts)
    if faults:
        raise AnsibleFilterError("the fabric has faults: " + "; ".join(plan.bounded(faults)))
    return plans, [endpoint._asdict() for endpoint in fabric.endpoints]


def answers(hostvars, groups):
    """{host: what its script printed}, without those that printed nothing readable."""
    found = {}
    results = (("vteps", "verify_node"), ("service_nodes", "verify_node"), ("endpoints", "verify_endpoint"))
    for group, result in results:
        for host in groups.get(group, ()):
            try:
                found[str(host)] = json.loads(hostvars[host][result]["stdout"])
            except (KeyError, ValueError):
                continue
    return found
