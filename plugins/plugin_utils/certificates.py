# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a certificate: what it tells of itself, all of it, and then a TLS handshake of the host with itself, in memory."""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    UNREADABLE = (
        ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
    )  # fmt: skip
except ImportError:  # which ansible-core needs as well. Without it the handshake alone tells.
    x509 = None

# What OpenSSL says of a certificate (<openssl/x509_vfy.h>), and what mends it; others are told as they are.
NOT_YET, EXPIRED, PURPOSE, ADDRESS = 9, 10, 26, 64
BEGIN = "-----BEGIN CERTIFICATE-----"
KINDS = {"ca": "CERTIFICATE", "cert": "CERTIFICATE", "key": "PRIVATE KEY"}
# RFC 5280, section 4.2.1.12
USAGES = {"serverAuth": "1.3.6.1.5.5.7.3.1", "clientAuth": "1.3.6.1.5.5.7.3.2"}


def faults(texts, address, root=False):
    """Every fault, each beginning with the word that it is of. texts: {"ca", "cert", "key"} in PEM, as both ends of a connection to
    the address have them. root: ca is one certificate that signed itself, and cert one that it has signed, as IKE has them.
    """
    blocks = judged(texts)
    found = [fault for name in KINDS for fault in _misplaced(name, texts[name], blocks[name])]
    if root:
        found += [
            f"{name}: has {blocks[name].count(BEGIN)} certificates, of which strongSwan would read the first; give one, the "
            f"{'root' if name == 'ca' else 'one that the root has signed'}"
            for name in ("ca", "cert")
            if blocks[name].count(BEGIN) > 1
        ]
    if found:
        return found
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    for context in (client, server):
        if root:
            context.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN  # which newer versions of Python set by themselves
        else:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # etcd believes an intermediate CA without its root
        loaded = _loaded(context, blocks)
    leaf, chain = _told(blocks, address, root)
    found = loaded + leaf
    if found:
        return found
    # What is in a bundle beside what is needed does no harm.
    shaken = _shaken(client, server, address, root)
    return chain or shaken if shaken else []


def check(texts):
    """ValueError where they are none that a filter can take."""
    if not isinstance(texts, Mapping) or any(name not in texts for name in KINDS):
        raise ValueError(f"it takes a mapping with the texts of {', '.join(KINDS)} in PEM")


def judged(texts):
    """Of each text what faults() judges, for the hosts to get that and no more. strongSwan reads the first block of a file, whatever it is,
    and some programs do not find one behind a byte order mark.
    """
    return {name: _blocks(texts[name], kind) for name, kind in KINDS.items()}


def kind(text):
    """What key a certificate in PEM has: RSA, ECDSA, or another word; empty where it cannot be read."""
    chain = _certificates(text)
    if not chain:
        return ""
    try:
        key = chain[0].public_key()
    except UNREADABLE:
        return "of an unknown kind"
    names = {rsa.RSAPublicKey: "RSA", ec.EllipticCurvePublicKey: "ECDSA"}
    found = next((name for one, name in names.items() if isinstance(key, one)), None)
    return found or type(key).__name__.strip("_").split("PublicKey")[0]


def _blocks(text, kind):
    """What is between BEGIN and END, without what people write around it: all certificates, or the first key."""
    word = kind if kind == "CERTIFICATE" else f"(?:[A-Z]+ )?{kind}"
    block = rf"-----BEGIN ({word})-----(?:(?!-----).)*-----END \1-----"
    found = [one[0] for one in re.finditer(block, str(text), re.DOTALL)]
    return "".join(f"{one}\n" for one in (found if kind == "CERTIFICATE" else found[:1]))


def _misplaced(name, text, blocks):
    if KINDS[name] == "CERTIFICATE" and "PRIVATE KEY-----" in str(text):
        yield f"{name}: holds a private key; give the certificate alone"
    elif not blocks:
        yield f"{name}: has no {KINDS[name]} in PEM; write the text of the file, from BEGIN to END"


def _certificates(text):
    """Those that can be read; whether all are understood, the handshake tells."""
    if x509 is None:
        return []
    found = []
    for one in re.findall(f"{BEGIN}.*?-----END CERTIFICATE-----", str(text), re.DOTALL):
        try:
            found.append(x509.load_pem_x509_certificate(one.encode()))
        except UNREADABLE:
            return []
    return found


