"""Data sets, splits, training, and pools of trained models."""
