# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec states and policies from lines in the words of `ip xfrm`, each after `state` or `policy`.

Faults do not quote long words, since one may be a key that stands in a wrong place.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .table import Faults
from .values import shown
from .xfrm import (
    BY_AUTH,
    POLICY,
    SPI_MIN,
    STATE,
    U32_MAX,
    Policy,
    Selector,
    State,
    Template,
    Wanted,
)
from .xfrm_read import (
    SELECTOR,
    absent_state,
    checked,
    key_words,
    one_address,
    policy_row,
    prefix,
    read_row,
    state_row,
)


def from_table(text, absent=False, read_key=None):
    """The wanted rows from lines in the words of `ip xfrm`, each after `state` or `policy`. Raises InputError."""
    faults = Faults()
    wanted = Wanted()
    names = {STATE: [], POLICY: []}
    known = {}  # of states that a line was read of: one for each way in which lines differ in more than a state's own words
    for number, line in enumerate(text.split("\n"), 1):
        quick = None if absent else _quick(line, known)
        if quick is not None and quick[0] is not None:
            row = quick[0]
            (wanted.states if row.kind == STATE else wanted.policies).append(row)
            names[row.kind].append(f"src line {number}")
            continue
        words = line.split()
        if not words or words[0][0] == "#":
            continue
        name = f"src line {number}"
        if words[0] == STATE:
            wanted.states.append(read_row(faults, name, _state_line, words, absent, read_key))
        elif words[0] == POLICY:
            wanted.policies.append(read_row(faults, name, _policy_line, words, absent))
        else:
            faults.add(f"{name}: it begins with neither 'state' nor 'policy'")
            continue
        names[words[0]].append(name)
        if quick is not None:
            made = (wanted.states if words[0] == STATE else wanted.policies)[-1]
            if made is not None:
                known[quick[1]] = made
    return checked(wanted, names, faults)


# Thousands of lines differ in addresses, SPIs and keys. These are the places of those words in lines as they mostly are.
_STATE_LINE = re.compile(
    r"state src (\S+) dst (\S+) proto esp spi (\S+) (.*?)aead (\S+) 0x([0-9a-fA-F]+) (\S+)(.*?)(?: sel src (\S+) dst (\S+)(.*))?"
)
_POLICY_LINE = re.compile(
    r"policy src (\S+) dst (\S+) (.*?)tmpl src (\S+) dst (\S+) proto esp (?:spi (\S+) )?(reqid .*)"
)


def _quick(line, known):
    """(the row, what tells the line's way) of a line as lines mostly are; the row is None where its way is new.

    None for other lines. Whatever is wrong with a line is found by the other way to read it.
    """
    match = _STATE_LINE.fullmatch(line)
    try:
        if match:
            return _quick_state(match.groups(), known)
        match = _POLICY_LINE.fullmatch(line)
        return _quick_policy(match.groups(), known) if match else None
    except ValueError:
        return None


def _quick_state(words, known):
    src, dst, spi, head, name, key, icv, tail, sel_src, sel_dst, sel_tail = words
    src, dst, spi, key = one_address(src), one_address(dst), int(spi, 0), bytes.fromhex(key)
    ends = (_end(sel_src), _end(sel_dst)) if sel_src is not None else _NO_ENDS
    way = (STATE, head, name, icv, tail, sel_tail, len(src), len(dst), len(key), ends[0][1], ends[1][1])
    like = known.get(way)
    if like is None or not SPI_MIN <= spi <= U32_MAX or not any(key):
        return None, way
    sel = like.sel
    if sel is not None:
        (src_prefix, _size, src_len), (dst_prefix, _size, dst_len) = ends
        sel = Selector(sel.family, src_prefix, src_len, dst_prefix, dst_len, *sel[5:])
    return State(src, dst, spi, like.shape, sel, key, b"", like.mark), way


