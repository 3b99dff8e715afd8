"""Which head model tracks a clip better: one clip, one detection, a fit of each head.

    python scripts/measure_head_models.py CLIP --heads open-head ict.npz
    python scripts/measure_head_models.py runs/ict0/clip.mp4 --heads open-head ict.npz --truth runs/ict0/truth \\
        --true-head ict_truth.npz

Heads share one topology. With a truth: figures of measure_tracking.py (millimetres over the face, degrees). Without:
`held_out` is the distance of a fifth of the landmarks that the fit did not see, over the eye distance; `landmarks` of
those that it saw; `unsteady_mm` the mean second difference of the face's vertices without the head's rigid motion.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from measure_tracking import align, neutral

from avatar.base.files import write_json
from avatar.data.capture import Capture, read_capture
from avatar.field.displacement import without_rigid
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel
from avatar.geometry.rotations import matrix_to_axis_angle, nearest_rotation
from capture_tools.detect.choosing import choose_frames, only_frames
from capture_tools.detect.found_clip import FoundClip, find_clip
from capture_tools.detect.selection import Crop, choose_crop, select_frames
from capture_tools.stages.crops import crop_stage
from capture_tools.stages.landmarks import landmark_stage
from capture_tools.stages.store import Stages
from capture_tools.stages.tracking import lens_settings
from capture_tools.track.clip_tracking import TrackResult, track
from capture_tools.track.photometric import Pictures

HIDDEN = 0.2
"""Share of the landmarks that the fit does not see, where there is no truth."""


@dataclass(frozen=True)
class Seen:
    """What the tracker is given."""

    clip: FoundClip
    crop: Crop
    images: np.ndarray
    masks: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--heads", nargs="+", required=True, metavar="NAME|FILE")
    parser.add_argument("--truth", type=Path, help="a synthetic clip's truth/")
    parser.add_argument("--true-head", default="open-head", metavar="NAME|FILE", help="the head of the truth")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--every", type=int, default=5, help="use every so many frames")
    parser.add_argument("--most", type=int, default=40, help="use at most this many of them, the first")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    seen = observed(arguments.clip, arguments.size)
    rows = np.arange(0, len(seen.clip.used), arguments.every)[: arguments.most]
    truth = None if arguments.truth is None else read_capture(arguments.truth)
    figures = {}
    for name in arguments.heads:
        head = load_head(name)
        hidden = np.random.default_rng(0).random(seen.clip.pixels.shape[1]) < (0 if truth else HIDDEN)
        result = tracked(seen, rows, head, hidden)
        figures[name] = measured(result, head, hidden)
        if truth is not None:
            times = seen.clip.timestamps[seen.clip.used][rows]
            figures[name] |= compared(result, times, head, truth, load_head(arguments.true_head))
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures[name].items()), flush=True)
    if arguments.json is not None:
        write_json(arguments.json, figures)


def observed(video: Path, size: int) -> Seen:
    """Landmarks and crops, as `avatar capture` finds them."""
    _, selection = select_frames(video)
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(Path(folder))
        found = landmark_stage(video, selection, stages)
        kept = choose_frames(found, 300)
        selection = replace(selection, only=tuple(kept.tolist()), expected=len(kept))
        clip = find_clip(only_frames(found, kept), video, None, selection)
        crop = choose_crop(clip.pixels[clip.used], clip.width, clip.height, size)
        clip = crop_stage(video, selection, clip, crop, stages, "static")
        return Seen(clip, crop, np.array(stages.open_array("images")), np.array(stages.open_array("masks")))


def tracked(seen: Seen, rows: np.ndarray, head: HeadAsset, hidden: np.ndarray) -> TrackResult:
    """The fit of a head to some of the frames, without some landmarks."""
    clip, used = seen.clip, seen.clip.used[rows]
    return track(
        *(clip.pixels[used], clip.timestamps[used], clip.width, clip.height, head, lens_settings(clip.focal_prior)),
        occluded=clip.unseen[used] | hidden,
        pictures=Pictures(seen.images[rows], seen.masks[rows], seen.crop),
    )


@torch.no_grad()
def measured(result: TrackResult, head: HeadAsset, hidden: np.ndarray) -> dict[str, float]:
    """Figures that need no truth."""
    eyes = result.errors.mean(1) / result.errors_iod  # pixels between the eyes
    shares = result.errors / eyes[:, None]
    model, face = HeadModel(head), torch.as_tensor(head.region("face"))
    still = model(without_rigid(result.params)).vertices[:, face]
    jitter = (still[2:] - 2 * still[1:-1] + still[:-2]).norm(dim=-1).mean()
    figures = {"landmarks": float(np.nanmean(shares[:, ~hidden])), "unsteady_mm": 1000 * float(jitter)}
    return figures | ({"held_out": float(np.nanmean(shares[:, hidden]))} if hidden.any() else {})


@torch.no_grad()
def compared(
    result: TrackResult, times: np.ndarray, head: HeadAsset, truth: Capture, true_head: HeadAsset
) -> dict[str, float]:
    """Figures against the truth, whose head has the same topology."""
    shown = np.array([frame.timestamp for frame in truth.frames])
    frames = [int(np.abs(shown - time).argmin()) for time in times]
    real, found = truth.parameters().select(frames), result.params
    ours, theirs = HeadModel(head), HeadModel(true_head)
    face = torch.as_tensor(true_head.region("face"))
    rest_found, rest_real = neutral(ours, found)[face], neutral(theirs, real)[face]
    size = float((rest_found - rest_found.mean(0)).norm() / (rest_real - rest_real.mean(0)).norm())
    off = [(align(rest_found / by, rest_real) - rest_real).norm(dim=-1).median() for by in (1.0, size)]
    turn = alignment(rest_found, rest_real)
    moved_found = (ours(without_rigid(found)).vertices[:, face] - rest_found) @ turn.T
    moved_real = theirs(without_rigid(real)).vertices[:, face] - rest_real
    expression = (moved_found - moved_real).norm(dim=-1)
    poses = torch.as_tensor(np.stack([truth.frames[i].camera.cam_from_world[:3, :3] for i in frames])).float()
    own = torch.as_tensor(result.camera.cam_from_world[:3, :3]).float()
    skull_found = own @ ours(found).world_from_skull[:, :3, :3] @ turn.T
    turned = matrix_to_axis_angle(skull_found @ (poses @ theirs(real).world_from_skull[:, :3, :3]).mT)
    return {
        "identity_mm": 1000 * float(off[0]),
        "identity_scaled_mm": 1000 * float(off[1]),
        "size": size,
        "expression_mm": 1000 * float(expression.median()),
        "expression_mean_mm": 1000 * float(expression.mean()),
        "motion_mm": 1000 * float(moved_real.norm(dim=-1).mean()),
        "rotation_degrees": float(turned.norm(dim=-1).mean().rad2deg()),
        "rotation_without_bias_degrees": float((turned - turned.mean(0)).norm(dim=-1).mean().rad2deg()),
    }


def alignment(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The rotation `[3, 3]` that brings a neutral head to the other: heads of two models need not look the same way."""
    return nearest_rotation((target - target.mean(0)).T @ (points - points.mean(0)))


if __name__ == "__main__":
    main()
