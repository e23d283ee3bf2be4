"""A run of the laboratory with tiny encoders: what is made, what is not made again, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from clipstyler_lab import outcomes, workbench
from clipstyler_lab.catalog import EXPERIMENTS
from clipstyler_lab.experiments import curves
from clipstyler_lab.experiments.ablation import FULL, VARIANTS, variant_trials
from clipstyler_lab.experiments.averages import SSIM, compared
from clipstyler_lab.experiments.comparison import method_trials
from clipstyler_lab.experiments.curves import VARIED, values
from clipstyler_lab.experiments.zero_shot import accuracy, predictions
from clipstyler_lab.gallery import Gallery
from clipstyler_lab.methods import style_look
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.provenance import described
from clipstyler_lab.run import CELLS, Step, run
from clipstyler_lab.section import Sheet
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.store import Store
from clipstyler_lab.trials import Method, Outcome, Trial, Work
from clipstyler_lab.workbench import Workbench
from PIL import Image

from clipstyler.config import ConfigError
from clipstyler.evaluation.quality import QualityReport
from clipstyler.imaging import Picture
from tests.tiny_encoders import tiny_encoders

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styles")
    for look, color in (("fire", "orange"), ("ice", "lightblue")):
        (folder / look).mkdir()
        Image.new("RGB", (40, 40), color).save(folder / look / "1.png")
    return folder


def settings(styles: Path, **changes: object) -> LabSettings:
    photos = {"cat": EXAMPLES / "cat.jpg"}
    values = {"photos": photos, "texts": ("fire", "ice"), "work": Work(64, 1, 2), "seeds": 1, "consistency_seeds": 2}
    return LabSettings(styles=styles, **values | changes)


@pytest.fixture(scope="module")
def finished(styles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of everything."""
    out = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "VARIED", VARIED[:1])  # one option goes the way of all
        run(settings(styles), tiny_encoders(), out)
    return out


