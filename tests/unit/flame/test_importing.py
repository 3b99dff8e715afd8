"""FLAME files of every age are read; nothing in a file is executed."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
from flame_content import S, V, check, flame_content

from avatar.base.errors import HeadModelError
from avatar.flame import importing, library


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path / "home"))


@pytest.fixture
def content():
    return flame_content()


def dump(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_reads_plain_numpy_pickles_like_flame_2023(tmp_path, content, protocol):
    check(importing.read_flame(dump(tmp_path / "flame2023.pkl", content, protocol)), content)


def test_reads_npz(tmp_path, content):
    np.savez(tmp_path / "flame.npz", **content)
    check(importing.read_flame(tmp_path / "flame.npz"), content)


def fake_class(monkeypatch, module, name):
    for part in (module.rsplit(".", 1)[0], module):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    kind = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, kind)
    return kind


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("sparse_module", ["scipy.sparse.csc", "scipy.sparse._csc"])
def test_reads_the_2017_layout_with_chumpy_and_scipy_objects(tmp_path, content, monkeypatch, sparse_module, protocol):
    sparse = pytest.importorskip("scipy.sparse")
    compressed = sparse.csc_matrix(content["J_regressor"])
    with monkeypatch.context() as patch:
        ch, select = fake_class(patch, "chumpy.ch", "Ch"), fake_class(patch, "chumpy.reordering", "Select")
        csc = fake_class(patch, sparse_module, "csc_matrix")
        old = dict(content)
        for key in ("v_template", "posedirs", "weights"):
            old[key] = ch()
            old[key].__dict__ = {"x": content[key], "_dirty_vars": set()}
        inner = ch()
        inner.__dict__ = {"x": content["shapedirs"][:, :, ::-1].copy()}
        order = np.arange(V * 3 * S).reshape(V, 3, S)[:, :, ::-1]
        old["shapedirs"] = select()
        old["shapedirs"].__dict__ = {"a": inner, "idxs": order.ravel(), "preferred_shape": (V, 3, S)}
        old["J_regressor"] = csc()
        old["J_regressor"].__dict__ = {
            "_shape": compressed.shape,
            "data": compressed.data,
            "indices": compressed.indices,
            "indptr": compressed.indptr,
        }
        data = pickle.dumps(old, protocol=protocol)
    assert b"chumpy.ch" in data
    assert b"__builtin__\nset" in data  # Python 2's names, as in the published files
    assert protocol == 2 or b"copy_reg\n_reconstructor" in data
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(data)
    monkeypatch.setitem(sys.modules, "chumpy", None)
    check(importing.read_flame(path), content)


class Payload:
    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("key", ["v_template", "comment"])
def test_malicious_pickles_run_nothing(tmp_path, content, protocol, key):
    mark = tmp_path / "ran"
    content[key] = Payload(os.system, (f"touch {mark}",))
    with pytest.raises(HeadModelError, match="no FLAME file needs"):
        importing.read_flame(dump(tmp_path / "evil.pkl", content, protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n(S'x'\nS'upper'\ntR.",
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.",
        b"(S'echo'\nios\nsystem\n.",  # the old INST opcode
        b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
        b"Psomething\n.",  # a persistent reference
    ],
)
def test_other_ways_out_of_a_pickle_are_closed(tmp_path, data):
    path = tmp_path / "evil.pkl"
    path.write_bytes(data)
    with pytest.raises(HeadModelError):
        importing.read_flame(path)


def test_an_object_array_in_npz_is_not_unpickled(tmp_path, content):
    mark = tmp_path / "ran"
    content["J_regressor"] = np.array([Payload(os.system, (f"touch {mark}",))], dtype=object)
    np.savez(tmp_path / "evil.npz", **content)
    with pytest.raises(HeadModelError):
        importing.read_flame(tmp_path / "evil.npz")
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({"v_template": 1})])
def test_damaged_and_foreign_files_are_named(tmp_path, data):
    path = tmp_path / "broken.pkl"
    path.write_bytes(data)
    with pytest.raises(HeadModelError, match=r"broken\.pkl"):
        importing.read_flame(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", np.ones((V, 24))),  # SMPL
        ("f", np.full((3, 3), V)),
        ("v_template", np.full((V, 3), np.nan)),
        ("kintree_table", np.array([[2**32 - 1, 0, 1, 2, 3], range(5)])),
        ("kintree_table", np.array(3)),
        ("J_regressor", np.array(["text"])),
    ],
)
def test_models_that_do_not_fit_are_refused(tmp_path, content, key, value):
    content[key] = value
    with pytest.raises(HeadModelError):
        importing.read_flame(dump(tmp_path / "odd.pkl", content))


def test_an_imported_head_is_found_by_name_and_keeps_its_landmarks(tmp_path, content):
    path = dump(tmp_path / "FLAME 2023.pkl", content)
    asset = importing.read_flame(path)
    assert asset.name == "flame-2023"
    assert not asset.has_landmarks()
    rng = np.random.default_rng(1)
    embedded = asset.with_landmarks(
        (rng.integers(0, 20, 478), rng.dirichlet([1] * 3, 478)), (rng.integers(0, 20, 68), rng.dirichlet([1] * 3, 68))
    )
    library.store_head(embedded)
    assert list(library.list_heads()) == ["open-head", "flame-2023"]
    for found in (library.load_head("flame-2023"), library.load_head(path)):
        assert found.fingerprint == asset.fingerprint
        assert np.array_equal(found.mediapipe_faces, embedded.mediapipe_faces)


def test_a_name_is_not_given_to_another_model(tmp_path, content):
    library.store_head(importing.read_flame(dump(tmp_path / "a.pkl", content)))
    content["v_template"] = content["v_template"] + 0.01
    with pytest.raises(HeadModelError, match="called a"):
        library.store_head(importing.read_flame(dump(tmp_path / "b.pkl", content), "a"))
    for name in ("open-head", "../a", "A b"):
        with pytest.raises(HeadModelError, match="cannot have this name"):
            library.store_head(importing.read_flame(dump(tmp_path / "b.pkl", content), name))
