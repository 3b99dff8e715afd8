from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from capture_parts import fake_head

from avatar.base.errors import OutputError
from avatar.data.capture import read_capture
from avatar.data.capture_reference import write_capture_reference
from avatar.flame.landmark_sets import LIPS
from avatar.media.images import read_png
from avatar.training import evaluate as evaluation
from avatar.training import metrics
from avatar.training.evaluate import Rendering, evaluate_frames, frame_renderer, spread

MOUTH, EYES = (15, 20, 25, 26), ((12, 10, 18, 14), (22, 10, 28, 14))


@pytest.fixture
def capture(capture_folder):
    return read_capture(capture_folder)


def face_mask() -> np.ndarray:
    mask = np.zeros((32, 40), bool)
    mask[6:28, 8:33] = True
    return mask


def noisy(image: np.ndarray, seed: int, spread: int = 20) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-spread, spread, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def renderer(parts, change=lambda image: image):
    return lambda index: Rendering(
        change(noisy(parts.images[index], index)), face_mask(), MOUTH, EYES, parts.masks[index] >= 128
    )


def landmarks_of(image: np.ndarray) -> tuple[np.ndarray, int]:
    """A stand-in detector whose answer depends on the picture: brighter pictures have wider open lips."""
    points = np.zeros((478, 2), np.float32)
    points[33], points[263] = (10, 10), (30, 10)
    points[14] = (0, float(image.astype(float).mean()))
    return points, 1


def test_every_figure_can_be_recomputed_from_the_files(capture, parts, tmp_path):
    indices = capture.splits["test"]
    result = evaluate_frames(renderer(parts), capture, indices, tmp_path / "test", detect=landmarks_of)
    names = [f"{i:05d}" for i in indices]
    for kind in ("pred", "gt", "mask"):
        assert sorted(path.stem for path in (tmp_path / "test" / kind).glob("*.png")) == names
    rows = json.loads((tmp_path / "test/frames.json").read_text())
    assert [row["name"] for row in rows] == names
    whole, face, mouth, similarity, eyes, error, background = [], [], [], [], [], [], []
    for row, index in zip(rows, indices, strict=True):
        pred, gt, mask = (read_png(tmp_path / "test" / kind / f"{row['name']}.png") for kind in ("pred", "gt", "mask"))
        np.testing.assert_array_equal(gt, parts.images[index])
        np.testing.assert_array_equal(mask, face_mask() * 255)
        whole.append(metrics.psnr(pred, gt))
        face.append(metrics.psnr(pred, gt, mask > 127))
        background.append(metrics.psnr(pred, gt, parts.masks[index] == 0))
        mouth.append(metrics.box_psnr(pred, gt, tuple(row["mouth_box"])))
        eyes.append(np.mean([metrics.box_psnr(pred, gt, tuple(box)) for box in row["eye_boxes"]]))
        similarity.append(metrics.ssim(pred, gt))
        error.append(metrics.expression_error(landmarks_of(pred)[0], landmarks_of(gt)[0]))
    expected = {"psnr": whole, "face_psnr": face, "mouth_psnr": mouth, "ssim": similarity, "eye_psnr": eyes}
    expected["expression_error"] = error
    expected["background_psnr"] = background
    expected["person_iou"] = 1.0
    for key, values in expected.items():
        assert result[key] == pytest.approx(np.mean(values), abs=1e-12), key
    assert result["frames"] == len(indices) == 3
    assert result["expression_frames_missed"] == 0
    assert result["lpips"] is None


def test_the_person_s_outline_is_compared_by_area():
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert metrics.intersection_over_union(first, second) is None
    first[:2], second[1:3] = True, True
    assert metrics.intersection_over_union(first, second) == pytest.approx(1 / 3)


def test_damage_shows_where_it_was_done(capture, parts, tmp_path):
    """A ruined mouth must show in mouth_psnr, a ruined background must leave face and mouth alone."""

    def ruin_mouth(image):
        image[20:26, 15:25] = 0
        return image

    def ruin_outside(image):
        image[~face_mask()] = 0
        return image

    def run(change):
        return evaluate_frames(renderer(parts, change), capture, [5, 6, 7], tmp_path / "x", detect=None)

    fine, mouth, outside = run(lambda image: image), run(ruin_mouth), run(ruin_outside)
    assert mouth["mouth_psnr"] < fine["mouth_psnr"] - 10
    assert mouth["eye_psnr"] == fine["eye_psnr"]
    assert mouth["face_psnr"] < fine["face_psnr"] - 3
    assert outside["mouth_psnr"] == fine["mouth_psnr"]
    assert outside["face_psnr"] == fine["face_psnr"]
    assert outside["psnr"] < fine["psnr"] - 5