def _told(blocks, address, root):
    """(what is certainly wrong, what may be), as the certificates tell it."""
    cas, chain = (_certificates(blocks[name]) for name in ("ca", "cert"))
    of_cas = [[*_dated("ca", one), *_no_ca(one, chain)] for one in cas]
    faulty = sum(of_cas, [])
    found, perhaps = (faulty, []) if root or all(of_cas) else ([], faulty)
    perhaps += [fault for one in chain[1:] for fault in _dated("cert", one)]
    for one in chain[:1]:
        found += _dated("cert", one)
        names = _extension(one, x509.SubjectAlternativeName)
        has = names.get_values_for_type(x509.IPAddress) if names else []
        if ipaddress.ip_address(address) not in has:
            whose = ", ".join(map(str, has)) or "no IP address"
            found.append(f"cert: is for {whose}; it needs the subject alternative name IP:{address}")
        usage = _extension(one, x509.ExtendedKeyUsage)
        lacks = [name for name, oid in USAGES.items() if usage and oid not in {each.dotted_string for each in usage}]
        if lacks:
            found.append(f"cert: lacks {' and '.join(lacks)}; it needs the extended key usages {' and '.join(USAGES)}")
    return found, perhaps


def _no_ca(one, chain):
    basic = _extension(one, x509.BasicConstraints)
    if basic and not basic.ca and one not in chain:
        yield f"ca: {_name(one)} is no CA (basicConstraints); give the certificate of the one that signed cert"


def _dated(name, one):
    now = datetime.datetime.now(datetime.timezone.utc)
    begins, ends = _date(one, "not_valid_before"), _date(one, "not_valid_after")
    if ends < now:
        yield f"{name}: {_name(one)} has expired, on {ends:%Y-%m-%d %H:%M} UTC; take one that is valid"
    if begins > now:
        yield (
            f"{name}: {_name(one)} is not valid before {begins:%Y-%m-%d %H:%M} UTC; take one that is valid, or set the controller's clock"
        )


def _date(one, word):
    # cryptography before 42 has them without a time zone.
    found = getattr(one, f"{word}_utc", None) or getattr(one, word)
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def _name(one):
    return one.subject.rfc4514_string()[:80] or "it"


def _extension(one, kind):
    try:
        return one.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None


def _loaded(context, blocks):
    found = []
    try:
        context.load_verify_locations(cadata=blocks["ca"])
    except (ssl.SSLError, ValueError, TypeError) as error:
        found.append(f"ca: is not understood ({_reason(error)}); write certificates in PEM")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("cert", "key")]
        for file in files:
            file.touch(0o600)
            file.write_text(blocks[file.name], encoding="utf-8")
        try:
            context.load_cert_chain(*files, password="")  # which keeps it from asking the terminal
        except (ssl.SSLError, ValueError) as error:
            if _mismatch(error, blocks):
                found.append("key: is not the key of cert; give the two that belong together")
            else:
                found.append(
                    f"cert, key: are not understood ({_reason(error)}); write both in PEM, the key without a passphrase"
                )
    return found


def _mismatch(error, blocks):
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return True
    if x509 is None:
        return False
    try:  # of keys of two kinds it is said otherwise
        keys = [load_pem_private_key(blocks["key"].encode(), None).public_key()]
        keys += [one.public_key() for one in _certificates(blocks["cert"])[:1]]
    except UNREADABLE:
        return False
    return len({key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in keys}) > 1


def _shaken(client, server, address, root):
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {
        "as a server's": client.wrap_bio(to_client, to_server, server_hostname=address),
        "as a client's": server.wrap_bio(to_server, to_client, server_side=True),
    }
    for _turn in range(8):  # a handshake takes three
        for whose, end in ends.items():
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return [
                    f"cert: is refused {whose} ({error.verify_message}); {_remedy(error.verify_code, address, root)}"
                ]
            except ssl.SSLError as error:
                return [f"cert: is refused {whose} ({_reason(error)}); take another one"]
    return []


def _remedy(code, address, root):
    if code in (NOT_YET, EXPIRED):
        return "take one that is valid, and a CA that is"
    if code == PURPOSE:
        return "it needs the extended key usages serverAuth and clientAuth"
    if code == ADDRESS:
        return f"it needs the subject alternative name IP:{address}"
    if root:
        return "it has to be signed by ca, and ca by itself"
    return "it has to be signed by ca, or by a CA between them whose certificate follows it"


def _reason(error):
    return getattr(error, "reason", None) or error
