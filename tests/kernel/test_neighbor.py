"""The neighbor module's core against the kernel, in a private network namespace, cross-checked with `ip`."""

import ipaddress
import json
import os
import socket
from contextlib import contextmanager

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import neighbor as resources
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.neighbor import NeighborResource, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import last_run
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import neighbor as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import rtnl
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    RefusedError,
    VerifyError,
)
from device_support import MARKS, private, sh
from table_support import converged

pytestmark = MARKS

MAC, MAC2 = "50:54:33:00:00:01", "50:54:33:00:00:02"
FOUR, SIX = "192.0.2.11", "2001:db8:ff::11"
BOTH = ("vxlan100", "eth1")


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    """What large tables alone would do: a record of the last run, here of every table, and in a directory of its own."""
    monkeypatch.setattr(last_run, "DIRECTORY", tmp_path / "last-run")
    monkeypatch.setattr(resources, "LARGE", 0)
    return tmp_path / "last-run"


@pytest.fixture(autouse=True)
def namespace():
    with private():
        sh(
            "ip link set lo up",
            "ip link add vxlan100 type vxlan id 100 dstport 4789 local 2001:db8:9::1",
            "ip link add eth1 type veth peer name far1",
            *(f"ip link set {dev} up" for dev in ("vxlan100", "eth1", "far1")),
        )
        yield


def run(table=None, dev=(), check=False, resource=None, diff=False, **more):
    return converged(resource or NeighborResource(diff), check, dev=list(dev), table=table, **more)


def counts(*args, **more):
    """(added, changed, removed, unchanged), after a check mode that must have said the same and done nothing."""
    before = shown()
    checked = run(*args, check=True, diff=True, **more)
    assert shown() == before
    outcome = run(*args, diff=True, **more)
    assert outcome == checked
    rows = outcome.result["rows"]
    assert outcome.changed == bool(rows["added"] + rows["changed"] + rows["removed"])
    for side, count in (
        (outcome.before, rows["changed"] + rows["removed"]),
        (outcome.after, rows["changed"] + rows["added"]),
    ):
        assert side.count("\n") == min(count, 1001) and (count <= 1000 or f"... and {count - 1000} more rows" in side)
    for large in (1 << 30, 0, 0):  # each row compared; and with the record of the last run
        resources.LARGE = large
        again = run(*args, **more)
        assert not again.changed
        assert again.result["rows"]["unchanged"] == (
            0 if more.get("state") == "absent" else sum(rows.values()) - rows["removed"]
        )
    return rows["added"], rows["changed"], rows["removed"], rows["unchanged"]


def shown():
    """What `ip` shows of neighbours and proxy entries, but the kernel's own rows for multicast addresses."""
    rows = []
    for what in ("", "nud noarp", "proxy"):
        for row in json.loads(sh(f"ip -j neigh show {what}")):
            if not ipaddress.ip_address(row["dst"]).is_multicast:
                rows.append(" ".join(_words(row, what == "proxy")))
    return sorted(set(rows))


def _words(row, proxy):
    yield row["dst"]
    yield row["dev"]
    if "lladdr" in row:
        yield row["lladdr"]
    if proxy:
        yield "proxy"
    for flag in ("router", "extern_learn", "managed"):
        if flag in row:
            yield flag
    if not proxy and "managed" not in row:  # the kernel moves that state on by itself
        yield from (state.lower() for state in row["state"])
    yield str(row.get("protocol", "-"))


def test_rows_as_ip_shows_them():
    table = f"""
    {SIX} dev vxlan100 lladdr {MAC} nud permanent
    {SIX} dev eth1 proxy
    {FOUR} dev eth1 lladdr {MAC} router noarp
    {FOUR} dev vxlan100 lladdr {MAC2} extern_learn
    {FOUR} dev eth1 proxy router
    """
    assert counts(table, BOTH, purge="owned") == (5, 0, 0, 0)
    assert shown() == [
        f"{FOUR} eth1 {MAC} router noarp 118",
        f"{FOUR} eth1 proxy router 118",
        f"{FOUR} vxlan100 {MAC2} extern_learn permanent 118",
        f"{SIX} eth1 proxy 118",
        f"{SIX} vxlan100 {MAC} permanent 118",
    ]


