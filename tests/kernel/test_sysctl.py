# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel settings in a private network namespace, read by sysctl(8): set, kept, put back, and after a run that was killed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.sysctl import Sysctl, info
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import sysctl as records
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import sysctl as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError, KernelError, MissingError
from device_support import private, sh

needed = [word for word in ("ip", "sysctl") if not shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: kernel settings need root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: kernel settings need the programs {needed}"),
]
FORWARDING = "net.ipv6.conf.all.forwarding"
NDP = "net.ipv6.conf.eth1.proxy_ndp"
DOTTED = "net/ipv4/conf/eth1.100/proxy_arp"


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "DIRECTORY", tmp_path / "vtep.fabric")
    with private():
        sh("ip link set lo up")
        sh("ip link add eth1 type veth peer name eth1.100")
        sh("ip link set eth1 up")
        sh("ip link set eth1.100 up")
        yield tmp_path / "vtep.fabric" / "sysctl.json"


def snapshot():
    """All that sysctl(8) tells of the network, but what the kernel counts or draws by itself."""
    done = subprocess.run(["sysctl", "-a", "-r", r"^net\."], capture_output=True, text=True, check=True)
    words = ("stable_secret", "random", "_mem", "netfilter")
    return [one for one in done.stdout.splitlines() if not any(w in one for w in words)]


def asked(key):
    return sh(f"sysctl -n {key}").strip()


def run(settings, purge="none", anew=(), checking=False):
    resource = Sysctl()
    try:
        return converge(resource, {"settings": settings, "purge": purge, "anew": list(anew)}, checking)
    finally:
        resource.close()


def twice(*arguments, **options):
    """Check, run, run again: the check predicts and changes nothing, and the second run changes nothing."""
    before = snapshot()
    told = run(*arguments, checking=True, **options)
    assert snapshot() == before
    done = run(*arguments, **options)
    assert told == done
    again = run(*arguments, **options)
    assert (again.changed, again.before, again.after) == (False, "", "")
    return done


def test_set_and_put_back(host):
    before = snapshot()
    done = twice({NDP: 1, DOTTED: "1", "net.ipv4.conf.eth1.rp_filter": asked("net.ipv4.conf.eth1.rp_filter")})
    assert done.result["set"] == ["net.ipv4.conf.eth1/100.proxy_arp", NDP]
    assert done.after == f"net.ipv4.conf.eth1/100.proxy_arp = 1\n{NDP} = 1\n"
    assert asked(NDP) == asked(DOTTED) == "1"
    assert sorted(json.loads(host.read_text())) == ["net.ipv4.conf.eth1/100.proxy_arp", NDP]
    assert host.stat().st_mode & 0o777 == 0o600
    assert info({"keys": [DOTTED, "net.ipv4.nothing"]}) == {
        "settings": {"net.ipv4.conf.eth1/100.proxy_arp": "1", "net.ipv4.nothing": None},
        "owned": {
            key: {"before": "0", "set": "1", "current": "1"} for key in ("net.ipv4.conf.eth1/100.proxy_arp", NDP)
        },
    }
    assert twice({DOTTED: 1}, "owned").result["restored"] == [NDP]
    assert twice({}, "owned").result["restored"] == ["net.ipv4.conf.eth1/100.proxy_arp"]
    assert snapshot() == before
    assert not host.parent.exists()


def test_lists_of_numbers_are_compared_as_such(host):
    before = snapshot()
    assert twice({"net.ipv4.ping_group_range": "5  6"}).changed
    assert asked("net.ipv4.ping_group_range") == "5\t6"
    run({}, "owned")
    assert snapshot() == before


def test_what_somebody_changed_after_us_stays(host):
    run({NDP: 1})
    sh(f"sysctl -w {NDP}=2")
    done = twice({}, "owned")
    assert done.result["left"] == [NDP] and done.changed
    assert "somebody changed it since" in done.warnings[0]
    assert asked(NDP) == "2"


