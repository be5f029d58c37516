"""Members that are trained in one batch against trainings of each alone, and what a recording of the work demands."""

from __future__ import annotations

import copy
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dynlab.errors import InputError
from dynlab.maps import DeepAutoencoder, Map
from dynlab.training import EpochProgress, TrainingDiverged, TrainingSettings, train
from dynlab.training.batched import BatchedRun
from dynlab.training.checkpoint import read_checkpoint, write_checkpoint
from dynlab.training.draws import MembersNoise, noise_can_be_fused
from dynlab.training.driving import Checkpointing, drive
from dynlab.training.initialization import beginning
from dynlab.training.launches import Launch, Launcher, launches, precision_of_products
from dynlab.training.run import Run, TrainingRun

from other_device import emulated_device, host_waits
from recorded import Recordings, tensors_of

emulated_device()  # before any test takes a gradient

CPU = torch.device("cpu")
DIM, SAMPLES = 64, 203  # the last minibatch has 3 samples
IMAGES = torch.rand(SAMPLES, DIM, generator=torch.Generator().manual_seed(6))
SETTINGS = TrainingSettings(sigma=0.3, walkback=3, epochs=10, hidden=24, seed=1)
MEMBERS = [
    SETTINGS,
    replace(SETTINGS, sigma=0.6, seed=2, annealing=0.8),
    replace(SETTINGS, seed=3, learning_rate=0.02, corruption="salt-and-pepper(0.2)"),
    replace(SETTINGS, seed=4, corruption="clean until 4, 0.6 gaussian + 0.4 gaussian(0.1)"),
    replace(SETTINGS, seed=5, corruption="rotation(20) then square(0.3)"),
]
KINDS = ["square(0.3)", "strokes(2)", "occlusion(0.3)", "scaling(0.2)", "rotation(20)", "salt-and-pepper"]


def never() -> bool:
    return False


def after(launches_done: int) -> Callable[[], bool]:
    """Says to stop when it is asked once more than this."""
    asked = iter(range(launches_done + 1))
    return lambda: next(asked) == launches_done


def batched(members: Sequence[TrainingSettings], device: torch.device = CPU, **options: Any) -> BatchedRun:
    systems = [beginning(DIM, settings, None, None) for settings in members]
    records = [{"number": number} for number in range(len(members))]
    return BatchedRun(IMAGES.to(device), members, systems, records, **{"steps_per_launch": 4, **options})


def finish(run: Run) -> None:
    while run.epoch < run.epochs:
        assert run.run_epoch(never)


def alone(settings: TrainingSettings) -> TrainingRun:
    run = TrainingRun(IMAGES, settings, beginning(DIM, settings, None, None))
    finish(run)
    return run


def how(system: Map) -> dict[str, Any]:
    return cast(Any, system).training_settings


def parameters(system: Map) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in system.named_parameters()}


def largest_difference(found: Map, expected: Map) -> float:
    """Of all parameters, in units of the length of that parameter."""
    pairs = ((parameters(found)[name], value) for name, value in parameters(expected).items())
    return max(((value - like).norm() / like.norm()).item() for value, like in pairs)


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Bit by bit, where NaN equals NaN."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


