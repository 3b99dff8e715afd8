"""Stage 2, coupled: vertices of their own, tied to the head model, that lie on the scan.

Li et al., ACM TOG 36(6), 2017, section 5. Per round the closest points are found anew, and the sparse linear system of
the vertices' displacements d from the model is solved:

    sum_i w_i (n_i . (p_i + d(p_i) - s_i))^2  +  edges sum |d_a - d_b|^2  +  bending sum |umbrella(d)_v|^2
        +  landmarks sum |p_k + d(p_k) - q_k|^2

with the samples s_i of the scan, their normals n_i, their closest points p_i, and Geman-McClure weights w_i. Ties grow
weaker from round to round, and the model follows the vertices every few rounds. Where the scan has holes the vertices
keep the model's form. Eyeballs, teeth and tongue are tied to the skin next to them and hardly bend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator, cg, splu
from scipy.spatial import KDTree

from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from avatar.geometry.meshes import connected_components, uniform_laplacian, unique_edges
from capture_tools.scan.defects import crossing_triangles, flipped_triangles
from capture_tools.scan.landmarks import ScanLandmarks, posed_landmarks
from capture_tools.scan.matching import Matches, geman_mcclure
from capture_tools.scan.model_fit import ModelFit, ModelFitter
from capture_tools.scan.repair import untangle
from capture_tools.scan.sampling import Samples

ROUNDS = 18
EDGES = (3.0, 0.03)
"""Weights of the edges in the first and the last round, over that of one sample."""
BENDING = (30.0, 0.2)
LANDMARKS = (40.0, 0.5)
BELIEF = (1.0, 0.2, 0.02)
"""How far landmarks are believed: less another time, where the face could not be repaired."""
SCALES = (0.004, 0.0015)
"""Metres, of Geman-McClure's loss."""
FARTHEST = (0.02, 0.008)
"""Metres, of closest points."""
TIE = 1e-4
"""Weight of every vertex's own tie to the model: keeps the system regular."""
RIGID = 40.0
"""How many times stiffer eyeballs, teeth and tongue are."""
STIFF = {"lips": 3.0, "eyes": 3.0, "eyelids": 8.0}
"""How many times stiffer regions are whose folds a scan hardly shows."""
LINKS = 3
"""Nearest vertices of the skin to which each vertex of an eyeball, a tooth or the tongue is tied."""
REFITS = (4, 8, 12)
"""Rounds after which the model follows the vertices."""
TOLERANCE = 1e-4
MOST_ITERATIONS = 200
REPAIRS = 6
STIFFER = 6.0
"""How many times stiffer a faulty place becomes at each repair."""


Equations = Callable[[np.ndarray], tuple[sparse.csr_matrix, np.ndarray]]
"""Of vertices `[V, 3]`: the normal matrix `[3 V, 3 V]` and right side `[3 V]` of what else pulls at them."""


@dataclass(frozen=True)
class CoupledFit:
    """Free vertices on a scan, and the model they are tied to."""

    vertices: np.ndarray
    """`[V, 3]` float64 metres."""
    model: ModelFit
    flipped: int
    """Triangles of the face that are turned over."""
    crossing: int
    """Triangles of the face that cross others of it."""