def test_entries_say_the_same_as_a_table():
    assert counts(f"{SIX} lladdr {MAC}\n{FOUR} proxy", ["eth1"]) == (2, 0, 0, 0)
    entries = [{"ip": SIX, "lladdr": MAC, "dev": "eth1"}, {"ip": FOUR, "proxy": True, "dev": "eth1"}]
    assert counts(entries=entries, purge="owned") == (0, 0, 0, 2)


@pytest.mark.parametrize("ip", [FOUR, SIX])
@pytest.mark.parametrize("change", [f"lladdr {MAC2}", f"lladdr {MAC} noarp", f"lladdr {MAC} router",
                                    f"lladdr {MAC} extern_learn"])  # fmt: skip
def test_each_word_is_changed_and_changed_back(ip, change):
    first = f"{ip} dev eth1 lladdr {MAC}\n{ip} dev vxlan100 lladdr {MAC}"
    assert counts(first) == (2, 0, 0, 0)
    before = shown()
    assert counts(f"{ip} dev eth1 {change}\n{ip} dev vxlan100 lladdr {MAC}", purge="owned") == (0, 1, 0, 1)
    assert shown() != before
    assert counts(first) == (0, 1, 0, 1)
    assert shown() == before


@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_a_proxy_entry_is_changed_and_changed_back(ip):
    assert counts(f"{ip} proxy", ["eth1"]) == (1, 0, 0, 0)
    assert counts(f"{ip} proxy router", ["eth1"]) == (0, 1, 0, 0)
    assert shown() == [f"{ip} eth1 proxy router 118"]
    assert counts(f"{ip} proxy", ["eth1"]) == (0, 1, 0, 0)
    assert shown() == [f"{ip} eth1 proxy 118"]


def test_a_managed_neighbour_is_the_kernels_to_resolve():
    sh("ip neigh add 192.0.2.99 dev eth1 managed", "ip addr add 192.0.2.1/24 dev eth1")
    if not any(row["managed"] for row in read_info({"dev": [], "ip": ["192.0.2.99"]})["neighbors"]):
        pytest.skip("this kernel has no managed neighbours (Linux 5.16)")
    sh("ip neigh del 192.0.2.99 dev eth1")
    assert counts(f"{FOUR} managed\n{SIX} managed extern_learn", ["eth1"], purge="owned") == (2, 0, 0, 0)
    assert [row.split()[1::2] for row in read_words("eth1")] == [["managed", "118"]] * 2
    assert counts(f"{FOUR} lladdr {MAC}\n{SIX} lladdr {MAC}", ["eth1"], purge="owned") == (0, 2, 0, 0)
    ours = [f"{FOUR} eth1 {MAC} permanent 118", f"{SIX} eth1 {MAC} permanent 118"]
    assert [row for row in shown() if "118" in row] == ours
    assert counts(f"{FOUR} managed", ["eth1"], purge="owned") == (0, 1, 1, 0)
    assert counts("", purge="owned") == (0, 0, 1, 0)


def test_a_managed_neighbour_that_needs_no_resolving():
    """Where there is no routing table yet the kernel takes any IPv4 address for a broadcast one, and its state is noarp."""
    with private():
        sh("ip link add eth1 type veth peer name far1")
        assert counts(f"{FOUR} managed", ["eth1"]) == (1, 0, 0, 0)


def read_words(dev):
    """`ip` of older suites shows no flag `managed`, so here the module's own words have to do."""
    rows = read_info({"dev": [dev], "ip": [FOUR, SIX]})["neighbors"]
    return [f"{row['ip']} {'managed' if row['managed'] else '-'} {row['state']} {row['protocol']}" for row in rows]


def test_a_kernel_that_does_not_know_an_attribute_is_not_believed(monkeypatch):
    """Kernels ignore attributes that they do not know; so one is sent that this kernel does not know either."""
    monkeypatch.setattr(kernel, "NDA_FLAGS_EXT", 200)
    with pytest.raises(VerifyError, match=f"{FOUR} dev eth1 managed is missing|stands where {FOUR} dev eth1 managed"):
        run(f"{FOUR} managed", ["eth1"])


