"""What tests of rewards share: the toys that the papers' checks use."""

from __future__ import annotations

import pytest

from agentrl.papers.kit import toys


@pytest.fixture
def rewards_kit():
    return toys
