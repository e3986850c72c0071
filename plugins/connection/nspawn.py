# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nspawn
short_description: Run tasks inside the hosts of the built-in lab
version_added: "0.1.0"
author: The vtep.fabric maintainers (@vtep-fabric)
description:
  - Enters every namespace, the root directory and the cgroup of a host that C(lab_up) booted under C(systemd-nspawn), and
    runs commands and copies files there.
  - Nothing has to run inside the host but its init, neither C(sshd) nor C(systemd-machined) is asked, and the network of
    the host is not touched, so that tasks go on while they rebuild it.
  - Commands start with a clean environment, as they would after a login, in root's home directory.
options:
  machine:
    description: The machine's name. Made of O(prefix) and O(host) with a dash between them when it is not given.
    type: str
    vars:
      - name: ansible_nspawn_machine
  prefix:
    description: The name prefix of the lab.
    type: str
    default: vtep
    vars:
      - name: lab_prefix
  host:
    description: The host's name within the lab.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
  nsenter:
    description: The C(nsenter) program of the controller.
    type: str
    default: nsenter
    vars:
      - name: ansible_nspawn_nsenter
extends_documentation_fragment:
  - ansible.builtin.connection_pipelining
notes:
  - It needs root on the controller, which has to be the machine that runs the lab.
  - Commands start as root, whatever the remote user is; C(become) to another user works without a password.
  - A process that a command leaves in the background lives on, as it would after a login with SSH; it ends with the host.
"""

EXAMPLES = r"""
# inventory: every host of the lab
lab:
  hosts:
    s1:
    s2:
  vars:
    ansible_connection: vtep.fabric.nspawn
"""

import shutil
import subprocess
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible_collections.vtep.fabric.plugins.plugin_utils.nspawn import NotRunning, enter, machine_name

display = Display()


class Connection(ConnectionBase):
    """Commands and files in a lab host."""

    transport = "vtep.fabric.nspawn"
    has_pipelining = True

    @property
    def machine(self):
        return self.get_option("machine") or machine_name(self.get_option("prefix"), self.get_option("host"))

    def _connect(self):
        self._enter(["true"])
        self._connected = True
        return self

    def _enter(self, argv):
        """The command line that runs argv in the host. Made anew each time: a reboot gives the host a new init."""
        nsenter = self.get_option("nsenter")
        if not shutil.which(nsenter):
            raise AnsibleError(f"{nsenter} is not on this controller: apt-get install util-linux")
        try:
            return enter(self.machine, argv, nsenter)
        except NotRunning:
            raise AnsibleConnectionFailure(
                f"the lab host {self.machine} is not running: start it with 'make lab' (playbooks/lab_up.yml)"
            ) from None
        except PermissionError as error:
            raise AnsibleConnectionFailure(f"only root may enter the lab host {self.machine}: {error}") from None

    def _popen(self, argv, **streams):
        # A session of its own: the end of the play must not take along what the command left in the background.
        return subprocess.Popen(self._enter(argv), stderr=subprocess.PIPE, start_new_session=True, **streams)

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {to_text(cmd)}", host=self.machine)
        shell = self._play_context.executable or "/bin/sh"
        process = self._popen(
            [shell, "-c", to_bytes(cmd, errors="surrogate_or_strict")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stdout, stderr = process.communicate(in_data)
        return process.returncode, stdout, stderr

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {to_text(in_path)} TO {to_text(out_path)}", host=self.machine)
        source = local_path(in_path)
        if not source.is_file():
            raise AnsibleFileNotFound(f"there is no file {source} to copy to {self.machine}")
        with source.open("rb") as file:
            self._copy('cat >"$0"', out_path, stdin=file, stdout=subprocess.DEVNULL)

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {to_text(in_path)} TO {to_text(out_path)}", host=self.machine)
        target = local_path(out_path)
        try:
            with target.open("wb") as file:
                self._copy('cat <"$0"', in_path, stdin=subprocess.DEVNULL, stdout=file)
        except AnsibleError:
            target.unlink()  # half a file must not pass for the whole
            raise

    def _copy(self, script, path, **streams):
        """Run a shell script that copies between its standard streams and the path within the host."""
        process = self._popen(["/bin/sh", "-c", script, to_bytes(path, errors="surrogate_or_strict")], **streams)
        _stdout, stderr = process.communicate()
        if process.returncode:
            raise AnsibleError(f"cannot copy {to_text(path)} of {self.machine}: {to_text(stderr).strip()}")

    def reset(self):
        self._connected = False

    def close(self):
        self._connected = False


def local_path(path):
    return Path(to_native(path, errors="surrogate_or_strict"))
