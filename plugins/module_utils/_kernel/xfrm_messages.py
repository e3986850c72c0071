# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of IPsec states and policies (linux/xfrm.h): their bytes, and what they say.

A state that is as wanted is told by comparing bytes: the kernel tells what it was told, in one order, and what counts on (lifetimes,
sequence numbers, times) is left out. Whatever differs is decoded and compared by its parts.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache

from .._model.errors import FabricError
from .._model.table import address_of
from .._model.xfrm import (
    ALGORITHMS,
    BY_KERNEL,
    ESPINUDP,
    FLAGS,
    FWD,
    IN,
    OUT,
    OWNER,
    POLICY,
    PROTOCOL_NAMES,
    SIZES,
    STATE,
    Found,
    Policy,
    Selector,
    Template,
    algorithm_words,
    covers,
    digest,
    mark_text,
    sel_words,
    window_words,
)
from . import codec

NEWSA, DELSA, GETSA, NEWPOLICY, DELPOLICY, GETPOLICY = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
UPDPOLICY, UPDSA = 0x19, 0x1A
AUTH, CRYPT, ENCAP, TMPL, REPLAY_VAL, SRCADDR, LASTUSED, POLICY_TYPE, PAD = 1, 2, 4, 5, 10, 13, 15, 16, 27
AEAD, AUTH_TRUNC, MARK, REPLAY_ESN, IF_ID, SA_DIR = 18, 20, 21, 23, 31, 33
COMP = 3
KEYED = {AEAD, AUTH, AUTH_TRUNC, CRYPT, COMP}  # one of these every state has that a daemon or a user made

# struct xfrm_selector: daddr, saddr, dport and its mask, sport and its mask, family, prefix lengths of d and s, proto, ifindex, user
SELECTOR = struct.Struct("=16s16s8sHBBBxxxII")
ID = struct.Struct("=16s4sB3x")  # struct xfrm_id: daddr, spi, proto
TAIL = struct.Struct("=IIHBBB7x")  # the end of struct xfrm_usersa_info: seq, reqid, family, mode, replay_window, flags
SA_ID = struct.Struct("=16s4sHBx")  # struct xfrm_usersa_id: daddr, spi, family, proto
TEMPLATE = struct.Struct("=16s4sB3xHxx16sIBBBxIII")  # struct xfrm_user_tmpl
POLICY_END = struct.Struct("=IIBBBB4x")  # of struct xfrm_userpolicy_info: priority, index, dir, action, flags, share
POLICY_ID = struct.Struct("=56sIB3x")  # struct xfrm_userpolicy_id: sel, index, dir
ENCAPS = struct.Struct("=HHHxx16s")  # struct xfrm_encap_tmpl: type, sport, dport, oa
ESN = struct.Struct("=IIIIII")  # struct xfrm_replay_state_esn: bmp_len, oseq, seq, oseq_hi, seq_hi, replay_window
REPLAY = struct.Struct("=III")  # struct xfrm_replay_state: oseq, seq, bitmap
PAIR = struct.Struct("=II")
CURRENT = struct.Struct("=QQQQ")  # struct xfrm_lifetime_cur: bytes, packets, add_time, use_time
STATS = struct.Struct("=III")  # struct xfrm_stats: replay_window, replay, integrity_failed

SEL_AT, ID_AT, SADDR_AT, LFT_AT, CUR_AT, STATS_AT, SEQ_AT, SA_SIZE = 0, 56, 80, 96, 160, 192, 204, 224
P_LFT_AT, P_CUR_AT, P_END_AT, P_SIZE = 56, 120, 152, 168
HEAD = 16  # struct nlmsghdr

ESP = 50
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
FAMILY_NAMES = {number: name for name, number in FAMILIES.items()}
MODES = {"transport": 0, "tunnel": 1}
MODE_NAMES = {0: "transport", 1: "tunnel", 2: "ro", 3: "in_trigger", 4: "beet", 5: "iptfs"}
PROTO_NAMES = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao"}
DIRS = {IN: 0, OUT: 1, FWD: 2}
DIR_NAMES = {number: name for name, number in DIRS.items()}
ACTION_NAMES = {0: "allow", 1: "block"}
ACTION_NUMBERS = {name: number for number, name in ACTION_NAMES.items()}
UDP_ENCAP_ESPINUDP = 2  # linux/udp.h
FLAG_ESN = 128
NO_LIMITS = b"\xff" * 32 + bytes(32)  # XFRM_INF bytes and packets, and no time
ANY16 = bytes(16)


