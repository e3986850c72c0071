# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes how long each task took, and how many hosts ran it, to the file named by DURATIONS_FILE. For bench_site.py."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: durations
type: aggregate
short_description: Task durations as JSON
description: Writes how long each task took to the file named by the environment variable DURATIONS_FILE.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "durations"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.begin = time.monotonic()
        self.tasks = []

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.tasks.append(
            {"name": task.get_name(), "action": task.action, "start": time.monotonic(), "hosts": 0, "changed": 0}
        )

    def v2_runner_on_ok(self, result):
        self.tasks[-1]["hosts"] += 1
        self.tasks[-1]["changed"] += bool(result._result.get("changed"))

    def v2_playbook_on_stats(self, stats):
        end = time.monotonic()
        for task, following in zip(self.tasks, [*(t["start"] for t in self.tasks[1:]), end]):
            task["seconds"] = following - task.pop("start")
        report = {
            "tasks": self.tasks,
            "playbook": end - self.begin,
            "start": self.tasks[0]["seconds"] if self.tasks else 0,
        }
        Path(os.environ["DURATIONS_FILE"]).write_text(json.dumps(report))
