# SPDX-License-Identifier: GPL-3.0-or-later
"""What the xfrm module takes, and what it refuses by name before anything is changed."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_lines import from_table
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_read import from_entries

GCM, GCM256, CBC, HMAC = (f"0x{bytes(range(1, 1 + length)).hex()}" for length in (20, 36, 16, 32))
STATE = {
    "src": "2001:db8:1::1",
    "dst": "2001:db8:2::1",
    "spi": "0x1001",
    "dir": "out",
    "mode": "transport",
    "algorithm": "aes-gcm",
    "key": GCM,
}
POLICY = {
    "dir": "in",
    "src": "2001:db8:2::1",
    "dst": "2001:db8:1::1",
    "proto": "udp",
    "dport": 4789,
    "tmpl": [{"mode": "transport"}],
}
FOUR = {"src": "192.0.2.1", "dst": "192.0.2.2"}
TUNNEL = {"mode": "tunnel", "src": "2001:db8:1::1", "dst": "2001:db8:2::1"}


def other(number, **more):
    """Another state, which has a key of its own."""
    return {**STATE, "spi": str(5000 + number), "key": f"0x{bytes([number] * 20).hex()}", **more}


@pytest.mark.parametrize(
    "given, text",
    [
        (STATE, "spi 0x1001 reqid 0 mode transport aead rfc4106(gcm(aes)) 160-bit-key 128 replay-window 64"),
        (
            {**STATE, "key": GCM256, "esn": True, "reqid": "7"},
            "reqid 7 mode transport aead rfc4106(gcm(aes)) 288-bit-key 128 replay-window 64 esn",
        ),
        ({**STATE, "algorithm": "rfc4106(gcm(aes))", "key": GCM[2:]}, "aead rfc4106(gcm(aes)) 160-bit-key 128"),
        (
            {**STATE, "algorithm": "chacha20-poly1305", "key": GCM256},
            "aead rfc7539esp(chacha20,poly1305) 288-bit-key 128",
        ),
        (
            {**STATE, "algorithm": "aes-cbc-sha256", "key": CBC, "auth_key": HMAC, "replay_window": 0},
            "auth-trunc hmac(sha256) 128 enc cbc(aes) 128-bit-key",
        ),
        (
            {**STATE, "algorithm": "aes-cbc-sha512", "key": CBC, "auth_key": HMAC + HMAC[2:]},
            "auth-trunc hmac(sha512) 256 enc cbc(aes) 128-bit-key",
        ),
        (
            {**STATE, "algorithm": "cbc(aes)", "key": CBC, "auth_key": HMAC},
            "auth-trunc hmac(sha256) 128 enc cbc(aes) 128-bit-key",
        ),
        (
            {**STATE, "mark": "0x10/0xff", "if_id": "3", "encap": {"dport": 4501}},
            "encap espinudp 4500 4501 mark 0x10/0xff if_id 0x3",
        ),
        (
            {**STATE, **FOUR, "sel": {"dst": "192.0.2.2", "proto": "udp", "dport": 4789}},
            "sel src 0.0.0.0/0 dst 192.0.2.2/32 proto udp dport 4789",
        ),
        ({**STATE, **FOUR, "mode": "tunnel", "sel": {"dst": "2001:db8::/64"}}, "sel src ::/0 dst 2001:db8::/64"),
        ({**STATE, "mode": "tunnel", "flags": ["af-unspec", "noecn"]}, "mode tunnel noecn af-unspec aead"),
    ],
)
def test_a_state_in_words(given, text):
    made = from_entries([given], None).states[0]
    assert text in made.text()
    assert given["key"][2:] not in made.text() + repr(made)


@pytest.mark.parametrize(
    "more, fault",
    [
        ({"key": GCM[:-2]}, "key: it is 19 bytes long; aes-gcm needs 20 bytes (AES-128) or 36 bytes (AES-256)"),
        ({"key": CBC}, "key: it is 16 bytes long; aes-gcm needs 20 bytes (AES-128) or 36 bytes (AES-256)"),
        ({"algorithm": "chacha20-poly1305"}, "key: it is 20 bytes long; chacha20-poly1305 needs 36 bytes (ChaCha20)"),
        (
            {"algorithm": "aes-cbc-sha256", "key": CBC},
            "auth_key: missing; aes-cbc-sha256 needs 32 bytes (HMAC-SHA-256)",
        ),
        (
            {"algorithm": "aes-cbc-sha256", "key": CBC, "auth_key": CBC},
            "auth_key: it is 16 bytes long; aes-cbc-sha256 needs 32 bytes (HMAC-SHA-256)",
        ),
        (
            {"algorithm": "aes-cbc-sha384", "key": CBC, "auth_key": HMAC},
            "auth_key: it is 32 bytes long; aes-cbc-sha384 needs 48 bytes (HMAC-SHA-384)",
        ),
        ({"auth_key": HMAC}, "auth_key: aes-gcm authenticates by its one key; leave it out"),
        ({"key": None}, "key: missing; aes-gcm needs 20 bytes"),
        ({"key": "0x" + "00" * 20}, "key: it is all zero"),
        ({"key": "0x123"}, "key: its 3 characters are not pairs of hexadecimal digits"),
        ({"algorithm": "des"}, "algorithm: 'des' is not known; known are aes-gcm, chacha20-poly1305, aes-cbc-sha256"),
        ({"algorithm": None}, "algorithm: missing; write one of"),
        ({"spi": "255"}, "spi: '255' is reserved (RFC 4303, section 2.1); it must be 256 to 4294967295"),
        ({"spi": 0}, "spi: 0 is reserved"),
        ({"spi": "4294967296"}, "spi: '4294967296' is out of range"),
        ({"spi": None}, "spi: missing"),
        ({"spi": HMAC}, "spi: a word of 66 characters is out of range"),
        ({"dst": CBC[2:]}, "dst: a word of 32 characters is not an IP address"),
        ({"reqid": HMAC[2:]}, "reqid: a word of 64 characters is not a whole number"),
        ({"dst": "192.0.2.1"}, "src 2001:db8:1::1 and dst 192.0.2.1 are of different families"),
        ({"dst": "::"}, "dst: :: means any address; name the host's own"),
        ({"src": "2001:db8::/64"}, "src: '2001:db8::/64' is not an IP address"),
        (
            {"sel": {"dst": "192.0.2.1"}},
            "sel: it is of IPv4 and the addresses are of IPv6; only mode tunnel mixes families",
        ),
        ({"sel": {"src": "::/0", "dport": 4789}}, "sel: sport and dport want a proto that has ports; write proto udp"),
        ({"sel": {"dst": "2001:db8::1/64"}}, "sel: dst: '2001:db8::1/64' has host bits set; write 2001:db8::/64"),
        ({"sel": {"proto": "udp"}}, "sel: names no family"),
        ({"mode": "beet"}, "mode: 'beet' is none of transport, tunnel"),
        ({"dir": None}, "dir: missing; write one of in, out"),
        ({"replay_window": 4097}, "replay_window: 4097 is out of range; it must be 0 to 4096"),
        ({"replay_window": 0, "esn": True}, "replay_window: extended sequence numbers (esn) need one"),
        ({"flags": ["esn"]}, "flags: 'esn' is none of noecn"),
        ({"flags": ["af-unspec"]}, "flags: af-unspec is for mode tunnel"),
        ({"flags": ["af-unspec"], "mode": "tunnel", "sel": {"dst": "::/0"}}, "sel: it goes without the flag af-unspec"),
        ({"encap": {"dport": 0}}, "encap: dport: 0 is out of range"),
        ({"encap": {"type": "espintcp"}}, "encap: type: 'espintcp' is not known; it is espinudp"),
        ({"mark": "0x100/0xff"}, "mark: '0x100/0xff' has bits that its mask leaves out; write 0x0/0xff"),
        ({"reqid": "-1"}, "reqid: '-1' is out of range"),
        ({"key_file": "/x"}, "key_file: it goes without key and auth_key"),
        ({"key_file": "/x", "key": None}, "key_file: holds 3 words"),
    ],
)
def test_a_bad_state_is_refused_by_name(more, fault):
    with pytest.raises(InputError) as caught:
        from_entries([other(9), {**STATE, **more}], None, read_key=lambda path: "a b c")
    assert any(one.startswith("states row 2: ") and fault in one for one in caught.value.faults), caught.value.faults
    assert not any(secret[2:] in str(caught.value) for secret in (GCM, CBC, HMAC))


@pytest.mark.parametrize(
    "more, fault",
    [
        ({"dir": "both"}, "dir: 'both' is none of in, out, fwd"),
        ({"src": None, "dst": None}, "selector: names no family"),
        ({"src": "192.0.2.1"}, "selector: src and dst are of different families"),
        ({"proto": None}, "selector: sport and dport want a proto that has ports"),
        ({"proto": "vxlan"}, "selector: proto: 'vxlan' is neither a number nor one of"),
        ({"priority": "x"}, "priority: 'x' is not a whole number"),
        ({"action": "drop"}, "action: 'drop' is none of allow, block"),
        ({"action": "block"}, "tmpl: what is blocked is put into nothing"),
        ({"tmpl": [{"mode": "tunnel"}]}, "tmpl 1: a tunnel wants src and dst, between which it leads"),
        ({"tmpl": [{"mode": "tunnel", "src": "2001:db8:1::1"}]}, "tmpl 1: a tunnel wants src and dst"),
        ({"tmpl": [{"mode": "tunnel", **FOUR, "src": "::1"}]}, "tmpl 1: src and dst are of different families"),
        (
            {"tmpl": [{"mode": "transport", **FOUR}]},
            "tmpl 1: its addresses are not of IPv6, which the policy or the tunnel before is of; only mode tunnel mixes",
        ),
        (
            {
                "tmpl": [
                    {"mode": "tunnel", **FOUR},
                    {"mode": "transport", "src": "2001:db8:1::1", "dst": "2001:db8:2::1"},
                ]
            },
            "tmpl 2: its addresses are not of IPv4, which the policy or the tunnel before is of",
        ),
        ({"tmpl": [{"mode": "transport", "spi": 99}]}, "tmpl 1: spi: 99 is reserved"),
        ({"tmpl": [{"mode": "transport"}, {"mode": "ro"}]}, "tmpl 2: mode: 'ro' is none of"),
        ({"tmpl": [{"mode": "transport", "level": "unique"}]}, "tmpl 1: level: 'unique' is none of required, use"),
        ({"tmpl": [{"mode": "transport"}] * 7}, "tmpl: 7 are too many; the kernel takes 6"),
    ],
)
def test_a_bad_policy_is_refused_by_name(more, fault):
    with pytest.raises(InputError) as caught:
        from_entries(None, [{**POLICY, **more}])
    assert any(one.startswith("policies row 1: ") and fault in one for one in caught.value.faults), caught.value.faults


def test_all_faults_at_once():
    with pytest.raises(InputError) as caught:
        from_entries([{**STATE, "spi": "7", "mode": "x"}, {}], [{"dir": "x"}, POLICY, POLICY])
    told = "; ".join(caught.value.faults)
    for part in (
        "states row 1: mode", "states row 1: spi", "states row 2: src: missing", "states row 2: dst: missing", "policies row 1: dir",
        "policies row 3: it takes the same packets as policies row 2",
    ):  # fmt: skip
        assert part in told


@pytest.mark.parametrize(
    "first, second, fault",
    [
        ({}, {"reqid": "9"}, "dst 2001:db8:2::1 proto esp spi 0x1389 is taken by states row 1"),
        ({"mark": "5/0xff"}, {"mark": "5/0xff"}, "spi 0x1389 mark 0x5/0xff is taken by states row 1"),
        ({}, {"mark": "5/0xff"}, "is taken by"),  # a state without a mark takes packets of all marks
        ({"mark": "5/0xff"}, {}, "is taken by"),
        ({"mark": "5/0xf"}, {"mark": "0x15/0xff"}, "is taken by"),
    ],
)
def test_states_that_stand_in_one_anothers_way(first, second, fault):
    with pytest.raises(InputError, match="states row 2: ") as caught:
        from_entries([other(1, **first), other(2, spi="5001", **second)], None)
    assert fault in str(caught.value)


def test_marks_keep_states_apart():
    made = from_entries([other(1, mark="5/0xff"), other(2, spi="5001", mark="6/0xff")], None)
    assert len({state.place() for state in made.states}) == 2


def test_a_key_belongs_to_one_state():
    with pytest.raises(
        InputError, match="states row 2: key: it is that of states row 1; each state of aes-gcm needs a key of its own"
    ):
        from_entries([STATE, {**STATE, "spi": "0x1002"}], None)
    cbc = {**STATE, "algorithm": "aes-cbc-sha256", "key": CBC, "auth_key": HMAC}
    from_entries([cbc, {**cbc, "spi": "0x1002"}], None)


def test_what_comes_from_this_host_does_not_come_in():
    with pytest.raises(InputError, match="states row 2: dir: src 2001:db8:1::1 is this host's own"):
        from_entries([other(1), other(2, dir="in")], None)


def test_lines_say_the_same_as_entries():
    lines = (
        "# states\n\n"
        f"state src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7 mode transport dir out aead rfc4106(gcm(aes)) {GCM} 128 "
        "encap espinudp 4500 4501 :: mark 5 mask 0xff replay-window 128 flag esn flag noecn if_id 9 "
        "sel src 2001:db8:1::1 dst ::/0 proto udp dport 4789\n"
        f"state dir in src 192.0.2.2 dst 192.0.2.1 spi 4097 mode tunnel encap espinudp 4500 4501 enc cbc(aes) {CBC} "
        f"auth-trunc hmac(sha256) {HMAC} 128\n"
        f"state dir in src 192.0.2.2 dst 192.0.2.1 spi 4099 mode tunnel auth-trunc hmac(sha512) {HMAC + HMAC[2:]} 256 enc cbc(aes) {CBC}\n"
        "state dir in src 192.0.2.2 dst 192.0.2.1 spi 4098 mode tunnel algorithm aes-gcm key-file /etc/key\n"
        "policy dir out src 2001:db8:1::1 dst ::/0 proto udp dport 4789 priority 7 mark 1 if_id 2 "
        "tmpl src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7 mode tunnel tmpl mode transport level use\n"
        "policy src 10.0.0.0/8 dir fwd action block\n"
    )
    sel = {"src": "2001:db8:1::1/128", "dst": "::/0", "proto": "udp", "dport": 4789}
    entries = [
        {
            **STATE, "reqid": 7, "mark": "5/255", "if_id": 9, "replay_window": 128, "esn": True, "flags": ["noecn"], "sel": sel,
            "encap": {"type": "espinudp", "sport": 4500, "dport": 4501},
        },
        {
            "src": "192.0.2.2", "dst": "192.0.2.1", "spi": 4097, "dir": "in", "mode": "tunnel", "algorithm": "aes-cbc-sha256", "key": CBC,
            "auth_key": HMAC, "encap": {"dport": 4501},
        },
        {
            "src": "192.0.2.2", "dst": "192.0.2.1", "spi": 4099, "dir": "in", "mode": "tunnel", "algorithm": "aes-cbc-sha512", "key": CBC,
            "auth_key": HMAC + HMAC[2:],
        },
        {
            "src": "192.0.2.2", "dst": "192.0.2.1", "spi": 4098, "dir": "in", "mode": "tunnel", "algorithm": "aes-gcm",
            "key_file": "/etc/key",
        },
    ]  # fmt: skip
    policies = [
        {
            **sel, "dir": "out", "priority": 7, "mark": 1, "if_id": 2,
            "tmpl": [{**TUNNEL, "spi": "0x1001", "reqid": 7}, {"mode": "transport", "level": "use"}],
        },
        {"dir": "fwd", "src": "10.0.0.0/8", "action": "block"},
    ]  # fmt: skip
    assert from_table(lines, read_key=lambda path: f"{GCM256}\n") == from_entries(
        entries, policies, read_key=lambda path: GCM256
    )


@pytest.mark.parametrize(
    "line, fault",
    [
        ("route src ::1", "it begins with neither 'state' nor 'policy'"),
        ("state src ::1", "dst: missing"),
        (
            "policy dir out tmpl mode tunnel src ::1 dst ::2 level use",
            "tmpl 1: level: use does not go with mode tunnel",
        ),
        ("state src ::1 dst ::2 spi", "'spi' lacks its value"),
        ("state src ::1 dst ::2 spi 256 src ::3", "'src' stands twice"),
        ("state src ::1 dst ::2 spi 256 limit byte-soft", "'limit' is not a word of a state"),
        (f"state src ::1 dst ::2 spi 256 {GCM} x", "a word of 42 characters is not a word of a state"),
        (
            f"state src ::1 dst ::2 spi 256 mode transport dir in aead rfc4106(gcm(aes)) {GCM} 96",
            "aead: the integrity check value is 128 bits long, not '96'",
        ),
        (f"state src ::1 dst ::2 spi 256 mode transport dir in aead rfc4106(gcm(aes)) {GCM}", "'aead' lacks its value"),
        (
            f"state src ::1 dst ::2 spi 256 mode transport dir in auth-trunc hmac(md5) {GCM} 96",
            "auth-trunc: 'hmac(md5)' with '96' bits is not known; known are hmac(sha256) with 128, hmac(sha384) with 192, ",
        ),
        (
            f"state src ::1 dst ::2 spi 256 mode transport dir in auth-trunc hmac(sha512) {HMAC} 128",
            "auth-trunc: 'hmac(sha512)' with '128' bits is not known",
        ),
        (
            f"state src ::1 dst ::2 spi 256 mode transport dir in algorithm aes-cbc-sha256 auth-trunc hmac(sha512) {HMAC} 256",
            "auth-trunc: it is hmac(sha512) with 256 bits, of aes-cbc-sha512, and algorithm is aes-cbc-sha256",
        ),
        ("state src ::1 dst ::2 spi 256 proto ah", "proto: 'ah' is not known; it is esp"),
        ("state src ::1 dst ::2 spi 256 sel dev x", "sel: 'dev' is not one of its words"),
        ("state src ::1 dst ::2 spi 256 sel src", "sel: 'src' lacks its value"),
        ("state src ::1 dst ::2 spi 256 mask 5", "mask: it stands after 'mark' and its value"),
        (
            f"state src ::1 dst ::2 spi 256 mode tunnel dir in key-file /k aead rfc4106(gcm(aes)) {GCM} 128",
            "key-file: it goes without a key",
        ),
        ("state src ::1 dst ::2 spi 256 mode tunnel dir in algorithm aes-gcm key-file /k", "key-file: no such file"),
        ("policy dir in src ::1 tmpl mode transport aead x", "'aead' is not a word of a template"),
        ("policy dir in src ::1 level use", "'level' is not a word of a policy"),
        ("policy dir in src", "'src' lacks its value"),
    ],
)
def test_a_bad_line_is_refused_by_name(line, fault):
    def read_key(path):
        raise ValueError("no such file")

    with pytest.raises(InputError) as caught:
        from_table(f"# comment\n{line}\n", read_key=read_key)
    assert any(one.startswith("src line 2: ") and fault in one for one in caught.value.faults), caught.value.faults
    assert GCM[2:] not in str(caught.value)


def line(number=1, src="2001:db8:1::1", dst="2001:db8:2::1", spi=None, key=None, sel=True, gap=""):
    """A state as lines mostly are; a gap makes it one that is read word by word."""
    spi = 4096 + number if spi is None else spi
    key = f"0x{bytes([number] * 20).hex()}" if key is None else key
    made = f"state src {src} dst {dst} proto esp spi {spi} {gap}reqid 7 mode tunnel dir out "
    made += f"aead rfc4106(gcm(aes)) {key} 128 replay-window 32"
    return made + (f" sel src {src}/128 dst ::/0 proto udp dport 4789" if sel else "")


def policy_line(number=1, src="2001:db8:1::1", spi="0x1001", tmpl="2001:db8:1::1", gap=""):
    return (
        f"policy src {src}/128 dst 2001:db8:{number}::/48 proto udp dport 4789 {gap}dir out priority 7 "
        f"tmpl src {tmpl} dst 2001:db8:{number}::1 proto esp spi {spi} reqid 7 mode transport"
    )


def test_lines_are_read_alike_in_both_ways():
    def text(gap):
        lines = [
            line(1, gap=gap),
            line(2, gap=gap, sel=False),
            line(3, src="192.0.2.1", dst="192.0.2.2", sel=False, gap=gap),
        ]
        lines += [line(i, dst=f"2001:db8:{i}::1", gap=gap, sel=i % 2) for i in range(4, 9)]
        lines += [
            line(9, src="192.0.2.1", dst="192.0.2.3", sel=False, gap=gap),
            line(10, key=GCM256, gap=gap),
            line(11, key=f"0x{'12' * 36}", gap=gap),
        ]
        return "\n".join([*lines, *(policy_line(i, gap=gap, spi=hex(4096 + i)) for i in range(1, 5))])

    assert from_table(text("")) == from_table(text(" "))
    assert len(from_table(text("")).rows()) == 15


@pytest.mark.parametrize(
    "second, fault",
    [
        (line(2, spi=255), "spi: '255' is reserved"),
        (line(2, spi=1 << 32), "spi: '4294967296' is out of range"),
        (line(2, spi="x"), "spi: 'x' is not a whole number"),
        (line(2, key="0x" + "00" * 20), "key: it is all zero"),
        (line(2, key="0x" + "12" * 16), "key: it is 16 bytes long"),
        (line(2, key="0x123"), "key: its 3 characters are not pairs"),
        (line(2, src="::"), "src: :: means any address"),
        (line(2, src="192.0.2.1", sel=False), "are of different families"),
        (line(2, dst="192.0.2.1", sel=False), "are of different families"),
        (line(2).replace("::/0", "::1/0"), "sel: dst: '::1/0' has host bits set"),
        (line(2).replace("::/0", "0.0.0.0/0"), "sel: src and dst are of different families"),
        (line(2).replace("128 replay", "96 replay"), "the integrity check value is 128 bits long"),
        (policy_line(2, spi=7), "tmpl 1: spi: '7' is reserved"),
        (policy_line(2, src="192.0.2.1"), "the prefix length must be 0 to 32"),
        (policy_line(2, tmpl="192.0.2.1"), "tmpl 1: its addresses are not of IPv6"),
    ],
)
def test_a_bad_line_among_good_ones_is_refused_by_name(second, fault):
    good = [line(1), line(3, sel=False), policy_line(1)]
    with pytest.raises(InputError) as caught:
        from_table("\n".join([*good, second]))
    assert any(one.startswith("src line 4: ") and fault in one for one in caught.value.faults), caught.value.faults


def test_what_is_to_be_absent_needs_no_key():
    made = from_entries(
        [{"src": "::1", "dst": "::2", "spi": 256, "mark": "1"}], [{"dir": "in", "src": "::1"}], absent=True
    )
    assert made.states[0].place() == (bytes(15) + b"\2", 256, (1, 0xFFFFFFFF))
    assert from_table("state src ::1 dst ::2 spi 256 mark 1", absent=True).states == made.states
    gone = {"src": "::1", "dst": "::2", "spi": 256, "mark": "1", "key_file": "/gone"}
    assert from_entries([gone], None, absent=True).states == made.states
    with pytest.raises(InputError, match="spi: 7 is reserved"):
        from_entries([{"src": "::1", "dst": "::2", "spi": 7}], None, absent=True)


def test_what_is_missing_hides_nothing_else():
    with pytest.raises(InputError) as caught:
        from_entries([{"src": "::1", "spi": 12, "mode": "x", "algorithm": "rot13", "key": "00", "dir": "out"}], [])
    told = " ".join(caught.value.faults)
    assert all(f" {name}: " in told for name in ("dst", "spi", "mode", "algorithm")), told
