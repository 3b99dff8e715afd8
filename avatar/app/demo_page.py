"""The demo's page of results: one HTML file beside its videos, readable from disk, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import platform
from pathlib import Path
from typing import Any

from avatar import __version__
from avatar.base.files import write_text
from avatar.base.progress import clock

STYLE = """
:root { --ink: #1d2329; --soft: #5d6873; --paper: #f6f5f2; --card: #ffffff; --line: #dfdcd5; --mark: #a5482d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e7e2; --soft: #a2a9b0; --paper: #16191c; --card: #1f2327; --line: #33393f; --mark: #e08a6c; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.02em; }
h2 { font-size: 1.2rem; margin: 48px 0 12px; }
p { margin: 0 0 12px; max-width: 70ch; }
.soft { color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 24px 0 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.figure b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: 0.85rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure video, figure img { display: block; width: 100%; height: auto; background: #000; }
figcaption { padding: 10px 14px; font-size: 0.9rem; }
figcaption b { display: block; }
figcaption span { color: var(--soft); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 9px 14px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 0.85rem; }
th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; overflow-x: auto;
  font: 0.85rem/1.6 ui-monospace, SFMono-Regular, Menlo, monospace; margin: 0; }
footer { margin-top: 48px; color: var(--soft); font-size: 0.85rem;
  border-top: 1px solid var(--line); padding-top: 16px; }
a { color: var(--mark); }
"""

METRICS = {
    "psnr": ("PSNR, dB", 1),
    "face_psnr": ("face, dB", 1),
    "mouth_psnr": ("mouth, dB", 1),
    "ssim": ("SSIM", 3),
    "lpips": ("LPIPS", 3),
    "expression_error": ("expression error", 4),
    "seconds_per_frame": ("seconds a frame", 2),
    "frames": ("frames", 0),
}


def write_page(
    folder: Path,
    *,
    metrics: dict[str, Any],
    report: dict[str, Any],
    stages: dict[str, float],
    commands: list[str],
    settings: dict[str, Any],
) -> Path:
    """Write `folder`/index.html. Links are relative, so that the folder can be moved or sent as a whole.

    metrics: metrics.json per split. report: the capture's report.json. stages: seconds per stage.
    """
    val = metrics.get("val", {})
    figures = [
        (number(val.get("psnr"), 1, " dB"), "held-out frames, whole picture"),
        (number(val.get("face_psnr"), 1, " dB"), "the face"),
        (number(val.get("mouth_psnr"), 1, " dB"), "the mouth"),
        (percent(report.get("landmark_error_iod")), "tracking error, of the distance between the eyes"),
        (clock(sum(stages.values())), "minutes for everything"),
    ]
    sheet = "avatar/capture/report/contact_sheet.png"
    body = f"""<main>
<h1>A clip becomes an avatar</h1>
<p class="soft">Both people are invented: painted and rendered by a procedure, so that anyone may look at them. The path
is the one a phone video takes: the tracker sees nothing but the clip.</p>
<div class="figures">{"".join(figure(big, small) for big, small in figures)}</div>

<h2>Reanimation</h2>
<p>The driver's expressions, tracked from the driver's video, on the avatar of the first person. Head motion follows
within the range that the clip showed.</p>
<div class="row">
{video("clip.mp4", "The clip", "what the avatar was made from")}
{video("driver.mp4", "The driver", "another person, another room")}
{video("reanimated.mp4", "The avatar, driven", "rendered, tagged as synthetic")}
</div>

<h2>New expressions from around</h2>
<p>A smile, an open mouth, surprise and closed eyes, none of them taken from a frame of the clip, while the camera
swings to both sides.</p>
<div class="row">
{video("orbit.mp4", "Orbit with swept expressions", "rendered, tagged as synthetic")}
{video("avatar/capture/report/overlay.mp4", "What the tracker saw", "the posed head over the clip")}
</div>

<h2>Frames it never saw</h2>
<p>Above the real frame, below the rendered one. Every tenth frame and the last tenth of the clip were kept from the
training.</p>
<figure>{picture("avatar/previews/held_out.png", "Real held-out frames above, rendered ones below")}</figure>
<h2>Contact sheet of the capture</h2>
<figure>{picture(sheet, "Frames of the clip with the tracked head")}</figure>

<h2>Numbers</h2>
<div class="scroll">{metrics_table(metrics)}</div>
<p class="soft" style="margin-top:12px">Computed on the 8-bit pictures in <code>avatar/eval</code>, so anyone can
compute them again. Face: inside the head model's silhouette. Mouth: its region, wider by a quarter. Expression error:
distance of landmarks detected again in the real and the rendered frame, over the distance between the eyes.</p>

<h2>Time</h2>
<div class="scroll">{stages_table(stages)}</div>

<h2>The same by hand</h2>
<pre>{escape(chr(10).join(commands))}</pre>
<footer>avatar {__version__}, Python {platform.python_version()}, {escape(platform.machine())},
{escape(described(settings))}. Only make avatars of people who agreed to it.</footer>
</main>"""
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>avatar demo</title>
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
    return write_text(folder / "index.html", page)


def figure(big: str, small: str) -> str:
    """One number with what it is."""
    return f'<div class="figure"><b>{escape(big)}</b><span>{escape(small)}</span></div>'


def video(source: str, title: str, caption: str) -> str:
    """A looping silent video with a caption; `source` relative to the page."""
    return (
        f'<figure><video src="{escape(source)}" controls loop muted autoplay playsinline></video>'
        f"<figcaption><b>{escape(title)}</b><span>{escape(caption)}</span></figcaption></figure>"
    )


def picture(source: str, alt: str) -> str:
    return f'<img src="{escape(source)}" alt="{escape(alt)}">'


def metrics_table(metrics: dict[str, Any]) -> str:
    """One row per split; a metric that no split has is left out, a missing value is a dash."""
    splits = {name: values for name, values in metrics.items() if isinstance(values, dict) and "frames" in values}
    shown = [key for key in METRICS if any(isinstance(v.get(key), (int, float)) for v in splits.values())]
    head = "".join(f"<th>{escape(METRICS[key][0])}</th>" for key in shown)
    rows = ""
    for name, values in splits.items():
        cells = "".join(f"<td>{number(values.get(key), METRICS[key][1])}</td>" for key in shown)
        rows += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    return f"<table><thead><tr><th>split</th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def stages_table(stages: dict[str, float]) -> str:
    total = sum(stages.values())
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{clock(seconds)}</td></tr>" for name, seconds in stages.items())
    return (
        "<table><thead><tr><th>stage</th><th>minutes</th></tr></thead>"
        f"<tbody>{rows}<tr><td><b>together</b></td><td><b>{clock(total)}</b></td></tr></tbody></table>"
    )


def number(value: Any, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if isinstance(value, (int, float)) else "–"


def percent(value: Any) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, (int, float)) else "–"


def described(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())


def escape(text: str) -> str:
    return html.escape(str(text))
