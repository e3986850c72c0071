# SPDX-License-Identifier: GPL-3.0-or-later
"""Role vxfld on a VTEP and a service node: the daemons under systemd, locked in and alive, and what a run changes of them."""

import json
import re
import time

import pytest
from conftest import Lab
from driver import ROOT, at_length

KEY = "never-to-be-seen-0123456789abcdef"
VTEP, NODE, ANYCAST, OTHER = "2001:db8:1::1", "2001:db8:98::1", "2001:db8:100::100", "2001:db8:2::1"
EXPOSURE = 2.5  # at most, by systemd-analyze security

HOSTS = {
    "all": {"vars": {"ansible_connection": "vtep.fabric.nspawn", "ansible_python_interpreter": "/usr/bin/python3"}},
    "lab": {
        "hosts": {
            "s1": {
                "lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": [f"{VTEP}/32"]}],
                "vtep_address": VTEP,
                "preflight_plan": {"vxfld": {"daemon": "vxrd", "settings": {
                    "common": {"src_ip": VTEP, "svcnode_ip": NODE}, "vxrd": {"head_rep": "true"}}}},
            },
            "sn1": {
                "lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": [f"{NODE}/32"]}],
                "service_node_address": [NODE],
                "preflight_plan": {"vxfld": {"daemon": "vxsnd", "settings": {
                    "common": {"src_ip": NODE, "svcnode_ip": ANYCAST},
                    "vxsnd": {"install_svcnode_ip": "true", "svcnode_peers": NODE}}}},
            },
        },
    },
    "vteps": {"hosts": {"s1": None}},
    "service_nodes": {"hosts": {"sn1": None}},
}  # fmt: skip
PLAY = [{"hosts": "lab", "gather_facts": False, "roles": ["vtep.fabric.vxfld"]}]
TEARDOWN = [{**PLAY[0], "roles": ["vtep.fabric.teardown"]}]
DAEMON = {"s1": "vxrd", "sn1": "vxsnd"}
UNITS = {"s1": ["vxrd"], "sn1": ["vxsnd", "vxsnd-withdraw"]}
UPSTREAM = {
    "vxfld_implementation": "upstream",
    "vxfld_extra_settings": {"common": {"src_ip": "192.0.2.1", "svcnode_ip": "192.0.2.100"},
                             "vxsnd": {"svcnode_peers": "192.0.2.1"}},
}  # fmt: skip
RECORD = "/var/lib/vtep.fabric/vxfld.json"
RUN, PROGRAM = "Run the daemon", "Install the program"


class Hosts(Lab):
    """The two hosts, on the image of a suite."""

    def __init__(self, directory, suite):
        super().__init__(directory, HOSTS)
        self.suite = suite
        self.said = ""

    def command(self, program, *arguments):
        return super().command(program, "-e", f"lab_suite={self.suite}", *arguments)

    def role(self, *arguments, fails=False, play=None, **words):
        """Run the role; {(task, host): diff} of what changed."""
        playbook, given, record = (self.directory / name for name in ("vxfld.json", "words.json", "record.json"))
        playbook.write_text(json.dumps(play or PLAY))
        given.write_text(json.dumps(words))  # by file: Ansible itself shows what is on its command line
        callback = {"ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
                    "ANSIBLE_CALLBACKS_ENABLED": "record", "RECORD_FILE": str(record)}  # fmt: skip
        self.said = self.playbook(str(playbook), "-e", f"@{given}", "--diff", *arguments, fails=fails, **callback)
        tasks = json.loads(record.read_text())["tasks"]
        return {(task["name"].split(" : ")[-1], host): result["diff"]
                for task in tasks for host, result in task["hosts"].items() if result["changed"]}  # fmt: skip

    def predicted(self, **words):
        """Run the role in check mode and then really: both tell the same."""
        found = self.role("--check", **words)
        done = self.role(**words)
        assert done == found
        return done

    def on(self, host, script):
        return self.run(host, "sh", "-ec", script)

    def state(self, host):
        return self.on(host, f"systemctl show -P ActiveState {DAEMON[host]}").strip()

    def pid(self, host):
        return int(self.on(host, f"systemctl show -P MainPID {DAEMON[host]}"))


