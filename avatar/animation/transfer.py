"""Transfer of a driver's expressions: relative to the driver's own neutral face, by region, within soft limits.

Two faces at rest are tracked with different coefficients: one person's mouth corners hang, another's lids are half
shut. What counts is the change from a person's own neutral (Deng and Noh 2007, "Computer facial animation: a survey",
section on performance retargeting). A lid's way from there to shut is mapped onto the avatar's, so that a blink closes
both; the gap between the lips is carried over as such.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.animation.expressions import jaw_open_angle, jaw_share_of
from avatar.animation.face_gaps import FaceGauge, GapRange, LipMatch
from avatar.animation.options import Retarget
from avatar.base.errors import ConfigError
from avatar.base.limits import GAIN
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters

REGIONS = ("brows", "eyes", "gaze", "cheeks", "jaw", "mouth", "head")
"""What a gain can be given for, besides `all`."""
PREFIXES = {
    "brow": "brows",
    "eyeLook": "gaze",
    "eye": "eyes",
    "cheek": "cheeks",
    "nose": "cheeks",
    "jaw": "jaw",
    "mouth": "mouth",
    "tongue": "mouth",
}
"""Beginnings of the names of actions and their regions, the more special first."""
CALM_SHARE = 0.1
"""Share of the frames, the calmest ones, whose median is a person's neutral."""
OWN_FPS = 25.0
"""Rate at which an avatar's clip is looked at for its neutral, which is found by its calm and not by the clock."""
AROUND = 0.1
"""Seconds around a given moment from which the neutral is taken."""
BOUND, SLACK = 1.0, 0.15
"""Actions beyond the first bend softly towards the sum of both."""
CLOSED_SHARE = 0.15
"""Share of the frames, those with the smallest gap between the lips, among which the calmest are looked for: somebody
who talks all the time is calmest with the mouth open."""
LEAST_SPAN = 0.2
"""Of a lid between neutral and shut; a person whose lids are nearly shut at rest is not stretched any further."""
OPENING = 0.42
"""Widest opening of the jaw's joint in radians; more bends softly towards a seventh beyond."""
FREELY, BEYOND = 1.15, 1.4
"""Times the training clip's widest opening up to which a mouth opens as the driver's, and towards which it bends from
there. At about twice as far the field, which never saw the inside of the mouth, shows a torn lip or two tongues."""
LEAST_OPENING = 0.3
"""Share of a wide open mouth that counts as seen, however shut the mouth was in the training clip."""
MOVES = 0.01
"""Share of a wide open mouth below which a clip's mouth does not move at all: a photograph says nothing of a range."""
GAZE, GAZE_SLACK = 0.5, 0.15
"""Radians by which an eye may turn about an axis; more bends softly towards the sum. Beyond it the iris is gone."""
OPEN_LIDS = 0.4
"""Quantile of a lid's closing that is its neutral: eyes are open most of the time, also where a blink falls into the
calmest frames."""
SHUT = 0.8
"""Closing from which on a lid's strongest one in a clip is taken for shut."""
SHUT_GAP = 0.4
"""Share of its usual gap below which a tracked lid is shut, whatever its closing says: small faces are tracked with 0.6
and the rest in other actions. The detector's own landmarks of shut lids are a fifth of their usual gap apart."""


@dataclass
class Neutral:
    """A face at rest."""

    expr: Tensor
    """`[E]`."""
    jaw: Tensor
    """`[3]` radians."""
    eyes: Tensor
    """`[6]` radians."""

    def on(self, identity: HeadParameters) -> HeadParameters:
        """The face at rest (N = 1) of a person, of whom `identity` is a frame or more."""
        return dataclasses.replace(identity.select([0]), expr=self.expr[None], jaw=self.jaw[None], eyes=self.eyes[None])


def parse_gains(text: str) -> dict[str, float]:
    """`"all=1.2,mouth=0.8"` as a gain for each of REGIONS; 1 where nothing is said.

    Raises ConfigError for a part that cannot be read, an unknown region or a gain out of range.
    """
    given: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        try:
            gain = float(value) if equals else float("nan")
        except ValueError:
            gain = float("nan")
        if name not in ("all", *REGIONS) or gain != gain:
            known = ("all", *REGIONS)
            close = [] if name in known else difflib.get_close_matches(name.lower(), known, n=1)
            raise ConfigError(
                "--gain cannot be read",
                expected=f"REGION=GAIN of {', '.join(known)}, joined by commas",
                found=part,
                fix=f"did you mean {close[0]}?" if close else None,
            )
        GAIN.require("--gain", gain)
        given[name] = gain
    return {region: given.get(region, given.get("all", 1.0)) for region in REGIONS}


def region_of(action: str) -> str:
    """The region of a named action; `mouth` for an action that is numbered only, as FLAME's are."""
    return next((region for start, region in PREFIXES.items() if action.startswith(start)), "mouth")


