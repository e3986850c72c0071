# SPDX-License-Identifier: GPL-3.0-or-later
"""Network devices and their addresses, by netlink: one dump to read them, one message for each change."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from pathlib import Path

from .._model import link as model
from .._model import macsec, values, vnis, vxlan
from .._model.errors import KernelError, MissingError, VerifyError
from . import codec, pyroute, vnifilter

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
AF_BRIDGE = 7
NTF_SELF = 0x02
NEW = codec.NLM_F_CREATE | codec.NLM_F_EXCL
IFF_UP = 1
RTEXT_FILTER_SKIP_STATS = 8
IFA_F_PERMANENT = 0x80
RT_SCOPE_LINK = 253

TABLES = {**model.KINDS, **vxlan.KINDS, **macsec.KINDS}
# pyroute2's name of the type that carries a form
ATOMS = {
    "bool": "uint8",
    "bool32": "uint32",
    "flag": "flag",
    "inheritflag": "uint8",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "be16": "be16",
    "be32": "be32",
    "word": "uint8",
    "word32": "uint32",
    "ethertype": "be16",
    "dev": "uint32",
    "ip": "ip4addr",
    "ports": "port_range",
    "tos": "uint8",
    "bits": "be64",
    "sci": "be64",
    "cipher": "uint64",
}
ETHERTYPES = {"802.1q": 0x8100, "802.1ad": 0x88A8}
EMPTY = "_EMPTY"  # see _nla_map
PROBE = "vtep-probe"
MODULES = {"vlan": "8021q"}  # where the module's name is not the kind's


class Links:
    """The adapter. It has a method for each operation of _plan/link.py, and keeps one socket open."""

    def __init__(self):
        netlink, ifinfmsg, ndmsg = pyroute.load()
        self.link_message = ifinfmsg.ifinfmsg
        self.row_message = ndmsg.ndmsg
        self.address_message = _address_class(netlink)
        tables = {kind: table for kind, table in TABLES.items() if table and kind != "veth"}
        tables["bridge_slave"] = model.PORT
        kinds = {kind: _kind_class(netlink, table) for kind, table in tables.items()}
        self.link_message.ifinfo.register_link_kind(module=kinds)
        self.socket = pyroute.Socket()
        self.kernel = os.uname().release

    def close(self):
        self.socket.close()

    # Reading

    def read(self):
        """The State of the network namespace: one dump of the devices and one of the addresses."""
        addresses = {}
        for message in self.socket.dump(self.address_message(), RTM_GETADDR, "reading the addresses"):
            addresses.setdefault(message["index"], []).append(_address(message))
        request = self._request(("IFLA_EXT_MASK", RTEXT_FILTER_SKIP_STATS))
        messages = self.socket.dump(request, RTM_GETLINK, "reading the devices")
        names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in messages}
        found = [_found(message, names.get, tuple(addresses.get(message["index"], ()))) for message in messages]
        filtering = [one for one in found if one.has.get("vnifilter")]
        filters = vnifilter.read(self.socket) if filtering else {}
        for one in filtering:
            one.has["vnis"] = filters.get(one.index, "")
        return model.State({one.name: one for one in found}, self.kernel)

    def _read_one(self, name):
        message = self._request()
        message["index"] = _index(name)
        return _found(self.socket.ask(message, RTM_GETLINK, f"{name}: read"), _name, ())

    def probe(self, desired, state):
        """The state with what the kernel lacks of what is wanted. Makes nothing."""
        kinds = {one.kind for one in desired if one.present and one.kind and one.name not in state.devices}
        lacking = frozenset(kind for kind in kinds if not self.has_kind(kind))
        wanted = {
            attribute for one in desired for attribute in TABLES.get(one.kind, ()) if attribute.option in one.wanted
        }
        unknown = frozenset(
            attribute.option
            for attribute in wanted
            if attribute.probed and not lacking and not self._knows("vxlan", attribute)
        )
        return replace(state, lacking=lacking, unknown=unknown)

    def has_kind(self, kind):
        """Whether the kernel can make a kind of device. One whose module is there is not tried: loading it for a look is
        more than check mode may do (dummy makes a dummy0)."""
        listing = Path("/lib/modules", self.kernel, "modules.dep")
        if listing.exists() and f"/{MODULES.get(kind, kind)}.ko" in listing.read_text():
            return True
        return self._refusal(kind, []).errno != errno.EOPNOTSUPP

    def _knows(self, kind, attribute):
        """An attribute without its value is refused before the rest of the request, if it is known at all."""
        return self._refusal(kind, [(attribute.kernel + EMPTY, True)]).errno != errno.EADDRNOTAVAIL

    def _refusal(self, kind, data):
        """The kernel's error for a new device with the all-zero MAC address, which each of our kinds refuses."""
        info = [("IFLA_INFO_KIND", kind)]
        if data:
            info.append(("IFLA_INFO_DATA", {"attrs": data}))
        message = self._request(
            ("IFLA_IFNAME", PROBE), ("IFLA_ADDRESS", values.ZERO_MAC), ("IFLA_LINKINFO", {"attrs": info})
        )
        try:
            self.socket.change(message, RTM_NEWLINK, NEW, f"probe for {kind}")
        except KernelError as error:
            if error.errno == errno.EPERM:
                raise
            return error
        raise KernelError(f"probe for {kind}", errno.EEXIST, f"the kernel made {PROBE} with an all-zero address")

    def count_rows(self, index):
        """How many FDB rows a device has, its own and its bridge's for it."""
        request = self.row_message()
        request["family"] = AF_BRIDGE
        request["ifindex"] = index
        return self.socket.count(request, RTM_GETNEIGH, "counting FDB rows")

    # Writing

    def remove(self, operation):
        message = self._request()
        message["index"] = _index(operation.name)
        self.socket.change(message, RTM_DELLINK, 0, f"{operation.name}: remove")

    def create(self, operation):
        """Make a device and read it back. One that has not what was asked for is removed again."""
        name, kind, wanted = operation.name, operation.kind, operation.values
        table = model.table(kind, TABLES)
        attributes, data = [("IFLA_IFNAME", name)], []
        for option, value in wanted.items():
            group = table[option].group
            if value == "" or (isinstance(value, bool) and value == table[option].default):
                continue  # remcsum_rx false, sent, takes its bits out of reserved_bits all the same
            (data if group == "data" else attributes).append(_carried(table[option], value))
        info = [("IFLA_INFO_KIND", kind)]
        if data:
            info.append(("IFLA_INFO_DATA", {"attrs": data}))
        message = self._request(*attributes, ("IFLA_LINKINFO", {"attrs": info}))
        try:
            self.socket.change(message, RTM_NEWLINK, NEW, f"{name}: create")
        except KernelError as error:
            raise _explained(error, kind, wanted) from None
        self._check(operation, table)

    def _check(self, operation, table):
        found = self._read_one(operation.name)
        for option, value in operation.values.items():
            has = found.has.get(option)
            if model.same(table[option], value, has):
                continue
            self.remove(operation)
            if has is None:
                raise MissingError(*model.unknown(self.kernel, table[option], value))
            raise VerifyError(
                [
                    f"kernel {self.kernel} gave {operation.name} {table[option].kernel} ({option}) "
                    f"{model.show(has)}, not {model.show(value)}; the new device was removed again"
                ]
            )

    def set(self, operation):
        """Change a device: attributes of one group in one message."""
        table = model.table(operation.kind, TABLES)
        groups = {}
        for option, value in operation.values.items():
            groups.setdefault(table[option].group, {})[option] = value
        index = _index(operation.name)
        destination = operation.values.get("group")
        added = destination and not values.is_any(destination)
        flood = self._flood_state(index) if added else None
        for group, wanted in groups.items():
            message = self._message(operation.kind, group, wanted, table)
            message["index"] = index
            words = ", ".join(f"{option} {model.show(value)}" for option, value in wanted.items())
            self.socket.change(message, RTM_NEWLINK, 0, f"{operation.name}: set {words}")
        if flood:
            self._keep_flood_state(index, flood, destination)

    def _flood_state(self, index):
        """The state of a VXLAN device's all-zero FDB row, None without one."""
        request = self._flood_row(index)
        try:
            return self.socket.ask(request, RTM_GETNEIGH, "reading the default FDB row")["state"]
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def _keep_flood_state(self, index, state, destination):
        """Adding a default destination, the kernel gives the row's whole list its own state, and so takes the mark that
        tells whose the other destinations are (see docs/fdb.md). A request without any of the flags create, replace and
        append changes nothing but the state."""
        message = self._flood_row(index, ("NDA_DST", destination))
        message["state"] = state
        self.socket.change(message, RTM_NEWNEIGH, 0, "keeping the mark of the default FDB row")

    def _flood_row(self, index, *attributes):
        message = self.row_message()
        message["family"] = AF_BRIDGE
        message["ifindex"] = index
        message["flags"] = NTF_SELF
        message["attrs"] = [("NDA_LLADDR", values.ZERO_MAC), *attributes]
        return message

    def _message(self, kind, group, wanted, table):
        wanted = dict(wanted)
        up = wanted.pop("up", None)
        attributes = [_carried(table[option], value) for option, value in wanted.items()]
        if group == "data":
            attributes = [_info("IFLA_INFO_KIND", kind, "IFLA_INFO_DATA", attributes)]
        elif group == "port":
            attributes = [_info("IFLA_INFO_SLAVE_KIND", "bridge", "IFLA_INFO_SLAVE_DATA", attributes)]
        message = self._request(*attributes)
        if up is not None:
            message["change"] = IFF_UP
            message["flags"] = IFF_UP if up else 0
        return message

    def add_vnis(self, operation):
        self._change_vnis(vnifilter.RTM_NEWTUNNEL, "add", operation)

    def remove_vnis(self, operation):
        self._change_vnis(vnifilter.RTM_DELTUNNEL, "remove", operation)

    def _change_vnis(self, kind, verb, operation):
        index = _index(operation.name)
        for entry in operation.ranges:
            words = f"{operation.name}: {verb} VNI {vnis.folded([entry])}"
            self.socket.send(vnifilter.entry(index, *entry), kind, 0, words)

    def add_address(self, operation):
        message = self._address(operation)
        words = f"{operation.name}: add address {operation.address.text}"
        self.socket.change(message, RTM_NEWADDR, NEW, words)

    def remove_address(self, operation):
        message = self._address(operation)
        self.socket.change(message, RTM_DELADDR, 0, f"{operation.name}: remove address {operation.address.text}")

    def _address(self, operation):
        text, _slash, length = operation.address.text.partition("/")
        message = self.address_message()
        message["family"] = socket.AF_INET6 if values.family(text) == 6 else socket.AF_INET
        message["prefixlen"] = int(length)
        message["index"] = _index(operation.name)
        message["attrs"] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
        if operation.address.owned:
            message["attrs"].append(("IFA_PROTO", values.PROTOCOL))
        return message

    def _request(self, *attributes):
        message = self.link_message()
        message["attrs"] = list(attributes)
        return message


