"""The controls beside the picture, in four tabs: Render, Expression, Drive, Record; before them Live where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from avatar.animation.expressions import known_names
from avatar.animation.sliders import Slider, preset_amounts, slider_groups
from avatar.base.errors import AvatarError
from avatar.viewer.live_tab import LiveTab
from avatar.viewer.session import Session
from avatar.viewer.state import AT_REST, LIVE, OWN_CLIP, SCENE

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
        self._performances = (AT_REST, OWN_CLIP) if stage is None else (LIVE, AT_REST, OWN_CLIP)
        self._sliders: dict[str, Any] = {}
        self._head: list[Any] = []
        gui = server.gui
        gui.set_panel_label("avatar")
        tabs = gui.add_tab_group()
        if stage is not None:
            with tabs.add_tab("Live"):
                LiveTab(server, stage, lambda: self._perform(LIVE))
        with tabs.add_tab("Render"):
            self._render_tab()
        with tabs.add_tab("Expression"):
            self._expression_tab()
        with tabs.add_tab("Drive"):
            self._drive_tab()
        with tabs.add_tab("Record"):
            self._record_tab()
        session.frame_changed = self._show_frame
        session.progressed = self._show_progress

    # Render

    def _render_tab(self) -> None:
        gui, session = self.server.gui, self.session
        last = max(1, session.frames() - 1)
        self._frame = gui.add_slider("Frame", 0, last, 1, 0, hint="Of the clip, or of what is chosen under Drive")
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
        self._performance.value = self.session.store.state.performance

    def _show_frame(self, frame: int) -> None:
        self._frame.value = frame

    def _set_fov(self, degrees: float) -> None:
        for client in self.server.get_clients().values():
            client.camera.fov = math.radians(degrees)
        self.session.store.update(fov=math.radians(degrees))

    def _reset_camera(self) -> None:
        first, session = self.session.first, self.session
        for client in self.server.get_clients().values():
            with client.atomic():
                client.camera.up_direction = -first.world_from_cam[:3, 1]
                client.camera.position = first.world_from_cam[:3, 3]
                client.camera.look_at = session.look_at
                client.camera.fov = first.fov
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

    # Drive

    def _drive_tab(self) -> None:
        gui, session = self.server.gui, self.session
        self._performance: Any = gui.add_dropdown(
            "Performance", self._performances, initial_value=self._performances[0]
        )
        self._on(self._performance, self._perform)
        self._source = gui.add_text("Other clip", "", hint="Capture or run folder, or .npz, on the viewer's machine")
        self._press("Open", self._open_source)
        self._loop = gui.add_checkbox("Loop", True)
        self._press("Play", self._play)
        self._press("Pause", session.pause)

    def _perform(self, name: str) -> None:
        self.session.perform(name)
        self._fit_frames()

    def _fit_frames(self) -> None:
        state = self.session.store.state
        self._frame.max = max(1, self.session.frames() - 1)
        self._frame.value = min(state.frame, self._frame.max)
        self._performance.value = state.performance

    def _open_source(self) -> None:
        name = self.session.load_performance(self._source.value)
        if name not in self._performance.options:
            self._performance.options = (*self._performance.options, name)
        self._performance.value = name
        self._perform(name)

    def _play(self) -> None:
        self.session.play(self._loop.value)
        self._fit_frames()

    # Record

    def _record_tab(self) -> None:
        gui, session = self.server.gui, self.session
        self._count = gui.add_text("Keyframes", "0", disabled=True)
        self._press("Add keyframe", lambda: self._show_count(session.add_keyframe()))
        self._press("Remove last keyframe", lambda: self._show_count(session.drop_keyframe()))
        self._seconds = gui.add_slider("Seconds between", 0.2, 10.0, 0.1, session.seconds)
        self._on(self._seconds, lambda value: setattr(session, "seconds", value))
        self._press("Save path", lambda: self.tell(f"wrote {session.save_path()}"))
        self._path = gui.add_text("Path file", "path_001.json", hint=f"In {session.run}/view")
        self._press("Open path", self._open_path)
        self._press("Screenshot", session.screenshot)
        self._press("Record video", session.record)
        self._progress = gui.add_progress_bar(0.0, visible=False)
        self._press("Stop recording", session.cancel)

    def _show_count(self, count: int) -> None:
        self._count.value = str(count)

    def _open_path(self) -> None:
        self._show_count(self.session.open_path(self._path.value))
        first = self.session.keyframes[0]
        self._seconds.value = min(max(self.session.seconds, self._seconds.min), self._seconds.max)
        self._show_sliders()
        self._fit_frames()
        for client in self.server.get_clients().values():
            client.camera.wxyz = quaternion_of(first.world_from_cam)
            client.camera.position = first.world_from_cam[:3, 3]
            client.camera.fov = first.fov
        self.session.store.update(world_from_cam=first.world_from_cam, fov=first.fov)

    def _show_progress(self, share: float) -> None:
        self._progress.visible = share < 1
        self._progress.value = 100 * share

    # what all tabs use

    def tell(self, text: str, bad: bool = False) -> None:
        """Show people a message in every open page."""
        title, colour = ("This did not work", "red") if bad else ("avatar", "green")
        for client in self.server.get_clients().values():
            client.add_notification(title, text, color=colour, auto_close_seconds=15.0 if bad else 6.0)

    def _on(self, handle: Any, act: Callable[[Any], object]) -> None:
        """Have `act` take a control's value where a person changes it; what the program sets itself is left alone.

        On the server's event loop, so that the values of a drag arrive in order.
        """

        async def changed(event: Any) -> None:
            if event.client is not None:
                self._try(lambda: act(event.target.value))

        handle.on_update(changed)

    def _press(self, label: str, act: Callable[[], object]) -> None:
        """A button. What it does runs in a thread of viser's: reading a driver takes a while."""
        self.server.gui.add_button(label).on_click(lambda event: self._try(act))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (AvatarError, OSError) as error:
            self.tell(str(error), bad=True)


def quaternion_of(world_from_cam: Any) -> Any:
    """The rotation of a pose `[4, 4]` as viser's quaternion `[4]` (w x y z)."""
    from viser.transforms import SO3

    return SO3.from_matrix(world_from_cam[:3, :3]).wxyz
