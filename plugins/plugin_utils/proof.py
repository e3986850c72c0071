# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a proof of the fabric needs out of Ansible's variables, for the filters."""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError

from ..module_utils._plan import compile as plan
from ..module_utils._plan import verify_encryption
from . import inventory

KINDS = ("vteps", "service_nodes", "registry")  # the groups whose hosts have plans


def read_plans(hostvars, groups):
    """{host of one of KINDS: its plan}."""
    plans = {}
    for host in (host for group in KINDS for host in groups.get(group, ())):
        if "preflight_plan" not in hostvars[host]:
            raise AnsibleFilterError(
                f"{host}: has no preflight_plan; run the role vtep.fabric.preflight on all hosts of the groups {', '.join(KINDS)} first"
            )
        plans[str(host)] = inventory.plain(hostvars[host]["preflight_plan"])
    return plans


def read(hostvars, groups):
    """({host of one of KINDS: its plan}, endpoints as plain dicts)."""
    plans = read_plans(hostvars, groups)
    words, hosts, service_hosts, registry_hosts, unread = inventory.read(
        hostvars, groups, verify_encryption.picked(plans)
    )
    variant = next(iter(plans.values()))["variant"]
    fabric, faults = plan.read(words, hosts, variant, unread, service_hosts, registry_hosts)
    if faults:
        raise AnsibleFilterError("the fabric has faults: " + "; ".join(plan.bounded(faults)))
    return plans, [endpoint._asdict() for endpoint in fabric.endpoints]


def interfaces(hostvars, groups):
    """{host of one of KINDS: {interface: (MAC address, [address])}}, as the preflight found them."""
    found = {}
    for host in (host for group in KINDS for host in groups.get(group, ())):
        there = inventory.plain(hostvars[host].get("preflight_host", {}).get("interfaces", {}))
        found[str(host)] = {
            name: (known.get("mac"), [one.partition("/")[0] for one in known.get("addresses", ())])
            for name, known in there.items()
        }
    return found


def with_ipsec(hostvars, groups):
    """The hosts of KINDS that the preflight found IPsec of the collection on."""
    hosts = (host for group in KINDS for host in groups.get(group, ()))
    return {str(host) for host in hosts if hostvars[host].get("preflight_host", {}).get("installed", {}).get("ipsec")}


def answers(hostvars, groups):
    """{host: what its script printed}, without those that printed nothing readable. Under `encryption`, what was captured there."""
    found = {}
    results = (*((group, "verify_node") for group in KINDS), ("endpoints", "verify_endpoint"))
    for group, result in results:
        for host in groups.get(group, ()):
            answer, captured = (printed(hostvars[host], name) for name in (result, "verify_encryption"))
            if answer is not None:
                found[str(host)] = {**answer, "encryption": captured} if captured else answer
    return found


def printed(variables, result):
    try:
        return json.loads(variables[result]["stdout"])
    except (KeyError, ValueError):
        return None
