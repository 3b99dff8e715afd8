"""A head model fitted to one photograph: shape, pose, expression, light and texture, as a capture folder of one frame.

Landmarks first, then the picture itself, as for clips (after Feng's photometric_optimization, a textured FLAME fit).
What a clip gets from motion comes from priors here: shape and expression are held near the mean, and the halves of the
face share their albedo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.conventions import LANDMARK_COUNT, OPEN_HEAD
from avatar.data.capture import write_capture
from avatar.data.landmark_sets import inter_ocular_distance
from avatar.errors import InputError
from avatar.files import sha256_of_file
from avatar.flame.assets import HeadAsset, load_head
from avatar.folder_lock import claimed_folder
from avatar.imaging import write_png
from avatar.lens import focal_over_longer_side
from capture_tools.checks import ADVICE, MINIMAL_EYES
from capture_tools.fitting import lens_settings, track_with_progress
from capture_tools.landmarks import LandmarkDetector
from capture_tools.matting import PersonSegmenter, fill_holes, refine_matte
from capture_tools.observing import LARGEST_SEARCHED, averaged_down
from capture_tools.overlay import MARGIN, draw_panels
from capture_tools.painting import MeshPainter, crop_camera, face_window, read_skin
from capture_tools.photometric import Pictures
from capture_tools.texture import FOLDER as APPEARANCE
from capture_tools.texture import write_appearance
from capture_tools.video import choose_crop

EXIF_IFD, EXIF_FOCAL_35MM = 0x8769, 0xA405
MOST_FACES = 4


@dataclass(frozen=True)
class Photograph:
    """A photograph, upright."""

    image: np.ndarray
    """uint8 `[H, W, 3]` sRGB."""
    focal_35mm: float | None
    """Millimetres as of 35 mm film, where the file says it."""


def read_photograph(path: Path) -> Photograph:
    """Read a picture file of any usual kind, turned as its Exif says. Raises InputError where it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise InputError("the photograph does not exist", where=path, fix="check the path")
    try:
        with Image.open(path) as file:
            focal = file.getexif().get_ifd(EXIF_IFD).get(EXIF_FOCAL_35MM)
            image = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
        raise InputError(
            "the file cannot be read as a picture", where=path, expected="a JPEG or PNG file", found=cause
        ) from cause
    return Photograph(image, float(focal) if focal else None)


def find_face(photograph: Photograph, path: Path) -> tuple[np.ndarray, list[str]]:
    """Landmarks `[478, 2]` of the largest face, in pixels of the photograph, and what to tell the user.

    Raises InputError where there is no face, or only one that is too small.
    """
    height, width = photograph.image.shape[:2]
    scale = max(1.0, max(width, height) / LARGEST_SEARCHED)
    with LandmarkDetector(static=True, max_faces=MOST_FACES) as detector:
        faces = detector.detect_all(averaged_down(photograph.image, scale))
    if not faces:
        raise InputError("no face was found in the photograph", where=path, expected="one face", fix=ADVICE)
    faces = sorted(faces, key=lambda face: -float(inter_ocular_distance(face[:, :2])))
    pixels = faces[0][:, :2] * np.float32(scale)
    if (eyes := float(inter_ocular_distance(pixels))) < MINIMAL_EYES:
        raise InputError(
            "the face is too small",
            where=path,
            expected=f"{MINIMAL_EYES:.0f} pixels between the eyes",
            found=f"{eyes:.0f}",
        )
    others = [f"{len(faces)} faces were seen: the largest is fitted"] if len(faces) > 1 else []
    return pixels, others


def capture_photograph(path: Path, out: Path, *, size: int = 512, head_model: str = OPEN_HEAD) -> Path:
    """Fit a head model to one photograph and write a capture folder of one frame; returns `out`.

    Besides the parameters it holds `appearance/` (texture and light) and `report/overlay.png`. Raises InputError for a
    picture that cannot be used, HeadModelError for an unknown head, OutputError where `out` holds something else or
    is being written by another command.
    """
    path, out = Path(path), Path(out)
    asset = load_head(head_model)
    photograph = read_photograph(path)
    pixels, warnings = find_face(photograph, path)
    identity = {"photograph": sha256_of_file(path)[:16], "head_model": asset.fingerprint[:12], "size": size}
    with claimed_folder(out, "capture", identity):
        return _fit_and_write(photograph, path.name, pixels, warnings, out, size, asset)


def _fit_and_write(
    photograph: Photograph, name: str, pixels: np.ndarray, warnings: list[str], out: Path, size: int, asset: HeadAsset
) -> Path:
    """Fit the head to the face at `pixels` `[478, 2]` and write the capture into a folder that was claimed for it."""
    height, width = photograph.image.shape[:2]
    crop = choose_crop(pixels[None], width, height, size)
    image = crop.cut(photograph.image)
    with PersonSegmenter() as segmenter:
        matte = fill_holes(refine_matte(segmenter.confidence(image), image))
    images, mattes = image[None], matte[None]
    focal = focal_over_longer_side(photograph.focal_35mm, width, height)
    result = track_with_progress(
        *(pixels[None], np.zeros(1), width, height, asset, lens_settings(focal)),
        pictures=Pictures(images, mattes, crop),
    )
    camera, detected = crop_camera(result.camera, crop), crop.to_crop(pixels[None])
    appearance = write_appearance(out, asset, result.params, camera, images, mattes, result.light)
    painter, window = MeshPainter(asset, read_skin(out / APPEARANCE)), face_window(detected, size, size, MARGIN)
    projected = crop.to_crop(result.projected)[0]
    panels, _ = draw_panels(painter, image, matte, result.params, camera, detected[0], projected, window)
    write_png(out / "report" / "overlay.png", panels)
    inside = ((detected >= 0) & (detected <= crop.size)).all(-1)
    return write_capture(
        out,
        images=iter(images),
        masks=iter(mattes),
        cameras=camera,
        params=result.params,
        asset=asset,
        fps=1.0,
        timestamps=[0.0],
        landmarks=detected,
        visible=(result.facing & inside).reshape(1, LANDMARK_COUNT),
        background=None,
        report={
            "frames_read": 1,
            "landmark_error_px": result.landmark_error_px * crop.scale,
            "landmark_error_iod": result.landmark_error_iod,
            "seconds_per_stage": {},
            "focal_source": "the photograph's Exif" if focal else "estimated from the landmarks, with a prior",
            "focal_35mm": photograph.focal_35mm,
            "warnings": warnings,
            "appearance": appearance,
            "photograph": {"name": name, "width": width, "height": height},
            "crop": {"x0": crop.x0, "y0": crop.y0, "side": crop.side},
        },
        camera_mode="static",
    )
