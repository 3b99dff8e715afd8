"""Flattening a piece of the head onto the plane without inverting a triangle (a part of build_open_head.py).

Tutte's embedding, which is one-to-one over a convex boundary (Floater 1997), is the start. Then the symmetric Dirichlet
energy (Smith and Schaefer 2015) is minimised by Newton steps with each triangle's Hessian made positive (Teran et al.
2005).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve

FILLED_WEIGHT = 0.05
"""Weight of the triangles that close holes: they keep the rims apart."""
STEPS = 200
CONVERGED = 1e-6
"""Relative decrease of the energy in a step at which the descent ends."""


def flatten(
    points: np.ndarray, faces: np.ndarray, scale: np.ndarray, on_line: np.ndarray, also: np.ndarray
) -> np.ndarray:
    """Positions in the plane `[N, 2]` of a disc, counter-clockwise as its triangles.

    Args:
        points: `[N, 3]` metres.
        faces: `[T, 3]`; one outer boundary. Holes are closed for the while with a fan of triangles each.
        scale: `[N]` wanted length in the plane over length in space.
        on_line: `[N]` bool: vertices of the outer boundary, the longest stretch of which stays on the line u = 0, with
            the rest of the surface right of it.
        also: `[K, 3]` triangles that must not be inverted either: other ways to cut some quads.
    """
    count = len(points)
    loops = boundary_loops(faces)
    outer = max(loops, key=lambda loop: (on_line[loop].sum(), len(loop)))
    outer, on_line = longest_stretch(outer, on_line)
    weight = np.ones(len(faces))
    for loop in loops:
        if outer[0] in loop:
            continue
        fan = np.stack([np.roll(loop, -1), loop, np.full(len(loop), len(points))], 1)
        points = np.concatenate([points, points[loop].mean(0, keepdims=True)])
        scale = np.append(scale, scale[loop].mean())
        on_line = np.append(on_line, False)
        faces, weight = np.concatenate([faces, fan]), np.append(weight, np.full(len(fan), FILLED_WEIGHT))
    start = tutte(len(points), faces, outer, on_line)
    size = np.sqrt((_area(points, faces) * scale[faces].mean(1) ** 2).sum() / _signed(start, faces).sum())
    faces, weight = np.concatenate([faces, also]), np.append(weight, np.full(len(also), FILLED_WEIGHT))
    if (_signed(start, faces) <= 0).any():
        raise ValueError("the start has inverted triangles")
    return least_distortion(points, faces, scale, weight, start * size, on_line)[:count]


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """The boundaries as lists of vertices, the surface on their left."""
    directed = {(a, b) for face in faces.tolist() for a, b in pairwise([*face, face[0]])}
    after = {a: b for a, b in directed if (b, a) not in directed}
    loops = []
    while after:
        loop = [next(iter(after))]
        while (step := after.pop(loop[-1])) != loop[0]:
            loop.append(step)
        loops.append(np.array(loop))
    return loops


def longest_stretch(loop: np.ndarray, on_line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boundary started at the longest stretch of vertices on the line, and `[N]` bool: those of that stretch."""
    line = on_line[loop]
    if line.any() and not line.all():
        loop = np.roll(loop, -int(np.nonzero(line & ~np.roll(line, 1))[0][0]))
        ends = np.nonzero(np.diff(on_line[loop].astype(int)))[0] + 1
        stretches = [piece for piece in np.split(loop, ends) if on_line[piece[0]]]
        longest = max(stretches, key=len)
        loop = np.roll(loop, -int(np.nonzero(loop == longest[0])[0][0]))
        on_line = np.isin(np.arange(len(on_line)), longest)
    return loop, on_line


def tutte(count: int, faces: np.ndarray, outer: np.ndarray, on_line: np.ndarray) -> np.ndarray:
    """Every inner vertex amid its neighbours, the outer boundary on a half disc or, without a line, on a disc."""
    place = np.zeros((count, 2))
    fixed = np.zeros(count, bool)
    fixed[outer] = True
    line = on_line[outer]
    if line.any():
        length = int(line.sum())
        place[outer[:length], 1] = np.linspace(1, -1, length)
        angle = np.linspace(-np.pi / 2, np.pi / 2, len(outer) - length + 2)[1:-1]
        place[outer[length:]] = np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        angle = np.arange(len(outer)) * 2 * np.pi / len(outer)
        place[outer] = np.stack([np.cos(angle), np.sin(angle)], 1)
    laplacian = _laplacian(count, faces)
    inner = ~fixed
    place[inner] = spsolve(laplacian[inner][:, inner].tocsc(), -laplacian[inner][:, fixed] @ place[fixed])
    return place


