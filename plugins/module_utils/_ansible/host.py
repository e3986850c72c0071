# SPDX-License-Identifier: GPL-3.0-or-later
"""What host_info answers."""

from __future__ import annotations

from .._kernel import host
from .._model.errors import FabricError
from .._plan.host import WORDS, missing

SPEC = {"require": {"type": "list", "elements": "str", "choices": WORDS, "default": []}}


def info(params):
    facts = host.facts()
    faults = missing(facts, params["require"])
    if faults:
        raise FabricError("; ".join(faults))
    return facts
