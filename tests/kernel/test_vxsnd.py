# SPDX-License-Identifier: GPL-3.0-or-later
"""vxsnd as a process between hosts in network namespaces: what VTEPs, peers and administrators see of it."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, messages, sockets
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import Extension, Refresh, Sync
from vxfld_support import ANYCAST, Program, Star, eventually, frame, pack, received, text

needed = [word for word in ("ip", "nft") if not shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: vxsnd needs root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: vxsnd needs the programs {needed}"),
]

FAMILIES = (4, 6)
VNI = 100
# Vectors of the protocol's reference: 192.0.2.1 registers in VNI 100 and asks, its relay, and the answer.
R1 = bytes.fromhex("03010801105a1801208180808080402a0d086412090a070a05c001000201")
R3 = bytes.fromhex("03010800105a1800208180808080402a0d086412090a070a05c001000201")
ANSWER = bytes.fromhex("03010800105a180020002a0d086412090a070a05c001000201")
R5 = bytes.fromhex("030108011000208180808080402a0d086412090a070a05c001000201")
R6 = bytes.fromhex("0301080010001800208180808080402a0d086412090a070a05c001000201")


@pytest.fixture(scope="module")
def star():
    with Star(("s1", "s2", "a", "b", "c")) as made:
        made.route_anycast("s1")
        yield made


@pytest.fixture
def node(star, tmp_path):
    """A function that makes a service node; all are ended behind the test."""
    made = []

    def make(role="s1", peers=("s2",), common=None, **own):
        families = FAMILIES
        common = {
            "src_ip": " ".join(star.host(role, f) for f in families),
            "svcnode_ip": " ".join(ANYCAST[f] for f in families),
            **(common or {}),
        }
        own = {
            "install_svcnode_ip": "true", "replicate": "process", "drain": 0,
            "svcnode_peers": " ".join(star.host(peer, f) for peer in peers for f in families[:1]), **own,
        }  # fmt: skip
        one = Program(star, role, "vxsnd", tmp_path / role, {"common": common, "vxsnd": own})
        made.append(one)
        return one

    yield make
    for one in made:
        one.end()
    for role in ("s1", "s2"):
        for word in ("ip", "ip6"):
            with star.inside(role):
                subprocess.run(["nft", "delete", "table", word, "vtep_fabric_vxsnd"], check=False, capture_output=True)
        for family, address in ANYCAST.items():
            length = 32 if family == 4 else 128
            words = ["ip", "-n", star.names[role], "addr", "del", f"{address}/{length}", "dev", "lo"]
            subprocess.run(words, check=False, capture_output=True)


def registration(star, role, vni=VNI, holdtime=90, ask=0, new=False):
    """What a vxrd on a host sends, of both families; its node id is the host's number."""
    vteps = {vni: [pack(star.host(role, f)) for f in FAMILIES]}
    found = []
    for at, family in enumerate(FAMILIES):
        one = Refresh(
            originator=True, holdtime=holdtime, response_type=ask, identifier=10 * star.numbers[role] + at,
            vteps={vni: [vteps[vni][at]]}, extension=Extension() if new or family == 6 else None,
        )  # fmt: skip
        found.append(messages.encode(one))
    return found


def register(star, *roles, vni=VNI, to=ANYCAST[4], **more):
    for role in roles:
        with star.udp(role, 4) as one:
            for data in registration(star, role, vni, **more):
                one.sendto(data, (to, 10001))


def fdb(one, *words):
    """{address: (ageout, node id)} of VNI 100."""
    found = one.ctl("-j", "fdb", *words).get(str(VNI), [])
    return {address: (ageout, identifier) for address, ageout, identifier in found}


def everybody(star, *roles):
    return {star.host(role, f) for role in roles for f in FAMILIES}


def has(one, *addresses):
    eventually(lambda: set(fdb(one)) == set(addresses))


# Control


def test_a_registration_is_answered_from_src_ip_and_relayed(star, node):
    with star.udp("s2", 4, 10001) as peer, star.udp("a", 4, 10001) as vtep:
        one = node(common={"svcnode_ip": f"{ANYCAST[4]} {ANYCAST[6]}"}).start()
        for to in (ANYCAST[4], star.host("s1", 4)):
            vtep.sendto(R1, (to, 10001))
            assert vtep.recvfrom(65535) == (ANSWER, (star.host("s1", 4), 10001))
            assert peer.recvfrom(65535) == (R3, (star.host("s1", 4), 10001))
            received(vtep)  # the push of the change
        vtep.sendto(R5, (ANYCAST[4], 10001))
        assert peer.recvfrom(65535) == (R6, (star.host("s1", 4), 10001))
        assert fdb(one) == {}


