# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's kernel needs after a reboot to be what a run has made of it: the calls of modules, in the run's order."""

from __future__ import annotations


def record(plan, guard="", isolation=True):
    """The steps for the plan of a host, as plain data without secrets.

    guard: rules of nftables that keep VXLAN to MACsec. isolation: whether role access keeps the host's IP stack off the overlay.
    Nothing is purged: after a reboot there is nothing of the collection's, and what others have by then is theirs. Static keys are
    not in it, since one that was used must not be used again; what drops VXLAN without them is.
    """
    steps = []

    def call(module, what, **options):
        if what:
            steps.append({"module": module, "options": options})

    underlay, macsec, ipsec = plan.get("underlay"), plan.get("macsec"), plan.get("ipsec")
    below = bool(macsec) and macsec["where"] == "underlay"
    if underlay:
        call("link", underlay["links"], links=underlay["links"])
    if below:
        call("macsec", macsec["devices"], devices=macsec["devices"])
        carriers = underlay.get("carriers", [])
        call("link", carriers, links=carriers)
        if guard:
            steps.append({"nft": guard})
    if ipsec:
        call("xfrm", ipsec["block"], states=[], policies=ipsec["block"])
    if "access" in plan:
        _access(plan["access"], isolation, call)
    if "overlay" in plan:
        vxlans = plan["overlay"]["vxlans"]
        call("vxlan", vxlans, devices=vxlans)
        if macsec and not below:
            call("macsec", macsec["devices"], devices=macsec["devices"])
            call("link", macsec["ports"], links=macsec["ports"])
        _tables(plan["overlay"], call)
    # What brings ESP's daemon is not among them; a change of it is a change of what the host comes back as.
    return {"steps": steps, **({"ipsec": ipsec["mode"]} if ipsec else {})}


def _access(access, isolation, call):
    call("link", access["links"], links=access["links"])
    alone, routed, fdb = access["isolation"], access["routed"], access["fdb"]
    call("isolation", isolation and (alone or routed), interfaces=alone, routed=routed)
    call("fdb", fdb["table"], dev=fdb["dev"], table=fdb["table"])


def _tables(overlay, call):
    fdb, neighbors, routes = overlay["fdb"], overlay["neighbors"]["table"], overlay["routes"]["table"]
    call("fdb", fdb["table"], dev=fdb["dev"], table=fdb["table"])
    call("neighbor", neighbors, table=neighbors)
    call("sysctl", overlay["sysctls"], settings=overlay["sysctls"])
    call("route", routes, table=routes)
    call("rule", overlay["rules"], rules=overlay["rules"])
