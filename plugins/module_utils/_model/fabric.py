# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole fabric, and what must hold between its parts. What holds within one part is checked where it is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from . import encryption, endpoint, overhead, reading, registry, registry_node, segment, service_node, values, vtep
from .link import OWNER, is_owned

FABRIC_WORDS = (
    "fabric_segments",
    "fabric_endpoints",
    "fabric_underlay_family",
    "fabric_service_address",
    "fabric_registry",
    "fabric_encryption",
)
SECRET_WORDS = ("fabric_encryption",)  # no fault quotes their values


@dataclass(frozen=True)
class Fabric:
    family: int  # of the underlay: 4 or 6
    segments: tuple
    vteps: dict  # host -> Vtep, in the inventory's order
    endpoints: tuple
    ports: dict  # (host, port as an endpoint names it, VNI) -> access ports
    service_hosts: tuple  # names of all of group service_nodes, sound or not
    service_nodes: dict  # host -> ServiceNode, in the inventory's order
    service_addresses: dict | None  # family -> address that all service nodes share; None where it is faulty
    registry: registry.Registry | None  # None where it is faulty
    registry_hosts: tuple  # names of all of group registry, sound or not
    registry_nodes: dict  # host -> RegistryNode, in the inventory's order
    lists_endpoints: bool  # whether there is a list of endpoints, empty or not
    encryption: encryption.Encryption | None  # None where it is faulty

    def stack(self, segment):
        """What lies between an endpoint's packet and the underlay's links. VLAN tags of the links are beyond their MTU."""
        return overhead.Stack(self.family, self.encryption, inner_vlan_tags=segment.inner_vlan_tags)

    @cached_property
    def link_mtu(self):
        """What a link of the underlay has to hold, whichever hosts are on it: all of them forward, and OSPF forms no adjacency
        between different MTUs (RFC 2328, section 10.6, and RFC 5340 after it). A segment that fits no device does not count."""
        sizes = {(segment.mtu, segment.inner_vlan_tags): segment for segment in self.segments}
        needs = [overhead.needed(self.stack(segment), segment.mtu) for segment in sizes.values()]
        nodes = (*self.vteps.values(), *self.service_nodes.values(), *self.registry_nodes.values())
        return max([need for need in needs if need <= overhead.MAX] + [self.least(node) for node in nodes])

    def least(self, node):
        """What a host's links have to hold whatever the segments need. The underlay routes all of a host's addresses, whichever
        of them VXLAN is between."""
        return overhead.least(overhead.Stack(max(node.addresses), self.encryption))

    def local(self, node):
        """The address that a VTEP sends from and is reached at; of a service node, its own."""
        return node.addresses[self.family]

    def segments_of(self, vtep):
        return [segment for segment in self.segments if vtep.host in segment.vteps]

    def peers(self, segment, vtep):
        """The other VTEPs of a segment that are sound. Never the VTEP itself: it would send its own frames to itself for ever."""
        return [self.vteps[host] for host in segment.vteps if host != vtep.host and host in self.vteps]

    @cached_property
    def by_vni(self):
        found = {}
        for one in self.endpoints:
            found.setdefault(one.vni, []).append(one)
        return found

    def members(self, segment):
        """A segment's endpoints."""
        return self.by_vni.get(segment.vni, [])

    def remote(self, segment, vtep):
        """A segment's endpoints behind other VTEPs."""
        return [endpoint for endpoint in self.members(segment) if endpoint.vtep != vtep.host]

    def attached(self, segment, vtep):
        """A segment's endpoints behind this VTEP."""
        return [endpoint for endpoint in self.members(segment) if endpoint.vtep == vtep.host]

    def local_of(self, endpoint):
        """The address of the VTEP that an endpoint is behind."""
        return self.local(self.vteps[endpoint.vtep])

    def device(self, endpoint):
        """The name of the device that an endpoint is attached to."""
        return self.ports[endpoint.vtep, endpoint.port, endpoint.vni][0].name


