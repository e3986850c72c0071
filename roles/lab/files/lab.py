# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's mechanics: build an image, wire network namespaces, boot hosts in them, and take all of it away again.

    lab.py image             build the image of the specification on standard input, unless it is there
    lab.py up                make the lab what the specification on standard input says
    lab.py down PREFIX       remove the lab of that prefix, whatever state it is in
    lab.py status PREFIX     print what runs
    lab.py shell PREFIX HOST [COMMAND ...]

The role gives specifications as JSON and reads JSON back. docs/lab.md draws how things hang together.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(COLLECTION / "plugins" / "plugin_utils"))
from nspawn import PREFIX, STATE, NotRunning, enter, machine_name, state_directory, unified_mount  # noqa: E402

IMAGES = Path("/var/cache/vtep-fabric/images")
DISKS = Path("/var/lib/vtep-fabric/labs")
UNDERLAY = "underlay"  # the namespace's and the bridge's name, so that no host may have it
HOST = re.compile(r"[a-z][a-z0-9-]{0,9}")
DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
NAME_LIMIT = 15  # IFNAMSIZ of linux/if.h, less its terminating zero
BOOT_SECONDS = 90
INOTIFY_A_HOST = 7  # measured: systemd, journald, logind and dbus hold 6
PARALLEL = 8
RESTART = 133  # systemd-nspawn --keep-unit ends with this when the host asked for a reboot (systemd-nspawn(1))


class LabError(Exception):
    """What ends the program with a message."""


