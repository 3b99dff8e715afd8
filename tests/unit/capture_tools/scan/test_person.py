"""What scans of one person share: texture, ratio images, template; and sequences that cannot be registered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scan_parts import known_head, scan_of

from avatar.app.cli import main
from avatar.base.errors import InputError
from avatar.flame.model import HeadModel
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.model_fit import ModelFitter
from capture_tools.scan.person import personal_template
from capture_tools.scan.ratio_images import ratio_image, slopes
from capture_tools.scan.scan import Scan
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.surface_colours import STEPS, SurfaceColours, colours_of_scan, lattice

NOTHING = ScanLandmarks("mediapipe", np.full((478, 3), np.nan), np.zeros((478, 3, 3)))


def test_colours_between_the_lattices_points_are_interpolated():
    slope = np.array([[0.2, 0.5, 0.9], [0.1, 0.0, 0.3], [0.7, 0.6, 0.4]])
    points = lattice()
    assert len(points) == (STEPS + 1) * (STEPS + 2) // 2
    colours = SurfaceColours((points @ slope)[None].astype(np.float32), np.ones((1, len(points)), bool))
    anywhere = np.concatenate([np.random.default_rng(0).dirichlet((1, 1, 1), 300), np.eye(3), points])
    found, known = colours.at(np.zeros(len(anywhere), np.int64), anywhere)
    assert known.all()
    assert np.abs(found - anywhere @ slope).max() < 1e-6


def test_colours_next_to_unknown_ones_are_unknown():
    points = lattice()
    known = np.ones((1, len(points)), bool)
    known[0, np.flatnonzero(points[:, 0] == 1)] = False
    colours = SurfaceColours(np.zeros((1, len(points), 3), np.float32), known)
    inside = colours.at(np.zeros(2, np.int64), np.array([[0.99, 0.005, 0.005], [0.2, 0.4, 0.4]]))[1]
    assert inside.tolist() == [False, True]


@pytest.mark.parametrize("form", ["colours", "points"])
def test_a_scans_colours_come_to_the_head(head, form):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    middle = vertices.mean(0)
    colour = lambda points: 128 + 800 * (points - middle)  # noqa: E731
    scan = replace(scan, colours=np.clip(np.rint(colour(scan.vertices)), 0, 255).astype(np.uint8))
    if form == "points":
        scan = Scan("cloud", scan.vertices, colours=scan.colours)
    wanted = head.region("nose")[head.faces].all(1)
    made = colours_of_scan(scan, vertices, head.faces, wanted)
    assert not made.known[~wanted].any()
    assert made.known[wanted].mean() > 0.95
    places = np.einsum("kc,fcd->fkd", lattice(), vertices[head.faces])[made.known]
    off = 255 * made.values[made.known] - np.clip(colour(places), 0, 255)
    assert np.abs(off).max() < (1.5 if form == "colours" else 3)


def test_far_and_turned_away_surfaces_give_no_colour(head):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    scan = replace(scan, colours=np.full(scan.vertices.shape, 90, np.uint8))
    wanted = head.region("nose")[head.faces].all(1)
    away = scan.moved(np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.02], [0, 0, 0, 1]]))
    assert colours_of_scan(away, vertices, head.faces, wanted).known.mean() < 0.01


def test_light_that_varies_slowly_does_not_change_a_ratio_image():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160] / 160
    skin = 0.5 + 0.05 * rng.normal(size=(160, 160))
    known = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2
    one, good = ratio_image(skin, known, 1.5)
    other, _ = ratio_image(skin * (0.4 + 0.8 * x + 0.3 * y), known, 1.5)
    assert good.sum() > 0.9 * known.sum()
    assert np.abs(one - other)[good].mean() < 0.15 * np.abs(one[good]).mean()
    assert not good[~known].any()
    masked = skin.copy()
    masked[~known] = 7
    assert np.array_equal(ratio_image(masked, known, 1.5)[0][good], one[good])


def test_slopes_are_per_pixel():
    y, x = np.mgrid[:20, :30].astype(np.float32)
    slope, inside = slopes(3 * x - 2 * y, np.ones((20, 30), bool))
    assert np.allclose(slope[5:15, 5:25], [3, -2])
    assert inside.sum() == 18 * 28


def test_the_template_of_a_person_is_found_from_posed_scans(head):
    rng = np.random.default_rng(0)
    params, _ = known_head(head)
    bump = 0.003 * np.exp(-(((head.template - head.template[head.region("nose")].mean(0)) / 0.03) ** 2).sum(1))
    offset = bump[:, None] * rng.normal(size=3)
    own = replace(head, template=(head.template + offset).astype(np.float32))
    made = []
    for jaw, turn in ((0.06, 0.0), (0.25, 0.15)):
        one = params.clone()
        one.jaw[0, 0], one.neck[0, 1] = jaw, turn
        with torch.no_grad():
            made.append((HeadModel(own)(one).vertices[0].double().numpy(), one))
    template, shape = personal_template(head, made)
    expected = head.template + head.shapedirs @ params.shape.numpy() + offset
    assert np.abs(template - expected).max() < 2e-4  # joints move with the bump, a little
    assert shape == pytest.approx(params.shape.numpy())


def test_a_held_shape_stays_while_the_rest_is_fitted(head):
    params, vertices = known_head(head)
    own = replace(head, template=(head.template + head.shapedirs @ params.shape.numpy()).astype(np.float32))
    for person, most in ((own, 2e-4), (head, None)):
        fitter = ModelFitter(person, NOTHING)
        fitter.hold_shape()
        fit = fitter.to_vertices(vertices, np.ones(len(vertices)), rounds=4)
        assert not fit.params.shape.any()
        if most is None:  # without the person's template it cannot fit
            assert np.abs(fit.vertices - vertices).max() > 0.003
        else:
            assert np.abs(fit.vertices - vertices).max() < most
            assert float(fit.params.jaw[0, 0]) == pytest.approx(0.06, abs=0.005)


def test_sequences_that_are_none_are_refused_before_any_work(tmp_path, capsys):
    scan, other = tmp_path / "a.ply", tmp_path / "b.ply"
    for path in (scan, other):
        trimesh.creation.icosphere().export(path)
    with pytest.raises(InputError, match="--neutral belongs to a sequence"):
        RegisterSettings(neutral=(scan,)).check()
    out = ["--out", str(tmp_path / "out"), "--sequence"]
    assert main(["register", str(scan), *out]) == 1
    assert "a sequence has several scans" in capsys.readouterr().err
    assert main(["register", str(scan), str(other), *out, "--neutral", str(tmp_path / "c.ply")]) == 1
    assert "names a scan that is not in the sequence" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
