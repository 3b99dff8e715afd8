"""The command line: what it offers, how it fails, how fast it answers. Commands themselves: tests/system."""

import dataclasses
import errno
import inspect
import re
import subprocess
import sys

import pytest

from avatar import __version__
from avatar.animation.options import DrivenPresentation, DriverPart, Presentation, Rendering
from avatar.app import cli, library
from avatar.app.arguments import OF_SEVERAL
from avatar.app.commands.build import Create, Eval, Train
from avatar.app.commands.export import Export
from avatar.app.commands.manage import Doctor
from avatar.app.commands.model import ModelImport
from avatar.app.commands.show import Reanimate, Render
from avatar.app.outcome import Outcome
from avatar.app.overrides import settings_of, with_overrides
from avatar.app.summaries import metric_lines
from avatar.base.errors import ConfigError, InputError
from avatar.config import Config, load_preset

COMMANDS = [
    "create",
    "capture",
    "train",
    "eval",
    "reanimate",
    "render",
    "export",
    "view",
    "live",
    "model",
    "model import",
    "model train",
    "texture",
    "texture build",
    "texture sample",
    "transfer",
    "doctor",
    "demo",
]


def test_help_answers_within_a_second_and_loads_nothing_heavy():
    code = (
        "import sys, time, avatar.app.cli; status = avatar.app.cli.main(['--help']);"
        "heavy = {'torch', 'warp', 'ai_edge_litert', 'cv2', 'av', 'imageio', 'numpy'} & set(sys.modules);"
        "print(time.process_time(), file=sys.stderr);"  # not the clock: another program may hold the processor
        "sys.exit(status or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "reanimate" in done.stdout
    assert float(done.stderr) < 1.0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_has_help(command, capsys):
    assert cli.main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    lines = [line.strip("│ ").rstrip() for line in text.splitlines()]
    options = [line for line in lines if line.startswith(("--", "-h"))]
    assert options
    for index, line in enumerate(lines):
        if line.startswith("--") and line.strip("-"):
            rest = line.split("  ", 1)[1] if "  " in line else lines[index + 1]
            assert len(rest.strip()) > 8, f"{command}: no help for {line}"


SHOWN = {
    "reanimate": (
        "--driver VIDEO|CAPTURE|RUN|PARAMS.npz|FACE.csv... --out OUT.mp4|FOLDER|PATTERN.png "
        "--transfer {auto,relative,absolute} --neutral SEC... --gain REGION=G,... --head-motion {driver,avatar,still} "
        "--compare --start SEC --end SEC --rotate {auto,0,90,180,270} --background scene|blur|COLOUR|transparent|FILE "
        "--layers depth,alpha --live --overwrite"
    ),
    "render": (
        "--out OUT.mp4|OUT.png|FOLDER|PATTERN.png --path still|orbit|spiral|dolly|PATH.json --expression E --frames N "
        "--fps F --size PX --amplitude DEG --background scene|blur|COLOUR|transparent|FILE --layers depth,alpha "
        "--overwrite"
    ),
}
"""Options and what they take, as they were when each command declared its own."""


@pytest.mark.parametrize("command", SHOWN)
def test_options_that_two_callers_share_are_shown_as_the_commands_own(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([command, "--help"]) == 0
    lines = [line.strip("│| \n") for line in capsys.readouterr().out.splitlines()]
    titles = [line.strip("╭╮─ ") for line in lines if re.search(r"\b(arguments|options)[ ─╮]*$", line)]
    assert titles == ["positional arguments", "options"]
    options = {re.split(r"\s{2,}", line)[0] for line in lines if re.match("--[a-z]", line)}
    assert options == set(re.findall(r"--[a-z-]+(?: [^- ]\S*)?", SHOWN[command]))


def test_the_functions_take_the_options_of_the_commands():
    """`avatar.reanimate` and `avatar.render` keep their keywords, whose defaults are those of the fields."""
    for function, groups in (
        (library.reanimate, (DrivenPresentation, DriverPart)),
        (library.render, (Rendering, Presentation)),
    ):
        keywords = inspect.signature(function).parameters
        for option in (field for group in groups for field in dataclasses.fields(group)):
            assert keywords[option.name].default == option.default, option.name


def test_arguments_reach_the_command():
    create = cli.parse(["create", "me.mp4", "--out", "runs/me", "--minutes", "2.5", "--head-model", "flame.pkl"])
    assert isinstance(create, Create)
    assert (str(create.video), str(create.out)) == ("me.mp4", "runs/me")
    assert (create.preset, create.minutes, create.capture.size) == ("auto", 2.5, None)
    assert (create.capture.head_model, create.capture.rotate) == ("flame.pkl", "auto")
    turned = ["--out", "o.mp4", "--rotate", "270"]
    assert cli.parse(["create", "me.mp4", *turned]).capture.rotate == 270
    assert cli.parse(["capture", "me.mp4", *turned]).settings.rotate == 270
    assert cli.parse(["reanimate", "run", "--driver", "you.mp4", *turned]).part.rotate == 270
    train = cli.parse(["train", "cap", "--out", "run", "--resume", "--preset", "paper"])
    assert isinstance(train, Train)
    assert train.resume
    assert train.preset == "paper"
    evaluate = cli.parse(["eval", "run", "--splits", "val"])
    assert isinstance(evaluate, Eval)
    assert evaluate.splits == ("val",)
    reanimate = cli.parse(["reanimate", "run", "--driver", "p.npz", "--out", "o.mp4", "--head-motion", "still"])
    assert isinstance(reanimate, Reanimate)
    assert (reanimate.settings.head_motion, reanimate.presentation.overwrite) == ("still", False)
    assert reanimate.part == DriverPart()
    assert cli.parse(["reanimate", "run", "--driver", "you.mp4", "--out", "o.mp4", "--live"]).part.live
    render = cli.parse(
        ["render", "run", "--path", "spiral", "--expression", "sweep:smile", "--out", "o.mp4", "--overwrite"]
    )
    assert isinstance(render, Render)
    assert (render.rendering, render.presentation.overwrite) == (Rendering("spiral", "sweep:smile"), True)
    export = cli.parse(["export", "run", "--format", "arkit-csv", "--out", "o.csv", "--driver", "you.mp4"])
    assert isinstance(export, Export)
    assert (export.format, str(export.driver), export.points, export.overwrite) == (
        "arkit-csv",
        "you.mp4",
        False,
        False,
    )
    avatar = cli.parse(
        ["export", "run", "--format", "vrm", "--out", "o.vrm", "--author", "me", "--licence", "https://a.b"]
    )
    assert isinstance(avatar, Export)
    assert (avatar.format, avatar.author, avatar.licence) == ("vrm", "me", "https://a.b")
    model = cli.parse(["model", "import", "flame.pkl", "--name", "mine"])
    assert isinstance(model.action, ModelImport)
    assert model.action.name == "mine"


@pytest.mark.parametrize(
    ("arguments", "drivers", "neutral"),
    [
        ("reanimate --driver a.mp4 run --out o.mp4", ["a.mp4"], ()),
        ("reanimate --driver a.mp4 b.mp4 run --out o.mp4", ["a.mp4", "b.mp4"], ()),
        ("reanimate --out o.mp4 --driver a.mp4 run", ["a.mp4"], ()),
        ("reanimate --out o.mp4 --driver a.mp4 run --live", ["a.mp4"], ()),
        ("reanimate --driver a.mp4 b.mp4 --neutral 1 2.5 run --out o.mp4", ["a.mp4", "b.mp4"], (1.0, 2.5)),
        ("reanimate run --driver a.mp4 b.mp4 --out o.mp4", ["a.mp4", "b.mp4"], ()),
        ("reanimate --driver a.mp4 b.mp4 --out o.mp4 run", ["a.mp4", "b.mp4"], ()),
    ],
)
def test_the_run_may_stand_behind_the_drivers(arguments, drivers, neutral):
    command = cli.parse(arguments.split())
    assert str(command.run_folder) == "run"
    assert [str(driver) for driver in command.driver] == drivers
    assert command.neutral == neutral


def test_the_run_may_stand_behind_the_splits():
    command = cli.parse(["eval", "--splits", "val", "test", "run", "--truth", "clip"])
    assert (str(command.run_folder), command.splits) == ("run", ("val", "test"))


def test_every_option_of_several_values_is_known():
    """Of tyro's help: an option whose values end in dots."""
    found = set()
    for command in (Create, Eval, Train, Reanimate, Render, Export, Doctor):
        for field in dataclasses.fields(command):
            several = str(field.type).startswith("Annotated[tuple[") and "Positional" not in str(field.type)
            found |= {f"--{field.name}"} if several else set()
    assert found == set(OF_SEVERAL)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["reanimate", "--driver", "a.mp4", "--out", "o.mp4"],
        ["reanimate", "--driver", "a.mp4", "run", "--out", "o.mp4", "--transfer", "best"],
        ["eval", "--splits", "val", "run", "--thruth", "clip"],
        ["create", "me.mp4"],
        ["create", "--out", "x"],
        ["create", "me.mp4", "--out", "x", "--preset", "best"],
        ["create", "me.mp4", "--out", "x", "--minutes", "long"],
        ["model"],
        ["export", "run", "--format", "fbx", "--out", "o.fbx"],
        ["export", "run", "--out", "o.glb"],
    ],
)
def test_wrong_usage_is_status_2_with_a_message_and_no_traceback(arguments, capsys):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.strip()
    assert "Traceback" not in printed.err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"avatar {__version__}"


