"""A node with a clock that only the test moves."""

from __future__ import annotations

import pytest

from tests.support.dispatching import Node


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)
