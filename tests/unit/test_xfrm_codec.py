# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of IPsec states and policies: the bytes that `ip` sends, what is told of them, and bad replies."""

import socket
import struct
import sys

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import xfrm_messages as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model import xfrm as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_lines import from_table
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are of a little-endian machine")

# The bodies that iproute2 6.1 sends (strace -e sendmsg) for
# xfrm state add src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7 mode transport aead rfc4106(gcm(aes))
#   0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 64 flag esn mark 5 mask 0xff if_id 9
#   sel src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789
GCM6 = bytes.fromhex(
    "20010db800020000000000000000000120010db800010000000000000000000112b5ffff000000000a008080110000000000000000000000"
    "20010db8000200000000000000000001000010013200000020010db8000100000000000000000001ffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffff00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000070000000a0000008000000000000000"
    "60001200726663343130362867636d2861657329290000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000a000000080000000000102030405060708090a0b0c0d0e0f101112131c001700020000000000000000000000"
    "0000000000000000400000000c00150005000000ff00000008001f0009000000"
)
# xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 mode tunnel auth-trunc hmac(sha256) 0x000102...1f 128
#   enc cbc(aes) 0x000102...0f encap espinudp 4500 4501 0.0.0.0 replay-window 32 flag nopmtudisc
CBC4 = bytes.fromhex(
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "c00002020000000000000000000000000000100132000000c0000201000000000000000000000000ffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffff00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000020001200400000000000000"
    "6c001400686d6163287368613235362900000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000001000080000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f58000200"
    "6362632861657329000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000080000000000102030405060708090a0b0c0d0e0f1c000400020011941195000000000000000000000000000000000000"
)
# xfrm policy add src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789 dir out priority 1000 action allow
#   mark 5 mask 0xff if_id 9 index 0x76000001 tmpl src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7
#   mode transport level use tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 8 mode tunnel
POL = bytes.fromhex(
    "20010db800020000000000000000000120010db800010000000000000000000112b5ffff000000000a008080110000000000000000000000"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000e8030000010000760100000000000000"
    "8400050020010db800020000000000000000000100001001320000000a00000020010db80001000000000000000000010700000000000100"
    "ffffffffffffffffffffffffc0000202000000000000000000000000000000003200000002000000c0000201000000000000000000000000"
    "0800000001000000ffffffffffffffffffffffff0c00150005000000ff00000008001f0009000000"
)
# xfrm policy add src 10.0.0.0/8 dst 0.0.0.0/0 dir fwd action block index 0x7600000a
BLOCK = bytes.fromhex(
    "000000000000000000000000000000000a000000000000000000000000000000000000000000000002000008000000000000000000000000"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a0000760201000000000000"
)

STATE6 = (
    "state src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7 mode transport dir out "
    f"aead rfc4106(gcm(aes)) 0x{bytes(range(20)).hex()} 128 replay-window 64 flag esn mark 5 mask 0xff if_id 9 "
    "sel src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789"
)
STATE4 = (
    "state src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 mode tunnel dir in "
    f"auth-trunc hmac(sha256) 0x{bytes(range(32)).hex()} 128 enc cbc(aes) 0x{bytes(range(16)).hex()} "
    "encap espinudp 4500 4501 0.0.0.0 replay-window 32 flag nopmtudisc"
)
POLICY6 = (
    "policy src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789 dir out priority 1000 action allow "
    "mark 5 mask 0xff if_id 9 tmpl src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7 mode transport "
    "level use tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 8 mode tunnel"
)


def state(line):
    return from_table(line).states[0]


def parts(body, size):
    return body[:size], codec.attributes(body, size, len(body))


@pytest.mark.parametrize("line, golden", [(STATE6, GCM6), (STATE4, CBC4)])
def test_a_state_is_what_ip_sends_but_for_the_mark(line, golden):
    ours, attributes = parts(kernel.state_body(state(line)), kernel.SA_SIZE)
    theirs, golden_attributes = parts(golden, kernel.SA_SIZE)
    if kernel.REPLAY_ESN in attributes:  # ip leaves out the bitmap, which the kernel then adds
        attributes[kernel.REPLAY_ESN] = attributes[kernel.REPLAY_ESN][: kernel.ESN.size]
    assert attributes == golden_attributes
    assert ours[kernel.SEQ_AT : kernel.SEQ_AT + 4].hex() == "01100076"
    family = b"\x02\0" if line is STATE4 else b"\x0a\0"  # of the selector, which the kernel sets where ip leaves it out
    theirs = (
        theirs[:40]
        + family
        + theirs[42 : kernel.SEQ_AT]
        + ours[kernel.SEQ_AT : kernel.SEQ_AT + 4]
        + theirs[kernel.SEQ_AT + 4 :]
    )
    assert ours.hex() == theirs.hex()


