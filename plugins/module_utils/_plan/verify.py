# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proof of the fabric asks of each host, and what it makes of the answers.

A check is a dict: check (its kind), host, expected, seen, ok (None where it was not run), detail. Nothing here decides how to
probe; the role's scripts do that with other people's tools.
"""

from __future__ import annotations

from .._model import values
from . import verify_encryption


def endpoint_request(endpoint, endpoints, plans, frames, wait, marker=""):
    """What endpoint.py is asked: whom to ping, and how large a full frame is. marker: 16 random bytes, in hexadecimal digits."""
    peers = [e for e in endpoints if e["vni"] == endpoint["vni"] and e["mac"] != endpoint["mac"]]
    return {
        "kind": "endpoint",
        "mac": endpoint["mac"],
        "targets": [bare(address) for peer in peers for address in peer["addresses"]],
        "mtu": segment_mtu(plans[endpoint["vtep"]], endpoint["vni"]),
        "frames": frames,
        "wait": wait,
        **verify_encryption.endpoint_words(plans, marker),
    }


def segment_mtu(plan, vni):
    """That of the device that endpoints' frames reach first: MACsec on the VXLAN device, or the VXLAN device."""
    device = device_of(plan, vni)
    above = [one for one in (plan.get("macsec") or {"devices": ()})["devices"] if one["dev"] == device["name"]]
    return (above or [device])[0]["mtu"]


def node_request(plan, plans, endpoints, marker=""):
    """What node.py is asked: which frames to count, which tables to read, which addresses to ping."""
    if plan["underlay"] is None:
        return {"kind": "none"}
    ports = {
        device["id"]: device["dstport"]
        for one in plans.values()
        for device in devices(one)
        if device["id"] in plan["vnis"]
    }
    access, overlay = plan.get("access", {}), plan.get("overlay", {})
    loopbacks = [bare(prefix) for prefix in plan["underlay"]["loopbacks"][str(plan["family"])]]
    return {
        "kind": "node",
        "sources": [
            {"mac": e["mac"], "vni": e["vni"], "dstport": ports[e["vni"]], **verify_encryption.source_words(plans)}
            for e in endpoints
            if e["vni"] in ports
        ],
        "segments": [{"vni": vni, "dstport": dstport} for vni, dstport in ports.items()],
        "paths": [{**known, "dstport": ports[known["vni"]]} for known in plan["expect"].get("paths", ())],
        "devices": [device["name"] for device in overlay.get("vxlans", ())],
        "ports": [link["name"] for link in access.get("links", ())],
        "sysctls": sorted(overlay.get("sysctls", ())),
        "local": plan["local"],
        "loopbacks": loopbacks + shared_address(plan),
        "ospf": [v for v in "32" if plan["underlay"]["ospfv" + v]],
        "registrations": "registrations" in plan["expect"],
        **verify_encryption.node_words(plan, plans, marker),
    }


def shared_address(plan):
    """[the service nodes' common address], where the host is a VTEP that asks them."""
    settings = plan["vxfld"]["settings"] if plan["vxfld"] else {}
    return [settings["common"]["svcnode_ip"]] if "vxrd" in settings else []


def checks(plans, endpoints, answers, frames):
    """Every check of the fabric. answers: {host: what its script printed}; a host without one has failed."""
    found = []
    for name, plan in sorted(plans.items()):
        answer = answers.get(name)
        if plan["underlay"] is None:
            continue
        if answer is None:
            found.append(check("answer", name, "an answer", "none", False))
            continue
        found += ospf_checks(name, plan, answer)
        found += underlay_checks(name, plan, answer["underlay"])
        if "overlay" in plan:
            found.append(fdb_check(name, plan, answer["fdb"]))
            found += table_checks(name, plan, answer)
            if plan["agent"]:
                found.append(agent_check(name, plan, plans, endpoints, answer))
        elif "registrations" in plan["expect"]:
            found.append(registration_check(name, plan, answer["registrations"]))
        found += counted(frame_checks(name, plan, answer["copies"]["sent"], endpoints), answers, [name])
        found += verify_encryption.host_checks(name, plan, endpoints, answers)
    for endpoint in endpoints:
        name = endpoint["name"]
        if name in answers:  # endpoints that are no hosts of the inventory cannot be asked
            found += ping_checks(endpoint, answers[name])
            found += copy_checks(endpoint, plans, answers, frames)
            found += service_copy_checks(endpoint, plans, answers, frames)
    found += verify_encryption.key_checks(plans, endpoints, answers)
    return found


def check(kind, host, expected, seen, ok, detail=()):
    return {"check": kind, "host": host, "expected": expected, "seen": seen, "ok": bool(ok), "detail": list(detail)}


