"""The token-exact record of a conversation while it grows.

Only what is new is rendered and tokenised; ids that were sampled are kept as they are. A template
that rewrites what was said before (stripped thinking) gets a new segment instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from agentrl.core import Generation, Message, ModelError, Origin, Segment, SegmentBuilder, ToolCall
from agentrl.episodes.chatformat import ChatFormat, Pieces


class Transcript:
    """One conversation: `open`, then `add_turn` and `add_observations` in alternation."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._done: list[Segment] = []
        self._segment = SegmentBuilder()
        self._messages: list[Message] = []
        self._text = ""
        self._stop: str | None = None

    @property
    def tokens(self) -> list[int]:
        """Ids of the current segment: what the engine is given."""
        return self._segment.tokens

    def open(self, messages: Sequence[Message]) -> None:
        """Render the first messages and the generation prompt."""
        self._messages = [self._chat.guard(m) for m in messages]
        text = self._chat.render(self._messages, generation_prompt=True)
        self._append(self._chat.pieces(self._messages, text, 0, Origin.PROMPT), turn=-1)

    def add_turn(self, generation: Generation, turn: int) -> str:
        """Append a turn as it was sampled; returns its text without the token that ended it."""
        tokens = generation.tokens.tolist()
        self._segment.append_sampled(
            tokens, generation.logprobs.tolist(), generation.weights.tolist(), turn
        )
        ended = generation.finish_reason == "stop"
        said = tokens[:-1] if ended else tokens
        self._stop = self._chat.tokenizer.decode(tokens[-1:]) if ended else None
        text = self._chat.tokenizer.decode(said)
        guarded = self._chat.guard_sampled(said, text)
        self._messages.append(Message("assistant", guarded))
        self._text += guarded
        return text

    def add_observations(
        self, observations: Sequence[Message], turn: int, calls: Sequence[ToolCall] = ()
    ) -> None:
        """Append what the environment answered to that turn, and the next generation prompt.

        Args:
            calls: what the turn asked for; needed only by templates that refuse a history in
                which calls are text.
        """
        new = [self._chat.guard(m) for m in observations]
        self._messages[-1].calls = [c for c in calls if c.error is None]
        self._messages += new
        rewrites = self._chat.rewrites
        if any(rewrites["tool" if m.role == "tool" else "user"] for m in new):
            self._extend_or_reopen(new, turn)
        else:
            self._follow(self._chat.following(new), turn)

    def freeze(self) -> None:
        """What stands here so far was sampled for another record: it is context in this one."""
        context = self._segment.tokens
        self._done, self._segment = [], SegmentBuilder()
        self._segment.append(context, Origin.PROMPT, -1)

    def segments(self) -> list[Segment]:
        return [*self._done, self._segment.build()]

    def _append(self, pieces: Pieces, turn: int) -> None:
        for origin, run in groupby(pieces, key=lambda piece: piece[1]):
            text = "".join(piece for piece, _ in run)
            self._text += text
            self._segment.append(self._chat.encode(text), origin, turn)

    def _follow(self, pieces: Pieces, turn: int) -> None:
        """Append what follows a turn, without what the turn itself ended with.

        A turn that stopped has closed itself, whichever stop token it took; where the next
        message's marker does that (GLM), only that very marker counts. A turn that was cut off is
        closed for the policy, untrained.
        """
        closing = self._chat.end_of_turn or self._stop or ""
        first, origin = pieces[0] if pieces else ("", Origin.OBSERVATION)
        if self._stop is not None and closing and first.startswith(closing):
            self._text += closing
            pieces = [(first[len(closing) :], origin), *pieces[1:]]
        self._append([piece for piece in pieces if piece[0]], turn)

    def _extend_or_reopen(self, new: Sequence[Message], turn: int) -> None:
        """Compare with a render of everything: append the rest, or begin a new segment."""
        messages, full = self._full()
        if full is None:
            self._follow(self._chat.following(new), turn)
        elif full.startswith(self._text + self._chat.end_of_turn):
            rest = self._chat.pieces(messages, full, len(self._text), Origin.OBSERVATION)
            self._follow(rest, turn)
        else:
            self._done.append(self._segment.build())
            self._segment, self._text = SegmentBuilder(), ""
            self._append(self._chat.pieces(messages, full, 0, Origin.PROMPT), turn)

    def _full(self) -> tuple[list[Message], str | None]:
        """All messages and their render; None when the template refuses them.

        Calls are text, as the policy wrote them; a template that wants to see which turns are
        calls (Mistral) is given them as such.
        """
        as_text = [replace(m, calls=[]) for m in self._messages]
        as_calls = [replace(m, content="") if m.calls else m for m in self._messages]
        for messages in (as_text, as_calls):
            try:
                return messages, self._chat.render(messages, generation_prompt=True)
            except ModelError:
                continue
        return as_text, None
