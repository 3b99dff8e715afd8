"""A half-made synthetic clip is made again; the demo itself runs in tests/system."""

from avatar.app import demo as module


def test_a_half_made_clip_is_made_again_without_emptying_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "synthetic" / "clip"
    (folder / "truth").mkdir(parents=True)
    (folder / "truth" / "holiday.png").write_text("mine")

    def make(folder, **settings):
        (folder / "clip.mp4").write_bytes(b"video")

    monkeypatch.setattr("avatar.synthetic.clip.make_synthetic_clip", make)
    module.synthesize(folder, tmp_path / "clip.mp4", 0, 64, 2)
    assert (tmp_path / "clip.mp4").read_bytes() == b"video"
    assert (folder / "truth" / "holiday.png").read_text() == "mine"
