# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of endpoints' addresses for the variants that are built on them."""

from __future__ import annotations


def check_given(fabric, variant, faults):
    for endpoint in fabric.endpoints:
        if not endpoint.addresses:
            key = f"fabric_endpoints: {endpoint.name or endpoint.mac}: addresses"
            faults.add("fabric", key, f"is missing; variant {variant} reaches an endpoint by the addresses listed here")
