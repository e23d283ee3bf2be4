"""Runs the tasks of the evaluator on its encoders. Only the evaluator process imports this."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from clipstyler.config import TemplateSet
from clipstyler.encoders.inference import InferenceEncoders, in_batches, l2_normalize
from clipstyler.evaluation import metrics, zero_shot
from clipstyler.evaluation.direction_cache import (
    DirectionCache,
    DirectionStore,
    Found,
    guidance_of,
    template_version,
)
from clipstyler.evaluation.quality import QualityReport
from clipstyler.evaluation.text_length import ignored_parts
from clipstyler.options import ConfigError, Violation
from clipstyler.prompts import shortened
from clipstyler_server.workers.evaluator.loading import load_encoders
from clipstyler_server.workers.evaluator.messages import (
    Classify,
    DirectionFound,
    EncodeImages,
    EncoderFacts,
    EncodeTexts,
    EvaluatorOptions,
    FindDirection,
    Floats,
    Measure,
    Task,
)


class TaskRunner:
    """Loaded encoders and the cache of text directions.

    Parameters
    ----------
    options
        Of the process.

    Attributes
    ----------
    facts
        What the encoder sets are.
    proven
        Exports that agree with PyTorch, by encoder set.

    Raises
    ------
    StartupError
        An encoder set or the provider cannot be used here.
    """

    def __init__(self, options: EvaluatorOptions) -> None:
        loaded = {name: load_encoders(name, options) for name in options.encoder_sets}
        self._encoders: dict[str, InferenceEncoders] = {name: found.encoders for name, found in loaded.items()}
        self.proven = {name: found.export for name, found in loaded.items() if found.export}
        self.facts = tuple(_facts(name, found.encoders, found.skipped) for name, found in loaded.items())
        self._facts = {facts.name: facts for facts in self.facts}
        self._directions = DirectionCache(options.direction_bytes, DirectionStore(options.cache / "directions"))

    def run_batch(self, tasks: Sequence[Task]) -> list[Any]:
        """Run tasks, embeddings by the same encoders in common batches; one task's failure affects no other."""
        outcomes: list[Any] = [None] * len(tasks)
        groups: dict[tuple[type, str], list[int]] = defaultdict(list)
        for place, task in enumerate(tasks):
            if isinstance(task, EncodeTexts) and (cut := self._cut_texts(task)):
                outcomes[place] = cut
            elif isinstance(task, EncodeTexts | EncodeImages):
                groups[type(task), task.encoder_set].append(place)
            else:
                outcomes[place] = _caught(partial(self._run_one, task))
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
            parts = task.texts if isinstance(task, EncodeTexts) else task.views
            sizes.append(len(parts))
            rows.extend(parts)
        if isinstance(group[0], EncodeTexts):
            made = in_batches(encoders.encode_text, rows)
        else:
            made = in_batches(partial(_encode_views, encoders), rows)
        return np.split(l2_normalize(made), np.cumsum(sizes)[:-1])

    def _run_one(
        self, task: FindDirection | Classify | Measure
    ) -> DirectionFound | tuple[zero_shot.Prediction, ...] | QualityReport:
        encoders = self._encoders[task.encoder_set]
        match task:
            case FindDirection():
                self._check_pair_read_whole(task)
                found = self._direction(task.encoder_set, task.style_text, task.source_text)
                return DirectionFound(found.guidance, found.origin, self._directions.stats)
            case Classify():
                self._check_read_whole(task.encoder_set, {f"labels[{i}]": t for i, t in enumerate(task.labels)})
                return tuple(zero_shot.classify_view(task.view, task.labels, encoders))
            case Measure():
                if task.strict:
                    self._check_pair_read_whole(task)
                guidance = self._direction(task.encoder_set, task.style_text, task.source_text).guidance
                return metrics.evaluate(task.content, task.stylized, guidance, encoders, task.seed)

    def _cut_texts(self, task: EncodeTexts) -> ConfigError | None:
        """Return the error of texts that would be cut: two of them could have one embedding."""
        texts = {f"texts[{i}]": text for i, text in enumerate(task.texts)}
        violations = self._violations(task.encoder_set, texts, TemplateSet.PLAIN)
        return ConfigError.of(violations) if violations else None

    def _check_pair_read_whole(self, task: FindDirection | Measure) -> None:
        texts = {"style_text": task.style_text, "source_text": task.source_text}
        self._check_read_whole(task.encoder_set, texts)

    def _check_read_whole(self, name: str, texts: Mapping[str, str]) -> None:
        """Raise `ConfigError` for texts, by field, of which the encoders read only the beginning."""
        violations = self._violations(name, texts, self._encoders[name].calibration.template_set)
        if violations:
            raise ConfigError.of(violations)

    def _violations(self, name: str, texts: Mapping[str, str], template_set: str) -> list[Violation]:
        read = self._encoders[name].tokens
        ignored = ignored_parts(read, list(texts.values()), template_set)
        return [
            Violation(field, f"is longer than the encoders read: they would ignore {shortened(part)!r}")
            for field, part in zip(texts, ignored, strict=True)
            if part
        ]

    def _direction(self, name: str, style_text: str, source_text: str) -> Found:
        encoders = self._encoders[name]
        return guidance_of(encoders, style_text, source_text, encoders.calibration.template_set, self._directions)


def _encode_views(encoders: InferenceEncoders, views: Sequence[Floats]) -> Floats:
    return encoders.encode_image(np.concatenate(views))


def _caught(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a task's failure must not end the process; the answer carries it
        return error


def _facts(name: str, encoders: InferenceEncoders, skipped: tuple[str, ...]) -> EncoderFacts:
    return EncoderFacts(
        name=name,
        digest=encoders.digest,
        dimension=encoders.embedding_dim,
        image_size=encoders.image_size,
        backend=encoders.backend,
        runtime=encoders.runtime,
        precision=encoders.precision,
        skipped=skipped,
        templates=template_version(encoders.calibration.template_set),
        source_text=encoders.calibration.source_text,
    )
