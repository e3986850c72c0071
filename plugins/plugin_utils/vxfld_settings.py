# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of vxrd and vxsnd: those that the fabric asks for with the role's on top, judged before a host is touched by the
very code that reads them there.
"""

from __future__ import annotations

from ..module_utils._vxfld import config
from . import daemon_settings
from .daemon_settings import merged

# Upstream's keys, by section. What it does not know it does not mind, but whoever sets it counts on it.
UPSTREAM = {
    "common": (
        "src_ip", "svcnode_ip", "vxfld_port", "holdtime", "max_packet_size", "node_id", "loglevel", "logdest", "logfilesize",
        "logbackupcount", "pidfile", "udsfile", "concurrency", "debug", "eventlet_backdoor_port",
    ),
    "vxrd": ("head_rep", "refresh_rate", "config_check_rate"),
    "vxsnd": (
        "svcnode_peers", "enable_vxlan_listen", "install_svcnode_ip", "age_check", "vxlan_port", "vxlan_listen_port",
        "vxlan_dest_port", "receive_queue", "sync_targets", "sync_from_proxy", "area", "proxy_id", "vxfld_proxy_servers",
        "refresh_proxy_servers", "proxy_local_only", "enable_flooding",
    ),
}  # fmt: skip
SECRET = "auth_key"  # noqa: S105 (its name)


def compose(plan, words, extra, key=None, upstream=False):
    """
    {daemon, settings, reloadable, faults} of a host. plan: {daemon, settings} of the compiled plan. words: {key: value} of the
    role's variables, those of the other daemon among them; extra: {section: {key: value}}. None stands for not given.
    """
    daemon = plan["daemon"]
    faults = []
    found = {section: dict(rows) for section, rows in plan["settings"].items()}
    if not upstream:
        found = merged(found, _places(daemon, key))
    for section, rows in _given(daemon, words, extra, not upstream, faults):
        found = merged(found, {section: rows})
    texts = daemon_settings.texts(found)
    if upstream:
        # What the fabric asks for beyond upstream's keys, upstream does as it always does.
        planned = {(section, name) for section, rows in plan["settings"].items() for name in rows}
        texts = _for_upstream(texts, planned, key, faults)
        faults += _checked(daemon, texts, None)
    else:
        faults += _unknown(daemon, texts) + _checked(daemon, texts, key)
    return {"daemon": daemon, "settings": texts, "reloadable": reloadable(daemon), "faults": faults}


def reloadable(daemon):
    """SECTION.KEY of what the daemon takes up on a reload; a key file is handed over at the start only."""
    live = (name for name, one in config.keys(config.KINDS[daemon]).items() if one.metadata["live"])
    return sorted(f"{config.section(daemon, name)}.{name}" for name in live if name != "auth_key_file")


def _places(daemon, key):
    """What goes with the unit."""
    run = f"/run/{daemon}"
    common = {"pidfile": f"{run}/{daemon}.pid", "udsfile": f"{run}/{daemon}.sock"}
    if key is not None:
        common["auth_key_file"] = _secret(daemon)
    return {"common": common, daemon: {"statedir": run}}


def _given(daemon, words, extra, with_unit, faults):
    """(section, {key: value}) of what the role was given for this daemon. with_unit: its unit is ours."""
    own = config.keys(config.KINDS[daemon])
    for name, value in words.items():
        if value is not None and name in own:
            yield config.section(daemon, name), {name: value}
    fixed = {name for rows in _places(daemon, "").values() for name in rows} if with_unit else set()
    for section, rows in extra.items():
        if section not in ("common", *config.KINDS):
            faults.append(
                f"vxfld_extra_settings: {section}: is not a section; known are common, {', '.join(config.KINDS)}"
            )
        elif not isinstance(rows, dict):
            faults.append(f"vxfld_extra_settings: {section}: {rows!r} is not a mapping of keys and values")
        elif section in ("common", daemon):
            faults += [
                f"vxfld_extra_settings: {section}: {name}: goes with the unit and cannot be set; leave it out"
                for name in sorted(fixed & set(rows))
            ]
            yield section, {name: value for name, value in rows.items() if name not in fixed}


def _unknown(daemon, texts):
    """What the daemon would only warn of: whoever sets it counts on it."""
    known = {(config.section(daemon, name), name) for name in config.keys(config.KINDS[daemon])}
    return [
        f"/etc/{daemon}.conf: [{section}] {name}: is not a known key; write it as vxfld's documentation has it"
        for section, rows in texts.items()
        for name in rows
        if (section, name) not in known
    ]


def _checked(daemon, texts, key):
    """Every fault that the daemon would find."""
    secrets = {} if key is None else {_secret(daemon): (key, "vxfld_auth_key")}
    return daemon_settings.judged(daemon, texts, lambda file: config.load(daemon, file), secrets)


def _secret(daemon):
    return f"/run/credentials/{daemon}.service/{SECRET}"


def _for_upstream(texts, planned, key, faults):
    if key is not None:
        faults.append("vxfld_auth_key: upstream has no authentication; leave it out")
    known = {}
    for section, rows in texts.items():
        for name, value in rows.items():
            if name in UPSTREAM.get(section, ()):
                known.setdefault(section, {})[name] = value.upper() if name == "loglevel" else value
                faults += [
                    f"[{section}] {name}: {word} is IPv6, and upstream takes IPv4 only; give this host and its service nodes IPv4 addresses"
                    for word in value.split()
                    if word.count(":") > 1
                ]
            elif (section, name) not in planned:
                faults.append(f"[{section}] {name}: upstream does not know it; leave it out")
    return known
