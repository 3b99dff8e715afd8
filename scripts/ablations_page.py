"""The tables, the page and the picture of `reproduce_ablations.py`."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from avatar.app.demo_page import STYLE, escape, number
from avatar.base.errors import RunError
from avatar.base.files import read_json, write_text
from avatar.media.images import read_png

FULL = "cpu"
"""The full system, which the others are compared with."""
REAL = "real frame"
ENLARGED = 4
"""The mouth is shown so many times larger."""
GATE_TITLE = "gate: what changes while the jaw opens (its square root, to show faint leaks); outside the line: nothing"
SMALLEST_CELL = 150
"""Pixels: the longest name has to fit above a picture."""
GAP, LINE = 6, 22
"""Pixels of the PNG: between its pictures, and of a line of text."""


@dataclass(frozen=True)
class Column:
    """One figure of every variant in the tables."""

    title: str
    path: tuple[str, ...]
    """Keys that lead to it in a variant's entry of the JSON file."""
    digits: int = 2
    compared: bool = False
    """Show the difference to the full system, too."""


COLUMNS = (
    Column("steps", ("steps",), 0),
    Column("val PSNR", ("metrics", "val", "psnr")),
    Column("val face", ("metrics", "val", "face_psnr")),
    Column("val mouth", ("metrics", "val", "mouth_psnr"), compared=True),
    Column("val expression error", ("metrics", "val", "expression_error"), 4),
    Column("test face", ("metrics", "test", "face_psnr")),
    Column("test mouth", ("metrics", "test", "mouth_psnr"), compared=True),
    Column("view_15 face", ("metrics", "view_15", "face_psnr")),
    Column("expressions mouth", ("metrics", "expressions", "mouth_psnr"), compared=True),
    Column("gate outside", ("gate", "outside_mean"), 3),
)


@dataclass(frozen=True)
class Strip:
    """The same thing as every variant shows it."""

    title: str
    pictures: dict[str, list[np.ndarray]]
    """By the name of a variant: pictures from top to bottom, uint8 `[h, w, 3]`, sizes alike in all variants."""


def reference(variants: Any) -> str:
    """The variant that the others are compared with: the full system, or the first one where that is not there."""
    return FULL if FULL in variants else next(iter(variants))


def table(variants: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Titles, then a row per variant. A figure that no variant has is left out; one that some lack is a dash."""
    base = variants[reference(variants)]
    shown = [column for column in COLUMNS if any(look_up(row, column) is not None for row in variants.values())]
    rows = [["variant", *(column.title for column in shown)]]
    for name, row in variants.items():
        cells = [name]
        for column in shown:
            value, full = look_up(row, column), look_up(base, column)
            differs = column.compared and row is not base and value is not None and full is not None
            # adding 0.0 makes a rounded -0.0 positive
            difference = f" ({round(value - full, column.digits) + 0.0:+.{column.digits}f})" if differs else ""
            cells.append(number(value, column.digits) + difference)
        rows.append(cells)
    return rows


def look_up(row: dict[str, Any], column: Column) -> float | None:
    """A variant's figure, None where it has none."""
    value: Any = row
    for key in column.path:
        value = None if value is None else value.get(key)
    return value


def text_table(variants: dict[str, dict[str, Any]]) -> str:
    """The table for a terminal."""
    rows = table(variants)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line) for line in lines)


def strips(folders: dict[str, Path], gate_picture: str) -> list[Strip]:
    """The chosen held-out frames, whole and the enlarged mouth, and the gate. folders: run folder of each variant.

    Raises RunError where a variant was not evaluated on a frame that another one was.
    """
    first = folders[reference(folders)] / "eval"
    found = []
    for split, row, why in chosen_frames(first, reference(folders)):
        files = {REAL: first / split / "gt" / f"{row['name']}.png"}
        files |= {name: folder / "eval" / split / "pred" / f"{row['name']}.png" for name, folder in folders.items()}
        images = {name: read_png(path, RunError) for name, path in files.items()}
        pictures = {name: [image, enlarged(image, row["mouth_box"])] for name, image in images.items()}
        found.append(Strip(f"{split} {row['name']}: {why}", pictures))
    gates = {name: [read_png(folder / gate_picture, RunError)] for name, folder in folders.items()}
    found.append(Strip(GATE_TITLE, gates))
    return found


