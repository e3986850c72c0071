# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-agent as a command: what it asks, what it prints, how it ends. And the sentences of `why`."""

import asyncio
import json
import os
import threading
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import command, metrics, why
from ansible_collections.vtep.fabric.plugins.module_utils._agent.claims import claim
from ansible_collections.vtep.fabric.plugins.module_utils._agent.directory import Directory
from ansible_collections.vtep.fabric.plugins.module_utils._agent.resolver import Device
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._service import control
from ansible_collections.vtep.fabric.plugins.module_utils._service.metrics import Histogram

OWN, MAC, VTEP, IP = "192.0.2.1", "50:54:33:00:00:02", "192.0.2.2", "10.0.0.2"
LIMIT = {"limit": 200, "ok": True, "why": None, "dropped": 7}
STATUS = {
    "started": 0.0,
    "registry": {"kind": "etcd", "ok": True, "why": None, "heard": 0.5, "endpoints": 3, "refused": 1,
                 "refusals": ["etcd: vni: 5"]},
    "conflicts": [{"vni": 100, "key": MAC, "claims": [{"mac": MAC, "vtep": VTEP}, {"mac": MAC, "vtep": "192.0.2.3"}]}],
    "devices": [{"device": "vx100", "vni": 100, "local": OWN, "state": "up", "l3": True, "fdb": 1, "neighbors": 2,
                 "unanswered": 3}],
    "left_out": {"vxext": "it is external"},
    "rows": {"fdb": 1, "neighbors": 2, "unanswered": 3, "limit": 65536, "groups": 4},
    "access": {"learned": 1, "given": 2, "published": 3, "source_limit": LIMIT},
    "counters": {"moved": 9},
    "answer_seconds": {"p50": 5e-05, "p99": None},
}  # fmt: skip
ENTRIES = [
    {"device": "vx100", "vni": 100, "kind": "fdb", "mac": MAC, "vtep": VTEP, "idle": 12.34},
    {"device": "vx100", "vni": 100, "kind": "neighbor", "address": IP, "mac": MAC, "idle": 600.0},
    {"device": "vx100", "vni": 100, "kind": "group", "mac": "33:33:ff:00:00:02", "vtep": VTEP},
]
MISSES = [{"device": "vx100", "vni": 100, "key": IP, "count": 2, "first": 5.0, "last": 1.0, "why": "unknown"}]


@pytest.fixture
def asked(tmp_path):
    """A daemon that answers; [(command, arguments)] that it was asked, and its socket."""
    heard, ready, loop = [], threading.Event(), asyncio.new_event_loop()
    path = str(tmp_path / "sock")

    def answers(name, result):
        def handler(arguments):
            heard.append((name, arguments))
            return result

        return handler

    ended = asyncio.Event()

    async def serve():
        handlers = {"status": STATUS, "entries": ENTRIES, "misses": MISSES, "metrics": "a 1\n",
                    "why": {"address": IP, "sentences": ["One."], "vnis": [{"vni": 100, "sentences": ["Two."]}]}}  # fmt: skip
        server = control.Server(path, {name: answers(name, result) for name, result in handlers.items()})
        await server.start()
        ready.set()
        await ended.wait()
        server.close()
        await asyncio.sleep(0.05)  # for the last answer's end

    def run():
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(5)
    yield SimpleNamespace(path=path, heard=heard)
    loop.call_soon_threadsafe(ended.set)
    thread.join(5)


def prints(capsys, asked, *words, code=0):
    assert command.main(["-u", asked.path, *words]) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def test_status(capsys, asked):
    told = prints(capsys, asked, "status")
    for words in (
        "Registry       etcd, heard 0.5 s ago\n",
        "Endpoints      3 known, 1 entries refused\n",
        "Rows           1 FDB, 2 neighbours (up to 65536 each), 4 of groups\n",
        "Answer time    half within 50 us, 99% within more\n",
        "Source limit   200 requests a second of one MAC, 7 dropped\n",
        "vx100   100  192.0.2.1  up     yes  1    2           3\n",
        "vxext is left out: it is external\n",
        f"Conflict in VNI 100 over {MAC}: {MAC} behind {VTEP}, {MAC} behind 192.0.2.3\n",
        "  etcd: vni: 5\n",
        "moved    9\n",
    ):
        assert words in told, told
    assert json.loads(prints(capsys, asked, "status", "--json")) == STATUS


def test_a_registry_that_is_lost_and_a_limit_that_is_not_there_stand_out():
    registry = {**STATUS["registry"], "ok": False, "why": "no route", "heard": None}
    limit = {**LIMIT, "ok": False, "why": "nft is missing"}
    told = command.status({**STATUS, "registry": registry, "access": {**STATUS["access"], "source_limit": limit}})
    assert "LOST, never heard: no route" in told and "NOT IN FORCE: nft is missing" in told


