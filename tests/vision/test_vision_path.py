"""Pixels from the observation to the log-probability: engine, learner and the model's own forward
see the same."""

from __future__ import annotations

import asyncio
import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from vision_kit import FAMILIES, picture

from agentrl.core import ConfigError, Episode, Image, Message, Origin, Sampling, Segment, Task
from agentrl.engines import TransformersEngine
from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.dialects import dialect
from agentrl.episodes.rerender import as_generation
from agentrl.episodes.transcript import Transcript
from agentrl.learner import LearnerSettings
from agentrl.learner.rows import make_rows
from agentrl.learner.trunk import Trunk
from agentrl.models import Policy, score_logprobs
from agentrl.models.policy import load_policy, save_policy
from agentrl.training.preflight import preflight

SYSTEM = Message("system", "you see")
LLAVA = FAMILIES["llava"]()
# Qwen2-VL's own processor needs torchvision, and what stands for it in the kit cannot be saved.
SAVED = ("llava", "idefics3")


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request) -> Policy:
    return FAMILIES[request.param]()


async def talk(policy: Policy, engine: TransformersEngine, first: list[Image], seed: int = 0):
    """Three turns; images in the prompt and in the first observation. What the engine was given
    is returned beside the segment."""
    transcript = Transcript(ChatFormat(policy.tokenizer, []))
    transcript.open([SYSTEM, Message("user", "what <image> is <|image_pad|> it?", images=first)])
    given = []
    for turn in range(3):
        given.append((list(transcript.tokens), list(transcript.images)))
        said = await engine.generate(
            transcript.tokens,
            Sampling(1.0, 6, policy.tokenizer.stop_ids),
            session=f"s{seed}",
            seed=seed * 10 + turn,
            images=transcript.images,
        )
        transcript.add_turn(said, turn)
        seen = [picture(70 + seed)] if turn == 0 else []
        if turn < 2:
            transcript.add_observations([Message("tool", "look", images=seen)], turn)
    await engine.end_session(f"s{seed}")
    return transcript.segments()[0], given


@pytest.fixture(scope="module")
def talked(policy):
    async def once():
        engine = TransformersEngine(policy)
        found = await talk(policy, engine, [picture(0), picture(1, 40, 90)])
        await engine.close()
        return found

    return asyncio.run(once())


