"""What the page's controls do, without a page: performances, keyframes, recordings, a training that goes on."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from signing_parts import assert_signed
from view_parts import HEIGHT, GreyAvatar, any_pose, make_run, wait_for

from avatar.animation.driver_files import Driver, load_driver
from avatar.animation.path_faces import AT_REST, OWN_CLIP
from avatar.base.errors import ConfigError, InputError, MissingDependencyError, OutputError
from avatar.base.provenance import Source
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.media.images import read_png
from avatar.media.manifest import CERTIFICATE
from avatar.media.video import has_synthetic_tag, probe_video
from avatar.viewer import session as session_module
from avatar.viewer.painter import with_outline
from avatar.viewer.session import Session
from avatar.viewer.state import LIVE
from avatar.viewer.timeline import Timeline


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture
def told():
    return []


@pytest.fixture
def session(head, tmp_path, told):
    session = Session(make_run(tmp_path / "run"), GreyAvatar(head))
    session.told = lambda text, bad: told.append((text, bad))
    yield session
    assert session.close()


def jaw(session, **changes):
    return float(session.painter.parameters(replace(session.store.state, **changes)).jaw[0, 0])


def test_at_rest_sliders_alone_move_the_head(session):
    assert jaw(session) == 0.0
    assert jaw(session, amounts={"jawOpen": 1.0}) > 0.1
    frame = session.painter.parameters(replace(session.store.state, turn=(0.3, 0.0, 0.0), shift=(0.01, 0.0, 0.0)))
    assert frame.rotation[0].tolist() == pytest.approx([0.0, 0.3, 0.0], abs=1e-6)
    assert frame.translation[0, 0] == pytest.approx(0.01)
    with pytest.raises(ConfigError, match="no expression of that name"):
        session.painter.parameters(replace(session.store.state, amounts={"jawOpn": 1.0}))


def test_sliders_are_added_to_a_performance(session):
    session.show_frame(2)
    assert session.store.state.performance == OWN_CLIP
    assert jaw(session) == pytest.approx(0.3)
    assert jaw(session, amounts={"jawOpen": 0.5}) > 0.3


def test_a_posed_head_is_kept_while_the_camera_moves(session):
    painter, state = session.painter, session.store.state
    for seed in range(3):
        painter.draw(replace(state, world_from_cam=any_pose(seed)), 32, lambda: None)
    assert painter.avatar.posed == 1
    painter.draw(replace(state, amounts={"jawOpen": 0.5}), 32, lambda: None)
    assert painter.avatar.posed == 2


def test_backgrounds_and_the_outline(session):
    state = replace(session.store.state, background="#0000ff", aspect=1.0)
    assert session.painter.draw(state, 16, lambda: None).reshape(-1, 3).tolist() == [[0, 0, 255]] * 256
    outlined = session.painter.draw(replace(state, silhouette=True), 16, lambda: None)
    assert (outlined != [0, 0, 255]).any(-1).sum() == 4 * 11


def test_an_outline_is_one_pixel_wide():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    drawn = with_outline(np.zeros((7, 7, 3), np.uint8), mask)
    assert drawn.any(-1).sum() == 16


def test_a_page_that_says_nothing_new_draws_nothing(session):
    drawn = []
    session.worker.submit = drawn.append  # the thread is not started
    session.store._changed = drawn.append
    state = session.store.state
    session.move_camera(state.world_from_cam.copy(), state.fov, state.aspect)
    for wrong in (0.0, float("nan"), float("inf")):
        session.move_camera(any_pose(1), state.fov, wrong)
    assert drawn == []
    session.move_camera(any_pose(1), state.fov, state.aspect)
    assert len(drawn) == 1


def test_another_clip_drives(session, head, tmp_path):
    expr = np.zeros((6, head.expression_count), np.float32)
    jaws = np.zeros((6, 3), np.float32)
    jaws[:, 0] = np.linspace(0, 0.5, 6)
    np.savez(tmp_path / "driver.npz", expr=expr, jaw_pose=jaws, fps=10.0)
    name = session.load_performance(f" {tmp_path / 'driver.npz'} ")
    session.perform(name)
    assert session.frames() == 6
    assert jaw(session, frame=5) == pytest.approx(0.5, abs=0.03)
    assert session.painter.performances[name].fps == 10.0


def test_a_video_is_tracked_in_the_background(session, head, told, tmp_path):
    """By the function that the viewer was given, quickly unless asked for a thorough job."""
    clip = tmp_path / "you.MP4"
    clip.write_bytes(b"")
    asked = []

    def track(video, asset, part):
        asked.append((video, part.live))
        params = HeadParameters.neutral(head, 5)
        params.jaw[:, 0] = 0.3
        return Driver(params, 12.5, None, notes=("it is dark",), filmed=video)

    session.track = track
    name = session.load_performance(str(clip))
    session.load_performance(str(clip), thorough=True)
    assert asked == [(clip, True), (clip, False)]
    assert session.painter.performances[name].fps == 12.5
    assert ("it is dark", False) in told


def test_a_csv_opens_the_mouth_as_the_clip_did(session, tmp_path):
    """Shared between joint and direction as in the avatar's clip, and not by the joint alone."""
    (tmp_path / "face.csv").write_text("Timecode,BlendshapeCount,JawOpen\n00:00:00:00.000,61,1.0\n" * 1)
    name = session.load_performance(str(tmp_path / "face.csv"))
    expected = load_driver(tmp_path / "face.csv", session.painter.avatar.asset, jaw_share=session.painter.jaw_share)
    assert torch.equal(session.painter.drivers[name].params.jaw, expected.params.jaw)
    assert torch.equal(session.painter.drivers[name].params.expr, expected.params.expr)


