"""Score an avatar on what its clip never showed: the held-out sets of a synthetic clip (`synthetic.held_out`).

A tracked avatar has a world frame of its own: its focal length and the size of its head are estimates, so the true
cameras cannot be used in it. Each held-out frame belongs to a frame of the clip, which was tracked, and is transferred
through it:

- an expression is put on the tracked pose of that frame and seen by that frame's own tracked camera;
- a view is that frame's tracked camera, rotated as the true camera is about the same point. With focal lengths f (true)
  and f' (tracked), a point (x, y, z) seen by the true camera is one at g (x, y, z f'/f) for the tracked one, where g is
  the ratio of the heads' sizes; the depth of the head's middle in the clip's frame gives g. So the truth's middle of
  the head goes over to the point behind the same pixel: an avatar shows what the pictures show, whereas the tracked
  mesh stands some tenths of a pixel beside. The person's tracked parameters are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.base.conventions import SPLITS
from avatar.base.errors import InputError
from avatar.base.files import read_json
from avatar.data.capture import PLAIN_GREY, Capture, Frame, read_capture
from avatar.data.capture_schema import HELD_OUT, Entries
from avatar.flame.model import HeadParameters, head_middle
from avatar.geometry.cameras import Camera

if TYPE_CHECKING:
    from avatar.avatar import Avatar

DEPTH = 3
"""Folders below the one that is given in which sets are looked for."""
KINDS = ("expression", "view", "room")
"""A view shows the person over plain grey, a room the person in the room."""
SAME_TIME = 0.5
"""Two frames match where their times differ by less than this share of a frame's duration."""


@dataclass
class HeldOutSet:
    """One held-out set, as the frames of a picture source: what `evaluate.evaluate_frames` reads."""

    name: str
    kind: str
    capture: Capture
    cam_from_clip_cam: list[np.ndarray]
    """`[4, 4]` each: from the camera of the clip's frame to the held-out one, metres of the truth."""
    crop: tuple[int, int, int]
    """x0, y0 and side of the square that the avatar's capture cut out of the clip's picture, pixels of the set; it may
    reach outside."""

    @property
    def window(self) -> tuple[int, int, int, int]:
        """x0, y0, width and height of the crop's part inside the picture."""
        left, top, side = self.crop
        x0, y0 = max(left, 0), max(top, 0)
        return x0, y0, min(left + side, self.capture.width) - x0, min(top + side, self.capture.height) - y0

    @property
    def frames(self) -> list[Frame]:
        return self.capture.frames

    def read_picture(self, index: int) -> np.ndarray:
        """Frame `index`, uint8 `[h, w, 3]`: the part that the avatar's capture shows."""
        return self._window_of(self.capture.read_image(index))

    def read_mask(self, index: int) -> np.ndarray:
        """The person's mask in frame `index`, uint8 `[h, w]`, 255 = person, likewise."""
        return self._window_of(self.capture.read_mask(index))

    def _window_of(self, picture: np.ndarray) -> np.ndarray:
        x0, y0, width, height = self.window
        return np.ascontiguousarray(picture[y0 : y0 + height, x0 : x0 + width])


def find_held_out(folder: Path) -> list[Path]:
    """Folders of held-out sets at or below `folder`, by name.

    The names become folders of the evaluation: InputError where one is that of a split or of another set, and where
    there are no sets.
    """
    folder = Path(folder).resolve()  # which gives `.` and `..` their names
    found: list[Path] = []
    for depth in range(DEPTH + 1):
        found += [path.parent for path in folder.glob("*/" * depth + HELD_OUT)]
    names = [path.name for path in found]
    unusable = [str(path) for path in found if path.name in ("", *SPLITS) or names.count(path.name) > 1]
    if unusable:
        raise InputError(
            "held-out sets cannot be told apart by their folders' names",
            where=folder,
            expected=f"names that are each there once and none of {', '.join(SPLITS)}",
            found=", ".join(unusable[:4]),
            fix="give the folder of one clip",
        )
    if not found:
        raise InputError(
            "there is no held-out truth",
            where=folder,
            expected=f"folders with {HELD_OUT}",
            found="none" if folder.is_dir() else "no such folder",
            fix="python scripts/make_synthetic_clip.py --out CLIP makes a clip with it; give CLIP",
        )
    return sorted(found, key=lambda path: path.name)


