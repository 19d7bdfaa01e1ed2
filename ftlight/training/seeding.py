"""Random numbers of a step as a function of where it is in the run."""

from __future__ import annotations

import random

import lightning as L
import numpy as np
import torch

TRAIN, VALIDATION = 0, 1


def seed(device: str, *key: int) -> None:
    """Seeds the global random numbers (torch, numpy, Python) with a key.

    A step's random numbers then depend on its place in the run alone, not on what was drawn
    before: by a validation, by a cache that was already there, by a process that was killed.

    Args:
        device: type of the device that the process computes on, beside the CPU.
        key: numbers that are not negative.
    """
    low, high, other = np.random.SeedSequence(key).generate_state(3).tolist()
    number = low | high << 32
    # torch.manual_seed takes 140 us to look for devices, this 1 us
    torch.default_generator.manual_seed(number)
    if device == "cuda":
        torch.cuda.manual_seed(number)
    elif device != "cpu":
        torch.manual_seed(number)
    np.random.seed(other)
    random.seed(other)


def seed_batch(trainer: L.Trainer, *key: int) -> None:
    """Seeds the random numbers of a batch: those of each process are its own.

    Args:
        trainer: the trainer.
        key: seed of the run, then the place of the batch in it.
    """
    seed(trainer.strategy.root_device.type, *key, trainer.global_rank)
