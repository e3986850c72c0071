# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec states and policies from lists of dictionaries, and what is wrong with them. Faults tell a key's length at most."""

from __future__ import annotations

import socket
from functools import lru_cache

from . import values
from .errors import InputError
from .table import Faults, address_of
from .values import shown
from .xfrm import (
    ACTIONS,
    ALGORITHMS,
    BY_KERNEL,
    ESPINUDP,
    FLAGS,
    FWD,
    IN,
    LEVELS,
    MODES,
    OUT,
    POLICY,
    PROTOCOLS,
    SIZES,
    SPI_MIN,
    STATE,
    TRANSPORT,
    TUNNEL,
    U32_MAX,
    WINDOW,
    WINDOW_MAX,
    WITH_PORTS,
    Policy,
    Selector,
    Shape,
    State,
    Template,
    Wanted,
    covers,
    mark_text,
    mark_words,
)


def from_entries(states, policies, absent=False, read_key=None):
    """The wanted rows from lists of dictionaries. read_key(path): the words of a key file. Raises InputError."""
    faults = Faults()
    wanted = Wanted()
    names = {STATE: [], POLICY: []}
    for i, entry in enumerate(states or (), 1):
        names[STATE].append(f"states row {i}")
        wanted.states.append(read_row(faults, names[STATE][-1], _state, _given(entry), absent, read_key))
    for i, entry in enumerate(policies or (), 1):
        names[POLICY].append(f"policies row {i}")
        wanted.policies.append(read_row(faults, names[POLICY][-1], policy_row, _given(entry), absent))
    return checked(wanted, names, faults)


def _given(value):
    """An entry as far as it says something."""
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return [_given(inner) for inner in value] if isinstance(value, list) else value


class Wrong(Exception):
    """All that is wrong with a row."""

    def __init__(self, told):
        super().__init__(*told)
        self.told = told


def read_row(faults, name, read, *how):
    """What `read` makes of a row, or None with its faults told."""
    try:
        return read(*how)
    except Wrong as error:
        for text in error.told:
            faults.add(f"{name}: {text}")
    except ValueError as error:
        faults.add(f"{name}: {error}")
    return None


def _named(name, check, value, told):
    """The normal form of a value, or None with its fault told."""
    try:
        return check(value)
    except ValueError as error:
        told.append(f"{name}: {error}")
        return None


# States


def _state(given, absent, read_key):
    told = []
    key = auth_key = ""
    if "key_file" in given and not absent:  # what is to go may have had a file that is gone
        if "key" in given or "auth_key" in given:
            told.append("key_file: it goes without key and auth_key; leave it or them out")
        else:
            key, auth_key = _named("key_file", lambda path: key_words(read_key(path)), given["key_file"], told) or (
                "",
                "",
            )
            if not key:
                raise Wrong(told)
    key, auth_key = given.get("key", key), given.get("auth_key", auth_key)
    shape = () if absent else _entry_shape(given)
    sel = given.get("sel")
    for name in ("src", "dst", "spi"):
        if name not in given:
            told.append(f"{name}: missing; a state has a source, a destination and an SPI")
    if absent and told:
        raise Wrong(told)
    if absent:
        return absent_state(given["src"], given["dst"], given["spi"], given.get("mark"))
    # What is missing is told; something that fits stands for it, so that what else is wrong is told as well.
    other = "192.0.2.1" if "." in str(given.get("src", given.get("dst"))) else "2001:db8::1"
    src, dst, spi = (given.get(name, fits) for name, fits in (("src", other), ("dst", other), ("spi", "0x100")))
    return state_row(src, dst, spi, key, auth_key, shape, sel, told)


def _entry_shape(given):
    """The pairs that a shape is made of, hashable."""
    encap = given.get("encap")
    pairs = [
        (name, given[name])
        for name in ("mode", "algorithm", "dir", "reqid", "mark", "if_id", "replay_window", "esn")
        if name in given
    ]
    if encap:
        pairs.append(("encap", tuple(sorted(encap.items()))))
    if given.get("flags"):
        pairs.append(("flags", tuple(given["flags"])))
    return tuple(pairs)


def key_words(text):
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise ValueError(
            f"holds {len(words)} words; write the key in hexadecimal, and with aes-cbc-sha256, -sha384 and -sha512 auth_key after it"
        )
    return words[0], words[1] if len(words) == 2 else ""


