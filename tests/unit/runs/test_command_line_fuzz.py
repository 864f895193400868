"""Whatever is typed is carried out or refused in lines, and nothing that Hydra's grammar takes ends in a traceback."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tlft.config.hydra_internals import task_overrides
from tlft.errors import ConfigurationError
from tlft.planning.jobs import compose_jobs, expand_axes
from tlft.runs.preflight import check_command_line

EXAMPLES = int(os.environ.get("TLFT_FUZZ_EXAMPLES", "150"))

KEYS = (
    *("seed", "device", "precision", "threads", "force", "plan", "debug", "from_run", "verify", "nope", "", "hydra"),
    *("arch", "model", "head", "optimizer", "schedule", "data", "tracking", "experiment", "sweep", "training", "paths"),
    *("arch.name", "arch.library", "arch.weights", "model.name", "model.weights", "model.weights_file", "head.name"),
    *("optimizer.name", "optimizer.lr", "optimizer.momentum", "schedule.warmup_epochs", "data.root", "data.name"),
    *("data.class_map", "data.class_map.ants", "data.eval_fraction", "data.train_split", "data.split_seed"),
    *("training.epochs", "training.batch_size", "training.trainable", "training.keep", "checkpoint.every_minutes"),
    *("tracking.uri", "tracking.experiment", "tracking.tags", "tracking.tags.a b", "sweep.on_failure", "sweep.name"),
    *(
        "hydra/launcher",
        "hydra/sweeper",
        "hydra.mode",
        "hydra.run.dir",
        "hydra.sweep.subdir",
        "hydra.sweep",
        "hydra.sweeper.params",
    ),
    *("hydra.launcher.jobs", "hydra.job.chdir", "hydra.verbose", "hydra.callbacks", "optimizer@here", "a@b:c", "0"),
)
WORDS = (
    *("", "null", "true", "0", "1", "-1", "1e400", "nan", "inf", "0x10", "3.5", "1_000", "sgd", "adam", "adamw", "cpu"),
    *("resnet18", "resnet50", "timm", "torchvision", "scratch", "task", "imagenet1k", "imagefolder", "synthetic"),
    *("none", "head", "all", "MULTIRUN", "parallel", "basic", "${seed}", "${nope}", "${oc.env:HOME}", "${oc.env:X_X}"),
    *(
        "${tlft.home:1}",
        "${oc.decode:[}",
        "${data.root}",
        "${",
        "}",
        "'",
        '"',
        "'a b'",
        '"a,b"',
        "\\",
        "\\,",
        "a=b",
        "a:b",
        "?",
        "???",
    ),
    *(
        "*",
        "@",
        "~",
        "!",
        "$",
        "%",
        "&",
        ";",
        "#",
        "ü",
        "猫",
        "\t",
        "\r",
        "\n",
        "\x00",
        "\udce9",
        "é" * 300,
        "/tmp/x y",
    ),
    *("http://u:p@h:1", "sqlite:///x.db", "postgresql://u@h/d", "file:///tmp/x", "://", "a" * 9000),
)
CALLS = (
    *("choice({})", "range({})", "range(1,{})", "range(1,9,{})", "interval(0,{})", "glob({})", "glob([{}],exclude={})"),
    *("sort({})", "sort({},reverse=true)", "shuffle({})", "shuffle(range(3))", "tag(x,{})", "tag({})", "int({})"),
    *(
        "float({})",
        "str({})",
        "bool({})",
        "json_str({})",
        "nope({})",
        "choice()",
        "glob(*)",
        "glob(r*)",
        "extend_list({})",
    ),
    *("[{}]", "[{},{}]", "{{a:{}}}", "{{{}:[0]}}", "{{a:{{b:{}}}}}", "{},{}", "{},{},{}", "'{}'", '"{}"', "[[{}]]"),
)
FLAGS = (
    "-m",
    "--multirun",
    "--config-name=nope",
    "--config-name=arch/timm",
    "--config-dir=/nope",
    "--config-path=conf",
    "--foo",
    "-c",
    "-cd",
    "--",
    "-",
)

words = st.sampled_from(WORDS) | st.text(max_size=4) | st.integers().map(str) | st.floats().map(str)
calls = st.builds(
    lambda call, value: call.replace("{}", value).replace("{{", "{").replace("}}", "}"), st.sampled_from(CALLS), words
)
nested = st.builds(
    lambda call, value: call.replace("{}", value).replace("{{", "{").replace("}}", "}"), st.sampled_from(CALLS), calls
)
prefixes = st.sampled_from(("", "", "", "", "+", "++", "~"))
overrides = st.builds(
    lambda prefix, key, equals, value: f"{prefix}{key}{equals}{value}",
    prefixes,
    st.sampled_from(KEYS),
    st.sampled_from(("=", "=", "=", "=", "", "==", ": ")),
    words | calls | nested,
)
RIGHT = (
    *("seed=1,2", "seed=range(3)", "seed=choice(1,2)", "seed=${training.epochs}", "seed=0", "optimizer=sgd,adam"),
    *(
        "optimizer=glob(*)",
        "arch=resnet18",
        "arch.name=test_resnet",
        "arch=timm",
        "model=scratch",
        "head=imagenet1k,task",
    ),
    *("experiment=glob(*)", "experiment=zero_shot", "sweep=demo", "sweep=comparison", "schedule=cosine", "plan=true"),
    *("data=synthetic", "data=imagefolder", "training.trainable=none", "training.epochs=0,1", "tracking=server"),
    *("tracking.tags={a:b}", "data.class_map={ants:[310],bees:[309]}", "optimizer.lr=tag(a,b,choice(0.1,1))"),
    *("hydra/launcher=parallel", "hydra/launcher=slurm", "hydra.sweeper.params={seed:'1,2'}", "device=cuda:7", "-m"),
)
right = st.sampled_from(RIGHT)
command_lines = st.lists(right | right | overrides | st.sampled_from(FLAGS), max_size=4)


def problems_of(argv: Sequence[str]) -> list[str]:
    """Do all that `run.py` does before anything is written or fetched; return the problems, a line each."""
    try:
        invocation = check_command_line(argv)
        if invocation is not None and invocation.config is None and not invocation.shows_help:
            sweeper = invocation.composed.hydra.sweeper
            axes = expand_axes(sweeper.get("params") or {}, task_overrides(invocation.composed), invocation.loader)
            compose_jobs(invocation.composed, axes[:3], invocation.loader)
    except ConfigurationError as error:
        return error.problems
    return []


@example(["-m", "optimizer=glob(*)"])
@example(["data.class_map={0:[0]}"])
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(command_lines)
def test_whatever_is_typed_is_carried_out_or_refused_in_lines(home: Path, argv: list[str]) -> None:
    for problem in problems_of([*argv, "data.root=/tmp", f"paths.home={home}"]):
        assert problem
        assert problem.isprintable(), problem
        assert len(problem) < 1200, problem