# States


def _sixteen(packed):
    return packed if len(packed) == 16 else packed + bytes(16 - len(packed))


def selector(sel):
    """struct xfrm_selector."""
    ports = b"".join(
        bytes(4) if port is None else port.to_bytes(2, "big") + b"\xff\xff" for port in (sel.dport, sel.sport)
    )
    addresses = (_sixteen(address or b"") for address in (sel.dst, sel.src))
    return SELECTOR.pack(*addresses, ports, FAMILIES[sel.family], sel.dst_len, sel.src_len, sel.proto, 0, 0)


@lru_cache(maxsize=1 << 16)
def _selector(sel, family):
    """None of family 0 is that of a state whose flag af-unspec says that it takes both families."""
    return selector(sel or Selector(family)) if family else bytes(SELECTOR.size)


def _selector_of(state, family):
    return _selector(state.sel, 0 if "af-unspec" in state.shape.flags else family)


@lru_cache(maxsize=4096)
def _ends(shape, family, key_length):
    """Of a state: flags and so on of struct xfrm_usersa_info without its seq; attributes before and after the key."""
    algorithm = ALGORITHMS[shape.algorithm]
    esn = shape.esn or shape.replay_window > 32  # struct xfrm_replay_state has 32 bits for a window
    flags = sum(FLAGS[flag] for flag in shape.flags) | (FLAG_ESN if shape.esn else 0)
    tail = TAIL.pack(0, shape.reqid, FAMILIES[family], MODES[shape.mode], 0 if esn else shape.replay_window, flags)
    name = algorithm.kernel.encode().ljust(64, b"\0")
    kind = AEAD if not algorithm.auth else CRYPT
    before = (
        codec.ATTRIBUTE.pack(4 + 68 + (4 if kind == AEAD else 0) + key_length, kind)
        + name
        + codec.U32.pack(8 * key_length)
    )
    if kind == AEAD:
        before += codec.U32.pack(algorithm.icv)
    after = b""
    if shape.encap:
        sport, dport = map(socket.htons, shape.encap)
        after += codec.attribute(ENCAP, ENCAPS.pack(UDP_ENCAP_ESPINUDP, sport, dport, ANY16))
    if shape.mark != (0, 0):
        after += codec.attribute(MARK, PAIR.pack(*shape.mark))
    if esn:
        words = (shape.replay_window + 31) // 32
        after += codec.attribute(REPLAY_ESN, ESN.pack(words, 0, 0, 0, 0, shape.replay_window) + bytes(4 * words))
    if shape.if_id:
        after += codec.attribute(IF_ID, codec.U32.pack(shape.if_id))
    return tail[4:], before, after


@lru_cache(maxsize=16)
def _auth_before(name):
    algorithm = ALGORITHMS[name]
    hashed = algorithm.auth.encode().ljust(64, b"\0")
    return (
        codec.ATTRIBUTE.pack(4 + 72 + algorithm.auth_key, AUTH_TRUNC)
        + hashed
        + PAIR.pack(8 * algorithm.auth_key, algorithm.icv)
    )


def _attributes(state, before, after):
    """In the kernel's own order, in which it tells them. All keys are multiples of 4 bytes long."""
    if state.auth_key:
        return _auth_before(state.shape.algorithm) + state.auth_key + before + state.key + after
    return before + state.key + after


def state_body(state):
    """The body of a request that makes a state (XFRM_MSG_NEWSA), or makes one anew (XFRM_MSG_UPDSA)."""
    family = 4 if len(state.dst) == 4 else 6
    tail, before, after = _ends(state.shape, family, len(state.key))
    return b"".join(
        (
            _selector_of(state, family),
            ID.pack(state.dst, state.spi.to_bytes(4, "big"), ESP),
            state.src if family == 6 else state.src + bytes(12),
            NO_LIMITS,
            bytes(CUR_SIZE),
            codec.U32.pack(owner_seq(state.spi)),
            tail,
            _attributes(state, before, after),
        )
    )


CUR_SIZE = SEQ_AT - CUR_AT  # lifetimes so far, and statistics


def owner_seq(spi):
    """The mark of our states: 118 above 24 bits that differ, since the kernel hashes states by it."""
    return OWNER << 24 | spi & 0xFFFFFF


