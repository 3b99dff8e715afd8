"""Pinhole cameras: projection, rays, and the only place where camera conventions are converted.

Inside the program a camera is OpenCV's (x right, y down, z forward), given as `world_from_cam` [4, 4]. Files hold
NeRF's `transform_matrix`: OpenGL camera-to-world (x right, y up, z backward). The image spans [0, width] x [0, height]
with pixel (column, row) centred at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.geometry.rotations import axis_angle_to_matrix

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Flips the camera's y and z axes; its own inverse."""
ROTATION_TOLERANCE = 1e-3
"""Largest deviation of an entry of R R^T from the identity, and of the last row from 0 0 0 1."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera without distortion; focal lengths and principal point in pixels.

    Raises InputError for a pose that is not a rigid transform, a size below 1 pixel, a focal length that is not
    positive, and anything that is not finite.
    """

    width: int
    """Pixels across."""
    height: int
    """Pixels down."""
    fl_x: float
    """Focal length in pixel widths."""
    fl_y: float
    """Focal length in pixel heights."""
    cx: float
    """Principal point, pixels from the image's left edge."""
    cy: float
    """Principal point, pixels from the image's top edge."""
    world_from_cam: np.ndarray
    """`[4, 4]` float64, OpenCV axes; the last column is the camera centre in metres."""

    def __post_init__(self) -> None:
        pose = np.array(self.world_from_cam, dtype=np.float64)
        numbers = [self.width, self.height, self.fl_x, self.fl_y, self.cx, self.cy]
        if pose.shape != (4, 4):
            raise InputError("a camera pose has a wrong shape", expected="world_from_cam [4, 4]", found=pose.shape)
        if not (np.isfinite(pose).all() and np.isfinite(numbers).all()):
            raise InputError("a camera holds numbers that are not finite", found=f"{numbers}, pose {pose.tolist()}")
        if min(self.width, self.height) < 1 or min(self.fl_x, self.fl_y) <= 0:
            raise InputError(
                "a camera's size or focal length cannot be",
                expected="width and height of at least 1, focal lengths above 0",
                found=f"{self.width}x{self.height}, focal lengths {self.fl_x} and {self.fl_y}",
            )
        rotation = pose[:3, :3]
        if (
            np.abs(rotation @ rotation.T - np.eye(3)).max() > ROTATION_TOLERANCE
            or np.linalg.det(rotation) < 0
            or np.abs(pose[3] - [0, 0, 0, 1]).max() > ROTATION_TOLERANCE
        ):
            raise InputError(
                "a camera pose is not a rigid motion",
                expected="an orthonormal rotation of determinant 1 and the last row 0 0 0 1",
                found=pose.tolist(),
            )
        pose.flags.writeable = False
        object.__setattr__(self, "world_from_cam", pose)

    @property
    def cam_from_world(self) -> np.ndarray:
        """The extrinsics `[4, 4]` float64: world to camera, the inverse of `world_from_cam`."""
        inverse = np.eye(4)
        inverse[:3, :3] = self.world_from_cam[:3, :3].T
        inverse[:3, 3] = -self.world_from_cam[:3, :3].T @ self.world_from_cam[:3, 3]
        return inverse

    @property
    def position(self) -> np.ndarray:
        """The camera centre `[3]`, world, metres."""
        return self.world_from_cam[:3, 3]

    def scaled(self, width: int, height: int) -> Camera:
        """The same view at another image size."""
        x, y = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fl_x=self.fl_x * x, fl_y=self.fl_y * y, cx=self.cx * x, cy=self.cy * y
        )

    def cropped(self, x0: float, y0: float, width: int, height: int) -> Camera:
        """A crop of the image with its top left corner at pixel (x0, y0); it may extend beyond the image."""
        return replace(self, width=width, height=height, cx=self.cx - x0, cy=self.cy - y0)

    def moved(self, world_from_cam: np.ndarray) -> Camera:
        """The same intrinsics at another pose `world_from_cam` `[4, 4]`."""
        return replace(self, world_from_cam=world_from_cam)

    def intrinsics(self) -> np.ndarray:
        """The intrinsic matrix K `[3, 3]`: camera points to homogeneous pixels."""
        return np.array([[self.fl_x, 0, self.cx], [0, self.fl_y, self.cy], [0, 0, 1]], dtype=np.float64)

    def to_transform_matrix(self) -> np.ndarray:
        """NeRF's `transform_matrix` `[4, 4]`: OpenGL camera-to-world, as files hold it."""
        return self.world_from_cam @ OPENCV_FROM_OPENGL

    @staticmethod
    def from_transform_matrix(
        transform_matrix: np.ndarray | Sequence[Sequence[float]],
        *,
        width: int,
        height: int,
        fl_x: float,
        fl_y: float,
        cx: float,
        cy: float,
    ) -> Camera:
        """A camera from NeRF's `transform_matrix` `[4, 4]` (OpenGL camera-to-world). Raises InputError as `Camera`."""
        matrix = np.array(transform_matrix, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise InputError("a transform_matrix has a wrong shape", expected="[4, 4]", found=matrix.shape)
        return Camera(width, height, fl_x, fl_y, cx, cy, matrix @ OPENCV_FROM_OPENGL)


def look_at(
    position: Sequence[float] | np.ndarray, target: Sequence[float] | np.ndarray, up: Sequence[float] = (0, 1, 0)
) -> np.ndarray:
    """The pose `world_from_cam` `[4, 4]` at `position` that looks at `target` (`[3]`, world), image top towards `up`.

    Raises InputError where the target is at the camera or the view direction is parallel to `up`.
    """
    position = np.asarray(position, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - position
    distance = np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, dtype=np.float64))
    if distance < 1e-12 or np.linalg.norm(right) < 1e-9 * distance:
        raise InputError("cannot look at a target that is at the camera or straight up or down", found=forward.tolist())
    forward /= distance
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, position
    return pose


