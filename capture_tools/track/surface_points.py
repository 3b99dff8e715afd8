"""FLAME evaluated at chosen surface points only, at a fraction of the cost of all vertices.

A surface point is sum_c b_c sum_j w_cj T_j v_c over the corners c of its triangle. Exchanging the sums gives
sum_j T_j (sum_c b_c w_cj v_c): for each pair of point and joint with a weight (about 700 for 478 landmarks), the inner
sum is linear in all coefficients. Its basis is computed once, and no vertex is computed in the loop.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar.flame import lbs
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix


class SurfacePoints:
    """`P` points of a head's surface as a differentiable function of its parameters.

    Args:
        asset: the head.
        faces: `[P]` triangles.
        barycentrics: `[P, 3]` within them.
        offset_basis: `[V, Q]` basis of the static offset; `at` takes its latents `[Q, 3]`.
        bias: `[P, 3]` metres added to the points in the rest pose; None = 0.
    """

    def __init__(
        self,
        asset: HeadAsset,
        faces: np.ndarray,
        barycentrics: np.ndarray,
        offset_basis: Tensor,
        bias: Tensor | None = None,
    ) -> None:
        model = HeadModel(asset, torch.zeros(1, dtype=torch.int64))
        self.count = len(faces)
        self.parents = asset.parents
        self.joint_template, self.joint_shapedirs = model.joint_template, model.joint_shapedirs
        self.joint_exprdirs = model.joint_exprdirs
        self.joint_basis = model.joint_regressor @ offset_basis
        corners = torch.as_tensor(asset.faces[faces], dtype=torch.int64)
        shares = torch.as_tensor(barycentrics, dtype=torch.float32)[..., None] * torch.as_tensor(asset.weights)[corners]
        pairs = (shares.sum(1) > 0).T.nonzero()
        joint, self.point = pairs.unbind(1)
        self.counts = torch.bincount(joint, minlength=len(asset.parents)).tolist()
        amount, corner = shares[self.point, :, joint], corners[self.point]
        self.weight = amount.sum(1)

        def gather(values: Tensor) -> Tensor:
            return torch.einsum("rc,rc...->r...", amount, values[corner])

        self.template = gather(torch.as_tensor(asset.template))
        if bias is not None:
            self.template = self.template + self.weight[:, None] * bias[self.point]
        self.shapedirs = gather(torch.as_tensor(asset.shapedirs))
        motion = torch.cat([torch.as_tensor(asset.exprdirs), torch.as_tensor(asset.posedirs)], -1)
        self.motion = gather(motion).flatten(0, 1).T.contiguous()
        self.offset_basis = gather(offset_basis)

    def at(self, p: HeadParameters, latents: Tensor | None) -> Tensor:
        """`[N, P, 3]` metres, world. `p.static_offset` is ignored; `latents` `[Q, 3]` takes its place (None = 0)."""
        rest = self.template + self.shapedirs @ p.shape
        joints = self.joint_template + self.joint_shapedirs @ p.shape
        if latents is not None:
            rest = rest + self.offset_basis @ latents
            joints = joints + self.joint_basis @ latents
        joints = joints + lbs.blend(self.joint_exprdirs, p.expr)
        pose = torch.stack([p.rotation, p.neck, p.jaw, p.eyes[:, :3], p.eyes[:, 3:]], 1)
        rotations = axis_angle_to_matrix(pose)
        coefficients = torch.cat([p.expr, lbs.pose_features(rotations)], -1)
        points = rest + (coefficients @ self.motion).view(len(p), -1, 3)
        _, transforms = lbs.joint_transforms(rotations, joints, self.parents)
        moved = []
        for j, part in enumerate(points.split(self.counts, dim=1)):
            if part.shape[1]:
                moved.append(part @ transforms[:, j, :3, :3].transpose(1, 2))
        # The translation of a joint is scaled by the joint's weight in the point.
        translation = transforms[:, :, :3, 3] + p.translation[:, None]
        translations = torch.repeat_interleave(translation, torch.tensor(self.counts), dim=1) * self.weight[:, None]
        total = torch.cat(moved, 1) + translations
        return total.new_zeros(len(p), self.count, 3).index_add(1, self.point, total)
