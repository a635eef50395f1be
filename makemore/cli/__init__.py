"""The command line: one module a command, and one error boundary.

Importing it loads neither torch nor pydantic: each command imports what it needs when it runs.
"""

import atexit
import gc
import io
import os
import sys
from typing import Annotated

import typer

from makemore import __version__
from makemore.cli import config, data, evaluate, fold, output, runs, sample, train, verify
from makemore.errors import InterruptedRun, MakemoreError, Problem, StorageError

_INTERRUPTED = 130

app = typer.Typer(
    name="makemore",
    help="Character-level language models: a file of names goes in, new names come out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("sample")(sample.sample)
app.command("eval")(evaluate.evaluate)
app.command("fold")(fold.fold)
app.command("runs")(runs.runs)
app.command("verify")(verify.verify)
app.command("config")(config.config)
app.command("data")(data.data)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.write_line(f"makemore {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    # A stream that was closed by the caller (`>&-`) is None to Python.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - until the program ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names are Unicode whatever the locale says.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    output.guard_python()
    # What a command imports is most of what it makes, and no garbage: Python looks for some less
    # often, and not once more at the exit, which would take a third of the time of torch's import.
    gc.set_threshold(10_000, 50)
    atexit.register(gc.freeze)
    sys.exit(run())


def run() -> int:
    """The error boundary: what a user can cause becomes a message and an exit code."""
    try:
        # Not `app()`, which would print the tracebacks of bugs itself. The name of the program is
        # not that of the file, which anybody may have given.
        command = typer.main.get_command(app)
        code = int(command.main(prog_name="makemore", standalone_mode=False) or 0)
        if code == _INTERRUPTED:
            # Typer's answer to a Ctrl-C that nobody else took.
            output.say_problem(Problem("interrupted"))
        output.flush()
        return code
    except (output.ClosedPipeError, SystemExit):
        # The reader has seen enough (`| head`); Typer, which writes the help, exits by itself.
        output.give_up_stdout()
        return 0
    except InterruptedRun as stop:
        # Asked for, and nothing is lost: no error.
        output.say_problem(stop.problems[0], kind="interrupted")
        return stop.exit_code
    except MakemoreError as error:
        for problem in error.problems:
            output.say_problem(problem)
        return error.exit_code
    except OSError as error:
        where = str(error.filename or "") or "standard output"
        hint = "check the path, the space on the device and the permissions"
        output.give_up_stdout()
        output.say_problem(Problem(error.strerror or str(error), where, hint))
        return StorageError.exit_code
    except typer.TyperException as error:
        # Typer's own: an unknown command or option, a missing or misspelled value.
        hint = "`makemore --help` lists the commands, `makemore COMMAND --help` the options"
        output.say_problem(Problem(error.format_message(), hint=hint))
        return 2
