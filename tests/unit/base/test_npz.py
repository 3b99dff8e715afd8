"""Archives of arrays from anywhere: plain arrays only, and no more memory than the file has bytes for."""

import io
import zipfile

import numpy as np
import pytest

from avatar.base.npz import read_npz


def declaring(path, shape, data=b""):
    """An .npz whose array `a` announces float32 of `shape` and holds `data`."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", member.getvalue() + data)
    return path


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array("text"), "c": np.zeros((0, 3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read_npz(tmp_path / "x.npz")
        assert found.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(found[key], array)
        assert read_npz(tmp_path / "x.npz", {"a", "z"}).keys() == {"a"}


def test_what_is_declared_but_not_there_is_never_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"declares the shape \(100000000000, 52\)"):
        read_npz(declaring(tmp_path / "x.npz", (10**11, 52)))


def test_too_much_of_it(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(100_000, np.float32))
    with pytest.raises(ValueError, match="more than 1,000"):
        read_npz(tmp_path / "x.npz", largest=1000)
    assert read_npz(tmp_path / "x.npz", set(), largest=1000) == {}


def test_objects_are_never_made(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([object], dtype=object), b=np.ones(2))
    with pytest.raises(ValueError, match="Object arrays"):
        read_npz(tmp_path / "x.npz")
    assert read_npz(tmp_path / "x.npz", {"b"})["b"].tolist() == [1, 1]


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 half"])
def test_what_is_no_archive(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        read_npz(tmp_path / "x.npz")


def test_damage_inside(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.random.default_rng(0).normal(size=1000))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[200:260] = bytes(60)
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        read_npz(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")
