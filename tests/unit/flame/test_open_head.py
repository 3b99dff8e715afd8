"""The shipped head: anatomy that would break if its parts were mixed up, and the relations its README promises."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.base.errors import HeadModelError
from avatar.flame.assets import fingerprint_of, make_head, read_head, save_head
from avatar.flame.landmarks import IBUG_FROM_MEDIAPIPE, LOWER_LIP, UPPER_LIP, mediapipe_mirror, surface_points
from avatar.flame.library import list_heads, load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.regions import inside_polygon, with_landmark_regions
from capture_tools.report.texture import has_symmetric_map, texels


@pytest.fixture(scope="module")
def asset():
    return load_head()


@pytest.fixture(scope="module")
def model(asset):
    return HeadModel(asset)


def pose(asset, model, **values):
    p = HeadParameters.neutral(asset)
    for name, value in values.items():
        if name in asset.expression_names:
            p.expr[0, asset.expression_index(name)] = value
        else:
            setattr(p, name, torch.tensor([value], dtype=torch.float32))
    return model(p).vertices[0].numpy()


def landmarks(asset, vertices):
    return surface_points(vertices, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics)


def test_it_is_a_head_of_natural_size_that_looks_along_z(asset):
    size = np.ptp(asset.template, axis=0)
    assert 0.15 < size[0] < 0.25
    assert 0.25 < size[1] < 0.35
    points = landmarks(asset, asset.template)
    assert points[1, 2] == points[:, 2].max()  # the tip of the nose
    assert points[10, 1] > points[159, 1] > points[1, 1] > points[13, 1] > points[152, 1]  # brow, eye, nose, lips, chin
    assert points[263, 0] > 0 > points[33, 0]  # the left eye is at +x
    assert 0.055 < np.linalg.norm(asset.joint_regressor[3] @ asset.template * 2 * [1, 0, 0]) < 0.07


def test_it_is_symmetric(asset):
    mirror = asset.extras["mirror"]
    flip = np.array([-1, 1, 1])
    assert np.abs(asset.template[mirror] * flip - asset.template).max() < 1e-4
    swapped = [n.replace("Left", "#").replace("Right", "Left").replace("#", "Right") for n in asset.expression_names]
    for index, name in enumerate(swapped):
        if name in asset.expression_names:
            twin = asset.exprdirs[..., asset.expression_index(name)]
            assert np.abs(asset.exprdirs[mirror, :, index] * flip - twin).max() < 1e-4, name
    points = landmarks(asset, asset.template)
    assert np.abs(points[mediapipe_mirror()] * flip - points).max() < 1.5e-3


def test_weights_and_joints(asset):
    assert np.abs(asset.weights.sum(1) - 1).max() < 1e-5
    assert asset.weights.min() >= 0
    assert np.abs(asset.joint_regressor.sum(1) - 1).max() < 1e-4
    assert (asset.weights[asset.region("left_eyeball"), 3] == 1).all()
    assert (asset.weights[asset.region("right_eyeball"), 4] == 1).all()
    assert (asset.weights[asset.region("lower_teeth"), 2] == 1).all()
    assert (asset.weights[asset.region("upper_teeth"), 1] == 1).all()
    root, neck, jaw, left, right = asset.joint_regressor @ asset.template
    assert root[1] < neck[1] < jaw[1] < left[1]
    assert np.abs([root[0], neck[0], jaw[0]]).max() < 1e-4
    assert np.abs(left * [-1, 1, 1] - right).max() < 1e-4


def test_eye_joints_are_at_the_centres_of_the_eyeballs(asset):
    for joint, region in ((3, "left_eyeball"), (4, "right_eyeball")):
        ball = asset.template[asset.region(region)]
        radius = np.linalg.norm(ball - asset.joint_regressor[joint] @ asset.template, axis=1)
        back = ball[:, 2] < np.median(ball[:, 2])  # the cornea bulges in front
        assert radius[back].std() < 0.0005
        assert 0.012 < radius[back].mean() < 0.0175


def test_jaw_pose_is_the_artists_open_mouth(asset, model):
    """The jaw joint with its corrective and the expression jawOpen reach the same shape; skinning alone does not."""
    angle = float(asset.extras["jaw_open_angle"])
    by_joint = pose(asset, model, jaw=[angle, 0, 0])
    by_expression = pose(asset, model, jawOpen=1.0)
    assert np.linalg.norm(by_joint - by_expression, axis=1).max() < 0.001
    names = ("template", "faces", "shapedirs", "exprdirs", "joint_regressor", "weights")
    bare = make_head("bare", {n: getattr(asset, n) for n in names} | {"posedirs": np.zeros_like(asset.posedirs)})
    p = HeadParameters.neutral(bare)
    p.jaw[0, 0] = angle
    without = HeadModel(bare)(p).vertices[0].numpy()
    assert np.linalg.norm(without - by_expression, axis=1).max() > 0.003


def test_opening_the_jaw_parts_the_lips_and_leaves_the_skull(asset, model):
    rest, opened = landmarks(asset, asset.template), landmarks(asset, pose(asset, model, jaw=[0.3, 0, 0]))
    moved = np.linalg.norm(opened - rest, axis=1)
    assert moved[[10, 33, 263, 6, 168]].max() < 0.0005
    assert (opened[13, 1] - opened[14, 1]) - (rest[13, 1] - rest[14, 1]) > 0.01
    upper = [i for i in UPPER_LIP if i not in (61, 291, 78, 308, 185, 409, 191, 415)]
    assert moved[upper].max() < 0.5 * moved[[17, 14, 152]].min()
    middle = [i for i in LOWER_LIP if i not in (146, 375, 95, 324)]
    assert moved[middle].min() > moved[upper].max()


def test_blinks_close_the_eyes(asset, model):
    for side, upper, lower in (("Left", 386, 374), ("Right", 159, 145)):
        rest = landmarks(asset, asset.template)
        closed = landmarks(asset, pose(asset, model, **{f"eyeBlink{side}": 1.0}))
        assert rest[upper, 1] - rest[lower, 1] > 0.006
        assert abs(closed[upper, 1] - closed[lower, 1]) < 0.0015


def test_irises_follow_the_eye_joints_and_nothing_else_does(asset, model):
    rest = landmarks(asset, asset.template)
    turned = landmarks(asset, pose(asset, model, eyes=[0, 0.3, 0, 0, 0.3, 0]))
    shift = turned - rest
    assert (shift[[468, 473], 0] > 0.003).all()  # turning about +y looks to the person's left
    assert np.abs(shift[:468]).max() < 1e-6


def test_identities_keep_the_head_in_place_and_one_unit_is_one_deviation(asset, model):
    rng = np.random.default_rng(0)
    skull = asset.region("face") | asset.region("scalp")
    moved = []
    for _ in range(30):
        p = HeadParameters.neutral(asset)
        p.shape = torch.tensor(rng.normal(0, 1, asset.shape_count), dtype=torch.float32)
        vertices = model(p).vertices[0].numpy()
        moved.append(vertices[skull] - asset.template[skull])
    moved = np.array(moved)
    assert np.linalg.norm(moved.mean(1), axis=-1).mean() < 0.008  # the head as a whole stays
    typical = np.sqrt((moved**2).sum(-1).mean())
    assert 0.003 < typical < 0.015
    energy = np.sqrt((asset.shapedirs**2).sum((0, 1)))
    assert energy[:10].min() > energy[-10:].max()


def test_regions_cover_what_they_name(asset):
    needed = {"face", "lips", "eyes", "eyeballs", "mouth_interior", "teeth", "tongue", "scalp", "neck", "ears", "nose"}
    assert needed <= set(asset.regions)
    assert not (asset.region("face") & asset.region("neck")).any()
    assert not (asset.region("lips") & asset.region("mouth_interior")).any()
    points = landmarks(asset, asset.template)
    lips = asset.template[asset.region("lips")]
    for index in (0, 17, 61, 291, 40, 270):
        assert np.linalg.norm(lips - points[index], axis=1).min() < 0.005
    assert asset.template[asset.region("neck"), 1].max() < points[13, 1] + 0.03


def test_ibug_points_are_the_named_mediapipe_points(asset):
    ibug = surface_points(asset.template, asset.faces, asset.ibug_faces, asset.ibug_barycentrics)
    assert np.allclose(ibug, landmarks(asset, asset.template)[list(IBUG_FROM_MEDIAPIPE)])
    assert ibug[8, 1] == ibug[:, 1].min()  # the chin
    assert ibug[36, 0] < ibug[39, 0] < ibug[42, 0] < ibug[45, 0]


def signed_areas(asset):
    corner = asset.uv.astype(float)[asset.uv_faces]
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def test_the_texture_map_is_one_to_one(asset):
    assert asset.uv_faces.shape == asset.faces.shape
    assert asset.uv.min() >= 0
    assert asset.uv.max() <= 1
    area = signed_areas(asset)
    assert area.min() > 0  # no triangle is inverted: text on the skin reads as in a photograph
    size = 400
    assert len(texels(asset, size).face) / size**2 == pytest.approx(area.sum(), rel=0.01)  # and none lies on another


def test_the_texture_map_is_upright_and_symmetric_and_most_of_it_is_face(asset):
    assert signed_areas(asset)[asset.region("face")[asset.faces].all(1)].sum() > 0.4
    place = np.full((asset.vertex_count, 2), np.nan)
    place[asset.faces.ravel()] = asset.uv[asset.uv_faces.ravel()]
    nose, forehead, chin, left_eye, right_eye = (
        place[asset.faces[asset.mediapipe_faces[mark], 0]] for mark in (1, 10, 152, 263, 33)
    )
    assert forehead[1] > left_eye[1] > nose[1] > chin[1]
    assert right_eye[0] < nose[0] < left_eye[0]  # as in a picture of the person
    assert np.abs(np.array([forehead[0], nose[0], chin[0]]) - 0.5).max() < 0.03
    single = asset.region("face") & (np.abs(asset.template[:, 0]) > 1e-4)
    mirror = asset.extras["mirror"]
    assert np.abs(place[mirror[single]] * [-1, 1] + [1, 0] - place[single]).max() < 1e-5
    assert has_symmetric_map(asset)


def test_a_texture_tells_its_map(asset):
    other = replace(asset, uv=asset.uv * 0.5)
    assert asset.uv_fingerprint != other.uv_fingerprint
    assert asset.fingerprint == other.fingerprint  # the parameters stay valid
    assert replace(asset, uv=None).uv_fingerprint is None


def test_the_surface_is_a_manifold(asset):
    edges = np.sort(np.concatenate([asset.faces[:, [0, 1]], asset.faces[:, [1, 2]], asset.faces[:, [2, 0]]]), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() == 2  # a manifold


def test_it_survives_saving_with_its_fingerprint(asset, tmp_path):
    again = read_head(save_head(tmp_path / "again.npz", asset, half=True), "again")
    assert again.fingerprint == asset.fingerprint
    assert np.array_equal(again.exprdirs, asset.exprdirs)
    assert again.expression_names == asset.expression_names
    assert set(again.regions) == set(asset.regions)


def test_the_fingerprint_is_of_the_geometry(asset):
    names = ("template", "faces", "shapedirs", "exprdirs", "posedirs", "joint_regressor", "weights")
    arrays = {name: getattr(asset, name) for name in names}
    assert fingerprint_of(arrays) == asset.fingerprint
    for name in names:
        changed = arrays[name].copy()
        changed.flat[7] += 1
        assert fingerprint_of(arrays | {name: changed}) != asset.fingerprint


def test_unknown_heads_are_answered_with_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path))
    assert list(list_heads()) == ["open-head"]
    with pytest.raises(HeadModelError, match="open-head"):
        load_head("flame2020")


def test_a_cut_file_is_refused(tmp_path, asset):
    path = save_head(tmp_path / "cut.npz", asset, half=True)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(HeadModelError, match="damaged"):
        read_head(path)


def test_regions_drawn_from_landmarks_are_near_the_painted_ones(asset):
    drawn = with_landmark_regions(replace(asset, regions={})).regions
    hidden = asset.region("eye_sockets") | asset.region("teeth") | asset.region("tongue")  # FLAME has none of these
    for name, overlap in (("face", 0.75), ("lips", 0.6), ("eyeballs", 1.0), ("neck", 0.6), ("scalp", 0.5)):
        hidden |= asset.region("ears") & (name == "scalp")
        both = (drawn[name] & asset.region(name) & ~hidden).sum()
        either = ((drawn[name] | asset.region(name)) & ~hidden).sum()
        assert both / either >= overlap, (name, both / either)
    assert drawn["eyes"].sum() > 50
    kept = with_landmark_regions(asset).regions
    assert all(np.array_equal(kept[name], asset.regions[name]) for name in asset.regions)


def test_inside_polygon():
    square = np.array([[0, 0], [2, 0], [2, 2], [1, 1], [0, 2]])  # with a notch
    points = np.array([[0.5, 0.5], [1.0, 1.5], [3.0, 1.0], [0.2, 1.5], [-0.1, 1.0]])
    assert inside_polygon(points, square).tolist() == [True, False, False, True, False]
