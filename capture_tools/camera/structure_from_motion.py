"""The trajectory of a moving camera, from the background alone: structure from motion with the person masked out.

COLMAP solves it (Schoenberger and Frahm, "Structure-from-motion revisited", CVPR 2016; SIFT features). Keyframes spread
over the clip give the scene's points and the focal length; every other frame is then registered against those points
(`frame_registration`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avatar.base.errors import InputError
from avatar.geometry.rotations import slerp
from capture_tools.camera.background import free_of_person
from capture_tools.camera.frame_registration import MINIMAL_MATCHES, Seen, View, inverse, register_frames
from capture_tools.detect.native_logs import quiet_native_stderr

LONGEST_SIDE = 720
"""Pixels; larger frames are scaled down before features are looked for."""
SMALL_SIDE = 480
"""Pixels of the longer side up to which frames are enlarged for features, as SIFT does; it takes four times as long."""
MOST_FEATURES = 800
PEAK, SMALL_PEAK = 0.004, 0.0025
"""Least contrast of a feature, in large and in small frames, which have few."""
KEYFRAMES, SMALL_KEYFRAMES = 40, 56
"""Frames that build the scene, of large and of small frames; all pairs of them are matched."""
FOCAL_STARTS = (0.75, 1.0, 1.4, 1.8, 2.2, 2.8, 3.5)
"""Focal lengths over the longer side to start from where none is known: wide phones to long lenses."""
MINIMAL_POINTS = 60
MINIMAL_KEYFRAMES = 0.7
"""Share of the keyframes that one scene has to hold."""
MINIMAL_PARALLAX = 0.02
"""Extent of the trajectory over the median depth of the scene; below it the camera only rotates."""
LONGEST_GAP = 8
"""Longest run of unregistered frames that is interpolated from its neighbours."""
SEED = 0
CORES = 2
"""Threads; the result does not depend on them."""

NO_SCENE = "the background is too plain or too little of it is seen to find the camera trajectory"
NO_PARALLAX = "the camera rotates but hardly moves from its place, so the depth of the background cannot be seen"


class Features(NamedTuple):
    """SIFT features of one frame's free background."""

    keypoints: np.ndarray
    """`[K, 4]` float32: x, y (pixels, centres at 0.5), scale, orientation."""
    descriptors: Any
    """pycolmap.FeatureDescriptors of K rows."""


@dataclass(frozen=True)
class CameraPath:
    """A camera trajectory over N frames, up to a similarity transform of the world."""

    world_from_cam: np.ndarray
    """`[N, 4, 4]` float64, OpenCV axes; identity where a frame is not registered."""
    focal: float
    """Pixels of the frames given; the principal point is their centre."""
    registered: np.ndarray
    """`[N]` bool: the frame has a pose, its own or one interpolated from its neighbours."""
    reprojection_error: float
    """Mean over the observations of the keyframes, pixels of the frames given."""
    points: int
    """Number of points of the scene."""


@contextmanager
def _quiet() -> Iterator[None]:
    """COLMAP logs to descriptor 2, through a level of its own."""
    import pycolmap

    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    try:
        with quiet_native_stderr():
            yield
    finally:
        pycolmap.logging.minloglevel = level


def solve_cameras(
    views: Iterable[tuple[np.ndarray, np.ndarray]], focal: float | None = None, keyframes: int | None = None
) -> CameraPath:
    """Find the camera of every frame of a clip from its static background.

    views: frames uint8 `[H, W, 3]` sRGB in time order, each with its mask uint8 `[h, w]`, 255 = person, which is
    resized to the frame and dilated; read once. focal: pixels, where it is known; it is then kept. keyframes: the usual
    number where it is None. All frames share one pinhole without distortion, its principal point in the centre. The
    same input gives the same trajectory.
    Raises InputError, in words for a user, where the background has too little texture or parallax.
    """
    import pycolmap

    held, width, height = _prepare(views)
    if len(held) < 3:
        raise InputError("too few frames to find the camera trajectory", expected="at least 3", found=len(held))
    usual = SMALL_KEYFRAMES if _is_small(held[0]) else KEYFRAMES
    chosen = np.unique(np.linspace(0, len(held) - 1, min(keyframes or usual, len(held))).round().astype(int))
    with _quiet():
        found = _features([held[index] for index in chosen])
        scale = min(1.0, LONGEST_SIDE / max(width, height))
        lens = pycolmap.Camera.create_from_model_name(
            1, "SIMPLE_PINHOLE", scale * (focal or max(width, height)), *_size(width, height, scale)
        )
        lens.has_prior_focal_length = focal is not None
        longest = max(lens.width, lens.height)
        starts = [share * longest for share in FOCAL_STARTS] if focal is None else [lens.focal_length]
        try:
            scene = _best_scene(found, chosen, lens, starts)
        except (RuntimeError, ValueError, IndexError) as cause:  # what COLMAP's C++ raises
            raise InputError(NO_SCENE, found=cause) from cause
        _require_parallax(scene)
        poses = _register(scene, chosen, found, held)
    world_from_cam, registered = _fill_short_gaps(poses)
    error = _reprojection_error(scene) / scale
    return CameraPath(world_from_cam, scene.cameras[1].focal_length / scale, registered, error, len(scene.points3D))