def test_a_policy_is_what_ip_sends():
    wanted = from_table(f"{POLICY6}\npolicy src 10.0.0.0/8 dst 0.0.0.0/0 dir fwd action block").policies
    assert kernel.policy_body(wanted[0], 0x76000001).hex() == POL.hex()
    assert kernel.policy_body(wanted[1], 0x7600000A).hex() == BLOCK.hex()


def dumped(line):
    """A state's message as the kernel tells it: with counters, sequence numbers and times."""
    body = bytearray(kernel.state_body(state(line)))
    struct.pack_into("=QQQQ", body, kernel.CUR_AT, 1000, 10, 1795679219, 1795679220)
    head, attributes = bytes(body[: kernel.SA_SIZE]), codec.attributes(bytes(body), kernel.SA_SIZE, len(body))
    if kernel.REPLAY_ESN in attributes:
        attributes[kernel.REPLAY_ESN] = struct.pack("=IIIIII", 2, 9, 8, 0, 1, 64) + b"\xff" * 8
    else:
        attributes[kernel.REPLAY_VAL] = struct.pack("=III", 3, 4, 5)
    attributes = {kernel.LASTUSED: bytes(8), **attributes}
    return codec.message(
        kernel.NEWSA, 2, 1, head + b"".join(codec.attribute(kind, value) for kind, value in attributes.items())
    )


@pytest.mark.parametrize("line", [STATE6, STATE4])
def test_what_counts_on_is_no_change(line):
    data = dumped(line)
    assert kernel.state_meets(state(line), data, 0, len(data))
    assert kernel.state_difference(state(line), data, 0, len(data)) is None


@pytest.mark.parametrize(
    "old, new, how",
    [
        ("reqid 7", "reqid 8", ""),
        ("1213 128", "1214 128", "another key"),
        ("replay-window 64", "replay-window 96", ""),
        ("if_id 9", "if_id 8", ""),
        ("dport 4789", "dport 4790", ""),
        ("flag esn", "flag esn flag noecn", ""),
        ("src 2001:db8:1::1 dst", "src 2001:db8:1::2 dst", ""),
        ("mode transport", "mode tunnel", ""),
        ("if_id 9", "if_id 9 encap espinudp 4500 4500", ""),
    ],
)
def test_what_differs_is_a_change(old, new, how):
    data = dumped(STATE6)
    assert old in STATE6
    assert kernel.state_difference(state(STATE6.replace(old, new, 1)), data, 0, len(data)) == how


def test_a_larval_state_stands_in_nobodys_way():
    """What the kernel makes when a template names an SPI and there is no such state: all of it but keys."""
    data = dumped(STATE6)
    body = bytearray(data[16 : 16 + kernel.SA_SIZE])
    body[kernel.SEQ_AT : kernel.SEQ_AT + 4] = struct.pack("=I", 7)
    for attributes, met in ((b"", False), (codec.attribute(kernel.AEAD, bytes(92)), True)):
        more = codec.attribute(kernel.REPLAY_VAL, bytes(12)) + codec.attribute(kernel.MARK, struct.pack("=II", 5, 255))
        told = codec.message(kernel.NEWSA, 2, 1, bytes(body) + more + attributes)
        assert kernel.state_larval(told, 0, len(told)) != met
        assert kernel.state_meets(state(STATE6), told, 0, len(told)) == met


def test_a_state_that_takes_all_marks_is_in_the_place_of_one_of_ours_with_a_mark():
    data = dumped(STATE6)
    wide = state(STATE6.replace(" mark 5 mask 0xff", ""))
    theirs = bytearray(data)
    theirs[16 + kernel.SEQ_AT + 3] = 0
    assert kernel.state_meets(wide, data, 0, len(data))
    assert not kernel.state_meets(wide, bytes(theirs), 0, len(data))
    assert not kernel.state_meets(
        wide._replace(shape=None), data, 0, len(data)
    )  # what is to go is named by its own mark
    assert not kernel.state_meets(state(STATE6.replace("mark 5", "mark 6")), data, 0, len(data))


