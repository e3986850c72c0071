# SPDX-License-Identifier: GPL-3.0-or-later
"""Role registry: etcd under systemd, locked in, for those who know a password, and what a run changes of it; on one host and on three."""

import contextlib
import json
import re
import time

import pytest
from conftest import Lab
from driver import ROOT, at_length

ADDRESS, OTHER = "2001:db8:253::1", "2001:db8:253::2"
ROOT_PASSWORD, PASSWORD = "never-to-be-seen-root", "never-to-be-seen-0123"
EXPOSURE = 1.2  # at most, by systemd-analyze security
UNIT, FILES, DATA = "vtep-registry", "/etc/vtep.fabric/vtep-registry", "/var/lib/private/vtep-registry"
RUN, AUTH = "Run etcd", "Have it ask for passwords"

ALONE = {"reg1": [ADDRESS, OTHER]}
THREE = {f"reg{n}": [f"2001:db8:253::{n}"] for n in (1, 2, 3)}
PLAY = [{"hosts": "registry", "gather_facts": False, "roles": ["vtep.fabric.registry"], "post_tasks": [
    {"name": "Show", "ansible.builtin.debug": {"msg": "{{ registry_ca_certificate | default('none') }}"}},
]}]  # fmt: skip
ASK = [{"hosts": "reg3", "gather_facts": False, "tasks": [
    {"name": "Ask", "ansible.builtin.include_role": {"name": "vtep.fabric.registry", "tasks_from": "ca"}},
    {"name": "Show", "ansible.builtin.debug": {"msg": "{{ registry_ca_certificate }}"}},
]}]  # fmt: skip


def inventory(hosts):
    links = {
        host: {
            "lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": [f"{a}/64" for a in addresses]}]
        }
        for host, addresses in hosts.items()
    }
    connection = {"ansible_connection": "vtep.fabric.nspawn", "ansible_python_interpreter": "/usr/bin/python3"}
    return {"all": {"vars": connection}, "lab": {"hosts": links}, "registry": {"hosts": dict.fromkeys(hosts)}}


def plan(*addresses, prefix="/vtep.fabric"):
    members = [{"name": f"reg{n}", "address": address} for n, address in enumerate(addresses or [ADDRESS], 1)]
    itself = "{{ inventory_hostname }}"
    return {"registry": {"members": members, "self": itself, "prefix": prefix, "username": "vtep"}}


