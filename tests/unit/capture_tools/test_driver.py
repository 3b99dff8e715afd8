"""A driver of variable frame rate keeps time with its sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from painted_clip import PaintedClip
from tiny_media import write_sound

from avatar.base.errors import InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.flame.resampling import resample_parameters
from avatar.media.video import write_video
from capture_tools.driver import resample_points, track_driver
from capture_tools.track.clip_tracking import TrackSettings

QUICK = TrackSettings(rigid_steps=60, face_steps=120, offset_steps=60)
HASTY = TrackSettings(rigid_steps=60, face_steps=5, offset_steps=5)
"""For tests that ask nothing of the face's fit."""
TIMES = np.array([0.0, 0.1, 0.3, 0.6])


def performance(head: HeadAsset) -> HeadParameters:
    p = HeadParameters.neutral(head, 4)
    p.expr[:, 3] = torch.tensor([0.0, 1.0, 0.0, 3.0])
    p.translation[:, 1] = torch.tensor([0.0, 0.1, 0.3, 0.6])
    # About one axis, past half a turn: the shortest way from 170 to 190 degrees crosses 180.
    angles = torch.deg2rad(torch.tensor([150.0, 170.0, 190.0, 190.0]))
    p.rotation[:, 1] = torch.where(angles > np.pi, angles - 2 * np.pi, angles)
    p.eyes[:, 4] = torch.tensor([0.0, 0.2, 0.2, 0.2])
    return p


def test_resampling(head: HeadAsset) -> None:
    wanted = np.array([0.0, 0.05, 0.2, 0.25, 0.45, 0.6, 0.9])
    found = resample_parameters(performance(head), TIMES, wanted)
    np.testing.assert_allclose(found.expr[:, 3], [0, 0.5, 0.5, 0.25, 1.5, 3, 3], atol=1e-6)
    np.testing.assert_allclose(found.translation[:, 1], [0, 0.05, 0.2, 0.25, 0.45, 0.6, 0.6], atol=1e-6)
    degrees = np.rad2deg(found.rotation[:, 1].numpy()) % 360
    np.testing.assert_allclose(degrees, [150, 160, 180, 185, 190, 190, 190], atol=1e-2)
    np.testing.assert_allclose(found.eyes[:, 4], [0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2], atol=1e-6)
    assert len(found) == 7


def test_points_next_to_a_gap_are_missing() -> None:
    points = np.arange(4, dtype=np.float32)[:, None, None].repeat(2, 2)
    points[2] = np.nan
    found = resample_points(points, TIMES, np.array([0.05, 0.1, 0.2, 0.3, 0.45, 0.6]))[:, 0, 0]
    np.testing.assert_allclose(found, [0.5, 1, np.nan, np.nan, np.nan, 3], atol=1e-6)


