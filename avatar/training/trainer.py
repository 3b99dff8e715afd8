"""Training: one loop, from a capture folder to a run folder.

Everything that varies (learning rates, the coarse-to-fine window) follows one number: the share of the steps, or of the
time budget, that is done. What a step does is in `avatar.training.step`.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from avatar.base.errors import OutputError, RunError
from avatar.base.files import refuse_links
from avatar.base.progress import Progress
from avatar.config import Config, write_config
from avatar.data.capture import read_capture
from avatar.data.capture_reference import open_run_capture, write_capture_reference
from avatar.data.checkpoint import TrainingState, restore, save_checkpoint
from avatar.data.checkpoint_files import FOLDER, has_checkpoint
from avatar.flame.library import load_head
from avatar.kernels.runtime.backends import resolve_all
from avatar.kernels.runtime.device import pick_device
from avatar.training.optimizer import optimizer_tensors, restore_optimizer
from avatar.training.prepare import load_training_data, make_avatar
from avatar.training.run_log import CURVES, LOG, PREVIEWS, RunLog
from avatar.training.schedule import Schedule
from avatar.training.step import TrainState, train_step

PREVIEW_PAUSE = 9.0
"""After a preview, training goes on for so many times as long as the preview took: a tenth of the time goes to them."""


def train(
    capture_folder: Path,
    run: Path,
    config: Config,
    *,
    resume: bool = False,
    minutes: float | None = None,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Train an avatar on a capture folder and leave it in the run folder.

    `minutes` overrides the settings' time budget (which counts the preparation too). With `resume` training goes on
    from the newest checkpoint that can be read.
    Raises CaptureError, HeadModelError or RunError where capture and run do not fit, OutputError where the run is
    trained already and `resume` is not asked for, a link stands in it or the disk is full, TrainingError where a value
    stops being finite.
    """
    run, capture_folder = Path(run), Path(capture_folder)
    refuse_links(run, FOLDER, LOG, CURVES, PREVIEWS)
    if has_checkpoint(run) and not resume:
        raise OutputError("the run has been trained already", where=run, fix="add --resume, or choose another --out")
    if minutes is not None:
        config = replace(config, training=replace(config.training, minutes=float(minutes)))
    settings = config.training
    schedule = Schedule(settings.steps, settings.minutes, settings.final_rate, settings.warmup)
    target = pick_device(device)
    resolve_all(config.backends, target)  # what is missing is said before any work is done

    if resume:
        avatar, state = restore(run, target, config=config)
        capture = open_run_capture(run, expect_head=avatar.asset)
        training = load_training_data(capture, avatar.asset, config, target)
        if len(training.frames) != len(avatar.identity.params):
            raise RunError(
                "the capture has other training frames than the run was trained on",
                where=run,
                expected=len(avatar.identity.params),
                found=len(training.frames),
            )
        schedule = Schedule(settings.steps, settings.minutes, settings.final_rate, settings.warmup, state.elapsed)
    else:
        capture = read_capture(capture_folder)
        asset = load_head(capture.head_name)
        capture = read_capture(capture_folder, expect_head=asset)
        training = load_training_data(capture, asset, config, target)
        avatar = make_avatar(config, training)
        avatar.progress = 0.0
        state = TrainingState(0, 0.0, {})
        write_capture_reference(run, capture)
    write_config(run / "config.yaml", config)

    learning = TrainState.make(avatar, training)
    if resume:
        restore_optimizer(learning.optimizer, avatar.scene, state.tensors)
        learning.sampler.set_state(with_prefix(state.tensors, "sampler."))
        learning.generator.set_state(state.tensors["generator"])

    step = state.step
    saved_at = schedule.seconds()
    preview_due = saved_at + settings.preview_interval
    run_log = RunLog(run, step, training)
    began, first = schedule.seconds(), step
    with (
        run_log,
        Progress("train", settings.steps, unit="step", start=step, **({} if progress else {"stream": _Quiet()})) as bar,
    ):
        while not schedule.finished(step):
            progress_now = schedule.progress(step)
            factor = schedule.rate_factor(step, progress_now)
            terms, sample_count = train_step(learning, step, progress_now, factor, run)
            step += 1

            seconds = schedule.seconds()
            values = {name: float(value.detach()) for name, value in terms.items()}
            if step % settings.log_interval == 0 or step == 1:
                run_log.log(step, seconds, values, learning_rate=factor, samples_per_ray=sample_count / settings.rays)
            left = schedule.seconds_left(step, (step - first) / max(seconds - began, 1e-9))
            bar.update(step, note=f"loss {sum(values.values()):.4f}", seconds_left=left)
            if seconds >= preview_due:
                run_log.preview(step, avatar)
                shown_at = schedule.seconds()
                preview_due = shown_at + max(settings.preview_interval, PREVIEW_PAUSE * (shown_at - seconds))
            due = settings.checkpoint_steps and step % settings.checkpoint_steps == 0
            if due or seconds - saved_at >= settings.checkpoint_interval:
                save(run, learning, step, schedule)
                saved_at = schedule.seconds()

        avatar.progress = schedule.progress(step)
        save(run, learning, step, schedule)
        run_log.preview(step, avatar)


def save(run: Path, state: TrainState, step: int, schedule: Schedule) -> None:
    """Write a checkpoint from which training goes on exactly."""
    tensors = optimizer_tensors(state.optimizer, state.avatar.scene)
    tensors |= {f"sampler.{name}": value for name, value in state.sampler.get_state().items()}
    tensors["generator"] = state.generator.get_state()
    saved = TrainingState(step, schedule.seconds(), tensors)
    save_checkpoint(run, state.avatar, saved, state.avatar.config.training.keep_checkpoints)


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class _Quiet(io.StringIO):
    """A stream that shows nothing."""

    def write(self, text: str) -> int:
        return len(text)
