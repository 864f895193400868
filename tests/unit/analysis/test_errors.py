"""What is doubtful in the data itself: which labels are contradicted, and that the page shows it."""

from __future__ import annotations

import hashlib
import html
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Configure
from fabricated import folder_of, scene

from analysis.errors import Findings, main, render_errors
from analysis.label_errors import Search, find_suspects
from tlft.data.near_duplicates import Member, Pair
from tlft.errors import ConfigurationError
from tlft.runs.experiment import run_experiment
from tlft.tracking.reader import load_records

EVIL = "<script>alert(1)</script>"
CLASSES = ("ants", "bees", "wasps")


def network(seed: int, *, wrong: dict[int, str] | None = None, skill: float = 4.0, images: int = 90) -> pd.DataFrame:
    """Return the predictions of a network that is sure of most labels, and as sure of other classes for some images."""
    random = np.random.default_rng(seed)
    labels = [CLASSES[index % 3] for index in range(images)]
    logits = random.normal(size=(images, 3))
    for index, label in enumerate(labels):
        logits[index, CLASSES.index((wrong or {}).get(index, label))] += skill + (index in (wrong or {})) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) * 0.9  # as of a head with other classes too
    return pd.DataFrame(
        {
            "file": [f"val/{index}.png" for index in range(images)],
            "sha256": [f"{index:064x}" for index in range(images)],
            "label": labels,
            **{f"p/{name}": p[:, place] for place, name in enumerate(CLASSES)},
        }
    )


def test_label_that_every_network_contradicts_is_found_and_counted_as_wrong() -> None:
    wrong = {7: "ants", 30: "wasps"}  # of bees and of ants
    found = find_suspects([network(seed, wrong=wrong) for seed in range(4)])
    assert (found.images, found.networks, found.guessing) == (90, 4, 0)
    assert {(one.file, one.label, one.likely) for one in found.suspects if one.doubted} == {
        ("val/7.png", "bees", "ants"),
        ("val/30.png", "ants", "wasps"),
    }
    assert all(one.against == 4 and one.probability < 0.05 for one in found.suspects if one.doubted)
    assert [one.probability for one in found.suspects] == sorted(one.probability for one in found.suspects)


def test_doubt_is_that_of_cleanlab_on_the_weighted_mean() -> None:
    from cleanlab.filter import find_label_issues

    frames = [network(seed, wrong={3: "bees"}, skill=1.5) for seed in range(3)]
    p = np.stack([frame[[f"p/{name}" for name in CLASSES]].to_numpy() / 0.9 for frame in frames])
    labels = np.array([CLASSES.index(label) for label in frames[0]["label"]])
    weights = (p.argmax(axis=2) == labels).mean(axis=1)
    counted = find_label_issues(labels, np.average(p, axis=0, weights=weights), filter_by="confident_learning")
    found = find_suspects(frames)
    contradicted = {one.file for one in found.suspects}
    assert {one.file for one in found.suspects if one.doubted} == contradicted & {
        f"val/{index}.png" for index in np.flatnonzero(counted)
    }
    assert len(contradicted) > sum(one.doubted for one in found.suspects) > 0


def test_what_one_network_of_three_says_is_no_suspicion() -> None:
    frames = [network(0, wrong={7: "ants"}, skill=9), network(1, skill=9), network(2, skill=9)]
    assert find_suspects(frames).suspects == ()


def test_networks_that_guess_are_not_asked() -> None:
    guess = network(0).assign(**{f"p/{name}": 1 / 3 for name in CLASSES})
    found = find_suspects([network(0, skill=9), guess, guess])
    assert (found.networks, found.guessing, found.suspects) == (1, 2, ())
    assert find_suspects([guess]) == Search((), 90, 0, 1)
    assert find_suspects([]) == Search((), 0, 0, 0)


def test_networks_that_saw_other_images_are_asked_of_those_that_all_saw() -> None:
    frames = [network(0, wrong={7: "ants"}), network(1, wrong={7: "ants"}).iloc[5:80].sample(frac=1, random_state=0)]
    found = find_suspects(frames)
    assert found.images == 75
    assert "val/7.png" in [one.file for one in found.suspects]


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(ConfigurationError, match=r"pip install -e '\.\[errors\]'"):
        find_suspects([network(0)])


def test_page_shows_the_images_and_names_stay_text(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    names = ("val/a.png", f"val/{EVIL.replace('/', '')}.png")
    for index, name in enumerate(names):
        scene(index).save(tmp_path / name)
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    frame = network(0, wrong={7: "ants"})
    frame.loc[7, ["file", "sha256"]] = [names[1], digests[1]]
    search = find_suspects([frame, frame])
    pair = Pair(
        Member(names[0], digests[0], "eval", EVIL), Member("train/gone.png", "f" * 64, "train", "ants"), 3, True
    )
    page = render_errors([Findings(EVIL, 2, search, (pair,), (tmp_path,))], "Doubtful data: tlft")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<script>alert" not in page
    assert html.escape(EVIL) in page
    assert "The label counts as wrong." in page
    assert "3 of 64 bits differ, mirrored" in page
    assert "1 pair of a training and an evaluation image" in page
    nothing = render_errors([Findings("photos", 1, Search((), 90, 1, 0), None, ())], "Doubtful data: tlft")
    assert "near-duplicates were not looked for" in nothing


def test_command_looks_at_the_runs_of_mlflow(
    tmp_path: Path, configure: Configure, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 2
    assert "no runs in experiment tlft" in capsys.readouterr().err
    copies = {"val/bees/copy.jpg": scene(500), "train/bees/again.jpg": scene(1500)}
    root = folder_of(tmp_path / "scenes", copies)
    small = ("data=imagefolder", f"data.root={root}", "arch=timm", "arch.name=test_efficientnet", "model=scratch")
    for seed in (0, 1):
        run_experiment(configure(*small, "training.epochs=0", "head=task", f"seed={seed}"), f"data: {{root: {root}}}")
    out = tmp_path / "doubts.html"
    capsys.readouterr()
    assert main(["--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "scenes: " in said
    assert "val/bees/copy.jpg (eval) and train/ants/0.png (train): nearly the same" in said
    assert "1 pair of a training and an evaluation image, and 1 pair within a split" in said
    assert said.endswith(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)\n")
    page = out.read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert main(["--out", str(tmp_path)]) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err
    older = Path(load_records("tlft", home=home)[0].artifacts.removeprefix("file://")) / "near_duplicates.json"
    older.unlink()
    assert main(["--out", str(out)]) == 0
    assert "1 pair of a training" in capsys.readouterr().out