def test_a_flag_that_the_kernel_gives_states_of_ipv4_is_no_change():
    """Where net.ipv4.ip_no_pmtu_disc is on."""
    for plain, how in ((STATE4.replace(" flag nopmtudisc", ""), None), (STATE6, "")):
        flagged = dumped(
            plain + " flag nopmtudisc" if plain is not STATE6 else plain.replace("esn", "esn flag nopmtudisc")
        )
        assert kernel.state_difference(state(plain), flagged, 0, len(flagged)) == how
    data = dumped(STATE4.replace(" flag nopmtudisc", ""))
    assert kernel.state_difference(state(STATE4), data, 0, len(data)) == ""
    data = dumped(STATE4.replace("nopmtudisc", "noecn"))
    assert kernel.state_difference(state(STATE4.replace(" flag nopmtudisc", "")), data, 0, len(data)) == ""


def test_an_attribute_that_no_state_of_ours_has_is_a_change_and_its_value_is_not_told():
    data = dumped(STATE6)
    data = codec.message(kernel.NEWSA, 2, 1, data[16:] + codec.attribute(99, b"secret12"))
    assert kernel.state_difference(state(STATE6), data, 0, len(data)) == ""
    found = kernel.state_found(data, 0, len(data))
    assert "other xfrma 99" in found.words and b"secret12".hex() not in found.words


def test_attributes_in_another_order_are_no_change():
    data = dumped(STATE6)
    given_ = codec.attributes(data, 16 + kernel.SA_SIZE, len(data))
    body = data[16 : 16 + kernel.SA_SIZE] + b"".join(codec.attribute(kind, given_[kind]) for kind in reversed(given_))
    data = codec.message(kernel.NEWSA, 2, 1, body)
    assert kernel.state_difference(state(STATE6), data, 0, len(data)) is None


def test_words_and_data_hold_no_key():
    data = dumped(STATE6)
    made = state(STATE6)
    told = kernel.state_told(data, 0, len(data))
    found = kernel.state_found(data, 0, len(data))
    assert found.words == made.text()
    assert (told["oseq"], told["seq"], told["packets"], told["key_bits"], told["owned"]) == (
        9,
        (1 << 32) + 8,
        10,
        160,
        True,
    )
    for text in map(str, (made, made.text(), told, found, found.text(), repr(found), made.digest())):
        assert bytes(range(16)).hex() not in text and repr(bytes(range(8)))[2:-1] not in text
    assert found.digest == made.digest()
    assert found.message[:24].hex() == "20010db8000200000000000000000001" + "00001001" + "0a00" + "3200"


def test_a_policy_reads_as_it_was_written():
    wanted = from_table(POLICY6).policies[0]
    data = codec.message(kernel.NEWPOLICY, 2, 1, POL + codec.attribute(kernel.POLICY_TYPE, bytes(6)))
    assert kernel.policy_in(data, 0, len(data)) == wanted
    assert kernel.policy_key(wanted) == kernel.policy_key_in(data, 0)
    found = kernel.policy_found(data, 0, len(data))
    assert found.owned and found.words == wanted.text()
    assert found.message[56:64].hex() == "0100007601000000"
    assert not kernel.policy_meets(wanted._replace(if_id=8), data, 0, len(data))
    sub = codec.message(kernel.NEWPOLICY, 2, 1, POL + codec.attribute(kernel.POLICY_TYPE, b"\1" + bytes(5)))
    assert not kernel.policy_meets(wanted, sub, 0, len(sub))


PLAIN = "policy src 2001:db8:1::1 dst 2001:db8:2::1 dir out priority 7 tmpl proto esp reqid 7 mode transport"


def test_a_template_without_addresses_is_of_what_the_tunnel_before_makes():
    """The kernel refuses another family (validate_tmpl)."""
    tunnel = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel"
    wanted = from_table(f"{PLAIN} {tunnel} tmpl proto esp reqid 9 mode transport").policies[0]
    told, _others = kernel.policy_attributes(wanted)
    rows = [kernel.TEMPLATE.unpack_from(told, 4 + i * kernel.TEMPLATE.size) for i in range(3)]
    assert [row[3] for row in rows] == [socket.AF_INET6, socket.AF_INET, socket.AF_INET]


def test_a_sub_policy_is_in_another_table():
    wanted = from_table(PLAIN).policies[0]
    for kind, met in ((0, True), (1, False)):
        told = kernel.policy_body(wanted)[: kernel.P_SIZE] + codec.attribute(
            kernel.POLICY_TYPE, bytes([kind]) + bytes(5)
        )
        data = codec.message(kernel.NEWPOLICY, 2, 1, told)
        assert kernel.policy_meets(wanted, data, 0, len(data)) == met