def others():
    """Rows of an administrator, of a routing daemon, and of the kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
        sender.sendto(b"", ("224.0.0.251", 9))
    sh(
        f"ip neigh add 192.0.2.21 dev eth1 lladdr {MAC} nud permanent",
        f"ip neigh add 192.0.2.22 dev eth1 lladdr {MAC} nud permanent protocol zebra",
        f"ip neigh add 192.0.2.23 dev eth1 lladdr {MAC} nud noarp extern_learn protocol zebra",
        f"ip neigh add 192.0.2.24 dev eth1 lladdr {MAC} nud stale",
        f"ip neigh add 192.0.2.25 dev eth1 lladdr {MAC} nud permanent protocol static",
        "ip neigh add proxy 192.0.2.26 dev eth1",
        "ip neigh add proxy 192.0.2.27 dev eth1 protocol zebra",
        f"ip neigh add 2001:db8::28 dev eth1 lladdr {MAC} nud noarp",
    )
    return shown()


def test_purge_of_owned_rows_leaves_all_others():
    theirs = others()
    assert counts(f"{SIX} lladdr {MAC}\n{SIX} proxy\n{FOUR} lladdr {MAC}\n{FOUR} proxy", ["eth1"]) == (4, 0, 0, 0)
    assert counts(f"{SIX} lladdr {MAC}", ["vxlan100"]) == (1, 0, 0, 0)
    assert counts(f"{SIX} lladdr {MAC}\n{FOUR} proxy", ["eth1"], purge="owned") == (0, 0, 2, 2)
    assert counts("", ["eth1"], purge="owned") == (0, 0, 2, 0)
    assert shown() == sorted([*theirs, f"{SIX} vxlan100 {MAC} permanent 118"])
    assert counts("", ["vxlan100"], purge="owned") == (0, 0, 1, 0)
    assert shown() == theirs


def test_purge_without_devices_reaches_every_device():
    theirs = others()
    assert counts(f"{SIX} dev vxlan100 lladdr {MAC}\n{SIX} dev eth1 proxy\n{FOUR} dev far1 lladdr {MAC}") == (
        3,
        0,
        0,
        0,
    )
    assert counts(f"{FOUR} dev far1 lladdr {MAC2}", purge="owned") == (0, 1, 2, 0)
    assert counts(entries=[], purge="owned") == (0, 0, 1, 0)
    assert shown() == theirs
    with pytest.raises(InputError, match="dev: missing; purge: all"):
        run("", purge="all")


def groups():
    """The kernel's rows for multicast addresses, which it makes when it first sends to one."""
    rows = json.loads(sh("ip -j neigh show nud noarp"))
    return {(row["dst"], row["dev"]) for row in rows if ipaddress.ip_address(row["dst"]).is_multicast}


def test_purge_of_all_leaves_what_the_kernel_made_or_learned():
    others()
    multicast = groups()
    assert counts(f"{FOUR} lladdr {MAC}", ["eth1"], purge="all") == (1, 0, 6, 0)
    assert [row for row in shown() if FOUR not in row] == [
        f"192.0.2.24 eth1 {MAC} stale -",
        f"2001:db8::28 eth1 {MAC} noarp -",
    ]
    assert multicast and multicast <= groups()


def test_rows_of_somebody_are_adopted():
    sh(
        f"ip neigh add {FOUR} dev eth1 lladdr {MAC} nud permanent",
        f"ip neigh add {SIX} dev eth1 lladdr {MAC} nud permanent protocol static",
        f"ip neigh add proxy {FOUR} dev eth1",
    )
    table = f"{FOUR} lladdr {MAC}\n{FOUR} proxy\n{SIX} lladdr {MAC}"
    assert counts(table, ["eth1"], purge="owned") == (0, 3, 0, 0)
    assert {row.split()[-1] for row in shown()} == {"118"}


@pytest.mark.parametrize("state", ["reachable", "stale", "failed"])
@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_a_learned_row_gives_way(ip, state):
    sh(f"ip neigh add {ip} dev eth1 lladdr {MAC2} nud {state}")
    assert not run(f"{ip}", ["eth1"], state="absent").changed
    assert counts(f"{ip} lladdr {MAC}", ["eth1"], purge="owned") == (0, 1, 0, 0)
    assert shown() == [f"{ip} eth1 {MAC} permanent 118"]


@pytest.mark.parametrize("state", ["failed", "stale"])
def test_what_the_kernel_makes_of_a_row_that_was_ours_is_the_kernels(state):
    """A row that is deleted while in use stays as failed and keeps its protocol, also when it is learned again."""
    run(f"{FOUR} lladdr {MAC}", ["eth1"])
    sh(f"ip neigh change {FOUR} dev eth1 lladdr {MAC} nud {state}")
    assert shown()[0].endswith(f"{state} 118")
    assert not run("", ["eth1"], purge="owned").changed
    assert not run("", ["eth1"], purge="all").changed
    assert not read_info({"dev": [], "ip": [FOUR]})["neighbors"][0]["owned"]


