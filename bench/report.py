"""The results as a table for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.goals import FIRST, SMALL_1, Figures, Goal
from bench.plan import GATEWAY, SLOW, VENDORS, Results

Rows = Sequence[Sequence[str]]


def tables(results: Results, goals: Sequence[Goal]) -> Sequence[tuple[str, Rows]]:
    """Return titles and tables, each with its head as the first row."""
    figures = Figures(results)
    found = [
        ("Whole answers", _whole(figures, results)),
        ("Streams", _streams(figures, results)),
        ("The gateway's own work, CPU of one worker", _own(figures)),
        ("Targets", _goals(goals)),
    ]
    if results.not_run:
        rows = [["what", "why"], *[[name, why.replace("|", "/")] for name, why in results.not_run.items()]]
        found.append(("Not run", rows))
    return found


def markdown(found: Sequence[tuple[str, Rows]], facts: Mapping[str, str]) -> str:
    """Return RESULTS.md."""
    lines = ["# Results", "", "Made by `make bench`. What each figure means stands in [README.md](README.md).", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for title, rows in found:
        lines += ["", f"## {title}", ""]
        head, *rest = rows
        lines += [_line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rest)]
    return "\n".join(lines) + "\n"


def text(found: Sequence[tuple[str, Rows]]) -> str:
    """Return the tables for a terminal."""
    lines: list[str] = []
    for title, rows in found:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["", title, ""]
        for row in rows:
            first, *rest = [
                cell.ljust(w) if not n else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join((first, *rest)).rstrip())
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _whole(figures: Figures, results: Results) -> Rows:
    names = ["small, 1 at once", "small, 16 at once", "small, 64 at once", "small, 256 at once"]
    names += ["medium, 16 at once", "large, 16 at once"]
    names = [name for name in names if any(name in taken for taken in results.by_target.values())]
    head = ["", "added p50 ms", "added p99 ms", *[f"{name.replace(' at once', '')} /s" for name in names[1:]]]
    head += ["CPU ms a request", "of it Envoy", "RSS at rest MB", "most MB"]
    rows = [head]
    for target, measured in results.by_target.items():
        parts = _parts(results, target)
        cpu = [figures.cpu_us(target, "small, 64 at once", part) or 0.0 for part in parts]
        envoy = figures.cpu_us(target, "small, 64 at once", "envoy") if "envoy" in parts else None
        rows.append(
            [
                _named(results, target),
                _number(figures.added_ms(target, SMALL_1)),
                _number(figures.added_ms(target, SMALL_1, p99=True)),
                *[_number(figures.rate(target, name)) for name in names[1:]],
                _number(sum(cpu) / 1000 if cpu and "small, 64 at once" in measured else None),
                _number(None if envoy is None else envoy / 1000),
                _number(results.rest_mb.get(target) or None),
                _number(figures.rss_mb(target) or None),
            ]
        )
    return rows


def _streams(figures: Figures, results: Results) -> Rows:
    names = [f"{count} streams" for count in (20, 100, 400)]
    names = [name for name in names if any(name in taken for taken in results.by_target.values())]
    head = ["", "first event added p50 ms", "p99 ms", *[f"events/s, {name}" for name in names]]
    head += [f"CPU µs an event, {name}" for name in names]
    rows = [head]
    for target, measured in results.by_target.items():
        if measured.keys().isdisjoint(names):
            continue
        parts = _parts(results, target)
        rows.append(
            [
                _named(results, target),
                _number(figures.added_ms(target, FIRST)),
                _number(figures.added_ms(target, FIRST, p99=True)),
                *[_number(figures.rate(target, name)) for name in names],
                *[_number(_sum(figures, target, name, parts)) for name in names],
            ]
        )
    return rows


def _own(figures: Figures) -> Rows:
    """The gateway's rows: CPU of the service alone, without Envoy."""
    rows = [["", "CPU µs", "rate /s"]]
    names = ["small, 64 at once", "medium, 16 at once", "large, 16 at once", "image, 8 at once"]
    names += ["20 streams", "100 streams", "400 streams", SLOW]
    names += ["TLS, small, 64 at once", "TLS, 100 streams"]
    names += ["gRPC unary, 16 at once", "gRPC 20 streams"]
    names += [f"{vendor}, {what}" for vendor in VENDORS for what in ("20 messages", "200 messages", "500 events")]
    for name in names:
        cpu = figures.cpu_us(GATEWAY, name)
        if cpu is not None:
            unit = "an event" if "stream" in name or "events" in name else "a request"
            rows.append([f"{name} ({unit})", _number(cpu), _number(figures.rate(GATEWAY, name))])
    return rows


def _goals(goals: Sequence[Goal]) -> Rows:
    words = {True: "met", False: "not met", None: "not measured"}
    rows = [["target", "measured", "limit", ""]]
    for goal in goals:
        limit = f"{'at most' if goal.at_most else 'at least'} {goal.limit:.3g}"
        rows.append([goal.text, _number(goal.value), limit, words[goal.met]])
    return rows


def _parts(results: Results, target: str) -> Sequence[str]:
    rounds = next(iter(results.by_target[target].values()))
    return list(rounds[0].cpu_us)


def _sum(figures: Figures, target: str, name: str, parts: Sequence[str]) -> float | None:
    values = [figures.cpu_us(target, name, part) for part in parts]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _named(results: Results, target: str) -> str:
    version = results.versions.get(target)
    return f"{target} {version}" if version else target


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2f}"
