"""Five panels per frame, side by side, by which a person judges the tracking; overlay.mp4 shows all frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.flame.landmark_sets import LEFT_EYE, LIPS, RIGHT_EYE
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.kernels.runtime.threads import one_torch_thread
from avatar.media.images import linear_image
from avatar.media.video import write_video
from capture_tools.detect.selection import Crop
from capture_tools.report.painting import MeshPainter, SeenHead, as_srgb, crop_camera, face_window

PANEL_SIZE = 320
"""Pixels of each of the five panels: enough to judge alignment, and fast to draw."""
CAPTION = 20
"""Pixels of the line above the panels."""
MARGIN = 0.2
"""Margin around the face in all frames, as a share of its extent, for hair, ears and jaw."""
DETECTED, PROJECTED = (60, 255, 60), (255, 60, 60)
MESH_OPACITY = 0.6
FULL_DIFFERENCE = 80
"""Grey levels at the bright end of the difference map."""
ARROW = 5
"""Magnification of landmark residuals in the last panel, where there is no skin."""
DIMMED = 0.25
DARK = 0.02
"""Linear colour below which a pixel is ignored for the exposure."""
JUDGED_ROWS = LEFT_EYE + RIGHT_EYE + LIPS
"""Landmarks whose rows bound the silhouette score: neither hat nor shoulders lie between them."""


@dataclass(frozen=True)
class PictureScores:
    """Scores of a frame's picture against its tracked head; None where undefined."""

    photometric_error: float | None
    """Mean absolute difference of frame and rendered head over the face, grey levels of 255."""
    exposure: float | None
    """Brightness of the frame's face over that of the rendered head: changes of light or of the camera's gain."""
    silhouette_iou: float | None
    """Intersection over union of head and mask in the rows from the eyes to the lips; hair lowers it."""


def draw_panels(
    painter: MeshPainter,
    image: np.ndarray,
    mask: np.ndarray,
    params: HeadParameters,
    camera: Camera,
    detected: np.ndarray,
    projected: np.ndarray,
    window: Crop,
    title: str = "",
) -> tuple[np.ndarray, PictureScores]:
    """The panels of one frame: frame, landmarks, mesh, what the tracker believes, difference.

    Args:
        painter: of the person; without a skin the head is grey, and the last panel shows landmark residuals.
        image, mask: uint8 `[S, S, 3]` and `[S, S]`.
        params, camera: N = 1, and the camera of the image.
        detected, projected: `[478, 2]` pixels of the image, NaN where missing.
        window: the square of the image that is shown.
        title: the first panel's caption.

    Returns uint8 `[size + CAPTION, 5 size, 3]`, size = window.size, and the scores of the pixels shown.
    """
    picture, person = window.cut(image), window.cut(mask) > 127
    found, fitted = window.to_crop(detected), window.to_crop(projected)
    seen = painter.look(params, crop_camera(camera, window))
    dimmed = (DIMMED * picture).astype(np.uint8)
    error = exposure = None
    if painter.skin is None:
        alone = seen.over(np.zeros_like(picture), painter.shaded(seen))
        last, last_caption = draw_landmarks(dimmed, found, fitted, ARROW), f"misses of landmarks, {ARROW} times"
    else:
        colours, exposure = _exposed(painter, seen, picture)
        alone = seen.over(np.full_like(picture, 40), colours)
        in_face = painter.in_face[seen.face].numpy()
        difference = np.abs(picture[seen.mask].astype(np.float32) - colours).mean(-1)[in_face]
        last = _heat(dimmed, seen.mask, in_face, difference)
        last_caption = f"difference 0 to {FULL_DIFFERENCE} of 255"
        if len(difference):
            error = float(difference.mean())
            last_caption += f": {error:.1f}"
    panels = {
        title or "frame": picture,
        "landmarks: green found, red fitted": draw_landmarks(picture, found, fitted),
        "mesh": seen.over(picture, painter.shaded(seen), MESH_OPACITY),
        "what the tracker believes" if painter.skin else "mesh alone": alone,
        last_caption: last,
    }
    rows = found[list(JUDGED_ROWS), 1]
    scores = PictureScores(error, exposure, _silhouette_iou(painter, seen, person, rows))
    return np.concatenate([_captioned(panel, text) for text, panel in panels.items()], axis=1), scores