def run(*argv, pass_fds=()):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, pass_fds=pass_fds)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is missing on this machine: install it with tools/bootstrap") from error
    if done.returncode:
        raise LabError(f"{shlex.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def remove_tree(path):
    run("rm", "-rf", "--one-file-system", str(path))


@contextlib.contextmanager
def lock(path):
    """Hold a file's lock. The file may be removed by its holder, so the lock counts only on the file that has the name."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(path, "w"))
            except FileNotFoundError:
                continue  # another lab's end has just removed the directory
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                yield file
                return


def lab_lock(prefix):
    return lock(STATE / f".{prefix}.lock")


# The image


def image_path(image):
    """Where an image lies, by what it holds. One that is no lab host's has a name besides its suite's, so that nobody takes it for one."""
    key = hashlib.sha256(json.dumps(image, sort_keys=True).encode()).hexdigest()[:12]
    return IMAGES / f"{image.get('name', image['suite'])}-{key}"


def build_image(image):
    """Build the image unless it is there; whether it was built. Only a complete image ever has the final name."""
    path = image_path(image)
    if path.is_dir():
        return False
    with lock(IMAGES / f".{path.name}.lock") as locked:
        if path.is_dir():
            return False
        # The lock is ours, so what lies under the temporary name was left by a build that was killed.
        building = IMAGES / f".{path.name}.building"
        remove_tree(building)
        # In namespaces of its own, mmdebstrap and its mounts and children end with this program, even if it is killed.
        # They have the lock too, so that the next build waits for the last of them.
        command = [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--quiet", "--variant=minbase"),
            *(f"--include={','.join(image['packages'])}", *image["options"]),
            *(f"--customize-hook={hook}" for hook in image["hooks"]),
            *(image["suite"], str(building)),
        ]
        run(*command, pass_fds=(locked.fileno(),))
        building.rename(path)
        return True


# The specification


def faults_of(spec):
    """What is wrong with a specification, each in words."""
    faults = []
    if not PREFIX.fullmatch(spec["prefix"]):
        faults.append(
            f"lab_prefix: {spec['prefix']!r} is no prefix: use 1 to 16 lower-case letters and digits, a letter first"
        )
    if not spec["hosts"]:
        faults.append("lab_hosts: no host to boot: the inventory needs a group 'lab' with hosts in it")
    for host, wanted in spec["hosts"].items():
        if not HOST.fullmatch(host) or host == UNDERLAY:
            faults.append(f"{host}: no name for a lab host: use at most 10 of a-z, 0-9 and -, other than '{UNDERLAY}'")
        if not all(isinstance(link, dict) for link in wanted["links"]):
            faults.append(f"{host}: lab_links: each must be a mapping with at least name and to")
            continue
        names = [link.get("name") for link in wanted["links"]]
        for link in wanted["links"]:
            faults += [f"{host}: lab_links: {fault}" for fault in faults_of_link(host, link, spec["hosts"])]
        faults += [f"{host}: lab_links: {name} appears twice" for name in sorted(set(names)) if names.count(name) > 1]
        tos = [to for link in wanted["links"] for to in route_prefixes(link)]
        faults += [f"{host}: lab_links: two routes to {to}: leave one" for to in sorted(set(tos)) if tos.count(to) > 1]
    if not faults:
        for one, other in sorted({tuple(sorted((h, n["to"]))) for h, w in spec["hosts"].items() for n in w["links"]}):
            if UNDERLAY not in (one, other) and len(links_to(spec, one, other)) != len(links_to(spec, other, one)):
                faults.append(f"{one} and {other}: lab_links of both must name each other equally often")
    return faults


def faults_of_link(host, link, hosts):
    name, to = link.get("name"), link.get("to")
    unknown = sorted(set(link) - {"name", "to", "mtu", "mac", "addresses", "routes"})
    if unknown:
        yield f"{name}: unknown keys {', '.join(unknown)}: use name, to, mtu, mac, addresses, routes"
    if not isinstance(name, str) or not DEVICE.fullmatch(name) or name == "lo":
        yield f"{name!r} is no name for a network device"
    elif to == UNDERLAY and len(port_name(host, name)) > NAME_LIMIT:
        yield f"{name}: its peer's name {port_name(host, name)} has more than {NAME_LIMIT} characters: shorten either"
    if to != UNDERLAY and (to == host or to not in hosts):
        yield f"{name}: leads to {to!r}, which is neither '{UNDERLAY}' nor another host of this lab"
    if not isinstance(link.get("mtu", 1500), int) or not 68 <= link.get("mtu", 1500) <= 65535:
        yield f"{name}: mtu {link['mtu']!r} is not within 68..65535"
    if "mac" in link and not MAC.fullmatch(str(link["mac"]).lower()):
        yield f"{name}: mac {link['mac']!r} is not six hexadecimal pairs with colons"
    for address in link.get("addresses", []):
        if not is_interface_address(address):
            yield f"{name}: address {address!r} is neither IPv4 nor IPv6 with a prefix length"
    yield from (f"{name}: {fault}" for fault in faults_of_routes(link.get("routes", [])))


def faults_of_routes(routes):
    if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
        yield f"routes {routes!r} is no list of mappings with to, via and, if wanted, lladdr"
        return
    for route in routes:
        unknown = sorted(set(route) - {"to", "via", "lladdr"})
        if unknown:
            yield f"routes: unknown keys {', '.join(unknown)}: use to, via, lladdr"
        to, via = parsed(ipaddress.ip_network, route.get("to")), parsed(ipaddress.ip_address, route.get("via"))
        if not to:
            yield f"routes: to {route.get('to')!r} is no prefix, such as 2001:db8:ff::/64, or has bits after its length"
        if not via:
            yield f"routes: via {route.get('via')!r} is no address"
        if to and via and to.version != via.version:
            yield f"routes: to {to} and via {via} are of different families"
        if "lladdr" in route and not MAC.fullmatch(str(route["lladdr"]).lower()):
            yield f"routes: lladdr {route['lladdr']!r} is not six hexadecimal pairs with colons"
    for via in sorted({str(route.get("via")) for route in routes}):
        if len({str(route["lladdr"]).lower() for route in routes if "lladdr" in route and route.get("via") == via}) > 1:
            yield f"routes: via {via} has more than one lladdr"


def route_prefixes(link):
    """The prefixes of a link's routes that are prefixes at all, in normal form."""
    routes = link.get("routes", [])
    routes = [route for route in routes if isinstance(route, dict)] if isinstance(routes, list) else []
    return [str(to) for to in (parsed(ipaddress.ip_network, route.get("to")) for route in routes) if to]


def parsed(kind, text):
    """An address or a prefix of the module ipaddress; None if the text is none, or a number, which means another thing there."""
    with contextlib.suppress(ValueError, TypeError):
        return kind(text) if isinstance(text, str) else None


def is_interface_address(text):
    return parsed(ipaddress.ip_interface, text) is not None and "/" in text


def normal(spec):
    """A specification without faults, its links in one spelling, so that those that say the same are equal."""
    hosts = {
        host: {**wanted, "links": [normal_link(link) for link in wanted["links"]]}
        for host, wanted in spec["hosts"].items()
    }
    return {**spec, "hosts": hosts}


def normal_link(link):
    routes = [
        {
            "to": str(ipaddress.ip_network(route["to"])),
            "via": str(ipaddress.ip_address(route["via"])),
            **({"lladdr": route["lladdr"].lower()} if "lladdr" in route else {}),
        }
        for route in link.get("routes", [])
    ]
    return {
        "name": link["name"],
        "to": link["to"],
        "mtu": link.get("mtu", 1500),
        **({"mac": link["mac"].lower()} if "mac" in link else {}),
        "addresses": [str(ipaddress.ip_interface(address)) for address in link.get("addresses", [])],
        "routes": routes,
    }


# Wiring: every command is a list of words, so that it can be run now or written into a host's start script


def namespace(prefix, host):
    return f"{prefix}-{host}"


def port_name(host, device):
    """The underlay bridge's port for a host's device. Never seen outside the underlay's own namespace."""
    return f"{host}-{device}"


def links_to(spec, host, other):
    return [link for link in spec["hosts"][host]["links"] if link["to"] == other]


def pairs(spec):
    """Every cable as its two ends, (host, link) each; an underlay cable's second end is the bridge's port."""
    for host, wanted in spec["hosts"].items():
        for link in wanted["links"]:
            if link["to"] == UNDERLAY:
                port = {"name": port_name(host, link["name"]), "to": host, "mtu": link.get("mtu", 1500)}
                yield (host, link), (UNDERLAY, port)
            elif host < link["to"]:
                mine, theirs = links_to(spec, host, link["to"]), links_to(spec, link["to"], host)
                yield (host, link), (link["to"], theirs[mine.index(link)])


def end_commands(prefix, host, link):
    """Configure one end of a cable."""
    inside = ["ip", "-n", namespace(prefix, host)]
    device = ["dev", link["name"]]
    if host == UNDERLAY:
        # A port must say nothing by itself, else its own packets would be counted with the hosts'.
        yield [*inside, "link", "set", *device, "addrgenmode", "none", "master", UNDERLAY]
    if "mac" in link:
        yield [*inside, "link", "set", *device, "address", link["mac"]]
    yield [*inside, "link", "set", *device, "mtu", str(link.get("mtu", 1500))]
    for address in link.get("addresses", []):
        # No duplicate address detection: the address must work from the first second on.
        nodad = ["nodad"] if ":" in address else []
        yield [*inside, "addr", "replace", address, *device, *nodad]
    yield [*inside, "link", "set", *device, "up"]
    for via, lladdr in neighbours([link]).items():
        yield [*inside, "neigh", "replace", via, "lladdr", lladdr, "nud", "permanent", *device]
    for route in link.get("routes", []):
        # Told that the gateway is on the cable, the kernel takes the route while the other end is still down.
        yield [*inside, "route", "replace", route["to"], "via", route["via"], *device, "onlink"]


def neighbours(links):
    """The gateways whose link-layer address is given."""
    return {route["via"]: route["lladdr"] for link in links for route in link.get("routes", []) if "lladdr" in route}


def stale_commands(prefix, host, before, link):
    """Remove what a cable's end was given earlier, is not wanted any more, and is still there."""
    inside = ["ip", "-n", namespace(prefix, host)]
    device = ["dev", link["name"]]

    def shown(*words):
        return json.loads(run("ip", "-j", *inside[1:], *words))

    given = {address for old in before for address in old.get("addresses", [])} - set(link["addresses"])
    have = {
        f"{a['local']}/{a['prefixlen']}" for one in shown("addr", "show", *device) for a in one.get("addr_info", [])
    }
    # Else an IPv4 address takes the later ones of its subnet with it. Debian's hosts may have this anyway.
    promote = ["ip", "netns", "exec", inside[2], "sysctl", "-q", f"net/ipv4/conf/{link['name']}/promote_secondaries=1"]
    for address in sorted(given & have):
        yield promote
        yield [*inside, "addr", "del", address, *device]
    wanted = {route["to"] for route in link["routes"]}
    given = {(route["to"], route["via"]) for old in before for route in old.get("routes", [])}
    for to, via in sorted((to, via) for to, via in given if to not in wanted):
        family = "-6" if ":" in to else "-4"
        if any(route.get("gateway") == via for route in shown(family, "route", "show", "exact", to, *device)):
            yield [*inside, "route", "del", to, "via", via, *device]
    have = {neighbour["dst"] for neighbour in shown("neigh", "show", "nud", "permanent", *device)}
    for via in sorted((set(neighbours(before)) - set(neighbours([link]))) & have):
        yield [*inside, "neigh", "del", via, *device]


def restart_commands(prefix, host, links):
    """Give a host the network of a machine that was just switched on: a new namespace, with nothing but its cables.

    The cables' ends wait in the underlay's namespace meanwhile, so that the neighbours see a cable go down and up again
    and keep what they have configured on their ends.
    """
    old, parking = namespace(prefix, host), namespace(prefix, UNDERLAY)
    parked = [(link["name"], f"{host}.{number}") for number, link in enumerate(links)]
    for name, place in parked:
        yield ["ip", "-n", old, "link", "set", "dev", name, "netns", parking, "name", place]
    yield ["ip", "netns", "del", old]
    yield ["ip", "netns", "add", old]
    for name, place in parked:
        yield ["ip", "-n", parking, "link", "set", "dev", place, "netns", old, "name", name]
    for link in links:
        yield from end_commands(prefix, host, link)


def devices(netns):
    return {link["ifname"] for link in json.loads(run("ip", "-j", "-n", netns, "link", "show"))}


def wire(spec, recorded):
    """Make the namespaces and cables that are missing or differ from what was recorded; whether there were any."""
    prefix = spec["prefix"]
    changed = False
    existing = {line.split()[0] for line in run("ip", "netns", "list").splitlines()}
    for host in (UNDERLAY, *spec["hosts"]):
        if namespace(prefix, host) not in existing:
            run("ip", "netns", "add", namespace(prefix, host))
            changed = True
    present = {host: devices(namespace(prefix, host)) for host in (UNDERLAY, *spec["hosts"])}
    if UNDERLAY not in present[UNDERLAY]:
        inside = ["ip", "-n", namespace(prefix, UNDERLAY), "link"]
        # Frames of MACsec's key agreement, to 01:80:c2:00:00:03, pass as they would a switch that is made for it.
        run(*inside, "add", UNDERLAY, "type", "bridge", "mcast_snooping", "0", "stp_state", "0", "group_fwd_mask", "8")
        run(*inside, "set", UNDERLAY, "addrgenmode", "none")
        run(*inside, "set", UNDERLAY, "up")

    wanted = recordable(spec)
    for host in spec["hosts"]:
        names = {link["name"] for link in wanted[host]}
        for name in sorted({link["name"] for link in recorded[host]} - names):
            if name in present[host]:
                delete_device(prefix, host, name)
                changed = True
    for ends in pairs(spec):
        befores = [[old for old in recorded.get(host, []) if old["name"] == link["name"]] for host, link in ends]
        nows = [[new for new in wanted.get(host, []) if new["name"] == link["name"]] for host, link in ends]
        if not all(link["name"] in present[host] for host, link in ends) or any(
            {old.get("peer") for old in before} != {new["peer"] for new in now} for before, now in zip(befores, nows)
        ):
            lay_cable(prefix, ends, present)
            changed = True
        elif befores != nows:
            for (host, link), before in zip(ends, befores):
                converge(prefix, host, before, link)
            changed = True
    return changed


def recordable(spec):
    """Each host's links, with the device at the other end of each."""
    links = {host: [] for host in spec["hosts"]}
    for (host, link), (other, peer) in pairs(spec):
        links[host].append({**link, "peer": f"{other} {peer['name']}"})
        if other != UNDERLAY:
            links[other].append({**peer, "peer": f"{host} {link['name']}"})
    return links


def converge(prefix, host, before, link):
    """Make one end of a cable what is wanted while its host runs, and leave alone what others gave it."""
    (device,) = json.loads(run("ip", "-j", "-n", namespace(prefix, host), "link", "show", "dev", link["name"]))
    # Setting even the same MAC address makes the kernel forget all neighbours.
    told = {key: value for key, value in link.items() if (key, value) != ("mac", device["address"])}
    # First the new addresses: a device that loses its last IPv4 address loses all its IPv4 routes.
    for command in end_commands(prefix, host, told):
        run(*command)
    if host != UNDERLAY:
        for command in stale_commands(prefix, host, before, link):
            run(*command)


def delete_device(prefix, host, name):
    try:
        run("ip", "-n", namespace(prefix, host), "link", "del", name)
    except LabError:
        # The kernel removes devices some time after the namespace that has their other end: now it did so.
        if name in devices(namespace(prefix, host)):
            raise


def lay_cable(prefix, ends, present):
    for host, link in ends:
        if link["name"] in present[host] and link["name"] in devices(namespace(prefix, host)):
            delete_device(prefix, host, link["name"])
    (host, link), (other, peer) = ends
    run("ip", "-n", namespace(prefix, host), "link", "add", link["name"], "type", "veth",
        "peer", "name", peer["name"], "netns", namespace(prefix, other))  # fmt: skip
    for end in ends:
        for command in end_commands(prefix, *end):
            run(*command)


# Disks: an overlay of the image and a directory of the host's own, which outlives a reboot


def disk(prefix, host):
    return DISKS / prefix / host


def mounted(path):
    return any(line.split(" ")[1] == str(path) for line in Path("/proc/self/mounts").read_text().splitlines())


def disk_identity(image, wanted):
    """What a disk was made from. An overlay must not outlive the very image it lies on, hence the inode."""
    return {"image": image.name, "inode": image.stat().st_ino, "masked_units": wanted["masked_units"]}


def mount_disk(prefix, host, image):
    home = disk(prefix, host)
    for part in ("upper", "work", "root"):
        (home / part).mkdir(parents=True, exist_ok=True)
    if not mounted(home / "root"):
        options = f"lowerdir={image},upperdir={home / 'upper'},workdir={home / 'work'}"
        run("mount", "-t", "overlay", "-o", options, machine_name(prefix, host), str(home / "root"))


def make_disk(prefix, host, image, wanted):
    """Mount a host's disk, a new one if it has none."""
    record = disk(prefix, host) / "disk.json"
    if not record.exists():
        remove_disk(prefix, host)
    mount_disk(prefix, host, image)
    if record.exists():
        return
    etc = disk(prefix, host) / "root" / "etc"
    # Without a machine id systemd takes this for the first boot ever and enables units by its presets.
    machine_id = uuid.uuid5(uuid.NAMESPACE_DNS, machine_name(prefix, host)).hex
    (etc / "machine-id").write_text(machine_id + "\n")
    (etc / "hostname").write_text(host + "\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {host}\n")
    for unit in wanted["masked_units"]:
        (etc / "systemd" / "system" / unit).symlink_to("/dev/null")
    write_whole(record, json.dumps(disk_identity(image, wanted)))


def remove_disk(prefix, host):
    home = disk(prefix, host)
    root = home / "root"
    if mounted(root):
        # nspawn's lock on the directory, which it leaves when it is killed.
        status = root.stat()
        Path(f"/run/systemd/nspawn/locks/inode-{status.st_dev}:{status.st_ino}").unlink(missing_ok=True)
        unmount(root)
    (DISKS / prefix / host / ".#root.lck").unlink(missing_ok=True)
    remove_tree(home)


def unmount(path, seconds=10):
    """Unmount; processes that were just killed may hold it a moment longer."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return run("umount", str(path))
        except LabError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


# Machines


def nspawn_command(prefix, host):
    return [
        *("systemd-nspawn", "--quiet", "--settings=no", "--boot", "--register=no", "--keep-unit"),
        f"--machine={machine_name(prefix, host)}",
        f"--directory={disk(prefix, host) / 'root'}",
        f"--network-namespace-path=/run/netns/{namespace(prefix, host)}",
        # nspawn grants this only with --private-network, which would make a namespace without a name.
        "--capability=CAP_NET_ADMIN",
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
    ]


# The same goes for /proc/sys/net; and the hosts' systemd wants cgroup v2, whatever this machine has.
NSPAWN_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


def start_script(prefix, host, links):
    """The shell script that boots a host once. It replaces itself by nspawn, hence the shell's PID is nspawn's."""
    state = state_directory(machine_name(prefix, host))
    return "\n".join(
        [
            "set -e",
            *(shlex.join(command) for command in restart_commands(prefix, host, links)),
            f"echo $$ >{state}/nspawn.pid",
            *(f"export {name}={value}" for name, value in NSPAWN_ENVIRONMENT.items()),
            shlex.join(["exec", *nspawn_command(prefix, host)]),
            "",
        ]
    )


def write_whole(path, text):
    """Write a file so that a reader, or a kill, meets the old one or the new one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


class SystemdKeeper:
    """Hosts as transient services, where systemd is process 1: they outlive the login that starts them.

    Nothing else may make cgroups there, and a service gets one that nspawn may divide (Delegate=).
    """

    def unit(self, machine):
        return f"vtep-fabric-{machine}.service"

    def runs(self, machine):
        done = subprocess.run(["systemctl", "is-active", "--quiet", self.unit(machine)], check=False)
        return done.returncode == 0

    def start(self, machine, script, console):
        properties = {
            "Delegate": "yes",
            "KillMode": "mixed",
            "RestartForceExitStatus": RESTART,
            "SuccessExitStatus": RESTART,
            "StandardInput": "null",
            "StandardOutput": f"append:{console}",
            "StandardError": f"append:{console}",
            "TasksMax": 16384,
        }
        run("systemd-run", "--quiet", "--collect", f"--unit={self.unit(machine)}",
            *(f"--property={name}={value}" for name, value in properties.items()),
            "/bin/sh", str(script))  # fmt: skip

    def kill(self, machine):
        unit = self.unit(machine)
        for command in (["kill", "--signal=KILL", unit], ["stop", unit], ["reset-failed", unit]):
            # Each fails where there is no such unit, which is as well.
            subprocess.run(["systemctl", *command], stderr=subprocess.DEVNULL, check=False)

    def forget(self, prefix):
        """Nothing is left of a stopped transient service."""


class CgroupKeeper:
    """Hosts under a shell each, where process 1 is not systemd: the shell boots the host again when it asked to.

    The cgroup v2 tree gets a branch a host. `keeper` holds the shell and `machine` is nspawn's, which divides it; killing
    the branch leaves nothing of either, whatever became of them.
    """

    LOOP = f"""
    echo 0 >"$0/keeper/cgroup.procs"
    while sh -c 'echo 0 >"$0/machine/cgroup.procs" && exec sh "$1"' "$0" "$1"; [ $? = {RESTART} ]; do :; done
    """

    def __init__(self):
        mount = unified_mount(Path("/proc/self/mounts").read_text())
        if mount is None:
            raise LabError("no cgroup v2 is mounted on this machine: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
        self.top = Path(mount) / "vtep-fabric"

    def branch(self, machine):
        prefix, _dash, host = machine.partition("-")
        return self.top / prefix / host

    def runs(self, machine):
        try:
            return (self.branch(machine) / "keeper" / "cgroup.procs").read_text() != ""
        except FileNotFoundError:
            return False

    def start(self, machine, script, console):
        branch = self.branch(machine)
        while not (branch / "machine").exists():
            with contextlib.suppress(FileNotFoundError):  # another lab's end took the top away meanwhile
                (branch / "keeper").mkdir(parents=True, exist_ok=True)
                (branch / "machine").mkdir(exist_ok=True)
        with open(console, "ab") as output:
            subprocess.Popen(["/bin/sh", "-c", self.LOOP, str(branch), str(script)], stdin=subprocess.DEVNULL,
                             stdout=output, stderr=output, start_new_session=True, cwd="/")  # fmt: skip
        limit = time.monotonic() + 5
        while not self.runs(machine):
            if time.monotonic() > limit:
                raise LabError(f"{machine} does not start: see {console}")
            time.sleep(0.01)

    def kill(self, machine):
        branch = self.branch(machine)
        if branch.exists():
            (branch / "cgroup.kill").write_text("1")
            limit = time.monotonic() + 10
            while "populated 1" in (branch / "cgroup.events").read_text():
                if time.monotonic() > limit:
                    raise LabError(f"processes of {machine} do not end: see {branch}")
                time.sleep(0.02)
            self.remove(branch)

    def forget(self, prefix):
        self.remove(self.top / prefix)
        for top in self.mirrors(self.top):
            with contextlib.suppress(OSError):
                top.rmdir()  # only the last lab's end leaves it empty

    def remove(self, branch):
        """Remove a branch of empty cgroups."""
        for place in self.mirrors(branch):
            for directory, _subdirectories, _files in os.walk(place, topdown=False):
                Path(directory).rmdir()

    def mirrors(self, branch):
        """A branch here and in a hybrid layout's other trees, where nspawn mirrors it."""
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _what, where, kind, *_rest = line.split(" ")
            if kind in ("cgroup", "cgroup2"):
                yield Path(where) / branch.relative_to(self.top.parent)


def make_keeper():
    return SystemdKeeper() if Path("/run/systemd/system").is_dir() else CgroupKeeper()


def check_inotify(hosts):
    """Refuse to boot more hosts than this machine's limit of inotify instances allows: they would fail in odd ways."""
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    used = len(list(inotify_instances()))
    if used + hosts * INOTIFY_A_HOST > limit:
        raise LabError(
            f"nothing was started: {hosts} more hosts need about {hosts * INOTIFY_A_HOST} inotify instances, and {used} of "
            f"root's {limit} are taken: sysctl -w fs.inotify.max_user_instances={limit * 8}"
        )


def inotify_instances():
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) == "anon_inode:inotify":
                yield descriptor


def wait_booted(keeper, prefix, host):
    """Wait until a host's systemd has done all that it does at boot; the units that failed, in words."""
    machine = machine_name(prefix, host)
    console = state_directory(machine) / "console.log"
    limit = time.monotonic() + BOOT_SECONDS
    state = "not started"
    while time.monotonic() < limit:
        with contextlib.suppress(NotRunning):
            state = ask(machine, "systemctl", "is-system-running", "--wait").strip()
            if state == "running":
                return ""
            if state == "degraded":
                failed = ask(machine, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
                return " ".join(failed.split())
        if not keeper.runs(machine):
            tail = "\n".join(console.read_text(errors="replace").splitlines()[-5:])
            raise LabError(f"{host}: ended while booting; the last lines of {console}:\n{tail}")
        time.sleep(0.05)
    raise LabError(f"{host}: not up after {BOOT_SECONDS} s, its state is '{state}': see {console}")


def ask(machine, *argv):
    """What a command inside a machine prints. During boot it may fail in many ways, so its result is not looked at."""
    # A machine that is shutting down waits for a command that waits for it, hence a limit far below systemd's 90 s.
    command = enter(machine, ["timeout", "5", *argv])
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


def remove_host(keeper, prefix, host):
    machine = machine_name(prefix, host)
    keeper.kill(machine)
    remove_disk(prefix, host)
    if Path(f"/run/netns/{namespace(prefix, host)}").exists():
        run("ip", "netns", "del", namespace(prefix, host))
    for leaving in ("propagate", "unix-export"):
        remove_tree(f"/run/systemd/nspawn/{leaving}/{machine}")
    # The state goes last: it is what tells a later `down` that there may be more.
    remove_tree(state_directory(machine))


# The program's commands


def up(spec):
    faults = faults_of(spec)
    if faults:
        raise LabError("nothing was changed: " + "; ".join(faults))
    spec = normal(spec)
    prefix, hosts, image = spec["prefix"], spec["hosts"], image_path(spec["image"])
    if not image.is_dir():
        raise LabError(f"there is no image {image}: build it first with 'lab.py image'")
    keeper = make_keeper()
    with lab_lock(prefix):
        removed = [host for host in known_hosts(prefix) if host not in hosts]
        replaced = [host for host in hosts if not fits(prefix, host, image, hosts[host])]
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda host: remove_host(keeper, prefix, host), removed + replaced))
        recorded = {host: recorded_links(prefix, host) for host in hosts}
        wanted = recordable(spec)
        for host in (UNDERLAY, *hosts):
            # Before anything else of a host exists, so that `down` knows of all there may be.
            state_directory(machine_name(prefix, host)).mkdir(parents=True, exist_ok=True)
        for host in hosts:
            # Old and new, so that a run after one that was killed while it wired knows of all there may be, and finishes it.
            new = [{**link, "begun": True} for link in wanted[host] if link not in recorded[host]]
            write_whole(links_file(prefix, host), json.dumps(recorded[host] + new))
        wired = wire(spec, recorded)
        for host in hosts:
            # Also for hosts that run: they boot by this script again after a reboot.
            write_whole(start_file(prefix, host), start_script(prefix, host, hosts[host]["links"]))
            write_whole(links_file(prefix, host), json.dumps(wanted[host]))

        started = [host for host in hosts if not keeper.runs(machine_name(prefix, host))]
        if started:
            check_inotify(len(started))
        with ThreadPoolExecutor(len(hosts)) as pool:  # they mostly wait
            seconds = dict(zip(hosts, pool.map(lambda host: boot(keeper, spec, image, host, host in started), hosts)))
    return {
        "changed": bool(removed or wired or started),
        "hosts": sorted(hosts),
        "removed": removed,
        "replaced": replaced,
        "started": {host: seconds[host] for host in started},
    }