def _quick_policy(words, known):
    src, dst, middle, tmpl_src, tmpl_dst, spi, tail = words
    ends = _end(src), _end(dst)
    tmpl_src, tmpl_dst = one_address(tmpl_src), one_address(tmpl_dst)
    number = 0 if spi is None else int(spi, 0)
    way = (POLICY, middle, tail, spi is None, ends[0][1], ends[1][1], len(tmpl_src), len(tmpl_dst))
    like = known.get(way)
    if like is None or spi is not None and not SPI_MIN <= number <= U32_MAX:
        return None, way
    (src_prefix, _size, src_len), (dst_prefix, _size, dst_len) = ends
    sel = Selector(like.sel.family, src_prefix, src_len, dst_prefix, dst_len, *like.sel[5:])
    (tmpl,) = like.tmpl
    tmpl = Template(tmpl.mode, tmpl_src, tmpl_dst, number, tmpl.reqid, tmpl.level)
    return Policy(like.dir, sel, like.mark, like.if_id, like.priority, like.action, (tmpl,)), way


_NO_ENDS = ((None, 0, 0), (None, 0, 0))


@lru_cache(maxsize=1 << 16)
def _end(text):
    """(address or None for any, bytes of an address, prefix length) of one end of a selector."""
    packed, length = prefix(text, "")
    return (packed if any(packed) else None), len(packed), length


# Lines

STATE_WORDS = (
    "src",
    "dst",
    "proto",
    "spi",
    "reqid",
    "mode",
    "dir",
    "mark",
    "mask",
    "if_id",
    "replay-window",
    "flag",
    "encap",
    "aead",
    "auth-trunc",
    "enc",
    "key-file",
    "algorithm",
    "sel",
)
POLICY_WORDS = ("src", "dst", "proto", "sport", "dport", "dir", "priority", "action", "mark", "mask", "if_id", "tmpl")


def _state_line(words, absent, read_key):
    """A State from a line. What most lines share is looked up by the words that are left when the others are cut out."""
    found, rest, sel = {}, [], ()
    at = 1
    end = len(words)
    try:
        while at < end:
            word = words[at]
            if word in ("src", "dst", "spi", "key-file"):
                _put(found, word, words[at + 1])
                at += 2
            elif word == "aead":
                rest += (word, words[at + 1], words[at + 3])
                _put(found, "key", words[at + 2])
                at += 4
            elif word == "auth-trunc":
                rest += (word, words[at + 1], words[at + 3])
                _put(found, "auth_key", words[at + 2])
                at += 4
            elif word == "enc":
                rest += (word, words[at + 1])
                _put(found, "key", words[at + 2])
                at += 3
            elif word == "sel":
                sel = _pairs(words[at + 1 :], SELECTOR, "sel")
                at = end
            elif word == "encap":
                rest += words[at : at + 4]
                at += 5 if at + 4 < end and words[at + 4] not in STATE_WORDS else 4  # ip wants an address here
            else:
                rest += words[at : at + 2]
                at += 2
    except IndexError:
        raise ValueError(f"{shown(words[at])} lacks its value") from None
    for name in ("src", "dst", "spi"):
        if name not in found:
            raise ValueError(f"{name}: missing; a state has a source, a destination and an SPI")
    pairs = _rest(tuple(rest))
    if absent:
        return absent_state(found["src"], found["dst"], found["spi"], dict(pairs).get("mark"))
    if "key-file" in found:
        if "key" in found:
            raise ValueError("key-file: it goes without a key; leave one out")
        try:
            found["key"], found["auth_key"] = key_words(read_key(found["key-file"]))
        except ValueError as error:
            raise ValueError(f"key-file: {error}") from None
    return state_row(
        found["src"], found["dst"], found["spi"], found.get("key", ""), found.get("auth_key", ""), pairs, sel, []
    )


def _put(found, name, value):
    if name in found:
        raise ValueError(f"{name!r} stands twice; leave one out")
    found[name] = value


