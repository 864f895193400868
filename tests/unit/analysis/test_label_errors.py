"""Which labels networks contradict."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fabricated import CLASSES, network

from analysis.label_errors import Search, find_suspects
from tlft.errors import ConfigurationError


def test_label_that_every_network_contradicts_is_found_and_counted_as_wrong() -> None:
    wrong = {7: "ants", 30: "wasps"}  # of bees and of ants
    search = find_suspects([network(seed, wrong=wrong) for seed in range(4)])
    assert (search.images, search.networks, search.guessing) == (90, 4, 0)
    assert {(suspect.file, suspect.label, suspect.likely) for suspect in search.suspects if suspect.doubted} == {
        ("val/7.png", "bees", "ants"),
        ("val/30.png", "ants", "wasps"),
    }
    assert all(suspect.against == 4 and suspect.probability < 0.05 for suspect in search.suspects if suspect.doubted)
    assert [suspect.probability for suspect in search.suspects] == sorted(
        suspect.probability for suspect in search.suspects
    )


def test_doubt_is_that_of_cleanlab_on_the_weighted_mean() -> None:
    from cleanlab.filter import find_label_issues

    frames = [network(seed, wrong={3: "bees"}, skill=1.5) for seed in range(3)]
    p = np.stack([frame[[f"p/{name}" for name in CLASSES]].to_numpy() / 0.9 for frame in frames])
    labels = np.array([CLASSES.index(label) for label in frames[0]["label"]])
    weights = (p.argmax(axis=2) == labels).mean(axis=1)
    counted = find_label_issues(labels, np.average(p, axis=0, weights=weights), filter_by="confident_learning")
    search = find_suspects(frames)
    contradicted = {suspect.file for suspect in search.suspects}
    assert {suspect.file for suspect in search.suspects if suspect.doubted} == contradicted & {
        f"val/{index}.png" for index in np.flatnonzero(counted)
    }
    assert len(contradicted) > sum(suspect.doubted for suspect in search.suspects) > 0


def test_what_one_network_of_three_says_is_no_suspicion() -> None:
    frames = [network(0, wrong={7: "ants"}, skill=9), network(1, skill=9), network(2, skill=9)]
    assert find_suspects(frames).suspects == ()


def test_networks_that_guess_are_not_asked() -> None:
    guess = network(0).assign(**{f"p/{name}": 1 / 3 for name in CLASSES})
    search = find_suspects([network(0, skill=9), guess, guess])
    assert (search.networks, search.guessing, search.suspects) == (1, 2, ())
    assert find_suspects([guess]) == Search((), 90, 0, 1)
    assert find_suspects([]) == Search((), 0, 0, 0)


def test_networks_that_saw_other_images_are_asked_of_those_that_all_saw() -> None:
    frames = [network(0, wrong={7: "ants"}), network(1, wrong={7: "ants"}).iloc[5:80].sample(frac=1, random_state=0)]
    search = find_suspects(frames)
    assert search.images == 75
    assert "val/7.png" in [suspect.file for suspect in search.suspects]


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(ConfigurationError, match=r"pip install -e '\.\[errors\]'"):
        find_suspects([network(0)])


@pytest.mark.parametrize("order", [1, -1])
def test_a_network_that_was_not_asked_for_all_classes_is_not_heard(order: int) -> None:
    whole = [network(seed, wrong={4: "wasps"}) for seed in (1, 2)]
    partly = network(3).query("label != 'wasps'").drop(columns="p/wasps")
    assert find_suspects([*whole, partly][::order]) == find_suspects(whole[::order])
    assert find_suspects(whole).suspects