def neutral_of(
    params: HeadParameters,
    asset: HeadAsset,
    gauge: FaceGauge | None,
    fps: float,
    moment: float | None = None,
    share: float = CALM_SHARE,
) -> Neutral:
    """The face at rest of a clip: the median of the calmest `share` of it, or of the frames around `moment` (seconds).

    gauge: tells where the lips are closest together; the calmest are looked for there.

    Raises ConfigError for a moment outside the clip.
    """
    count = len(params)
    if moment is not None:
        middle = round(moment * fps)
        if not 0 <= middle < count:
            raise ConfigError(
                "--neutral is outside the driver", expected=f"0 to {(count - 1) / fps:.2f} s", found=moment
            )
        reach = max(1, round(AROUND * fps))
        chosen = torch.arange(max(0, middle - reach), min(count, middle + reach + 1))
    else:
        counted = [i for i, name in enumerate(asset.expression_names) if region_of(name) not in ("gaze", "eyes")]
        opening = params.jaw[:, 0].abs() / jaw_open_angle(asset)
        activity = params.expr[:, counted].abs().sum(-1) + opening
        if gauge is not None and count > 1:
            gaps = gauge.lips(params)
            activity = activity.masked_fill(gaps > torch.quantile(gaps, max(CLOSED_SHARE, share)), torch.inf)
        chosen = activity.argsort(stable=True)[: max(1, round(share * count))]
    expr, eyes = params.expr[chosen].median(0).values, params.eyes[chosen].median(0).values
    if moment is None:
        lids, eyes = lids_of(asset), params.eyes.median(0).values
        expr[lids] = torch.quantile(params.expr[:, lids], OPEN_LIDS, dim=0)
    return Neutral(expr, params.jaw[chosen].median(0).values, eyes)


def gauge_of(asset: HeadAsset, device: torch.device | str = "cpu") -> FaceGauge | None:
    """What measures the gap between the lips; None for a head without landmarks."""
    return FaceGauge(asset, device) if asset.has_landmarks else None


def lids_of(asset: HeadAsset) -> list[int]:
    """Indices of the actions that close a lid; none for a head that only numbers its directions."""
    return [i for i, name in enumerate(asset.expression_names) if name.startswith("eyeBlink")]


def shut_lids(params: HeadParameters, asset: HeadAsset, gauge: FaceGauge | None = None) -> Tensor:
    """`[lids]`: the closing at which each lid of a clip is shut. 1 where it never comes near that.

    gauge: tells shut lids by the gap between them as well.
    """
    usual = None if gauge is None else gauge.lids(params).median(0).values
    return taken_for_shut(strongest_shut(params, asset, gauge, usual))


def strongest_shut(
    params: HeadParameters, asset: HeadAsset, gauge: FaceGauge | None = None, usual: Tensor | None = None
) -> Tensor:
    """`[lids]`: the strongest closing of each lid in those of N frames in which it is shut; -inf where in none.

    usual: `[2]` gaps between open lids, for `gauge` to tell shut ones.
    """
    closing = params.expr[:, lids_of(asset)]
    is_shut = closing >= SHUT
    may_be = is_shut.shape[1] == 2 and bool((closing > LEAST_SPAN).any())
    if may_be and gauge is not None and usual is not None:
        is_shut = is_shut | (gauge.lids(params) < SHUT_GAP * usual)
    return torch.where(is_shut, closing, -torch.inf).amax(0)


def taken_for_shut(strongest: Tensor) -> Tensor:
    """`[lids]`: the closing at which a lid is shut, from the strongest one that was seen, if any was."""
    return torch.where(strongest > LEAST_SPAN, strongest.clamp_max(BOUND), torch.ones_like(strongest))


def transfer_expression(
    avatar: HeadParameters,
    driver: HeadParameters,
    asset: HeadAsset,
    settings: Retarget,
    *,
    gauge: FaceGauge | None,
    relative: bool,
    fps: float,
    gaps: Tensor | None = None,
) -> HeadParameters:
    """The driver's N frames with expression, jaw and eyes meant for the avatar.

    avatar: parameters of the training clip. gauge: as `gauge_of` the head. relative: as `Retarget.transfer`, decided.
    fps: the driver's rate. gaps: `[N]` between the driver's lips, where they are known better than from `driver`.
    Raises ConfigError as `parse_gains` and `neutral_of`.
    """
    gains = parse_gains(settings.gain)
    lips = None
    shut = shut_lids(driver, asset, gauge)
    if not relative:
        return moved_expression(driver, avatar, asset, gains, shut=shut)
    theirs, own = neutral_of(driver, asset, gauge, fps, settings.neutral), neutral_of(avatar, asset, gauge, OWN_FPS)
    if gauge is not None:
        gaps = gauge.lips(driver) if gaps is None else gaps
        lips = LipMatch(
            gauge,
            GapRange.of(gaps, float(gauge.lips(theirs.on(driver)))),
            gauge.lip_range(avatar, own.on(avatar)),
        )
    return moved_expression(driver, avatar, asset, gains, own=own, theirs=theirs, shut=shut, lips=lips, gaps=gaps)


