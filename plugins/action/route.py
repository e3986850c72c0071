# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Large tables of the module route go to the host as a file."""

from __future__ import annotations

from ansible_collections.vtep.fabric.plugins.plugin_utils.table import TableAction


class ActionModule(TableAction):
    pass