@pytest.fixture(scope="module", params=["trixie", pytest.param("bookworm", marks=at_length)])
def hosts(tmp_path_factory, request):
    lab = Hosts(tmp_path_factory.mktemp("vxfld"), request.param)
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture
def running(hosts):
    """The hosts, with both daemons at work."""
    hosts.role()
    return hosts


def action(changes, host):
    """What became of a host's daemon, in the last line of the diff."""
    return changes[RUN, host]["after"].splitlines()[-1]


def wait(true, seconds=15):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_bare_hosts_are_predicted_and_a_second_run_changes_nothing(hosts):
    done = hosts.predicted()
    assert set(done) == {(task, host) for task in (PROGRAM, RUN) for host in DAEMON}
    for host, daemon in DAEMON.items():
        assert action(done, host) == f"{daemon}.service: enabled, active"
        assert hosts.state(host) == "active"
        program = hosts.on(host, "sha256sum /usr/local/lib/vtep.fabric/vxfld.pyz").split()[0]
        assert f"SHA-256 {program}" in done[PROGRAM, host]["after"]
        assert hosts.on(host, "ls /usr/local/sbin").split() == ["vxrd", "vxrdctl", "vxsnd", "vxsndctl"]
        # Nothing was compiled beside what the image came with.
        assert hosts.on(host, f"find / -xdev -name '*.pyc' -newer /etc/{daemon}.conf -not -path '*/ansible*'") == ""
    assert hosts.role() == {}


def test_the_daemons_are_locked_in(running):
    for host, units in UNITS.items():
        for unit in units:
            said = running.on(host, f"systemd-analyze security --no-pager {unit}.service")
            exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
            assert exposure <= EXPOSURE, f"{unit}.service on {running.suite} is exposed by {exposure}:\n{said}"
        said = running.on(host, f"systemd-analyze verify {DAEMON[host]}.service 2>&1 || true")
        assert [line for line in said.splitlines() if "vx" in line and "RestartMode" not in line] == []
        status = running.on(host, f"cat /proc/{running.pid(host)}/status")
        capabilities = 1 << 12 | 1 << 13  # CAP_NET_ADMIN, CAP_NET_RAW of linux/capability.h
        for kind in ("Prm", "Eff", "Bnd", "Amb"):
            assert int(re.search(rf"Cap{kind}:\s*(\w+)", status)[1], 16) == capabilities, status
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        assert set(re.search(r"Uid:\s*(.*)", status)[1].split()) != {"0"}


def test_and_do_their_work_in_there(running):
    """Registered over the wire, a flood list by netlink, replication in the kernel by nft; root asks over the control sockets."""
    with FloodList(running):
        assert VTEP in running.on("sn1", "vxsndctl fdb 100")
    assert f"{ANYCAST}/128" in running.on("sn1", "ip -6 addr show dev lo")
    assert "table ip6 vtep_fabric_vxsnd" in running.on("sn1", "nft list tables")
    for host, daemon in DAEMON.items():
        assert '"holdtime": 90' in running.on(host, f"{daemon}ctl get config holdtime")


