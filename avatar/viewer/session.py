"""One open viewer: the avatar of a run, its state, the thread that draws, and what is written into RUN/view."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.animation.driver_files import DEFAULT_FPS, load_driver
from avatar.animation.reanimate import head_centre
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import refuse_links, safe_join
from avatar.data.capture_reference import read_capture_reference
from avatar.data.checkpoint import load_avatar
from avatar.data.checkpoint_files import checkpoint_path, step_of
from avatar.data.folders import VIDEOS
from avatar.media.images import write_png
from avatar.media.video import write_video
from avatar.viewer.cameras import vertical_fov
from avatar.viewer.painter import Painter
from avatar.viewer.paths import PATH_FPS, between_keyframes, read_path, write_path
from avatar.viewer.player import Player
from avatar.viewer.quality import Quality
from avatar.viewer.state import AT_REST, LIVE, OWN_CLIP, Store, ViewState
from avatar.viewer.worker import RenderWorker, Superseded

if TYPE_CHECKING:
    from avatar.avatar import Avatar

FOLDER = "view"
"""In the run: where pictures, videos and paths are written."""
ASPECT = 16 / 9
"""Of the first picture, until a page says how wide it is."""
LOOK_EVERY = 1.0
"""Seconds between two looks for a newer checkpoint."""


class Session:
    """What the page's controls act on. All methods may be called from any thread."""

    def __init__(self, run: Path, avatar: Avatar, quality: Quality | None = None) -> None:
        """run: the run folder of `avatar`. quality: the pictures' sizes, by default from that of the capture down.

        Nothing is drawn before `start`.
        """
        self.run = run
        self.painter = Painter(avatar, own_fps(run))
        camera = avatar.camera
        centre = head_centre(avatar)
        forward = camera.world_from_cam[:3, 2]
        self.look_at = camera.position + forward * float((centre - camera.position) @ forward)
        """`[3]` what the camera turns about: on its axis, as far away as the face; metres, world."""
        first = ViewState(camera.world_from_cam, vertical_fov(camera), ASPECT)
        self.first = first
        self.player = Player()
        self.keyframes: list[ViewState] = []
        self.written: list[Path] = []
        """Files written into RUN/view, in order."""
        self.seconds = 2.0
        """From one keyframe to the next."""
        self.shown: Callable[[np.ndarray, bool], None] = lambda image, full: None
        """Takes each picture, uint8 `[H, W, 3]`, and whether it is in full size."""
        self.followed: Callable[[ViewState, np.ndarray], None] = lambda state, image: None
        """Takes each state with its picture, after that was shown."""
        self.told: Callable[[str, bool], None] = lambda text, bad: None
        """Takes what people should read, and whether something failed."""
        self.frame_changed: Callable[[int], None] = lambda frame: None
        self.progressed: Callable[[float], None] = lambda share: None
        """Takes the share of a recording that is done; 1 at its end."""
        self.worker = RenderWorker(self._draw, self._show, quality or Quality(camera.height), self._failed, self._tick)
        self.store = Store(first, self.worker.submit)
        self._drawn = first
        self._checkpoint = checkpoint_path(run)
        self._looked = time.monotonic()
        self._cancelled = False

    @property
    def step(self) -> int:
        """Training steps of the checkpoint that is shown."""
        return step_of(self._checkpoint)

    def start(self) -> None:
        """Draw the first picture, and go on drawing what changes."""
        self.worker.start()
        self.worker.submit(self.store.state)

    def close(self) -> bool:
        """End the thread; returns whether it has ended."""
        return self.worker.close()

    # what is shown

    def move_camera(self, world_from_cam: np.ndarray, fov: float, aspect: float) -> None:
        """Take over a page's camera: pose `[4, 4]` (OpenCV), vertical field of view (radians), width over height."""
        now = self.store.state
        if not (math.isfinite(aspect) and aspect > 0 and 0 < fov < math.pi):
            return
        same = np.allclose(now.world_from_cam, world_from_cam, atol=1e-7) and math.isclose(now.fov, fov, abs_tol=1e-6)
        if not same or not math.isclose(now.aspect, aspect, abs_tol=1e-3):
            self.store.update(world_from_cam=world_from_cam, fov=fov, aspect=aspect)

    def perform(self, name: str) -> None:
        """Show a performance from its beginning."""
        self.player.stop()
        self.store.update(performance=name, frame=0)
        self.frame_changed(0)

    def frames(self) -> int:
        """Frames of the performance that is shown; at rest, those of the avatar's own clip."""
        name = self.store.state.performance
        return len(self.painter.performances[OWN_CLIP if name == AT_REST else name])

    def show_frame(self, frame: int) -> None:
        """Show a frame of the performance; at rest, of the avatar's own clip."""
        self.player.stop()
        name = self.store.state.performance
        self.store.update(frame=frame, performance=OWN_CLIP if name == AT_REST else name)

    def play(self, loop: bool) -> None:
        """Play the performance from the frame that is shown; at rest, the avatar's own clip."""
        state = self.store.state
        name = OWN_CLIP if state.performance == AT_REST else state.performance
        performance = self.painter.performances[name]
        if name != state.performance:
            state = self.store.update(performance=name, frame=0)
        self.player.start(time.monotonic(), state.frame, len(performance), performance.fps, loop)
        self.worker.wake()

    def pause(self) -> None:
        self.player.stop()

    def load_performance(self, source: str) -> str:
        """Read a capture folder, a run folder or an .npz of parameters as a performance; returns its name.

        Raises as `load_driver`, InputError for a video, which has to be tracked first.
        """
        path = Path(source.strip()).expanduser()
        if path.suffix.lower() in VIDEOS:
            raise InputError(
                "a video has to be tracked before it can drive",
                where=path,
                fix=f"avatar capture {path} --out CAPTURE, then give CAPTURE here",
            )
        driver = load_driver(path, self.painter.avatar.asset)
        self.painter.add_driver(str(path), driver)
        return str(path)

    # what is written

    def add_keyframe(self) -> int:
        """Keep the current view; returns how many there are."""
        self.keyframes = [*self.keyframes, self.store.state]
        return len(self.keyframes)

    def drop_keyframe(self) -> int:
        """Forget the last keyframe; returns how many there are."""
        self.keyframes = self.keyframes[:-1]
        return len(self.keyframes)

    def save_path(self) -> Path:
        """Write the keyframes and the path between them."""
        path = self._new_file("path", ".json")
        self.written.append(write_path(path, self.keyframes, self.seconds, self.worker.quality.at_rest))
        return path

    def open_path(self, name: str) -> int:
        """Read the keyframes of a file in RUN/view and show the first; returns how many there are."""
        self.keyframes, self.seconds = read_path(safe_join(self.run / FOLDER, name, InputError))
        first = self.keyframes[0]
        if first.performance not in self.painter.performances:
            self.told(f"the performance {first.performance} is not loaded; at rest instead", False)
        self.store.update(**{key: getattr(first, key) for key in ("amounts", "turn", "shift", "performance", "frame")})
        return len(self.keyframes)

    def screenshot(self) -> None:
        """Write the current view as a PNG, tagged as synthetic; told when it is there."""
        state = self.store.state

        def job() -> None:
            image = self.painter.draw(state, self.worker.quality.at_rest, self.worker.go_on)
            self._wrote(write_png(self._new_file("screenshot", ".png"), image, synthetic=True))

        self.worker.post(job)

    def record(self) -> None:
        """Write an mp4, tagged as synthetic: the path between two keyframes or more, else the performance as seen now.

        Told when it is there. Raises InputError where neither is there, or the performance is a live driver's.
        """
        state = self.store.state
        if len(self.keyframes) > 1:
            states, fps = between_keyframes(self.keyframes, self.seconds), PATH_FPS
        elif state.performance not in (AT_REST, LIVE):
            performance = self.painter.performances[state.performance]
            states, fps = [replace(state, frame=i) for i in range(len(performance))], performance.fps
        else:
            raise InputError("there is nothing to record yet", fix="add two keyframes, or choose a performance")
        self._cancelled = False
        self.worker.post(lambda: self._write_video(states, fps))

    def cancel(self) -> None:
        """Stop a recording; what it has written so far is removed."""
        self._cancelled = True

    def _write_video(self, states: Sequence[ViewState], fps: float) -> None:
        def between() -> None:
            self.worker.go_on()
            if self._cancelled:
                raise Superseded

        def images():
            for number, state in enumerate(states):
                yield self.painter.draw(state, self.worker.quality.at_rest, between)
                self.progressed((number + 1) / len(states))

        try:
            self._wrote(write_video(self._new_file("video", ".mp4"), images(), fps, synthetic=True))
        finally:
            self.progressed(1.0)

    def _wrote(self, path: Path) -> None:
        self.written.append(path)
        self.told(f"wrote {path}", False)

    def _new_file(self, kind: str, suffix: str) -> Path:
        """The next free name in RUN/view. Raises OutputError where that is a link."""
        refuse_links(self.run, FOLDER)
        names = (self.run / FOLDER / f"{kind}_{number:03d}{suffix}" for number in range(1, 100_000))
        return next(name for name in names if not name.exists())

    # the worker's thread

    def _draw(self, state: ViewState, height: int, between: Callable[[], None]) -> np.ndarray:
        self._drawn = state
        return self.painter.draw(state, height, between)

    def _show(self, image: np.ndarray, full: bool) -> None:
        self.shown(image, full)
        self.followed(self._drawn, image)

    def _failed(self, error: Exception) -> None:
        self.told(str(error) if isinstance(error, AvatarError) else f"internal error: {error!r}", True)

    def _tick(self, now: float) -> float | None:
        """Play on, and look for a newer checkpoint."""
        frame, wait = self.player.at(now)
        if frame is not None and frame != self.store.state.frame:
            self.store.update(frame=frame)
            self.frame_changed(frame)
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._follow()
        return LOOK_EVERY if wait is None else min(wait, LOOK_EVERY)

    def _follow(self) -> None:
        """Take the newest checkpoint where a training has written one."""
        newest = checkpoint_path(self.run)
        if newest == self._checkpoint:
            return
        self._checkpoint = newest  # before it is read: a damaged one is complained of once
        avatar = load_avatar(self.run)
        self.painter = Painter(avatar, own_fps(self.run), self.painter.drivers)
        self.told(f"showing the training's step {self.step}", False)
        self.worker.submit(self.store.state)


def own_fps(run: Path) -> float:
    """Frames per second of the clip that a run was trained on."""
    try:
        return float(read_capture_reference(run).get("fps", DEFAULT_FPS))
    except (AvatarError, TypeError, ValueError):
        return DEFAULT_FPS
