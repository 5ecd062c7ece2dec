"""A question to a worker: what it says on the way, and that nothing it does makes the asker wait for ever."""

import sys
from pathlib import Path
from time import monotonic

import pytest

from llmbench.errors import MachineError
from llmbench.run.ask import ask_worker


@pytest.fixture
def python(tmp_path: Path) -> "Worker":
    """A program in place of Python, which runs the code that it is made of."""
    return Worker(tmp_path / "python")


class Worker:
    """Writes itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def doing(self, code: str) -> str:
        """The program that does that."""
        self.path.write_text(f"#!{sys.executable}\nimport os, subprocess, sys, time\n{code}\n")
        self.path.chmod(0o755)
        return str(self.path)


def test_progress_is_told_as_it_comes_and_is_no_part_of_what_a_worker_said(python: Worker) -> None:
    heard: list[str] = []
    code = "print('progress: 1/2', file=sys.stderr)\nprint('noise', file=sys.stderr)\nprint('{\"a\": 1}')"
    assert ask_worker("predict", python=python.doing(code), hear=heard.append) == {"a": 1}
    assert heard == ["1/2"]


@pytest.mark.parametrize("hear", [None, lambda text: (_ for _ in ()).throw(BrokenPipeError())])
def test_a_flood_that_nobody_listens_to_and_bytes_that_are_no_text_stop_nothing(python: Worker, hear: object) -> None:
    code = "sys.stderr.buffer.write(b'progress: 1\\n\\xff\\n' + b'x' * 300_000)\nprint('[' + '1,' * 99_999 + '2]')"
    found = ask_worker("predict", python=python.doing(code), hear=hear, timeout_s=60)  # type: ignore[arg-type]
    assert isinstance(found, list) and len(found) == 100_000


def test_a_process_that_a_worker_leaves_behind_is_not_waited_for(python: Worker) -> None:
    begin = monotonic()
    with pytest.raises(MachineError, match="did not answer --ceilings within 1 s"):
        ask_worker("ceilings", python=python.doing("subprocess.Popen(['sleep', '40'])\ntime.sleep(40)"), timeout_s=1)
    assert monotonic() - begin < 30


def test_what_a_failing_worker_said_last_is_the_message(python: Worker) -> None:
    code = "print('llmbench: the card is gone', file=sys.stderr)\nprint('progress: 3', file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(MachineError, match=r"^the card is gone$"):
        ask_worker("describe", python=python.doing(code))
