"""How steady a tracked capture is, and how far from the truth where there is one, as for a synthetic clip.

    python scripts/make_synthetic_clip.py --seed 0 --out runs/synthetic
    avatar capture runs/synthetic/clip.mp4 --out runs/tracked
    python scripts/measure_tracking.py runs/tracked [runs/synthetic/truth] [--json FILE]

Jitter: mean second difference of an expression coefficient at rest over its range, of the worst coefficient; with the
truth also that of the vertices' errors (`expression_jitter_mm`), to which a coefficient counts by what it moves.
Vertices are the face region's, in millimetres. Identity: neutral heads, one rigid motion apart (`identity_scaled`: and
one scale, which a picture does not tell; `size` is found over true). Expression: what
expression, jaw and eyes do to the neutral head, tracked minus true. Rotation and gaze are angles in degrees; `rotation`
compares the skulls' poses as they are, `rotation_without_bias` after the mean difference was taken away (a head whose
neutral was fitted a little tilted is tilted by as much in every frame). Both are seen from the frame's own camera.
Where the true camera moves: its rotations and positions after the similarity that lays one way over the other (mean
rotation, then scale and place), positions as a share of the mean distance between camera and head.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.base.files import write_json
from avatar.data.capture import Capture, read_capture
from avatar.field.displacement import without_rigid
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, nearest_rotation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("truth", type=Path, nargs="?")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    tracked = read_capture(arguments.capture)
    report = json.loads((arguments.capture / "report" / "report.json").read_text())
    figures = {key: report[key] for key in ("landmark_error_iod", "frames_dropped", "focal_px") if key in report}
    figures |= {"camera_mode": tracked.camera_mode, "expression_jitter": jitter(tracked.parameters().expr.numpy())}
    if arguments.truth is not None:
        truth = read_capture(arguments.truth)
        figures |= compare(tracked, truth, load_head(truth.head_name))
        if truth.camera_mode == "moving":
            figures |= compare_cameras(tracked, truth)
        figures["focal_px_true"] = truth.frames[0].camera.fl_x * tracked.width / truth.width
    for name, value in figures.items():
        print(f"{name:<28} {value:.4g}" if isinstance(value, float) else f"{name:<28} {value}")
    if arguments.json is not None:
        write_json(arguments.json, figures)


def jitter(values: np.ndarray) -> float:
    """Second differences of curves `[N, C]` where they rest, over their ranges: the mean of the worst curve.

    A curve rests where it stays within a tenth of its range for five frames, in which noise could still reach 0.4.
    Curves with a range of less than 0.1 do not count.
    """
    worst = 0.0
    for curve in values.T:
        size = float(np.ptp(curve))
        if size < 0.1 or len(curve) < 5:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(curve, 5)
        second = np.abs(windows[:, 1] - 2 * windows[:, 2] + windows[:, 3])[np.ptp(windows, axis=1) < 0.1 * size]
        if len(second) >= 5:
            worst = max(worst, float(second.mean()) / size)
    return worst


@torch.no_grad()
def compare(tracked: Capture, truth: Capture, asset: HeadAsset) -> dict[str, float]:
    """The figures of the frames that both captures have, matched by time."""
    pairs = matching_frames(tracked, truth)
    found = tracked.parameters().select([i for i, _ in pairs])
    real = truth.parameters().select([j for _, j in pairs])
    head, face = HeadModel(asset), torch.as_tensor(asset.region("face"))
    neutral_found, neutral_real = neutral(head, found)[face], neutral(head, real)[face]
    aligned = align(neutral_found, neutral_real)
    size = float((neutral_found - neutral_found.mean(0)).norm() / (neutral_real - neutral_real.mean(0)).norm())
    scaled = align(neutral_found / size, neutral_real)
    errors = []
    for i in range(len(pairs)):
        moved_found = head(without_rigid(found.frame(i))).vertices[0][face] - neutral_found
        moved_real = head(without_rigid(real.frame(i))).vertices[0][face] - neutral_real
        errors.append((moved_found - moved_real) * 1000)
    errors = torch.stack(errors)
    expression = errors.norm(dim=-1)
    skull_found, skull_real = (
        camera_from_world(capture, [pair[side] for pair in pairs]) @ head(params).world_from_skull[:, :3, :3]
        for side, (capture, params) in enumerate(((tracked, found), (truth, real)))
    )
    turned = matrix_to_axis_angle(skull_found @ skull_real.transpose(-1, -2))
    gaze = [
        angle(gaze_of(skull_found, found.eyes[:, part]), gaze_of(skull_real, real.eyes[:, part]))
        for part in (slice(0, 3), slice(3, 6))
    ]
    jaw_found, jaw_real = found.jaw[:, 0].numpy(), real.jaw[:, 0].numpy()
    moving = jaw_real.std() > 1e-4 and jaw_found.std() > 1e-6
    return {
        "frames": len(pairs),
        "identity_median_mm": float(((aligned - neutral_real).norm(dim=-1) * 1000).median()),
        "identity_scaled_median_mm": float(((scaled - neutral_real).norm(dim=-1) * 1000).median()),
        "size": size,
        "expression_median_mm": float(expression.median()),
        "expression_mean_mm": float(expression.mean()),
        "expression_jitter_mm": float((errors[:-2] - 2 * errors[1:-1] + errors[2:]).norm(dim=-1).mean()),
        "expression_worst_frame_mm": float(expression.mean(1).max()),
        "rotation_mean_degrees": float(turned.norm(dim=-1).mean().rad2deg()),
        "rotation_without_bias_mean_degrees": float((turned - turned.mean(0)).norm(dim=-1).mean().rad2deg()),
        "gaze_mean_degrees": float(torch.cat(gaze).mean().rad2deg()),
        "jaw_correlation": float(np.corrcoef(jaw_found, jaw_real)[0, 1]) if moving else float("nan"),
        "jaw_slope": float(np.polyfit(jaw_real, jaw_found, 1)[0]) if moving else float("nan"),
    }


def camera_from_world(capture: Capture, frames: list[int]) -> Tensor:
    """Rotations `[N, 3, 3]` from the world to the cameras of frames."""
    poses = np.stack([capture.frames[i].camera.cam_from_world[:3, :3] for i in frames])
    return torch.from_numpy(poses).float()


def compare_cameras(tracked: Capture, truth: Capture) -> dict[str, float]:
    """How far a moving camera's way is from the true one, after a similarity between the two."""
    pairs = matching_frames(tracked, truth)
    found, real = (
        torch.from_numpy(np.stack([capture.frames[pair[side]].camera.world_from_cam for pair in pairs]))
        for side, capture in enumerate((tracked, truth))
    )
    turn = nearest_rotation((real[:, :3, :3] @ found[:, :3, :3].mT).sum(0))
    rest = matrix_to_axis_angle(turn @ found[:, :3, :3] @ real[:, :3, :3].mT).norm(dim=-1)
    way, goal = found[:, :3, 3] @ turn.T, real[:, :3, 3]
    way, goal = way - way.mean(0), goal - goal.mean(0)
    scale = (way * goal).sum() / way.square().sum().clamp(min=1e-12)
    heads = truth.parameters().translation[[j for _, j in pairs]]
    distance = (real[:, :3, 3] - heads).norm(dim=-1).mean()
    return {
        "camera_rotation_mean_degrees": float(rest.mean().rad2deg()),
        "camera_position_percent_of_head_distance": float(100 * (scale * way - goal).norm(dim=-1).mean() / distance),
        "camera_scale_error_percent": float(100 * (1 / scale - 1).abs()),
    }


