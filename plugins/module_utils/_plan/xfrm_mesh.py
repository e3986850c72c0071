# SPDX-License-Identifier: GPL-3.0-or-later
"""The IPsec states and policies of one host in a mesh of VTEPs, from a secret and the epochs of all hosts. Pure.

Both ends of a pair compute the same keys by themselves; no key travels.
"""

from __future__ import annotations

from .._model import values
from .._model.errors import InputError
from .._model.xfrm import ALGORITHMS, ESPINUDP, IN, OUT, TRANSPORT, TUNNEL, U32_MAX, WINDOW_MAX
from .._model.xfrm_keys import SECRET_MIN, End, direction

PRIORITY, BLOCK_PRIORITY = 1000, 2000  # the kernel takes the policy with the least
# The kernel wants a window with ESN also where nothing arrives. Always the same, since a state that sends and is made anew needs a new key.
OUT_WINDOW = 1024
KEY_BITS = {
    "aes-gcm": {128: 20, 256: 36},
    "chacha20-poly1305": {256: 36},
    **{f"aes-cbc-sha{bits}": {128: 16, 256: 32} for bits in (256, 384, 512)},
}  # bytes
WORDS = ("algorithm", "key_bits", "mode", "port", "reqid", "encap", "esn", "replay_window", "block")


def mesh(
    hosts,
    host,
    secret,
    algorithm="aes-gcm",
    key_bits=256,
    mode=TRANSPORT,
    port=4789,
    reqid=118,
    encap=None,
    esn=True,
    replay_window=1024,
    block=True,
    **unknown,
):
    """{states, policies} in the words of the module xfrm, for `host`, a name among `hosts`. Raises InputError."""
    faults = [f"{name}: is not a known word; known are {', '.join(WORDS)}" for name in sorted(unknown)]
    if not isinstance(secret, str):
        faults.append("secret: it is not text (the value is not shown); put it in quotes")
    elif len(secret) < SECRET_MIN:
        faults.append(f"secret: it has {len(secret)} characters; it must have {SECRET_MIN} or more, random ones")
    if not isinstance(key_bits, int) or key_bits not in KEY_BITS.get(str(algorithm), ()):
        known = ", ".join(f"{name} with {' or '.join(map(str, lengths))}" for name, lengths in KEY_BITS.items())
        faults.append(f"algorithm and key_bits: {algorithm!r} with {key_bits!r} is not known; known are {known}")
    if mode not in (TRANSPORT, TUNNEL):
        faults.append(f"mode: {mode!r} is neither transport nor tunnel")
    numbers = {}
    for name, value, low, high in (
        ("port", port, 1, 65535),
        ("reqid", reqid, 0, U32_MAX),
        ("replay_window", replay_window, 0, WINDOW_MAX),
    ):
        try:
            numbers[name] = values.integer(value, low, high)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    for name, value in (("esn", esn), ("block", block)):
        if not isinstance(value, bool):
            faults.append(f"{name}: {value!r} is neither true nor false; in a template, write | bool after it")
    faults += _encap_faults(encap)
    ends = _ends(hosts, faults)
    mine = ends.get(str(host))
    if mine is None:
        faults.append(f"{host!r} is none of the hosts")
    if faults:
        raise InputError(faults)
    made = _Mesh(mine, secret, algorithm, key_bits, mode, numbers["port"], numbers["reqid"])
    made.window = numbers["replay_window"]
    made.shared = {"esn": esn, **({"encap": dict(encap)} if encap else {})}
    for end in ends.values():
        if end is not mine:
            made.pair(end)
    if block:
        made.block()
    made.check()
    return {"states": made.states, "policies": made.policies}


def _encap_faults(encap):
    if encap is None:
        return
    if not isinstance(encap, dict):
        yield f"encap: {encap!r} is not a mapping; write {{type: espinudp, sport: 4500, dport: 4500}}"
        return
    for name, value in encap.items():
        if name == "type" and value != ESPINUDP:
            yield f"encap: type: {value!r} is not known; it is {ESPINUDP} (RFC 3948)"
        elif name in ("sport", "dport"):
            try:
                values.integer(value, 1, 65535)
            except ValueError as error:
                yield f"encap: {name}: {error}"
        elif name != "type":
            yield f"encap: {name}: is not a known word; known are type, sport, dport"


