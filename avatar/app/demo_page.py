"""The demo's page of results: one HTML file beside its videos, readable from disk, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from avatar import __version__
from avatar.base.files import write_text
from avatar.base.progress import clock
from capture_tools.report.face_curves import FaceCurves, correlation

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
figure iframe { display: block; width: 100%; aspect-ratio: 1; border: 0; }
.table { touch-action: pan-y; cursor: grab; }
.table img { -webkit-user-drag: none; user-select: none; pointer-events: none; }
.curves { margin-top: 16px; }
.curves svg { display: block; width: 100%; height: 120px; }
.curves path { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
.driver { stroke: var(--soft); color: var(--soft); }
.driven { stroke: var(--mark); color: var(--mark); }
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

NEXT = """avatar create me.mp4 --out runs/me                              # track, train, score
avatar view runs/me                                             # look at it in the browser
avatar reanimate runs/me --driver other.mp4 --out driven.mp4    # another clip moves it
avatar export runs/me --format glb --out me.glb                 # for Blender, three.js and others"""

DRAG = """
for (const table of document.querySelectorAll("[data-pictures]")) {
  const names = JSON.parse(table.dataset.pictures), image = table.querySelector("img");
  const pictures = names.map(name => Object.assign(new Image(), {src: name}));
  let at = 0, from = null;
  const show = index => {
    at = ((index % names.length) + names.length) % names.length;
    image.src = pictures[at].src;
    table.setAttribute("aria-valuenow", at);
  };
  table.addEventListener("pointerdown", event => {
    from = {x: event.clientX, at};
    table.setPointerCapture(event.pointerId);
  });
  table.addEventListener("pointermove", event => {
    if (from) show(from.at + Math.round((event.clientX - from.x) / table.clientWidth * names.length));
  });
  for (const end of ["pointerup", "pointercancel"]) table.addEventListener(end, () => { from = null; });
  table.addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step) { event.preventDefault(); show(at + step); }
  });
}
"""
"""Pictures that turn under the pointer and the arrow keys."""

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
    lips: tuple[FaceCurves, FaceCurves],
    turntable: list[str],
    settings: dict[str, Any],
) -> Path:
    """Write `folder`/index.html. Links are relative, so that the folder can be moved or sent as a whole.

    metrics: metrics.json per split. report: the capture's report.json. stages: seconds per stage. lips: curves of the
    driver and of the avatar at the same moments. turntable: pictures from around, relative to `folder`, beside which
    head.html and head.glb lie.
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
{lip_curves(*lips)}

<h2>New expressions from around</h2>
<p>A smile, an open mouth, surprise and closed eyes, none of them taken from a frame of the clip, while the camera
swings to both sides.</p>
<div class="row">
{video("orbit.mp4", "Orbit with swept expressions", "rendered, tagged as synthetic")}
{video("avatar/capture/report/overlay.mp4", "What the tracker saw", "the posed head over the clip")}
</div>

<h2>Turn it yourself</h2>
<p>Left, rendered pictures from around: drag to turn. Right, the head model with the person's texture, as
<a href="head.glb">head.glb</a> has it for other programs: drag, play the clip, move its expressions
(<a href="head.html">on a page of its own</a>).</p>
<div class="row">
{turntable_figure(turntable)}
<figure><iframe src="head.html" title="The head with its expressions" loading="lazy"></iframe>
<figcaption><b>The exported head</b><span>three.js, from disk, tagged as synthetic</span></figcaption></figure>
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

<h2>Now your own</h2>
<p>Film one face for 10 to 60 seconds: the phone on a stand, even light, the head turned slowly to both sides, some
talking, a wide mouth, a blink. Then:</p>
<pre>{escape(NEXT)}</pre>
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
<script>{DRAG}</script>
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


def turntable_figure(pictures: list[str]) -> str:
    """Pictures from around, turned by dragging or by the arrow keys; the first is the captured view."""
    names, last = escape(json.dumps(pictures)), max(0, len(pictures) - 1)
    first = picture(pictures[0], "The avatar, seen from around") if pictures else ""
    return (
        f'<figure><div class="table" data-pictures="{names}" tabindex="0" role="slider" aria-label="View" '
        f'aria-valuemin="0" aria-valuemax="{last}" aria-valuenow="0">{first}</div>'
        "<figcaption><b>The avatar from around</b><span>drag, or use the arrow keys</span></figcaption></figure>"
    )


def lip_curves(driver: FaceCurves, driven: FaceCurves) -> str:
    """The distance between the lips in driver and driven avatar over the same N moments, with their correlation."""
    both = np.concatenate([driver.lips, driven.lips])
    known = both[np.isfinite(both)]
    if len(known) == 0:
        return ""
    low, span = float(known.min()), max(float(np.ptp(known)), 1e-6)
    lines = "".join(
        f'<path class="{name}" d="{svg_path(curve.times, (curve.lips - low) / span)}"/>'
        for name, curve in (("driver", driver), ("driven", driven))
    )
    follows = correlation(driver.lips, driven.lips)
    said = "" if np.isnan(follows) else f", correlation {follows:.2f}"
    return (
        '<figure class="curves"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Lip distance over time">{lines}</svg>'
        "<figcaption><b>Distance between the lips</b><span>over time, detected again in both videos: "
        f'<span class="driver">driver</span> and <span class="driven">avatar</span>{said}</span></figcaption></figure>'
    )


def svg_path(times: np.ndarray, heights: np.ndarray) -> str:
    """A line through points (time `[N]`, height `[N]` in [0, 1]) in a box of 100 x 100, broken where one is NaN."""
    span = max(float(np.ptp(times)), 1e-6) if len(times) else 1.0
    parts, drawing = [], False
    for time, height in zip(times, heights, strict=True):
        if not np.isfinite(height):
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{100 * (time - times[0]) / span:.2f} {96 - 92 * height:.2f}")
        drawing = True
    return "".join(parts)


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
