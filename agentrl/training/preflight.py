"""Before hours are spent: does this model, with its template, dialect and engine, train soundly?

What is wrong here shows otherwise as a reward that never rises: a template that rewrites every
turn, calls that nobody reads, a stop token that never comes, log-probabilities of another model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import (
    Engine,
    Episode,
    Image,
    Message,
    ModelError,
    Sampling,
    Task,
    ToolCall,
)
from agentrl.episodes import ChatFormat, Dialect, Transcript, instructions
from agentrl.episodes.dialects.detect import detect_dialect, reads, written_calls
from agentrl.episodes.rerender import as_generation

if TYPE_CHECKING:
    from agentrl.models import Policy

LOOKUP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Read one line of a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "line": {"type": "integer"}},
            "required": ["path", "line"],
        },
    },
}
"""The tool of a check without a run file."""

_TEXT = "naïve 日本語 🙂‍↔️ \tx  = 1\n\n\n<|im_end|></s>[INST] 0123456789"
_PROMPT = [Message("system", "You repair code."), Message("user", "Find the bug in a b.py.")]
# Largest difference of log-probabilities that rounding explains, by the weights' number format.
_TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.25}


@dataclass(slots=True, frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        ok: the answer is good; a bad one that is not `fatal` costs speed or reward.
        fatal: what would be learned is wrong.
        detail: what was found, in words; `fix`: what to do about it.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    fatal: bool = False


@dataclass(slots=True)
class Preflight:
    """All answers, and a short conversation with the model as it would be trained on."""

    checks: list[Check] = field(default_factory=list)
    episode: Episode | None = None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def raise_if_fatal(self) -> None:
        """Raises ModelError for what would make training wrong."""
        for check in self.checks:
            if check.fatal and not check.ok:
                raise ModelError(check.detail, where=f"preflight, {check.name}", fix=check.fix)


async def preflight(
    policy: Policy,
    engine: Engine,
    speaks: Dialect,
    tools: Sequence[dict[str, Any]] = (LOOKUP,),
    *,
    max_tokens: int = 24,
) -> Preflight:
    """Look at everything; takes some renders, two short generations and one forward pass.

    Args:
        tools: what the policy would be offered.
        max_tokens: ids of each of the two turns that are sampled.

    Raises:
        ModelError: the template fails on a plain conversation with tools.
        InfraError: the engine broke.
    """
    told = instructions(speaks, tools)
    chat = ChatFormat(policy.tokenizer, list(tools), told)
    found = Preflight([_history(chat), _roles(chat), _calls(chat, speaks), _end(chat)])
    found.checks += [_text(chat), _exact(chat, speaks)]
    found.episode = await _converse(chat, engine, max_tokens)
    found.checks.append(_agreement(policy, found.episode))
    return found


def _history(chat: ChatFormat) -> Check:
    name = "history"
    if chat.rewrites["tool"]:
        return Check(
            name,
            False,
            "the template rewrites earlier turns at every tool result: each turn is a segment of "
            "its own, and an episode of n turns is computed n times",
            "give a template that keeps what was said (model.template), for thinking models one "
            "that keeps thoughts within a run of tool calls",
        )
    if chat.rewrites["user"]:
        return Check(
            name, True, "only appends over tool calls; a user message in between opens a segment"
        )
    return Check(name, True, "only ever appends: an episode is one segment")


def _roles(chat: ChatFormat) -> Check:
    traits = chat.traits
    lacks = [
        said
        for has, said in (
            (traits.system, "system messages are said by the user"),
            (traits.tool_role, "tool results are said by the user"),
            (traits.shows_tools or not chat.tools, "tools are told in the system message"),
        )
        if not has
    ]
    return Check("roles", True, "; ".join(lacks) or "system, user, tool messages and tools shown")


def _calls(chat: ChatFormat, speaks: Dialect) -> Check:
    name = "calls"
    written = written_calls(chat.tokenizer)
    if written is None:
        return Check(name, True, f"the template writes no calls; {speaks.name} is taught")
    text, calls = written
    if reads(speaks.name, text, calls):
        return Check(name, True, f"{speaks.name} reads what the template writes")
    better = detect_dialect(chat.tokenizer)
    known = reads(better, text, calls)
    return Check(
        name,
        False,
        f"{speaks.name} does not read the calls that the template writes: {text[:80]!r}",
        f"use model.dialect={better}"
        if known
        else "no dialect reads them: add one, or give another template (model.template)",
    )


def _end(chat: ChatFormat) -> Check:
    tokenizer = chat.tokenizer
    stops = ", ".join(tokenizer.decode([stop]) for stop in tokenizer.stop_ids)
    if chat.end_of_turn:
        return Check("end of turn", True, f"{chat.end_of_turn}; stops at {stops}")
    return Check("end of turn", True, f"nothing closes a message; stops at {stops}")


def _text(chat: ChatFormat) -> Check:
    name, tokenizer = "text", chat.tokenizer
    back = tokenizer.decode(tokenizer.encode_plain(_TEXT))
    if back != _TEXT:
        return Check(
            name,
            False,
            f"text does not come back from its tokens: {back!r}",
            "the tokenizer normalises text; the policy cannot see or write it exactly",
        )
    return Check(name, True, "comes back exactly; control tokens in it stay text")


def _exact(chat: ChatFormat, speaks: Dialect) -> Check:
    """A conversation as the recorder appends it, against the template's render of it all."""
    name = "record"
    calls = [ToolCall(_name_of(chat), {}, id="a00000001"), ToolCall("g", {}, id="a00000002")]
    plain = speaks.format(calls, chat.tools)
    for said in (plain, _as_written(chat, plain)):
        try:
            if _same_as_rendered(chat, said, calls):
                return Check(name, True, "turn by turn equals the template's own render")
        except ModelError:
            return Check(name, True, "not compared: the template takes no such history")
    return Check(
        name,
        False,
        "what is appended turn by turn differs from the template's own render of it all",
        "give a template whose history does not depend on the messages that follow",
    )