def test_a_registration_over_ipv6(star, node):
    one = node().start()
    with star.udp("a", 6, 10001) as vtep:
        register(star, "b")
        has(one, *everybody(star, "b"))
        message = Refresh(
            originator=True,
            response_type=1,
            identifier=7,
            vteps={VNI: [pack(star.host("a", 6))]},
            extension=Extension(),
        )
        vtep.sendto(messages.encode(message), (ANYCAST[6], 10001))
        data, name = vtep.recvfrom(65535)
        assert name[:2] == (star.host("s1", 6), 10001)
        answer = messages.decode(data)
        assert {text(one) for one in answer.vteps[VNI]} == {star.host("a", 6), *everybody(star, "b")}


def test_with_one_address_it_listens_on_all_and_sends_from_src_ip(star, node):
    star.ip("s1", "addr", "add", "198.51.100.1/32", "dev", "lo")
    star.ip("net", "route", "replace", "198.51.100.1", "via", star.host("s1", 4))
    try:
        node(common={"src_ip": "198.51.100.1", "svcnode_ip": "0.0.0.0"}, install_svcnode_ip="false", peers=()).start()
        with star.udp("a", 4, 10001) as vtep:
            vtep.sendto(R1, (star.host("s1", 4), 10001))
            assert vtep.recvfrom(65535) == (ANSWER, ("198.51.100.1", 10001))
    finally:
        star.ip("s1", "addr", "del", "198.51.100.1/32", "dev", "lo")


def test_two_nodes_have_one_database(star, node):
    first, second = node("s1", ("s2",)).start(), node("s2", ("s1",))
    register(star, "a", "b")
    has(first, *everybody(star, "a", "b"))
    second.start()  # and is ready once it has asked
    assert set(fdb(second)) == everybody(star, "a", "b")
    register(star, "c")
    has(second, *everybody(star, "a", "b", "c"))
    first.ctl("fdb", "add", str(VNI), "192.0.2.9")
    eventually(lambda: fdb(second).get("192.0.2.9") == ("STATIC", ""))
    second.ctl("fdb", "del", str(VNI), "192.0.2.9")
    eventually(lambda: "192.0.2.9" not in fdb(first))
    assert "192.0.2.9" not in fdb(second)
    second.ctl("fdb", "del", "--force", str(VNI), star.host("c", 4))
    eventually(lambda: star.host("c", 4) not in fdb(first))
    register(star, "a", holdtime=0)
    has(second, star.host("c", 6), *everybody(star, "b"))
    assert [one["outcome"] for one in first.ctl("-j", "peers")] == ["done"]


def test_a_burst_of_registrations_is_not_lost(star, node):
    one = node(peers=()).start()
    count = 5000
    burst = [
        messages.encode(
            Refresh(
                originator=True, identifier=1000 + i, vteps={VNI: [bytes((10, 9, i >> 8, i & 255))]}, response_type=1
            )
        )
        for i in range(count)
    ]
    one.process.send_signal(signal.SIGSTOP)  # it gets no time meanwhile
    with star.udp("a", 4) as vtep:
        for data in burst:
            vtep.sendto(data, (ANYCAST[4], 10001))
        one.process.send_signal(signal.SIGCONT)
        eventually(lambda: one.ctl("-j", "counters")["registrations"] == count, seconds=30)
    assert len(fdb(one)) == count


def test_garbage_is_counted_and_nothing_else(star, node):
    one = node(peers=()).start()
    register(star, "a", "b")
    has(one, *everybody(star, "a", "b"))
    noise = random.Random(4)
    with star.udp("c", 4) as bad, star.udp("c", 6) as bad6:
        for number in range(6000):
            data = bytearray(noise.choice((R1, R5, noise.randbytes(noise.randrange(200)), b"")))
            for _dummy in range(noise.randrange(4) if data else 0):
                data[noise.randrange(len(data))] = noise.randrange(256)
            for sender, to in ((bad, ANYCAST[4]), (bad6, star.host("s1", 6))):
                sender.sendto(bytes(data), (to, 10001 if number % 3 else 4789))
    for size in (0, 1, 5, 100000):
        with star.tcp("c", star.host("s1", 4), 10001) as stream, contextlib.suppress(OSError):
            stream.sendall(noise.randbytes(size))
            stream.shutdown(socket.SHUT_WR)
            assert stream.recv(1) == b""
    with socket.socket(socket.AF_UNIX) as request:
        request.connect(str(one.directory / "sock"))
        request.sendall(noise.randbytes(1000) + b"\n")
        assert b"error" in request.recv(65536)
    assert everybody(star, "a", "b") <= set(fdb(one))
    counters = one.ctl("-j", "counters")
    assert counters["malformed"] > 1000 and counters["faults"] == 0
    assert "Traceback" not in one.told()
    lines = one.log.read_text().splitlines()
    assert all("vxsnd[" in line for line in lines) and len(lines) < 100


