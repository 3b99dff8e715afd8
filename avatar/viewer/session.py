"""One open viewer: the avatar of a run, its state, the thread that draws, and what is written into RUN/view."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.animation.driver_files import TrackVideo, load_driver
from avatar.animation.options import DEFAULT_FPS, DriverPart
from avatar.animation.path_faces import AT_REST, OWN_CLIP
from avatar.animation.path_files import View
from avatar.animation.reanimate import head_centre
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import refuse_links, safe_join
from avatar.data.capture_reference import read_capture_reference
from avatar.data.checkpoint import load_avatar
from avatar.data.checkpoint_files import checkpoint_path, step_of
from avatar.data.folders import VIDEOS
from avatar.media.images import write_png
from avatar.media.manifest import require_signing
from avatar.media.video import write_video
from avatar.viewer.cameras import vertical_fov
from avatar.viewer.errands import Errand
from avatar.viewer.painter import Painter
from avatar.viewer.paths import read_path, write_path
from avatar.viewer.player import Player
from avatar.viewer.quality import Quality
from avatar.viewer.state import LIVE, Store, ViewState
from avatar.viewer.timeline import PATH_FPS, Timeline
from avatar.viewer.worker import RenderWorker, Superseded

if TYPE_CHECKING:
    from avatar.avatar import Avatar

FOLDER = "view"
"""In the run: where pictures, videos and paths are written."""
ASPECT = 16 / 9
"""Of the first picture, until a page says how wide it is."""
LOOK_EVERY = 1.0
"""Seconds between two looks for a newer checkpoint."""
KEYED = ("world_from_cam", "fov", "amounts", "turn", "shift", "performance", "frame")
"""What a keyframe holds of a state."""


class Session:
    """What the page's controls act on. All methods may be called from any thread."""

    def __init__(
        self, run: Path, avatar: Avatar, quality: Quality | None = None, track: TrackVideo | None = None
    ) -> None:
        """run: the run folder of `avatar`. quality: the pictures' sizes, by default from that of the capture down.
        track: follows the head through a driver's video (see `load_driver`).

        Nothing is drawn before `start`.
        """
        self.run = run
        self.track = track
        self.painter = Painter(avatar, own_fps(run))
        camera = avatar.camera
        centre = head_centre(avatar)
        forward = camera.world_from_cam[:3, 2]
        self.look_at = camera.position + forward * float((centre - camera.position) @ forward)
        """`[3]` what the camera turns about: on its axis, as far away as the face; metres, world."""
        first = ViewState(camera.world_from_cam, vertical_fov(camera), ASPECT)
        self.first = first
        self.player = Player()
        self.path_player = Player()
        self.timeline = Timeline()
        self.written: list[Path] = []
        """Files written into RUN/view, in order."""
        self.shown: Callable[[int | None, np.ndarray, bool], None] = lambda page, image, full: None
        """Takes each picture with the page that it is for (None: none is open), uint8 `[H, W, 3]`, and whether it is in
        full size."""
        self.followed: Callable[[ViewState, np.ndarray], None] = lambda state, image: None
        """Takes each state of the leading page with its picture, after that was shown."""
        self.told: Callable[[str, bool], None] = lambda text, bad: None
        """Takes what people should read, and whether something failed."""
        self.frame_changed: Callable[[int], None] = lambda frame: None
        self.progressed: Callable[[float], None] = lambda share: None
        """Takes the share of a recording that is done; 1 at its end."""
        self.path_time_changed: Callable[[float], None] = lambda time: None
        """Takes the second of the path that is shown while it is played."""
        self.path_ended: Callable[[], None] = lambda: None
        self.worker = RenderWorker(self._draw, self._show, quality or Quality(camera.height), self._failed, self._tick)
        self.store = Store(first, self.worker.submit)
        self.driving = Errand("driver")
        """Reads or tracks a driver."""
        self._loading = Errand("checkpoint")
        self._checkpoint = checkpoint_path(run)
        self._seen = _stamp(self._checkpoint)
        self._looked = time.monotonic()
        self._cancelled = False

    @property
    def trained_steps(self) -> int:
        """Training steps of the checkpoint that is shown."""
        return step_of(self._checkpoint)

    def start(self, draw: bool = True) -> None:
        """Draw the first picture, unless `draw` is False, and go on drawing what changes."""
        self.worker.start()
        if draw:
            self.worker.submit(self.store.state)

    def close(self) -> bool:
        """End the threads; returns whether all have ended."""
        ended = [errand.close() for errand in (self.driving, self._loading)]
        return self.worker.close() and all(ended)

    # what is shown

    def move_camera(self, world_from_cam: np.ndarray, fov: float, aspect: float, page: int | None = None) -> None:
        """Take over a page's camera: pose `[4, 4]` (OpenCV), vertical field of view (radians), width over height."""
        self.store.move(page, View(world_from_cam, fov, aspect))

    def leave(self, page: int) -> None:
        """A page was closed."""
        self.store.leave(page)
        self.worker.forget(page)

    def perform(self, name: str) -> None:
        """Show a performance from its beginning."""
        self.pause()
        self.store.update(performance=name, frame=0)
        self.frame_changed(0)

    def frames(self) -> int:
        """Frames of the performance that is shown; at rest, those of the avatar's own clip."""
        name = self.store.state.performance
        return len(self.painter.performances[OWN_CLIP if name == AT_REST else name])

    def show_frame(self, frame: int) -> None:
        """Show a frame of the performance; at rest, of the avatar's own clip."""
        self.pause()
        name = self.store.state.performance
        self.store.update(frame=frame, performance=OWN_CLIP if name == AT_REST else name)

    def step(self, frames: int) -> None:
        """Show the frame so many further on or back, from the end to the beginning and back."""
        state = self.store.state
        self.show_frame((state.frame + frames) % self.frames())
        self.frame_changed(self.store.state.frame)

    def play(self, loop: bool) -> None:
        """Play the performance from the frame that is shown; at rest, the avatar's own clip."""
        self.path_player.stop()
        state = self.store.state
        name = OWN_CLIP if state.performance == AT_REST else state.performance
        performance = self.painter.performances[name]
        if name != state.performance:
            state = self.store.update(performance=name, frame=0)
        self.player.start(time.monotonic(), state.frame, len(performance), performance.fps, loop)
        self.worker.wake()

    def pause(self) -> None:
        self.player.stop()
        self.path_player.stop()

    def load_performance(self, source: str, *, thorough: bool = False) -> str:
        """Read a driver as a performance; returns its name. A video is tracked: see `load_driver`.

        thorough: track a video as a capture does, not as if it came from a camera. Raises as `load_driver`.
        """
        path = Path(source.strip()).expanduser()
        painter = self.painter
        part = DriverPart(live=not thorough and needs_tracking(path))
        driver = load_driver(path, painter.avatar.asset, part, track=self.track, jaw_share=painter.jaw_share)
        name = str(path)
        self.painter.add_driver(name, driver)
        for note in driver.notes:
            self.told(note, False)
        return name

    # what is written

    def save_path(self) -> Path:
        """Write the keyframes and the path between them."""
        path = self._new_file("path", ".json")
        self.written.append(write_path(path, self.timeline, self.worker.quality.at_rest))
        return path

    def open_path(self, name: str) -> None:
        """Read the keyframes of a file in RUN/view and show the first."""
        self.timeline = read_path(safe_join(self.run / FOLDER, name, InputError))
        self.show_keyframe(self.timeline.keyframes[0].state)

    def saved_paths(self) -> tuple[str, ...]:
        """Names of the paths in RUN/view."""
        return tuple(sorted(path.name for path in (self.run / FOLDER).glob("path_*.json")))

    def show_keyframe(self, state: ViewState) -> None:
        """Show what a keyframe shows, with the background and the overlays of now and as wide as the page is."""
        self.pause()
        if state.performance not in self.painter.performances:
            self.told(f"the performance {state.performance} is not loaded; at rest instead", False)
        self.store.update(**{name: getattr(state, name) for name in KEYED})

    def show_path(self, time: float) -> None:
        """Show a moment of the path. Raises InputError where there is no keyframe."""
        state = self.timeline.at(time)
        self.store.update(**{name: getattr(state, name) for name in KEYED})

    def play_path(self, begin: float) -> None:
        """Play the path from a second on, from its beginning where that is its end.

        Raises InputError where there are not two keyframes.
        """
        if len(self.timeline) < 2:
            raise InputError("there is no path to play", expected="two keyframes at least", found=len(self.timeline))
        self.player.stop()
        frames = 1 + round((self.timeline.end - self.timeline.begin) * PATH_FPS)
        frame = min(max(0, round((begin - self.timeline.begin) * PATH_FPS)), frames - 1)
        self.path_player.start(time.monotonic(), frame, frames, PATH_FPS, loop=False)
        self.worker.wake()

    def screenshot(self) -> None:
        """Write the current view as a PNG, tagged as synthetic; told when it is there."""
        state = self.store.state

        def job() -> None:
            image = self.painter.draw(state, self.worker.quality.at_rest, self.worker.go_on)
            file = self._new_file("screenshot", ".png")
            self._wrote(write_png(file, image, synthetic=True, source=self.painter.source_of(state)))

        self.worker.post(job)

    def record(self) -> None:
        """Write an mp4, tagged as synthetic: the path between two keyframes or more, else the performance as seen now.

        Told when it is there. Raises InputError where neither is there, or the performance is a live driver's, and as
        `require_signing`.
        """
        require_signing()
        state = self.store.state
        if len(self.timeline) > 1:
            # as wide as the page is now: a video's frames are of one size
            kept = {name: getattr(state, name) for name in ("aspect", "background", "mesh", "silhouette")}
            states, fps = [replace(frame, **kept) for frame in self.timeline.frames()], PATH_FPS
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
            file, source = self._new_file("video", ".mp4"), self.painter.source_of(states[0])
            self._wrote(write_video(file, images(), fps, synthetic=True, source=source))
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
        return self.painter.draw(state, height, between)

    def _show(self, state: ViewState, image: np.ndarray, full: bool) -> None:
        self.shown(state.page, image, full)
        if state.page == self.store.state.page:
            self.followed(state, image)

    def _failed(self, error: Exception) -> None:
        self.told(str(error) if isinstance(error, AvatarError) else f"internal error: {error!r}", True)

    def _tick(self, now: float) -> float | None:
        """Play on, and look for a newer checkpoint."""
        frame, wait = self.player.at(now)
        if frame is not None and frame != self.store.state.frame:
            self.store.update(frame=frame)
            self.frame_changed(frame)
        waits = [LOOK_EVERY, wait, self._play_path_on(now)]
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._follow()
        return min(wait for wait in waits if wait is not None)

    def _play_path_on(self, now: float) -> float | None:
        frame, wait = self.path_player.at(now)
        if frame is not None:
            moment = min(self.timeline.begin + frame / PATH_FPS, self.timeline.end)
            self.show_path(moment)
            self.path_time_changed(moment)
            if not self.path_player.is_playing:
                self.path_ended()
        return wait

    def _follow(self) -> None:
        """Take the newest checkpoint where a training has written one. It is read in a thread of its own, so that what
        is there can be moved meanwhile."""
        try:
            newest = checkpoint_path(self.run)
            stamp = _stamp(newest)
        except (AvatarError, OSError):
            return  # a training replaces it at this moment, or somebody has removed it: what is shown stays
        if stamp == self._seen or self._loading.is_busy:
            return
        self._seen = stamp  # before it is read: a damaged one is complained of once

        def load() -> None:
            avatar = load_avatar(self.run)
            self.worker.post(lambda: self._take(avatar, newest))

        self._loading.start(load, self._failed)

    def _take(self, avatar: Avatar, checkpoint: Path) -> None:
        painter = Painter(avatar, own_fps(self.run), self.painter.drivers)
        self.painter, self._checkpoint = painter, checkpoint
        self.told(f"showing the training's step {self.trained_steps}", False)
        self.store.refresh()


def needs_tracking(path: Path) -> bool:
    """Whether a driver is a video, which has to be tracked."""
    return path.suffix.lower() in VIDEOS


def _stamp(checkpoint: Path) -> tuple[str, int, int]:
    """Tells a checkpoint's file from another that takes its place."""
    found = checkpoint.stat()
    return checkpoint.name, found.st_mtime_ns, found.st_size


def own_fps(run: Path) -> float:
    """Frames per second of the clip that a run was trained on."""
    try:
        return float(read_capture_reference(run).get("fps", DEFAULT_FPS))
    except (AvatarError, TypeError, ValueError):
        return DEFAULT_FPS
