"""Architectures of image networks, in folders as transformers writes them: no weights."""

from pathlib import Path


def efficientnet(out: Path) -> None:
    """Write EfficientNet-B0's configuration; widths and depths are those of the network's paper."""
    from transformers import EfficientNetConfig

    sizes = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    EfficientNetConfig(**sizes, image_size=224, dropout_rate=0.2).save_pretrained(out)


def mobilenet(out: Path) -> None:
    """Write MobileNetV2's configuration, of width 1."""
    from transformers import MobileNetV2Config

    MobileNetV2Config(depth_multiplier=1.0).save_pretrained(out)
