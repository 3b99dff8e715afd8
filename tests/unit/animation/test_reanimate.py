"""Reanimation and rendering with a stand-in for the trained field: its pictures tell what it was asked for."""

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from grey_avatar import GreyAvatar, performance

from avatar.animation.driver_files import Driver, load_driver, read_parameter_file
from avatar.animation.options import DrivenPresentation, DriverPart, Rendering, Retarget
from avatar.animation.reanimate import head_centre, reanimate, render_path
from avatar.base.errors import ConfigError, HeadModelError, InputError, OutputError
from avatar.flame.library import load_head
from avatar.media.images import read_png
from avatar.media.video import has_synthetic_tag, probe_video, read_video, write_video


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture
def avatar(head):
    return GreyAvatar(head)


def save_parameters(path, head, frames=5, **changes):
    arrays = {"expr": np.zeros((frames, head.expression_count), np.float32), "fps": np.float32(12.5)} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_reanimate_writes_every_frame_with_the_drivers_rate_and_the_tag(avatar, head, tmp_path):
    out = reanimate(avatar, Driver(performance(head), 12.5, None), tmp_path / "o.mp4")
    info = probe_video(out)
    assert (info.width, info.height, info.frame_count) == (48, 32, 6)
    assert info.fps == pytest.approx(12.5)
    assert has_synthetic_tag(out)
    brightness = [float(image.mean()) / 255 for _, image in read_video(out)]
    np.testing.assert_allclose(brightness, np.linspace(0, 0.8, 6), atol=0.04)
    for params, camera in avatar.asked:
        assert camera is avatar.camera
        assert not params.shape.any()  # the avatar's identity, not the driver's


def test_an_existing_video_is_kept_unless_asked(avatar, head, tmp_path):
    out = tmp_path / "o.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        reanimate(avatar, Driver(performance(head), 25.0, None), out)
    assert out.read_bytes() == b"mine"
    assert not avatar.asked
    reanimate(avatar, Driver(performance(head), 25.0, None), out, DrivenPresentation(overwrite=True))
    assert has_synthetic_tag(out)


def test_a_failure_while_rendering_leaves_nothing(avatar, head, tmp_path, monkeypatch):
    def fails(params, camera, **_):
        raise OutputError("stop")

    monkeypatch.setattr(avatar, "render_frame", fails)
    with pytest.raises(OutputError, match="stop"):
        reanimate(avatar, Driver(performance(head), 25.0, None), tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["o.avi", "o.png", "o_%04d.jpg"])
def test_what_reanimate_cannot_write(avatar, head, tmp_path, name):
    with pytest.raises(InputError, match="ending") as caught:
        reanimate(avatar, Driver(performance(head), 25.0, None), tmp_path / name)
    first = (tmp_path / name).with_suffix(".mp4")
    assert str(caught.value.fix).startswith(f"give it one of these: --out {first}")
    assert not avatar.asked


def test_a_path_without_a_name_has_no_ending_either(avatar):
    with pytest.raises(InputError, match="ending") as caught:
        render_path(avatar, Path("."))
    assert caught.value.fix == "give it one of these: --out out.mp4"


def test_render_sweeps_along_an_orbit(avatar, head, tmp_path):
    out = render_path(avatar, tmp_path / "o.mp4", Rendering(expression="sweep:jawOpen", frames=8, fps=10.0))
    assert probe_video(out).frame_count == 8
    assert has_synthetic_tag(out)
    jaws = [float(params.jaw[0, 0]) for params, _ in avatar.asked]
    assert jaws[0] == 0
    assert max(jaws) == jaws[4] == pytest.approx(float(head.extras["jaw_open_angle"]))
    sides = [camera.position[0] for _, camera in avatar.asked]
    assert max(sides) > 0.2
    assert min(sides) < -0.2


def test_render_a_picture_at_another_size(avatar, head, tmp_path):
    out = render_path(avatar, tmp_path / "o.png", Rendering(expression="sweep:jawOpen", size=24))
    assert read_png(out).shape == (16, 24, 3)
    assert "synthetic" in iio.immeta(out)["Comment"]
    params, camera = avatar.asked[0]
    assert float(params.jaw[0, 0]) == pytest.approx(float(head.extras["jaw_open_angle"]))
    assert camera.fl_x == pytest.approx(40.0)


