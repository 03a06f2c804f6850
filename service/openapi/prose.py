"""The little Markdown that comments have, as HTML: paragraphs, lists and code."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

_CODE = re.compile(r"`([^`]+)`")


def prose(text: str, *, inline: bool = False) -> str:
    """Return a text as HTML; `inline` texts are one paragraph without its tags."""
    if inline:
        return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
    blocks = []
    for paragraph in text.split("\n\n"):
        for is_list, lines in groupby(_joined(paragraph), key=lambda line: line.startswith("- ")):
            if is_list:
                items = "".join(f"<li>{prose(line[2:], inline=True)}</li>" for line in lines)
                blocks.append(f"<ul>{items}</ul>")
            else:
                blocks.append(f"<p>{prose(' '.join(lines), inline=True)}</p>")
    return "".join(blocks)


def _joined(paragraph: str) -> list[str]:
    """Return the lines of a paragraph, those that continue a list's item joined to it."""
    lines: list[str] = []
    for line in paragraph.splitlines():
        if lines and line.startswith("  "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines
