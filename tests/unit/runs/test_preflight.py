from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from conftest import files_in
from mlflow_database import newer_database

from tlft.config.compose import Composer
from tlft.config.paths import CONF
from tlft.errors import ConfigurationError
from tlft.runs.preflight import check_command_line, examine


def problems(home: Path, *arguments: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        check_command_line(list(arguments))
    assert files_in(home) == []
    return caught.value.problems


def test_what_is_right_is_not_blamed_for_what_is_wrong_beside_it(home: Path) -> None:
    right = ("data=demo", "arch=timm", "arch.name=test_efficientnet", "model=scratch")
    assert problems(home, *right, "seed=x") == ["seed=x: give a whole number"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sedd=1"], "sedd=1: no such key; did you mean seed?"),
        (["lr=0.1"], "lr=0.1: no such key; did you mean optimizer.lr?"),
        (["model.wieghts=V1"], "did you mean model.weights?"),
        (["+foo=1"], "+foo=1: no such key"),
        (["+seed=1"], "+seed=1: is there already; leave the + out"),
        (["~seed"], "~seed: a key cannot be taken out"),
        (
            ["optimizer=sdg"],
            "optimizer=sdg: no such option; did you mean sgd? (there are adam, adamw, modern, sgd, torch)",
        ),
        (["model=scrach"], "did you mean scratch?"),
        (["arch=resnet51"], "or, for any other network, arch=torchvision arch.name=NAME"),
        (["arch=torchvision"], "arch.name: a value is missing; set arch.name=..."),
        (["optimizer.beta1=0.5"], "no such key here; it belongs to optimizer=adamw"),
        (["experiment=null"], "experiment=null: choose one of evaluate, fine_tune"),
        (["seed=abc"], "seed=abc: give a whole number"),
        (["optimizer.lr=abc"], "optimizer.lr=abc: give a number"),
        (["force=maybe"], "force=maybe: give true or false"),
        (["training=3"], "training=3: give one of its keys"),
        (["training=${seed}"], "training=${seed}: comes to 0, which has no keys; give its keys one by one"),
        (["seed=null"], "seed=null: give a value"),
        (["seed=1,2"], "seed=1,2: several values need -m"),
        (["seed=={"], "seed=={: cannot be read; write 'seed=\"={\"'"),
        (["--foo"], "unrecognized arguments: --foo; flags such as -m come first"),
        (["--config-dir", "/nowhere"], "--config-dir /nowhere: no such folder"),
        (["seed=-1"], "seed=-1: give a whole number of at least 0"),
        (["device=tpu"], "device=tpu: choose one of"),
        (["head=imagenet1k"], "the 1000-class head is only evaluated"),
        (["data=imagefolder", "data.root=/nowhere"], "data.root=/nowhere: no such folder"),
        (["model=file"], "model.weights_file: a value is missing; set model.weights_file=..."),
        (["model=run"], "model.run_id: a value is missing; set model.run_id=..."),
        (["model.weights_file=/nowhere.pth"], "model.weights_file=/nowhere.pth: no such file"),
        (["tracking=server"], "tracking=server: no address; give tracking.uri=http://HOST:PORT"),
        (["tracking.uri=sqlite://"], "tracking.uri=sqlite://: names no file"),
        (["tracking.tags={host:mine}"], "tracking.tags.host: is a tag of tlft's own"),
        (["tracking.tags={tlft.run_key:zz}"], "tracking.tags.tlft.run_key: is a tag of tlft's own"),
        (["=3"], "=3: cannot be read; write key=value"),
        (["arch=3"], "arch=3: choose one of efficientnet_lite0"),
        (["data=true"], "data=true: choose one of demo"),
        (["arch=[resnet50,resnet18]"], "choose one of efficientnet_lite0"),
        (["-m", "optimizer=1,2"], "optimizer=1,2: choose one of adam"),
        (["--config-name", "foo"], "--config-name foo: no such file"),
        (
            ["--experimental-rerun", "config.pickle"],
            "which may run any code; repeat a run with from_run=RUN",
        ),
        (["--config-path", "/nowhere"], "--config-path /nowhere: no such folder"),
        (["--cfg", "job", "sedd=1"], "sedd=1: no such key; did you mean seed?"),
        (["--cfg", "job", "-m", "seed=1,2"], "leave -m out"),
        (["--help", "sedd=1"], "sedd=1: no such key; did you mean seed?"),
        (["arch.bn_momentum=2"], "arch.bn_momentum=2.0: give a number above 0 and up to 1"),
        (["checkpoint.every_epochs=0"], "checkpoint.every_epochs=0: give a whole number of at least 1"),
        (["checkpoint.every_minutes=-1"], "checkpoint.every_minutes=-1.0: give a number of at least 0"),
        (["cache.max_gb=-1"], "cache.max_gb=-1.0: give a number of at least 0"),
        (["seed=${oc.env:NO_SUCH}"], "Environment variable 'NO_SUCH' not found"),
        (["tracking.uri=foo"], "tracking.uri=foo: give http://HOST:PORT"),
        (["paths.home=/dev/null"], "paths.home=/dev/null: /dev/null is a file; name a folder"),
        (["-m", "sweep=demo,comparison"], "cannot be swept over; give one value"),
        (["-m", "seed=interval(0,1)"], "only lists, choice(...) and range(...) can be swept over"),
        (["sweep.name=x"], "sweep.name=x: no such key; did you mean sweep.on_failure?"),
        (["hydra.sweep={dir:/tmp,subdir:x}"], "hydra.sweep.subdir=x: a job's folder has its number for a name"),
        (["-m", "arch=interval(0,1)"], "arch=interval(0,1): choose one of efficientnet_lite0"),
        (["-m", "optimizer={name:sgd},{name:adam}"], "optimizer={name:sgd},{name:adam}: choose one of adam"),
        (["hydra.mode=${nope}"], "Interpolation key 'nope' not found"),
        (["hydra.mode=${tlft.home:1,2}"], "while resolving interpolation"),
        (["--config-name", "arch/timm", "seed=1"], "Could not override"),
        (["data.class_map={0:[1],0:[2]}"], "a key is there twice, of which only the last would count; give it once"),
        (["hydra.sweep.subdir=x"], "a job's folder has its number for a name; leave it out"),
        (["optimizer.name=rmsprop"], "optimizer=sgd sets it to sgd; choose an option of the group (there are adam,"),
        (["optimizer.name=adamw"], "optimizer.name=adamw: optimizer=sgd sets it to sgd; write optimizer=adamw"),
        (["model.name=scratch"], "model.name=scratch: model=pretrained sets it to pretrained; write model=scratch"),
        (["head.name=imagenet1k"], "write head=imagenet1k"),
        (["schedule.name=cosine"], "write schedule=cosine"),
        (["data.name=synthetic"], "write data=synthetic"),
        (["arch.library=timm"], "write arch=timm"),
        (["arch.name=resnet18"], "arch=resnet50 sets it to resnet50; write arch=torchvision arch.name=resnet18"),
        (["-m", "optimizer=sgd,adm"], "optimizer=adm: no such option; did you mean adam?"),
    ],
)
def test_mistake_is_one_line_with_its_mend_and_nothing_is_written(home: Path, arguments: list[str], said: str) -> None:
    found = problems(home, *arguments)
    assert len(found) == 1, found
    assert said in found[0]
    assert "\n" not in found[0]


