"""The one error that the user caused and can mend.

Everything below raises it at the boundary, before any work starts; the command line prints it as one plain line.
"""


class InputError(ValueError):
    """Input that cannot be used.

    Its message names the parameter or file, the value found and what was expected.
    """