def test_old_files_are_replaced(capture, parts, tmp_path):
    folder = tmp_path / "val"
    evaluate_frames(renderer(parts), capture, [1, 2, 3], folder, detect=None)
    evaluate_frames(renderer(parts), capture, [9, 19], folder, detect=None)
    for kind in ("pred", "gt", "mask"):
        assert sorted(path.name for path in (folder / kind).iterdir()) == ["00009.png", "00019.png"]


def test_only_what_an_evaluation_wrote_is_removed(capture, parts, tmp_path):
    folder = tmp_path / "val"
    (tmp_path / "mine.png").write_text("mine")
    evaluate_frames(renderer(parts), capture, [1], folder, detect=None)
    rows = [{"name": "carried_over"}, {"name": "../../mine"}, {"name": f"{tmp_path}/mine"}]
    (folder / "frames.json").write_text(json.dumps(rows))
    for name in ("carried_over", "holiday"):
        (folder / "gt" / f"{name}.png").write_text("a picture")
    evaluate_frames(renderer(parts), capture, [9], folder, detect=None)
    assert sorted(path.name for path in (folder / "gt").iterdir()) == ["00009.png", "holiday.png"]
    assert sorted(path.name for path in (folder / "pred").iterdir()) == ["00009.png"]
    assert (tmp_path / "mine.png").exists()


@pytest.mark.parametrize("place", ["val/gt", "val", "val/frames.json"])
def test_nothing_is_written_or_removed_through_a_link(capture, parts, tmp_path, place):
    pictures, folder = tmp_path / "pictures", tmp_path / "eval" / "val"
    (pictures / "gt").mkdir(parents=True)
    for name in ("00001.png", "gt/00001.png", "holiday.png"):
        (pictures / name).write_text("mine")
    link = tmp_path / "eval" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(pictures)
    before = sorted(pictures.rglob("*"))
    with pytest.raises(OutputError, match="a link stands where files are written"):
        evaluation.evaluate(tmp_path, ("val",), detect=None)
    if place != "val":
        with pytest.raises(OutputError, match="a link stands where files are written"):
            evaluate_frames(renderer(parts), capture, [1], folder, detect=None)
    assert sorted(pictures.rglob("*")) == before


def test_missed_detections_are_counted_not_guessed(capture, parts, tmp_path):
    real = [parts.images[i].tobytes() for i in (9, 19)]

    def detect(image):
        return (None, 0) if image.tobytes() == real[1] else landmarks_of(image)

    result = evaluate_frames(renderer(parts), capture, [9, 19], tmp_path / "val", detect=detect)
    only_first = evaluate_frames(renderer(parts), capture, [9], tmp_path / "val", detect=landmarks_of)
    assert result["expression_frames_missed"] == 1
    assert result["expression_error"] == only_first["expression_error"] > 0
    blind = evaluate_frames(renderer(parts), capture, [9, 19], tmp_path / "val", detect=lambda image: (None, 0))
    assert blind["expression_error"] is None
    assert blind["expression_frames_missed"] == 2
    assert "no face was found" in blind["expression_error_reason"]


def test_without_a_detector_the_reason_is_given(capture, parts, tmp_path):
    result = evaluate_frames(renderer(parts), capture, [9], tmp_path / "val", detect=None)
    assert result["expression_error"] is None
    assert result["expression_error_reason"] == "no landmark detector was given"


def test_lip_correlation_follows_the_pictures(capture, parts, tmp_path):
    for i in range(30):
        parts.images[i] = 5 * i
    capture.read_image = lambda index: parts.images[index]

    def run(change):
        render = renderer(parts, change)
        return evaluate_frames(render, capture, range(0, 30, 3), tmp_path / "x", detect=landmarks_of)["lip_correlation"]

    assert run(lambda image: image) > 0.99
    assert run(lambda image: 255 - image) < -0.99
    assert run(lambda image: image * 0) is None, "lips that never move correlate with nothing"


def test_time_leaves_out_the_first_frame(capture, parts, tmp_path):
    slow = iter([0.3, 0.0, 0.0])

    def render(index):
        time.sleep(next(slow))
        return renderer(parts)(index)

    assert evaluate_frames(render, capture, [1, 2, 3], tmp_path / "x", detect=None)["seconds_per_frame"] < 0.1


