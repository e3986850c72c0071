# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin against a real host: bytes, names, streams, return codes, become, both directions."""

import hashlib
import os
import subprocess
import textwrap
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext
from ansible_collections.vtep.fabric.plugins.connection.nspawn import Connection

NAMES = [
    "plain",
    "with space",
    " leading and trailing ",
    "single'quote",
    'double"quote',
    "back\\slash",
    "dollar$HOME`id`",
    "semi;colon&and|pipe",
    "star*question?[x]",
    "-dash",
    "line\nbreak",
    "汉语-ñandú-😀",
    os.fsdecode(b"not-utf8-\xff\xfe"),
]
CONTENTS = {
    "empty": b"",
    "text without a line's end": b"text",
    "every byte": bytes(range(256)) * 64,
    "line ends": b"\r\n\n\r\x00\x1a\x04",
    "more than a pipe holds": bytes(range(251)) * 4000,
}


class Direct(Connection):
    """The plugin with its options given, not looked up; the playbooks at the end of this file have them looked up."""

    def __init__(self, **options):
        super().__init__(PlayContext())
        self.options = {"machine": None, "nsenter": "nsenter", **options}

    def get_option(self, option, hostvars=None):
        return self.options[option]


@pytest.fixture(scope="module")
def connection(running_lab):
    return Direct(prefix=running_lab.prefix, host="s1")


def test_the_machine_is_named_by_prefix_and_host(connection, running_lab):
    assert connection.machine == f"{running_lab.prefix}-s1"
    assert connection.exec_command("cat /etc/hostname")[1] == b"s1\n"


