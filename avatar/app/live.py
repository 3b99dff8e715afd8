"""A live performance from end to end: source, tracker, avatar, page, recording, virtual camera.

The tracker comes from the capture tools and is handed to the viewer as a function.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avatar.animation.live_transfer import LiveTransfer
from avatar.animation.transfer import Retarget, parse_gains
from avatar.base.errors import AvatarError, InputError
from avatar.base.limits import RENDER_SIZE
from avatar.base.progress import Progress
from avatar.data.checkpoint import load_avatar
from avatar.data.checkpoint_files import checkpoints_in_order
from avatar.data.folders import run_at
from avatar.flame.model import HeadParameters
from avatar.media.live_sources import CameraSource, FileSource, LivePicture, LiveSource, camera_number
from avatar.media.recording import Recorder
from avatar.media.video import read_video
from avatar.media.virtual_camera import VirtualCamera, require_virtual_camera
from avatar.viewer.delays import LiveFigures, figure_status
from avatar.viewer.live import LiveStage
from avatar.viewer.quality import Quality
from avatar.viewer.session import Session
from avatar.viewer.state import LiveFrame
from avatar.viewer.viewer import Viewer
from capture_tools.detect.checks import CUT, STEP_BACK
from capture_tools.detect.selection import select_frames
from capture_tools.detect.turning import chosen_rotation, require_rotate
from capture_tools.driver import WHOLE
from capture_tools.live_driver import LiveDriver

NO_FACE = "no face was found in the driver"
LOOK_EVERY = 0.25
"""Seconds between two looks at how the performance goes."""
NEUTRAL_SECONDS = 1.0
"""Seconds of the driver that are kept, for a new neutral face."""


@dataclass(frozen=True)
class LiveOptions:
    """What can be chosen for a live performance; see `avatar live --help`."""

    source: str
    out: Path | None = None
    settings: Retarget = field(default_factory=Retarget)
    rotate: str | int = "auto"
    size: int | None = None
    view: bool = True
    host: str = "127.0.0.1"
    port: int = 8080
    virtual_camera: bool = False


@dataclass(frozen=True)
class LiveOutcome:
    """What became of a performance."""

    figures: LiveFigures
    recorded: Path | None
    written: list[Path]
    """What people had the page write."""
    behind: float
    """Seconds by which a file ran slower than its own rate."""
    unused: int
    """Pictures that went by before the driver was known."""
    failure: Exception | None
    """Why it ended early, where something failed after the beginning."""


class Performer:
    """Follows a driver and puts what it does on an avatar: `LiveStage` calls it with each picture."""

    def __init__(self, driver: LiveDriver, transfer: LiveTransfer, fps: float) -> None:
        self.driver, self.transfer = driver, transfer
        self.note = ""
        self._recent: deque[HeadParameters] = deque(maxlen=max(1, round(NEUTRAL_SECONDS * fps)))
        self._renew = threading.Event()

    def __call__(self, picture: LivePicture) -> HeadParameters | None:
        if not self.driver.calibrated:
            self._watch(picture)
            return None
        if self._renew.is_set() and self._recent:
            self._renew.clear()
            self.transfer.calibrate(HeadParameters.concatenate(list(self._recent)))
        params, seen = self.driver.follow(picture.time, picture.image)
        self.note = "" if seen else self._no_face()
        if seen:
            self._recent.append(params)
        return self.transfer(params)

    def prepare(self, frames: Iterable[tuple[float, np.ndarray]], where: Path) -> None:
        """Calibrate on the first second of a face in a file's frames (time in seconds, uint8 `[H, W, 3]`), or on what
        there is.

        Raises InputError where no frame shows a face.
        """
        self.note = "getting to know the driver's face"
        for seconds, image in frames:
            if self.driver.watch(seconds, image):
                break
        if not self._calibrate():
            what, fix = (f"{CUT} in the whole driver", STEP_BACK) if self.driver.cut else (NO_FACE, WHOLE)
            raise InputError(what, where=where, expected="one whole face", fix=fix)
        self.note = ""

    def renew(self) -> None:
        self._renew.set()

    def _watch(self, picture: LivePicture) -> None:
        before = self.driver.seconds_watched
        if self.driver.watch(picture.time, picture.image):
            self.note = "getting to know your face: some seconds"
            self._calibrate()
        elif self.driver.seconds_watched > before:
            self.note = f"look at the camera with a relaxed face: {self.driver.seconds_watched:.1f} s"
        else:
            self.note = self._no_face()

    def _calibrate(self) -> bool:
        watched = self.driver.calibrate()
        if watched is not None:
            self.transfer.calibrate(watched)
        return watched is not None

    def _no_face(self) -> str:
        return f"the face is cut by the picture's edge: {STEP_BACK}" if self.driver.cut else "no face is seen"


def perform_live(run: Path, options: LiveOptions, tell: Callable[[str], None]) -> LiveOutcome:
    """Run a live performance until its source ends, something fails, or it is interrupted (Ctrl-C).

    tell: takes lines for people. What was recorded is written in each of these cases. Raises, before the avatar moves,
    RunError, InputError, ConfigError or MissingDependencyError for a run, a source, a number, a port or a virtual
    camera that cannot be used, and InputError for a file without a face.
    """
    run = run_at(run)
    checkpoints_in_order(run)  # what can be told at once is told before anything is loaded
    RENDER_SIZE.require("--size", options.size)
    parse_gains(options.settings.gain)
    require_rotate(options.rotate)
    if options.virtual_camera:
        require_virtual_camera()
    with ExitStack() as stack:
        source = open_source(options.source, options.rotate)
        stack.callback(source.close)
        if not options.view:
            session = Session(run, load_avatar(run), _quality(options))
            camera = session.painter.avatar.camera
            session.store.update(aspect=camera.width / camera.height)
            stage = _stage(session, source, options)
            session.told = _once(tell)
            session.start()
            stack.callback(session.close)
        else:
            viewer = Viewer(
                run,
                host=options.host,
                port=options.port,
                quality=_quality(options),
                live=lambda session: _stage(session, source, options),
            )
            stack.callback(viewer.close)
            assert viewer.stage is not None
            session, stage = viewer.session, viewer.stage
            viewer.left = lambda: tell(f"the page was closed; the performance goes on: {viewer.url}")
            tell(f"open {viewer.url}")
        width, height = session.painter.avatar.camera.width, session.painter.avatar.camera.height
        if options.size is not None:
            width, height = max(2, round(width * options.size / height)), options.size
        outputs = _Outputs(stage, source, options, (width, height))
        stack.callback(outputs.close)
        with suppress(KeyboardInterrupt):
            try:
                tell("Ctrl-C ends the performance")
                _wait(stage, source, outputs)
            finally:
                stage.close()
        failure = stage.failure
        try:
            recorded = outputs.close()
        except (AvatarError, OSError) as error:
            failure, recorded = failure or error, None
    behind = source.behind if isinstance(source, FileSource) else 0.0
    return LiveOutcome(stage.delays.whole(), recorded, session.written, behind, stage.unused, failure)


class _Outputs:
    """Where the avatar's pictures go besides the page."""

    def __init__(self, stage: LiveStage, source: LiveSource, options: LiveOptions, size: tuple[int, int]) -> None:
        self.stage, self.recorded, self._begun = stage, None, False
        self.camera = VirtualCamera(size, source.fps) if options.virtual_camera else None
        audio = source.path if isinstance(source, FileSource) and source.has_audio else None
        self.recorder = None
        if options.out is not None:
            self.recorder = Recorder(options.out, source.fps, size, audio_from=audio)
        stage.showed = self._show

    @property
    def failure(self) -> Exception | None:
        return None if self.recorder is None else self.recorder.failure

    def close(self) -> Path | None:
        """Finish the recording and return its file, None without one. Raises OutputError where it could not be written.

        Further calls do nothing.
        """
        self.stage.showed = lambda frame, image: None
        recorder, camera = self.recorder, self.camera
        self.recorder = self.camera = None
        if camera is not None:
            camera.close()
        if recorder is not None:
            self.recorded = recorder.close()
        return self.recorded

    def _show(self, frame: LiveFrame, image: np.ndarray) -> None:
        recorder, camera = self.recorder, self.camera
        if recorder is not None:
            # the recording begins with the performance, however long its first picture took
            recorder.show(frame.time if self._begun else self.stage.first_time, image)
            self._begun = True
        if camera is not None:
            try:
                camera.show(image)
            except Exception as error:  # another program may have taken the device away
                self.stage.fail(InputError("the virtual camera takes no pictures any more", found=error))


