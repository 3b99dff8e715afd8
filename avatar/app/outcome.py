"""What a command hands back to the command line: the files it wrote and what to do next."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """The end of a successful command."""

    files: list[tuple[Path, str]] = field(default_factory=list)
    """Each file or folder written, with a few words on what it is."""
    next_step: str = ""
    """One line: what to do next."""
    lines: list[str] = field(default_factory=list)
    """Results to print first."""

    def text(self) -> str:
        written = [f"wrote {shown(path)}  ({what})" for path, what in self.files]
        return "\n".join([*self.lines, *written, *([f"next: {self.next_step}"] if self.next_step else [])])


def shown(path: Path) -> str:
    """A path as a user would type it: relative where it lies below the working directory, else absolute."""
    path = Path(path).absolute()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
