"""The one error that the user caused and can mend, and checks of arguments that raise it.

Everything below raises it at the boundary, before any work starts; the command line prints it as one plain line.
"""

from __future__ import annotations

import math
from numbers import Integral, Real


class InputError(ValueError):
    """Input that cannot be used.

    Its message names the parameter or file, the value found and what was expected.
    """


class SpecificationError(InputError):
    """All that is wrong with a specification, a line of the message for each; so the command line prints it, too."""

    @property
    def lines(self) -> list[str]:
        """What is said of each thing that is wrong."""
        return str(self).split("\n")


def check_count(parameter: str, value: object, least: int, most: int | None = None) -> None:
    """Check that an argument is a whole number within its range.

    Raises:
        InputError: If it is not.
    """
    bounds = f"at least {least}" if most is None else f"{least} to {most}"
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"{parameter} is {value!r}, expected a whole number{' of' if most is None else ','} {bounds}")
    if int(value) < least or (most is not None and int(value) > most):
        raise InputError(f"{parameter} is {value}, expected {bounds}")


def check_positive(parameter: str, value: object) -> None:
    """Check that an argument is a finite number above 0.

    Raises:
        InputError: If it is not.
    """
    if not (isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf):
        raise InputError(f"{parameter} is {value!r}, expected a finite number above 0")
