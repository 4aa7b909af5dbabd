"""A student as a file: raw waveform in, logits out, in float and in int8."""
