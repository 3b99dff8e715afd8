"""Render the held-out frames of a run and measure them: eval/<split>/{pred,gt,mask}/*.png and eval/metrics.json.

Besides the capture's own splits, a synthetic clip's held-out expressions and views can be scored (`training.held_out`).

A held-out frame is rendered with its own tracked parameters and camera. The field was not trained on it, so it has no
codes of its own: the means of the training codes are used. All figures are computed on the 8-bit values
that are written, `mask` is the head model's silhouette, and eval/<split>/frames.json keeps each frame's figures and
boxes, so that everything can be recomputed from the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from avatar.base.errors import AvatarError
from avatar.base.files import read_json, refuse_links, write_json
from avatar.base.progress import Progress
from avatar.data.capture import Capture, Frame
from avatar.data.capture_reference import open_run_capture
from avatar.flame.landmark_sets import LEFT_EYE, LIPS, RIGHT_EYE, bounding_box, lip_distance
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, project
from avatar.media.images import to_uint8, write_png
from avatar.training import metrics
from avatar.training.held_out import (
    HeldOutSet,
    carry_over,
    find_held_out,
    grey_background,
    match_frames,
    read_held_out,
)
from avatar.training.recognition import Describe, identity_distance, load_recognition

if TYPE_CHECKING:
    from avatar.avatar import Avatar

KINDS = ("pred", "gt", "mask")
MOUTH_GROWTH = 0.25
"""The mouth's box is grown on each side by this share of its width (docs/design.md, metrics.json)."""
EYE_GROWTH = 0.5


class PictureSource(Protocol):
    """Named frames with the pictures an avatar has to show."""

    @property
    def frames(self) -> Sequence[Frame]: ...

    def read_picture(self, index: int) -> np.ndarray:
        """sRGB uint8 `[H, W, 3]`."""
        ...

    def read_mask(self, index: int) -> np.ndarray:
        """The person's mask, uint8 `[H, W]`, 255 = person."""
        ...


@dataclass(frozen=True)
class CapturedFrames:
    """The frames of a capture as an avatar of it has to show them."""

    capture: Capture
    with_room: bool
    """The avatar shows the room that it was filmed in, by a moving camera."""

    @property
    def frames(self) -> Sequence[Frame]:
        return self.capture.frames

    def read_picture(self, index: int) -> np.ndarray:
        """sRGB uint8 `[H, W, 3]`."""
        return self.capture.read_picture(index, with_room=self.with_room)

    def read_mask(self, index: int) -> np.ndarray:
        """The person's mask, uint8 `[H, W]`, 255 = person."""
        return self.capture.read_mask(index)


Detect = Callable[[np.ndarray], tuple[np.ndarray | None, int]]
"""uint8 `[H, W, 3]` -> (landmarks `[478, 2]` in pixels or None, number of faces), as LandmarkDetector.detect."""
LpipsDistance = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Rendering:
    """What the avatar shows for one frame of the capture."""

    image: np.ndarray
    """sRGB uint8 `[H, W, 3]`."""
    mask: np.ndarray
    """bool `[H, W]`, the head model's silhouette."""
    mouth_box: metrics.Box
    """Around the projected lips, grown; empty where they are outside the picture."""
    eye_boxes: tuple[metrics.Box, metrics.Box]
    """Right and left, likewise."""
    person: np.ndarray
    """bool `[H, W]`: the person is at least half opaque."""