def ospf_checks(name, plan, answer):
    for version, neighbours in sorted(answer["ospf"].items()):
        # A neighbour 0.0.0.0 is the shadow of one that has not said its router id yet.
        known = [n for n in neighbours if n["id"] != "0.0.0.0"]
        bad = [n for n in known if not adjacent(n["state"])]
        states = ", ".join(sorted(f"{n['id']} {n['state']}" for n in known)) or "no neighbour"
        yield check(f"OSPFv{version} neighbours", name, "Full", states, known and not bad)


def adjacent(state):
    """Full, or 2-Way between two routers of a LAN that are neither its designated nor its backup designated router."""
    words = state.lower().replace("twoway", "2-way").split("/")
    return words[0] == "full" or (words[0] == "2-way" and (len(words) == 1 or words[1] == "drother"))


def underlay_checks(name, plan, underlay):
    shared = shared_address(plan)
    yield reached("loopbacks answer", name, {a: answered for a, answered in underlay.items() if a not in shared})
    if shared:
        yield reached("service nodes' address answers", name, {a: underlay.get(a) for a in shared})


def reached(kind, name, underlay):
    dead = sorted(address for address, answered in underlay.items() if not answered)
    detail = [f"no answer from {address}" for address in dead]
    return check(kind, name, len(underlay), len(underlay) - len(dead), not dead, detail)


def fdb_check(name, plan, rows):
    """The kernel's rows against the compiled ones, and those that a daemon is to write. Rows learned from traffic are
    allowed where the device learns."""
    table = plan["overlay"]["fdb"]["table"] + plan["expect"].get("fdb", "")
    wanted = {parse_row(line) for line in table.splitlines() if line.strip()}
    wanted |= {
        default_row(device) for device in plan["overlay"]["vxlans"] if device.get("group") or device.get("remote")
    }
    # Where an agent writes rows that age, agent_check looks at them.
    learning = {device["name"] for device in plan["overlay"]["vxlans"] if device["learning"] or plan["agent"]}
    seen = {
        seen_row(row) for row in rows if row.get("state") in ("permanent", "static") or row["ifname"] not in learning
    }
    if adds_groups(plan):
        seen -= {row for row in seen if row[1].startswith(GROUPS)} - wanted
    detail = [f"missing: {words(r)}" for r in sorted(wanted - seen)] + [
        f"not wanted: {words(r)}" for r in sorted(seen - wanted)
    ]
    return check("FDB row by row", name, len(wanted), len(seen), wanted == seen, detail)


GROUPS = ("33:33:ff:", "ff:ff:ff:ff:ff:ff")  # solicited-node multicast, and broadcast


def adds_groups(plan):
    """Whether the agent has destinations of its own for broadcast and multicast MACs, of VTEPs and endpoints that only the
    registry knows."""
    return plan["agent"] is not None and plan["agent"]["settings"]["agent"]["groups"] == "true"


def agent_check(name, plan, plans, endpoints, answer):
    """What the agent has put into the kernel, against the endpoints that the inventory lists. Which of them are there depends
    on who has been asked for; and one that is not listed may be right where the registry is not made from the list."""
    names = {device["id"]: device["name"] for device in devices(plan)}
    right = {}  # None of an own endpoint, which needs no entry
    for one in endpoints:
        own, dev = one["vtep"] == plan["host"], names.get(one["vni"])
        right[dev, one["mac"]] = None if own else plans[one["vtep"]]["local"]
        right.update({(dev, address): None if own else one["mac"] for address in one["addresses"]})
    aging = [seen_row(row)[:3] for row in answer["fdb"] if row.get("state") not in ("permanent", "static")]
    seen = sorted([*aging, *map(tuple, answer["neighbors"]["agent"])])
    if plan["agent"]["settings"]["registry"]["kind"] != "file":
        right = {**{(dev, key): value for dev, key, value in seen}, **right}
    wrong = [f"wrong: {key} dev {dev} {value}" for dev, key, value in seen if right.get((dev, key)) != value]
    return check("agent's entries", name, len(seen), len(seen) - len(wrong), not wrong, wrong)


