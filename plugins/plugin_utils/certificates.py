# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a certificate, found by a TLS handshake of the host with itself, in memory."""

from __future__ import annotations

import re
import ssl
import tempfile
from pathlib import Path

# What OpenSSL says of a certificate (<openssl/x509_vfy.h>), and what mends it; others are told as they are.
NOT_YET, EXPIRED, PURPOSE, ADDRESS = 9, 10, 26, 64
BEGIN = "-----BEGIN CERTIFICATE-----"


def faults(texts, address, root=False):
    """Every fault, each beginning with the word that it is of. texts: {"ca", "cert", "key"} in PEM, as both ends of a connection to
    the address have them. root: ca is one certificate that signed itself, and cert one that it has signed.
    """
    found = [
        f"{name}: has no {kind} in PEM; write the text of the file, from BEGIN to END"
        for name, kind in (("ca", "CERTIFICATE"), ("cert", "CERTIFICATE"), ("key", "PRIVATE KEY"))
        if not _has(str(texts[name]), kind)
    ]
    if root:
        found += [
            f"{name}: has {str(texts[name]).count(BEGIN)} certificates, of which strongSwan would read the first; give one, the "
            f"{'root' if name == 'ca' else 'one that the root has signed'}"
            for name in ("ca", "cert")
            if str(texts[name]).count(BEGIN) > 1
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
        found = found or _loaded(context, texts)
    return found or _shaken(client, server, address, root)


def _has(text, kind):
    return re.search(f"-----BEGIN ([A-Z]+ )?{kind}-----", text)


def _loaded(context, texts):
    try:
        context.load_verify_locations(cadata=str(texts["ca"]))
    except (ssl.SSLError, ValueError) as error:
        return [f"ca: is not understood ({_reason(error)}); write certificates in PEM"]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("cert", "key")]
        for file in files:
            file.touch(0o600)
            file.write_text(str(texts[file.name]), encoding="utf-8")
        try:
            context.load_cert_chain(*files, password="")  # which keeps it from asking the terminal
        except (ssl.SSLError, ValueError) as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                return ["key: is not the key of cert; give the two that belong together"]
            return [
                f"cert, key: are not understood ({_reason(error)}); write both in PEM, the key without a passphrase"
            ]
    return []


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
