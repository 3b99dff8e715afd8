"""Synthetic clips with known truth: a painted head model that talks and turns in front of a room.

The pictures are ray-cast and shaded here, on a CPU, from the same head model that tracking fits, so that every frame
comes with its exact camera, FLAME parameters, matte and landmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.data import synthetic_shading as shading
from avatar.data.synthetic_lids import LASH_LENGTH
from avatar.data.synthetic_looks import make_looks, to_linear, to_srgb
from avatar.data.synthetic_motion import make_motion
from avatar.data.synthetic_person import (
    CLOTH,
    EYE,
    HAIR,
    LASH,
    MOUTH,
    SKIN,
    TEETH,
    TONGUE,
    Person,
    Posed,
    make_person,
    pose_person,
)
from avatar.data.synthetic_textures import room
from avatar.errors import InputError
from avatar.flame.assets import HeadAsset, load_head
from avatar.geometry.cameras import Camera, image_rays, look_at, project
from avatar.imaging import to_uint8
from avatar.kernels.mesh_query import interpolate

DISTANCE = 1.1
"""Metres from the camera to the middle of the head."""
FOCAL_SHARE = 2.2
"""Focal length over the picture's size: half a metre is in view at the head."""
SUPERSAMPLING = 2
"""Rays per pixel, each way."""
SMALLEST = 64


@dataclass
class SyntheticScene:
    """Everything needed to render any frame of a synthetic clip."""

    person: Person
    camera: Camera
    background: np.ndarray
    """`[H, W, 3]` float32, linear."""
    light: shading.Light
    fps: float

    @property
    def frame_count(self) -> int:
        return len(self.person.parameters)

    @property
    def plate(self) -> np.ndarray:
        """The empty room, `[H, W, 3]` uint8 sRGB."""
        return to_uint8(to_srgb(self.background))


@dataclass(frozen=True)
class SyntheticFrame:
    """One rendered frame and its truth."""

    image: np.ndarray
    """`[H, W, 3]` uint8 sRGB."""
    matte: np.ndarray
    """`[H, W]` uint8: the person's share of each pixel, 255 = all."""
    landmarks: np.ndarray
    """`[478, 2]` float32 pixels: where the head's landmark embedding lies."""
    visible: np.ndarray
    """`[478]` bool: nothing hides the landmark from the camera."""
    materials: np.ndarray
    """`[H, W]` int8: material seen by the pixel's middle sample (synthetic_person), -1 for the background."""


def make_synthetic_scene(
    *, seed: int, size: int, frames: int, fps: float = 25.0, asset: HeadAsset | None = None
) -> SyntheticScene:
    """Draw a person, a room and a motion from `seed`.

    size: pixels of the square picture. The same seed gives the same scene; its motion depends on time in seconds, not
    on the number of frames per second. Raises InputError for sizes, counts or rates that cannot be.
    """
    if size < SMALLEST or frames < 1 or not fps > 0 or seed < 0:
        raise InputError(
            "a synthetic clip cannot be made with these settings",
            expected=f"size >= {SMALLEST}, frames >= 1, fps > 0, seed >= 0",
            found=f"size {size}, frames {frames}, fps {fps}, seed {seed}",
        )
    asset = load_head() if asset is None else asset
    looks = make_looks(seed)
    person = make_person(seed, looks, asset, make_motion(seed, frames, fps, asset.expression_names))
    pose = look_at((0.0, 0.0, DISTANCE), (0.0, 0.0, 0.0))
    camera = Camera(size, size, FOCAL_SHARE * size, FOCAL_SHARE * size, size / 2, size / 2, pose)
    background = room(np.random.default_rng([seed, 9]), looks, size)
    return SyntheticScene(person, camera, background, shading.room_light(looks.light_side), fps)