def boot(keeper, spec, image, host, is_down):
    """Boot a host that is down, or wait for one that is rebooting; the seconds until it was up."""
    prefix = spec["prefix"]
    machine = machine_name(prefix, host)
    began = time.monotonic()
    if is_down:
        keeper.kill(machine)  # what a crash may have left of it
        (state_directory(machine) / "nspawn.pid").unlink(missing_ok=True)
        make_disk(prefix, host, image, spec["hosts"][host])
        keeper.start(machine, start_file(prefix, host), state_directory(machine) / "console.log")
    failed = wait_booted(keeper, prefix, host)
    if failed and is_down:  # what failed on a host that ran already may be what the next deployment is to mend
        raise LabError(f"{host}: booted, but units failed: {failed}")
    return round(time.monotonic() - began, 2)


def known_hosts(prefix):
    """Hosts that a lab has or may have, after whatever happened to it."""
    places = (STATE / prefix, DISKS / prefix)
    return sorted({path.name for place in places if place.is_dir() for path in place.iterdir()} - {UNDERLAY})


def fits(prefix, host, image, wanted):
    """Whether a host's disk, if it has one, is what is wanted."""
    record = disk(prefix, host) / "disk.json"
    return not record.exists() or json.loads(record.read_text()) == disk_identity(image, wanted)


