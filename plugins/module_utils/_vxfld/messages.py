# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of vxfld, REFRESH, PROXY and SYNC, with our extension: encode, decode, split, put together.

docs/vxfld-protocol.md has the tables. Addresses are packed: 4 or 16 octets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from . import wire
from .wire import BYTES, VARINT, Malformed, varint

REFRESH, PROXY, SYNC = 1, 2, 3
MAX_VNI = 0xFFFFFF
STATIC = 65535  # a holdtime that never ends
HOLDTIME = 90  # where a message says none
ASKED, ALL = 1, 2  # response_type: the VNIs of the request, or every one
MAX_DATAGRAM = 65535
MAX_STREAM = 64 << 20
MAX_ENTRIES = 1 << 20  # of a SYNC: a few octets on the wire are some 200 in memory
MAX_UNUSUAL = (
    1 << 20
)  # octets of a SYNC's blocks in a form that no known encoder writes, since they take longest to read
MAX_UNKNOWN = 256  # length-delimited fields of a SYNC, or of its extension, that are not known
MAX_PARTS = 1024
HEADERS = 42  # Ethernet, IPv4 and UDP, which max_packet_size includes
SMALLEST_LIMIT = 320  # the max_packet_size from which split_answer() keeps to it whatever the message holds

_LEGACY_HEAD = {1: struct.Struct(">2xHH"), 2: struct.Struct(">2xHHH")}
_LEGACY_BLOCK = struct.Struct(">IH")
_REMEMBERED = 1 << 14  # addresses whose encoding is kept
_EXTENSION = 0x7A  # tag: field 15


@dataclass
class Extension:
    """What only new nodes say. None: not on the wire."""

    revision: int = 1
    part: int | None = None
    parts: int | None = None
    generation: int | None = None
    base: int | None = None
    gone: dict = field(default_factory=dict)  # vni -> [address]
    source: int | None = None
    machine: bytes | None = None
    time: int | None = None
    nonce: bytes | None = None
    mac: bytes | None = None


class _Message:
    DEFAULTS = {}

    def value(self, name):
        """A field, or its default where the message does not have it."""
        value = getattr(self, name)
        return self.DEFAULTS[name] if value is None else value


@dataclass
class Refresh(_Message):
    """A registration, a withdrawal, or the answer to one. None: not on the wire; value() tells the default."""

    version: int = 3
    originator: bool | None = None
    holdtime: int | None = None
    response_type: int | None = None
    identifier: int | None = None
    vteps: dict = field(default_factory=dict)  # vni -> [address]
    extension: Extension | None = None
    dropped: int = field(default=0, compare=False)  # VNIs of more than 24 bits that decode left out

    DEFAULTS = {"originator": False, "holdtime": HOLDTIME, "response_type": 0, "identifier": 0}


@dataclass
class Sync(_Message):
    """Entries of the registration database."""

    version: int = 3
    identifier: int | None = None
    vteps: dict = field(default_factory=dict)  # vni -> [(address, holdtime, identifier)]
    response_type: int | None = None
    extension: Extension | None = None
    dropped: int = field(default=0, compare=False)

    DEFAULTS = {"identifier": 0, "response_type": 0}


@dataclass
class Proxy(_Message):
    """A BUM frame for the service nodes of another area. IPv4 only."""

    version: int = 3
    ttl: int | None = None
    proxy_hops: int | None = None
    srcport: int | None = None
    srcip: bytes | None = None
    area: int | None = None
    proxy_ips: list = field(default_factory=list)
    vxlan_pkt: bytes | None = None
    extension: Extension | None = None  # for its mac

    DEFAULTS = {"ttl": 4, "proxy_hops": 0, "srcport": 0, "srcip": None, "area": 0, "vxlan_pkt": b""}