def test_clip_has_as_many_frames_as_the_training(avatar, tmp_path):
    assert probe_video(render_path(avatar, tmp_path / "o.mp4", Rendering("still", "clip"))).frame_count == 4


def test_unknown_expression_writes_nothing(avatar, tmp_path):
    with pytest.raises(ConfigError, match="smile"):
        render_path(avatar, tmp_path / "o.mp4", Rendering(expression="smlie"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("frames", "fps", "size"), [(0, 25.0, None), (5, 0.0, None), (5, 25.0, 4)])
def test_numbers_that_cannot_work(avatar, tmp_path, frames, fps, size):
    with pytest.raises(ConfigError):
        render_path(avatar, tmp_path / "o.mp4", Rendering(frames=frames, fps=fps, size=size))


def test_head_centre_is_in_the_face(avatar):
    centre = head_centre(avatar)
    template = avatar.asset.template[avatar.asset.region("face")]
    assert (template.min(0) < centre).all()
    assert (centre < template.max(0)).all()


def test_parameter_file(head, tmp_path):
    jaw = np.linspace(0, 0.3, 15, dtype=np.float32).reshape(5, 3)
    driver = load_driver(save_parameters(tmp_path / "p.npz", head, jaw_pose=jaw), head)
    assert driver.fps == 12.5
    assert driver.audio is None
    np.testing.assert_array_equal(driver.params.jaw, jaw)
    assert driver.params.expr.shape == (5, head.expression_count)
    assert not driver.params.rotation.any()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"expr": None}, InputError, "no expressions"),
        ({"expr": np.zeros((5, 7), np.float32)}, HeadModelError, "expr has the wrong shape"),
        ({"jaw_pose": np.zeros((4, 3), np.float32)}, InputError, "jaw_pose has the wrong shape"),
        ({"eyes_pose": np.full((5, 6), np.nan, np.float32)}, InputError, "finite"),
        ({"head_fingerprint": np.array("f00")}, HeadModelError, "another head model"),
        ({"fps": np.float32(0)}, InputError, "fps"),
        ({"rotation": np.array([["a"] * 3] * 5)}, InputError, "rotation"),
    ],
)
def test_parameter_files_that_do_not_fit(head, tmp_path, changes, error, words):
    path = save_parameters(tmp_path / "p.npz", head, **changes)
    with pytest.raises(error, match=words):
        read_parameter_file(path, head)