def moved_expression(
    driver: HeadParameters,
    avatar: HeadParameters,
    asset: HeadAsset,
    gains: Mapping[str, float],
    *,
    own: Neutral | None = None,
    theirs: Neutral | None = None,
    shut: Tensor | None = None,
    lips: LipMatch | None = None,
    gaps: Tensor | None = None,
) -> HeadParameters:
    """The driver's N frames with what changes from the face `theirs` at rest put on the face `own`; without both, as
    they are. What an avatar cannot show is bent to what it can.

    avatar: parameters of the training clip. gains: of each of REGIONS. shut: `[lids]` closing at which the driver's
    lids are shut, 1 where it is None. lips: carries over the gaps `[N]` between the driver's lips, where given.
    """
    bounded = not asset.expression_names[0].startswith("expression_")
    expr, jaw, eyes = driver.expr, driver.jaw, driver.eyes
    zero = Neutral(torch.zeros_like(expr[0]), torch.zeros_like(jaw[0]), torch.zeros_like(eyes[0]))
    relative = own is not None and theirs is not None
    own, theirs = own or zero, theirs or zero
    gain = expr.new_tensor([gains[region_of(name)] for name in asset.expression_names])
    change = expr - theirs.expr
    if relative and bounded:
        lids = lids_of(asset)
        own_span = shut_lids(avatar, asset) - own.expr[lids]
        span = (1.0 if shut is None else shut) - theirs.expr[lids]
        change[:, lids] *= own_span / span.clamp_min(LEAST_SPAN)
    expr = own.expr + gain * change
    jaw = own.jaw + gains["jaw"] * (jaw - theirs.jaw)
    eyes = own.eyes + gains["gaze"] * (eyes - theirs.eyes)
    if bounded:
        expr = bent(expr, BOUND, SLACK)
    if lips is not None and gaps is not None:
        jaw = lips.jaw(dataclasses.replace(driver, expr=expr, jaw=jaw), avatar, gaps, gains["jaw"])
    expr, jaw = within_opening(expr, jaw, avatar, asset)
    jaw = torch.cat([bent(jaw[:, :1], OPENING, OPENING / 7), jaw[:, 1:]], 1)
    turned = max(GAZE, float(avatar.eyes.abs().max()))
    eyes = eyes.sign() * bent(eyes.abs(), turned, GAZE_SLACK)
    return dataclasses.replace(driver, expr=expr, jaw=jaw, eyes=eyes)


def within_opening(expr: Tensor, jaw: Tensor, avatar: HeadParameters, asset: HeadAsset) -> tuple[Tensor, Tensor]:
    """Expressions `[N, E]` and jaws `[N, 3]` whose mouths open little further than in the avatar's training clip.

    The opening is that of jaw joint and direction `jawOpen` together. Up to FREELY times the clip's widest one nothing
    changes; beyond, it bends softly and goes over to the clip's own proportion of the two, the only one that the field
    knows.
    """
    angle = jaw_open_angle(asset)
    place = asset.expression_names.index("jawOpen") if "jawOpen" in asset.expression_names else None

    def opening(of: Tensor, joint: Tensor) -> Tensor:
        return joint[:, 0] / angle + (0.0 if place is None else of[:, place])

    seen = opening(avatar.expr, avatar.jaw)
    widest, asked = max(LEAST_OPENING, float(seen.max())), opening(expr, jaw)
    beyond = asked > FREELY * widest
    if float(seen.max() - seen.min()) < MOVES or not bool(beyond.any()):
        return expr, jaw
    given = bent(asked[beyond], FREELY * widest, (BEYOND - FREELY) * widest)
    joint = jaw[beyond, 0] / angle
    own = torch.full_like(joint, jaw_share_of(avatar, asset))
    share = torch.lerp(joint / asked[beyond], own, (asked[beyond] / widest - FREELY).clamp(0, 1))
    expr, jaw = expr.clone(), jaw.clone()
    jaw[beyond, 0] = share * given * angle
    if place is not None:
        expr[beyond, place] = (1 - share) * given
    return expr, jaw


def bent(values: Tensor, bound: float, slack: float) -> Tensor:
    """Values that bend softly from `bound` on towards `bound + slack`; on the negative side the slack alone counts."""
    above = (values - bound).clamp_min(0)
    below = (-values).clamp_min(0)
    kept = values.clamp(0, bound)
    return kept + slack * torch.tanh(above / slack) - slack * torch.tanh(below / slack)