def test_launches_hold_every_minibatch_once_and_in_order() -> None:
    for samples in (1, 19, 20, 21, 199, 200, 203):
        for batch_size in (1, 7, 20, 300):
            expected = [len(rows) for rows in torch.arange(samples).split(batch_size)]
            for steps_per_launch in (1, 2, 3, 10, 1000):
                planned = list(launches(samples, batch_size, 0, steps_per_launch))
                sizes = [launch.rows for launch in planned for _ in range(launch.steps)]
                assert sizes == expected
                # What is recorded: launches in full, of one step, and the last minibatch.
                assert len(set(planned)) <= 3
                for behind in range(len(planned) + 1):
                    done = sum(launch.steps for launch in planned[:behind])
                    assert list(launches(samples, batch_size, done, steps_per_launch)) == planned[behind:]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True, "hidden_nonlinearity": "tanh"},
        {"walkback_variant": "detached", "loss": "cross-entropy"},
        {"walkback_variant": "last", "output_nonlinearity": "tanh"},
        {"contraction": 0.01, "walkback": 1},
        {"loss": "cross-entropy", "contraction": 0.001, "tied": True},
    ],
    ids=str,
)
def test_members_become_what_they_become_alone(options: dict[str, Any], device: torch.device) -> None:
    members = [replace(settings, epochs=9, **options) for settings in MEMBERS]  # 99 steps
    run = batched(members, device)
    finish(run)
    assert all(isinstance(progress, EpochProgress) for progress in run.progress())
    for number, settings in enumerate(members):
        expected, found = alone(settings).trained(0), run.trained(number)
        assert largest_difference(found, expected) < 1e-5
        kept = how(found)
        assert kept["objective"] == pytest.approx(how(expected)["objective"], rel=1e-5)
        assert kept["number"] == number
        assert kept["backend"] == "batched"
        assert kept["seed"] == settings.seed
        assert kept["noise"] == "plain" or device.type == "cuda"
        assert all(parameter.is_contiguous() for parameter in found.parameters())


def test_progress_is_that_of_each_member(device: torch.device) -> None:
    members = [replace(settings, epochs=2) for settings in MEMBERS[:2]]
    run = batched(members, device)
    finish(run)
    for number, (progress, settings) in enumerate(zip(run.progress(), members, strict=True)):
        assert isinstance(progress, EpochProgress)
        (expected,) = alone(settings).progress()
        assert isinstance(expected, EpochProgress)
        assert (progress.epoch, progress.epochs) == (2, 2)
        assert progress.learning_rate == settings.learning_rate * settings.annealing
        assert progress.objective == how(run.trained(number))["objective"][-1]
        assert progress.objective == pytest.approx(expected.objective, rel=1e-5)
        assert progress.samples_per_second > 0


def test_company_changes_nothing() -> None:
    """Bit by bit on a CPU."""
    members = [replace(settings, epochs=3) for settings in MEMBERS]
    in_company = batched(members)
    finish(in_company)
    for numbers in ([0], [3], [0, 1], [2, 3, 4], [4, 0]):
        fewer = batched([members[number] for number in numbers])
        finish(fewer)
        for place, number in enumerate(numbers):
            found, expected = fewer.trained(place), in_company.trained(number)
            assert_equal(parameters(found), parameters(expected))
            assert how(found)["objective"] == how(expected)["objective"]


@pytest.mark.parametrize(
    ("dim", "options"),
    [
        (784, {"hidden": 500, "walkback": 1}),
        (257, {"hidden": 17, "walkback": 2}),
        (33, {"hidden": 64, "walkback": 4, "batch_size": 19, "loss": "cross-entropy", "tied": True}),
        (7, {"hidden": 5, "walkback": 1, "contraction": 0.01}),
        (16, {"hidden": 1, "walkback": 3, "batch_size": 3, "walkback_variant": "detached"}),
    ],
)
def test_company_changes_nothing_whatever_the_shape(dim: int, options: dict[str, Any]) -> None:
    """Neither where members lie in memory nor where their runs of numbers end is a matter of how many there are."""
    members = [TrainingSettings(sigma=0.3, epochs=1, seed=seed, **options) for seed in range(3)]
    images = torch.rand(3 * members[0].batch_size + 1, dim, generator=torch.Generator().manual_seed(6))

    def trained(settings: Sequence[TrainingSettings]) -> Map:
        systems = [beginning(dim, member, None, None) for member in settings]
        run = BatchedRun(images, settings, systems, [{}] * len(settings))
        finish(run)
        return run.trained(len(settings) - 1)

    alone, in_company = trained(members[-1:]), trained(members)
    assert_equal(parameters(alone), parameters(in_company))
    assert how(alone)["objective"] == how(in_company)["objective"]


