"""What a logged model takes for an image."""

from __future__ import annotations

import pytest

from tlft.errors import TlftError
from tlft.inference.classifier import open_source


def test_logged_model_says_what_is_no_image() -> None:
    with pytest.raises(TlftError, match="is neither an image in base64 nor the path of a file"):
        open_source("no such thing")