def evaluate(
    run: Path,
    splits: Sequence[str] = ("val", "test"),
    *,
    detect: Detect | None = None,
    device: str = "auto",
    max_frames: int | None = None,
    truth: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a run's latest checkpoint on its capture; writes and returns eval/metrics.json: split -> figures.

    truth: a folder with held-out sets of the clip (`training.held_out`), which are scored like splits of their own.
    detect: landmark detector for the landmark distance (`expression_error`), run on each rendered and each real frame
    by itself; without one that figure is null. max_frames: at most so many frames per split, evenly spread.
    Raises RunError, CaptureError or HeadModelError where run and capture do not fit, InputError for a folder of truth
    that has no held-out sets or those of another clip, OutputError on a full disk or where a link stands in eval/.
    """
    from avatar.data.checkpoint import load_avatar

    run = Path(run)
    refuse_links(run, "eval")
    avatar = load_avatar(run, device=device)
    capture = open_run_capture(run, expect_head=avatar.asset)
    held_out = [read_held_out(folder, avatar, capture) for folder in find_held_out(truth)] if truth is not None else []
    lpips, lpips_reason = metrics.load_lpips()
    describe, describe_reason = load_recognition()
    result: dict[str, Any] = {}
    shown = CapturedFrames(capture, avatar.shows_room)
    jobs: list[tuple[str, Callable[[int], Rendering], PictureSource, list[int]]] = [
        (split, frame_renderer(avatar, capture), shown, capture.splits[split]) for split in splits
    ]
    for held in held_out:
        pairs = dict(match_frames(held, capture))
        jobs.append((held.name, held_out_renderer(avatar, held, capture, pairs), held, list(pairs)))
    for name, render, source, indices in jobs:
        result[name] = evaluate_frames(
            render,
            source,
            spread(indices, max_frames),
            run / "eval" / name,
            detect=detect,
            lpips=lpips,
            describe=describe,
            label=name,
            progress=progress,
        )
        if lpips is None:
            result[name]["lpips_reason"] = lpips_reason
        if describe is None:
            result[name]["identity_distance_reason"] = describe_reason
    write_json(run / "eval" / "metrics.json", result)
    return result


def spread(indices: Sequence[int], most: int | None) -> list[int]:
    """At most `most` of the indices, evenly spread over them."""
    if most is None or len(indices) <= most:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, most).round().astype(int)]


def frame_renderer(avatar: Avatar, capture: Capture) -> Callable[[int], Rendering]:
    """A function that renders frame `index` of the capture from its tracked parameters and camera."""
    params = capture.parameters()

    def render(index: int) -> Rendering:
        return render_for_measuring(avatar, params.select([index]).to(avatar.device), capture.frames[index].camera)

    return render


def held_out_renderer(
    avatar: Avatar, held: HeldOutSet, capture: Capture, pairs: Mapping[int, int]
) -> Callable[[int], Rendering]:
    """A function that renders frame `index` of a held-out set, over grey except for sets that show the room.

    pairs: the capture's frame for each.
    """

    def render(index: int) -> Rendering:
        frame, camera = carry_over(held, index, avatar, capture, pairs[index])
        behind = None if held.kind == "room" else grey_background(camera, avatar.device)
        return render_for_measuring(avatar, frame, camera, behind)

    return render


@torch.no_grad()
def render_for_measuring(
    avatar: Avatar, frame: HeadParameters, camera: Camera, background: torch.Tensor | None = None
) -> Rendering:
    """One frame (N = 1) with the boxes around its mouth and eyes; `background` in place of the captured one."""
    shown = avatar.render_frame(frame, camera, background=background)  # under the mean of the training codes
    image, mask = to_uint8(shown.image.float().cpu().numpy()), shown.mask.cpu().numpy().astype(bool)
    person = (shown.opacity >= 0.5).cpu().numpy()
    pose = avatar.head(avatar.identity.with_identity(frame))
    pixels, depth = project(avatar.head.landmarks(pose.vertices)[0].cpu(), camera)
    points = np.where((depth > 0).numpy()[:, None], pixels.numpy(), np.nan)

    def box(part: Sequence[int], grow: float) -> metrics.Box:
        return bounding_box(points[list(part)], camera.width, camera.height, grow)

    eyes = (box(RIGHT_EYE, EYE_GROWTH), box(LEFT_EYE, EYE_GROWTH))
    return Rendering(image, mask, box(LIPS, MOUTH_GROWTH), eyes, person)


def evaluate_frames(
    render: Callable[[int], Rendering],
    source: PictureSource,
    indices: Sequence[int],
    folder: Path,
    *,
    detect: Detect | None,
    lpips: LpipsDistance | None = None,
    describe: Describe | None = None,
    label: str = "eval",
    progress: bool = False,
) -> dict[str, Any]:
    """Render, write and measure the frames at `indices` of a capture or a held-out set.

    Returns one split's entry of metrics.json. Writes pred/, gt/, mask/ and frames.json below `folder`, replacing what
    an earlier evaluation left there. `seconds_per_frame` is the mean time of `render`, without the first frame (kernels
    compile then) where there are more. Without a detector `expression_error` is null. Raises OutputError where a link
    stands in `folder`.
    """
    refuse_links(folder)
    for name in written_before(folder) | {frame.name for frame in source.frames}:
        for kind in KINDS:
            (folder / kind / f"{name}.png").unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    seconds: list[float] = []
    with Progress(f"eval {label}", len(indices)) if progress else nullcontext() as bar:
        for done, index in enumerate(indices, 1):
            began = time.perf_counter()
            shown = render(index)
            seconds.append(time.perf_counter() - began)
            truth, person = source.read_picture(index), source.read_mask(index)
            name = source.frames[index].name
            write_png(folder / "pred" / f"{name}.png", shown.image)
            write_png(folder / "gt" / f"{name}.png", truth)
            write_png(folder / "mask" / f"{name}.png", shown.mask.astype(np.uint8) * 255)
            figures = measure(shown, truth, person, detect, lpips, describe)
            rows.append({"name": name, **figures, "seconds": seconds[-1]})
            if bar is not None:
                bar.update(done, note=f"psnr {metrics.mean(row['psnr'] for row in rows):.1f}")
    write_json(folder / "frames.json", rows)
    return summary(rows, seconds, detected=detect is not None)


def written_before(folder: Path) -> set[str]:
    """The names of the frames that an earlier evaluation wrote into `folder`, as its frames.json has them."""
    try:
        rows = read_json(folder / "frames.json")
        names = {str(row["name"]) for row in rows}
    except (AvatarError, TypeError, KeyError):  # none, or not ours
        return set()
    return {name for name in names if Path(name).name == name}


def measure(
    shown: Rendering,
    truth: np.ndarray,
    person: np.ndarray,
    detect: Detect | None,
    lpips: LpipsDistance | None,
    describe: Describe | None = None,
) -> dict[str, Any]:
    """The figures of one frame; None where one does not exist. person: the true mask, uint8 `[H, W]`."""
    eyes = [metrics.box_psnr(shown.image, truth, box) for box in shown.eye_boxes]
    figures: dict[str, Any] = {
        "psnr": metrics.psnr(shown.image, truth),
        "ssim": metrics.ssim(shown.image, truth),
        "lpips": None if lpips is None else lpips(shown.image, truth),
        "face_psnr": metrics.psnr(shown.image, truth, shown.mask),
        "background_psnr": metrics.psnr(shown.image, truth, person == 0),
        "person_iou": metrics.intersection_over_union(shown.person, person >= 128),
        "mouth_psnr": metrics.box_psnr(shown.image, truth, shown.mouth_box),
        "eye_psnr": metrics.mean(eyes),
        "mouth_box": list(shown.mouth_box),
        "eye_boxes": [list(box) for box in shown.eye_boxes],
        "expression_error": None,
        "identity_distance": None,
        "lips_rendered": None,
        "lips_real": None,
    }
    if detect is not None:
        rendered, real = detect(shown.image)[0], detect(truth)[0]
        if rendered is not None and real is not None:
            figures["expression_error"] = metrics.expression_error(rendered, real)
            figures["lips_rendered"] = float(lip_distance(rendered))
            figures["lips_real"] = float(lip_distance(real))
            if describe is not None:
                pair = (rendered, real)
                figures["identity_distance"] = identity_distance(describe, shown.image, truth, pair)
    return figures


def summary(rows: Sequence[dict[str, Any]], seconds: Sequence[float], *, detected: bool) -> dict[str, Any]:
    """One split's entry of metrics.json from its frames' figures."""
    figures = ("psnr", "ssim", "lpips", "face_psnr", "mouth_psnr", "eye_psnr", "expression_error", "identity_distance")
    figures += ("background_psnr", "person_iou")
    seen = [row for row in rows if row["expression_error"] is not None]
    result: dict[str, Any] = {key: metrics.mean(row[key] for row in rows) for key in figures}
    result["lip_correlation"] = metrics.pearson(
        np.array([row["lips_rendered"] for row in seen]), np.array([row["lips_real"] for row in seen])
    )
    result["expression_frames_missed"] = len(rows) - len(seen) if detected else None
    if not detected:
        result["expression_error_reason"] = "no landmark detector was given"
    elif not seen and rows:
        result["expression_error_reason"] = "no face was found in any pair of rendered and real frame"
    result["seconds_per_frame"] = metrics.mean(seconds[1:] or seconds)
    result["frames"] = len(rows)
    return result
