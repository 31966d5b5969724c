"""Text of the code as Markdown: docstrings, signatures, usages, formulas, tables."""

import inspect
import re
from collections.abc import Iterable, Sequence

PAPERS = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def wrapped_signature(name: str, signature: inspect.Signature) -> str:
    """The signature on one line where it fits, else one parameter a line."""
    line = f"accorda.{name}{signature}".replace("'", "")
    line = re.sub(r"\b(?:accorda|torch|transformers|collections|pathlib|typing)(?:\.\w+)*\.(?=[A-Z])", "", line)
    if len(line) <= 88:
        return line
    head, _, rest = line.partition("(")
    inner, _, returns = rest.rpartition(")")
    parts = re.split(r", (?![^\[]*\])", inner)
    return f"{head}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


def docstring(text: str) -> str:
    """A docstring with its sections as lists; what is returned is prose."""
    body, *sections = re.split(r"\n(?=(?:Args|Raises|Returns|Yields):\n)", text)
    out = prose(body)
    for section in sections:
        title, _, rest = section.partition(":\n")
        lines = inspect.cleandoc(rest)
        items = re.split(r"\n(?!\s)", lines) if title in ("Args", "Raises") else []
        named = [" ".join(item.split()).partition(": ") for item in items]
        listed = "\n".join(f"- `{name}`: {escaped(what)}" for name, _, what in named)
        out += f"\n\n**{title}**\n\n{listed or prose(lines)}"
    return out


def prose(text: str) -> str:
    """Plain text as Markdown: paragraphs flow, indented blocks (formulas) stay as they are."""
    out = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if all(line.startswith("    ") for line in block.splitlines()):
            out.append(f"```text\n{formula(inspect.cleandoc(block))}\n```")
        elif block.lstrip().startswith("- "):
            out.append(escaped(block))
        else:
            out.append(escaped(" ".join(block.split())))
    return "\n\n".join(out)


def formula(text: str, width: int = 76) -> str:
    """Formulas of one line below each other where the line is too wide for a page; shapes stand at their end."""
    lines = [
        re.split(r"\s{6,}", line) if len(line) > width and line[:1].strip() else [line] for line in text.splitlines()
    ]
    return "\n".join(part for line in lines for part in line)


def escaped(text: str) -> str:
    """Text in which Markdown sees no markup but code between backticks and links to papers."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else linked(re.sub(r"([*_<\[\]])", r"\\\1", part)) for part in parts)


def linked(text: str) -> str:
    """`arXiv:2106.09685` as a link."""
    for kind, address in PAPERS.items():
        text = re.sub(rf"\b{kind}:\s?([\w./-]*\w)", rf"[{kind}:\1]({address}\1)", text)
    return text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars that stand outside of code are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(barred(cell) for cell in line) + " |" for line in lines)


def barred(cell: str) -> str:
    """A cell whose bars do not end it."""
    parts = re.split(r"(`[^`]*`)", cell)
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def wrapped(usage: str, width: int = 78) -> str:
    """The usage in lines that fit a page, broken between arguments."""
    lines = [""]
    for part in re.findall(r"\[[^\]]*\](?: \.\.\.)?|\S+", usage):
        if lines[-1] and len(lines[-1]) + len(part) + 1 > width:
            lines.append("   ")
        lines[-1] += f" {part}" if lines[-1] else part
    return "\n".join(lines)
