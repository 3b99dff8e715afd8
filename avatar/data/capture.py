"""Capture folders: frames, masks, cameras and tracked head parameters of one clip.

The schema is in docs/design.md ("The capture folder") and `avatar.data.capture_schema`. What is read is checked
strictly, since a folder may come from anywhere: no pickles, no path that leaves the folder, no missing or non-finite
value is let through, and every error names the file and the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.conventions import SPLITS
from avatar.base.errors import CaptureError, HeadModelError
from avatar.base.files import read_json, safe_join
from avatar.base.limits import CAPTURE_SIDE
from avatar.data.capture_arrays import head_sizes, read_landmarks, read_parameters
from avatar.data.capture_schema import (
    BACKGROUND,
    LANDMARKS,
    REPORT,
    TRANSFORMS,
    Entries,
    Frame,
    check_header,
    check_splits,
    split_frames,
    transforms_name,
)
from avatar.data.capture_writer import write_capture
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.images import read_png

__all__ = ["Capture", "Frame", "read_capture", "split_frames", "write_capture"]

PLAIN_GREY = 127
"""8-bit value that stands for the background of a moving camera."""


@dataclass
class Capture:
    """A capture folder that has been checked: every listed file exists, the splits cover the frames once each.

    Images and parameters are read on demand; `parameters()` and `landmarks()` are read once and kept.
    """

    folder: Path
    width: int
    height: int
    fps: float
    head_name: str
    head_fingerprint: str
    camera_mode: str
    frames: list[Frame]
    splits: dict[str, list[int]]
    """Split name -> indices into `frames`."""
    head_sizes: dict[str, int] | None = None
    """Expected lengths of shape, expr and static_offset, where the head model is known."""
    _parameters: HeadParameters | None = field(default=None, repr=False)
    _landmarks: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def path(self, relative: str) -> Path:
        """A file of the capture; raises CaptureError where the path leaves the folder."""
        return safe_join(self.folder, relative, CaptureError)

    def read_image(self, index: int) -> np.ndarray:
        """Frame `index` as sRGB uint8 `[H, W, 3]`; raises CaptureError where it is damaged or of another size."""
        return self._sized(index, self.frames[index].file_path, (self.height, self.width, 3))

    def read_picture(self, index: int, *, with_room: bool = False) -> np.ndarray:
        """What an avatar of this capture has to show in frame `index`, sRGB uint8 `[H, W, 3]`.

        The frame itself, or the person over plain grey where the camera moves, which has no background image. An
        avatar that learned the room (`with_room`) has to show the whole frame. Raises CaptureError like `read_image`.
        """
        image = self.read_image(index)
        if with_room or self.camera_mode == "static":
            return image
        share = self.read_mask(index)[..., None].astype(np.float32) / 255
        return np.rint(image * share + PLAIN_GREY * (1 - share)).astype(np.uint8)

    def read_mask(self, index: int) -> np.ndarray:
        """Mask of frame `index` as uint8 `[H, W]`, 255 = person; raises CaptureError like `read_image`."""
        return self._sized(index, self.frames[index].fg_mask_path, (self.height, self.width))

    def _sized(self, index: int, relative: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.path(relative)
        image = read_png(path, CaptureError)
        if len(shape) == 2 and image.ndim == 3 and np.ptp(image, axis=2).max() == 0:
            image = image[..., 0]  # a grey mask that another tool stored as RGB
        if image.shape != shape:
            raise CaptureError(
                "an image has the wrong size", where=path, frame=index, expected=shape, found=image.shape
            )
        return image

    def background(self) -> np.ndarray | None:
        """The background without the person, sRGB uint8 `[H, W, 3]`, or None where the capture has none."""
        path = self.path(BACKGROUND)
        if not path.exists():
            return None
        image = read_png(path, CaptureError)
        if image.shape != (self.height, self.width, 3):
            expected = (self.height, self.width, 3)
            raise CaptureError("the background has the wrong size", where=path, expected=expected, found=image.shape)
        return image

    def report(self) -> dict[str, Any]:
        """report/report.json; raises CaptureError where it is missing or damaged."""
        return read_json(self.path(REPORT), CaptureError)

    def parameters(self) -> HeadParameters:
        """Tracked parameters of all frames in order, float32; a fresh object around shared tensors.

        Raises CaptureError for a damaged file, a wrong shape, a value that is not finite, or an identity (`shape`,
        `static_offset`) that differs between frames.
        """
        if self._parameters is None:
            paths = [self.path(frame.flame_param_path) for frame in self.frames]
            self._parameters = read_parameters(paths, self.head_sizes)
        return self._parameters

    def landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Detected landmarks: pixels `[N, 478, 2]` float32 (NaN where missing) and visible `[N, 478]` bool.

        Raises CaptureError where the file is missing or damaged.
        """
        if self._landmarks is None:
            self._landmarks = read_landmarks(self.path(LANDMARKS), len(self.frames))
        return self._landmarks


