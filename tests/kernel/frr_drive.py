"""Run by the host's own Python inside a test host: one module run, parameters and outcome as JSON on standard streams."""

import dataclasses
import json
import sys

sys.path.insert(0, "/src")
sys.dont_write_bytecode = True
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf  # noqa: E402
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge  # noqa: E402
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import frr  # noqa: E402
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError  # noqa: E402


def filled(params, spec):
    """Parameters with the defaults of the argument spec, as AnsibleModule would hand them over."""
    found = {}
    for key, one in spec.items():
        value = params.get(key, one.get("default"))
        if value is not None and "options" in one:
            rows = value if isinstance(value, list) else [value]
            rows = [filled(row, one["options"]) for row in rows]
            value = rows if isinstance(value, list) else rows[0]
        found[key] = value
    unknown = set(params) - set(spec)
    assert not unknown, unknown
    return found


def main():
    request = json.load(sys.stdin)
    protocol = {"ospfv3": ospf.V3, "ospfv2": ospf.V2}[request["module"].partition("_")[0]]
    frr.ANSWER = request.get("patience") or frr.ANSWER
    try:
        if request["module"].endswith("_info"):
            answer = ospf.info(protocol, request["check"])(filled(request["params"], ospf.INFO_SPEC))
        else:
            params = filled(request["params"], ospf.spec(protocol))
            answer = dataclasses.asdict(converge(ospf.Ospf(protocol), params, request["check"]))
            answer.update(answer.pop("result"))
    except FabricError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    json.dump(answer, sys.stdout)


main()
