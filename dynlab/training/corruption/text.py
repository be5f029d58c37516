"""Corruptions as text: kinds with their levels, sequences, mixtures, and schedules by epoch.

    schedule  =  mixture "until" epoch "," ... "," mixture        clean until 10, gaussian(0.3) until 50, gaussian
    mixture   =  weight sequence "+" ... "+" weight sequence      0.8 gaussian + 0.2 clean
    sequence  =  kind "then" ... "then" kind                      rotation(15) then scaling(0.2) then gaussian
    kind      =  name, or name "(" number "," ... ")"             gaussian, gaussian(0.5), strokes(2, 0.1)

White space counts nowhere. A phase lasts up to and with its epoch, and the last one has none. Weights are shares of
their sum; either every part has one or none, which means equal shares.
"""

from __future__ import annotations

import dataclasses
import difflib
import re

from dynlab.errors import InputError
from dynlab.training.corruption.combined import Mixture, Successive
from dynlab.training.corruption.corruption import Corruption, number_text
from dynlab.training.corruption.hiding import Occlusion, Square
from dynlab.training.corruption.learned import Learned
from dynlab.training.corruption.moving import Rotation, Scaling
from dynlab.training.corruption.pixels import Clean, Gaussian, SaltAndPepper
from dynlab.training.corruption.schedule import Phase, Schedule
from dynlab.training.corruption.strokes import Strokes

# By their names; the numbers in parentheses are the fields, in their order, and the first one is the level.
KINDS: dict[str, type[Corruption]] = {
    kind.name: kind for kind in (Clean, Gaussian, SaltAndPepper, Square, Strokes, Occlusion, Scaling, Rotation, Learned)
}

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<word>[A-Za-z_]+(?:-[A-Za-z_]+)*)|(?P<symbol>\S))"
)


def parse_schedule(text: str, level: float | None, state_shape: tuple[int, ...] | None = None) -> Schedule:
    """Read the text of a corruption, such as `gaussian` or `clean until 10, 0.8 gaussian(0.5) + 0.2 clean`.

    Args:
        text: What to read.
        level: The level of kinds whose level is not in the text; None if all of them must be.
        state_shape: If given, whether the kinds fit it is checked too.

    Raises:
        InputError: If the text cannot be read, a level is out of its range, a kind is unknown, or a kind that needs
            images is to be used on states that are none.
    """
    schedule = _Reader(text, level).schedule()
    if state_shape is not None and len(state_shape) < 2:
        for phase in schedule.phases:
            if phase.corruption.needs_images:
                raise InputError(
                    f"corruption is {text!r}, expected one for states of the shape {state_shape}: {phase.corruption} "
                    "needs images, with height and width"
                )
    return schedule


class _Reader:
    """Reads a text from its beginning to its end, a token at a time."""

    def __init__(self, text: str, level: float | None) -> None:
        self._text, self._level = text, level
        self._tokens = [(match.lastgroup or "", match[match.lastgroup or 0]) for match in _TOKEN.finditer(text)]
        self._tokens.append(("end", ""))
        self._position = 0

    def schedule(self) -> Schedule:
        phases = [self._phase()]
        while self._accept(","):
            phases.append(self._phase())
        if self._kind_of_token != "end":
            raise self._expected("'then', '+', 'until', ',' or nothing more")
        if phases[-1].last_epoch is not None:
            raise self._refused("expected no 'until' in the last phase, which goes on to the end")
        before = 0
        for phase in phases[:-1]:
            if phase.last_epoch is None:
                raise self._refused("expected 'until' and an epoch in every phase but the last")
            if phase.last_epoch <= before:
                raise self._refused(f"expected rising epochs from 1 on, {phase.last_epoch} comes after {before}")
            before = phase.last_epoch
        return Schedule(tuple(phases))

    def _phase(self) -> Phase:
        corruption = self._mixture()
        if not self._accept("until"):
            return Phase(corruption, None)
        number = self._number("the number of an epoch")
        if not number.is_integer():
            raise self._refused(f"expected a whole number as the epoch, found {number:g}")
        return Phase(corruption, int(number))

    def _mixture(self) -> Corruption:
        weights, parts = [], []
        while True:
            weights.append(self._number("a weight") if self._kind_of_token == "number" else None)
            parts.append(self._sequence())
            if not self._accept("+"):
                break
        if len(parts) == 1 and weights == [None]:
            return parts[0]
        if len(parts) == 1:
            raise self._refused("expected another part after one with a weight (levels stand in parentheses)")
        if None in weights and any(weight is not None for weight in weights):
            raise self._refused("expected a weight for every part of a mixture, or for none")
        return self._made(Mixture, tuple(parts), tuple(1.0 if weight is None else weight for weight in weights))

    def _sequence(self) -> Corruption:
        parts = [self._kind()]
        while self._accept("then"):
            parts.append(self._kind())
        return parts[0] if len(parts) == 1 else Successive(tuple(parts))

    def _kind(self) -> Corruption:
        kind, name = self._tokens[self._position]
        if kind != "word":
            raise self._expected(f"a kind of corruption ({', '.join(KINDS)})")
        if name not in KINDS:
            raise self._refused(unknown_kind(name))
        self._position += 1
        numbers = []
        if self._accept("("):
            numbers.append(self._number("a level"))
            while self._accept(","):
                numbers.append(self._number("a number"))
            if not self._accept(")"):
                raise self._expected("')'")
        names = [field.name for field in dataclasses.fields(KINDS[name])]  # pyright: ignore[reportArgumentType]
        if len(numbers) > len(names):
            expected, found = " and ".join(names) or "nothing", ", ".join(map(number_text, numbers))
            raise self._refused(f"expected {expected} in the parentheses of {name}, found {found}")
        if names and not numbers:
            if self._level is None:
                raise self._refused(f"expected a level for {name}, as in {name}(1)")
            numbers = [float(self._level)]
        return self._made(KINDS[name], *numbers)

    def _made(self, kind: type[Corruption], *arguments: object) -> Corruption:
        try:
            return kind(*arguments)
        except InputError as error:
            raise self._refused(str(error)) from None

    @property
    def _kind_of_token(self) -> str:
        return self._tokens[self._position][0]

    def _accept(self, token: str) -> bool:
        """Go on if this is what comes next."""
        kind, found = self._tokens[self._position]
        accepted = found == token and kind != "end"
        self._position += accepted
        return accepted

    def _number(self, what: str) -> float:
        kind, found = self._tokens[self._position]
        if kind != "number":
            raise self._expected(what)
        self._position += 1
        return float(found)

    def _expected(self, what: str) -> InputError:
        kind, found = self._tokens[self._position]
        return self._refused(f"expected {what}, found {'the end' if kind == 'end' else repr(found)}")

    def _refused(self, reason: str) -> InputError:
        return InputError(f"corruption is {self._text!r}: {reason}")


def unknown_kind(name: str) -> str:
    """What is said of a name that is no kind of corruption, with the nearest one that is."""
    near = difflib.get_close_matches(name.lower(), KINDS, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is no kind of corruption, expected one of {', '.join(KINDS)}{meant}"
