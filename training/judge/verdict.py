"""The judge's verdict on one picture: many views, their mean log-probability, and what colors rule out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training.judge.looks import TEXTS
from training.judge.network import VIEW, Judge

_SCALES = ((1.0, 1), (0.75, 2), (0.5, 3))
"""Sides of the views as shares of the shorter side, and how many of them fit along each axis."""


class Rule(NamedTuple):
    """A text's picture has this statistic between `low` and `high`, wherever that is beyond doubt."""

    text: str
    statistic: str
    low: float
    high: float


RULES = (
    Rule("a sketch with black pencil", "chroma", 0, 0.2),
    Rule("ink wash painting", "chroma", 0, 0.22),
    Rule("zebra stripes", "chroma", 0, 0.25),
    Rule("white wool", "chroma", 0, 0.25),
    Rule("stone wall", "chroma", 0, 0.35),
    Rule("a sketch with black pencil", "light", 0.4, 1),
    Rule("white wool", "light", 0.3, 1),
    Rule("neon light", "light", 0, 0.5),
    Rule("lava", "light", 0, 0.6),
    Rule("fire", "red over blue", 0.12, 1),
    Rule("lava", "red over blue", 0.08, 1),
    Rule("gold", "red over blue", 0.08, 1),
    Rule("wood", "red over blue", -0.02, 1),
    Rule("autumn leaves", "red over blue", 0.08, 1),
    Rule("desert sand", "red over blue", 0.05, 1),
    Rule("blueprint", "red over blue", -1, -0.1),
    Rule("starry night by vincent van gogh", "red over blue", -1, 0.08),
    Rule("green crystal", "green over red", 0.02, 1),
    Rule("fire", "green over red", -1, 0),
    Rule("lava", "green over red", -1, 0),
    Rule("autumn leaves", "green over red", -1, 0.05),
    Rule("stained glass", "chroma", 0.12, 1),
    Rule("pop art", "chroma", 0.15, 1),
)
_STRICTNESS = 20.0
"""Natural-log units lost for a statistic that lies 1.0 outside its range."""


def statistics(picture: Tensor) -> dict[str, float]:
    """Mean chroma, light and color differences of a picture (3, H, W) in [0, 1]."""
    red, green, blue = picture.mean(dim=(1, 2)).tolist()
    chroma = float((picture.amax(dim=0) - picture.amin(dim=0)).mean())
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return {"chroma": chroma, "light": light, "red over blue": red - blue, "green over red": green - red}


def ruled_out(picture: Tensor) -> Tensor:
    """How much each text loses by the rules, in natural-log units: (texts,), nowhere positive."""
    found, loss = statistics(picture), torch.zeros(len(TEXTS))
    for rule in RULES:
        value = found[rule.statistic]
        loss[TEXTS.index(rule.text)] -= _STRICTNESS * max(0.0, rule.low - value, value - rule.high)
    return loss


def views_of(picture: Tensor) -> Tensor:
    """Squares of three sizes that cover a picture (3, H, W): (N, 3, VIEW, VIEW)."""
    height, width = picture.shape[1:]
    cut = []
    for share, count in _SCALES:
        side = int(min(height, width) * share)
        for i in range(count):
            for j in range(count):
                top = round((height - side) * (i / (count - 1) if count > 1 else 0.5))
                left = round((width - side) * (j / (count - 1) if count > 1 else 0.5))
                square = picture[None, :, top : top + side, left : left + side]
                cut.append(F.interpolate(square, (VIEW, VIEW), mode="bilinear", antialias=True))
    return torch.cat(cut)


def verdict(judge: Judge, picture: Tensor) -> Tensor:
    """Log-probability of each text for a picture, float32 (3, H, W) in [0, 1]: (texts,)."""
    seen = judge(views_of(picture)).log_softmax(dim=1).clamp(min=-8).mean(dim=0)
    weighed: Tensor = seen + ruled_out(picture)
    return weighed.log_softmax(dim=0)
