# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of fdb, neighbor, route and rule: the run loop on a table, and a run that is checked from all sides."""

from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge


def converged(resource, checking, **given):
    forms = {"entries": None, "table": None, "src": None}
    try:
        return converge(resource, {**forms, "state": "present", "purge": "none", "anew": [], **given}, checking)
    finally:
        resource.close()


def counted(run, shown, *args, **more):
    """(added, changed, removed, unchanged), after a check mode that must have said the same and done nothing."""
    before = shown()
    checked = run(*args, check=True, **more)
    assert shown() == before
    outcome = run(*args, **more)
    assert (outcome.result, outcome.before, outcome.after) == (checked.result, checked.before, checked.after)
    rows = outcome.result["rows"]
    assert outcome.changed == checked.changed == bool(rows["added"] + rows["changed"] + rows["removed"])
    assert not run(*args, **more).changed
    return rows["added"], rows["changed"], rows["removed"], rows["unchanged"]
