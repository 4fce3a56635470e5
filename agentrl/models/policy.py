"""The policy as weights: loading from and saving to a Hugging Face model directory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agentrl.core import ModelError
from agentrl.models.attention import use_packed_attention
from agentrl.models.heads import language_head
from agentrl.models.language import decoder
from agentrl.models.tokenizer import ChatTokenizer
from agentrl.models.vision import KINDS, Vision

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(slots=True)
class Policy:
    """A causal language model with packed attention, its tokenizer and where it lives."""

    model: PreTrainedModel
    tokenizer: ChatTokenizer
    device: torch.device

    @property
    def vision(self) -> Vision | None:
        """How it sees; None for a policy that reads text only."""
        vision = self.tokenizer.vision
        return vision if isinstance(vision, Vision) else None

    @property
    def body(self) -> Any:
        """The decoder: input ids [1, T] to hidden states [1, T, hidden]."""
        return decoder(self.model)

    @property
    def max_positions(self) -> int:
        """Longest sequence that the model's position encoding knows."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[N, hidden] to float32 logits [N, V]."""
        return language_head(self.model)(hidden).float()


def load_policy(
    path: str | Path, *, device: str = "auto", dtype: str = "float32", template: str | None = None
) -> Policy:
    """Load a model directory (or a hub name such as "Qwen/Qwen3-0.6B").

    Args:
        device: "auto" takes CUDA when there is one, else the CPU.
        dtype: "float32", "bfloat16" or "float16".
        template: Jinja source to use instead of the directory's chat template.

    Raises:
        ModelError: what is missing or unfit, and what to do about it.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}", fix=f"use one of {', '.join(DTYPES)}")
    where = _existing(path)
    config = _load_config(where)
    processor = _load_processor(where, config) if _sees(config) else None
    hf = processor.tokenizer if processor else _load_tokenizer(where)
    source = template or getattr(processor, "chat_template", None) or hf.chat_template
    if not isinstance(source, str):
        raise ModelError(
            "the model has no chat template"
            if source is None
            else "the model has several chat templates",
            where=where,
            fix=f"put a Jinja file at {Path(where) / 'chat_template.jinja'}, or pass template=",
        )
    target = torch.device(_best_device() if device == "auto" else device)
    model = _load_model(where, config, DTYPES[dtype]).to(target).eval()
    eos = getattr(model.generation_config, "eos_token_id", None)
    ends = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
    vision = Vision(processor) if processor else None
    tokenizer = ChatTokenizer(hf, source, eos=ends, where=where, vision=vision)
    return make_policy(model, tokenizer, target)


def make_policy(model: PreTrainedModel, tokenizer: ChatTokenizer, device: torch.device) -> Policy:
    """Put a loaded model and tokenizer together; switches packed attention on.

    Raises:
        ModelError: the parts do not fit, or the architecture does something to its logits that
            packed log-probabilities would miss.
    """
    config = model.config.get_text_config()
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > rows:
        raise ModelError(
            f"the tokenizer has ids up to {tokenizer.vocab_size - 1}, the model embeds {rows}",
            where=tokenizer.where,
            fix="take the tokenizer that belongs to the model, or resize its embeddings",
        )
    for name in ("final_logit_softcapping", "attn_logit_softcapping", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise ModelError(
                f"{type(model).__name__} uses {name}, which packed rows do not support yet",
                where=tokenizer.where,
                fix="use a model of the Qwen2, Qwen3, Llama, Mistral or SmolLM families",
            )
    use_packed_attention(model)
    return Policy(model, tokenizer, device)


def save_policy(policy: Policy, path: str | Path) -> None:
    """Write a model directory: config.json, model.safetensors, tokenizer.json, ...

    It appears whole or not at all: an interrupted save leaves what was there before.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with _quiet():
            policy.model.save_pretrained(str(fresh))
            if policy.vision is not None:
                policy.vision.processor.save_pretrained(str(fresh))
        policy.tokenizer.save(fresh)
        _swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, target: Path) -> None:
    fresh.chmod(0o755)
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_name(fresh.name + ".old")
    target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _existing(path: str | Path) -> str:
    """The directory as text, or a hub name as it is."""
    text = str(path)
    local = Path(text).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise ModelError(
                "no config.json: this is not a model directory",
                where=str(local),
                fix="give the directory that save_pretrained or `agentrl` wrote",
            )
        return str(local)
    looks_hub = isinstance(path, str) and text.count("/") == 1 and text[0] not in "./~"
    if local.exists() or not looks_hub:
        raise ModelError("no such directory", where=text, fix="give a model directory")
    return text


