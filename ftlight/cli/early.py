"""Files, columns and values that are checked before torch is imported, which takes seconds."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.cli import checks
from ftlight.cli.options import Option
from ftlight.data import encoding, files, remarks
from ftlight.freezing.written import read_unfreeze
from ftlight.models import load_errors
from ftlight.models import places as backbones
from ftlight.run import budget, ending
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import parse

# Options of the data that name columns of a table.
COLUMNS = ("text", "text_pair", "label", "source", "target", "user", "item", "time", "groups")
DATA = (*files.SUFFIXES, *files.IMAGE_SUFFIXES, ".txt", ".zip", ".conll", ".bio", ".xls", ".ods")
# Those that every table of a class must have, also if they are not given. Other classes take rows
# in several shapes, and are left to their readers.
ALWAYS = {"TextData": ("text", "text_pair", "label"), "Seq2SeqData": ("source",)}
SPLITS = {
    "check": ("train", "validation", "test"),
    "fit": ("train", "validation", "test"),
    "validate": ("validation",),
    "test": ("test",),
    "baselines": ("train", "validation", "test"),
}


def checkpoint(path: str | None, run: Path | None = None) -> None:
    """Checks that a checkpoint is there.

    Args:
        path: the checkpoint, if one is used.
        run: folder of the run that is used, if there is one.

    Raises:
        UserError: it is not; names those beside it. Or the run was stopped before it had one.
    """
    if path is None or Path(path).is_file():
        return
    beside = [p.name for p in Path(path).parent.glob("*.ckpt")]
    is_own = run is not None and Path(path).parent == run / "checkpoints"
    if run is not None and is_own and (stopped := ending.unfinished(run)):
        other = ", or use --ckpt_path last" if "last.ckpt" in beside else ""
        raise UserError(
            f"{stopped}, before it had a {Path(path).name}; to go on: {ending.resume(run)}{other}"
        )
    raise UserError(f"{path}: no such checkpoint (there are: {', '.join(beside) or 'none'})")


def no_data(verb: str, words: Sequence[str], configs: Sequence[str]) -> None:
    """Refuses data where a config is wanted, and says how to make one.

    Args:
        verb: the verb.
        words: words that may be a run.
        configs: config files; JSON may be one.

    Raises:
        UserError: one is a data file, or a config is a folder.
    """
    for name in [*words, *configs]:
        kind = files.suffix(Path(name))
        is_data = kind in DATA and not (kind == ".json" and name in configs)
        if is_data or (name in configs and Path(name).is_dir()):
            config_name = shlex.quote(f"{Path(name).name.partition('.')[0] or 'my'}.yaml")
            raise UserError(
                f"{name} is data, no config: python -m ftlight init {shlex.quote(name)} >"
                f" {config_name} writes one; then {verb} -c {config_name}"
            )


def data_file(name: str) -> None:
    """Checks that a file to read is there; ``-`` is standard input."""
    if name != "-":
        files.there(name)


def splits(
    verb: str, given: Mapping[str, str], data: Mapping[str, Any], places: Mapping[str, str]
) -> None:
    """Checks that the files a verb reads are there, if the data module is a shipped one.

    Raises:
        UserError: one is missing; names the nearest.
    """
    if not data["class_path"].startswith("ftlight."):
        return
    try:
        for split in SPLITS.get(verb, ()):
            name = given.get(f"data.{split}", data["init_args"].get(split))
            if isinstance(name, str) and name not in ("", "null") and not name.startswith("hf:"):
                files.there(name, f"data.{split}")
    except UserError as error:
        raise UserError(checks.placed(str(error), places, given)) from None


def backbone(given: Mapping[str, str], model: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Checks that the backbone is there, before what would load it is imported.

    Raises:
        UserError: it looks like a folder and is none, or no hub may be asked for it.
    """
    name = given.get("model.backbone", model["init_args"].get("backbone"))
    if not (isinstance(name, str) and name and model["class_path"].startswith("ftlight.")):
        return
    try:
        if backbones.folder_of(name) is None and load_errors.is_offline():
            raise load_errors.unreachable(name, OSError())
    except UserError as error:
        raise UserError(checks.placed(str(error), places, given)) from None


