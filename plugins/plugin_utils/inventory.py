# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the fabric's words out of Ansible's variables, for the filters. Controller only; all I/O of the compile is here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..module_utils._model import registry_node, service_node, vtep
from ..module_utils._model.errors import FabricError, InputError, MissingError
from ..module_utils._model.fabric import FABRIC_WORDS, SECRET_WORDS
from ..module_utils._model.reading import Unreadable, shown


def read(hostvars, groups, encryption=None):
    """(fabric-wide words, {VTEP: its words}, {service node: its words}, {host of the registry: its words}, faults), as plain
    data. Raises nothing.

    The fabric-wide words are those of the VTEPs. encryption: the mode that was picked for this run, one word more.
    """
    faults = []
    vteps = variables(hostvars, groups, "vteps", faults)
    words = {word: same_on_all(hostvars, vteps, word, faults) for word in FABRIC_WORDS}
    words["fabric_endpoints"] = resolved(words["fabric_endpoints"])
    words["encryption"] = plain(encryption)
    service_nodes = variables(hostvars, groups, "service_nodes", faults)
    registry = variables(hostvars, groups, "registry", faults)
    check_encryption(hostvars, {**vteps, **service_nodes, **registry}, words["encryption"] or "", faults)
    return (
        words,
        own(vteps, vtep.WORDS),
        own(service_nodes, service_node.WORDS),
        own(registry, registry_node.WORDS),
        faults,
    )


def own(hosts, words):
    return {host: {word: value(known, word) for word in words} for host, known in hosts.items()}


def variables(hostvars, groups, group, faults):
    """{host: its variables} of a group's hosts."""
    found = {}
    for host in members(groups, group, faults):
        try:
            known = host in hostvars and hostvars[host]
        except Exception as error:  # an inventory can hold any template and any plugin, and those raise anything
            faults.append(f"{host}: hostvars: cannot be read: {one_line(error)}")
            continue
        if isinstance(known, Mapping):
            found[host] = known
        else:
            faults.append(f"{host}: hostvars: is not in the inventory; add the host or take it out of group {group}")
    return found


def members(groups, group, faults):
    try:
        names = plain(groups[group])
    except KeyError:
        return []
    except Exception as error:
        faults.append(f"fabric: groups: cannot be read: {one_line(error)}")
        return []
    if isinstance(names, list):
        return list(dict.fromkeys(map(str, names)))
    faults.append(f"fabric: groups.{group}: {shown(names)} is not a list of hosts")
    return []


def value(variables, word):
    """A host's word as plain data, None where it has none."""
    try:
        return plain(variables[word]) if word in variables else None
    except Exception as error:
        return Unreadable(f"cannot be read: {one_line(error)}")


def same_on_all(hostvars, variables, word, faults):
    """A fabric-wide word. It must be the same on all VTEPs, or they would build different fabrics."""
    constant = shared(hostvars, variables, word)
    if constant is not None:
        return constant
    first = None
    for host, known in variables.items():
        found = value(known, word)
        if first is None:
            first = host, found
        elif isinstance(found, Unreadable):
            faults.append(f"{host}: {word}: {found.reason}")
        elif found != first[1] and not isinstance(first[1], Unreadable):
            differs = f"{shown(found)} differs from {shown(first[1])} on {first[0]}"
            if word in SECRET_WORDS:
                differs = f"differs from that on {first[0]} (the values are not shown)"
            faults.append(f"{host}: {word}: {differs}; write it once, into group_vars of vteps")
    return first and first[1]


def check_encryption(hostvars, variables, picked, faults):
    """Each host compiles its own plan. One with another mode, in this run or alone, would send in clear what the others encrypt."""
    if shared(hostvars, variables, "encryption") == picked:
        return
    for host, known in variables.items():
        found = value(known, "encryption")
        if isinstance(found, Unreadable):
            faults.append(f"{host}: encryption: {found.reason}")
        elif found is not None and found != picked:
            what = f"{shown(found)} is not {shown(picked)}, which another host has, or this run"
            faults.append(f"{host}: encryption: {what}; write it once for all hosts, into group_vars of all")


def shared(hostvars, variables, word):
    """The value of a word that all hosts have from one place and that has no template in it, else None.

    Templating costs about 65 us for a row of endpoints and host; 100 000 of them in group_vars would take 6 s a VTEP.
    """
    if not hasattr(hostvars, "raw_get"):
        return None
    try:
        raw = [hostvars.raw_get(host).get(word) for host in variables]
        return plain(raw[0], literal) if all(one is raw[0] for one in raw) else None
    except Exception:
        return None  # then it is read with templating, which tells what is wrong


def literal(text):
    if "{{" in text or "{%" in text or "{#" in text:
        raise ValueError("a template")
    return str(text)


def plain(data, string=str):
    """Variables as Python's own types: Ansible's are lazy, and carry tags. Reading a lazy one can raise anything."""
    if isinstance(data, str):
        return string(data)
    if isinstance(data, Mapping):
        return {str(key): plain(one, string) for key, one in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(one, string) for one in data]
    if isinstance(data, bool) or data is None:
        return data
    if isinstance(data, int):
        return int(data)
    if isinstance(data, float):
        return float(data)
    if string is not str:
        raise ValueError("a type that only Ansible's templating knows, such as a vaulted value")
    return str(data)


def resolved(endpoints):
    """The list that fabric_endpoints means, or an Unreadable."""
    if endpoints is None or isinstance(endpoints, (list, Unreadable)):
        return endpoints
    try:
        return resolve(endpoints)
    except FabricError as error:
        return Unreadable(str(error))


def resolve(source):
    """The list of endpoints in a list, in {file, query} or in {document, query}."""
    if isinstance(source, list):
        return source
    if (
        not isinstance(source, dict)
        or ("file" in source) == ("document" in source)
        or set(source) - {"file", "document", "query"}
    ):
        raise InputError(
            f"{shown(source)} names no endpoints; write a list, "
            "{file: path, query: JMESPath} or {document: data, query: JMESPath}"
        )
    query = source.get("query")
    where = f"file {source['file']}" if "file" in source else "the document"
    found = load(source["file"]) if "file" in source else source["document"]
    if query is not None:
        where += f", query {query}"
        found = search(query, found, where)
    if not isinstance(found, list):
        raise InputError(f"{where}: holds {shown(found)} and not a list; a query must lead to a list of endpoints")
    return found


def load(name):
    """The data in a JSON or YAML file, told apart by the content."""
    try:
        content = Path(str(name)).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"file {name}: cannot be read: {getattr(error, 'strerror', None) or one_line(error)}"
        ) from None
    try:
        return json.loads(content)
    except ValueError as error:
        not_json = one_line(error)
    import yaml

    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"file {name}: is neither JSON ({not_json}) nor YAML ({one_line(error)})") from None


def search(query, data, where):
    try:
        import jmespath
    except ImportError:
        fix = "pip install jmespath on the controller, or leave the query out"
        raise MissingError(f"{where}: the Python library jmespath is not installed", fix) from None
    try:
        return jmespath.search(str(query), data)
    except Exception as error:  # its own errors, and TypeErrors of functions that meet data they were not made for
        raise InputError(f"{where}: the query fails: {one_line(error)}") from None


def one_line(error):
    return " ".join(str(error).split())[:300] or type(error).__name__
