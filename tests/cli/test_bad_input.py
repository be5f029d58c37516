"""Bad input: one plain line on stderr that names the thing, exit status 2, and nothing left behind."""

from __future__ import annotations

import gzip
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dynlab.maps import DenoisingAutoencoder

Run = Callable[..., tuple[int, str, str]]


def checkpoint(path: Path, dim: int = 64) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(dim, 5)
    autoencoder.encoder["weight"].data.normal_(generator=torch.Generator().manual_seed(0))
    autoencoder.save(path)
    return autoencoder


def make_files() -> None:
    """In the current folder: a checkpoint, data that fits it, and all that can be wrong with either."""
    checkpoint(Path("dae.safetensors"))
    checkpoint(Path("small.safetensors"), dim=4)
    tensors = {name: tensor.clone() for name, tensor in checkpoint(Path("other.safetensors")).state_dict().items()}
    save_file({name: tensor for name, tensor in tensors.items() if name != "encoder.bias"}, "no-bias.safetensors")
    save_file({**tensors, "decoder.weight": tensors["decoder.weight"].T.contiguous()}, "misshaped.safetensors")
    save_file({**tensors, "decoder.bias": torch.full((64,), torch.nan)}, "nan.safetensors")
    torch.save(tensors, "pickle.safetensors")
    Path("text.safetensors").write_text("no checkpoint")
    whole = Path("dae.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
    pixels = np.random.default_rng(0).random((5, 64)).astype(np.float32)
    np.save("good.npy", pixels)
    np.save("nan.npy", np.where(pixels > 0.5, np.nan, pixels))
    np.save("bytes-as-floats.npy", pixels * 255)
    np.save("empty.npy", pixels[:0])
    np.save("objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    Path("cut.npy").write_bytes(Path("good.npy").read_bytes()[:-10])
    Path("cut.idx.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(12))[:-6])
    np.save("labels.npy", np.arange(4))
    np.savez("low.npz", x=pixels, y=np.arange(5))
    np.savez("high.npz", x=pixels, y=np.arange(10, 15))
    np.save("wide.npy", pixels.reshape(5, 4, 16))
    np.save("square.npy", pixels.reshape(5, 8, 8))
    Path("file").write_text("")


TRAIN = ("train", "--data", "good.npy", "--sigma", "0.3", "--epochs", "1", "--hidden", "4", "--out", "new.safetensors")
ANALYSE = ("analyse", "dae.safetensors", "--data", "good.npy", "--out", "new")

CASES = {
    "sigma below zero": ((*TRAIN, "--sigma", "-0.1"), ["sigma", "-0.1"]),
    "sigma not a number": ((*TRAIN, "--sigma", "nan"), ["sigma", "nan"]),
    "sigma a word": ((*TRAIN, "--sigma", "much"), ["sigma", "much"]),
    "one sigma of several below zero": ((*TRAIN, "--sigma", "0.3,-1"), ["sigma", "-1"]),
    "no level": (("train", "--data", "good.npy", "--out", "new.safetensors"), ["sigma", "gaussian"]),
    "seeds that are no integers": ((*TRAIN, "--seed", "0,x"), ["seed", "0,x", "integer"]),
    "a seed twice": ((*TRAIN, "--seed", "1,1"), ["twice"]),
    "a file for several maps": ((*TRAIN, "--seed", "1,2"), ["out", "new.safetensors", "folder for 2 maps"]),
    "unknown corruption": ((*TRAIN, "--corruption", "gausian"), ["corruption", "gausian", "'gaussian'"]),
    "a corruption of no image": ((*TRAIN, "--corruption", "square"), ["corruption", "square", "height"]),
    "unknown variant": ((*TRAIN, "--walkback-variant", "first"), ["walkback_variant", "first", "detached"]),
    "unknown loss": ((*TRAIN, "--loss", "absolute"), ["loss", "absolute", "cross-entropy"]),
    "contraction below zero": ((*TRAIN, "--contraction", "-1"), ["contraction", "-1"]),
    "no hidden units in one layer": ((*TRAIN, "--hidden", "4,0"), ["hidden", "(4, 0)"]),
    "unknown nonlinearity": ((*TRAIN, "--hidden-nonlinearity", "sine"), ["hidden_nonlinearity", "sine", "tanh"]),
    "snapshot after the end": ((*TRAIN, "--snapshots", "2"), ["snapshots", "2"]),
    "saved less than never": ((*TRAIN, "--checkpoint-seconds", "-1"), ["checkpoint_seconds", "-1"]),
    "unknown backend": ((*TRAIN, "--seed", "0,1", "--out", "new", "--backend", "gpu"), ["backend", "gpu", "batched"]),
    "tf32 for one map": ((*TRAIN, "--tf32"), ["tf32", "one map"]),
    "a device as output": ((*TRAIN, "--out", "/dev/null"), ["out", "/dev/null", "no ordinary file"]),
    "no processes": ((*TRAIN, "--seed", "0,1", "--out", "new", "--processes", "0"), ["processes", "0"]),
    "orbits from an unknown corruption": ((*ANALYSE, "--corruption", "snow"), ["corruption", "snow"]),
    "orbits from a corruption without level": ((*ANALYSE, "--corruption", "gaussian"), ["corruption", "level"]),
    "walkback below one": ((*TRAIN, "--walkback", "0"), ["walkback", "0"]),
    "annealing above one": ((*TRAIN, "--annealing", "1.5"), ["annealing", "1.5"]),
    "no epochs": ((*TRAIN, "--epochs", "0"), ["epochs", "0"]),
    "missing option": (("train", "--data", "good.npy", "--sigma", "1"), ["--out"]),
    "unknown option": ((*TRAIN, "--sigmas", "1"), ["--sigmas"]),
    "unknown command": (("trian",), ["trian"]),
    "output below a file": ((*TRAIN, "--out", "file/new.safetensors"), ["out", "file"]),
    "output is a folder": ((*TRAIN, "--out", "."), ["out", "folder"]),
    "unknown data": ((*TRAIN, "--data", "mnits"), ["mnits", "mnist"]),
    "unknown split": ((*TRAIN, "--data", "digits/trian"), ["digits/trian", "train"]),
    "missing data file": ((*TRAIN, "--data", "none.npy"), ["none.npy", "no such file"]),
    "truncated data": ((*TRAIN, "--data", "cut.npy"), ["cut.npy"]),
    "truncated gzip": ((*TRAIN, "--data", "cut.idx.gz"), ["cut.idx.gz"]),
    "pixels not finite": ((*TRAIN, "--data", "nan.npy"), ["nan.npy", "NaN"]),
    "pixels not in the unit interval": ((*TRAIN, "--data", "bytes-as-floats.npy"), ["bytes-as-floats.npy", "0 to 1"]),
    "no samples": ((*TRAIN, "--data", "empty.npy"), ["empty.npy", "at least one"]),
    "a pickle as data": ((*TRAIN, "--data", "objects.npy"), ["objects.npy", "pickle"]),
    "test images of another dim": ((*TRAIN, "--data", "digits", "--test-data", "tiny.npy"), ["tiny.npy"]),
    "empty selection": ((*ANALYSE, "--limit", "0"), ["limit", "0"]),
    "unknown device": ((*ANALYSE, "--device", "abacus"), ["device", "abacus"]),
    "folder below a file": ((*ANALYSE, "--out", "file/new"), ["out", "file"]),
    "folder is a file": ((*ANALYSE, "--out", "file"), ["out", "file"]),
    "missing checkpoint": (("analyse", "none.safetensors", *ANALYSE[2:]), ["none.safetensors", "no such file"]),
    "missing tensor": (("analyse", "no-bias.safetensors", *ANALYSE[2:]), ["no-bias.safetensors", "encoder.bias"]),
    "misshaped tensor": (
        ("analyse", "misshaped.safetensors", *ANALYSE[2:]),
        ["misshaped.safetensors", "decoder.weight"],
    ),
    "weights not finite": (("analyse", "nan.safetensors", *ANALYSE[2:]), ["nan.safetensors", "decoder.bias"]),
    "a pickle as checkpoint": (("analyse", "pickle.safetensors", *ANALYSE[2:]), ["pickle.safetensors", "pickle"]),
    "no checkpoint": (("analyse", "text.safetensors", *ANALYSE[2:]), ["text.safetensors"]),
    "truncated checkpoint": (("analyse", "cut.safetensors", *ANALYSE[2:]), ["cut.safetensors"]),
    "another dim": (("analyse", "small.safetensors", *ANALYSE[2:]), ["good.npy", "64", "4", "small.safetensors"]),
    "wrong number of labels": ((*ANALYSE, "--labels", "labels.npy"), ["labels.npy", "4", "5"]),
    "labels needed": ((*ANALYSE, "--train-data", "good.npy"), ["good.npy", "labels"]),
    "labels without the data they belong to": (
        (*ANALYSE, "--train-labels", "labels.npy"),
        ["train_labels", "labels.npy"],
    ),
    "classes of which none is learned": (
        ("analyse", "dae.safetensors", "--data", "low.npz", "--train-data", "high.npz", "--out", "new"),
        ["low.npz", "0, 1, 2", "high.npz", "10, 11, 12"],
    ),
    "a ladder of samples of another shape": (
        ("ladder", "--data", "square.npy", "--sigmas", "0.2,0.3", "--samples", "wide.npy", "--out", "new"),
        ["wide.npy", "(4, 16)", "(8, 8)"],
    ),
    "sigma that no corruption asks for": ((*TRAIN, "--corruption", "gaussian(0.1)"), ["sigma", "gaussian(0.1)"]),
    "trainings that are one": (
        (*TRAIN, "--sigma", "0.1,0.2", "--corruption", "gaussian(0.1)", "--corruption", "gaussian"),
        ["corruption-gaussian-0.1 and corruption-gaussian-sigma-0.1", "mean the same training"],
    ),
    "certificates below zero": ((*ANALYSE, "--certify", "-1"), ["certified_attractors", "-1"]),
    "planes below zero": ((*ANALYSE, "--planes", "-1"), ["planes: basin_planes", "-1"]),
    "certificates no number": ((*ANALYSE, "--certify", "all"), ["certify", "all"]),
    "tolerance infinite": ((*ANALYSE, "--tolerance", "inf"), ["tolerance", "inf"]),
    "seed beyond 63 bits": ((*ANALYSE, "--seed", str(2**63)), ["seed", str(2**63)]),
    "no memory for so many hidden units": ((*TRAIN, "--hidden", "9" * 12), ["hidden", "9" * 12]),
    "name too long": ((*TRAIN, "--out", "x" * 300), ["out", "x" * 300]),
    "empty name of training data": ((*ANALYSE, "--train-data", ""), ["''"]),
    "tolerance zero": ((*ANALYSE, "--tolerance", "0"), ["tolerance", "0"]),
    "data folder that is not there": (
        (*ANALYSE, "--data", "mnist/test", "--data-dir", "nowhere"),
        ["data_dir", "nowhere"],
    ),
    "nothing to download": (("data", "get", "digits"), ["digits"]),
    "unknown data set": (("data", "get", "emnist"), ["emnist", "mnist"]),
    "demo below a file": (("demo", "--out", "file/demo"), ["out", "file"]),
    "demo with a negative seed": (("demo", "--seed", "-1"), ["seed", "-1"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_left_behind(run: Run, tmp_path: Path, case: str):
    arguments, words = CASES[case]
    make_files()
    np.save("tiny.npy", np.zeros((3, 4), dtype=np.float32))
    before = snapshot(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("dynlab: ")
    assert "Traceback" not in err
    assert not set(err) & set("╭│╰")
    for word in words:
        assert word in err
    assert snapshot(tmp_path) == before


def test_a_proof_without_python_flint_is_refused_before_any_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_files()
    monkeypatch.setitem(sys.modules, "flint", None)
    before = snapshot(tmp_path)
    status, out, err = run(*ANALYSE, "--proof")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "python-flint" in err
    assert "pip install 'dynlab[certificates]'" in err
    assert snapshot(tmp_path) == before
    assert run(*ANALYSE, "--proof", "--certify", "0", "--quiet")[0] == 0  # nothing to prove


def test_damaged_mnist_is_named(run: Run, tmp_path: Path):
    make_files()
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).write_bytes(b"\0\0\x08\x01\0\0\0\x02\x01\x02")
    status, out, err = run(*ANALYSE, "--data", "mnist/test", "--data-dir", "data")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "t10k-images-idx3-ubyte" in err
    assert "SHA-256" in err
    shutil.rmtree(folder)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
