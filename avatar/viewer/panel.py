"""The controls beside the picture, in four tabs: Render, Expression, Drive, Record; before them Live where it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from avatar.animation.expressions import known_names
from avatar.animation.path_faces import AT_REST, OWN_CLIP
from avatar.animation.sliders import Slider, preset_amounts, slider_groups
from avatar.viewer.controls import Controls
from avatar.viewer.drive_tab import DriveTab
from avatar.viewer.live_tab import LiveTab
from avatar.viewer.record_tab import RecordTab
from avatar.viewer.session import Session
from avatar.viewer.state import LIVE, SCENE

if TYPE_CHECKING:
    from viser import ViserServer

    from avatar.viewer.live import LiveStage

PRESET_NAMES = {
    "smile": "Smile",
    "open_mouth": "Open mouth",
    "surprise": "Surprise",
    "frown": "Frown",
    "anger": "Anger",
    "disgust": "Disgust",
    "blink": "Blink",
    "wink": "Wink",
    "kiss": "Kiss",
    "laugh": "Laugh",
}
COLOUR, BLUR = "colour", "blur"
OPEN_REGIONS = ("Jaw", "Mouth")
"""Regions whose sliders are shown at first."""
HEAD_TURNS = {"Turn": "Degrees to the person's left", "Nod": "Degrees down", "Tilt": "Degrees"}
HEAD_SHIFTS = {"Sideways": "Centimetres to the person's left", "Up": "Centimetres", "Forward": "Centimetres"}
MOST_TURN, MOST_SHIFT = 30.0, 5.0
"""Degrees and centimetres to each side of the sliders for the head's pose."""
FOVS = (5.0, 90.0)
"""Degrees."""


