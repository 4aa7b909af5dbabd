"""What every kind of file of the drill shares: cases, their outcomes, and the limits of each."""

import multiprocessing
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS, BYTES = 10, 1 << 30  # limits of one case
HUGE = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)  # counts that no file keeps
Change = Callable[[bytes, np.random.Generator], bytes]


class Case(NamedTuple):
    """A changed file: the seed it was, its suffix, how it was changed, and its bytes."""

    number: int
    seed: str
    suffix: str
    change: str
    content: bytes

    @property
    def name(self) -> str:
        return f"{self.number:05d}-{self.seed}-{self.change}"


class Outcome(NamedTuple):
    """What became of a case: `used`, `refused`, or a `fault` and in words which."""

    state: str
    text: str


class Answer(NamedTuple):
    """What a child process found: `used` with a value, `refused` or `fault` with a text."""

    state: str
    value: Any


def limited(function: Callable[[], Any], named: tuple[type[Exception], ...]) -> Answer:
    """Run a function in a process of its own, within the limits."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(function, named, send), daemon=True)
    child.start()
    send.close()
    try:
        answer = receive.recv() if receive.poll(SECONDS) else None
    except EOFError:
        child.join(SECONDS)
        return Answer("fault", f"the process died, exit code {child.exitcode}")
    finally:
        child.kill()
        child.join()
    return answer or Answer("fault", f"more than {SECONDS} seconds")


def _child(function: Callable[[], Any], named: tuple[type[Exception], ...], send: Any) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        answer = Answer("used", function())
    except named as error:
        answer = Answer("refused", str(error))
    except MemoryError:
        answer = Answer("fault", "more than 1 GB")
    except BaseException as error:
        answer = Answer("fault", f"{type(error).__name__}: {error}")
    send.send(answer)


def changed(
    good: Mapping[str, tuple[str, bytes]], changes: Mapping[str, Change], seed: int, count: int
) -> Iterator[Case]:
    """Yield `count` cases, the same for a seed; the first are the good files as they are.

    `good` are suffix and bytes by name, `changes` what may be done to them.
    """
    names = list(changes)
    files = list(good.items())
    for number in range(count):
        name, (suffix, content) = files[number % len(files)]
        if number < len(files):
            yield Case(number, name, suffix, "none", content)
            continue
        rng = np.random.default_rng([seed, number])
        change = names[rng.integers(len(names))]
        yield Case(number, name, suffix, change, changes[change](content, rng))
