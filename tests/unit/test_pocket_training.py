"""Training: a seed repeats its weights, checkpoints continue, distillation targets reach the text tower."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from tests.training_tools import MISSING

pytest.importorskip("scipy", reason=MISSING)
pytest.importorskip("skimage", reason=MISSING)
pytest.importorskip("sklearn", reason=MISSING)

from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.model import WEIGHTS, load
from training import styles
from training.pocket import teacher
from training.pocket.average import average
from training.pocket.average import main as average_main
from training.pocket.objective import attack, word_loss
from training.pocket.refine import main as refine_main
from training.pocket.refine import refine
from training.pocket.teacher import DistillationTargets, load_targets
from training.pocket.train import Recipe, main, train

QUICK = Recipe(steps=2, batch=6, bank=48, chunk=48, word_steps=2, save_every=1)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a teacher might say of two words."""
    similarities = np.full((2, len(known_concepts())), 0.1, np.float16)
    similarities[0, known_concepts().index("fire")] = 0.9
    path = tmp_path_factory.mktemp("targets") / "targets.npz"
    np.savez(
        path, concepts=np.array(known_concepts()), words=np.array(["inferno", "senate"]), similarities=similarities
    )
    return path


def trained(recipe: Recipe) -> bytes:
    threads = torch.get_num_threads()
    try:
        losses = [loss for _, loss, _ in train(recipe)]
    finally:
        torch.set_num_threads(threads)
    assert len(losses) == recipe.steps
    assert np.isfinite(losses).all()
    return recipe.out.read_bytes()


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, targets: Path) -> None:
    recipe = replace(QUICK, targets=targets, out=tmp_path / "a.safetensors")
    first = trained(recipe)
    assert trained(replace(recipe, out=tmp_path / "b.safetensors")) == first
    assert trained(replace(recipe, seed=1, out=tmp_path / "c.safetensors")) != first
    clip, _ = load(torch.device("cpu"), recipe.out)
    assert clip.encode_text(["fire"]).shape == (1, 256)


def test_refining_moves_the_text_tower_alone_and_repeats(tmp_path: Path, targets: Path) -> None:
    recipe = replace(QUICK, steps=3, batch=8, targets=targets, init=WEIGHTS, out=tmp_path / "a.safetensors")
    again = replace(recipe, out=tmp_path / "b.safetensors")
    threads = torch.get_num_threads()
    try:
        losses = [list(refine(each)) for each in (recipe, again)]
    finally:
        torch.set_num_threads(threads)
    assert losses[0] == losses[1]
    assert recipe.out.read_bytes() == again.out.read_bytes()
    before, after = load_file(WEIGHTS), load_file(recipe.out)
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"text"}


def test_distillation_targets_hold_the_concepts_of_a_word_and_whether_it_is_known(targets: Path) -> None:
    words, values, known = load_targets(targets).targets(np.array([0, 1]))
    assert words == ["inferno", "senate"]
    assert known_concepts()[int(values[0].argmax())] == "fire"
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-5)
    assert known[0] > 0.9
    assert known[1] < 0.1
    assert load_targets(targets).subjects() == ["senate"]


def test_targets_for_other_concepts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    np.savez(path, concepts=np.array(["photo"]), words=np.array(["x"]), similarities=np.zeros((1, 1)))
    with pytest.raises(ValueError, match="other concepts"):
        load_targets(path)


def test_words_come_from_wordnets_index(tmp_path: Path) -> None:
    (tmp_path / "index.noun").write_text(
        "  1 license text\nfire n 9 1\ngreat_wall_of_china n 1\nfire-eater n 1\nh2o n 1\n"
    )
    (tmp_path / "index.adj").write_text("fiery a 3 1\n")
    assert teacher.lemmas(tmp_path) == ["fiery", "fire", "fire eater"]


def test_the_nearest_words_and_some_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(sentences: list[str]) -> np.ndarray:
        return np.stack([np.eye(64)[sum(map(ord, s)) % 64] for s in sentences]).astype(np.float32)

    monkeypatch.setattr(teacher, "embed", embed)
    made = teacher.make_targets(["flames", "senate", "velvet"], np.random.default_rng(0))
    assert isinstance(made, DistillationTargets)
    assert set(made.words) == {"flames", "senate", "velvet"}
    assert made.similarities[made.words.index("flames"), known_concepts().index("fire")] == pytest.approx(1)


def test_word_loss_is_zero_where_student_and_teacher_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    words, captions = torch.randn(3, 8, generator=generator), torch.randn(5, 8, generator=generator)
    agreed = (20 * F.normalize(words, dim=1) @ F.normalize(captions, dim=1).T).softmax(dim=1)
    assert float(word_loss(words, captions, agreed)) == pytest.approx(0, abs=1e-5)
    assert float(word_loss(words, captions, torch.full((3, 5), 0.2))) > 0.1


def test_an_attack_stays_in_its_ball_and_raises_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    views, radius = torch.rand(4, 3, 16, 16, generator=generator) * 0.5 + 0.25, torch.tensor([0.5, 1.0, 0.2, 0.0])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return x[..., :8, :].sum()

    moved = attack(views, loss, radius, 3, generator)
    assert ((moved - views).flatten(1).norm(dim=1) <= radius + 1e-4).all()
    assert float(loss(moved)) > float(loss(views))


def test_checkpoints_of_one_architecture_are_averaged(tmp_path: Path) -> None:
    for number in (1, 3):
        save_file({"a": torch.full((2,), float(number))}, tmp_path / f"{number}.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    paths = [tmp_path / "1.safetensors", tmp_path / "3.safetensors"]

    assert average(paths)["a"].tolist() == [2, 2]
    with pytest.raises(ValueError, match="different towers"):
        average([paths[0], tmp_path / "other.safetensors"])


def average_of_two(arguments: list[str]) -> None:
    average_main(["1.safetensors", "2.safetensors", *arguments])


@pytest.mark.parametrize("tool", [teacher.main, main, refine_main, average_of_two])
def test_where_weights_or_targets_go_is_checked_before_the_work(
    tool: Callable[[list[str]], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        tool(["--out", str(tmp_path / "file" / "weights.safetensors")])
    assert ended.value.code == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tool", "inputs"),
    [(average_main, ["{}"]), (main, ["--init", "{}"]), (main, ["--targets", "{}"]), (refine_main, ["--init", "{}"])],
)
def test_nothing_is_written_over_what_is_read(
    tool: Callable[[list[str]], None], inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.safetensors"
    path.write_bytes(b"kept")
    with pytest.raises(SystemExit):
        tool([*(text.format(path) for text in inputs), "--out", str(path)])
    assert "is an input too" in capsys.readouterr().err
    assert path.read_bytes() == b"kept"


def test_an_average_is_written_into_a_new_folder(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "1.safetensors")
    out = tmp_path / "new" / "pocket.safetensors"
    average_main([str(tmp_path / "1.safetensors"), "--out", str(out)])
    assert load_file(out)["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--out", "file"], "--out"),
        (["--out", "styles", "--sheet", "file/sheet.jpg"], "--sheet"),
        (["--out", "styles", "--sheet", "sheet.txt"], "--sheet"),
        (["--out", "styles", "--controls", "file/controls.jpg"], "--controls"),
    ],
)
def test_where_styles_and_their_sheets_go_is_checked_before_the_work(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training.styles", *arguments])
    for work in ("fitted", "write_sheet", "write_controls"):
        monkeypatch.setattr(styles, work, lambda *_: pytest.fail("worked"))
    with pytest.raises(SystemExit) as ended:
        styles.main()
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err
