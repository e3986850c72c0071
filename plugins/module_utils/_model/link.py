# SPDX-License-Identifier: GPL-3.0-or-later
"""Network devices: their attributes, each declared once, and the normal form of what a user wants of one.

Model, plan, kernel adapter, argument spec and the documentation's test all read the tables here and in vxlan.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import values, vnis
from .errors import InputError

OWNER = "vtep.fabric"  # an alias that begins so marks a device as ours
IPV6_MIN_MTU = 1280  # RFC 8200, section 5; below it the kernel takes IPv6 off the device
MTU_MAX = 65536  # lo's

_OWNED = re.compile(rf"{re.escape(OWNER)}(?:$|[ :])")


def is_owned(alias):
    return bool(_OWNED.match(alias or ""))


@dataclass(frozen=True)
class Attribute:
    """One attribute of a device.

    option    the module's option; `bridge.priority` for a suboption
    kernel    the kernel's name
    number    its number in the netlink message
    form      how it is written and carried; the keys of FORMS
    group     where the message carries it: link, create (link, but only for a new device), data, port; filter: a table
              of its own
    live      whether a device that exists can change it
    absent    what a kernel that does not report it does; None: nothing can be said
    default   what a new device has, where that is fixed
    since     the first kernel version that has it; empty for those that every supported kernel has
    feature   the kernel's configuration option without which it is missing
    reported  whether kernels that have it tell its value; False: some do not, and then it cannot be compared
    probed    whether the adapter asks the kernel if it has it, before anything is changed
    """

    option: str
    kernel: str
    number: int
    form: str
    group: str
    low: int = 0
    high: int = 0
    words: tuple = ()
    live: bool = True
    absent: object = None
    default: object = None
    since: str = ""
    feature: str = ""
    reported: bool = True
    probed: bool = False
    number6: int = 0  # the attribute for IPv6, where there are two

    @property
    def suboption(self):
        return self.option.rpartition(".")[2]


def _switch(option, kernel, number, group, **more):
    return Attribute(option, kernel, number, "bool", group, **more)


# Of every device. Numbers: linux/if_link.h.
LINK = (
    Attribute("mtu", "IFLA_MTU", 4, "u32", "link", 68, MTU_MAX),
    Attribute("address", "IFLA_ADDRESS", 1, "mac", "link"),
    Attribute("alias", "IFLA_IFALIAS", 20, "text", "link", 0, 255),
    Attribute(
        "addrgenmode",
        "IFLA_INET6_ADDR_GEN_MODE",
        8,
        "word",
        "link",
        words=("eui64", "none", "stable_secret", "random"),
        feature="IPV6",
    ),
    Attribute("master", "IFLA_MASTER", 10, "dev", "link"),
    Attribute("up", "IFF_UP", 0, "bool", "link"),
)

# The mark of a port that we put into a bridge of ours. The port itself is somebody else's, so that an alias would be wrong. The
# kernel keeps it, `ip link show group 118` shows it, and it has no effect of its own.
MEMBER = Attribute("linkgroup", "IFLA_GROUP", 27, "u32", "link", 0, 2**32 - 1, absent=0)
MEMBERS = values.PROTOCOL

# Of a device that is a port of a bridge. `bridge link` and `ip link set ... type bridge_slave` show them.
PORT = (
    _switch("port.learning", "IFLA_BRPORT_LEARNING", 8, "port", default=True),
    _switch("port.flood", "IFLA_BRPORT_UNICAST_FLOOD", 9, "port", default=True),
    _switch("port.mcast_flood", "IFLA_BRPORT_MCAST_FLOOD", 27, "port", default=True),
    _switch("port.bcast_flood", "IFLA_BRPORT_BCAST_FLOOD", 30, "port", default=True),
    _switch("port.neigh_suppress", "IFLA_BRPORT_NEIGH_SUPPRESS", 32, "port", default=False),
    _switch("port.isolated", "IFLA_BRPORT_ISOLATED", 33, "port", default=False),
    _switch("port.hairpin", "IFLA_BRPORT_MODE", 4, "port", default=False),
    _switch("port.guard", "IFLA_BRPORT_GUARD", 5, "port", default=False),
    Attribute("port.cost", "IFLA_BRPORT_COST", 3, "u32", "port", 1, 65535),
    Attribute("port.priority", "IFLA_BRPORT_PRIORITY", 2, "u16", "port", 0, 63),
)

BRIDGE = (
    _switch("bridge.mcast_snooping", "IFLA_BR_MCAST_SNOOPING", 23, "data", feature="BRIDGE_IGMP_SNOOPING"),
    _switch("bridge.mcast_querier", "IFLA_BR_MCAST_QUERIER", 25, "data", feature="BRIDGE_IGMP_SNOOPING"),
    Attribute("bridge.stp_state", "IFLA_BR_STP_STATE", 5, "bool32", "data"),
    Attribute("bridge.priority", "IFLA_BR_PRIORITY", 6, "u16", "data", 0, 65535),
    Attribute("bridge.forward_delay", "IFLA_BR_FORWARD_DELAY", 1, "u32", "data", 0, 3000),
    Attribute("bridge.ageing_time", "IFLA_BR_AGEING_TIME", 4, "u32", "data", 0, 100000000),
    Attribute("bridge.group_fwd_mask", "IFLA_BR_GROUP_FWD_MASK", 9, "u16", "data", 0, 65535),
    _switch(
        "bridge.vlan_filtering", "IFLA_BR_VLAN_FILTERING", 7, "data", absent=False, feature="BRIDGE_VLAN_FILTERING"
    ),
    Attribute(
        "bridge.vlan_default_pvid",
        "IFLA_BR_VLAN_DEFAULT_PVID",
        39,
        "u16",
        "data",
        0,
        4094,
        feature="BRIDGE_VLAN_FILTERING",
    ),
)

VLAN = (
    Attribute("vlan.dev", "IFLA_LINK", 5, "dev", "create", live=False),
    Attribute("vlan.id", "IFLA_VLAN_ID", 1, "u16", "data", 1, 4094, live=False),
    Attribute("vlan.protocol", "IFLA_VLAN_PROTOCOL", 5, "ethertype", "data", words=("802.1q", "802.1ad"), live=False),
)

# The other end may be in another network namespace; then its name is not told.
VETH = (Attribute("veth.peer", "VETH_INFO_PEER", 1, "peer", "data", live=False, reported=False),)

KINDS = {"dummy": (), "bridge": BRIDGE, "vlan": VLAN, "veth": VETH}
FEATURES = {
    "dummy": "DUMMY",
    "bridge": "BRIDGE",
    "vlan": "VLAN_8021Q",
    "veth": "VETH",
    "vxlan": "VXLAN",
    "macsec": "MACsec",
}


def _number(attribute, value):
    return values.integer(value, attribute.low, attribute.high)


def _switched(attribute, value):
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return value


def _word(attribute, value):
    if value not in attribute.words:
        raise ValueError(f"{value!r} is not one of {', '.join(attribute.words)}")
    return value


def _dev(attribute, value):
    return values.dev(value) if value else ""


def _text(attribute, value):
    if len(str(value).encode()) > attribute.high:
        raise ValueError(f"{value!r} is longer than {attribute.high} bytes")
    return str(value)


def _ip(attribute, value):
    """An address, or empty for none. The unspecified address stays: it says the family of a new device."""
    return values.address(value) if value else ""


def _ports(attribute, value):
    low, dash, high = str(value).partition("-")
    try:
        if not dash:
            raise ValueError
        low, high = values.integer(low, 0, 65535), values.integer(high, 0, 65535)
    except ValueError:
        raise ValueError(f"{value!r} is not a range of ports; write it like 32768-60999, or 0-0 for none") from None
    if (low, high) != (0, 0) and not 0 < low < high:
        raise ValueError(f"{value!r} is no range: the first port must be above 0 and below the second")
    return f"{low}-{high}"


def _tos(attribute, value):
    number = 1 if value == "inherit" else values.integer(value, 0, 255)
    return "inherit" if number == 1 else number  # the kernel takes 1 for "copy the inner packet's"


def _vnis(attribute, value):
    """A list of VNIs as one text, ascending, what follows one another folded: 100-105,200. Empty for none."""
    faults, numbers = [], set()
    for one in value:
        try:
            number = values.integer(one, attribute.low, attribute.high)
            if number in numbers:
                raise ValueError(f"{number} is there twice")
            numbers.add(number)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return vnis.folded((number, number) for number in sorted(numbers))


def _bits(attribute, value):
    return f"0x{values.integer(value, 0, 2**64 - 1):016x}"


def _sci(attribute, value):
    """A secure channel identifier (IEEE 802.1AE, 7.1.2): a MAC address and a port, as `ip macsec` writes it."""
    text = str(value).strip().lower()
    if not re.fullmatch(r"[0-9a-f]{16}", text) or text == "0" * 16:
        raise ValueError(
            f"{values.quoted(value)} is not an SCI; write 16 hexadecimal digits, MAC address and port, in quotes"
        )
    return text


# form: (normal form of a user's value, the argument's type in Ansible)
FORMS = {
    "bool": (_switched, "bool"),
    "bool32": (_switched, "bool"),
    "flag": (_switched, "bool"),
    "inheritflag": (_switched, "bool"),
    "u8": (_number, "int"),
    "u16": (_number, "int"),
    "u32": (_number, "int"),
    "be16": (_number, "int"),
    "be32": (_number, "int"),
    "word": (_word, "str"),
    "word32": (_word, "str"),
    "ethertype": (_word, "str"),
    "dev": (_dev, "str"),
    "peer": (_dev, "str"),
    "mac": (lambda attribute, value: values.unicast_mac(value), "str"),
    "text": (_text, "str"),
    "ip": (_ip, "str"),
    "ports": (_ports, "str"),
    "tos": (_tos, "str"),
    "bits": (_bits, "str"),
    "vnis": (_vnis, "list"),
    "sci": (_sci, "str"),
    "cipher": (_word, "str"),
}


def normal(attribute, value):
    return FORMS[attribute.form][0](attribute, value)


def same(attribute, wanted, found):
    """Whether a device has what is wanted. The kernel does not report an unspecified address."""
    if found is None:
        if not attribute.reported:
            return True
        found = attribute.absent
    if attribute.form == "ip":
        return _given(wanted) == _given(found)
    return wanted == found


def _given(address):
    return "" if not address or values.is_any(address) else address


def show(value):
    """A value in a message or a diff."""
    if value is None or value == "":
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def unknown(kernel, attribute, value):
    """(what, fix) of a MissingError for an attribute that the kernel does not have."""
    what = f"kernel {kernel} does not know {attribute.kernel} ({attribute.option}: {show(value)})"
    if attribute.feature:
        return what, f"CONFIG_{attribute.feature}"
    return what, f"it came with Linux {attribute.since}" if attribute.since else "it needs a newer kernel"


def lacking(kind):
    """(what, fix) of a MissingError for a kind of device that the kernel cannot make."""
    return f"kernel has no {FEATURES[kind]}", f"CONFIG_{FEATURES[kind].upper()}"


@dataclass(frozen=True)
class Device:
    """What is wanted of a device. An attribute that is not in `wanted` is left as it is."""

    name: str
    kind: str | None  # None: a device that exists, of whatever kind
    present: bool = True
    recreate: bool = False
    wanted: dict = field(default_factory=dict)
    addresses: tuple | None = None


@dataclass(frozen=True)
class Address:
    text: str  # with its prefix length
    owned: bool = False
    permanent: bool = True
    link_local: bool = False


@dataclass(frozen=True)
class Found:
    """A device as the kernel has it. `has` lacks what the kernel does not report."""

    name: str
    index: int
    kind: str
    has: dict
    addresses: tuple = ()
    lower: str = ""  # the device under it
    operstate: str = ""

    @property
    def owned(self):
        return is_owned(self.has.get("alias"))


@dataclass(frozen=True)
class State:
    """All devices of the host's network namespace, from one read."""

    devices: dict
    kernel: str = ""  # its release
    lacking: frozenset = frozenset()  # kinds that are wanted and that the kernel cannot make
    unknown: frozenset = frozenset()  # attributes that are wanted and that the kernel does not know