class _Ties:
    """The matrices that tie displacements to each other; all `[V, V]`, the same for x, y and z."""

    def __init__(self, asset: HeadAsset) -> None:
        faces = torch.as_tensor(asset.faces).long()
        count = asset.vertex_count
        labels = connected_components(faces, count).numpy()
        main = np.bincount(labels).argmax()
        skin = labels == main
        edges = unique_edges(faces).numpy()
        strength = np.where(skin[edges[:, 0]], 1.0, RIGID)
        islands = np.flatnonzero(~skin & np.isin(np.arange(count), edges))
        if len(islands):
            _, near = KDTree(asset.template[skin]).query(asset.template[islands], k=LINKS)
            links = np.stack([np.repeat(islands, LINKS), np.flatnonzero(skin)[near].ravel()], 1)
            edges = np.concatenate([edges, links])
            strength = np.concatenate([strength, np.full(len(links), 1.0)])
        self.edges, self.strength, self.count, self.skin = edges, strength, count, skin
        laplacian = uniform_laplacian(faces, count, dtype=torch.float64)
        rows, columns = laplacian.indices().numpy()
        self.umbrella = sparse.csr_matrix((laplacian.values().numpy(), (rows, columns)), shape=(count, count))

    def matrix(self, edges: float, bending: float, stiffness: np.ndarray) -> sparse.csr_matrix:
        """The quadratic form `[V, V]` of the ties; stiffness `[V]` is a factor on each place."""
        a, b = self.edges.T
        weight = edges * self.strength * np.sqrt(stiffness[a] * stiffness[b])
        row = np.repeat(np.arange(len(a)), 2)
        incidence = sparse.csr_matrix(
            (np.tile([1.0, -1.0], len(a)), (row, self.edges.ravel())), shape=(len(a), self.count)
        )
        rigid = np.where(self.skin, 1.0, RIGID)
        bends = self.umbrella.T @ sparse.diags(bending * stiffness * rigid) @ self.umbrella
        return (incidence.T @ sparse.diags(weight) @ incidence + bends + TIE * sparse.identity(self.count)).tocsr()


class _Inverse:
    """Solves with the factors of a `[V, V]` matrix for x, y and z of a vector `[3 V]`."""

    def __init__(self, factors: Any, size: int) -> None:
        self.factors, self.shape, self.dtype = factors, (size, size), np.dtype(np.float64)

    def matvec(self, vector: np.ndarray) -> np.ndarray:
        return self.factors.solve(vector.reshape(-1, 3)).ravel()