@pytest.mark.parametrize("launches_done", [0, 1, 2, 4, 5, 6])
def test_a_training_goes_on_from_its_state(launches_done: int, device: torch.device, tmp_path: Path) -> None:
    members = [replace(settings, epochs=6) for settings in MEMBERS]
    uninterrupted = batched(members, device)
    finish(uninterrupted)
    run = batched(members, device)
    for _ in range(4):
        run.run_epoch(never)
    stop = after(launches_done)
    # In launches of 4, 4, 1, 1 and 1 minibatches.
    assert run.run_epoch(stop) == (launches_done > 4)
    identity = {"members": [settings.as_json() for settings in members]}
    write_checkpoint(tmp_path / "members.safetensors", run.state(), identity)
    finish(run)

    resumed = batched(members, device)
    resumed.restore(read_checkpoint(tmp_path / "members.safetensors", identity, resumed.state()))
    assert resumed.epoch == (5 if launches_done > 4 else 4)
    finish(resumed)
    for going_on in (run, resumed):
        assert_equal(going_on.state(), uninterrupted.state())
    assert uninterrupted.state()["objectives"].shape == (6, len(members))


def test_a_longer_training_goes_on_from_the_checkpoint_of_a_shorter_one(device: torch.device, tmp_path: Path) -> None:
    """As `train` does on CUDA; the snapshot at the end of the shorter one is made up for."""
    checkpointing, taken = Checkpointing(tmp_path / "members.safetensors", {}), list[tuple[int, Mapping[str, Tensor]]]()

    def of_epochs(epochs: int) -> BatchedRun:
        return batched([replace(settings, epochs=epochs) for settings in MEMBERS], device)

    shorter = of_epochs(3)
    assert drive(shorter, checkpointing=checkpointing)
    longer, whole = of_epochs(5), of_epochs(5)
    assert drive(
        longer,
        checkpointing=checkpointing,
        snapshots=[3],
        on_snapshot=lambda epoch: taken.append((epoch, {name: one.clone() for name, one in longer.state().items()})),
    )
    finish(whole)
    assert_equal(longer.state(), whole.state())
    ((epoch, snapshot),) = taken
    assert epoch == 3
    assert_equal(snapshot, shorter.state())


def test_a_member_that_diverges_changes_no_other(device: torch.device) -> None:
    members = [
        replace(settings, output_nonlinearity="identity", hidden_nonlinearity="relu", epochs=4, learning_rate=0.01)
        for settings in MEMBERS[:4]
    ]
    healthy = batched(members, device)
    finish(healthy)
    run = batched([members[0], replace(members[1], learning_rate=1e6), *members[2:]], device)
    run.run_epoch(never)
    run.run_epoch(never)
    resumed = batched([members[0], replace(members[1], learning_rate=1e6), *members[2:]], device)
    resumed.restore({name: value.clone() for name, value in run.state().items()})
    for going_on in (run, resumed):
        finish(going_on)
        assert going_on.epoch == 4
        for number in (0, 2, 3):
            assert_equal(parameters(going_on.trained(number)), parameters(healthy.trained(number)))
            assert isinstance(going_on.progress()[number], EpochProgress)
        words = str(going_on.progress()[1])
        assert "training diverged in epoch 1 at learning rate 1e+06" in words
        with pytest.raises(TrainingDiverged, match="epoch 1"):
            going_on.trained(1)
        # It costs no more than others: no number that processors are slow with.
        assert all(bool((value[1] == 0).all()) for name, value in going_on.state().items() if name[:4] == "para")


def test_training_ends_when_no_member_is_left(device: torch.device) -> None:
    settings = replace(SETTINGS, output_nonlinearity="identity", learning_rate=1e6)
    run = batched([settings, replace(settings, seed=9)], device)
    assert run.run_epoch(never)
    assert run.epoch == run.epochs == 1
    assert all(isinstance(progress, TrainingDiverged) for progress in run.progress())
    resumed = batched([settings, replace(settings, seed=9)], device)
    resumed.restore(run.state())
    assert resumed.epoch == resumed.epochs == 1


def test_statistics_agree_with_those_of_single_trainings() -> None:
    settings = replace(SETTINGS, epochs=4, walkback=1)
    run = batched([replace(settings, seed=seed) for seed in range(10)])
    finish(run)
    found = [how(run.trained(member))["objective"][-1] for member in range(10)]
    singles = [alone(replace(settings, seed=100 + seed)) for seed in range(10)]
    expected = [how(single.trained(0))["objective"][-1] for single in singles]
    error = (statistics.variance(found) / 10 + statistics.variance(expected) / 10) ** 0.5
    assert 0 < error < 0.01 * statistics.mean(expected)
    assert abs(statistics.mean(found) - statistics.mean(expected)) < 3 * error