class Host(Lab):
    """The host, or the first one of several, on the image of a suite."""

    def __init__(self, directory, suite, hosts=None):
        hosts = hosts or ALONE
        super().__init__(directory, inventory(hosts))
        self.suite = suite
        self.plan = plan(*(addresses[0] for addresses in hosts.values()))
        self.said = ""
        self.settled = False  # the last run was one without words of its own

    def command(self, program, *arguments):
        return super().command(program, "-e", f"lab_suite={self.suite}", *arguments)

    def role(self, *arguments, **more):
        """Run the role; {task: diff} of what changed."""
        return {task: diff for (task, _host), diff in self.changes(*arguments, **more).items()}

    def changes(self, *arguments, fails=False, **words):
        """Run the role; {(task, host): diff} of what changed."""
        playbook, given, record = (self.directory / name for name in ("registry.json", "words.json", "record.json"))
        playbook.write_text(json.dumps(PLAY))
        passwords = {"registry_root_password": ROOT_PASSWORD, "registry_password": PASSWORD}
        given.write_text(json.dumps({"preflight_plan": self.plan, **passwords, **words}))
        callback = {"ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
                    "ANSIBLE_CALLBACKS_ENABLED": "record", "RECORD_FILE": str(record)}  # fmt: skip
        self.said = self.playbook(str(playbook), "-e", f"@{given}", "--diff", *arguments, fails=fails, **callback)
        self.settled = not (arguments or words or fails)
        tasks = json.loads(record.read_text())["tasks"]
        return {
            (task["name"].split(" : ")[-1], host): result["diff"]
            for task in tasks
            for host, result in task["hosts"].items()
            if result["changed"]
        }

    def predicted(self, **words):
        """Run the role in check mode and then really: both tell the same."""
        before = self.everything()
        found = self.role("--check", **words)
        assert self.everything() == before, "a dry run changed the host"
        done = self.role(**words)
        # Of a directory that is not there yet the module of files tells only afterwards which mode it had.
        assert set(done) == set(found)
        assert [(done.get(task), task) for task in (RUN, AUTH)] == [(found.get(task), task) for task in (RUN, AUTH)]
        return done

    def on(self, script, host="reg1"):
        return self.run(host, "sh", "-ec", script)

    def everything(self, host="reg1"):
        """Of what the role makes, all files but etcd's own, and since when etcd runs."""
        found = "find /etc/vtep* /etc/systemd/system -printf '%p %T@ %m\\n' 2>/dev/null || true; ls /var/lib/private"
        return self.on(f"{found}; systemctl show -P ActiveState -P InvocationID {UNIT}", host)

    def etcdctl(self, words, name="vtep", password=PASSWORD, more="", address=ADDRESS):
        """(exit code, what it says), as an agent asks: over the network."""
        user = f"ETCDCTL_USER={name} ETCDCTL_PASSWORD={password}" if name else ""
        return self.on(
            f"{user} ETCDCTL_API=3 etcdctl --endpoints 'https://[{address}]:2379' --cacert {FILES}/ca {more} {words} 2>&1"
            " && echo rc=0 || echo rc=1"
        )

    def listens(self):
        """Where etcd, of whomever, does."""
        return set(self.on("ss -Hltnp | awk '/\"etcd\"/ {print $4}'").split())

    def invocation(self, host="reg1"):
        return self.on(f"systemctl show -P InvocationID {UNIT}", host)

    def certificate(self):
        return self.on(f"openssl x509 -in {FILES}/cert -noout -serial -ext subjectAltName")


@contextlib.contextmanager
def booted(*words):
    lab = Host(*words)
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    with booted(tmp_path_factory.mktemp("registry"), "trixie") as lab:
        yield lab


@pytest.fixture
def host(bare):
    """The host, with etcd at work."""
    if not bare.settled:
        bare.role()
    return bare


def test_a_bare_host_is_predicted_and_a_second_run_changes_nothing(bare):
    first_and_second_run(bare)


@at_length
def test_with_the_etcd_of_another_debian(tmp_path):
    with booted(tmp_path, "bookworm") as lab:
        first_and_second_run(lab)
        assert "user name is empty" in lab.etcdctl("get /vtep.fabric/", name="")
        assert "rc=0" in lab.etcdctl("put /vtep.fabric/endpoints/x y")


def first_and_second_run(bare):
    assert bare.on("systemctl is-active etcd || true; systemctl is-enabled etcd || true").split() == [
        "inactive",
        "disabled",
    ]
    done = bare.predicted()
    assert set(done) == {"Make the directory of the CA", "Make the CA", RUN, AUTH}
    assert done[RUN]["after"].splitlines()[-1] == f"{UNIT}.service: enabled, active"
    assert "BEGIN CERTIFICATE" in bare.said, "the fact for those who ask the registry"
    assert bare.on("ls /etc/systemd/system | grep vtep").split() == [f"{UNIT}.service"]
    before = bare.everything()
    assert bare.role("--check") == {}
    assert bare.role() == {}
    assert bare.everything() == before


def test_etcd_is_locked_in(host):
    said = host.on(f"systemd-analyze security --no-pager {UNIT}.service")
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
    assert exposure <= EXPOSURE, f"on {host.suite} it is exposed by {exposure}:\n{said}"
    said = host.on(f"systemd-analyze verify {UNIT}.service 2>&1 || true")
    assert [line for line in said.splitlines() if "vtep" in line] == []
    status = host.on(f"cat /proc/$(systemctl show -P MainPID {UNIT})/status")
    for kind in ("Prm", "Eff", "Bnd", "Amb"):
        assert re.search(rf"Cap{kind}:\s*0+\n", status), status
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    assert set(re.search(r"Uid:\s*(.*)", status)[1].split()) != {"0"}


