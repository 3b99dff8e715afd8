"""FLAME evaluated at its landmarks only: the same points as `HeadModel.landmarks`, at a fraction of the work.

A landmark is sum_c b_c sum_j w_cj T_j v_c over the corners c of its triangle. Exchanging the sums,
sum_j T_j (sum_c b_c w_cj v_c): for each pair of landmark and joint that meet (about 700), the inner sum is one point
that is linear in all coefficients, so its basis is made once and no vertex is computed in the loop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.flame import lbs
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters


class LandmarkHead:
    """MediaPipe's 478 points of a head as a differentiable function of its parameters.

    `offset_basis` `[V, Q]`: static offsets are given as latents `[Q, 3]` of this basis.
    """

    def __init__(self, asset: HeadAsset, offset_basis: Tensor) -> None:
        model = HeadModel(asset, torch.zeros(1, dtype=torch.int64))
        self.parents = asset.parents
        self.joint_template, self.joint_shapedirs = model.joint_template, model.joint_shapedirs
        self.joint_exprdirs = model.joint_exprdirs
        self.joint_basis = model.joint_regressor @ offset_basis
        corners = torch.as_tensor(asset.faces[asset.mediapipe_faces], dtype=torch.int64)
        barycentrics = torch.as_tensor(asset.mediapipe_barycentrics)
        shares = barycentrics[..., None] * torch.as_tensor(asset.weights)[corners]
        pairs = (shares.sum(1) > 0).T.nonzero()
        joint, self.landmark = pairs.unbind(1)
        counts = torch.bincount(joint, minlength=len(asset.parents)).tolist()
        self.counts = counts
        amount, corner = shares[self.landmark, :, joint], corners[self.landmark]
        self.weight = amount.sum(1)

        def gather(values: Tensor) -> Tensor:
            return torch.einsum("rc,rc...->r...", amount, values[corner])

        self.template = gather(torch.as_tensor(asset.template))
        self.shapedirs = gather(torch.as_tensor(asset.shapedirs))
        motion = torch.cat([torch.as_tensor(asset.exprdirs), torch.as_tensor(asset.posedirs)], -1)
        self.motion = gather(motion).flatten(0, 1).T.contiguous()
        self.offset_basis = gather(offset_basis)

    def landmarks(self, p: HeadParameters, latents: Tensor | None) -> Tensor:
        """`[N, 478, 3]` metres, world. `p.static_offset` is ignored; `latents` `[Q, 3]` takes its place (None = 0)."""
        rest = self.template + self.shapedirs @ p.shape
        joints = self.joint_template + self.joint_shapedirs @ p.shape
        if latents is not None:
            rest = rest + self.offset_basis @ latents
            joints = joints + self.joint_basis @ latents
        joints = joints + lbs.blend(self.joint_exprdirs, p.expr)
        pose = torch.stack([p.rotation, p.neck, p.jaw, p.eyes[:, :3], p.eyes[:, 3:]], 1)
        rotations = lbs.rodrigues(pose)
        coefficients = torch.cat([p.expr, lbs.pose_features(rotations)], -1)
        points = rest + (coefficients @ self.motion).view(len(p), -1, 3)
        _, transforms = lbs.joint_transforms(rotations, joints, self.parents)
        moved = []
        for j, part in enumerate(points.split(self.counts, dim=1)):
            if part.shape[1]:
                moved.append(part @ transforms[:, j, :3, :3].transpose(1, 2))
        # The translation of a joint counts with the joint's weight in the landmark.
        shift = transforms[:, :, :3, 3] + p.translation[:, None]
        shifts = torch.repeat_interleave(shift, torch.tensor(self.counts), dim=1) * self.weight[:, None]
        total = torch.cat(moved, 1) + shifts
        return total.new_zeros(len(p), 478, 3).index_add(1, self.landmark, total)
