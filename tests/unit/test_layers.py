# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule of docs/architecture.md about which layer may import which."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "plugins"
UTILS = ROOT / "module_utils"
MAY_IMPORT = {
    "_model": {"_model"},
    "_plan": {"_model", "_plan"},
    "_kernel": {"_model", "_kernel"},
    "_daemons": {"_model", "_daemons"},
    "_service": {"_model", "_service"},
    "_vxfld": {"_model", "_kernel", "_service", "_vxfld"},
    "_agent": {"_model", "_kernel", "_service", "_agent"},
    "_ansible": {"_model", "_plan", "_kernel", "_daemons", "_ansible"},
}
THIRD_PARTY = {"_kernel": {"pyroute2"}, "_agent": {"yaml"}, "_ansible": {"ansible"}}
# Of the layers with I/O, what has none: time and chance come in as arguments, so that tests control both.
PURE = {f"_vxfld/{name}.py" for name in ("wire", "messages", "auth", "registrations", "service_node", "registrar")}
PURE |= {f"_agent/{name}.py" for name in ("claims", "directory", "resolver", "bounded", "listing")}
# What touches the world; _model, _plan and PURE do none of it.
WORLD = {"os.path", "pathlib", "subprocess", "io", "tempfile", "urllib", "time", "datetime", "random"}


def imports(path):
    """(layer or top-level package, full name, whether at module level) of each import in a file of module_utils."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    parts = path.relative_to(UTILS).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parts[:-1][: len(parts) - node.level]
            target = [*base, *(node.module or "").split(".")] if node.module else [*base, node.names[0].name]
            yield target[0], ".".join(target), id(node) in top
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0], node.module, id(node) in top
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name.split(".")[0], name.name, id(node) in top


@pytest.mark.parametrize("path", sorted(UTILS.glob("_*/**/*.py")), ids=lambda p: str(p.relative_to(UTILS)))
def test_imports_follow_the_layers(path):
    layer = path.relative_to(UTILS).parts[0]
    for first, name, at_top in imports(path):
        if first.startswith("_") and first != "__future__":
            assert first in MAY_IMPORT[layer], f"{path} imports {name}"
            continue
        standard = first in sys.stdlib_module_names
        assert standard or first in THIRD_PARTY.get(layer, set()), f"{path} imports {name}"
        assert first != "pyroute2" or not at_top, f"{path} imports pyroute2 at module level; it costs 180 ms"
        assert first != "yaml" or not at_top, f"{path} imports yaml at module level; hosts may not have it"
        if layer in ("_model", "_plan") or path.relative_to(UTILS).as_posix() in PURE:
            assert name not in WORLD, f"{path} is pure and imports {name}"


def test_modules_import_only_the_ansible_layer():
    for path in ROOT.glob("modules/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ansible_collections"):
                assert "._ansible" in node.module, f"{path} imports {node.module}"
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.module.startswith("module_utils._ansible"), f"{path} imports {node.module}"
