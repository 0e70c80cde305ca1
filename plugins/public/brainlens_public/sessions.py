"""Numbers of sessions as the user writes them."""

from __future__ import annotations

from collections.abc import Sequence

import brainlens


def parse_sessions(text: str, there: Sequence[int], *, what: str, field: str = "sessions") -> list[int]:
    """Read 'all', or numbers and ranges.

    Parameters
    ----------
    text
        Such as 'all', '1-12' or '1,3'.
    there
        The sessions that exist.
    what
        Of what they are sessions, for the message.
    field
        The parameter; it may be runs that are numbered.

    Returns
    -------
    list
        Ascending.

    Raises
    ------
    ParameterError
        If the text is something else, or a session is named twice or does not exist.

    Examples
    --------
    >>> parse_sessions("1-2,4", range(1, 6), what="CSI1")
    [1, 2, 4]
    """
    if text == "all":
        return sorted(there)
    numbers: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise brainlens.ParameterError(
                f"{field}: expected 'all', or numbers and ranges such as '1-12' or '1,3', found {text!r}."
            )
        numbers += range(int(first), int(last if dash else first) + 1)
    strange = [number for number in numbers if number not in there]
    if strange or not numbers or len(set(numbers)) < len(numbers):
        raise brainlens.ParameterError(
            f"{field}: expected each once, of the {len(there)} {field} of {what}: {brainlens.listed(there)}; "
            f"found {strange[0] if strange else repr(text)}. Choose others, or get the files that are missing."
        )
    return sorted(numbers)