def is_vtep(address):
    """Whether a VTEP can have the packed address: frames to any, to a group or to all would be no copy for one VTEP."""
    if len(address) == 4:
        return 0 < address[0] < 224
    return len(address) == 16 and any(address) and address[0] != 0xFF


# -- Encoding


class _Encoded(dict):
    """Address -> VniData field with it, in the form of field 5 or of the extension. Kept, since each goes into many messages."""

    def __init__(self, encode):
        super().__init__()
        self._encode = encode

    def __missing__(self, address):
        if not is_vtep(address):
            raise ValueError(f"{bytes(address).hex()} is not the address of a VTEP")
        if len(self) >= _REMEMBERED:
            self.clear()
        self[address] = made = wire.packed(0x12, self._encode(address))
        return made


def _ipv4(address):
    """An IPv4Address: the octets as packed varints."""
    return wire.packed(0x0A, b"".join(map(varint, address)))


_field5 = _Encoded(lambda address: wire.packed(0x0A, _ipv4(address)))
_field15 = _Encoded(lambda address: wire.packed(0x0A, address))


def _address_entry(entry, encoded):
    return encoded[entry]


def _sync_entry(entry, encoded):
    address, holdtime, identifier = entry
    return wire.packed(0x12, b"".join((encoded[address][2:], b"\x10", varint(holdtime), b"\x18", varint(identifier))))


def _block(tag, vni, entries):
    if not 0 <= vni <= MAX_VNI:
        raise ValueError(f"{vni} is not a VNI")
    return wire.packed(tag, b"\x08" + varint(vni) + b"".join(entries))


def _entry_length(entry):
    return len(entry[0])


def _blocks(message):
    """(vni, its part of the message proper, its part of the extension) of each VNI.

    IPv6 goes into the extension; so does all of an answer that tells a generation, and a VNI without addresses, which
    nobody knows old nodes to take well.
    """
    if isinstance(message, Sync):
        tag, entry, length = 0x12, _sync_entry, _entry_length
    else:
        tag, entry, length = 0x2A, _address_entry, len
    extension = message.extension
    apart = extension is not None and extension.generation is not None
    for vni, entries in message.vteps.items():
        old = [] if apart else [entry(one, _field5) for one in entries if length(one) == 4]
        new = [entry(one, _field15) for one in entries if apart or length(one) != 4]
        empty = not (old or new)
        yield (
            vni,
            _block(tag, vni, old) if old or (empty and not extension) else b"",
            _block(0x12, vni, new) if new or (empty and extension) else b"",
        )


def _given(*pairs):
    """The varint fields that have a value."""
    return b"".join(wire.varint(tag) + varint(int(value)) for tag, value in pairs if value is not None)


def _given_bytes(tag, value):
    return b"" if value is None else wire.packed(tag, value)


def _encode_extension(extension, blocks):
    if extension is None:
        if not any(blocks):
            return b""
        extension = Extension()
    parts = (
        _given((0x08, extension.revision)),
        *blocks,
        _given((0x18, extension.part), (0x20, extension.parts), (0x28, extension.generation), (0x30, extension.base)),
        *(_block(0x3A, vni, [_field15[one] for one in gone]) for vni, gone in extension.gone.items()),
        _given((0x40, extension.source)),
        _given_bytes(0x4A, extension.machine),
        _given((0x50, extension.time)),
        _given_bytes(0x5A, extension.nonce),
        _given_bytes(0x62, extension.mac),
    )
    return wire.packed(_EXTENSION, b"".join(parts))


def _legacy_blocks(refresh):
    """(vni, its block) in versions 1 and 2, which have no IPv6."""
    for vni, addresses in refresh.vteps.items():
        old = [one for one in addresses if len(one) == 4]
        if old or not addresses:
            yield vni, _LEGACY_BLOCK.pack(vni, len(old)) + b"".join(old)