def test_a_device_that_went_and_one_made_anew(host):
    run({NDP: 1, DOTTED: 1})
    told = run({NDP: 1, DOTTED: 1}, anew=["eth1", "eth1.100"], checking=True)
    sh("ip link del eth1")
    assert run({}, "owned", checking=True).result["dropped"] == ["net.ipv4.conf.eth1/100.proxy_arp", NDP]
    sh("ip link add eth1 type veth peer name eth1.100")
    assert run({NDP: 1, DOTTED: 1}) == told
    told = run({}, "owned", anew=["eth1", "eth1.100"], checking=True)
    sh("ip link del eth1")
    assert run({}, "owned") == told
    assert not host.exists()


def test_a_device_to_be_made_is_predicted_with_its_defaults(host):
    settings = {"net.ipv4.conf.new0.proxy_arp": 1, "net.ipv6.conf.new0.proxy_ndp": 1, "net.ipv6.conf.new0.mtu": 1400}
    sh("sysctl -w net.ipv6.conf.default.proxy_ndp=1")
    told = run(settings, checking=True)
    assert told.result["set"] == ["net.ipv4.conf.new0.proxy_arp", "net.ipv6.conf.new0.mtu"]
    for wanted in (settings, {"net.ipv6.conf.new0.proxy_ndp": 1}):
        with pytest.raises(InputError, match="there is no device new0; make it first"):
            run({**wanted, NDP: 1})
    assert asked(NDP) == "0" and not host.exists()
    sh("ip link add new0 mtu 1280 type veth peer name new1")
    done = run({key: value for key, value in settings.items() if not key.endswith("mtu")})
    assert done.result["set"] == ["net.ipv4.conf.new0.proxy_arp"]


@pytest.mark.parametrize("checking", [True, False])
def test_what_the_kernel_lacks_is_named(host, checking):
    with pytest.raises(MissingError, match=r"kernel has no net.ipv6.conf.all.nothing and no net.ipv4.conf.eth1.none"):
        run({"net.ipv6.conf.all.nothing": 1, "net.ipv4.conf.eth1.none": 1, NDP: 1}, checking=checking)
    assert asked(NDP) == "0"


def test_what_a_module_of_the_kernel_may_bring_is_an_error_when_it_is_set(host):
    assert run({"net.bridge.nothing": 1}, checking=True).changed
    with pytest.raises(InputError, match=r"kernel has no net.bridge.nothing"):
        run({"net.bridge.nothing": 1, NDP: 1})
    assert asked(NDP) == "0" and not host.exists()


def test_the_kernels_refusal_is_passed_on_and_what_was_set_goes_back(host):
    before = snapshot()
    with pytest.raises(KernelError, match=r"set net.ipv6.conf.eth1.mtu to '7': Invalid argument"):
        run({"net.ipv4.conf.eth1.proxy_arp": 1, "net.ipv6.conf.eth1.mtu": 7})
    run({}, "owned")
    assert snapshot() == before and not host.exists()


def test_forwarding_leaves_the_other_devices_alone(host):
    sh("sysctl -w net.ipv6.conf.eth1/100.forwarding=1")
    before = snapshot()
    twice({FORWARDING: 1})
    changed = set(snapshot()) ^ set(before)
    assert changed == {f"{FORWARDING} = 0", f"{FORWARDING} = 1"}
    twice({FORWARDING: 1, "net.ipv6.conf.eth1.forwarding": 1})
    assert asked("net.ipv6.conf.eth1.forwarding") == "1" and asked("net.ipv6.conf.lo.forwarding") == "0"
    twice({}, "owned")
    assert snapshot() == before


def test_single_devices_that_forward_are_left_alone_when_all_stop(host):
    """Linux 6.17 clears force_forwarding of every device with all.forwarding."""
    if not Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists():
        pytest.skip("NOT TESTED: this kernel has no force_forwarding")
    run({FORWARDING: 1})
    sh("sysctl -w net.ipv6.conf.eth1.force_forwarding=1")
    run({}, "owned")
    assert asked("net.ipv6.conf.eth1.force_forwarding") == "1"


ADVERTISE = """
import socket, struct
sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)  # RFC 4861, section 4.2
sock.sendto(advertisement, ("ff02::1", 0, 0, socket.if_nametoindex("far")))
"""