def _info(kind_name, kind, data_name, attributes):
    return ("IFLA_LINKINFO", {"attrs": [(kind_name, kind), (data_name, {"attrs": attributes})]})


def _index(name):
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise KernelError(name, errno.ENODEV) from None


def _name(index):
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None


def _explained(error, kind, wanted):
    """What the kernel says of a device that it cannot make, with what to do about it."""
    if error.errno == errno.EOPNOTSUPP and wanted.get("offload", "off") != "off":
        text = f"{error.text}: {wanted['dev']} cannot do MACsec in its hardware (offload: {wanted['offload']})"
        return KernelError(error.what, error.errno, text)
    if error.errno == errno.EOPNOTSUPP and error.text in ("Unknown device type", os.strerror(errno.EOPNOTSUPP)):
        return MissingError(*model.lacking(kind))
    if error.errno == errno.EEXIST and kind == "vxlan" and "VNI" in error.text:
        text = (
            f"{error.text}: VNI {wanted.get('id', 0)} on UDP port {wanted['dstport']}, "
            "perhaps in another network namespace"
        )
        return KernelError(error.what, error.errno, text)
    return error


# pyroute2's message classes for what it lacks or has wrong, from the attribute tables


def _kind_class(netlink, table):
    class kind(netlink.nla):
        prefix = "IFLA_"
        nla_map = _nla_map(table)

        class port_range(netlink.nla):
            fields = (("low", ">H"), ("high", ">H"))

    return kind