def test_who_may_do_what(host):
    assert "rc=0" in host.etcdctl("put /vtep.fabric/endpoints/x y")
    assert "/vtep.fabric/endpoints/x" in host.etcdctl("get --prefix /vtep.fabric/ --keys-only")
    for words in (
        "put /vtep.fabricated y",
        "put /other y",
        "get /other",
        "get --prefix /vtep",
        "user list",
        "del --prefix /",
    ):
        assert "permission denied" in host.etcdctl(words), words
    assert "authentication failed" in host.etcdctl("get /vtep.fabric/", password="wrong")
    assert "user name is empty" in host.etcdctl("get /vtep.fabric/", name="")
    assert "rc=0" in host.etcdctl("user list", name="root", password=ROOT_PASSWORD)


def test_tls_or_nothing(host):
    client = "import socket, ssl; s = socket.create_connection(('{0}', {1}), 5); {2}"
    ask = "s.sendall(b'GET /version HTTP/1.0\\r\\n\\r\\n'); print(s.recv(999))"
    plain = host.on(f'python3 -c "{client.format(ADDRESS, 2379, ask)}" 2>&1 || true')
    assert "etcdserver" not in plain and ("b''" in plain or "400 Bad Request" in plain or "ConnectionReset" in plain), (
        plain
    )
    trusted = f"c = ssl.create_default_context(cafile='{FILES}/ca'); s = c.wrap_socket(s, server_hostname='{ADDRESS}')"
    assert "etcdserver" in host.on(f'python3 -c "{client.format(ADDRESS, 2379, f"{trusted}; {ask}")}"')
    # Members believe members only: without a certificate of the CA there is no connection between them.
    refused = host.on(f'python3 -c "{client.format(ADDRESS, 2380, f"{trusted}; {ask}")}" 2>&1 || true')
    assert re.search("(?i)certificate.required|bad.certificate", refused), refused
    stranger = trusted.replace(f"cafile='{FILES}/ca'", "")
    assert "CERTIFICATE_VERIFY_FAILED" in host.on(f'python3 -c "{client.format(ADDRESS, 2379, stranger)}" 2>&1 || true')
    assert host.listens() == {f"[{ADDRESS}]:2379", f"[{ADDRESS}]:2380"}


def test_the_data_outlive_a_restart_and_a_crash(host):
    host.etcdctl("put /vtep.fabric/kept 1")
    host.on(f"systemctl restart {UNIT}")
    assert "kept" in host.etcdctl("get /vtep.fabric/kept")
    host.on(
        f"kill -9 $(systemctl show -P MainPID {UNIT}); sleep 1; until systemctl -q is-active {UNIT}; do sleep 0.2; done"
    )
    assert "kept" in host.etcdctl("get /vtep.fabric/kept")


def test_what_is_dead_or_not_enabled_is_a_change(host):
    host.on(f"systemctl stop {UNIT}")
    done = host.predicted()
    assert set(done) == {RUN} and done[RUN]["before"] == f"{UNIT}.service: enabled, inactive\n"


def test_nobody_sees_passwords_and_keys(host):
    host.role("-vvvvv", registry_password=f"{PASSWORD}-new")
    said = host.said
    host.role("-vvvvv")
    said += host.said
    assert "user passwd vtep" in said
    key = host.on(f"sed -n 2p {FILES}/key").strip()
    assert ROOT_PASSWORD not in said and PASSWORD not in said and key not in said and "PRIVATE KEY" not in said
    kept = host.on(f"find {FILES} /etc/vtep.fabric/registry-ca -type f -printf '%m %u %p\\n'")
    assert {line.split()[0] for line in kept.splitlines() if "/key" in line} == {"600"}
    assert host.on("stat -c %a /etc/vtep.fabric").strip() == "700"
    pid = f"$(systemctl show -P MainPID {UNIT})"
    assert "never-to-be-seen" not in host.on(
        f"cat /etc/vtep-registry.conf; systemctl cat {UNIT}; journalctl -o cat; tr '\\0' ' ' </proc/{pid}/environ"
    )