def _encode_legacy(refresh):
    # 65535 would be read as "static".
    values = [refresh.value("originator"), min(refresh.value("holdtime"), STATIC - 1)]
    if refresh.version == 2:
        values.append(refresh.value("response_type"))
    head = bytearray(_LEGACY_HEAD[refresh.version].pack(*values))
    head[:2] = refresh.version, REFRESH
    return bytes(head) + b"".join(block for _vni, block in _legacy_blocks(refresh))


def encode(message):
    """The octets of a message."""
    if isinstance(message, Refresh):
        if message.version in _LEGACY_HEAD:
            return _encode_legacy(message)
        kind, after = REFRESH, b""
        head = _given(
            (0x08, message.originator),
            (0x10, message.holdtime),
            (0x18, message.response_type),
            (0x20, message.identifier),
        )
    elif isinstance(message, Sync):
        kind, head, after = SYNC, _given((0x08, message.identifier)), _given((0x18, message.response_type))
    else:
        return _encode_proxy(message)
    blocks = list(_blocks(message))
    return b"".join(
        (
            bytes((message.version, kind)),
            head,
            *(old for _vni, old, _new in blocks),
            after,
            _encode_extension(message.extension, [new for _vni, _old, new in blocks if new]),
        )
    )


def _encode_proxy(message):
    return b"".join(
        (
            bytes((message.version, PROXY)),
            _given((0x08, message.ttl), (0x10, message.proxy_hops), (0x18, message.srcport)),
            _given_bytes(0x22, message.srcip and _ipv4(message.srcip)),
            _given((0x28, message.area)),
            *(wire.packed(0x32, _ipv4(address)) for address in message.proxy_ips),
            _given_bytes(0x3A, message.vxlan_pkt),
            _encode_extension(message.extension, ()),
        )
    )


# -- Decoding


def decode(data):
    """The Refresh, Sync or Proxy of a datagram or of a whole TCP stream. Raises Malformed, and nothing else."""
    data = bytes(data)
    if len(data) < 2:
        raise Malformed(f"{len(data)} octets are less than a header")
    version, kind = data[0], data[1]
    if version > 3:
        raise Malformed(f"version {version} is unknown")
    if kind not in (REFRESH, PROXY, SYNC):
        raise Malformed(f"type {kind} is unknown")
    if len(data) > (MAX_STREAM if kind == SYNC else MAX_DATAGRAM):
        raise Malformed(f"{len(data)} octets are too many")
    if version in _LEGACY_HEAD:
        if kind != REFRESH:
            raise Malformed(f"type {kind} does not exist in version {version}")
        return _decode_legacy(data)
    return _DECODERS[kind](data)


def _u32(value, what):
    if value >> 32:
        raise Malformed(f"{what} {value} has more than 32 bits")
    return value


def _decode_legacy(data):
    version = data[0]
    head = _LEGACY_HEAD[version]
    if len(data) < head.size:
        raise Malformed("cut short within the header")
    originator, holdtime, *rest = head.unpack_from(data)
    made = Refresh(version, bool(originator), holdtime, rest[0] if rest else ALL)
    at = head.size
    while at < len(data):
        if len(data) - at < _LEGACY_BLOCK.size:
            raise Malformed("cut short within the head of a VNI's block")
        vni, count = _LEGACY_BLOCK.unpack_from(data, at)
        at += _LEGACY_BLOCK.size
        end = at + 4 * count
        if end > len(data):
            raise Malformed(f"VNI {vni} has less than the {count} addresses it announces")
        addresses = [_vtep(data[i : i + 4]) for i in range(at, end, 4)]
        at = end
        if vni > MAX_VNI:
            made.dropped += 1
        else:
            made.vteps[vni] = addresses  # a block more of a VNI replaces the one before, unlike in version 3
    return made