def test_parameter_files_are_never_unpickled(head, tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, expr=np.array([object()], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_parameter_file(path, head)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read"):
        read_parameter_file(path, head)


def test_a_driver_that_is_not_there(head, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_driver(tmp_path / "you.mp4", head)


def test_live_reaches_the_tracker(head, tmp_path, monkeypatch):
    from avatar.app import workflow
    from avatar.flame.model import HeadParameters
    from capture_tools.driver import DriverTrack

    asked = []

    def track_driver(source, asset, **options):
        asked.append(options)
        return DriverTrack(HeadParameters.neutral(asset, 2), 25.0, None, np.zeros((2, 478, 2)), 0.0, notes=("noted",))

    monkeypatch.setattr("capture_tools.driver.track_driver", track_driver)
    video = tmp_path / "you.mp4"
    video.touch()
    told = load_driver(video, head, DriverPart(live=True, rotate=90), track=workflow.track_driver)
    found = load_driver(video, head, track=workflow.track_driver)
    assert [options["live"] for options in asked] == [True, False]
    assert [options["rotate"] for options in asked] == [90, "auto"]
    assert told.notes == found.notes == ("noted",)
    with pytest.raises(ConfigError, match="--rotate"):
        load_driver(save_parameters(tmp_path / "p.npz", head), head, DriverPart(rotate=0))
    with pytest.raises(ConfigError, match="--live"):
        load_driver(save_parameters(tmp_path / "p.npz", head), head, DriverPart(live=True))


@pytest.mark.parametrize("ending", [".webm", ".mov"])
def test_a_transparent_video_keeps_its_alpha(avatar, head, tmp_path, ending):
    """Half opaque, of premultiplied brightness: straight colours are twice as bright, as far as they go."""
    out = reanimate(
        avatar, Driver(performance(head), 25.0, None), tmp_path / f"o{ending}", DrivenPresentation("transparent")
    )
    assert has_synthetic_tag(out)
    import av

    with av.open(str(out)) as container:
        decoder = "libvpx-vp9" if ending == ".webm" else None  # ffmpeg's own VP9 decoder drops the alpha
        stream = container.streams.video[0]
        context = stream.codec_context if decoder is None else av.CodecContext.create(decoder, "r")
        packets = container.demux(stream)
        frames = [frame for packet in packets if packet.size for frame in context.decode(packet)]
        frames += context.decode(None) if decoder else []
    pictures = [frame.to_ndarray(format="rgba") for frame in frames]
    assert len(pictures) >= 5
    assert all(abs(float(picture[..., 3].mean()) - 127.5) < 4 for picture in pictures)
    assert float(pictures[-1][..., :3].mean()) > 1.5 * float(pictures[1][..., :3].mean())


def test_the_drivers_pictures_stand_beside_the_avatar(avatar, head, tmp_path):
    """A driver filmed at another size and rate, from its second second on: each frame with the picture of its time."""
    filmed = tmp_path / "driver.mp4"
    pictures = [np.full((64, 40, 3), 4 * index, np.uint8) for index in range(50)]
    write_video(filmed, pictures, 25.0, synthetic=False)
    driver = Driver(performance(head, 10), 12.5, None, audio_start=1.0, filmed=filmed)
    out = reanimate(avatar, driver, tmp_path / "o.mp4", DrivenPresentation(compare=True))
    shown = [image for _, image in read_video(out)]
    assert len(shown) == 10
    assert shown[0].shape == (32, 20 + 48, 3)
    left = [float(image[:, :18].mean()) for image in shown]
    np.testing.assert_allclose(left, [4 * (25 + 2 * index) for index in range(10)], atol=6)
    assert float(shown[-1][:, 24:].mean()) > float(shown[0][:, 24:].mean()) + 100
    with pytest.raises(ConfigError, match="pictures"):
        reanimate(avatar, Driver(performance(head), 25.0, None), tmp_path / "p.mp4", DrivenPresentation(compare=True))


def test_the_head_moves_as_in_the_avatars_own_clip(avatar, head, tmp_path):
    avatar.parameters.rotation[:, 1] = torch.tensor([0.0, 0.1, 0.2, 0.3])
    reanimate(
        *(avatar, Driver(performance(head, 7), 25.0, None), tmp_path / "o.mp4"),
        settings=Retarget(head_motion="avatar"),
    )
    turned = [float(params.rotation[0, 1]) for params, _ in avatar.asked]
    assert turned == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0])


def test_a_path_and_keyframes_from_files(avatar, tmp_path):
    """Three cameras of twice the size asked for, and a mouth that opens over a second of ten frames."""
    frames = [
        {"camera_to_world": avatar.camera.to_transform_matrix().tolist(), "fov": fov, "aspect": 1.5}
        for fov in (20.0, 30.0, 40.0)
    ]
    path, face = tmp_path / "path.json", tmp_path / "face.yaml"
    path.write_text(json.dumps({"camera_path": frames, "fps": 10}))
    face.write_text("keyframes: [{time: 0, expression: neutral}, {time: 1, expression: jawOpen}]")
    out = render_path(avatar, tmp_path / "o.mp4", Rendering(str(path), str(face), size=24))
    assert probe_video(out).frame_count == 3
    assert probe_video(out).fps == pytest.approx(10)
    assert [camera.width for _, camera in avatar.asked] == [24] * 3
    focal = [camera.fl_y for _, camera in avatar.asked]
    assert focal[0] > focal[1] > focal[2]
    opening = [float(params.jaw[0, 0]) for params, _ in avatar.asked]
    assert 0 == opening[0] < opening[1] < opening[2]
    render_path(avatar, tmp_path / "p.mp4", Rendering("still", str(face), fps=10))
    assert probe_video(tmp_path / "p.mp4").frame_count == 11