@at_length
def test_a_new_password_is_told_to_etcd_without_a_restart(host):
    before = host.invocation()
    done = host.predicted(registry_password="another-one")
    assert set(done) == {AUTH} and "user vtep (new password)" in done[AUTH]["after"]
    assert "rc=0" in host.etcdctl("get /vtep.fabric/", password="another-one")
    assert "authentication failed" in host.etcdctl("get /vtep.fabric/")
    assert host.invocation() == before
    host.role(registry_root_password="not-roots", fails=True)
    assert "root_password: is not that of etcd's user root" in host.said


@at_length
def test_what_others_gave_the_user_is_taken_away(host):
    for words in ("role grant-permission vtep readwrite --from-key=true /a", "role grant-permission vtep read /secret",
                  "user grant-role vtep root", "role add guests"):  # fmt: skip
        assert "rc=0" in host.etcdctl(words, name="root", password=ROOT_PASSWORD), words
    assert "rc=0" in host.etcdctl("put /other y")
    done = host.predicted()
    assert set(done) == {AUTH}
    assert "permission denied" in host.etcdctl("put /other y") and "permission denied" in host.etcdctl("get /secret")
    assert "guests" in host.etcdctl("role list", name="root", password=ROOT_PASSWORD)


@at_length
def test_a_certificate_is_renewed_before_it_ends(host):
    first, ca = host.certificate(), host.on("cat /etc/vtep.fabric/registry-ca/certificate")
    assert host.role(registry_renew_days=729) == {}, "it has 730 days"
    done = host.predicted(registry_renew_days=731, registry_certificate_days=1000)
    assert set(done) == {RUN} and "secret cert (new)" in done[RUN]["after"]
    assert done[RUN]["after"].endswith(f"{UNIT}.service: enabled, active, restarted\n")
    assert host.certificate() != first
    assert host.on("cat /etc/vtep.fabric/registry-ca/certificate") == ca
    assert "rc=0" in host.etcdctl("get /vtep.fabric/")
    short = "openssl req -x509 -key key -subj '/CN=vtep.fabric registry CA' -days 100 -out certificate"
    host.on(f"cd /etc/vtep.fabric/registry-ca; {short}")
    done = host.predicted()
    assert set(done) == {"Renew the certificate of the CA, not its key", RUN}, "it would end before what it signs"
    assert "rc=0" in host.etcdctl("get /vtep.fabric/")


@at_length
def test_a_certificate_is_renewed_when_the_address_changes(host):
    host.etcdctl("put /vtep.fabric/kept 1")
    moved = {"preflight_plan": plan(OTHER)}
    before = host.everything()
    host.role(fails=True, **moved)
    assert "etcd has to be told of that first" in host.said and host.everything() == before
    done = host.predicted(registry_members_changed=True, **moved)
    assert set(done) == {RUN} and "secret cert (new)" in done[RUN]["after"]
    assert "IP Address:2001:DB8:253:0:0:0:0:2" in host.certificate()
    assert "kept" in host.etcdctl("get /vtep.fabric/kept", address=OTHER)
    assert host.role(**moved) == {}
    host.role(registry_members_changed=True)
    host.settled = True


def test_certificates_of_the_user(host):
    made = {word: host.on(f"cat {FILES}/{word}") for word in ("ca", "cert", "key")}
    own = {f"registry_{word}": text for word, text in made.items()}
    assert host.role(**own) == {}, "the same"
    host.role(fails=True, registry_ca=made["ca"])
    assert "give all three, or none" in host.said