class CoupledFitter:
    """Alternates closest points and sparse linear solves.

    belief: in the landmarks, 1 for a person who is not known.
    """

    def __init__(self, fitter: ModelFitter, samples: Samples, landmarks: ScanLandmarks, *, belief: float = 1.0) -> None:
        self.belief = belief
        self.fitter, self.asset, self.surface = fitter, fitter.asset, fitter.surface
        self.samples, self.landmarks = samples, landmarks
        self.ties = _Ties(fitter.asset)
        self.face = np.asarray(fitter.asset.region("face")[fitter.asset.faces].all(1))
        self.stiffness = np.ones(fitter.asset.vertex_count)
        self.trust = np.ones(fitter.asset.vertex_count)  # in the landmarks, less at places that were repaired
        for name, factor in STIFF.items():
            if name in fitter.asset.regions:
                self.stiffness[fitter.asset.regions[name]] = factor

    def run(self) -> CoupledFit:
        """The vertices on the scan, without faults in the face as far as they can be repaired."""
        start, stiffness = self.fitter.values.copy(), self.stiffness.copy()
        made: list[tuple[CoupledFit, np.ndarray]] = []
        for belief in BELIEF:
            self.fitter.values, self.stiffness = start.copy(), stiffness.copy()
            self.trust = np.full(len(stiffness), belief * self.belief)
            made.append((self._run(), self.fitter.values.copy()))
            if not made[-1][0].flipped + made[-1][0].crossing:
                break
        best, self.fitter.values = min(made, key=lambda fit: fit[0].flipped + fit[0].crossing)
        return best

    def _run(self) -> CoupledFit:
        model = self.fitter.fit()
        vertices = model.vertices.copy()
        with Progress("coupled fit", ROUNDS, "round") as bar:
            for index in range(ROUNDS):
                share = index / (ROUNDS - 1)
                vertices = self.solve(model, vertices, share)
                if index + 1 in REFITS:
                    model = self.follow(vertices)
                bar.update(index + 1)
        return self.repaired(vertices)

    def repaired(self, vertices: np.ndarray, more: Equations | None = None) -> CoupledFit:
        """Vertices `[V, 3]` of the last round without faults in the face, as far as they can be repaired."""
        model = self.follow(vertices)
        faces = self.asset.faces[self.face]
        for _ in range(REPAIRS):
            bad = flipped_triangles(vertices, model.vertices, faces)
            bad |= crossing_triangles(vertices, faces) & ~crossing_triangles(model.vertices, faces)
            if not bad.any():
                break
            self._stiffen(faces[bad])
            vertices = self.solve(model, vertices, 1.0, more)
        vertices = untangle(vertices, model.vertices, self.asset.faces, self.face)
        flipped = flipped_triangles(vertices, model.vertices, faces)
        return CoupledFit(vertices, model, int(flipped.sum()), int(crossing_triangles(vertices, faces).sum()))

    def solve(self, model: ModelFit, vertices: np.ndarray, share: float, more: Equations | None = None) -> np.ndarray:
        """Vertices `[V, 3]` of the next round; share: 0 in the first round, 1 in the last."""
        edges, bending, landmark, scale, farthest = (
            a ** (1 - share) * b**share for a, b in (EDGES, BENDING, LANDMARKS, SCALES, FARTHEST)
        )
        matches = self.surface.match(vertices, self.samples, farthest)
        weights = geman_mcclure(matches.distance, scale)
        matrix = sparse.kron(self.ties.matrix(edges, bending, self.stiffness), sparse.identity(3), format="csr")
        data, right = self._data(matches, weights, model.vertices)
        marks, marked = self._marks(model, landmark)
        system, right = (matrix + data + marks).tocsr(), right + marked
        if more is not None:
            pull, wanted = more(vertices)
            system, right = system + pull, right + wanted - pull @ model.vertices.ravel()
        count = len(vertices)
        # the ties and the mean of the three axes make a preconditioner that needs a third of the unknowns
        mean = (system[0::3][:, 0::3] + system[1::3][:, 1::3] + system[2::3][:, 2::3]) / 3
        factors = splu(mean.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        preconditioner: Any = aslinearoperator(_Inverse(factors, 3 * count))
        start = (vertices - model.vertices).ravel()
        solution, _ = cg(system, right, start, rtol=TOLERANCE, maxiter=MOST_ITERATIONS, M=preconditioner)
        return model.vertices + solution.reshape(-1, 3)

    def _data(self, matches: Matches, weights: np.ndarray, model: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
        along = matches.along_normals(len(model))
        target = (self.samples.points[matches.sample] * matches.normals).sum(1) - along @ model.ravel()
        weighted = along.T.multiply(weights).tocsr()
        return weighted @ along, weighted @ target

    def _marks(self, model: ModelFit, strength: float) -> tuple[sparse.csr_matrix, np.ndarray]:
        corners, barycentrics, bias = posed_landmarks(
            self.landmarks.kind, self.asset, model.pose.vertices[0], model.pose.world_from_joint[0]
        )
        known = self.landmarks.known
        corners, barycentrics = corners.numpy()[known], barycentrics.numpy()[known].astype(np.float64)
        placed = (model.vertices[corners] * barycentrics[..., None]).sum(1) + bias.numpy()[known]
        off = self.landmarks.points[known] - placed
        row = np.repeat(np.arange(len(corners)), 3)
        one = sparse.csr_matrix((barycentrics.ravel(), (row, corners.ravel())), (len(corners), len(model.vertices)))
        mixing = sparse.kron(one, sparse.identity(3), format="csr")
        amount = geman_mcclure(np.linalg.norm(off, axis=1), 0.008) * strength * self.trust[corners].min(1)
        information = sparse.block_diag(list(self.landmarks.information[known] * amount[:, None, None]), format="csr")
        weighted = mixing.T @ information
        return (weighted @ mixing).tocsr(), weighted @ off.ravel()

    def follow(self, vertices: np.ndarray) -> ModelFit:
        """The model moved to the vertices that the scan holds."""
        matches = self.surface.match(vertices, self.samples, FARTHEST[1])
        held = np.asarray(matches.interpolation(len(vertices)).sum(0)).ravel()
        return self.fitter.to_vertices(vertices, np.minimum(held, 1.0) + 1e-3)

    def _stiffen(self, bad: np.ndarray) -> None:
        """Make places around the triangles `bad` `[K, 3]` stiffer, less so with every ring."""
        amount = np.zeros(len(self.stiffness))
        amount[bad] = 1.0
        a, b = self.ties.edges.T
        for _ in range(2):
            around = np.zeros_like(amount)
            np.maximum.at(around, a, amount[b])
            np.maximum.at(around, b, amount[a])
            amount = np.maximum(amount, 0.6 * around)
        self.stiffness *= STIFFER**amount
        self.trust /= STIFFER ** (2 * amount)