def read(words, hosts, service_hosts, registry_hosts, faults):
    """The Fabric of the inventory's words, sound when no fault was added.

    words: the fabric-wide ones, and `encryption`, the mode that was picked for this run; hosts, service_hosts, registry_hosts:
    {host: its words} for all of groups vteps, service_nodes and registry. A part with a fault is left out, and checks that
    would only repeat its fault are left out with it.
    """
    before = len(faults.found)
    segments, vnis = segment.read(words.get("fabric_segments"), hosts, faults)
    segments_sound = len(faults.found) == before
    segment.check_duplicates(segments, faults)
    vteps = {host: vtep.read(host, mapping, faults) for host, mapping in hosts.items()}
    sound = {host: one for host, one in vteps.items() if one}
    service_nodes = read_service_nodes(service_hosts, hosts, faults)
    registry_nodes = read_registry_nodes(registry_hosts, hosts, service_hosts, faults)
    nodes = {**sound, **service_nodes, **registry_nodes}
    check_addresses(nodes, faults)
    check_link_addresses(nodes, faults)
    service_addresses = read_service_addresses(words, nodes, faults)
    family = underlay_family(words, sound, faults)
    endpoints = endpoint.read(words.get("fabric_endpoints"), hosts, vnis, faults)
    endpoint.check_duplicates(endpoints, faults)
    if segments_sound:
        sound = {host: with_vnis(one, segments, endpoints, faults) for host, one in sound.items()}
    fabric = Fabric(
        family=family,
        segments=tuple(segments),
        vteps=sound,
        endpoints=tuple(endpoints.values()),
        ports=port_index(sound),
        service_hosts=tuple(service_hosts),
        service_nodes=service_nodes,
        service_addresses=service_addresses,
        registry=registry.read(words.get("fabric_registry"), faults),
        registry_hosts=tuple(registry_hosts),
        registry_nodes=registry_nodes,
        lists_endpoints=words.get("fabric_endpoints") is not None,
        encryption=encryption.read(words.get("fabric_encryption"), words.get("encryption"), faults),
    )
    check_ipv6(fabric, faults)
    for one in (*sound.values(), *service_nodes.values(), *registry_nodes.values()):
        check_devices(fabric, one, faults)
        check_mtu(fabric, one, fabric.segments_of(one), faults)
    if segments_sound:
        check_attachments(fabric, endpoints, faults)
    return fabric


def read_service_nodes(service_hosts, hosts, faults):
    found = {
        host: service_node.read(host, mapping, faults, position)
        for position, (host, mapping) in enumerate(service_hosts.items(), 1)
    }
    for host in found:
        if host in hosts:
            message = "is in group vteps as well, and a service node runs on no VTEP; take it out of one of the groups"
            faults.add(host, "groups.service_nodes", message)
    return {host: one for host, one in found.items() if one and host not in hosts}


def read_registry_nodes(registry_hosts, hosts, service_hosts, faults):
    found = {host: registry_node.read(host, mapping, faults) for host, mapping in registry_hosts.items()}
    others = {host: group for group, names in (("service_nodes", service_hosts), ("vteps", hosts)) for host in names}
    for host in found:
        if host in others:
            message = f"is in group {others[host]} as well, and the registry has hosts of its own; take it out of one of the groups"
            faults.add(host, "groups.registry", message)
    return {host: one for host, one in found.items() if one and host not in others}


def check_addresses(nodes, faults):
    addresses, router_ids = {}, {}
    for one in nodes.values():
        for address in one.addresses.values():
            other = addresses.setdefault(address, one.host)
            if other != one.host:
                faults.add(one.host, one.word("address"), f"{address} is also that of {other}; give each host its own")
        other = nodes[router_ids.setdefault(one.router_id, one.host)]
        # Of one address two derived router ids are the same, and correcting the address corrects both.
        if other is not one and not set(one.addresses.values()) & set(other.addresses.values()):
            message = f"{one.router_id} is also that of {other.host}; give each host its own"
            faults.add(one.host, one.word("router_id"), message)


def check_link_addresses(nodes, faults):
    """A network of OSPFv2 is known by an address of one of its hosts (RFC 2328, section 12.4.2). Point-to-point links have none such."""
    seen = {}
    for one in nodes.values():
        for number, link in enumerate(one.underlay, 1):
            if (link.network or one.ospf.network) == "point-to-point":
                continue
            for text in link.addresses or ():
                address, length = text.split("/")
                if ":" in address or length == "32":
                    continue
                host, dev = seen.setdefault(address, (one.host, link.dev))
                if host != one.host:
                    key = f"{one.word('underlay_interfaces')} row {number}: addresses"
                    message = (
                        f"{address} is also that of {dev} of {host}; give each link of a host an address of its own"
                    )
                    faults.add(one.host, key, message)