def test_a_registry_that_lost_its_data_waits_for_a_run(host):
    """Else it would begin anew, and open to everybody."""
    host.on(f"systemctl stop {UNIT}; rm -r {DATA}/member; ! systemctl start {UNIT}")
    done = host.predicted()
    assert set(done) == {RUN, AUTH}
    assert "user name is empty" in host.etcdctl("get /vtep.fabric/", name="")
    assert "rc=0" in host.etcdctl("get /vtep.fabric/")


@at_length
def test_until_it_asks_for_passwords_only_root_reaches_it(host):
    """A first run that breaks off in between leaves it closed, and the next one opens it."""
    host.on(f"systemctl stop {UNIT}; rm -r {DATA}/member; mv /usr/bin/etcdctl /usr/bin/etcdctl.away")
    host.on("printf '#!/bin/sh\\necho Error: broken >&2; exit 1\\n' >/usr/bin/etcdctl; chmod +x /usr/bin/etcdctl")
    host.role(fails=True)
    host.on("mv /usr/bin/etcdctl.away /usr/bin/etcdctl")
    assert host.listens() == {f"[{ADDRESS}]:2380"}
    host.on(f"systemctl restart {UNIT}")
    assert host.listens() == {f"[{ADDRESS}]:2380"}
    done = host.predicted()
    assert set(done) == {AUTH}
    assert "user name is empty" in host.etcdctl("get /vtep.fabric/", name="")


def test_packages_are_predicted_where_they_are_missing(host):
    host.on("mv /usr/bin/etcdctl /usr/bin/etcdctl.away")
    assert set(host.role("--check")) == {"Install the packages", AUTH}
    assert "etcd-client" in host.said
    host.on("mv /usr/bin/etcdctl.away /usr/bin/etcdctl")


def test_wrong_words_are_told_before_the_first_change(host):
    before = host.everything()
    for words, said in (
        ({"registry_password": ROOT_PASSWORD}, "needs both, and not the same"),
        ({"registry_password": "with blanks in it"}, "reg1: registry_password: is empty, longer than 256"),
        ({"registry_quota": "much"}, "registry_quota"),
        ({"registry_quota": 0}, "reg1: registry_quota: 0 is no size"),
        (
            {"registry_ca": "a", "registry_cert": "b", "registry_key": "c"},
            "reg1: registry_ca: has no CERTIFICATE in PEM",
        ),
        ({"registry_renew_days": 900}, "do not fit"),
    ):
        host.role(fails=True, **words)
        assert said in host.said
    assert host.everything() == before


def test_the_removal_leaves_nothing(host):
    host.etcdctl("put /vtep.fabric/kept 1")
    kept = {"registry_state": "absent", "registry_keep_data": True}
    assert set(host.predicted(**kept)) == {"Stop etcd, and remove its unit, settings and certificates",
                                           "Remove the CA, the data and what a first start may have left"}  # fmt: skip
    assert host.on(f"ls {DATA}").split() == ["member"]
    host.role()
    assert "kept" in host.etcdctl("get /vtep.fabric/kept")
    host.on(f"mkdir {DATA}/member/held; mount -t tmpfs none {DATA}/member/held")
    host.role(registry_state="absent", fails=True)
    assert host.on(f"ls -d /etc/systemd/system/{UNIT}.*").split() == [f"/etc/systemd/system/{UNIT}.service.d"], (
        "it shows that data are left"
    )
    host.on(f"umount {DATA}/member/held")
    host.predicted(registry_state="absent")
    places = f"/etc/vtep* /var/lib/vtep* /run/vtep* {DATA} /etc/systemd/system/*vtep* /run/credentials/vtep*"
    assert host.on(f"ls -d {places} 2>/dev/null || true") == ""
    assert host.listens() == set()
    assert host.role(registry_state="absent") == {}
    time.sleep(0.1)
    assert host.on("systemctl --failed --plain --no-legend") == ""


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with booted(tmp_path_factory.mktemp("three"), "trixie", THREE) as lab:
        yield lab


def members(lab, look):
    return {host: look(host) for host in THREE}