def _nla_map(table):
    """(number, name, type) for each attribute. Numbers that are not there decode as UNKNOWN."""
    entries = []
    for attribute in table:
        if attribute.group in ("create", "filter"):
            continue
        # Each can also be sent without a value: to probe for it, and because ttl_inherit is sent so (NLA_FLAG) although
        # it is answered with a byte. The name finds the type to send by; the number, whose last entry counts, the type
        # to receive by.
        entries.append((attribute.number, attribute.kernel + EMPTY, "flag"))
        entries.append((attribute.number, attribute.kernel, ATOMS[attribute.form]))
        if attribute.number6:
            entries.append((attribute.number6, f"{attribute.kernel}6", "ip6addr"))
    return tuple(entries)


def _address_class(netlink):
    class address(netlink.nlmsg):
        prefix = "IFA_"
        fields = (("family", "B"), ("prefixlen", "B"), ("flags", "B"), ("scope", "B"), ("index", "I"))
        nla_map = (
            (1, "IFA_ADDRESS", "ipaddr"),
            (2, "IFA_LOCAL", "ipaddr"),
            (8, "IFA_FLAGS", "uint32"),
            (11, "IFA_PROTO", "uint8"),
        )

    return address


# Values to and from what a message carries


def _carried(attribute, value):
    """(name, value) as pyroute2 takes an attribute."""
    name, form = attribute.kernel, attribute.form
    if attribute.option == "addrgenmode":
        mode = {"attrs": [(name, attribute.words.index(value))]}
        return "IFLA_AF_SPEC", {"attrs": [("AF_INET6", mode)]}
    if form == "inheritflag":
        return name + EMPTY, True
    if form == "ip" and values.family(value) == 6:
        return f"{name}6", value
    if form == "peer":
        return name, {"attrs": [("IFLA_IFNAME", value)]}
    return name, _ENCODE.get(form, lambda attribute, value: value)(attribute, value)