def render_synthetic_frame(scene: SyntheticScene, index: int) -> SyntheticFrame:
    """Render frame `index` of a scene; the result depends on the scene and the index only."""
    posed = pose_person(scene.person, index)
    size = scene.camera.width
    big = scene.camera.scaled(SUPERSAMPLING * size, SUPERSAMPLING * size)
    origins, directions = (rays.reshape(-1, 3) for rays in image_rays(big))
    hits = cast_with_strands(scene.person, posed.normals, origins, directions)
    seen = hits.face >= 0
    colours = torch.zeros(len(seen), 3)
    colours[seen] = shade(scene, posed, hits, origins, directions, seen)

    material = torch.full((len(seen),), -1)
    material[seen] = scene.person.materials[hits.face[seen].long()]
    fine = (big.height, big.width)
    coverage = pool(seen.float().reshape(*fine, 1))[..., 0]
    foreground = pool(shading.tone(colours).reshape(*fine, 3))  # already weighted by coverage
    linear = foreground + (1 - coverage)[..., None] * scene.background
    offset = SUPERSAMPLING // 2
    landmarks, visible = true_landmarks(scene, posed)
    return SyntheticFrame(
        image=to_uint8(to_srgb(linear)),
        matte=to_uint8(coverage),
        landmarks=landmarks,
        visible=visible,
        materials=material.reshape(fine)[offset::SUPERSAMPLING, offset::SUPERSAMPLING].numpy().astype(np.int8),
    )


