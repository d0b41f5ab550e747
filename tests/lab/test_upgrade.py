"""The lab's rolling upgrade, from this version to itself: what it looks for is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import ROOT
from lab.upgrade import run


@pytest.mark.long
def test_an_upgrade_to_the_same_version_delays_no_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ROOT, tmp_path)
    assert capsys.readouterr().out.count("longest delivery") == 5
