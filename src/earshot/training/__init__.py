"""Training: batches, losses, augmentation and the one loop."""
