# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on a VTEP: count broadcast copies on the underlay with nftables, and read the tables with iproute2 and vtysh.

`vtep.py start REQUEST` sets the counters, `vtep.py stop REQUEST` reads everything and removes them. JSON in and out.
Only other people's tools are used here, so that the proof does not rest on the collection's own code.
"""

import json
import subprocess
import sys
import time

TABLE = "inet vtep_fabric_verify"


def out(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def nft(ruleset):
    subprocess.run(["nft", "-f", "-"], input=ruleset, text=True, check=True)


def rule(source):
    """Match one endpoint's broadcasts inside VXLAN: from the UDP header on, 8 bytes UDP, 8 VXLAN, then the frame."""
    mac = source["mac"].replace(":", "")
    return (
        f"meta l4proto udp @th,16,16 {source['dstport']} @th,96,24 {source['vni']} "
        f'@th,128,48 0xffffffffffff @th,176,48 0x{mac} @th,224,16 0x88b5 counter comment "{source["vni"]}/{source["mac"]}"'
    )


def start(request):
    rules = "\n".join(map(rule, request["sources"]))
    nft(
        f"table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n"
        f"chain sent {{ type filter hook output priority 0\n{rules}\n}}\n"
        f"chain received {{ type filter hook input priority -400\n{rules}\n}}\n}}\n"
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


def neighbours(version):
    command = {"3": "show ipv6 ospf6 neighbor json", "2": "show ip ospf neighbor json"}[version]
    found = json.loads(out("vtysh", "-c", command)).get("neighbors", {})
    if isinstance(found, dict):  # OSPFv2: {router id: [neighbour, ...]}
        return [
            {"id": name, "state": row.get("nbrState") or row.get("state", "")}
            for name, rows in found.items()
            for row in rows
        ]
    return [{"id": row["neighborId"], "state": row["state"]} for row in found]


def underlay(local, loopbacks):
    """Whether each VTEP's loopback answers from our own."""
    running = {
        address: subprocess.Popen(
            ["ping", "-n", "-q", "-c", "1", "-w", "3", "-I", local, address], stdout=subprocess.DEVNULL
        )
        for address in loopbacks
    }
    return {address: process.wait() == 0 for address, process in running.items()}


def stop(request):
    time.sleep(0.2)  # the last frames are on their way
    answer = {"copies": counters()}
    nft(f"delete table {TABLE}\n")
    answer["fdb"] = fdb(request["devices"])
    answer["ospf"] = {version: neighbours(version) for version in request["ospf"]}
    answer["underlay"] = underlay(request["local"], request["loopbacks"])
    return answer


print(json.dumps({"start": start, "stop": stop}[sys.argv[1]](json.loads(sys.argv[2]))))