def test_streams_and_return_code_are_kept_apart(connection):
    assert connection.exec_command("echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    assert connection.exec_command("kill -9 $$")[0] != 0


def test_a_command_that_is_stopped_goes_on_when_it_is_told_to(connection):
    """What entered the host for it must not stop with it: a host that shuts down stops all its processes, ends them, and then
    waits for whoever has to take their exit status."""
    inside = "echo $$; kill -STOP $$; echo on"
    with subprocess.Popen(connection._enter(["sh", "-c", inside]), stdout=subprocess.PIPE, text=True) as process:
        pid = process.stdout.readline().strip()
        stopped = f"until grep -q '^State:.T' /proc/{pid}/status; do sleep 0.05; done; sleep 0.3"
        assert connection.exec_command(f"{stopped}; kill -CONT {pid}")[0] == 0
        assert process.communicate(timeout=5)[0] == "on\n"


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_standard_input_passes_untouched(connection, content):
    assert connection.exec_command("cat", in_data=content) == (0, content, b"")


def test_without_input_a_command_sees_the_end_at_once(connection):
    assert connection.exec_command("cat; echo end") == (0, b"end\n", b"")


def test_command_text_passes_untouched(connection):
    assert connection.exec_command("printf %s 'ñ 😀 \"$HOME\" \\n'")[1] == 'ñ 😀 "$HOME" \\n'.encode()


def test_environment_and_directory_are_those_of_a_login(connection, monkeypatch):
    monkeypatch.setenv("LEAK", "from the controller")
    code, out, _err = connection.exec_command("env; pwd")
    lines = out.decode().splitlines()
    assert code == 0
    assert lines[-1] == "/root"
    assert "HOME=/root" in lines
    assert not any(line.startswith("LEAK") for line in lines)


def test_every_namespace_is_the_hosts(connection, running_lab):
    out = connection.exec_command(
        "cd /proc/self/ns; for n in *; do echo $n $(readlink $n) $(readlink /proc/1/ns/$n); done"
    )[1]
    namespaces = [line.split() for line in out.decode().splitlines()]
    kinds = {"mnt", "uts", "ipc", "net", "pid", "cgroup"}
    assert kinds <= {kind for kind, _mine, _init in namespaces}
    for kind, mine, init in namespaces:
        assert mine == init, kind
        if kind in kinds:
            assert mine != str(Path(f"/proc/self/ns/{kind}").readlink()), kind
    assert connection.exec_command("cat /proc/self/cgroup | grep ^0::")[1] == b"0::/vtep-enter\n"
    assert connection.exec_command("readlink /proc/self/root")[1] == b"/\n"


def test_no_descriptor_of_the_controller_leaks(connection, tmp_path):
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        out = connection.exec_command("ls /proc/$$/fd")[1]
    assert set(out.split()) <= {b"0", b"1", b"2"}


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_both_ways(connection, tmp_path, name):
    content = name.encode(errors="surrogateescape") + b"\x00\n"
    (tmp_path / name).write_bytes(content)
    far = f"/tmp/{name}"
    connection.put_file(str(tmp_path / name), far)
    assert connection.exec_command("cat /tmp/*")[1] == content
    connection.fetch_file(far, str(tmp_path / f"back {name}"))
    assert (tmp_path / f"back {name}").read_bytes() == content
    connection.exec_command("rm -r /tmp/*")


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_contents_both_ways(connection, tmp_path, content):
    (tmp_path / "near").write_bytes(content)
    connection.put_file(str(tmp_path / "near"), "/tmp/far")
    connection.fetch_file("/tmp/far", str(tmp_path / "back"))
    connection.exec_command("rm /tmp/far")
    assert (tmp_path / "back").read_bytes() == content


def test_a_large_file_both_ways(connection, tmp_path):
    content = hashlib.shake_256(b"vtep").digest(50 * 1024 * 1024)
    (tmp_path / "near").write_bytes(content)
    connection.put_file(str(tmp_path / "near"), "/root/far")
    assert connection.exec_command("sha256sum </root/far")[1].split()[0].decode() == hashlib.sha256(content).hexdigest()
    connection.fetch_file("/root/far", str(tmp_path / "back"))
    connection.exec_command("rm /root/far")
    assert (tmp_path / "back").read_bytes() == content


def test_an_absolute_link_inside_the_host_stays_inside(connection, tmp_path):
    connection.exec_command("ln -s /etc/hostname /tmp/link")
    connection.fetch_file("/tmp/link", str(tmp_path / "back"))
    connection.exec_command("rm /tmp/link")
    assert (tmp_path / "back").read_bytes() == b"s1\n"


def test_files_that_cannot_be_copied(connection, tmp_path):
    with pytest.raises(AnsibleFileNotFound, match="there is no file"):
        connection.put_file(str(tmp_path / "missing"), "/tmp/far")
    (tmp_path / "near").write_bytes(b"x")
    with pytest.raises(AnsibleError, match="cannot create /no/such/directory/far"):
        connection.put_file(str(tmp_path / "near"), "/no/such/directory/far")
    with pytest.raises(AnsibleError, match="cannot open /no/such/file"):
        connection.fetch_file("/no/such/file", str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_a_host_that_does_not_run(running_lab):
    connection = Direct(prefix=running_lab.prefix, host="s9")
    with pytest.raises(AnsibleConnectionFailure, match=f"{running_lab.prefix}-s9 is not running.*make lab"):
        connection.exec_command("true")


@pytest.mark.parametrize("pipelining", ["true", "false"])
def test_in_a_playbook(running_lab, tmp_path, pipelining):
    """Modules, become, delegation, async, and a background process that outlives the play."""
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        textwrap.dedent("""
        - hosts: s1
          gather_facts: false
          tasks:
            - ansible.builtin.user: {name: somebody}
            - ansible.builtin.command: id -un
              become: true
              become_user: somebody
              register: sudo
            - ansible.builtin.command: id -un
              become: true
              become_user: somebody
              become_method: ansible.builtin.su
              register: su
            - ansible.builtin.command: hostname
              delegate_to: s2
              register: delegated
            - ansible.builtin.command: sleep 1
              async: 20
              poll: 1
            - ansible.builtin.copy: {content: "ñ 😀\\n", dest: "/root/odd 'name'", mode: "0600"}
            - ansible.builtin.fetch: {src: "/root/odd 'name'", dest: "%s/", flat: true}
            - ansible.builtin.shell: sleep 4321 >/dev/null 2>&1 &
            - ansible.builtin.assert:
                that:
                  - sudo.stdout == 'somebody'
                  - su.stdout == 'somebody'
                  - delegated.stdout == 's2'
        """)
        % tmp_path
    )
    running_lab.playbook(str(playbook), ANSIBLE_PIPELINING=pipelining)
    assert (tmp_path / "odd 'name'").read_text() == "ñ 😀\n"
    assert running_lab.run("s1", "pkill", "--count", "-f", "sleep 4321") == "1\n"


def test_a_module_is_compiled_once_on_a_host(running_lab, tmp_path):
    """The lab's hosts keep the bytecode of modules (roles/lab/files/zip_bytecode.py)."""
    playbook = tmp_path / "play.yml"
    playbook.write_text("- {hosts: s1, gather_facts: false, tasks: [{vtep.fabric.fdb_info: }]}")

    def kept():
        running_lab.playbook(str(playbook))
        return running_lab.run(
            "s1", "find", "/var/cache/vtep-fabric-bytecode", "-type", "f", "-printf", "%P %T@\n"
        ).split()

    once = kept()
    assert len(once) > 100
    assert kept() == once


def test_a_host_rebooted_by_a_task(running_lab, tmp_path):
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        "- {hosts: s2, gather_facts: false, tasks: [{ansible.builtin.reboot: {reboot_timeout: 60}}, {ansible.builtin.ping: }]}"
    )
    assert "failed=0" in running_lab.playbook(str(playbook))


def test_only_this_hosts_files_are_seen(running_lab):
    running_lab.run("s1", "touch", "/root/mine")
    with pytest.raises(subprocess.CalledProcessError):
        running_lab.run("s2", "stat", "/root/mine")
