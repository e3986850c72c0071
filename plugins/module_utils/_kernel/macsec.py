# SPDX-License-Identifier: GPL-3.0-or-later
"""Secure channels and associations of MACsec devices, by the generic netlink family "macsec" (linux/if_macsec.h).

Devices themselves are made and read by link.py, as are those of every kind.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

from .._model import macsec as model
from .._model.errors import KernelError, MissingError
from . import codec, genl

NAME, VERSION = "macsec", 1
# MACSEC_CMD_*
GET, ADD_RXSC, DEL_RXSC, UPD_RXSC = 0, 1, 2, 3
ADD_TXSA, DEL_TXSA, UPD_TXSA, ADD_RXSA, DEL_RXSA, UPD_RXSA = 4, 5, 6, 7, 8, 9
# MACSEC_ATTR_*
IFINDEX, RXSC_CONFIG, SA_CONFIG, SECY, TXSA_LIST, RXSC_LIST, TXSC_STATS, SECY_STATS, OFFLOAD = 1, 2, 3, 4, 5, 6, 7, 8, 9
# MACSEC_SECY_ATTR_*
SECY_SCI, SECY_ENCODING_SA, SECY_CIPHER, SECY_OPER = 1, 2, 4, 8
# MACSEC_RXSC_ATTR_*
RXSC_SCI, RXSC_ACTIVE, RXSC_SA_LIST, RXSC_STATS = 1, 2, 3, 4
# MACSEC_SA_ATTR_*
SA_AN, SA_ACTIVE, SA_PN, SA_KEY, SA_KEYID, SA_STATS, SA_SSCI, SA_SALT = 1, 2, 3, 4, 5, 6, 8, 9
OFFLOADS = ("off", "phy", "mac")
BOOT = "/proc/sys/kernel/random/boot_id"

# MACSEC_*_STATS_ATTR_*, from 1, in the words of IEEE 802.1AE and of `ip -s macsec`
RXSC_COUNTERS = (
    "InOctetsValidated", "InOctetsDecrypted", "InPktsUnchecked", "InPktsDelayed", "InPktsOK", "InPktsInvalid", "InPktsLate",
    "InPktsNotValid", "InPktsNotUsingSA", "InPktsUnusedSA",
)  # fmt: skip
RXSA_COUNTERS = ("InPktsOK", "InPktsInvalid", "InPktsNotValid", "InPktsNotUsingSA", "InPktsUnusedSA")
TXSA_COUNTERS = (*("",) * len(RXSA_COUNTERS), "OutPktsProtected", "OutPktsEncrypted")
TXSC_COUNTERS = ("OutPktsProtected", "OutPktsEncrypted", "OutOctetsProtected", "OutOctetsEncrypted")
SECY_COUNTERS = (
    "OutPktsUntagged", "InPktsUntagged", "OutPktsTooLong", "InPktsNoTag", "InPktsBadTag", "InPktsUnknownSCI", "InPktsNoSCI",
    "InPktsOverrun",
)  # fmt: skip


def boot_id():
    """What is another after every boot; empty where the kernel does not tell it."""
    try:
        with open(BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class Associations:
    """The adapter: reads all, and has a method for each operation of _plan/macsec.py that the kernel alone carries out."""

    def __init__(self):
        self.family = genl.Family(NAME, VERSION)

    def close(self):
        self.family.close()

    def read(self, names):
        """{device: Secy} of the network namespace. names(index): a device's name, or None."""
        found = {}
        for answer in self._dump():
            index = codec.number(answer.get(IFINDEX), 0)
            name = names(index)
            if name and SECY in answer:
                found[name] = secy(index, answer)
        return found

    def read_one(self, name):
        """The Secy of one device. The kernel tells those of all, of which the others' associations are not looked into."""
        found = self.read({_index(name): name}.get)
        if name not in found:
            raise KernelError(f"{name}: read its associations", errno.ENODEV)
        return found[name]

    def _dump(self):
        try:
            return self.family.dump(GET, b"", "reading the MACsec associations")
        except KernelError as error:
            raise _explained(error) from None

    # Writing

    def add_channel(self, operation):
        self._channel(ADD_RXSC, "add", operation, operation.active)

    def set_channel(self, operation):
        self._channel(UPD_RXSC, "on" if operation.active else "off", operation, operation.active)

    def remove_channel(self, operation):
        self._channel(DEL_RXSC, "remove", operation, None)

    def _channel(self, command, verb, operation, active):
        what = f"{operation.name}: {verb} rx {operation.sci}"
        self._request(command, _index(operation.name), what, channel(operation.sci, active))

    def add_association(self, operation, pn, xpn):
        """pn: the first packet number."""
        what = self._words("add", operation, operation.sa.an)
        self._association(ADD_TXSA, ADD_RXSA, operation, association(operation.sa, pn, xpn), what)

    def set_association(self, operation):
        what = self._words("on" if operation.active else "off", operation, operation.an)
        self._association(UPD_TXSA, UPD_RXSA, operation, switch(operation.an, operation.active), what)

    def remove_association(self, operation):
        """The kernel removes only what is off."""
        what = self._words("remove", operation, operation.an)
        self._association(UPD_TXSA, UPD_RXSA, operation, switch(operation.an, False), what)
        self._association(DEL_TXSA, DEL_RXSA, operation, switch(operation.an, None), what)

    def stop(self, name, an):
        """Switch a transmit association off."""
        self._request(UPD_TXSA, _index(name), f"{name}: off tx an {an}", switch(an, False))

    def _association(self, transmit, receive, operation, attributes, what):
        if operation.sci is None:
            self._request(transmit, _index(operation.name), what, attributes)
        else:
            self._request(receive, _index(operation.name), what, channel(operation.sci, None) + attributes)

    @staticmethod
    def _words(verb, operation, an):
        return f"{operation.name}: {verb} {'tx' if operation.sci is None else f'rx {operation.sci}'} an {an}"

    def _request(self, command, index, what, attributes):
        try:
            self.family.request(command, codec.attribute(IFINDEX, codec.U32.pack(index)) + attributes, what)
        except KernelError as error:
            raise _explained(error) from None