def links_file(prefix, host):
    return state_directory(machine_name(prefix, host)) / "links.json"


def start_file(prefix, host):
    return state_directory(machine_name(prefix, host)) / "start.sh"


def recorded_links(prefix, host):
    """The links as they were last made; after a run that was killed, as they were before and as it wanted them."""
    path = links_file(prefix, host)
    return json.loads(path.read_text()) if path.exists() else []


def down(prefix):
    if not PREFIX.fullmatch(prefix):
        raise LabError(f"lab_prefix: {prefix!r} is no lab's prefix")
    with lab_lock(prefix):
        hosts = known_hosts(prefix)
        existed = (STATE / prefix).exists() or (DISKS / prefix).exists()
        if existed:
            keeper = make_keeper()
            with ThreadPoolExecutor(PARALLEL) as pool:
                list(pool.map(lambda host: remove_host(keeper, prefix, host), hosts))
            if Path(f"/run/netns/{namespace(prefix, UNDERLAY)}").exists():
                run("ip", "netns", "del", namespace(prefix, UNDERLAY))
            keeper.forget(prefix)
            remove_tree(DISKS / prefix)
            remove_tree(STATE / prefix)
        (STATE / f".{prefix}.lock").unlink()
    for empty in (DISKS, STATE):
        with contextlib.suppress(OSError):
            empty.rmdir()
    return {"changed": existed, "removed": hosts}