def read_held_out(folder: Path, avatar: Avatar, capture: Capture) -> HeldOutSet:
    """Open a set for an avatar trained on `capture`.

    Raises CaptureError where it is damaged, HeadModelError where its head is another one, InputError where its pictures
    are not of the clip that the avatar was made from.
    """
    held = read_capture(folder, expect_head=avatar.asset)
    where = folder / HELD_OUT
    entries = Entries(read_json(where, InputError), where)
    kind, described = entries.text("kind"), entries.get("frames")
    if kind not in KINDS or not isinstance(described, list) or len(described) != len(held.frames):
        raise entries.error(
            "the description does not fit the set", f"a kind of {KINDS} and {len(held.frames)} frames", f"kind {kind}"
        )
    transforms = [Entries(item, where, i).matrix("cam_from_clip_cam") for i, item in enumerate(described)]
    return HeldOutSet(folder.name, kind, held, transforms, captured_crop(capture, held))


def captured_crop(capture: Capture, held: Capture) -> tuple[int, int, int]:
    """x0, y0 and side in pixels of a held-out picture of what the capture's pictures show of the clip's."""
    report = capture.report()
    crop, video = report.get("crop"), report.get("video")
    if crop is None or video is None:  # the truth itself, which is not cropped
        return 0, 0, held.width
    if (video["width"], video["height"]) != (held.width, held.height):
        raise InputError(
            "the held-out pictures are not of the clip that the avatar was made from",
            where=held.folder,
            expected=f"{video['width']} x {video['height']} pixels",
            found=f"{held.width} x {held.height}",
        )
    return crop["x0"], crop["y0"], crop["side"]


def match_frames(held: HeldOutSet, capture: Capture) -> Iterator[tuple[int, int]]:
    """Pairs of a held-out frame and the capture's frame at its time; held-out frames that have none are left out."""
    times = np.array([frame.timestamp for frame in capture.frames])
    for index, frame in enumerate(held.frames):
        nearest = int(np.abs(times - frame.timestamp).argmin())
        if abs(times[nearest] - frame.timestamp) < SAME_TIME / held.capture.fps:
            yield index, nearest


def carry_over(
    held: HeldOutSet, index: int, avatar: Avatar, capture: Capture, frame: int
) -> tuple[HeadParameters, Camera]:
    """Parameters (N = 1) and camera of held-out frame `index` in the avatar's world, through `frame` of the capture."""
    tracked = capture.parameters().select([frame]).to(avatar.device)
    truth = held.capture.parameters().select([index]).to(avatar.device)
    seen = capture.frames[frame].camera
    true_camera = held.frames[index].camera
    lens = windowed(seen, held)
    if held.kind == "expression":
        return replace(tracked, expr=truth.expr, jaw=truth.jaw, eyes=truth.eyes), lens
    cam_from_clip_cam = held.cam_from_clip_cam[index]
    middle_after = in_camera(true_camera, head_middle(avatar.head, truth))
    middle_before = (np.linalg.inv(cam_from_clip_cam) @ np.append(middle_after, 1.0))[:3]
    depth = in_camera(seen, head_middle(avatar.head, tracked))[2]
    stretch = np.array([1.0, 1.0, lens.fl_x / true_camera.fl_x])
    carried = stretch * depth / (middle_before[2] * stretch[2])
    rotation = cam_from_clip_cam[:3, :3]
    cam_from_cam = np.eye(4)
    cam_from_cam[:3, :3] = rotation
    cam_from_cam[:3, 3] = carried * middle_after - rotation @ (carried * middle_before)
    return tracked, lens.moved(seen.world_from_cam @ np.linalg.inv(cam_from_cam))


def windowed(camera: Camera, held: HeldOutSet) -> Camera:
    """A camera of the capture as the held-out pictures' window shows it."""
    (left, top, side), (x0, y0, width, height) = held.crop, held.window
    return camera.scaled(side, side).cropped(x0 - left, y0 - top, width, height)


def in_camera(camera: Camera, point: np.ndarray) -> np.ndarray:
    """A world point `[3]` in a camera's axes, metres."""
    return camera.cam_from_world[:3, :3] @ point + camera.cam_from_world[:3, 3]


def grey_background(camera: Camera, device: torch.device) -> torch.Tensor:
    """`[H, W, 3]` of the plain grey that held-out pictures have."""
    return torch.full((camera.height, camera.width, 3), PLAIN_GREY / 255, device=device)