def _decode_refresh(data):
    made = Refresh(data[0])
    for number, kind, value in wire.fields(data, 2, len(data)):
        if kind == BYTES:
            if number == 5:
                _add(made, *(_quick_addresses(data, *value, _known5) or _read_block(data, *value, _read_address5)))
            elif number == 15:
                _decode_extension(data, *value, made)
        elif number == 1:
            made.originator = bool(value)
        elif number == 2:
            made.holdtime = _u32(value, "holdtime")
        elif number == 3:
            made.response_type = _u32(value, "response_type")
        elif number == 4:
            made.identifier = value
    return made


def _decode_sync(data):
    made = Sync(data[0])
    entries = unusual = unknown = 0
    for number, kind, value in wire.fields(data, 2, len(data)):
        if kind == BYTES:
            if number == 2:
                quick = _quick_entries(data, *value, _known5)
                unusual = _unusual(unusual, quick, value)
                vni, found = quick or _read_block(data, *value, _read_entry5)
                entries += 1 + len(found)
                if entries > MAX_ENTRIES:
                    raise Malformed(f"more than {MAX_ENTRIES} entries")
                _add(made, vni, found)
            elif number == 15:
                _decode_extension(data, *value, made)
            else:
                unknown = _unknown(unknown)
        elif number == 1:
            made.identifier = value
        elif number == 3:
            made.response_type = _u32(value, "response_type")
    return made


def _unusual(octets, quick, block):
    """The octets of blocks that no short cut reads, with one block more."""
    if quick is None:
        octets += block[1] - block[0]
        if octets > MAX_UNUSUAL:
            raise Malformed(f"more than {MAX_UNUSUAL} octets of VNIs in an unusual form")
    return octets


def _unknown(count):
    if count >= MAX_UNKNOWN:
        raise Malformed(f"more than {MAX_UNKNOWN} unknown fields")
    return count + 1


def _decode_proxy(data):
    made = Proxy(data[0])
    srcip = None
    for number, kind, value in wire.fields(data, 2, len(data)):
        if kind == BYTES:
            if number == 4:
                srcip = _octets(data, *value, srcip or b"")
            elif number == 6:
                made.proxy_ips.append(_vtep(_octets(data, *value), 4))
            elif number == 7:
                made.vxlan_pkt = data[slice(*value)]
            elif number == 15:
                _decode_extension(data, *value, made)
        elif number == 1:
            made.ttl = _u32(value, "ttl")
        elif number == 2:
            made.proxy_hops = _u32(value, "proxy_hops")
        elif number == 3:
            if value > 65535:
                raise Malformed(f"srcport {value} has more than 16 bits")
            made.srcport = value
        elif number == 5:
            made.area = _u32(value, "area")
    if srcip is not None:
        made.srcip = _vtep(srcip, 4)
    return made


_DECODERS = {REFRESH: _decode_refresh, PROXY: _decode_proxy, SYNC: _decode_sync}


def _add(made, vni, entries):
    if vni > MAX_VNI:
        made.dropped += 1
    elif vni in made.vteps:
        made.vteps[vni] += entries
    else:
        made.vteps[vni] = entries


_NUMBERS = {3: "part", 4: "parts", 5: "generation", 6: "base", 8: "source", 10: "time"}
_OCTETS = {9: ("machine", 16), 11: ("nonce", 8), 12: ("mac", 32)}


