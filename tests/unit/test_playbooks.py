# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true of each playbook of the collection."""

from pathlib import Path

import pytest
import yaml

PLAYBOOKS = sorted((Path(__file__).parents[2] / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_strategy_of_the_users_takes_the_barriers_away(path):
    """Such as `strategy = free` in ansible.cfg: each host would go on alone, and run_once would be once a host."""
    plays = [play for play in yaml.safe_load(path.read_text()) if "hosts" in play]
    assert [play.get("strategy") for play in plays] == ["ansible.builtin.linear"] * len(plays)
    assert plays