def state_row(src, dst, spi, key, auth_key, pairs, sel, told):
    """A State from what a user wrote of it. Raises Wrong with all that is wrong."""
    source = _named("src", one_address, src, told)
    destination = _named("dst", one_address, dst, told)
    number = _named("spi", _spi, spi, told)
    shape = bad = None
    try:
        shape = _shape(pairs)
    except Wrong as error:
        bad = error.told
        told += bad
    if source and destination and len(source) != len(destination):
        told.append(f"src {src} and dst {dst} are of different families; both addresses of a state are of one")
    selector = _named("sel", _selector_of, sel, told) if sel else None
    if shape and selector and destination:
        family = 4 if len(destination) == 4 else 6
        if "af-unspec" in shape.flags:
            told.append("sel: it goes without the flag af-unspec, which takes all of both families; leave one out")
        elif shape.mode == TRANSPORT and selector.family != family:
            told.append(
                f"sel: it is of IPv{selector.family} and the addresses are of IPv{family}; only mode tunnel mixes families"
            )
    named = dict(pairs).get("algorithm")
    algorithm = ALGORITHMS.get(named) or BY_KERNEL.get(named)
    secret = secret_auth = b""
    if algorithm:
        secret = _named("key", lambda text: _key(text, algorithm.keys, algorithm.name), key, told)
        secret_auth = _named("auth_key", lambda text: _auth_key(text, algorithm), auth_key, told)
    if told:
        raise Wrong(told)
    return State(source, destination, number, shape, selector, secret, secret_auth, shape.mark)


def absent_state(src, dst, spi, mark):
    told = []
    source = _named("src", one_address, src, told)
    destination = _named("dst", one_address, dst, told)
    number = _named("spi", _spi, spi, told)
    made = _named("mark", _mark, mark, told) if mark is not None else (0, 0)
    if told:
        raise Wrong(told)
    return State(source, destination, number, None, None, mark=made)


@lru_cache(maxsize=1 << 16)
def one_address(text):
    """An address in bytes, not the unspecified one."""
    text = str(text)
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        packed = values.pack(values.address(text))
    if not any(packed):
        raise ValueError(f"{text} means any address; name the host's own")
    return packed


def _spi(value):
    number = values.integer(value, 0, U32_MAX)
    if number < SPI_MIN:
        raise ValueError(f"{value!r} is reserved (RFC 4303, section 2.1); it must be {SPI_MIN} to {U32_MAX}")
    return number


def _hexadecimal(text):
    """A key in bytes. What is wrong with it is told without it."""
    text = str(text).strip()
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(
            f"its {len(digits)} characters are not pairs of hexadecimal digits; write it like 0x00ff..., in quotes"
        ) from None


def _key(text, lengths, name):
    if text == "":
        raise ValueError(f"missing; {name} needs {_lengths(lengths)}")
    key = _hexadecimal(text)
    if len(key) not in lengths:
        raise ValueError(f"it is {len(key)} bytes long; {name} needs {_lengths(lengths)}")
    if not any(key):
        raise ValueError("it is all zero; give it 16 or more random bytes")
    return key


def _lengths(lengths):
    return " or ".join(f"{length} bytes ({what})" if what else f"{length} bytes" for length, what in lengths.items())


def _auth_key(text, algorithm):
    if algorithm.auth:
        return _key(text, {algorithm.auth_key: f"HMAC-SHA-{8 * algorithm.auth_key}"}, algorithm.name)
    if text:
        raise ValueError(f"{algorithm.name} authenticates by its one key; leave it out")
    return b""


@lru_cache(maxsize=4096)
def _shape(pairs):
    """A Shape from pairs of names and values, as they were written. Raises Wrong."""
    given = dict(pairs)
    told = []
    made = {
        "mode": _choice("mode", given.get("mode"), MODES, told),
        "dir": _choice("dir", given.get("dir"), (IN, OUT), told),
        "algorithm": _named("algorithm", _algorithm, given.get("algorithm"), told),
    }
    for name, check in (
        ("reqid", lambda value: values.integer(value, 0, U32_MAX)),
        ("mark", _mark),
        ("if_id", lambda value: values.integer(value, 0, U32_MAX)),
        ("encap", _encap),
        ("replay_window", lambda value: values.integer(value, 0, WINDOW_MAX)),
        ("esn", bool),
        ("flags", _flags),
    ):
        if name in given:
            made[name] = _named(name, check, given[name], told)
    if "af-unspec" in (made.get("flags") or ()) and made["mode"] == TRANSPORT:
        told.append("flags: af-unspec is for mode tunnel, where families mix")
    if made.get("esn") and made.get("replay_window", WINDOW) == 0:
        told.append("replay_window: extended sequence numbers (esn) need one; write 1 to 4096, or leave it out for 64")
    if told:
        raise Wrong(told)
    return Shape(**made)


def _choice(name, value, known, told):
    if value in known:
        return value
    told.append(
        f"{name}: missing; write one of {', '.join(known)}"
        if value is None
        else f"{name}: {shown(str(value))} is none of {', '.join(known)}"
    )
    return None


