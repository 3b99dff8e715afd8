"""FLAME as a PyTorch module: M(beta, theta, psi) = W(T + B_S(beta) + B_P(theta) + B_E(psi), J(beta), theta, W).

Li et al., "Learning a model of facial shape and expression from 4D scans", ACM TOG 36(6), 2017, equations 1 to 5.
One thing follows the released code instead of the paper: joints are regressed from the mesh with its expression
offsets (and the static offset), as `smplx.FLAME` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from avatar.base.errors import HeadModelError
from avatar.flame import lbs
from avatar.flame.assets import HeadAsset
from avatar.geometry.rotations import axis_angle_to_matrix

PER_FRAME = ("expr", "rotation", "translation", "neck", "jaw", "eyes")


@dataclass
class HeadParameters:
    """FLAME parameters of `N` frames of one person. Rotations are axis-angle in radians, lengths metres."""

    shape: Tensor
    """`[S]` identity, shared by all frames."""
    expr: Tensor
    """`[N, E]`."""
    rotation: Tensor
    """`[N, 3]` of the whole head about the root joint."""
    translation: Tensor
    """`[N, 3]`, added after the rotation."""
    neck: Tensor
    """`[N, 3]`."""
    jaw: Tensor
    """`[N, 3]`."""
    eyes: Tensor
    """`[N, 6]`: left eye, then right eye."""
    static_offset: Tensor | None = None
    """`[V, 3]` added to the shaped template, shared by all frames."""

    @staticmethod
    def neutral(asset: HeadAsset, count: int = 1, *, device: torch.device | str = "cpu") -> HeadParameters:
        """All zeros for `count` frames: the template at the origin."""
        return HeadParameters(
            shape=torch.zeros(asset.shape_count, device=device),
            expr=torch.zeros(count, asset.expression_count, device=device),
            rotation=torch.zeros(count, 3, device=device),
            translation=torch.zeros(count, 3, device=device),
            neck=torch.zeros(count, 3, device=device),
            jaw=torch.zeros(count, 3, device=device),
            eyes=torch.zeros(count, 6, device=device),
        )

    def __len__(self) -> int:
        return self.expr.shape[0]

    def _map(self, function: Callable[[Tensor], Tensor]) -> HeadParameters:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{key: function(value) for key, value in values.items() if value is not None})

    def to(self, *args, **kwargs) -> HeadParameters:
        """A copy with every tensor's `.to(...)` applied (device or dtype)."""
        return self._map(lambda v: v.to(*args, **kwargs))

    def detach(self) -> HeadParameters:
        return self._map(lambda v: v.detach())

    def clone(self) -> HeadParameters:
        return self._map(lambda v: v.clone())

    def select(self, index) -> HeadParameters:
        """The frames of an index tensor, list or slice; shape and static offset stay shared."""
        return replace(self, **{key: getattr(self, key)[index] for key in PER_FRAME})

    def frame(self, i: int) -> HeadParameters:
        """One frame, still with `N = 1`."""
        return self.select([i])

    @staticmethod
    def concatenate(parts: list[HeadParameters]) -> HeadParameters:
        """Frames of several parts one after another; shape and static offset come from the first."""
        return replace(parts[0], **{key: torch.cat([getattr(p, key) for p in parts]) for key in PER_FRAME})


@dataclass
class HeadPose:
    """A posed head: vertices, joints and transforms, world frame, metres."""

    vertices: Tensor
    """`[N, V, 3]`, or the vertices of the model's subset."""
    joints: Tensor
    """`[N, 5, 3]` root, neck, jaw, left eye, right eye."""
    world_from_head: Tensor
    """`[N, 4, 4]` root transform: maps a rest-pose point bound to the root joint to the world."""
    world_from_skull: Tensor
    """`[N, 4, 4]` neck transform: maps a rest-pose point of the skull to the world."""
    world_from_joint: Tensor
    """`[N, 5, 4, 4]` of all joints, rest pose to world."""


