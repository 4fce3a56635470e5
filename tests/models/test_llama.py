"""The decoder written for CPUs against its slow twin, transformers' own forward pass."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest
import torch
import transformers

from agentrl.models import CausalPacking, llama
from agentrl.models.attention import use_packed_attention

TOKENS, BOUNDS = 23, [0, 9, 23]


def make(family: str, **settings: Any) -> Any:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        rms_norm_eps=1e-5,
        **settings,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    with torch.no_grad():  # fresh norms are ones and fresh biases zeros, which hides mistakes
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.3 * torch.randn_like(p))
    for module in model.modules():  # transformers rounds every norm to float32
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = MethodType(norm_in_float64, module)
    use_packed_attention(model)
    return model


def norm_in_float64(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.variance_epsilon)


def gradients(model: Any, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    pull = torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype).view(hidden.shape)
    (hidden * pull.sin()).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Llama", {}),
        (
            "Llama",
            {
                "attention_bias": True,
                "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
            },
        ),
        ("Qwen2", {}),
        ("Qwen3", {}),
        ("Mistral", {"sliding_window": None}),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1 << 17])
def test_decoder_equals_its_slow_twin(
    family: str, settings: dict[str, Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "CHUNK", chunk)
    monkeypatch.setattr(llama, "LEAST", 8)
    model = make(family, **settings)
    assert llama.why_slow(model) == ""
    tokens = torch.randint(0, 32, (TOKENS,), generator=torch.Generator().manual_seed(1))
    position = torch.cat([torch.arange(9), torch.arange(14)])
    packing = CausalPacking(BOUNDS)
    slow = model.base_model(
        input_ids=tokens[None], position_ids=position[None], use_cache=False, packing=packing
    ).last_hidden_state[0]
    expected = gradients(model, slow)
    fast = llama.decode(model.base_model, tokens, position, packing)
    found = gradients(model, fast)

    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-6)  # angles are float32
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=name)


def test_closed_form_gradients_are_the_numerical_ones() -> None:
    torch.manual_seed(0)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    turn = torch.polar(torch.ones(5, 1, 2).double(), torch.randn(5, 1, 2).double())
    assert torch.autograd.gradcheck(llama._Norm.apply, (leaf(5, 4), leaf(4), 1e-5))
    for norm in (leaf(4), None):
        heads = (leaf(5, 3), leaf(8, 3), leaf(8), norm, 1e-5, turn)
        assert torch.autograd.gradcheck(llama._Heads.apply, heads)
    feed = (leaf(5, 3), leaf(5, 3), leaf(7, 3), leaf(7, 3), leaf(3, 7))
    assert torch.autograd.gradcheck(llama._Feed.apply, feed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.to(torch.bfloat16), "bfloat16"),
        (lambda m: m.base_model.layers[0].mlp.register_module("up_proj", Odd(16, 24)), "Odd"),
        (lambda m: setattr(m.config, "hidden_act", "gelu"), "SwiGLU"),
        (lambda m: setattr(m.base_model, "gradient_checkpointing", True), "checkpointing"),
    ],
)
def test_what_the_decoder_has_not_is_said(change: Any, reason: str) -> None:
    model = make("Llama")
    change(model)
    assert reason in llama.why_slow(model)


def test_other_families_take_their_own_forward_pass() -> None:
    assert "GPTNeoXModel" in llama.why_slow(
        transformers.GPTNeoXForCausalLM(
            transformers.GPTNeoXConfig(
                vocab_size=8,
                hidden_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=8,
            )
        )
    )


class Odd(torch.nn.Linear):
    """As an adapter or a quantised layer would be."""