def state_key(state):
    return ID.pack(state.dst, state.spi.to_bytes(4, "big"), ESP)


def state_key_in(data, start):
    at = start + HEAD + ID_AT
    return data[at : at + 21] + b"\0\0\0"


def state_owned(data, start):
    return codec.U32.unpack_from(data, start + HEAD + SEQ_AT)[0] >> 24 == OWNER


def state_attributes(data, start, end):
    return codec.attributes(data, start + HEAD + SA_SIZE, end)


def state_meets(state, data, start, end):
    """Whether a state of the kernel's, of the same destination, protocol and SPI, is in the place of a wanted one."""
    family = FAMILIES[4 if len(state.dst) == 4 else 6]
    if TAIL.unpack_from(data, start + HEAD + SEQ_AT)[2] != family:
        return False
    if not state_owned(data, start) and state_larval(data, start, end):
        return False
    mark = _mark_in(data, start + HEAD + SA_SIZE, end)
    if mark == state.mark or covers(mark, state.mark):
        return True
    # One of ours that takes fewer marks has to go before: deleted later, by its mark, the kernel would find the new one (xfrm_del_sa).
    return state.shape is not None and state_owned(data, start) and covers(state.mark, mark)


def state_larval(data, start, end):
    """Whether a state is one of the kernel's own, without keys (XFRM_STATE_ACQ): a packet waits by it for a key daemon, of which there
    may be none. It stands in nobody's way (Xfrm._fill)."""
    return KEYED.isdisjoint(state_attributes(data, start, end))


def _mark_in(data, at, end):
    if _MARK_START not in data[at:end]:
        return 0, 0
    payload = codec.attributes(data, at, end).get(MARK)
    return PAIR.unpack(payload) if payload and len(payload) == 8 else (0, 0)


_MARK_START = codec.ATTRIBUTE.pack(12, MARK)


def _compared(data, start, end):
    """What of a state's message counts: attributes that count on are left out, and those of AUTH, which AUTH_TRUNC repeats."""
    parts = []
    at = start + HEAD + SA_SIZE
    while at + 4 <= end:
        length, kind = codec.ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            break
        if kind == REPLAY_ESN and length >= 28:
            # Of the sequence numbers and the bitmap only their lengths are settings.
            words, _oseq, _seq, _oseq_hi, _seq_hi, window = ESN.unpack_from(data, at + 4)
            parts.append(codec.ATTRIBUTE.pack(length, kind) + ESN.pack(words, 0, 0, 0, 0, window) + bytes(length - 28))
        elif kind not in COUNTS_ON:
            parts.append(data[at : at + length])
        at += codec.align(length)
    return parts


COUNTS_ON = {REPLAY_VAL, LASTUSED, PAD, AUTH, SA_DIR}


def state_difference(state, data, start, end):
    """None where the kernel's state is the wanted one, else in words what no text shows of the difference."""
    family = 4 if len(state.dst) == 4 else 6
    tail, before, after = _ends(state.shape, family, len(state.key))
    at = start + HEAD
    # The kernel gives it to each state of IPv4 where net.ipv4.ip_no_pmtu_disc is on (__xfrm_init_state).
    given = FLAGS["nopmtudisc"] if family == 4 else 0
    fixed = (
        data[at : at + ID_AT] == _selector_of(state, family)
        and data[at + SADDR_AT : at + LFT_AT] == _sixteen(state.src)
        and data[at + SEQ_AT + 4 : at + SEQ_AT + 12] == tail[:8]
        and data[at + SEQ_AT + 12] in (tail[8], tail[8] | given)
    )
    parts = _compared(data, start, end)
    wanted = _attributes(state, before, after)
    if fixed and b"".join(parts) == wanted:
        return None
    theirs = {codec.ATTRIBUTE.unpack_from(part)[1]: part[4:] for part in parts}
    ours = codec.attributes(wanted, 0, len(wanted))
    keys = [kind for kind in (AEAD, AUTH_TRUNC, CRYPT) if theirs.get(kind) != ours.get(kind)]
    hidden = bool(keys) and all(_hidden(ours.get(kind, b""), theirs.get(kind, b"")) for kind in keys)
    others = {kind: value for kind, value in theirs.items() if kind not in keys} == {
        kind: value for kind, value in ours.items() if kind not in keys
    }
    if fixed and others and (not keys or hidden):
        return None
    return "another key" if keys and not hidden else ""


