# SPDX-License-Identifier: GPL-3.0-or-later
"""Each variant is whole: a role, a Molecule scenario, a page and a line in the README."""

from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._plan.variants import VARIANTS

ROOT = Path(__file__).parents[2]
SERVED = [variant for variant, module in VARIANTS.items() if hasattr(module, "compile_service_node")]

DAEMONS = {"vxfld": SERVED, "agent": [variant for variant in VARIANTS if variant.startswith("unicast-dynamic-")]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_whole(variant):
    role = ROOT / "roles" / variant.replace("-", "_")
    tasks = yaml.safe_load((role / "tasks" / "main.yml").read_text())
    # What is judged before the first change is included; imported is what is built.
    first, *rest = [task for task in tasks if "ansible.builtin.import_role" in task]
    assert first["ansible.builtin.import_role"] == {"name": "vtep.fabric.overlay"}
    assert first["vars"] == {"overlay_variant": variant}
    daemons = [{"name": f"vtep.fabric.{role_of}"} for role_of in ("vxfld", "agent") if variant in DAEMONS[role_of]]
    assert [task["ansible.builtin.import_role"] for task in rest] == daemons
    assert (role / "meta" / "argument_specs.yml").exists()
    scenario = yaml.safe_load((ROOT / "molecule" / variant / "molecule.yml").read_text())
    assert scenario["scenario"]["name"] == variant
    arguments = scenario.get("ansible", {}).get("executor", {}).get("args", {}).get("ansible_playbook", [])
    assert any(one.endswith("/inventories/lab-vxfld") for one in arguments) == (variant in SERVED)
    page = (ROOT / "docs" / "variants" / f"{variant}.md").read_text()
    for chapter in ("When to pick it", "What it costs", "What breaks", "In the kernel"):
        assert f"\n## {chapter}\n" in page
    assert f"\n| [{variant}](variants/{variant}.md) |" in (ROOT / "docs" / "variants.md").read_text()
    assert f"\n| `{variant}` |" in (ROOT / "README.md").read_text()


def test_what_scenarios_share_is_the_same_in_those_with_inventories_of_their_own():
    shared = yaml.safe_load((ROOT / ".config" / "molecule" / "config.yml").read_text())
    shared = shared["ansible"]["executor"]["args"]["ansible_playbook"]
    for variant in SERVED:
        scenario = yaml.safe_load((ROOT / "molecule" / variant / "molecule.yml").read_text())
        own = scenario["ansible"]["executor"]["args"]["ansible_playbook"]
        assert [one for one in own if not one.endswith("/inventories/lab-vxfld")] == shared
