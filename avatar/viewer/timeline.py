"""Keyframes at moments of time, and what is seen between them. Never changed, only replaced."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np
import torch

from avatar.animation.keyframes import gently
from avatar.animation.path_faces import blend_faces, steps_between
from avatar.base.errors import InputError
from avatar.geometry.rotations import slerp
from avatar.viewer.state import ViewState

PATH_FPS = 25.0
SHORTEST = 1 / PATH_FPS
"""Seconds that lie between two keyframes at least."""
LONGEST = 3600.0
"""Seconds of a whole path at most."""


@dataclass(frozen=True, eq=False)
class Keyframe:
    """What is seen at a moment."""

    time: float
    """Seconds from the beginning of the path."""
    state: ViewState


@dataclass(frozen=True, eq=False)
class Timeline:
    """Keyframes in the order of their times, which differ by `SHORTEST` at least."""

    keyframes: tuple[Keyframe, ...] = ()

    def __len__(self) -> int:
        return len(self.keyframes)

    @property
    def times(self) -> tuple[float, ...]:
        """Of the keyframes, seconds, rising."""
        return tuple(keyframe.time for keyframe in self.keyframes)

    @property
    def begin(self) -> float:
        """Seconds at which the first keyframe stands."""
        return self.keyframes[0].time if self.keyframes else 0.0

    @property
    def end(self) -> float:
        """Seconds at which the last keyframe stands."""
        return self.keyframes[-1].time if self.keyframes else 0.0

    def added(self, state: ViewState, time: float) -> Timeline:
        """With one more keyframe. Raises InputError where another one stands there, or for an impossible time."""
        if not 0 <= time <= LONGEST:
            raise InputError("a keyframe cannot stand there", expected=f"0 to {LONGEST:g} s", found=f"{time:g} s")
        near = next((other.time for other in self.keyframes if abs(other.time - time) < SHORTEST - 1e-9), None)
        if near is not None:
            raise InputError(
                "another keyframe stands there",
                expected=f"{SHORTEST:g} s between two at least",
                found=f"one at {near:.2f} s",
                fix="move or delete that one, or choose another time",
            )
        return Timeline(tuple(sorted((*self.keyframes, Keyframe(time, state)), key=lambda one: one.time)))

    def removed(self, index: int) -> Timeline:
        """Without a keyframe. Raises InputError where there is none of that number."""
        self._at(index)
        return Timeline(self.keyframes[:index] + self.keyframes[index + 1 :])

    def moved(self, index: int, time: float) -> Timeline:
        """With a keyframe at another time. Raises as `added` and `removed`."""
        return self.removed(index).added(self._at(index).state, time)

    def changed(self, index: int, state: ViewState) -> Timeline:
        """With another view in a keyframe. Raises InputError where there is none of that number."""
        return self.removed(index).added(state, self._at(index).time)

    def at(self, time: float) -> ViewState:
        """What is seen at a time: between two keyframes, leaving and reaching them gently; before and after, the ends.

        Raises InputError where there is no keyframe.
        """
        self._require_any()
        index = bisect_right(self.times, time)
        if index == 0 or index == len(self):
            return self.keyframes[max(0, index - 1)].state
        first, second = self.keyframes[index - 1], self.keyframes[index]
        share = (time - first.time) / (second.time - first.time)
        return blend(first.state, second.state, gently(share))

    def frames(self, fps: float = PATH_FPS) -> list[ViewState]:
        """The frames from the first keyframe to the last. Of one keyframe it is that one.

        They are timed as by `steps_between`. Raises InputError where there is no keyframe.
        """
        self._require_any()
        states = [keyframe.state for keyframe in self.keyframes]
        return [
            states[index] if share == 0 else blend(states[index], states[index + 1], share)
            for index, share in steps_between(self.times, fps)
        ]

    def _at(self, index: int) -> Keyframe:
        if not 0 <= index < len(self):
            raise InputError("there is no such keyframe", expected=f"1 to {len(self)}", found=index + 1)
        return self.keyframes[index]

    def _require_any(self) -> None:
        if not self.keyframes:
            raise InputError("there is no keyframe yet", fix="add one where the view is as it should be")


def blend(first: ViewState, second: ViewState, share: float) -> ViewState:
    """The state at `share` in [0, 1] of the way between two.

    Rotations go along the shortest arc; what is no number (background, overlays, performance) is the earlier one's.
    """

    def mixed(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    pose = np.eye(4)
    start, end = (torch.tensor(state.world_from_cam[:3, :3].copy()) for state in (first, second))
    pose[:3, :3] = slerp(start, end, share).numpy()
    pose[:3, 3] = (1 - share) * first.world_from_cam[:3, 3] + share * second.world_from_cam[:3, 3]
    face = blend_faces(first.face, second.face, share)
    return replace(
        first,
        world_from_cam=pose,
        fov=mixed(first.fov, second.fov),
        aspect=mixed(first.aspect, second.aspect),
        amounts=face.amounts,
        turn=face.turn,
        shift=face.shift,
        frame=face.frame,
    )
