# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices: from what is wanted and what there is to ordered operations. For the link and the vxlan module.

The order in one call: addresses and devices go (what stands on a device before the device), devices come (what they
stand on first), attributes, entries of filters go and come, masters, port settings, up, addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .._model import link as model
from .._model.errors import InputError, MissingError, RefusedError

# The operations. An adapter has a method for each.


@dataclass(frozen=True)
class Remove:
    name: str


@dataclass(frozen=True)
class Create:
    name: str
    kind: str
    values: dict


@dataclass(frozen=True)
class Set:
    name: str
    kind: str
    values: dict


@dataclass(frozen=True)
class AddAddress:
    name: str
    address: model.Address


@dataclass(frozen=True)
class RemoveAddress:
    name: str
    address: model.Address


@dataclass
class Change:
    """What happens to one device, for the report."""

    name: str
    action: str = "none"  # none, created, changed, recreated, removed
    kind: str = ""
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    lost: list = field(default_factory=list)
    notes: list = field(default_factory=list)


@dataclass
class Plan:
    operations: list
    changes: list
    needs: list = field(default_factory=list)  # (device, option, the device that must be there)
    checks: list = field(default_factory=list)  # faults that only the run itself can be sure of
    desired: tuple = ()  # what was asked for, and what follows from it: the marks of ports, and ports that leave
    unlisted: tuple = ()  # (name, kind) of the devices that are ours and were not asked for: what a purge removes

    def __bool__(self):
        return bool(self.operations)


class Kind:
    """What a module's kinds of device have of their own. vxlan overrides what differs."""

    tables = model.KINDS
    made_with = ("mtu", "address")  # attributes of any device that go into the request that makes one
    marks_members = True  # whether ports that are put into a bridge of ours get a mark, and lose it with their place

    def table(self, kind):
        return model.table(kind, self.tables)

    def defaults(self, device):
        """Values that a new device is given although nobody asked."""
        return {}

    def kernel_defaults(self, device):
        """Values that a new device has anyway, as far as they are known."""
        return {}

    def kept(self, device, found):
        """What a device that is made anew keeps of the one that was."""
        return {
            option: value
            for option, value in found.has.items()
            if value not in ("", None) and (option, value) != (model.MEMBER.option, 0)
        }

    def check_final(self, device, final, exists):
        return model.check_final(device, final, exists)

    def needs_new(self, device, found, changes):
        """The options among the changes that a device which exists cannot take."""
        table = self.table(found.kind)
        return [option for option in changes if option in table and not table[option].live]

    def lost(self, found):
        """What of the kind's own goes with a device that is made anew, in words."""
        return []

    def live(self, device, found, changes):
        """(operations, notes) for a live change of what is the kind's own."""
        return [Set(device.name, found.kind, changes)], []

    def filters(self, device, found, wanted):
        """Operations on a table of the kind's own: (what goes, what comes). found: None for a device made anew."""
        return [], []

    def notes(self, device, found):
        """What there is to say of a device although nothing is done about it."""
        return []

    def judge(self, outlook, plan):
        """Faults across devices, and what can be judged only when it runs."""
        return []


def plan(desired, state, kind=None, purge="none", purge_addresses="none", count_rows=None):
    """A Plan. Raises InputError, MissingError or RefusedError before anything is changed.

    purge: none, ports (those that are not named leave our bridges) or owned (our devices that are not named go as well).
    count_rows(index) tells how many FDB rows a device would lose; it is asked only for devices that are made anew.
    """
    return _Planner(desired, state, kind or Kind(), purge, purge_addresses, count_rows or (lambda index: 0)).plan()