def test_without_etcd_nothing_is_published():
    assert "1 learned, 2 given, 3 published\n" in command.status(STATUS)
    told = command.status({**STATUS, "access": {**STATUS["access"], "published": None}})
    assert "1 learned, 2 given\n" in told and "published" not in told


def test_entries_and_misses(capsys, asked):
    assert prints(capsys, asked, "entries").splitlines()[2:] == [
        f"vx100   100            {MAC}  {VTEP}  12.3 s ago",
        f"vx100   100  {IP}  {MAC}             10 min ago",
        f"vx100   100            33:33:ff:00:00:02  {VTEP}",
    ]
    assert IP in prints(capsys, asked, "misses", "vx100")
    assert json.loads(prints(capsys, asked, "-j", "misses")) == MISSES
    assert asked.heard == [("entries", {}), ("misses", {"device": "vx100"}), ("misses", {})]
    assert command.entries([]) == command.misses([]) == "None"


def test_why_and_metrics(capsys, asked):
    assert prints(capsys, asked, "why", IP, "100") == "One.\nTwo.\n"
    assert prints(capsys, asked, "metrics") == "a 1\n"
    assert asked.heard == [("why", {"address": IP, "vni": 100}), ("metrics", {})]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense"], "'nonsense' is not a command; known are entries, metrics, misses, run, status, why"),
        (["why"], "write why ADDRESS [VNI]"),
        (["why", IP, "x"], "'x' is not a VNI"),
        (["status", "x"], "'x' is too much; write status"),
    ],
)
def test_wrong_usage(capsys, asked, words, told):
    assert told in prints(capsys, asked, *words, code=2)
    assert asked.heard == []


def test_no_agent_and_a_configuration_that_names_its_socket(capsys, tmp_path, asked):
    assert command.main(["-u", str(tmp_path / "none"), "status"]) == 1
    assert "is the daemon running" in capsys.readouterr().err
    (tmp_path / "a.conf").write_text(f"[registry]\nudsfile = /x\n[agent]\nudsfile = {asked.path}\n")
    assert command.main(["-c", str(tmp_path / "a.conf"), "metrics"]) == 0


def test_help_names_commands_signals_files_and_exit_codes(capsys):
    assert command.main([]) == 0
    told = capsys.readouterr().out
    for words in ("run  ", "why ADDRESS [VNI]", "SIGHUP", "/etc/vtep-agent.conf", "exit codes:", "examples:", "--json"):
        assert words in told


# --- why -----------------------------------------------------------------------------------------------------------


def entry(mac=MAC, vtep=VTEP, *addresses, order=1, vni=100):
    return claim({"vni": vni, "mac": mac, "vtep": vtep, "addresses": list(addresses)}, order)


def facts(*claims, **more):
    directory = Directory()
    directory.snapshot(claims, 0.0)
    given = {
        "directory": directory,
        "devices": {7: Device(7, "vx100", 100, bytes((192, 0, 2, 1)))},
        "others": {},
        "registry": {"name": "file", "ok": True, "why": None, "known": True, "endpoints": len(directory)},
        "missing": [],
        "kernel": {},
    }
    return why.Facts(**{**given, **more})


def explained(found, text, vni=None):
    told = why.explain(found, why.key_of(text), vni)
    return "\n".join([*told["sentences"], *(line for one in told["vnis"] for line in one["sentences"])])


def test_an_endpoint_that_is_installed():
    mac, ip, vtep = why.key_of(MAC), why.key_of(IP), why.key_of(VTEP)
    found = facts(entry(MAC, VTEP, IP), kernel={7: ([(mac, vtep, 3.0, 2)], [(ip, mac, 128)])})
    assert explained(found, IP).splitlines() == [
        "The registry file is heard and has 1 endpoints.",
        f"In VNI 100 it is of {MAC}, behind VTEP {VTEP}.",
        f"vx100: the row of {MAC} leads to {VTEP} and was used 3 s ago.",
        f"vx100: it answers for {IP} with {MAC}.",
    ]
    assert f"with {IP}." in explained(found, MAC) and "the row of it leads" in explained(found, MAC)
    (one,) = why.explain(found, ip)["vnis"]
    assert one["devices"] == [{"device": "vx100", "row": {"vtep": VTEP, "used": 3.0}, "neighbor": MAC, "asked": None}]


