"""A texture space as prior of a capture: what a photograph or clip does not show of the head's texture."""

from __future__ import annotations

from pathlib import Path

from avatar.flame.assets import HeadAsset
from capture_tools.report.texture import Completion
from capture_tools.texture_space.space import complete, open_space, space_identity


def completion_of(path: Path | None, asset: HeadAsset) -> Completion | None:
    """What completes textures of a head from the space of a file; None without a file.

    Raises InputError for a file that is no texture space, HeadModelError for one of another map.
    """
    if path is None:
        return None
    space = open_space(path, asset)
    return Completion(space_identity(path), lambda texture, seen: complete(space, texture, seen)[0])
