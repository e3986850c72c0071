# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on a host of the underlay: send VXLAN in clear to VTEPs that encrypt, as somebody would who has no key.

Request as JSON: {dev, marker, frames: [{mac, src, dst, dstport, vni, spoofed, inner}]}. `src` of null is an address of the
host's own; "any" is one too, or one of nobody's where it has none of that family. `inner` is {mac, src, dst} of a packet to an endpoint,
for VTEPs that route; without it there is a broadcast.
Frames are made by hand and leave by a packet socket, past everything that the host itself does to its packets.
"""

import ipaddress
import json
import socket
import struct
import subprocess
import sys

COPIES = 3  # of each; one may get lost
BROADCAST = b"\xff" * 6
STATION = bytes.fromhex("0200005e1066")  # a MAC address that no station has
ETHERTYPE = 0x88B5  # IEEE 802, local experimental
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
SPORT = 50000
DISCARD = 9  # RFC 863
NOBODY = {4: "192.0.0.8", 6: "fe80::5efe:c000:8"}  # RFC 7600, the dummy address; RFC 5214, of the same


def own_address(dev, version):
    """One of the device's own, or of a device on it."""
    rows = json.loads(subprocess.run(["ip", "-j", "addr"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    rows = [row for row in rows if dev in (row.get("ifname"), row.get("link"))]
    family = {4: "inet", 6: "inet6"}[version]
    for row in sorted(rows, key=lambda row: row["ifname"] != dev):
        for one in row.get("addr_info", ()):
            if one["family"] == family:
                return one["local"]
    return None


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def datagram(src, dst, dport, payload):
    """IP and UDP."""
    src, dst = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", SPORT, dport, length, 0) + payload
    if dst.version == 4:
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0, src.packed, dst.packed)
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp  # IPv4 may go without a sum (RFC 768)
    head = struct.pack("!IHBB", 6 << 28, length, 17, 64) + src.packed + dst.packed
    total = checksum(src.packed + dst.packed + struct.pack("!II", length, 17) + udp + bytes(length % 2))
    return head + udp[:6] + struct.pack("!H", total or 0xFFFF) + udp[8:]


def packet(src, dst, dstport, vni, payload, inner=None):
    """IP, UDP, VXLAN and a frame with the payload: a broadcast, or a packet to an endpoint."""
    frame = BROADCAST + STATION + struct.pack("!H", ETHERTYPE) + payload
    if inner:
        data = datagram(inner["src"], inner["dst"], DISCARD, payload)
        frame = ethernet(inner["mac"], STATION, data)
    return datagram(src, dst, dstport, struct.pack("!II", 0x08000000, vni << 8) + frame.ljust(60, b"\0"))


def ethernet(mac, source, data):
    return bytes.fromhex(mac.replace(":", "")) + source + struct.pack("!H", ETHERTYPES[data[0] >> 4]) + data


def main():
    request = json.load(sys.stdin)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((request["dev"], 0))
        mine = raw.getsockname()[4]
        for one in request["frames"]:
            version = ipaddress.ip_address(one["dst"]).version
            src = one["src"] if one["src"] not in (None, "any") else own_address(request["dev"], version)
            if src is None and one["src"] is None:
                raise SystemExit(f"{request['dev']} has no IPv{version} address to send from")
            payload = bytes.fromhex(request["marker"]) + bytes([one["spoofed"]])
            frame = ethernet(
                one["mac"],
                mine,
                packet(src or NOBODY[version], one["dst"], one["dstport"], one["vni"], payload, one.get("inner")),
            )
            for _copy in range(COPIES):
                raw.send(frame)
    print(json.dumps({"sent": COPIES * len(request["frames"])}))


if __name__ == "__main__":
    main()
