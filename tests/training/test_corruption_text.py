"""Corruptions as text: what is read, what it is written as, and what is refused."""

from __future__ import annotations

import pytest

from dynlab.errors import InputError
from dynlab.training.corruption import (
    Clean,
    Gaussian,
    Mixture,
    Occlusion,
    Phase,
    Rotation,
    SaltAndPepper,
    Scaling,
    Schedule,
    Square,
    Strokes,
    Successive,
    parse_schedule,
)


@pytest.mark.parametrize(
    ("text", "corruption", "canonical"),
    [
        ("gaussian", Gaussian(0.5), "gaussian(0.5)"),
        (" gaussian ( 1e-05 )", Gaussian(1e-5), "gaussian(1e-05)"),
        ("clean", Clean(), "clean"),
        ("salt-and-pepper(.25)", SaltAndPepper(0.25), "salt-and-pepper(0.25)"),
        ("square", Square(0.5), "square(0.5)"),
        ("strokes(2)", Strokes(2.0), "strokes(2)"),
        ("strokes(2,0.05)", Strokes(2.0, 0.05), "strokes(2, 0.05)"),
        ("occlusion(1)", Occlusion(1.0), "occlusion(1)"),
        ("scaling(0.1)", Scaling(0.1), "scaling(0.1)"),
        ("rotation(15.)", Rotation(15.0), "rotation(15)"),
        (
            "rotation(15)then scaling\nthen gaussian(0)",
            Successive((Rotation(15.0), Scaling(0.5), Gaussian(0.0))),
            "rotation(15) then scaling(0.5) then gaussian(0)",
        ),
        ("clean+gaussian", Mixture((Clean(), Gaussian(0.5)), (1.0, 1.0)), "1 clean + 1 gaussian(0.5)"),
        (
            "0.7clean+0.3 square(1) then gaussian",
            Mixture((Clean(), Successive((Square(1.0), Gaussian(0.5)))), (0.7, 0.3)),
            "0.7 clean + 0.3 square(1) then gaussian(0.5)",
        ),
    ],
)
def test_reading_and_writing(text: str, corruption: object, canonical: str) -> None:
    schedule = parse_schedule(text, 0.5)
    assert schedule == Schedule((Phase(corruption, None),))  # pyright: ignore[reportArgumentType]
    assert str(schedule) == canonical
    # The text holds all levels, so what is read from it needs no other.
    assert parse_schedule(canonical, None) == schedule


def test_phases_last_up_to_and_with_their_epoch() -> None:
    schedule = parse_schedule("clean until 10, gaussian(0.3)until 50,gaussian(0.3) until 60, gaussian", 0.7)
    assert str(schedule) == "clean until 10, gaussian(0.3) until 50, gaussian(0.3) until 60, gaussian(0.7)"
    assert parse_schedule(str(schedule), None) == schedule
    expected = {1: Clean(), 10: Clean(), 11: Gaussian(0.3), 51: Gaussian(0.3), 60: Gaussian(0.3), 61: Gaussian(0.7)}
    assert {epoch: schedule.at(epoch) for epoch in expected} == expected
    assert schedule.at(10**9) == Gaussian(0.7)


@pytest.mark.parametrize("text", ["square(0.5)", "strokes(1)", "occlusion(0)", "scaling(1)", "rotation(1)"])
@pytest.mark.parametrize("around", ["{}", "clean + {}", "gaussian then {}", "{} until 1, clean", "clean until 1, {}"])
def test_kinds_for_images_need_two_axes(text: str, around: str) -> None:
    parse_schedule(around.format(text), 1.0, (2, 3))
    with pytest.raises(InputError, match=r"expected one for states of the shape \(6,\)"):
        parse_schedule(around.format(text), 1.0, (6,))


def test_kinds_for_any_state() -> None:
    parse_schedule("0.5 gaussian + 0.5 salt-and-pepper(0.5) until 5, clean then clean", 1.0, (6,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a kind of corruption (clean, gaussian,"),
        ("gausian(0.5)", "'gausian' is no kind of corruption, expected one of clean, gaussian,"),
        ("gausian(0.5)", "; did you mean 'gaussian'?"),
        ("Square", "; did you mean 'square'?"),
        ("salt_and_pepper", "; did you mean 'salt-and-pepper'?"),
        ("xyz", "rotation"),
        ("until", "'until' is no kind"),
        ("0.5", "expected a kind of corruption"),
        ("gaussian(", "expected a level, found the end"),
        ("gaussian()", "expected a level, found ')'"),
        ("gaussian(much)", "expected a level, found 'much'"),
        ("gaussian(0.5", "expected ')', found the end"),
        ("strokes(1,)", "expected a number, found ')'"),
        ("gaussian(1, 2)", "expected level in the parentheses of gaussian, found 1, 2"),
        ("strokes(1, 0.1, 3)", "expected level and width in the parentheses of strokes, found 1, 0.1, 3"),
        ("clean(1)", "expected nothing in the parentheses of clean, found 1"),
        ("gaussian clean", "expected 'then', '+', 'until', ',' or nothing more, found 'clean'"),
        ("gaussian; clean", "found ';'"),
        ("gaussian then", "expected a kind of corruption"),
        ("gaussian +", "expected a kind of corruption"),
        ("gaussian(-0.5)", "gaussian has the level -0.5, expected a finite number of at least 0"),
        ("gaussian(1e999)", "gaussian has the level inf, expected a finite number of at least 0"),
        ("salt-and-pepper(1.5)", "salt-and-pepper has the level 1.5, expected a number from 0 to 1"),
        ("square", "square has the level 1.5, expected a number from 0 to 1"),
        ("occlusion(2)", "occlusion has the level 2, expected a number from 0 to 1"),
        ("rotation(181)", "rotation has the level 181, expected a number from 0 to 180"),
        ("strokes", "strokes has the level 1.5, expected a whole number"),
        ("strokes(101)", "strokes has the level 101, expected a number from 0 to 100"),
        ("strokes(1, 2)", "strokes has the width 2, expected a number from 0 to 1"),
        ("0.5 gaussian", "expected another part after one with a weight"),
        ("0.5 gaussian + clean", "expected a weight for every part of a mixture, or for none"),
        ("0 gaussian + 1 clean", "a part has the weight 0, expected a finite number above 0"),
        ("-1 gaussian + 2 clean", "a part has the weight -1, expected a finite number above 0"),
        ("gaussian until 5", "expected no 'until' in the last phase, which goes on to the end"),
        ("gaussian, clean", "expected 'until' and an epoch in every phase but the last"),
        ("gaussian until, clean", "expected the number of an epoch, found ','"),
        ("gaussian until 2.5, clean", "expected a whole number as the epoch, found 2.5"),
        ("gaussian until 0, clean", "expected rising epochs from 1 on, 0 comes after 0"),
        ("gaussian until 5, clean until 5, clean", "expected rising epochs from 1 on, 5 comes after 5"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_schedule(text, 1.5)
    assert str(error.value).startswith(f"corruption is {text!r}: ")
    assert message in str(error.value)


def test_a_level_that_nobody_gives() -> None:
    with pytest.raises(InputError, match="corruption is 'clean \\+ gaussian': expected a level for gaussian"):
        parse_schedule("clean + gaussian", None)
