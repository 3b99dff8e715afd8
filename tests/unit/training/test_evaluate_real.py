"""The landmark figures on a real face: how much of expression_error is the detector's own noise."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from avatar.flame.landmark_sets import lip_distance
from avatar.training import metrics

CLIP = Path(__file__).resolve().parents[3].parent / "shared/data/clips/white_house/address_10s.mp4"


@pytest.mark.real
@pytest.mark.skipif(not CLIP.exists(), reason="needs ../shared/data/clips/white_house")
def test_expression_error_is_small_for_noise_and_large_for_another_moment():
    from avatar.media.video import read_video
    from capture_tools.detect.landmark_detector import LandmarkDetector

    frames = [frame[:, 280:1000] for _, frame in islice(read_video(CLIP, every=15), 8)]
    rng = np.random.default_rng(0)
    noisy = [np.clip(np.rint(f + rng.normal(0, 5, f.shape)), 0, 255).astype(np.uint8) for f in frames]
    with LandmarkDetector(static=True) as detector:
        real = [detector.detect(frame)[0] for frame in frames]
        again = [detector.detect(frame)[0] for frame in frames]
        seen = [detector.detect(frame)[0] for frame in noisy]
    assert all(points is not None for points in real + seen)
    for a, b in zip(real, again, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="static detection must not depend on earlier frames")
    noise = [metrics.expression_error(a, b) for a, b in zip(seen, real, strict=True)]
    others = [metrics.expression_error(a, b) for a, b in zip(real[1:], real, strict=False)]
    assert max(noise) < 0.02
    assert min(others) > max(noise)
    lips = [np.array([lip_distance(points) for points in series]) for series in (seen, real)]
    assert metrics.pearson(*lips) > 0.9
