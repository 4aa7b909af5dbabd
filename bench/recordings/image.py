"""EfficientNet-B0's architecture, in a folder as transformers writes one: no weights."""

from pathlib import Path


def write(out: Path) -> None:
    """Write the configuration; widths and depths are those of the network's paper."""
    from transformers import EfficientNetConfig

    sizes = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    EfficientNetConfig(**sizes, image_size=224, dropout_rate=0.2).save_pretrained(out)