class FloodList:
    """A VXLAN device on the VTEP whose flood list has another VTEP, which the service node was told of."""

    def __init__(self, hosts):
        self.hosts = hosts

    def rows(self):
        return [line for line in self.hosts.on("s1", "bridge fdb show dev vx100").splitlines() if OTHER in line]

    def deleted(self):
        return "Deleted" in self.hosts.on("s1", "cat /run/fdb.log")

    def __enter__(self):
        self.hosts.on("sn1", f"vxsndctl fdb add 100 {OTHER}")
        self.hosts.on("s1", f"ip link add vx100 type vxlan id 100 dstport 4789 local {VTEP}; ip link set vx100 up")
        wait(self.rows)
        self.hosts.on("s1", "bridge monitor fdb >/run/fdb.log 2>&1 & echo $! >/run/fdb.pid")
        return self

    def __exit__(self, *error):
        self.hosts.on("s1", "kill $(cat /run/fdb.pid); ip link del vx100; rm /run/fdb.*")
        self.hosts.on("sn1", f"vxsndctl fdb del 100 {OTHER}")


def test_a_setting_that_can_be_reloaded_is(running):
    before = {host: running.pid(host) for host in DAEMON}
    done = running.predicted(vxfld_holdtime=45)
    assert set(done) == {(RUN, "s1"), (RUN, "sn1")}
    for host, daemon in DAEMON.items():
        assert action(done, host) == f"{daemon}.service: enabled, active, reloaded"
        assert running.pid(host) == before[host]
        wait(lambda host=host, daemon=daemon: '"holdtime": 45' in running.on(host, f"{daemon}ctl get config holdtime"))
    assert running.role(vxfld_holdtime=45) == {}


def test_any_other_is_cause_for_a_restart_of_that_daemon(running):
    before = {host: running.pid(host) for host in DAEMON}
    done = running.predicted(vxfld_extra_settings={"vxsnd": {"receive_queue": 1000000}})
    assert set(done) == {(RUN, "sn1")} and action(done, "sn1") == "vxsnd.service: enabled, active, restarted"
    assert running.pid("s1") == before["s1"] and running.pid("sn1") != before["sn1"]
    assert '"receive_queue": 1000000' in running.on("sn1", "vxsndctl get config receive_queue")


def test_a_restart_that_an_earlier_run_owed(running):
    """It broke off when the unit was written and known to systemd, and the old process went on."""
    before = running.pid("s1")
    running.on("s1", "sed -i 's/^Environment=.*/Environment=VTEP_FABRIC_DIGEST=other/' /etc/systemd/system/vxrd.service;"
               "systemctl daemon-reload; systemctl restart vxrd")  # fmt: skip
    owed = running.pid("s1")
    done = running.predicted()
    assert set(done) == {(RUN, "s1")} and running.pid("s1") not in (before, owed)


def test_flood_lists_stay_over_restarts_and_crashes_and_go_with_the_daemon(running):
    with FloodList(running) as flood:
        running.on("s1", "systemctl restart vxrd")
        assert running.on("s1", "systemctl show -P Result vxrd") == "success\n"
        running.role(vxfld_extra_settings={"common": {"logfilesize": 1000000}})
        running.on("s1", "kill -9 $(systemctl show -P MainPID vxrd)")
        wait(lambda: running.state("s1") == "active")
        time.sleep(1)
        assert flood.rows() and not flood.deleted()
        running.on("s1", "systemctl stop vxrd")
        assert not flood.rows() and flood.deleted()
        running.role()


def test_a_daemon_that_is_dead_or_not_enabled_is_a_change(running):
    running.on("s1", "systemctl stop vxrd")
    running.on("sn1", "systemctl disable -q vxsnd")
    done = running.predicted()
    assert set(done) == {(RUN, "s1"), (RUN, "sn1")}
    assert done[RUN, "s1"]["before"] == "vxrd.service: enabled, inactive\n"
    assert done[RUN, "sn1"]["before"] == "vxsnd.service: not enabled, active\n"
    assert running.state("s1") == "active" and running.on("sn1", "systemctl is-enabled vxsnd") == "enabled\n"


def test_a_start_that_fails_tells_why(running):
    lost = {"common": {"src_ip": "2001:db8:dead::1"}}
    running.role(vxfld_extra_settings=lost, fails=True)
    assert "systemctl start vxsnd.service failed; its last words:" in running.said
    assert "this host does not have the address" in running.said
    running.role()
    assert running.state("sn1") == "active"