def turn_camera(camera: Camera, target: np.ndarray, azimuth: float, elevation: float, scale: float = 1.0) -> Camera:
    """`camera` orbited around `target` `[3]` (world, metres).

    azimuth: radians about world y; positive moves a camera in front of the face towards the person's left (+x).
    elevation: radians; positive moves the camera up.
    scale: factor on the distance to the target.
    """
    offset = camera.world_from_cam[:3, 3] - target
    level = np.array([offset[0], 0.0, offset[2]])
    length = np.linalg.norm(level)
    side = np.array([1.0, 0.0, 0.0]) if length == 0 else np.cross([0.0, 1.0, 0.0], level / length)
    rotations = torch.as_tensor(np.stack([azimuth * np.array([0.0, 1.0, 0.0]), -elevation * side]))
    about_up, about_side = axis_angle_to_matrix(rotations).numpy()
    rotation = about_up @ about_side
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = rotation @ camera.world_from_cam[:3, :3]
    world_from_cam[:3, 3] = target + scale * (rotation @ offset)
    return replace(camera, world_from_cam=world_from_cam)


def project_points(
    points: Tensor, cam_from_world: Tensor, focal: Tensor, principal_point: Tensor
) -> tuple[Tensor, Tensor]:
    """Project points with a camera given as tensors; differentiable in all arguments.

    points: `[..., 3]`, world, metres. cam_from_world: `[4, 4]`, or `[..., 4, 4]` that broadcasts over all but the
    points' last two axes (`[N, 4, 4]` with points `[N, P, 3]`). focal: scalar or `[2]`, pixels. principal_point: `[2]`.
    Returns pixels `[..., 2]` and depth `[...]` (z in the camera frame, metres). A point with depth <= 0 is behind the
    camera and its pixel is undefined.
    """
    rotation, translation = cam_from_world[..., :3, :3], cam_from_world[..., :3, 3]
    if cam_from_world.dim() == 2:
        in_camera = points @ rotation.T + translation
    else:
        in_camera = points @ rotation.transpose(-1, -2) + translation[..., None, :]
    depth = in_camera[..., 2]
    tiny = torch.full_like(depth, 1e-9)
    safe = torch.where(depth.abs() < 1e-9, tiny, depth)
    return focal * (in_camera[..., :2] / safe[..., None]) + principal_point, depth


def project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Pixels `[..., 2]` and depth `[...]` (metres) of world points `[..., 3]`; see `project_points`."""

    def tensor(values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=points.dtype, device=points.device)

    return project_points(
        points, tensor(camera.cam_from_world), tensor([camera.fl_x, camera.fl_y]), tensor([camera.cx, camera.cy])
    )


def pixel_rays(camera: Camera, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rays through pixels `[..., 2]` (centres at +0.5): origins (metres) and unit directions `[..., 3]`, world."""
    pose = torch.as_tensor(np.array(camera.world_from_cam), dtype=pixels.dtype, device=pixels.device)
    x = (pixels[..., 0] - camera.cx) / camera.fl_x
    y = (pixels[..., 1] - camera.cy) / camera.fl_y
    in_camera = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1), dim=-1)
    directions = in_camera @ pose[:3, :3].T
    return pose[:3, 3].expand_as(directions).contiguous(), directions


def pixel_centres(width: int, height: int, *, device: torch.device | str = "cpu") -> Tensor:
    """The centres (x, y) of all pixels, `[H, W, 2]` float32."""
    x = torch.arange(width, dtype=torch.float32, device=device) + 0.5
    y = torch.arange(height, dtype=torch.float32, device=device) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def image_rays(camera: Camera, *, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Rays through all pixel centres: origins and unit directions `[H, W, 3]` float32, world."""
    return pixel_rays(camera, pixel_centres(camera.width, camera.height, device=device))
