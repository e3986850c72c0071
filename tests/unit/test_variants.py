# SPDX-License-Identifier: GPL-3.0-or-later
"""Each variant is whole: a role, a Molecule scenario, a place in the tour through all of them, a page and a line in the README."""

from itertools import combinations
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._plan.variants import VARIANTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_whole(variant):
    role = ROOT / "roles" / variant.replace("-", "_")
    (task,) = yaml.safe_load((role / "tasks" / "main.yml").read_text())
    assert task["vars"] == {"overlay_variant": variant}
    assert (role / "meta" / "argument_specs.yml").exists()
    scenario = yaml.safe_load((ROOT / "molecule" / variant / "molecule.yml").read_text())
    assert scenario["scenario"]["name"] == variant
    page = (ROOT / "docs" / "variants" / f"{variant}.md").read_text()
    for chapter in ("When to pick it", "What it costs", "What breaks", "In the kernel"):
        assert f"\n## {chapter}\n" in page
    assert f"\n| [{variant}](variants/{variant}.md) |" in (ROOT / "docs" / "variants.md").read_text()
    assert f"\n| `{variant}` |" in (ROOT / "README.md").read_text()


def test_the_tour_goes_between_all_variants():
    (play,) = yaml.safe_load((ROOT / "molecule" / "tour" / "converge.yml").read_text())
    stops = play["vars"]["tour_stops"]
    assert {frozenset(pair) for pair in zip(stops, stops[1:])} == {
        frozenset(pair) for pair in combinations(VARIANTS, 2)
    }