def test_idle_and_too_many_connections_are_cut(star, node):
    one = node(peers=()).start()
    address = star.host("s1", 4)
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        idle = [stack.enter_context(star.tcp("c", address, 10001)) for _dummy in range(8)]
        time.sleep(0.2)
        # The reset may come before connect() has returned.
        with contextlib.suppress(ConnectionResetError), star.tcp("c", address, 10001) as ninth:
            assert ninth.recv(1) == b""
        assert time.monotonic() - began < 5, "the ninth of one host is refused at once"
        # Others are served meanwhile.
        other = stack.enter_context(star.tcp("b", address, 10001))
        other.sendall(bytes.fromhex("03031802"))
        other.shutdown(socket.SHUT_WR)
        assert other.recv(100) == bytes.fromhex("03031800")
        for stream in idle:
            with contextlib.suppress(ConnectionResetError):
                assert stream.recv(1) == b""
        assert 8 < time.monotonic() - began < 15
    counters = one.ctl("-j", "counters")
    assert (counters["connections refused"], counters["connections cut"]) == (1, 8)


def test_the_allow_list_holds_for_everything(star, node):
    one = node(peers=(), common={"allow": f"{star.host('a', 4)}/32 2001:db8::/32"}).start()
    register(star, "a")
    has(one, *everybody(star, "a"))
    register(star, "b")
    # The reset may come before connect() has returned.
    with contextlib.suppress(ConnectionResetError), star.tcp("b", star.host("s1", 4), 10001) as stream:
        assert stream.recv(1) == b""
    with star.udp("b", 4) as vtep:
        vtep.sendto(frame(VNI, b"x"), (ANYCAST[4], 4789))
    eventually(lambda: one.ctl("-j", "counters").get("replicated: drops_not_allowed") == 1)
    assert set(fdb(one)) == everybody(star, "a")
    assert one.ctl("-j", "counters")["denied"] == 2
    one.ctl("set", "config", "allow", "")
    register(star, "b")
    has(one, *everybody(star, "a", "b"))


def test_nodes_with_a_key_believe_one_another_and_nobody_else(star, node, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef\n")
    key.chmod(0o600)
    common = {"auth_key_file": key}
    first, second = node("s1", ("s2",), common), node("s2", ("s1",), common)
    first.start()
    first.ctl("fdb", "add", str(VNI), "192.0.2.8")
    second.start()
    assert set(fdb(second)) == {"192.0.2.8"}
    second.ctl("fdb", "add", str(VNI), "192.0.2.9")
    has(first, "192.0.2.8", "192.0.2.9")
    register(star, "a", to=star.host("s1", 4))
    eventually(lambda: first.ctl("-j", "counters")["refused"] == 2)
    signed = Refresh(originator=True, identifier=5, vteps={VNI: [pack("192.0.2.1")]})
    data = auth.Authenticator(b"0123456789abcdef").seal(signed, time.time())
    with star.udp("a", 4) as vtep:
        for _dummy in range(2):  # the second time it is a replay
            vtep.sendto(data, (star.host("s1", 4), 10001))
    has(second, "192.0.2.1", "192.0.2.8", "192.0.2.9")
    eventually(lambda: first.ctl("-j", "counters")["refused"] == 3)


def test_peers_that_do_not_answer_do_not_keep_a_node_from_its_work(star, node):
    """Nobody listens at c; at s2 somebody does, and never says anything."""
    with star.inside("s2"):
        silent = socket.create_server((star.host("s2", 4), 10001))
    with silent:
        began = time.monotonic()
        one = node(peers=("s2", "c"), sync_targets=2).start()
        assert time.monotonic() - began < 12
        register(star, "a")
        has(one, *everybody(star, "a"))
        outcomes = {peer["peer"]: peer["outcome"] for peer in one.ctl("-j", "peers")}
        assert "refused" in outcomes[f"{star.host('c', 4)}:10001"]
        assert one.ctl("-j", "show", "detail")["more"]["synchronized"] == "not yet"


# Data


@contextlib.contextmanager
def vteps(star, family):
    """{role: its data socket}"""
    with contextlib.ExitStack() as stack:
        yield {role: stack.enter_context(star.udp(role, family, 4789)) for role in "abc"}


def test_the_mode_is_told(star, node):
    for mode, words in (
        ("process", "the process replicates"),
        ("kernel", "the kernel replicates"),
        ("auto", "the kernel"),
    ):
        one = node(replicate=mode).start()
        assert words in one.ctl("show", "detail")
        one.stop()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["process", "kernel"])