class HeadModel(nn.Module):
    """A HeadAsset as a differentiable function of HeadParameters; it has no trainable weights of its own.

    Args:
        asset: the head.
        vertex_subset: int64 indices `[K]` of the vertices wanted; only these are computed (landmark tracking needs
            1,500 of 5,000). Joints are exact all the same.
    """

    template: Tensor
    shapedirs: Tensor
    exprdirs: Tensor
    posedirs: Tensor
    weights: Tensor
    joint_regressor: Tensor
    joint_template: Tensor
    joint_shapedirs: Tensor
    joint_exprdirs: Tensor
    vertex_subset: Tensor
    faces: Tensor
    mediapipe_corners: Tensor
    mediapipe_barycentrics: Tensor
    ibug_corners: Tensor
    ibug_barycentrics: Tensor

    def __init__(self, asset: HeadAsset, vertex_subset: Tensor | None = None) -> None:
        super().__init__()
        self.parents = asset.parents
        self.vertex_count = asset.vertex_count
        self.shape_count, self.expression_count = asset.shape_count, asset.expression_count
        self.name = asset.name

        def buffer(name: str, value) -> None:
            self.register_buffer(name, torch.as_tensor(value), persistent=False)

        regressor = torch.as_tensor(asset.joint_regressor)
        full = {key: torch.as_tensor(getattr(asset, key)) for key in ("template", "shapedirs", "exprdirs")}
        # Linear in the coefficients, so the regressor is applied once, to all vertices.
        buffer("joint_regressor", regressor)
        buffer("joint_template", regressor @ full["template"])
        buffer("joint_shapedirs", torch.einsum("jv,vdk->jdk", regressor, full["shapedirs"]))
        buffer("joint_exprdirs", torch.einsum("jv,vdk->jdk", regressor, full["exprdirs"]))

        subset = None if vertex_subset is None else torch.as_tensor(vertex_subset, dtype=torch.int64).cpu()
        pick = (lambda a: a) if subset is None else (lambda a: a[subset])
        buffer("template", pick(full["template"]))
        buffer("shapedirs", pick(full["shapedirs"]).contiguous())
        buffer("exprdirs", pick(full["exprdirs"]).contiguous())
        buffer("posedirs", pick(torch.as_tensor(asset.posedirs)).contiguous())
        buffer("weights", pick(torch.as_tensor(asset.weights)))
        buffer("vertex_subset", torch.empty(0, dtype=torch.int64) if subset is None else subset)
        self.has_subset = subset is not None
        buffer("faces", torch.as_tensor(asset.faces, dtype=torch.int64))
        for key in ("mediapipe", "ibug"):
            corners, barycentrics = _embedding(asset, key)
            buffer(f"{key}_corners", self._reindex(corners, subset))
            buffer(f"{key}_barycentrics", barycentrics)

    @staticmethod
    def _reindex(corners: Tensor, subset: Tensor | None) -> Tensor:
        """Vertex indices in the subset; -1 where a landmark's corner is not in it."""
        if subset is None or corners.numel() == 0:
            return corners
        where = torch.full((int(max(corners.max(), subset.max())) + 1,), -1, dtype=torch.int64)
        where[subset] = torch.arange(len(subset))
        return where[corners]

    def forward(self, p: HeadParameters) -> HeadPose:
        """Pose the head. Raises HeadModelError where `p` has other numbers of coefficients (S, E) than the model."""
        if p.shape.shape[-1] != self.shape_count or p.expr.shape[-1] != self.expression_count:
            raise HeadModelError(
                f"the parameters do not fit the head model {self.name}",
                expected=f"{self.shape_count} shape and {self.expression_count} expression coefficients",
                found=f"{p.shape.shape[-1]} and {p.expr.shape[-1]}",
            )
        shape = p.shape if p.shape.ndim == 2 else p.shape.unsqueeze(0)
        rest = self.template + lbs.blend(self.shapedirs, shape)
        joints = self.joint_template + lbs.blend(self.joint_shapedirs, shape)
        if p.static_offset is not None:
            rest = rest + (p.static_offset[self.vertex_subset] if self.has_subset else p.static_offset)
            joints = joints + self.joint_regressor @ p.static_offset
        rest = rest + lbs.blend(self.exprdirs, p.expr)
        joints = joints + lbs.blend(self.joint_exprdirs, p.expr)

        pose = torch.stack([p.rotation, p.neck, p.jaw, p.eyes[:, :3], p.eyes[:, 3:]], 1)
        rotations = axis_angle_to_matrix(pose)
        rest = rest + lbs.blend(self.posedirs, lbs.pose_features(rotations))
        posed_joints, transforms = lbs.joint_transforms(rotations, joints, self.parents)
        vertices = lbs.skin(rest, transforms, self.weights) + p.translation.unsqueeze(1)

        moved = torch.zeros_like(transforms)
        moved[..., :3, 3] = p.translation.unsqueeze(1)
        world = transforms + moved
        return HeadPose(vertices, posed_joints + p.translation.unsqueeze(1), world[:, 0], world[:, 1], world)

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's landmarks `[N, 478, 3]` on posed vertices `[N, V, 3]` (or those of the subset), in their frame.

        Raises HeadModelError where the head has no landmark embedding.
        """
        return self._points(vertices, self.mediapipe_corners, self.mediapipe_barycentrics)

    def ibug68(self, vertices: Tensor) -> Tensor:
        """The iBUG landmarks `[N, 68, 3]` on posed vertices; see `landmarks`."""
        return self._points(vertices, self.ibug_corners, self.ibug_barycentrics)

    def _points(self, vertices: Tensor, corners: Tensor, barycentrics: Tensor) -> Tensor:
        if corners.numel() == 0:
            raise HeadModelError(
                f"the head model {self.name} has no landmark embedding", fix="import it again: avatar model import FILE"
            )
        return (vertices[:, corners] * barycentrics.unsqueeze(-1)).sum(-2)


def _embedding(asset: HeadAsset, key: str) -> tuple[Tensor, Tensor]:
    """Corner vertices `[L, 3]` and barycentrics `[L, 3]`; empty where the asset has no embedding yet."""
    faces = getattr(asset, f"{key}_faces")
    if (faces < 0).any():
        return torch.empty(0, 3, dtype=torch.int64), torch.empty(0, 3)
    corners = torch.as_tensor(asset.faces[faces], dtype=torch.int64)
    return corners, torch.as_tensor(getattr(asset, f"{key}_barycentrics"))


def landmark_vertices(asset: HeadAsset) -> Tensor:
    """Sorted unique indices `[K]` of the vertices that carry landmarks: the subset that tracking needs."""
    corners = torch.cat([_embedding(asset, "mediapipe")[0], _embedding(asset, "ibug")[0]])
    return torch.unique(corners)


@torch.no_grad()
def head_middle(model: HeadModel, params: HeadParameters) -> np.ndarray:
    """`[3]` float64 mean of the landmarks of one posed head (N = 1), metres, world."""
    return model.landmarks(model(params).vertices)[0].mean(0).double().cpu().numpy()
