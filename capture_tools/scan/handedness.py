"""Which way a scan's triangles face, and whether the scan is mirrored.

A face and its mirror image are both faces: detector and head model fit either alike (docs/scans.md has the figures).
What tells is made by the program that wrote the scan: triangles that face inwards, or a texture that lies mirrored on
the surface. A cloud of points has neither.
"""

from __future__ import annotations

import numpy as np
import torch

from capture_tools.scan.scan import Scan

COHERENT = 0.8
"""Share of the front's triangles that must wind alike, for the winding to be believed; and of the texture's."""
MIX_UP = "left and right exchanged (a mirror-symmetric mix-up); compare it with a photograph"
TURNED = "the scan's triangles face inwards and were turned"


def winding(scan: Scan, centre: np.ndarray) -> tuple[int, bool, list[str]]:
    """The sign that makes the triangles' normals face outwards, whether they agree, and notes.

    Looks at the face from the front, in the model's frame, and no deeper than the middle of the head.
    """
    assert scan.faces is not None
    faces = scan.faces[_seen_from_the_front(scan, centre)]
    if not len(faces):
        return 1, True, []
    corners = scan.vertices[faces]
    forward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0
    share, mirrored = float(forward.mean()), _texture_mirrored(scan, faces, forward)
    by_texture = [f"the scan's texture lies mirrored on it: the scan may be mirrored, its {MIX_UP}"] if mirrored else []
    if share > COHERENT:
        return 1, True, by_texture
    if share >= 1 - COHERENT:
        note = "the scan's triangles face in and out at random: what is outside was told by visibility"
        return 1, False, [note, *by_texture]
    if mirrored is None:
        return -1, True, [f"{TURNED}: the scan may be mirrored, its {MIX_UP}"]
    return -1, True, [TURNED, *by_texture] if mirrored else [f"{TURNED}; by its texture it is not mirrored"]


def _seen_from_the_front(scan: Scan, centre: np.ndarray) -> np.ndarray:
    """The triangles `[N]` that rays from before the face meet first."""
    grid = np.linspace(-0.06, 0.06, 60)
    x, y = np.meshgrid(grid, grid)
    origins = np.stack([centre[0] + x.ravel(), centre[1] + y.ravel(), np.full(x.size, centre[2] + 0.5)], 1)
    down = torch.tensor([0.0, 0.0, -1.0]).expand(len(origins), 3)
    hits = scan.query().cast_rays(torch.as_tensor(origins, dtype=torch.float32), down, max_depth=0.5)
    return hits.face[hits.face >= 0].numpy()


def _texture_mirrored(scan: Scan, faces: np.ndarray, forward: np.ndarray) -> bool | None:
    """Whether the texture lies mirrored on triangles `[N, 3]` seen from outside; None where that cannot be told.

    forward: `[N]` bool, whether they wind as triangles whose outside is seen. Maps made from photographs or unwrapped
    from a surface are not mirrored; those whose halves share one picture are, on one side.
    """
    if scan.uv is None:
        return None
    u, v = np.moveaxis(scan.uv[faces], -1, 0)
    area = (u[:, 1] - u[:, 0]) * (v[:, 2] - v[:, 0]) - (u[:, 2] - u[:, 0]) * (v[:, 1] - v[:, 0])
    alike = ((area > 0) == forward)[area != 0]
    if not len(alike) or 1 - COHERENT <= alike.mean() <= COHERENT:
        return None
    return bool(alike.mean() < 1 - COHERENT)
