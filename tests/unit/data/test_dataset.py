from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar.base.errors import CaptureError
from avatar.data.capture import read_capture, write_capture
from avatar.data.dataset import FrameSet
from avatar.flame.landmark_sets import LEFT_EYE, LIPS, RIGHT_EYE, bounding_box, inter_ocular_distance, lip_distance


def test_load_takes_the_frames_of_the_split_in_8_bits(capture_folder, parts):
    capture = read_capture(capture_folder)
    calls = []
    frames = FrameSet.load(capture, "train", progress=lambda done, total: calls.append((done, total)))
    chosen = capture.splits["train"]
    assert frames.indices == chosen
    assert len(frames) == len(chosen) == 25
    assert frames.images.dtype == frames.masks.dtype == torch.uint8
    assert frames.size == (40, 32)
    np.testing.assert_array_equal(frames.images.numpy(), parts.images[chosen])
    np.testing.assert_array_equal(frames.masks.numpy(), parts.masks[chosen])
    assert torch.equal(frames.params.expr, parts.params.expr[chosen])
    assert torch.equal(frames.params.shape, parts.params.shape)
    assert [camera.fl_x for camera in frames.cameras] == [50.0 + i for i in chosen]
    assert frames.names[:2] == ["00000", "00001"]
    assert calls[-1] == (25, 25)


def test_load_takes_given_frames(capture_folder, parts):
    frames = FrameSet.load(read_capture(capture_folder), [29, 2])
    np.testing.assert_array_equal(frames.images.numpy(), parts.images[[29, 2]])
    assert torch.equal(frames.params.jaw, parts.params.jaw[[29, 2]])


def test_boxes_hold_the_landmarks_and_are_empty_without(tmp_path, parts):
    rng = np.random.default_rng(1)
    parts.landmarks[:] = np.nan
    parts.landmarks[0] = 1.0
    parts.landmarks[0, list(LIPS)] = rng.uniform((12, 20), (20, 24), (len(LIPS), 2))
    parts.landmarks[0, [61, 291]] = (12.0, 20.0), (20.0, 24.0)
    parts.landmarks[0, list(RIGHT_EYE)] = (6.5, 9.5)
    parts.landmarks[0, list(LEFT_EYE)] = rng.uniform((30, 9), (38, 11), (len(LEFT_EYE), 2))
    parts.landmarks[0, [263, 362]] = (38.0, 11.0), (30.0, 9.0)
    parts.visible[:] = np.isfinite(parts.landmarks).all(-1)
    frames = FrameSet.load(read_capture(write_capture(tmp_path / "c", **parts.arguments())), [0, 1])
    assert frames.mouth_boxes.tolist() == [[10, 18, 22, 26], [0, 0, 0, 0]]  # 8 wide, so 2 more on each side
    assert frames.eye_boxes[0].tolist() == [[6, 9, 7, 10], [26, 5, 40, 15]]  # 8 wide, 4 more, cut at the border
    assert frames.eye_boxes[1].tolist() == [[0, 0, 0, 0]] * 2


def test_a_damaged_image_is_an_error_in_the_reading_thread(capture_folder):
    (capture_folder / "images/00003.png").write_bytes(b"no picture")
    with pytest.raises(CaptureError, match=r"00003\.png"):
        FrameSet.load(read_capture(capture_folder), "train")


def test_to_keeps_everything_else(capture_folder):
    frames = FrameSet.load(read_capture(capture_folder), "val")
    moved = frames.to("cpu")
    assert torch.equal(moved.images, frames.images)
    assert moved.names == frames.names


def test_bounding_box_outside_the_image_is_empty():
    assert bounding_box(np.array([[50.0, 5.0], [60.0, 9.0]]), 40, 32) == (0, 0, 0, 0)
    assert bounding_box(np.array([[np.nan, 5.0]]), 40, 32) == (0, 0, 0, 0)
    assert bounding_box(np.array([[-5.0, -5.0], [60.0, 90.0]]), 40, 32) == (0, 0, 40, 32)


def test_lengths_between_landmarks():
    landmarks = np.zeros((2, 478, 2))
    landmarks[:, 33], landmarks[:, 263] = (10, 10), (40, 50)
    landmarks[0, 13], landmarks[0, 14] = (20, 60), (23, 64)
    landmarks[1, 13] = np.nan
    np.testing.assert_allclose(inter_ocular_distance(landmarks), [50, 50])
    np.testing.assert_allclose(lip_distance(landmarks), [0.1, np.nan])
