# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return must not be a word that Ansible has a use of its own for."""

import re
from pathlib import Path

import pytest
import yaml

MODULES = sorted((Path(__file__).parents[2] / "plugins" / "modules").glob("[a-z]*.py"))
# async_status waits for ever for a job whose result has `started` (ansible.builtin.async_status); the rest are of
# task results (ansible.executor.task_result, task_executor).
TAKEN = {
    "ansible_job_id", "attempts", "failed", "finished", "ignored", "results", "results_file", "skipped", "started",
    "unreachable", "ansible_facts", "add_host", "add_group", "exception", "deprecations", "invocation", "msg", "rc",
}  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_return_value_has_a_name_of_ansibles(path):
    returned = yaml.safe_load(re.search(r'^RETURN = r"""(.*?)"""', path.read_text(), re.DOTALL | re.MULTILINE).group(1))
    assert not TAKEN & set(returned)