class _Planner:
    def __init__(self, desired, state, kind, purge, purge_addresses, count_rows):
        self.kind = kind
        self.state = state
        self.desired = {device.name: device for device in desired}
        self.named = set(self.desired)  # by the task; a port that leaves its bridge joins the desired ones without that
        self.purge = purge == "owned"
        self.purge_ports = purge != "none"
        self.purge_addresses = purge_addresses
        self.count_rows = count_rows
        self.found = state.devices
        self.changes = {name: Change(name) for name in self.desired}
        self.peers = {device.wanted.get("veth.peer") for device in desired}
        self.uppers = {}
        for name, found in self.found.items():
            self.uppers.setdefault(found.lower, []).append(name)

    def plan(self):
        self._refuse_other_kinds()
        self._refuse_missing()
        going = self._going()
        if self.kind.marks_members:
            self._add_members(going)
        anew = self._anew(going)
        self._refuse_orphans(going)
        self._refuse_losses(anew)
        self._check(going)
        unlisted = tuple((name, self.found[name].kind) for name in sorted(self._unlisted()))
        operations = self._remove_addresses(going)
        operations += [Remove(name) for name in self._uppers_first(going)]
        operations += self._build(going, anew)
        plan = Plan(
            operations, self._report(going), self._needs(), self._strays(going), tuple(self.desired.values()), unlisted
        )
        faults = self.kind.judge(self._outlook(going), plan)
        if faults:
            raise InputError(faults)
        return plan

    # Whose a port's place in a bridge is

    def _add_members(self, going):
        """To what is wanted, what follows from it: a port that this task puts into a bridge of ours gets the mark, and one that
        has the mark and no such place any more loses it. Of its own accord it leaves only a bridge of ours."""
        for name, device in self.desired.items():
            # In check mode: what an earlier task is about to make is the collection's own.
            coming = not device.kind and name not in self.found and name not in self.peers
            if device.present and not coming and not self._is_ours(name):
                self.desired[name] = self._with_mark(device)
        for name in self._lost_members() if self.purge_ports else ():
            if name not in going and self._peer(name) not in going:
                self.desired[name] = self._with_mark(model.Device(name, None))
                self.changes[name] = Change(name)

    def _lost_members(self):
        """Ports with the mark that the task does not name."""
        if not self.kind.marks_members:
            return []
        return [name for name, found in self.found.items() if name not in self.named and self._is_member(found)]

    def _with_mark(self, device):
        found, master = self.found.get(device.name), device.wanted.get("master")
        group = found.has.get(model.MEMBER.option) if found else None
        if master and self._is_ours(master):
            return device if group else _wanting(device, model.MEMBERS)  # a group of somebody else's stays
        if not found or not self._is_member(found) or not (self.purge_ports or "master" in device.wanted):
            return device
        if "master" not in device.wanted and any(option.startswith("port.") for option in device.wanted):
            return device  # port settings ask for a place, whichever it is
        place = self.found.get(found.has.get("master"))
        if "master" not in device.wanted and place and place.owned:
            device = replace(device, wanted={**device.wanted, "master": ""})
        return _wanting(device, 0)

    @staticmethod
    def _is_member(found):
        return found.has.get(model.MEMBER.option) == model.MEMBERS and not found.owned

    def _is_ours(self, name):
        """Whether a device will have our alias."""
        device, found = self.desired.get(name), self.found.get(name)
        alias = found.has.get("alias") if found else ""
        return model.is_owned(device.wanted.get("alias", alias) if device else alias)

    # What goes

    def _refuse_other_kinds(self):
        refused = [
            f"{device.name}: it is a device of kind {self.found[device.name].kind or 'none (hardware)'}, "
            f"not {device.kind}, and is not touched"
            for device in self.desired.values()
            if device.kind and device.name in self.found and self.found[device.name].kind != device.kind
        ]
        if refused:
            raise RefusedError("; ".join(refused))

    def _refuse_missing(self):
        for kind in sorted(self.state.lacking):
            raise MissingError(*model.lacking(kind))
        for device in self.desired.values():
            table = self.kind.table(device.kind)
            for option, value in device.wanted.items():
                if option in self.state.unknown and value != table[option].absent:
                    raise MissingError(*model.unknown(self.state.kernel, table[option], value))

    def _going(self):
        """Names of devices that are removed, for good or to be made anew."""
        going = {name for name, device in self.desired.items() if not device.present and name in self.found}
        if self.purge:
            going.update(self._unlisted())
        return going

    def _unlisted(self):
        """Devices of ours that the task does not name."""
        kept = {*self.named, *(self._peer(name) for name in self.named if name in self.found)}
        return [
            name
            for name, found in self.found.items()
            if found.owned and found.kind in self.kind.tables and name not in kept
        ]

    def _peer(self, name):
        """The other end of a veth pair, which comes and goes with this one."""
        return self.found[name].has.get("veth.peer") or name

    def _anew(self, going):
        """{name: the options that need a new device}. A device on top of one that goes is made anew as well."""
        anew = {}
        for name, device in self.desired.items():
            if device.present and name in self.found:
                options = self.kind.needs_new(device, self.found[name], self._changed(device))
                if options:
                    anew[name] = options
        going.update(anew)
        while True:
            more = {
                name
                for name in self.desired
                if name in self.found and self.found[name].lower in going and name not in going
            }
            if not more:
                return anew
            going.update(more)
            anew.update((name, []) for name in more if self.desired[name].present)

    def _refuse_orphans(self, going):
        """Devices on top of one that goes would go with it."""
        refused = [
            f"{found.lower}: {name} is on top of it and would go with it; remove {name} first"
            for name, found in self.found.items()
            if found.lower in going and name not in going
        ]
        if refused:
            raise RefusedError("; ".join(refused))

    def _refuse_losses(self, anew):
        refused = []
        for name, options in anew.items():
            change = self.changes[name]
            found, device = self.found[name], self.desired[name]
            change.lost = self._lost(found)
            if device.recreate or not options:
                continue
            table = self.kind.table(found.kind)
            words = ", ".join(
                f"{option} ({model.show(found.has.get(option))} -> {model.show(device.wanted[option])})"
                if option in device.wanted and option in table
                else option
                for option in options
            )
            refused.append(
                f"{name}: {words} cannot change on a device that exists; a new one would lose "
                f"{', '.join(change.lost)}; set recreate: true to accept that"
            )
        if refused:
            raise RefusedError("; ".join(refused))

    def _lost(self, found):
        lost = self.kind.lost(found)
        rows = self.count_rows(found.index)
        if rows:
            lost.append(f"{rows} FDB rows")
        lost.append("its neighbours and routes")
        if found.has.get("master"):
            lost.append(f"for a moment its place in {found.has['master']}")
        kept = [address.text for address in found.addresses if not address.link_local]
        if kept:
            lost.append(f"for a moment {', '.join(kept)}")
        return lost

    # What is compared

    def _changed(self, device, found=None):
        """{option: wanted value} of what differs."""
        found = found or self.found[device.name]
        table = self.kind.table(found.kind)
        return {
            option: value
            for option, value in device.wanted.items()
            if not (option in table and model.same(table[option], value, found.has.get(option)))
        }

    def _final(self, device, going):
        """All that the device will have, as far as it is known, and whether the device of now stays."""
        found = self.found.get(device.name)
        exists = found is not None and device.name not in going
        if exists:
            base = self._left(found, going).has
        else:
            kept = self.kind.kept(device, self._left(found, going)) if found else self.kind.defaults(device)
            base = {**self.kind.kernel_defaults(device), **kept}
        return {**base, **device.wanted}, exists

    def _left(self, found, going):
        """What is left of a device when its bridge is removed in the same call."""
        master = found.has.get("master")
        back = master in self.desired and self.desired[master].present
        return replace(found, has={**found.has, "master": ""}) if master in going and not back else found

    def _check(self, going):
        faults = []
        for device in self.desired.values():
            if not device.present:
                continue
            final, exists = self._final(device, going)
            if not exists and self._is_stray(device, final):
                faults.append(f"{device.name}: port: a device without a master has no port settings")
            if device.kind or exists:
                faults.extend(self.kind.check_final(device, final, exists or device.name in self.peers))
            faults.extend(
                f"{device.name}: {option}: {final[option]} is removed in the same call"
                for option in ("master", "vlan.dev", "dev")
                if final.get(option) in going and (option != "master" or option in device.wanted)
                if not (final[option] in self.desired and self.desired[final[option]].present)
            )
            if exists:
                self._check_known(device)
                self._check_mtu(device)
                faults.extend(self._check_addresses(device))
        if faults:
            raise InputError(faults)

    @staticmethod
    def _is_stray(device, final):
        """Port settings for a device that is to be made and is no port."""
        return bool(device.kind) and not final.get("master") and any(key.startswith("port.") for key in device.wanted)

    def _strays(self, going):
        """The same for a device that exists; in check mode an earlier task may be about to give it a master."""
        return [
            f"{device.name}: port: it has no master, and without one no port settings"
            for device in self.desired.values()
            if device.name in self.found and not self._final(device, going)[0].get("master")
            if any(key.startswith("port.") for key in device.wanted)
        ]

    def _check_known(self, device):
        """An attribute that the kernel does not report of a device that exists is one that it does not have."""
        found = self.found[device.name]
        table = self.kind.table(found.kind)
        for option, value in self._changed(device).items():
            attribute = table.get(option)
            told = found.has.get(option) is not None
            if attribute and not told and attribute.group in ("data", "create"):
                raise MissingError(*model.unknown(self.state.kernel, attribute, value))

    def _check_mtu(self, device):
        """The kernel takes IPv6 and all its addresses off a device whose MTU goes below 1280."""
        found = self.found[device.name]
        if device.wanted.get("mtu", model.IPV6_MIN_MTU) >= model.IPV6_MIN_MTU:
            return
        ours = [address.text for address in found.addresses if ":" in address.text and not address.link_local]
        if ours and found.has.get("mtu") != device.wanted["mtu"]:
            raise RefusedError(
                f"{device.name}: mtu {device.wanted['mtu']} is below {model.IPV6_MIN_MTU} and would take IPv6 off the "
                f"device, with {', '.join(ours)}"
            )

    def _check_addresses(self, device):
        """IPv6 has an address once per device; another's with another prefix length stays."""
        theirs = {
            address.text.partition("/")[0]: address.text
            for address in self.found[device.name].addresses
            if ":" in address.text and not address.owned
        }
        for text in device.addresses or ():
            other = theirs.get(text.partition("/")[0], text)
            if other != text:
                yield f"{device.name}: addresses: {text}: {other} is there and not of {model.OWNER}; remove it first"

    # What is done

    def _remove_addresses(self, going):
        operations = []
        for name, found in self.found.items():
            if name in going:
                continue
            device = self.desired[name] if name in self.named else None
            wanted = device.addresses if device else None
            purged = self.purge_addresses == "owned" or (self.purge_addresses == "listed" and wanted is not None)
            gone = [
                address
                for address in found.addresses
                if (purged and address.owned and address.text not in (wanted or ()) and self._scoped(device, wanted))
                or self._in_the_way(address, wanted or ())
            ]
            if gone:
                operations += [RemoveAddress(name, address) for address in gone]
                change = self.changes.setdefault(name, Change(name))
                change.before.update((f"addresses {address.text}", True) for address in gone)
        return operations

    @staticmethod
    def _scoped(device, wanted):
        """A listed device whose addresses are not given keeps them."""
        return device is None or wanted is not None

    @staticmethod
    def _in_the_way(address, wanted):
        """Ours with another prefix length."""
        plain = address.text.partition("/")[0]
        return address.owned and address.text not in wanted and any(text.partition("/")[0] == plain for text in wanted)

    def _build(self, going, anew):
        """Operations in phases across devices; within a phase a device comes after the ones under it."""
        create, attributes, masters, ports, up, addresses = [], [], [], [], [], []
        less, more = [], []
        made = set()
        for device in self._lowers_first():
            name = device.name
            if not device.present:
                continue
            found = None if name in going else self.found.get(name)
            if found:
                wanted = self._changed(device)
                kind = found.kind
            else:
                wanted = self._new_values(device, going)
                kind = device.kind
            own = {option: value for option, value in wanted.items() if self._group(kind, option) in ("data", "create")}
            link = {option: wanted[option] for option in ("mtu", "address", "alias", "addrgenmode") if option in wanted}
            mark = {option: wanted[option] for option in (model.MEMBER.option,) if option in wanted}
            if found and wanted.get("up") is False:
                attributes.append(Set(name, kind, {"up": False}))
            if found is None and kind and not self._comes_with_peer(device, own, made):
                first = {option: link.pop(option) for option in self.kind.made_with if option in link}
                create.append(Create(name, kind, {**own, **first}))
                if "alias" in link:  # at once: a run that breaks off must not leave a device without the mark
                    create.append(Set(name, kind, {"alias": link.pop("alias")}))
                made.update({name, own.get("veth.peer")})
            elif own and found:
                operations, notes = self.kind.live(device, found, own)
                attributes += operations
                self.changes[name].notes += notes
            # A run that breaks off must leave no port in a bridge without the mark.
            link.update(mark if any(mark.values()) else {})
            if link:
                attributes.append(Set(name, kind, link))
            goes, comes = self.kind.filters(device, found, wanted)
            less += goes
            more += comes
            if "master" in wanted and (found or wanted["master"]):
                masters.append(Set(name, kind, {"master": wanted["master"]}))
            if mark and not any(mark.values()):
                ports.append(Set(name, kind, mark))
            port = self._port(device, found, wanted)
            if port:
                ports.append(Set(name, kind, port))
            if wanted.get("up"):
                up.append(Set(name, kind, {"up": True}))
            addresses += self._add_addresses(device, found)
            self._note(device, found, wanted, name in anew)
        return create + attributes + less + more + masters + self._bridge_mtus(masters) + ports + up + addresses

    def _bridge_mtus(self, masters):
        """The MTU of each listed bridge that gets ports, once more: until it is set to another value than it has, the kernel makes it
        the least of its ports' with each port that comes (br_mtu_auto_adjust)."""
        get_ports = {operation.values["master"] for operation in masters}
        return [
            Set(device.name, "bridge", {"mtu": device.wanted["mtu"]})
            for device in self._lowers_first()
            if device.present and device.name in get_ports and device.wanted.get("mtu")
        ]

    def _comes_with_peer(self, device, own, made):
        """The other end of a veth pair is made with the first; one that names no peer waits for it."""
        return device.name in made or (not own.get("veth.peer") and device.name in self.peers)

    def _group(self, kind, option):
        attribute = self.kind.table(kind).get(option)
        return attribute.group if attribute else "data"

    def _new_values(self, device, going):
        """Of a device made anew what it had; of a new one what a new one is given; on top of it what is wanted."""
        found = self.found.get(device.name)
        if found is None:
            return {**self.kind.defaults(device), **device.wanted}
        return {**self.kind.kept(device, self._left(found, going)), **device.wanted}

    def _port(self, device, found, wanted):
        """Port settings; a device that changes its master starts from the defaults, so all are set again."""
        moved = found and "master" in wanted
        source = device.wanted if moved else wanted
        if found is None and wanted.get("master") in ("", None) and device.kind:
            source = device.wanted
        return {option: value for option, value in source.items() if option.startswith("port.")}

    def _add_addresses(self, device, found):
        there = {address.text for address in found.addresses} if found else set()
        wanted = [model.Address(text, owned=True) for text in device.addresses or () if text not in there]
        before = self.found.get(device.name)
        if before and not found:
            again = [address for address in before.addresses if address.permanent and not address.link_local]
            again = [address for address in again if not self._in_the_way(address, device.addresses or ())]
            texts = {address.text for address in again}
            gone = self.purge_addresses != "none" and device.addresses is not None
            again = [a for a in again if not (gone and a.owned and a.text not in device.addresses)]
            wanted = again + [address for address in wanted if address.text not in texts]
        change = self.changes[device.name]
        for address in wanted:
            if not before or address.text not in {one.text for one in before.addresses}:
                change.after[f"addresses {address.text}"] = True
        return [AddAddress(device.name, address) for address in wanted]

    def _note(self, device, found, wanted, anew):
        change = self.changes[device.name]
        before = self.found.get(device.name)
        change.kind = (before.kind if before else device.kind) or ""
        shown = device.wanted if before else wanted
        table = self.kind.table(change.kind)
        if found:
            change.notes += self.kind.notes(device, found)
        for option, value in shown.items():
            if before and option in table and model.same(table[option], value, before.has.get(option)):
                continue
            if before:
                change.before[option] = before.has.get(option)
            change.after[option] = value
        if anew:
            change.action = "recreated"
        elif not before:
            change.action = "created" if device.kind else "changed"
        elif change.before or change.after:
            change.action = "changed"

    # Order and report

    def _lower(self, device):
        return device.wanted.get("vlan.dev") or device.wanted.get("dev")

    def _lowers_first(self):
        done, order = set(), []

        def visit(device):
            if device.name in done:
                return
            done.add(device.name)
            for name in (self._lower(device), device.wanted.get("master")):
                if name in self.desired:
                    visit(self.desired[name])
            order.append(device)

        for device in self.desired.values():
            visit(device)
        return order

    def _uppers_first(self, going):
        done, order = set(), []

        def visit(name):
            if name not in done:
                done.add(name)
                for other in self.uppers.get(name, ()):
                    if other in going:
                        visit(other)
                order.append(name)

        for name in sorted(going):
            visit(name)
        skipped = set()
        for name in order:
            if name not in skipped and self._peer(name) != name:
                skipped.add(self._peer(name))  # it goes with its other end
        return [name for name in order if name not in skipped]

    def _needs(self):
        """Devices that must be there when this runs; in check mode an earlier task may be about to make them."""
        made = {name for name, device in self.desired.items() if device.present and device.kind}
        made.update(self.peers)
        needs = []
        for device in self.desired.values():
            if not device.present:
                continue
            if not device.kind and device.name not in self.found and device.name not in made:
                needs.append((device.name, "name", device.name))
            for option in ("master", "vlan.dev", "dev"):
                name = device.wanted.get(option)
                if name and name not in self.found and name not in made:
                    needs.append((device.name, option, name))
        return needs

    def _outlook(self, going):
        """{name: all that it will have} for every device there will be."""
        outlook = {name: dict(found.has) for name, found in self.found.items() if name not in going}
        for device in self.desired.values():
            if device.present:
                outlook[device.name] = self._final(device, going)[0]
        return outlook

    def _report(self, going):
        for name in sorted(going):
            if name in self.desired and self.desired[name].present:
                continue
            found = self.found[name]
            change = self.changes.setdefault(name, Change(name))
            change.action = "removed"
            change.kind = found.kind
            change.before = dict(found.has)
        for change in self.changes.values():
            if change.action == "none" and (change.before or change.after):
                change.action = "changed"
        return list(self.changes.values())


