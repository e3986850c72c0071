# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a proof of the fabric needs out of Ansible's variables, for the filters."""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError

from ..module_utils._plan import compile as plan
from . import inventory


def read(hostvars, groups):
    """({VTEP: its plan}, endpoints as plain dicts)."""
    plans = {}
    for host in groups["vteps"]:
        if "preflight_plan" not in hostvars[host]:
            raise AnsibleFilterError(
                f"{host}: has no preflight_plan; run the role vtep.fabric.preflight on all VTEPs first"
            )
        plans[str(host)] = inventory.plain(hostvars[host]["preflight_plan"])
    words, hosts, unread = inventory.read(hostvars, groups)
    fabric, faults = plan.read(words, hosts, next(iter(plans.values()))["variant"], unread)
    if faults:
        raise AnsibleFilterError("the fabric has faults: " + "; ".join(plan.bounded(faults)))
    return plans, [endpoint._asdict() for endpoint in fabric.endpoints]


def answers(hostvars, groups):
    """{host: what its script printed}, without those that printed nothing readable."""
    found = {}
    for group, result in (("vteps", "verify_vtep"), ("endpoints", "verify_endpoint")):
        for host in groups.get(group, ()):
            try:
                found[str(host)] = json.loads(hostvars[host][result]["stdout"])
            except (KeyError, ValueError):
                continue
    return found