def test_a_service_node_that_crashes_goes_on_and_one_that_cannot_withdraws(running):
    address = "ip -6 addr show dev lo"
    since = running.on("sn1", "date +%s").strip()
    running.on("sn1", "ip monitor address >/run/address.log 2>&1 & echo $! >/run/address.pid")
    running.on("sn1", "kill -9 $(systemctl show -P MainPID vxsnd)")
    wait(lambda: running.state("sn1") == "active")
    running.on("sn1", "kill $(cat /run/address.pid)")
    assert ANYCAST not in running.on("sn1", "cat /run/address.log; rm /run/address.*")
    assert running.on("sn1", f"journalctl -q -u vxsnd-withdraw --since=@{since}") == ""

    running.on("sn1", "printf '[vxsnd]\\nreplicate = broken\\n' >/etc/vxsnd.conf.override")
    running.on("sn1", "kill -9 $(systemctl show -P MainPID vxsnd)")
    wait(lambda: ANYCAST not in running.on("sn1", address), seconds=30)
    assert running.state("sn1") == "failed"
    wait(lambda: "vxsnd" not in running.on("sn1", "nft list tables"))
    running.on("sn1", "rm /etc/vxsnd.conf.override")
    done = running.predicted()
    assert done[RUN, "sn1"]["before"] == "vxsnd.service: enabled, failed\n"
    assert ANYCAST in running.on("sn1", address)


def test_a_daemon_that_hangs_is_started_anew(running):
    for host, daemon in DAEMON.items():
        quick = f"/run/systemd/system/{daemon}.service.d"
        running.on(host, f"mkdir -p {quick}; printf '[Service]\\nWatchdogSec=1\\n' >{quick}/quick.conf;"
                   f"systemctl daemon-reload; systemctl restart {daemon}")  # fmt: skip
        time.sleep(2)
        before = running.pid(host)
        assert running.state(host) == "active"
        running.on(host, f"kill -STOP {before}")
        wait(lambda host=host, before=before: running.pid(host) not in (0, before) and running.state(host) == "active")
        running.on(host, f"rm -r {quick}; systemctl daemon-reload")


def test_nobody_sees_the_key(running):
    key = {"vxfld_auth_key": KEY}
    predicted = running.role("-vvvvv", "--check", **key)
    said = running.said
    assert running.role("-vvvvv", **key) == predicted
    said += running.said
    assert "secret auth_key" in said and KEY not in said
    for host, daemon in DAEMON.items():
        assert running.on(host, f"cat /etc/vtep.fabric/{daemon}/auth_key") == KEY
        assert running.on(host, f"stat -c '%a %U' /etc/vtep.fabric/{daemon}/auth_key") == "600 root\n"
        assert KEY not in running.on(host, f"cat /etc/{daemon}.conf; systemctl cat {daemon}; journalctl -o cat")
    with FloodList(running):  # they believe one another
        pass
    assert running.role(**key) == {}
    changed = running.predicted(vxfld_auth_key="x" + KEY)
    assert set(changed) == {(RUN, "s1"), (RUN, "sn1")}
    assert changed[RUN, "s1"]["after"] == "secret auth_key (new)\nvxrd.service: enabled, active, restarted\n"


def test_what_is_wrong_is_told_before_the_first_change(running):
    before = {host: running.pid(host) for host in DAEMON}
    words = {"vxfld_holdtime": 0, "vxfld_auth_key": "short", "vxfld_extra_settings": {"vxrd": {"refresh": 3}}}
    assert running.role(fails=True, **words) == {}
    for text in ("/etc/vxrd.conf: [common] holdtime: '0'", "/etc/vxsnd.conf: [common] holdtime: '0'",
                 "[vxrd] refresh: is not a known key", "'vxfld_auth_key' holds a key of 5 octets"):  # fmt: skip
        assert text in running.said
    assert before == {host: running.pid(host) for host in DAEMON}