def read_service_addresses(words, nodes, faults):
    key = "fabric_service_address"
    found = reading.Words(faults, "fabric", "", words).get(key, reading.host_addresses, default={})
    for one in nodes.values():
        for address in sorted(set(one.addresses.values()) & set((found or {}).values())):
            message = f"{address} is also the {one.word('address')} of {one.host}; take one that is no host's own"
            faults.add("fabric", key, message)
    return found


def underlay_family(words, vteps, faults):
    """The given family, else 6 when every VTEP has such an address, else 4. All flood lists are of that one family."""

    def known(value):
        return int(reading.choice("4", "6")(value))

    key = "fabric_underlay_family"
    given = reading.Words(faults, "fabric", "", words).get(key, known)
    if given is None and words.get(key) is not None:
        return 6
    family = given or (6 if all(6 in one.addresses for one in vteps.values()) else 4)
    for one in vteps.values():
        if family not in one.addresses:
            has = one.addresses[10 - family]
            faults.add(
                one.host,
                "vtep_address",
                f"{has} is IPv{10 - family}, and the underlay is IPv{family} ("
                + (f"{key}: {given}" if given else other_family(vteps, 10 - family))
                + "); IPv4 and IPv6 cannot be mixed in one flood list: "
                f"give {one.host} an IPv{family} address as well, or every VTEP an IPv{10 - family} one",
            )
    return family


def other_family(vteps, family):
    lacking = [one.host for one in vteps.values() if family not in one.addresses]
    return f"{lacking[0]} has no IPv{family} address"


def with_vnis(one, segments, endpoints, faults):
    """The VTEP with a VNI for each access port that has none: that of its only segment, or of the port's endpoints."""
    vnis = [segment.vni for segment in segments if one.host in segment.vteps]
    if len(vnis) == 1:
        return replace(one, ports=tuple(replace(port, vni=port.vni or vnis[0]) for port in one.ports))
    used = {}
    if any(port.vni is None for port in one.ports):
        for row in endpoints.values():
            if row.vtep == one.host:
                used.setdefault(row.port, set()).add(row.vni)
    ports = []
    for port in one.ports:
        candidates = {port.vni} if port.vni else used.get(port.name, set()) | used.get(port.dev, set())
        if len(candidates) == 1:
            ports.append(replace(port, vni=candidates.pop()))
        else:
            vlan = f", vlan: {port.vlan}" if port.vlan else ""
            could = ", ".join(map(str, sorted(candidates or vnis))) or "none"
            message = f"{port.name} could be in VNI {could}; write {{dev: {port.dev}, vni: ...{vlan}}}"
            faults.add(one.host, "vtep_access_ports", message)
    return replace(one, ports=tuple(ports))


def port_index(vteps):
    index = {}
    for one in vteps.values():
        for port in one.ports:
            for name in dict.fromkeys((port.name, port.dev)):
                index.setdefault((one.host, name, port.vni), []).append(port)
    return index


def check_devices(fabric, one, faults):
    """Each device has one use on a host, and those that others made are there, where the host was looked at."""
    uses = [(one.word("loopback_device"), one.loopback)]
    uses += [(one.word("underlay_interfaces"), link.dev) for link in one.underlay]
    uses += [("vtep_access_ports", port.name) for port in one.ports]
    seen = {dev: f"VNI {each.vni}" for each in fabric.segments_of(one) for dev in (each.bridge, each.vxlan)}
    for key, dev in uses:
        if dev in seen:
            faults.add(one.host, key, f"{dev} is already used by {seen[dev]}; give each use a device of its own")
        seen.setdefault(dev, key)
    if one.interfaces is None:
        return
    for key, dev in lower_devices(one):
        if dev not in one.interfaces:
            has = ", ".join(sorted(map(str, one.interfaces))[:20])
            faults.add(one.host, key, f"the host has no interface {dev}; it has {has}")

    check_owners(fabric, one, faults)