@pytest.mark.parametrize(
    ("claims", "more", "text", "sentence"),
    [
        ([entry()], {}, MAC, "vx100: it would be installed as soon as somebody asks."),
        ([entry(vtep=OWN)], {}, MAC, "vx100: it is never installed, since it is behind this host itself."),
        (
            [entry(vtep="2001:db8::1")],
            {},
            MAC,
            "vx100: it is never installed, since VTEP 2001:db8::1 is of another family",
        ),
        ([entry(vni=7)], {}, MAC, "VNI 7 is not served by the agent of this host: no VXLAN device here has it."),
        ([entry(vni=7)], {"others": {7: ["vx7"]}}, MAC, "vx7 has neither l2miss nor l3miss."),
        ([], {}, MAC, f"{MAC} is unknown to the registry."),
        ([], {"devices": {}}, MAC, "This host has no VXLAN device with l2miss or l3miss"),
        (
            [],
            {"missing": [{"device": "vx100", "key": IP, "count": 3, "last": 2.0}]},
            IP,
            "vx100: it was asked for 3 times without an answer, last 2.0 s ago.",
        ),
        (
            [entry(), entry(vtep="192.0.2.3", order=2)],
            {},
            MAC,
            f"2 VTEPs claim {MAC}: 192.0.2.3 is the newest and counts, not {VTEP}.",
        ),
        (
            [entry(MAC, VTEP, IP), entry("50:54:33:00:00:03", VTEP, IP, order=2)],
            {},
            IP,
            f"Other endpoints claim the address as well: {MAC} behind {VTEP}; the newest claim counts.",
        ),
        (
            [entry()],
            {"registry": {"name": "etcd", "ok": False, "why": "no route", "known": True, "endpoints": 1}},
            MAC,
            "The registry etcd is lost, no route; what it told before, 1 endpoints, still counts.",
        ),
        (
            [],
            {"registry": {"name": "etcd", "ok": False, "why": "no route", "known": False}},
            MAC,
            "The registry etcd has told nothing yet: no route.",
        ),
        (
            [entry()],
            {"devices": {7: Device(7, "vx100", 100, None)}},
            MAC,
            "vx100: nothing is installed, since the device has no local address.",
        ),
    ],
)
def test_why_not(claims, more, text, sentence):
    assert sentence in explained(facts(*claims, **more), text)


def test_a_vni_that_is_named_is_told_of_even_if_nothing_is_known():
    told = explained(facts(), MAC, 100)
    assert f"In VNI 100 {MAC} is unknown to the registry." in told
    assert "vx100: it cannot be installed, since the registry does not have it." in told


@pytest.mark.parametrize("text", ["", "x", "10.0.0.2/24", "50:54:33", "fe80::1%eth0", "a\x1b[0m" * 100])
def test_what_is_no_address(text):
    with pytest.raises(InputError, match="is neither a MAC nor an IP address") as caught:
        why.key_of(text)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 400


# --- metrics -------------------------------------------------------------------------------------------------------


def test_a_histogram():
    one = Histogram((0.1, 0.5))
    assert one.quantile(0.5) is None
    one.observe(0.1, 3)
    one.observe(0.2)
    one.observe(9.0)
    assert list(one.samples()) == [
        ("_bucket", {"le": "0.1"}, 3), ("_bucket", {"le": "0.5"}, 4), ("_bucket", {"le": "+Inf"}, 5),
        ("_sum", {}, pytest.approx(9.5)), ("_count", {}, 5),
    ]  # fmt: skip
    assert (one.quantile(0.5), one.quantile(0.8), one.quantile(0.99)) == (0.1, 0.5, float("inf"))


def test_the_textfile_is_replaced_at_once(tmp_path):
    file = tmp_path / "a.prom"
    metrics.write(file, "a 1\n")
    metrics.write(file, "a 2\n")
    assert file.read_text() == "a 2\n" and [one.name for one in tmp_path.iterdir()] == ["a.prom"]
    assert file.stat().st_mode & 0o777 == 0o644
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError):
        metrics.write(file, "a 3\n")
    assert [one.name for one in tmp_path.iterdir()] == ["a.prom"]


def test_a_link_does_not_lead_the_textfile_elsewhere(tmp_path):
    directory, secret = tmp_path / "textfiles", tmp_path / "secret"
    directory.mkdir()
    secret.write_text("as it was")
    secret.chmod(0o600)
    (directory / f".a.prom.{os.getpid()}").symlink_to(secret)
    metrics.write(directory / "a.prom", "a 1\n")
    assert secret.read_text() == "as it was" and secret.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in directory.iterdir()] == ["a.prom"] and not (directory / "a.prom").is_symlink()
