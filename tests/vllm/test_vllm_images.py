"""Images through vLLM in this process: its processor, tower and decoder see what ours see.

vLLM's vision models import torchvision. The wheels on PyPI are for CUDA and do not import beside
the CPU build of torch: without one that does, these tests are skipped.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from vllm_kit import settings

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError) as error:  # the second: its operators are another build's
    pytest.skip(f"vLLM's vision models need torchvision: {error}", allow_module_level=True)

from agentrl.core import ConfigError, Image, Message, Sampling, Segment
from agentrl.engines.vllm import VLLMEngine
from agentrl.episodes import ChatFormat, Transcript
from agentrl.models import (
    VISION_SPECIALS,
    Policy,
    named_weights,
    save_policy,
    score_logprobs,
    tiny_vision_policy,
    train_tokenizer,
)

TEXTS = ["what do you see in the maze? up down left right, look at it\n"] * 5


def picture(seed: int, width: int = 32, height: int = 32) -> Image:
    """Of the tower's own size, for processors differ in how they scale."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return Image(buffer.getvalue())


@pytest.fixture(scope="module")
def policy() -> Policy:
    made = tiny_vision_policy(
        train_tokenizer(TEXTS, 320, VISION_SPECIALS), side=32, initializer_range=0.15
    )
    torch.manual_seed(1)
    with torch.no_grad():  # so loud that what is seen decides what is said
        for name, weight in made.model.named_parameters():
            if "multi_modal_projector" in name and weight.ndim > 1:
                weight.copy_(0.3 * torch.randn_like(weight))
    return made


def rename(path: Path) -> None:
    """As published checkpoints name them, which vLLM's towers expect."""
    from safetensors.torch import load_file, save_file

    old = "vision_tower."
    tensors = {n.replace(old, old + "vision_model."): w for n, w in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


@pytest.fixture(scope="module")
def shared(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMEngine]:
    path = Path(tmp_path_factory.mktemp("vision")) / "model"
    save_policy(policy, path)
    rename(path / "model.safetensors")
    engine = VLLMEngine(settings(path), seed=7, tokenizer=policy.tokenizer)
    yield engine
    asyncio.run(engine.close())


async def talk(policy: Policy, engine: VLLMEngine, images: list[Image], seed: int) -> Segment:
    """Two turns: images in the prompt, and one in what the tool answers."""
    transcript = Transcript(ChatFormat(policy.tokenizer, []))
    transcript.open([Message("user", "what is <image> it?", images=images)])
    for turn in range(2):
        said = await engine.generate(
            transcript.tokens,
            Sampling(1.0, 6, policy.tokenizer.stop_ids),
            session=f"s{seed}",
            seed=10 * seed + turn,
            images=transcript.images,
        )
        transcript.add_turn(said, turn)
        if turn == 0:
            heard = Message("tool", "look", images=[picture(70 + seed)])
            transcript.add_observations([heard], turn)
    await engine.end_session(f"s{seed}")
    (segment,) = transcript.segments()
    return segment


def difference(policy: Policy, segment: Segment, images: list | None = None) -> float:
    """Of what the engine stored from a plain forward of the record."""
    where = np.flatnonzero(segment.action_mask)
    plain = score_logprobs(policy, segment.tokens, segment.images if images is None else images)
    return float(np.abs(segment.logprobs[where] - plain[where - 1]).max())


async def test_logprobs_of_what_is_said_about_images_equal_a_plain_forward(
    shared: VLLMEngine, policy: Policy
) -> None:
    given = [[picture(1)], [picture(2), picture(3)], [picture(4)] * 2, []]
    talks = [talk(policy, shared, images, seed) for seed, images in enumerate(given)]
    for segment in await asyncio.gather(*talks):
        assert difference(policy, segment) < 1e-4
        # The test would notice an engine that does not look.
        first, *rest = segment.images
        other = [type(first)(first.start, first.stop, picture(99)), *rest]
        assert difference(policy, segment, other) > 1e-2


async def test_given_tokens_about_images_are_scored(shared: VLLMEngine, policy: Policy) -> None:
    segment = await talk(policy, shared, [picture(5)], 5)
    last = segment.images[-1].stop
    found = await shared.score(segment.tokens, last + 1, images=segment.images)
    plain = score_logprobs(policy, segment.tokens, segment.images)[last:]
    assert np.abs(found.logprobs - plain).max() < 1e-4


async def test_after_an_update_images_are_seen_with_the_new_weights(
    shared: VLLMEngine, policy: Policy
) -> None:
    old = {name: weight.detach().clone() for name, weight in named_weights(policy).items()}
    await talk(policy, shared, [picture(6)], 6)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "vision" in name or "projector" in name:
                weight.mul_(1.3)
    try:
        await shared.load_weights(1, named_weights(policy))
        segment = await talk(policy, shared, [picture(6)], 6)
        assert difference(policy, segment) < 1e-4
        assert set(segment.weights[segment.action_mask].tolist()) == {1}
        # In the middle of generations: seen again by the new weights, kept tokens and all.
        running = [asyncio.create_task(talk(policy, shared, [picture(n)], n)) for n in (7, 8)]
        await asyncio.sleep(0.02)
        await shared.load_weights(3, named_weights(policy))
        for segment in await asyncio.gather(*running):
            assert difference(policy, segment) < 1e-4
    finally:
        with torch.no_grad():
            for name, weight in policy.model.named_parameters():
                weight.copy_(old[name])
        await shared.load_weights(4, named_weights(policy))


async def test_images_for_an_engine_without_eyes_are_refused(
    shared: VLLMEngine, policy: Policy
) -> None:
    transcript = Transcript(ChatFormat(policy.tokenizer, []))
    transcript.open([Message("user", "what?", images=[picture(1)])])
    shared._tokenizer, kept = None, shared._tokenizer
    try:
        with pytest.raises(ConfigError, match="reads text only"):
            await shared.generate(transcript.tokens, Sampling(), images=transcript.images)
    finally:
        shared._tokenizer = kept
