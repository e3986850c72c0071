# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's side towards the other hosts: loopback addresses, underlay interfaces, and OSPF for each family it has.

The key of OSPF's authentication is not in a plan, which anybody may print; role underlay hands it to the modules.
"""

from __future__ import annotations

LENGTH = {4: 32, 6: 128}


def compile_node(node, others):
    """others: the hosts whose loopbacks it waits for, itself among them."""
    return {
        "links": [loopback(node), *(link(one) for one in node.underlay)],
        "ospfv3": ospf(node, keyless(node.ospf.authentication)) if 6 in node.addresses else None,
        "ospfv2": ospf(node, md5(keyless(node.ospf.authentication))) if 4 in node.addresses else None,
        "loopbacks": {
            str(family): {
                prefix(family, one.addresses[family]): one.host
                for one in others
                if family in one.addresses
                and family in node.addresses  # without an own address, no OSPF of that family
            }
            for family in (6, 4)
        },
    }


def prefix(family, address):
    return f"{address}/{LENGTH[family]}"


def loopback(node):
    link = {
        "name": node.loopback,
        "addresses": [prefix(family, address) for family, address in node.addresses.items()],
        "up": True,
    }
    return link if node.loopback == "lo" else {**link, "type": "dummy", "alias": "vtep.fabric loopback"}


def link(one):
    return given(name=one.dev, mtu=one.mtu, up=True)


def keyless(authentication):
    return authentication and {option: value for option, value in authentication.items() if option != "key"}


def md5(authentication):
    """The same key with the one algorithm that FRR's OSPFv2 has."""
    return authentication and {**authentication, "algorithm": "md5"}


def ospf(node, authentication):
    settings = node.ospf
    return {
        "router_id": node.router_id,
        "areas": [{"area": settings.area, "type": "normal"}],
        "interfaces": [
            given(name=node.loopback, area=settings.area, passive=True, cost=node.loopback_cost),
            *(ospf_interface(one, settings, authentication) for one in node.underlay),
        ],
        "timers": given(lsa_min_arrival=settings.lsa_min_arrival),
    }


def ospf_interface(one, settings, authentication):
    return given(
        name=one.dev,
        area=settings.area,
        passive=False,
        network=one.network or settings.network,
        cost=one.cost or settings.cost,
        hello_interval=settings.hello_interval,
        dead_interval=settings.dead_interval,
        retransmit_interval=settings.retransmit_interval,
        authentication=authentication,
    )


def given(**options):
    """Without what is None: inside a list Ansible takes that for a value, which is none of an option's choices."""
    return {key: value for key, value in options.items() if value is not None}
