"""A model that would train wrongly or slowly is told from one that trains soundly."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "episodes"))
from episodes_kit import says, tokenizer_of
from loop_kit import make_world

from agentrl.cli import main
from agentrl.cli.check import record_text
from agentrl.core import ModelError, Origin
from agentrl.engines import ScriptedEngine, TransformersEngine, batching
from agentrl.engines.sampling import draw
from agentrl.episodes import dialect
from agentrl.models import Policy, save_policy, tiny_policy
from agentrl.store import RunStore
from agentrl.training.config import load_config
from agentrl.training.loop import train
from agentrl.training.preflight import Preflight, preflight
from agentrl.training.progress import Progress

SIZES = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}


def policy_of(shape: str, *, max_positions: int = 2048, seed: int = 0) -> Policy:
    tokenizer = tokenizer_of(shape)
    policy = tiny_policy(tokenizer.hf, **SIZES, max_positions=max_positions, seed=seed)
    return Policy(policy.model, tokenizer, policy.device)


async def check(shape: str, name: str, *, spoken_by: Policy | None = None, **more) -> Preflight:
    policy = policy_of(shape, **more)
    engine = TransformersEngine(spoken_by or policy)
    try:
        return await preflight(policy, engine, dialect(name), max_tokens=6)
    finally:
        await engine.close()


def bad(found: Preflight) -> list[str]:
    return [check.name for check in found.checks if not check.ok]


@pytest.mark.parametrize(
    ("shape", "name", "wrong"),
    [
        ("qwen25", "hermes", []),
        ("qwen3", "hermes", []),
        ("gemma", "react", []),
        ("glm45", "glm", []),
        ("mistral", "mistral", []),
        ("qwen25", "pythonic", ["calls"]),
        ("qwen3_quiet", "hermes", ["history"]),
        ("deepseek_r1", "deepseek", ["history"]),
    ],
)
async def test_what_is_found_out_about_a_template(shape, name, wrong) -> None:
    found = await check(shape, name)
    assert bad(found) == wrong
    assert found.ok == (not wrong)
    found.raise_if_fatal()
    if wrong == ["calls"]:
        (calls,) = [c for c in found.checks if c.name == "calls"]
        assert calls.fix == "use model.dialect=hermes"


async def test_an_engine_with_other_weights_than_the_learner_is_refused() -> None:
    found = await check("qwen25", "hermes", spoken_by=policy_of("qwen25", seed=1))
    assert bad(found) == ["log-probabilities"]
    with pytest.raises(ModelError, match="other weights"):
        found.raise_if_fatal()


async def test_what_cannot_be_compared_is_not_called_wrong() -> None:
    policy = policy_of("qwen25")
    engine = ScriptedEngine(says("look", "done"), policy.tokenizer)
    assert bad(await preflight(policy, engine, dialect("hermes"))) == []
    assert bad(await check("qwen25", "hermes", max_positions=16)) == []


async def test_the_shown_record_marks_the_trained_tokens_and_no_others() -> None:
    policy = policy_of("qwen25")
    engine = ScriptedEngine(says("look at it", "done"), policy.tokenizer)
    found = await preflight(policy, engine, dialect("hermes"))
    assert found.episode is not None
    text = record_text(found.episode, policy.tokenizer, marks=True)
    assert re.findall("⟦(.*?)⟧", text.plain) == ["look at it<|im_end|>", "done<|im_end|>"]
    coloured = record_text(found.episode, policy.tokenizer, marks=False)
    green = "".join(coloured.plain[s.start : s.end] for s in coloured.spans if "on" in str(s.style))
    assert green == "look at it<|im_end|>done<|im_end|>"
    (segment,) = found.episode.segments
    assert policy.tokenizer.decode(segment.tokens[segment.origin == Origin.SAMPLED]) == green


def test_the_command_says_yes_or_no_by_its_exit_code(tmp_path, capsys) -> None:
    for shape in ("qwen25", "qwen3_quiet"):
        save_policy(policy_of(shape), tmp_path / shape)
    assert main(["check", str(tmp_path / "qwen25"), "--tokens", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["check", str(tmp_path / "qwen25"), "--dialect", "react"]) == 1
    out = capsys.readouterr().out
    assert "use model.dialect=hermes" in out
    assert "tokens of" in out
    assert main(["check"]) == 2
    assert "--run" in capsys.readouterr().err


def test_a_run_begins_with_it_and_stops_where_engine_and_learner_disagree(
    tmp_path, monkeypatch
) -> None:
    world = make_world(tmp_path)
    monkeypatch.chdir(world)
    monkeypatch.syspath_prepend(str(world))
    config = load_config("run.yaml", ["train.steps=1", "train.eval_every=1"])

    def off(logits, temperatures, uniforms):
        tokens, logprobs = draw(logits, temperatures, uniforms)
        return tokens, [value - 0.01 for value in logprobs]

    with monkeypatch.context() as patched:
        patched.setattr(batching, "draw", off)
        with pytest.raises(ModelError, match="log-probabilities"):
            train(config)
    with RunStore.open(world / "run", read_only=True) as store:
        assert list(store.summaries()) == []
    told: list[tuple[str, str]] = []
    progress = Progress()
    monkeypatch.setattr(progress, "stage", lambda name, **_: told.append(("stage", name)))
    monkeypatch.setattr(progress, "note", lambda text: told.append(("note", text)))
    again = load_config("run.yaml", ["train.steps=1", "run.dir=second", "model.dialect=react"])
    train(again, progress=progress)
    assert told[0] == ("stage", "preflight")
    assert [text for kind, text in told if kind == "note" and "preflight, calls" in text]
