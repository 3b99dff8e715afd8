"""Tracking of a driver's clip, without writing a capture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import InputError
from avatar.base.limits import DRIVER_FRAMES
from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.flame.resampling import bracket, resample_parameters
from avatar.media.focal_metadata import focal_over_longer_side
from avatar.media.video import probe_video
from capture_tools.detect.checks import CUT, NO_FACE, STEP_BACK, cut_reason, frames_by_reason
from capture_tools.detect.found_clip import follow_face
from capture_tools.detect.landmark_detector import LandmarkDetector, inside_picture
from capture_tools.detect.observing import LARGEST_SEARCHED, averaged_down, mean_rate, observe
from capture_tools.detect.picture_quality import FRAMES, picture_warnings
from capture_tools.detect.selection import FrameSelection, select_frames
from capture_tools.detect.sharpness import absolute_detail, detail_tensor
from capture_tools.detect.turning import chosen_rotation, turned_note
from capture_tools.stages.tracking import lens_settings, track_with_progress
from capture_tools.track.clip_tracking import TrackSettings
from capture_tools.track.live import LiveSettings, LiveTracker

LARGEST_DRIFT = 0.5
"""Frames by which timestamps may drift from a constant rate before the performance is resampled to one."""
UNREADABLE_SOUND = (
    "the driver's sound is in a form that cannot be decoded here: the video is written without sound. To have it, "
    "export the driver with stereo sound (AAC) first"
)
FILLED_IN = "filled in from others"
WHOLE = "give a clip that shows one face, upright and whole"


class DriverTrack(NamedTuple):
    """A driver's performance: N frames at a constant rate."""

    params: HeadParameters
    """N frames, the driver's own shape."""
    fps: float
    audio: Path | None
    """The file with the sound track; None without sound."""
    landmarks: np.ndarray
    """`[N, 478, 2]` pixels of the source; NaN in frames without a face, whose parameters are interpolated."""
    audio_start: float
    """Seconds from the first frame of the file to the start of the performance."""
    notes: tuple[str, ...] = ()
    """Notes for the user, a sentence each."""
    rotate: int = 0
    """Degrees by which the file's frames were turned clockwise."""


def track_driver(
    video: Path,
    asset: HeadAsset,
    *,
    start: float | None = None,
    end: float | None = None,
    settings: TrackSettings | None = None,
    live: bool = False,
    rotate: str | int = "auto",
) -> DriverTrack:
    """Track every frame of a clip with the capture's tracker, writing nothing.

    A clip of variable frame rate is resampled to its average rate, so that the sound stays in sync. Of several people
    the largest is tracked. With `live` the clip is processed like a camera's stream (see `follow_live`): many times
    faster, a little less accurate; `settings` then apply to the fit of the person in the first second. `rotate`: see
    `turning.chosen_rotation`.
    Raises InputError for a clip that is unreadable, too long or without a face, HeadModelError for a head without
    landmarks.
    """
    video = Path(video)
    info, selection = select_frames(video, start=start, end=end, max_frames=None)
    DRIVER_FRAMES.require("the driver's length", selection.expected, error=InputError, where=video)
    selection = replace(selection, rotate=chosen_rotation(video, selection, rotate))
    info = probe_video(video, rotate=selection.rotate)
    known_focal = focal_over_longer_side(info.focal_35mm, info.width, info.height)
    if live:
        usual = LiveSettings()
        calibration = settings or replace(usual.calibration, focal_prior=known_focal or usual.calibration.focal_prior)
        tracker = LiveTracker(asset, info.width, info.height, replace(usual, calibration=calibration))
        params, pixels, times, inside = follow_live(video, selection, tracker)
        fps = mean_rate(times, info.fps)
    else:
        seen = observe(video, selection, "driver landmarks", hands=False)
        face, times, fps = follow_face(seen), seen.timestamps, float(seen.fps)
        inside = face.inside
        # A face cut by the picture's edge is misfitted: its frames are interpolated like those without a face.
        pixels = np.where(face.whole[:, None, None], face.pixels, np.float32(np.nan))
        _require_face(pixels, video, cut=bool(inside.any()))
        chosen = settings or lens_settings(known_focal)
        beyond = ~inside_picture(pixels, info.width, info.height)
        fit = track_with_progress(pixels, times, info.width, info.height, asset, chosen, occluded=beyond)
        params = fit.params
    notes = [UNREADABLE_SOUND] if info.has_unreadable_sound else []
    notes += turned_note(selection.rotate if rotate == "auto" else 0, "driver")
    notes += picture_notes(video, selection, pixels) + frames_by_reason(_gaps(pixels, inside), FILLED_IN)
    if np.abs((times - times[0]) * fps - np.arange(len(times))).max() > LARGEST_DRIFT:
        steady = np.arange(round((times[-1] - times[0]) * fps) + 1) / fps + times[0]
        params, pixels = resample_parameters(params, times, steady), resample_points(pixels, times, steady)
    audio = video if info.has_audio else None
    return DriverTrack(params, fps, audio, pixels, float(times[0]), tuple(notes), int(selection.rotate))