def test_a_face_out_of_the_picture_has_no_figures(capture, parts, tmp_path):
    def render(index):
        empty = (0, 0, 0, 0)
        nothing = np.zeros((32, 40), bool)
        return Rendering(parts.images[index], nothing, empty, (empty, empty), nothing)

    result = evaluate_frames(render, capture, [1, 2], tmp_path / "x", detect=None)
    assert result["psnr"] == 100.0
    assert result["face_psnr"] is result["mouth_psnr"] is result["eye_psnr"] is None


def test_spread():
    assert spread(range(10), None) == list(range(10))
    assert spread(range(10), 3) == [0, 4, 9]
    assert spread([4, 8], 5) == [4, 8]


# --- the whole of evaluate() around an avatar that paints by its parameters ------------------------------------------


class PaintingAvatar:
    """Stands for a trained avatar: paints each frame from the parameters and camera it is given."""

    def __init__(self, parts):
        self.parts, self.calls = parts, []
        self.asset = fake_head()
        self.head, self.device = PaintingHead(), torch.device("cpu")
        self.shows_room = False
        self.identity = SimpleNamespace(with_identity=lambda params: params)

    def render_frame(self, params, camera, *, deform_code=None, background=None):
        assert background is None, "a capture's frames stand before its background"
        assert len(params) == 1
        self.calls.append(deform_code)
        frame = int((self.parts.params.jaw - params.jaw).abs().sum(1).argmin())
        assert camera.fl_x == self.parts.cameras[frame].fl_x, "the camera is that of the same frame"
        image = torch.from_numpy(self.parts.images[frame].astype(np.float32) / 255)
        opacity = torch.from_numpy(self.parts.masks[frame].astype(np.float32) / 255)
        return SimpleNamespace(image=image, mask=torch.from_numpy(face_mask()), opacity=opacity)


class PaintingHead(torch.nn.Module):
    """Lips that span 4 cm before the camera, all other landmarks behind it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("anchor", torch.zeros(1))

    def forward(self, params):
        return SimpleNamespace(vertices=torch.zeros(1, 1, 3))

    def landmarks(self, vertices):
        points = torch.zeros(1, 478, 3)
        points[:, :, 2] = 50.0
        points[:, list(LIPS)] = torch.tensor([0.0, 0.0, 0.0])
        points[:, 61], points[:, 291] = torch.tensor([-0.02, 0.0, 0.0]), torch.tensor([0.02, 0.0, 0.0])
        return points


def test_mouth_box_is_the_projection_grown_by_a_quarter_of_its_width(capture, parts):
    shown = frame_renderer(PaintingAvatar(parts), capture)(0)
    distance = np.linalg.norm(parts.cameras[0].position)
    half = 0.02 * parts.cameras[0].fl_x / distance
    x0, y0, x1, y1 = shown.mouth_box
    assert x0 == int(np.floor(19.5 - 1.5 * half))
    assert x1 == int(np.ceil(19.5 + 1.5 * half))
    assert (y0, y1) == (int(np.floor(17.25 - half / 2)), int(np.ceil(17.25 + half / 2)))
    assert shown.eye_boxes == ((0, 0, 0, 0), (0, 0, 0, 0)), "behind the camera"


def test_evaluate_a_run(capture, parts, tmp_path, monkeypatch):
    run = tmp_path / "run"
    write_capture_reference(run, capture)
    avatar = PaintingAvatar(parts)
    checkpoint = SimpleNamespace(load_avatar=lambda folder, *, device: avatar)
    monkeypatch.setitem(sys.modules, "avatar.data.checkpoint", checkpoint)
    result = evaluation.evaluate(run, detect=landmarks_of, progress=False)
    assert json.loads((run / "eval/metrics.json").read_text()) == result
    assert list(result) == ["val", "test"]
    for split in result:
        assert result[split]["frames"] == len(capture.splits[split])
        assert result[split]["psnr"] == 100.0, "each frame is rendered with its own parameters"
        assert result[split]["lpips"] is None
        assert result[split]["lpips_reason"]
        assert {"ssim", "face_psnr", "mouth_psnr", "expression_error", "seconds_per_frame"} <= result[split].keys()
    assert set(avatar.calls) == {None}, "the mean code, since the field has not seen these frames"
    result = evaluation.evaluate(run, ("test",), detect=landmarks_of, progress=False, max_frames=2)
    assert result["test"]["frames"] == 2
