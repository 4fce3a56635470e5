"""The token-exact record of a conversation while it grows.

Only what is new is rendered and tokenised; ids that were sampled are kept as they are. A template
that rewrites what was said before (stripped thinking) gets a new segment instead.

Hints are guests: where segments begin and what stands in them is decided by the conversation
without its hints; theirs is text inserted there. So what is left without `Origin.HINT` tokens is
what an evaluation would have recorded of the same turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from agentrl.core import (
    Generation,
    Image,
    Message,
    ModelError,
    Origin,
    PlacedImage,
    Segment,
    SegmentBuilder,
    ToolCall,
)
from agentrl.episodes.chatformat import ChatFormat, Pieces


class Transcript:
    """One conversation: `open`, then `add_turn` and `add_observations` in alternation."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._done: list[Segment] = []
        self._segment = SegmentBuilder()
        self._messages: list[Message] = []
        self._images: list[Image] = []
        self._text = ""  # of the current segment, without hints
        self._stop: str | None = None

    @property
    def tokens(self) -> list[int]:
        """Ids of the current segment: what the engine is given."""
        return self._segment.tokens

    @property
    def images(self) -> list[PlacedImage]:
        """Where images stand among them."""
        return self._segment.images

    def open(self, messages: Sequence[Message]) -> None:
        """Render the first messages and the generation prompt."""
        self._messages = [self._guarded(m) for m in messages]
        pieces = self._chat.pieces(self._messages, self._render, Origin.PROMPT)
        if pieces is None:
            pieces = self._hints_last(self._render(_unhinted(self._messages)), self._messages)
        self._append(pieces, turn=-1)

    def add_turn(
        self,
        generation: Generation,
        turn: int,
        head: Sequence[int] = (),
        head_origin: Origin = Origin.PROMPT,
    ) -> str:
        """Append a turn as it was sampled; returns its text without the token that ended it.

        Args:
            head: ids that the turn was made to begin with, before what was sampled.
        """
        if head:
            self._segment.append(head, head_origin, turn)
        tokens = generation.tokens.tolist()
        self._segment.append_sampled(
            tokens, generation.logprobs.tolist(), generation.weights.tolist(), turn
        )
        ended = generation.finish_reason == "stop"
        said = [*head, *(tokens[:-1] if ended else tokens)]
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
        new = [self._guarded(m) for m in observations]
        self._messages[-1].calls = [c for c in calls if c.error is None]
        before = len(self._messages)
        self._messages += new
        rewrites = self._chat.rewrites
        if any(rewrites["tool" if m.role == "tool" else "user"] for m in _unhinted(new)):
            self._extend_or_reopen(before, turn)
        else:
            self._follow(new, self._chat.tail(_unhinted(new)), turn)

    def freeze(self) -> None:
        """What stands here so far was sampled for another record: it is context in this one."""
        context, images = self._segment.tokens, self._segment.images
        self._done, self._segment = [], SegmentBuilder()
        self._segment.append(context, Origin.PROMPT, -1)
        self._segment.images.extend(images)

    def forget_sampled(self) -> None:
        """As `freeze`, but observations and hints stay what they are."""
        self._done = []
        self._segment.forget_sampled()

    def segments(self) -> list[Segment]:
        return [*self._done, self._segment.build()]

    def _append(self, pieces: Pieces, turn: int) -> None:
        for origin, run in groupby(pieces, key=lambda piece: piece[1]):
            text = "".join(piece for piece, _ in run)
            if origin is not Origin.HINT:
                self._text += text
            for ids, image in self._chat.parts(text, self._images):
                if image is None:
                    self._segment.append(ids, origin, turn)
                else:
                    self._segment.append_image(image, ids, origin, turn)

    def _follow(self, new: Sequence[Message], plain: str, turn: int) -> None:
        """Append what follows a turn, without what the turn itself ended with.

        A turn that stopped has closed itself, whichever stop token it took; where the next
        message's marker does that (GLM), only that very marker counts. A turn that was cut off is
        closed for the policy, untrained.

        Args:
            plain: what follows without hints.
        """
        closing = "" if self._stop is None else self._chat.end_of_turn or self._stop
        if plain.startswith(closing):
            self._text += closing
        self._append(self._behind(new, plain, closing, Origin.OBSERVATION), turn)

    def _behind(self, new: Sequence[Message], plain: str, closing: str, origin: Origin) -> Pieces:
        """`plain`, which stands behind a turn, with the hints among `new`; both without the
        `closing` that stands there already."""

        def show(messages: Sequence[Message]) -> str:
            hinted = any(m.hint for m in messages)
            return (self._chat.tail(messages) if hinted else plain).removeprefix(closing)

        pieces = self._chat.pieces(new, show, origin)
        if pieces is None:  # no place for them among the others: a message of their own, before
            pieces = [(show([m for m in new if m.hint]), Origin.HINT), (show([]), origin)]
        return [piece for piece in pieces if piece[0]]

    def _extend_or_reopen(self, before: int, turn: int) -> None:
        """Compare with a render of everything: append the rest, or begin a new segment.

        Args:
            before: how many messages there were before the new ones.
        """
        new = self._messages[before:]
        try:
            plain = self._render(_unhinted(self._messages))
        except ModelError:
            self._follow(new, self._chat.tail(_unhinted(new)), turn)
            return
        if plain.startswith(self._text + self._chat.end_of_turn):
            self._follow(new, plain[len(self._text) :], turn)
            return
        self._done.append(self._segment.build())
        self._segment, self._text = SegmentBuilder(), ""
        self._append(self._rewritten(new, plain), turn)

    def _rewritten(self, new: Sequence[Message], plain: str) -> Pieces:
        """The whole conversation, `plain` without hints. Where the template has no place for the
        hints of earlier turns, only those among `new` are shown."""
        try:
            pieces = self._chat.pieces(self._messages, self._render, Origin.PROMPT)
        except ModelError:
            pieces = None
        if pieces is not None:
            return pieces
        behind = self._chat.tail(_unhinted(new))
        if plain.endswith(behind):
            last = self._behind(new, behind, "", Origin.PROMPT)
            return [(plain.removesuffix(behind), Origin.PROMPT), *last]
        return self._hints_last(plain, new)

    def _hints_last(self, plain: str, messages: Sequence[Message]) -> Pieces:
        """A conversation that has no place for its hints, and behind it what they say."""
        hints = [m for m in messages if m.hint]
        said = self._chat.tail(hints).removeprefix(self._chat.end_of_turn) if hints else ""
        return [(plain, Origin.PROMPT), (said, Origin.HINT)]

    def _guarded(self, message: Message) -> Message:
        """A tool's message answers a call, also in an evaluation; what only guides is said by the
        user."""
        if message.hint and message.role == "tool":
            message = replace(message, role="user", call_id="", name="")
        return self._chat.guard(message, self._images)

    def _render(self, messages: Sequence[Message]) -> str:
        """All messages and the generation prompt.

        Calls are text, as the policy wrote them; a template that refuses that and wants to see
        which turns are calls (Mistral) is given them as such. Raises ModelError when it refuses
        both.
        """
        if not messages:
            return ""
        try:
            as_text = [replace(m, calls=[]) for m in messages]
            return self._chat.render(as_text, generation_prompt=True)
        except ModelError:
            if not any(m.calls for m in messages):
                raise
        as_calls = [replace(m, content="") if m.calls else m for m in messages]
        return self._chat.render(as_calls, generation_prompt=True)


def _unhinted(messages: Sequence[Message]) -> list[Message]:
    return [m for m in messages if not m.hint]
