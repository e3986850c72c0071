# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the host which run asks for its lock, and judge on the controller whether the run that has it still lives."""

from __future__ import annotations

import getpass
import hashlib
import multiprocessing
import os
import socket
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.vtep.fabric.plugins.module_utils._model.host_lock import refusal


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        me = identity()
        arguments = {**self._task.args, "holder": me, "stale": None}
        answer = self._execute_module(module_args=arguments, task_vars=task_vars)
        other = answer.get("holder")
        if other and is_dead(other, me):
            arguments["stale"] = other["run"]
            answer = self._execute_module(module_args=arguments, task_vars=task_vars)
            other = answer.get("holder")
        result.update(answer)
        if other and self._task.args.get("state", "held") == "held":
            message = refusal(other, other["controller"] == me["controller"] and bool(other["start"]))
            if self._task.check_mode:
                result["warnings"] = [*result.get("warnings", ()), message]
            else:
                result.update(failed=True, msg=message)
        return result


def identity():
    """The ansible-playbook process that this one works for, in the words of the module's `holder`."""
    parent = multiprocessing.parent_process()  # tasks run in forks of it
    pid = parent.pid if parent else os.getpid()
    machine = [_content("/etc/machine-id"), _content("/proc/sys/kernel/random/boot_id"), _pid_namespace()]
    controller = _number(socket.gethostname(), *machine)
    start = started(pid)
    return {
        "run": _number(controller, str(pid), start),
        "controller": controller,
        "hostname": socket.gethostname(),
        "user": _user(),
        "pid": pid,
        "start": start,
    }


def is_dead(other, me):
    """Of another run: whether it was of this very controller, and its process is gone."""
    return bool(other["controller"] == me["controller"] and other["start"] and started(other["pid"]) != other["start"])


def started(pid):
    """When a process started, in ticks since boot; empty where there is none, or no /proc."""
    fields = _content(f"/proc/{pid}/stat").rpartition(")")[2].split()  # proc(5): a name may hold blanks and brackets
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _content(path):
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _pid_namespace():
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _user():
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


def _number(*words):
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
