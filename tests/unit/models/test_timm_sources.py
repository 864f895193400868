"""What is read in timm's sources is what timm itself says, of every network in the version that is installed."""

from __future__ import annotations

import timm

from tlft.models.timm_sources import read_sources


def test_every_name_is_known_and_no_other() -> None:
    assert sorted(read_sources()) == sorted(timm.list_models())


def test_every_address_is_the_one_that_timm_would_take() -> None:
    read = {
        f"{name}.{source.tag}": (source.url, source.hub_repo)
        for name, sources in read_sources().items()
        for source in sources
    }
    published = timm.list_pretrained()
    assert read.keys() <= set(published)
    assert len(read) > 0.9 * len(published)  # timm is asked of the others
    said = {name: timm.get_pretrained_cfg(name, allow_unregistered=False) for name in read}
    assert read == {name: (cfg.url or None, cfg.hf_hub_id or None) for name, cfg in said.items()}


def test_the_first_weights_are_the_choice_of_timm() -> None:
    first = {name: sources[0].tag for name, sources in read_sources().items() if sources}
    assert first == {name: timm.get_pretrained_cfg(name).tag for name in first}
