"""A live performance from end to end: tracker, avatar, page, recording, virtual camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avatar.animation.options import Retarget
from avatar.animation.transfer import parse_gains
from avatar.app.live_process import OpenedSource, TrackerProcess
from avatar.base.errors import AvatarError, InputError
from avatar.base.limits import RENDER_SIZE, require_rotate
from avatar.base.progress import Progress
from avatar.base.provenance import Source
from avatar.data.checkpoint import load_avatar
from avatar.data.checkpoint_files import checkpoints_in_order
from avatar.data.folders import run_at
from avatar.media.manifest import require_signing
from avatar.media.recording import Recorder
from avatar.media.virtual_camera import VirtualCamera, require_virtual_camera
from avatar.viewer.delays import LiveFigures, figure_status
from avatar.viewer.live import LiveStage
from avatar.viewer.quality import Quality
from avatar.viewer.session import Session
from avatar.viewer.state import LiveFrame
from avatar.viewer.viewer import Viewer

LOOK_EVERY = 0.25
"""Seconds between two looks at how the performance goes."""
KNOWING = "getting to know the driver's face"


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
    if options.out is not None:
        require_signing()
    with ExitStack() as stack:
        tracker = TrackerProcess(options.source, options.rotate)
        stack.callback(tracker.close)
        source = tracker.open()
        stage = _stage_in_view(run, tracker, options, tell, stack) if options.view else None
        stage = stage or _stage_alone(run, tracker, options, tell, stack)
        stage.say(KNOWING)
        tracker.prepare(stage.session.painter.avatar, options.settings)
        outputs = _Outputs(stage, source, options)
        stack.callback(outputs.close)
        with suppress(KeyboardInterrupt):
            try:
                tell("Ctrl-C ends the performance")
                _wait(stage, source, outputs)
            finally:
                stage.close()
        failure, recorded = stage.failure, None
        try:
            recorded = outputs.close()
        except (AvatarError, OSError) as error:
            failure = failure or error
    written = stage.session.written
    return LiveOutcome(stage.delays.whole(), recorded, written, stage.behind, stage.unused, failure)


def _stage_in_view(
    run: Path, tracker: TrackerProcess, options: LiveOptions, tell: Callable[[str], None], stack: ExitStack
) -> LiveStage:
    """The stage of an open page; `stack` closes it."""
    viewer = Viewer(
        run,
        host=options.host,
        port=options.port,
        quality=_quality(options),
        live=lambda session: LiveStage(session, tracker),
    )
    stack.callback(viewer.close)
    viewer.left = lambda: tell(f"the page was closed; the performance goes on: {viewer.url}")
    tell(f"open {viewer.url}")
    viewer.load()
    assert viewer.stage is not None
    return viewer.stage


def _stage_alone(
    run: Path, tracker: TrackerProcess, options: LiveOptions, tell: Callable[[str], None], stack: ExitStack
) -> LiveStage:
    """The stage without a page, in the captured view; `stack` closes it."""
    session = Session(run, load_avatar(run), _quality(options))
    stack.callback(session.close)
    camera = session.painter.avatar.camera
    session.store.update(aspect=camera.width / camera.height)
    session.told = _once(tell)
    session.start()
    return LiveStage(session, tracker)


class _Outputs:
    """Where the avatar's pictures go besides the page."""

    def __init__(self, stage: LiveStage, source: OpenedSource, options: LiveOptions) -> None:
        self.stage, self.recorded, self._begun = stage, None, False
        camera = stage.session.painter.avatar.camera
        size = camera.width, camera.height
        if options.size is not None:
            size = max(2, round(camera.width * options.size / camera.height)), options.size
        self.camera = VirtualCamera(size, source.fps) if options.virtual_camera else None
        audio = Path(options.source) if source.audio else None
        self.recorder = None
        if options.out is not None:
            # the page may change the background at any time
            pure = audio is None and stage.session.painter.avatar.shows_room
            made = Source.RENDERED if pure else Source.MIXED
            self.recorder = Recorder(options.out, source.fps, size, audio_from=audio, source=made)
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


def _wait(stage: LiveStage, source: OpenedSource, outputs: _Outputs) -> None:
    """Start, and wait for the end."""
    with Progress("live", source.frames, "picture") as bar:
        stage.start()
        while not stage.ended.wait(LOOK_EVERY):
            if outputs.failure is not None:
                stage.fail(outputs.failure)
            figures = stage.delays.recent(time.monotonic())
            bar.update(stage.delays.whole().tracked, stage.note or figure_status(figures))
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
