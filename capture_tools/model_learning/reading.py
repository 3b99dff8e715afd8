"""Registrations from folders of `avatar register`, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatar.base.errors import HeadModelError, InputError
from avatar.base.limits import Limits
from avatar.base.npz import read_npz
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.model_learning.posing import PARTS
from capture_tools.model_learning.state import Registrations
from capture_tools.model_learning.subjects import SHOWN, people_from_file, people_from_names
from capture_tools.scan.output import REGISTRATION

NEEDED = ("vertices", *PARTS, "expr", "head_fingerprint")
FEWEST = 3
COUNT = Limits(FEWEST, 1500, "registrations", "they are all held in memory: choose the most different ones")
FARTHEST = 0.1
"""Metres in the median from the starting model's template: a head in another unit or place is further."""
MAKE = "give folders made by avatar register, or folders that hold some"


@dataclass(frozen=True)
class RegisteredHead:
    """One folder's content."""

    vertices: np.ndarray
    """`[V, 3]` metres."""
    pose: np.ndarray
    """`[18]`; see `posing`."""
    expression: np.ndarray
    """`[E]` of the starting model."""


def find_registrations(places: Sequence[Path]) -> list[Path]:
    """The registration folders among `places` and below them, each once, sorted.

    Raises InputError where there are none, or too many.
    """
    found: dict[Path, Path] = {}
    for place in places:
        if not place.exists():
            raise InputError("the registration does not exist", where=place, fix="check the path")
        below = [place] if (place / REGISTRATION).is_file() else []
        if not below and place.is_dir():
            below = sorted(file.parent for file in place.rglob(REGISTRATION) if file.is_file())
        if not below:
            raise InputError(
                "there is no registration in it", where=place, expected=f"{REGISTRATION}, at any depth", fix=MAKE
            )
        found |= {folder.resolve(): folder for folder in below if folder.resolve() not in found}
    if len(found) < FEWEST:
        raise InputError(
            "there are too few registrations",
            where=places[0],
            expected=f"{FEWEST} or more: two people, and an expression of one of them",
            found=len(found),
            fix="register more scans, or name their folders too",
        )
    COUNT.require("the number of registrations", len(found), error=InputError)
    return sorted(found.values())


def read_registration(folder: Path, asset: HeadAsset) -> RegisteredHead:
    """Read one folder.

    Raises InputError for a damaged file, another topology, values that are not finite or a head that is not where heads
    are, HeadModelError for a registration of another head.
    """
    path = folder / REGISTRATION
    try:
        arrays = read_npz(path, NEEDED)
    except (OSError, ValueError) as cause:
        raise InputError(
            "the registration is damaged",
            where=path,
            expected="the file as avatar register wrote it",
            found=cause,
            fix="register the scan again",
        ) from cause
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise InputError(
            "the file is no registration",
            where=path,
            expected=", ".join(NEEDED),
            found=f"no {', '.join(missing)}",
            fix=MAKE,
        )
    vertices = arrays["vertices"]
    if vertices.shape != (asset.vertex_count, 3):
        raise InputError(
            "the registration is of another topology than the head model",
            where=path,
            expected=f"vertices {[asset.vertex_count, 3]}, as {asset.name} has them",
            found=list(vertices.shape),
            fix="--head-model: the head that all scans were registered with",
        )
    fingerprint = str(arrays["head_fingerprint"])
    if fingerprint != asset.fingerprint:
        raise HeadModelError(
            "the registration was made with another head model",
            where=path,
            expected=f"{asset.name} ({asset.fingerprint[:12]})",
            found=fingerprint[:12],
            fix="--head-model: the head that all scans were registered with; or register this one again",
        )
    for name, size in {**PARTS, "expr": asset.expression_count}.items():
        if arrays[name].shape != (size,):
            raise InputError(
                f"the registration's {name} has a wrong shape",
                where=path,
                expected=[size],
                found=list(arrays[name].shape),
                fix="register the scan again",
            )
    for name in NEEDED[:-1]:
        if arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
            raise InputError(
                "the registration holds values that are not finite",
                where=path,
                expected="numbers",
                found=name,
                fix="register the scan again",
            )
    away = float(np.median(np.linalg.norm(vertices - asset.template, axis=1)))
    if away > FARTHEST:
        raise InputError(
            "the registration does not lie where the head model does",
            where=path,
            expected=f"vertices in metres, at most {FARTHEST:g} m from {asset.name}'s in the median",
            found=f"{away:.3g} m",
            fix="register the scan again",
        )
    pose = np.concatenate([arrays[name] for name in PARTS]).astype(np.float64)
    return RegisteredHead(vertices.astype(np.float64), pose, arrays["expr"].astype(np.float32))