def _hidden(ours, theirs):
    """Whether the kernel keeps a key to itself (lockdown): all is alike, and where the key would be are zeros."""
    at = 72 if len(ours) > 72 and ours[:64].rstrip(b"\0").decode() not in CRYPTS else 68
    return len(ours) == len(theirs) and ours[:at] == theirs[:at] and not any(theirs[at:])


CRYPTS = {one.kernel for one in ALGORITHMS.values() if one.auth}


def state_found(data, start, end):
    at = start + HEAD
    daddr, spi, proto = ID.unpack_from(data, at + ID_AT)
    _seq, _reqid, family, *_rest = TAIL.unpack_from(data, at + SEQ_AT)
    given = state_attributes(data, start, end)
    message = SA_ID.pack(daddr, spi, family, proto)
    if MARK in given:
        message += codec.attribute(MARK, given[MARK])
    message += codec.attribute(SRCADDR, data[at + SADDR_AT : at + LFT_AT])
    told = state_told(data, start, end)
    return Found(STATE, state_owned(data, start), state_text(told), message, _digest(given))


def key_digest(data, start, end):
    """Of a state's key, where it has one of a counter mode."""
    return _digest(state_attributes(data, start, end))


def key_hidden(data, start, end):
    """Whether the kernel has zeros in place of a state's key, as it does under lockdown."""
    payload = state_attributes(data, start, end).get(AEAD, b"")
    return bool(payload[72:]) and not any(payload[72:])


def _digest(given):
    payload = given.get(AEAD, b"")
    algorithm = BY_KERNEL.get(payload[:64].rstrip(b"\0").decode("utf-8", "replace"))
    return digest(algorithm.name, payload[72:]) if algorithm and algorithm.counter and any(payload[72:]) else ""


def state_text(told):
    """A state in words, from what state_told tells."""
    parts = ["state", "src", told["src"], "dst", told["dst"], "proto", told["proto"], "spi", hex(told["spi"])]
    parts += ["reqid", str(told["reqid"]), "mode", told["mode"], *told["flags"]]
    if "algorithm" in told:
        parts += algorithm_words(told["algorithm"], told["key_bits"], told["icv_bits"], told.get("auth"))
    parts += window_words(told["replay_window"], told["esn"])
    if "encap" in told:
        encap = told["encap"]
        parts += ["encap", encap["type"], str(encap["sport"]), str(encap["dport"])]
    parts += ["mark", told["mark"]] if "mark" in told else []
    parts += ["if_id", hex(told["if_id"])] if "if_id" in told else []
    parts += sel_words(told["selector"]) if told["selector"] else []
    return " ".join([*parts, *(["other", told["other"]] if "other" in told else [])])


KNOWN = {AUTH, CRYPT, ENCAP, REPLAY_VAL, LASTUSED, PAD, AEAD, AUTH_TRUNC, MARK, REPLAY_ESN, IF_ID, SA_DIR}


