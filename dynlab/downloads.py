"""Downloading files over HTTP: whole and checked under their final names, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynlab.errors import InputError
from dynlab.files import written_atomically

if TYPE_CHECKING:
    from rich.progress import Progress

_CHUNK_BYTES = 2**16


@contextlib.contextmanager
def download_display(*, visible: bool) -> Iterator[Progress]:
    """A display on stderr with a bar for each download that is given it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible) as display:
        yield display


def download(url: str, path: Path, *, check: Callable[[bytes], None], display: Progress) -> None:
    """Download `url` to `path`, replacing what was there.

    Args:
        url: HTTP or HTTPS.
        path: Its folder is made if it does not exist.
        check: Called with the content before it gets its final name; what it raises is the error of the download.
        display: From `download_display`.

    Raises:
        InputError: If the server cannot be reached, has no such file or breaks off, or `path` cannot be written.
    """
    import pooch

    bar: Any = _Bar(display, path.name)
    # A server must not compress what is compressed: it would be stored uncompressed under a name in .gz.
    headers = {"Accept-Encoding": "identity"}
    fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK_BYTES, headers=headers)
    with written_atomically(path) as temporary:
        try:
            fetch(url, str(temporary), None)
        except (OSError, ValueError) as error:  # which those of requests are
            raise InputError(f"{url}: download failed ({_reason(error)})") from error
        check(temporary.read_bytes())


class _Bar:
    """What pooch asks of a progress bar, for one file of a `rich` display."""

    def __init__(self, display: Progress, description: str) -> None:
        self.total = 0
        self._display = display
        self._task = display.add_task(description, total=None)

    def update(self, advance: int) -> None:
        self._display.update(self._task, advance=advance, total=self.total or None)

    def reset(self) -> None:
        self._display.reset(self._task)

    def close(self) -> None:
        """The display closes all its bars together."""


def _reason(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    # requests wraps the system's short word, such as "Connection refused", three times over.
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
