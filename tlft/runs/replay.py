"""`python run.py from_run=RUN`: repeat a logged run from its own stored configuration, and say whether the bits agree.

The run itself is an ordinary one, in an experiment of its own: the table must not count a run and its repetition twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from tlft.config.compose import COMPOSITION_ERRORS, Composer
from tlft.config.hydra_internals import argument_parser, explained
from tlft.config.overrides import write_value
from tlft.config.schema import Config
from tlft.errors import ConfigurationError
from tlft.names import Artifact, Tag, flatten
from tlft.records.record import Record
from tlft.runs.identify import Identity
from tlft.storage.files import atomic_write
from tlft.tracking.reader import ArtifactReader, load_record

_KEY = "from_run"
_FIRST_GROUPS = ("model", "head", "optimizer", "schedule", "data")
_GROUPS = (*_FIRST_GROUPS, "augment")  # which a run of an earlier version does not have
_REPEATED = ("arch", *_GROUPS, "training")
_NEEDED = ("arch", *_FIRST_GROUPS, "training")
_ALONE = ("seed", "precision")


@explained()
def expand(argv: Sequence[str]) -> list[str]:
    """Return the command line with everything that `from_run=RUN` stands for; as it is without that.

    What else is on the command line counts more than what the run had: another device, other folders.

    Raises:
        ConfigurationError: if there is no such run, or it cannot be repeated.
        TlftError: if the store does not answer.
    """
    run_id = next((text.partition("=")[2] for text in reversed(argv) if text.startswith(f"{_KEY}=")), "").strip("'\"")
    if run_id in ("", "null"):
        return list(argv)
    if any(text in ("-m", "--multirun") or text.startswith(("sweep=", "experiment=")) for text in argv):
        raise ConfigurationError(f"{_KEY}={run_id}: repeats one run; leave -m, sweep= and experiment= out")
    args = argument_parser().parse_args(list(argv))
    overrides: list[str] = args.overrides
    try:
        own = [text for text in overrides if not text.startswith((f"{_KEY}=", "verify="))]
        composed = Composer.of(args).compose(own)
    except COMPOSITION_ERRORS:
        return list(argv)  # what is wrong is said when the command line is checked
    home = Path(str(composed.paths.home)).expanduser()
    uri = OmegaConf.select(composed, "tracking.uri")
    record = load_record(run_id, uri, home)
    reader = ArtifactReader(uri, home)
    stored = _read(reader.text(record, Artifact.CONFIG), record)
    _refuse_other_options(overrides, run_id, stored)
    if stored["data"].get("class_map") is not None:
        stored["data"]["class_map"] = _keep_class_map(reader.text(record, Artifact.CLASS_MAP), stored, home)
    keys = {text.partition("=")[0].lstrip("+") for text in overrides}
    repeated = [text for text in _overrides(record, stored) if text.partition("=")[0] not in keys]
    first = next(index for index, text in enumerate(argv) if text in overrides)
    # Quoted, since Hydra takes an id of digits alone, or such as 12e45678, for a number.
    whole = [f"{_KEY}='{record.run_id}'" if text.startswith(f"{_KEY}=") else text for text in argv[first:]]
    return [*argv[:first], *repeated, *whole]


def _refuse_other_options(overrides: Sequence[str], run_id: str, stored: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for another option than the run had, whose keys are others; but other data may be it."""
    names = {group: stored[group]["name"] for group in _GROUPS if group != "data" and group in stored}
    names["arch"] = stored["arch"]["library"]
    typed = (text.lstrip("+").partition("=") for text in overrides)
    if problems := [
        f"{group}={option}: {_KEY}={run_id} repeats a run with {group}={names[group]}; leave it out"
        for group, _, option in typed
        if group in names and option.strip("'\"") != names[group]
    ]:
        raise ConfigurationError(problems)


def _keep_class_map(resolved: str, stored: Mapping[str, Any], home: Path) -> Any:
    """Return the name of a file with the class map that a run had: classes may have names that no override takes."""
    if not resolved:
        return stored["data"]["class_map"]
    file = home / "cache" / "class_maps" / f"{hashlib.sha256(resolved.encode()).hexdigest()[:16]}.json"
    if not file.exists():
        atomic_write(file, resolved.encode())
    return str(file)


def _read(text: str, record: Record) -> Mapping[str, Any]:
    try:
        stored = yaml.safe_load(text)
        if record.status == "FINISHED" and all(name in stored for name in (*_NEEDED, *_ALONE)):
            return dict(stored)
    except (yaml.YAMLError, TypeError):
        pass
    why = "is not FINISHED" if record.status != "FINISHED" else "its config.yaml is missing or damaged"
    raise ConfigurationError(f"{_KEY}={record.run_id}: cannot be repeated: {why}; name another run")


def _overrides(record: Record, stored: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a run was, as many threads as it had, since the bits depend on them, and an experiment of its own."""
    for group in (group for group in _GROUPS if group in stored):
        yield f"{group}={stored[group]['name']}"
    yield f"arch={stored['arch']['library']}"
    for group in _REPEATED:
        for key, value in stored.get(group, {}).items():
            if (group, key) not in (("arch", "library"), *((name, "name") for name in _GROUPS)):
                yield f"{group}.{key}={write_value(value)}"
    for key in _ALONE:
        yield f"{key}={write_value(stored[key])}"
    if record.tags.get(Tag.THREADS, "").isdecimal():
        yield f"threads={record.tags[Tag.THREADS]}"
    yield f"tracking.experiment={write_value(stored['tracking']['experiment'] + '-repeats')}"


def refuse_other_run(config: Config, identity: Identity) -> None:
    """Refuse to repeat a run with other data, weights or settings than it had; nothing is done without `from_run`.

    Raises:
        ConfigurationError: with the first things that differ.
    """
    if config.from_run is None:
        return
    record = load_record(config.from_run, config.tracking.uri, config.home)
    if record.key == identity.key:
        return
    params, stored = flatten(identity.science), record.params
    differing = [name for name in sorted({*params, *stored}) if params.get(name) != stored.get(name)]
    listed = ", ".join(
        f"{name} is {params.get(name, '-')[:16]} and was {stored.get(name, '-')[:16]}" for name in differing[:4]
    )
    raise ConfigurationError(
        f"{_KEY}={config.from_run}: cannot be repeated here: {listed or 'its key was made by another version'}; point "
        "data.root and model.weights_file to what it had, and leave other keys out"
    )


def verify(config: Config, run_id: str) -> bool:
    """Say whether a repetition has the bits of the run that it repeats; tells it too."""
    from analysis.diff import compare_runs, describe_differences, load_run_contents

    assert config.from_run is not None
    runs = [load_run_contents(run, config.tracking.uri, config.home) for run in (config.from_run, run_id)]
    differences = compare_runs(*runs)
    effects = [difference for difference in differences if difference.kind in ("metrics", "weights", "images")]
    if not effects:
        kept = runs[0].weights is not None
        compared = "weights, predictions and metrics" if kept else "predictions and metrics (no weights were kept)"
        print(f"verified: run {run_id} has the bits of run {config.from_run}: {compared}")
    else:
        print(f"not the same bits: run {config.from_run} | run {run_id}; the first difference: {effects[0].name}")
        print(describe_differences(differences))
    return not effects