def state_told(data, start, end):
    """A state as data, without its keys. `selector` is a Selector, or None where the kernel's message has none."""
    at = start + HEAD
    daddr, spi, proto = ID.unpack_from(data, at + ID_AT)
    seq, reqid, af, mode, window, flags = TAIL.unpack_from(data, at + SEQ_AT)
    family = FAMILY_NAMES.get(af, 6)
    size = SIZES[family]
    spent, packets, added, used = CURRENT.unpack_from(data, at + CUR_AT)
    late, replayed, failed = STATS.unpack_from(data, at + STATS_AT)
    given = state_attributes(data, start, end)
    told = {
        "src": address_of(data[at + SADDR_AT : at + SADDR_AT + size]),
        "dst": address_of(daddr[:size]),
        "family": family,
        "proto": PROTO_NAMES.get(proto, str(proto)),
        "spi": int.from_bytes(spi, "big"),
        "reqid": reqid,
        "mode": MODE_NAMES.get(mode, str(mode)),
        "flags": [name for name, bit in FLAGS.items() if flags & bit],
        "esn": bool(flags & FLAG_ESN),
        "replay_window": window,
        "selector": _selector_in(data, at, family),
        "owned": seq >> 24 == OWNER,
        "bytes": spent,
        "packets": packets,
        "add_time": added,
        "use_time": used,
        "errors": {"replay_window": late, "replay": replayed, "integrity_failed": failed},
    }
    if AEAD in given:
        told.update(_told_algorithm(given[AEAD], True))
    elif CRYPT in given:
        told.update(_told_algorithm(given[CRYPT], False))
        hashed = given.get(AUTH_TRUNC, b"")
        if hashed:
            told["auth"] = _name(hashed)
            told["icv_bits"] = _read(PAIR, hashed[64:])[1]
    if REPLAY_ESN in given:
        _count, oseq, seq_in, oseq_hi, seq_hi, told["replay_window"] = _read(ESN, given[REPLAY_ESN])
        told.update(oseq=oseq_hi << 32 | oseq, seq=seq_hi << 32 | seq_in)
    elif REPLAY_VAL in given:
        told["oseq"], told["seq"], _bitmap = _read(REPLAY, given[REPLAY_VAL])
    if given.get(SA_DIR):
        told["dir"] = {1: IN, 2: OUT}.get(given[SA_DIR][0], str(given[SA_DIR][0]))
    if ENCAP in given:
        kind, sport, dport, _oa = _read(ENCAPS, given[ENCAP])
        name = ESPINUDP if kind == UDP_ENCAP_ESPINUDP else str(kind)
        told["encap"] = {"type": name, "sport": socket.ntohs(sport), "dport": socket.ntohs(dport)}
    _told_common(told, given, flags & ~sum(FLAGS.values()) & ~FLAG_ESN, KNOWN)
    return told


def _told_common(told, given, flags, known):
    if MARK in given:
        told["mark"] = mark_text(_read(PAIR, given[MARK]))
    if given.get(IF_ID):
        told["if_id"] = codec.number(given[IF_ID])
    other = [f"flags {hex(flags)}"] if flags else []
    # Of what this version does not know not the value: it might be a key.
    other += [f"xfrma {kind}" for kind in given if kind not in known]
    if other:
        told["other"] = " ".join(other)


def _told_algorithm(payload, aead):
    bits, icv = _read(PAIR, payload[64:])
    return {"algorithm": _name(payload), "key_bits": bits, "icv_bits": icv if aead else 0}


def _read(form, payload):
    """The numbers of a structure; what a bad reply lacks of it is zero."""
    return form.unpack_from(payload.ljust(form.size, b"\0"))


def _name(payload):
    return payload[:64].split(b"\0")[0].decode("utf-8", "replace")


def _selector_in(data, at, family):
    """The Selector of struct xfrm_selector; None where it takes all packets of the family, as that of a state without one."""
    daddr, saddr, ports, af, dlen, slen, proto, _ifindex, _user = SELECTOR.unpack_from(data, at)
    if not (any(daddr) or any(saddr) or any(ports) or dlen or slen or proto) and FAMILY_NAMES.get(af, family) == family:
        return None
    return _made_selector(daddr, saddr, ports, FAMILY_NAMES.get(af, family), dlen, slen, proto)


def _made_selector(daddr, saddr, ports, family, dlen, slen, proto):
    size = SIZES[family]
    dport, sport = (int.from_bytes(ports[i : i + 2], "big") if any(ports[i + 2 : i + 4]) else None for i in (0, 4))
    src, dst = (address[:size] if any(address) else None for address in (saddr, daddr))
    return Selector(family, src, slen, dst, dlen, proto, sport, dport)


def selector_told(sel):
    """A Selector as data."""
    if sel is None:
        return None
    told = {"family": sel.family}
    for name in ("src", "dst"):
        told[name] = f"{address_of(getattr(sel, name) or bytes(SIZES[sel.family]))}/{getattr(sel, f'{name}_len')}"
    if sel.proto:
        told["proto"] = PROTOCOL_NAMES.get(sel.proto, str(sel.proto))
    for name in ("sport", "dport"):
        if getattr(sel, name) is not None:
            told[name] = getattr(sel, name)
    return told


# Policies


def policy_body(policy, index=0):
    """The body of a request that makes a policy (XFRM_MSG_NEWPOLICY) or replaces one."""
    return b"".join(
        (
            _selector(policy.sel, policy.sel.family),
            NO_LIMITS,
            bytes(P_END_AT - P_CUR_AT),
            POLICY_END.pack(policy.priority, index, DIRS[policy.dir], ACTION_NUMBERS[policy.action], 0, 0),
            *policy_attributes(policy),
        )
    )