def table(kind, kinds=None):
    """The attributes of a kind of device, by option."""
    own = (kinds or KINDS).get(kind, ())
    return {attribute.option: attribute for attribute in (*LINK, MEMBER, *own, *PORT)}


def flatten(options):
    """{"mtu": 1500, "port": {"cost": 4}} -> {"mtu": 1500, "port.cost": 4}, without what is None."""
    flat = {}
    for key, value in options.items():
        if isinstance(value, dict):
            flat.update((f"{key}.{sub}", item) for sub, item in value.items() if item is not None)
        elif value is not None:
            flat[key] = value
    return flat


def nest(flat):
    """The reverse of flatten."""
    options = {}
    for key, value in flat.items():
        group, dot, sub = key.rpartition(".")
        (options.setdefault(group, {}) if dot else options)[sub] = value
    return options


def parse(name, options, attributes, faults):
    """The attributes among a device's options, in normal form. Adds to `faults` what is wrong."""
    wanted = {}
    for option, value in flatten(options).items():
        if option in attributes:
            try:
                wanted[option] = normal(attributes[option], value)
            except ValueError as error:
                faults.append(f"{name}: {option}: {error}")
    return wanted


def parse_name(options, position, faults):
    try:
        return values.dev(options["name"])
    except ValueError as error:
        faults.append(f"entry {position + 1}: name: {error}")
        return str(options["name"])