def test_a_run_shows_every_experiment_whole(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    sections = results["sections"]
    assert results["made with"]["calibration"] == described(tiny_encoders().calibration)
    assert list(sections) == list(EXPERIMENTS)
    for section in sections.values():
        assert section["outcomes made"] == section["outcomes wanted"]
        assert section["tables"]
    ablation = sections["ablation"]["tables"][0]["rows"]
    assert [row["variant"] for row in ablation] == list(VARIANTS)
    assert all(row["published preference, of 5"] for row in ablation)
    assert len(sections["hyper-parameters"]["charts"]) == 1
    assert "data:image/webp" in (finished / "index.html").read_text()


def test_a_second_run_makes_nothing(finished: Path, styles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "make", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(curves, "VARIED", VARIED[:1])
    run(settings(styles), tiny_encoders(), finished)


def test_an_interrupted_run_leaves_a_report_and_resumes(
    styles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Trial] = []
    original = outcomes.make

    def interrupted(bench: Workbench, trial: Trial) -> object:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(trial)
        return original(bench, trial)

    monkeypatch.setattr(outcomes, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(styles, texts=("fire",)), tiny_encoders(), tmp_path, ["ablation"])
    section = json.loads((tmp_path / "results.json").read_text())["sections"]["ablation"]
    assert (section["outcomes made"], section["outcomes wanted"]) == (2, 5)
    monkeypatch.setattr(outcomes, "make", original)
    steps: list[Step] = []
    run(settings(styles, texts=("fire",)), tiny_encoders(), tmp_path, ["ablation"], steps.append)
    assert [step.completed for step in steps] == list(range(4))
    assert "ablation" in json.loads((tmp_path / "results.json").read_text())["sections"]


def test_an_outcome_belongs_to_everything_that_determines_it(styles: Path, tmp_path: Path) -> None:
    def key(trial: Trial, encoders: object = None, **changes: object) -> str:
        bench = Workbench(settings(styles, **changes), encoders or tiny_encoders())
        return Outcomes(bench, Store(tmp_path)).key(trial)

    trial = Trial(Method.CLIPSTYLER, "cat", "fire", 3)
    other_encoders = tiny_encoders()
    other_encoders.clip.digest = "2" * 64
    keys = [
        key(trial),
        key(trial, other_encoders),
        key(trial, work=Work(64, 2, 2)),
        key(trial, photos={"cat": EXAMPLES / "coffee.jpg"}),
        key(Trial(Method.CLIPSTYLER, "cat", "ice", 3)),
        key(Trial(Method.CLIPSTYLER, "cat", "fire", 4)),
        key(Trial(Method.PIXELS, "cat", "fire", 3)),
        key(Trial(Method.CLIPSTYLER, "cat", "fire", 3, {"threshold": 0.1})),
        key(Trial(Method.ONE_STYLE, "cat", "fire", 3)),
        key(
            Trial(Method.ONE_STYLE, "cat", "fire", 3),
            photos={"coffee": EXAMPLES / "coffee.jpg", "cat": EXAMPLES / "cat.jpg"},
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert key(trial) == keys[0]


def test_one_style_is_fitted_to_the_first_photo_once_and_applied_to_every_photo(
    styles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[object] = []
    original = workbench.fit_style

    def counted(photos: Sequence[Picture], *rest: object) -> object:
        fitted.append(photos)
        return original(photos, *rest)

    monkeypatch.setattr(workbench, "fit_style", counted)
    photos = {name: EXAMPLES / f"{name}.jpg" for name in ("coffee", "cat")}
    run(settings(styles, photos=photos, texts=("fire",)), tiny_encoders(), tmp_path, ["consistency"])
    section = json.loads((tmp_path / "results.json").read_text())["sections"]["consistency"]
    assert (section["outcomes made"], section["outcomes wanted"]) == (6, 6)
    (row,) = section["tables"][1]["rows"]
    assert (row["text"], row["photos"]) == ("fire", 2)
    assert row["style, own fits"] > 0
    assert row["style, one style"] > 0
    assert section["findings"][-1].startswith("One fitted style on every photo has ")
    ((coffee,),) = fitted
    assert (coffee.width, coffee.height) == (64, 43)


def test_a_broken_record_is_made_anew(styles: Path, tmp_path: Path) -> None:
    bench = Workbench(settings(styles), tiny_encoders())
    found = Outcomes(bench, Store(tmp_path / CELLS))
    trial = Trial(Method.COLORS, "cat", "fire", 3)
    outcome = found.make(trial)
    assert found.find(trial) == outcome
    (record,) = (tmp_path / CELLS).glob("*.json")
    record.write_text("{}")
    assert found.find(trial) is None


def test_an_outcome_without_its_picture_is_made_anew(styles: Path, tmp_path: Path) -> None:
    found = Outcomes(Workbench(settings(styles), tiny_encoders()), Store(tmp_path / CELLS))
    trial = Trial(Method.COLORS, "cat", "fire", 3)
    picture = found.make(trial).picture
    picture.unlink()
    assert found.find(trial) is None
    assert found.make(trial).picture.is_file()


def test_a_look_without_pictures_has_no_style_image(styles: Path, tmp_path: Path) -> None:
    (tmp_path / "ice").mkdir()
    shutil.copytree(styles / "fire", tmp_path / "fire")
    assert {trial.text for trial in method_trials(settings(tmp_path), Method.GATYS)} == {"fire"}


@pytest.mark.parametrize("text", ["Oil Painting", " oil  painting", "oil painting"])
def test_a_look_is_found_however_its_text_is_written(styles: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(styles / "fire", tmp_path / "oil painting")
    chosen = settings(tmp_path, texts=(text,))
    (trial,) = method_trials(chosen, Method.GATYS)
    assert style_look(Workbench(chosen, tiny_encoders()), trial) == "oil painting"


def test_of_looks_that_differ_in_case_the_exact_one_is_taken(styles: Path, tmp_path: Path) -> None:
    shutil.copytree(styles / "fire", tmp_path / "Fire")
    shutil.copytree(styles / "ice", tmp_path / "fire")
    assert {text: Gallery(tmp_path).look_of(text) for text in ("fire", "Fire", "FIRE", "ice")} == {
        "fire": "fire",
        "Fire": "Fire",
        "FIRE": "Fire",
        "ice": None,
    }


def test_a_text_without_a_style_image_leaves_a_gap_in_the_sheet(styles: Path, tmp_path: Path) -> None:
    report = run(settings(styles, texts=("fire", "a dull day")), tiny_encoders(), tmp_path, ["style-image"])
    section = report.sections["style-image"]
    assert section.made == section.wanted
    (sheet,) = (part for part in section.parts if isinstance(part, Sheet))
    assert {name: [tile is not None for tile in tiles] for name, tiles in sheet.rows} == {
        "fire": [True] * 6,
        "a dull day": [True, True, False, False, True, True],
    }


def test_variants_switch_one_part_off_each(styles: Path) -> None:
    bench = Workbench(settings(styles), tiny_encoders())
    configs = {name: bench.spec(variant_trials(bench.settings, name)[0]).config for name in VARIANTS}
    full = configs.pop(FULL)
    for config in configs.values():
        changed = [name for name, value in config.as_dict().items() if value != getattr(full, name)]
        assert len(changed) == 1


def test_tried_values_contain_the_default_and_stay_in_bounds(styles: Path) -> None:
    bench = Workbench(settings(styles), tiny_encoders(threshold=1.5))
    for varied in VARIED:
        tried = values(bench, varied)
        assert len(set(tried)) == len(tried)
        for value in tried:
            bench.spec(Trial(Method.CLIPSTYLER, "cat", "fire", 3, {varied.option: value}))


def test_bad_settings_are_all_named(styles: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        settings(tmp_path, photos={"no": tmp_path / "no.jpg"}, texts=("",), seeds=0, consistency_seeds=1)
    assert {v.field for v in error.value.violations} == {"photo", "text", "styles", "seeds", "consistency_seeds"}


def test_options_that_do_not_fit_are_refused_before_any_work(styles: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="size"):
        run(settings(styles, work=Work(3, 1, 1)), tiny_encoders(), tmp_path / "lab")
    assert not (tmp_path / "lab").exists()


def test_zero_shot_counts_the_nearest_label() -> None:
    texts = np.eye(3, dtype=np.float32)
    images = np.array([[0.9, 0.1, 0], [0.2, 0.1, 0.9], [0.6, 0.5, 0]], np.float32)
    assert predictions(images, texts) == [0, 2, 0]
    assert accuracy([0, 2, 0], [0, 2, 1]) == pytest.approx(2 / 3)


def outcome(ssim: float) -> Outcome:
    return Outcome(Path("x"), 1, QualityReport(0, 0, 0, 0, ssim, 0), 0, 0)


def test_a_claim_is_reported_as_it_was_found() -> None:
    lower = [(outcome(0.1), outcome(0.2))] * 4
    assert "holds here (SSIM 0.100 beside 0.200, as claimed in 4 of 4 pairs)" in compared("A", SSIM, lower, lower=True)
    assert "does not hold here" in compared("A", SSIM, lower, lower=False)
    mixed = [*lower[:2], (outcome(0.3), outcome(0.2)), (outcome(0.2), outcome(0.2))]
    assert "is undecided here" in compared("A", SSIM, mixed, lower=True)
    assert compared("A", SSIM, [], lower=True) == "A: not measured."
