"""What the viewer shows, in one value: camera, expression, head, performance, background and overlays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from avatar.flame.model import HeadParameters

AT_REST = "at rest"
"""The performance of a person who does nothing: the mean pose of the clip, without expression."""
OWN_CLIP = "this person's clip"
LIVE = "live driver"
"""The performance of whoever is before the camera (`avatar live`)."""
SCENE = "scene"


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """One frame of a live driver as the avatar shows it, and the picture it was seen in."""

    params: HeadParameters
    """N = 1, on the avatar's identity."""
    number: int
    """Of the source's picture."""
    time: float
    """Seconds on the source's clock."""
    captured: float
    """`time.monotonic` when the picture was taken."""


@dataclass(frozen=True, eq=False)
class ViewState:
    """One view. Never changed, only replaced, so that threads can hand it to each other."""

    world_from_cam: np.ndarray
    """`[4, 4]` float64 pose of the camera, OpenCV axes, metres."""
    fov: float
    """Vertical field of view, radians."""
    aspect: float = 1.0
    """Width over height of the picture."""
    amounts: Mapping[str, float] = field(default_factory=dict)
    """Amounts of named expressions (`avatar.animation.expressions`), added to the performance."""
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Turn, nod and tilt of the head in radians, on top of the performance: about world y, x and z. A positive turn is
    towards the person's left, a positive nod down."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Metres by which the head is moved, world."""
    performance: str = AT_REST
    """Whose frames are shown: at rest, the avatar's own clip, the live driver or a driver's name."""
    frame: int = 0
    """Frame of the performance."""
    live: LiveFrame | None = None
    """The frame that the live performance shows; None before its first."""
    background: str = SCENE
    """scene, blur or #rrggbb (`avatar.animation.backgrounds`)."""
    mesh: bool = False
    """Lay the head's mesh over the picture."""
    silhouette: bool = False
    """Draw the outline of the head's mesh."""


class Store:
    """The viewer's one state, shared by the threads of the page's controls and the renderer."""

    def __init__(self, state: ViewState, changed: Callable[[ViewState], None]) -> None:
        """changed: called with each new state, from the thread that changed it."""
        self._state, self._changed, self._lock = state, changed, threading.Lock()

    @property
    def state(self) -> ViewState:
        return self._state

    def update(self, **changes: Any) -> ViewState:
        """Replace fields of the state and return the new one."""
        with self._lock:
            self._state = replace(self._state, **changes)
            self._changed(self._state)  # under the lock: what is announced last is what is there
            return self._state

    def set_amount(self, name: str, amount: float) -> ViewState:
        """Set the amount of one expression; zero takes it out."""
        with self._lock:
            amounts = {key: value for key, value in self._state.amounts.items() if key != name}
            self._state = replace(self._state, amounts=amounts | ({name: amount} if amount else {}))
            self._changed(self._state)  # under the lock: what is announced last is what is there
            return self._state