def test_no_arguments_show_the_help(capsys):
    assert cli.main([]) == 0
    assert "create" in capsys.readouterr().out


class Failing:
    def __init__(self, error):
        self.error = error

    def run(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (
            InputError("the clip is empty", where="a.mp4", fix="film again"),
            1,
            ["the clip is empty (a.mp4)", "film again"],
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/tmp/x"),
            1,
            ["the disk is full (/tmp/x)", "free some space"],
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, ["cannot be written", "/x"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (MemoryError(), 1, ["there is not enough memory", "smaller --size"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, ["there is not enough memory", "fewer frames"]),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 120000000000 bytes."),
            1,
            ["there is not enough memory", "120000000000 bytes", "--max-frames"],
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), 1, ["there is not enough memory"]),
        (RuntimeError("shapes differ"), 1, ["internal error: RuntimeError"]),
        (ZeroDivisionError("division by zero"), 1, ["internal error: ZeroDivisionError", "AVATAR_DEBUG=1"]),
    ],
)
def test_failures_are_one_message_and_a_status(error, status, words, capsys, monkeypatch):
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)
    monkeypatch.setattr(cli, "parse", lambda arguments: Failing(error))
    assert cli.main(["doctor"]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("avatar: ")
    assert "Traceback" not in printed.err
    for word in words:
        assert word in printed.err


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("AVATAR_DEBUG", "1")
    monkeypatch.setattr(cli, "parse", lambda arguments: Failing(InputError("no")))
    with pytest.raises(InputError):
        cli.main(["doctor"])


def test_success_lists_files_and_the_next_step(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = Outcome([(tmp_path / "a.mp4", "a video")], "watch it", ["a line"])
    monkeypatch.setattr(Doctor, "run", lambda self: outcome)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == ["a line", "wrote a.mp4  (a video)", "next: watch it"]


def test_metric_lines_show_missing_values():
    lines = metric_lines({"val": {"frames": 12, "psnr": 31.234, "face_psnr": None, "expression_error": 0.04321}})
    assert lines[1].split() == ["val", "12", "31.2", "-", "-", "-", "0.0432"]


def test_any_setting_can_be_given():
    """Every number, choice and switch of the configuration is an option, and reaches it checked."""
    train = cli.parse(
        ["train", "cap", "--out", "r", "--training.steps", "500", "--field.gate", "False", "--field.hash.levels", "3"]
    )
    config = with_overrides(load_preset("cpu"), train.settings)
    assert (config.training.steps, config.field.gate, config.field.hash.levels) == (500, False, 3)
    assert with_overrides(load_preset("cpu"), cli.parse(["train", "cap", "--out", "r"]).settings) == load_preset("cpu")
    names = {name for name, _, text in settings_of(Config) if text}
    assert {"training.loss.surface", "render.step", "backends.encoding"} <= names
    assert len(names) == len(settings_of(Config)), "a setting without help"
    wrong = cli.parse(["train", "cap", "--out", "r", "--training.steps", "-1"])
    with pytest.raises(ConfigError, match=r"training\.steps is out of range \(the command line\)"):
        with_overrides(load_preset("cpu"), wrong.settings)


def test_an_unknown_camera_path_is_told_before_anything_is_opened(capsys):
    assert cli.main(["render", "run", "--out", "o.mp4", "--path", "zigzag"]) == 1
    said = capsys.readouterr().err
    assert "unknown camera path" in said
    assert "still, orbit, spiral, dolly or a .json file" in said
