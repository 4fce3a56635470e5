"""Small policies of our own: a byte-level BPE tokenizer and a few million Qwen3-style weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from agentrl.core import ConfigError
from agentrl.models.policy import Policy, make_policy
from agentrl.models.template import builtin_template
from agentrl.models.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerFast

COMPACT_SPECIALS = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
# Words with their leading space or sign, numbers, signs with the line ends behind them, spaces.
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    specials: tuple[str, ...] = COMPACT_SPECIALS,
    *,
    whole_numbers: int = 0,
    words: str = WORDS,
    eos: str = "<|end|>",
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; the same texts give the same tokenizer.

    Args:
        vocab_size: upper bound on the number of ids, specials, bytes and numbers included.
        specials: control tokens; they get the first ids.
        whole_numbers: every number from 0 below this is one token (at most 1000); longer digit
            strings are cut into threes from the left. 0: each digit is a token.
        words: regular expression that cuts text into the pieces that merges stay inside;
            `%s` stands for numbers.
        eos: the special that ends a turn.

    Raises:
        ConfigError: the vocabulary is too small, or `eos` is no special.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    numbers = _numbers(whole_numbers)
    learned = vocab_size - len(numbers)
    _check_vocabulary(vocab_size, specials, len(numbers), eos)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer(words, 1)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=learned,
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if numbers:
        tokenizer = _with_numbers(tokenizer, numbers, words, len(str(whole_numbers - 1)))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=eos,
        pad_token=eos,
        clean_up_tokenization_spaces=False,
    )


def _numbers(below: int) -> list[str]:
    """Those that need a token: the digits themselves are bytes."""
    if not 0 <= below <= 1000:
        raise ConfigError(f"whole_numbers is {below}", fix="use 0 to 1000")
    return [str(n) for n in range(10, below)]


def _check_vocabulary(size: int, specials: tuple[str, ...], numbers: int, eos: str) -> None:
    if eos not in specials:
        raise ConfigError(f"eos {eos!r} is not one of the specials {specials}")
    least = len(specials) + 256 + numbers
    if size < least:
        raise ConfigError(
            f"a vocabulary of {size} has no room for {len(specials)} specials, 256 bytes and "
            f"{numbers} numbers",
            fix=f"use at least {least}",
        )


def _pre_tokenizer(words: str, digits: int) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    number = r"\p{N}" if digits == 1 else rf"\p{{N}}{{1,{digits}}}"
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words % number), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _with_numbers(tokenizer: Tokenizer, numbers: list[str], words: str, digits: int) -> Tokenizer:
    """Add the numbers as whole words of the vocabulary.

    No merge leads to them (digits were kept apart in training); `ignore_merges` takes a word
    that the vocabulary holds as it is.
    """
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    vocab = spec["model"]["vocab"]
    for number in numbers:
        vocab[number] = len(vocab)
    spec["model"]["ignore_merges"] = True
    out = Tokenizer.from_str(json.dumps(spec))
    out.pre_tokenizer = _pre_tokenizer(words, digits)
    return out


def tiny_policy(
    tokenizer: PreTrainedTokenizerFast,
    template: str | None = None,
    *,
    hidden: int = 256,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 64,
    intermediate: int | None = None,
    max_positions: int = 4096,
    initializer_range: float = 0.02,
    seed: int = 0,
    device: str = "cpu",
) -> Policy:
    """A Qwen3-architecture policy with fresh float32 weights and tied embeddings.

    Args:
        template: Jinja source; None takes the compact template that ships with agentrl.
        intermediate: width of the feed-forward layers; None: 3 * hidden.
        initializer_range: standard deviation of the fresh weights. At widths of a few hundred,
            1 / sqrt(hidden) learns to copy from the context in a fraction of the steps.
        seed: the same seed gives the same weights.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    chat = ChatTokenizer(tokenizer, template or builtin_template("compact"))
    config = Qwen3Config(
        vocab_size=chat.vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate or 3 * hidden,
        max_position_embeddings=max_positions,
        initializer_range=initializer_range,
        tie_word_embeddings=True,
        eos_token_id=list(chat.stop_ids),
        bos_token_id=None,
        pad_token_id=chat.end_of_turn,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).eval()
    target = torch.device(device)
    return make_policy(model.to(target), chat, target)
