# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a program of the collection on the controller, and send it to the hosts that have another one or none."""

from __future__ import annotations

import hashlib

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.vtep.fabric.plugins.plugin_utils import program_archive


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = {**self._task.args, "sha256": None, "version": None, "src": None}
        archive = b""
        commands = arguments.get("commands")
        # What is wrong with the arguments the module tells better.
        if arguments.get("state", "present") == "present" and isinstance(commands, dict):
            try:
                archive = program_archive.build({str(name): str(module) for name, module in commands.items()})
            except program_archive.ArchiveError as error:
                raise AnsibleActionFail(f"commands: {error}") from None
            arguments["sha256"] = hashlib.sha256(archive).hexdigest()
            arguments["version"] = program_archive.version()
        answer = self._execute_module(module_args=arguments, task_vars=task_vars)
        if answer.get("waiting") and not self._task.check_mode:
            arguments["src"] = self._sent(archive)
            answer = self._execute_module(module_args=arguments, task_vars=task_vars)
        answer.pop("waiting", None)
        self._remove_tmp_path(self._connection._shell.tmpdir)
        result.update(answer)
        return result

    def _sent(self, archive):
        """The path of the archive on the host."""
        folder = self._make_tmp_path()
        path = self._connection._shell.join_path(folder, "program")
        self._transfer_data(path, archive)
        self._fixup_perms2((folder, path), execute=False)
        return path