def read_capture(folder: Path, *, expect_head: HeadAsset | None = None) -> Capture:
    """Open a capture folder and check its lists; arrays and images are checked when they are read.

    Raises CaptureError where anything is missing or does not fit, HeadModelError where `expect_head` is given and
    the capture was tracked with another head model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CaptureError("the capture folder does not exist", where=folder, fix="avatar capture VIDEO --out CAPTURE")
    where = folder / TRANSFORMS
    if not where.exists():
        raise CaptureError(
            "this is not a finished capture folder",
            where=folder,
            expected=TRANSFORMS,
            found=", ".join(sorted(entry.name for entry in folder.iterdir())[:6]) or "an empty folder",
            fix="run avatar capture VIDEO --out CAPTURE again; it goes on where it stopped",
        )
    entries = Entries(read_json(where, CaptureError), where)
    head_name, fingerprint, mode, fps = check_header(entries)
    if expect_head is not None:
        check_head(folder, head_name, fingerprint, expect_head)
    frames = read_frames(folder, entries)
    splits = {name: read_split(folder, name, frames) for name in SPLITS}
    check_splits(splits, len(frames), where)
    sizes = None if expect_head is None else head_sizes(expect_head)
    camera = frames[0].camera
    return Capture(folder, camera.width, camera.height, fps, head_name, fingerprint, mode, frames, splits, sizes)


def check_head(folder: Path, name: str, fingerprint: str, expected: HeadAsset) -> None:
    """Raise HeadModelError unless a capture's head model is `expected`: parameters of one mean nothing in another."""
    if (name, fingerprint) == (expected.name, expected.fingerprint):
        return
    same_name = name == expected.name
    raise HeadModelError(
        "the capture was made with another " + ("version of the head model" if same_name else "head model"),
        where=folder,
        expected=f"{expected.name} ({expected.fingerprint[:12]})",
        found=f"{name} ({fingerprint[:12]})",
        fix=f"capture the clip again with --head-model {expected.name}, or use the head model {name} it was made with",
    )


def read_frames(folder: Path, entries: Entries) -> list[Frame]:
    """The frames of transforms.json, checked, with all their files present."""
    listed = entries.get("frames")
    if not isinstance(listed, list) or not listed:
        raise entries.error("the capture lists no frames", "a list of frames", listed)
    frames: list[Frame] = []
    for index, values in enumerate(listed):
        item = Entries(values, entries.where, index)
        # A frame's own intrinsics win over the shared ones at the top level (nerfstudio's rule).
        lens = Entries({**entries.values, **values}, entries.where, index)
        camera = Camera.from_transform_matrix(
            item.matrix("transform_matrix"),
            width=lens.integer("w", limits=CAPTURE_SIDE),
            height=lens.integer("h", limits=CAPTURE_SIDE),
            fl_x=lens.number("fl_x", positive=True),
            fl_y=lens.number("fl_y", positive=True),
            cx=lens.number("cx"),
            cy=lens.number("cy"),
        )
        frame = Frame(
            file_path=item.text("file_path"),
            fg_mask_path=item.text("fg_mask_path"),
            flame_param_path=item.text("flame_param_path"),
            camera=camera,
            timestep_index=item.integer("timestep_index"),
            timestamp=item.number("timestamp"),
        )
        for relative in (frame.file_path, frame.fg_mask_path, frame.flame_param_path):
            path = safe_join(folder, relative, CaptureError)
            if not path.is_file():
                raise item.error("a file of the capture is missing", relative, "no such file", "capture the clip again")
        if frames:
            size, first = (camera.width, camera.height), (frames[0].camera.width, frames[0].camera.height)
            if size != first:
                raise item.error("the frames differ in size", f"{first[0]} x {first[1]}", f"{size[0]} x {size[1]}")
            if frame.timestep_index <= frames[-1].timestep_index or frame.timestamp < frames[-1].timestamp:
                raise item.error("the frames are not in time order", "rising timestep_index and timestamp")
        frames.append(frame)
    return frames


def read_split(folder: Path, split: str, frames: Sequence[Frame]) -> list[int]:
    """Indices into `frames` of the frames listed in transforms_<split>.json."""
    where = folder / transforms_name(split)
    entries = Entries(read_json(where, CaptureError), where)
    listed = entries.get("frames")
    if not isinstance(listed, list):
        raise entries.error("the split has no list of frames", "a list of frames", type(listed).__name__)
    known = {frame.file_path: index for index, frame in enumerate(frames)}
    indices = []
    for position, values in enumerate(listed):
        item = Entries(values, where, position)
        name = item.text("file_path")
        if name not in known:
            raise item.error("the split lists a frame that transforms.json does not", "a known file_path", name)
        indices.append(known[name])
    return sorted(indices)
