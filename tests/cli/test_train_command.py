"""`dynlab train`: an ensemble, what is learned, and going on after an interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dynlab.datasets import labels_of, load_dataset
from dynlab.evaluation import Analysis
from dynlab.maps import DeepAutoencoder, load_map, map_hash
from dynlab.training import TrainingSettings, corrupt, corrupt_dataset, reconstruction_errors, train

Run = Callable[..., tuple[int, str, str]]
SMALL = ("train", "--data", "digits/train", "--limit", "90", "--hidden", "8", "--epochs", "4", "--walkback", "2")


def test_an_ensemble_holds_what_its_members_are_alone(run: Run, tmp_path: Path) -> None:
    many = ("--sigma", "0.2,0.3", "--seed", "3,4", "--annealing", "0.9", "--snapshots", "2")
    status, out, err = run(*SMALL, *many, "--out", "ensemble")
    assert status == 0, err
    names = [f"sigma-{sigma}-seed-{seed}" for sigma in (0.2, 0.3) for seed in (3, 4)]
    files = [f"{name}{more}.safetensors" for name in names for more in ("", "-epoch-2")]
    assert sorted(path.name for path in Path("ensemble").iterdir()) == sorted([*files, "ensemble.json"])
    assert all(name in out for name in names)
    alone = ("--sigma", "0.3", "--seed", "4", "--annealing", "0.9")
    assert run(*SMALL, *alone, "--snapshots", "2", "--out", "alone.safetensors")[0] == 0
    for more in ("", "-epoch-2"):
        member, single = load_map(f"ensemble/{names[3]}{more}.safetensors"), load_map(f"alone{more}.safetensors")
        assert map_hash(member) == map_hash(single)
        assert member.training_settings["errors"] == single.training_settings["errors"]
        assert member.training_settings["backend"] == "processes"
        assert single.training_settings["backend"] == "single"
    assert {path.name for path in tmp_path.iterdir()} == {"ensemble", "alone.safetensors", "alone-epoch-2.safetensors"}
    before = [load_map(f"ensemble/{file}") for file in files]
    assert run(*SMALL, *many, "--out", "ensemble")[0] == 0
    for file, kept in zip(files, before, strict=True):
        assert map_hash(load_map(f"ensemble/{file}")) == map_hash(kept)
        assert load_map(f"ensemble/{file}").training_settings == kept.training_settings


def test_a_member_that_diverges_is_told_and_the_others_are_there(run: Run) -> None:
    status, out, err = run(*SMALL, "--sigma", "0.2,1e38", "--out", "ensemble")
    assert status == 1
    assert "sigma-1e+38: training diverged in epoch" in err
    assert "diverged" in out
    assert load_map("ensemble/sigma-0.2.safetensors").training_settings["epochs"] == 4


def test_all_that_can_be_learned_reaches_the_training(run: Run) -> None:
    options = ("--corruption", "clean until 2, 0.5 square(0.4) + 0.5 salt-and-pepper", "--sigma", "0.2")
    more = ("--walkback-variant", "detached", "--loss", "cross-entropy", "--contraction", "0.01")
    status, _, err = run(*SMALL, *options, *more, "--hidden", "8,4", "--hidden-nonlinearity", "tanh", "--out", "deep")
    assert status == 0, err
    found = load_map("deep")
    assert isinstance(found, DeepAutoencoder)
    images = load_dataset("digits/train", limit=90)
    settings = TrainingSettings(
        sigma=0.2,
        corruption=options[1],
        epochs=4,
        walkback=2,
        walkback_variant="detached",
        loss="cross-entropy",
        contraction=0.01,
        hidden=(8, 4),
        hidden_nonlinearity="tanh",
    )
    assert map_hash(found) == map_hash(train(images.images, settings, state_shape=images.shape, device="cpu"))
    assert found.training_settings["errors_corruption"] == "0.5 square(0.4) + 0.5 salt-and-pepper(0.2)"


def test_errors_are_those_under_the_corruption_of_training(run: Run) -> None:
    assert run(*SMALL, "--corruption", "square(0.5)", "--out", "dae.safetensors")[0] == 0
    found, test = load_map("dae.safetensors"), load_dataset("digits/test")
    corrupted = corrupt(test.images, "square(0.5)", seed=0, state_shape=(8, 8))
    assert (corrupted != test.images).any(dim=1).float().mean() > 0.9
    with torch.no_grad():
        error = (found(corrupted) - test.images).square().sum(dim=1).double().mean().item()
    assert abs(found.training_settings["errors"]["test"]["corrupted"] - error) < 1e-5 * error
    assert found.training_settings["sigma"] is None
    judged = reconstruction_errors(found, test.images, walkback=2, seed=0, corruption="square(0.5)")
    assert judged.walkback == found.training_settings["errors"]["test"]["walkback"]


def test_orbits_can_start_at_corrupted_samples(run: Run) -> None:
    assert run(*SMALL, "--sigma", "0.3", "--out", "dae.safetensors")[0] == 0
    analyse = ("analyse", "dae.safetensors", "--data", "digits/test", "--limit", "20", "--certify", "0")
    corrupted = ("--corruption", "gaussian then square(0.4)", "--seed", "5", "--out", "corrupted")
    status, _, err = run(*analyse, "--planes", "0", *corrupted)
    assert status == 0, err
    page = Path("corrupted/index.html").read_text()
    assert "digits/test corrupted by gaussian(0.3) then square(0.4) (seed 5)" in page
    # What was iterated is what `corrupt` makes, with the classes of before.
    data, analysis = load_dataset("digits/test", limit=20), Analysis.load("corrupted")
    expected = corrupt(data.images, "gaussian then square(0.4)", level=0.3, seed=5, state_shape=(8, 8))
    dataset = corrupt_dataset(data, "gaussian then square(0.4)", level=0.3, seed=5)
    assert dataset.images.equal(expected)
    assert analysis.results.data.sha256 == dataset.sha256 != data.sha256
    assert analysis.arrays.classes.equal(labels_of(data))
    further = corrupt_dataset(data, "gaussian", level=0.3, seed=5, first=20).images - data.images
    assert not torch.allclose(further, corrupt_dataset(data, "gaussian", level=0.3, seed=5).images - data.images)


def test_a_map_that_is_there_is_not_trained_again_but_measured(run: Run) -> None:
    alone = (*SMALL, "--sigma", "0.3", "--out", "dae.safetensors")
    first = run(*alone)
    status, out, err = run(*alone)
    assert (status, err) == (0, "")  # no training is shown
    assert out == first[1].replace("checkpoint: dae.safetensors", "checkpoint: dae.safetensors (trained already)")
    # Other images to measure on are no other training.
    _, out, err = run(*alone, "--test-data", "digits/train")
    assert err == ""
    lines = [line.partition(": ")[2] for line in out.splitlines()]
    assert lines[2] == "dae.safetensors (trained already)"
    assert load_map("dae.safetensors").training_settings["errors"].keys() == {"train", "test"}


def test_another_map_is_not_replaced_unasked(run: Run) -> None:
    alone = (*SMALL, "--sigma", "0.3", "--snapshots", "2", "--out", "dae.safetensors")
    assert run(*alone)[0] == 0
    files = Path("dae.safetensors"), Path("dae-epoch-2.safetensors")
    before = [file.read_bytes() for file in files]
    for options, words in (
        (("--seed", "1"), "out dae.safetensors: holds a map with seed 0, expected a new file for seed 1; --overwrite"),
        (("--epochs", "3"), "out dae.safetensors: holds a map with epochs 4, expected a new file for epochs 3; "),
        (("--limit", "80"), "out dae.safetensors: holds a map with data_sha256 "),
    ):
        status, out, err = run(*alone, *options)
        assert (status, out) == (2, "")
        assert err.startswith(f"dynlab: {words}")
        assert [file.read_bytes() for file in files] == before
    # More of the same training replaces less of it.
    assert run(*alone, "--epochs", "6")[0] == 0
    assert load_map(files[0]).training_settings["epochs"] == 6
    assert run(*alone, "--seed", "1", "--overwrite")[0] == 0
    assert [load_map(file).training_settings["seed"] for file in files] == [1, 1]
    begun = load_map("dae.safetensors")
    begun.training_settings |= {"seed": 0, "epochs": 4, "started_from": "0123"}
    begun.save("dae.safetensors")
    status, _, err = run(*alone)
    assert status == 2
    assert "holds a map with started_from 0123, expected a new file for started_from None" in err
    Path("dae.safetensors").write_bytes(b"something else")
    status, _, err = run(*alone, "--seed", "1")
    assert status == 2
    assert err.startswith("dynlab: out dae.safetensors: not a whole safetensors file")
    status, _, err = run(*SMALL, "--sigma", "0.2,0.3", "--out", "maps", "--overwrite")
    assert (status, err) == (2, "dynlab: overwrite True: given for several maps, expected one to be trained\n")


def test_an_interrupted_command_goes_on(run: Run) -> None:
    command = [*SMALL[:-4], "--epochs", "2000", "--sigma", "0.2", "--out", "dae.safetensors"]
    state = Path("dae.checkpoint.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-m", "dynlab", *command, "--checkpoint-seconds", "0.05"], stderr=subprocess.PIPE, text=True
    )
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "dynlab: interrupted; given again, the same command goes on from here\n" in err
    assert not Path("dae.safetensors").exists()
    # Another training does not go on from there, and does not destroy it.
    kept = state.read_bytes()
    status, _, err = run(*command, "--seed", "1")
    assert (status, state.read_bytes() == kept) == (2, True)
    assert "dae.checkpoint.safetensors: the checkpoint of another training, seed 0, expected 1" in err
    assert run(*command)[0] == 0
    assert not state.exists()
    images = load_dataset("digits/train", limit=90)
    settings = TrainingSettings(sigma=0.2, epochs=2000, walkback=1, hidden=8)
    assert map_hash(load_map("dae.safetensors")) == map_hash(train(images.images, settings, device="cpu"))
