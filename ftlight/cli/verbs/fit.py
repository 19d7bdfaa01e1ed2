"""``fit``: trains a model, then tests its best checkpoint."""

from __future__ import annotations

from ftlight.cli import keeping, reporting
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI, trained
from ftlight.evidence import familiar, learned
from ftlight.run import console, tracked
from ftlight.trainer import closing, resume_state, transfer
from ftlight.tune import watch


def run(words: Words, cli: CLI) -> None:
    """Trains; the run folder keeps the whole config."""
    cli.trainer.run.begun = words.begun
    cli.trainer.run.config = cli.record()
    state, source = cli.trainer.run, words.own.get("from")
    if source and not (state.resume and resume_state.newest(state, None)):
        state.source = source
        state.taken = transfer.take(cli.model, trained(source, words), source)
    if "trainer.wandb" not in words.options:
        state.wandb = state.wandb or tracked.of_agent()
    state.tracks_to_end = False
    watch.add(cli.trainer, state)
    with keeping.weights_before(words, cli) as before:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=words.own.get("ckpt_path"))
        if not cli.trainer.is_global_zero or cli.trainer.folder is None:
            return
        familiar.keep(cli.model, cli.trainer.folder)
        said = [("verdict", learned.verdict(cli.trainer.folder).line())]
        if before is not None:
            said.append(("keep", keeping.measure(words, cli, before, cli.trainer.folder)))
        if state.report:
            said.append(("report", reporting.at_end(cli.trainer.folder)))
        console.table(said)
        texts = cli.datamodule.log_text
        sent = reporting.for_others(cli.trainer.folder, texts) if state.report else ""
        closing.track(cli.trainer, state, cli.model, sent)