def test_a_key_of_a_part_that_is_a_number_is_told_beside_the_number(home: Path) -> None:
    _, part = problems(home, "training=${seed}", "training.epochs=1")
    assert part.startswith("training=${seed}: comes to 0, which has no keys")


@pytest.mark.parametrize(
    "tags", ["{}", "{a:1,b:2}", "{url:http://h:5000/x}", "{a:'x,y:z'}", "{a:1,b:{c:1,d:2}}", "{a:[1,2],b:x\\,y}"]
)
def test_a_map_whose_values_hold_colons_and_commas_has_no_key_twice(home: Path, tags: str) -> None:
    composer = Composer()
    assert composer.wrong_forms(composer.parse([f"tracking.tags={tags}"])) == []
    twice = f"tracking.tags={tags.removesuffix('}')}{',' if tags != '{}' else 'z:1,'}z:1,z:2}}"
    (problem,) = composer.wrong_forms(composer.parse([twice]))
    assert "a key is there twice" in problem


def test_independent_problems_are_reported_together(home: Path) -> None:
    found = problems(home, "sedd=3", "optimizer=sdg", "seed=-1", "device=tpu", "training.epochs=x")
    assert len(found) == 5


def test_independent_problems_of_a_sweep_are_reported_together(home: Path) -> None:
    found = problems(home, "-m", "optimizer=sgd,adm,adamx", "seed=1,-2", "training.epochs=2")
    assert [problem.partition(":")[0] for problem in found] == ["optimizer=adm", "optimizer=adamx", "seed=-2"]


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_wrong_value_hides_no_key_that_was_given(home: Path, tiny_folder: Path, sweep: list[str]) -> None:
    given = ["arch=torchvision", "arch.name=mobilenet_v3_small", "data=imagefolder", f"data.root={tiny_folder}"]
    seeds = ["seed=0,1"] if sweep else ["seed=1"]
    assert problems(home, *sweep, *given, "model=scratch", *seeds, "resume.wait=maybe") == [
        "resume.wait=maybe: give true or false"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet5O", "arch.name=resnet5O: no such network; did you mean resnet50?"),
        (
            "vit_tiny_patch16_224",
            "torchvision has no such network, timm has; use arch=timm arch.name=vit_tiny_patch16_224",
        ),
    ],
)
def test_unknown_network_hears_of_the_nearest(home: Path, name: str, said: str) -> None:
    assert problems(home, "arch=torchvision", f"arch.name={name}") == [
        f"{said}" if said.startswith("arch.name") else f"arch.name={name}: {said}"
    ]