def _algorithm(value):
    if value is None:
        raise ValueError(f"missing; write one of {', '.join(ALGORITHMS)}")
    if value in ALGORITHMS:
        return value
    if value in BY_KERNEL:
        return BY_KERNEL[value].name
    raise ValueError(f"{shown(str(value))} is not known; known are {', '.join(ALGORITHMS)}")


def _encap(pairs):
    given = dict(pairs)
    if given.get("type", ESPINUDP) != ESPINUDP:
        raise ValueError(f"type: {shown(str(given['type']))} is not known; it is {ESPINUDP} (RFC 3948)")
    return tuple(_port(name, given.get(name, 4500)) for name in ("sport", "dport"))


def _port(name, value):
    try:
        return values.integer(value, 1, 65535)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _flags(given):
    for flag in given:
        if flag not in FLAGS:
            raise ValueError(f"{shown(str(flag))} is none of {', '.join(FLAGS)}")
    return tuple(flag for flag in FLAGS if flag in given)


def _mark(value):
    """(value, mask) from a number or value/mask."""
    mark, slash, mask = str(value).partition("/")
    mark = values.integer(mark, 0, U32_MAX)
    mask = values.integer(mask, 0, U32_MAX) if slash else U32_MAX
    if mark & ~mask:
        raise ValueError(f"{value!r} has bits that its mask leaves out; write {mark_text((mark & mask, mask))}")
    return mark, mask


# Selectors


def _selector_of(given):
    return _selector(tuple(sorted(given.items())) if isinstance(given, dict) else given)


@lru_cache(maxsize=1 << 16)
def _selector(pairs):
    """A Selector from pairs of names and values. Raises ValueError."""
    made = {}
    family = None
    for name, value in pairs:
        if name == "family":
            family = values.integer(value, 4, 6)
        elif name in ("src", "dst"):
            address, length = prefix(value, name)
            if made.get("family") not in (None, 4 if len(address) == 4 else 6):
                raise ValueError("src and dst are of different families; a selector is of one")
            made["family"] = 4 if len(address) == 4 else 6
            made[f"{name}_len"] = length
            made[name] = address if any(address) else None
        elif name == "proto":
            made[name] = _proto(value)
        elif name in ("sport", "dport"):
            made[name] = _port(name, value)
        else:
            raise ValueError(f"{shown(str(name))} is none of src, dst, proto, sport, dport")
    if family and made.setdefault("family", family) != family:
        raise ValueError(f"family: it is {family}, and src and dst are of IPv{made['family']}; leave it out")
    if "family" not in made:
        raise ValueError("names no family; write src or dst, 0.0.0.0/0 or ::/0 for any")
    if made.get("proto", 0) not in WITH_PORTS and ("sport" in made or "dport" in made):
        raise ValueError("sport and dport want a proto that has ports; write proto udp")
    return Selector(**made)


def prefix(value, name):
    text = str(value)
    address, slash, length = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        raise ValueError(f"{name}: {shown(text)} is not a prefix; write it like 2001:db8::1/128 or 192.0.2.1") from None
    bits = 8 * len(packed)
    if not slash:
        return packed, bits
    if not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise ValueError(f"{name}: {shown(text)}: the prefix length must be 0 to {bits}")
    size = int(length)
    left = int.from_bytes(packed, "big") & ((1 << bits - size) - 1)
    if left:
        network = (int.from_bytes(packed, "big") ^ left).to_bytes(len(packed), "big")
        raise ValueError(f"{name}: {shown(text)} has host bits set; write {address_of(network)}/{size}")
    return packed, size


def _proto(value):
    if value in PROTOCOLS:
        return PROTOCOLS[value]
    try:
        return values.integer(value, 0, 255)
    except ValueError:
        raise ValueError(f"proto: {shown(str(value))} is neither a number nor one of {', '.join(PROTOCOLS)}") from None


# Policies


def policy_row(given, absent):
    told = []
    made = {
        "dir": _choice("dir", given.get("dir"), (IN, OUT, FWD), told),
        "sel": _named("selector", _selector_of, {name: given[name] for name in SELECTOR if name in given}, told),
    }
    for name, check in (
        ("mark", _mark),
        ("if_id", lambda value: values.integer(value, 0, U32_MAX)),
        ("priority", lambda value: values.integer(value, 0, U32_MAX)),
    ):
        if name in given:
            made[name] = _named(name, check, given[name], told)
    if "action" in given:
        made["action"] = _choice("action", given["action"], ACTIONS, told)
    templates = given.get("tmpl") or []
    if templates and made.get("action") == "block":
        told.append("tmpl: what is blocked is put into nothing; leave it out, or write action allow")
    if len(templates) > TEMPLATES:
        told.append(f"tmpl: {len(templates)} are too many; the kernel takes {TEMPLATES}")
    made["tmpl"] = ()
    family = made["sel"].family if made["sel"] else None
    for i, one in enumerate(templates, 1):
        template = _template(one, f"tmpl {i}: ", family, made["dir"], told)
        made["tmpl"] += (template,)
        # What one makes is what the next one gets (validate_tmpl of the kernel's net/xfrm/xfrm_user.c).
        family = template.family(family) if template else None
    if told:
        raise Wrong(told)
    return Policy(**made)


