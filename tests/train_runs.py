"""Tiny trainings, one for each path through the code of training, and their results in short.

60 digits of 8 x 8 pixels, 10 hidden units, 6 minibatches, of which two are smaller: enough for weights to move by
several percent, and too few steps for the last digits of float32 to grow, so that all machines agree closely.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stage_summaries import of_json, of_tensor

from dynlab.datasets import load_dataset
from dynlab.maps import Autoencoder
from dynlab.training import TrainingSettings, train

SAMPLES = 60
USUAL: dict[str, Any] = {
    "sigma": 0.3,
    "epochs": 2,
    "batch_size": 25,
    "hidden": 10,
    "walkback": 2,
    "learning_rate": 0.1,
    "annealing": 0.9,
}
# What is otherwise than usual.
TRAININGS: dict[str, dict[str, Any]] = {
    "one step": {"walkback": 1},
    "walkback": {},
    "three steps": {"walkback": 3, "seed": 1},
    "detached": {"walkback_variant": "detached"},
    "last": {"walkback_variant": "last"},
    "cross-entropy": {"loss": "cross-entropy", "learning_rate": 0.02},
    "cross-entropy, detached": {"loss": "cross-entropy", "walkback_variant": "detached", "learning_rate": 0.02},
    "cross-entropy, last": {"loss": "cross-entropy", "walkback_variant": "last", "learning_rate": 0.02},
    "tied": {"tied": True, "seed": 2},
    "tanh": {"hidden_nonlinearity": "tanh", "output_nonlinearity": "tanh", "learning_rate": 0.02},
    "relu": {"hidden_nonlinearity": "relu", "output_nonlinearity": "identity", "learning_rate": 0.02},
    "contraction": {"contraction": 0.1},
    "contraction, relu": {"contraction": 0.1, "hidden_nonlinearity": "relu", "learning_rate": 0.02},
    "contraction, tied, cross-entropy": {
        "contraction": 0.1,
        "tied": True,
        "loss": "cross-entropy",
        "hidden_nonlinearity": "tanh",
        "learning_rate": 0.02,
    },
    "deep": {"hidden": (12, 6)},
    "deep, tied, contraction, last": {
        "hidden": (12, 6),
        "tied": True,
        "contraction": 0.1,
        "walkback_variant": "last",
        "hidden_nonlinearity": "tanh",
    },
    "deep, cross-entropy, detached": {
        "hidden": (12, 6),
        "loss": "cross-entropy",
        "walkback_variant": "detached",
        "learning_rate": 0.02,
    },
    "salt and pepper": {"corruption": "salt-and-pepper"},
    "square": {"corruption": "square(0.5)"},
    "strokes": {"corruption": "strokes(2, 0.1)"},
    "occlusion": {"corruption": "occlusion"},
    "scaling": {"corruption": "scaling"},
    "rotation": {"corruption": "rotation(20)"},
    "learned": {"corruption": "learned(0.1)"},
    "schedule": {"corruption": "clean until 1, 0.7 rotation(15) then gaussian + 0.3 salt-and-pepper(0.2)"},
    "annealing with snapshots": {"epochs": 3, "annealing": 0.5, "seed": 3},
}
SNAPSHOTS = {"annealing with snapshots": (1, 2)}


def train_summary(names: Collection[str] = TRAININGS.keys()) -> dict[str, Any]:
    """What trainings come to: of each its objectives and its weights, and those of its snapshots."""
    data = load_dataset("digits/train", limit=SAMPLES)
    found: dict[str, Any] = {}
    for name in names:
        snapshots: list[Autoencoder] = []
        trained = train(
            data.images,
            TrainingSettings(**USUAL | TRAININGS[name]),
            state_shape=data.shape,
            device="cpu",
            snapshots=SNAPSHOTS.get(name, ()),
            on_snapshot=snapshots.append,
        )
        for autoencoder in (*snapshots, trained):
            epochs = autoencoder.training_settings["epochs"]
            found |= of_json(f"{name}, epoch {epochs}: objective", autoencoder.training_settings["objective"])
            for parameter, value in autoencoder.state_dict().items():
                found[f"{name}, epoch {epochs}: {parameter}"] = of_tensor(value)
    return found
