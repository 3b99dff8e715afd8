"""The formats on a tiny run: what is written, what reads it back, and what is refused before any work."""

import numpy as np
import pytest
import torch
from signing_parts import assert_signed, has_manifest

from avatar.animation.driver_files import load_driver
from avatar.animation.live_link import COLUMNS, COUNT, TIMECODE
from avatar.app.cli import main
from avatar.app.library import export_avatar
from avatar.base.errors import ConfigError, InputError, OutputError, RunError
from avatar.base.provenance import Source
from avatar.data.capture import read_capture
from avatar.data.checkpoint import load_avatar
from avatar.export.surface import flooded, solid


def test_npz_comes_back_as_a_driver(tiny_run, head, tmp_path):
    written, notes = export_avatar(tiny_run, tmp_path / "a.npz", "npz")
    assert notes == ()
    driver = load_driver(written, head)
    clip = read_capture(tiny_run / "capture", expect_head=head)
    assert driver.fps == clip.fps
    for name in ("expr", "jaw", "eyes", "neck", "rotation", "translation"):
        torch.testing.assert_close(getattr(driver.params, name), getattr(clip.parameters(), name))
    assert str(np.load(written)["head_fingerprint"]) == head.fingerprint


def test_csv_byte_for_byte_and_back(tiny_run, head, tmp_path):
    written, _ = export_avatar(tiny_run, tmp_path / "a.csv", "arkit-csv")
    lines = written.read_bytes().decode("ascii").split("\n")
    clip = read_capture(tiny_run / "capture", expect_head=head)
    params = clip.parameters()
    assert lines[0] == ",".join((TIMECODE, COUNT, *COLUMNS))
    assert lines[-1] == ""
    assert len(lines) == len(clip.frames) + 2
    for index, line in enumerate(lines[1:-1]):
        seconds, frames = divmod(index * 2400, 60000)
        assert line.startswith(f"00:00:{seconds:02d}:{frames // 1000:02d}.{frames % 1000:03d},61,")
        cells = line.split(",")
        assert len(cells) == 63
        assert all(len(cell.split(".")[1]) == 10 for cell in cells[2:])
        smile = float(params.expr[index, head.expression_index("mouthSmileLeft")])
        assert cells[2 + COLUMNS.index("MouthSmileLeft")] == f"{smile:.10f}"
        assert cells[2 + COLUMNS.index("MouthSmileRight")] == "0.0000000000"
    driver = load_driver(written, head)
    assert driver.notes == ()
    assert driver.fps == pytest.approx(25.0, abs=1e-3)
    for name in ("expr", "jaw", "eyes", "rotation"):
        torch.testing.assert_close(getattr(driver.params, name), getattr(params, name), atol=1e-4, rtol=0)


def test_a_csv_as_driver_is_written_again_as_it_is(tiny_run, tmp_path):
    values = np.random.default_rng(0).uniform(0, 1, (4, 61))
    rows = [",".join((f"00:00:00:{i:02d}.000", "61", *(f"{v:.10f}" for v in row))) for i, row in enumerate(values)]
    given = tmp_path / "given.csv"
    given.write_text("\n".join([",".join((TIMECODE, COUNT, *COLUMNS)), *rows]) + "\n")
    written, _ = export_avatar(tiny_run, tmp_path / "again.csv", "arkit-csv", driver=given)
    found = np.array([line.split(",")[2:] for line in written.read_text().splitlines()[1:]], float)
    np.testing.assert_allclose(found, values, atol=1e-5)


def test_glb_of_the_clip_and_of_a_driver(tiny_run, head, tmp_path):
    from export_parts import Glb

    written, notes = export_avatar(tiny_run, tmp_path / "a.glb", "glb")
    assert len(notes) == 1  # the tiny capture has no texture
    assert len(Glb(written).array(0)) > head.vertex_count
    np.savez(tmp_path / "d.npz", expr=np.zeros((3, 52), np.float32), fps=10.0)
    driven, _ = export_avatar(tiny_run, tmp_path / "b.glb", "glb", driver=tmp_path / "d.npz")
    clip = Glb(driven).document["animations"][0]
    np.testing.assert_allclose(Glb(driven).array(clip["samplers"][0]["input"]), [0, 0.1, 0.2], atol=1e-6)


def test_without_its_capture_the_training_frames_stand_for_the_clip(tiny_run, head, tmp_path):
    moved = tmp_path / "capture"
    (tiny_run / "capture").rename(moved)
    try:
        written, (note,) = export_avatar(tiny_run, tmp_path / "a.npz", "npz")
        assert "capture is not there" in note
        assert 0 < len(load_driver(written, head).params) < 24
        with pytest.raises(RunError, match="not there any more"):
            export_avatar(tiny_run, tmp_path / "c", "capture")
    finally:
        moved.rename(tiny_run / "capture")