def test_what_cannot_drive_is_told(session, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        session.load_performance(str(tmp_path / "nothing"))


def test_playing_moves_the_frame_slider(session):
    frames = []
    session.frame_changed = frames.append
    session.start()
    session.play(loop=False)
    assert wait_for(lambda: frames and frames[-1] == 3)
    assert session.store.state.performance == OWN_CLIP
    assert not session.player.is_playing


def test_keyframes_are_saved_and_opened(session):
    first = session.store.state
    session.move_camera(any_pose(3), 0.5, 1.2)
    second = session.store.set_amount("jawOpen", 0.7)
    session.timeline = Timeline().added(first, 0.0).added(second, 2.0)
    path = session.save_path()
    assert path == session.run / "view" / "path_001.json"
    assert session.save_path().name == "path_002.json"
    assert session.saved_paths() == ("path_001.json", "path_002.json")
    assert len(json.loads(path.read_text())["camera_path"]) == 51
    session.timeline = Timeline()
    session.open_path("path_001.json")
    assert session.timeline.times == (0.0, 2.0)
    assert session.store.state.amounts == {}
    assert np.allclose(session.store.state.world_from_cam, first.world_from_cam)
    with pytest.raises(InputError, match="leaves its folder"):
        session.open_path("../../secret.json")


def test_a_path_is_played_from_the_chosen_moment_to_its_end(session):
    first = session.store.state
    session.timeline = Timeline().added(first, 0.0).added(replace(first, amounts={"jawOpen": 1.0}), 0.4)
    times, ended = [], []
    session.path_time_changed, session.path_ended = times.append, lambda: ended.append(True)
    session.start()
    session.play_path(0.2)
    assert wait_for(lambda: ended)
    assert times[0] >= 0.2
    assert times[-1] == 0.4
    assert times == sorted(times)
    assert session.store.state.amounts == {"jawOpen": 1.0}
    session.timeline = session.timeline.removed(0)
    with pytest.raises(InputError, match="two keyframes"):
        session.play_path(0.0)


def test_a_keyframe_of_a_driver_that_is_not_there_rests(session, told):
    session.show_keyframe(replace(session.store.state, performance="gone.npz"))
    assert told == [("the performance gone.npz is not loaded; at rest instead", False)]
    assert jaw(session) == 0.0


def test_a_screenshot_and_a_video_are_written_and_tagged(session, told):
    session.start()
    session.screenshot()
    assert wait_for(lambda: told)
    shot = session.run / "view" / "screenshot_001.png"
    assert told == [(f"wrote {shot}", False)]
    assert read_png(shot).shape[0] == HEIGHT
    assert b"synthetic" in shot.read_bytes()
    with pytest.raises(InputError, match="nothing to record"):
        session.record()
    session.perform(OWN_CLIP)
    shares = []
    session.progressed = shares.append
    session.record()
    assert wait_for(lambda: len(told) == 2)
    video = session.run / "view" / "video_001.mp4"
    assert probe_video(video).frame_count == 4
    assert has_synthetic_tag(video)
    assert shares[-1] == 1.0
    session.timeline = Timeline().added(session.store.state, 0.0).added(session.store.state, 0.2)
    session.record()
    assert wait_for(lambda: len(told) == 3)
    assert probe_video(video.with_name("video_002.mp4")).frame_count == 6
    assert session.written == [shot, video, video.with_name("video_002.mp4")]


def test_a_screenshot_and_a_video_are_signed(signing, session, told):
    session.start()
    session.screenshot()
    session.perform(OWN_CLIP)
    session.store.update(background="#00ff00")
    session.record()
    assert wait_for(lambda: len(told) == 2)
    shot, video = session.written
    assert_signed(signing, shot, Source.MIXED)  # the filmed background is behind
    assert_signed(signing, video, Source.RENDERED)


def test_a_recording_that_cannot_be_signed_is_refused_at_once(session, tmp_path, monkeypatch):
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "none.pem"))
    session.perform(OWN_CLIP)
    with pytest.raises((ConfigError, MissingDependencyError)):  # the latter where c2pa-python is not installed
        session.record()