@pytest.fixture
def router(host):
    """eth0, by which a router in another namespace advertises itself when it is told to."""
    name = f"ra{os.getpid()}"
    sh(f"ip netns add {name}")
    try:
        sh(f"ip netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0")
        sh(f"ip link add eth0 type veth peer name far netns {name}")
        sh(f"ip -n {name} link set far up")
        sh("ip link set eth0 up")

        def advertise():
            for _attempt in range(100):
                subprocess.run(["ip", "netns", "exec", name, sys.executable, "-c", ADVERTISE], check=True)
                if "default via" in sh("ip -6 route show default dev eth0"):
                    return
                time.sleep(0.02)
            raise AssertionError("the advertisement makes no default route")

        yield advertise
    finally:
        sh(f"ip netns del {name}")


@pytest.mark.parametrize("accept_ra, stays", [(1, False), (2, True)])
def test_a_learned_default_route_stays_where_accept_ra_is_2(router, accept_ra, stays):
    router()
    run({FORWARDING: 1, "net.ipv6.conf.eth0.accept_ra": accept_ra})
    assert bool(sh("ip -6 route show default dev eth0")) == stays
    run({}, "owned")
    assert asked("net.ipv6.conf.eth0.accept_ra") == "1"
    if not stays:
        router()  # the next advertisement brings it back, since eth0 does not forward


def test_advertisements_are_still_accepted_while_the_host_forwards(router):
    run({FORWARDING: 1})
    router()
    assert asked(FORWARDING) == "1"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("then", ["completed", "torn down"])
@pytest.mark.parametrize("first", ["set", "changed", "put back"])
def test_killed_at_any_step(host, monkeypatch, first, then):
    """Before every write of the record and of a setting in turn."""
    sh("sysctl -w net.ipv6.conf.eth1/100.forwarding=1")
    before = snapshot()
    full = {FORWARDING: 1, NDP: 1, "net.ipv6.conf.eth1.forwarding": 1, "net.ipv4.conf.eth1.rp_filter": 1}
    changed = {FORWARDING: 2, NDP: 2, "net.ipv4.conf.eth1.rp_filter": 2}
    wanted = {"set": full, "changed": changed, "put back": {}}[first]
    run(wanted, "owned")
    aim = snapshot()
    run({}, "owned")
    assert snapshot() == before
    steps = []

    def step(function):
        def counted(*arguments):
            if len(steps) == limit:
                raise Killed
            steps.append(function)
            return function(*arguments)

        return counted

    killed = 0
    for limit in range(40):
        run({} if first == "set" else full, "owned")
        steps.clear()
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "write", step(kernel.write))
            patch.setattr(records, "store", step(records.store))
            try:
                run(wanted, "owned")
            except Killed:
                killed += 1
            else:
                break
        if then == "completed":
            run(wanted, "owned")
            assert snapshot() == aim, limit
        run({}, "owned")
        assert snapshot() == before, limit
        assert not host.exists()
    assert 3 < killed < 40


def test_a_damaged_record_is_told_and_nothing_is_put_back(host):
    run({NDP: 1})
    host.write_text('{"net.ipv6.conf.eth1.proxy_ndp": {"bef')
    done = run({}, "owned", checking=True)
    assert "is damaged" in done.warnings[0] and not done.changed
    assert asked(NDP) == "1"


RUN = """
import sys
import time
from pathlib import Path
from ansible.module_utils import basic
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import sysctl as records
from ansible_collections.vtep.fabric.plugins.modules import sysctl, sysctl_info
records.DIRECTORY = Path(sys.argv[3])
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[2].encode(), "legacy"
{"sysctl": sysctl, "sysctl_info": sysctl_info}[sys.argv[1]].main()
"""


def test_the_modules(host):
    def module(name, **arguments):
        done = subprocess.run(
            [sys.executable, "-c", RUN, name, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), str(host.parent)],
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2] / "collections")),
        )
        return json.loads(done.stdout)

    predicted = module("sysctl", settings={NDP: 1}, _ansible_check_mode=True, _ansible_diff=True)
    assert predicted == module("sysctl", settings={NDP: 1}, _ansible_diff=True)
    assert predicted["changed"] and predicted["diff"]["after"] == f"{NDP} = 1\n"
    assert module("sysctl_info")["owned"] == {NDP: {"before": "0", "set": "1", "current": "1"}}
    assert "kernel.hostname" in module("sysctl", settings={"kernel.hostname": "x"})["msg"]
    assert module("sysctl", settings={}, purge="owned")["restored"] == [NDP]
