"""Frames to which no head fits are left out after tracking; the lens a file names is expected."""

from __future__ import annotations

import numpy as np
import pytest
from found_clip import fitted, found

from avatar.flame.assets import HeadAsset
from capture_tools.stages.tracking import lens_settings, without_misfits
from capture_tools.track.clip_tracking import TrackSettings


def test_faces_on_bare_walls_are_left_out(head: HeadAsset) -> None:
    errors = np.full(26, 0.01)
    errors[[4, 9]] = 0.3, 0.07  # the second is a hard frame, but a face
    clip, result, rows = without_misfits(found(28, {0: "no face was found", 2: "x"}), fitted(head, errors))
    assert clip.reasons[6] == "the head does not fit what was taken for a face (30% of the eye distance)"
    assert sorted(clip.reasons) == [0, 2, 6]
    assert rows.tolist() == [i for i in range(26) if i != 4]
    assert result.params.expr[:, 0].tolist() == rows.tolist()
    assert len(result.projected) == len(result.errors) == len(result.facing) == len(clip.used) == 25
    assert result.landmark_error_iod == pytest.approx((24 * 0.01 + 0.07) / 25)


def test_a_clip_that_fits_badly_as_a_whole_keeps_its_frames(head: HeadAsset) -> None:
    clip, _, rows = without_misfits(found(20), fitted(head, np.linspace(0.05, 0.12, 20)))
    assert clip.reasons == {}
    assert len(rows) == 20


def test_the_lens_is_expected_where_the_file_names_it() -> None:
    assert lens_settings(found(3).focal_prior) == TrackSettings()
    prior = found(3, focal=26.0).focal_prior
    assert prior == pytest.approx(26 / 43.27 * 400 / 320, rel=1e-3)
    assert lens_settings(prior).focal_prior == prior
