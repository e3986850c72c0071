# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of the generic netlink family "macsec": golden bytes, answers, and answers that are not what they should be."""

import errno
import os
import sys

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, genl
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import macsec as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model import macsec as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError, MissingError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec as planning
from hypothesis import given
from hypothesis import strategies as st

little = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are of a little-endian machine")
KEY, ID, SCI = "11" * 16, "0123456789abcdef0123456789abcdef", "0200000000020001"
SA = model.Association(2, bytes.fromhex(KEY), ID, pn=7)
XPN = model.Association(3, bytes.fromhex(KEY), ID, active=False, ssci=0x0A0B0C0D, salt=bytes(range(12)))


class Wire:
    """A socket that keeps what is sent. The controller knows the family as 0x1234."""

    def __init__(self, lacks=False, error=None, answers=()):
        self.sent, self.lacks, self.error, self.answers = [], lacks, error, answers

    def request(self, kind, body, what, flags=0):
        self.sent.append((kind, body))
        if kind == genl.CONTROLLER:
            if self.lacks:
                raise KernelError(what, errno.ENOENT)
            reply = codec.message(kind, 0, 1, genl.body(1, 2, codec.attribute(1, codec.U16.pack(0x1234))))
            return reply, 0, len(reply)
        if self.error:
            raise KernelError(what, self.error)
        return None

    def dump(self, kind, body, what):
        self.sent.append((kind, body))
        for answer in self.answers:
            yield codec.message(kind, codec.NLM_F_MULTI, 1, genl.body(0, 1, answer)), 0

    def close(self):
        pass


@pytest.fixture
def made(monkeypatch):
    """An adapter on a Wire, which the device `macsec0` is number 5 for."""

    def make(**more):
        monkeypatch.setattr(genl.rtnl, "Rtnl", lambda protocol: Wire(**more))
        monkeypatch.setattr(kernel.socket, "if_nametoindex", lambda name: 5)
        adapter = kernel.Associations()
        return adapter, adapter.family.rtnl

    return make


# Worked out by hand from linux/genetlink.h and linux/if_macsec.h: command, version 1, MACSEC_ATTR_IFINDEX 5, and the nests
# MACSEC_ATTR_RXSC_CONFIG (2) and MACSEC_ATTR_SA_CONFIG (3) with their flag.
DEVICE = "08000100 05000000"
CHANNEL = "10000280 0c000100 0200000000020001"
GOLDEN = [
    (lambda a: a.add_channel(planning.AddChannel("macsec0", SCI, True)),
     ["01010000" + DEVICE + "18000280 0c000100 0200000000020001 05000200 01000000"]),
    (lambda a: a.set_channel(planning.SetChannel("macsec0", SCI, False)),
     ["03010000" + DEVICE + "18000280 0c000100 0200000000020001 05000200 00000000"]),
    (lambda a: a.remove_channel(planning.RemoveChannel("macsec0", SCI)), ["02010000" + DEVICE + CHANNEL]),
    (lambda a: a.add_association(planning.AddAssociation("macsec0", None, SA), 7, False),
     ["04010000" + DEVICE + "44000380 05000100 02000000 08000300 07000000 14000500" + ID + "14000400" + KEY + "05000200 01000000"]),
    (lambda a: a.add_association(planning.AddAssociation("macsec0", SCI, SA), 1, False),
     ["07010000" + DEVICE + CHANNEL + "44000380 05000100 02000000 08000300 01000000 14000500" + ID + "14000400" + KEY
      + "05000200 01000000"]),
    (lambda a: a.add_association(planning.AddAssociation("macsec0", None, XPN), 2**32 + 1, True),
     ["04010000" + DEVICE + "60000380 05000100 03000000 0c000300 0100000001000000 10000900 000102030405060708090a0b"
      "08000800 0a0b0c0d 14000500" + ID + "14000400" + KEY + "05000200 00000000"]),
    (lambda a: a.set_association(planning.SetAssociation("macsec0", None, 1, True)),
     ["06010000" + DEVICE + "14000380 05000100 01000000 05000200 01000000"]),
    (lambda a: a.set_association(planning.SetAssociation("macsec0", SCI, 1, False)),
     ["09010000" + DEVICE + CHANNEL + "14000380 05000100 01000000 05000200 00000000"]),
    (lambda a: a.remove_association(planning.RemoveAssociation("macsec0", None, 1)),
     ["06010000" + DEVICE + "14000380 05000100 01000000 05000200 00000000", "05010000" + DEVICE + "0c000380 05000100 01000000"]),
    (lambda a: a.remove_association(planning.RemoveAssociation("macsec0", SCI, 1)),
     ["09010000" + DEVICE + CHANNEL + "14000380 05000100 01000000 05000200 00000000",
      "08010000" + DEVICE + CHANNEL + "0c000380 05000100 01000000"]),
    (lambda a: a.stop("macsec0", 3), ["06010000" + DEVICE + "14000380 05000100 03000000 05000200 00000000"]),
]  # fmt: skip


@little
@pytest.mark.parametrize(("call", "golden"), GOLDEN)
def test_requests_byte_by_byte(made, call, golden):
    adapter, wire = made()
    call(adapter)
    (family, asked), *sent = wire.sent
    assert (family, asked) == (0x10, bytes.fromhex("03010000 0b000200 6d6163736563 00 00"))
    assert [kind for kind, _body in sent] == [0x1234] * len(golden)
    assert [body.hex() for _kind, body in sent] == [bytes.fromhex(words).hex() for words in golden]