def _encode_ports(attribute, value):
    low, _dash, high = value.partition("-")
    return {"low": int(low), "high": int(high)}


_ENCODE = {
    "bool": lambda attribute, value: int(value),
    "bool32": lambda attribute, value: int(value),
    "word": lambda attribute, value: attribute.words.index(value),
    "word32": lambda attribute, value: attribute.words.index(value),
    "ethertype": lambda attribute, value: ETHERTYPES[value],
    "dev": lambda attribute, value: _index(value) if value else 0,
    "ports": _encode_ports,
    "tos": lambda attribute, value: 1 if value == "inherit" else value,
    "bits": lambda attribute, value: int(value, 16),
    "sci": lambda attribute, value: int(value, 16),
    "cipher": lambda attribute, value: macsec.CIPHERS[value].number,
}


def _decode(attribute, value, names):
    form = attribute.form
    if form in ("bool", "bool32", "flag", "inheritflag"):
        return bool(value)
    if form in ("word", "word32"):
        return attribute.words[value] if value < len(attribute.words) else str(value)
    if form == "ethertype":
        return {number: word for word, number in ETHERTYPES.items()}.get(value, hex(value))
    if form == "dev":
        return (names(value) or "") if value else ""
    if form == "ports":
        return f"{value['low']}-{value['high']}"
    if form == "tos":
        return "inherit" if value == 1 else value
    if form == "bits":
        return f"0x{value:016x}"
    if form == "sci":
        return f"{value:016x}"
    if form == "cipher":
        return macsec.CIPHER_WORDS.get(value, hex(value))
    if form == "ip":
        return values.address(value)
    return value


