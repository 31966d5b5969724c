"""What a user can say to the program instead of to the model: `/help` and the rest. One function per command."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from accorda.errors import Refusal
from accorda.generation.sampling import Sampling
from accorda.recipe.parse import parse_value
from accorda.recipe.reader import read
from accorda.recipe.words import meant, shown
from accorda.serving.chat import rows
from accorda.serving.chat.chat import Chat


@dataclass(frozen=True)
class Reply:
    """What to show, and what is next: an answer of the model, or the end."""

    text: str = ""
    answer: bool = False
    leave: bool = False


@dataclass(frozen=True)
class Command:
    """A command: what stands behind its name, what it does, and the function."""

    takes: str
    says: str
    act: Callable[[Chat, str], Reply]


def obey(chat: Chat, line: str) -> Reply:
    """Do what a line that begins with `/` says.

    Raises:
        Refusal: no such command, or it cannot be done; the conversation is as before.
    """
    name, _, argument = line.removeprefix("/").partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        way_out = meant(name, COMMANDS) or "; /help lists them, and // sends a message that begins with /"
        raise Refusal(f"/{name}: no such command{way_out.replace('did you mean ', 'did you mean /')}")
    argument = argument.strip()
    if argument and not command.takes:
        raise Refusal(f"/{name} {shown(argument)}: /{name} takes nothing")
    if not argument and command.takes and not command.takes.startswith("["):
        raise Refusal(f"/{name}: write /{name} {command.takes}")
    with chat.history.unless_refused():
        return command.act(chat, argument)


def help_text(chat: Chat, argument: str) -> Reply:
    """Every command on a line."""
    width = max(len(f"/{name} {command.takes}") for name, command in COMMANDS.items())
    lines = [f"{f'/{name} {command.takes}':<{width}}  {command.says}" for name, command in COMMANDS.items()]
    return Reply("\n".join([*lines, *KEYS]))


def system(chat: Chat, text: str) -> Reply:
    """Set, show or remove what stands in front of the conversation."""
    if not text:
        return Reply(chat.history.system or "no system message; /system TEXT sets one")
    if not chat.remembers:
        raise Refusal("/system: this model reads each message for itself, so nothing can stand in front")
    chat.history.system = None if text == "-" else text
    return Reply("no system message" if text == "-" else "the system message is set")


def settings(chat: Chat, text: str) -> Reply:
    """Show or change how answers are drawn."""
    given = {}
    for pair in text.split():
        name, equals, value = pair.partition("=")
        if not equals:
            raise Refusal(f"/settings {pair}: write NAME=VALUE, for example temperature=0.7")
        given[name] = parse_value(value, name)
    chat.sampling = read(Sampling, {**vars(chat.sampling), **given})
    return Reply("  ".join(f"{name}={shown(value)}" for name, value in vars(chat.sampling).items()))


def edit(chat: Chat, text: str) -> Reply:
    """Say something else instead of the last message."""
    chat.history.edit(text)
    return Reply(answer=True)


def retry(chat: Chat, argument: str) -> Reply:
    """Have the last message answered again."""
    chat.history.reopen()
    if chat.sampling.temperature == 0:
        return Reply("the likeliest answer is always the same; /settings temperature=0.8 draws others", answer=True)
    chat.sampling = replace(chat.sampling, seed=chat.sampling.seed + 1)
    return Reply(f"seed={chat.sampling.seed}", answer=True)


def undo(chat: Chat, argument: str) -> Reply:
    """Take back the last message and its answer."""
    return Reply(f"taken back: {chat.history.undo()}")


def history(chat: Chat, argument: str) -> Reply:
    """Show the conversation."""
    return Reply(rows.texts(chat.history.messages) or "nothing was said yet")


def reset(chat: Chat, argument: str) -> Reply:
    """Begin a new conversation."""
    chat.history.reset()
    return Reply("a new conversation" + (", under the same system message" if chat.history.system else ""))


def base(chat: Chat, argument: str) -> Reply:
    """Let the base answer."""
    chat.voices.use_base()
    return speaking(chat)


def tuned(chat: Chat, argument: str) -> Reply:
    """Let the adapter answer."""
    chat.voices.use_tuned()
    return speaking(chat)


def both(chat: Chat, argument: str) -> Reply:
    """Let both answer."""
    chat.voices.use_both()
    return speaking(chat)


def adapter(chat: Chat, name: str) -> Reply:
    """Let another adapter of this base answer; without a name, list those that are loaded."""
    if name:
        chat.voices.use_adapter(name)
    return speaking(chat) if name else Reply("\n".join(chat.voices.known))


def speaking(chat: Chat) -> Reply:
    """Who answers now, and what is new about that."""
    names = " and ".join(voice.name for voice in chat.voices.speaking)
    kept = "; the answer of the last one goes into the conversation" if len(chat.voices.speaking) > 1 else ""
    return Reply("\n".join([f"answers now: {names}{kept}", *chat.opening()]))


def save(chat: Chat, name: str) -> Reply:
    """Write the conversation as rows to train on; a file that others wrote is never replaced."""
    path = Path(name).expanduser()
    if path.exists() and path.resolve() not in chat.saved:
        raise Refusal(f"/save {name}: exists already and is never replaced; choose another name")
    number = rows.save(chat.history, chat.voices.speaking[-1].kind, path)
    chat.saved.add(path.resolve())
    return Reply(f"{number} {'row' if number == 1 else 'rows'} to train on written to {path}")


def load(chat: Chat, argument: str) -> Reply:
    """Go on with a conversation from a file."""
    name, _, number = argument.rpartition(" ")
    if not name or not number.isdecimal():
        name, number = argument, "1"
    messages, count = rows.load(Path(name).expanduser(), int(number), chat.voices.speaking[-1].kind)
    chat.history.messages = messages
    which = f"row {number} of {count}" if chat.remembers else f"all {count} rows"
    return Reply(f"{which}: {len(messages)} messages; /history shows them")


def leave(chat: Chat, argument: str) -> Reply:
    """End the program."""
    return Reply(leave=True)


KEYS = (
    'A line that ends with \\ goes on in the next; """ begins and ends a message of several lines.',
    "// begins a message with /. Ctrl-C stops an answer, which stays as far as it came; Ctrl-D leaves.",
)
COMMANDS = {
    "help": Command("", "this list", help_text),
    "retry": Command("", "have the last message answered again", retry),
    "edit": Command("TEXT", "say TEXT instead of the last message", edit),
    "undo": Command("", "take back the last message and its answer", undo),
    "history": Command("", "show the conversation", history),
    "reset": Command("", "begin a new conversation", reset),
    "system": Command("[TEXT]", "what stands in front of the conversation; - for nothing", system),
    "settings": Command("[NAME=VALUE ...]", "temperature, top_k, top_p, seed, max_new_tokens, stop_texts", settings),
    "base": Command("", "the base answers, without the adapter", base),
    "tuned": Command("", "the adapter answers", tuned),
    "both": Command("", "base and adapter answer, side by side", both),
    "adapter": Command("[RUN]", "another adapter of the same base answers; without RUN: those loaded", adapter),
    "save": Command("FILE", "write the conversation as rows to train on (.jsonl)", save),
    "load": Command("FILE [ROW]", "go on with a conversation from a file", load),
    "quit": Command("", "leave", leave),
}
