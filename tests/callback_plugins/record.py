# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what each task did on each host, and how long it took, as JSON to the file named by RECORD_FILE."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: Results and durations of tasks as JSON
description: Writes what each task did on each host, and how long it took, to the file named by the variable RECORD_FILE.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.begin = time.monotonic()
        self.tasks = []

    def v2_playbook_on_task_start(self, task, is_conditional):
        name = task.get_name()
        self.tasks.append({"name": name, "action": task.action, "start": time.monotonic(), "hosts": {}})

    def v2_runner_on_ok(self, result):
        self.note(result, failed=False)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.note(result, failed=True)

    def note(self, result, failed):
        found = result._result
        self.tasks[-1]["hosts"][result._host.get_name()] = {
            "changed": bool(found.get("changed")),
            "failed": failed,
            "diff": found.get("diff"),
            "msg": found.get("msg") if failed else None,
        }

    def v2_playbook_on_stats(self, stats):
        end = time.monotonic()
        for task, following in zip(self.tasks, [*(t["start"] for t in self.tasks[1:]), end]):
            task["seconds"] = following - task.pop("start")
        Path(os.environ["RECORD_FILE"]).write_text(json.dumps({"tasks": self.tasks, "playbook": end - self.begin}))