class Panel:
    """Builds the controls once, for all pages; what they do is the session's."""

    def __init__(self, server: ViserServer, session: Session, stage: LiveStage | None = None) -> None:
        """stage: of a live driver, which has a tab of its own, the first."""
        self.server, self.session = server, session
        self._controls = controls = Controls(server, session)
        self.tell = controls.tell
        self._on, self._press = controls.on, controls.press
        performances = (AT_REST, OWN_CLIP) if stage is None else (LIVE, AT_REST, OWN_CLIP)
        self._sliders: dict[str, Any] = {}
        self._head: list[Any] = []
        gui = server.gui
        gui.set_panel_label("avatar")
        tabs = gui.add_tab_group()
        if stage is not None:
            with tabs.add_tab("Live"):
                LiveTab(server, stage, lambda: self._drive.perform(LIVE))
        with tabs.add_tab("Render"):
            self._render_tab()
        with tabs.add_tab("Expression"):
            self._expression_tab()
        with tabs.add_tab("Drive"):
            self._drive = DriveTab(controls, self._fit_frames, performances)
        with tabs.add_tab("Record"):
            self._record = RecordTab(controls, self._show_state)
        session.frame_changed = self._show_frame
        self._keys()

    def close(self) -> None:
        self._drive.close()

    def _keys(self) -> None:
        """The keys: letters that viser does not take for the camera (W A S D Q E and the arrows), and none that a
        focused button or slider takes (space, home, end)."""
        key = self._controls.key
        key("Play or pause the performance", self._drive.play_or_pause, "L")
        key("Next frame", lambda: self._step(1), "N")
        key("Frame before", lambda: self._step(-1), "B")
        key("Ten frames on", lambda: self._step(10), "N", "shift")
        key("Ten frames back", lambda: self._step(-10), "B", "shift")
        key("First frame", self._rewind, "0")
        key("Back to the filmed view", self._reset_camera, "F")
        key("Reset the expression", self._reset_expression, "R")
        key("Add keyframe", self._record.add, "K")
        key("Play or stop the path", self._record.play_or_stop, "P")

    # Render

    def _render_tab(self) -> None:
        gui, session = self.server.gui, self.session
        last = max(1, session.frames() - 1)
        hint = "Of the clip, or of what is chosen under Drive. Keys: N and B, with shift by ten; 0"
        self._frame = gui.add_slider("Frame", 0, last, 1, 0, hint=hint)
        self._on(self._frame, self._choose_frame)
        fov = min(max(math.degrees(session.first.fov), FOVS[0]), FOVS[1])
        self._fov = gui.add_slider("Field of view", *FOVS, 0.5, round(fov, 1), hint="Vertical, degrees")
        self._on(self._fov, self._set_fov)
        self._press("Back to the filmed view", self._reset_camera)
        self._background = gui.add_dropdown("Background", (SCENE, BLUR, COLOUR), initial_value=SCENE)
        self._colour = gui.add_rgb("Colour", (255, 255, 255), visible=False)
        self._on(self._background, lambda value: self._set_background())
        self._on(self._colour, lambda value: self._set_background())
        self._on(gui.add_checkbox("Mesh", False), lambda value: session.store.update(mesh=value))
        self._on(gui.add_checkbox("Silhouette", False), lambda value: session.store.update(silhouette=value))

    def _choose_frame(self, frame: int) -> None:
        self.session.show_frame(frame)
        self._drive.show()

    def _step(self, frames: int) -> None:
        self.session.step(frames)
        self._drive.show()

    def _rewind(self) -> None:
        self._choose_frame(0)
        self._show_frame(0)

    def _show_frame(self, frame: int) -> None:
        self._frame.value = frame

    def _fit_frames(self) -> None:
        """Make the frame slider as long as the performance."""
        self._frame.max = max(1, self.session.frames() - 1)
        self._frame.value = min(self.session.store.state.frame, self._frame.max)

    def _set_fov(self, degrees: float) -> None:
        self.session.store.update(fov=math.radians(degrees))
        self._controls.place_camera()

    def _reset_camera(self) -> None:
        first, session = self.session.first, self.session
        page = self._controls.page
        session.pause()
        if page is not None:
            with page.atomic():
                page.camera.up_direction = -first.world_from_cam[:3, 1]
                page.camera.position = first.world_from_cam[:3, 3]
                page.camera.look_at = session.look_at
                page.camera.fov = first.fov
        self._fov.value = round(math.degrees(first.fov), 1)
        session.store.update(world_from_cam=first.world_from_cam, fov=first.fov)

    def _set_background(self) -> None:
        choice = self._background.value
        self._colour.visible = choice == COLOUR
        colour = "#{:02x}{:02x}{:02x}".format(*self._colour.value)
        self.session.store.update(background=colour if choice == COLOUR else choice)

    # Expression

    def _expression_tab(self) -> None:
        gui, asset = self.server.gui, self.session.painter.avatar.asset
        usable = {PRESET_NAMES[name]: name for name in PRESET_NAMES if name in known_names(asset)}
        if usable:
            self._presets = gui.add_dropdown("Preset", ("none", *usable), initial_value="none")
            self._on(self._presets, lambda label: self._take_preset(usable.get(label)))
        self._press("Reset", self._reset_expression)
        for region, sliders in slider_groups(asset).items():
            with gui.add_folder(region, expand_by_default=region in OPEN_REGIONS):
                for slider in sliders:
                    self._expression_slider(slider)
        with gui.add_folder("Head", expand_by_default=False):
            for label, hint in HEAD_TURNS.items():
                self._head.append(gui.add_slider(label, -MOST_TURN, MOST_TURN, 0.5, 0.0, hint=hint))
            for label, hint in HEAD_SHIFTS.items():
                self._head.append(gui.add_slider(label, -MOST_SHIFT, MOST_SHIFT, 0.1, 0.0, hint=hint))
            for slider in self._head:
                self._on(slider, lambda value: self._set_head())

    def _expression_slider(self, slider: Slider) -> None:
        handle = self.server.gui.add_slider(slider.label, slider.low, slider.high, 0.01, 0.0, hint=slider.name)
        self._sliders[slider.name] = handle
        self._on(handle, lambda value: self.session.store.set_amount(slider.name, value))

    def _set_head(self) -> None:
        turn = tuple(math.radians(slider.value) for slider in self._head[:3])
        shift = tuple(slider.value / 100 for slider in self._head[3:])
        self.session.store.update(turn=turn, shift=shift)

    def _take_preset(self, name: str | None) -> None:
        asset = self.session.painter.avatar.asset
        self._set_sliders(preset_amounts(name, asset.expression_names) if name else {})

    def _reset_expression(self) -> None:
        self._set_sliders({})
        for slider in self._head:
            slider.value = 0.0
        self._set_head()
        if hasattr(self, "_presets"):
            self._presets.value = "none"

    def _set_sliders(self, amounts: dict[str, float]) -> None:
        """Set the sliders and the state to these amounts, all others to nothing."""
        self.session.store.update(amounts=amounts)
        self._show_sliders()

    def _show_sliders(self) -> None:
        """Move the sliders to the state's expression and head."""
        state = self.session.store.state
        for name, slider in self._sliders.items():
            slider.value = min(max(state.amounts.get(name, 0.0), slider.min), slider.max)
        values = [*(math.degrees(angle) for angle in state.turn), *(100 * part for part in state.shift)]
        for slider, value in zip(self._head, values, strict=True):
            slider.value = min(max(value, slider.min), slider.max)

    def _show_state(self) -> None:
        """Move the controls to what is shown."""
        self._show_sliders()
        self._drive.show()
        self._fit_frames()
        self._fov.value = round(min(max(math.degrees(self.session.store.state.fov), FOVS[0]), FOVS[1]), 1)