def test_the_first_start_is_that_of_all_members(three):
    for words, said in (
        (("--limit", "reg1"), "reg2, reg3 of group registry"),
        (("--forks", "2"), "run again with --forks 3"),
    ):
        three.role(*words, fails=True)
        assert said in three.said
    assert three.on(f"ls -d /etc/vtep* {DATA} 2>/dev/null || true") == "", "it is told before the first change"
    done = three.changes()
    assert {host for task, host in done if task == RUN} == set(THREE)
    assert three.changes() == {}
    assert three.etcdctl("member list", "root", ROOT_PASSWORD).count("started") == 3
    assert "rc=0" in three.etcdctl("put /vtep.fabric/kept 1", address=THREE["reg3"][0])


@at_length
def test_a_members_bad_certificate_is_told_before_the_first_change(three):
    made = {host: {word: three.on(f"cat {FILES}/{word}", host) for word in ("ca", "cert", "key")} for host in THREE}
    own = {f"registry_{word}": "{{ own[inventory_hostname]." + word + " }}" for word in ("ca", "cert", "key")}
    assert three.changes(own=made, **own) == {}, "the same"
    before = members(three, three.everything)
    for wrong, said in (
        ({"key": made["reg3"]["key"]}, "reg2: registry_key: is not the key of cert"),
        (
            {**made["reg3"], "ca": made["reg2"]["ca"]},
            "reg2: registry_cert: is refused as a server's (IP address mismatch",
        ),
    ):
        three.role(own={**made, "reg2": {**made["reg2"], **wrong}}, **own, fails=True)
        assert said in three.said
    assert members(three, three.everything) == before


@at_length
def test_a_member_that_fails_ends_the_run_before_the_next_ones_turn(three):
    before = members(three, three.invocation)
    three.on("mv /usr/bin/etcd /usr/bin/etcd.away; ln -s /bin/false /usr/bin/etcd")
    three.role(registry_loglevel="warn", fails=True)
    three.on(f"systemctl stop {UNIT}; rm /usr/bin/etcd; mv /usr/bin/etcd.away /usr/bin/etcd")
    after = members(three, three.invocation)
    assert [host for host in THREE if after[host] == before[host]] == ["reg2", "reg3"]
    assert set(three.changes(registry_loglevel="warn")) == {(RUN, host) for host in THREE}


def test_three_stopped_members_are_started_by_one_run(three):
    for host in THREE:
        three.on(f"systemctl stop {UNIT}", host)
    assert set(three.changes()) == {(RUN, host) for host in THREE}
    assert "kept" in three.etcdctl("get /vtep.fabric/kept")


@at_length
def test_another_ca_is_that_of_all_members_at_once(three):
    three.on("rm -r /etc/vtep.fabric/registry-ca")
    done = three.changes()
    assert {host for task, host in done if task == RUN} == set(THREE)
    assert "kept" in three.etcdctl("get /vtep.fabric/kept", address=THREE["reg2"][0])


@at_length
def test_the_ca_is_read_from_a_member_that_is_reached(three):
    playbook, ca = three.directory / "ask.json", three.on(f"cat {FILES}/ca", "reg2")
    playbook.write_text(json.dumps(ASK))
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    three.hosts["lab"]["hosts"]["reg1"].update(away)
    three.write()
    try:
        assert ca.split()[5] in three.playbook(str(playbook))
        for host in ("reg2", "reg3"):
            three.on(f"mv {FILES}/ca {FILES}/../ca", host)
        assert "no member of group registry (reg1, reg2, reg3) is reached" in three.playbook(str(playbook), fails=True)
        three.on(f"mkdir {FILES}/../vtep-agent; cp {FILES}/../ca {FILES}/../vtep-agent/registry_ca", "reg3")
        assert ca.split()[5] in three.playbook(str(playbook)), "which the host's agent still has"
    finally:
        for word in away:
            del three.hosts["lab"]["hosts"]["reg1"][word]
        three.write()
