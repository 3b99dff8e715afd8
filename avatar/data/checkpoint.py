"""Checkpoints of a run: one safetensors file each, written atomically, with all that rendering or resuming needs.

The file's tensors are the scene (`scene.`), the identity's parameters (`params.`), the background (`plate`), and for
resuming the optimiser (`optimizer.`), the sampler (`sampler.`) and the random generator (`generator`). What is not a
tensor is JSON in the file's header, and beside it stands a checksum of it all. `checkpoints/latest` names the newest
file; where that is damaged, the one before is taken. Nothing is pickled.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar.avatar import Avatar
from avatar.base.errors import RunError
from avatar.base.files import write_bytes, write_text
from avatar.base.progress import warn
from avatar.config import Config, read_config
from avatar.data.checkpoint_files import (
    FOLDER,
    LATEST,
    checkpoint_path,
    checkpoints_in_order,
    remove_old,
    step_file,
    train_again,
)
from avatar.field.building import Space, is_unbounded, make_scene
from avatar.field.identity import Identity
from avatar.field.warp import NeckBlend
from avatar.flame.assets import HeadAsset, check_same_head
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.kernels.runtime.device import pick_device

FORMAT_VERSION = 3
HEADER, CHECKSUM = "avatar", "crc32"
"""Names in the file's metadata. Files of earlier versions have no checksum."""
STORED_NAMES = {
    "radiance.blended.tables": "radiance.bank.tables",
    "occupancy.visibility": "occupancy.sight",
    "dilated_memory": "reach_memory",
    "dilated": "reach",
}
"""Scene tensor -> its name in the file, where the two differ."""


class DamagedCheckpointError(RunError):
    """A checkpoint's file is cut, empty or cannot be read."""


@dataclass
class TrainingState:
    """State of a training besides the avatar itself."""

    step: int
    """Steps done."""
    elapsed: float
    """Seconds of training done."""
    tensors: dict[str, Tensor]
    """Tensors of optimiser, sampler and generator, by name."""


