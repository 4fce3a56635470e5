"""Marks for tests in containers whose module also has tests without any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def docker_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Needs Docker, and shares the module's event loop with its fixtures."""
    return pytest.mark.docker(pytest.mark.asyncio(loop_scope="module")(function))
