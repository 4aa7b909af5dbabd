"""Recordings in the shapes of other tools, a reader a shape: `read(root)` yields rows, and
`files(root)` names what it reads beside the recordings.
"""

from earshot.corpora.shapes import audiofolder, folders, kaldi, lhotse, ljspeech, nemo, table

SHAPES = {
    "audiofolder": audiofolder,
    "folders": folders,
    "kaldi": kaldi,
    "nemo": nemo,
    "lhotse": lhotse,
    "ljspeech": ljspeech,
    "table": table,
}
