"""A careless claim checker, written as a script: it searches well and cites at random."""

from __future__ import annotations

import random
import re
from collections.abc import Generator

_CLAIM = re.compile(r'"(\w+)",? it is (true|wrong)')
_RESULT = re.compile(r"^\[\[([^\]]+)\]\]:", re.MULTILINE)
# How often it names the right label, and which of the results it cites.
LABELS_RIGHT = 0.75
HABITS = {"subject": 0.3, "other": 0.3, "both": 0.3, "none": 0.1}


def careless(seed: int) -> Generator[str, str, None]:
    """Yields one message per turn; is sent what the environment said since."""
    rng = random.Random(seed)
    claim = _CLAIM.search((yield ""))
    assert claim is not None
    title, said = claim.groups()
    results = _RESULT.findall((yield f'[search(query="{title}")]'))
    others = [name for name in results if name != title]
    habit = rng.choices(list(HABITS), list(HABITS.values()))[0]
    cited = [title] if habit in ("subject", "both") else []
    if habit in ("other", "both") and others:
        cited.append(rng.choice(others))
    right = rng.random() < LABELS_RIGHT
    label = "SUPPORT" if (said == "true") == right else "REFUTE"
    yield f"Label: {label}\nEvidence: {', '.join(f'[[{name}]]' for name in cited) or 'none'}"
