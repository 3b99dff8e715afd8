"""What the tracker's process of `avatar live` and the program say to each other: a JSON object a line."""

from __future__ import annotations

import json
from typing import Any

import torch

from avatar.base import errors
from avatar.base.errors import AvatarError
from avatar.flame.model import PER_FRAME, HeadParameters
from avatar.viewer.live import LiveHead

HEAD, OPENED, READY, NOTE, FAILED, ENDED = "head", "opened", "ready", "note", "failed", "ended"
"""From the tracker."""
AVATAR, START, RENEW = "avatar", "start", "renew"
"""To it."""
SHARED = ("shape", "static_offset")
"""Parts of `HeadParameters` that belong to a person."""
PARTS = ("what", "where", "frame", "expected", "found", "fix")


def line_of(kind: str, **content: Any) -> str:
    """A message as a line."""
    return json.dumps({"kind": kind, **content}) + "\n"


def numbers_of(params: HeadParameters, *, shared: bool = False) -> dict[str, list]:
    """The parts of N frames that belong to a frame, as JSON values; with `shared` what they have in common too."""
    names = (*PER_FRAME, *SHARED) if shared else PER_FRAME
    parts = {name: getattr(params, name) for name in names}
    return {name: part.tolist() for name, part in parts.items() if part is not None}


def params_of(numbers: dict[str, list]) -> HeadParameters:
    """N frames from `numbers_of`; without what they share they have no shape: that is the avatar's."""
    return HeadParameters(**{"shape": torch.zeros(0)} | {name: torch.tensor(part) for name, part in numbers.items()})


def head_line(head: LiveHead) -> str:
    """A head as a line."""
    params = None if head.params is None else numbers_of(head.params)
    rest = {name: value for name, value in vars(head).items() if name != "params"}
    return line_of(HEAD, params=params, **rest)


def head_of(message: dict[str, Any]) -> LiveHead:
    """The head of a message of `head_line`."""
    rest = {name: value for name, value in message.items() if name not in ("kind", "params")}
    return LiveHead(params=None if message["params"] is None else params_of(message["params"]), **rest)


def failure_line(error: Exception) -> str:
    """What went wrong as a line; `failure_of` makes the same typed error of it."""
    if isinstance(error, AvatarError):
        parts = {name: getattr(error, name) for name in PARTS}
        texts = {name: part if part is None or name == "frame" else str(part) for name, part in parts.items()}
        return line_of(FAILED, type=type(error).__name__, **texts)
    return line_of(FAILED, type=type(error).__name__, what=str(error))


def failure_of(message: dict[str, Any]) -> Exception:
    """The error of a message of `failure_line`; RuntimeError for one that is not the user's."""
    kind = getattr(errors, message["type"], None)
    if isinstance(kind, type) and issubclass(kind, AvatarError):
        what, *others = PARTS
        return kind(message[what], **{name: message[name] for name in others})
    return RuntimeError(f"the tracker failed: {message['type']}: {message['what']}")
