"""The one error that the user caused and can mend.

Everything below raises it at the boundary, before any work starts; the command line prints it as one plain line.
"""


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
