"""What the evaluator does with its encoders: tasks in, values out. Only the evaluator's process imports this."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from clipstyler import imaging
from clipstyler.config import ConfigError
from clipstyler.encoders.inference import (
    Floats,
    InferenceEncoders,
    embed_sentences,
    image_of,
    sentences_of,
    text_direction,
    unit,
)
from clipstyler.evaluation import metrics
from clipstyler.evaluation.direction_cache import DirectionCache, DirectionStore, Found, template_version
from clipstyler.evaluation.quality import Quality
from clipstyler.imaging import Picture
from clipstyler_server.engine.evaluation import (
    Classify,
    DirectionFound,
    EncodeImages,
    EncoderFacts,
    EncodeTexts,
    EvaluatorOptions,
    FindDirection,
    Measure,
    Task,
)
from clipstyler_server.engine.opening import open_encoders

_ROWS = 64  # of one run of a tower


class Bench:
    """Open encoders and the cache of directions.

    Parameters
    ----------
    options
        What the process was told.

    Attributes
    ----------
    facts
        What the encoders are.

    Raises
    ------
    UnfitError
        Some encoders or the provider cannot be used here.
    """

    def __init__(self, options: EvaluatorOptions) -> None:
        opened = {name: open_encoders(name, options) for name in options.encoders}
        self._encoders: dict[str, InferenceEncoders] = {name: found.encoders for name, found in opened.items()}
        self.facts = tuple(_facts(name, found.encoders, found.skipped) for name, found in opened.items())
        self._facts = {facts.name: facts for facts in self.facts}
        self._directions = DirectionCache(options.direction_bytes, DirectionStore(options.cache / "directions"))

    def together(self, tasks: Sequence[Task]) -> list[Any]:
        """Carry out tasks, embeddings by the same encoders in common batches; one task's failure harms no other."""
        outcomes: list[Any] = [None] * len(tasks)
        groups: dict[tuple[type, str], list[int]] = defaultdict(list)
        for place, task in enumerate(tasks):
            if isinstance(task, EncodeTexts | EncodeImages):
                groups[type(task), task.encoders].append(place)
            else:
                outcomes[place] = _caught(partial(self._alone, task))
        for (_, name), places in groups.items():
            group: Any = [tasks[place] for place in places]
            made = _caught(partial(self._embed, self._encoders[name], group))
            for place, outcome in zip(places, made if isinstance(made, list) else [made] * len(places), strict=True):
                outcomes[place] = outcome
        return outcomes

    def _embed(
        self, encoders: InferenceEncoders, group: Sequence[EncodeTexts] | Sequence[EncodeImages]
    ) -> list[Floats]:
        sizes: list[int] = []
        rows: list[Any] = []
        for task in group:
            parts = task.texts if isinstance(task, EncodeTexts) else [_view(p, encoders) for p in task.pictures]
            sizes.append(len(parts))
            rows.extend(parts)
        if isinstance(group[0], EncodeTexts):
            made = _in_batches(encoders.encode_text, rows)
        else:
            made = _in_batches(lambda views: encoders.encode_image(np.concatenate(views)), rows)
        return np.split(unit(made), np.cumsum(sizes)[:-1])

    def _alone(self, task: FindDirection | Classify | Measure) -> DirectionFound | tuple[Any, ...] | Quality:
        encoders = self._encoders[task.encoders]
        match task:
            case FindDirection():
                found = self._direction(task.encoders, task.style_text, task.source_text)
                return DirectionFound(found.direction, found.origin, self._directions.stats)
            case Classify():
                return _classify(task, encoders)
            case Measure():
                direction = self._direction(task.encoders, task.style_text, task.source_text).direction
                stylized = imaging.decode(task.stylized) if isinstance(task.stylized, bytes) else task.stylized
                return metrics.evaluate(task.content, stylized, task.style_text, encoders, direction, task.seed)

    def _direction(self, name: str, style_text: str, source_text: str) -> Found:
        encoders = self._encoders[name]
        key = self._facts[name].direction_key(source_text, style_text)
        template_set = encoders.calibration.template_set
        return self._directions.get(
            key, partial(text_direction, encoders, key.style_text, key.source_text, template_set)
        )


def _classify(task: Classify, encoders: InferenceEncoders) -> tuple[tuple[str, float], ...]:
    """As `clipstyler.evaluation.zero_shot.classify`."""
    image = unit(encoders.encode_image(_view(task.picture, encoders)))[0]
    calibration = encoders.calibration
    texts = [
        embed_sentences(_in_batches(encoders.encode_text, sentences_of(label, calibration.template_set)))
        for label in task.labels
    ]
    logits = calibration.logit_scale * (np.stack(texts) @ image).astype(np.float64)
    shares = np.exp(logits - logits.max())
    ranked = sorted(zip(task.labels, (shares / shares.sum()).tolist(), strict=True), key=lambda pair: -pair[1])
    return tuple(ranked)


def _view(picture: Picture, encoders: InferenceEncoders) -> Floats:
    return encoders.views(image_of(picture.rgb))


def _in_batches(encode: Callable[[Sequence[Any]], Floats], rows: Sequence[Any]) -> Floats:
    return np.concatenate([encode(rows[i : i + _ROWS]) for i in range(0, len(rows), _ROWS)])


def _caught(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ConfigError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a task's failure must not end the process; the answer tells it
        return error


def _facts(name: str, encoders: InferenceEncoders, skipped: tuple[str, ...]) -> EncoderFacts:
    return EncoderFacts(
        name=name,
        digest=encoders.digest,
        dimension=encoders.embedding_dim,
        backend=encoders.backend,
        precision=encoders.precision,
        skipped=skipped,
        templates=template_version(encoders.calibration.template_set),
        source_text=encoders.calibration.source_text,
    )
