"""The identity of an avatar: head model, shape, and displacement grids for any expression."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.config import FieldConfig
from avatar.field.conditions import raw_condition
from avatar.field.displacement import DisplacementGrids, without_rigid
from avatar.field.frame_states import FrameData
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import MeshImage, rasterize
from avatar.geometry.cameras import Camera
from avatar.kernels.mesh.op import MeshQuery


@dataclass
class Identity:
    """One person's head on one device."""

    asset: HeadAsset
    head: HeadModel
    params: HeadParameters
    """Head parameters of the training frames, as tracked."""
    grids: DisplacementGrids | None
    """None without the FLAME warp."""
    query: MeshQuery
    """Mesh of the head, for silhouettes."""
    field: FieldConfig
    rasteriser: str = "auto"
    """`backends.rasterising` of the settings."""

    @staticmethod
    def make(
        asset: HeadAsset, params: HeadParameters, field: FieldConfig, device: torch.device, rasteriser: str = "auto"
    ) -> Identity:
        """The identity of a clip with head parameters `params`, on `device`."""
        params = params.to(device)
        head = HeadModel(asset).to(device)
        query = MeshQuery(torch.as_tensor(asset.faces, device=device), device)
        grids = DisplacementGrids(head, asset, params, field.warp) if field.warp.enabled else None
        return Identity(asset, head, params, grids, query, field, rasteriser)

    @property
    def device(self) -> torch.device:
        return self.params.expr.device

    def with_identity(self, params: HeadParameters) -> HeadParameters:
        """Any person's frames with this identity's `shape` and `static_offset`."""
        return replace(params.to(self.device), shape=self.params.shape, static_offset=self.params.static_offset)

    def frames_by_yaw(self, most: int) -> list[int]:
        """At most `most` of the training frames, spread evenly over the head's yaw, by rising yaw."""
        order = torch.argsort(self.params.rotation[:, 1])
        return order[torch.linspace(0, len(order) - 1, min(most, len(order))).round().long()].tolist()

    @torch.no_grad()
    def neutral(self) -> Tensor:
        """Vertices `[V, 3]` of the neutral head in skull coordinates, metres."""
        still = without_rigid(self.params.frame(0))
        zeros = {name: torch.zeros_like(getattr(still, name)) for name in ("expr", "jaw", "eyes")}
        return self.head(replace(still, **zeros)).vertices[0]

    @torch.no_grad()
    def frame_data(self, params: HeadParameters) -> FrameData:
        """Head poses, displacement grids and raw conditions of frames."""
        params = self.with_identity(params)
        # frame by frame: the vertices of a long clip would not fit into memory at once
        pose = torch.cat([self.head(params.frame(i)).world_from_skull for i in range(len(params))])
        built = None if self.grids is None else self.grids.build(params)
        return FrameData(pose, built, raw_condition(params.expr, params.jaw, params.eyes, self.field.expression_size))

    def silhouette(self, params: HeadParameters, camera: Camera) -> Tensor:
        """Silhouette `[H, W]` bool of one frame's posed head."""
        return self.seen(params, camera).mask

    @torch.no_grad()
    def seen(self, params: HeadParameters, camera: Camera) -> MeshImage:
        """One frame's posed head as the camera sees it."""
        vertices = self.head(self.with_identity(params)).vertices[0]
        return rasterize(self.query, vertices, camera, backend=self.rasteriser)
