"""What mesh queries and the rasteriser refuse before a kernel starts; tests/twins/test_mesh_query.py has more."""

import numpy as np
import pytest
import torch

from avatar.base.errors import ConfigError, InputError, MissingDependencyError
from avatar.flame import rasterize as rasterizer
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.runtime import backends

NAN, INF = float("nan"), float("inf")
VERTICES = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
FACES = torch.tensor([[0, 1, 2]])


@pytest.fixture
def query():
    return MeshQuery(FACES).update(VERTICES)


def image(height=8, width=6):
    return {
        "face": torch.full((height, width), -1, dtype=torch.int32),
        "depth": torch.full((height, width), INF),
        "barycentrics": torch.zeros(height, width, 3),
    }


def pixels(**change):
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = 3.0
    window = {"rows": (0, 8), "columns": (0, 6), "step": 1, "intrinsics": (9.0, 9.0, 3.0, 4.0), "world_from_cam": pose}
    return {**window, **image(), **change}


def test_the_good_window_is_good(query):
    parts = pixels()
    query.cast_pixels(**parts)
    assert 0 < int((parts["face"] == 0).sum()) < 48


BAD_PIXELS = {
    "rows beyond the image": ({"rows": (0, 9)}, "window does not lie in the image"),
    "negative columns": ({"columns": (-1, 6)}, "window does not lie in the image"),
    "no step": ({"step": 0}, "step of at least 1"),
    "NaN focal length": ({"intrinsics": (NAN, 9.0, 3.0, 4.0)}, "camera is not finite"),
    "no focal length": ({"intrinsics": (0.0, 9.0, 3.0, 4.0)}, "camera is not finite"),
    "infinite pose": ({"world_from_cam": np.full((4, 4), INF)}, "camera is not finite"),
    "pose of wrong shape": ({"world_from_cam": np.eye(3)}, "pose"),
    "face of other type": ({"face": image()["face"].long()}, "faces of the image cannot be used"),
    "depth of other size": ({"depth": torch.zeros(8, 5)}, "depths of the image cannot be used"),
    "depth in double": ({"depth": torch.zeros(8, 6, dtype=torch.float64)}, "depths of the image cannot be used"),
    "barycentrics of other size": ({"barycentrics": torch.zeros(8, 6)}, "barycentrics of the image cannot be used"),
    "face elsewhere": ({"face": image()["face"].to("meta")}, "another device"),
    "not contiguous": ({"depth": torch.zeros(6, 8).T}, "contiguous"),
}


@pytest.mark.parametrize("case", BAD_PIXELS)
def test_bad_windows_are_refused(query, case):
    change, message = BAD_PIXELS[case]
    with pytest.raises(InputError, match=message):
        query.cast_pixels(**pixels(**change))


def test_an_empty_window_does_nothing(query):
    parts = pixels(rows=(3, 3))
    query.cast_pixels(**parts)
    assert (parts["face"] == -1).all()


@pytest.mark.parametrize("max_depth", [NAN, 0.0, -1.0])
def test_rays_need_a_length(query, max_depth):
    with pytest.raises(InputError, match="max_depth must be above 0"):
        query.cast_rays(torch.zeros(1, 3), torch.ones(1, 3), max_depth=max_depth)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_rays_and_points_that_are_not_finite(query, value):
    good, bad = torch.zeros(4, 3), torch.zeros(4, 3)
    bad[2, 1] = value
    for run in (
        lambda: query.cast_rays(bad, good),
        lambda: query.cast_rays(good, bad),
        lambda: query.closest_points(bad),
        lambda: query.update(VERTICES + bad[1:]),
    ):
        with pytest.raises(InputError, match="not finite"):
            run()


def test_output_elsewhere_is_refused(query):
    output = torch.zeros(4, 3, dtype=torch.float16, device="meta")
    where = torch.zeros(4, dtype=torch.int32, device="meta")
    with pytest.raises(InputError, match="another device"):
        query.spread(torch.zeros(4, 3), VERTICES, where, output, fade=0.04, reach=0.05)


def test_no_rays_and_no_points(query):
    none = torch.empty(0, 3)
    assert query.cast_rays(none, none).depth.shape == (0,)
    assert query.closest_points(none).distance.shape == (0,)
    empty = torch.empty(0, dtype=torch.int32)
    query.spread(none, VERTICES, empty, torch.empty(0, 3, dtype=torch.float16), fade=0.04, reach=0.05)


class TestRasteriser:
    camera = Camera(20, 16, 30.0, 30.0, 10.0, 8.0, look_at((0, 0, 3), (0, 0, 0)))

    @pytest.fixture
    def pytorch3d(self, monkeypatch):
        """As if pytorch3d were installed; it must not be reached."""
        monkeypatch.setattr(backends, "is_installed", lambda name: True)
        monkeypatch.setattr(rasterizer, "require", lambda *names: pytest.fail("bad input reached pytorch3d"))

    def test_bad_vertices_do_not_reach_pytorch3d(self, pytorch3d):
        with pytest.raises(InputError, match="not finite"):
            rasterize(FACES, VERTICES * NAN, self.camera, backend="pytorch3d")
        with pytest.raises(InputError, match="do not fit"):
            rasterize(FACES, VERTICES[:2], self.camera, backend="pytorch3d")
        with pytest.raises(InputError, match="do not fit"):
            rasterize(FACES, VERTICES[:, :2], self.camera, backend="pytorch3d")

    def test_names_are_checked_where_they_are_resolved(self, monkeypatch):
        with pytest.raises(ConfigError, match=r"unknown backend of backends\.rasterising"):
            rasterize(FACES, VERTICES, self.camera, backend="torch")
        monkeypatch.setattr(backends, "is_installed", lambda name: False)
        with pytest.raises(MissingDependencyError, match=r"pip install .*pytorch3d"):
            rasterize(FACES, VERTICES, self.camera, backend="pytorch3d")
