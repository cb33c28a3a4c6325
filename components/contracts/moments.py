"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(created: str, *, now: datetime | None = None) -> str:
    """Returns a time for people, `2026-11-22 18:31 UTC (3 h ago)`; what is no time, as it is."""
    try:
        then = datetime.fromisoformat(created).astimezone(UTC)
    except ValueError:
        return created or "unknown"
    return f"{then:%Y-%m-%d %H:%M} UTC ({ago(((now or datetime.now(UTC)) - then).total_seconds())})"


def ago(seconds: float) -> str:
    """Returns how long ago in the one unit that matters: `8 s ago`, `3 h ago`, `12 days ago`."""
    if seconds < -60:
        return "in the future: check the clocks"
    seconds = max(seconds, 0)
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} days ago"
