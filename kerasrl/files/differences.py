"""Showing what differs between two things that ought to be the same."""

from typing import Any

_WIDEST = 40  # characters of a value
_LONGEST = 20  # rows


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def compare(here: Any, there: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Lists where two nests of dicts, lists and plain values differ.

    Args:
        here: one nest.
        there: the other.
        path: str, what they are called together.

    Returns:
        list of `(path, here, there)`, such as `("layers[1].units", 8, 16)`; what one of the two
        lacks is `ABSENT`.
    """
    if isinstance(here, dict) and isinstance(there, dict):
        keys = [*here, *(key for key in there if key not in here)]
        prefix = f"{path}." if path else ""
        pairs = [(f"{prefix}{key}", here.get(key, ABSENT), there.get(key, ABSENT)) for key in keys]
    elif isinstance(here, list | tuple) and isinstance(there, list | tuple):
        if len(here) != len(there):
            return [(path, here, there)]
        pairs = [(f"{path}[{i}]", here[i], there[i]) for i in range(len(here))]
    else:
        return [] if here == there else [(path, here, there)]
    return [row for name, one, other in pairs for row in compare(one, other, name)]


def table(rows: list[tuple[str, Any, Any]]) -> str:
    """Writes differences as aligned columns, the first 20 of them.

    Args:
        rows: what `compare` returned.
    """
    cells = [("what", "here", "in the file")]
    cells += [(path, _short(here), _short(there)) for path, here, there in rows[:_LONGEST]]
    widths = [max(len(row[column]) for row in cells) for column in range(2)]
    lines = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in cells]
    if len(rows) > _LONGEST:
        lines.append(f"  and {len(rows) - _LONGEST} more")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