SELECTOR = ("family", "src", "dst", "proto", "sport", "dport")
TEMPLATES = 6  # XFRM_MAX_DEPTH of the kernel's include/net/xfrm.h


def _template(given, where, family, direction, told):
    before = len(told)
    made = {"mode": _choice(f"{where}mode", given.get("mode"), MODES, told)}
    for name in ("src", "dst"):
        if name in given:
            made[name] = _named(f"{where}{name}", one_address, given[name], told)
    if "spi" in given:
        made["spi"] = _named(f"{where}spi", _spi, given["spi"], told)
    if "reqid" in given:
        made["reqid"] = _named(f"{where}reqid", lambda value: values.integer(value, 0, U32_MAX), given["reqid"], told)
    if "level" in given:
        made["level"] = _choice(f"{where}level", given["level"], LEVELS, told)
    if given.get("proto", "esp") != "esp":
        told.append(f"{where}proto: {shown(str(given['proto']))} is not known; it is esp")
    if len(told) > before:
        return None
    ends = [made[name] for name in ("src", "dst") if name in made]
    if made["mode"] == TUNNEL:
        if len(ends) < 2:
            told.append(f"{where}a tunnel wants src and dst, between which it leads")
    elif any(len(one) != SIZES[family] for one in ends if family):
        told.append(
            f"{where}its addresses are not of IPv{family}, which the policy or the tunnel before is of; only mode tunnel mixes families"
        )
    if len(ends) == 2 and len(ends[0]) != len(ends[1]):
        told.append(f"{where}src and dst are of different families")
    if made["mode"] == TUNNEL and made.get("level") == "use" and direction == OUT:
        told.append(f"{where}level: use does not go with mode tunnel where dir is out; newer kernels refuse it")
    if made.get("spi") and direction == OUT and "dst" not in made and made["mode"] == TUNNEL:
        told.append(f"{where}spi: it names a state together with dst; write dst")
    return None if len(told) > before else Template(**made)


# What only all rows together tell


def checked(wanted, names, faults):
    """Raises InputError with every fault, also those of rows that stand in one another's way."""
    _check_places(wanted.states, names[STATE], faults)
    _check_keys(wanted.states, names[STATE], faults)
    _check_dirs(wanted.states, names[STATE], faults)
    _check_policies(wanted.policies, names[POLICY], faults)
    if faults.count:
        raise InputError(faults.lines())
    return wanted


def _check_places(states, names, faults):
    """States of one destination and SPI stand in one another's way if a mark that one takes is taken by the other."""
    if len({(state.dst, state.spi) for state in states if state is not None}) == len(states):
        return
    at = {}
    for name, state in zip(names, states):
        if state is None:
            continue
        first = at.setdefault((state.dst, state.spi), [])
        for other_name, other in first:
            if covers(other.mark, state.mark) or covers(state.mark, other.mark):
                faults.add(
                    f"{name}: dst {address_of(state.dst)} proto esp spi {hex(state.spi)} {' '.join(mark_words(state.mark))}".rstrip()
                    + f" is taken by {other_name}; give it another spi, or leave one out"
                )
                break
        first.append((name, state))


def _check_keys(states, names, faults):
    """Two states with one key count their packets separately, so that nonces come twice (RFC 4106, section 2)."""
    if len({state.key for state in states if state is not None}) == len(states):
        return
    at = {}
    for name, state in zip(names, states):
        if state is not None and state.counter:
            first = at.setdefault((state.shape.algorithm, state.key), name)
            if first is not name:
                faults.add(
                    f"{name}: key: it is that of {first}; each state of {state.shape.algorithm} needs a key of its own"
                )


def _check_dirs(states, names, faults):
    """What comes from this host does not come in. Which keys may be used again hangs on `dir`, so it must be right."""
    mine = {state.src for state in states if state is not None and state.shape and state.shape.dir == OUT}
    for name, state in zip(names, states):
        if state is not None and state.shape and state.shape.dir == IN and state.src in mine:
            faults.add(
                f"{name}: dir: src {address_of(state.src)} is this host's own, by states that go out; write dir out, or another src"
            )


def _check_policies(policies, names, faults):
    at = {}
    for name, policy in zip(names, policies):
        if policy is None:
            continue
        first = at.setdefault(policy.place(), name)
        if first is not name:
            faults.add(
                f"{name}: it takes the same packets as {first}, and the kernel keeps one policy for them; leave one out"
            )
