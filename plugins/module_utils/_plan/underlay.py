# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's side towards the other hosts: loopback addresses, underlay interfaces, and OSPF for each family it has.

The key of OSPF's authentication is not in a plan, which anybody may print; role underlay hands it to the modules.
"""

from __future__ import annotations

from .._model import secured

LENGTH = {4: 32, 6: 128}


def compile_node(node, others, carrier=None, former=(), encrypted=False):
    """others: the hosts whose loopbacks it waits for, itself among them. carrier(interface): the device on it that the underlay
    runs on instead, if any. former: devices that the host has and that the underlay may run on until now. encrypted: whether the fabric
    is, by whatever, and not necessarily on this host."""
    plan = {
        "links": [loopback(node), *(link(one, below=carrier is not None) for one in node.underlay)],
        **routing(node, node.underlay, carrier or bare),
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
    if carrier:
        plan["carriers"] = [
            given(name=carrier(one.dev), addresses=None if one.addresses is None else list(one.addresses), up=True)
            for one in node.underlay
        ]
        # Below there are none any more, once the devices above have them.
        plan["vacated"] = [{"name": one.dev, "addresses": []} for one in node.underlay if one.addresses is not None]
        plan["leaving"] = {**leaving(node, bare), "in_clear": False}
    elif any(secured.device(one.dev) in former for one in node.underlay):
        plan["leaving"] = {**leaving(node, secured.device, former), "in_clear": not encrypted}
    return plan


def bare(dev):
    return dev


def routing(node, links, name):
    authentication = keyless(node.ospf.authentication)
    return {
        "ospfv3": ospf(node, links, name, authentication) if 6 in node.addresses else None,
        "ospfv2": ospf(node, links, name, md5(authentication)) if 4 in node.addresses else None,
    }


def leaving(node, name, there=None):
    """What OSPF ran on before the underlay moved to other devices, or back: the modules' interfaces. there: devices of the host."""
    links = [one for one in node.underlay if there is None or name(one.dev) in there]
    both = routing(node, links, name)
    return {
        "names": [name(one.dev) for one in links],
        **{protocol: options["interfaces"][1:] if options else [] for protocol, options in both.items()},
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


def link(one, below):
    """below: its addresses are on another device."""
    addresses = None if one.addresses is None or below else list(one.addresses)
    return given(name=one.dev, mtu=one.mtu, addresses=addresses, up=True)


def keyless(authentication):
    return authentication and {option: value for option, value in authentication.items() if option != "key"}


def md5(authentication):
    """The same key with the one algorithm that FRR's OSPFv2 has."""
    return authentication and {**authentication, "algorithm": "md5"}


def ospf(node, links, name, authentication):
    settings = node.ospf
    return {
        "router_id": node.router_id,
        "areas": [{"area": settings.area, "type": "normal"}],
        "interfaces": [
            given(name=node.loopback, area=settings.area, passive=True, cost=node.loopback_cost),
            *(ospf_interface(one, name(one.dev), settings, authentication) for one in links),
        ],
        "timers": given(lsa_min_arrival=settings.lsa_min_arrival),
    }


def ospf_interface(one, name, settings, authentication):
    return given(
        name=name,
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
