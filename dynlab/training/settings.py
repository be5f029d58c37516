"""What determines a training, besides the images and the weights that it begins from."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, TypeGuard, get_args

from dynlab.errors import InputError
from dynlab.maps import NONLINEARITIES
from dynlab.training.corruption import Schedule, parse_schedule
from dynlab.training.objective import Loss, Objective, Variant
from dynlab.training.streams import MAX_SEED

# Beyond these limits float32 ends, or the memory.
_LARGEST = 1e38
_MOST, _MOST_STEPS = 10**9, 1000
_ALWAYS_TOLD = (  # in what tells trainings apart, whatever the defaults are
    "sigma",
    "walkback",
    "annealing",
    "batch_size",
    "learning_rate",
    "hidden",
    "tied",
    "seed",
    "corruption",
    "walkback_variant",
    "loss",
    "contraction",
    "hidden_nonlinearity",
    "output_nonlinearity",
)
_REAL = ("sigma", "annealing", "learning_rate", "contraction")  # kept as floats: of these 1 and 1.0 are the same


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What determines a training, besides the images.

    Raises:
        InputError: If a setting is out of its range.
    """

    sigma: float | None = None  # corruption level, at least 0; None only if `corruption` has all of its levels
    epochs: int  # passes over the images, at least 1
    walkback: int = 1  # steps k of equation 8, at least 1
    annealing: float = 0.99  # factor of the learning rate after each epoch, above 0 and at most 1
    batch_size: int = 20  # samples of a minibatch, at least 1
    learning_rate: float = 0.1  # in the first epoch, above 0
    hidden: int | tuple[int, ...] = 500  # hidden units; of each layer of a deeper encoder, which the decoder mirrors
    tied: bool = False  # whether the decoder's weights are the transposes of the encoder's
    seed: int = 0  # of initialization and corruption, from 0 to 2^63 - 1
    corruption: str = "gaussian"  # kinds, mixtures, schedules (`parse_schedule`); without levels of their own, at sigma
    walkback_variant: Variant = "full"  # which of the k distances count, and how far gradients go (`Objective`)
    loss: Loss = "squared-error"  # or "cross-entropy", for images in [0, 1] and sigmoid output units
    contraction: float = 0.0  # factor of the contractive penalty, at least 0
    hidden_nonlinearity: str = "sigmoid"  # f of equation 1, by its name in `dynlab.maps.NONLINEARITIES`
    output_nonlinearity: str = "sigmoid"  # g of equation 2

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        for name in _REAL:
            value = getattr(self, name)
            _check(name, value, "a number", _is_integer(value) or isinstance(value, float | None))
            object.__setattr__(self, name, value if value is None else float(value))
        _check("tied", self.tied, "True or False", isinstance(self.tied, bool))
        _check("corruption", self.corruption, "a text", isinstance(self.corruption, str))
        if self.sigma is not None:
            _check("sigma", self.sigma, f"from 0 to {_LARGEST:g}", 0 <= self.sigma <= _LARGEST)
        for name, most in (("epochs", _MOST), ("walkback", _MOST_STEPS), ("batch_size", _MOST)):
            value = getattr(self, name)
            _check(name, value, f"an integer from 1 to {most}", _is_count(value, most))
        if isinstance(self.hidden, tuple):
            expected = f"at least one integer from 1 to {_MOST}"
            _check("hidden", self.hidden, expected, bool(self.hidden) and all(_is_count(n, _MOST) for n in self.hidden))
            if len(self.hidden) == 1:
                object.__setattr__(self, "hidden", self.hidden[0])  # one layer has one name
        else:
            _check("hidden", self.hidden, f"an integer from 1 to {_MOST}", _is_count(self.hidden, _MOST))
        _check("annealing", self.annealing, "above 0 and at most 1", 0 < self.annealing <= 1)
        _check(
            "learning_rate", self.learning_rate, f"above 0, at most {_LARGEST:g}", 0 < self.learning_rate <= _LARGEST
        )
        _check("seed", self.seed, "from 0 to 2^63 - 1", _is_integer(self.seed) and 0 <= self.seed <= MAX_SEED)
        _check_choice("walkback_variant", self.walkback_variant, get_args(Variant))
        _check_choice("loss", self.loss, get_args(Loss))
        _check("contraction", self.contraction, f"from 0 to {_LARGEST:g}", 0 <= self.contraction <= _LARGEST)
        for name in ("hidden_nonlinearity", "output_nonlinearity"):
            _check_choice(name, getattr(self, name), tuple(NONLINEARITIES))
        if self.loss == "cross-entropy" and self.output_nonlinearity != "sigmoid":
            found = repr(self.output_nonlinearity)
            raise InputError(f"output_nonlinearity is {found}, expected 'sigmoid' for cross-entropy")
        try:
            self.schedule()
        except InputError as error:
            if self.sigma is not None:
                raise
            raise InputError(f"sigma is None, expected a number, or levels in all of corruption ({error})") from error

    def schedule(self, state_shape: tuple[int, ...] | None = None) -> Schedule:
        """How samples are corrupted in each epoch.

        Raises:
            InputError: If `corruption` cannot be read, a level in it is out of its range, or it needs images and
                `state_shape` is given and is none of an image.
        """
        return parse_schedule(self.corruption, self.sigma, state_shape)

    def meaning(self) -> TrainingSettings:
        """Settings that are equal for equal trainings, however they are written: all levels stand in `corruption`."""
        variant = "full" if self.walkback == 1 else self.walkback_variant
        return replace(self, sigma=None, corruption=_with_levels(self.corruption, self.sigma), walkback_variant=variant)

    def objective(self) -> Objective:
        """What is minimized."""
        return Objective(self.walkback, self.walkback_variant, self.loss, self.contraction)

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate in an epoch, from 1 on."""
        return self.learning_rate * self.annealing ** (epoch - 1)

    def as_json(self) -> dict[str, Any]:
        """All settings as values that JSON can hold."""
        return asdict(self) | {"hidden": list(self.hidden) if isinstance(self.hidden, tuple) else self.hidden}

    def identity(self) -> dict[str, Any]:
        """What tells a training from others, however long it goes on: all settings but `epochs`, for JSON.

        It outlasts versions of this package, so that a default says nothing in it. The settings of `_ALWAYS_TOLD` are
        there with their values, whatever the defaults are. A setting that is added later is there only where it differs
        from its default, which must be what was done before there was the setting.
        """
        defaults = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in self.as_json().items()
            if name in _ALWAYS_TOLD or (name != "epochs" and value != defaults[name])
        }

    @staticmethod
    def of_json(values: Mapping[str, Any]) -> TrainingSettings:
        """The settings that `as_json` gave.

        Raises:
            InputError: If a setting is out of its range.
        """
        hidden = values["hidden"]
        return TrainingSettings(**{**values, "hidden": tuple(hidden) if isinstance(hidden, list) else hidden})


@lru_cache
def _with_levels(corruption: str, sigma: float | None) -> str:
    return str(parse_schedule(corruption, sigma))


def _plain(value: object) -> object:
    """Numbers of numpy and the like as Python's own, which JSON can hold."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object, most: int) -> bool:
    return _is_integer(value) and 1 <= value <= most


def _check(name: str, value: object, expected: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"{name} is {value!r}, expected {expected}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    _check(name, value, f"one of {', '.join(choices)}", value in choices)
