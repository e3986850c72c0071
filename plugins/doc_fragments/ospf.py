# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  router_id:
    description:
      - The router id, unique among all routers of the network, in dotted form, such as V(203.0.113.1). V(0.0.0.0) is refused.
      - FRR's default is the highest IPv4 address of a loopback interface, else of another one. A router without any IPv4
        address and without this setting stays silent.
      - A running router takes another id only by starting all its adjacencies anew (RFC 2328, appendix C.1). The module
        does so, and a warning says so.
      - The id shows in the commands C(ospf6 router-id) and C(ospf router-id).
    type: str
  areas:
    description:
      - The areas and their types, the command C(area). Where it is given, an O(interfaces[].area) must be among them.
    type: list
    elements: dict
    suboptions:
      area:
        description: The area, V(0) to V(4294967295) or in dotted form. V(0) and V(0.0.0.0) are the backbone.
        type: str
        required: true
      type:
        description:
          - V(stub) keeps external routes out, V(nssa) lets its own be told (RFC 2328, section 3.6; RFC 3101). All routers of an
            area must agree. The backbone must be V(normal).
          - Another type is set by way of V(normal), live, at the cost of the area's adjacencies.
        type: str
        choices: [normal, stub, nssa]
        default: normal
      no_summary:
        description: Keep routes to other areas out as well, and tell a default route instead. For V(stub) and V(nssa) only.
        type: bool
        default: false
  authentication_key:
    description: The key of every O(interfaces[].authentication) that has none of its own.
    type: str
  timers:
    description: Timers of the router.
    type: dict
    suboptions:
      lsa_min_arrival:
        description:
          - Milliseconds in which a second instance of an LSA is ignored, V(0) to V(600000), the command
            C(timers lsa min-arrival). FRR's default is V(1000) (C(MinLSArrival) of RFC 2328, appendix B).
          - An LSA that is ignored comes again after O(interfaces[].retransmit_interval). V(0) saves that wait when all routers
            of a network start at once.
        type: int
      spf:
        description:
          - How long a run of the shortest-path calculation is put off, the command C(timers throttle spf).
        type: dict
        suboptions:
          delay:
            description: Milliseconds from the first change to the run, V(0) to V(600000). FRR's default is V(0).
            type: int
            required: true
          initial_hold:
            description: Milliseconds between two runs at first, V(0) to V(600000). FRR's default is V(50).
            type: int
            required: true
          max_hold:
            description: Milliseconds between two runs at most, O(timers.spf.initial_hold) to V(600000). FRR's default is V(5000).
            type: int
            required: true
  enable_daemon:
    description:
      - Switch on what is needed in C(/etc/frr/daemons) and start it, also when it was killed. With O(interfaces[].bfd) that
        includes C(bfdd).
      - Only C(watchfrr) is replaced, by one that watches the new list. FRR's other daemons keep their processes, their
        sessions and what was configured and not saved. Where FRR does not run at all, C(frr.service) is enabled and started.
      - With V(false) the module fails where the daemon does not run.
      - With O(state=absent) a daemon that the module switched on is switched off again, unless something else uses it.
    type: bool
    default: true
  frr_started:
    description:
      - For check mode, where an earlier task of the same play would start FRR or one of its daemons. FRR then starts every
        daemon that is switched on, so that this task has none of those to start. In a run such a daemon has to run.
      - RV(daemons_started) of the earlier task tells it.
    type: bool
    default: false
  save:
    description:
      - Write the lines also into the file that FRR loads when it starts, so that they survive a reboot. That is
        C(/etc/frr/frr.conf), or the daemon's own file where FRR keeps one file a daemon.
      - Only the module's lines are written, removed or replaced. Everything else in the file stays as it is, to the byte,
        and what others have configured without saving it is not saved either.
      - The file is replaced at once and keeps its owner and mode.
    type: bool
    default: true
  state:
    description:
      - V(present) sets what is given, and removes lines that an earlier run wrote and that are no longer asked for.
      - V(absent) removes all lines that the module wrote, and C(router) itself where nobody else uses it. All other
        options but O(save) are ignored then. A host without FRR is fine.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - FRR 8.4 or newer. Debian's package is C(frr).
attributes:
  check_mode:
    support: full
    description: >-
      Predicts what a run does, also where FRR is installed and does not run. Fails as a run would where FRR is missing.
  diff_mode:
    support: full
    description: Shows the configuration lines that run and that are saved. Keys are hidden.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - An option that is not given is left as it is, unless an earlier run set it. Then it goes back to FRR's default.
  - The lines that the module wrote are kept in a record in C(/var/lib/vtep.fabric). A line that was there before, and is
    just as the module would write it, is not taken over. So V(absent) leaves it. A record that is lost or damaged
    means that no line is taken for the module's. The latter is told in a warning.
  - A value of somebody else that is in the way is replaced, and not restored by O(state=absent).
  - Settings of other VRFs and instances are neither read nor changed.
  - Keys go to C(vtysh) through memory, never on a command line.
  - All settings are changed live.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

    INFO = r"""
options:
  wait_for:
    description: Wait until the network has converged, before anything is read. Not in check mode.
    type: dict
    suboptions:
      routes:
        description:
          - Prefixes, IPv6 and IPv4 ones alike. Each must be an address of this host, or have a route of exactly this prefix
            from OSPFv3 or OSPFv2 in the kernel.
          - A default route or an aggregate that covers a prefix does not count. Name the aggregate instead.
        type: list
        elements: str
        default: []
      loopbacks:
        description:
          - Further routes to wait for, as a mapping from the prefix to the host whose loopback it is. The failure then names that
            host beside the prefix.
        type: dict
        default: {}
      neighbors:
        description:
          - Number of neighbours that must be ready, V(0) to V(1000). Ready is C(Full), and C(2-Way) between two routers of a
            segment that are neither its designated router nor the backup (RFC 2328, section 10.4).
        type: int
        default: 0
      timeout:
        description:
          - Seconds to wait, V(1) to V(3600). After them the module fails and names every prefix that is missing, and the state
            of each neighbour. It fails at once when the daemon ends.
        type: int
        default: 60
requirements:
  - FRR 8.4 or newer. Debian's package is C(frr).
attributes:
  check_mode:
    support: full
    description: The module changes nothing. In check mode it does not wait.
  diff_mode:
    support: none
    description: The module changes nothing.
  idempotent:
    support: full
    description: The module changes nothing.
author: The vtep.fabric maintainers (@vtep-fabric)
"""