@pytest.mark.parametrize(
    "row",
    [
        f"{FOUR} dev eth1 lladdr {MAC} nud reachable extern_learn",
        f"{SIX} dev eth1 lladdr {MAC} nud noarp extern_learn protocol zebra",
        f"{SIX} dev eth1 lladdr {MAC} nud permanent protocol bird",
        f"proxy {SIX} dev eth1 protocol babel",
    ],
)
def test_rows_of_a_program_are_refused(row):
    sh(f"ip neigh add {row}")
    ip = next(word for word in row.split() if word in (FOUR, SIX))
    wanted = f"{ip} proxy" if "proxy" in row else f"{ip} lladdr {MAC}"
    before = shown()
    for more in ({}, {"purge": "owned"}, {"state": "absent"}):
        with pytest.raises(RefusedError, match=f"nothing was changed: .*{ip}.* dev eth1"):
            run(f"192.0.2.99 lladdr {MAC}\n{wanted}", ["eth1"], **more)
        assert shown() == before
    assert counts(wanted, ["eth1"], purge="all") == (0, 1, 0, 0)
    assert len(shown()) == 1 and shown()[0].endswith(" 118")


def test_absent():
    assert counts(f"{FOUR} lladdr {MAC}\n{FOUR} proxy\n{SIX} lladdr {MAC}\n{SIX} proxy", ["eth1"]) == (4, 0, 0, 0)
    sh(f"ip neigh add 192.0.2.21 dev eth1 lladdr {MAC} nud permanent")
    assert counts(f"{FOUR} lladdr {MAC2}\n192.0.2.99", ["eth1"], state="absent") == (0, 0, 0, 0)
    assert counts(f"{FOUR} lladdr {MAC}\n{SIX} proxy\n192.0.2.21", ["eth1"], state="absent") == (0, 0, 3, 0)
    assert shown() == [f"{FOUR} eth1 proxy 118", f"{SIX} eth1 {MAC} permanent 118"]
    assert counts(f"{FOUR} dev eth1 proxy\n{SIX} dev eth1", state="absent") == (0, 0, 2, 0)
    assert shown() == []


def test_a_device_that_is_not_there():
    table = f"{SIX} dev vxlan100 lladdr {MAC}\n{SIX} dev eth7 lladdr {MAC}\n{SIX} dev eth7 proxy"
    outcome = run(table, check=True, diff=True, purge="owned")
    assert outcome.result["rows"]["added"] == 3
    assert "there is no device eth7" in outcome.warnings[0] and len(outcome.warnings) == 1
    with pytest.raises(InputError, match="there is no device eth7"):
        run(table)
    assert shown() == []
    assert not run(f"{SIX}", ["eth7"], state="absent").changed
    outcome = run("", ["eth7"], purge="all")
    assert not outcome.changed and not outcome.warnings


def test_a_device_that_an_earlier_task_would_make_anew():
    run(f"{SIX} lladdr {MAC}\n{FOUR} lladdr {MAC}\n{FOUR} proxy", ["eth1"])
    for dev in (["eth1"], []):
        table = f"{SIX} dev eth1 lladdr {MAC2}"
        told = [run(table, dev, purge="owned", check=True, anew=anew).result["rows"] for anew in ([], ["eth1"])]
        assert told == [
            {"added": 0, "changed": 1, "removed": 2, "unchanged": 0},
            {"added": 1, "changed": 0, "removed": 0, "unchanged": 0},
        ]


def test_ipv6_is_disabled():
    run(f"{FOUR} lladdr {MAC}", ["eth1"])
    with open("/proc/sys/net/ipv6/conf/eth1/disable_ipv6", "w") as file:
        file.write("1\n")
    table = f"{FOUR} lladdr {MAC2}\n{SIX} lladdr {MAC}"
    checked = run(table, ["eth1"], check=True)
    assert checked.result["rows"] == {"added": 1, "changed": 1, "removed": 0, "unchanged": 0}
    assert "IPv6 is disabled on eth1" in checked.warnings[0]
    with pytest.raises(InputError, match="IPv6 is disabled on eth1"):
        run(table, ["eth1"])
    assert shown() == [f"{FOUR} eth1 {MAC} permanent 118"]
    assert counts(f"{FOUR} lladdr {MAC2}\n{SIX} proxy", ["eth1"]) == (1, 1, 0, 0)