def test_bum_frames_go_to_all_others_with_their_source(star, node, mode, family):
    one = node(peers=(), replicate=mode).start()
    register(star, "a", "b", "c")
    has(one, *everybody(star, "a", "b", "c"))
    time.sleep(0.3)  # the kernel has the change within 50 ms and what nft takes
    with vteps(star, family) as ends, star.udp("a", family, 50123) as sender:
        for size in (50, 1500, 9000):
            data = frame(VNI, os.urandom(size))
            sender.sendto(data, (ANYCAST[family], 4789))
            for role in "bc":
                got, name = ends[role].recvfrom(65535)
                assert (got, name[:2]) == (data, (star.host("a", family), 50123)), role
        assert [received(one, 0.2) for one in ends.values()] == [[], [], []]
        counters = one.ctl("-j", "counters")
        name = "kernel_copies" if mode == "kernel" else "copies"
        assert counters[f"replicated: {name}"] == 6
        # An unknown sender is learned from its first frame, which goes to the others as well.
        register(star, "a", holdtime=0)
        has(one, *everybody(star, "b", "c"))
        time.sleep(0.3)
        sender.sendto(frame(VNI, b"new"), (ANYCAST[family], 4789))
        for role in "bc":
            assert ends[role].recvfrom(65535)[0] == frame(VNI, b"new")
        eventually(lambda: fdb(one).get(star.host("a", family), ("", "x"))[1] == "")


@pytest.mark.parametrize("mode", ["process", "kernel"])
def test_after_kill_and_restart_everything_goes_on(star, node, mode):
    """Frames all the time: with the kernel none is lost, dead daemon or not."""
    one = node(peers=(), replicate=mode).start()
    register(star, "a", "b", "c")
    one.ctl("fdb", "add", str(VNI), "192.0.2.9")
    before = {*everybody(star, "a", "b", "c"), "192.0.2.9"}
    has(one, *before)
    eventually((one.directory / "state" / "snapshot").exists, seconds=15)
    time.sleep(0.3)
    sent = 0
    with vteps(star, 4) as ends, star.udp("a", 4, 50123) as sender:

        def send(seconds):
            nonlocal sent
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                sender.sendto(frame(VNI, sent.to_bytes(4, "big")), (ANYCAST[4], 4789))
                sent += 1
                time.sleep(0.005)

        send(0.2)
        one.kill()
        send(0.5)
        pid = os.fork()
        if not pid:  # frames while the next one starts
            for number in range(400):
                sender.sendto(frame(VNI, (sent + number).to_bytes(4, "big")), (ANYCAST[4], 4789))
                time.sleep(0.005)
            os._exit(0)
        one.start()
        assert set(fdb(one)) == before
        os.waitpid(pid, 0)
        sent += 400
        send(0.1)
        got = {role: [int.from_bytes(data[8:], "big") for data, _name in received(ends[role])] for role in "bc"}
    for numbers in got.values():
        assert numbers[-1] == sent - 1 and len(set(numbers)) == len(numbers)
        if mode == "kernel":
            assert numbers == list(range(sent))
        else:
            assert numbers[0] == 0
    assert fdb(one)["192.0.2.9"] == ("STATIC", "")


def test_without_replication(star, node):
    for words in (("-R",), ()):
        own = {} if words else {"enable_vxlan_listen": "false"}
        one = node(peers=(), **own).start(*words)
        assert "nobody replicates" in one.ctl("show", "detail")
        with star.udp("s1", 4, 4789, ANYCAST[4]):  # the port is free
            pass
        register(star, "a")
        has(one, *everybody(star, "a"))
        one.stop()
        (one.directory / "state" / "snapshot").unlink()


