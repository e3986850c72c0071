# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the module announce."""

from __future__ import annotations

from .._kernel.announce import Ports
from .._model import announce as model
from .run import Outcome, Resource

SEGMENT = {
    "ports": {"type": "list", "elements": "str", "required": True},
    "table": {"type": "str", "required": True},
}
ARGUMENTS = {"segments": {"type": "list", "elements": "dict", "options": SEGMENT, "required": True}}


class Announce(Resource):
    """Sends frames, which are gone then: there is nothing to read, to compare or to read back."""

    def normalise(self, params):
        return model.segments(params["segments"])

    def read(self, desired):
        return None

    def plan(self, desired, observed):
        return [segment for segment in desired if len(segment)]

    def apply(self, plan):
        ports = Ports(model.ports(plan))
        try:
            for segment in plan:
                for name in segment.ports:
                    ports.send(name, segment.frames(name, ports.mac(name)))
        finally:
            ports.close()

    def verify(self, desired, plan):
        return []

    def outcome(self, desired, observed, plan, checking):
        return Outcome(changed=False, result={"frames": sum(map(len, plan))})
