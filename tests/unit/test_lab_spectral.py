"""The filter of SpectralCLIP: its arithmetic on small matrices, and on a random vision transformer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from clipstyler_lab.spectral import Band, band_stop, cosine_transform, with_band_stop

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler.config import ConfigError
from clipstyler.encoders import registry
from tests.tiny_encoders import tiny_encoders


def test_the_transform_is_orthonormal_and_sorts_by_frequency() -> None:
    matrix = cosine_transform(9)
    assert torch.allclose(matrix @ matrix.T, torch.eye(9, dtype=torch.float64), atol=1e-12)
    constant = matrix @ torch.full((9,), 2.0, dtype=torch.float64)
    assert constant[0] == pytest.approx(6)  # 2 times the root of 9
    assert constant[1:].abs().max() < 1e-12
    sign_changes = [int((row[1:].sign() != row[:-1].sign()).sum()) for row in matrix]
    assert sign_changes == list(range(9))


def test_a_band_stop_removes_exactly_its_band() -> None:
    matrix, stop = cosine_transform(8).float(), band_stop(8, Band(2, 4))
    signal = torch.randn(8, generator=torch.Generator().manual_seed(0))
    before, after = matrix @ signal, matrix @ (stop @ signal)
    assert after[2:4].abs().max() < 1e-6
    kept = [0, 1, 4, 5, 6, 7]
    assert torch.allclose(after[kept], before[kept], atol=1e-6)
    assert torch.allclose(stop @ stop, stop, atol=1e-6)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoders(tmp_path_factory.mktemp("encoders") / "tiny", TINY_CLIP)


def test_behind_the_last_block_the_filter_is_a_fixed_weighting_of_tokens(directory: Path) -> None:
    plain, filtered = registry.load(str(directory)), registry.load(str(directory))
    band = Band(1, 3)
    filtered = with_band_stop(filtered, band)
    tokens: list[torch.Tensor] = []
    visual = plain.clip.model.visual
    visual.transformer.resblocks[-1].register_forward_hook(lambda _m, _i, output: tokens.append(output))
    views = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    unfiltered = plain.clip.encode_image(views)
    (found,) = tokens
    weights = band_stop(found.shape[1], band)[0]
    wanted = visual.ln_post((weights[:, None] * found).sum(dim=1)) @ visual.proj
    result = filtered.clip.encode_image(views)
    assert torch.allclose(result, wanted, atol=1e-5)
    assert not torch.allclose(result, unfiltered, atol=1e-3)


def test_filtered_encoders_are_known_by_another_digest_and_pass_gradients(directory: Path) -> None:
    plain = registry.load(str(directory))
    filtered = with_band_stop(registry.load(str(directory)), Band(1, 3))
    assert filtered.clip.digest != plain.clip.digest
    assert len(filtered.clip.digest) == 64
    views = torch.rand(1, 3, 32, 32, requires_grad=True)
    filtered.clip.encode_image(views).sum().backward()
    assert views.grad is not None
    assert views.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in filtered.clip.parameters())


def test_a_filter_of_nothing_changes_nothing(directory: Path) -> None:
    views = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = registry.load(str(directory)).clip.encode_image(views)
    filtered = with_band_stop(registry.load(str(directory)), Band(0, 0)).clip.encode_image(views)
    assert torch.allclose(plain, filtered, atol=1e-5)


@pytest.mark.parametrize("text", ["", "5", "5:3", "5:5", "a:b", "-1:3"])
def test_bands_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="LOW:HIGH"):
        Band.parse(text)


def test_encoders_without_tokens_and_bands_beyond_them_are_refused(directory: Path) -> None:
    assert Band.parse("4:25") == (4, 25)
    with pytest.raises(ConfigError, match="no vision transformer"):
        with_band_stop(tiny_encoders(), Band(1, 2))
    with pytest.raises(ConfigError, match="tokens"):
        with_band_stop(registry.load(str(directory)), Band(1, 10_000))
