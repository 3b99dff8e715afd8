"""The stage `camera`: whether the camera stood still, and its trajectory if it moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from capture_tools.camera.background import camera_travel
from capture_tools.camera.head_world import align_to_head
from capture_tools.camera.jumps import longest_still_part
from capture_tools.camera.structure_from_motion import CameraPath, solve_cameras
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.segmentation import PersonSegmenter
from capture_tools.detect.selection import FrameSelection
from capture_tools.stages.store import Stages
from capture_tools.stages.tracking import leave_out
from capture_tools.track.clip_tracking import TrackResult

CAMERA_CHOICES = ("auto", "static", "moving")
MOVING_TRAVEL = 0.03
"""Displacement of the background over the picture's longer side from which on a camera moves. Clips from a stand stay
below 0.004; hand-held ones that go around a person reach 0.3 and more."""
MOST_LOST = 0.1
"""Largest share of unregistered frames; with more the whole trajectory is rejected."""


@dataclass(frozen=True)
class Filming:
    """How a clip was filmed."""

    path: CameraPath | None
    """The camera of every frame used; None for a camera that stood still or is taken as fixed."""
    note: str | None
    """A warning for the user."""
    still: np.ndarray | None = None
    """Bool, for each of the stages' frames: those before the background that is kept, where a still camera jumped."""

    @property
    def mode(self) -> str:
        """The capture's camera_mode."""
        return "static" if self.path is None else "moving"

    def figures(self) -> dict[str, float] | None:
        """The entry `structure_from_motion` of report.json; lengths in pixels of the source."""
        if self.path is None:
            return None
        return {
            "focal_px": self.path.focal,
            "points": self.path.points,
            "reprojection_error_px": self.path.reprojection_error,
        }

    def focal_prior(self, clip: FoundClip) -> float | None:
        """The focal length over the frame's longer side, where structure from motion found it."""
        return None if self.path is None else self.path.focal / max(clip.width, clip.height)


def camera_stage(video: Path, selection: FrameSelection, clip: FoundClip, stages: Stages, setting: str) -> Filming:
    """Decide between a fixed and a moving camera and find the trajectory of a moving one.

    setting: one of CAMERA_CHOICES; "auto" measures the displacement of the crops' background. Where no trajectory is
    found, the camera is taken as fixed and the note says why.
    """
    if setting == "static":
        return Filming(None, None)
    stored = stages.load("camera")
    if stored is None:
        with stages.timed("camera"):
            filming = _find(video, selection, clip, stages, setting)
            stored = {"note": np.array(filming.note or "")}
            if filming.path is not None:
                stored |= {name: np.asarray(value) for name, value in vars(filming.path).items()}
            if filming.still is not None:
                stored["still"] = filming.still
            stages.save("camera", **stored)
    note = str(stored["note"]) or None
    if "focal" not in stored:
        return Filming(None, note, stored.get("still"))
    focal, error, points = (stored[name].item() for name in ("focal", "reprojection_error", "points"))
    return Filming(CameraPath(stored["world_from_cam"], focal, stored["registered"], error, points), note)


def choose_camera_mode(travel: float | None, setting: str) -> str:
    """ "static" or "moving", from the background's displacement (None where too little is seen) and the setting."""
    if setting != "auto":
        return setting
    return "moving" if travel is not None and travel > MOVING_TRAVEL else "static"


def _find(video: Path, selection: FrameSelection, clip: FoundClip, stages: Stages, setting: str) -> Filming:
    images, masks = stages.open_array("images"), stages.open_array("masks")
    still = longest_still_part(images, masks) if setting == "auto" else None
    if still is not None:
        note = (
            f"the camera was moved from one place to another: the {still.sum()} frames before the background that is "
            f"seen longest are used, {(~still).sum()} others are left out; leave the phone where it stands"
        )
        return Filming(None, note, still)
    travel = camera_travel(images, masks) if setting == "auto" else None
    if choose_camera_mode(travel, setting) == "static":
        return Filming(None, None)
    try:
        path = solve_cameras(_views(video, selection, clip))
    except InputError as error:
        return Filming(None, f"the camera moves, but is taken as fixed: {error.what}; put the phone on a stand")
    lost = 1 - float(path.registered.mean())
    if lost > MOST_LOST:
        return Filming(
            None,
            f"the camera moves, but is taken as fixed: its trajectory is unknown in {lost:.0%} of the frames; move it "
            "more slowly, before a background with more to see, or put the phone on a stand",
        )
    return Filming(path, None)


def _views(video: Path, selection: FrameSelection, clip: FoundClip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames used, whole, with the person's confidence as uint8 `[256, 256]` over the whole frame."""
    wanted = set(clip.used.tolist())
    frames = selection.read(video)
    with PersonSegmenter(doubting=False) as segmenter, Progress("camera", len(wanted)) as bar:
        done = 0
        for index, (_, image) in enumerate(frames):
            if index in wanted:
                yield image, np.rint(255 * segmenter.confidence(image)).astype(np.uint8)
                done += 1
                bar.update(done)


def without_lost_cameras(
    clip: FoundClip, result: TrackResult, rows: np.ndarray, filming: Filming
) -> tuple[FoundClip, TrackResult, np.ndarray, Filming]:
    """Leave out frames whose camera was not found, or stood elsewhere.

    `rows` `[K]`: the stages' frames that `clip` and `result` still hold. The path of `filming` covers all the stages'
    frames; the one returned covers the rows that stay.
    """
    path, still = filming.path, filming.still
    if path is not None:
        known, reason = path.registered, "the camera's pose was not found"
    elif still is not None:
        known, reason = still, "the camera stood elsewhere"
    else:
        return clip, result, rows, filming
    lost = {index: reason for index, row in enumerate(rows.tolist()) if not known[row]}
    clip, result, kept = leave_out(clip, result, lost)
    rows = rows[kept]
    if path is not None:
        path = replace(path, world_from_cam=path.world_from_cam[rows], registered=path.registered[rows])
    return clip, result, rows, replace(filming, path=path)


def into_world(
    path: np.ndarray, camera: Camera, params: HeadParameters, asset: HeadAsset
) -> tuple[list[Camera], HeadParameters]:
    """Cameras and heads of a moving camera in FLAME's world, in metres; the projections of the head stay the same.

    path: `[N, 4, 4]` `world_from_cam` of the frames of `params`, at any scale. camera: the fixed camera for which
    `params` were tracked; its intrinsics are kept. The head's mean rotation becomes the identity, its mean translation
    zero. Raises InputError where the head does not tell the scale.
    """
    neutral = HeadParameters.neutral(asset)
    with torch.no_grad():
        joint = HeadModel(asset)(replace(neutral, shape=params.shape, static_offset=params.static_offset)).joints[0, 0]
    joint = joint.numpy().astype(np.float64)
    heads = np.tile(np.eye(4), (len(path), 1, 1))
    heads[:, :3, :3] = axis_angle_to_matrix(params.rotation.double()).numpy()
    heads[:, :3, 3] = params.translation.double().numpy() + joint
    world = align_to_head(path, camera.cam_from_world @ heads)
    poses = world.world_from_cam.copy()
    poses[:, :3, 3] += joint  # the root rotates about its joint, which lies at `joint + translation`
    rotations = matrix_to_axis_angle(torch.from_numpy(world.world_from_head[:, :3, :3])).float()
    translations = torch.from_numpy(world.world_from_head[:, :3, 3]).float()
    return [camera.moved(pose) for pose in poses], replace(params, rotation=rotations, translation=translations)
