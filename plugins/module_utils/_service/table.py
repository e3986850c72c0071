# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as the commands print them."""

from __future__ import annotations


def text(heads, rows):
    """Columns under their heads; a row is a list of what str() can show."""
    rows = [[str(one) for one in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return (
        "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines) + "\n"
    )