def test_removed_to_the_last_file(running):
    done = running.predicted(vxfld_state="absent")
    assert {host for _task, host in done} == set(DAEMON)
    for host in DAEMON:
        left = running.on(host, r"""
            find / -xdev \( -name '*vxrd*' -o -name '*vxsnd*' -o -name '*vxfld*' -o -name 'vtep.fabric*' \) -not -path '/proc/*'
            find /run -name '*vxrd*' -o -name '*vxsnd*' -o -name 'vtep.fabric*'
            systemctl list-units --all --no-legend 'vx*'; nft list tables
        """)  # fmt: skip
        assert left == ""
        assert running.on(host, "systemctl is-system-running") == "running\n"
    assert ANYCAST not in running.on("sn1", "ip -6 addr show dev lo")
    assert running.role(vxfld_state="absent") == {}


def test_what_others_made_is_refused_and_stays(hosts):
    hosts.role(vxfld_state="absent")
    hosts.on("s1", "echo '[common]' >/etc/vxrd.conf; touch /usr/local/sbin/vxrdctl")
    hosts.on(
        "sn1",
        "printf '[Service]\\nExecStart=/bin/sleep 9\\n' >/usr/lib/systemd/system/vxsnd.service; systemctl daemon-reload",
    )
    assert hosts.role(fails=True) == {}
    assert "/etc/vxrd.conf is there and is not of vtep.fabric; move it away" in hosts.said
    assert "vxsnd.service is of a package (/usr/lib/systemd/system/vxsnd.service)" in hosts.said.replace(
        "(/lib/", "(/usr/lib/"
    )
    assert hosts.role(vxfld_state="absent") == {}
    assert hosts.on("s1", "cat /etc/vxrd.conf; rm /etc/vxrd.conf") == "[common]\n"
    assert hosts.role("--limit", "s1", fails=True) == {}
    assert "/usr/local/sbin/vxrdctl is there and is not a link to vxfld; move it away" in hosts.said
    hosts.on("s1", "rm /usr/local/sbin/vxrdctl")
    hosts.on("sn1", "rm /usr/lib/systemd/system/vxsnd.service; systemctl daemon-reload")


class Package:
    """vxfld as a package brings it: both daemons' units, which run something else, and what keeps them from starting."""

    def __init__(self, hosts):
        self.hosts = hosts

    def __enter__(self):
        unit = "[Service]\\nExecStart=/bin/sleep inf\\n[Install]\\nWantedBy=multi-user.target\\n"
        for host in DAEMON:
            for daemon in DAEMON.values():
                self.hosts.on(host, f"printf '{unit}' >/usr/lib/systemd/system/{daemon}.service;"
                              f"echo START=no >/etc/default/{daemon}; systemctl daemon-reload")  # fmt: skip
        return self

    def __exit__(self, *error):
        """Its configuration stays, as with `apt-get remove`."""
        for host in DAEMON:
            self.hosts.on(host, "cd /usr/lib/systemd/system; systemctl stop vxrd vxsnd; rm vxrd.service vxsnd.service"
                          " /etc/default/vxrd /etc/default/vxsnd; systemctl daemon-reload")  # fmt: skip


def is_gone(hosts, host, daemon):
    """Whether nothing is left of a package's daemon that the role ran, but for its package."""
    said = hosts.on(host, f"systemctl show -P ActiveState {daemon}; systemctl is-enabled {daemon} || true;"
                    f"ls -d /etc/{daemon}.conf {RECORD} /var/lib/vtep.fabric 2>/dev/null || true")  # fmt: skip
    return said == "inactive\ndisabled\n"