def test_a_recording_can_be_stopped_and_leaves_nothing(session):
    session.painter.avatar.seconds = 5.0
    session.timeline = Timeline().added(session.store.state, 0.0).added(session.store.state, 2.0)
    session.worker.start()
    session.record()
    assert wait_for(lambda: (session.run / "view").is_dir())
    session.cancel()
    assert wait_for(lambda: not list((session.run / "view").iterdir()))


def test_a_link_in_place_of_the_folder_is_refused(session, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (session.run / "view").symlink_to(tmp_path / "elsewhere")
    session.timeline = Timeline().added(session.store.state, 0.0)
    with pytest.raises(OutputError, match="link"):
        session.save_path()


def test_a_training_is_followed(session, told, head, monkeypatch):
    later = GreyAvatar(head)
    monkeypatch.setattr(session_module, "load_avatar", lambda run: later)
    monkeypatch.setattr(session_module, "LOOK_EVERY", 0.02)
    session.store.set_amount("jawOpen", 0.5)
    session.start()
    assert wait_for(lambda: session.worker.pictures >= 2)
    make_run(session.run, step=16)
    assert wait_for(lambda: told)
    assert told == [("showing the training's step 16", False)]
    assert session.painter.avatar is later
    assert session.store.state.amounts == {"jawOpen": 0.5}
    assert wait_for(lambda: later.posed)


def test_a_checkpoint_that_cannot_be_read_is_told_once(session, told, monkeypatch):
    def damaged(run):
        raise InputError("the checkpoint is damaged")

    monkeypatch.setattr(session_module, "load_avatar", damaged)
    monkeypatch.setattr(session_module, "LOOK_EVERY", 0.02)
    session.start()
    make_run(session.run, step=16)
    assert wait_for(lambda: told)
    before = session.worker.pictures
    session.store.update(fov=0.5)
    assert wait_for(lambda: session.worker.pictures > before)
    assert told == [("the checkpoint is damaged", True)]


def test_a_checkpoint_replaced_under_its_name_is_taken(session, told, head, monkeypatch):
    """And while it is away for a moment, what is shown stays."""
    later = GreyAvatar(head)
    monkeypatch.setattr(session_module, "load_avatar", lambda run: later)
    monkeypatch.setattr(session_module, "LOOK_EVERY", 0.02)
    session.start()
    checkpoint = session.run / "checkpoints" / "step_000008.safetensors"
    checkpoint.unlink()
    pictures = session.worker.pictures
    session.store.update(fov=0.5)
    assert wait_for(lambda: session.worker.pictures > pictures)
    assert told == []
    checkpoint.write_bytes(b"another")
    assert wait_for(lambda: told)
    assert told == [("showing the training's step 8", False)]
    assert session.painter.avatar is later


def test_it_can_be_moved_while_a_new_checkpoint_is_read(session, head, monkeypatch):
    read, going_on = threading.Event(), threading.Event()

    def load(run):
        read.set()
        going_on.wait(20)
        return GreyAvatar(head)

    monkeypatch.setattr(session_module, "load_avatar", load)
    monkeypatch.setattr(session_module, "LOOK_EVERY", 0.02)
    session.start()
    make_run(session.run, step=16)
    assert read.wait(20)
    pictures = session.worker.pictures
    session.store.update(fov=0.5)
    assert wait_for(lambda: session.worker.pictures > pictures)
    assert session.trained_steps == 8
    going_on.set()
    assert wait_for(lambda: session.trained_steps == 16)


def test_drivers_stay_with_a_new_avatar(session, head, tmp_path):
    np.savez(tmp_path / "d.npz", expr=np.zeros((2, head.expression_count), np.float32))
    name = session.load_performance(str(tmp_path / "d.npz"))
    painter = session_module.Painter(GreyAvatar(head), 25.0, session.painter.drivers)
    assert set(painter.performances) == {AT_REST, OWN_CLIP, LIVE, name}
    assert torch.equal(painter.performances[name].params.expr, torch.zeros(2, head.expression_count))