def _found(message, names, addresses):
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else "") or ""
    has = {
        "mtu": message.get_attr("IFLA_MTU"),
        "address": message.get_attr("IFLA_ADDRESS") or "",
        "alias": message.get_attr("IFLA_IFALIAS") or "",
        "master": names(message.get_attr("IFLA_MASTER") or 0) or "",
        "up": bool(message["flags"] & IFF_UP),
        model.MEMBER.option: message.get_attr("IFLA_GROUP") or 0,
    }
    mode = _addrgenmode(message)
    if mode is not None:
        has["addrgenmode"] = mode
    if info:
        has.update(_data(TABLES.get(kind, ()), info.get_attr("IFLA_INFO_DATA"), names))
        if info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge":
            has.update(_data(model.PORT, info.get_attr("IFLA_INFO_SLAVE_DATA"), names))
    beside = _beside(message, names)
    if kind == "veth" and beside is not None:
        has["veth.peer"] = beside
    if kind == "vlan":
        has["vlan.dev"] = beside or ""
    if kind == "macsec":
        has["dev"] = beside or ""
        has["port"] = int(has["sci"][-4:], 16)
        has.setdefault("window", 0)  # told with replay protection only
    if kind == "vxlan":
        _complete_vxlan(has)
    lower = has.get("dev", "") if kind == "vxlan" else "" if kind == "veth" else beside or ""
    return model.Found(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=kind,
        has=has,
        addresses=addresses,
        lower="" if lower == message.get_attr("IFLA_IFNAME") else lower,
        operstate=(message.get_attr("IFLA_OPERSTATE") or "").lower(),
    )


def _complete_vxlan(has):
    """What the kernel leaves out of its answer because it is not set."""
    for option in ("group", "local", "dev"):
        has.setdefault(option, "")
    for option in ("gbp", "gpe", "remcsum_nopartial", "vnifilter"):
        has.setdefault(option, False)


def _beside(message, names):
    """The device that IFLA_LINK names: below a VLAN, the other end of a veth. None: in another namespace."""
    if message.get_attr("IFLA_LINK_NETNSID") is not None:
        return None
    return names(message.get_attr("IFLA_LINK") or 0)


def _addrgenmode(message):
    spec = message.get_attr("IFLA_AF_SPEC")
    inet6 = spec.get_attr("AF_INET6") if spec else None
    mode = inet6.get_attr("IFLA_INET6_ADDR_GEN_MODE") if inet6 else None
    words = next(attribute for attribute in model.LINK if attribute.option == "addrgenmode").words
    return words[mode] if mode is not None and mode < len(words) else None


def _data(table, data, names):
    has = {}
    for attribute in table:
        if data is None or attribute.group in ("create", "filter") or attribute.form == "peer":
            continue
        raw = data.get_attr(attribute.kernel)
        if raw is None and attribute.number6:
            raw = data.get_attr(f"{attribute.kernel}6")
        if raw is not None:
            has[attribute.option] = _decode(attribute, raw, names)
    return has


def _address(message):
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return model.Address(
        text=values.interface(f"{text}/{message['prefixlen']}"),
        owned=message.get_attr("IFA_PROTO") == values.PROTOCOL,
        permanent=bool(flags & IFA_F_PERMANENT),
        link_local=message["scope"] == RT_SCOPE_LINK,
    )
