"""What is composed once and then set on copies is what Hydra itself composes, or is left to Hydra."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from tlft.config import sweep_composer
from tlft.config.compose import Composer
from tlft.config.sweep_composer import SweepComposer
from tlft.errors import ConfigurationError
from tlft.planning.jobs import Job, compose_jobs

EXAMPLES = int(os.environ.get("TLFT_FUZZ_EXAMPLES", "20"))
FUZZ = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # whatever fails is small, and Hydra takes its time
)

GROUPS = (
    *("experiment=linear_probe", "experiment=zero_shot", "experiment=from_scratch", "optimizer=sgd", "optimizer=adam"),
    *("optimizer=adamw", "arch=resnet18", "arch=timm", "model=scratch", "head=imagenet1k", "schedule=cosine"),
    *("schedule=step", "augment=trivial", "recipe=modern"),
    *(
        "data=synthetic",
        "data=imagefolder",
        "tracking=server",
        "sweep=demo",
        "~experiment",
        "~optimizer",
        "~sweep=nope",
    ),
    *("experiment=nope", "optimizer=3", "+optimizer=adam", "optimizer@here=adam", "+experiment@x=zero_shot"),
    *("optimizer=${model}", "optimizer={lr:0.5}", "model=null", "experiment=[zero_shot,fine_tune]", "nope=1"),
)
KEYS = (
    *("seed", "device", "threads", "force", "features", "from_run", "optimizer.lr", "optimizer.momentum", "optimizer"),
    *("optimizer.beta1", "optimizer.name", "training.epochs", "training.trainable", "training", "data.root", "data"),
    *("data.class_map", "data.class_map.ants", "data.origin", "data.eval_fraction", "arch.weights", "arch.name"),
    *("model.weights", "model.weights.deeper", "tracking.tags", "tracking.tags.a", "tracking.tags.a.b", "tracking.uri"),
    *(
        "tracking.experiment",
        "paths.home",
        "paths",
        "checkpoint.every_minutes",
        "sweep.on_failure",
        "nope",
        "nope.deep",
    ),
    *("tracking.tags[a]", "hydra.job.name", "hydra.sweep.dir", "hydra", "seed.deeper", "training.nope", "cache.max_gb"),
)
VALUES = (
    *("0", "1", "-3", "0.25", "1e-3", "5.0", "true", "null", "???", "''", "word", "'two words'", '"${seed}"', "1_000"),
    *("${seed}", "${arch.weights}", "${training.epochs}", "${nope}", "${oc.env:HOME}", "${tlft.home:}", "${now:%Y}"),
    *("${hydra.job.num}", "${hydra:job.num}", "${optimizer}", "${optimizer.lr}", "${tracking.tags}", "x${seed}y", "${"),
    *("{a:1}", "{a:{b:[1,2]},c:null}", "{}", "[]", "[1,word,null]", "{ants:[310],bees:[309]}", "{lr:0.5}", "{a:???}"),
    *("int('3')", "str(3)", "\\,", "a\\=b", "=", "inf", "nan", "/tmp/x", "head", "off", "adam", "1,2", "range(3)"),
    *(
        "postgresql://u:secret@h/d",
        "http://u:secret@h:1",
        "sqlite:///x.db",
        "'{a:1}'",
        "${oc.decode:'[1'}",
        "99999999999",
    ),
)

values = st.sampled_from(VALUES) | st.integers().map(str) | st.floats().map(str) | st.text(max_size=3)
keys = st.builds(
    lambda sign, key, value: f"{sign}{key}={value}",
    st.sampled_from(("", "", "", "", "", "+", "++", "~")),
    st.sampled_from(KEYS),
    values,
)
right_keys = st.builds(
    "{}={}".format,
    st.sampled_from(
        (
            "seed",
            "optimizer.lr",
            "training.epochs",
            "data.origin",
            "threads",
            "tracking.tags",
            "arch.weights",
            "cache",
            "cache.every_epochs",
        )
    ),
    st.integers(1, 9).map(str)
    | st.sampled_from(("${seed}", "0.5", "{a:1}", "'two words'", "null", "${optimizer.lr}", "${checkpoint}")),
)
RIGHT = (
    *("seed=1", "seed=2", "optimizer.lr=0.5", "training.epochs=3", "tracking.tags={a:b}", "+tracking.tags.c=d"),
    *(
        "model.weights=${arch.weights}",
        "data.origin='a nest'",
        "training.trainable=all",
        "threads=${seed}",
        "device=cpu",
    ),
    *(
        "+data.class_map={ants:[310],bees:[309]}",
        "arch.weights=auto",
        "optimizer={lr:0.125}",
        "data.root=${paths.home}",
    ),
)
jobs = st.lists(st.sampled_from(GROUPS[:16]) | st.sampled_from(GROUPS) | st.sampled_from(RIGHT) | keys, max_size=6)


@pytest.fixture(scope="module")
def sweep() -> tuple[Composer, DictConfig]:
    """Return a composer, and the configuration of a sweep that it has composed."""
    ours = Composer()
    return ours, ours.compose(["hydra.mode=MULTIRUN", "hydra/launcher=parallel", "hydra.job.chdir=true", "seed=7"])


def fingerprint(cfg: DictConfig) -> tuple[Any, ...]:
    """Return all that there is to tell about a configuration: values, order, types, and which keys it takes."""
    nodes: list[Any] = []
    pending: list[tuple[str, Any]] = [("", cfg)]
    while pending:
        name, node = pending.pop()
        flags = tuple(sorted((key, value) for key, value in (node._metadata.flags or {}).items() if value is not None))
        kind = (node._metadata.object_type, node._metadata.ref_type, node._metadata.optional)
        nodes.append((str(name), type(node).__name__, kind, flags, node._is_interpolation(), node._is_missing()))
        if OmegaConf.is_config(node) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            children = node if isinstance(node, DictConfig) else range(len(node))
            pending += [(f"{name}.{key!r}", node._get_node(key)) for key in children]
    try:
        resolved = repr(OmegaConf.to_container(cfg, resolve=True))
    except Exception as error:
        resolved = f"{type(error).__name__}: {error}"
    return repr(OmegaConf.to_container(cfg)), OmegaConf.to_yaml(cfg), resolved, nodes, OmegaConf.get_cache(cfg)


def compose_all(sweep: tuple[Composer, DictConfig], all_texts: Sequence[Sequence[str]]) -> Sequence[Job | str]:
    """Return the jobs, or the problems."""
    ours, master = sweep
    try:
        return compose_jobs(master, all_texts, ours.loader)
    except ConfigurationError as error:
        return error.problems
    except Exception as error:  # what OmegaConf asserts, such as of a key below a part that was set to a number
        return [f"{type(error).__name__}: {error}"]


def compose_all_by_hydra(sweep: tuple[Composer, DictConfig], all_texts: Sequence[Sequence[str]]) -> Sequence[Job | str]:
    """Return the same where Hydra composes every job."""
    with patch.object(SweepComposer, "find", return_value=None):
        return compose_all(sweep, all_texts)


def assert_equal(jobs: Sequence[Job | str], expected: Sequence[Job | str]) -> None:
    assert len(jobs) == len(expected)
    for job, other in zip(jobs, expected, strict=True):
        if isinstance(job, str) or isinstance(other, str):
            assert job == other  # the problem, word by word
            continue
        assert repr(job.config) == repr(other.config)  # in which nan is nan
        assert job.overrides == other.overrides
        assert fingerprint(job.composition()) == fingerprint(other.composition())
        assert fingerprint(pickle.loads(pickle.dumps(job)).composition()) == fingerprint(other.composition())


@example(["seed=3", "optimizer.lr=0.5", "experiment=linear_probe"])
@example(["training.trainable=all", "experiment=zero_shot"])
@example(["arch.weights=auto", "arch=resnet18"])
@example(["+tracking.tags.a=b", "tracking.tags.a=c"])
@example(["tracking.tags={a:1}", "+tracking.tags={b:2}"])
@example(["model.weights.deeper=1"])
@example(["training=${seed}", "training.epochs=1"])
@example(["data.origin=${hydra.job.num}"])
@example(["tracking.uri=postgresql://u:secret@h/d"])
@example(["tracking.experiment=${now:%Y}"])
@settings(FUZZ, max_examples=EXAMPLES)
@given(jobs)
def test_a_job_is_composed_as_hydra_composes_it_or_refused_in_the_same_words(
    sweep: tuple[Composer, DictConfig], home: Path, texts: list[str]
) -> None:
    assert_equal(compose_all(sweep, [texts]), compose_all_by_hydra(sweep, [texts]))


@example(
    [["cache=${checkpoint}", "cache.every_epochs=9"], ["seed=1", "checkpoint.every_minutes=1"]]
)  # reaches another part
@settings(FUZZ, max_examples=EXAMPLES // 2)
@given(st.lists(st.lists(st.sampled_from((*GROUPS[:16], *RIGHT)) | right_keys, max_size=4), min_size=2, max_size=4))
def test_jobs_leave_no_trace_in_each_other(
    sweep: tuple[Composer, DictConfig], home: Path, all_texts: list[list[str]]
) -> None:
    right: list[tuple[list[str], Job]] = []
    for texts in all_texts:
        (job, *_) = compose_all_by_hydra(sweep, [texts])
        if isinstance(job, Job):
            right.append((texts, job))
    there_and_back = [*right, *reversed(right)]
    if right:
        assert_equal(compose_all(sweep, [texts for texts, _ in there_and_back]), [job for _, job in there_and_back])


@pytest.mark.parametrize("compose", [compose_all, compose_all_by_hydra])
@pytest.mark.parametrize(
    "now", ["tracking.experiment=at ${now:%f}", "+tracking.tags.at=${now:%H-%M-%S-%f}", "seed=${now:%f}"]
)
def test_a_time_is_the_same_wherever_a_job_has_it(
    sweep: tuple[Composer, DictConfig], home: Path, compose: Callable[..., Sequence[Job | str]], now: str
) -> None:
    jobs = compose(sweep, [[now, "threads=1"], [now, "threads=2"], ["seed=3"]])
    times = set()
    for job in jobs:
        assert isinstance(job, Job)
        told = (job.config.tracking.experiment, job.config.tracking.tags, job.config.seed)
        for composed in (job.composition(), job.composition(), pickle.loads(pickle.dumps(job)).composition()):
            tracking = OmegaConf.to_container(composed.tracking, resolve=True)
            assert (tracking["experiment"], tracking["tags"], composed.seed) == told  # type: ignore[index,call-overload]
        times.add(str(told))
    assert len(times) == 3  # each job has its own


@pytest.mark.parametrize(
    "texts",
    [
        *(["seed={}"], ["seed={}", "optimizer.lr=0.5", "experiment=linear_probe", "arch=resnet18"]),
        *(["+tracking.tags.a={}"], ["data.origin='nest {}'", "tracking.tags={{a:b}}"], ["++training.epochs={}"]),
        *(["threads=${{seed}}", "seed={}"], ["optimizer=adamw", "optimizer.beta1=0.{}"], ["optimizer={{lr:0.{}}}"]),
    ],
)
def test_hydra_composes_no_job_that_differs_in_plain_keys(
    sweep: tuple[Composer, DictConfig], home: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    ours, master = sweep

    def compose(*_: object) -> DictConfig:
        raise AssertionError("composed by Hydra")

    monkeypatch.setattr(type(ours.loader), "load_sweep_config", compose)
    composed: list[object] = []
    groups = sweep_composer.Choice.__init__

    def count(choice: sweep_composer.Choice, *arguments: Any) -> None:
        composed.append(choice)
        groups(choice, *arguments)

    monkeypatch.setattr(sweep_composer.Choice, "__init__", count)
    jobs = compose_jobs(master, [[text.format(number) for text in texts] for number in range(1, 9)], ours.loader)
    assert (len(jobs), len(composed)) == (8, 1)
    assert len({repr(job.config) for job in jobs}) == 8


def test_stages_of_networks_without_pretrained_weights_are_left_out_of_a_sweep_and_counted(
    sweep: tuple[Composer, DictConfig], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, master = sweep
    common = ["data=synthetic", "arch=resnet18", "head=task", f"paths.home={home}"]

    def texts(models: Sequence[str]) -> list[list[str]]:
        return [[*common, f"model={model}", f"model.stages={n}"] for model in models for n in ("1", "2", "null")]

    jobs = compose_jobs(master, texts(["scratch", "moments", "shuffled", "pretrained"]), ours.loader)
    rungs = [(job.number, job.config.model.name, job.config.model.stages) for job in jobs]
    assert rungs == [
        *((2, "scratch", None), (5, "moments", None), (8, "shuffled", None)),
        *((9, "pretrained", 1), (10, "pretrained", 2), (11, "pretrained", None)),
    ]
    said = "jobs 0, 1, 3, 4, 6, 7: model.stages=N goes with pretrained weights alone, null with any"
    assert caplog.messages == [f"left out: {said}"]
    with pytest.raises(ConfigurationError, match="goes with pretrained weights alone"):
        compose_jobs(master, [each for each in texts(["scratch"]) if "model.stages=null" not in each], ours.loader)


def test_places_are_looked_at_once_for_all_jobs(
    sweep: tuple[Composer, DictConfig], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr("tlft.runs.preflight._wrong_home", lambda folder: looked.append("home") or [])  # type: ignore[func-returns-value]
    monkeypatch.setattr("tlft.tracking.store.find_problems", lambda config: looked.append("store") or ["no store"])  # type: ignore[func-returns-value]
    texts = [[f"seed={number}"] for number in range(5)]
    assert compose_all(sweep, texts) == ["no store"]
    assert compose_all(sweep, texts) == ["no store"]  # a later sweep looks anew
    assert looked == ["home", "store"] * 2
