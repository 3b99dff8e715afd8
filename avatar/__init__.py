"""Head avatars from a phone video: a deformable radiance field conditioned on FLAME expressions.

    from avatar import load_avatar
    colour, alpha, depth = load_avatar("runs/me").render(jaw=[0.2, 0, 0])

The functions below are imported when they are first used, so that `import avatar` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avatar.base.conventions import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from avatar.app.library import (
        capture,
        evaluate,
        export_avatar,
        reanimate,
        reconstruct,
        register,
        render,
        train,
        transfer,
    )
    from avatar.data.capture import read_capture
    from avatar.data.checkpoint import load_avatar
    from avatar.flame.library import load_head

__all__ = [
    "capture",
    "evaluate",
    "export_avatar",
    "load_avatar",
    "load_head",
    "read_capture",
    "reanimate",
    "reconstruct",
    "register",
    "render",
    "train",
    "transfer",
]


def __getattr__(name: str) -> Any:
    places = {
        "load_avatar": "avatar.data.checkpoint",
        "load_head": "avatar.flame.library",
        "read_capture": "avatar.data.capture",
    }
    if name not in __all__:
        raise AttributeError(f"module 'avatar' has no attribute {name!r}")
    return getattr(import_module(places.get(name, "avatar.app.library")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
