# SPDX-License-Identifier: GPL-3.0-or-later
"""How a VTEP's loopbacks are routed: the inventory's words underlay_ospf_*, for OSPFv3 and OSPFv2 alike."""

from __future__ import annotations

from dataclasses import dataclass

from . import ospf, reading

NETWORKS = ("broadcast", "point-to-point")  # what every ospfd and ospf6d has on an Ethernet interface


@dataclass(frozen=True)
class Ospf:
    """None is FRR's default."""

    area: str
    network: str | None
    cost: int | None
    hello_interval: int | None
    dead_interval: int | None
    retransmit_interval: int | None
    lsa_min_arrival: int | None
    authentication: dict | None


def read(words, addresses):
    """The settings of a host. addresses: its loopbacks by family; OSPFv2, which has MD5 only, routes that of IPv4."""

    def number(name, low, high):
        return words.get(f"underlay_ospf_{name}", reading.whole(low, high))

    hello, dead = number("hello_interval", 1, 65535), number("dead_interval", 1, 65535)
    if (dead or ospf.DEAD) <= (hello or ospf.HELLO):
        message = f"{dead or ospf.DEAD} s is not longer than the hello interval of {hello or ospf.HELLO} s; raise it"
        words.fault("underlay_ospf_dead_interval", message)
    return Ospf(
        area=words.get("underlay_ospf_area", lambda value: ospf.area(reading.text(value)), "0.0.0.0"),
        network=words.get("underlay_ospf_network", reading.choice(*NETWORKS)),
        cost=number("cost", 1, 65535),
        hello_interval=hello,
        dead_interval=dead,
        retransmit_interval=number("retransmit_interval", 1, 65535),
        lsa_min_arrival=number("lsa_min_arrival", 0, ospf.MILLISECONDS),
        authentication=words.get("underlay_ospf_authentication", lambda value: authentication(words, addresses, value)),
    )


def authentication(words, addresses, value):
    if not isinstance(value, dict):
        raise ValueError("is not a mapping; write {key_id: 1, algorithm: hmac-sha-256, key: ...}")
    inner = reading.Words(words.faults, words.where, "underlay_ospf_authentication: ", value)
    algorithm = inner.get("algorithm", reading.choice(*ospf.ALGORITHMS), "hmac-sha-256")
    used = [algorithm or "md5", *(["md5"] if 4 in addresses else [])]
    found = {
        "key_id": inner.get("key_id", reading.whole(1, ospf.KEY_IDS[4]), required="number the key, 1 to 255"),
        "algorithm": algorithm,
        "key": inner.get("key", lambda value: secret(value, used), required="give the shared secret"),
    }
    inner.finish()
    return found


def secret(value, algorithms):
    """A shared secret that suits all of the algorithms. What is wrong with it is told without it."""
    if not isinstance(value, str):
        raise ValueError("is not text (the value is not shown); put it in quotes")
    for algorithm in algorithms:
        ospf.key(value, algorithm)
    return value
