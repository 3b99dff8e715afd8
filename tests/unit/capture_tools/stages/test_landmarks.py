"""From a clip's frames to the face that is meant and the frames that can be used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from painted_clip import PaintedClip, smear

from avatar.base.errors import InputError
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.media.video import probe_video, write_video
from capture_tools.detect.found_clip import FoundClip, find_clip
from capture_tools.detect.landmark_detector import MINIMAL_INSIDE
from capture_tools.detect.observing import Observations, observe
from capture_tools.detect.selection import select_frames


def look(path: Path) -> Observations:
    return observe(path, select_frames(path)[1])


def find(path: Path, images: list[np.ndarray], shot: int | None = None) -> FoundClip:
    video = write_video(path, images, 25, synthetic=True)
    return find_clip(look(video), video, shot)


def test_black_and_blurred_frames_are_left_out(painted: PaintedClip, tmp_path: Path) -> None:
    images = list(painted.images)
    images[4] = np.zeros_like(images[4])
    images[9] = painted.wall
    images[17] = smear(images[17], 15, 90)
    clip = find(tmp_path / "clip.mp4", images)
    assert sorted(clip.reasons) == [4, 9, 17]
    assert clip.reasons[4] == "the picture is black"
    assert clip.reasons[9] == "no face was found"
    assert clip.reasons[17].startswith("the face is blurred")
    assert len(clip.used) == 25
    assert clip.shots == [(0, 27)]
    assert clip.focal_prior is None
    assert not clip.occluded.any()


def test_frames_with_half_a_face_are_left_out_by_name(painted: PaintedClip, tmp_path: Path) -> None:
    """A face slides to the edge and comes back; a chin that is a little outside is used as it is."""
    images = []
    for row, image in enumerate([*painted.images, *painted.images[:-13:-1]]):
        columns = min(15 * max(min(row - 6, 33 - row), 0), 158)
        images.append(np.concatenate([image[:, columns:], painted.wall[:, :columns]], axis=1))
    clip = find(tmp_path / "clip.mp4", images)
    assert {18, 19, 20, 21} <= set(clip.reasons) <= set(range(15, 27))
    cut = [reason for reason in clip.reasons.values() if reason.startswith("the face is cut by the picture's edge (")]
    assert cut  # the others have lost it
    assert set(clip.reasons.values()) - set(cut) <= {"no face was found"}
    assert (~clip.unseen[clip.used]).mean(axis=1).min() >= MINIMAL_INSIDE
    assert not clip.others.any()

    chin = round(float(np.nanmax(clip.pixels[clip.used, :, 1], axis=1).min())) // 2 * 2 - 8
    low = find(tmp_path / "chin.mp4", [image[:chin] for image in painted.images])
    assert low.reasons == {}
    assert 0 < low.unseen.mean() < 0.15


def test_a_face_cut_all_through_is_refused_with_the_reason(painted: PaintedClip, tmp_path: Path) -> None:
    """Also where so little is seen that the detector takes it for nothing."""
    for columns in (158, 166):
        video = write_video(
            tmp_path / f"{columns}.mp4", [image[:, columns:] for image in painted.images], 25, synthetic=True
        )
        _, selection = select_frames(video)
        with pytest.raises(InputError, match="the face is cut by the picture's edge in") as caught:
            find_clip(observe(video, selection), video, None, selection)
        assert "% inside)" in str(caught.value)
        assert "film from farther away" in str(caught.value)


def test_the_larger_of_two_people_is_followed(painted: PaintedClip, tmp_path: Path) -> None:
    """The right half holds the same head smaller; the left one turns away for a while, into a bare wall."""
    images = []
    for i, image in enumerate(painted.images):
        right = painted.wall.copy()
        right[40:208, 48:272] = cv2.resize(image, (224, 168), interpolation=cv2.INTER_AREA)
        images.append(np.concatenate([painted.wall if 10 <= i < 14 else image, right], axis=1))
    clip = find(tmp_path / "two.mp4", images)
    assert sorted(clip.reasons) == [10, 11, 12, 13]
    assert np.nanmax(clip.pixels[..., 0]) < 320
    assert (clip.others[clip.used] > 0.5).mean() > 0.9


@pytest.fixture(scope="module")
def cut(painted: PaintedClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-eight frames, then twenty-two of the head, mirrored, before another wall."""
    other = (255 - painted.wall) // 2
    pairs = zip(painted.images[:22], painted.masks[:22], strict=True)
    second = [np.where(mask[:, ::-1, None], image[:, ::-1], other) for image, mask in pairs]
    path = tmp_path_factory.mktemp("cut") / "cut.mp4"
    return write_video(path, [*painted.images, *second], 25, synthetic=True)


