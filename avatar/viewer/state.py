"""What the viewer shows, in one value: camera, expression, head, performance, background and overlays.

Every open page has a camera of its own; everything else is the same for all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.animation.path_faces import AT_REST, Face
from avatar.animation.path_files import View

if TYPE_CHECKING:
    from avatar.flame.model import HeadParameters

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
    page: int | None = None
    """The open page whose camera it is; None where none is open."""

    @property
    def view(self) -> View:
        """The camera alone."""
        return View(self.world_from_cam, self.fov, self.aspect)

    @property
    def face(self) -> Face:
        """What the head shows, but for a live driver's frame."""
        return Face(self.amounts, self.turn, self.shift, self.performance, self.frame)


CAMERA = ("world_from_cam", "fov", "aspect", "page")
"""Fields of a state that each page has of its own."""


def same_view(one: View, other: View) -> bool:
    """Whether two cameras show the same picture, but for what a browser rounds."""
    return (
        np.allclose(one.world_from_cam, other.world_from_cam, atol=1e-7)
        and math.isclose(one.fov, other.fov, abs_tol=1e-6)
        and math.isclose(one.aspect, other.aspect, abs_tol=1e-3)
    )


def is_possible(view: View) -> bool:
    """Whether a page's camera can be one: a page without a height has none."""
    return math.isfinite(view.aspect) and view.aspect > 0 and 0 < view.fov < math.pi


class Store:
    """The viewer's state, shared by the threads of the pages' controls and the renderer.

    `state` is what the page shows that a person used last, the leading one.
    """

    def __init__(self, state: ViewState, changed: Callable[[ViewState], None]) -> None:
        """changed: called with each new state of each page that looks different now, from the thread that changed it;
        while no page is open, with a state of none."""
        self._state, self._changed, self._lock = state, changed, threading.Lock()
        self._views: dict[int, View] = {}

    @property
    def state(self) -> ViewState:
        return self._state

    @property
    def pages(self) -> tuple[int, ...]:
        """The open pages; the leading one is the last."""
        return tuple(self._views)

    def update(self, **changes: Any) -> ViewState:
        """Replace fields of the state and return the new one. Fields of the camera are the leading page's."""
        with self._lock:
            return self._take(replace(self._state, **changes))

    def set_amount(self, name: str, amount: float) -> ViewState:
        """Set the amount of one expression; zero takes it out."""
        with self._lock:
            amounts = {key: value for key, value in self._state.amounts.items() if key != name}
            return self._take(replace(self._state, amounts=amounts | ({name: amount} if amount else {})))

    def refresh(self) -> None:
        """Have everything drawn again."""
        with self._lock:
            for page, view in self._views.items():
                self._changed(replace(self._state, page=page, **view._asdict()))
            if not self._views:
                self._changed(self._state)

    def enter(self, page: int, aspect: float) -> ViewState:
        """A page was opened: it takes over the leading one's camera, and leads."""
        with self._lock:
            return self._take(replace(self._state, page=page, aspect=aspect))

    def lead(self, page: int) -> None:
        """A person used a page."""
        with self._lock:
            if page in self._views and page != self._state.page:
                self._views[page] = view = self._views.pop(page)
                self._state = replace(self._state, page=page, **view._asdict())

    def move(self, page: int | None, view: View) -> None:
        """Take over the camera of a page, which leads then; nothing happens where it is the one that is known."""
        if page is not None:
            self.lead(page)
        with self._lock:
            known = page == self._state.page
            if known and is_possible(view) and not same_view(view, self._state.view):
                self._take(replace(self._state, **view._asdict()))

    def leave(self, page: int) -> None:
        """A page was closed. Of those that are left the one used last leads; the last one's camera is kept."""
        with self._lock:
            self._views.pop(page, None)
            if page == self._state.page:
                left = next(reversed(self._views), None)
                camera = {} if left is None else self._views[left]._asdict()
                self._state = replace(self._state, page=left, **camera)

    def _take(self, state: ViewState) -> ViewState:
        """Make a state the leading page's. Under the lock, so that what is announced last is what is there."""
        before, self._state = self._state, state
        if state.page is None:
            self._changed(state)
            return state
        self._views.pop(state.page, None)
        self._views[state.page] = state.view
        shared = (field.name for field in fields(ViewState) if field.name not in CAMERA)
        if all(getattr(before, name) == getattr(state, name) for name in shared):
            self._changed(state)
            return state
        for page, view in self._views.items():
            self._changed(replace(state, page=page, **view._asdict()))
        return state
