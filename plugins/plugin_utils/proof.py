# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a proof of the fabric needs out of Ansible's variables, for the filters."""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError

from ..module_utils._plan import compile as plan
from . import inventory

KINDS = ("vteps", "service_nodes", "registry")  # the groups whose hosts have plans


def read(hostvars, groups):
    """({host of one of KINDS: its plan}, endpoints as plain dicts)."""
    plans = {}
    for host in (host for group in KINDS for host in groups.get(group, ())):
        if "preflight_plan" not in hostvars[host]:
            raise AnsibleFilterError(
                f"{host}: has no preflight_plan; run the role vtep.fabric.preflight on all hosts of the groups {', '.join(KINDS)} first"
            )
        plans[str(host)] = inventory.plain(hostvars[host]["preflight_plan"])
    words, hosts, service_hosts, registry_hosts, unread = inventory.read(hostvars, groups)
    variant = next(iter(plans.values()))["variant"]
    fabric, faults = plan.read(words, hosts, variant, unread, service_hosts, registry_hosts)
    if faults:
        raise AnsibleFilterError("the fabric has faults: " + "; ".join(plan.bounded(faults)))
    return plans, [endpoint._asdict() for endpoint in fabric.endpoints]


def answers(hostvars, groups):
    """{host: what its script printed}, without those that printed nothing readable."""
    found = {}
    results = (*((group, "verify_node") for group in KINDS), ("endpoints", "verify_endpoint"))
    for group, result in results:
        for host in groups.get(group, ()):
            try:
                found[str(host)] = json.loads(hostvars[host][result]["stdout"])
            except (KeyError, ValueError):
                continue
    return found