def check_owners(fabric, one, faults):
    """What the fabric makes, teardown removes; so it never takes a device over that somebody else made."""
    ours = dict(made_devices(fabric, one))
    for dev, key in ours.items():
        if foreign(one, dev):
            kind = one.interfaces[dev].get("kind") or "network"
            message = f"the host has a {kind} device {dev} that {OWNER} did not make; remove or rename it, or choose another name"
            faults.add(one.host, key, message)
    for port in one.ports:
        master = one.interfaces.get(port.name, {}).get("master")
        if master and master not in ours and foreign(one, master):
            message = f"{port.name} is in {master}, which {OWNER} did not make; take it out (ip link set {port.name} nomaster)"
            faults.add(one.host, "vtep_access_ports", message)
    check_sockets(fabric, one, ours, faults)


def check_sockets(fabric, one, ours, faults):
    """A VNI is on a UDP port once in a host, and devices with other receive flags have no port in common (vxlan_vni_in_use and
    vxlan_find_sock of the kernel's drivers/net/vxlan/vxlan_core.c)."""
    for dev, known in one.interfaces.items():
        has = known.get("vxlan")
        if dev in ours or not isinstance(has, dict) or is_owned(known.get("alias")):
            continue
        flags = has.get("flags") or []
        for each in fabric.segments_of(one):
            # One that takes the VNI from each packet listens on both families.
            met = has.get("dstport") == each.dstport and ("external" in flags or has.get("family") == fabric.family)
            if met and (flags or has.get("id") == each.vni):
                what = f"with {', '.join(flags)}" if flags else f"on VNI {each.vni}"
                message = (
                    f"the host has a VXLAN device {dev} {what} on UDP port {each.dstport}, that {OWNER} did not make; "
                    "remove it, or choose another dstport" + ("" if flags else " or vni")
                )
                faults.add(one.host, f"fabric_segments: VNI {each.vni}", message)


def made_devices(fabric, one):
    """(name, the word that names it) of each device that the fabric makes on a host."""
    for each in fabric.segments_of(one):
        yield each.bridge, f"fabric_segments: VNI {each.vni}: bridge"
        yield each.vxlan, f"fabric_segments: VNI {each.vni}: vxlan"
    yield from ((port.name, "vtep_access_ports") for port in one.ports if port.vlan)
    if one.loopback != "lo":
        yield one.loopback, one.word("loopback_device")


def foreign(one, dev):
    known = one.interfaces.get(dev, {})
    return "alias" in known and not is_owned(known["alias"])


def lower_devices(one):
    """The devices that must be there before the fabric is."""
    yield from ((one.word("underlay_interfaces"), link.dev) for link in one.underlay)
    yield from (("vtep_access_ports", dev) for dev in dict.fromkeys(port.dev for port in one.ports))


def check_mtu(fabric, one, segments, faults):
    """A full-size frame of the segments must fit into the underlay, whose routers do not fragment it (RFC 7348, 4.3)."""
    if fabric.encryption:
        check_links(fabric, one, segments, faults)
    mtus = {segment.vni: segment.mtu for segment in fabric.segments}
    for port in one.ports:
        has, need = known_mtu(one, port.dev), mtus.get(port.vni)
        if has is not None and need is not None and has < need:
            faults.add(
                one.host,
                "vtep_access_ports",
                f"{port.dev} has MTU {has}, and VNI {port.vni} has MTU {need}; raise that of {port.dev} to {need}, or set "
                f"the segment's mtu to {has} at most",
            )


def check_links(fabric, one, segments, faults):
    """Refuses what the host's own segments do not fit into. Links of a host that only leads to small ones may be smaller."""

    def need(segment):
        return overhead.needed(fabric.stack(segment), segment.mtu)

    # There may be thousands, which are all of a few sizes.
    sizes = {(segment.mtu, segment.inner_vlan_tags): segment for segment in reversed(segments)}
    largest = max(sizes.values(), key=need, default=None)
    least = fabric.least(one)
    for link in one.underlay:
        has = link.mtu or known_mtu(one, link.dev)
        if has is not None and largest and has < need(largest):
            faults.add(one.host, one.word("underlay_interfaces"), too_small(fabric, link.dev, has, largest, segments))
        elif has is not None and has < least:
            how = fabric.encryption.words or "no encryption"
            message = f"{link.dev} has MTU {has}, and IPv{max(one.addresses)} on it needs {least} with {how}"
            faults.add(one.host, one.word("underlay_interfaces"), f"{message}; {raised(fabric, link.dev)}")