def _pairs(words, known, where):
    if len(words) % 2:
        raise ValueError(f"{where}: {shown(words[-1])} lacks its value, or is one too many")
    for name in words[::2]:
        if name not in known:
            raise ValueError(f"{where}: {shown(name)} is not one of its words; known are {', '.join(known)}")
    return tuple(zip(words[::2], words[1::2]))


@lru_cache(maxsize=4096)
def _rest(words):
    """The pairs of a Shape from the words of a line that are not a state's own."""
    found = {}
    flags = []
    at = 0
    while at < len(words):
        word = words[at]
        value = words[at + 1] if at + 1 < len(words) else None
        if value is None:
            raise ValueError(f"{shown(word)} lacks its value")
        at += 2
        if word == "flag":
            flags.append(value)
        elif word in ("reqid", "mode", "dir", "if_id", "mark", "mask", "algorithm"):
            _put(found, word, value)
        elif word == "replay-window":
            _put(found, "replay_window", value)
        elif word == "proto":
            if value != "esp":
                raise ValueError(f"proto: {shown(value)} is not known; it is esp")
        elif word == "aead":
            if words[at] != "128":
                raise ValueError(f"aead: the integrity check value is 128 bits long, not {shown(words[at])}")
            _put(found, "algorithm", value)
            at += 1
        elif word == "auth-trunc":
            _put(found, "auth", (value, words[at]))
            at += 1
        elif word == "enc":
            _put(found, "algorithm", value)
        elif word == "encap":
            if len(words) < at + 2:
                raise ValueError("'encap' lacks its value: espinudp SPORT DPORT")
            _put(found, word, (("type", value), ("sport", words[at]), ("dport", words[at + 1])))
            at += 2
        else:
            raise ValueError(f"{shown(word)} is not a word of a state; known are {', '.join(STATE_WORDS)}")
    _join_auth(found)
    _join_mark(found)
    if "esn" in flags:
        flags.remove("esn")
        found["esn"] = True
    if flags:
        found["flags"] = tuple(flags)
    return tuple(found.items())


def _join_auth(found):
    """`enc cbc(aes)` and what stands after `auth-trunc` as one algorithm."""
    if "auth" not in found:
        return
    hashed, bits = found.pop("auth")
    made = {(auth, str(icv)): one for (auth, icv), one in BY_AUTH.items()}.get((hashed, bits))
    if not made:
        known = ", ".join(f"{auth} with {icv}" for auth, icv in BY_AUTH)
        raise ValueError(f"auth-trunc: {shown(hashed)} with {shown(bits)} bits is not known; known are {known}")
    named = found.get("algorithm")
    if named == made.kernel:
        found["algorithm"] = made.name
    elif named and named.startswith("aes-cbc-") and named != made.name:
        raise ValueError(f"auth-trunc: it is {hashed} with {bits} bits, of {made.name}, and algorithm is {named}")


def _join_mark(found):
    """`mark V mask M` as value/mask."""
    mask = found.pop("mask", None)
    if mask is not None:
        if "mark" not in found or "/" in found["mark"]:
            raise ValueError("mask: it stands after 'mark' and its value")
        found["mark"] = f"{found['mark']}/{mask}"


def _policy_line(words, absent):
    """A Policy from a line."""
    given = here = {}
    at = 1
    while at < len(words):
        word = words[at]
        if word == "tmpl":
            here = {}
            given.setdefault("tmpl", []).append(here)
            at += 1
            continue
        known = TEMPLATE_WORDS if here is not given else POLICY_WORDS
        if word not in known:
            what = "a template" if here is not given else "a policy"
            raise ValueError(f"{shown(word)} is not a word of {what}; known are {', '.join(known)}")
        if at + 1 == len(words):
            raise ValueError(f"{word!r} lacks its value")
        _put(here, word, words[at + 1])
        at += 2
    _join_mark(given)
    return policy_row(given, absent)


TEMPLATE_WORDS = ("src", "dst", "proto", "spi", "reqid", "mode", "level")
