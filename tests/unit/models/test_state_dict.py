from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Configure
from networks import build

from tlft.errors import TlftError


def test_file_of_another_network_does_not_fit(configure: Configure, resnet50_file: Path) -> None:
    with pytest.raises(TlftError, match="does not fit resnet18"):
        build(configure("arch=resnet18", f"model.weights_file={resnet50_file}"))


def test_no_code_in_a_weights_file_is_run(configure: Configure, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('code was run')",)

    path = tmp_path / "evil.pth"
    torch.save({"fc.weight": Evil()}, path)
    with pytest.raises(TlftError, match="is no file of weights"):
        build(configure(f"model.weights_file={path}"))