def status(prefix):
    states = {}
    for host in known_hosts(prefix):
        try:
            states[host] = ask(machine_name(prefix, host), "systemctl", "is-system-running").strip()
        except NotRunning:
            states[host] = "stopped"
    return {"changed": False, "hosts": states}


def shell(prefix, host, command):
    """Become a command, or a login shell, inside a host."""
    machine = machine_name(prefix, host)
    try:
        argv = enter(machine, command or ["/bin/bash", "-l"],
                     environment={"TERM": os.environ.get("TERM", "dumb")})  # fmt: skip
    except NotRunning as error:
        raise LabError(f"the lab host {machine} is not running: start it with 'make lab'") from error
    os.execvp(argv[0], argv)  # noqa: S606


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("image")
    commands.add_parser("up")
    for name in ("down", "status", "shell"):
        commands.add_parser(name).add_argument("prefix")
    commands.choices["shell"].add_argument("host")
    commands.choices["shell"].add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    try:
        if os.geteuid():
            raise LabError("only root can run the lab: containers and network namespaces need it")
        if given.command == "image":
            image = json.load(sys.stdin)["image"]
            result = {"changed": build_image(image), "path": str(image_path(image))}
        elif given.command == "up":
            result = up(json.load(sys.stdin))
        elif given.command == "shell":
            shell(given.prefix, given.host, given.words)
        else:
            result = {"down": down, "status": status}[given.command](given.prefix)
    except LabError as error:
        sys.exit(str(error))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