def own_forward(policy: Policy, segment: Segment) -> np.ndarray:
    """The log-probabilities of transformers' whole model with its default attention."""
    model = copy.deepcopy(policy.model)
    model.set_attn_implementation("sdpa")
    ids = torch.from_numpy(segment.tokens.astype(np.int64))[None]
    seen = [policy.vision.see(placed.image) for placed in segment.images]
    # One batch has one number of tiles in an image; what is all zeros is no tile.
    axis = 1 if model.config.model_type == "idefics3" else 0
    pixels = {k: torch.cat([s.pixels[k] for s in seen], axis) for k in seen[0].pixels}
    if model.config.model_type == "qwen2_vl":
        kinds = torch.zeros_like(ids)
        for placed in segment.images:
            kinds[0, placed.start : placed.stop] = 1
        pixels["mm_token_type_ids"] = kinds
    with torch.no_grad():
        logprobs = model(input_ids=ids, **pixels).logits[0].log_softmax(-1)
    return logprobs[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()


def sampled(segment: Segment) -> np.ndarray:
    return np.flatnonzero(segment.action_mask)


def test_engine_learner_and_the_models_own_forward_agree(policy, talked):
    segment, _ = talked
    where = sampled(segment)
    stored = segment.logprobs[where]
    plain = score_logprobs(policy, segment.tokens, segment.images)
    trunk = Trunk(policy.model, LearnerSettings(), policy.vision)
    rows = make_rows([Episode(Task("t", ""), segments=[segment])])
    with torch.no_grad():
        learned = trunk.logprobs(trunk.pack(rows))[0].numpy()
    assert np.abs(stored - plain[where - 1]).max() < 1e-4
    assert np.abs(stored - learned).max() < 1e-4
    if not (segment.tokens[where] == policy.vision.token).any():
        assert np.abs(own_forward(policy, segment) - plain).max() < 1e-4


def test_what_is_seen_moves_the_log_probabilities(policy, talked):
    """Agreement of two engines that both look away would be worth nothing."""
    segment, _ = talked
    other = [type(p)(p.start, p.stop, _like(p.image)) for p in segment.images]
    where = sampled(segment)
    plain, changed = (
        score_logprobs(policy, segment.tokens, images) for images in (segment.images, other)
    )
    assert np.abs(plain - changed)[where - 1].max() > 1e-3


def _like(image: Image) -> Image:
    """Another picture of the same size."""
    with Picture.open(io.BytesIO(image.data)) as opened:
        width, height = opened.size
    return picture(99, width, height)


def test_image_tokens_are_what_the_processor_writes_and_what_the_engine_saw(policy, talked):
    segment, given = talked
    vision, chat = policy.vision, policy.tokenizer
    assert len(segment.images) == 3
    for placed in segment.images:
        tokens = segment.tokens[placed.start : placed.stop].tolist()
        assert tokens == vision.see(placed.image).tokens
        assert vision.token in tokens
        origins = set(segment.origin[placed.start : placed.stop].tolist())
        assert origins in ({Origin.PROMPT}, {Origin.OBSERVATION})
    for tokens, images in given:
        assert segment.tokens[: len(tokens)].tolist() == tokens
        assert segment.images[: len(images)] == images
    # Where the processor renders the whole conversation, it comes to the same ids.
    tokens, images = given[0]
    folded, end = [], 0
    for placed in images:
        folded += [*tokens[end : placed.start], *chat.encode(vision.placeholder)]
        end = placed.stop
    pictures = [Picture.open(io.BytesIO(p.image.data)).convert("RGB") for p in images]
    nested = [pictures] if policy.model.config.model_type == "idefics3" else pictures
    prompt = [SYSTEM, Message("user", "what is it?", images=[p.image for p in images])]
    transcript = Transcript(ChatFormat(chat, []))
    transcript.open(prompt)
    text = chat.render([SYSTEM, Message("user", "what is it?")], generation_prompt=True)
    text = text.replace("what is", chat.image_text * len(images) + "what is")
    whole = vision.processor(text=[text], images=nested, return_tensors="pt")["input_ids"][0]
    assert whole.tolist() == transcript.tokens


async def test_siblings_share_the_rows_of_equal_images_only(policy):
    engine = TransformersEngine(policy)
    same, other = ([picture(n), *map(picture, range(20, 24))] for n in (3, 4))
    first, _ = await talk(policy, engine, same, seed=1)
    computed = engine.counters.computed
    await talk(policy, engine, same, seed=2)
    sharing = engine.counters.computed - computed
    third, _ = await talk(policy, engine, other, seed=3)
    apart = engine.counters.computed - computed - sharing
    await engine.close()
    prompt = int((first.origin == Origin.PROMPT).sum())
    assert apart - sharing > prompt / 2
    plain = score_logprobs(policy, third.tokens, third.images)
    where = sampled(third)
    assert np.abs(third.logprobs[where] - plain[where - 1]).max() < 1e-4


async def test_a_seeded_run_with_images_is_the_same_whatever_runs_beside_it(policy):
    alone = TransformersEngine(policy)
    one, _ = await talk(policy, alone, [picture(5)], seed=4)
    await alone.close()
    crowd = TransformersEngine(policy, step_tokens=96)
    pictures = [picture(5), picture(6), picture(5), picture(7)]
    seeds = (8, 5, 4, 6)
    talks = [talk(policy, crowd, [p], seed=s) for p, s in zip(pictures, seeds, strict=True)]
    found = await asyncio.gather(*talks)
    await crowd.close()
    again = found[2][0]
    assert again.tokens.tolist() == one.tokens.tolist()
    assert again.logprobs.tobytes() == one.logprobs.tobytes()


async def test_after_an_update_images_are_seen_with_the_new_weights(policy):
    mine = copy.deepcopy(policy)
    engine = TransformersEngine(mine)
    await talk(mine, engine, [picture(8)], seed=7)
    async with engine.paused():
        with torch.no_grad():
            for name, parameter in mine.model.named_parameters():
                if "vision" in name or "visual" in name:
                    parameter.mul_(1.3)
        await engine.load_weights(1)
    after, _ = await talk(mine, engine, [picture(8)], seed=7)
    await engine.close()
    where = sampled(after)
    plain = score_logprobs(mine, after.tokens, after.images)
    assert np.abs(after.logprobs[where] - plain[where - 1]).max() < 1e-4
    old = score_logprobs(policy, after.tokens, after.images)
    assert np.abs(after.logprobs[where] - old[where - 1]).max() > 1e-4
    assert set(after.weights[where]) == {1}


async def test_images_where_they_do_not_belong_are_refused(policy):
    engine = TransformersEngine(policy)
    transcript = Transcript(ChatFormat(policy.tokenizer, []))
    transcript.open([Message("user", "x", images=[picture(1)])])
    moved = [type(p)(p.start + 1, p.stop + 1, p.image) for p in transcript.images]
    with pytest.raises(ConfigError, match="not what stands for"):
        await engine.generate(transcript.tokens, Sampling(), images=moved)
    with pytest.raises(ConfigError, match="not what stands for"):
        await engine.score(transcript.tokens, images=moved)
    await engine.close()


def test_an_image_that_cannot_be_read_is_said_to_be_so(policy):
    transcript = Transcript(ChatFormat(policy.tokenizer, []))
    transcript.open([Message("user", "here", images=[Image(b"no picture"), picture(2)])])
    assert "[an image that cannot be read]" in policy.tokenizer.decode(transcript.tokens)
    assert [p.image for p in transcript.images] == [picture(2)]


@pytest.mark.parametrize("family", SAVED)
def test_a_saved_policy_sees_the_same(family, tmp_path):
    policy = FAMILIES[family]()
    transcript = Transcript(ChatFormat(policy.tokenizer, []))
    transcript.open([Message("user", "look", images=[picture(1), picture(2)])])
    save_policy(policy, tmp_path / "model")
    again = load_policy(tmp_path / "model", device="cpu")
    plain = score_logprobs(policy, transcript.tokens, transcript.images)
    assert np.array_equal(score_logprobs(again, transcript.tokens, transcript.images), plain)


SHOWN = st.lists(st.integers(0, 3), max_size=3)


@settings(max_examples=25, deadline=None)
@given(SHOWN, st.lists(st.tuples(st.sampled_from(["up", "", "<image>"]), SHOWN), max_size=3))
def test_without_its_image_tokens_a_conversation_is_the_one_without_images(first, turns):
    """Every image stands once, in order, and no token of it is sampled or left anywhere else."""
    policy = LLAVA
    chat = ChatFormat(policy.tokenizer, [])

    def record(see: bool) -> Segment:
        def images(seeds: list[int]) -> list[Image]:
            return [picture(seed) for seed in seeds] if see else []

        transcript = Transcript(chat)
        transcript.open([SYSTEM, Message("user", "look <image>", images=images(first))])
        for turn, (said, seeds) in enumerate(turns):
            transcript.add_turn(as_generation(chat, said), turn)
            transcript.add_observations([Message("tool", "so", images=images(seeds))], turn)
        return transcript.segments()[0]

    segment, blind = record(True), record(False)
    seeds = [*first, *(seed for _, shown in turns for seed in shown)]
    assert [placed.image for placed in segment.images] == [picture(seed) for seed in seeds]
    rest = np.ones(len(segment), bool)
    for placed in segment.images:
        tokens = segment.tokens[placed.start : placed.stop].tolist()
        assert tokens == policy.vision.tokens_of(placed.image)
        assert rest[placed.start : placed.stop].all()
        rest[placed.start : placed.stop] = False
    assert not segment.action_mask[~rest].any()
    assert policy.vision.token not in segment.tokens[rest]
    for name in ("tokens", "origin", "turn"):
        assert getattr(segment, name)[rest].tolist() == getattr(blind, name).tolist()


@pytest.mark.parametrize("same", [True, False])
async def test_a_check_before_the_run_compares_what_is_made_of_pixels(same):
    policy = FAMILIES["llava"]()
    speaker = copy.deepcopy(policy)
    if not same:
        with torch.no_grad():
            speaker.model.model.multi_modal_projector.linear_2.weight.mul_(2)
    engine = TransformersEngine(speaker)
    found = await preflight(policy, engine, dialect("pythonic"), max_tokens=6)
    await engine.close()
    assert [c.name for c in found.checks if not c.ok] == ([] if same else ["log-probabilities"])