def _decode_extension(data, at, end, made):
    """Reads field 15 into the message. It ends the message, and its mac ends it: otherwise something was put behind."""
    if end != len(data):
        raise Malformed("the extension is not the last field")
    made.extension = extension = Extension()
    sync = isinstance(made, Sync)
    quick, read = (_quick_entries, _read_entry15) if sync else (_quick_addresses, _read_address15)
    entries = unusual = unknown = 0
    for number, kind, value in wire.fields(data, at, end):
        if kind == VARINT:
            if number == 1:
                extension.revision = _u32(value, "revision")
            elif number in _NUMBERS:
                setattr(extension, _NUMBERS[number], value)
        elif number in _OCTETS:
            name, size = _OCTETS[number]
            if value[1] - value[0] != size:
                raise Malformed(f"{name} has {value[1] - value[0]} octets instead of {size}")
            if name == "mac" and value[1] != end:
                raise Malformed("mac is not the last field of the extension")
            setattr(extension, name, data[slice(*value)])
        elif number in (2, 7) and not isinstance(made, Proxy):
            take, slow = (quick, read) if number == 2 else (_quick_addresses, _read_address15)
            short = take(data, *value, _known15)
            unusual = _unusual(unusual, short, value)
            vni, found = short or _read_block(data, *value, slow)
            entries += 1 + len(found)
            if entries > MAX_ENTRIES:
                raise Malformed(f"more than {MAX_ENTRIES} entries")
            if number == 2 or vni > MAX_VNI:
                _add(made, vni, found)
            else:
                extension.gone.setdefault(vni, []).extend(found)
        else:
            unknown = _unknown(unknown)
    _check(extension, {*getattr(made, "vteps", ()), *extension.gone})


def _check(extension, vnis):
    """Refuses an extension whose fields contradict one another."""
    part, parts = extension.part or 0, 1 if extension.parts is None else extension.parts
    if not part < parts <= MAX_PARTS:
        raise Malformed(f"part {part} of {parts}")
    if extension.generation is None:
        if parts > 1 or extension.base is not None or extension.gone:
            raise Malformed("a part or a change of no generation")
    elif extension.source is None:
        raise Malformed("a generation of no source")
    elif len(vnis) != 1:
        raise Malformed(f"a generation of {len(vnis)} VNIs instead of one")
    elif extension.gone and extension.base is None:
        raise Malformed("addresses that are gone since no generation")


def _vtep(address, *sizes):
    if len(address) not in (sizes or (4, 16)):
        raise Malformed(f"an address of {len(address)} octets")
    if not is_vtep(address):
        raise Malformed(f"{address.hex()} is not the address of a VTEP")
    return address


# In whatever form the fields come:


def _octets(data, at, end, before=b""):
    """The octets of an IPv4Address, which add to those that a field of the same number has brought before."""
    octets = bytearray(before)
    for number, kind, value in wire.fields(data, at, end):
        if number != 1:
            continue
        if kind == VARINT:
            _octet(octets, value)
        else:
            at, stop = value
            while at < stop:
                value, at = wire.read_varint(data, at, stop)
                _octet(octets, value)
    return bytes(octets)


def _octet(octets, value):
    if value > 255:
        raise Malformed(f"an address with an octet of {value}")
    if len(octets) == 4:
        raise Malformed("an IPv4 address of more than 4 octets")
    octets.append(value)


def _read_block(data, at, end, read):
    """(VNI, entries) of a VniDict."""
    vni, entries = None, []
    for number, kind, value in wire.fields(data, at, end):
        if number == 1 and kind == VARINT:
            vni = _u32(value, "VNI")
        elif number == 2 and kind == BYTES:
            entries.append(read(data, *value))
    if vni is None:
        raise Malformed("a VNI's block without the VNI")
    return vni, entries


def _read_address5(data, at, end):
    octets = None
    for number, kind, value in wire.fields(data, at, end):
        if number == 1 and kind == BYTES:
            octets = _octets(data, *value, octets or b"")
    if octets is None:
        raise Malformed("an entry without an address")
    return _vtep(octets, 4)


def _read_address15(data, at, end):
    address = None
    for number, kind, value in wire.fields(data, at, end):
        if number == 1 and kind == BYTES:
            address = value
    if address is None:
        raise Malformed("an entry without an address")
    return _vtep(data[slice(*address)])


def _read_entry(data, at, end, read_address):
    holdtime, identifier = HOLDTIME, 0
    for number, kind, value in wire.fields(data, at, end):
        if kind == VARINT:
            if number == 2:
                holdtime = _u32(value, "holdtime")
            elif number == 3:
                identifier = value
    return read_address(data, at, end), holdtime, identifier


