"""Repair of a registered face: crossing and turned triangles are drawn back, a little and where they are."""

from __future__ import annotations

import numpy as np
import torch

from avatar.geometry.meshes import unique_edges, vertex_normals
from capture_tools.scan.defects import crossing_triangles, flipped_triangles

STEP = 0.00012
"""Metres by which the vertices of crossing triangles go into their own flesh in a round."""
ROUNDS = 80
PATIENCE = 10
"""Rounds after which places that still cross are smoothed too."""
SMOOTHING = 0.5
"""Share by which the vertices around follow."""


def untangle(vertices: np.ndarray, model: np.ndarray, faces: np.ndarray, checked: np.ndarray) -> np.ndarray:
    """Vertices `[V, 3]` whose faces `checked` `[F]` (bool) neither cross each other nor face away from the model's.

    Both lips of a closed mouth, or both sides of a crease, go back along their normals, each into its own flesh, until
    they part. Folds are smoothed. Turned triangles take the form of their neighbourhood. Gives up after some rounds,
    with the fewest faults seen: check the result.
    """
    every = torch.as_tensor(faces).long()
    part = faces[checked]
    a, b = unique_edges(every).numpy().T
    degree = np.bincount(np.concatenate([a, b]), minlength=len(vertices)).astype(float)

    def around(values: np.ndarray) -> np.ndarray:
        total = np.zeros_like(values)
        np.add.at(total, a, values[b])
        np.add.at(total, b, values[a])
        return total / np.maximum(degree, 1)[:, None]

    best, fewest = vertices, np.inf
    for done in range(ROUNDS):
        crossed = crossing_triangles(vertices, part)
        turned = flipped_triangles(vertices, model, part)
        faults = int(crossed.sum() + turned.sum())
        if faults < fewest:
            best, fewest = vertices, faults
        if not faults:
            break
        moved = np.zeros((len(vertices), 1), bool)
        moved[part[crossed]] = True
        if done % 2 and done > PATIENCE:  # a fold, which has no two sides to draw apart
            moved[part[turned]] = True
            wide = moved | (around(moved.astype(float)) > 0)
            vertices = np.where(wide, vertices + SMOOTHING * (around(vertices) - vertices), vertices)
        else:
            normals = vertex_normals(torch.as_tensor(vertices), every).numpy()
            move = np.where(moved, -STEP * normals, 0)
            vertices = vertices + np.where(moved, move, SMOOTHING * around(move))
        index = np.unique(part[turned])
        vertices[index] = model[index] + around(vertices - model)[index]
    return best