def _as_written(chat: ChatFormat, text: str) -> str:
    """A message as the template writes it when it comes last, with what it puts around it."""
    asked = list(_PROMPT)
    opened = chat.render(asked, generation_prompt=True)
    said = [*asked, Message("assistant", text)]
    return (
        chat.render(said, generation_prompt=False)
        .removeprefix(opened)
        .split(chat.end_of_turn or "\0")[0]
    )


def _same_as_rendered(chat: ChatFormat, said: str, calls: list[ToolCall]) -> bool:
    results = [Message("tool", "one", call_id=c.id, name=c.name) for c in calls]
    transcript, messages = Transcript(chat), list(_PROMPT)
    transcript.open(messages)
    for turn in range(2):
        transcript.add_turn(as_generation(chat, said, ended=bool(chat.end_of_turn)), turn)
        transcript.add_observations(results, turn, calls)
        messages += [Message("assistant", said), *results]
    full = chat.render(messages, generation_prompt=True)
    got = chat.tokenizer.decode(transcript.segments()[-1].tokens.tolist())
    return got == chat.tokenizer.decode(chat.encode(full))


def _name_of(chat: ChatFormat) -> str:
    return str(chat.tools[0]["function"]["name"]) if chat.tools else "f"


def _opening(chat: ChatFormat) -> list[Message]:
    """For a policy that sees, with something to look at."""
    if chat.tokenizer.vision is None:
        return _PROMPT
    from PIL import Image as Picture

    buffer = io.BytesIO()
    Picture.linear_gradient("L").resize((96, 64)).convert("RGB").save(buffer, "PNG")
    system, user = _PROMPT
    return [system, replace(user, images=[Image(buffer.getvalue())])]


async def _converse(chat: ChatFormat, engine: Engine, max_tokens: int) -> Episode:
    """Two short turns with a tool result between them, sampled by the engine."""
    prompt = _opening(chat)
    episode = Episode(Task("preflight", _PROMPT[1].content), id="preflight", prompt=prompt)
    transcript = Transcript(chat)
    transcript.open(prompt)
    sampling = Sampling(1.0, max_tokens, chat.tokenizer.stop_ids)
    try:
        for turn in range(2):
            said = await engine.generate(
                transcript.tokens,
                sampling,
                session=episode.id,
                seed=turn,
                images=transcript.images,
            )
            if not len(said.tokens):
                break
            transcript.add_turn(said, turn)
            if turn == 0:
                result = Message("tool", "3: return a - b", call_id="a00000001", name="lookup")
                transcript.add_observations([result], turn)
    finally:
        await engine.end_session(episode.id)
    episode.segments = transcript.segments()
    return episode


def _agreement(policy: Policy, episode: Episode) -> Check:
    """Engine and learner see the same model."""
    name = "log-probabilities"
    weights = np.concatenate([s.weights[s.action_mask] for s in episode.segments])
    if not len(weights):
        return Check(name, True, "not compared: the prompt leaves the model no room for a token")
    if (weights < 0).all():
        return Check(name, True, "not compared: a script speaks in the place of the policy")
    engine, learner = _both(policy, episode)
    worst, dtype = float(np.abs(engine - learner).max()), _dtype(policy)
    detail = f"engine and learner differ by at most {worst:.1e} over {len(engine)} tokens, {dtype}"
    return Check(
        name,
        worst <= _TOLERANCE.get(dtype, 0.25),
        detail,
        "the engine runs other weights or another template than the learner: restart it, and "
        "check that both read the same model directory in the same number format",
        fatal=True,
    )


def _both(policy: Policy, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """float64[N] each: what the engine stored, and what the learner computes."""
    import torch

    from agentrl.learner import LearnerSettings
    from agentrl.learner.rows import make_rows
    from agentrl.learner.trunk import Trunk

    rows = make_rows([episode])
    trunk = Trunk(policy.model, LearnerSettings(), policy.vision)
    with torch.no_grad():
        found = [trunk.logprobs(trunk.pack([row]))[0].cpu().numpy() for row in rows]
    return np.concatenate([row.behave for row in rows]), np.concatenate(found).astype(np.float64)


def _dtype(policy: Policy) -> str:
    return str(policy.model.get_input_embeddings().weight.dtype).removeprefix("torch.")