def raised(fabric, dev):
    """Proposes the MTU that all hosts may have alike, since the inventory does not tell who shares a link."""
    return f"write {{dev: {dev}, mtu: {fabric.link_mtu}}}, and the same MTU on all hosts of that link"


def too_small(fabric, dev, has, largest, segments):
    stack, tags = fabric.stack(largest), 4 * largest.inner_vlan_tags
    need, vxlan = overhead.needed(stack, largest.mtu), overhead.VXLAN[fabric.family]
    adds = f"VXLAN over IPv{fabric.family} adds {vxlan}"
    if tags:
        adds += f", inner VLAN tags {tags}"
    if fabric.encryption.words:
        adds += f", {fabric.encryption.words} {need - largest.mtu - vxlan - tags} more"
    fixes = [raised(fabric, dev)] if need <= overhead.MAX else []
    fits = overhead.largest(stack, has)
    if fits >= (overhead.IPV6_MIN if any(ipv6_in(fabric, segment) for segment in segments) else overhead.IPV4_MIN):
        fixes.append(f"set the segment's mtu to {fits} at most")
    return f"{dev} has MTU {has}, and VNI {largest.vni} with MTU {largest.mtu} needs {need} ({adds}); " + ", or ".join(
        fixes or ["take a smaller mtu for the segment and a larger one for the underlay"]
    )


def check_ipv6(fabric, faults):
    for each in fabric.segments:
        who = ipv6_in(fabric, each) if each.mtu < overhead.IPV6_MIN else None
        if who:
            faults.add(
                "fabric",
                f"fabric_segments: VNI {each.vni}: mtu",
                f"{each.mtu} is below {overhead.IPV6_MIN}, the least that IPv6 needs (RFC 8200, section 5), and {who}; "
                f"raise it to {overhead.IPV6_MIN} at least",
            )


def ipv6_in(fabric, segment):
    """What tells that a segment carries IPv6, in words, or None."""
    for one in fabric.members(segment):
        for address in one.addresses:
            if values.family(address) == 6:
                return f"endpoint {one.name or one.mac} has {address}"
    for router in segment.routers:
        for network in router.networks:
            if network.version == 6:
                return f"a gateway has {network}"
    return None


def known_mtu(one, dev):
    mtu = ((one.interfaces or {}).get(dev) or {}).get("mtu")
    return mtu if isinstance(mtu, int) else None


def check_attachments(fabric, endpoints, faults):
    """Each port is in a segment that its VTEP has, and each endpoint on a port that its VTEP has in that segment."""
    for one in fabric.vteps.values():
        vnis = [segment.vni for segment in fabric.segments_of(one)]
        for port in one.ports:
            if port.vni is not None and port.vni not in vnis:
                has = ", ".join(map(str, vnis)) or "none"
                faults.add(
                    one.host,
                    "vtep_access_ports",
                    f"{port.name} is in VNI {port.vni}, and {one.host} has {has}; correct the VNI",
                )
    for number, row in endpoints.items():
        ports = fabric.ports.get((row.vtep, row.port, row.vni), ())
        if len(ports) != 1 and row.vtep in fabric.vteps:
            faults.add("fabric", f"fabric_endpoints row {number}: port", wrong_port(fabric.vteps[row.vtep], row, ports))


def wrong_port(one, row, ports):
    if ports:
        return f"{row.port} of {one.host} can be {' or '.join(port.name for port in ports)}; name one of them"
    elsewhere = [str(port.vni) for port in one.ports if row.port in (port.name, port.dev) and port.vni]
    if elsewhere:
        return f"{row.port} of {one.host} is in VNI {', '.join(elsewhere)}, not {row.vni}; correct the port or the vni"
    has = ", ".join(port.name for port in one.ports) or "none"
    return f"{row.port} is not an access port of {one.host}, which has {has}; add it to its vtep_access_ports or correct it"
