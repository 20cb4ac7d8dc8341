"""What every test may ask for: the real images, a small result, and a ban on skips where all must run."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cmdiff_dicom.records import SegObject

# how long a busy machine takes to draw an example says nothing about what is tested
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images (CMDIFF_TEST_DATA); tests that need it are skipped by name without it."""
    folder = os.environ.get("CMDIFF_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CMDIFF_TEST_DATA does not name a folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def seg() -> SegObject:
    """A small DICOM-SEG with all three labels, as a worker makes it."""
    from cmdiff_dicom.encode import encode_seg
    from tests.support.sources import grid, label_map, series

    geometry = grid()
    return encode_seg(label_map(geometry), series(geometry), "ab" * 32, datetime(2025, 1, 2, tzinfo=UTC), 1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CMDIFF_TEST_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where no skip is allowed: {report.longrepr}"