def pool(values: Tensor) -> np.ndarray:
    """Mean over the samples of each pixel: `[sH, sW, C]` to `[H, W, C]`."""
    height, width, channels = values.shape
    s = SUPERSAMPLING
    return values.reshape(height // s, s, width // s, s, channels).mean((1, 3)).numpy()


@dataclass
class Hits:
    """First opaque surface of each ray."""

    face: Tensor
    depth: Tensor
    barycentrics: Tensor


def cast_with_strands(person: Person, normals: Tensor, origins: Tensor, directions: Tensor, layers: int = 4) -> Hits:
    """First hits of rays, looking through gaps between strands at the edges of the hair."""
    first = person.query.cast_rays(origins, directions)
    hits = Hits(first.face, first.depth, first.barycentrics)
    for _ in range(layers):
        candidates = torch.nonzero(hits.face >= 0).squeeze(1)
        material = person.materials[hits.face[candidates].long()]
        hairy = (material == HAIR) | (material == LASH)
        candidates, material = candidates[hairy], material[hairy]
        face, weights = hits.face[candidates], hits.barycentrics[candidates]
        carried = interpolate(torch.cat([person.canonical, normals], 1), person.faces, face, weights)
        normal = torch.nn.functional.normalize(carried[:, 3:], dim=-1)
        slant = (normal * directions[candidates]).sum(-1).abs()
        hair_gaps, lash_gaps = strand_gaps(person, carried[:, :3], slant), lash_gap(person, carried[:, :3])
        through = candidates[torch.where(material == LASH, lash_gaps, hair_gaps)]
        if len(through) == 0:
            break
        depth = hits.depth[through] + 2e-4
        again = person.query.cast_rays(origins[through] + directions[through] * depth[:, None], directions[through])
        hits.face[through], hits.barycentrics[through] = again.face, again.barycentrics
        hits.depth[through] = again.depth + depth
    return hits


def strand_gaps(person: Person, at: Tensor, slant: Tensor) -> Tensor:
    """Where hair surface points (across, along, edge) lie between strands: bool `[P]`.

    Hair thins out towards its ends and where it is seen from the side (`slant` `[P]`, 0 edge-on to 1 face-on).
    """
    grain = sample(person.strands, at[:, 0] * 3.0, at[:, 1] / 0.30)
    reach = {"short": 0.013, "parted": 0.013, "long": 0.010}[person.looks.hair_style]
    thin_end = (at[:, 2] < reach) & (grain < 1.5 - 2.9 * at[:, 2] / reach)
    return thin_end | (grain < 0.3 - 7.0 * slant)


def lash_gap(person: Person, at: Tensor) -> Tensor:
    """Where lash surface points (across, along, edge) lie between lashes: bool `[P]`, more towards the tips."""
    grain = sample(person.strands, at[:, 0] * 0.33, torch.full_like(at[:, 1], 0.5))
    return grain < 2.4 * at[:, 1] / LASH_LENGTH - 0.5


def sample(texture: np.ndarray, x: Tensor, y: Tensor) -> Tensor:
    """Texture `[h, w]` or `[h, w, C]` at positions in [0, 1], repeated outside, linearly interpolated."""
    h, w = texture.shape[:2]
    return lookup(texture, x.remainder(1.0) * (w - 1), y.remainder(1.0) * (h - 1))


def lookup(texture: np.ndarray, column: Tensor, row: Tensor) -> Tensor:
    """Texture at texel positions `[P]` (centres at whole numbers): `[P]` or `[P, C]`."""
    count = len(column)
    if count == 0:
        return torch.zeros(0, *texture.shape[2:])
    # OpenCV's remap takes pictures of at most 32767 columns.
    wide = 1024
    padded = -(-count // wide) * wide
    maps = [np.pad(t.numpy(), (0, padded - count), mode="edge").reshape(-1, wide) for t in (column, row)]
    found = cv2.remap(texture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(found.reshape(padded, *texture.shape[2:])[:count])


def shade(scene: SyntheticScene, posed: Posed, hits: Hits, origins: Tensor, directions: Tensor, seen: Tensor) -> Tensor:
    """Linear colours `[P, 3]` of the rays in `seen`."""
    person, light = scene.person, scene.light
    face, weights = hits.face[seen], hits.barycentrics[seen]
    view = -directions[seen]
    points = origins[seen] + directions[seen] * hits.depth[seen][:, None]
    shadow = lamp_seen(person, posed, light)
    carried = torch.cat(
        [
            posed.normals,
            person.canonical,
            posed.occlusion[:, None],
            shadow[:, None],
            person.marks,
            posed.tangents,
        ],
        1,
    )
    values = interpolate(carried, person.faces, face, weights)
    normal = torch.nn.functional.normalize(values[:, :3], dim=-1)
    material = person.materials[face.long()]
    samples = shading.Samples(normal, view, values[:, 6].clamp(0.02, 1), values[:, 7])
    colours = torch.zeros(len(face), 3)
    for kind, paint in ((SKIN, paint_skin), (MOUTH, paint_skin), (TEETH, paint_teeth), (TONGUE, paint_tongue)):
        mask = material == kind
        if mask.any():
            colours[mask] = paint(scene, samples.select(mask), values[mask])
    for side, centre_from in enumerate(("left_eyeball", "right_eyeball")):
        mask = (material == EYE) & ((values[:, 3] > 0) == (side == 0))
        if mask.any():
            ball = torch.from_numpy(person.asset.region(centre_from))
            centre = posed.vertices[: len(ball)][ball].mean(0)
            rest = person.canonical[: len(ball)][ball].mean(0)
            colours[mask] = paint_eye(scene, samples.select(mask), points[mask] - centre, values[mask, 3:6] - rest)
    for kind, paint in ((HAIR, paint_hair), (CLOTH, paint_cloth), (LASH, paint_lashes)):
        mask = material == kind
        if mask.any():
            colours[mask] = paint(scene, facing(samples.select(mask)), values[mask])
    return colours


def lamp_seen(person: Person, posed: Posed, light: shading.Light) -> Tensor:
    """Share of the lamp `[V]` that each vertex sees, from a few rays towards its face."""
    key = light.key_direction
    side = torch.nn.functional.normalize(torch.linalg.cross(key, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    up = torch.linalg.cross(side, key)
    start = posed.vertices + 0.002 * posed.normals
    seen = torch.zeros(len(start))
    spots = ((0.10, 0.04), (-0.04, 0.10), (-0.10, -0.04), (0.04, -0.10))
    for x, y in spots:
        direction = torch.nn.functional.normalize(key + x * side + y * up, dim=0).expand_as(start).contiguous()
        seen += (person.query.cast_rays(start, direction, max_depth=0.4).face < 0).float()
    return seen / len(spots)


def facing(samples: shading.Samples) -> shading.Samples:
    """Turn normals of open surfaces towards the viewer; their back sides lie in the dark."""
    behind = (samples.normal * samples.view).sum(-1) < 0
    normal = torch.where(behind[:, None], -samples.normal, samples.normal)
    dim = torch.where(behind, 0.35, 1.0)
    return shading.Samples(
        normal, samples.view, samples.occlusion * dim, samples.shadow * torch.where(behind, 0.1, 1.0)
    )


def paint_skin(scene: SyntheticScene, samples: shading.Samples, values: Tensor) -> Tensor:
    person = scene.person
    at = values[:, 3:6]
    atlas = person.atlas
    column = (0.5 + torch.atan2(at[:, 0], at[:, 2] - atlas.axis_z) / (2 * np.pi)) * atlas.width - 0.5
    row = (atlas.top - at[:, 1]) / (atlas.top - atlas.bottom) * atlas.height - 0.5
    albedo, gloss = lookup(person.albedo, column, row), lookup(person.gloss, column, row)
    inside = values[:, 8:9].clamp(0, 1)
    inside = inside * inside * (3 - 2 * inside)
    albedo = albedo + (torch.tensor([0.20, 0.035, 0.035]) - albedo) * inside
    albedo = paint_lid_rims(person, albedo, values[:, 9], values[:, 10])
    return shading.skin(scene.light, samples, albedo, gloss * (1 - 0.8 * inside[:, 0]))


def paint_lid_rims(person: Person, albedo: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
    """Moist, redder rims and the dark roots of lashes; `upper` and `lower` `[P]` are metres to the rims."""
    dark = torch.from_numpy(to_linear(person.looks.brow * 0.35))
    strong = 0.85 if person.looks.hair_style == "long" else 0.6
    moist = torch.exp(-((lower / 0.0011) ** 2))[:, None]
    albedo = albedo * (1 - moist * torch.tensor([0.12, 0.38, 0.36]))
    albedo = albedo + (dark - albedo) * (0.45 * strong * torch.exp(-(((lower - 0.0017) / 0.0007) ** 2)))[:, None]
    return albedo + (dark - albedo) * (strong * torch.exp(-((upper / 0.0013) ** 2)))[:, None]


def paint_lashes(scene: SyntheticScene, samples: shading.Samples, values: Tensor) -> Tensor:
    colour = torch.from_numpy(to_linear(scene.person.looks.brow * 0.35))
    return shading.matte(scene.light, samples, colour)


def paint_teeth(scene: SyntheticScene, samples: shading.Samples, values: Tensor) -> Tensor:
    return shading.wet(scene.light, samples, torch.tensor([0.70, 0.64, 0.53]), 0.05, 60)


def paint_tongue(scene: SyntheticScene, samples: shading.Samples, values: Tensor) -> Tensor:
    return shading.wet(scene.light, samples, torch.tensor([0.36, 0.10, 0.10]), 0.03, 30)


def paint_eye(scene: SyntheticScene, samples: shading.Samples, outward: Tensor, rest: Tensor) -> Tensor:
    normal = torch.nn.functional.normalize(outward, dim=-1)
    ball = shading.Samples(normal, samples.view, samples.occlusion, samples.shadow)
    iris = torch.from_numpy(to_linear(scene.person.looks.iris))
    return shading.eye(scene.light, ball, torch.nn.functional.normalize(rest, dim=-1), iris, scene.person.fibres)


def paint_hair(scene: SyntheticScene, samples: shading.Samples, values: Tensor) -> Tensor:
    person = scene.person
    across, along = values[:, 3], values[:, 4]
    grain = sample(person.strands, across * 3.0, along / 0.30)
    tangent = torch.nn.functional.normalize(values[:, 11:14], dim=-1)
    colour = torch.from_numpy(to_linear(person.looks.hair))
    albedo = colour * (1 + 0.38 * grain.clamp(-2, 2))[:, None].clamp_min(0.15)
    return shading.hair(scene.light, samples, tangent, albedo, 0.5 * grain)


def paint_cloth(scene: SyntheticScene, samples: shading.Samples, values: Tensor) -> Tensor:
    person = scene.person
    albedo = sample(person.cloth, values[:, 3], (values[:, 4] / 0.65).clamp(0, 0.999))
    rib = (values[:, 4] < 0.036).float()[:, None]
    trim = torch.from_numpy(to_linear(person.looks.cloth_trim))
    albedo = albedo * (1 - rib) + trim * (1 + 0.06 * torch.sin(values[:, 3:4] * 2 * np.pi * 150)) * rib
    return shading.matte(scene.light, samples, albedo)


def true_landmarks(scene: SyntheticScene, posed: Posed) -> tuple[np.ndarray, np.ndarray]:
    """Projected landmarks `[478, 2]` and which of them the camera sees `[478]` bool."""
    pixels, _ = project(posed.landmarks, scene.camera)
    eye = torch.tensor(scene.camera.position, dtype=torch.float32)
    towards = posed.landmarks - eye
    hits = scene.person.query.cast_rays(eye.expand_as(towards).contiguous(), towards.contiguous())
    visible = hits.depth > 1 - 0.004  # depth in lengths of the ray: 1 is the landmark itself
    return pixels.numpy().astype(np.float32), visible.numpy()


def make_synthetic_clip(
    folder: Path,
    *,
    seed: int,
    size: int,
    frames: int,
    fps: float = 25.0,
    asset: HeadAsset | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `folder/clip.mp4` and `folder/truth/`, a capture folder that holds what the picture was made from.

    size: pixels of the square picture. progress: called with (frames done, frames) after each.
    Returns the path of the clip. Raises InputError for settings that cannot be, OutputError where a file cannot be
    written.
    """
    from avatar.data.capture import write_capture
    from avatar.data.capture_schema import IMAGES, MASKS
    from avatar.imaging import read_png, write_png
    from avatar.videos import write_video

    scene = make_synthetic_scene(seed=seed, size=size, frames=frames, fps=fps, asset=asset)
    folder = Path(folder)
    truth = folder / "truth"
    landmarks, visible = [], []
    for index in range(frames):
        frame = render_synthetic_frame(scene, index)
        write_png(truth / IMAGES / f"{index:05d}.png", frame.image)
        write_png(truth / MASKS / f"{index:05d}.png", frame.matte)
        landmarks.append(frame.landmarks)
        visible.append(frame.visible)
        if progress is not None:
            progress(index + 1, frames)
    write_capture(
        truth,
        images=None,
        masks=None,
        cameras=scene.camera,
        params=scene.person.parameters,
        asset=scene.person.asset,
        fps=fps,
        timestamps=[index / fps for index in range(frames)],
        landmarks=np.stack(landmarks),
        visible=np.stack(visible),
        background=scene.plate,
        report={
            "frames_read": frames,
            "landmark_error_px": 0.0,
            "landmark_error_iod": 0.0,
            "seconds_per_stage": {},
            "warnings": ["synthetic: parameters, camera, mattes and landmarks are the truth, not estimates"],
        },
        camera_mode="static",
    )
    pictures = (read_png(truth / IMAGES / f"{index:05d}.png") for index in range(frames))
    return write_video(folder / "clip.mp4", pictures, fps, synthetic=True)