def test_a_device_without_ipv4_addresses_takes_ipv4_neighbours():
    assert sh("ip -4 addr show dev vxlan100") == ""
    assert counts(f"{FOUR} lladdr {MAC}", ["vxlan100"]) == (1, 0, 0, 0)


def test_a_device_without_mac_addresses():
    if not os.path.exists("/dev/net/tun"):  # noqa: PTH110 (as the neighbours do)
        pytest.skip("this kernel has no TUN devices")
    sh("ip tuntap add tun0 mode tun")
    with pytest.raises(InputError, match="tun0 has link-layer addresses of 0 bytes"):
        run(f"{FOUR} lladdr {MAC}\n{SIX} proxy", ["tun0"])
    assert shown() == []


def many(count, mac=0):
    return "\n".join(
        f"2001:db8::{i:x} lladdr 50:54:{mac:02x}:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}"
        for i in range(1, count + 1)
    )


def test_large_tables():
    sh(*(f"ip neigh add 2001:db8:1::{i} dev eth1 lladdr {MAC} nud stale" for i in range(9)))
    theirs = shown()
    assert run(many(5000), ["eth1"]).result["rows"]["added"] == 5000
    assert len(shown()) == 5009
    assert not run(many(5000), ["eth1"], purge="owned").changed
    changed = many(5000).replace(" 50:54:00:00:00:", " 50:54:33:00:00:")
    rows = run(changed + f"\n{SIX} lladdr {MAC}", ["eth1"], purge="owned").result["rows"]
    assert rows == {"added": 1, "changed": 255, "removed": 0, "unchanged": 4745}
    assert sum(" 50:54:33:00:00:" in row for row in shown()) == 256 + 9
    assert run(f"{SIX} lladdr {MAC}", ["eth1"], purge="owned").result["rows"]["removed"] == 5000
    assert [row for row in shown() if SIX not in row] == theirs