def _read_entry5(data, at, end):
    return _read_entry(data, at, end, _read_address5)


def _read_entry15(data, at, end):
    return _read_entry(data, at, end, _read_address15)


# The same for the form that encoders write, at a fraction of the time. Where anything is unusual these give up (None), and
# what the functions above say counts. They may look past `end`, but accept only what ends there exactly.


class _Known(dict):
    """Address field -> address. Kept, since VTEPs register again and again; KeyError: not in the usual form."""

    def __init__(self, decode):
        super().__init__()
        self._decode = decode

    def __missing__(self, encoded):
        address = self._decode(encoded)
        if address is None or not is_vtep(address):
            raise KeyError
        if len(self) >= _REMEMBERED:
            self.clear()
        self[encoded] = address
        return address


def _canonical5(encoded):
    size = len(encoded)
    if size < 8 or encoded[0] != 0x0A or encoded[1] != size - 2 or encoded[2] != 0x0A or encoded[3] != size - 4:
        return None
    octets, at = bytearray(), 4
    while at < size:
        octet = encoded[at]
        if octet > 127:  # 128 to 255: seven bits, then the eighth
            if encoded[at + 1] != 1:
                return None
            at += 1
        octets.append(octet)
        at += 1
    return bytes(octets) if len(octets) == 4 else None


def _canonical15(encoded):
    size = len(encoded) - 2
    return encoded[2:] if size in (4, 16) and encoded[0] == 0x0A and encoded[1] == size else None


_known5, _known15 = _Known(_canonical5), _Known(_canonical15)


def _quick_addresses(data, at, end, known):
    try:
        if data[at] != 0x08:
            return None
        vni = data[at + 1]
        if vni < 128:
            at += 2
        else:
            vni, at = wire.read_varint(data, at + 1, end)
            if vni >> 32:
                return None
        addresses = []
        while at < end:
            if data[at] != 0x12:
                return None
            stop = at + 2 + data[at + 1]
            addresses.append(known[data[at + 2 : stop]])
            at = stop
    except (IndexError, KeyError, Malformed):
        return None
    return (vni, addresses) if at == end else None


def _quick_entries(data, at, end, known):
    try:
        if data[at] != 0x08:
            return None
        vni, at = wire.read_varint(data, at + 1, end)
        if vni >> 32:
            return None
        entries = []
        while at < end:
            if data[at] != 0x12 or data[at + 2] != 0x0A:
                return None
            stop = at + 2 + data[at + 1]
            behind = at + 4 + data[at + 3]
            address = known[data[at + 2 : behind]]
            if data[behind] != 0x10:
                return None
            holdtime, at = wire.read_varint(data, behind + 1, stop)
            if data[at] != 0x18 or holdtime >> 32:
                return None
            identifier, at = wire.read_varint(data, at + 1, stop)
            if at != stop:
                return None
            entries.append((address, holdtime, identifier))
    except (IndexError, KeyError, Malformed):
        return None
    return (vni, entries) if at == end else None


# -- Splitting and putting together


def split(refresh, max_packet_size, reserve=0):
    """Refreshes that each fit the limit, with whole VNIs: what any node understands.

    A VNI that alone does not fit makes a longer message of its own. `reserve` is what comes on top of HEADERS and the
    message: auth.OVERHEAD with a key, 20 octets of header more with IPv6.
    """
    if refresh.version in _LEGACY_HEAD:
        sizes = [(vni, len(block)) for vni, block in _legacy_blocks(refresh)]
    else:
        sizes = [(vni, len(old) + len(new)) for vni, old, new in _blocks(refresh)]
    empty = replace(refresh, vteps={}, extension=refresh.extension or Extension())
    fixed = HEADERS + reserve + len(encode(empty)) + 2  # the extension's length may need two octets more
    size, current, messages = fixed, {}, []
    for vni, more in sizes:
        if current and size + more >= max_packet_size:
            messages.append(replace(refresh, vteps=current))
            size, current = fixed, {}
        current[vni] = refresh.vteps[vni]
        size += more
    messages.append(replace(refresh, vteps=current))
    return messages