class _HostTensors(TorchDispatchMode):
    """Counts operations that take or make tensors of the CPU, by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(tensor.device.type == "cpu" for tensor in tensors_of((args, kwargs, result))):
            self.found[str(function)] += 1
        return result


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "cross-entropy", "contraction": 0.1}],
    ids=str,
)
def test_a_launch_has_nothing_to_do_with_the_host(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waits nor copies, which could not be recorded; on an emulated device."""
    kinds = [replace(SETTINGS, sigma=0.2, corruption=kind) for kind in KINDS]
    members = [replace(settings, epochs=1, batch_size=50, **options) for settings in [*MEMBERS, *kinds]]
    run = batched(members, emulated_device(), steps_per_launch=2)
    launch_on, counted = Launcher.__call__, 0

    def watched(launcher: Launcher, launch: Launch) -> None:
        nonlocal counted
        waits, tensors = Counter(host_waits), _HostTensors()
        with tensors:
            launch_on(launcher, launch)
        assert host_waits == waits
        assert not tensors.found
        counted += 1

    monkeypatch.setattr(Launcher, "__call__", watched)
    assert run.run_epoch(never)
    assert counted == 3
    monkeypatch.undo()
    on_cpu = batched(members, steps_per_launch=2)
    on_cpu.run_epoch(never)
    for number in range(len(members)):
        assert largest_difference(run.trained(number), on_cpu.trained(number)) < 1e-6


def test_recordings_can_be_replayed(recording: Recordings) -> None:
    """All that differs between launches is read from memory; trials and recording change nothing. Without a GPU."""
    members = [replace(settings, contraction=0.001) for settings in MEMBERS]
    called = batched(members)
    finish(called)
    recording.begin()
    run = batched(members)
    finish(run)
    assert recording.made == 6  # three kinds of launches, and anew when a corruption changed in epoch 5
    assert_equal(run.state(), called.state())


def test_a_training_goes_on_without_recordings_where_they_fail(recording: Recordings) -> None:
    called = batched(MEMBERS)
    finish(called)
    recording.begin(failing=True)
    run = batched(MEMBERS)
    with pytest.warns(UserWarning, match=r"work on cpu is not recorded any more, .* \(operation not permitted\)"):
        finish(run)
    assert recording.made == 1
    assert_equal(run.state(), called.state())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"walkback": 2}, r"members\[1\] has walkback 2, expected 3 as members\[0\] has"),
        ({"batch_size": 5}, r"members\[1\] has batch_size 5, expected 20"),
        ({"loss": "cross-entropy"}, r"members\[1\] has loss 'cross-entropy', expected 'squared-error'"),
        ({"corruption": "learned"}, r"members\[1\] has corruption 'learned', expected one that is not learned"),
    ],
)
def test_members_that_cannot_go_together_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        batched([SETTINGS, replace(SETTINGS, **change)])


def test_bad_arguments_are_refused() -> None:
    deep = replace(SETTINGS, hidden=(8, 4))
    system = beginning(DIM, SETTINGS, None, None)
    other_shape = beginning(DIM, SETTINGS, None, (4, 16))
    for arguments, options, words in [
        (([], [], []), {}, "members is empty"),
        (([SETTINGS], [], [{}]), {}, "systems has 0 entries, expected one for each of 1 members"),
        (([SETTINGS], [system], []), {}, "records has 0 entries"),
        (([deep], [DeepAutoencoder(DIM, (8, 4))], [{}]), {}, r"systems\[0\] is a DeepAutoencoder"),
        (([SETTINGS] * 2, [system, other_shape], [{}] * 2), {}, r"systems\[1\] has state_shape \(4, 16\)"),
        (([SETTINGS], [system], [{}]), {"steps_per_launch": 0}, "steps_per_launch is 0, expected at least 1"),
        (([SETTINGS], [system], [{}]), {"tf32": True}, "tf32 is True on cpu, expected False"),
    ]:
        with pytest.raises(InputError, match=words):
            BatchedRun(IMAGES, *arguments, **options)


