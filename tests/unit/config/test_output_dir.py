"""Output folders are claimed, so that no two commands write to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlft.config.output_dir import claim_folder


def test_output_folders_never_collide(tmp_path: Path) -> None:
    wanted = tmp_path / "12-00-00"
    assert [claim_folder(wanted).name for _ in range(3)] == ["12-00-00", "12-00-00_1", "12-00-00_2"]
    with pytest.raises(FileExistsError):
        claim_folder(wanted, exact=True)