def _ends(hosts, faults):
    ends, at = {}, {}
    if not isinstance(hosts, (list, tuple)):
        faults.append("hosts: it is not a list; write [{name: ..., address: ..., epoch: ...}]")
        hosts = ()
    for number, given in enumerate(hosts, 1):
        if not isinstance(given, dict):
            faults.append(
                f"hosts row {number}: {given!r} is not a mapping; write {{name: ..., address: ..., epoch: ...}}"
            )
            continue
        name, epoch = (str(given.get(word) or "").strip() for word in ("name", "epoch"))
        where = f"hosts row {number}"
        if not name:
            faults.append(f"{where}: name: missing")
            continue
        if not epoch:
            faults.append(
                f"{where} ({name}): epoch: missing; write a text that never comes back, such as the id of its boot"
            )
        if name in ends:
            faults.append(f"{where}: name: {name} stands twice")
        try:
            address = values.address(given.get("address"))
        except ValueError as error:
            faults.append(f"{where} ({name}): address: {error}")
            continue
        if address in at:
            faults.append(f"{where} ({name}): address: {address} is that of {at[address]} too")
        at[address] = name
        ends[name] = End(name, address, epoch)
    if len({values.family(address) for address in at}) > 1:
        faults.append("hosts: their addresses are of both families; a mesh is of one")
    return ends


class _Mesh:
    def __init__(self, mine, secret, algorithm, key_bits, mode, port, reqid):
        self.mine, self.secret, self.algorithm, self.mode, self.port, self.reqid = (
            mine,
            secret.encode(),
            algorithm,
            mode,
            port,
            reqid,
        )
        self.lengths = KEY_BITS[algorithm][key_bits], ALGORITHMS[algorithm].auth_key
        self.shared, self.window = {}, OUT_WINDOW
        self.states, self.policies = [], []
        self.spis = {}

    def pair(self, peer):
        """Both directions between this host and a peer."""
        self._direction(OUT, self.mine, peer)
        self._direction(IN, peer, self.mine)

    def _direction(self, way, sender, receiver):
        keys = direction(self.secret, sender, receiver, self.algorithm, *self.lengths, use=(self.mode, self.port))
        if way == IN:
            self.spis.setdefault(keys.spi, []).append(sender.name)
        sel = {"src": _host(sender.address), "dst": _host(receiver.address), "proto": "udp", "dport": self.port}
        state = {
            "src": sender.address,
            "dst": receiver.address,
            "spi": hex(keys.spi),
            "dir": way,
            "mode": self.mode,
            "reqid": self.reqid,
            "algorithm": self.algorithm,
            "key": "0x" + keys.key.hex(),
            "sel": sel,
            "replay_window": self.window if way == IN else OUT_WINDOW,
            **self.shared,
        }
        if keys.auth_key:
            state["auth_key"] = "0x" + keys.auth_key.hex()
        self.states.append(state)
        tmpl = {"src": sender.address, "dst": receiver.address, "reqid": self.reqid, "mode": self.mode}
        if way == OUT:
            tmpl["spi"] = hex(keys.spi)  # while keys rotate there are several states, and this says which is used
        self.policies.append({"dir": way, **sel, "priority": PRIORITY, "tmpl": [tmpl]})

    def block(self):
        """VXLAN that no pair takes: that of strangers, to whatever address of the host, and what would leave in clear."""
        any_address = "0.0.0.0/0" if values.family(self.mine.address) == 4 else "::/0"
        mine = _host(self.mine.address)
        for way, src, dst in ((OUT, mine, any_address), (IN, any_address, any_address)):
            sel = {"src": src, "dst": dst, "proto": "udp", "dport": self.port}
            self.policies.append({"dir": way, **sel, "priority": BLOCK_PRIORITY, "action": "block"})

    def check(self):
        twice = [" and ".join(names) for names in self.spis.values() if len(names) > 1]
        if twice:
            raise InputError(
                [
                    f"{names} have the same SPI towards {self.mine.name} by chance; give one of them another epoch"
                    for names in twice
                ]
            )


def _host(address):
    return f"{address}/{32 if values.family(address) == 4 else 128}"
