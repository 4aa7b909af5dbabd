"""Options that name other options: "both A and B", "none of the above".

They are true or false only where they stand, so they are neither shuffled nor asked elsewhere.
Where in doubt an option counts as one: its question then keeps the author's order.
"""

import re

_LETTER = r"\(?[A-H]\)?(?![\w.'])"
_QUANTITY = r"(?:all|both|any|none|neither|either|some|one|two|most)"
_OPTIONS = r"(?:above|options?|answers?|choices?|statements?)"
_FILLER = r"(?:of|the|these|those|them|others?|two|three|four|given|mentioned|listed|stated)"
_JUDGED = r"(?:are|is|correct|true|right|wrong|false|possible|apply|together)"
_PATTERNS = (
    # letters: A and C · A, B or C · options B and C · only A · A alone
    rf"\b[A-H]\)?\s*(?:,|&|/|\+|\band\b|\bor\b|\bnor\b)\s*(?:and |or )?{_LETTER}",
    rf"(?i:\b(?:options?|answers?|choices?|statements?|only|both|either|neither|not)) {_LETTER}",
    rf"^\W*{_LETTER}(?: (?i:only|alone))?\W*$",
    r"(?i:^\W*(?:both |either |neither )?[a-h]\)? (?:and|or|nor|&) \(?[a-h]\W*$)",
    # all of them at once: both · none of these · all are true
    rf"(?i:^\W*{_QUANTITY}(?: (?:{_FILLER}|{_OPTIONS}|{_JUDGED}))*\W*$)",
    # within a longer text: all of the above reasons · the first two statements · the above
    rf"(?i:\b{_QUANTITY}(?: {_FILLER})* {_OPTIONS}\b)",
    rf"(?i:\b(?:above|previous|preceding|first|last|other)(?: {_FILLER})* {_OPTIONS}\b)",
    r"(?i:\b(?:as|the) above\W*$)",
)
_NAMES = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS))


def names_others(option: str) -> bool:
    """Return whether an option speaks of others of its question, by their letters or as a whole.

    >>> [names_others(option) for option in ("Both A and B", "None of the above", "Both hats")]
    [True, True, False]
    """
    return _NAMES.search(" ".join(option.split())) is not None