def save_checkpoint(run: Path, avatar: Avatar, state: TrainingState, keep: int) -> Path:
    """Write `checkpoints/step_NNNNNN.safetensors`, point `latest` at it and remove all but the newest `keep`.

    Raises OutputError where the disk is full; the files before stay whole.
    """
    from safetensors.torch import save

    tensors = {f"scene.{stored_name(name)}": value for name, value in avatar.scene.state_dict().items()}
    for field in fields(HeadParameters):
        value = getattr(avatar.identity.params, field.name)
        if value is not None:
            tensors[f"params.{field.name}"] = value
    tensors["plate"] = avatar.background
    tensors |= state.tensors
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {
        "format_version": FORMAT_VERSION,
        "step": state.step,
        "elapsed": state.elapsed,
        "progress": avatar.progress,
        "head_model": {"name": avatar.asset.name, "fingerprint": avatar.asset.fingerprint},
        "camera": {**asdict(avatar.camera), "world_from_cam": avatar.camera.world_from_cam.tolist()},
        "camera_mode": avatar.camera_mode,
        "blend": asdict(avatar.scene.blend),
    }
    path, text = step_file(run, state.step), json.dumps(header)
    metadata = {HEADER: text, CHECKSUM: checksum(text, sorted(tensors.items()))}
    # serialised in memory: safetensors' own writer raises its own kind of error on a full disk, with the reason as text
    write_bytes(path, save(tensors, metadata=metadata))
    write_text(path.with_name(LATEST), path.name + "\n")
    remove_old(run, state.step, keep, is_whole)
    return path


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a checkpoint file.

    Raises DamagedCheckpointError, and RunError where it is of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata.get(HEADER, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _require_checksum(metadata, sorted(tensors.items()))
    except (OSError, SafetensorError, ValueError) as cause:
        raise DamagedCheckpointError("the checkpoint is damaged", where=path, found=cause, fix="train again") from cause
    if not isinstance(header, dict) or header.get("format_version") != FORMAT_VERSION:
        found = header.get("format_version") if isinstance(header, dict) else "no header"
        raise RunError(
            "the checkpoint is of another version",
            where=path,
            expected=FORMAT_VERSION,
            found=found,
            fix="train the avatar again: avatar train CAPTURE --out ANOTHER_RUN",
        )
    return header, tensors


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's file has the length and, where it names a checksum, the content that was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _require_checksum(metadata, ((name, file.get_tensor(name)) for name in sorted(file.keys())))
            return HEADER in metadata
    except (OSError, SafetensorError, ValueError):
        return False


def checksum(text: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    """CRC-32, in hexadecimal, of the header's text and of the names and bytes of tensors in the order of their names.

    The tensors must be contiguous and in main memory.
    """
    crc = zlib.crc32(text.encode())
    for name, tensor in tensors:
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _require_checksum(metadata: dict[str, str], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise ValueError unless the content is what the checksum was made of, where there is one.

    A file of full length can hold zeros where a power cut kept the disk from being written.
    """
    if CHECKSUM in metadata and checksum(metadata.get(HEADER, ""), tensors) != metadata[CHECKSUM]:
        raise ValueError("its content is not what was written, by its checksum")


def read_newest(run: Path) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """File, header and tensors of a run's newest checkpoint that can be read; a warning says what was passed over.

    Raises RunError where there is none, and where the newest is whole but of another version.
    """
    paths, trouble = checkpoints_in_order(run)
    troubles = [trouble] if trouble else []
    for path in paths:
        try:
            header, tensors = read_checkpoint(path)
        except DamagedCheckpointError as error:
            troubles.append(f"{path.name} is damaged ({error.found})")
            continue
        if troubles:
            warn(
                f"{path.parent}: {'; '.join(troubles)}. {path.name} is used instead; steps after it, if there were "
                "any, can be trained again: avatar train CAPTURE --out RUN --resume"
            )
        return path, header, tensors
    raise RunError(
        "none of the run's checkpoints can be read",
        where=Path(run) / FOLDER,
        expected="one whole step_*.safetensors",
        found="; ".join(troubles),
        fix=train_again(run),
    )


def stored_name(name: str) -> str:
    """The file's name of the scene's tensor `name`."""
    return STORED_NAMES.get(name, name)


def name_of(stored: str) -> str:
    """The scene's name of the tensor that the file calls `stored`."""
    return next((name for name, other in STORED_NAMES.items() if other == stored), stored)


def load_avatar(run: Path, *, device: str = "auto", checkpoint: str = LATEST) -> Avatar:
    """The trained avatar of a run folder, ready to render: of its newest checkpoint that can be read, or one by name.

    Raises RunError for a run that is incomplete or damaged, HeadModelError where its head model is not on this machine
    or is another version.
    """
    return restore(run, pick_device(device), checkpoint)[0]


def restore(
    run: Path, device: torch.device, checkpoint: str = LATEST, config: Config | None = None
) -> tuple[Avatar, TrainingState]:
    """An avatar and its training state; `config` None takes the run's own settings. Raises as `load_avatar`."""
    if checkpoint == LATEST:
        path, header, tensors = read_newest(run)
    else:
        path = checkpoint_path(run, checkpoint)
        header, tensors = read_checkpoint(path)
    config = config or read_config(Path(run) / "config.yaml")
    try:
        asset = _asset(header, path)
        avatar = _build(config, asset, header, tensors, device)
        rest = {key: value for key, value in tensors.items() if not key.startswith(("scene.", "params.", "plate"))}
        return avatar, TrainingState(int(header["step"]), float(header["elapsed"]), rest)
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        raise RunError(
            "the checkpoint does not fit the run's settings",
            where=path,
            found=str(cause).splitlines()[0],
            fix="keep config.yaml as training wrote it, or train again",
        ) from cause


def _asset(header: dict[str, Any], path: Path) -> HeadAsset:
    head = header["head_model"]
    asset = load_head(head["name"])
    check_same_head(asset, head["name"], head["fingerprint"], path)
    return asset


def _build(
    config: Config, asset: HeadAsset, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device
) -> Avatar:
    saved = {
        field.name: tensors[f"params.{field.name}"]
        for field in fields(HeadParameters)
        if f"params.{field.name}" in tensors
    }
    identity = Identity.make(asset, HeadParameters(**saved), config.field, device, config.backends.rasterising)
    scene_tensors = {
        name_of(key.removeprefix("scene.")): value for key, value in tensors.items() if key.startswith("scene.")
    }
    space = Space(
        scene_tensors["low"].to(device),
        scene_tensors["high"].to(device),
        scene_tensors["reference"].to(device),
        NeckBlend(**header["blend"]),
        is_unbounded(config.field, str(header["camera_mode"])),
        room="room.table" in scene_tensors,
    )
    scene = make_scene(
        *(config.field, config.render, config.backends),
        identity,
        space,
        condition_size=len(scene_tensors["condition.scale"]),
        seed=config.training.seed,
    )
    # runs from before the torso's shell know no completed cells
    scene_tensors.setdefault("occupancy.completed", torch.zeros_like(scene.occupancy.completed))
    scene.load_state_dict(scene_tensors)
    camera = Camera(**header["camera"])
    background, mode = tensors["plate"].to(device), str(header["camera_mode"])
    return Avatar(config, identity, scene, camera, background, camera_mode=mode, progress=float(header["progress"]))