def variable(path: Path, images: list[np.ndarray], stamps: list[int]) -> Path:
    """An mp4 whose frames are shown at these milliseconds."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for image, stamp in zip(images, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_the_performance_is_played_at_the_time_it_was_filmed(
    painted: PaintedClip, head: HeadAsset, tmp_path: Path
) -> None:
    """The camera slowed down after half of the frames, as phones do in the dark."""
    stamps = [33 * i for i in range(14)] + [13 * 33 + 66 * (i - 13) for i in range(14, 28)]
    found = track_driver(variable(tmp_path / "clip.mp4", painted.images, stamps), head, settings=HASTY)
    seconds = stamps[-1] / 1000
    assert (len(found.params) - 1) / found.fps == pytest.approx(seconds, abs=0.6 / found.fps)
    assert len(found.landmarks) == len(found.params)
    shown = np.arange(len(found.params)) / found.fps
    truth = np.interp(shown, np.array(stamps) / 1000, painted.params.rotation[:, 1].numpy())
    assert np.corrcoef(found.params.rotation[:, 1], truth)[0, 1] > 0.99
    played_evenly = np.interp(shown, np.linspace(0, seconds, 28), painted.params.rotation[:, 1].numpy())
    assert np.corrcoef(found.params.rotation[:, 1], played_evenly)[0, 1] < 0.97  # what it would be without


@pytest.mark.slow
def test_a_live_driver_keeps_every_frame(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    """From picture to parameters; nothing is seen in the first two frames and in two later ones."""
    grey = np.full_like(painted.images[0], 127)
    images = [grey, grey, *painted.images, grey, grey]
    clip = write_video(tmp_path / "clip.mp4", images, 25, synthetic=True)
    found = track_driver(clip, head, settings=QUICK, live=True)
    assert len(found.params) == len(found.landmarks) == 32
    assert found.fps == pytest.approx(25, abs=0.01)
    assert np.isnan(found.landmarks[[0, 1, 30, 31]]).all()
    assert np.isfinite(found.landmarks[2:30]).all()
    for name in ("rotation", "translation", "expr", "jaw"):
        values = getattr(found.params, name)
        assert torch.equal(values[:2], values[2].expand(2, -1)), name
        assert torch.equal(values[30:], values[29].expand(2, -1)), name
    shown = found.params.select(slice(2, 30))
    assert np.corrcoef(shown.jaw[:, 0], painted.params.jaw[:, 0])[0, 1] > 0.85
    assert np.corrcoef(shown.rotation[:, 1], painted.params.rotation[:, 1])[0, 1] > 0.97


def test_a_live_driver_shorter_than_a_second(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", painted.images[:10], 25, synthetic=True)
    found = track_driver(clip, head, settings=HASTY, live=True)
    assert len(found.params) == 10
    assert (found.audio, found.audio_start, found.notes) == (None, 0.0, ())
    assert found.params.shape.any()  # the person was fitted all the same
    empty = write_video(tmp_path / "wall.mp4", [painted.wall] * 4, 25, synthetic=True)
    with pytest.raises(InputError, match="no face was found in the driver"):
        track_driver(empty, head, settings=HASTY, live=True)


@pytest.mark.slow
def test_the_sound_begins_with_the_first_frame_driven(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    """`start` lies between two frames; sound in a form without a decoder is left out, and that is said."""
    tone = write_sound(tmp_path / "tone.wav", "pcm_s16le")
    clip = write_video(tmp_path / "clip.mp4", painted.images[:10], 25, audio_from=tone, synthetic=True)
    found = track_driver(clip, head, settings=HASTY, live=True, start=0.05)
    assert len(found.params) == 8
    assert (found.audio, found.notes) == (clip, ())
    assert found.audio_start == pytest.approx(0.08)
    clip.write_bytes(clip.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"dapa"))
    found = track_driver(clip, head, settings=HASTY, live=True)
    assert found.audio is None
    assert "written without sound" in found.notes[0]


@pytest.mark.parametrize("live", [False, True])
def test_what_is_wrong_with_the_pictures_is_said(
    painted: PaintedClip, head: HeadAsset, tmp_path: Path, live: bool
) -> None:
    """A dark clip in which the face slides over the picture's edge, and is gone in one frame."""
    images = [((image.astype(float) - 127.5) * 0.35 + 127.5 - 0.35 * 255).clip(0, 255) for image in painted.images]
    images = [image.astype(np.uint8) for image in images]
    for index, edge in enumerate((40, 80, 110, 130, 150, 150, 130, 110, 80, 40), start=10):
        images[index] = np.pad(images[index][:, edge:], ((0, 0), (0, edge), (0, 0)), "edge")
    images[25] = np.zeros_like(images[25])
    clip = write_video(tmp_path / "clip.mp4", images, 25, synthetic=True)
    found = track_driver(clip, head, settings=HASTY, live=live)
    dark, cut, gone = found.notes
    assert dark.startswith("the driver's face is very dark")
    assert "the avatar will be as" not in dark
    assert "filled in from others, the face is cut by the picture's edge: 15-16" in cut
    assert gone.endswith("no face was found: 25")