def split_answer(refresh, max_packet_size, reserve=0):
    """The parts of an answer to a new node, any number of addresses in its one VNI, by generation. Each fits the limit if
    that is SMALLEST_LIMIT or more (auth.OVERHEAD in it)."""
    ((vni, addresses),) = refresh.vteps.items()
    extension = refresh.extension
    gone = extension.gone.get(vni, [])
    widest = replace(extension, part=MAX_PARTS - 1, parts=MAX_PARTS, gone={vni: []})
    fixed = HEADERS + reserve + len(encode(replace(refresh, vteps={vni: []}, extension=widest)))
    room = (
        max_packet_size - fixed - 6
    )  # the lengths of the extension and of its two blocks may need two octets more each
    parts, left = [], 0
    for there, address in [*((True, one) for one in addresses), *((False, one) for one in gone)]:
        size = len(_field15[address])
        if not parts or left <= size:
            parts.append(([], []))
            left = room
        parts[-1][not there].append(address)
        left -= size
    parts = parts or [([], [])]
    if len(parts) > MAX_PARTS:
        raise ValueError(f"VNI {vni} does not fit in {MAX_PARTS} parts of {max_packet_size} octets")
    return [
        replace(
            refresh,
            vteps={vni: come},
            extension=replace(
                extension,
                gone={vni: go} if go else {},
                **({"part": number, "parts": len(parts)} if len(parts) > 1 else {"part": None, "parts": None}),
            ),
        )
        for number, (come, go) in enumerate(parts)
    ]


class Reassembly:
    """Puts the parts of answers together, in whatever order they come; of each answer, within bounds."""

    def __init__(self, most=256, addresses=1 << 18, timeout=5.0):
        self._most = most  # answers that are not complete
        self._addresses = addresses  # in all of them together
        self._timeout = timeout  # since the last part of an answer
        self._open = {}  # key -> [when its last part came, {part: message}, addresses]; the one that waits longest first
        self._held = 0

    def __len__(self):
        return len(self._open)

    def add(self, refresh, now):
        """The whole answer when this was the part it lacked, else None. What is in one part is whole."""
        self.expire(now)
        extension = refresh.extension
        if extension is None or (extension.parts or 1) == 1:
            return refresh
        key = _key(refresh)
        _when, parts, size = self._open.pop(key, (now, {}, 0))
        if (extension.part or 0) not in parts:
            parts[extension.part or 0] = refresh
            more = sum(map(len, refresh.vteps.values())) + sum(map(len, extension.gone.values()))
            size += more
            self._held += more
        if len(parts) == extension.parts:
            self._held -= size
            return _joined([parts[number] for number in sorted(parts)])
        self._open[key] = [now, parts, size]
        while len(self._open) > self._most or self._held > self._addresses:
            self._drop(next(iter(self._open)))
        return None

    def expire(self, now):
        """Forget answers of which nothing came for the timeout."""
        while self._open:
            key = next(iter(self._open))
            if now - self._open[key][0] < self._timeout:
                break
            self._drop(key)

    def _drop(self, key):
        self._held -= self._open.pop(key)[2]


def _key(refresh):
    extension = refresh.extension
    (vni,) = {*refresh.vteps, *extension.gone}
    return extension.source, vni, extension.generation, extension.base, extension.parts


def _joined(messages):
    vteps, gone = {}, {}
    for message in messages:
        for into, more in ((vteps, message.vteps), (gone, message.extension.gone)):
            for vni, addresses in more.items():
                into.setdefault(vni, []).extend(addresses)
    first = messages[0]
    return replace(first, vteps=vteps, extension=replace(first.extension, part=None, parts=None, gone=gone))