def test_unknown_weights_hear_of_those_that_there_are(home: Path) -> None:
    (found,) = problems(home, "model.weights=IMAGENET1K_V3")
    assert "(there are IMAGENET1K_V1, IMAGENET1K_V2)" in found


def test_missing_device_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "no CUDA device here" in problems(home, "device=cuda")[0]
    assert "this machine has none" in problems(home, "device=mps")[0]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "there are 2 CUDA devices, counted from 0" in problems(home, "device=cuda:2")[0]


def test_tf32_needs_a_gpu_that_has_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert problems(home, "precision=tf32") == ["precision=tf32: no CUDA device here has it; use precision=float32"]
    assert "device=cpu: only NVIDIA's GPUs have it" in problems(home, "precision=tf32", "device=cpu")[0]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)  # older than Ampere
    assert problems(home, "precision=tf32") == ["precision=tf32: no CUDA device here has it; use precision=float32"]


RIGHT = ("data=demo", "arch=timm", "arch.name=test_efficientnet", "model=scratch")


@pytest.mark.parametrize("asked", ["device=cuda", "device=cuda:3", "precision=tf32"])
def test_what_only_a_node_of_the_cluster_knows_is_not_asked_of_the_login_node(
    home: Path, monkeypatch: pytest.MonkeyPatch, composer: Composer, asked: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    overrides = [f"paths.home={home}", *RIGHT, asked, "hydra/launcher=slurm"]
    examine(composer.compose([*overrides, "hydra.mode=MULTIRUN"]), composer.loader)
    with pytest.raises(ConfigurationError, match="no CUDA device here"):
        examine(composer.compose(overrides), composer.loader)  # a single run is done here, whatever the launcher


def test_class_without_a_map_is_said(home: Path, tiny_folder: Path) -> None:
    arguments = ["experiment=zero_shot", "data=imagefolder", f"data.root={tiny_folder}", "data.class_map={ants:[1000]}"]
    assert problems(home, *arguments) == ["data.class_map.ants: output 1000 is outside 0..999"]


def make_database(home: Path, what: str) -> None:
    path = home / "mlflow.db"
    if what == "garbage":
        path.write_bytes(b"this is no database" * 100)
    elif what == "foreign":
        with sqlite3.connect(path) as database:
            database.execute("create table t (x)")
    elif what == "newer":
        newer_database(path)
    else:
        path.mkdir()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("garbage", "the tracking database cannot be read"),
        ("foreign", "is no MLflow database; move it away"),
        ("newer", "was written by a newer MLflow"),
        ("folder", "is a folder where the tracking database should be"),
    ],
)
def test_unusable_database_is_said(home: Path, what: str, said: str) -> None:
    make_database(home, what)
    before = files_in(home)
    with pytest.raises(ConfigurationError) as caught:
        check_command_line([])
    assert said in caught.value.problems[0]
    assert files_in(home) == before


def test_a_label_that_is_what_the_option_says_is_right(home: Path) -> None:
    labels = ("optimizer=adamw", "optimizer.name=adamw", "arch=timm", "arch.name=test_efficientnet", "model=scratch")
    invocation = check_command_line(["data=demo", *labels])
    assert invocation is not None and invocation.config is not None
    assert invocation.config.optimizer.name == "adamw"


def test_a_user_s_option_cannot_name_what_its_keys_are_not(home: Path, tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    text = (CONF / "optimizer" / "sgd.yaml").read_text()
    for file, name in (("lies", "adamw"), ("works", "sgd")):
        (tmp_path / "optimizer" / f"{file}.yaml").write_text(text.replace("name: sgd", f"name: {name}"))
    given = ("--config-dir", str(tmp_path), "data=demo", "model=scratch")
    assert check_command_line([*given, "optimizer=works"]) is not None
    (problem,) = problems(home, *given, "optimizer=lies")
    assert problem.startswith("optimizer.name=adamw: optimizer=lies sets it to sgd")
