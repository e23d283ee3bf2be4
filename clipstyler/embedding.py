"""What a step waits for in its middle: CLIP, which can answer several steps in one batch, or all of it on a GPU.

No PyTorch here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from clipstyler.encoders.base import ClipEncoder


class Launched:
    """A step that the device completes by itself: others may start theirs before anybody waits for its end."""


@dataclass(eq=False)
class Embedding:
    """Views of one step that wait to be embedded: by `clipstyler.stylizer.embed_together`, else by the step itself.

    Attributes
    ----------
    clip
        Embeds them.
    views
        (N, 3, S, S).
    objective
        Maps their embeddings, unit rows (N, D), to what the step differentiates.
    gradient
        Of the objective to the views, (N, 3, S, S), once they were embedded with others; None before.
    """

    clip: ClipEncoder
    views: Tensor
    objective: Callable[[Tensor], Tensor]
    gradient: Tensor | None = None

    def release(self) -> None:
        """Let go of all tensors: what passed this on may keep it for a while."""
        del self.views, self.objective, self.gradient


Wait = Embedding | Launched
"""What a step yields in its middle."""