@contextmanager
def _readable(where: str, what: str, fix: str) -> Iterator[None]:
    """Turn whatever a foreign file makes transformers raise into a ModelError."""
    try:
        yield
    except Exception as error:  # foreign files fail in any way
        reason = str(error).strip().split("\n")[0][:300]
        raise ModelError(
            f"{what}: {reason or type(error).__name__}", where=where, fix=fix
        ) from error


def _load_config(where: str) -> PretrainedConfig:
    from transformers import AutoConfig

    fix = "give a local model directory, or check the name and the network"
    with _readable(where, "the model's configuration cannot be read", fix):
        return AutoConfig.from_pretrained(where)


def _load_tokenizer(where: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    fix = f"put tokenizer.json and tokenizer_config.json into {where}"
    local = Path(where)
    if local.is_dir() and not any(
        (local / n).exists() for n in ("tokenizer.json", "tokenizer.model", "vocab.json")
    ):
        raise ModelError("the model directory has no tokenizer", where=where, fix=fix)
    with _readable(where, "the tokenizer cannot be read", fix):
        hf = AutoTokenizer.from_pretrained(where)
    if not isinstance(hf, PreTrainedTokenizerFast):
        raise ModelError(f"{type(hf).__name__} is not a fast tokenizer", where=where, fix=fix)
    return hf


def _sees(config: PretrainedConfig) -> bool:
    """Whether it is a vision-language model."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kinds = AutoModelForImageTextToText._model_mapping
    return type(config) in kinds and type(config) not in AutoModelForCausalLM._model_mapping


def _load_processor(where: str, config: PretrainedConfig) -> Any:
    from transformers import AutoProcessor

    if config.model_type not in KINDS:
        raise ModelError(
            f"vision-language models of type {config.model_type} have no packed form yet",
            where=where,
            fix=f"use a model of one of these types: {', '.join(KINDS)}",
        )
    fix = "put the processor's own files beside config.json; some need torchvision installed"
    with _readable(where, "the processor of a vision-language model cannot be read", fix), _quiet():
        return AutoProcessor.from_pretrained(where)


def _load_model(where: str, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    if _sees(config):
        return _from_directory(AutoModelForImageTextToText, where, config, dtype)
    names = config.architectures or []
    causal = not names or any(n.endswith(("ForCausalLM", "LMHeadModel")) for n in names)
    if not causal or type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(
            f"{', '.join(names) or config.model_type} is not a causal language model",
            where=where,
            fix="a policy must be a model that transformers' AutoModelForCausalLM loads",
        )
    return _from_directory(AutoModelForCausalLM, where, config, dtype)


def _from_directory(
    kind: Any, where: str, config: PretrainedConfig, dtype: torch.dtype
) -> PreTrainedModel:
    fix = "put the model's own model.safetensors beside its config.json"
    with _readable(where, "the weights cannot be loaded", fix), _quiet():
        model, report = kind.from_pretrained(
            where, config=config, dtype=dtype, output_loading_info=True
        )
    if missing := sorted(report["missing_keys"]):
        # transformers would go on with random numbers in their place.
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(f"{len(missing)} weights are missing: {some}", where=where, fix=fix)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no loading report: what is wrong becomes an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
