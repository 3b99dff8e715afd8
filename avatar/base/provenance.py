"""What everything that is rendered or exported says of itself: that it is synthetic, and which program made it when."""

from __future__ import annotations

from datetime import datetime, timezone

from avatar.base.conventions import SYNTHETIC_TAG, VERSION

PROGRAM = "flame-avatar"
MEANING = f"{SYNTHETIC_TAG}: a rendered avatar, not a recording of a person"


def provenance() -> dict[str, object]:
    """`synthetic`, `program`, `version` and `date` (ISO 8601, UTC), as JSON values."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"synthetic": True, "program": PROGRAM, "version": VERSION, "date": date}


def provenance_line() -> str:
    """The same in one line of text."""
    said = provenance()
    return f"{MEANING}; made with {said['program']} {said['version']} on {said['date']}"