def table_checks(name, plan, answer):
    """Each table against the compiled one, where the variant or the host has rows in it."""
    overlay = plan["overlay"]
    neighbors = [line.split() for line in overlay["neighbors"]["table"].splitlines()]
    # Without an agent none of its neighbours may be left.
    permanent = answer["neighbors"]["permanent"] + ([] if plan["agent"] else answer["neighbors"]["agent"])
    pairs = (
        ("neighbours", {(w[2], w[0], w[4]) for w in neighbors if "lladdr" in w}, permanent),
        ("neighbour proxies", {(w[2], w[0]) for w in neighbors if "proxy" in w}, answer["neighbors"]["proxy"]),
        ("routes", set(map(wanted_route, overlay["routes"]["table"].splitlines())), map(seen_route, answer["routes"])),
        ("routing rules", {(r["family"], r["iif"], str(r["table"])) for r in overlay["rules"]}, answer["rules"]),
        ("kernel settings", set(overlay["sysctls"].items()), answer["sysctls"].items()),
    )
    for kind, wanted, rows in pairs:
        seen = set(map(tuple, rows))
        if wanted or seen:
            detail = [f"missing: {' '.join(map(str, row))}" for row in sorted(wanted - seen)]
            detail += [f"not wanted: {' '.join(map(str, row))}" for row in sorted(seen - wanted)]
            yield check(f"{kind} row by row", name, len(wanted), len(seen), wanted == seen, detail)


ROUTE = ("encap", "id", "src", "dst", "dev", "table")  # of a route, what is compared beside its destination


def wanted_route(line):
    parts = line.split()
    unreachable = parts[0] == "unreachable"
    prefix = parts[1] if unreachable else parts[0]
    pairs = dict(zip(parts[1:], parts[2:]))
    pairs.setdefault("table", "main")
    if "encap" not in pairs:
        pairs.pop("dst", None)
    return (prefix, unreachable, *(None if unreachable and key != "table" else pairs.get(key) for key in ROUTE))


def seen_route(pairs):
    """A route as iproute2 tells it: its destination is the first `dst`, that of the encapsulation the second (6.1),
    or in a mapping of its own (6.15)."""
    pairs = [
        pair
        for key, value in pairs
        for pair in (
            [("encap", dict(value)["encap_type"]), *value]
            if key == "encap" and isinstance(value, list)
            else [(key, value)]
        )
    ]
    destinations = [value for key, value in pairs if key == "dst"]
    route = {key: value for key, value in pairs if value is not None}
    family = 6 if any(":" in str(value) for value in [destinations[0], route.get("gateway")]) else 4
    prefix = destinations[0]
    if prefix == "default":
        prefix = "::/0" if route.get("pref") or "pref" in route else "0.0.0.0/0"
    elif "/" not in prefix:
        prefix += "/128" if family == 6 else "/32"
    unreachable = route.get("type") == "unreachable"
    told = {
        "encap": route.get("encap"),
        "id": route.get("id") and str(route["id"]),
        "src": route.get("src") if "encap" in route else None,
        "dst": destinations[1] if len(destinations) > 1 else None,
        "dev": route.get("dev"),
        "table": str(route.get("table", "main")),
    }
    return (prefix, unreachable, *(None if unreachable and key != "table" else told[key] for key in ROUTE))


def registration_check(name, plan, told):
    """What a service node knows, against the VTEPs that are to be registered. One that it has only learned of, from what
    the VTEP sent, or that somebody added by hand, has no node id."""
    wanted = {(vni, address) for vni, addresses in plan["expect"]["registrations"].items() for address in addresses}
    if not isinstance(told, dict):
        return check("registrations row by row", name, len(wanted), "none", False, [str(told)])
    rows = [(vni, *row) for vni, known in told.items() for row in known]
    seen = {(vni, address) for vni, address, _age, node in rows if node not in ("", "0")}
    others = {(vni, address) for vni, address, _age, _node in rows} - wanted
    detail = [f"not registered: VNI {vni} {address}" for vni, address in sorted(wanted - seen)]
    detail += [f"not wanted: VNI {vni} {address}" for vni, address in sorted(others)]
    return check("registrations row by row", name, len(wanted), len(seen), not detail, detail)


def frame_checks(name, plan, sent, endpoints):
    """Nothing is flooded where the variant floods nothing, and what is not learned goes straight to the right VTEP."""
    for vni, copies in sorted(plan["expect"]["broadcast_copies"].items()):
        if not copies:
            seen = sent.get(f"bum/{vni}")
            yield check(f"BUM frames sent in VNI {vni}", name, 0, seen, seen == 0)
    asked = {e["vni"] for e in endpoints if e["vtep"] == plan["host"]}
    known = [path for path in plan["expect"].get("paths", ()) if path["vni"] in asked]
    if known:
        keys = [f"{path['vni']}/{path['mac']}" for path in known]
        strays = [
            f"{key}: {sent.get('stray/' + key)} frames to another VTEP" for key in keys if sent.get("stray/" + key)
        ]
        silent = [f"{key}: no frame to its VTEP" for key in keys if not sent.get("straight/" + key)]
        seen = len(keys) - len(strays) - len(silent)
        yield check("frames go straight", name, len(keys), seen, not strays + silent, strays + silent)


