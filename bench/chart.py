"""The chart of the README: requests and events a second, and added latency, as bars. Readable on light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.goals import FIRST, SMALL_1, SMALL_64, Figures
from bench.plan import GATEWAY, Results

_OWN, _OTHER, _TEXT = "#2f81f7", "#8b949e", "#768390"
_WIDTH, _LABEL, _BAR, _ROW = 760, 170, 470, 22


class Panel(NamedTuple):
    """One group of bars."""

    title: str
    bars: Sequence[tuple[str, float]]


def panels(results: Results, names: Sequence[str]) -> Sequence[Panel]:
    """Return the groups, each with the targets that have a figure there."""
    figures = Figures(results)
    columns: list[tuple[str, Callable[[str], float | None]]] = [
        ("Latency added, one request at a time, p50 in ms (less is better)", lambda n: figures.added_ms(n, SMALL_1)),
        ("Requests a second, 64 at once (more is better)", lambda n: figures.rate(n, SMALL_64)),
        ("First event added, p50 in ms (less is better)", lambda n: figures.added_ms(n, FIRST)),
        ("Events a second, 100 streams (more is better)", lambda n: figures.rate(n, "100 streams")),
    ]
    found = []
    for title, value in columns:
        bars = [(name, amount) for name in names if (amount := value(name)) is not None and amount > 0]
        found.append(Panel(title, bars))
    return found


def svg(found: Sequence[Panel]) -> str:
    """Return the chart."""
    parts: list[str] = []
    y = 8
    for panel in found:
        y += 20
        parts.append(f'<text x="8" y="{y}" font-weight="600">{panel.title}</text>')
        most = max((amount for _, amount in panel.bars), default=1.0)
        y += 8
        for name, amount in panel.bars:
            colour = _OWN if name == GATEWAY else _OTHER
            width = max(2.0, _BAR * amount / most)
            number = f"{amount:,.0f}" if amount >= 100 else f"{amount:.2g}"
            middle = y + _ROW - 7
            parts += [
                f'<text x="{_LABEL}" y="{middle}" text-anchor="end">{name}</text>',
                f'<rect x="{_LABEL + 8}" y="{y + 3}" width="{width:.0f}" height="{_ROW - 8}" rx="2" fill="{colour}"/>',
                f'<text x="{_LABEL + 14 + width:.0f}" y="{middle}">{number}</text>',
            ]
            y += _ROW
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" {style}>\n{body}\n</svg>\n'