def test_proxies_get_every_frame_and_what_they_send_is_flooded(star, node):
    one = node(peers=(), area=1, vxfld_proxy_servers=f"{star.host('s2', 4)}:10001", replicate="auto").start()
    assert "the process replicates BUM frames (vxfld_proxy_servers" in one.ctl("show", "detail")
    register(star, "b")
    with star.udp("s2", 4, 10001) as proxy, vteps(star, 4) as ends, star.udp("a", 4, 50123) as sender:
        data = frame(VNI, b"hello")
        sender.sendto(data, (ANYCAST[4], 4789))
        message = messages.decode(proxy.recvfrom(65535)[0])
        assert (message.vxlan_pkt, message.area, message.srcport) == (data, 1, 50123)
        assert text(message.srcip) == star.host("a", 4)
        assert ends["b"].recvfrom(65535)[0] == data
        back = messages.Proxy(ttl=3, srcport=7, srcip=pack(star.host("c", 4)), area=2, vxlan_pkt=data)
        proxy.sendto(messages.encode(back), (star.host("s1", 4), 10001))
        got, name = ends["b"].recvfrom(65535)
        assert (got, name) == (data, (star.host("c", 4), 7))


# Address and end


def places(star, role):
    """The anycast addresses that a host has."""
    found = json.loads(star.ip(role, "-j", "addr", "show", "dev", "lo"))[0]["addr_info"]
    return {one["local"]: one["prefixlen"] for one in found if one["local"] in ANYCAST.values()}


def tables(star, role):
    with star.inside(role):
        return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.split("\n")[
            :-1
        ]


BOTH = {ANYCAST[4]: 32, ANYCAST[6]: 128}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["process", "kernel"])
def test_a_graceful_end_takes_the_address_away_and_goes_on_for_a_while(star, node, mode, family):
    one = node(peers=(), replicate=mode, drain=1).start()
    assert places(star, "s1") == BOTH
    register(star, "a", "b", "c")
    has(one, *everybody(star, "a", "b", "c"))
    time.sleep(0.3)
    with vteps(star, family) as ends, star.udp("a", family, 50123) as sender:
        one.process.send_signal(signal.SIGTERM)
        eventually(lambda: places(star, "s1") == {}, seconds=2)
        for number in range(20):  # half a second
            sender.sendto(frame(VNI, bytes((number,))), (ANYCAST[family], 4789))
            time.sleep(0.025)
        assert one.process.poll() is None, "it ended too early"
        assert one.process.wait(timeout=10) == 0
        for role in "bc":
            assert [data[8] for data, _name in received(ends[role])] == list(range(20))
    assert tables(star, "s1") == []
    assert "metric 118" not in star.ip("s1", "route", "show", "table", "local") + star.ip(
        "s1", "-6", "route", "show", "table", "local"
    )
    left = {path.name for path in one.directory.iterdir()} - {"vtep_fabric", "vxsnd.conf", "log", "err", "notify"}
    assert left == {"state"}
    assert [path.name for path in (one.directory / "state").iterdir()] == ["snapshot"]


def test_an_address_that_was_there_stays(star, node):
    for family, address in ANYCAST.items():
        star.ip("s1", "addr", "add", f"{address}/{32 if family == 4 else 128}", "dev", "lo")
    one = node(peers=()).start()
    one.stop()
    assert places(star, "s1") == BOTH


def test_what_a_dead_daemon_left_can_be_withdrawn(star, node):
    one = node(peers=(), replicate="kernel").start()
    assert "another instance of vxsnd is already running" in one.fails("--withdraw")
    one.kill()
    assert places(star, "s1") == BOTH and tables(star, "s1") != []
    process = one.command("--withdraw", stdout=subprocess.PIPE, text=True)
    printed, _none = process.communicate(timeout=20)
    assert process.returncode == 0 and f"{ANYCAST[4]} withdrawn" in printed
    assert places(star, "s1") == {} and tables(star, "s1") == []
    assert one.command("--withdraw").wait(timeout=20) == 0


def test_a_restarted_daemon_remembers_that_the_address_is_its_own(star, node):
    one = node(peers=()).start()
    one.kill()
    one.start()
    one.stop()
    assert places(star, "s1") == {}


def test_another_configuration_after_a_crash_leaves_nothing_of_the_former(star, node):
    one = node(peers=(), replicate="kernel").start()
    one.kill()
    assert places(star, "s1") == BOTH and tables(star, "s1") != []
    one.set("svcnode_ip", ANYCAST[4])
    one.start("-R")
    assert places(star, "s1") == {ANYCAST[4]: 32} and tables(star, "s1") == []
    one.stop()
    assert places(star, "s1") == {}


def test_an_address_that_somebody_removes_comes_back(star, node):
    one = node(peers=()).start()
    star.ip("s1", "addr", "del", f"{ANYCAST[4]}/32", "dev", "lo")
    eventually(lambda: places(star, "s1") == BOTH, seconds=15)
    assert f"{ANYCAST[4]} was gone" in one.told()


# Starting


def test_starts_that_fail_say_why(star, node):
    one = node(peers=(), install_svcnode_ip="false")
    told = one.fails()
    for address in ANYCAST.values():
        assert (
            f"[common] svcnode_ip: {address} is not an address of this host; add it, or write install_svcnode_ip"
            in told
        )
    one = node(peers=(), common={"src_ip": "10.9.9.9"})
    assert "10.9.9.9:10001: Cannot assign requested address: this host does not have the address" in one.fails()
    one = node(peers=(), common={"holdtime": "soon"}, area="x")
    told = one.fails()
    assert "vxsnd.conf:" in told and told.count("vxsnd: ") == 2
    one = node(peers=(), svcnode_dev="nosuch")
    assert "device nosuch does not exist" in one.fails()
    assert places(star, "s1") == {}


def test_a_port_that_others_have(star, node):
    one = node(peers=())
    with star.udp("s1", 4, 10001):
        assert (
            f"UDP {star.host('s1', 4)}:10001: Address already in use: another program has this port; end it"
            in one.fails()
        )
    star.ip("s1", "link", "add", "vx9", "type", "vxlan", "id", "9", "dstport", "4789", "local", "10.0.1.1")
    star.ip("s1", "link", "set", "vx9", "up")
    try:
        told = one.fails()
        assert "4789: Address already in use: the VXLAN device vx9 of this host has it" in told
        assert places(star, "s1") == {}, "whoever cannot start must not attract traffic"
    finally:
        star.ip("s1", "link", "del", "vx9")


def test_one_instance(star, node):
    one = node(peers=()).start()
    assert f"another instance of vxsnd is already running (pid {one.process.pid}" in one.fails()
    assert "another program listens at" in one.fails("-p", str(one.directory / "other.pid"))
    assert one.ctl("show").startswith("Protocol version: 3\n")


def test_in_the_background(star, node):
    one = node(peers=())
    before = os.umask(0)
    try:
        process = one.command("-d", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert (process.communicate(timeout=20)[0], process.returncode) == ("", 0)
    finally:
        os.umask(before)
    pid = int((one.directory / "pid").read_text())
    try:
        assert one.ctl("-j", "show")["version"] == 3  # it is ready when the command returns
        modes = {name: stat.S_IMODE((one.directory / name).stat().st_mode) for name in ("sock", "pid", "log")}
        assert modes["sock"] == 0o600 and not any(mode & 0o022 for mode in modes.values())
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (one.directory / "pid").exists())
    (one.directory / "vxsnd.conf").write_text("[common]\nsrc_ip = 10.9.9.9\n")
    process = one.command("-d", "-p", str(one.directory / "p"), "-u", str(one.directory / "u"), stderr=subprocess.PIPE)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == 1 and b"this host does not have the address" in errors


# Administration


def test_sighup_reads_the_configuration_again(star, node):
    one = node(peers=()).start()
    one.set("svcnode_peers", star.host("s2", 4) + ":10009")
    one.set("loglevel", "warning")
    one.set("drain", "0.5")
    one.set("replicate", "auto")
    with star.udp("s2", 4, 10009) as peer:
        one.process.send_signal(signal.SIGHUP)
        eventually(lambda: "replicate: takes effect when vxsnd is restarted" in one.told())
        with star.udp("a", 4) as vtep:
            eventually(lambda: one.ctl("-j", "get", "config", "drain") == {"drain": 0.5})
            vtep.sendto(R1, (ANYCAST[4], 10001))
        assert peer.recvfrom(65535)[0] == R3
    one.set("drain", "soon")
    one.process.send_signal(signal.SIGHUP)
    eventually(lambda: "drain: 'soon' is not a time in seconds" in one.told())
    eventually(lambda: "the configuration stays as it was" in one.told())
    assert one.ctl("-j", "get", "config", "drain") == {"drain": 0.5}


def test_peers_change_at_run_time(star, node):
    one = node(peers=()).start()
    with star.udp("s2", 4, 10001) as peer, star.udp("a", 4) as vtep:
        vtep.sendto(R1, (ANYCAST[4], 10001))
        assert received(peer) == []
        one.ctl("set", "config", "svcnode_peers", star.host("s2", 4), star.host("s1", 4))
        assert one.ctl("-j", "show")["peers"] == [f"{star.host('s2', 4)}:10001"]
        vtep.sendto(R1, (ANYCAST[4], 10001))
        assert peer.recvfrom(65535)[0] == R3
        one.ctl("set", "config", "svcnode_peers", "")
        vtep.sendto(R1, (ANYCAST[4], 10001))
        assert received(peer) == []