def _wanting(device, group):
    return replace(device, wanted={**device.wanted, model.MEMBER.option: group})


def rehearse(plan):
    """Raise InputError for what would fail half way. Called right before the first operation, never in check mode."""
    faults = [
        f"{device}: {option}: there is no device {needed}"
        if option != "name"
        else f"{device}: name: there is no such device, and without a type none is made"
        for device, option, needed in plan.needs
    ]
    faults += plan.checks
    if faults:
        raise InputError(faults)


def differences(desired, state, plan, kind=None):
    """In words, what the devices have after a run that is not what is wanted."""
    kind = kind or Kind()
    words = []
    for device in desired:
        found = state.devices.get(device.name)
        if not device.present:
            continue
        if not found:
            words.append(f"{device.name} is not there")
            continue
        table = kind.table(found.kind)
        for option, value in device.wanted.items():
            has = found.has.get(option)
            if option not in table or not model.same(table[option], value, has):
                words.append(f"{device.name} {option} is {model.show(has)}, not {model.show(value)}")
        there = {address.text for address in found.addresses}
        words.extend(f"{device.name} has no address {text}" for text in device.addresses or () if text not in there)
    gone = {change.name for change in plan.changes if change.action == "removed"}
    words.extend(f"{name} is still there" for name in sorted(gone & set(state.devices)))
    for operation in plan.operations:
        if isinstance(operation, RemoveAddress) and operation.name in state.devices:
            text = operation.address.text
            if text in {address.text for address in state.devices[operation.name].addresses}:
                words.append(f"{operation.name} still has the address {text}")
    return words


