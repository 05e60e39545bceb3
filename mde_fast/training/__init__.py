"""Epochs, steps and memory of a training."""