def test_static_entries_of_a_file(star, node):
    one = node(peers=())
    good = one.directory / "static"
    good.write_text("# two\n100 192.0.2.8\n\n101 2001:db8::8 # by hand\n")
    one.set("drain", f"0\nstatic_file = {good}")
    one.start()
    assert one.ctl("-j", "fdb") == {
        "100": [["192.0.2.8", "STATIC", ""]],
        "101": [["2001:db8::8", "STATIC", ""]],
    }
    good.write_text("100 192.0.2.9\n")
    one.process.send_signal(signal.SIGHUP)
    eventually(lambda: one.ctl("-j", "fdb") == {"100": [["192.0.2.9", "STATIC", ""]]})
    other = one.directory / "other"
    other.write_text("100 192.0.2.7\n200 300.1.1.1\nx 192.0.2.1\n1 2 3\n")
    done = one.ctl("fdb", "file", str(other), check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"vxsndctl: {other}:2: '300.1.1.1' is not an address; write one such as 192.0.2.1 or 2001:db8::1",
        f"vxsndctl: {other}:3: 'x' is not a VNI; write 0 to 16777215",
        f"vxsndctl: {other}:4: '1 2 3' is not understood; write it as `VNI ADDRESS`",
    ]
    assert list(one.ctl("-j", "fdb")) == ["100"]
    other.write_text("100 192.0.2.7\n")
    one.ctl("fdb", "file", str(other))
    assert one.ctl("-j", "fdb") == {"100": [["192.0.2.7", "STATIC", ""]]}


def test_what_the_commands_print(star, node):
    one = node(peers=("s2",)).start()
    assert one.ctl("fdb") == "None\n"
    register(star, "a")
    eventually(lambda: fdb(one))
    one.ctl("fdb", "add", "99", "192.0.2.9")
    lines = one.ctl("fdb", "debug").splitlines()
    assert lines[0].split() == ["VNI", "Address", "Ageout", "NodeId"]
    assert lines[2].split() == ["99", "192.0.2.9", "STATIC"]
    vni, address, left, identifier = lines[3].split()
    assert (vni, address, identifier) == ("100", star.host("a", 4), str(10 * star.numbers["a"])) and 80 < int(
        left
    ) <= 91
    assert one.ctl("fdb", "99").splitlines()[2:] == ["99   192.0.2.9  STATIC"]
    shown = one.ctl("show", "detail")
    for words in (
        f"Anycast address {ANYCAST[4]} {ANYCAST[6]}",
        f"Peer Addresses {star.host('s2', 4)}:10001",
        "Data port 4789",
    ):
        assert words in " ".join(shown.split())
    told = one.ctl("-j", "show", "detail")
    assert {"version", "local", "anycast", "peers", "data_port", "ctrl_port"} <= set(told)
    assert one.ctl("get", "config", "holdtime") == '{\n    "holdtime": 90\n}\n'
    assert json.loads(one.ctl("get", "config"))["src_ip"] == f"{star.host('s1', 4)} {star.host('s1', 6)}"
    one.ctl("set", "debug", "on")
    one.ctl("set", "config", "holdtime", "60")
    assert one.ctl("-j", "get", "config", "holdtime") == {"holdtime": 60}
    metrics = one.ctl("metrics").splitlines()
    assert "vxsnd_registrations 3" in metrics and 'vxsnd_vteps{vni="99"} 1' in metrics
    assert sum(line.startswith("# TYPE") for line in metrics) == len(
        {line.split()[2] for line in metrics if line[0] == "#"}
    )
    for words, message in (
        (("fdb", "7"), "VNI 7 has no entries here"),
        (("fdb", "del", str(VNI), star.host("a", 4)), "registers itself in VNI 100; --force removes it"),
        (("fdb", "del", str(VNI), "192.0.2.77"), "VNI 100 has no entry of 192.0.2.77 here"),
        (("get", "config", "nosuch"), "nosuch: Unknown parameter"),
        (("set", "config", "src_ip", "192.0.2.1"), "src_ip: Read-Only Parameter"),
        (("set", "config", "holdtime"), "holdtime: Value cannot be None"),
        (("set", "config", "holdtime", "x"), "holdtime: 'x' is not a whole number"),
    ):
        done = one.ctl(*words, check=False)
        assert done.returncode == 1 and done.stderr.startswith("vxsndctl: ") and message in done.stderr, words
    for words in (
        ("nosuch",), ("fdb", "x"), ("fdb", "add", "1"), ("fdb", "add", "1", "x"), ("fdb", "1", "2"), ("show", "x"),
        ("set",), ("set", "debug", "maybe"), ("get",), ("show", "--force"), ("--nosuch",),
    ):  # fmt: skip
        done = one.ctl(*words, check=False)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage: vxsndctl"), words
    assert one.ctl().startswith("usage: vxsndctl")


