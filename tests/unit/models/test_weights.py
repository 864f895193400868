from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Configure

from tlft.errors import TlftError
from tlft.models import spec, weights
from tlft.models.spec import digest_in
from tlft.models.weights import find_weights


def test_weights_file_with_other_bytes_than_its_name_promises_is_refused(
    configure: Configure, resnet50_file: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "resnet50-0676ba61.pth"
    wrong.write_bytes(resnet50_file.read_bytes())
    with pytest.raises(TlftError, match="its name promises 0676ba61; delete it or fetch it again"):
        find_weights(configure(f"model.weights_file={wrong}"))


def test_a_file_in_the_cache_of_torch_hub_is_checked_too(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"not the weights")
    with pytest.raises(TlftError, match="its name promises 0676ba61"):
        find_weights(configure())


def test_weights_that_cannot_be_fetched_say_which_file_to_put_where(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    resnet50 = find_weights(configure())
    assert (resnet50.digest, resnet50.path) == ("0676ba61", None)

    def refuse(url: str, target: Path, *, sha256: str, mend: str) -> Path:
        raise TlftError(f"{url}: refused; {mend}")

    monkeypatch.setattr(weights, "fetch", refuse)
    with pytest.raises(TlftError) as caught:
        weights.fetch_weights(resnet50)
    assert f"put resnet50-0676ba61.pth at {tmp_path}/hub/checkpoints/resnet50-0676ba61.pth" in str(caught.value)


def test_lite0_of_the_package_has_its_own_transform_and_weights(configure: Configure) -> None:
    lite0 = find_weights(configure("arch=efficientnet_lite0"))
    assert str(lite0.digest).startswith("57934424")
    assert (lite0.transform.resize, lite0.transform.crop) == (256, 224)
    assert (lite0.transform.interpolation, lite0.transform.mean) == ("bicubic", (0.5, 0.5, 0.5))


def test_a_date_in_a_file_name_is_no_digest() -> None:
    assert digest_in("mine-20250131.pth") is None
    assert digest_in("resnet50-0676ba61.pth") == "0676ba61"


def test_a_hub_that_does_not_answer_is_said_at_once(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own library would try for half a minute."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)  # which nobody calls
    monkeypatch.setattr(weights, "find_on_disk", lambda spec: None)
    config = configure("arch=timm", "arch.name=vit_tiny_patch16_224", "model=pretrained")
    with pytest.raises(TlftError) as caught:
        find_weights(config)
    line = "weights augreg_in21k_ft_in1k of timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k: cannot be fetched "
    assert str(caught.value).startswith(
        f"{line}(Connection refused); fetch model.safetensors on a machine with a network"
    )


def test_what_a_library_has_said_once_needs_no_import_of_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("arch=timm", "arch.name=vit_tiny_patch16_224", "model=scratch")
    assert weights.find_problems(config) == []
    first = find_weights(config)
    monkeypatch.setattr("timm.list_models", None)
    monkeypatch.setattr("timm.get_pretrained_cfg", None)
    spec.list_networks.cache_clear()
    assert weights.find_problems(config) == []
    assert find_weights(config) == first