def chosen_frames(folder: Path, name: str) -> list[tuple[str, dict[str, Any], str]]:
    """Split, entry of frames.json and why it was chosen. folder: a run's eval folder, of the variant `name`.

    A frame in which the figure is missing, or the mouth outside the picture, is not chosen.
    """
    wanted = (
        ("val", "lips_real", max, "the widest mouth"),
        ("val", "lips_real", min, "the narrowest mouth"),
        ("test", "mouth_psnr", min, f"the lowest mouth PSNR of {name}"),
    )
    chosen = []
    for split, figure, choose, why in wanted:
        rows = read_json(folder / split / "frames.json", RunError)
        rows = [row for row in rows if row[figure] is not None and row["mouth_psnr"] is not None]
        if rows:
            chosen.append((split, choose(rows, key=lambda row: row[figure]), why))
    return chosen


def enlarged(image: np.ndarray, box: list[int]) -> np.ndarray:
    """The box x0, y0, x1, y1 (pixels, not empty) of a uint8 picture, `ENLARGED` times as large."""
    x0, y0, x1, y1 = box
    part = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
    return np.asarray(part.resize((ENLARGED * part.width, ENLARGED * part.height), Image.Resampling.LANCZOS))


def write_page(path: Path, result: dict[str, Any], shown: list[Strip]) -> Path:
    """Write the page, which loads nothing from elsewhere. result: the JSON file's content."""
    variants = result["variants"]
    titles, *rows = [[escape(cell) for cell in row] for row in table(variants)]
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    comments = "".join(f"<li><b>{escape(name)}</b>: {escape(row['comment'])}</li>\n" for name, row in variants.items())
    machine, versions = result["machine"], result["versions"]
    made = [f"commit {result['commit']}", result["date"], machine["cpu"], f"{machine['cpus']} cores", machine["system"]]
    made += [f"{name} {version}" for name, version in versions.items()]
    base = reference(variants)
    base += ", the full system" if base == FULL else ""
    minutes = f"{result['minutes']:g} minute{'' if result['minutes'] == 1 else 's'}"
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ablations</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>What each part is good for</h1>
<p class="soft">Every variant was trained for at most {minutes} on {escape(result["capture"])}, and measured on the same
frames, which no training saw. In brackets: the difference to {escape(base)}, in dB.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead>
<tbody>{body}</tbody></table></div>
<p class="soft" style="margin-top:12px">PSNR in dB: whole picture, inside the head's silhouette (face), around the
mouth. Expression error: distance of landmarks detected again in the real and the rendered frame, over the distance
between the eyes. Gate outside: mean change, of 255, of the pixels more than 8 px outside the head's silhouettes while
the jaw opens before a camera that stands still.</p>
<ul>
{comments}</ul>
{"".join(map(section, shown))}
<h2>The same by hand</h2>
<pre>{escape(result["command"])}</pre>
<footer>{escape(", ".join(made))}. All pictures but the real frames are synthetic: rendered avatars.</footer>
</main>
</body>
</html>
"""
    return write_text(path, page)


def section(strip: Strip) -> str:
    """A strip as HTML."""
    figures = ""
    for name, pictures in strip.pictures.items():
        alt = escape(f"{strip.title}, {name}")
        images = "".join(f'<img src="{data_uri(image)}" alt="{alt}">' for image in pictures)
        figures += f"<figure>{images}<figcaption><b>{escape(name)}</b></figcaption></figure>\n"
    return f'<h2>{escape(strip.title)}</h2>\n<div class="row">\n{figures}</div>\n'


def data_uri(image: np.ndarray) -> str:
    """A uint8 picture as a PNG that is part of the page."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def sheet(shown: list[Strip]) -> np.ndarray:
    """All strips below each other as one picture, uint8 `[H, W, 3]`, with the names of the variants above."""
    names = list(dict.fromkeys(name for strip in shown for name in strip.pictures))
    every = [image for strip in shown for pictures in strip.pictures.values() for image in pictures]
    cell = max(SMALLEST_CELL, *(image.shape[1] for image in every)) + GAP
    rows = []
    for strip in shown:
        above = [name if name in strip.pictures else "" for name in names]
        rows += [written([strip.title], cell * len(names)), written(above, cell)]
        for row in range(max(map(len, strip.pictures.values()))):
            images = [strip.pictures[name][row] if name in strip.pictures else None for name in names]
            height = max(image.shape[0] for image in images if image is not None) + GAP
            line = np.full((height, cell * len(names), 3), 255, np.uint8)
            for column, image in enumerate(images):
                if image is not None:
                    line[: image.shape[0], column * cell : column * cell + image.shape[1]] = image
            rows.append(line)
    return np.concatenate(rows)


def written(texts: list[str], width: int) -> np.ndarray:
    """A line of texts, each with `width` pixels of room, dark on white, uint8 `[LINE, width * len(texts), 3]`."""
    line = np.full((LINE, width * len(texts), 3), 255, np.uint8)
    for column, text in enumerate(texts):
        place = (column * width, LINE - 7)
        cv2.putText(line, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return line