def test_the_watchdog_hears_of_a_daemon_that_works(star, node):
    one = node(peers=())
    path = one.directory / "watchdog"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(10)
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000"}
        one.process = one.command(env=environment)
        heard = [systemd.recv(4096).split(b"\n")[0] for _dummy in range(6)]
        assert heard[0] == b"READY=1" and heard.count(b"WATCHDOG=1") >= 4
        one.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        while True:
            systemd.settimeout(0.5)
            try:
                systemd.recv(4096)
            except socket.timeout:
                break
        one.process.send_signal(signal.SIGCONT)
        systemd.settimeout(5)
        assert systemd.recv(4096)
        one.process.send_signal(signal.SIGTERM)
        rest = []
        while b"STOPPING=1" not in rest:
            rest.append(systemd.recv(4096))
        assert one.process.wait(timeout=10) == 0


# Sockets


def test_a_receiver_that_raises_does_not_end_a_socket(star):
    faults, got = [], []

    def take(data, _end):
        if data == b"bad":
            raise KeyError(data)
        got.append(data)

    async def run():
        with star.inside("a"):
            bound = sockets.bound(socket.SOCK_DGRAM, pack(star.host("a", 4)), 10001)
        one = sockets.Udp(bound)
        one.start(asyncio.get_running_loop(), take, lambda: None, faults.append)
        with star.udp("b", 4) as sender:
            for data in (b"1", b"bad", b"2"):
                sender.sendto(data, (star.host("a", 4), 10001))
            for _dummy in range(100):
                await asyncio.sleep(0.02)
                if len(got) == 2:
                    break
        one.close()

    asyncio.run(run())
    assert got == [b"1", b"2"] and [type(fault) for fault in faults] == [KeyError]


def test_many_datagrams_are_sent_in_order_although_the_buffer_is_small(star):
    async def run():
        with star.inside("a"):
            bound = sockets.bound(socket.SOCK_DGRAM, pack(star.host("a", 4)), 10001)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        one = sockets.Udp(bound)
        one.start(asyncio.get_running_loop(), lambda *_: None, lambda: None, lambda error: None)
        with star.udp("b", 4, 10001) as receiver:
            for number in range(2000):
                one.send(number.to_bytes(4, "big") + bytes(1000), (pack(star.host("b", 4)), 10001))
            for _dummy in range(100):
                await asyncio.sleep(0.02)
                if not one._waiting:
                    break
            numbers = [int.from_bytes(data[:4], "big") for data, _name in received(receiver)]
        one.close()
        return one.dropped, numbers

    assert asyncio.run(run()) == (0, list(range(2000)))


def test_a_second_bind_is_a_fault_with_the_fix(star):
    fault = pytest.raises(InputError, match=r"UDP 10.0.3.1:10001: Address already in use.*write vxfld_port")
    with star.inside("a"), sockets.bound(socket.SOCK_DGRAM, bytes(4), 10001), fault:
        sockets.bound(socket.SOCK_DGRAM, pack(star.host("a", 4)), 10001)


def test_a_large_sync_goes_both_ways(star):
    """100,000 entries, some 2 MB; and the end of an exchange is known to both."""
    vteps = {vni: [(bytes((10, vni, i >> 8, i & 255)), 90, i + 1) for i in range(10000)] for vni in range(10)}
    data = messages.encode(Sync(vteps=vteps, response_type=0))
    got = []

    def answer(found, end):
        got.append((found, text(end[0])))
        return data if found == data else None

    async def run():
        with star.inside("a"):
            bound = sockets.bound(socket.SOCK_STREAM, pack(star.host("a", 4)), 10001)
        streams = sockets.Streams(answer, lambda _address: True, got.append)
        await streams.start(bound)
        with star.inside("a"):  # over lo, as this loop is one thread
            end = pack(star.host("a", 4)), 10001
            assert await sockets.exchange(end, data, pack(star.host("a", 4)), answered=True) == data
            assert await sockets.exchange(end, data[:-1]) == b""
            streams.close()
            with pytest.raises(OSError, match="Connection refused"):
                await sockets.exchange((end[0], 10002), data)

    asyncio.run(run())
    assert [(found == data, address) for found, address in got] == [(True, "10.0.3.1"), (False, "10.0.3.1")]
