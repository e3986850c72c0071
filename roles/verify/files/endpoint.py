# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on an endpoint: send counted frames and ping the others. JSON in and out.

Only ping and raw sockets are used here, so that the proof does not rest on the collection's own code.
"""

import json
import pathlib
import socket
import struct
import subprocess
import sys

ETHERTYPE = 0x88B5  # IEEE 802, local experimental: nothing but this proof sends it
BROADCAST = b"\xff" * 6
LENGTH = 60  # bytes of a frame that is counted, unless the request says otherwise
UNKNOWN = bytes.fromhex("0200005e1000")  # a MAC address that no station has
AT_ONCE = 250  # pings; each takes a process and an open file, of which a login may have 1024


def device_of(mac):
    for path in pathlib.Path("/sys/class/net").iterdir():
        if (path / "address").read_text().strip() == mac:
            return path.name
    raise SystemExit(f"no device here has the MAC address {mac}")


def send(dev, mac, destination, frames, length, marker):
    frame = destination + bytes.fromhex(mac.replace(":", "")) + struct.pack("!H", ETHERTYPE)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((dev, 0))
        for number in range(frames):
            raw.send((frame + struct.pack("!Q", number) + marker).ljust(length, b"\0"))


def ping_all(targets, *options):
    """{address: {sent, received}}, many at once: of those a dead one costs its time-out only once."""
    found, waiting = {}, list(targets.items())
    while waiting:
        running = {
            address: subprocess.Popen(
                ["ping", "-n", "-q", *options, *size, address],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for address, size in waiting[:AT_ONCE]
        }
        found.update({address: counts(process.communicate()[0]) for address, process in running.items()})
        del waiting[:AT_ONCE]
    return found


def in_a_row(number):
    """After the last packet ping waits for twice the longest time that an answer took, but for the interval at least (schedule_exit of
    iputils), hence a long one: -W is for when no answer comes at all. All at once, some were lost on the way."""
    return ("-c", str(number), "-i", "0.2", "-W", "1")


def counts(text):
    for line in text.splitlines():
        if "packets transmitted" in line:
            words = line.replace(",", "").split()
            return {"sent": int(words[0]), "received": int(words[3])}
    return {"sent": 0, "received": 0, "error": text.strip()[-200:]}


def main():
    request = json.load(sys.stdin)
    dev = device_of(request["mac"])
    plain = dict.fromkeys(request["targets"], ())
    # Headers of ICMP are 8 bytes, of IPv4 20, of IPv6 40; -M do sets DF on IPv4 and forbids the sender to fragment on both.
    full = {
        address: ("-M", "do", "-s", str(request["mtu"] - (48 if ":" in address else 28)))
        for address in request["targets"]
    }
    # Where the fabric encrypts, what is sent carries a marker, which must be seen nowhere; ping repeats it as often as it fits.
    marker = request.get("marker", "")
    pattern = ("-p", marker) if marker else ()
    # What is known of the others is asked for anew; permanent entries, such as a gateway's, stay. So do those that are being asked for: an
    # answer to another endpoint's ping may be waiting there, and would be lost.
    known = [word for state in ("reachable", "stale", "delay", "probe", "failed") for word in ("nud", state)]
    subprocess.run(["ip", "neigh", "flush", "dev", dev, *known], check=True, stdout=subprocess.DEVNULL)
    answer = {"reach": ping_all(plain, *pattern, "-c", "1", "-i", "0.2", "-w", str(request["wait"]))}
    answer["loss"] = ping_all(plain, *pattern, *in_a_row(10))
    answer["full"] = ping_all(full, *pattern, *in_a_row(3))
    for destination in (BROADCAST, UNKNOWN):
        send(dev, request["mac"], destination, request["frames"], request.get("length", LENGTH), bytes.fromhex(marker))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