def policy_attributes(policy):
    """The templates, and the mark and if_id."""
    others = codec.attribute(MARK, PAIR.pack(*policy.mark)) if policy.mark != (0, 0) else b""
    if policy.if_id:
        others += codec.attribute(IF_ID, codec.U32.pack(policy.if_id))
    templates, family = b"", policy.sel.family
    for one in policy.tmpl:
        family = one.family(family)
        templates += _template(one, FAMILIES[family])
    return codec.attribute(TMPL, templates) if templates else b"", others


def _template(tmpl, family):
    mode, spi = MODES[tmpl.mode], tmpl.spi.to_bytes(4, "big")
    return TEMPLATE.pack(
        tmpl.dst or b"", spi, ESP, family, tmpl.src or b"", tmpl.reqid, mode, 0, tmpl.level == "use", *ALL_ALGORITHMS
    )


ALL_ALGORITHMS = (0xFFFFFFFF,) * 3


def free_index(direction, taken):
    """An index with our mark that no policy has: 118 above the number, and in the 3 lowest bits the direction."""
    index = OWNER << 24 | DIRS[direction]
    start = 8 * len(taken)
    for step in range(0, 1 << 24, 8):
        one = index + (start + step & 0xFFFFF8)
        if one not in taken:
            return one
    raise FabricError("there are 2 million policies of vtep.fabric; remove some")


def policy_end(data, start):
    return POLICY_END.unpack_from(data, start + HEAD + P_END_AT)


def policy_index(data, start):
    return policy_end(data, start)[1]


def policy_key(policy):
    return DIRS[policy.dir], _selector(policy.sel, policy.sel.family)


def policy_key_in(data, start):
    return policy_end(data, start)[2], data[start + HEAD : start + HEAD + P_LFT_AT]


def policy_owned(data, start):
    return policy_index(data, start) >> 24 == OWNER


def policy_meets(policy, data, start, end):
    rest = data[start + HEAD + P_SIZE : end]
    if not any(start in rest for start in _NARROW):
        return policy.mark == (0, 0) and not policy.if_id
    given = codec.attributes(rest, 0, len(rest))
    if any(given.get(POLICY_TYPE, b"")[:1]):
        return False  # of the sub-policies, which are another table
    mark = _read(PAIR, given.get(MARK, b""))
    return mark == policy.mark and codec.number(given.get(IF_ID), 0) == policy.if_id


# What may tell apart policies of one selector. Where none of their beginnings is, none of them is.
_NARROW = (_MARK_START, codec.ATTRIBUTE.pack(8, IF_ID), codec.attribute(POLICY_TYPE, b"\1" + bytes(5))[:5])


def policy_difference(policy, data, start, end):
    at = start + HEAD
    rest = data[at + P_SIZE : end]
    if data[at + P_END_AT : at + P_END_AT + 4] == codec.U32.pack(policy.priority) and rest in _policy_rests(policy):
        _priority, _index, _direction, action, flags, share = policy_end(data, start)
        if action == ACTION_NUMBERS[policy.action] and not flags and not share:
            return None
    return None if policy_in(data, start, end) == policy else ""


def _policy_rests(policy):
    """The attributes as the kernel tells them: with the type of the policy if it has CONFIG_XFRM_SUB_POLICY."""
    tmpl, others = policy_attributes(policy)
    return tmpl + others, tmpl + _MAIN + others


_MAIN = codec.attribute(POLICY_TYPE, bytes(6))


P_KNOWN = {TMPL, POLICY_TYPE, MARK, IF_ID, PAD, LASTUSED}