def _stage(session: Session, source: LiveSource, options: LiveOptions) -> LiveStage:
    avatar = session.painter.avatar
    transfer = LiveTransfer(avatar.parameters, avatar.asset, options.settings)
    return LiveStage(session, source, Performer(LiveDriver(avatar.asset, *source.size), transfer, source.fps))


def _wait(stage: LiveStage, source: LiveSource, outputs: _Outputs) -> None:
    """Calibrate on a file, which waits for it as a person would, start, and wait for the end."""
    perform = stage.perform
    total = None
    if isinstance(source, FileSource):
        assert isinstance(perform, Performer)
        stage.status_changed(perform.note)
        perform.prepare(read_video(source.path, rotate=source.rotate), source.path)
        total = source.frames
    with Progress("live", total, "picture") as bar:
        stage.start()
        while not stage.ended.wait(LOOK_EVERY):
            if outputs.failure is not None:
                stage.fail(outputs.failure)
            figures = stage.delays.recent(time.monotonic())
            bar.update(stage.delays.whole().tracked, perform.note or figure_status(figures))
        bar.update(stage.delays.whole().tracked)


def _quality(options: LiveOptions) -> Quality | None:
    return None if options.size is None else Quality(options.size, steady=True)


def _once(tell: Callable[[str], None]) -> Callable[[str, bool], None]:
    """A session's `told` for a terminal: what failed, the same thing once."""
    said: set[str] = set()

    def told(text: str, bad: bool) -> None:
        if bad and text not in said:
            said.add(text)
            tell(text)

    return told


def open_source(text: str, rotate: str | int) -> LiveSource:
    """The camera or file that a source means. Raises InputError where it cannot be used."""
    number = camera_number(text)
    if number is not None:
        return CameraSource(number, rotate=0 if rotate == "auto" else int(rotate))
    path = Path(text)
    _, selection = select_frames(path, max_frames=None)
    return FileSource(path, rotate=chosen_rotation(path, selection, rotate))
