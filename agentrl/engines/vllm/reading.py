"""From what vLLM answers to what an engine gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import ConfigError, Generation, InfraError, TokenScores
from agentrl.core.engine import FinishReason

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer

_REASONS: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}


def nothing() -> Generation:
    """What a context that already fills the model is continued by."""
    return Generation(
        np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int32), "length"
    )


def generation(
    tokens: Sequence[int],
    logprobs: Sequence[float],
    weights: np.ndarray,
    reason: str | None,
    where: str,
) -> Generation:
    """Raises `InfraError("bad_logits")` for NaN: JSON and comparisons would hide it."""
    found = np.asarray(logprobs, np.float32)
    if not np.isfinite(found).all():
        raise InfraError(
            "bad_logits",
            f"weights version {weights[-1]} gives log-probabilities that are not finite",
            where=where,
            fix="the last update broke the weights: resume from the checkpoint before it with a "
            "lower learning rate or a tighter gradient clip",
        )
    return Generation(np.asarray(tokens, np.int32), found, weights, _REASONS.get(reason, "aborted"))


def spread(spans: Iterable[tuple[str, int, int]], count: int) -> np.ndarray:
    """Version of each token, int32[count], from spans (version, start, end); weights that no
    update has named yet are version 0."""
    out = np.zeros(count, np.int32)
    for version, start, end in spans:
        out[start:end] = int(version) if version.lstrip("-").isdigit() else 0
    return out


def read_scores(
    entries: Sequence[Mapping[Any, Any] | None] | None, ids: Sequence[int], start: int
) -> TokenScores:
    """Scores of ids[start:] from vLLM's prompt log-probabilities, one entry a prompt token.

    Entries map token ids (their text, over HTTP) to an object or mapping with the `logprob`.
    """
    if entries is None or len(entries) != len(ids):
        raise InfraError("engine_lost", "vLLM gave no log-probabilities of the prompt")
    out = np.empty(len(ids) - start, np.float32)
    for i in range(start, len(ids)):
        entry: Mapping[Any, Any] = entries[i] or {}
        found = entry.get(ids[i], entry.get(str(ids[i])))
        if found is None:
            raise InfraError("engine_lost", f"vLLM left out the log-probability of token {i}")
        value = found["logprob"] if isinstance(found, Mapping) else found.logprob
        out[i - start] = np.nan if value is None else value
    if np.isnan(out).any():
        raise InfraError("bad_logits", "vLLM gives log-probabilities that are NaN")
    return TokenScores(out)


def encoded(tokenizer: ChatTokenizer | None, text: str) -> list[int]:
    """Raises ConfigError without a tokenizer."""
    if tokenizer is None:
        raise ConfigError("this engine was given no tokenizer", fix="pass tokenizer=")
    return tokenizer.encode_plain(text)


def check_span(start: int, length: int, longest: int) -> None:
    """Raises ConfigError: nothing can be scored from there, or not in so long a sequence."""
    if not 1 <= start <= length:
        raise ConfigError(f"asked to score from token {start} of {length}")
    if length >= longest:
        raise ConfigError(
            f"asked to score {length} tokens; this vLLM takes at most {longest - 1}",
            fix="raise engine.max_model_len",
        )


def refuse_more_than_logprobs(entropy: bool, hidden: bool, lora_rank: int) -> None:
    """Raises ConfigError.

    With adapters enabled vLLM 0.32 indexes the rows of prompt log-probabilities as if they were the
    sampled ones: its CPU build breaks down over it.
    """
    if lora_rank:
        raise ConfigError(
            "vLLM does not score given tokens while adapters are enabled",
            fix="score with a transformers engine over the learner's policy, or set lora_rank=0",
        )
    if entropy or hidden:
        raise ConfigError(
            "vLLM gives log-probabilities of given tokens only, no entropy and no hidden states",
            fix="score with a transformers engine over the learner's policy",
        )