def test_rows_of_both_families_flags_and_devices_in_one_table():
    lines = []
    for i in range(600):
        dev, flag = BOTH[i % 2], ("", " router", " extern_learn", " noarp")[i // 2 % 4]
        lines += [
            f"2001:db8::{i + 1:x} dev {dev} lladdr {MAC}{flag}",
            f"198.51.{100 + i // 256}.{i % 256} dev {dev} proxy",
        ]
        lines += [f"198.51.{100 + i // 256}.{i % 256} dev {dev} lladdr {MAC2}"]
    table = "\n".join(lines)
    assert counts(table, BOTH, purge="owned") == (1800, 0, 0, 0)
    assert counts("\n".join(lines[::2]), BOTH, purge="owned") == (0, 0, 900, 900)
    assert counts(table, purge="owned") == (900, 0, 0, 900)


def test_the_kernels_words_and_the_row():
    """A device that goes away while the module runs."""
    resource = NeighborResource()
    apply = resource.apply

    def late(plan):
        sh("ip link del eth1")
        apply(plan)

    resource.apply = late
    with pytest.raises(KernelError, match=f"neighbour put {FOUR} .*dev eth1.*1 more rows.*No such device"):
        run(f"{FOUR} lladdr {MAC}\n{SIX} lladdr {MAC}", ["eth1"], resource=resource)


def test_rows_that_go_with_their_device_are_gone():
    run(f"{FOUR} lladdr {MAC}\n{SIX} proxy", ["eth1"])
    resource = NeighborResource()
    apply = resource.apply

    def late(plan):
        sh("ip link del eth1")
        apply(plan)

    resource.apply = late
    assert run("", purge="owned", resource=resource).result["rows"]["removed"] == 2


def test_rows_that_get_lost_are_noticed(monkeypatch):
    """By the link going down, for instance."""

    @contextmanager
    def losing(lines):
        write = kernel.Neighbors.write

        def wrapped(self, *arguments):
            write(self, *arguments)
            sh(*lines)

        monkeypatch.setattr(kernel.Neighbors, "write", wrapped)
        yield
        monkeypatch.undo()

    with (
        losing(["ip link set eth1 down"]),
        pytest.raises(VerifyError, match=f"{FOUR} .* is missing.*{SIX} .* is missing"),
    ):
        run(f"{FOUR} lladdr {MAC}\n{SIX} lladdr {MAC}", ["eth1"])
    table = f"{FOUR} lladdr {MAC}"
    with (
        losing([f"ip neigh change {FOUR} dev eth1 lladdr {MAC2}"]),
        pytest.raises(VerifyError, match=f"{MAC2}.* stands where"),
    ):
        run(table, ["eth1"])
    run(f"{table}\n{SIX} proxy", ["eth1"])
    back = [f"ip neigh replace {FOUR} dev eth1 lladdr {MAC} nud permanent", f"ip neigh replace proxy {SIX} dev eth1"]
    with losing(back), pytest.raises(VerifyError, match=f"{FOUR} .* is still there; {SIX} .* is still there"):
        run("", ["eth1"], purge="owned")
    back = [f"ip neigh replace {FOUR} dev eth1 lladdr {MAC} nud permanent extern_learn protocol zebra"]
    with losing(back), pytest.raises(VerifyError, match=f"{FOUR} .* extern_learn .*is still there"):
        run("", ["eth1"], purge="all")


class Compared(Exception):
    """The table was read row by row."""


def remembers(monkeypatch, *args, **more):
    """Whether a run is answered by the record of the last one, and then as it must be."""

    def refuse(*_arguments):
        raise Compared

    with monkeypatch.context() as patched:
        patched.setattr(resources.model, "from_table", refuse)
        try:
            outcome = run(*args, **more)
        except Compared:
            return False
    assert not outcome.changed and not outcome.warnings
    assert outcome.result["rows"]["unchanged"] == len(args[0].strip().split("\n"))
    return True


RECORDED = f"{FOUR} dev eth1 lladdr {MAC}\n{SIX} dev eth1 proxy\n{SIX} dev vxlan100 lladdr {MAC} router"


@pytest.mark.parametrize("purge", ["none", "owned"])
def test_the_last_run_is_remembered(monkeypatch, records, purge):
    run(RECORDED, purge=purge, check=True)
    assert not records.exists()
    run(RECORDED, purge=purge)
    for check in (True, False):
        assert remembers(monkeypatch, RECORDED, purge=purge, check=check)
    others()  # rows of others are none of the task's business
    assert remembers(monkeypatch, RECORDED, purge=purge)
    assert not remembers(monkeypatch, RECORDED + " ", purge=purge)
    assert not remembers(monkeypatch, RECORDED, BOTH, purge=purge)
    assert not remembers(monkeypatch, RECORDED, purge="all", dev=BOTH)
    assert not remembers(monkeypatch, RECORDED, purge=purge, anew=["eth1"])
    with monkeypatch.context() as patched:
        patched.setattr(resources, "_code", lambda: [b"another version"])
        assert not remembers(monkeypatch, RECORDED, purge=purge)
    assert remembers(monkeypatch, RECORDED, purge=purge)
    (record,) = records.iterdir()
    record.write_text("{")
    assert not remembers(monkeypatch, RECORDED, purge=purge)
    run(RECORDED, purge=purge)
    assert remembers(monkeypatch, RECORDED, purge=purge)


@pytest.mark.parametrize(
    "change",
    [
        f"ip neigh change {FOUR} dev eth1 lladdr {MAC2}",
        f"ip neigh change {FOUR} dev eth1 lladdr {MAC} nud noarp",
        f"ip neigh change {FOUR} dev eth1 lladdr {MAC} extern_learn",
        f"ip neigh change {FOUR} dev eth1 lladdr {MAC} protocol 3",
        f"ip neigh change {SIX} dev vxlan100 lladdr {MAC}",
        f"ip neigh del {FOUR} dev eth1",
        f"ip neigh del proxy {SIX} dev eth1",
        f"ip neigh replace proxy {SIX} dev eth1 router",
        "ip link set eth1 down",
        "ip link del eth1",
    ],
)
def test_what_changed_since_the_last_run_is_seen(monkeypatch, change):
    run(RECORDED)
    assert remembers(monkeypatch, RECORDED)
    sh(change)
    assert not remembers(monkeypatch, RECORDED)
    if "link del" in change:
        sh("ip link add eth1 type veth peer name far1")
        assert not remembers(monkeypatch, RECORDED)
    assert run(RECORDED).changed
    assert counts(RECORDED) == (0, 0, 0, 3)


@pytest.mark.parametrize("proxy", [False, True])
def test_one_row_of_many_that_changed_since_the_last_run_is_seen(monkeypatch, proxy):
    """Datagrams with nothing but rows of one length are digested as a whole."""
    table = many(1000)
    if proxy:
        table = "\n".join(line.split()[0] + " proxy" for line in table.split("\n"))
    run(table, ["eth1"])
    assert remembers(monkeypatch, table, ["eth1"])
    change = "proxy 2001:db8::1f4 dev eth1 router" if proxy else f"2001:db8::1f4 dev eth1 lladdr {MAC}"
    sh(f"ip neigh replace {change}" + ("" if proxy else " nud permanent"))
    assert not remembers(monkeypatch, table, ["eth1"])
    assert run(table, ["eth1"]).result["rows"]["changed"] == 1
    sh("ip neigh del " + ("proxy " if proxy else "") + "2001:db8::1f4 dev eth1")
    assert not remembers(monkeypatch, table, ["eth1"])


def test_a_row_of_ours_that_came_since_the_last_run_is_purged(monkeypatch):
    run(RECORDED, purge="owned")
    sh(f"ip neigh add 192.0.2.50 dev far1 lladdr {MAC} nud permanent protocol 118")
    assert not remembers(monkeypatch, RECORDED, purge="owned")
    assert counts(RECORDED, purge="owned") == (0, 0, 1, 3)


def test_what_was_never_seen_to_be_as_wanted_is_not_remembered(monkeypatch, records):
    """Only some rows were written and read back, or the kernel lost one before it was."""
    run(f"{FOUR} dev eth1 lladdr {MAC}", purge="owned")
    run(RECORDED)
    assert not remembers(monkeypatch, RECORDED)
    sh(f"ip neigh del {FOUR} dev eth1")
    assert counts(RECORDED) == (1, 0, 0, 2)
    monkeypatch.setattr(last_run, "DIRECTORY", records / "file" / "below")
    (records / "file").write_text("")
    assert counts(f"{FOUR} dev eth1 lladdr {MAC2}\n{SIX} dev eth1 proxy") == (0, 1, 0, 1)


def test_a_dump_that_was_interrupted_is_taken_again(monkeypatch):
    run(f"{FOUR} lladdr {MAC}", ["eth1"])
    dump, times = rtnl.Rtnl.dump, []

    def interrupted(self, *arguments):
        yield from dump(self, *arguments)
        times.append(1)
        if len(times) < limit:
            raise rtnl.Interrupted

    monkeypatch.setattr(rtnl.Rtnl, "dump", interrupted)
    limit = 3
    assert not run(f"{FOUR} lladdr {MAC}", ["eth1"]).changed
    limit = 100
    with pytest.raises(KernelError, match="keeps changing"):
        run(f"{FOUR} lladdr {MAC}", ["eth1"])


def test_info():
    others()
    run(f"{FOUR} dev eth1 lladdr {MAC} router\n{SIX} dev vxlan100 proxy")
    rows = read_info({"dev": [], "ip": []})["neighbors"]
    told = {(row["ip"], row["dev"], row["proxy"]): row for row in rows}
    assert len(told) == len(rows)
    by_ip = [row for what in ("nud all", "proxy") for row in json.loads(sh(f"ip -j neigh show {what}"))]
    assert sorted((row["ip"], row["dev"], row.get("lladdr")) for row in rows) == sorted(
        (row["dst"], row["dev"], row.get("lladdr")) for row in by_ip
    )
    ours = told[FOUR, "eth1", False]
    assert (ours["state"], ours["router"], ours["owned"], ours["protocol"]) == ("permanent", True, True, 118)
    assert ours["lladdr"] == MAC and ours["updated"] < 60
    assert told["192.0.2.23", "eth1", False]["extern_learn"]
    assert told["192.0.2.22", "eth1", False]["protocol"] == 11
    assert {key for key, row in told.items() if row["owned"]} == {(FOUR, "eth1", False), (SIX, "vxlan100", True)}
    assert [row["ip"] for row in read_info({"dev": ["vxlan100"], "ip": [SIX.upper()]})["neighbors"]] == [SIX]
    with pytest.raises(InputError, match=r"'192\.0\.2'.*|dev.*"):
        read_info({"dev": ["a/b"], "ip": ["192.0.2"]})
    with pytest.raises(InputError, match="there is no device eth7"):
        read_info({"dev": ["eth7"], "ip": []})
