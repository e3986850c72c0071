# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's inventory as it stands there, on hosts that Ansible reaches by SSH as an unprivileged user with sudo.

The hosts are a lab of their own; a proxy command enters their network namespaces, so that no other machine is spoken to.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

# The README's hosts: its management addresses beside the underlay's on eth0, and its endpoints on their ports.
LAB = {
    "lab": {
        "hosts": {
            **{
                host: {"lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": [f"198.51.100.{n}/24"]},
                                     {"name": "eth1", "to": f"h{n}"}]}
                for n, host in enumerate(("s1", "s2"), 1)
            },
            **{
                f"h{n}": {"lab_masked_units": ["frr.service"],
                          "lab_links": [{"name": "eth0", "to": f"s{n}", "mac": f"50:54:33:00:00:0{n}",
                                         "addresses": [f"2001:db8:ff::1{n - 1}/64", f"192.0.2.1{n - 1}/24"]}]}
                for n in (1, 2)
            },
        },
    }
}  # fmt: skip
HOSTS = sorted(LAB["lab"]["hosts"])

# What ssh wants of a proxy with ProxyUseFdpass: the connection itself, over its standard output, which is a socket.
PROXY = """
import socket, sys
connection = socket.create_connection(sys.argv[1:3], timeout=5)
socket.send_fds(socket.socket(fileno=1), [b"0"], [connection.fileno()])
"""

# An administrator as most hosts have one: no root login, and sudo without a password.
ADMINISTRATOR = """
useradd --create-home --shell /bin/sh admin
echo 'admin ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
install -d -m 0700 -o admin -g admin /home/admin/.ssh
echo '{key}' >/home/admin/.ssh/authorized_keys
systemctl start ssh
"""

# The README leaves OSPF's timers as they are; a test has less patience.
QUICK = {
    "underlay_ospf_hello_interval": 1, "underlay_ospf_dead_interval": 3, "underlay_ospf_retransmit_interval": 1,
    "underlay_ospf_lsa_min_arrival": 0,
}  # fmt: skip


class SshFabric:
    def __init__(self, lab):
        self.lab = lab
        self.directory = directory = lab.directory
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        for host in HOSTS:
            lab.run(host, "sh", "-ec", ADMINISTRATOR.format(key=self.key.with_suffix(".pub").read_text().strip()))
        (directory / "proxy.py").write_text(PROXY)
        readme = re.search(r"```yaml\n(vteps:\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
        (directory / "hosts.yml").write_text(readme)
        self.described = yaml.safe_load(readme)["vteps"]
        (directory / "access.yml").write_text(json.dumps({"all": {"vars": self.access(), "children": {
            "endpoints": {"hosts": {"h1": {"ansible_host": "192.0.2.10"}, "h2": {"ansible_host": "192.0.2.11"}},
                          "vars": {"ansible_user": "admin", "ansible_become": True}},
            "vteps": {"vars": QUICK}}}}))  # fmt: skip

    def access(self):
        """The way to the hosts, which is this test's own."""
        enter = f"ip netns exec {self.lab.prefix}-{{{{ inventory_hostname }}}}"
        options = {
            "ProxyCommand": f"{enter} {sys.executable} {self.directory / 'proxy.py'} %h %p", "ProxyUseFdpass": "yes",
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": self.directory / "known_hosts", "LogLevel": "ERROR",
            "IdentitiesOnly": "yes", "IdentityAgent": "none",
        }  # fmt: skip
        return {
            "ansible_connection": "ssh",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": "-F none " + " ".join(f"-o '{key}={value}'" for key, value in options.items()),
        }

    def play(self, *arguments, pipelining=True):
        """Run a playbook; {(task, host)} of what changed."""
        inventories = [option for name in ("hosts", "access") for option in ("-i", f"{self.directory / name}.yml")]
        playbook = Path(sys.executable).parent / "ansible-playbook"
        environment = {
            "ANSIBLE_PIPELINING": str(pipelining),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.directory / "cp"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "RECORD_FILE": str(self.directory / "record.json"),
        }
        done = subprocess.run([str(playbook), *inventories, *arguments],
                              cwd=ROOT, env=self.lab.environment(**environment), capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "DEPRECATION" not in done.stderr
        return {
            (task["name"], host)
            for task in json.loads((self.directory / "record.json").read_text())["tasks"]
            for host, result in task["hosts"].items()
            if result["changed"]
        }

    def site(self, *arguments, **options):
        return self.play("site.yml", "-e", "variant=unicast-static-flood", *arguments, **options)


@pytest.fixture(scope="module")
def fabric(running_lab):
    return SshFabric(running_lab)


def devices(fabric, host):
    return {link["ifname"] for link in json.loads(fabric.lab.run(host, "ip", "-j", "link"))}


def test_the_hosts_take_no_root(fabric):
    """Otherwise nothing here would prove become."""
    assert fabric.described["vars"]["ansible_user"] == "admin"
    with pytest.raises(subprocess.CalledProcessError):
        fabric.lab.run("s1", "su", "admin", "-c", "ip link add x type dummy")


def test_check_mode_predicts_the_first_run(fabric):
    predicted = fabric.site("--check")
    assert {host for _task, host in predicted} == {"s1", "s2"}
    assert "br100" not in devices(fabric, "s1")
    assert fabric.site() == predicted
    assert {"br100", "vxlan100"} <= devices(fabric, "s1")


@pytest.mark.parametrize("pipelining", [True, False])
def test_another_run_changes_nothing(fabric, pipelining):
    assert fabric.site(pipelining=pipelining) == set()


def test_the_proof_holds(fabric):
    fabric.play("playbooks/verify.yml", "-e", "variant=unicast-static-flood",
                "-e", f"verify_report_file={fabric.directory / 'verify.json'}")  # fmt: skip
    assert json.loads((fabric.directory / "verify.json").read_text())["ok"]


def test_a_large_table_travels_as_a_file(fabric):
    """The file is made by one user and read by another. 2000 rows are more than go along as an argument."""
    rows = [{"mac": f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", "vtep": "s2", "port": "eth1", "vni": 100}
            for n in range(2000)]  # fmt: skip
    (fabric.directory / "endpoints.json").write_text(json.dumps(rows))
    words = {"variant": "unicast-static-l2", "fabric_endpoints": {"file": str(fabric.directory / "endpoints.json")}}
    fabric.play("site.yml", "-e", json.dumps(words), pipelining=False)
    assert fabric.lab.run("s1", "bridge", "fdb", "show", "dev", "vxlan100").count("02:00:00:00:") == len(rows)
    assert fabric.lab.run("s1", "find", "/home/admin/.ansible/tmp", "-type", "f") == "", "left behind"


def test_teardown(fabric):
    assert {host for _task, host in fabric.play("playbooks/teardown.yml")} == {"s1", "s2"}
    assert not {"br100", "vxlan100", "vtep0"} & devices(fabric, "s1")