def parse_addresses(name, texts, faults):
    if texts is None:
        return None
    addresses = []
    for text in texts:
        try:
            address = values.interface(text)
            if address in addresses:
                raise ValueError(f"{text!r} is there twice")
            addresses.append(address)
        except ValueError as error:
            faults.append(f"{name}: addresses: {error}")
    return tuple(addresses)


def twice(devices, faults):
    seen = set()
    for device in devices:
        if device.name in seen:
            faults.append(f"{device.name}: name: it is listed twice")
        seen.add(device.name)


def check(device, faults):
    """What goes for devices of every kind, from the options alone."""
    wanted = device.wanted
    if any(key.startswith("port.") for key in wanted) and wanted.get("master") == "":
        faults.append(f"{device.name}: port: a device without a master has no port settings")
    if wanted.get("master") == device.name:
        faults.append(f"{device.name}: master: a device cannot be its own master")
    small = wanted.get("mtu", IPV6_MIN_MTU) < IPV6_MIN_MTU
    if small and any(values.family(text) == 6 for text in device.addresses or ()):
        faults.append(f"{device.name}: mtu: {wanted['mtu']} is below {IPV6_MIN_MTU}, IPv6 needs that much")


def devices(entries):
    """The normal form of the link module's entries. Raises InputError with every fault."""
    faults, result = [], []
    for position, options in enumerate(entries):
        name = parse_name(options, position, faults)
        kind = options.get("type")
        if kind is not None and kind not in KINDS:
            faults.append(f"{name}: type: {kind!r} is not one of {', '.join(KINDS)}")
        absent = options.get("state") == "absent"
        every = {key: attribute for one in KINDS for key, attribute in table(one).items()}
        wanted = parse(name, options, every, faults)
        for option in wanted:
            if every[option].option not in table(kind):
                faults.append(f"{name}: {option}: it goes with type {option.partition('.')[0]} only")
        device = Device(
            name=name,
            kind=kind,
            present=not absent,
            recreate=bool(options.get("recreate")),
            wanted={} if absent else wanted,
            addresses=None if absent else parse_addresses(name, options.get("addresses"), faults),
        )
        if absent and kind is None:
            faults.append(f"{name}: type: it is needed with state absent, so that no other kind of device is removed")
        if kind == "veth" and wanted.get("veth.peer") in (name, ""):
            faults.append(f"{name}: veth.peer: it must be another device's name")
        check(device, faults)
        result.append(device)
    twice(result, faults)
    if faults:
        raise InputError(faults)
    return tuple(result)


NEEDED = {"vlan": ("vlan.dev", "vlan.id"), "veth": ("veth.peer",)}


def check_final(device, final, exists):
    """Faults of a device as it will be, with what it has and what is wanted of it put together."""
    if exists:
        return []
    return [
        f"{device.name}: {option}: a new {device.kind} device needs it"
        for option in NEEDED.get(device.kind, ())
        if not final.get(option)
    ]