def lines(plan):
    """The diff's two sides: lists of lines, `device attribute value`."""
    sides = {"before": [], "after": []}
    for change in plan.changes:
        if change.action == "none":
            continue
        for side, there in (
            ("before", change.action in ("changed", "recreated", "removed")),
            ("after", change.action != "removed"),
        ):
            if there and change.kind:
                sides[side].append(f"{change.name} type {change.kind}")
            for key, value in sorted(getattr(change, side).items()):
                sides[side].append(
                    f"{change.name} {key}"
                    if key.startswith("addresses ")
                    else f"{change.name} {key} {model.show(value)}"
                )
    return sides["before"], sides["after"]


def report(plan):
    """The modules' per-device return values."""
    result = []
    for change in plan.changes:
        keys = sorted({**change.before, **change.after})
        entry = {
            "name": change.name,
            "action": change.action,
            "changes": {key: {"before": change.before.get(key), "after": change.after.get(key)} for key in keys},
        }
        if change.lost:
            entry["lost"] = change.lost
        result.append(entry)
    return result


def warnings(plan):
    words = []
    for change in plan.changes:
        if change.lost:
            words.append(f"{change.name} is made anew and loses {', '.join(change.lost)}")
        words += [f"{change.name}: {note}" for note in change.notes]
    return words