def test_capture_is_copied_without_its_stages(tiny_run, head, tmp_path):
    (tiny_run / "capture" / "stages").mkdir(exist_ok=True)
    (tiny_run / "capture" / "stages" / "own.npz").write_bytes(b"")
    written, _ = export_avatar(tiny_run, tmp_path / "capture", "capture")
    copy, own = read_capture(written, expect_head=head), read_capture(tiny_run / "capture", expect_head=head)
    assert copy.splits == own.splits
    np.testing.assert_array_equal(copy.read_image(3), own.read_image(3))
    torch.testing.assert_close(copy.parameters().expr, own.parameters().expr)
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert not any(name.startswith(("stages", ".")) for name in names)
    assert {"background.png", "canonical_flame_param.npz", "landmarks.npz", "report/report.json"} <= names
    assert [path.name for path in tmp_path.iterdir()] == ["capture"]
    with pytest.raises(OutputError, match="exists already"):
        export_avatar(tiny_run, written, "capture", overwrite=True)


@pytest.mark.parametrize("points", [False, True])
def test_ply_reads_back(tiny_run, tmp_path, points):
    written, _ = export_avatar(tiny_run, tmp_path / "a.ply", "ply", points=points)
    data = written.read_bytes()
    header, _, body = data.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert any(line.startswith("comment synthetic") for line in lines)
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    kind = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [(c, "u1") for c in ("r", "g", "b")]
    vertices = np.frombuffer(body, kind, counts["vertex"])
    used = vertices.nbytes
    places = np.stack([vertices[axis] for axis in "xyz"], 1)
    scene = load_avatar(tiny_run).scene
    assert (places >= scene.low.numpy() - 1e-5).all()
    assert (places <= scene.high.numpy() + 1e-5).all()
    if points:
        assert "face" not in counts
    else:
        faces = np.frombuffer(body, [("n", "u1"), ("i", "<i4", 3)], counts["face"], used)
        used += faces.nbytes
        assert (faces["n"] == 3).all()
        assert faces["i"].min() == 0
        assert faces["i"].max() == counts["vertex"] - 1
    assert used == len(body)


def test_models_have_a_manifest_beside_them_and_footage_has_none(signing, tiny_run, tmp_path, capsys):
    for format in ("glb", "ply", "html", "vrm"):
        written, _ = export_avatar(tiny_run, tmp_path / f"a.{format}", format)
        assert_signed(signing, written, Source.RENDERED)
    assert main(["export", str(tiny_run), "--format", "glb", "--out", str(tmp_path / "b.glb")]) == 0
    assert "b.glb.c2pa  (its C2PA manifest)" in capsys.readouterr().out
    copy, _ = export_avatar(tiny_run, tmp_path / "capture", "capture")
    export_avatar(tiny_run, tmp_path / "a.csv", "arkit-csv")
    assert not any(has_manifest(signing, path) for path in copy.rglob("*.png"))
    assert len(list(tmp_path.rglob("*.c2pa"))) == 5


def test_hollows_are_filled_and_specks_left_out():
    density = np.zeros((12, 12, 12), np.float32)
    density[3:9, :9, 3:9] = 3
    density[5:7, 2:6, 5:7] = 0  # a hollow inside
    density[5:7, :1, 5:7] = 0  # the cut at the bottom shows another
    density[10, 10, 10] = 3  # a speck
    found = solid(density, np.array([[4, 4, 4]]))
    assert found[10, 10, 10] < 1.4
    assert (found[3:9, :9, 3:9] > 1.4).all()
    assert (found[0] <= 1.4).all()


def test_a_flood_goes_around_corners():
    free = np.ones((9, 9, 9), bool)
    free[4] = False
    free[4, 8, 8] = True
    begin = np.zeros_like(free)
    begin[0, 0, 0] = True
    assert (flooded(begin, free) == free).all()
    free[4, 8, 8] = False
    assert not flooded(begin, free)[5:].any()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"format": "fbx", "out": "a.fbx"}, ConfigError, "arkit-csv"),
        ({"format": "glb", "out": "a.ply"}, InputError, "another ending"),
        ({"format": "ply", "out": "a.ply", "driver": "d.npz"}, ConfigError, "--driver is for"),
        ({"format": "vrm", "out": "a.vrm", "driver": "d.npz"}, ConfigError, "--driver is for"),
        ({"format": "html", "out": "a.htm"}, InputError, "a name ending in .html"),
        ({"format": "glb", "out": "a.glb", "points": True}, ConfigError, "--points is for ply"),
        ({"format": "glb", "out": "mine.glb"}, OutputError, "--overwrite"),
        ({"format": "glb", "out": "a.glb", "driver": "none.npz"}, InputError, "does not exist"),
        ({"format": "glb", "out": "a.glb"}, RunError, "not a run folder"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, options, error, words):
    (tmp_path / "mine.glb").write_bytes(b"mine")
    driver = options.get("driver")
    with pytest.raises(error) as caught:
        export_avatar(
            tmp_path / "run",
            tmp_path / options["out"],
            options["format"],
            driver=None if driver is None else tmp_path / driver,
            points=options.get("points", False),
        )
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.glb"]
    assert (tmp_path / "mine.glb").read_bytes() == b"mine"
