"""Head models on this machine: the open head, imported models, and files."""

from __future__ import annotations

import os
from pathlib import Path

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import HeadModelError
from avatar.flame.assets import DATA_FOLDER, FILE_SUFFIXES, HeadAsset, read_head, save_head
from avatar.flame.importing import model_name, read_flame


def models_folder() -> Path:
    """Where imported models live: `$AVATAR_HOME/models`, or `~/.local/share/avatar/models`."""
    home = os.environ.get("AVATAR_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share" / "avatar") / "models"


def list_heads() -> dict[str, Path]:
    """Names of all head models on this machine and their files: the open head first, then imported ones."""
    heads = {OPEN_HEAD: DATA_FOLDER / "open_head.npz"}
    folder = models_folder()
    if folder.is_dir():
        heads |= {path.stem: path for path in sorted(folder.glob("*.npz")) if path.stem != OPEN_HEAD}
    return heads


def load_head(name_or_path: str | Path = OPEN_HEAD) -> HeadAsset:
    """Load a head model by its name (see `list_heads`) or from a FLAME file (`importing.read_flame`).

    Raises HeadModelError for an unknown name, listing the known ones, or a damaged file.
    """
    known = list_heads()
    name = str(name_or_path)
    if name in known:
        return read_head(known[name], name)
    path = Path(name_or_path)
    if path.is_file() or path.suffix.lower() in FILE_SUFFIXES:
        return stored_copy(read_flame(path))
    raise HeadModelError(
        f"unknown head model {name!r}",
        expected=", ".join(known),
        fix="choose one of these, or import a FLAME file: avatar model import FILE",
    )


def open_head_model(name_or_file: str | Path) -> HeadAsset:
    """The head model that a user names: one known here, or one in a file, which may lack landmarks.

    Nothing is computed and nothing stored yet (`capture_tools.embed.embedding.ready_head` does it), but the file's name
    is checked. Raises HeadModelError as `load_head` and `require_free_name`.
    """
    asset = load_head(name_or_file)
    if str(name_or_file) not in list_heads():
        require_free_name(asset)
    return asset


def stored_copy(asset: HeadAsset) -> HeadAsset:
    """The imported copy of the same model, which has landmarks, or `asset` itself where there is none."""
    path = models_folder() / f"{asset.name}.npz"
    if path.is_file():
        stored = read_head(path, asset.name)
        if stored.fingerprint == asset.fingerprint:
            return stored
    return asset


def store_head(asset: HeadAsset) -> Path:
    """Keep a head in the models folder, where `load_head(asset.name)` finds it; returns the file.

    Raises HeadModelError where another model already has the name.
    """
    require_free_name(asset)
    return save_head(models_folder() / f"{asset.name}.npz", asset)


def require_free_name(asset: HeadAsset) -> None:
    """Raise HeadModelError where a head model cannot have its name, or another one has it here."""
    require_name(asset.name)
    path = models_folder() / f"{asset.name}.npz"
    if path.exists() and read_head(path, asset.name).fingerprint != asset.fingerprint:
        raise HeadModelError(
            f"another head model is called {asset.name}",
            where=path,
            fix="choose another name: avatar model import FILE --name NAME; or remove that file",
        )


def require_name(name: str) -> None:
    """Raise HeadModelError for a name that no head model can have."""
    usual = model_name(Path(f"{name}.npz"))
    if usual != name or name == OPEN_HEAD:
        better = f", for example --name {usual}" if usual != OPEN_HEAD else ""
        raise HeadModelError(
            "a head model cannot have this name",
            expected=f"lower-case letters, digits, dashes and dots; not {OPEN_HEAD}",
            found=name,
            fix=f"choose another name: avatar model import FILE --name NAME{better}",
        )
