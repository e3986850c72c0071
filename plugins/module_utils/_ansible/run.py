# SPDX-License-Identifier: GPL-3.0-or-later
"""The one run loop of every module: normalise, read, plan, (check mode: report), apply, read back, verify, report."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model.errors import FabricError, InputError, VerifyError


@dataclass
class Outcome:
    """What a module did, or in check mode would do."""

    changed: bool
    before: str = ""  # the diff's two sides, text with a line an entry, already bounded
    after: str = ""
    header: str = ""  # what the diff is of
    result: dict = field(default_factory=dict)  # the module's own return values
    warnings: list = field(default_factory=list)


class Resource:
    """What a module is about. A subclass binds _model, _plan and an adapter of _kernel or _daemons together.

    The loop calls the methods in this order; each may raise a FabricError.
    """

    def normalise(self, params):
        """Desired state from the module's parameters. Raises InputError with every fault. No I/O but reading `src`."""
        raise NotImplementedError

    def read(self, desired):
        """Observed state: only what `plan` needs."""
        raise NotImplementedError

    def plan(self, desired, observed):
        """A plan: pure, and false where there is nothing to do. Raises RefusedError for a loss not asked for."""
        raise NotImplementedError

    def apply(self, plan):
        """Carry the plan out."""
        raise NotImplementedError

    def verify(self, desired, plan):
        """Read back; a list of differences in words, empty when the host holds what was set."""
        raise NotImplementedError

    def outcome(self, desired, observed, plan, checking):
        """The Outcome of a plan that was applied, or in check mode would be."""
        raise NotImplementedError

    def close(self):
        """Release sockets and files; called once, whatever happened."""


def run(module, resource):
    """Run a resource for an AnsibleModule and end it. Nothing else in the collection calls exit_json or fail_json."""
    try:
        try:
            outcome = converge(resource, module.params, module.check_mode)
        finally:
            resource.close()
    except FabricError as error:
        fail(module, error)
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(outcome.result, changed=outcome.changed)
    if module._diff:
        result["diff"] = {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": outcome.header,
            "after_header": outcome.header,
        }
    # exit_json echoes every argument unless it is given an invocation; for large tables that costs seconds.
    module.exit_json(invocation={}, **result)


def converge(resource, params, checking):
    desired = resource.normalise(params)
    observed = resource.read(desired)
    plan = resource.plan(desired, observed)
    if plan and not checking:
        resource.apply(plan)
        differences = resource.verify(desired, plan)
        if differences:
            raise VerifyError(differences)
    return resource.outcome(desired, observed, plan, checking)


def query(module, read):
    """Run an _info module: `read(params)` returns its return values."""
    try:
        result = read(module.params)
    except FabricError as error:
        fail(module, error)
    module.exit_json(changed=False, **result)


def fail(module, error):
    if isinstance(error, InputError):
        module.fail_json(
            msg="nothing was changed: " + "; ".join(error.faults[:20]), faults=error.faults[:1000], invocation={}
        )
    module.fail_json(msg=str(error), invocation={})
