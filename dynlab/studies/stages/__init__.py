"""What is found out about each cell, a stage a file: a function from files to files, stored apart from all others.

Stages write plain numbers to `results.json` under the names that their modules list, and arrays as safetensors. The
stage `train` is not here: it belongs to `dynlab.studies.training`, and other stages need its `map.safetensors`.
"""

from __future__ import annotations

from dynlab.studies.stage import Stage
from dynlab.studies.stages.basins import BASINS
from dynlab.studies.stages.graph import GRAPH
from dynlab.studies.stages.iterate import ITERATE
from dynlab.studies.stages.orbits import ORBITS
from dynlab.studies.stages.raw import RAW
from dynlab.studies.stages.recognizer import RECOGNIZER
from dynlab.studies.stages.separability import SEPARABILITY
from dynlab.studies.stages.spectra import SPECTRA

# Each after those that it needs.
STAGES: tuple[Stage, ...] = (RAW, RECOGNIZER, ITERATE, SEPARABILITY, ORBITS, BASINS, SPECTRA, GRAPH)

__all__ = ["STAGES"]
