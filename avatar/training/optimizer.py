"""Adam for all that is learned: a learning rate per kind of parameter, and its state by the parameters' names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avatar.config import TrainingConfig
from avatar.field.scene import Scene

TABLE_EPSILON = 1e-15
"""Adam's epsilon for hash tables: their gradients are tiny (Mueller et al. 2022, section 4)."""
EPSILON = 1e-8
ROOM_DECAY = 0.5
"""Power of the rates' decay for the room, which is far from learned when a training ends."""
PREFIX = "optimizer."


def make_optimizer(scene: Scene, settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) over the scene's parameters; only the blended grids decay."""
    rates = {
        "tables": (settings.table_rate, TABLE_EPSILON, 0.0),
        "blended": (settings.table_rate, TABLE_EPSILON, settings.bank_decay),
        "networks": (settings.network_rate, EPSILON, 0.0),
        "deformation": (settings.deformation_rate, EPSILON, 0.0),
        "codes": (settings.code_rate, EPSILON, 0.0),
        "poses": (settings.pose_rate, EPSILON, 0.0),
        "cameras": (settings.camera_rate, EPSILON, 0.0),
        "room tables": (settings.room_rate, TABLE_EPSILON, 0.0),
        "room networks": (settings.room_network_rate, EPSILON, 0.0),
    }
    members: dict[str, list[torch.nn.Parameter]] = {kind: [] for kind in rates}
    for name, parameter in scene.named_parameters():
        members[kind_of(name)].append(parameter)
    groups = [
        {
            "params": members[kind],
            "lr": rate,
            "base_rate": rate,
            "decay": ROOM_DECAY if kind.startswith("room") else 1.0,
            "eps": epsilon,
            "weight_decay": decay,
        }
        for kind, (rate, epsilon, decay) in rates.items()
        if members[kind]
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)


def kind_of(name: str) -> str:
    """The group of the optimiser to which the scene's parameter `name` belongs."""
    if name in ("deform_codes", "appearance_codes"):
        return "codes"
    if name in ("pose", "room.gains"):
        return "poses"
    if name == "room.cameras":
        return "cameras"
    if name.startswith("room."):
        return "room tables" if name == "room.table" else "room networks"
    if name.startswith("deformation."):
        return "deformation"
    if name.endswith(".blended.tables"):
        return "blended"
    if name.endswith((".table", ".grid.encoding.params")):
        return "tables"
    return "networks"


def scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times `factor` to the power of the group's decay."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor ** group["decay"]


def optimizer_tensors(optimizer: torch.optim.Optimizer, scene: Scene) -> dict[str, Tensor]:
    """The optimiser's state as tensors named `optimizer.<parameter>.<quantity>`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in scene.named_parameters()}
    return {
        f"{PREFIX}{names[parameter]}.{quantity}": torch.as_tensor(value)
        for parameter, quantities in optimizer.state.items()
        for quantity, value in quantities.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, scene: Scene, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave. Files of format 3 number the parameters in the order of the groups."""
    places = {parameter: place for place, parameter in enumerate(parameters_of(optimizer))}
    by_name = {name: places[parameter] for name, parameter in scene.named_parameters()}
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        if not key.startswith(PREFIX):
            continue
        name, _, quantity = key.removeprefix(PREFIX).rpartition(".")
        place = int(name) if name.isdecimal() else by_name[name]
        state.setdefault(place, {})[quantity] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    """All parameters, group after group: the order of PyTorch's own state."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
