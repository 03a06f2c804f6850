"""Names that are one edit away from a known one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_SHORTEST = 6


def nearest_name(names: Iterable[str]) -> Callable[[str], str | None]:
    """Return a function that finds the known name one edit away: a character more, less, other, or two swapped.

    Names of fewer than six characters, on either side, are never near. A known name has no near name.
    """
    known = sorted(name for name in names if len(name) >= _SHORTEST)
    longest = max(map(len, known), default=0) + 1
    # Two names one edit apart become the same by leaving out at most one character of each.
    shortened: dict[str, list[str]] = {}
    for name in known:
        for form in (name, *_shorter(name)):
            shortened.setdefault(form, []).append(name)
    exact = frozenset(known)

    def nearest(key: str) -> str | None:
        if not _SHORTEST <= len(key) <= longest or key in exact:
            return None
        for form in (key, *_shorter(key)):
            for name in shortened.get(form, ()):
                if one_edit(key, name):
                    return name
        return None

    return nearest


def one_edit(left: str, right: str) -> bool:
    """Whether two strings differ by exactly one edit (Damerau-Levenshtein, restricted)."""
    if left == right or abs(len(left) - len(right)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    a, b = left[start:], right[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _shorter(name: str) -> list[str]:
    return [name[:i] + name[i + 1 :] for i in range(len(name))]
