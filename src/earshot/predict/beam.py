"""Decoding with a language model: a beam over prefixes of the words that an ARPA file lists.

The search is that of Flashlight (Kahn et al. 2022), an optional package; KenLM, inside it, reads
the file.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from earshot.predict.model import PredictError
from earshot.text import alphabet

MISSING = "--lm: Flashlight is not installed; pip install 'earshot[lm]'"
WIDTH = 50  # prefixes that are kept at each frame
NEVER = -1e4  # a log-probability
_UNKNOWN = "<unk>"
_BLANK, _SPACE = 0, 1  # places in an alphabet
_ORDER_1, _MARKS = "\\1-grams:", ("<s>", "</s>", _UNKNOWN, "<UNK>")


class Beam:
    """The most probable path of frames through the words of an ARPA language model, any order.

    With x the frames, w the words of a path π, the best has the largest log p(π | x) +
    `weight` · log p(w). Words are spelled as transcripts are; those that the alphabet cannot write
    are left out, and a word that the file does not list is never written. PredictError names the
    file where it is no ARPA model, or has no word of the alphabet, and the package where it is
    missing.
    """

    def __init__(self, file: str | Path, symbols: Sequence[str], weight: float):
        try:
            from flashlight.lib.text import decoder, dictionary
            from flashlight.lib.text.decoder.kenlm import KenLM
        except ImportError:
            raise PredictError(MISSING) from None
        spelled = dict(_spelled(file, symbols))
        if not spelled:
            raise PredictError(f"{file}: none of its words can be written in the alphabet")
        words = dictionary.Dictionary([*spelled, _UNKNOWN])
        try:
            self._lm = KenLM(str(file), words)  # kept: the decoder does not own it
        except RuntimeError as error:
            reason = str(error).splitlines()[-1]
            raise PredictError(f"{file}: not an ARPA language model ({reason})") from None
        trie, start = decoder.Trie(len(symbols), _SPACE), self._lm.start(False)
        for word, ids in spelled.items():
            number = words.get_index(word)
            trie.insert([*ids, _SPACE], number, self._lm.score(start, number)[1])
        trie.smear(decoder.SmearingMode.MAX)
        options = decoder.LexiconDecoderOptions(
            beam_size=WIDTH,
            beam_size_token=len(symbols),
            beam_threshold=-NEVER,
            lm_weight=weight,
            word_score=0.0,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=decoder.CriterionType.CTC,
        )
        unknown = words.get_index(_UNKNOWN)
        self._decoder = decoder.LexiconDecoder(
            options, trie, self._lm, _SPACE, _BLANK, unknown, [], False
        )

    def path(self, frames: np.ndarray) -> np.ndarray:
        """Return the symbol of each frame `(T,)` of the best path, for log-posteriors `(T, V)`."""
        end = np.full((1, frames.shape[1]), NEVER, np.float32)
        end[0, _SPACE] = 0  # a space behind the last frame ends the last word
        padded = np.ascontiguousarray(np.concatenate([frames, end]), np.float32)
        best = self._decoder.decode(padded.ctypes.data, *padded.shape)[0]
        return np.array(best.tokens[1 : 1 + len(frames)])  # the first stands before all frames


def _spelled(file: str | Path, symbols: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the words that an ARPA file lists, as it writes them, and the places of their
    symbols.
    """
    for word in _words(file):
        spelling = alphabet.normalised(word, symbols)
        known = spelling and " " not in spelling and not alphabet.foreign(spelling, symbols)
        if known and word not in _MARKS:
            yield word, alphabet.encode(spelling, symbols)


def _words(file: str | Path) -> Iterator[str]:
    """Yield the words of an ARPA file's unigrams."""
    try:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                if line.strip() == _ORDER_1:
                    break
            else:
                raise PredictError(f"{file}: not an ARPA language model, no line {_ORDER_1!r}")
            for line in lines:
                if line.startswith("\\"):
                    return
                if line.strip():
                    yield line.split()[1]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PredictError(f"{file}: cannot be read ({reason})") from None
    except IndexError:
        raise PredictError(f"{file}: not an ARPA language model, {line.strip()!r}") from None
