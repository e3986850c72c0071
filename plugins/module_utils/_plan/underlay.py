# SPDX-License-Identifier: GPL-3.0-or-later
"""A VTEP's side towards the other VTEPs: loopback addresses, underlay interfaces, and OSPF for each family it has.

The key of OSPF's authentication is not in a plan, which anybody may print; role underlay hands it to the modules.
"""

from __future__ import annotations

LENGTH = {4: 32, 6: 128}


def compile_vtep(fabric, vtep):
    return {
        "links": [loopback(vtep), *(link(one) for one in vtep.underlay)],
        "ospfv3": ospf(vtep, keyless(vtep.ospf.authentication)) if 6 in vtep.addresses else None,
        "ospfv2": ospf(vtep, md5(keyless(vtep.ospf.authentication))) if 4 in vtep.addresses else None,
        "loopbacks": {
            str(family): {
                prefix(family, one.addresses[family]): one.host
                for one in fabric.vteps.values()
                if family in one.addresses
                and family in vtep.addresses  # without an own address, no OSPF of that family
            }
            for family in (6, 4)
        },
    }


def prefix(family, address):
    return f"{address}/{LENGTH[family]}"


def loopback(vtep):
    link = {
        "name": vtep.loopback,
        "addresses": [prefix(family, address) for family, address in vtep.addresses.items()],
        "up": True,
    }
    return link if vtep.loopback == "lo" else {**link, "type": "dummy", "alias": "vtep.fabric loopback"}


def link(one):
    return given(name=one.dev, mtu=one.mtu, up=True)


def keyless(authentication):
    return authentication and {option: value for option, value in authentication.items() if option != "key"}


def md5(authentication):
    """The same key with the one algorithm that FRR's OSPFv2 has."""
    return authentication and {**authentication, "algorithm": "md5"}


def ospf(vtep, authentication):
    settings = vtep.ospf
    return {
        "router_id": vtep.router_id,
        "areas": [{"area": settings.area, "type": "normal"}],
        "interfaces": [
            {"name": vtep.loopback, "area": settings.area, "passive": True},
            *(ospf_interface(one, settings, authentication) for one in vtep.underlay),
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
