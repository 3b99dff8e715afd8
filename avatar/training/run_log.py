"""The run log: log.jsonl, TensorBoard curves and preview pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from avatar.avatar import Avatar
from avatar.base.files import output_error, write_text
from avatar.media.images import to_uint8, write_png
from avatar.training.prepare import TrainingData

LOG, CURVES, PREVIEWS = "log.jsonl", "tensorboard", "previews"
GREY = 128


class RunLog:
    """Writes a run's log, curves and previews; a context manager.

    On resuming at `step` the lines and curves of later steps, which training is about to repeat, are dropped.
    """

    def __init__(self, run: Path, step: int, training: TrainingData) -> None:
        self.run, self.training, self.path = Path(run), training, Path(run) / LOG
        kept = [line for line in self._lines() if line.get("step", 0) <= step] if step else []
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._purge_from = step + 1 if step else None
        self._writer: Any = None
        self.shown = preview_frames(training)

    def __enter__(self) -> RunLog:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.run / CURVES), purge_step=self._purge_from, flush_secs=30)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._writer.close()

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = []
        for text in self.path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:  # the last line of a run that was killed may be half a line
                continue
        return lines

    def log(self, step: int, seconds: float, losses: dict[str, float], **values: float) -> None:
        """Append a line and the curves' points."""
        line = {"step": step, "seconds": round(seconds, 2), "loss": sum(losses.values()), **losses, **values}
        try:
            with open(self.path, "a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise output_error(error, self.path) from error
        for name, value in {"total": line["loss"], **losses}.items():
            self._writer.add_scalar(f"loss/{name}", value, step)
        for name, value in {**values, "seconds": seconds}.items():
            self._writer.add_scalar(f"training/{name}", value, step)

    def preview(self, step: int, avatar: Avatar) -> Path:
        """Write previews/step_NNNNNN.png: for a few training frames the real picture, the rendered one and the
        silhouette, side by side."""
        rows = []
        for index in self.shown:
            shown = avatar.render_frame(avatar.identity.params.frame(index), self.training.frames.cameras[index])
            real = self.training.frames.images[index].cpu().numpy()
            mask = np.where(shown.mask.cpu().numpy()[..., None], real, np.uint8(GREY))
            rows.append(np.concatenate([real, to_uint8(shown.image.cpu().numpy()), mask], 1))
        picture = np.concatenate(rows, 0)
        self._writer.add_image("preview", picture, step, dataformats="HWC")
        return write_png(self.run / PREVIEWS / f"step_{step:06d}.png", picture)


def preview_frames(training: TrainingData) -> list[int]:
    """Two contrasting training frames: the one with the jaw widest open and the one nearest to the mean expression."""
    jaw = training.data.condition[:, -9:-6].norm(dim=-1)
    opened = training.identity.params.expr.norm(dim=-1)
    spread = training.data.condition - training.data.condition.mean(0)
    chosen = [int((jaw + 1e-3 * opened).argmax()), int(spread.norm(dim=-1).argmin())]
    return list(dict.fromkeys(chosen))
