import json
import sys
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import album, pocket_sheet, pocket_textures
from benchmarks.style_verdicts import unseen
from clipstyler.imaging import Picture, decode
from tests.tiny_encoders import tiny_encoders
from training.judge.drawing import luminance, outlines
from training.judge.looks import MATERIALS, MEDIA, TEXTS, picture, real_textures
from training.judge.network import VIEW, Judge, augmented, turned_hue
from training.judge.training import Recipe, draw_bank, trained
from training.judge.verdict import RULES, ruled_out, statistics, verdict, views_of

PLAIN_PHOTO = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)


@pytest.fixture
def data(tmp_path):
    """A data folder with two photos a split and five textures of wood."""
    rng = np.random.default_rng(0)
    for folder in ("photos/train", "photos/test", "textures/train/wood"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(5):
            noise = rng.integers(0, 255, (40, 60, 3), np.uint8)
            Image.fromarray(noise).resize((160, 120)).save(tmp_path / folder / f"{i}.png")
    return tmp_path


@pytest.fixture
def opened_photos(data):
    """Two of the test photos as `pocket_sheet` opens them."""
    for stem in ("0", "1"):
        Image.open(data / f"photos/test/{stem}.png").save(data / f"photos/test/{stem}.jpg")


@pytest.mark.parametrize("text", TEXTS)
def test_a_drawing_hangs_on_its_seed_alone(text):
    def drawn(seed: int) -> np.ndarray:
        return picture(np.random.default_rng(seed), text, 48, [PLAIN_PHOTO], {})

    first = drawn(5)
    assert first.shape == (48, 48, 3)
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 1
    assert np.array_equal(first, drawn(5))
    assert not np.array_equal(first, drawn(6))


def test_twenty_texts_are_known_each_drawn_one_way():
    assert len(TEXTS) == 20
    assert sorted(TEXTS) == sorted([*MATERIALS, *MEDIA])
    assert {rule.text for rule in RULES} <= set(TEXTS)


def test_held_out_textures_are_other_files(data):
    seen, unseen = real_textures(data, held_out=False), real_textures(data, held_out=True)
    assert (len(seen["wood"]), len(unseen["wood"])) == (4, 1)


def test_a_judge_is_the_same_again_from_its_seed_and_from_its_cache(data):
    recipe = Recipe(each=1, steps=2, batch=4)
    first = trained(data, data / "one", recipe)
    cached, again = trained(data, data / "one", recipe), trained(data, data / "two", recipe)
    for name, values in first.state_dict().items():
        assert torch.equal(values, cached.state_dict()[name])
        assert torch.equal(values, again.state_dict()[name])
    bank, numbers = draw_bank(data, 1, seed=7, held_out=True)
    assert bank.shape == (20, 3, 128, 128)
    assert numbers.tolist() == list(range(20))


def test_views_cover_the_picture_and_probabilities_sum_to_one():
    judge = Judge(len(TEXTS)).eval()
    wide = torch.rand(3, 100, 180, generator=torch.Generator().manual_seed(0))
    assert views_of(wide).shape == (14, 3, VIEW, VIEW)
    assert float(verdict(judge, wide).exp().sum()) == pytest.approx(1, abs=1e-4)


def test_colors_rule_out_only_what_they_contradict():
    blue = torch.tensor([0.1, 0.3, 0.8])[:, None, None].expand(3, 32, 32)
    loss = dict(zip(TEXTS, ruled_out(blue).tolist(), strict=True))
    assert loss["blueprint"] == 0
    assert loss["fire"] < -5
    assert loss["a sketch with black pencil"] < -5
    assert statistics(blue)["red over blue"] == pytest.approx(-0.7)


def test_augmented_views_have_the_size_and_range_that_the_judge_takes():
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    views = augmented(pictures, torch.Generator().manual_seed(1))
    assert views.shape == (3, 3, VIEW, VIEW)
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    assert torch.equal(views, augmented(pictures, torch.Generator().manual_seed(1)))


def test_a_third_of_the_color_circle_turns_red_into_another_primary():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    turned = turned_hue(red, torch.tensor([1 / 3])).flatten()
    assert sorted(turned.round(decimals=4).tolist()) == [0, 0, 1]
    assert torch.allclose(turned_hue(red, torch.zeros(1)), red, atol=1e-6)


def test_outlines_are_where_the_light_changes():
    half = np.zeros((32, 32, 3), np.float32)
    half[:, 16:] = 1
    edge = outlines(half, 1.0)
    assert edge[:, 15:17].mean() > 0.9
    assert edge[:, :10].max() < 0.01
    assert luminance(half).max() == pytest.approx(1)


def test_structure_is_that_of_edges_whatever_the_colors():
    rng = np.random.default_rng(2)
    blocks = np.repeat(np.repeat(rng.random((8, 8, 3), np.float32), 8, 0), 8, 1)
    assert pocket_sheet.structure_similarity(blocks, blocks) == pytest.approx(1)
    assert pocket_sheet.structure_similarity(blocks, 1 - 0.5 * blocks) > 0.95
    noise = rng.random((64, 64, 3), np.float32)
    assert pocket_sheet.structure_similarity(blocks, noise) < 0.4


def test_the_sheets_figures_and_table_follow_from_the_verdicts():
    def row(photo: str, text: str, named: str, structure: float) -> dict[str, object]:
        best = [{"text": named, "share": 0.8}]
        return {"photo": photo, "text": text, "right": named == text, "best": best, "structure": structure}

    rows = [row("cat", "fire", "fire", 0.6), row("cup", "fire", "lava", 0.3), row("cat", "gold", "gold", 0.5)]
    told = pocket_sheet.summary(rows)
    assert told["named right"] == pytest.approx(2 / 3)
    assert told["structure kept"] == pytest.approx(2 / 3)
    assert told["by text"] == {"fire": 1, "gold": 1}
    assert "| fire | yes 80%, 0.60 | lava 80%, 0.30 |" in pocket_sheet.markdown(rows)


def test_cells_that_are_there_are_not_drawn_again(data, opened_photos, monkeypatch):
    drawn = []

    def stylize(photo, text, **options):
        drawn.append((text, options["steps"]))
        return SimpleNamespace(result=lambda: SimpleNamespace(image=decode(photo.read_bytes())))

    monkeypatch.setattr(pocket_sheet.clipstyler, "stylize", stylize)
    monkeypatch.setattr(pocket_sheet, "trained", lambda *rest: Judge(len(TEXTS)).eval())
    flags = [
        "--data",
        str(data),
        "--cache",
        str(data),
        "--out",
        str(data / "out"),
        "--photos",
        "0",
        "1",
        "--steps",
        "7",
        "--texts",
    ]
    pocket_sheet.main([*flags, "fire"])
    pocket_sheet.main([*flags, "fire", "gold"])
    assert drawn == [("fire", 7), ("fire", 7), ("gold", 7), ("gold", 7)]
    told = json.loads((data / "out/verdicts.json").read_text())
    assert told["cells"] == 4
    assert told["steps"] == 7
    assert Image.open(data / "out/sheet.jpg").height > 3 * pocket_sheet.TILE


def test_cells_belong_to_the_calibration(data, opened_photos, monkeypatch):
    drawn = []

    def interrupted(missing, *rest):
        drawn.append(missing)
        raise KeyboardInterrupt

    monkeypatch.setattr(pocket_sheet, "trained", lambda *rest: Judge(len(TEXTS)).eval())
    monkeypatch.setattr(pocket_sheet, "draw", interrupted)
    for weight in (400.0, 435.0, 435.0):
        monkeypatch.setattr(pocket_sheet, "load", lambda _, weight=weight: tiny_encoders(weight_content=weight))
        with pytest.raises(KeyboardInterrupt):
            pocket_sheet.main(["--data", str(data), "--cache", str(data), "--out", str(data / "out"), "--photos", "0"])
    older, newer, again = ([cell.result for cell in cells] for cells in drawn)
    assert newer == again
    assert not {*older} & {*newer}


@pytest.mark.parametrize("changes", [{"distinctness": 0.4}, {"weight_content": 435.0}, {"logit_scale": 20.0}])
def test_a_kept_style_belongs_to_the_calibration(tmp_path, monkeypatch, changes):
    fits, photos = [], [Picture(np.zeros((64, 64, 3), np.uint8))]
    original = album.fit_style
    monkeypatch.setattr(album, "fit_style", lambda *work: fits.append(work) or original(*work))
    for encoders in (tiny_encoders(), tiny_encoders(), tiny_encoders(**changes)):
        album.Fits(encoders, 64, 1, tmp_path / "fits").fitted(photos, "fire", 7)
    assert len(fits) == 2


@pytest.mark.parametrize("text", ["black/white", "../fire", "x" * 400])
def test_a_style_of_any_text_is_kept(tmp_path, text):
    folder = tmp_path / "fits"
    photos = [Picture(np.zeros((64, 64, 3), np.uint8))]
    album.Fits(tiny_encoders(), 64, 1, folder).fitted(photos, text, 7)
    (kept,) = tmp_path.rglob("*.style")
    assert kept.parent == folder


def test_rare_classes_weigh_fully_in_the_mean_of_classes(monkeypatch, tmp_path):
    for name, count in (("wood", 3), ("leather", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    monkeypatch.setattr(pocket_textures, "named", lambda path, *rest: "wood")
    found = pocket_textures.confusions(tmp_path, encoders=None)
    shares = pocket_textures.accuracies(found)
    assert shares == {"pictures": 0.75, "mean of classes": 0.5, "wood": 1.0, "leather": 0.0}


def test_textures_that_are_not_there_are_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        pocket_textures.main(["--data", str(tmp_path)])
    assert "holds no pictures" in capsys.readouterr().err


def test_a_photo_that_is_not_there_is_an_error_before_any_is_drawn(data, capsys):
    folders = [text for name in ("data", "cache", "out") for text in (f"--{name}", str(data))]
    with pytest.raises(SystemExit):
        pocket_sheet.main([*folders, "--photos", "cofee"])
    assert "cofee.jpg" in capsys.readouterr().err


def test_no_style_is_judged_on_a_photo_that_it_was_fitted_to(tmp_path):
    folder = tmp_path / "photos" / "test"
    folder.mkdir(parents=True)
    for stem in ("burj", "chelsea", "coffee", "windmill"):
        (folder / f"{stem}.jpg").touch()
    assert [path.stem for path in unseen(tmp_path, 9)] == ["burj", "coffee", "windmill"]
    assert [path.stem for path in unseen(tmp_path, 2)] == ["burj", "coffee"]


@pytest.mark.parametrize(
    ("tool", "option"),
    [
        ("benchmarks.album", "--fits"),
        ("benchmarks.album", "--cache"),
        ("benchmarks.pocket_sheet", "--cache"),
        ("benchmarks.pocket_sheet", "--out"),
        ("benchmarks.style_verdicts", "--cache"),
        ("training.judge.__main__", "--cache"),
    ],
)
def test_folders_to_be_filled_are_checked_before_any_work(tool, option, data, monkeypatch, capsys):
    (data / "file").touch()
    given = {"--data": data, "--cache": data / "cache"} | ({"--out": data / "out"} if "sheet" in tool else {})
    flags = [str(part) for flag in (given | {option: data / "file"}).items() for part in flag]
    monkeypatch.setattr(sys, "argv", [tool, *flags])
    module = import_module(tool)
    for work in ("trained", "load", "unseen"):
        monkeypatch.setattr(module, work, lambda *_: pytest.fail("worked"), raising=False)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert option in capsys.readouterr().err.splitlines()[-1]
