"""Model directories: saved whole, loaded exactly, refused readably; packed equals plain."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agentrl.core import ModelError
from agentrl.models import (
    CausalPacking,
    ChatTokenizer,
    Policy,
    ScoreRequest,
    builtin_template,
    load_policy,
    make_policy,
    save_policy,
    score_logprobs,
    score_tokens,
    tiny_policy,
)

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1600,
}
FAMILIES = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
}


@pytest.fixture(scope="module")
def policy(hf_tokenizer: PreTrainedTokenizerFast) -> Policy:
    return tiny_policy(hf_tokenizer, hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16)


@pytest.fixture
def saved(policy: Policy, tmp_path: Path) -> Path:
    save_policy(policy, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_forward_equals_the_plain_one(
    hf_tokenizer: PreTrainedTokenizerFast, family: str
) -> None:
    torch.manual_seed(1)
    model = FAMILIES[family]().eval()
    for weight in model.parameters():
        weight.data.mul_(3.0)
    lengths = [1, 7, 64, 33]
    rows = [torch.randint(0, 1600, (n,)) for n in lengths]
    with torch.no_grad():
        plain = torch.cat([model(r[None]).logits[0] for r in rows])
        chat = ChatTokenizer(hf_tokenizer, builtin_template("compact"))
        policy = make_policy(model, chat, torch.device("cpu"))
        hidden = policy.body(
            input_ids=torch.cat(rows)[None],
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            use_cache=False,
            packing=CausalPacking([0, 1, 8, 72, 105]),
        ).last_hidden_state[0]
        packed = policy.logits(hidden)
    assert plain.std() > 0.1
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


def test_packed_scores_equal_the_plain_ones_whatever_the_chunks(policy: Policy) -> None:
    rng = np.random.default_rng(0)
    known = policy.tokenizer.vocab_size
    rows = [rng.integers(0, known, n).tolist() for n in (2, 90, 1, 17, 40)]
    plain = [score_logprobs(policy, r) for r in rows]
    for row_tokens, head_rows in ((10_000, 1000), (60, 7), (1, 1)):
        scored = score_tokens(
            policy, [ScoreRequest(r) for r in rows], row_tokens=row_tokens, head_rows=head_rows
        )
        for a, b in zip(plain, scored, strict=True):
            np.testing.assert_allclose(b.logprobs, a, atol=1e-5)
            assert b.entropy is None
            assert b.hidden is None


def test_a_saved_policy_comes_back_the_same(policy: Policy, saved: Path) -> None:
    again = load_policy(saved)
    assert again.tokenizer.template == policy.tokenizer.template
    assert again.tokenizer.stop_ids == policy.tokenizer.stop_ids
    assert again.tokenizer.specials == policy.tokenizer.specials
    text = "<|user|>def f():\n\treturn 123<|end|>"
    assert again.tokenizer.encode(text) == policy.tokenizer.encode(text)
    ids = policy.tokenizer.encode(text)
    np.testing.assert_array_equal(score_logprobs(again, ids), score_logprobs(policy, ids))


def test_saving_over_an_older_save_leaves_one_whole_directory(
    hf_tokenizer: PreTrainedTokenizerFast, saved: Path
) -> None:
    other = tiny_policy(hf_tokenizer, hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, seed=9)
    save_policy(other, saved)
    assert load_policy(saved).model.config.num_hidden_layers == 1
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_older_one(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy.model, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        save_policy(policy, saved)
    assert [p.name for p in saved.parent.iterdir()] == ["model"]
    load_policy(saved)


def test_the_seed_decides_the_weights(hf_tokenizer: PreTrainedTokenizerFast) -> None:
    sizes = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    state = torch.random.get_rng_state()
    a, b, c = (tiny_policy(hf_tokenizer, seed=s, **sizes).model.state_dict() for s in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)
    assert torch.equal(state, torch.random.get_rng_state())


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _no_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def _bert(model: Path) -> None:
    BertConfig(architectures=["BertForMaskedLM"]).save_pretrained(str(model))


BROKEN = {
    "no directory": (lambda m: shutil.rmtree(m), "no such directory"),
    "no config": (lambda m: (m / "config.json").unlink(), "no config.json"),
    "bad config": (lambda m: (m / "config.json").write_text("{"), "configuration cannot be read"),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), "has no tokenizer"),
    "bad tokenizer": (
        lambda m: (m / "tokenizer.json").write_text("{}"),
        "tokenizer cannot be read",
    ),
    "no template": (_no_template, "chat_template.jinja"),
    "bad template": (lambda m: (m / "chat_template.jinja").write_text("{% if %}"), "valid Jinja"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "weights cannot be loaded"),
    "cut weights": (
        lambda m: (m / "model.safetensors").write_bytes(b"\x10\x00"),
        "weights cannot be loaded",
    ),
    "no language model": (_bert, "not a causal language model"),
    "more layers": (
        lambda m: _edit(m / "config.json", num_hidden_layers=3, layer_types=["full_attention"] * 3),
        "weights are missing: model.layers.2.",
    ),
    "small embedding": (lambda m: _edit(m / "config.json", vocab_size=8), "weights cannot be load"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_directory_is_refused_readably(saved: Path, case: str) -> None:
    damage, message = BROKEN[case]
    damage(saved)
    with pytest.raises(ModelError) as caught:
        load_policy(saved)
    assert message in str(caught.value)
    assert str(saved) in str(caught.value) or "chat template" in str(caught.value)
    assert caught.value.fix


def test_unknown_dtype_names_the_known_ones(saved: Path) -> None:
    with pytest.raises(ModelError, match="unknown dtype 'float8'") as caught:
        load_policy(saved, dtype="float8")
    assert "bfloat16" in str(caught.value)


def test_a_template_can_be_given_instead(saved: Path) -> None:
    (saved / "chat_template.jinja").unlink()
    assert load_policy(saved, template=builtin_template("compact")).tokenizer.end_of_turn == 4


def test_a_tokenizer_of_another_model_is_refused(hf_tokenizer: PreTrainedTokenizerFast) -> None:
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, "vocab_size": 300}))
    chat = ChatTokenizer(hf_tokenizer, builtin_template("compact"))
    with pytest.raises(ModelError, match="the model embeds 300"):
        make_policy(model, chat, torch.device("cpu"))


def test_the_package_ships_its_templates() -> None:
    assert "<|assistant|>" in builtin_template("compact")
