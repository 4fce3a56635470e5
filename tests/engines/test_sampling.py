"""Draws depend on (seed, position) and the distribution, on nothing else."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.engines.sampling import draw, uniform


def test_uniforms_are_uniform_and_independent_of_each_other() -> None:
    grid = np.array([[uniform(seed, i) for i in range(400)] for seed in range(100)])
    assert 0 <= grid.min() < grid.max() < 1
    counts, _ = np.histogram(grid, bins=50, range=(0, 1))
    expected = grid.size / 50
    assert ((counts - expected) ** 2 / expected).sum() < 100  # chi2 with 49 degrees: p = 2e-5
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.02


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**31))
def test_any_seed_gives_a_number_in_the_unit_interval(seed: int, position: int) -> None:
    assert 0 <= uniform(seed, position) < 1
    assert uniform(seed, position) == uniform(seed, position)


def test_frequencies_follow_the_tempered_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -math.inf, -1.0]]).repeat(20_000, 1)
    uniforms = [uniform(3, i) for i in range(len(logits))]
    for temperature in (0.5, 1.0, 2.0):
        tokens, _ = draw(logits, [temperature] * len(logits), uniforms)
        seen = np.bincount(tokens, minlength=5) / len(tokens)
        want = (logits[0] / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(seen, want, atol=0.015)
        assert seen[3] == 0


def test_logprobs_are_of_the_untempered_distribution() -> None:
    logits = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)) * 3
    temperatures = [0.0, 0.3, 1.0, 1.7] * 16
    tokens, logprobs = draw(logits, temperatures, [uniform(1, i) for i in range(64)])
    want = logits.double().log_softmax(-1)[torch.arange(64), tokens]
    np.testing.assert_allclose(logprobs, want.numpy(), atol=1e-5)


def test_temperature_zero_takes_the_first_of_the_largest() -> None:
    logits = torch.tensor([[0.0, 5.0, 5.0], [1.0, 0.0, -1.0]])
    assert draw(logits, [0.0, 0.0], [0.999, 0.999])[0] == [1, 0]


@settings(deadline=None)
@given(u=st.floats(0, 1, exclude_max=True), temperature=st.floats(0.05, 5))
def test_a_token_without_chance_is_never_drawn(u: float, temperature: float) -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 1.0, -math.inf]])
    tokens, logprobs = draw(logits, [temperature], [u])
    assert tokens[0] in (1, 3)
    assert math.isfinite(logprobs[0])


def test_the_last_bits_of_the_logits_rarely_move_a_draw() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 500, generator=generator)
    noisy = logits + 2e-6 * torch.randn(logits.shape, generator=generator)
    uniforms = [uniform(9, i) for i in range(2000)]
    first, second = (draw(x, [1.0] * 2000, uniforms)[0] for x in (logits, noisy))
    assert sum(a != b for a, b in zip(first, second, strict=True)) <= 2


def test_bad_logits_show_as_nan() -> None:
    logits = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [0.0, 0.0]])
    _, logprobs = draw(logits, [1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    assert [math.isfinite(x) for x in logprobs] == [False, False, True]
