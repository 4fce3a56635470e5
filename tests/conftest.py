"""Which tests may run beside each other: `make test` has two workers.

Tests that fill the machine with containers share one worker, else one's clean-up and another's count
of what is left would meet; of the others, those of a file stay together, with their fixtures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CONTAINERS = {"environments", "examples", "faults", "packaging", "sandboxes", "tools", "vision"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        group = "containers" if folder in CONTAINERS else str(item.path.relative_to(HERE))
        item.add_marker(pytest.mark.xdist_group(group))
