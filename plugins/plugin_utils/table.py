# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a large table to the host as a file.

With pipelining the module reaches the host's Python as a script on standard input, with all arguments in one line, and
Python reads long lines slowly: a table of 100,000 rows costs two seconds so, and next to nothing as a file.
"""

from __future__ import annotations

from ansible.plugins.action import ActionBase

LARGE = 1 << 16  # characters


class TableAction(ActionBase):
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        in_background = self._task.async_val and not self._connection.has_native_async
        arguments = dict(self._task.args)
        table = arguments.get("table")
        # A background module outlives the temporary directory.
        if isinstance(table, str) and len(table) > LARGE and not arguments.get("src") and not in_background:
            del arguments["table"]
            arguments["src"] = self._sent(table)
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=in_background))
        if not in_background:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _sent(self, table):
        """The path of the table on the host."""
        folder = self._make_tmp_path()
        path = self._connection._shell.join_path(folder, "table")
        self._transfer_data(path, table)
        self._fixup_perms2((folder, path), execute=False)
        return path
