# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon's host is changed by, and what the running daemon is told of it."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import daemon as resource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import daemon as adapter
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import systemd
from ansible_collections.vtep.fabric.plugins.module_utils._model import daemon as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError

UNIT = "[Unit]\nDescription=x\n\n[Service]\nExecStart=/usr/local/sbin/vxrd\n"
WANTED = {
    "name": "vxrd", "state": "present", "units": {"vxrd.service": UNIT},
    "settings": {"common": {"holdtime": 90, "src_ip": "192.0.2.1"}, "vxrd": {"head_rep": "true"}},
    "reloadable": ["common.holdtime"], "secrets": {}, "program": "p1", "after_removal": [],
}  # fmt: skip


class Host:
    """A host whose files are in a directory of the test, with a systemd that starts whatever it is told to."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.units, self.etc, self.secrets = root / "units", root / "etc", root / "etc" / "vtep.fabric"
        self.credentials, self.run = root / "credentials", root / "run"
        for path in (self.units, self.etc, self.credentials, self.run):
            path.mkdir()
        for name, path in (("UNITS", self.units), ("CONFIGURATIONS", self.etc), ("SECRETS", self.secrets),
                           ("CREDENTIALS", self.credentials), ("RUN", self.run)):  # fmt: skip
            monkeypatch.setattr(adapter, name, path)
        self.did = []
        self.active, self.enabled, self.started_with = "inactive", False, None
        self.more = {}
        monkeypatch.setattr(adapter, "environment", lambda pid, name: self.started_with)
        for name in ("daemon_reload", "enable", "disable", "stop", "start", "reload", "run", "forget", "clean", "show"):
            monkeypatch.setattr(
                systemd, name, getattr(self, f"_{name}", lambda *unit, name=name: self.did.append(name))
            )

    def unit(self, name="vxrd.service"):
        return (self.units / name).read_text()

    def conf(self):
        return (self.etc / "vxrd.conf").read_text()

    def _show(self, unit):
        there = (self.units / unit).exists()
        return {"LoadState": "loaded" if there else "not-found", "ActiveState": self.active,
                "UnitFileState": "enabled" if self.enabled else "disabled" if there else "",
                "FragmentPath": str(self.units / unit) if there else "", "NeedDaemonReload": "no", "MainPID": "7",
                **self.more}  # fmt: skip

    def _start(self, unit):
        self.did.append("start")
        self.active, self.started_with = "active", model.digest(self.unit(unit))
        folder = self.credentials / unit
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for path in (self.secrets / "vxrd").iterdir() if (self.secrets / "vxrd").exists() else ():
            (folder / path.name).write_text(path.read_text())

    def _stop(self, unit):
        self.did.append("stop")
        self.active = "inactive"

    def _enable(self, unit):
        self.did.append("enable")
        self.enabled = True

    def _disable(self, unit):
        self.did.append("disable")
        self.enabled = False

    def task(self, **other):
        """Predict, do, and do again: the prediction is what is done, and the second run does nothing. (outcome, what was done)"""
        params = {**WANTED, **other}
        before = sorted(path for path in self.root.rglob("*"))
        predicted = converge(resource.Daemon(), params, True)
        assert self.did == [] and before == sorted(path for path in self.root.rglob("*"))
        done = converge(resource.Daemon(), params, False)
        assert (predicted.before, predicted.after, predicted.result) == (done.before, done.after, done.result)
        assert predicted.changed == done.changed == (done.before != done.after)
        did, self.did = self.did, []
        again = converge(resource.Daemon(), params, False)
        assert (again.changed, again.before, self.did) == (False, again.after, [])
        return done, did


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def settings(**other):
    return {"common": {**WANTED["settings"]["common"], **other}, "vxrd": WANTED["settings"]["vxrd"]}


def test_on_a_bare_host(host):
    done, did = host.task()
    assert did == ["daemon_reload", "enable", "start"]
    assert done.result == {"action": "started", "files": [f"{host.etc}/vxrd.conf", f"{host.units}/vxrd.service"]}
    assert host.conf() == (
        "# Written by vtep.fabric for vxrd; the next run overwrites what is changed here.\n"
        "\n[common]\nholdtime = 90\nsrc_ip = 192.0.2.1\n\n[vxrd]\nhead_rep = true\n"
    )
    assert host.unit().startswith(
        model.mark("vxrd") + "[Unit]\nDescription=x\n\n[Service]\n# The program: p1\nEnvironment="
    )
    assert (host.units / "vxrd.service").stat().st_mode & 0o777 == 0o644
    assert done.before == "" and done.after.endswith("vxrd.service: enabled, active\n")


@pytest.mark.parametrize(
    ("other", "did"),
    [
        ({"settings": settings(holdtime=30)}, ["reload"]),
        ({"settings": settings(src_ip="192.0.2.2")}, ["daemon_reload", "start"]),
        ({"settings": settings(src_ip="192.0.2.2", holdtime=30)}, ["daemon_reload", "start"]),
        ({"settings": settings(node_id=7)}, ["daemon_reload", "start"]),
        ({"program": "p2"}, ["daemon_reload", "start"]),
        ({"units": {"vxrd.service": UNIT + "Nice=1\n"}}, ["daemon_reload", "start"]),
        ({"units": {"vxrd.service": UNIT, "vxrd-late.service": UNIT}}, ["daemon_reload"]),
        ({"secrets": {"auth_key": "first"}}, ["start"]),
        ({"reloadable": ["common.holdtime", "common.src_ip"]}, ["daemon_reload", "start"]),
    ],
)  # fmt: skip
def test_what_a_change_asks_for(host, other, did):
    host.task()
    assert host.task(**other)[1] == did


def test_a_reload_shows_the_setting_and_nothing_else(host):
    host.task()
    done, _did = host.task(settings=settings(holdtime=30))
    assert done.result == {"action": "reloaded", "files": [f"{host.etc}/vxrd.conf"]}
    changed = set(done.before.splitlines()) ^ set(done.after.splitlines())
    assert changed == {
        "  holdtime = 90", "  holdtime = 30", "vxrd.service: enabled, active", "vxrd.service: enabled, active, reloaded"
    }  # fmt: skip


@pytest.mark.parametrize("state", ["inactive", "failed", "activating", "deactivating"])
def test_a_daemon_that_does_not_run_is_started(host, state):
    host.task()
    host.active = state
    done, did = host.task()
    assert did == ["start"] and done.before == f"vxrd.service: enabled, {state}\n"


def test_a_daemon_that_is_not_enabled(host):
    host.task()
    host.enabled = False
    assert host.task()[1] == ["enable"]


def test_what_an_earlier_run_owed(host):
    """It broke off between installing a program, or writing a file, and the restart."""
    host.task()
    host.started_with = "another"
    assert host.task()[1] == ["start"]
    host.started_with = None
    assert host.task()[1] == ["start"]


def test_changed_by_hand(host):
    host.task()
    path = host.etc / "vxrd.conf"
    text = path.read_text()
    for other, did in (
        (text.replace("90", "91"), ["reload"]),
        (text.replace("192.0.2.1", "192.0.2.9"), ["start"]),
        (text + "node_id = 5\n", ["start"]),
        (text + "# a remark\n", []),
        (text + "neither key nor value\n", ["start"]),
    ):
        path.write_text(other)
        done, found = host.task()
        assert found == did and path.read_text() == text and done.changed
    path.unlink()
    assert host.task()[1] == ["start"]


def test_secrets_are_told_by_name_only(host):
    host.task()
    done, _did = host.task(secrets={"auth_key": "first"})
    path = host.secrets / "vxrd" / "auth_key"
    assert path.read_text() == "first" and path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == host.secrets.stat().st_mode & 0o777 == 0o700
    replaced, did = host.task(secrets={"auth_key": "second"})
    assert did == ["start"] and path.read_text() == "second"
    assert replaced.before == "secret auth_key\nvxrd.service: enabled, active\n"
    assert replaced.after == "secret auth_key (new)\nvxrd.service: enabled, active, restarted\n"
    path.chmod(0o644)
    mended, did = host.task(secrets={"auth_key": "second"})
    assert did == [] and mended.changed and path.stat().st_mode & 0o777 == 0o600
    gone, did = host.task()
    assert did == ["start"] and not host.secrets.exists() and gone.before.startswith("secret auth_key\n")
    for outcome in (done, replaced, mended, gone):
        assert not {"first", "second"} & set((outcome.before + outcome.after).split())


def test_a_unit_that_is_no_longer_wanted_goes(host):
    host.task(units={"vxrd.service": UNIT, "vxrd-late.service": UNIT})
    (host.units / "theirs.service").write_text(UNIT)
    done, did = host.task()
    assert did == ["daemon_reload"] and done.result["files"] == [f"{host.units}/vxrd-late.service"]
    assert sorted(path.name for path in host.units.iterdir()) == ["theirs.service", "vxrd.service"]


def test_removed(host):
    units = {"vxrd.service": UNIT, "vxrd-late.service": UNIT}
    host.task(units=units, secrets={"auth_key": "first"})
    (host.run / "vxrd").mkdir()
    done, did = host.task(state="absent", after_removal=["vxrd-late.service"])
    assert did == ["stop", "disable", "run", "clean", "daemon_reload", "forget"]
    assert done.result["action"] == "removed" and done.after == ""
    assert list(host.units.iterdir()) == [] and list(host.etc.iterdir()) == []


def test_removing_leaves_what_others_made(host):
    (host.etc / "vxrd.conf").write_text("[common]\n")
    (host.units / "vxrd.service").write_text(UNIT)
    host.active, host.enabled = "active", True
    done, did = host.task(state="absent")
    assert did == [] and not done.changed
    assert host.conf() == "[common]\n" and host.unit() == UNIT


def test_what_others_made_is_refused_before_the_first_change(host):
    (host.etc / "vxrd.conf").write_text("[common]\n")
    (host.units / "vxrd.service").write_text(UNIT)
    with pytest.raises(InputError) as refused:
        converge(resource.Daemon(), WANTED, False)
    assert [fault.split(" is there")[0] for fault in refused.value.faults] == [
        f"{host.units}/vxrd.service", f"{host.etc}/vxrd.conf"
    ]  # fmt: skip
    assert host.did == [] and host.unit() == UNIT


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"LoadState": "loaded", "FragmentPath": "/lib/systemd/system/vxrd.service"},
         "vxrd.service is of a package (/lib/systemd/system/vxrd.service); remove that, or leave the daemon to it"),
        ({"LoadState": "masked", "FragmentPath": "/dev/null"}, "vxrd.service is masked; systemctl unmask vxrd.service"),
    ],
)  # fmt: skip
def test_a_service_of_others_is_refused(host, shown, words):
    host.more = shown
    if shown["LoadState"] == "masked":
        (host.units / "vxrd.service").symlink_to("/dev/null")
    with pytest.raises(InputError) as refused:
        converge(resource.Daemon(), WANTED, False)
    assert refused.value.faults == [words]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"name": "../x"}, "name: '../x'"),
        ({"units": {}}, "units: vxrd.service is missing"),
        ({"units": {"vxrd.service": "[Unit]\n"}}, "units: vxrd.service is missing, or has no section [Service]"),
        ({"units": {"vxrd.service": UNIT, "../x.service": UNIT}}, "units: '../x.service'"),
        ({"settings": {"common": 5}}, "settings: common: 5 is not a mapping"),
        ({"settings": {"com]mon": {}}}, "settings: 'com]mon'"),
        ({"settings": {"common": {"a=b": "x"}}}, "settings: common: 'a=b'"),
        (
            {"settings": {"common": {"holdtime": "1\n[vxrd]"}}},
            "settings: common: holdtime: '1\\n[vxrd]' has more than one line",
        ),
        ({"settings": {"common": {"push": True}}}, "settings: common: push: True is not text or a number"),
        ({"reloadable": ["holdtime"]}, "reloadable: 'holdtime' is not SECTION.KEY"),
        ({"secrets": {"../key": "x"}}, "secrets: '../key'"),
        ({"secrets": {"auth_key": ""}}, "secrets: auth_key: is not text, or empty"),
        ({"program": "a\nb"}, "program: has more than one line"),
        ({"state": "absent", "after_removal": ["-H x"]}, "after_removal: '-H x'"),
    ],
)
def test_bad_input_is_refused(host, other, words):
    with pytest.raises(InputError) as refused:
        converge(resource.Daemon(), {**WANTED, **other}, False)
    assert words in "\n".join(refused.value.faults)
    assert host.did == []


def test_every_fault_is_told():
    with pytest.raises(InputError) as refused:
        model.daemon("X", {}, {"common": 5}, ["x"], {"k": ""}, "a\nb")
    assert len(refused.value.faults) == 6