def policy_in(data, start, end):
    """The Policy of a message, or None where it has what no policy of ours has."""
    at = start + HEAD
    priority, _index, direction, action, flags, share = policy_end(data, start)
    daddr, saddr, ports, af, dlen, slen, proto, ifindex, user = SELECTOR.unpack_from(data, at)
    given = codec.attributes(data, at + P_SIZE, end)
    if flags or share or ifindex or user or af not in FAMILY_NAMES or any(kind not in P_KNOWN for kind in given):
        return None
    if direction not in DIR_NAMES or action not in ACTION_NAMES:
        return None
    templates = given.get(TMPL, b"")
    tmpl = []
    for i in range(0, len(templates) - len(templates) % TEMPLATE.size, TEMPLATE.size):
        dst, spi, of, family, src, reqid, mode, tshare, optional, aalgos, ealgos, calgos = TEMPLATE.unpack_from(
            templates, i
        )
        if (
            of != ESP
            or mode not in (0, 1)
            or tshare
            or {aalgos, ealgos, calgos} != {0xFFFFFFFF}
            or family not in FAMILY_NAMES
        ):
            return None
        size = SIZES[FAMILY_NAMES[family]]
        ends = [address[:size] if any(address) else None for address in (src, dst)]
        level = "use" if optional else "required"
        tmpl.append(Template(MODE_NAMES[mode], *ends, int.from_bytes(spi, "big"), reqid, level))
    sel = _made_selector(daddr, saddr, ports, FAMILY_NAMES[af], dlen, slen, proto)
    mark = _read(PAIR, given.get(MARK, b""))
    return Policy(
        DIR_NAMES[direction], sel, mark, codec.number(given.get(IF_ID), 0), priority, ACTION_NAMES[action], tuple(tmpl)
    )


def policy_found(data, start, end):
    at = start + HEAD
    _priority, index, direction, *_rest = policy_end(data, start)
    given = codec.attributes(data, at + P_SIZE, end)
    message = POLICY_ID.pack(data[at : at + P_LFT_AT], index, direction)
    for kind in (MARK, IF_ID):
        if kind in given:
            message += codec.attribute(kind, given[kind])
    made = policy_in(data, start, end)
    return Found(
        POLICY, policy_owned(data, start), made.text() if made else policy_text(policy_told(data, start, end)), message
    )


def policy_text(told):
    """A policy that this module would not write, in words."""
    sel = told["selector"]
    parts = ["policy", "dir", told["dir"], "src", sel["src"], "dst", sel["dst"]]
    parts += [word for name in ("proto", "sport", "dport") if name in sel for word in (name, str(sel[name]))]
    parts += ["priority", str(told["priority"]), "action", told["action"]]
    parts += [word for name in ("mark", "if_id") if name in told for word in (name, str(told[name]))]
    for one in told["tmpl"]:
        parts += ["tmpl", *(word for name, value in one.items() for word in (name, str(value)))]
    return " ".join([*parts, *(["other", told["other"]] if "other" in told else [])])


def policy_told(data, start, end):
    """A policy as data."""
    at = start + HEAD
    priority, index, direction, action, flags, share = policy_end(data, start)
    daddr, saddr, ports, af, dlen, slen, proto, ifindex, _user = SELECTOR.unpack_from(data, at)
    family = FAMILY_NAMES.get(af, 6)
    given = codec.attributes(data, at + P_SIZE, end)
    told = {
        "dir": DIR_NAMES.get(direction, f"socket {direction & 3}"),
        "family": family,
        "selector": selector_told(_made_selector(daddr, saddr, ports, family, dlen, slen, proto)),
        "priority": priority,
        "index": index,
        "action": ACTION_NAMES.get(action, str(action)),
        "owned": index >> 24 == OWNER,
        "tmpl": [],
    }
    templates = given.get(TMPL, b"")
    for i in range(0, len(templates) - len(templates) % TEMPLATE.size, TEMPLATE.size):
        dst, spi, of, tfamily, src, reqid, mode, _share, optional, *_algos = TEMPLATE.unpack_from(templates, i)
        size = SIZES[FAMILY_NAMES.get(tfamily, 6)]
        one = {name: address_of(address[:size]) for name, address in (("src", src), ("dst", dst)) if any(address)}
        one["proto"] = PROTO_NAMES.get(of, str(of))
        if any(spi):
            one["spi"] = int.from_bytes(spi, "big")
        one.update(reqid=reqid, mode=MODE_NAMES.get(mode, str(mode)), level="use" if optional else "required")
        told["tmpl"].append(one)
    if ifindex:
        told["dev"] = ifindex
    _told_common(told, given, flags, P_KNOWN)
    return told


class _Codes:
    """How the messages of a kind are read."""

    def __init__(self, key, key_in, owned, meets, difference, found):
        self.key, self.key_in, self.owned = key, key_in, owned
        self.meets, self.difference, self.found = meets, difference, found


CODES = {
    STATE: _Codes(state_key, state_key_in, state_owned, state_meets, state_difference, state_found),
    POLICY: _Codes(policy_key, policy_key_in, policy_owned, policy_meets, policy_difference, policy_found),
}