def test_keys_that_the_kernel_hides():
    """Under lockdown there are zeros in their place; what is told then cannot say which keys are not in use."""
    made = from_table(
        f"state src ::1 dst ::2 spi 256 mode transport dir out aead rfc4106(gcm(aes)) 0x{'5e' * 20} 128"
    ).states[0]
    body = kernel.state_body(made)
    key = bytes.fromhex("5e" * 20)
    assert body.count(key) == 1
    for told, hidden in ((body, False), (body.replace(key, bytes(20)), True)):
        data = codec.message(kernel.NEWSA, 2, 1, told)
        assert kernel.key_hidden(data, 0, len(data)) == hidden
        assert (kernel.key_digest(data, 0, len(data)) == made.digest()) != hidden


@pytest.mark.parametrize("with_type", [False, True])
@pytest.mark.parametrize(
    "there, met, how",
    [
        (PLAIN, True, None),
        (PLAIN.replace("priority 7", "priority 8"), True, ""),
        (PLAIN.replace("tmpl proto esp reqid 7 mode transport", ""), True, ""),
        (PLAIN.replace("reqid 7", "reqid 8"), True, ""),
        (PLAIN.replace("transport", "transport level use"), True, ""),
        (PLAIN.replace("priority", "mark 1 priority"), False, ""),
        (PLAIN.replace("priority", "if_id 1 priority"), False, ""),
    ],
)
def test_what_differs_of_a_policy(there, met, how, with_type):
    wanted, other = (from_table(line).policies[0] for line in (PLAIN, there))
    tail = codec.attribute(kernel.POLICY_TYPE, bytes(6)) if with_type else b""
    tmpl, more = kernel.policy_attributes(other)
    body = kernel.policy_body(other)[: kernel.P_SIZE] + tmpl + tail + more
    data = codec.message(kernel.NEWPOLICY, 2, 1, body)
    assert kernel.policy_meets(wanted, data, 0, len(data)) == met
    assert kernel.policy_difference(wanted, data, 0, len(data)) == how
    for at in (kernel.P_END_AT + 9, kernel.P_END_AT + 10, kernel.P_END_AT + 11):  # action, flags, share
        changed = bytearray(data)
        changed[16 + at] = 1
        assert kernel.policy_difference(wanted, bytes(changed), 0, len(changed)) == ""


def test_indices_carry_the_mark_and_the_direction():
    taken = set()
    for number in range(40):
        index = kernel.free_index(("in", "out", "fwd")[number % 3], taken)
        assert index not in taken and index >> 24 == 118 and index & 7 == number % 3
        taken.add(index)
    assert kernel.free_index("in", {kernel.free_index("in", set())}) not in taken - {1}


@pytest.mark.parametrize("cut", range(1, 76, 5))
@pytest.mark.parametrize("line", [STATE6, STATE4, POLICY6])
def test_attributes_that_are_cut_short_do_not_crash(line, cut):
    policy = line is POLICY6
    body = kernel.policy_body(from_table(line).policies[0]) if policy else kernel.state_body(state(line))
    size = kernel.P_SIZE if policy else kernel.SA_SIZE
    body = body[:size] + b"".join(
        codec.attribute(kind, value[:cut]) for kind, value in codec.attributes(body, size, len(body)).items()
    )
    read_all(body, policy)


@given(st.data())
def test_a_message_with_broken_bytes_does_not_crash(data):
    policy = data.draw(st.booleans())
    size = kernel.P_SIZE if policy else kernel.SA_SIZE
    body = bytearray(POL if policy else GCM6)
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=6)):
        body[at] = data.draw(st.integers(0, 255))
    read_all(bytes(body[: data.draw(st.integers(size, len(body)))]), policy)


def read_all(body, policy):
    message = codec.message(kernel.NEWPOLICY if policy else kernel.NEWSA, 2, 1, body)
    codes = kernel.CODES[model.POLICY if policy else model.STATE]
    row = (from_table(POLICY6).policies if policy else from_table(STATE6).states)[0]
    codes.owned(message, 0)
    codes.key_in(message, 0)
    codes.meets(row, message, 0, len(message))
    codes.difference(row, message, 0, len(message))
    codes.found(message, 0, len(message))
    (kernel.policy_told if policy else kernel.state_told)(message, 0, len(message))
