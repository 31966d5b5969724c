"""Text from standard input."""

from collections.abc import Callable

from accorda.errors import Refusal


def typed(read: Callable[[], str]) -> str:
    """What `read` reads there.

    Raises:
        Refusal: bytes that are not UTF-8. Under some locales Python hands them on as lone surrogates, which no
            tokenizer takes.
    """
    try:
        text = read()
        text.encode()
    except UnicodeError as error:
        place = f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else "what was read"
        raise Refusal(f"standard input: {place} is not UTF-8 text") from error
    return text
