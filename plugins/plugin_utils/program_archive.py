# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for hosts as one file: a zip archive that Python runs, of the modules that its commands import and no others.

The same source gives the same bytes on every controller: names are sorted, times are fixed, and nothing is compressed,
since one zlib packs otherwise than another.
"""

from __future__ import annotations

import ast
import io
import json
import zipfile
from pathlib import Path

import yaml

COLLECTION = Path(__file__).parents[2]
PACKAGE = "vtep_fabric"  # the name of module_utils on a host
SHEBANG = b"#!/usr/bin/python3 -I\n"
EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip archive can tell
ON_THE_CONTROLLER = ("ansible", "ansible_collections")

MAIN = '''\
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the command by whose name this file was called."""

import importlib
import os
import sys

COMMANDS = {commands}

name = os.path.basename(sys.argv[0])
if name not in COMMANDS:
    sys.exit(f"{{sys.argv[0]}}: call this program by one of its commands: {{', '.join(COMMANDS)}}")
sys.exit(importlib.import_module("{package}." + COMMANDS[name]).main(sys.argv[1:]))
'''


class ArchiveError(Exception):
    """A program that cannot be packed, in words."""


def build(commands, collection=COLLECTION):
    """The archive's bytes. commands: {name on the host: module below module_utils that has main(arguments) -> exit code}."""
    root = collection / "plugins" / "module_utils"
    table = "".join(f"    {name!r}: {module!r},\n" for name, module in sorted(commands.items()))
    main = MAIN.format(commands="{\n" + table + "}", package=PACKAGE)
    files = {"__main__.py": main.encode(), f"{PACKAGE}/__init__.py": (root / "__init__.py").read_bytes()}
    for path in modules(commands.values(), root).values():
        files[f"{PACKAGE}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    packed = io.BytesIO()
    packed.write(SHEBANG)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.comment = version(collection).encode()
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system = 3  # Unix, whatever the controller is
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def version(collection=COLLECTION):
    """The collection's version: an installed one has MANIFEST.json, a checkout galaxy.yml."""
    manifest = collection / "MANIFEST.json"
    if manifest.exists():
        return json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
    return str(yaml.safe_load((collection / "galaxy.yml").read_text(encoding="utf-8"))["version"])


def modules(entries, root):
    """{dotted name: path} of those modules below root and of all that they import, wherever in a module the import stands."""
    found, waiting = {}, [(name, "a command") for name in entries]
    while waiting:
        name, wanted_by = waiting.pop()
        if name in found:
            continue
        path = _source(root, name)
        if path is None:
            raise ArchiveError(f"{wanted_by} wants the module {name}, which is not below {root}")
        found[name] = path
        package = name.rpartition(".")[0]
        if package:
            waiting.append((package, str(path)))
        waiting += [(target, str(path)) for target in _imports(path, name, root)]
    return found


def _source(root, name):
    base = root.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(path, name, root):
    """The modules below root that a file imports."""
    parts = name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ())]
            if base:
                yield ".".join(base)
            # What is imported from a package is a module, or a name of its __init__.py.
            names = (".".join([*base, alias.name]) for alias in node.names)
            yield from (one for one in names if not base or _source(root, one))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for one in names:
                if one.split(".")[0] in ON_THE_CONTROLLER:
                    raise ArchiveError(f"{path}:{node.lineno} imports {one}, which a host does not have")
