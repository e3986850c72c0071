# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on a VTEP, a service node or a host of the registry: count broadcast copies on the underlay with nftables, and read the
tables with iproute2 and vtysh, and a service node's registrations with vxsndctl.

`node.py start` sets the counters, `node.py stop` reads everything and removes them. JSON in and out.
Only other people's tools are used here, so that the proof does not rest on the collection's own code; vxsndctl tells what
only the daemon knows, and the copies that are counted prove it.
"""

import json
import pathlib
import subprocess
import sys
import time

TABLE = "inet vtep_fabric_verify"
PROTOCOL = "118"  # of the collection's routes
AGENT = "119"  # of the neighbours that vtep-agent writes
PROC = pathlib.Path("/proc/sys")


def out(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def nft(ruleset):
    subprocess.run(["nft", "-f", "-"], input=ruleset, text=True, check=True)


def uncounted():
    """Why nothing can be counted here, or None. A host without these rules has to be asked for by name, see role preflight."""
    done = subprocess.run(
        ["nft", "--check", "-f", "-"],
        input=f"table {TABLE} {{ chain sent {{ type filter hook output priority 0; }}; }}",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if done.returncode == 0 else "kernel has no nftables for family inet: CONFIG_NF_TABLES_INET"


UNKNOWN = "0200005e1000"  # as in endpoint.py

# From the UDP header on: 8 bytes UDP, 8 VXLAN with the VNI at bit 96, then the frame: destination at bit 128, source at
# 176, EtherType at 224. A group address has the lowest bit of its first byte set (IEEE 802).
VXLAN = "meta l4proto udp @th,16,16 {dstport} @th,96,24 {vni}"


def probe(source, destination, name):
    """Count what an endpoint sends for the proof to a destination inside VXLAN. Of what MACsec has encrypted there, the MAC
    addresses can be read, and the frames of the proof have a UDP length of their own."""
    mac = source["mac"].replace(":", "")
    kind = (
        f"@th,224,16 0x88e5 @th,32,16 {source['secured_length']}" if "secured_length" in source else "@th,224,16 0x88b5"
    )
    return (
        f"{VXLAN.format(**source)} @th,128,48 0x{destination} @th,176,48 0x{mac} {kind} "
        f'counter comment "{name}/{source["vni"]}/{source["mac"]}"'
    )


def probes(source):
    return [probe(source, "f" * 12, "broadcast"), probe(source, UNKNOWN, "unknown")]


def path(known):
    """Count frames to a MAC address by whether they go to the VTEP that has it."""
    match = f"{VXLAN.format(**known)} @th,128,48 0x{known['mac'].replace(':', '')}"
    daddr = "ip6 daddr" if ":" in known["dst"] else "ip daddr"
    name = f"{known['vni']}/{known['mac']}"
    return [
        f'{match} {daddr} {known["dst"]} counter comment "straight/{name}"',
        f'{match} {daddr} != {known["dst"]} counter comment "stray/{name}"',
    ]


def bum(segment):
    return f'{VXLAN.format(**segment)} @th,135,1 1 counter comment "bum/{segment["vni"]}"'


def arrived(request):
    """Where a fabric encrypts its underlay, a packet that has arrived counts when it was encrypted. The hook sees it decrypted, and
    what is sent before it is encrypted."""
    how = request.get("encryption", {})
    if how.get("where") == "esp":
        return "meta ipsec exists "
    if how.get("where") == "underlay":
        return "iifname { " + ", ".join(f'"{dev}"' for dev in how["macsec"]) + " } "
    return ""


def start(request):
    if uncounted():
        return {}
    counted = [rule for source in request["sources"] for rule in probes(source)]
    received = [arrived(request) + rule for rule in counted]
    sent = [*counted, *map(bum, request["segments"]), *(rule for known in request["paths"] for rule in path(known))]
    nft(
        f"table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n"
        "chain sent { type filter hook output priority 0\n" + "\n".join(sent) + "\n}\n"
        "chain received { type filter hook input priority -400\n" + "\n".join(received) + "\n}\n}\n"
    )
    return {}


def counters():
    found = {"sent": {}, "received": {}}
    for item in json.loads(out("nft", "-j", "list", "table", *TABLE.split()))["nftables"]:
        if "rule" in item:
            packets = next(e["counter"]["packets"] for e in item["rule"]["expr"] if "counter" in e)
            found[item["rule"]["chain"]][item["rule"]["comment"]] = packets
    return found


def fdb(devices):
    return [
        dict(row, ifname=dev)
        for dev in devices
        for row in json.loads(out("bridge", "-j", "fdb", "show", "dev", dev) or "[]")
        if "self" in row.get("flags", ()) and ("dst" in row or row["mac"] == "00:00:00:00:00:00")
    ]


def ip(*words):
    """What iproute2 tells; pairs in place of mappings, since of an encapsulated route it tells two `dst`."""
    return json.loads(out("ip", "-j", *words) or "[]", object_pairs_hook=list)


def neighbors(devices):
    """[dev, address, MAC] of permanent neighbours, those of vtep-agent apart, and [dev, address] of those that a device answers
    for."""
    permanent = [row for row in map(dict, ip("neigh", "show", "nud", "permanent")) if row["dev"] in devices]
    proxies = map(dict, [*ip("-4", "neigh", "show", "proxy"), *ip("-6", "neigh", "show", "proxy")])
    rows = {True: [], False: []}
    for row in permanent:
        rows[row.get("protocol") == AGENT].append([row["dev"], row["dst"], row["lladdr"]])
    return {
        "permanent": rows[False],
        "agent": rows[True],
        "proxy": [[row["dev"], row["dst"]] for row in proxies if row["dev"] in devices],
    }


def routes(devices):
    """Of each route by one of the devices, and each unreachable one of a table of its own, all that iproute2 tells."""
    rows = [
        row for family in ("-4", "-6") for row in ip("-d", family, "route", "show", "table", "all", "proto", PROTOCOL)
    ]
    return [row for row in rows if dict(row).get("dev") in devices or dict(row).get("type") == "unreachable"]


def rules():
    rows = [dict(row, family=family) for family in (4, 6) for row in map(dict, ip(f"-{family}", "rule", "show"))]
    return [[row["family"], row["iif"], row["table"]] for row in rows if "iif" in row]


def settings(keys):
    found = {}
    for key in keys:
        try:
            found[key] = (PROC / key).read_text().strip()
        except OSError as error:
            found[key] = error.strerror
    return found


def ospf_neighbours(version):
    command = {"3": "show ipv6 ospf6 neighbor json", "2": "show ip ospf neighbor json"}[version]
    found = json.loads(out("vtysh", "-c", command)).get("neighbors", {})
    if isinstance(found, dict):  # OSPFv2: {router id: [neighbour, ...]}
        return [
            {"id": name, "state": row.get("nbrState") or row.get("state", "")}
            for name, rows in found.items()
            for row in rows
        ]
    return [{"id": row["neighborId"], "state": row["state"]} for row in found]


def registrations():
    """{VNI: [[address, seconds until it ages or STATIC, node id]]}, or why vxsndctl tells none."""
    try:
        done = subprocess.run(["vxsndctl", "-j", "fdb"], capture_output=True, text=True, check=False)
        return json.loads(done.stdout)
    except (OSError, ValueError) as error:
        return f"vxsndctl -j fdb: {error}"


def underlay(local, loopbacks):
    """Whether each address answers from our own."""
    running = {
        address: subprocess.Popen(
            ["ping", "-n", "-q", "-c", "1", "-w", "3", "-I", local, address], stdout=subprocess.DEVNULL
        )
        for address in loopbacks
    }
    return {address: process.wait() == 0 for address, process in running.items()}


def stop(request):
    time.sleep(0.2)  # the last frames are on their way
    why = uncounted()
    if why:
        answer = {"copies": {"sent": {}, "received": {}, "uncounted": why}}
    else:
        answer = {"copies": counters()}
        nft(f"delete table {TABLE}\n")
    answer["fdb"] = fdb(request["devices"])
    answer["neighbors"] = neighbors(request["devices"] + request["ports"])
    answer["routes"] = routes(request["devices"] + request["ports"])
    answer["rules"] = rules()
    answer["sysctls"] = settings(request["sysctls"])
    answer["ospf"] = {version: ospf_neighbours(version) for version in request["ospf"]}
    answer["underlay"] = underlay(request["local"], request["loopbacks"])
    if request["registrations"]:
        answer["registrations"] = registrations()
    return answer


print(json.dumps({"start": start, "stop": stop}[sys.argv[1]](json.load(sys.stdin))))
