"""The demo: 8 x 8 digits, four corruption levels, one page. It needs no files and no network."""

from __future__ import annotations

from pathlib import Path

import torch

from dynlab.datasets import labels_of, load_dataset
from dynlab.devices import one_thread
from dynlab.display import Display
from dynlab.evaluation import Analysis, AnalysisSettings, analyse
from dynlab.evaluation.recognizer import train_recognizer
from dynlab.report import write_report
from dynlab.training import EpochProgress, TrainingSettings, train_on_dataset

LEVELS = (0.15, 0.2, 0.25, 0.3)
HIDDEN = 256
WALKBACK = 3
EPOCHS = 400
ANNEALING = 0.995
CERTIFIED = 3  # attractors of each level: enough to see what a certificate is


@one_thread()  # a second thread slows products of this size down
def run_demo(out: Path, *, seed: int = 0, device: torch.device, display: Display) -> list[Analysis]:
    """Train, analyse and write the page.

    Args:
        out: Folder for the page, `index.html`, and a folder `sigma-...` of results for each level.
        seed: Seed of every random stream, at least 0.
        device: Where to compute.
        display: What shows the progress.

    Returns:
        The analyses, in the order of `LEVELS`.

    Raises:
        InputError: If `out` cannot be written to, or the seed is out of its range.
    """
    settings = [
        TrainingSettings(sigma=sigma, epochs=EPOCHS, walkback=WALKBACK, annealing=ANNEALING, hidden=HIDDEN, seed=seed)
        for sigma in LEVELS
    ]
    training, test = load_dataset("digits/train"), load_dataset("digits/test")
    recognizer = train_recognizer(
        training.images,
        labels_of(training),
        state_shape=training.shape,
        seed=seed,
        device=device,
        on_progress=lambda done: display("recognizer", done),
    )
    analyses = []
    for level in settings:
        display.prefix = f"sigma {level.sigma:g}: "

        def report(progress: EpochProgress) -> None:
            display("training", progress.share, str(progress))

        autoencoder = train_on_dataset(training, level, test=test, device=device, on_epoch=report)
        analysis = analyse(
            autoencoder,
            test,
            train_data=training,
            recognizer=recognizer,
            recognizer_data=training,
            settings=AnalysisSettings(seed=seed, certified_attractors=CERTIFIED),
            name=f"sigma {level.sigma:g}",
            on_progress=display,
        )
        folder = out / f"sigma-{level.sigma:g}"
        (out / "index.html").unlink(missing_ok=True)  # of an older run, whose numbers are replaced
        autoencoder.save(folder / "dae.safetensors")
        analysis.save(folder)
        analyses.append(analysis)
    display.prefix = ""
    write_report(analyses, out / "index.html")
    return analyses