def tables(
    verb: str, given: Mapping[str, str], data: Mapping[str, Any], known: Sequence[Option]
) -> None:
    """Checks that the tables a verb reads have the columns it needs, of a shipped data module.

    Raises:
        UserError: one is missing.
    """
    if not data["class_path"].startswith("ftlight."):
        return
    always = ALWAYS.get(data["class_path"].rpartition(".")[2], ())
    options = asked("data", given, data, [option for option in known if option.name in always])
    # a run records all options: a default is no column that anyone has named
    defaults = {option.name: option.default for option in known}
    named = [n for n in COLUMNS if n in always or options.get(n) != defaults.get(n)]
    for split in SPLITS.get(verb, ()):
        columns(options, options.get(split), named if split == "train" else always)


def time_limit(
    given: Mapping[str, str], trainer: Mapping[str, Any], places: Mapping[str, str]
) -> None:
    """Checks how long a run may take.

    Raises:
        UserError: it is no time.
    """
    value = given.get("trainer.max_time", trainer.get("max_time"))
    if isinstance(value, str):
        value = parse(value, "--budget")[0] if value[:1] == "{" else value
    try:
        budget.limit(None if value == "null" else value)
    except UserError as error:
        raise UserError(checks.placed(str(error), places, given)) from None


def schedule(
    given: Mapping[str, str],
    model: Mapping[str, Any],
    options: Sequence[Option],
    places: Mapping[str, str],
) -> None:
    """Checks the form of ``unfreeze``, before what would train by it is imported.

    Raises:
        UserError: it is no word, and no list of stages.
    """
    if not model["class_path"].startswith("ftlight."):
        return
    values = asked("model", given, model, options)
    option = values.get("unfreeze")
    if isinstance(option, str) and option[:1] in ("{", "["):
        option = parse(option, "--model.unfreeze")[0]
    if option is None:
        return
    try:
        read_unfreeze(option, solves=values.get("head_fit") == "solve")
    except UserError as error:
        raise UserError(checks.placed(str(error), places, given)) from None


def asked(
    section: str,
    given: Mapping[str, str],
    config: Mapping[str, Any],
    known: Sequence[Option] = (),
) -> dict[str, Any]:
    """Options of a section: those of the command line, else of the config, else the defaults.

    Args:
        section: model or data.
        given: options of the command line by dotted name, as text.
        config: the section of the config, in ``class_path`` form.
        known: the options whose defaults count.
    """
    defaults = {option.name: option.default for option in known}
    own = {k.partition(".")[2]: v for k, v in given.items() if k.startswith(f"{section}.")}
    return {**defaults, **config["init_args"], **own}


def columns(options: Mapping[str, Any], file: Any, names: Sequence[str] = COLUMNS) -> None:
    """Checks that a table has the columns which are named, by its first row.

    A file that cannot be read is left to its reader, which says why.

    Args:
        options: options of a shipped data module.
        file: the table, if it is one.
        names: those of the options that name its columns.

    Raises:
        UserError: one is missing; names those there are and the nearest. Or there is no such
            encoding.
    """
    encoding.check(options.get("encoding") or "utf-8")
    named = list[str]()
    for option in names:
        value = options.get(option)
        if option == "text" and options.get("items"):
            continue  # a column of that table
        if isinstance(value, str) and value.startswith("["):
            value = parse(value, f"--data.{option}")[0]
        named += value if isinstance(value, list) else [value] if value else []
    if not isinstance(file, str) or not named:
        return
    header = options.get("header")
    if isinstance(header, str):
        header = parse(header, "--data.header")[0]
    header = [str(name) for name in header] if isinstance(header, list) else []
    quotes: files.Quotes = "none" if options.get("quotes") == "none" else "csv"
    row: files.Row = {}
    with contextlib.suppress(UserError, OSError), remarks.collected():
        # JSON that is no lines, and quotes of auto, take the whole file
        if Path(file).is_file() and files.suffix(Path(file)) in {*files.SUFFIXES} - {".json"}:
            path, name = Path(file), options.get("encoding") or "utf-8"
            row = next(iter(files.read(path, name, quotes, named, header)), {})
    if row:
        files.need(row, named, file)
