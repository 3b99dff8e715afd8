"""What is learned from, and the model as far as it is learned."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from capture_tools.model_learning.posing import FEATURES, blended, features_of, posed, transforms_of, unposed


@dataclass(frozen=True)
class Registrations:
    """Registered heads of one topology, float64."""

    names: tuple[str, ...]
    """`N` names, subject and frame."""
    vertices: Tensor
    """`[N, V, 3]` metres."""
    poses: Tensor
    """`[N, 18]` as they were registered; see `posing`."""
    subjects: Tensor
    """`[N]` int64: index of the person."""
    subject_names: tuple[str, ...]
    neutral: Tensor
    """`[N]` bool: the one registration of each person without expression."""

    @property
    def subject_count(self) -> int:
        return len(self.subject_names)

    @property
    def expressive(self) -> Tensor:
        """`[K]` int64: the registrations that are not neutral."""
        return torch.nonzero(~self.neutral).squeeze(1)

    def membership(self) -> Tensor:
        """`[N, S]`: 1 where a registration is of a person."""
        return torch.nn.functional.one_hot(self.subjects, self.subject_count).to(self.vertices.dtype)

    def select(self, index: Tensor) -> Registrations:
        """Some registrations, of people who are numbered as before."""
        return replace(
            self,
            names=tuple(self.names[i] for i in index.tolist()),
            vertices=self.vertices[index],
            poses=self.poses[index],
            subjects=self.subjects[index],
            neutral=self.neutral[index],
        )


@dataclass(frozen=True)
class PoseSpace:
    """What moves a head with its joints, float64."""

    weights: Tensor
    """`[V, 5]`."""
    correctives: Tensor
    """`[36, V, 3]` metres per unit of the pose features."""
    regressor: Tensor
    """`[5, V]`."""

    @staticmethod
    def of(asset: HeadAsset) -> PoseSpace:
        """That of a head model."""
        weights, directions, regressor = (
            torch.as_tensor(getattr(asset, name), dtype=torch.float64)
            for name in ("weights", "posedirs", "joint_regressor")
        )
        return PoseSpace(weights, directions.permute(2, 0, 1).contiguous(), regressor)


@dataclass(frozen=True)
class ModelState:
    """Pose space, people, expressions and poses that explain registrations, float64."""

    space: PoseSpace
    neutrals: Tensor
    """`[S, V, 3]` metres: the people at rest without expression."""
    directions: Tensor
    """`[E, V, 3]` metres: expressions, each of one standard deviation."""
    coefficients: Tensor
    """`[N, E]`; zero for neutral registrations."""
    poses: Tensor
    """`[N, 18]`."""

    def select(self, index: Tensor) -> ModelState:
        """The state of some registrations."""
        return replace(self, coefficients=self.coefficients[index], poses=self.poses[index])

    def rest(self, data: Registrations) -> Tensor:
        """Vertices `[N, V, 3]` at rest, without correctives."""
        return self.neutrals[data.subjects] + torch.tensordot(self.coefficients, self.directions, 1)

    def joints(self, data: Registrations) -> Tensor:
        """Joints `[N, 5, 3]` at rest: regressed from the mesh with its expression, as `HeadModel` does."""
        return self.space.regressor @ self.rest(data)

    def maps(self, data: Registrations) -> Tensor:
        """`[N, V, 3, 4]` from rest to posed."""
        return blended(transforms_of(self.poses, self.joints(data)), self.space.weights)

    def unposed(self, data: Registrations) -> Tensor:
        """The registrations `[N, V, 3]` back at rest, correctives still included."""
        return unposed(data.vertices, self.maps(data))

    def bends(self) -> Tensor:
        """Offsets `[N, V, 3]` of the pose correctives."""
        return (features_of(self.poses) @ self.space.correctives.reshape(FEATURES, -1)).reshape(len(self.poses), -1, 3)

    def predicted(self, data: Registrations) -> Tensor:
        """The registrations `[N, V, 3]` as the model makes them."""
        return posed(self.rest(data) + self.bends(), self.maps(data))

    def distances(self, data: Registrations) -> Tensor:
        """`[N, V]` metres between the registrations and what the model makes of them."""
        return (self.predicted(data) - data.vertices).norm(dim=-1)
