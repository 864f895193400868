from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from conftest import TINY_ARCH, Configure
from torch import nn

from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError
from tlft.models.build import build_model, build_network
from tlft.models.describe import summarize
from tlft.models.freeze import freeze, set_training_mode, stages
from tlft.models.head import head_name, replace_head
from tlft.models.weights import digest_in, find_weights

State = dict[str, torch.Tensor]


def build(config: Config, num_classes: int = 2) -> nn.Module:
    return build_model(config, find_weights(config), num_classes)


def differing(one: State, other: State) -> set[str]:
    assert one.keys() == other.keys()
    return {key for key in one if one[key].shape != other[key].shape or not torch.equal(one[key], other[key])}


def save_random_resnet50(folder: Path, suffix: str = ".pth") -> Path:
    """Write a file of ResNet-50's layout with random values, the digest of its bytes in its name."""
    from torchvision.models import resnet50

    generator = torch.Generator().manual_seed(3)
    state = {
        key: torch.rand(value.shape, generator=generator) * 0.05 if value.is_floating_point() else value
        for key, value in resnet50().state_dict().items()
        if not key.endswith("num_batches_tracked")  # the published files have none
    }
    path = folder / f"raw{suffix}"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"resnet50-{digest[:8]}{suffix}")


@pytest.fixture(scope="module")
def resnet50_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_resnet50(tmp_path_factory.mktemp("weights"))


def test_scratch_is_drawn_from_the_seed_whatever_ran_before(configure: Configure) -> None:
    config = configure(*TINY_ARCH, "model=scratch", "seed=5")
    first = build(config).state_dict()
    torch.manual_seed(99)
    torch.rand(1000)
    before = torch.random.get_rng_state()
    assert differing(first, build(config).state_dict()) == set()
    assert torch.equal(before, torch.random.get_rng_state())
    other = build(configure(*TINY_ARCH, "model=scratch", "seed=6")).state_dict()
    assert "conv_stem.weight" in differing(first, other)


@pytest.mark.parametrize("head", ["task", "imagenet1k"])
def test_resnet50_takes_a_file_placed_by_hand(configure: Configure, resnet50_file: Path, head: str) -> None:
    trainable = "none" if head == "imagenet1k" else "all"
    config = configure(f"head={head}", f"model.weights_file={resnet50_file}", f"training.trainable={trainable}")
    model = build(config)
    stored = torch.load(resnet50_file, weights_only=True)
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert differing(state, stored) == ({"fc.weight", "fc.bias"} if head == "task" else set())
    outputs = model.eval()(torch.rand(1, 3, 64, 64))
    assert outputs.shape == (1, 2 if head == "task" else 1000)


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
    from tlft.models import weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = find_weights(configure())
    assert (found.digest, found.path) == ("0676ba61", None)

    def refuse(url: str, target: Path, *, sha256: str, mend: str) -> Path:
        raise TlftError(f"{url}: refused; {mend}")

    monkeypatch.setattr(weights, "fetch", refuse)
    with pytest.raises(TlftError) as caught:
        weights.fetch_weights(found)
    assert f"put resnet50-0676ba61.pth at {tmp_path}/hub/checkpoints/resnet50-0676ba61.pth" in str(caught.value)


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


def test_lite0_of_the_package_has_its_own_transform_and_weights(configure: Configure) -> None:
    weights = find_weights(configure("arch=efficientnet_lite0"))
    assert str(weights.digest).startswith("57934424")
    assert (weights.transform.resize, weights.transform.crop) == (256, 224)
    assert (weights.transform.interpolation, weights.transform.mean) == ("bicubic", (0.5, 0.5, 0.5))


def test_pretrained_statistics_follow_slowly_where_the_architecture_says_so(
    configure: Configure,
) -> None:
    def momenta(*overrides: str) -> set[float | None]:
        model = build(configure("arch=efficientnet_lite0", *overrides))
        return {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}

    assert momenta() == {0.01}
    assert momenta("arch.bn_momentum=null") == {0.1}
    assert momenta("model=scratch") == {0.1}


def test_task_head_replaces_exactly_the_classifier_of_lite0(configure: Configure) -> None:
    common = ("arch=efficientnet_lite0", "training.trainable=none")
    untouched = build(configure(*common, "head=imagenet1k")).state_dict()
    assert differing(untouched, build(configure(*common, "head=task")).state_dict()) == {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(
    ("library", "name", "head"),
    [
        ("torchvision", "resnet18", "fc"),
        ("torchvision", "vgg11", "classifier.6"),
        ("torchvision", "squeezenet1_1", "classifier.1"),
        ("torchvision", "densenet121", "classifier"),
        ("torchvision", "vit_b_16", "heads.head"),
        ("torchvision", "googlenet", "fc"),
        ("timm", "vit_tiny_patch16_224", "head"),
        ("timm", "convnext_atto", "head.fc"),
    ],
)
def test_any_network_gets_its_head_replaced(library: str, name: str, head: str) -> None:
    model = build_network(library, name)
    assert head_name(model) == head
    before = set(model.state_dict())
    replace_head(model, 3)
    assert set(model.state_dict()) == before
    assert model.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


def test_a_network_without_a_classifier_says_so() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Identity())
    model.pretrained_cfg = {"classifier": "1"}  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="was trained without classes"):
        head_name(model)


def test_a_date_in_a_file_name_is_no_digest() -> None:
    assert digest_in("mine-20250131.pth") is None
    assert digest_in("resnet50-0676ba61.pth") == "0676ba61"


def test_stages_run_from_input_to_output(configure: Configure) -> None:
    from torchvision.models import resnet18

    lite0 = build(configure("arch=efficientnet_lite0"))
    assert [names[0] for names in stages(lite0)] == ["conv_stem", *(f"blocks.{i}" for i in range(7)), "conv_head"]
    assert stages(resnet18()) == [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]


@pytest.mark.parametrize(
    ("trainable", "trained"),
    [("head", {"fc"}), ("none", set()), ("0", {"fc"}), ("1", {"fc", "layer4"}), ("2", {"fc", "layer4", "layer3"})],
)
def test_only_the_named_part_is_trained(trainable: str, trained: set[str]) -> None:
    from torchvision.models import resnet18

    model = resnet18()
    freeze(model, trainable)
    assert {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad} == trained


def test_more_stages_than_there_are_is_an_error() -> None:
    from torchvision.models import resnet18

    with pytest.raises(ConfigurationError, match="the backbone has 5 stages"):
        freeze(resnet18(), "6")


@pytest.mark.parametrize("trainable", ["head", "1"])
def test_frozen_parts_keep_their_batch_norm_statistics(trainable: str) -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=2)
    freeze(model, trainable)
    set_training_mode(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.rand(4, 3, 64, 64)).sum().backward()
    optimizer.step()
    moved = {key.partition(".")[0] for key in differing(before, model.state_dict())}
    assert moved == ({"fc"} if trainable == "head" else {"fc", "layer4"})


def test_every_trained_parameter_gets_a_gradient() -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=2)
    model(torch.rand(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_summary_counts_every_parameter_and_changes_nothing() -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=2)
    freeze(model, "head")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    text = summarize(model, 64)
    assert "11,177,538 parameters, 1,026 of them trained" in text
    assert differing(before, model.state_dict()) == set()
    assert text.splitlines()[1].split() == ["conv1", "Conv2d", "64x32x32", "9,408", "frozen"]
