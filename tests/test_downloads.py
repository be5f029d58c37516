"""Downloads from a server in this process, good and bad: what is there afterwards, and how often it was asked."""

from __future__ import annotations

import gzip
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from dynlab import mnist
from dynlab.datasets import DATASET_NAMES, fetch_dataset, load_dataset
from dynlab.downloads import download, download_display
from dynlab.errors import InputError

SAMPLES = {"train": 60000, "t10k": 3}


@dataclass
class Server:
    """What a server serves and what it was asked for."""

    url: str
    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    cut: int = 0  # bytes of each body that never come, though they were announced


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine that has nothing yet."""
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            served.asked.append(name)
            if name not in served.files:
                self.send_error(404)
                return
            body = served.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - served.cut])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Server(f"http://127.0.0.1:{http.server_port}/data/", {})
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, which does not exist, and neither does the one above it."""
    monkeypatch.delenv("DYNLAB_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "caches" / project)
    return tmp_path / "caches" / "dynlab"


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A set of the form of MNIST with small images, gzipped, whose hashes are taken for the right ones."""
    random = np.random.default_rng(0)
    plain: dict[str, bytes] = {}
    for prefix, samples in SAMPLES.items():
        plain[f"{prefix}-images-idx3-ubyte"] = idx(random.integers(0, 256, (samples, 2, 1), dtype=np.uint8))
        plain[f"{prefix}-labels-idx1-ubyte"] = idx(random.integers(0, 10, samples, dtype=np.uint8))
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in plain.items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", hashes)
    return {f"{name}.gz": gzip.compress(content, 1) for name, content in plain.items()}


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def message_of_fetching(base_url: str) -> str:
    with pytest.raises(InputError) as caught:
        fetch_dataset("mnist", base_url=base_url)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_download_is_used_and_not_repeated(server: Server, cache: Path, small_mnist: dict[str, bytes]) -> None:
    server.files = small_mnist
    assert fetch_dataset("mnist/test", base_url=server.url) == cache
    assert sorted(server.asked) == sorted(small_mnist)
    assert everything_in(cache) == [cache / "mnist", *sorted(cache / "mnist" / name for name in small_mnist)]
    for name, content in small_mnist.items():
        assert (cache / "mnist" / name).read_bytes() == content

    assert fetch_dataset("mnist", base_url=server.url) == cache
    assert len(server.asked) == 4

    assert load_dataset("mnist/test").images.shape == (3, 2)
    assert load_dataset("mnist").images.shape == (50000, 2)
    assert load_dataset("mnist/validation").images.shape == (10000, 2)
    assert load_dataset("mnist", data_dir=cache, limit=7).sha256 == load_dataset("mnist/train", limit=7).sha256


def test_only_what_is_damaged_or_missing_is_downloaded(
    server: Server, cache: Path, small_mnist: dict[str, bytes]
) -> None:
    server.files = small_mnist
    fetch_dataset("mnist", base_url=server.url)
    server.asked.clear()
    (cache / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    (cache / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    fetch_dataset("mnist", base_url=server.url)
    assert server.asked == ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert load_dataset("mnist/test").images.shape == (3, 2)


def test_wrong_content_is_refused(server: Server, cache: Path, small_mnist: dict[str, bytes]) -> None:
    wrong = idx(np.zeros((3, 2, 1), np.uint8))
    server.files = small_mnist | {"train-images-idx3-ubyte.gz": gzip.compress(wrong)}
    assert message_of_fetching(server.url) == (
        f"{server.url}train-images-idx3-ubyte.gz: content has SHA-256 {hashlib.sha256(wrong).hexdigest()}, "
        f"expected {mnist.MNIST_SHA256['train-images-idx3-ubyte']}"
    )
    assert not cache.parent.exists()


def test_download_that_breaks_off_is_refused(server: Server, cache: Path, small_mnist: dict[str, bytes]) -> None:
    server.files, server.cut = small_mnist, 1
    assert message_of_fetching(server.url).startswith(f"{server.url}train-images-idx3-ubyte.gz: download failed (")
    assert not cache.parent.exists()


def test_damaged_gzip_is_refused(server: Server, cache: Path, small_mnist: dict[str, bytes]) -> None:
    server.files = {name: content[:-1] for name, content in small_mnist.items()}
    assert message_of_fetching(server.url).startswith(
        f"{server.url}train-images-idx3-ubyte.gz: not a whole gzip file ("
    )
    assert not cache.parent.exists()


def test_file_that_is_not_there_is_refused(server: Server, cache: Path, small_mnist: dict[str, bytes]) -> None:
    del small_mnist["t10k-images-idx3-ubyte.gz"]
    server.files = small_mnist
    assert message_of_fetching(server.url) == (
        f"{server.url}t10k-images-idx3-ubyte.gz: download failed (HTTP status 404)"
    )
    # What was whole stays; the next call goes on from there.
    assert sorted(path.name for path in (cache / "mnist").iterdir()) == [
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
    ]  # fmt: skip


def test_failed_download_leaves_the_old_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with download_display(visible=False) as display, pytest.raises(InputError, match="404"):
        download(server.url + "file", path, check=lambda content: None, display=display)
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == [path]


def test_server_that_is_down_is_named(cache: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert message_of_fetching(url) == (f"{url}/train-images-idx3-ubyte.gz: download failed (Connection refused)")
    assert not cache.parent.exists()


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1/", "http://[", "http://"])
def test_bad_address_is_named(cache: Path, url: str) -> None:
    assert "download failed (" in message_of_fetching(url)
    assert not cache.parent.exists()


def test_cache_that_cannot_be_written_is_named(server: Server, cache: Path, small_mnist: dict[str, bytes]) -> None:
    server.files = small_mnist
    cache.parent.write_bytes(b"a file, where the folder should be")
    assert message_of_fetching(server.url).startswith(f"{cache / 'mnist' / 'train-images-idx3-ubyte.gz'}: ")
    assert server.asked == []


@pytest.mark.parametrize("by", ["data_dir", "DYNLAB_DATA"])
@pytest.mark.parametrize("inside", ["mnist", "."])
def test_named_folder_is_checked_and_never_filled(
    server: Server, cache: Path, small_mnist: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, by: str, inside: str
) -> None:
    server.files = small_mnist
    folder = cache.parent.parent / "named"
    (folder / inside).mkdir(parents=True)
    if by == "DYNLAB_DATA":
        monkeypatch.setenv("DYNLAB_DATA", str(folder))
    data_dir = folder if by == "data_dir" else None

    with pytest.raises(InputError, match=f"^{by} {folder}: has no mnist/train-images-idx3-ubyte.gz$"):
        fetch_dataset("mnist", data_dir=data_dir, base_url=server.url)
    for name, content in small_mnist.items():  # half of them uncompressed, which will do as well
        plain = name.startswith("t10k")
        path = folder / inside / (name.removesuffix(".gz") if plain else name)
        path.write_bytes(gzip.decompress(content) if plain else content)
    assert fetch_dataset("mnist", data_dir=data_dir, base_url=server.url) == folder
    assert load_dataset("mnist/test", data_dir=data_dir).images.shape == (3, 2)

    damaged = folder / inside / "t10k-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for action in (fetch_dataset, load_dataset):
        with pytest.raises(InputError, match=f"^{damaged}: content has SHA-256 [0-9a-f]+, expected [0-9a-f]+$"):
            action("mnist/test", data_dir=data_dir)
    assert server.asked == []
    assert not cache.parent.exists()


@pytest.mark.parametrize("by", ["data_dir", "DYNLAB_DATA"])
def test_named_folder_must_exist(cache: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    missing = cache.parent / "missing"
    if by == "DYNLAB_DATA":
        monkeypatch.setenv("DYNLAB_DATA", str(missing))
    for action in (fetch_dataset, load_dataset):
        with pytest.raises(InputError, match=f"^{by} {missing}: no such folder$"):
            action("mnist", data_dir=missing if by == "data_dir" else None)


def test_data_dir_goes_before_the_environment(
    cache: Path, small_mnist: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache.parent.parent / "named"
    folder.mkdir()
    for name, content in small_mnist.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("DYNLAB_DATA", "/nowhere")
    assert load_dataset("mnist/test", data_dir=folder).images.shape == (3, 2)


def test_loading_never_downloads_and_says_what_to_do(cache: Path) -> None:
    with pytest.raises(InputError, match=r"mnist: .* is not in the cache .*; run `dynlab data get mnist`"):
        load_dataset("mnist/test")
    assert not cache.parent.exists()


def test_what_needs_no_download_is_refused(cache: Path) -> None:
    with pytest.raises(InputError, match=r"^digits/test: comes with scikit-learn, there is nothing to download$"):
        fetch_dataset("digits/test")
    with pytest.raises(InputError, match=f"'mnits': .* expected one of {', '.join(DATASET_NAMES)}; did you mean mnist"):
        fetch_dataset("mnits")


def test_interrupted_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files = {"file": b"content"}

    def interrupted(content: bytes) -> None:
        assert content == b"content"
        raise KeyboardInterrupt

    with download_display(visible=False) as display, pytest.raises(KeyboardInterrupt):
        download(server.url + "file", tmp_path / "a" / "b" / "file", check=interrupted, display=display)
    assert everything_in(tmp_path) == []


def test_progress_is_drawn_on_stderr(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files = {"file": bytes(200_000)}
    with download_display(visible=True) as display:
        download(server.url + "file", tmp_path / "file", check=lambda content: None, display=display)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "200.0/200.0 kB" in captured.err
