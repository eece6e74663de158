"""The command line itself: what it lists, refuses, and how it ends."""

import argparse
import sys
from types import ModuleType

import pytest

import icaze
from runtime.errors import StartupError
from runtime.settings import Settings


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command `probe` whose module the test fills."""
    module = ModuleType("probe_command")

    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--times", type=int, default=1)

    vars(module)["configure"] = configure
    monkeypatch.setitem(sys.modules, "probe_command", module)
    monkeypatch.setitem(icaze.COMMANDS, "probe", ("probe_command", "for tests"))
    return module


def raising(error: BaseException) -> object:
    """A command's `run` that ends so."""

    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def times(arguments: argparse.Namespace) -> int:
    """A command's `run` that ends with what it was given."""
    return arguments.times


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command_and_every_setting(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert icaze.main(words) == 0
    said = capsys.readouterr().out
    for name in icaze.COMMANDS:
        assert f"  {name} " in said
    for name in Settings.__struct_fields__:
        assert f"  ICAZE_{name.upper()} [" in said


def test_no_command_shows_the_help_and_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert icaze.main([]) == 2
    assert "usage: icaze COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert icaze.main(["fly"]) == 2
    assert capsys.readouterr() == ("", "icaze: no command 'fly'; `icaze --help` lists them\n")


@pytest.mark.parametrize("name", sorted(icaze.COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        icaze.main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: icaze {name}" in capsys.readouterr().out


def test_a_command_gets_its_arguments_and_gives_the_exit_code(command: ModuleType) -> None:
    vars(command)["run"] = times
    assert icaze.main(["probe", "--times", "7"]) == 7


def test_arguments_come_from_the_process_where_none_are_given(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    vars(command)["run"] = times
    monkeypatch.setattr(sys, "argv", ["icaze", "probe", "--times", "3"])
    assert icaze.main() == 3


def test_what_cannot_start_says_why_in_one_line(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    vars(command)["run"] = raising(StartupError("port 8103 is taken"))
    assert icaze.main(["probe"]) == 1
    assert capsys.readouterr() == ("", "icaze: port 8103 is taken\n")


def test_ctrl_c_ends_a_command_without_a_traceback(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    vars(command)["run"] = raising(KeyboardInterrupt())
    assert icaze.main(["probe"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", icaze.UNSHIPPED)
def test_an_installed_package_says_that_bench_needs_a_checkout(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _ = icaze.COMMANDS[name]
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "bench"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "bench", None)
    assert module.startswith("bench.")
    assert icaze.main([name]) == 2
    assert "needs a source checkout" in capsys.readouterr().err


def test_a_module_missing_from_a_command_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(icaze.COMMANDS, "probe", ("no_such_module_of_ours", "for tests"))
    with pytest.raises(ModuleNotFoundError):
        icaze.main(["probe"])
