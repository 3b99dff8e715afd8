"""Key-framed expressions: a small YAML file of moments and what the face shows then.

    keyframes:
      - {time: 0, expression: neutral}
      - {time: 1.2, expression: "smile=0.8"}
      - {time: 2, expression: "smile=0.4,jawOpen=0.5"}

Between two moments the face moves from one to the other, starting and ending gently.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from avatar.animation.expressions import ExpressionVector, expression_vector, parse_amounts
from avatar.base.errors import AvatarError, InputError
from avatar.base.limits import RENDER_FRAMES
from avatar.flame.assets import HeadAsset

ENDINGS = (".yaml", ".yml")
EXAMPLE = "keyframes: [{time: 0, expression: neutral}, {time: 1, expression: 'smile=0.8'}]"


def is_keyframe_file(text: str) -> bool:
    """Whether an expression is meant as a file of keyframes."""
    return Path(text).suffix.lower() in ENDINGS


def read_keyframes(path: Path, asset: HeadAsset, jaw_share: float) -> list[tuple[float, ExpressionVector]]:
    """Times in seconds, rising from 0 on or later, and expressions.

    Raises InputError for a file that is missing, no YAML or not of this form, or names an expression nobody knows.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise InputError("the keyframes cannot be read", where=path, expected=EXAMPLE, found=cause) from cause
    rows = content.get("keyframes") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise InputError("the file holds no keyframes", where=path, expected=EXAMPLE)
    found: list[tuple[float, ExpressionVector]] = []
    for index, row in enumerate(rows):
        time, text = _moment(row, index, path)
        if found and time <= found[-1][0]:
            raise InputError(
                "keyframes are out of order", where=path, expected=f"a time after {found[-1][0]:g}", found=f"{time:g}"
            )
        try:
            vector = expression_vector(parse_amounts(text), asset, jaw_share=jaw_share)
        except AvatarError as error:
            raise InputError(f"keyframe {index}: {error.what}", where=path, found=text, fix=error.fix) from error
        found.append((time, vector))
    return found


def _moment(row: Any, index: int, path: Path) -> tuple[float, str]:
    time = row.get("time") if isinstance(row, dict) else None
    text = row.get("expression") if isinstance(row, dict) else None
    if not isinstance(time, (int, float)) or not math.isfinite(time) or time < 0 or not isinstance(text, str):
        raise InputError(f"keyframe {index} cannot be read", where=path, expected=EXAMPLE, found=row)
    return float(time), text


def frame_count(keyframes: list[tuple[float, ExpressionVector]], fps: float) -> int:
    """Frames from time 0 to the last keyframe. Raises ConfigError for too many."""
    count = round(keyframes[-1][0] * fps) + 1
    RENDER_FRAMES.require("the keyframes' length", count)
    return count


def gently(share: float) -> float:
    """The share in [0, 1] of a way that is left and reached gently, of that of its time."""
    return 0.5 - 0.5 * math.cos(math.pi * share)


def expression_at(keyframes: list[tuple[float, ExpressionVector]], time: float) -> ExpressionVector:
    """The expression at a time in seconds; before the first keyframe and after the last it stays as there."""
    if time <= keyframes[0][0]:
        return keyframes[0][1]
    for (start, first), (end, second) in pairwise(keyframes):
        if time <= end:
            share = gently((time - start) / (end - start))
            return ExpressionVector(
                *((1 - share) * a + share * b for a, b in zip(first.parts(), second.parts(), strict=True))
            )
    return keyframes[-1][1]