def matching_frames(tracked: Capture, truth: Capture) -> list[tuple[int, int]]:
    """Positions of frames shown at the same time, to half a frame."""
    times = np.array([frame.timestamp for frame in truth.frames])
    step = np.diff(times).min() if len(times) > 1 else 1.0
    pairs = [(i, int(np.abs(times - frame.timestamp).argmin())) for i, frame in enumerate(tracked.frames)]
    return [(i, j) for i, j in pairs if abs(times[j] - tracked.frames[i].timestamp) <= step / 2]


def neutral(head: HeadModel, params: HeadParameters) -> Tensor:
    """`[V, 3]` of the person's neutral head in skull coordinates, metres."""
    still = without_rigid(params.frame(0))
    return head(
        replace(still, **{key: torch.zeros_like(getattr(still, key)) for key in ("expr", "jaw", "eyes")})
    ).vertices[0]


def align(points: Tensor, target: Tensor) -> Tensor:
    """`points` `[P, 3]` moved rigidly as close to `target` as can be (Kabsch 1976)."""
    centre, goal = points.mean(0), target.mean(0)
    rotation = nearest_rotation((target - goal).T @ (points - centre))
    return (points - centre) @ rotation.T + goal


def gaze_of(skull: Tensor, eye: Tensor) -> Tensor:
    """World directions `[N, 3]` of an eye with axis-angle rotations `[N, 3]` in skulls `[N, 3, 3]`."""
    return (skull @ axis_angle_to_matrix(eye))[..., 2]


def angle(first: Tensor, second: Tensor) -> Tensor:
    """Angles `[N]` between unit vectors, radians."""
    return torch.atan2(torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(-1))


if __name__ == "__main__":
    main()