def _explained(error):
    if error.errno == errno.ENOENT and error.what.startswith("generic netlink family"):
        return MissingError("kernel has no MACsec", "CONFIG_MACSEC")
    return error


def _index(name):
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise KernelError(name, errno.ENODEV, os.strerror(errno.ENODEV)) from None


# Attributes of requests, in the order in which `ip macsec` writes them


def channel(sci, active):
    """MACSEC_ATTR_RXSC_CONFIG. An SCI is in network byte order."""
    attributes = codec.attribute(RXSC_SCI, bytes.fromhex(sci))
    if active is not None:
        attributes += codec.attribute(RXSC_ACTIVE, bytes([active]))
    return genl.nested(RXSC_CONFIG, attributes)


def association(sa, pn, xpn):
    """MACSEC_ATTR_SA_CONFIG of a new association. Packet numbers are in host byte order, 64 bits long with XPN; the SSCI is in
    network byte order."""
    attributes = codec.attribute(SA_AN, bytes([sa.an]))
    attributes += codec.attribute(SA_PN, pn.to_bytes(8 if xpn else 4, sys.byteorder))
    if sa.salt is not None:
        attributes += codec.attribute(SA_SALT, sa.salt)
    if sa.ssci is not None:
        attributes += codec.attribute(SA_SSCI, sa.ssci.to_bytes(4, "big"))
    attributes += codec.attribute(SA_KEYID, bytes.fromhex(sa.key_id))
    attributes += codec.attribute(SA_KEY, sa.key)
    attributes += codec.attribute(SA_ACTIVE, bytes([sa.active]))
    return genl.nested(SA_CONFIG, attributes)


def switch(an, active):
    """MACSEC_ATTR_SA_CONFIG of an association that is there."""
    attributes = codec.attribute(SA_AN, bytes([an]))
    if active is not None:
        attributes += codec.attribute(SA_ACTIVE, bytes([active]))
    return genl.nested(SA_CONFIG, attributes)


# Answers


def secy(index, answer):
    """A Secy from the attributes of one answer."""
    own = _nest(answer.get(SECY))
    cipher = codec.number(own.get(SECY_CIPHER), 0)
    offload = codec.number(_nest(answer.get(OFFLOAD)).get(1), 0)
    return model.Secy(
        index=index,
        sci=own.get(SECY_SCI, bytes(8)).hex(),
        cipher=model.CIPHER_WORDS.get(cipher, hex(cipher)),
        encodingsa=codec.number(own.get(SECY_ENCODING_SA), 0),
        operational=bool(codec.number(own.get(SECY_OPER), 0)),
        offload=OFFLOADS[offload] if offload < len(OFFLOADS) else str(offload),
        tx=_associations(answer.get(TXSA_LIST), TXSA_COUNTERS),
        rx={one.sci: one for one in map(_channel, _nest(answer.get(RXSC_LIST)).values())},
        statistics={
            **_counters(answer.get(SECY_STATS), SECY_COUNTERS),
            **_counters(answer.get(TXSC_STATS), TXSC_COUNTERS),
        },
    )


def _channel(payload):
    found = _nest(payload)
    return model.FoundChannel(
        sci=found.get(RXSC_SCI, bytes(8)).hex(),
        active=bool(codec.number(found.get(RXSC_ACTIVE), 0)),
        sa=_associations(found.get(RXSC_SA_LIST), RXSA_COUNTERS),
        statistics=_counters(found.get(RXSC_STATS), RXSC_COUNTERS),
    )


def _associations(payload, counters):
    return {one.an: one for one in (_association(item, counters) for item in _nest(payload).values())}


def _association(payload, counters):
    found = _nest(payload)
    return model.FoundAssociation(
        an=codec.number(found.get(SA_AN), 0),
        active=bool(codec.number(found.get(SA_ACTIVE), 0)),
        pn=codec.number(found.get(SA_PN), 0),
        key_id=found.get(SA_KEYID, b"").hex(),
        ssci=int.from_bytes(found[SA_SSCI], "big") if SA_SSCI in found else None,
        statistics=_counters(found.get(SA_STATS), counters),
    )


def _counters(payload, names):
    found = _nest(payload)
    return {
        name: codec.number(found.get(number), 0) for number, name in enumerate(names, 1) if name and number in found
    }


def _nest(payload):
    return codec.attributes(payload, 0, len(payload)) if payload else {}