def write_overlay(
    path: Path,
    painter: MeshPainter,
    images: np.ndarray,
    masks: np.ndarray,
    params: HeadParameters,
    camera: Camera,
    detected: np.ndarray,
    projected: np.ndarray,
    numbers: np.ndarray,
    fps: float,
    progress: Callable[[int], None] | None = None,
) -> list[PictureScores]:
    """Write an mp4 of the N frames' panels and return their scores.

    images, masks, params, camera, detected, projected: as for `draw_panels`, N of each but for the camera. numbers:
    `[N]` frame numbers of the captions. progress: called with the number of frames done.
    Raises OutputError when the file cannot be written.
    """
    window = face_window(detected, images.shape[1], PANEL_SIZE, MARGIN)
    scores: list[PictureScores] = []

    def frames() -> Iterator[np.ndarray]:
        for i, number in enumerate(numbers):
            panels, score = draw_panels(
                *(painter, images[i], masks[i], params.frame(i), camera, detected[i], projected[i], window),
                title=f"frame {number}",
            )
            scores.append(score)
            if progress is not None:
                progress(i + 1)
            yield panels

    with one_torch_thread():
        write_video(path, frames(), max(fps, 1.0), synthetic=False)  # real footage under a drawing
    return scores


def draw_landmarks(picture: np.ndarray, detected: np.ndarray, projected: np.ndarray, times: float = 1) -> np.ndarray:
    """Detected landmarks `[478, 2]` as green dots, and red lines to the projected ones, `times` as long."""
    import cv2

    drawn = picture.copy()
    shift = 4  # fractional bits: sixteenths of a pixel
    for found, fitted in zip(detected, projected, strict=True):
        if np.isfinite(found).all():
            end = found + times * (fitted - found)
            a, b = (tuple(int(v) for v in np.rint((point - 0.5) * 2**shift)) for point in (found, end))
            cv2.line(drawn, a, b, PROJECTED, 1, cv2.LINE_AA, shift)
            cv2.circle(drawn, a, 2**shift // 2, DETECTED, -1, cv2.LINE_AA, shift)
    return drawn


def _exposed(painter: MeshPainter, seen: SeenHead, picture: np.ndarray) -> tuple[np.ndarray, float | None]:
    """The rendered head's colours `[P, 3]` in sRGB (0 to 255), at the picture's exposure, and that exposure.

    Without it, automatic exposure would show as a difference all over a well tracked face.
    """
    linear = painter.painted(seen)
    shown = linear_image(picture[seen.mask]).mean(-1)
    expected = linear.mean(-1)
    clear = painter.in_face[seen.face].numpy() & (expected > DARK) & (shown > DARK)
    exposure = float(np.median(shown[clear] / expected[clear])) if clear.any() else None
    return as_srgb(linear * (1.0 if exposure is None else exposure)), exposure


def _heat(picture: np.ndarray, mask: np.ndarray, chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A heat map of `values` `[K]` on the K pixels of the mask that are `chosen` `[P]`, over `picture`."""
    import cv2

    drawn, on = picture.copy(), mask.copy()
    on[mask] = chosen
    if len(values):
        levels = np.clip(values * (255 / FULL_DIFFERENCE), 0, 255).astype(np.uint8)
        drawn[on] = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    return drawn


def _silhouette_iou(painter: MeshPainter, seen: SeenHead, person: np.ndarray, rows: np.ndarray) -> float | None:
    if not np.isfinite(rows).all():
        return None
    head = seen.mask.copy()
    head[seen.mask] = ~painter.on_neck[seen.face].numpy()
    judged = slice(max(int(rows.min()), 0), max(int(rows.max()), 0))
    either = (head | person)[judged].sum()
    return float((head & person)[judged].sum() / either) if either else None


def _captioned(panel: np.ndarray, text: str) -> np.ndarray:
    import cv2

    line = np.zeros((CAPTION, panel.shape[1], 3), np.uint8)
    cv2.putText(line, text, (4, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([line, panel], axis=0)