def test_the_longest_shot_is_used_unless_asked_otherwise(cut: Path) -> None:
    seen = look(cut)
    clip = find_clip(seen, cut)
    assert clip.shots == [(0, 27), (28, 49)]
    assert clip.used.tolist() == list(range(28))
    assert clip.reasons[30] == "it belongs to another shot"
    entries = clip.shot_entries()
    assert [entry["frames_with_face"] for entry in entries] == [28, 22]
    assert entries[1]["seconds"] == pytest.approx([28 / 25, 49 / 25])
    second = find_clip(seen, cut, shot=2)
    assert second.used.tolist() == list(range(28, 50))
    for wrong in (0, 3):
        with pytest.raises(InputError, match="--shot is out of range") as caught:
            find_clip(seen, cut, shot=wrong)
        assert "1 to 2" in str(caught.value)


def with_rotation(path: Path, images: list[np.ndarray], degrees: int) -> Path:
    """Frames stored lying on their side, with the flag that sets them upright, as a phone does."""
    import av

    stored = [np.ascontiguousarray(np.rot90(image, -degrees // 90)) for image in images]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *stored[0].shape[:2], "yuv420p"
        stream.options = {"crf": "12"}
        stream.set_display_rotation(degrees)
        for image in stored:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def upright(painted: PaintedClip, tmp_path_factory: pytest.TempPathFactory) -> Observations:
    """Six frames as they are."""
    path = tmp_path_factory.mktemp("upright") / "upright.mp4"
    return look(write_video(path, painted.images[:6], 25, synthetic=True))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_phones(painted: PaintedClip, upright: Observations, tmp_path: Path, degrees: int) -> None:
    path = with_rotation(tmp_path / "turned.mp4", painted.images[:6], degrees)
    assert probe_video(path).rotation == degrees
    turned = look(path)
    assert turned.size.tolist() == upright.size.tolist()
    eyes = inter_ocular_distance(upright.faces[0, :, :2])
    assert np.abs(turned.faces[..., :2] - upright.faces[..., :2]).mean() < 0.02 * eyes


def test_large_frames_are_searched_small_and_measured_large(painted: PaintedClip, tmp_path: Path) -> None:
    """4K: the landmarks are those of the small clip, in the large one's pixels."""
    images = painted.images[:4]
    large = [cv2.resize(image, (3840, 2880), interpolation=cv2.INTER_CUBIC) for image in images]
    small = look(write_video(tmp_path / "small.mp4", images, 25, synthetic=True))
    found = look(write_video(tmp_path / "large.mp4", large, 25, synthetic=True))
    assert found.size.tolist() == [3840, 2880]
    eyes = inter_ocular_distance(small.faces[0, :, :2])
    difference = (found.faces / 12 - small.faces)[..., :2]
    assert np.abs(difference).mean() < 0.03 * eyes
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.35


@pytest.mark.real
def test_two_real_people(real_clips: Path) -> None:
    video = real_clips / "odd" / "two_people.gif"
    clip = find_clip(look(video), video)
    assert len(clip.used) == len(clip.timestamps) == 56
    middles = np.nanmean(clip.pixels[..., 0], axis=1)
    assert np.abs(np.diff(middles)).max() < inter_ocular_distance(clip.pixels).mean()
    assert (clip.others > 0.5).mean() > 0.9


@pytest.mark.real
@pytest.mark.parametrize("name", ["white_house/address_10s.mp4", "webcam_man/take1.mp4", "grid/lrwp9a.mpg"])
@pytest.mark.slow
def test_no_frame_of_a_good_clip_is_left_out(real_clips: Path, name: str) -> None:
    video = real_clips / name
    clip = find_clip(observe(video, select_frames(video, end=43.0)[1]), video)
    assert clip.reasons == {}
    assert not clip.occluded.any()
