"""Report file and function sizes and refuse those beyond the stop column of the house style."""

import ast
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "accorda"
METHOD_FAMILIES = ("additive", "side", "selective", "reparametrized")
LIMIT_FILE, LIMIT_METHOD, LIMIT_LOOP, LIMIT_FUNCTION, LIMIT_CLASS = 500, 200, 300, 60, 200


def limit(path: Path) -> int:
    """The largest number of lines this file may have."""
    if path.parent.name in METHOD_FAMILIES:
        return LIMIT_METHOD
    return LIMIT_LOOP if path.relative_to(SOURCE).as_posix() == "training/loop.py" else LIMIT_FILE


def faults(path: Path) -> list[str]:
    """One line per size that is beyond its limit."""
    text = path.read_text(encoding="utf-8")
    name, lines = path.relative_to(SOURCE), text.count("\n")
    found = [f"{name}: {lines} lines, at most {limit(path)}"] if lines > limit(path) else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            most = LIMIT_CLASS if isinstance(node, ast.ClassDef) else LIMIT_FUNCTION
            if size > most:
                found.append(f"{name}:{node.lineno}: {node.name} has {size} lines, at most {most}")
    return found


def main() -> int:
    """Print the size of every package folder, then what is too large."""
    files = sorted(SOURCE.rglob("*.py"))
    total: dict[str, int] = {}
    for path in files:
        part = path.relative_to(SOURCE).parts[0]
        total[part] = total.get(part, 0) + path.read_text(encoding="utf-8").count("\n")
    print("  ".join(f"{part} {lines}" for part, lines in sorted(total.items())), f" total {sum(total.values())}")
    found = [line for path in files for line in faults(path)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
