"""A head model fitted to one photograph: shape, pose, expression, light and texture, as a capture folder of one frame.

The fit is to landmarks, then to pixels, as for clips (after Feng's photometric_optimization, a textured FLAME fit).
Priors replace the motion of a clip: shape and expression stay near the mean, and both halves of the face share their
albedo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import InputError
from avatar.base.files import sha256_of_file, withdraw_claim
from avatar.base.folder_lock import claimed_folder
from avatar.base.limits import PICTURE_PIXELS, require_picture_size
from avatar.data.capture import write_capture
from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.flame.library import open_head_model
from avatar.media.focal_metadata import focal_over_longer_side
from avatar.media.images import write_png
from avatar.media.video import turned
from capture_tools.dense_landmarks.placing import place_dense_landmarks
from capture_tools.detect.checks import CUT, MINIMAL_EYES, STEP_BACK, require_person
from capture_tools.detect.landmark_detector import (
    MINIMAL_INSIDE,
    LandmarkDetector,
    cut_share,
    inside_picture,
    share_inside,
)
from capture_tools.detect.observing import LARGEST_SEARCHED, averaged_down
from capture_tools.detect.picture_quality import picture_warnings
from capture_tools.detect.segmentation import PersonSegmenter, fill_holes, refine_mask
from capture_tools.detect.selection import choose_crop
from capture_tools.detect.sharpness import absolute_detail, detail_tensor
from capture_tools.detect.tflite_models import require_networks
from capture_tools.detect.turning import turned_note, upright_rotation
from capture_tools.embed.embedding import ready_head
from capture_tools.report.overlay import MARGIN, draw_panels
from capture_tools.report.painting import MeshPainter, crop_camera, face_window, read_skin
from capture_tools.report.texture import FOLDER as APPEARANCE
from capture_tools.report.texture import Completion, write_appearance
from capture_tools.settings import CaptureSettings
from capture_tools.stages.tracking import lens_settings, track_with_progress
from capture_tools.texture_space.prior import completion_of
from capture_tools.texture_space.space import space_identity
from capture_tools.track.photometric import Pictures

EXIF_IFD, EXIF_FOCAL_35MM = 0x8769, 0xA405
MOST_FACES = 4
OTHER_FILE = "save it as JPEG or PNG; a video is captured without --image: avatar capture VIDEO --out CAPTURE"
ANOTHER = "give a photograph that shows one face, upright, whole and well lit, at least a fifth of the picture high"


@dataclass(frozen=True)
class Photograph:
    """An upright photograph."""

    image: np.ndarray
    """uint8 `[H, W, 3]` sRGB."""
    focal_35mm: float | None
    """Focal length in millimetres, 35 mm equivalent; None where the file has none."""


def read_photograph(path: Path) -> Photograph:
    """Read a picture file and apply its Exif orientation. Raises InputError where it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise InputError("the photograph does not exist", where=path, fix="check the path")
    try:
        with Image.open(path) as file:
            width, height = file.size
            require_picture_size(width, height, PICTURE_PIXELS, where=path)
            focal = file.getexif().get_ifd(EXIF_IFD).get(EXIF_FOCAL_35MM)
            image = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except Image.DecompressionBombError as cause:  # raised on opening, before the size is known
        raise InputError(
            "the picture is too large",
            where=path,
            expected=f"at most {PICTURE_PIXELS.high / 1e6:g} million pixels",
            found=cause,
            fix=PICTURE_PIXELS.fix,
        ) from cause
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as cause:
        raise InputError(
            "the file cannot be read as a picture",
            where=path,
            expected="a JPEG or PNG file",
            found=cause,
            fix=OTHER_FILE,
        ) from cause
    return Photograph(image, float(focal) if focal else None)


def find_face(photograph: Photograph, path: Path) -> tuple[np.ndarray, list[str]]:
    """Landmarks `[478, 2]` of the largest face, in pixels of the photograph, and warnings for the user.

    Raises InputError where there is no face, or only one that is too small or that the picture's edge cuts.
    """
    height, width = photograph.image.shape[:2]
    scale = max(1.0, max(width, height) / LARGEST_SEARCHED)
    with LandmarkDetector(static=True, max_faces=MOST_FACES) as detector:
        faces = detector.detect_all(averaged_down(photograph.image, scale))
    shares = [share_inside(face * scale, width, height) for face in faces]
    whole = [face for face, share in zip(faces, shares, strict=True) if share >= MINIMAL_INSIDE]
    if not whole:
        inside = max(shares) if shares else cut_share([photograph.image])
        if inside is not None:
            raise InputError(
                CUT, where=path, expected=f"{MINIMAL_INSIDE:.0%} of it inside", found=f"{inside:.0%}", fix=STEP_BACK
            )
        raise InputError("no face was found in the photograph", where=path, expected="one face", fix=ANOTHER)
    faces = sorted(whole, key=lambda face: -float(inter_ocular_distance(face[:, :2])))
    pixels = faces[0][:, :2] * np.float32(scale)
    if (eyes := float(inter_ocular_distance(pixels))) < MINIMAL_EYES:
        raise InputError(
            "the face is too small",
            where=path,
            expected=f"{MINIMAL_EYES:.0f} pixels between the eyes",
            found=f"{eyes:.0f}",
            fix="give a photograph in which the face is larger, or the picture before it was reduced",
        )
    others = [f"{len(faces)} faces were seen: the largest is fitted"] if len(faces) > 1 else []
    return pixels, others


