"""Every warning is heard where it should be, with its frames, and a good clip is met with silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from found_clip import fitted, found

from avatar.flame.assets import HeadAsset
from capture_tools.camera.background import BackgroundMotion
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.selection import Crop
from capture_tools.detect.shots import Shot
from capture_tools.report.advice import capture_warnings
from capture_tools.track.clip_tracking import TrackResult

STILL = BackgroundMotion(None, None)


def good_scores(count: int) -> list[dict]:
    return [
        {"frame": 10 + i, "landmark_error_iod": 0.015, "photometric_error": 6.0, "exposure": 1.0} for i in range(count)
    ]


def warnings_of(
    clip: FoundClip,
    result: TrackResult,
    scores: list[dict] | None = None,
    motion: BackgroundMotion = STILL,
    masks: np.ndarray | None = None,
) -> list[str]:
    images = np.random.default_rng(0).integers(60, 200, (len(clip.used), 240, 240, 3)).astype(np.uint8)
    masks = np.full(images.shape[:3], 255, np.uint8) if masks is None else masks
    scores = scores or good_scores(len(clip.used))
    return capture_warnings(clip, result, Crop(0, 0, 240, 240), motion, scores, images, masks)


def good(head: HeadAsset, count: int = 30) -> tuple[FoundClip, TrackResult]:
    return found(count), fitted(head, np.full(count, 0.01))


def test_good_clips_are_met_with_silence(head: HeadAsset) -> None:
    assert warnings_of(*good(head)) == []
    unknown = [{"frame": i, "landmark_error_iod": 0.01, "photometric_error": None, "exposure": None} for i in range(30)]
    assert warnings_of(*good(head), unknown) == []


def test_a_user_hears_of_turned_faces_hands_others_and_cuts(head: HeadAsset) -> None:
    clip = found(30, {0: "no face was found", 25: "it belongs to another shot"})
    result = fitted(head, np.full(28, 0.01))
    clip.shots[:] = [Shot(0, 24), Shot(25, 29)]
    clip.occluded[10:13, 0:200] = True
    clip.others[[5, 27]] = 0.5
    result.params.rotation[[14, 15, 16], 1] = torch.tensor([1.2, -1.3, 1.2])
    heard = "\n".join(warnings_of(clip, result))
    assert "of its 2 shots, shot 1 is used (0.00 to 0.96 s)" in heard
    assert "1 frames were left out, no face was found: 0" in heard
    assert "another face was seen in frames 5:" in heard
    assert "a hand covers the mouth in frames 10-12" in heard
    assert "past 60 degrees in frames 15-17" in heard


def test_frames_that_fit_badly_are_named(head: HeadAsset) -> None:
    scores = good_scores(30)
    for row in (4, 5, 6):
        scores[row]["photometric_error"] = 30.0
    scores[20]["landmark_error_iod"] = 0.09
    (heard,) = warnings_of(*good(head), scores)
    assert "the head fits the picture badly in frames 14-16, 30" in heard
    rough = [dict(frame, photometric_error=20.0) for frame in good_scores(30)]
    assert warnings_of(*good(head), rough) == []  # a face of little contrast with its texture differs evenly


def test_masks_that_are_empty_on_the_face_are_named(head: HeadAsset) -> None:
    """Too few for a refusal (`checks.require_person`); a mask that leaves out what is no face is as it should be."""
    clip, result = good(head)
    clip.pixels[:, 10] += (20, -40)  # a face with an area
    masks = np.full((30, 240, 240), 255, np.uint8)
    masks[:, 150:] = 0
    assert warnings_of(clip, result, masks=masks) == []
    masks[[4, 5, 6, 20]] = 0
    (heard,) = warnings_of(clip, result, masks=masks)
    assert heard.startswith("the person cannot be told from the background in frames 4-6, 20: ")
    masks[3:20] = 0
    (heard,) = warnings_of(clip, result, masks=masks)
    assert "in frames 3-20: " in heard


def test_a_lamp_that_goes_on_is_noticed(head: HeadAsset) -> None:
    scores = good_scores(30)
    for row, exposure in zip((9, 10, 11, 25), (1.1, 1.6, 1.5, 0.6), strict=True):
        scores[row]["exposure"] = exposure
    (heard,) = warnings_of(*good(head), scores)
    assert "the light on the face changes in frames 20-21, 35" in heard


def test_what_the_clip_never_shows_is_said(head: HeadAsset) -> None:
    clip, result = good(head)
    result.params.rotation[:, 1] = torch.linspace(-0.055, 0.072, 30)
    (heard,) = warnings_of(clip, result)
    assert heard.startswith("the person hardly turns the head (yaw -3 to 4 degrees)")

    clip, result = good(head)
    clip.pixels[:, 14] = clip.pixels[:, 13] + 2
    (heard,) = warnings_of(clip, result)
    assert heard.startswith("the mouth never opens")

    clip, result = good(head)
    clip.pixels[:, 145] = clip.pixels[:, 159] + 8
    clip.pixels[:, 374] = clip.pixels[:, 386] + 8
    (heard,) = warnings_of(clip, result)
    assert heard.startswith("the eyes never close")


def test_a_clip_that_was_turned_without_being_told_to_says_so(head: HeadAsset) -> None:
    clip, result = good(head)
    (heard,) = warnings_of(replace(clip, rotate=90, unasked=True), result)
    assert "lies on its side" in heard
    assert "90 degrees clockwise" in heard
    assert "--rotate 0" in heard
    assert warnings_of(replace(clip, rotate=90), result) == []


def test_a_soft_face_is_said_to_be_out_of_focus(head: HeadAsset) -> None:
    clip, result = good(head)
    clip.pixels[:, 263, 0] += 20  # wide enough to tell
    (heard,) = warnings_of(replace(clip, details=np.full(30, 0.8)), result)
    assert heard.startswith("the face is out of focus")


def test_a_moving_background_points_to_the_moving_camera(head: HeadAsset) -> None:
    (heard,) = warnings_of(*good(head), motion=BackgroundMotion(9.0, 0.04))
    assert "moves by up to 9.0 pixels (4.0% of the picture)" in heard
    assert "--camera moving" in heard
    assert "supported" not in heard
