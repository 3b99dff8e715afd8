"""Sequences of pictures, layers, several drivers in a row, and going on where an interrupted command stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from grey_avatar import GreyAvatar, performance
from signing_parts import assert_signed, has_manifest
from tiny_media import write_sound

from avatar.animation import writing
from avatar.animation.driver_files import Driver
from avatar.animation.layers import depth_picture
from avatar.animation.options import DrivenPresentation, Presentation, Rendering, Retarget
from avatar.animation.outputs import parse_layers, target_of
from avatar.animation.reanimate import reanimate, render_path
from avatar.animation.work import work_beside, work_folder
from avatar.base.errors import ConfigError, InputError, MissingDependencyError, OutputError
from avatar.base.provenance import Source
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.geometry.cameras import Camera, project
from avatar.media.images import read_png
from avatar.media.manifest import CERTIFICATE, KEY
from avatar.media.video import has_synthetic_tag, probe_video, read_video, write_video


@pytest.fixture(scope="module")
def head() -> HeadAsset:
    return load_head()


@pytest.fixture
def avatar(head: HeadAsset) -> GreyAvatar:
    return GreyAvatar(head)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def brightness(path: Path) -> list[float]:
    return [float(image.mean()) / 255 for _, image in read_video(path)]


class Stops(Exception):
    """Somebody pressed Ctrl-C."""


@contextmanager
def interrupted(avatar: GreyAvatar, after: int) -> Iterator[None]:
    """The block ends in the middle of frame `after`."""
    real = avatar.render_frame

    def render(params, camera, **options):
        if len(avatar.asked) == after:
            raise Stops
        return real(params, camera, **options)

    avatar.render_frame = render
    with pytest.raises(Stops):
        yield
    avatar.render_frame = real
    avatar.asked.clear()


# -- what an output path means -----------------------------------------------------------------------------------------


def test_a_folder_and_a_pattern_are_sequences(tmp_path: Path) -> None:
    folder, pattern = target_of(tmp_path / "frames"), target_of(tmp_path / "me_%04d.png")
    assert folder.sequence is not None
    assert pattern.sequence is not None
    assert folder.sequence.file(7) == tmp_path / "frames" / "00007.png"
    assert pattern.sequence.file(12345) == tmp_path / "me_12345.png"
    assert folder.layer("depth").file(7) == tmp_path / "frames_depth" / "00007.png"
    assert pattern.layer("depth").file(7) == tmp_path / "me_0007_depth.png"
    assert target_of(tmp_path / "o.mp4").layer("alpha").file(0) == tmp_path / "o_alpha" / "00000.png"
    (tmp_path / "v1.2").mkdir()
    assert target_of(tmp_path / "v1.2").sequence is not None
    assert target_of(tmp_path / "o.png", still=True).still


@pytest.mark.parametrize("name", ["o.avi", "me_%d_%d.png", "me_%s.png", "v1.2", "o.png"])
def test_other_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="ending"):
        target_of(tmp_path / name)


def test_unknown_layers_are_refused() -> None:
    assert parse_layers("alpha, depth,alpha") == ("alpha", "depth")
    with pytest.raises(ConfigError, match="--layers") as caught:
        parse_layers("depht")
    assert caught.value.fix == "did you mean depth?"


# -- sequences and layers ----------------------------------------------------------------------------------------------


def test_a_sequence_has_a_tagged_picture_a_frame(avatar: GreyAvatar, head: HeadAsset, tmp_path: Path) -> None:
    out = reanimate(
        avatar, Driver(performance(head), 25.0, None), tmp_path / "frames", DrivenPresentation("transparent")
    )
    assert names(tmp_path) == [f"frames/0000{index}.png" for index in range(6)]
    for index in range(6):
        file = out / f"0000{index}.png"
        assert "synthetic" in iio.immeta(file)["Comment"]
        picture = iio.imread(file)
        assert picture.shape == (32, 48, 4)
        assert (picture[..., 3] == 128).all()  # half opaque, so straight colours are twice as bright
        assert abs(float(picture[..., :3].mean()) / 255 - min(1, 2 * 0.16 * index)) < 0.02


def test_a_pattern_leaves_the_folders_other_files_alone(avatar: GreyAvatar, head: HeadAsset, tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"mine")
    driver = Driver(performance(head, 2), 25.0, None)
    reanimate(avatar, driver, tmp_path / "a_%02d.png")
    render_path(avatar, tmp_path / "b_%d.png", Rendering(frames=2))
    assert names(tmp_path) == ["a_00.png", "a_01.png", "b_0.png", "b_1.png", "holiday.png"]
    assert read_png(tmp_path / "a_00.png").shape == (32, 48, 3)
    with pytest.raises(OutputError, match="exist already"):
        reanimate(avatar, driver, tmp_path / "a_%02d.png")
    reanimate(
        avatar, Driver(performance(head, 1), 25.0, None), tmp_path / "a_%02d.png", DrivenPresentation(overwrite=True)
    )
    assert names(tmp_path) == ["a_00.png", "b_0.png", "b_1.png", "holiday.png"]  # none of the longer one before is left


@pytest.mark.parametrize("name", ["o.mp4", "frames", "o_%03d.png"])
def test_layers_lie_beside_the_output(avatar: GreyAvatar, head: HeadAsset, tmp_path: Path, name: str) -> None:
    reanimate(
        avatar, Driver(performance(head, 3), 25.0, None), tmp_path / name, DrivenPresentation(layers="depth,alpha")
    )
    target = target_of(tmp_path / name)
    for index in range(3):
        depth, alpha = (iio.imread(target.layer(layer).file(index)) for layer in ("depth", "alpha"))
        assert (depth.dtype, alpha.dtype) == (np.uint16, np.uint8)
        assert depth.shape == alpha.shape == (32, 48)
        assert (alpha == 128).all()
        assert depth[16, 24] == pytest.approx(800, abs=1)
        assert depth[0, 0] < 780  # as far along its ray, so less far along the axis
        assert "synthetic" in iio.immeta(target.layer("depth").file(index))["Comment"]
    assert not work_folder(tmp_path / name).exists()


def test_one_picture_has_its_layers_in_files(avatar: GreyAvatar, tmp_path: Path) -> None:
    render_path(avatar, tmp_path / "o.png", presentation=Presentation(layers="depth,alpha"))
    assert names(tmp_path) == ["o.png", "o_alpha.png", "o_depth.png"]
    (tmp_path / "o.png").unlink()
    with pytest.raises(OutputError, match=r"exists already.*o_depth"):
        render_path(avatar, tmp_path / "o.png", presentation=Presentation(layers="depth"))


def test_depth_is_along_the_axis_and_zero_where_nobody_is() -> None:
    camera = Camera(8, 6, 7.0, 9.0, 3.0, 2.5, np.eye(4))
    point = torch.tensor([0.21, -0.1, 1.5], dtype=torch.float64)
    pixel, _ = project(point, camera)
    column, row = int(pixel[0]), int(pixel[1])
    middle = torch.tensor([(column + 0.5 - 3) / 7 * 1.5, (row + 0.5 - 2.5) / 9 * 1.5, 1.5])
    opacity = torch.zeros(6, 8)
    opacity[row, column] = 0.4
    found = depth_picture(torch.full((6, 8), float(middle.norm())), opacity, camera)
    assert found[row, column] == 1500
    assert found.sum() == 1500


# -- going on ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PART", 4)


def test_a_video_goes_on_after_its_finished_parts(avatar, head, tmp_path, short_parts) -> None:
    driver, out = Driver(performance(head, 10), 12.5, None), tmp_path / "o.mp4"
    whole = brightness(reanimate(avatar, driver, tmp_path / "whole.mp4"))
    avatar.asked.clear()
    with interrupted(avatar, 9):
        reanimate(avatar, driver, out, DrivenPresentation(layers="alpha"))
    assert not out.exists()
    assert [name for name in names(work_folder(out)) if "part" in name] == ["part_00000.mp4", "part_00001.mp4"]
    reanimate(avatar, driver, out, DrivenPresentation(layers="alpha"))
    assert len(avatar.asked) == 2  # frames 8 and 9
    assert len(names(tmp_path / "o_alpha")) == 10
    assert brightness(out) == pytest.approx(whole, abs=0.02)
    assert probe_video(out).fps == pytest.approx(12.5)
    assert has_synthetic_tag(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.mp4", "o_alpha", "whole.mp4"]


def test_pictures_that_are_whole_are_kept(avatar, head, tmp_path) -> None:
    driver, out = Driver(performance(head, 8), 25.0, None), tmp_path / "frames"
    with interrupted(avatar, 5):
        reanimate(avatar, driver, out)
    assert names(out) == [f"0000{index}.png" for index in range(5)]
    (out / "00002.png").write_bytes((out / "00002.png").read_bytes()[:-30])  # cut by something else
    before = {index: os.stat(out / f"0000{index}.png").st_mtime_ns for index in (0, 1, 3, 4)}
    reanimate(avatar, driver, out)
    assert len(avatar.asked) == 4  # frames 2, 5, 6 and 7
    assert {index: os.stat(out / f"0000{index}.png").st_mtime_ns for index in before} == before
    assert [round(float(read_png(out / f"0000{index}.png").mean()) / 255, 1) for index in (2, 7)] == [0.2, 0.8]
    assert not work_folder(out).exists()


@pytest.mark.parametrize("name", ["o.mp4", "frames"])
@pytest.mark.parametrize("changed", ["driver", "background", "avatar", "gain"])
def test_what_was_changed_begins_anew(avatar, head, tmp_path, short_parts, name, changed) -> None:
    params, out, options = performance(head, 8), tmp_path / name, {}
    with interrupted(avatar, 6):
        reanimate(avatar, Driver(params, 25.0, None), out)
    if changed == "driver":
        params = params.clone()
        params.jaw[0, 0] = 0.01
    elif changed == "background":
        options = {"presentation": DrivenPresentation("lime")}
    elif changed == "avatar":
        with torch.no_grad():
            avatar.scene.weight[0, 0] += 1
    else:
        options = {"settings": Retarget(gain="jaw=0.5")}
    reanimate(avatar, Driver(params, 25.0, None), out, **options)
    assert len(avatar.asked) == 8
    assert not work_folder(out).exists()


def test_what_an_interrupted_command_did_not_write_is_not_taken_away(avatar, head, tmp_path) -> None:
    driver, out = Driver(performance(head, 4), 25.0, None), tmp_path / "frames"
    with interrupted(avatar, 2):
        reanimate(avatar, driver, out)
    (out / "00700.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exist already"):
        reanimate(avatar, driver, out, DrivenPresentation("lime"))
    assert names(out) == ["00000.png", "00001.png", "00700.png"]


def test_two_commands_do_not_make_the_same_output(avatar, head, tmp_path) -> None:
    with work_beside(tmp_path / "o.mp4"), pytest.raises(OutputError, match="another command"):
        reanimate(avatar, Driver(performance(head), 25.0, None), tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".webm", ".mov"])
def test_joined_parts_keep_their_alpha(avatar, head, tmp_path, ending, short_parts) -> None:
    import av

    out = reanimate(
        avatar, Driver(performance(head, 9), 25.0, None), tmp_path / f"o{ending}", DrivenPresentation("transparent")
    )
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create("libvpx-vp9", "r") if ending == ".webm" else stream.codec_context
        frames = [frame for packet in container.demux(stream) if packet.size for frame in context.decode(packet)]
        frames += context.decode(None)
    assert len(frames) == 9
    assert all(abs(float(frame.to_ndarray(format="rgba")[..., 3].mean()) - 127.5) < 4 for frame in frames)


# -- several drivers ---------------------------------------------------------------------------------------------------


def test_drivers_play_one_after_another_each_from_its_own_neutral(avatar, head, tmp_path) -> None:
    """The second one's mouth hangs open at rest: the avatar's does not, and the last frame of the first stays sharp."""
    smile = head.expression_index("mouthSmileLeft")
    first, second = performance(head, 20), performance(head, 20)
    first.jaw[:], second.jaw[:] = 0.0, 0.0
    first.jaw[-1, 0] = 0.3
    second.jaw[:, 0] = 0.2
    second.expr[:, smile] = 0.4
    drivers = [Driver(first, 25.0, None), Driver(second, 25.0, None)]
    reanimate(avatar, drivers, tmp_path / "o.mp4", settings=Retarget(transfer="relative"))
    jaws = [float(params.jaw[0, 0]) for params, _ in avatar.asked]
    assert len(jaws) == 40
    assert jaws[19] == pytest.approx(0.3, abs=0.05)  # the gap is carried over, on another face
    assert jaws[20:] == pytest.approx([0.0] * 20, abs=1e-5)
    assert max(abs(float(params.expr[0, smile])) for params, _ in avatar.asked) < 1e-5


def test_drivers_of_other_rates_keep_their_time(avatar, head, tmp_path) -> None:
    slow, fast = Driver(performance(head, 10), 10.0, None), Driver(performance(head, 40), 20.0, None)
    out = reanimate(avatar, [slow, fast], tmp_path / "o.mp4", settings=Retarget(transfer="absolute"))
    assert probe_video(out).fps == pytest.approx(20.0)
    jaws = [float(params.jaw[0, 0]) for params, _ in avatar.asked]
    assert len(jaws) == 20 + 40
    assert jaws[:19:2] == pytest.approx([float(jaw) for jaw in slow.params.jaw[:, 0]], abs=0.01)
    assert jaws[3] == pytest.approx((jaws[2] + jaws[4]) / 2, abs=1e-3)


def test_each_driver_brings_its_sound_and_its_pictures(avatar, head, tmp_path) -> None:
    tone = write_sound(tmp_path / "tone.wav", "pcm_s16le")
    pictures = [np.full((64, 40, 3), 200, np.uint8)] * 25, [np.full((40, 80, 3), 90, np.uint8)] * 25
    heard = write_video(tmp_path / "a.mp4", pictures[0], 25.0, audio_from=tone, synthetic=False)
    silent = write_video(tmp_path / "b.mp4", pictures[1], 25.0, synthetic=False)
    params = performance(head, 25)
    drivers = [
        Driver(params, 25.0, None, filmed=silent),
        Driver(params, 25.0, heard, filmed=heard),
        Driver(params, 25.0, None, filmed=silent),
    ]
    out = reanimate(avatar, drivers, tmp_path / "o.mp4", DrivenPresentation(compare=True))
    shown = [image for _, image in read_video(out)]
    assert len(shown) == 75
    assert shown[0].shape == (32, 64 + 48, 3)  # as wide as the wider driver's
    assert float(shown[5][:, 4:60].mean()) == pytest.approx(90, abs=4)
    assert float(shown[40][:, 24:40].mean()) == pytest.approx(200, abs=4)
    assert float(shown[40][:, :16].mean()) < 8  # beside the narrow one it is black
    loud = loudness(out, 3)
    assert loud[1] > 10 * max(loud[0], loud[2])


def loudness(path: Path, seconds: int) -> list[float]:
    """Mean absolute sample of each second, its first and last tenth left out."""
    import av

    with av.open(str(path)) as container:
        pieces = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.abs(np.concatenate(pieces, 1)[0])
    return [float(samples[round((k + 0.1) * rate) : round((k + 0.9) * rate)].mean()) for k in range(seconds)]


def test_several_settings_go_with_several_drivers(avatar, head, tmp_path) -> None:
    driver = Driver(performance(head, 40), 25.0, None)
    settings = [Retarget(transfer="relative", neutral=moment) for moment in (0.2, 1.0)]
    reanimate(avatar, [driver, driver], tmp_path / "o.mp4", settings=settings)
    jaws = [float(params.jaw[0, 0]) for params, _ in avatar.asked]
    assert (jaws[5], jaws[40 + 25]) == pytest.approx((0.0, 0.0), abs=0.01)
    assert jaws[25] > 0.15
    with pytest.raises(ConfigError, match="--neutral is outside"):
        reanimate(avatar, driver, tmp_path / "p.mp4", settings=replace(settings[0], neutral=9.0))


# -- C2PA manifests ----------------------------------------------------------------------------------------------------


def test_pictures_and_videos_are_signed_with_what_they_show(
    signing: Any, avatar: GreyAvatar, head: HeadAsset, tmp_path: Path
) -> None:
    """The filmed background, pictures beside the avatar's, and recorded sound make them composites."""
    driver, silent = tmp_path / "driver.mp4", Driver(performance(head), 25.0, None)
    write_video(driver, [np.zeros((32, 20, 3), np.uint8)] * 6, 25.0, synthetic=False)
    filmed = Driver(performance(head), 25.0, None, filmed=driver)
    heard = Driver(performance(head), 25.0, write_sound(tmp_path / "voice.wav", "pcm_s16le"))
    plain = DrivenPresentation("white")
    frames = reanimate(avatar, silent, tmp_path / "frames", replace(plain, layers="depth,alpha"))
    made = {
        reanimate(avatar, silent, tmp_path / "scene.mp4"): Source.MIXED,
        reanimate(avatar, silent, tmp_path / "plain.mp4", plain): Source.RENDERED,
        reanimate(avatar, filmed, tmp_path / "beside.mov", replace(plain, compare=True)): Source.MIXED,
        reanimate(avatar, heard, tmp_path / "heard.webm", plain): Source.MIXED,
        render_path(avatar, tmp_path / "still.png", presentation=plain): Source.RENDERED,
        render_path(avatar, tmp_path / "still_scene.png"): Source.MIXED,
        frames / "00005.png": Source.RENDERED,
        tmp_path / "frames_depth" / "00005.png": Source.RENDERED,
        tmp_path / "frames_alpha" / "00005.png": Source.RENDERED,
    }
    for path, source in made.items():
        assert_signed(signing, path, source)
    assert not has_manifest(signing, driver)


def test_a_certificate_that_cannot_be_used_is_told_before_any_work(
    avatar: GreyAvatar, head: HeadAsset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "none.pem"))
    monkeypatch.setenv(KEY, str(tmp_path / "none.key"))
    with pytest.raises((ConfigError, MissingDependencyError)):  # the latter where c2pa-python is not installed
        reanimate(avatar, Driver(performance(head), 25.0, None), tmp_path / "o.mp4")
    with pytest.raises((ConfigError, MissingDependencyError)):
        render_path(avatar, tmp_path / "o.png")
    assert not avatar.asked
    assert not list(tmp_path.iterdir())
