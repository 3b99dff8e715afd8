"""What everything that is rendered or exported says of itself: that it is synthetic, and which program made it when."""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum

from avatar.base.conventions import SYNTHETIC_TAG, VERSION

PROGRAM = "flame-avatar"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MEANING = f"{SYNTHETIC_TAG}: a rendered avatar, not a recording of a person"


class Source(Enum):
    """Where pictures come from, by the names of IPTC's digital source types, as a C2PA manifest says it."""

    RENDERED = "trainedAlgorithmicMedia"
    """A trained avatar, alone or before a colour."""
    MIXED = "compositeWithTrainedAlgorithmicMedia"
    """A trained avatar beside or before what was filmed, or with recorded sound."""
    PAINTED = "algorithmicMedia"
    """The synthetic clips: nothing in them was learned."""

    @property
    def address(self) -> str:
        return SOURCE_TYPES + self.value


def provenance() -> dict[str, object]:
    """`synthetic`, `program`, `version` and `date` (ISO 8601, UTC), as JSON values."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"synthetic": True, "program": PROGRAM, "version": VERSION, "date": date}


def provenance_line() -> str:
    """The same in one line of text."""
    said = provenance()
    return f"{MEANING}; made with {said['program']} {said['version']} on {said['date']}"
