"""The command line. The only place that catches AvatarError and sets the exit status.

Exit status: 0 success, 1 the command failed (one message on standard error), 2 wrong usage, 130 interrupted.
`AVATAR_DEBUG=1` shows the traceback of a failure.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import tyro

from avatar import __version__
from avatar.app.arguments import last_value_first
from avatar.app.commands.build import Capture, Create, Eval, Train
from avatar.app.commands.export import Export
from avatar.app.commands.live import Live
from avatar.app.commands.manage import Demo, Doctor
from avatar.app.commands.model import Model
from avatar.app.commands.reconstruct import Reconstruct
from avatar.app.commands.register import Register
from avatar.app.commands.show import Reanimate, Render
from avatar.app.commands.texture import Texture
from avatar.app.commands.transfer import Transfer
from avatar.app.commands.view import View
from avatar.base.errors import AvatarError
from avatar.base.files import output_error

Command = (
    Annotated[Create, tyro.conf.subcommand("create", prefix_name=False)]
    | Annotated[Capture, tyro.conf.subcommand("capture", prefix_name=False)]
    | Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
    | Annotated[Eval, tyro.conf.subcommand("eval", prefix_name=False)]
    | Annotated[Reanimate, tyro.conf.subcommand("reanimate", prefix_name=False)]
    | Annotated[Render, tyro.conf.subcommand("render", prefix_name=False)]
    | Annotated[Export, tyro.conf.subcommand("export", prefix_name=False)]
    | Annotated[View, tyro.conf.subcommand("view", prefix_name=False)]
    | Annotated[Live, tyro.conf.subcommand("live", prefix_name=False)]
    | Annotated[Register, tyro.conf.subcommand("register", prefix_name=False)]
    | Annotated[Reconstruct, tyro.conf.subcommand("reconstruct", prefix_name=False)]
    | Annotated[Transfer, tyro.conf.subcommand("transfer", prefix_name=False)]
    | Annotated[Model, tyro.conf.subcommand("model", prefix_name=False)]
    | Annotated[Texture, tyro.conf.subcommand("texture", prefix_name=False)]
    | Annotated[Doctor, tyro.conf.subcommand("doctor", prefix_name=False)]
    | Annotated[Demo, tyro.conf.subcommand("demo", prefix_name=False)]
)

NO_MEMORY = ("out of memory", "can't allocate", "cannot allocate", "not enough memory", "failed to allocate")
"""Words of PyTorch, CUDA and Warp for memory that could not be had."""
DESCRIPTION = """Turn a short video of a face into an avatar that can be driven and seen from around.

1. avatar create me.mp4 --out runs/me
2. avatar reanimate runs/me --driver you.mp4 --out out.mp4
3. avatar render runs/me --path orbit --expression smile --out orbit.mp4
4. avatar view runs/me
5. avatar live runs/me --source 0

Only make avatars of people who agreed to it. Every video is tagged as synthetic.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; `arguments` are the process's own by default."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = os.environ.get("AVATAR_DEBUG", "") not in ("", "0")
    if arguments in (["--version"], ["-V"]):
        print(f"avatar {__version__}")
        return 0
    try:
        command = parse(arguments or ["--help"])
    except SystemExit as stop:  # tyro prints help or the usage error itself
        return stop.code if isinstance(stop.code, int) else 2
    if not debug:
        quieten()
    # threads that wait asleep: spinning ones make every step several times slower as soon as another program computes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # NumPy's threads wait awake however they are told, and its matrices here are small
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        outcome = command.run()
    except KeyboardInterrupt:
        return fail("interrupted; give the same command again to go on (train: with --resume)", 130)
    except Exception as error:
        if debug:
            raise
        return fail(explained(error))
    print(outcome.text())
    return 0


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments spell. Exits through SystemExit on `--help` and wrong usage.

    Arguments that tyro cannot read are tried with the last value of an option of several as the positional argument.
    """
    others = list(last_value_first(arguments))
    for reading in [arguments, *others] if others else ():
        with suppress(SystemExit):
            return _read(reading, quiet=True)
    return _read(arguments)


def _read(arguments: Sequence[str], *, quiet: bool = False) -> Command:
    """The command by tyro, which with `quiet` says nothing of what is wrong."""
    return tyro.cli(
        Command,
        prog="avatar",
        description=DESCRIPTION,
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        console_outputs=not quiet,
    )


def explained(error: Exception) -> str:
    """What a user is told about a failure."""
    if isinstance(error, AvatarError):
        return str(error)
    if is_out_of_memory(error):
        return str(memory_error(error))
    if isinstance(error, OSError):
        return str(output_error(error, Path(error.filename or os.getcwd())))
    return (
        f"internal error: {type(error).__name__}: {error}\n"
        "  what to do: this is a fault of the program; AVATAR_DEBUG=1 shows where it happened"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether a failure is memory that could not be had: Python's, NumPy's, the system's, PyTorch's or Warp's."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in text for w in NO_MEMORY))


def memory_error(error: Exception) -> AvatarError:
    """What a user can do about memory that could not be had."""
    return AvatarError(
        "there is not enough memory",
        found=(str(error).splitlines() or ["a request that could not be met"])[0],
        fix="take a smaller --size or fewer frames (--max-frames, --frames, --start and --end), or close other "
        "programs; in a file of settings, smaller tables, networks, rays or render.chunk",
    )


def quieten() -> None:
    """Keep the chatter of the libraries (TensorFlow Lite, abseil, Python warnings) off a user's terminal."""
    for name, value in (("GLOG_minloglevel", "3"), ("TF_CPP_MIN_LOG_LEVEL", "3"), ("ABSL_MIN_LOG_LEVEL", "3")):
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")


def fail(message: str, status: int = 1) -> int:
    """Print one message to standard error and return the exit status."""
    print(f"avatar: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
