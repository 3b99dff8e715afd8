"""One photograph becomes a capture of one frame with texture and light; what cannot be used is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar.animation.driver_files import load_driver
from avatar.base.errors import InputError, OutputError
from avatar.data.capture import read_capture
from avatar.flame.library import load_head
from avatar.media.images import read_png
from avatar.synthetic.clip import make_synthetic_scene
from avatar.synthetic.render import render_synthetic_frame
from capture_tools.photo import capture_photograph, read_photograph
from capture_tools.report.overlay import CAPTION
from capture_tools.settings import CaptureSettings

EXIF_ORIENTATION, EXIF_IFD, EXIF_FOCAL_35MM = 0x0112, 0x8769, 0xA405
TURNED_RIGHT = 6  # stored a quarter turn counter-clockwise: the reader has to turn it clockwise


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A frame of an invented person."""
    return render_synthetic_frame(make_synthetic_scene(seed=3, size=320, frames=40), 20).image


@pytest.fixture(scope="module")
def photograph(picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG as phones write it: lying on its side, with the lens in its Exif."""
    from PIL import Image

    image = Image.fromarray(np.rot90(picture))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED_RIGHT
    exif.get_ifd(EXIF_IFD)[EXIF_FOCAL_35MM] = 77
    path = tmp_path_factory.mktemp("photograph") / "me.jpg"
    image.save(path, quality=95, exif=exif)
    return path


def test_a_photograph_is_read_upright_with_its_lens(photograph: Path, picture: np.ndarray) -> None:
    read = read_photograph(photograph)
    assert np.abs(read.image.astype(int) - picture).mean() < 4
    assert read.focal_35mm == 77


@pytest.mark.slow
def test_capture_of_a_photograph(photograph: Path, tmp_path: Path) -> None:
    out = capture_photograph(photograph, tmp_path / "photo", CaptureSettings(size=256))
    capture = read_capture(out)
    assert len(capture.frames) == 1
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["landmark_error_iod"] < 0.03
    assert report["focal_source"] == "the photograph's Exif"
    assert len(capture.splits["train"]) == 1
    assert len(load_driver(out, load_head()).params) == 1  # a picture drives an avatar by way of its capture
    texture = read_png(out / "appearance" / "albedo.png")
    assert texture.shape[0] == texture.shape[1] >= 512
    light = json.loads((out / "appearance" / "light.json").read_text())["harmonics"]
    assert np.shape(light) == (9, 3)
    assert read_png(out / "report" / "overlay.png").shape == (256 + CAPTION, 5 * 256, 3)
    with np.load(out / "flame_param" / "00000.npz") as file:
        assert file["rotation"].shape == (1, 3)
        assert np.abs(file["expr"]).max() < 1.5


def test_what_is_no_photograph_of_a_face_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    with pytest.raises(InputError, match="does not exist"):
        capture_photograph(tmp_path / "none.jpg", tmp_path / "out")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        capture_photograph(tmp_path / "text.jpg", tmp_path / "out")
    Image.new("RGB", (200, 150), (90, 120, 160)).save(tmp_path / "wall.png")
    with pytest.raises(InputError, match="no face was found"):
        capture_photograph(tmp_path / "wall.png", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_face_cut_by_the_edge_is_refused_with_the_reason(picture: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture[:, 138:]).save(tmp_path / "half.png")
    with pytest.raises(InputError, match="the face is cut by the picture's edge") as caught:
        capture_photograph(tmp_path / "half.png", tmp_path / "out")
    assert "expected: 85% of it inside" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_face_without_contrast_is_refused_and_leaves_nothing(picture: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    pale = (picture * 0.06 + 180).astype(np.uint8)
    Image.fromarray(pale).save(tmp_path / "pale.png")
    with pytest.raises(InputError, match="the person cannot be told from the background"):
        capture_photograph(tmp_path / "pale.png", tmp_path / "out", CaptureSettings(size=128))
    assert not (tmp_path / "out").exists()


def test_another_folder_is_not_overwritten(photograph: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError):
        capture_photograph(photograph, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize("arguments", [[], ["clip.mp4", "--image", "me.jpg"]])
def test_a_capture_needs_one_source(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from avatar.app.cli import main

    assert main(["capture", *arguments, "--out", str(tmp_path / "out")]) == 1
    assert "either VIDEO or --image PHOTO" in capsys.readouterr().err