def test_the_family_is_asked_for_once(made):
    adapter, wire = made()
    adapter.stop("macsec0", 0)
    adapter.stop("macsec0", 1)
    assert [kind for kind, _body in wire.sent] == [0x10, 0x1234, 0x1234]


def test_a_kernel_without_macsec_is_named(made):
    adapter, _wire = made(lacks=True)
    with pytest.raises(MissingError, match="^kernel has no MACsec: CONFIG_MACSEC$"):
        adapter.read({}.get)
    with pytest.raises(MissingError, match="^kernel has no MACsec: CONFIG_MACSEC$"):
        adapter.stop("macsec0", 0)


def test_an_error_has_what_was_tried_and_the_kernels_words_and_no_key(made):
    adapter, _wire = made(error=errno.EBUSY)
    with pytest.raises(KernelError) as caught:
        adapter.add_association(planning.AddAssociation("macsec0", SCI, SA), 1, False)
    assert str(caught.value) == f"macsec0: add rx {SCI} an 2: {os.strerror(errno.EBUSY)} (errno {errno.EBUSY})"
    adapter, _wire = made(error=errno.EPERM)
    with pytest.raises(KernelError, match="become: true"):
        adapter.stop("macsec0", 0)


def nest(kind, *attributes):
    return codec.attribute(kind, b"".join(attributes))


def u8(kind, value):
    return codec.attribute(kind, bytes([value]))


def u64(kind, value):
    return codec.attribute(kind, value.to_bytes(8, sys.byteorder))


def answer(xpn=False):
    """A device as the kernel tells it, with padding attributes between, and nests without their flag."""
    pn = u64(3, 2**40) if xpn else codec.attribute(3, codec.U32.pack(9))
    more = [codec.attribute(8, b"\x00\x00\x00\x05")] if xpn else []
    cipher = 0x0080C20001000004 if xpn else 0x0080020001000001
    sa = [u8(1, 1), pn, codec.attribute(5, bytes.fromhex(ID)), *more, u8(2, 1)]
    sa_stats = nest(6, codec.attribute(1, codec.U32.pack(4)), codec.attribute(3, codec.U32.pack(2)))
    return b"".join(
        (
            codec.attribute(1, codec.U32.pack(5)),
            nest(9, u8(1, 2)),
            nest(
                4,
                codec.attribute(1, bytes.fromhex("0200000000010001")),
                codec.attribute(14, b""),
                u64(4, cipher),
                u8(8, 1),
                u8(2, 1),
            ),
            nest(7, u64(1, 3), codec.attribute(5, b""), u64(2, 2**33)),
            nest(8, u64(5, 6)),
            nest(5, nest(1, nest(6, codec.attribute(7, codec.U32.pack(8))), *sa)),
            nest(6, nest(1, u8(2, 0), codec.attribute(1, bytes.fromhex(SCI)), nest(4, u64(8, 11)), nest(3, nest(1, sa_stats, *sa)))),
        )
    )  # fmt: skip


@pytest.mark.parametrize("xpn", [False, True])
def test_an_answer_is_read(made, xpn):
    adapter, _wire = made(answers=[answer(xpn)])
    found = adapter.read({5: "macsec0"}.get)["macsec0"]
    pn, ssci = (2**40, 5) if xpn else (9, None)
    assert (found.sci, found.cipher) == ("0200000000010001", "gcm-aes-xpn-256" if xpn else "gcm-aes-128")
    assert (found.encodingsa, found.operational, found.offload) == (1, True, "mac")
    assert found.tx == {1: model.FoundAssociation(1, True, pn, ID, ssci)}
    assert found.tx[1].statistics == {"OutPktsEncrypted": 8}
    assert found.statistics == {"InPktsBadTag": 6, "OutPktsProtected": 3, "OutPktsEncrypted": 2**33}
    assert list(found.rx) == [SCI] and found.rx[SCI].active is False
    assert found.rx[SCI].statistics == {"InPktsNotValid": 11}
    assert found.rx[SCI].sa == {1: model.FoundAssociation(1, True, pn, ID, ssci)}
    assert found.rx[SCI].sa[1].statistics == {"InPktsOK": 4, "InPktsNotValid": 2} and found.rx[SCI].sa[1].received


def test_a_device_that_is_not_there_any_more_is_left_out(made):
    adapter, _wire = made(answers=[answer()])
    assert adapter.read({}.get) == {}


@given(st.data())
def test_a_bad_answer_ends_nothing(data):
    good = answer(xpn=True)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(min_size=0, max_size=8)) + good[at + data.draw(st.integers(0, 8)) :]
    kernel.secy(5, codec.attributes(bad, 0, len(bad)))


def test_a_table_that_does_not_stand_still_is_told(monkeypatch):
    class Restless(Wire):
        def dump(self, kind, body, what):
            yield from super().dump(kind, body, what)
            raise genl.rtnl.Interrupted

    monkeypatch.setattr(genl.rtnl, "Rtnl", lambda protocol: Restless())
    family = genl.Family("macsec", 1)
    with pytest.raises(KernelError, match="changes faster than it can be read"):
        family.dump(0, b"", "reading")
    assert len(family.rtnl.sent) == 1 + genl.PATIENCE
