"""A traveller who looks everything up and then plans by whim: what the policy imitates at first."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Generator, Sequence
from typing import Any

_LIST = re.compile(r"\[\{.*?\}\]")


def hasty(seed: int) -> Generator[str, str, None]:
    """Takes the cheapest train and hotel now and then, any other as often, and any sight."""
    rng = random.Random(seed)
    asked = yield ""
    city = asked.partition("A trip to ")[2].partition(" ")[0]
    answers = yield f'[trains(to="{city}"), hotels(city="{city}"), sights(city="{city}")]'
    trains, hotels, sights = (json.loads(text) for text in _LIST.findall(answers)[:3])
    plan = {
        "train": _one(trains, rng),
        "hotel": _one(hotels, rng),
        "sights": [rng.choice(sights)["id"]],
    }
    yield json.dumps(plan)


def _one(offers: Sequence[dict[str, Any]], rng: random.Random) -> str:
    cheapest = min(offers, key=lambda offer: offer["price"])
    return str((cheapest if rng.random() < 0.3 else rng.choice(offers))["id"])
