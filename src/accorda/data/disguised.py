"""Files that are something else than their ending says, told by their first bytes."""

from accorda.errors import Refusal

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LENGTH = 4
"""How many bytes tell."""
KNOWN = {
    b"PK\x03\x04": "a ZIP archive, as .xlsx files are; save the sheet as .csv, or unpack it",
    b"\x1f\x8b": "compressed with gzip; let its name end in .gz, once for every time it was compressed",
    b"PAR1": "a parquet file; let its name end in .parquet",
    b"%PDF": "a PDF; save its text as .txt",
}


def refuse_disguised(head: bytes, shown: str) -> None:
    """Refuse what begins like no UTF-8 text; `head`: the first bytes, decompressed where the name ends in .gz."""
    what = next((what for start, what in KNOWN.items() if head.startswith(start)), None)
    if what is not None:
        raise Refusal(f"{shown}: {what}")
    if head[:2] in UTF_16:
        raise Refusal(f"{shown}: UTF-16 text; save it as UTF-8")
    if b"\0" in head[:LENGTH]:
        raise Refusal(f"{shown}: UTF-16 text without its mark, or no text at all; save it as UTF-8")