def test_precision_of_products_is_put_back() -> None:
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    for tf32, name in ((True, "tf32"), (False, "ieee")):
        within = []

        def failing(tf32: bool = tf32, within: list[Any] = within) -> None:
            with precision_of_products(tf32=tf32):
                within.append(products.fp32_precision)
                raise KeyError

        with pytest.raises(KeyError):
            failing()
        assert within == [name]
        assert products.fp32_precision == before


def test_noise_that_cannot_be_compiled_is_plain_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiler(*_args: Any, **_options: Any) -> Any:
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(torch, "compile", compiler)
    check = copy.copy(noise_can_be_fused).__wrapped__
    with pytest.warns(UserWarning, match=r"noise is not fused .*\(RuntimeError: no compiler\)"):
        assert not check(CPU)


@pytest.mark.slow
def test_fused_noise_is_the_noise() -> None:
    # C++ leaves open what becomes of products of signed integers that are too large, and single numbers at the end of a
    # loop show it; so 16 rows are taken. A GPU's instructions wrap around.
    first = torch.tensor(2**40 + 5)
    plain, fused = (MembersNoise([0, 7, 2**63 - 1], "corruption", CPU, fused=fused) for fused in (False, True))
    for noise, like in (
        (fused.at(first, 16), plain.at(first, 16)),
        (fused.at(first, 32).part(3), plain.at(first, 32).part(3)),
    ):
        for channel, count in ((0, 30), (5, 30), (0, 1), (2, 64)):
            assert noise.uniform(channel, count).equal(like.uniform(channel, count))
            torch.testing.assert_close(noise.normal(channel, count), like.normal(channel, count), rtol=1e-6, atol=2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU")
class TestOnCuda:
    """What only a GPU can show."""

    def test_recordings_do_what_they_record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bit by bit, with the trials before them undone."""
        cuda = torch.device("cuda")
        recorded = batched(MEMBERS, cuda)
        finish(recorded)
        monkeypatch.setattr(Launcher, "__call__", lambda launcher, launch: launcher._work(launch))
        called = batched(MEMBERS, cuda)
        finish(called)
        assert_equal(recorded.state(), called.state())

    def test_noise_is_fused(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = batched([replace(SETTINGS, epochs=1)], torch.device("cuda"))
            finish(run)
        assert how(run.trained(0))["noise"] == "fused"

    def test_fused_noise_is_the_noise(self) -> None:
        cuda = torch.device("cuda")
        first, seeds = torch.tensor(2**40 + 5, device=cuda), [0, 7, 2**63 - 1]
        plain, fused = (
            MembersNoise(seeds, "corruption", cuda, fused=fused).at(first, 13).part(2) for fused in (False, True)
        )
        for channel, count in ((0, 33), (1, 784)):
            assert fused.uniform(channel, count).equal(plain.uniform(channel, count))
            torch.testing.assert_close(fused.normal(channel, count), plain.normal(channel, count), rtol=1e-5, atol=2e-6)

    def test_tf32_differs_a_little(self, record_property: Callable[[str, object], None]) -> None:
        cuda, before = torch.device("cuda"), torch.backends.cuda.matmul.fp32_precision
        exact, rounded = batched(MEMBERS, cuda), batched(MEMBERS, cuda, tf32=True)
        finish(exact)
        finish(rounded)
        assert torch.backends.cuda.matmul.fp32_precision == before
        differences = [
            largest_difference(rounded.trained(number), exact.trained(number)) for number in range(len(MEMBERS))
        ]
        record_property("relative difference of TF32 after 110 steps", max(differences))
        assert how(rounded.trained(0))["tf32"]
        assert 1e-6 < max(differences) < 1e-2

    def test_a_single_training_is_recorded_too(self) -> None:
        found = train(IMAGES, replace(SETTINGS, epochs=2), device="cuda")
        assert how(found)["backend"] == "batched"
        assert next(found.parameters()).is_cuda
        assert largest_difference(found, alone(replace(SETTINGS, epochs=2)).trained(0)) < 1e-5