def parse_row(line):
    """(dev, mac, dst, via) of a line of the compiled table."""
    mac, *rest = line.split()
    pairs = dict(zip(rest, rest[1:]))
    return pairs["dev"], mac, pairs["dst"], pairs.get("via", "")


def default_row(device):
    return device["name"], values.ZERO_MAC, device.get("group") or device["remote"], device.get("dev") or ""


def seen_row(row):
    return row["ifname"], row["mac"], row.get("dst", ""), row.get("viaIf", "")


def words(row):
    dev, mac, dst, via = row
    return f"{mac} dev {dev} dst {dst}" + (f" via {via}" if via else "")


def ping_checks(endpoint, answer):
    for kind, key in (("ping", "reach"), ("no loss", "loss"), ("full frame, DF", "full")):
        short = sorted(
            a for a, n in answer[key].items() if not n["sent"] or n["received"] < (1 if key == "reach" else n["sent"])
        )
        detail = [
            f"{address}: {answer[key][address]['received']} of {answer[key][address]['sent']} {answer[key][address].get('error', '')}"
            for address in short
        ]
        total = len(answer[key])
        yield check(kind, endpoint["name"], total, total - len(short), total and not short, detail)


def copy_checks(endpoint, plans, answers, frames):
    """Each broadcast and each unknown unicast leaves its VTEP as often as the variant says, and reaches each other VTEP
    once, or not at all."""
    expect = plans[endpoint["vtep"]]["expect"]
    for kind, said in (("broadcast", "broadcast"), ("unknown", "unknown-unicast")):
        key = f"{kind}/{endpoint['vni']}/{endpoint['mac']}"
        each = expect.get(f"{kind}_copies", expect["broadcast_copies"])[str(endpoint["vni"])]
        for name, plan in sorted(plans.items()):
            if "overlay" not in plan or endpoint["vni"] not in plan["vnis"] or name not in answers:
                continue
            copies = answers[name]["copies"]
            if name == endpoint["vtep"]:
                way, seen, expected = "sent", copies["sent"].get(key), frames * each
            else:
                way, seen, expected = "received", copies["received"].get(key), frames if each else 0
            one = check(f"{said} copies {way} for {endpoint['name']}", name, expected, seen, seen == expected)
            yield from counted([one], answers, [name])


def service_copy_checks(endpoint, plans, answers, frames):
    """Whichever service node gets a frame sends it on, so the copies of all of them are one number."""
    nodes = [name for name, plan in sorted(plans.items()) if "registrations" in plan.get("expect", ())]
    if not nodes or not set(nodes) <= set(answers):
        return
    expected = frames * plans[nodes[0]]["expect"]["broadcast_copies"][str(endpoint["vni"])]
    for kind, said in (("broadcast", "broadcast"), ("unknown", "unknown-unicast")):
        sent = [answers[name]["copies"]["sent"].get(f"{kind}/{endpoint['vni']}/{endpoint['mac']}") for name in nodes]
        seen = None if None in sent else sum(sent)
        one = check(f"{said} copies sent for {endpoint['name']}", ", ".join(nodes), expected, seen, seen == expected)
        yield from counted([one], answers, nodes)


def counted(found, answers, hosts):
    """Checks of what hosts have counted; not run where one of them could not."""
    why = [answers[host]["copies"]["uncounted"] for host in hosts if "uncounted" in answers[host]["copies"]]
    return [{**one, "seen": "not counted", "ok": None, "detail": why} for one in found] if why else found


def bare(address):
    return address.split("/")[0]


def devices(plan):
    """The VXLAN devices, each with its VNI under `id`, whichever way the device has it."""
    vxlans = plan["overlay"]["vxlans"] if "overlay" in plan else ()
    return [{**device, "id": device.get("id") or device["vnis"][0]} for device in vxlans]


def device_of(plan, vni):
    return next(device for device in devices(plan) if device["id"] == vni)


def table(found):
    """The checks as lines of text that a person can read; one that failed or was not run brings its details."""
    head = ("check", "host", "expected", "seen", "")
    words = {True: "ok", False: "FAILED", None: "not run"}
    rows = [(c["check"], c["host"], str(c["expected"]), str(c["seen"]), words[c["ok"]]) for c in found]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]]
    details = [f"{c['host']}: {c['check']}: {line}" for c in found if not c["ok"] for line in c["detail"][:10]]
    passed, left = sum(c["ok"] is True for c in found), sum(c["ok"] is None for c in found)
    total = f"{passed} of {len(found)} checks passed"
    return [*lines, *details, total + (f", {left} not run" if left else "")]
