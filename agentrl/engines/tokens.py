"""What every engine checks of the ids it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import ConfigError


def checked_tokens(tokens: Sequence[int] | np.ndarray, known: int) -> list[int]:
    """The ids as a list. Raises ConfigError: there are none, or some are not below `known`."""
    ids = tokens.tolist() if isinstance(tokens, np.ndarray) else [int(t) for t in tokens]
    if not ids or min(ids) < 0 or max(ids) >= known:
        what = f"ids from {min(ids)} to {max(ids)}" if ids else "no tokens"
        raise ConfigError(f"asked to continue {what}; the model has ids 0 to {known - 1}")
    return ids