def capture_photograph(path: Path, out: Path, settings: CaptureSettings | None = None) -> Path:
    """Fit a head model to one photograph and write a capture folder of one frame; returns `out`.

    Of the settings, `size`, `head_model` and `rotate` (applied after the Exif orientation) are used. Besides the
    parameters the folder holds `appearance/` (texture and light) and `report/overlay.png`.
    Raises InputError for a picture that cannot be used, HeadModelError for an unknown head, OutputError where `out`
    holds something else or is being written by another command, MissingDependencyError where a network is not
    installed.
    """
    settings = (settings or CaptureSettings()).check()
    path, out, size, rotate = Path(path), Path(out), settings.pixels, settings.rotate
    require_networks()
    asset = open_head_model(settings.head_model)
    completion = completion_of(settings.texture_space, asset)
    photograph = read_photograph(path)
    degrees = upright_rotation([photograph.image]) if rotate == "auto" else int(rotate)
    photograph = replace(photograph, image=turned(photograph.image, degrees))
    pixels, warnings = find_face(photograph, path)
    warnings = turned_note(degrees if rotate == "auto" else 0, "photograph") + warnings
    identity = {"photograph": sha256_of_file(path)[:16], "head_model": asset.fingerprint[:12], "size": size}
    identity |= {"rotate": rotate} if rotate != "auto" else {}
    identity |= {} if settings.texture_space is None else {"texture_space": space_identity(settings.texture_space)}
    with claimed_folder(out, "capture", identity):
        try:
            return _fit_and_write(photograph, path, pixels, warnings, out, size, ready_head(asset), degrees, completion)
        except InputError:
            withdraw_claim(out)
            raise


def _fit_and_write(
    photograph: Photograph,
    path: Path,
    pixels: np.ndarray,
    warnings: list[str],
    out: Path,
    size: int,
    asset: HeadAsset,
    turned_by: int,
    completion: Completion | None,
) -> Path:
    """Fit the head to the face at `pixels` `[478, 2]` and write the capture into its claimed folder.

    turned_by: degrees by which the photograph was turned clockwise, which the report says. completion: completes the
    head's texture.
    """
    height, width = photograph.image.shape[:2]
    crop = choose_crop(pixels[None], width, height, size)
    image = crop.cut(photograph.image)
    with PersonSegmenter() as segmenter:
        mask = fill_holes(refine_mask(segmenter.confidence(image), image))
    images, masks = image[None], mask[None]
    require_person(masks, crop.to_crop(pixels[None]), path)
    focal = focal_over_longer_side(photograph.focal_35mm, width, height)
    result = track_with_progress(
        *(pixels[None], np.zeros(1), width, height, asset, lens_settings(focal)),
        occluded=~inside_picture(pixels[None], width, height),
        pictures=Pictures(images, masks, crop),
        dense=place_dense_landmarks(asset, images, crop, pixels[None]),
    )
    camera, detected = crop_camera(result.camera, crop), crop.to_crop(pixels[None])
    assert result.light is not None  # the picture was given
    known = (out, asset, result.params, camera, images, masks, result.light)
    appearance = write_appearance(*known, completion=completion)
    painter, window = MeshPainter(asset, read_skin(out / APPEARANCE)), face_window(detected, size, size, MARGIN)
    projected = crop.to_crop(result.projected)[0]
    panels, _ = draw_panels(painter, image, mask, result.params, camera, detected[0], projected, window)
    write_png(out / "report" / "overlay.png", panels)
    detail = absolute_detail(detail_tensor(photograph.image, pixels)[None])
    quality = picture_warnings(images, detected, detail, np.ptp(pixels[None, :, 0], 1))
    inside = ((detected >= 0) & (detected <= crop.size)).all(-1)
    return write_capture(
        out,
        images=iter(images),
        masks=iter(masks),
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
            "warnings": warnings + quality,
            "appearance": appearance,
            "photograph": {"name": path.name, "width": width, "height": height, "turned": turned_by},
            "crop": {"x0": crop.x0, "y0": crop.y0, "side": crop.side},
        },
        camera_mode="static",
    )
