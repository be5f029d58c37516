"""Cells, trainings and ensembles, and the keys they are addressed by."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch

from dynlab.datasets import dataset_of
from dynlab.studies.grid import Cell, cells_of, ensembles_of, trainings_of
from dynlab.studies.keys import canonical_json, data_sha256, sha256_of, stage_inputs
from dynlab.studies.specification import load_study
from dynlab.training import TrainingSettings, train
from dynlab.training.batched import SHARED_SETTINGS

DATA = '[data]\ntrain = "digits/train"\ntest = "digits/test"\n'


def test_canonical_json_is_one_text_a_value() -> None:
    assert canonical_json({"b": (1, 2.5), "a": [None, True, "é"]}) == r'{"a":[null,true,"\u00e9"],"b":[1,2.5]}'
    assert canonical_json([0.1, 1e-5, 1.0, 1]) == "[0.1,1e-05,1.0,1]"
    assert sha256_of({"a": ()}) == hashlib.sha256(b'{"a":[]}').hexdigest()
    for value in (math.nan, [math.inf]):
        with pytest.raises(ValueError, match="JSON"):
            canonical_json(value)
    for value in ({1: 2}, [{"a": {2: 3}}], {1, 2}):
        with pytest.raises(TypeError):
            canonical_json(value)


def test_keys_of_old_results_stay() -> None:
    """Literals: were one to change, all results computed before it would be computed anew.

    A key may change together with `TRAIN_VERSION`, where the same settings give other weights than before.
    """
    plain = Cell(TrainingSettings(sigma=0.7, epochs=250, walkback=5, annealing=0.999), "0" * 64)
    deep = Cell(
        TrainingSettings(corruption="strokes(1)", epochs=1, hidden=(8, 4), tied=True, loss="cross-entropy"), "f" * 64
    )
    assert plain.training_key == "4ccf71c9ebe0660d51d209d90eb100dea57ae7c2615e808e579694677095fd9f"
    assert plain.key == "970db4cbf6ec8c9a67f6f9e2e1d1fbe2de2e1b00cc9d46b66aa69c86b1d9e543"
    assert plain.folder == "970db4cbf6ec8c9a"
    assert deep.key == "77638a47deb074dbfd5c4f8d317063041ee585455a569bab5d88e7721cf01e86"
    stage = stage_inputs(
        "basins", 1, parameters={"samples": 2000}, data={"test": "1" * 64}, cell=plain.key, needs={"train": "2" * 64}
    )
    assert sha256_of(stage) == "dbbf7f710de62757f7e912aca2589d90e72c587364fdefe341a20ef327ed1887"


@dataclass(frozen=True, kw_only=True)
class LaterSettings(TrainingSettings):
    """As they may be one day."""

    momentum: float = 0.0


def test_a_setting_that_is_added_later_changes_no_key_where_it_has_its_default() -> None:
    values = {"sigma": 0.3, "epochs": 5}
    now, later = Cell(TrainingSettings(**values), ""), Cell(LaterSettings(**values), "")
    assert later.key == now.key
    assert Cell(LaterSettings(**values, momentum=0.9), "").key != now.key


def test_keys_hold_everything_that_determines_a_cell() -> None:
    settings = TrainingSettings(sigma=0.3, epochs=5)
    others = {
        "sigma": 0.4, "epochs": 6, "walkback": 2, "annealing": 0.9, "batch_size": 21, "learning_rate": 0.2, "hidden": 3,
        "tied": True, "seed": 1, "corruption": "clean", "walkback_variant": "last", "loss": "cross-entropy",
        "contraction": 0.5, "hidden_nonlinearity": "tanh", "output_nonlinearity": "tanh",
    }  # fmt: skip
    assert set(others) == {field.name for field in fields(TrainingSettings)}
    cells = [Cell(settings, "a"), Cell(settings, "b")]
    cells += [Cell(replace(settings, **{name: value}), "a") for name, value in others.items()]
    assert len({cell.key for cell in cells}) == len(cells)
    # Epochs alone do not make another training.
    assert len({cell.training_key for cell in cells}) == len(cells) - 1
    one, whole = replace(settings, sigma=1.0), replace(settings, sigma=1.0)
    object.__setattr__(whole, "sigma", 1)  # as from Python code without type checks
    whole.__post_init__()
    assert canonical_json(whole.identity()) == canonical_json(one.identity())


def test_the_hash_of_data_knows_the_shape_of_a_sample() -> None:
    images = torch.rand(3, 16)
    shapes = [None, (4, 4), (2, 8)]
    assert len({data_sha256(dataset_of(images, name="a", shape=shape)) for shape in shapes}) == 3
    assert data_sha256(dataset_of(images, name="a")) == data_sha256(dataset_of(images.clone(), name="b"))


def test_cells_trainings_and_ensembles(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        DATA
        + """
        [[grid]]
        sigma = [0.3, 0.2]
        corruption = ["gaussian", "learned"]
        walkback = [1, 2]
        epochs = [4, 2, 3]
        seeds = 2
        [[grid]]
        sigma = 0.5
        epochs = 9
        [[grid]]
        sigma = 0.2
        epochs = 1
        """
    )
    cells = cells_of(load_study(path), "0" * 64)
    assert len({cell.key for cell in cells}) == len(cells) == 2 * 2 * 2 * 3 * 2 + 2
    told = [(cell.settings.sigma, cell.settings.epochs, cell.settings.seed) for cell in cells]
    assert told[:6] == [(0.3, 4, 0), (0.3, 4, 1), (0.3, 2, 0), (0.3, 2, 1), (0.3, 3, 0), (0.3, 3, 1)]
    assert told[-2:] == [(0.5, 9, 0), (0.2, 1, 0)]

    trainings = trainings_of(cells)
    assert sorted(cell.key for training in trainings for cell in training.cells) == sorted(cell.key for cell in cells)
    seeds = [training.settings.seed for training in trainings]
    assert seeds == [0] * 9 + [1] * 8  # the first seed of everything before the second
    for training in trainings:
        # The cell of the third grid belongs to a training of the first.
        extended = (training.settings.sigma, training.settings.corruption) == (0.2, "gaussian")
        extended &= (training.settings.walkback, training.settings.seed) == (1, 0)
        lone = training.settings.sigma == 0.5
        assert training.snapshots == (() if lone else (1, 2, 3) if extended else (2, 3))
        assert training.settings.epochs == (9 if lone else 4)
        assert {cell.training_key for cell in training.cells} == {training.key}

    ensembles = ensembles_of(trainings)
    assert sorted(training.key for ensemble in ensembles for training in ensemble) == sorted(
        training.key for training in trainings
    )
    assert sorted(map(len, ensembles)) == [1, 4, 4, 4, 4]
    for ensemble in ensembles:
        shared = [
            (*(getattr(training.settings, name) for name in SHARED_SETTINGS), training.settings.schedule().learns)
            for training in ensemble
        ]
        assert len(set(shared)) == 1


def test_a_cell_of_fewer_epochs_is_what_its_training_has_after_them() -> None:
    """Why cells that differ in epochs only may be snapshots."""
    images = torch.rand(40, 9, generator=torch.Generator().manual_seed(0))
    settings = TrainingSettings(sigma=0.2, epochs=4, hidden=5, annealing=0.9)
    kept = []
    train(images, settings, device="cpu", snapshots=[2], on_snapshot=kept.append)
    alone = train(images, replace(settings, epochs=2), device="cpu")
    for name, value in alone.state_dict().items():
        assert torch.equal(kept[0].state_dict()[name], value)