def read_registrations(
    places: Sequence[Path], asset: HeadAsset, subjects: Path | None
) -> tuple[Registrations, list[Path], list[str]]:
    """All registrations, their folders in the same order, and notes for the user. Raises as `read_registration`,
    `find_registrations` and `people_from_file`."""
    folders = find_registrations(places)
    people = people_from_names(folders) if subjects is None else people_from_file(subjects, folders)
    notes = []
    heads, order, names, subject, neutral = [], [], [], [], []
    for index, person in enumerate(people):
        mine = [read_registration(folder, asset) for folder in person.folders]
        rest = person.neutral
        if rest is None:
            rest = person.folders[int(np.argmin(expressed(mine, asset)))]
            if len(mine) > 1:
                notes.append(
                    f"none of {person.name}'s registrations is called neutral: {rest.name} has the least expression"
                )
        for folder, head in zip(person.folders, mine, strict=True):
            heads.append(head)
            order.append(folder)
            names.append(f"{person.name}/{folder.name}")
            subject.append(index)
            neutral.append(folder == rest)
    left = len(folders) - len(order)
    if left:
        notes.append(f"{left} registrations are left out: the file of subjects does not name them")
    data = Registrations(
        tuple(names),
        torch.tensor(np.stack([head.vertices for head in heads])),
        torch.tensor(np.stack([head.pose for head in heads])),
        torch.tensor(subject),
        tuple(person.name for person in people),
        torch.tensor(neutral),
    )
    return data, order, notes


def expressed(heads: Sequence[RegisteredHead], asset: HeadAsset) -> np.ndarray:
    """How far expression and jaw move the vertices of each head, `[N]` metres in the mean, by the starting model."""
    params = HeadParameters.neutral(asset, len(heads))
    params.expr = torch.tensor(np.stack([head.expression for head in heads]))
    params.jaw = torch.tensor(np.stack([head.pose[9:12] for head in heads]), dtype=torch.float32)
    with torch.no_grad():
        moved = HeadModel(asset)(params).vertices - torch.as_tensor(asset.template)
    return moved.norm(dim=-1).mean(1).numpy()


def check_enough(data: Registrations, shapes: int | None, expressions: int | None) -> None:
    """Raise InputError where there are too few people or expressions for the directions that are asked for."""
    people, frames = data.subject_count, len(data.expressive)
    who = ", ".join(data.subject_names[:SHOWN]) + (", ..." if people > SHOWN else "")
    if people < 2:
        raise InputError(
            "there are too few people for a shape space",
            expected="two or more",
            found=f"{people}: {who}",
            fix="name folders SUBJECT/FRAME or SUBJECT_FRAME, or say who is who: --subjects FILE",
        )
    if shapes is not None and shapes > people - 1:
        raise InputError(
            "there are too few people for so many shape directions",
            expected=f"--shape-components up to {people - 1}, one less than people",
            found=f"{shapes}, and {people} people: {who}",
            fix="ask for fewer, or register more people",
        )
    if frames < 1 or (expressions is not None and expressions > frames):
        raise InputError(
            "there are too few expressions for so many expression directions",
            expected=f"--expression-components up to {frames}"
            if frames
            else "registrations besides each person's neutral one",
            found=f"{frames} registrations that are not neutral, of {people} people: {who}"
            if expressions is None
            else f"{expressions}, and {frames} registrations that are not neutral",
            fix="ask for fewer, or register more; SUBJECT/FRAME, SUBJECT_FRAME or --subjects FILE say who is who",
        )
