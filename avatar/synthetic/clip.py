"""Synthetic clips with ground truth: a textured head model talks and moves in front of a static or moving camera.

Frames are ray-cast and shaded on a CPU from the same head model that tracking fits, so that each comes with its exact
camera, FLAME parameters, mask and landmarks. Tracking results on them flatter the tracker: its model is the true one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from avatar.base.errors import InputError
from avatar.base.limits import require_synthetic
from avatar.base.provenance import Source
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.runtime.threads import one_torch_thread
from avatar.synthetic import shading
from avatar.synthetic.camera import carried_path, swaying_path
from avatar.synthetic.held_out import FOLDER as HELD_OUT
from avatar.synthetic.held_out import write_held_out
from avatar.synthetic.looks import make_looks
from avatar.synthetic.motion import make_motion
from avatar.synthetic.person import make_person
from avatar.synthetic.render import (
    SyntheticFrame,
    SyntheticScene,
    render_frames,
    render_synthetic_frame,
)
from avatar.synthetic.room import furnished_room
from avatar.synthetic.textures import room
from avatar.synthetic.voice import synthesise_voice, write_wav

__all__ = [
    "SyntheticFrame",
    "SyntheticScene",
    "make_synthetic_clip",
    "make_synthetic_scene",
    "render_frames",
    "render_synthetic_frame",
]

DISTANCE = 1.1
"""Metres from the camera to the middle of the head."""
FOCAL_SHARE = 2.2
"""Focal length over the picture's size: half a metre is in view at the head."""
CAMERAS = ("static", "moving", "handheld")
MOTIONS = ("usual", "frontal")
SWAY = 0.01
"""Extent of a hand-held camera's sway, as a share of the picture's width."""
MOST_SWAY = 0.2


def make_synthetic_scene(
    *,
    seed: int,
    size: int,
    frames: int,
    fps: float = 25.0,
    asset: HeadAsset | None = None,
    camera: str = "static",
    motion: str = "usual",
    sway: float = SWAY,
) -> SyntheticScene:
    """A scene whose person, room and motion are drawn from `seed`.

    size: pixels of the square picture. camera: "static", in front of a picture of a room; or in a room in three
    dimensions, with the same lens and the same performance, "moving", carried around the person, or "handheld", held
    before the person by a hand that sways. motion: "usual", or "frontal" for a head that hardly turns. sway: extent of
    the hand-held camera's, as a share of the picture's width. The same seed gives the same scene; its motion depends
    on time in seconds, not on the number of frames per second. Raises InputError for settings that cannot be.
    """
    require_synthetic(seed=seed, size=size, frames=frames, fps=fps)
    for what, choices, found in (("camera", CAMERAS, camera), ("motion", MOTIONS, motion)):
        if found not in choices:
            raise InputError(f"a synthetic clip has no such {what}", expected=" or ".join(choices), found=found)
    if not 0 <= sway <= MOST_SWAY:
        raise InputError("--sway is out of range", expected=f"0 to {MOST_SWAY} of the picture's width", found=sway)
    asset = load_head() if asset is None else asset
    looks = make_looks(seed)
    with one_torch_thread():
        performance = make_motion(seed, frames, fps, asset.expression_names, frontal=motion == "frontal")
        person = make_person(seed, looks, asset, performance)
    pose = look_at((0.0, 0.0, DISTANCE), (0.0, 0.0, 0.0))
    lens = Camera(size, size, FOCAL_SHARE * size, FOCAL_SHARE * size, size / 2, size / 2, pose)
    light = shading.room_light(looks.light_side)
    if camera != "static":
        path = carried_path(seed, frames, fps, DISTANCE)
        if camera == "handheld":
            path = swaying_path(seed, frames, fps, DISTANCE, FOCAL_SHARE, sway)
        furnished = furnished_room(np.random.default_rng([seed, 11]), looks)
        return SyntheticScene(person, lens, None, light, fps, furnished, path)
    return SyntheticScene(person, lens, room(np.random.default_rng([seed, 9]), looks, size), light, fps)


def make_synthetic_clip(
    folder: Path,
    *,
    seed: int,
    size: int,
    frames: int,
    fps: float = 25.0,
    asset: HeadAsset | None = None,
    camera: str = "static",
    motion: str = "usual",
    sway: float = SWAY,
    held_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `folder/clip.mp4` and `folder/truth/`, a capture folder that holds what the picture was made from.

    size: pixels of the square picture. camera, motion, sway: see `make_synthetic_scene`; the truth of a camera that is
    not static has a pose per frame and no background image. held_out: also write `truth/held_out/`, expressions and
    views that the clip does not show (`synthetic.held_out`). progress: called with (frames done, frames) after each.
    The clip has a voice that follows the mouth. Returns the path of the clip. Raises InputError for settings that
    cannot be, OutputError where a file cannot be written.
    """
    from avatar.data.capture import write_capture
    from avatar.data.capture_schema import IMAGES, MASKS
    from avatar.media.images import read_png, write_png
    from avatar.media.video import write_video

    scene = make_synthetic_scene(
        seed=seed, size=size, frames=frames, fps=fps, asset=asset, camera=camera, motion=motion, sway=sway
    )
    folder = Path(folder)
    truth = folder / "truth"
    landmarks, visible = [], []
    for index, frame in enumerate(render_frames(scene)):
        write_png(truth / IMAGES / f"{index:05d}.png", frame.image)
        write_png(truth / MASKS / f"{index:05d}.png", frame.mask)
        landmarks.append(frame.landmarks)
        visible.append(frame.visible)
        if progress is not None:
            progress(index + 1, frames)
    write_capture(
        truth,
        images=None,
        masks=None,
        cameras=[scene.camera_at(index) for index in range(frames)],
        params=scene.person.parameters,
        asset=scene.person.asset,
        fps=fps,
        timestamps=[index / fps for index in range(frames)],
        landmarks=np.stack(landmarks),
        visible=np.stack(visible),
        background=scene.background_picture,
        report={
            "frames_read": frames,
            "landmark_error_px": 0.0,
            "landmark_error_iod": 0.0,
            "seconds_per_stage": {},
            "warnings": ["synthetic: parameters, camera, masks and landmarks are the truth, not estimates"],
        },
        camera_mode="static" if camera == "static" else "moving",
    )
    if held_out:
        write_held_out(truth / HELD_OUT, scene)
    pictures = (read_png(truth / IMAGES / f"{index:05d}.png") for index in range(frames))
    with TemporaryDirectory() as place:
        sound = write_wav(Path(place) / "voice.wav", voice_of(scene, seed))
        out, source = folder / "clip.mp4", Source.PAINTED
        return write_video(out, pictures, fps, audio_from=sound, synthetic=True, source=source)


def voice_of(scene: SyntheticScene, seed: int) -> np.ndarray:
    """The sound that fits the scene's mouth: samples in [-1, 1] at `voice.SAMPLE_RATE`."""
    parameters, names = scene.person.parameters, scene.person.asset.expression_names
    expr = parameters.expr.numpy()

    def strongest(*wanted: str) -> np.ndarray:
        columns = [expr[:, names.index(name)] for name in wanted if name in names]
        return np.max(columns, axis=0) if columns else np.zeros(len(expr))

    rounding, spread = strongest("mouthPucker", "mouthFunnel"), strongest("mouthStretchLeft", "mouthSmileLeft")
    return synthesise_voice(seed, parameters.jaw[:, 0].numpy(), rounding, spread, scene.fps)
