"""A run whose newest checkpoint cannot be read goes on with the one before, and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_clip import bare, shrink

from avatar.app.workflow import require_run
from avatar.base.errors import RunError
from avatar.config import load_preset
from avatar.data.checkpoint import checkpoint_path, is_whole, load_avatar, restore
from avatar.data.checkpoint_files import has_checkpoint, step_files
from avatar.training.trainer import train


@pytest.fixture(scope="module")
def trained(tiny_capture, tmp_path_factory) -> Path:
    """Checkpoints after 2 and 4 steps."""
    config = bare(shrink(load_preset("cpu")))
    config.training.steps, config.training.checkpoint_steps = 4, 2
    run = tmp_path_factory.mktemp("trained") / "run"
    train(tiny_capture, run, config, progress=False)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def newest(run: Path) -> Path:
    return run / "checkpoints" / "step_000004.safetensors"


def latest(run: Path) -> Path:
    return run / "checkpoints" / "latest"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def blank(path: Path, share: float = 0.5, count: int = 64) -> None:
    """Zeros over a few bytes at a share of the file, as a power cut leaves them; its length stays."""
    content = bytearray(path.read_bytes())
    place = int(share * len(content))
    place = next(i for i in range(place, len(content)) if any(content[i : i + count]))
    content[place : place + count] = bytes(count)
    path.write_bytes(content)


DAMAGE = {
    "blank in the middle": lambda run: blank(newest(run)),
    "blank at the end": lambda run: blank(newest(run), 0.95, 8),
    "halved": lambda run: halve(newest(run)),
    "emptied": lambda run: newest(run).write_bytes(b""),
    "zeros": lambda run: newest(run).write_bytes(bytes(newest(run).stat().st_size)),
    "missing": lambda run: newest(run).unlink(),
    "a folder": lambda run: (newest(run).unlink(), newest(run).mkdir()),
}


def step_of_loaded(run: Path) -> int:
    return restore(run, load_avatar(run, device="cpu").device)[1].step


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_one_before_is_taken(run, capsys, damage):
    assert step_of_loaded(run) == 4
    assert capsys.readouterr().err == ""
    DAMAGE[damage](run)
    assert step_of_loaded(run) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {run / 'checkpoints'}: ")
    assert "step_000004.safetensors" in said
    assert "step_000002.safetensors is used instead" in said


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"step_000009.safetensors", b"../../x.safetensors"])
def test_a_damaged_latest_hides_no_checkpoint(run, capsys, content):
    latest(run).unlink() if content is None else latest(run).write_bytes(content)
    require_run(run)
    assert step_of_loaded(run) == 4
    said = capsys.readouterr().err
    assert "latest" in said
    assert "step_000004.safetensors is used instead" in said


def test_training_goes_on_from_the_one_before_and_keeps_it(run, tiny_capture, capsys):
    halve(newest(run))
    config = bare(shrink(load_preset("cpu")))
    config.training.steps = 6
    train(tiny_capture, run, config, resume=True, progress=False)
    assert "step_000002.safetensors is used instead" in capsys.readouterr().err
    assert [path.name for path in step_files(run)] == ["step_000006.safetensors", "step_000002.safetensors"]
    assert step_of_loaded(run) == 6
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 4, 6]


def test_a_checkpoint_with_other_content_is_not_kept_to_fall_back_on(run, tiny_capture, capsys):
    """It has its full length, so only its checksum tells."""
    blank(newest(run))
    config = bare(shrink(load_preset("cpu")))
    config.training.steps = 6
    train(tiny_capture, run, config, resume=True, progress=False)
    assert "step_000004.safetensors is damaged (its content is not what was written" in capsys.readouterr().err
    assert [path.name for path in step_files(run)] == ["step_000006.safetensors", "step_000002.safetensors"]


def test_a_checkpoint_without_a_checksum_opens_as_before(run, capsys):
    """As those of earlier versions. The checksum holds for the header too."""
    with safe_open(newest(run), framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(newest(run)), newest(run), metadata={"avatar": metadata["avatar"]})
    assert step_of_loaded(run) == 4
    assert is_whole(newest(run))
    assert capsys.readouterr().err == ""
    save_file(load_file(newest(run)), newest(run), metadata=metadata | {"avatar": metadata["avatar"].replace("4", "5")})
    assert not is_whole(newest(run))
    assert step_of_loaded(run) == 2


def test_what_is_not_ours_is_not_pruned(run, tiny_capture):
    config = bare(shrink(load_preset("cpu")))
    config.training.steps = 6
    kept = run / "checkpoints" / "step_best.safetensors"
    kept.write_bytes(b"mine")
    (run / "checkpoints" / ".step_000005.12345.part.safetensors").write_bytes(b"half")
    train(tiny_capture, run, config, resume=True, progress=False)
    assert kept.read_bytes() == b"mine"
    assert [path.name for path in step_files(run)] == ["step_000006.safetensors", "step_000004.safetensors"]


def test_none_that_can_be_read(run, tiny_capture):
    for path in step_files(run):
        halve(path)
    with pytest.raises(RunError) as error:
        load_avatar(run, device="cpu")
    message = str(error.value)
    assert "none of the run's checkpoints can be read" in message
    assert "step_000004.safetensors is damaged" in message
    assert "step_000002.safetensors is damaged" in message
    assert f"train again: remove {run / 'checkpoints'} and give the command that made the run" in message
    shutil.rmtree(run / "checkpoints")
    assert not has_checkpoint(run)
    with pytest.raises(RunError, match="not a run folder"):
        load_avatar(run, device="cpu")
    config = bare(shrink(load_preset("cpu")))
    config.training.steps = 2
    train(tiny_capture, run, config, progress=False)  # as the message says
    assert step_of_loaded(run) == 2


def test_a_checkpoint_asked_for_by_name_is_not_replaced(run):
    halve(newest(run))
    with pytest.raises(RunError, match="is damaged"):
        load_avatar(run, device="cpu", checkpoint=newest(run).name)
    with pytest.raises(RunError, match="does not exist"):
        load_avatar(run, device="cpu", checkpoint="step_000003.safetensors")
    assert checkpoint_path(run) == newest(run)


def test_another_version_is_no_damage(run):
    save_file(load_file(newest(run)), newest(run), metadata={"avatar": json.dumps({"format_version": 99})})
    with pytest.raises(RunError, match="of another version"):
        load_avatar(run, device="cpu")