def _size(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _is_small(view: View) -> bool:
    return max(view.grey.shape) <= SMALL_SIDE


def _prepare(views: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[list[View], int, int]:
    """The frames as they are looked at, and the width and height of those given."""
    import cv2

    held: list[View] = []
    width = height = 0
    for frame, mask in views:
        height, width = frame.shape[:2]
        size = _size(width, height, min(1.0, LONGEST_SIDE / max(width, height)))
        grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        held.append(View(grey, free_of_person(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR))))
    return held, width, height


def _features(views: list[View]) -> list[Features]:
    """The features of each view's free background; an extractor a core."""
    import pycolmap

    options = pycolmap.FeatureExtractionOptions(num_threads=1, use_gpu=False)
    options.sift.max_num_features = 3 * MOST_FEATURES  # many lie on the person
    options.sift.peak_threshold = SMALL_PEAK if _is_small(views[0]) else PEAK
    options.sift.first_octave = -1 if _is_small(views[0]) else 0

    def some(part: list[View]) -> list[Features]:
        extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        return [_free_features(*extractor.extract_from_uint8_array(view.grey), view.free) for view in part]

    with ThreadPoolExecutor(CORES) as pool:
        parts = list(pool.map(some, [views[core::CORES] for core in range(CORES)]))
    return [parts[index % CORES][index // CORES] for index in range(len(views))]


def _free_features(keypoints: Any, descriptors: Any, free: np.ndarray) -> Features:
    """The largest features whose patch lies on the background (`free` bool `[H, W]`)."""
    import cv2
    import pycolmap

    points = np.asarray(pycolmap.keypoints_to_matrix(keypoints), np.float32).reshape(-1, 4)
    height, width = free.shape
    columns = np.clip(points[:, 0].astype(int), 0, width - 1)
    rows = np.clip(points[:, 1].astype(int), 0, height - 1)
    distance = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 3)[rows, columns]
    # A descriptor covers about six scales around its point; half of that keeps most and spoils few.
    kept = np.flatnonzero(free[rows, columns] & (distance >= np.minimum(3 * points[:, 2], height / 16)))
    kept = kept[np.argsort(-points[kept, 2], kind="stable")[:MOST_FEATURES]]
    data = np.ascontiguousarray(np.asarray(descriptors.data)[kept])
    return Features(np.ascontiguousarray(points[kept]), pycolmap.FeatureDescriptors(descriptors.type, data))


def _best_scene(found: list[Features], chosen: np.ndarray, lens: Any, starts: list[float]) -> Any:
    """The scene (pycolmap.Reconstruction) of the keyframes; image i + 1 is frame i. Raises InputError without one.

    A long lens in a deep room and a short lens in a shallow one differ in small errors only, and bundle adjustment
    finds the nearest minimum. It therefore starts from several focal lengths, and the best fit is kept.
    """
    import pycolmap

    pycolmap.set_random_seed(SEED)
    with tempfile.TemporaryDirectory(prefix="avatar_cameras_") as folder:
        database = Path(folder) / "scene.db"
        _write_database(database, found, chosen, lens)
        verification = pycolmap.TwoViewGeometryOptions(min_num_inliers=MINIMAL_MATCHES)
        verification.ransac.random_seed = SEED
        # Matches that stay where they are would count as a watermark, but a camera may rest for a while.
        verification.detect_watermark = False
        pycolmap.match_exhaustive(
            database, matching_options=_matching(), verification_options=verification, device=pycolmap.Device.cpu
        )

        def run(focal: float) -> list[Any]:
            own = Path(folder) / f"{focal:.3f}"
            own.mkdir(exist_ok=True)
            shutil.copy(database, own / database.name)
            with pycolmap.Database.open(own / database.name) as opened:
                camera = opened.read_camera(1)
                camera.focal_length = focal
                opened.update_camera(camera)
            models = pycolmap.incremental_mapping(own / database.name, own, own, _mapping(len(chosen)))
            large = [scene for scene in models.values() if scene.num_reg_images() >= MINIMAL_KEYFRAMES * len(chosen)]
            for scene in large:
                _refine(scene, focal_too=not lens.has_prior_focal_length)
            return large

        with ThreadPoolExecutor(CORES) as pool:
            scenes = [scene for part in pool.map(run, starts) for scene in part]
        if scenes and not lens.has_prior_focal_length:
            scenes += run(_best(scenes).cameras[1].focal_length)
    if not scenes or len(_best(scenes).points3D) < MINIMAL_POINTS:
        raise InputError(NO_SCENE, expected=f"a trajectory through {MINIMAL_KEYFRAMES:.0%} of the keyframes")
    return _best(scenes)


def _best(scenes: list[Any]) -> Any:
    """The scene of least reprojection error among those with about the most observations."""
    most = max(scene.compute_num_observations() for scene in scenes)
    return min((scene for scene in scenes if scene.compute_num_observations() >= 0.75 * most), key=_reprojection_error)


def _matching() -> Any:
    import pycolmap

    options = pycolmap.FeatureMatchingOptions(num_threads=CORES, use_gpu=False)
    options.sift.cpu_brute_force_matcher = True
    return options


def _mapping(keyframes: int) -> Any:
    """COLMAP's mapper for small motions and few features; one thread, so that results repeat."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions(
        num_threads=1,
        random_seed=SEED,
        max_num_models=3,
        extract_colors=False,
        min_model_size=max(3, keyframes // 4),
        min_num_matches=MINIMAL_MATCHES,
        ba_refine_focal_length=False,
    )
    mapper = options.mapper
    mapper.init_min_tri_angle, mapper.filter_min_tri_angle, mapper.ba_local_min_tri_angle = 8.0, 0.5, 2.0
    mapper.init_min_num_inliers, mapper.abs_pose_min_num_inliers = 40, MINIMAL_MATCHES
    mapper.abs_pose_refine_focal_length = False
    mapper.num_threads, mapper.random_seed = 1, SEED
    options.triangulation.min_angle, options.triangulation.random_seed = 0.5, SEED
    return options


def _refine(scene: Any, focal_too: bool) -> None:
    """Bundle adjustment of cameras, points and focal length under Cauchy's loss."""
    import pycolmap

    options = pycolmap.BundleAdjustmentOptions(print_summary=False, refine_focal_length=focal_too)
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = 0.5
    options.ceres.solver_options.num_threads = 1
    pycolmap.bundle_adjustment(scene, options)
    scene.update_point_3d_errors()


def _reprojection_error(scene: Any) -> float:
    """Mean reprojection error over the observations, pixels, each clipped at two."""
    errors = np.array([point.error for point in scene.points3D.values()])
    lengths = np.array([point.track.length() for point in scene.points3D.values()])
    return float(np.average(np.minimum(errors, 2.0), weights=lengths))


def _write_database(path: Path, found: list[Features], chosen: np.ndarray, lens: Any) -> None:
    import pycolmap

    with pycolmap.Database.open(path) as database:
        database.write_camera(lens, use_camera_id=True)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(lens.sensor_id)
        database.write_rig(rig, use_rig_id=True)
        for index, features in zip(chosen.tolist(), found, strict=True):
            image = pycolmap.Image(name=f"{index:06d}", camera_id=1, image_id=index + 1)
            frame = pycolmap.Frame(frame_id=index + 1, rig_id=1)
            frame.add_data_id(image.data_id)
            database.write_image(image, use_image_id=True)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(index + 1, features.keypoints)
            database.write_descriptors(index + 1, features.descriptors)


def _require_parallax(scene: Any) -> None:
    """Raise InputError where the keyframes lie too close together to triangulate depth."""
    centres = np.stack([image.projection_center() for image in scene.images.values() if image.has_pose])
    points = np.stack([point.xyz for point in scene.points3D.values()])
    extent = np.percentile(np.linalg.norm(centres - np.median(centres, axis=0), axis=1), 90)
    depth = np.median(np.linalg.norm(points[:, None] - centres[None, :: max(1, len(centres) // 8)], axis=2))
    if extent < MINIMAL_PARALLAX * depth:
        raise InputError(
            NO_PARALLAX,
            expected=f"a trajectory of {MINIMAL_PARALLAX:.0%} of the distance",
            found=f"{extent / depth:.1%}",
        )


def _register(scene: Any, chosen: np.ndarray, found: list[Features], held: list[View]) -> list[np.ndarray | None]:
    """`world_from_cam` `[4, 4]` of every frame: keyframes as mapped, others from the points they share with them."""
    poses, seen = {}, {}
    for number, features in zip(chosen.tolist(), found, strict=True):
        if number + 1 not in scene.images or not scene.images[number + 1].has_pose:
            continue
        image = scene.images[number + 1]
        points = np.array([p.point3D_id if p.has_point3D() else -1 for p in image.points2D], np.int64)
        known = points >= 0
        poses[number] = inverse(image.cam_from_world().matrix())
        seen[number] = Seen(features.keypoints[known, :2], points[known])
    positions = {identifier: point.xyz for identifier, point in scene.points3D.items()}
    return register_frames(held, poses, seen, positions, scene.cameras[1], SEED)


def _fill_short_gaps(poses: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate the poses of short gaps (slerp); frames in longer gaps stay unregistered."""
    import torch

    registered = np.array([pose is not None for pose in poses])
    filled = np.stack([np.eye(4) if pose is None else pose for pose in poses])
    own = np.flatnonzero(registered)
    for before, after in pairwise(own):
        if not 1 < after - before <= LONGEST_GAP + 1:
            continue
        first, last = (torch.from_numpy(filled[frame, :3, :3]) for frame in (before, after))
        for index in range(before + 1, after):
            share = (index - before) / (after - before)
            filled[index, :3, :3] = slerp(first, last, share).numpy()
            filled[index, :3, 3] = (1 - share) * filled[before, :3, 3] + share * filled[after, :3, 3]
            registered[index] = True
    return filled, registered