def least_distortion(
    points: np.ndarray, faces: np.ndarray, scale: np.ndarray, weight: np.ndarray, start: np.ndarray, on_line: np.ndarray
) -> np.ndarray:
    """Descend from `start` `[N, 2]` (no inverted triangle) to the least symmetric Dirichlet energy."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    grow = scale[faces].mean(1)[:, None]
    first, second = (b - a) * grow, (c - a) * grow
    axis = first / np.linalg.norm(first, axis=1, keepdims=True)
    across = (second * axis).sum(1)
    up = np.linalg.norm(second - across[:, None] * axis, axis=1)
    rest = np.stack([np.stack([np.linalg.norm(first, axis=1), across], 1), np.stack([0 * up, up], 1)], 1)  # [T, 2, 2]
    inverse = np.linalg.inv(rest)
    area = weight * np.linalg.det(rest) / 2
    area = area / area.sum()

    def energy(uv: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        corners = uv[faces]
        jacobian = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], 2) @ inverse
        det = np.linalg.det(jacobian)
        square = (jacobian**2).sum((1, 2))
        value = np.inf if det.min() <= 0 else float((area * square * (1 + 1 / det**2)).sum())
        return value, jacobian.reshape(-1, 4), det

    # the Jacobian [xx xy yx yy] of a triangle as a linear function of its corners' coordinates [x0 y0 x1 y1 x2 y2]
    shares = np.concatenate([-inverse.sum(1, keepdims=True), inverse], 1)  # [T, 3, 2]
    linear = np.zeros((len(faces), 4, 6))
    linear[:, :2, 0::2] = linear[:, 2:, 1::2] = shares.transpose(0, 2, 1)
    unknown = (2 * faces[:, :, None] + np.arange(2)).reshape(-1, 6)
    rows, columns = np.repeat(unknown, 6, 1).ravel(), np.tile(unknown, 6).ravel()
    free = np.ones(2 * len(points), bool)
    free[0::2] = ~on_line

    uv = start.copy()
    value, jacobian, det = energy(uv)
    for _ in range(STEPS):
        by_jacobian, second = _derivatives(jacobian, det)
        gradient = np.zeros(2 * len(points))
        np.add.at(gradient, unknown, area[:, None] * np.einsum("tij,ti->tj", linear, by_jacobian))
        local = area[:, None, None] * (linear.transpose(0, 2, 1) @ second @ linear)
        hessian = sparse.coo_matrix((local.ravel(), (rows, columns))).tocsc()[free][:, free]
        damping = 1e-8 * hessian.diagonal().max() * sparse.identity(int(free.sum()))
        step = np.zeros(2 * len(points))
        step[free] = spsolve(hessian + damping, -gradient[free])
        length, slope = 1.0, gradient @ step
        while True:
            moved = uv + length * step.reshape(-1, 2)
            new, jacobian, det = energy(moved)
            if new <= value + 1e-4 * length * slope:
                break
            length /= 2
        done = value - new < CONVERGED * value
        uv, value = moved, new
        if done:
            break
    return uv


def _derivatives(jacobian: np.ndarray, det: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient `[T, 4]` and Hessian `[T, 4, 4]` of |J|^2 (1 + 1 / det^2), without its negative part."""
    of_det = jacobian[:, [3, 2, 1, 0]] * [1, -1, -1, 1]
    square, det = (jacobian**2).sum(1)[:, None], det[:, None]
    gradient = 2 * jacobian * (1 + det**-2) - 2 * square * det**-3 * of_det
    mixed = jacobian[:, :, None] * of_det[:, None, :]
    hessian = 2 * (1 + det**-2)[..., None] * np.eye(4) - 4 * (det**-3)[..., None] * (mixed + mixed.transpose(0, 2, 1))
    hessian += 6 * (square * det**-4)[..., None] * of_det[:, :, None] * of_det[:, None, :]
    hessian -= 2 * (square * det**-3)[..., None] * np.fliplr(np.diag([1, -1, -1, 1]))
    values, vectors = np.linalg.eigh(hessian)
    return gradient, (vectors * values.clip(min=0)[:, None, :]) @ vectors.transpose(0, 2, 1)


def _laplacian(count: int, faces: np.ndarray) -> sparse.csr_matrix:
    a, b = (np.concatenate([faces[:, k] for k in order]) for order in ((0, 1, 2), (1, 2, 0)))
    both = sparse.coo_matrix((np.ones(2 * len(a)), (np.append(a, b), np.append(b, a))), shape=(count, count)).tocsr()
    both.data[:] = 1.0
    return sparse.diags(np.asarray(both.sum(1)).ravel()) - both


def _area(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (points[faces[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _signed(uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    (ax, ay), (bx, by) = ((uv[faces[:, k]] - uv[faces[:, 0]]).T for k in (1, 2))
    return (ax * by - ay * bx) / 2
