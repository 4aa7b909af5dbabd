"""Which way a figure is better, by the last part of its name."""

HIGHER = frozenset({"accuracy", "macro_accuracy", "macro_f1", "agreement"})
LOWER = frozenset(
    {
        "nll",
        "ece",
        "wer",
        "cer",
        "drop",
        "device_drop",
        "bytes",
        "macs",
        "parameters",
        "parameter_bytes",
    }
)
DIFFERENCE = "gain"  # of two models: what moved it, one or the other, it does not say


def sign(name: str) -> int:
    """Return 1 where more is better, -1 where less is, 0 where the name does not say."""
    last = name.rsplit(".", 1)[-1]
    return 1 if last in HIGHER else -1 if last in LOWER else 0


def known() -> str:
    """Return the last parts of names whose better direction is known, for people."""
    return ", ".join(sorted(HIGHER | LOWER))
