from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Configure

from tlft.errors import ConfigurationError, TlftError, UnmappedError
from tlft.models import spec, weights
from tlft.models.catalogue import describe_network
from tlft.models.spec import ask_library, digest_in
from tlft.models.weights import find_other_outputs, find_weights


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


OUT_OF_REACH = {
    "vit_tiny_patch16_224": "weights augreg_in21k_ft_in1k of timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k: cannot be "
    "fetched (refused); fetch model.safetensors on a machine with a network",
    "mobilenetv3_small_100": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
    "mobilenetv3_small_100_lamb-266a294c.pth: cannot be fetched (refused); put mobilenetv3_small_100_lamb-266a294c.pth",
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no address answer and no weights on disk, and import no library for what it says of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: None)
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "refused")
    monkeypatch.setattr(spec, "_ask_timm", None)
    monkeypatch.setattr(weights, "list_networks", None)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", [*OUT_OF_REACH])
def test_weights_out_of_reach_are_said_before_timm_is_imported(configure: Configure, name: str) -> None:
    config = configure("arch=timm", f"arch.name={name}", "model=pretrained")
    (problem,) = weights.find_problems(config, is_single=True)
    assert problem.startswith(OUT_OF_REACH[name])


def test_a_run_that_may_be_done_or_a_job_of_many_is_not_refused_for_a_file_it_need_not_have(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its digest is in the file's name, so that a run that is done is found without the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = configure("arch=timm", "arch.name=mobilenetv3_small_100", "model=pretrained")
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "refused")
    assert weights.find_problems(config) == []
    assert len(weights.find_problems(config, is_single=True)) == 1
    find_weights(config)
    monkeypatch.setattr("importlib.metadata.version", lambda library: "another")  # what was said is forgotten
    assert weights.find_problems(config, is_single=True) == []


def test_weights_within_reach_and_those_on_disk_are_asked_of_timm(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "mobilenetv3_small_100_lamb-266a294c.pth"
    config = configure("arch=timm", "arch.name=mobilenetv3_small_100", "model=pretrained")
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "")
    assert weights.find_problems(config, is_single=True) == []
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "refused")
    assert weights.find_problems(config, is_single=True) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["arch.name=vit_tiny_patch16_242"], "no such network; did you mean vit_tiny_patch16_224?"),
        (["arch.name=vit_tiny_patch16_224", "model.weights=augreg_in21"], "did you mean augreg_in21k?"),
    ],
)
def test_misspelt_names_get_their_neighbour_offline_too(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "refused")
    (problem,) = weights.find_problems(configure("arch=timm", *overrides, "model=pretrained"), is_single=True)
    assert said in problem


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


@pytest.mark.parametrize(("reason", "is_refused"), [("refused", True), ("no answer within 2 s", False), ("", False)])
def test_a_run_hears_at_once_that_its_weights_cannot_be_fetched(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str, is_refused: bool
) -> None:
    """A server that is slow may answer yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "why_unreachable", lambda url: reason)
    wanted = find_weights(configure("arch=resnet18", "model=pretrained"))
    assert wanted.path is None
    if is_refused:
        with pytest.raises(ConfigurationError, match=r"resnet18-\w+\.pth: cannot be fetched \(refused\); put resnet18"):
            weights.refuse_out_of_reach(wanted)
    else:
        weights.refuse_out_of_reach(wanted)
    weights.refuse_out_of_reach(find_weights(configure("arch=resnet18", "model=scratch")))


def test_a_network_without_imagenets_classes_cannot_be_asked_for_them(configure: Configure) -> None:
    network = ("arch=timm", "arch.name=vit_tiny_patch16_dinov3_qkvb")
    error = find_other_outputs(configure(*network, "experiment=zero_shot"))
    assert isinstance(error, UnmappedError)  # so that a sweep does its other jobs
    assert "its weights have no outputs, not the 1000 of ImageNet" in str(error)
    assert find_other_outputs(configure(*network, "experiment=linear_probe")) is None
    assert find_other_outputs(configure("experiment=zero_shot")) is None
    of_more = ("arch=timm", "arch.name=vit_tiny_patch16_224", "model.weights=augreg_in21k")
    error = find_other_outputs(configure(*of_more, "experiment=zero_shot"))
    assert "its weights have 21843 outputs" in str(error)


def test_weights_of_a_part_of_a_network_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^model\.weights=IMAGENET1K_FEATURES: of vgg16 are without a class"):
        ask_library("torchvision", "vgg16", "IMAGENET1K_FEATURES")
    assert [weights.name for weights in describe_network("torchvision", "vgg16", counted=False).weights] == [
        "IMAGENET1K_V1"
    ]
