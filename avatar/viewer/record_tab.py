"""The tab Record: keyframes on a timeline, their path, pictures and videos."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from avatar.base.errors import InputError
from avatar.viewer.controls import Controls
from avatar.viewer.timeline import SHORTEST, Timeline

SPACING = 2.0
"""Seconds after the last keyframe at which the next one stands, where no other time is chosen."""
ROOM = 10.0
"""Seconds that the sliders reach beyond the last keyframe."""
NONE = "none"


class RecordTab:
    """Edits the session's timeline, and records."""

    def __init__(self, controls: Controls, changed: Callable[[], None]) -> None:
        """changed: called when another expression or performance is shown."""
        self.controls, self.session, self._changed = controls, controls.session, changed
        gui, session = controls.server.gui, controls.session
        self._time = gui.add_slider("Time", 0.0, ROOM, SHORTEST, 0.0, hint="Second of the path that is shown")
        controls.on(self._time, self._scrub)
        self._keyframes: Any = gui.add_dropdown("Keyframe", (NONE,), initial_value=NONE)
        controls.on(self._keyframes, lambda label: self._select(self._chosen))
        self._moment = gui.add_number("At second", 0.0, min=0.0, step=SHORTEST, hint="When the chosen keyframe stands")
        controls.on(self._moment, self._move)
        controls.press("Add keyframe", self.add, hint="This view at the chosen time. Key: K")
        controls.press("Set keyframe to this view", self._set)
        controls.press("Delete keyframe", self._delete)
        controls.press("Play / stop path", self.play_or_stop, hint="Key: P")
        with gui.add_folder("Path files", expand_by_default=False):
            controls.press("Save path", self._save, hint=f"Into {session.run}/view, as avatar render --path takes it")
            saved = session.saved_paths()
            self._saved: Any = gui.add_dropdown("Saved", saved or (NONE,), initial_value=(saved or (NONE,))[-1])
            controls.press("Open path", self._open)
        controls.press("Screenshot", session.screenshot)
        controls.press("Record video", session.record, hint="Of the path; without one, of the performance")
        self._progress = gui.add_progress_bar(0.0, visible=False)
        self._stop = controls.press("Stop recording", session.cancel, visible=False)
        session.progressed = self._show_progress
        session.path_time_changed = self._show_time
        session.path_ended = self._ended

    @property
    def _chosen(self) -> int:
        """Index of the keyframe in the list. Raises InputError where there is none."""
        if not len(self.session.timeline):
            raise InputError("there is no keyframe yet", fix="add one where the view is as it should be")
        return list(self._keyframes.options).index(self._keyframes.value)

    def add(self) -> None:
        """A keyframe of the present view at the chosen time, or after the last one where one stands there."""
        timeline, time = self.session.timeline, float(self._time.value)
        if any(abs(time - other) < SHORTEST - 1e-9 for other in timeline.times):
            time = timeline.end + SPACING
        self._take(timeline.added(self.session.store.state, time), time)

    def play_or_stop(self) -> None:
        if self.session.path_player.is_playing:
            self.session.pause()
            self._ended()
        else:
            self.session.play_path(float(self._time.value))

    def _set(self) -> None:
        time = self.session.timeline.times[self._chosen]
        self._take(self.session.timeline.changed(self._chosen, self.session.store.state), time)

    def _move(self, time: float) -> None:
        self._take(self.session.timeline.moved(self._chosen, float(time)), float(time))

    def _delete(self) -> None:
        timeline = self.session.timeline.removed(self._chosen)
        self._take(timeline, timeline.times[min(self._chosen, len(timeline) - 1)] if len(timeline) else 0.0)

    def _select(self, index: int) -> None:
        keyframe = self.session.timeline.keyframes[index]
        self._show_time(keyframe.time)
        self._moment.value = round(keyframe.time, 2)
        self.session.show_keyframe(keyframe.state)
        self._placed()

    def _scrub(self, time: float) -> None:
        self.session.pause()
        if len(self.session.timeline):
            self.session.show_path(float(time))
            self._placed()

    def _take(self, timeline: Timeline, chosen: float) -> None:
        """Take a timeline, and show it and the keyframe at a time of it."""
        labels = tuple(f"{number}: {time:.2f} s" for number, time in enumerate(timeline.times, 1)) or (NONE,)
        self._time.max = float(max(ROOM, math.ceil(timeline.end) + ROOM))
        self._keyframes.options = labels
        if len(timeline):
            index = min(range(len(timeline)), key=lambda place: abs(timeline.times[place] - chosen))
            self._keyframes.value = labels[index]
            self._moment.value = round(timeline.times[index], 2)
            self._show_time(timeline.times[index])
        self.session.timeline = timeline

    def _save(self) -> None:
        path = self.session.save_path()
        self._saved.options = self.session.saved_paths()
        self._saved.value = path.name
        self.controls.tell(f"wrote {path}")

    def _open(self) -> None:
        if self._saved.value == NONE:
            raise InputError("no path was saved yet", fix="add keyframes, then Save path")
        self.session.open_path(self._saved.value)
        self._take(self.session.timeline, self.session.timeline.begin)
        self._placed()

    def _placed(self) -> None:
        self.controls.place_camera()
        self._changed()

    def _ended(self) -> None:
        self._placed()

    def _show_time(self, time: float) -> None:
        self._time.value = round(time / SHORTEST) * SHORTEST

    def _show_progress(self, share: float) -> None:
        self._progress.value = 100 * share
        self._progress.visible = self._stop.visible = share < 1
