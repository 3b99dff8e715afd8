"""Around a FLAME file: the zip it comes in is opened, everything else that people download is told by its name."""

from __future__ import annotations

import contextlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from flame_content import check, flame_content

from avatar.base.errors import HeadModelError
from avatar.flame import downloads, importing
from avatar.flame.library import load_head


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path.with_name("home")))


@pytest.fixture
def content():
    return flame_content()


def zipped(path, **files):
    """A zip archive of files: name and bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def other(content):
    return {**content, "v_template": content["v_template"] + 1}


@pytest.mark.parametrize(
    ("chosen", "others"),
    [
        ("flame2023_Open.pkl", ["Readme.pdf"]),
        ("FLAME2020/generic_model.pkl", ["FLAME2020/male_model.pkl", "FLAME2020/female_model.pkl"]),
        ("flame2023.pkl", ["flame2023_no_jaw.pkl", "__MACOSX/._flame2023.pkl", ".hidden.pkl"]),
        ("any.pkl", []),
    ],
)
def test_the_model_is_taken_out_of_the_archive(tmp_path, content, chosen, others):
    files = {name: pickle.dumps(other(content)) for name in others} | {chosen: pickle.dumps(content, protocol=2)}
    path = zipped(tmp_path / "FLAME 2023.zip", **files)
    for asset in (importing.read_flame(path), load_head(path)):
        check(asset, content)
        assert asset.name == "flame-2023"
    assert [entry.name for entry in tmp_path.iterdir()] == ["FLAME 2023.zip"]


def test_an_npz_is_no_archive_of_models_but_may_lie_in_one(tmp_path, content):
    np.savez(tmp_path / "flame.npz", **content)
    check(importing.read_flame(tmp_path / "flame.npz"), content)
    (tmp_path / "flame.npz").rename(tmp_path / "renamed.zip")
    check(importing.read_flame(tmp_path / "renamed.zip"), content)
    inside = zipped(tmp_path / "outer.zip", **{"flame.npz": (tmp_path / "renamed.zip").read_bytes()})
    check(importing.read_flame(inside), content)


@pytest.mark.parametrize("name", ["../../evil.pkl", "../evil.pkl", "/evil.pkl"])
def test_nothing_is_written_wherever_a_name_points(tmp_path, content, name):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    path = zipped(inside / "a.zip", **{name: pickle.dumps(content)})
    with contextlib.suppress(HeadModelError):
        importing.read_flame(path)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", inside, path]


def test_an_archive_of_arrays_that_are_no_model_is_told_where_the_model_is(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "textures.zip")
    with pytest.raises(HeadModelError, match="the file is no FLAME model") as caught:
        importing.read_flame(tmp_path / "textures.zip")
    assert downloads.SITE in str(caught.value.fix)


def test_archives_from_which_nothing_is_taken(tmp_path, content):
    model = pickle.dumps(content)
    cases = {
        zipped(tmp_path / "both.zip", **{"female_model.pkl": model, "male_model.pkl": model}): "female_model.pkl, male",
        zipped(tmp_path / "none.zip", **{"Readme.txt": b""}): "holds no FLAME model",
        zipped(tmp_path / "empty.zip"): "holds no FLAME model",
    }
    cut = tmp_path / "cut.zip"
    cut.write_bytes(next(iter(cases)).read_bytes()[:-40])
    for path, words in {**cases, cut: "the archive is damaged"}.items():
        with pytest.raises(HeadModelError, match=path.name) as caught:
            importing.read_flame(path)
        assert words in str(caught.value)
        assert "what to do" in str(caught.value)


def test_a_member_that_is_too_large_is_not_unpacked(tmp_path, content, monkeypatch):
    path = zipped(tmp_path / "bomb.zip", **{"flame2023.pkl": bytes(100_000)})
    monkeypatch.setattr(downloads, "LARGEST_MODEL", 10_000)
    with pytest.raises(HeadModelError, match="too large"):
        importing.read_flame(path)


def tar_of(data):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("flame2023.pkl")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html><html><title>Login</title>", "is a web page"),
        (b"<html><body>", "is a web page"),
        (b"\x1f\x8b\x08" + bytes(600), "an archive (gzip)"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "an archive (7z)"),
        (b"Rar!\x1a\x07\x01" + bytes(600), "an archive (rar)"),
        (tar_of(b"x"), "an archive (tar)"),
    ],
)
@pytest.mark.parametrize("name", ["flame2023.pkl", "FLAME2023.zip", "flame.npz"])
def test_what_is_no_model_is_told_by_its_name(tmp_path, data, words, name):
    (tmp_path / name).write_bytes(data)
    for read in (importing.read_flame, load_head):
        with pytest.raises(HeadModelError) as caught:
            read(tmp_path / name)
        assert words in str(caught.value)
        assert "what to do" in str(caught.value)


@pytest.mark.parametrize(("joints", "words"), [(24, "SMPL, a body"), (16, "MANO, a hand"), (55, "SMPL-X, a body")])
def test_relatives_of_flame(tmp_path, content, joints, words):
    content["kintree_table"] = np.array([[2**32 - 1] + [0] * (joints - 1), range(joints)])
    content["part2num"] = np.array([{"head": 1}], dtype=object)  # as in SMPL-X's own files
    np.savez(tmp_path / "model.npz", **content)
    with pytest.raises(HeadModelError, match=words):
        importing.read_flame(tmp_path / "model.npz")


def test_files_and_folders_that_are_not_there(tmp_path, content):
    for name in ("none.pkl", "none.zip"):
        with pytest.raises(HeadModelError, match="missing"):
            load_head(tmp_path / name)
    with pytest.raises(HeadModelError, match="unknown head model"):
        load_head("flame")
    (tmp_path / "FLAME").mkdir()
    (tmp_path / "FLAME" / "generic_model.pkl").write_bytes(b"")
    with pytest.raises(HeadModelError, match=r"(?s)a folder.*generic_model\.pkl"):
        importing.read_flame(tmp_path / "FLAME")
