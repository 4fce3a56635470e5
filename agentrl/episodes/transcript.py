"""The token-exact record of a conversation while it grows.

Only what is new is rendered and tokenised; ids that were sampled are kept as they are. What
follows a turn is the difference of two renders, cut at the end-of-turn token, so that whatever a
template puts between messages (Qwen's newline after `<|im_end|>`) is neither lost nor doubled:

    render(user, assistant)                     ...<|im_end|>\\n
    render(user, assistant, tool) + generation  ...<|im_end|>\\n<|im_start|>tool...assistant\\n
    suffix                                                   ^--------------------------------^

A template that rewrites what was said before (stripped thinking) gets a new segment instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from agentrl.core import Generation, Message, Origin, Segment, SegmentBuilder
from agentrl.models import ChatTokenizer

_MARKED = re.compile("\ue000(.*?)\ue001", re.DOTALL)
_PROBE = [Message("user", "q"), Message("assistant", "a")]
_THOUGHT = "<think>\nt\n</think>\n\na"


class ChatFormat:
    """A chat template with a set of tools: what to append after a turn. One per environment."""

    def __init__(self, tokenizer: ChatTokenizer, tools: list[dict[str, Any]]) -> None:
        self.tokenizer = tokenizer
        self.tools = tools
        self.end_of_turn = tokenizer.decode([tokenizer.end_of_turn])
        self._special = re.compile("|".join(map(re.escape, sorted(tokenizer.specials))) or "(?!)")
        closed = self.render(_PROBE, generation_prompt=False)
        cut = closed.rfind(self.end_of_turn)
        self.after_turn = closed[cut + len(self.end_of_turn) :] if cut >= 0 else ""
        self.rewrites_history = self._rewrites_history()

    def render(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        return self.tokenizer.render(
            list(messages), self.tools, generation_prompt=generation_prompt
        )

    def guard(self, message: Message) -> Message:
        """Mark control tokens inside a message's content, so that they are encoded as text."""
        content = message.content.replace("\ue000", "\ufffd").replace("\ue001", "\ufffd")
        marked = self._special.sub(lambda m: f"\ue000{m.group()}\ue001", content)
        return message if marked == message.content else replace(message, content=marked)

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text; what `guard` marked never becomes a control token."""
        if "\ue000" not in text:
            return self.tokenizer.encode(text)
        ids: list[int] = []
        for i, piece in enumerate(_MARKED.split(text)):
            encode = self.tokenizer.encode_plain if i % 2 else self.tokenizer.encode
            ids.extend(encode(piece) if piece else [])
        return ids

    def pieces(
        self, before: Sequence[Message], new: Sequence[Message], plain: Origin
    ) -> list[tuple[str, Origin]] | None:
        """The text that `new` messages and the generation prompt add after `before`, by origin.

        Returns None when the template does not simply append them.
        """
        done = self.render(before, generation_prompt=False) if before else ""
        runs = [list(run) for _, run in groupby(new, key=lambda m: m.hint)]
        seen, out = list(before), []
        for i, run in enumerate(runs):
            seen += [self.guard(m) for m in run]
            text = self.render(seen, generation_prompt=i == len(runs) - 1)
            if not text.startswith(done):
                return None
            out.append((text[len(done) :], Origin.HINT if run[0].hint else plain))
            done = text
        return out

    def suffix(self, observations: Sequence[Message]) -> list[tuple[str, Origin]] | None:
        """What to append after the end-of-turn token of a turn; None as for `pieces`."""
        pieces = self.pieces(_PROBE, observations, Origin.OBSERVATION)
        if pieces is None:
            return None
        return [(self.after_turn, Origin.OBSERVATION), *pieces]

    def _rewrites_history(self) -> bool:
        """True when an earlier turn looks different once there are later ones."""
        said = [Message("user", "q"), Message("assistant", _THOUGHT)]
        early = self.render(said, generation_prompt=False)
        late = self.render([*said, Message("user", "q")], generation_prompt=True)
        opened = self.render(said[:1], generation_prompt=True)
        return not (late.startswith(early) and early.startswith(opened + _THOUGHT))


class Transcript:
    """One conversation: `open`, then `add_turn` and `add_observations` in alternation."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._done: list[Segment] = []
        self._segment = SegmentBuilder()
        self._messages: list[Message] = []
        self._text = ""
        self._ended = True

    @property
    def tokens(self) -> list[int]:
        """Ids of the current segment: what the engine is given."""
        return self._segment.tokens

    def open(self, messages: Sequence[Message]) -> None:
        """Render the first messages and the generation prompt."""
        pieces = self._chat.pieces([], messages, Origin.PROMPT)
        if pieces is None:  # the template moves messages about: keep the text, not the hints' place
            text = self._chat.render(
                [self._chat.guard(m) for m in messages], generation_prompt=True
            )
            hinted = any(m.hint for m in messages)
            pieces = [(text, Origin.HINT if hinted else Origin.PROMPT)]
        self._messages = list(messages)
        self._append(pieces, turn=-1)

    def add_turn(self, generation: Generation, turn: int) -> str:
        """Append a turn as it was sampled; returns its text without the end-of-turn token."""
        tokens = generation.tokens.tolist()
        self._segment.append_sampled(
            tokens, generation.logprobs.tolist(), generation.weights.tolist(), turn
        )
        self._ended = generation.finish_reason == "stop"
        said = self._chat.tokenizer.decode(tokens[:-1] if self._ended else tokens)
        self._messages.append(Message("assistant", said))
        self._text += said + self._chat.end_of_turn
        return said

    def add_observations(self, observations: Sequence[Message], turn: int) -> None:
        """Append what the environment answered to that turn, and the next generation prompt."""
        pieces = None if self._chat.rewrites_history else self._chat.suffix(observations)
        self._messages += observations
        if pieces is None:
            self._extend_or_reopen(turn)
            return
        if not self._ended:  # cut by the length limit: the turn is closed for it, untrained
            pieces = [(self._chat.end_of_turn, Origin.OBSERVATION), *pieces]
        self._append(pieces, turn)

    def segments(self) -> list[Segment]:
        return [*self._done, self._segment.build()]

    def _append(self, pieces: list[tuple[str, Origin]], turn: int) -> None:
        for origin, run in groupby(pieces, key=lambda piece: piece[1]):
            text = "".join(piece for piece, _ in run)
            self._text += text
            self._segment.append(self._chat.encode(text), origin, turn)

    def _extend_or_reopen(self, turn: int) -> None:
        """Compare with a full render: append the rest, or begin a new segment."""
        full = self._chat.render(
            [self._chat.guard(m) for m in self._messages], generation_prompt=True
        )
        if full.startswith(self._text):
            rest = full[len(self._text) :]
            if not self._ended:
                rest = self._chat.end_of_turn + rest
                self._text = self._text[: -len(self._chat.end_of_turn)]
            self._append([(rest, Origin.OBSERVATION)], turn)
            return
        self._done.append(self._segment.build())
        self._segment, self._text = SegmentBuilder(), ""
        self._append([(full, Origin.PROMPT)], turn)
