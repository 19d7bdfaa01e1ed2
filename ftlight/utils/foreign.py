"""What other tools call our options; named in the error, never guessed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ftlight.utils.errors import did_you_mean

FOREIGN = {
    "learning_rate": "model.lr",
    "model_name_or_path": "model.backbone",
    "pretrained_model_name_or_path": "model.backbone",
    "base_model": "model.backbone",
    "output_dir": "trainer.run (--run DIR)",
    "default_root_dir": "trainer.run (--run DIR)",
    "epochs": "trainer.max_epochs",
    "num_train_epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "total_steps": "trainer.max_steps",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "max_grad_norm": "trainer.gradient_clip_val",
    "grad_clip": "trainer.gradient_clip_val",
    "fp16": "trainer.precision",
    "bf16": "trainer.precision",
    "mixed_precision": "trainer.precision",
    "save_steps": "trainer.save_every",
    "save_strategy": "trainer.save_every",
    "eval_steps": "trainer.val_check_interval",
    "eval_strategy": "trainer.check_val_every_n_epoch",
    "evaluation_strategy": "trainer.check_val_every_n_epoch",
    "logging_steps": "trainer.log_every_n_steps",
    "logging_dir": "trainer.run (--run DIR)",
    "report_to": "trainer.wandb (--wandb PROJECT)",
    "resume_from_checkpoint": "trainer.resume (--resume RUN)",
    "early_stopping_patience": "trainer.patience",
    "per_device_train_batch_size": "data.batch_size",
    "per_device_eval_batch_size": "data.batch_size",
    "train_batch_size": "data.batch_size",
    "dataloader_num_workers": "data.workers",
    "num_workers": "data.workers",
    "train_file": "data.train",
    "validation_file": "data.validation",
    "max_seq_length": "data.max_length",
    "warmup_ratio": "model.warmup",
    "warmup_steps": "model.warmup",
    "lr_scheduler_type": "model.lr_schedule",
    "label_smoothing_factor": "model.label_smoothing",
    "mixup_alpha": "model.mixup",
    "rdrop_alpha": "model.r_drop",
    "hidden_dropout_prob": "model.dropout",
    "classifier_dropout": "model.dropout",
    "freeze": "model.unfreeze (what trains)",
    "freeze_backbone": "model.unfreeze (what trains)",
    "lora": "model.peft",
    "peft_config": "model.peft",
    "layerwise_decay": "model.layer_decay",
    "seed": "seed_everything (--seed N)",
    "run": "trainer.run (--run DIR)",
    "name": "trainer.name (--name N)",
    "wandb": "trainer.wandb (--wandb PROJECT)",
}


def foreign(key: str, own: Iterable[str] = ()) -> str:
    """What ftlight calls an option of another tool; empty if an own name is as near to it.

    >>> foreign("learning_rate"), foreign("lerning_rate", ["lr", "nonfinite"])
    ('model.lr', 'model.lr')
    >>> foreign("max_epoch", ["max_epochs"])
    ''
    """
    if key in FOREIGN:
        return FOREIGN[key]
    nearest = difflib.get_close_matches(key.lower(), [*own, *FOREIGN], n=1, cutoff=0.85)
    return FOREIGN[nearest[0]] if nearest and nearest[0] not in own else ""


def unexpected(name: str, section: str, known: Iterable[str]) -> str:
    """The end of the error of a keyword that a constructor does not take.

    Args:
        name: the keyword.
        section: section of its options in a config: model, data or trainer.
        known: the keywords that it takes.

    >>> unexpected("learning_rate", "model", ["lr", "warmup"])
    '; ftlight calls it lr'
    >>> unexpected("epochs", "model", ["lr"]), unexpected("unfreze", "model", ["unfreeze"])
    ('; it belongs to the trainer: max_epochs', '; did you mean "unfreeze"?')
    """
    if name == "seed":
        return "; call lightning.seed_everything(N) before the task is made"
    home, _, option = foreign(name, known).partition(" ")[0].partition(".")
    if not option:
        return did_you_mean(name, known)
    if home == section:
        return f"; ftlight calls it {option}"
    return f"; it belongs to the {home}: {option}"
