"""An episode's record with hints put in where the policy did not see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agentrl.core import Episode, Generation, Guide, Origin, Segment
from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.transcript import Transcript


def informed(episode: Episode, guide: Guide, chat: ChatFormat) -> Episode | None:
    """The same sampled tokens in a context that also has the guide's hints.

    None when what is left without the hints is not, token for token, the record: an episode that
    began in the middle of another, or observations that were not recorded as they were shown.
    """
    transcript = Transcript(chat)
    transcript.open(guide.open(episode.prompt))
    for index, turn in enumerate(episode.turns):
        said = _as_drawn(episode, index)
        if said is None:
            return None
        transcript.add_turn(said, index)
        if index + 1 < len(episode.turns):
            transcript.add_observations(
                guide.before(index + 1, turn.observations), index, turn.calls
            )
    segments = transcript.segments()
    if not _same(segments, episode.segments):
        return None
    return replace(episode, segments=segments, guidance=dict(guide.note))


def _as_drawn(episode: Episode, index: int) -> Generation | None:
    """A turn's tokens as they were sampled; None when the record does not have them whole."""
    turn = episode.turns[index]
    for segment in episode.segments:
        mine = segment.action_mask & (segment.turn == index)
        if np.array_equal(segment.tokens[mine], turn.tokens):
            weights = segment.weights[mine]
            reason = turn.finish_reason
            return Generation(turn.tokens, turn.logprobs, weights, reason)  # type: ignore[arg-type]
    return None


def _same(segments: list[Segment], recorded: list[Segment]) -> bool:
    """Whether segments are the recorded ones but for their hints; what follows the last turn may be
    missing."""
    if len(segments) != len(recorded):
        return False
    for new, old in zip(segments, recorded, strict=True):
        kept = new.tokens[new.origin != Origin.HINT]
        if len(kept) > len(old) or not np.array_equal(kept, old.tokens[: len(kept)]):
            return False
        if old.action_mask[len(kept) :].any():
            return False
    return True
