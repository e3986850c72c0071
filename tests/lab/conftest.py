# SPDX-License-Identifier: GPL-3.0-or-later
"""Small labs of their own for the tests of the lab and of the connection, on the default suite's image."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles" / "lab" / "files" / "lab.py"

# Two VTEPs on the underlay and an endpoint: one of each kind of cable.
INVENTORY = {
    "lab": {
        "vars": {"ansible_connection": "vtep.fabric.nspawn", "ansible_python_interpreter": "/usr/bin/python3"},
        "hosts": {
            "s1": {"lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": ["169.254.15.1/24"]},
                                 {"name": "eth1", "to": "h1"}]},
            "s2": {"lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": ["169.254.15.2/24"]}]},
            "h1": {"lab_links": [{"name": "eth0", "to": "s1", "mac": "50:54:33:00:00:01",
                                  "addresses": ["192.0.2.10/24", "2001:db8:ff::10/64"]}]},
        },
    }
}  # fmt: skip


class Lab:
    """A lab of a prefix of its own, driven by the playbooks as a user drives his."""

    def __init__(self, directory, hosts=None):
        self.directory = directory
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.inventory = directory / f"{self.prefix}.json"
        self.hosts = json.loads(json.dumps(hosts or INVENTORY))
        self.write()

    def write(self):
        self.inventory.write_text(json.dumps(self.hosts))

    def command(self, program, *arguments):
        settings = json.dumps({"lab_prefix": self.prefix})
        return [str(Path(sys.executable).parent / program), "-i", str(self.inventory), "-e", settings, *arguments]

    def environment(self, **more):
        return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **more}

    def playbook(self, *arguments, fails=False, **environment):
        done = subprocess.run(
            self.command("ansible-playbook", *arguments),
            cwd=ROOT, env=self.environment(**environment), capture_output=True, text=True, check=False)  # fmt: skip
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())  # the callback breaks long lines anywhere

    def up(self, **options):
        return self.playbook("playbooks/lab_up.yml", **options)

    def down(self, **options):
        return self.playbook("playbooks/lab_down.yml", **options)

    def run(self, host, *command):
        """What a command prints inside a host, entered the way `make shell` does."""
        return subprocess.run([sys.executable, PROGRAM, "shell", self.prefix, host, *command], check=True,
                              capture_output=True, text=True).stdout  # fmt: skip

    def status(self):
        done = subprocess.run([sys.executable, PROGRAM, "status", self.prefix], check=True, capture_output=True)
        return json.loads(done.stdout)["hosts"]

    def state(self, host):
        return Path("/run/vtep-fabric") / self.prefix / host

    def nspawn(self, host):
        return int((self.state(host) / "nspawn.pid").read_text())

    def leftovers(self):
        """Everything on this machine that carries the lab's name, found without the lab's own records."""
        text = self.prefix
        found = [f"process {pid}" for pid in lab_processes(text)]
        found += [f"netns {name}" for name in words("ip", "netns", "list") if name.startswith(f"{text}-")]
        found += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if text in line]
        found += [f"link {name}" for name in words("ip", "-o", "link") if text in name]
        for place in ("/run/vtep-fabric", "/var/lib/vtep-fabric", "/run/systemd/nspawn", "/run/netns"):
            found += [str(path) for path in Path(place).glob("**/*") if text in path.name]
        found += [str(path) for path in Path("/sys/fs/cgroup").glob("**/vtep-fabric/*") if text in path.name]
        if not Path("/run/vtep-fabric").exists():  # no other lab is there, so nothing that labs share may be left
            found += [str(path) for path in Path("/sys/fs/cgroup").glob("**/vtep-fabric")]
        return found


def words(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def lab_processes(prefix):
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"--machine={prefix}-" in command or f"vtep-fabric/{prefix}/" in command:
            yield int(process.name)


def pytest_collection_modifyitems(items):
    missing = [name for name in ("systemd-nspawn", "mmdebstrap", "ip") if not shutil.which(name)]
    reason = f"missing here: {', '.join(missing)}" if missing else "only root can run a lab" if os.geteuid() else ""
    if reason:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=f"THE LAB IS NOT TESTED: {reason}"))


@pytest.fixture
def make_lab(tmp_path):
    labs = []

    def make():
        labs.append(Lab(tmp_path))
        return labs[-1]

    yield make
    for lab in labs:
        lab.down()


@pytest.fixture
def lab(make_lab):
    return make_lab()


@pytest.fixture(scope="module")
def running_lab(tmp_path_factory, request):
    """One lab for all tests of a module. The module may name hosts of its own as LAB."""
    lab = Lab(tmp_path_factory.mktemp("lab"), getattr(request.module, "LAB", INVENTORY))
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture
def lab_program():
    return [sys.executable, str(PROGRAM)]


@pytest.fixture
def lab_up_process(lab_program, tmp_path):
    """Start `lab.py up` by itself, with the specification that the role gives it, so that it can be killed."""

    def start(lab):
        target = tmp_path / "specification.json"
        tasks = [
            *(
                {"ansible.builtin.include_vars": str(ROOT / f"roles/lab/{part}/main.yml")}
                for part in ("defaults", "vars")
            ),
            {"ansible.builtin.copy": {"content": "{{ lab_spec | to_json }}", "dest": str(target), "mode": "0600"}},
        ]
        playbook = tmp_path / "specification.yml"
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"role_path": str(ROOT / "roles" / "lab")},
            "tasks": tasks,
        }
        playbook.write_text(json.dumps([play]))
        lab.playbook(str(playbook))
        with target.open() as specification:
            return subprocess.Popen([*lab_program, "up"], stdin=specification, stdout=subprocess.DEVNULL)

    return start
