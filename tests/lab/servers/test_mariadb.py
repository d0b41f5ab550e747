from __future__ import annotations

from pathlib import Path

import pytest

from lab.servers.mariadb import MariaDb
from lab.servers.program import private


def test_it_leaves_the_temporary_tables_of_other_servers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server deletes the files of this name in its temporary folder when it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    table = tmp_path / "#sql-temptable-1-1-1.MAD"
    table.touch()
    with private(MariaDb):
        pass
    assert table.exists()