def picture_notes(video: Path, selection: FrameSelection, pixels: np.ndarray) -> list[str]:
    """What is wrong with the face's pictures in the N frames of a driver, for the user (see `picture_warnings`).

    pixels: `[N, 478, 2]` landmarks, NaN in frames without a face. Reads the clip again, and of its frames as many as
    are judged with a face.
    """
    seen = np.isfinite(pixels).all(axis=(1, 2))
    step = max(1, int(seen.sum()) // FRAMES)
    images, faces, details, widths = [], [], [], []
    frames = replace(selection, every=selection.every * step).read(video)
    for (_, image), face in zip(frames, pixels[::step], strict=False):
        if not np.isfinite(face).all():
            continue
        scale = max(1.0, max(image.shape[:2]) / LARGEST_SEARCHED)
        small, place = averaged_down(image, scale), face / scale
        low = np.maximum(np.floor(place.min(0)), 0).astype(int)
        high = np.ceil(place.max(0)).astype(int) + 1
        images.append(small[low[1] : high[1], low[0] : high[0]].copy())  # whole frames would fill the memory
        faces.append(place - low)
        details.append(detail_tensor(small, place))
        widths.append(np.ptp(face[:, 0]))
    if not images:
        return []
    detail = absolute_detail(np.array(details))
    return picture_warnings(images, np.array(faces), detail, np.array(widths), driver=True)


def _gaps(pixels: np.ndarray, inside: np.ndarray) -> dict[int, str]:
    """Why frames have no landmarks (`[N, 478, 2]`, NaN); `inside` `[N]`: the share of a face that was seen."""
    lost = np.nonzero(~np.isfinite(pixels).all(axis=(1, 2)))[0]
    return {int(i): cut_reason(float(inside[i])) if inside[i] > 0 else NO_FACE for i in lost}


def follow_live(
    video: Path, selection: FrameSelection, tracker: LiveTracker
) -> tuple[HeadParameters, np.ndarray, np.ndarray, np.ndarray]:
    """The head in each frame of a clip, from that frame and earlier ones only.

    The first second calibrates the tracker and is tracked again afterwards, so that a file keeps all its frames.
    Returns the parameters (relative to a camera at the origin that looks along -z), the landmarks `[N, 478, 2]`
    (pixels, NaN without a face), the times `[N]` in seconds and the share `[N]` of the face inside the picture.
    Raises InputError for a clip without a face.
    """
    scale = max(1.0, max(tracker.width, tracker.height) / LARGEST_SEARCHED)
    frames = selection.read(video)
    times, pixels, heads, inside = [], [], [], []
    with LandmarkDetector() as detector, Progress("driver", selection.expected) as bar:
        for time, image in frames:
            found, shares = detector.detect_with_shares(averaged_down(image, scale))
            inside.append(max(shares, default=0.0))
            times.append(time)
            pixels.append(np.full((LANDMARK_COUNT, 2), np.nan, np.float32) if found is None else found * scale)
            known = tracker.calibrated
            heads.append(tracker.update(time, pixels[-1]))
            if tracker.calibrated and not known:
                heads = _track_again(tracker, times, pixels)
            bar.update(len(times))
    stacked, stamps = np.array(pixels, np.float32).reshape(-1, LANDMARK_COUNT, 2), np.array(times)
    _require_face(stacked, video, cut=any(inside))
    seen = np.isfinite(stacked).all(axis=(1, 2))
    if not tracker.calibrated:  # the clip, or its face, lasts less than a second
        tracker.calibrate(stamps[seen], stacked[seen])
        heads = _track_again(tracker, times, pixels)
    # Frames before the first face take its pose.
    rows = np.maximum(np.arange(len(stamps)), int(seen.argmax()))
    return HeadParameters.concatenate(heads).select(rows), stacked, stamps, np.array(inside)


def _track_again(tracker: LiveTracker, times: list[float], pixels: list[np.ndarray]) -> list[HeadParameters]:
    tracker.restart()
    return [tracker.update(*frame) for frame in zip(times, pixels, strict=True)]


def _require_face(pixels: np.ndarray, video: Path, cut: bool = False) -> None:
    """Raise InputError where no frame shows a face; `cut`: the faces seen are cut by the picture's edge."""
    if not np.isfinite(pixels).all(axis=(1, 2)).any():
        what, fix = (f"{CUT} in the whole driver", STEP_BACK) if cut else ("no face was found in the driver", WHOLE)
        raise InputError(what, where=video, expected="one whole face", fix=fix)


def resample_points(points: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`[N, P, 2]` at `times` to `[K, P, 2]` at `wanted`, linearly; NaN where a neighbour is."""
    before, share = bracket(times, wanted)
    after = np.where(share > 0, np.minimum(before + 1, len(times) - 1), before)
    weight = share[:, None, None]
    return (points[before] * (1 - weight) + points[after] * weight).astype(points.dtype)
