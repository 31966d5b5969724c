"""`accorda chat` through pipes, in this process, and at a terminal of its own, in another."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from accorda.cli.main import main
from accorda.generation.text import generate
from accorda.methods.open import open_model
from accorda.models.load import load_tokenizer

FEW = ("--max-new-tokens", "6")


@pytest.fixture
def piped(adapter, monkeypatch, capfd):
    """Run with lines on standard input; exit code, standard output, standard error."""

    def run(text: str, *arguments: str, model=adapter) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        monkeypatch.setattr(sys, "__stdout__", sys.stdout)
        code = main(["chat", str(model), *FEW, *arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def said(adapter, *messages: str) -> str:
    """What `generate` answers to a conversation."""
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, messages, strict=False)]
    model, tokenizer = open_model(adapter).model, load_tokenizer(adapter)
    return generate(model, tokenizer, turns, max_new_tokens=6)[0].text


def test_only_answers_are_on_standard_output_and_history_is_read(adapter, piped):
    first = said(adapter, "hi")
    second = said(adapter, "hi", first, "and you?")
    code, out, err = piped("hi\n\nand you?")
    assert (code, out) == (0, f"{first}\n{second}\n")
    assert err == ["cut after 6 tokens; /settings max_new_tokens=12 allows more"] * 2


def test_json_is_one_object_with_the_conversation(adapter, piped):
    code, out, _ = piped('/base\n"""\ntwo\nlines\n"""\none \\\nmore\n//slash\n', "--json", "--system", "S")
    assert code == 0
    found = json.loads(out)
    users = [message["content"] for message in found["messages"] if message["role"] == "user"]
    assert users == ["two\nlines", "one \nmore", "/slash"]
    assert found["messages"][0] == {"role": "system", "content": "S"}
    assert [answer["by"] for answer in found["answers"]] == ["base"] * 3
    assert found["messages"][-1]["content"] == found["answers"][-1]["text"]
    assert found["settings"]["max_new_tokens"] == 6
    assert found["model"] == str(adapter)


def test_both_through_a_pipe_are_named(piped):
    code, out, _ = piped("/both\nhi\n")
    assert code == 0
    assert out.startswith("base: ")
    assert "\nadapter: " in out


@pytest.mark.parametrize(
    ("text", "arguments", "line"),
    [
        ("hi\n/rety\nmore\n", (), "/rety: no such command; did you mean /retry?"),
        ("x" * 3000, (), "the message takes"),
        ("hi", ("--top-p", "0"), "sampling.top_p = 0.0: must be a number above 0 and of at most 1"),
        ("/undo", (), "nothing was said yet"),
        ('"""hi\nthere', (), "the last message is not finished"),
        ("hi\\", (), "the last message is not finished"),
        ('"""hi""" there\n', (), 'there: stands behind the closing """'),
        ("\udcff\n", (), "standard input: what was read is not UTF-8 text"),
        ("hi", ("--system", "\udcff"), "--system: '\\udcff' is not UTF-8 text"),
    ],
)
def test_a_mistake_through_a_pipe_ends_it(text, arguments, line, piped):
    code, _, err = piped(text, *arguments)
    assert code == 2
    assert err[-1].startswith(f"error: {line}")
    assert sum(row.startswith("error: ") for row in err) == 1


def test_a_model_without_a_template_says_so_at_the_start(tmp_path, piped):
    from tests.zoo import tiny_model_folder

    bare = tiny_model_folder(tmp_path, chat_template=False)
    code, _, err = piped("hi", model=bare)
    assert code == 0
    assert "each message is a prompt of its own" in err[0]


def as_at_a_terminal() -> None:
    """In the new process: standard input controls it, and Ctrl-C counts, as in no background job."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Screen:
    """A program at a terminal of its own."""

    def __init__(self, *arguments: str):
        self.master, slave = pty.openpty()
        environment = os.environ | {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "accorda", "chat", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=as_at_a_terminal,
        )
        os.close(slave)
        self.text, self.seen = "", 0

    def until(self, words: str | tuple[str, ...], seconds: float = 60) -> str:
        """What appears up to these words, or the first of several, from where the last look ended."""
        ends, words = time.monotonic() + seconds, (words,) if isinstance(words, str) else words
        while not any(word in self.text[self.seen :] for word in words):
            assert time.monotonic() < ends, f"no {words!r} in {self.text[self.seen :]!r}"
            self.more()
        places = [(self.text.index(word, self.seen), word) for word in words if word in self.text[self.seen :]]
        at, word = min(places)
        start, self.seen = self.seen, at + len(word)
        return self.text[start : self.seen]

    def more(self) -> None:
        """Wait for something to appear, for a second at most."""
        if select.select([self.master], [], [], 1.0)[0]:
            self.text += os.read(self.master, 4096).decode(errors="replace").replace("\r\n", "\n")

    def press_until(self, keys: str, words: str) -> None:
        """Press keys again until these words appear: a Ctrl-C between a prompt and the wait for keys is seen late."""
        for _ in range(9):
            self.type(keys)
            ends = time.monotonic() + 10
            while words not in self.text[self.seen :] and time.monotonic() < ends:
                self.more()
            if words in self.text[self.seen :]:
                break
        self.until(words)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())


@pytest.fixture
def screen(adapter):
    shown = Screen(str(adapter), "--max-new-tokens", "100000", "--quantization", "none")
    yield shown
    if shown.process.poll() is None:
        shown.process.kill()
    shown.process.wait()
    os.close(shown.master)


def test_at_a_terminal(adapter, screen, tmp_path):
    """Line editing, Ctrl-C in an answer, mistakes that end nothing, /edit with the old text, columns, Ctrl-D."""
    screen.until("> ")
    screen.type("/settings max_new_tokens=6\n")
    screen.until("max_new_tokens=6")
    screen.until("> ")
    screen.type("hj\x7fi\n")  # one key taken back
    shown = screen.until("allows more")
    assert said(adapter, "hi").strip("\n").partition("\n")[0].strip() in shown
    screen.until("> ")
    screen.type("/rety\n")
    screen.until("error: /rety: no such command; did you mean /retry?")
    screen.until("> ")
    screen.type("/edit\n")
    screen.until("> hi")
    screen.type(" there\n")
    screen.until("allows more")
    screen.type("/both\n")
    screen.until("base and adapter")
    screen.type("again\n")
    assert re.search(r"base[^\n]*adapter[^\n]*\n", screen.until("adapter: cut after 6"))
    screen.press_until("\x03", "/quit leaves")
    screen.type(f"/save {tmp_path / 'talk.jsonl'}\n")
    screen.until("1 row ")
    screen.until("> ")
    screen.type("\x04")
    assert screen.process.wait(20) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "talk.jsonl").read_text().splitlines()]
    assert [message["content"] for message in row["messages"][::2]] == ["hi there", "again"]


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said(screen):
    screen.until("> ")
    screen.type("/settings temperature=3\n")  # random letters hardly ever end
    screen.until("temperature=3")
    screen.until("> ")
    stopped, told = "stopped; what was said is kept", ""
    while stopped not in told:  # an answer that ended by itself before the signal came is asked for again
        screen.type("Once upon a time\n")
        screen.until("Once upon a time\n")
        screen.more()
        os.killpg(screen.process.pid, signal.SIGINT)
        told = screen.until(("kept", "> "))
        if stopped not in told:
            screen.press_until("\x03", "/quit leaves")
            screen.type("/undo\n")
            screen.until("> ")
    screen.type("/history\n")
    screen.until("user: Once upon a time")
    screen.until("assistant: ")
    screen.type("/quit\n")
    assert screen.process.wait(20) == 0
