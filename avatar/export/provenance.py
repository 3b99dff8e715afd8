"""What every exported model says of itself: that it is synthetic, and which program made it when."""

from __future__ import annotations

from datetime import datetime, timezone

from avatar.base.conventions import VERSION

PROGRAM = "avatar"
MEANING = "synthetic: a computed avatar, not a recording of a person"


def provenance() -> dict[str, object]:
    """`synthetic`, `program`, `version` and `date` (ISO 8601, UTC), as JSON values."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"synthetic": True, "program": PROGRAM, "version": VERSION, "date": date}