def test_upstream_gets_its_configuration_and_runs(hosts):
    hosts.role(vxfld_state="absent")
    with Package(hosts):
        assert hosts.role(fails=True, vxfld_implementation="upstream") == {}
        assert f"src_ip: {VTEP} is IPv6, and upstream takes IPv4 only" in hosts.said
        assert hosts.role("--check", **UPSTREAM)
        assert hosts.role(**UPSTREAM)
        assert hosts.role(**UPSTREAM) == {}
        for host, daemon in DAEMON.items():
            assert hosts.state(host) == "active"
            assert hosts.on(host, f"cat /etc/default/{daemon}") == "START=yes\n"
            text = hosts.on(host, f"cat /etc/{daemon}.conf")
            assert "src_ip = 192.0.2.1\n" in text and "statedir" not in text and "allow" not in text
            assert hosts.on(host, "ls /usr/local/sbin") == ""
            assert json.loads(hosts.on(host, f"cat {RECORD}")) == {"implementation": "upstream", "daemon": daemon}
            assert hosts.on(host, f"stat -c %a {RECORD}") == "644\n"
        before = hosts.pid("s1")
        hosts.role(vxfld_holdtime=30, **UPSTREAM)
        assert hosts.pid("s1") != before
        hosts.role(vxfld_state="absent", **UPSTREAM)
        assert all(is_gone(hosts, host, daemon) for host, daemon in DAEMON.items())
        assert hosts.role(vxfld_state="absent", **UPSTREAM) == {}


@at_length
def test_upstream_goes_by_teardown_which_is_not_told_of_it(hosts):
    hosts.role(vxfld_state="absent")
    with Package(hosts):
        hosts.role(**UPSTREAM)
        hosts.on("sn1", "echo '[common]' >/etc/vxsnd.conf")
        assert hosts.role("--check", play=TEARDOWN)
        hosts.role(play=TEARDOWN)
        assert hosts.on("sn1", "cat /etc/vxsnd.conf; rm /etc/vxsnd.conf") == "[common]\n"
        assert all(is_gone(hosts, host, daemon) for host, daemon in DAEMON.items())
        assert hosts.role(play=TEARDOWN) == {}


@at_length
def test_upstream_follows_the_kind_of_host(hosts):
    hosts.role(vxfld_state="absent")
    with Package(hosts):
        hosts.role(**UPSTREAM)
        plan = HOSTS["lab"]["hosts"]["sn1"]["preflight_plan"]
        hosts.role("--limit", "s1", preflight_plan=plan, **UPSTREAM)
        assert hosts.on("s1", "systemctl is-active vxsnd vxrd || true; ls /etc/vx*.conf") == (
            "active\ninactive\n/etc/vxsnd.conf\n"
        )
        hosts.role(vxfld_state="absent")
        assert is_gone(hosts, "s1", "vxsnd")


@at_length
def test_ours_becomes_upstream_and_back(hosts):
    hosts.role()
    with Package(hosts):
        assert hosts.role("--check", **UPSTREAM)
        hosts.role(**UPSTREAM)
        for host, daemon in DAEMON.items():
            unit = hosts.on(host, f"systemctl show -P ActiveState -P FragmentPath {daemon}").split()
            assert set(unit) in ({"active", f"{lib}/systemd/system/{daemon}.service"} for lib in ("/lib", "/usr/lib"))
            assert "vx" not in hosts.on(host, "ls /usr/local/sbin /etc/systemd/system")
        assert hosts.role(**UPSTREAM) == {}
        # Ours does not begin beside the package.
        before = {host: hosts.pid(host) for host in DAEMON}
        assert hosts.role(fails=True) == {}
        assert "vxrd.service is of a package" in hosts.said
        assert before == {host: hosts.pid(host) for host in DAEMON}
    assert hosts.role("--check")
    hosts.role()
    for host, daemon in DAEMON.items():
        assert hosts.state(host) == "active"
        assert hosts.on(host, f"{daemon}ctl get config holdtime")
        assert hosts.on(host, f"ls {RECORD} 2>/dev/null || true") == ""
    assert hosts.role() == {}
    hosts.role(vxfld_state="absent")
