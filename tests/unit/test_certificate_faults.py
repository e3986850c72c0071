# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are given to role registry: what is refused, by which word, before a host is touched."""

import subprocess

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.filter import certificate_faults, certificate_texts
from ansible_collections.vtep.fabric.plugins.plugin_utils import certificates
from ansible_collections.vtep.fabric.plugins.plugin_utils.certificates import faults

ADDRESS = "2001:db8:253::1"
CA = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"]


def openssl(*words):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


class Makes:
    """Certificates and keys, in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.kind = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")

    def text(self, name):
        return (self.directory / name).read_text()

    def make(self, name, signer=None, extensions=(), ended=False):
        place = str(self.directory / name)
        openssl("genpkey", *self.kind, "-out", f"{place}.key")
        added = (word for one in extensions for word in ("-addext", one))
        openssl("req", "-new", "-key", f"{place}.key", "-subj", f"/CN={name}", "-out", f"{place}.csr", *added)
        ca = str(self.directory / (signer or name))
        by = ["-CA", ca, "-CAkey", f"{ca}.key", "-CAcreateserial"] if signer else ["-signkey", f"{ca}.key"]
        words = ["-copy_extensions", "copyall", "-days", "0" if ended else "30", "-out", place]
        openssl("x509", "-req", "-in", f"{place}.csr", *by, *words)

    def member(self, name="member", signer="ca", address=ADDRESS, usage="serverAuth,clientAuth", **more):
        extensions = [f"subjectAltName={address}" if address.startswith("DNS:") else f"subjectAltName=IP:{address}"]
        extensions += [f"extendedKeyUsage={usage}"] if usage else []
        self.make(name, signer, ["basicConstraints=critical,CA:FALSE", *extensions], **more)
        return self.texts(name, signer)

    def texts(self, name="member", ca="ca", key=None):
        return {"ca": self.text(ca), "cert": self.text(name), "key": self.text(f"{key or name}.key")}


@pytest.fixture
def made(tmp_path):
    made = Makes(tmp_path)
    made.make("ca", extensions=CA)
    return made


@pytest.mark.parametrize("address", [ADDRESS, "192.0.2.1"])
def test_what_fits_is_taken(made, address):
    assert faults(made.member(address=address), address) == []
    assert faults(made.member(address=address, usage=None), address) == []


def test_an_intermediate_ca_without_its_root(made):
    made.make("between", "ca", CA)
    texts = made.member(signer="between")
    assert faults(texts, ADDRESS) == []
    chain = {**texts, "ca": made.text("ca")}
    assert faults({**chain, "cert": texts["cert"] + made.text("between")}, ADDRESS) == []
    (fault,) = faults(chain, ADDRESS)
    assert "it has to be signed by ca" in fault


def test_strongswan_takes_no_chain(made):
    assert faults(made.member(), ADDRESS, root=True) == []
    made.make("between", "ca", CA)
    texts = made.member(signer="between")
    (fault,) = faults(texts, ADDRESS, root=True)
    assert fault.startswith("cert: is refused") and "signed by ca, and ca by itself" in fault
    both = {**texts, "ca": made.text("ca") + made.text("between"), "cert": texts["cert"] + made.text("between")}
    assert [fault.split(", of which")[0] for fault in faults(both, ADDRESS, root=True)] == [
        "ca: has 2 certificates",
        "cert: has 2 certificates",
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"ended": True}, "cert: CN=member has expired, on 20"),
        (
            {"address": "2001:db8:253::2"},
            f"cert: is for 2001:db8:253::2; it needs the subject alternative name IP:{ADDRESS}",
        ),
        ({"address": "DNS:reg1"}, f"cert: is for no IP address; it needs the subject alternative name IP:{ADDRESS}"),
        ({"usage": "clientAuth"}, "cert: lacks serverAuth; it needs the extended key usages serverAuth and clientAuth"),
        ({"usage": "serverAuth"}, "cert: lacks clientAuth; it needs"),
    ],
)
def test_what_others_would_refuse(made, more, says):
    (fault,) = faults(made.member(**more), ADDRESS)
    assert says in fault


def test_an_expired_ca(tmp_path):
    made = Makes(tmp_path)
    made.make("ca", extensions=CA, ended=True)
    (fault,) = faults(made.member(), ADDRESS)
    assert fault.startswith("ca: CN=ca has expired, on 20")


def test_all_at_once(made):
    made.make("stranger", ended=True)
    texts = made.member(address="192.0.2.9", usage="emailProtection", ended=True)
    found = faults({**texts, "ca": "# Prüf-CA\n" + made.text("stranger"), "key": made.text("stranger.key")}, ADDRESS)
    assert [fault.split(";")[0] for fault in found] == [
        "key: is not the key of cert",
        *(
            f"{name}: CN={who} has expired, on {when}"
            for name, who, when in zip(("ca", "cert"), ("stranger", "member"), dates(found))
        ),
        "cert: is for 192.0.2.9",
        "cert: lacks serverAuth and clientAuth",
    ]


def dates(found):
    return [fault.split(" on ")[1].split(";")[0] for fault in found if "expired" in fault]


def test_what_is_written_around_it_does_not_count(made):
    texts = made.member()
    assert faults({name: f"Größe: 1\n{text}\nEnde\n" for name, text in texts.items()}, ADDRESS) == []


@pytest.mark.parametrize("root", [False, True])
def test_a_private_key_in_the_place_of_a_certificate(made, root):
    texts = made.member()
    cert, key = texts["cert"], texts["key"]
    alone = "holds a private key; give the certificate alone"
    for combined in (cert + key, key + cert, cert + key.splitlines()[0]):
        assert faults({**texts, "cert": combined}, ADDRESS, root) == [f"cert: {alone}"]
    both = {**texts, "ca": texts["ca"] + made.text("ca.key"), "cert": key}
    assert faults(both, ADDRESS, root) == [f"ca: {alone}", f"cert: {alone}"]
    # The file of the key is root's alone.
    assert faults({**texts, "key": cert + key}, ADDRESS, root) == []


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_is_judged_is_what_hosts_get(made, mark):
    texts = made.member()
    assert certificate_texts.certificate_texts(texts) == texts
    parameters = openssl("ecparam", "-name", "prime256v1")
    assert parameters.startswith("-----BEGIN EC PARAMETERS")
    cut = made.text("ca.key")[:60]
    given = {
        "ca": f"{mark}{texts['ca']}# Ende",
        "cert": f"{mark}# Größe\n{texts['cert'].strip()}",
        "key": f"{mark}{cut}{parameters}{texts['key']}{made.text('ca.key')}{texts['cert']}",
    }
    assert faults(given, ADDRESS, root=True) == []
    assert certificate_texts.certificate_texts(given) == texts


def test_a_chain_stays_one(made):
    made.make("between", "ca", CA)
    texts = made.member(signer="between")
    chain = {**texts, "cert": texts["cert"] + made.text("between"), "ca": made.text("ca")}
    assert certificate_texts.certificate_texts({**chain, "cert": f"# a\n{chain['cert']}"}) == chain


def test_a_certificate_of_openssl_s_own_kind(made):
    texts = made.member()
    trusted = openssl("x509", "-in", str(made.directory / "member"), "-trustout")
    assert trusted.startswith("-----BEGIN TRUSTED CERTIFICATE")
    (fault,) = faults({**texts, "cert": trusted}, ADDRESS)
    assert fault.startswith("cert: has no CERTIFICATE in PEM")


def test_a_ca_that_is_none(made):
    made.member("leaf")
    texts = made.member("another", "leaf")
    (fault,) = faults(texts, ADDRESS)
    assert fault.startswith("ca: CN=leaf is no CA")


def test_keys_of_another_kind(made):
    texts = made.member()
    assert certificates.kind(texts["cert"]) == "ECDSA"
    assert certificates.kind("x") == ""
    made.kind = ("-algorithm", "ED25519")
    texts = made.member("edwards")
    assert faults(texts, ADDRESS, root=True) == []
    assert certificates.kind(texts["cert"]) == "Ed25519"
    made.kind = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    assert certificates.kind(made.member("rivest")["cert"]) == "RSA"
    assert faults(made.texts("rivest", key="edwards"), ADDRESS) == [
        "key: is not the key of cert; give the two that belong together"
    ]


def test_one_that_is_not_valid_yet_is_mended_like_one_that_is_no_more():
    assert certificates._remedy(9, ADDRESS, root=True) == certificates._remedy(10, ADDRESS, root=True)


def test_what_does_not_belong_together(made):
    made.member()
    made.member("other")
    made.make("stranger", extensions=CA)
    assert faults(made.texts(key="other"), ADDRESS) == [
        "key: is not the key of cert; give the two that belong together"
    ]
    (fault,) = faults(made.texts(ca="stranger"), ADDRESS)
    assert fault.startswith("cert: is refused as a server's (") and "it has to be signed by ca" in fault


def test_what_is_no_text_in_pem(made):
    texts = made.member()
    assert [fault.split(":")[0] for fault in faults({"ca": "", "cert": texts["key"], "key": 5}, ADDRESS)] == [
        "ca",
        "cert",
        "key",
    ]
    (fault,) = faults({**texts, "ca": texts["ca"][:99] + "\n-----END CERTIFICATE-----\n"}, ADDRESS)
    assert fault.startswith("ca: is not understood (")
    locked = openssl("ec", "-in", str(made.directory / "member.key"), "-aes128", "-passout", "pass:secret")
    (fault,) = faults({**texts, "key": locked}, ADDRESS)
    assert fault.startswith("cert, key: are not understood (") and fault.endswith("the key without a passphrase")
    assert all(text not in fault for text in texts.values())


def test_without_cryptography_the_handshake_tells(made, monkeypatch):
    monkeypatch.setattr(certificates, "x509", None)
    assert faults(made.member(), ADDRESS) == []
    (fault,) = faults(made.member(ended=True), ADDRESS)
    assert fault.startswith("cert: is refused as a server's (certificate has expired); take one that is valid")
    assert certificates.kind(made.text("ca")) == ""


def test_what_is_not_needed_in_a_bundle_may_be_old(made):
    made.make("former", extensions=CA, ended=True)
    made.make("between", "ca", CA)
    texts = made.member(signer="between")
    bundle = {**texts, "ca": made.text("former") + made.text("ca"), "cert": texts["cert"] + made.text("between")}
    assert faults(bundle, ADDRESS) == []
    assert faults({**bundle, "cert": bundle["cert"] + made.text("former")}, ADDRESS) == []
    made.make("between", "ca", CA, ended=True)
    texts = made.member(signer="between")
    (fault,) = faults({**texts, "ca": made.text("ca"), "cert": texts["cert"] + made.text("between")}, ADDRESS)
    assert fault.startswith("cert: CN=between has expired")


def test_a_key_of_a_kind_that_nobody_knows(made):
    made.kind = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2")
    texts = made.member("chinese")
    assert all(": " in fault for fault in faults(texts, ADDRESS))
    assert isinstance(certificates.kind(texts["cert"]), str)


@pytest.mark.parametrize(
    ("texts", "address", "fault"),
    [
        ("ca", ADDRESS, "certificate_faults: it takes a mapping with the texts of ca, cert, key in PEM"),
        ({"ca": "", "cert": ""}, ADDRESS, "it takes a mapping with the texts of ca, cert, key"),
        ({"ca": "", "cert": "", "key": ""}, "s1", "certificate_faults: address: 's1' is not an IP address"),
        ({"ca": "", "cert": "", "key": ""}, None, "address: None is not an IP address"),
    ],
)
def test_what_the_filter_cannot_take_is_told(texts, address, fault):
    with pytest.raises(AnsibleFilterError, match=fault):
        certificate_faults.certificate_faults(texts, address)


def test_what_the_filter_of_texts_cannot_take_is_told():
    with pytest.raises(
        AnsibleFilterError, match="certificate_texts: it takes a mapping with the texts of ca, cert, key in PEM"
    ):
        certificate_texts.certificate_texts({"ca": "", "cert": ""})
