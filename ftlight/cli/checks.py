"""Checks of a command that need nothing imported: names, plain values, secrets, files."""

from __future__ import annotations

import contextlib
import re
import shlex
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.cli import values
from ftlight.cli.options import Option
from ftlight.cli.verbs import VERBS
from ftlight.data import encoding, files, remarks
from ftlight.freezing.written import read_unfreeze
from ftlight.models import load_errors
from ftlight.models import places as backbones
from ftlight.run import budget, ending, former, records
from ftlight.utils import ranges, secrets
from ftlight.utils.errors import UserError, did_you_mean
from ftlight.utils.foreign import foreign
from ftlight.utils.yaml_file import parse, read_yaml

SEED = f"bool | Annotated[int, {ranges.SEED}] | None"  # Lightning's, without what numpy refuses
# Options of the data that name columns of a table.
COLUMNS = ("text", "text_pair", "label", "source", "target", "user", "item", "time", "groups")
DATA = (*files.SUFFIXES, *files.IMAGE_SUFFIXES, ".txt", ".zip", ".conll", ".bio", ".xls", ".ods")
# Those that every table of a class must have, also if they are not given.
ALWAYS = {"TextData": ("text", "text_pair", "label"), "Seq2SeqData": ("source",)}
SPLITS = {
    "check": ("train", "validation", "test"),
    "fit": ("train", "validation", "test"),
    "validate": ("validation",),
    "test": ("test",),
}


def names(verb: str, given: Iterable[str], sections: Mapping[str, Sequence[Option]]) -> None:
    """Refuses options that do not exist; none is completed from its beginning.

    Args:
        verb: the verb.
        given: options of the command line, without dashes.
        sections: the options of model, data and trainer; empty if they are not known yet, and are
            then not checked.

    Raises:
        UserError: there is no such option; names the nearest.
    """
    table = VERBS[verb]
    inside = [f"{section}.{o.name}" for section, options in sections.items() for o in options]
    plain = [*(a.name for a in table.arguments if a.name)]
    plain += ["seed_everything", "model", "data"] if table.model else []
    for option in given:
        base = ".".join(option.split(".")[:2])  # trainer.logger.save_dir is of trainer.logger
        if option in plain or base in inside or ("." in option and table.model and not sections):
            continue
        if sections and (gone := former.GONE.get(option.removeprefix("data."))):
            raise UserError(f"--{option} is gone: {gone}")
        own = [name.rpartition(".")[2] for name in (*plain, *inside)]
        alias = foreign(option.rpartition(".")[2], own) if table.model else ""
        inner = [name for name in inside if name.endswith(f".{option}")]  # --lr is --model.lr
        nearest = did_you_mean(inner[0] if inner else option, [*plain, *inside])
        hint = f"; ftlight calls it --{alias}" if alias else nearest.replace('"', '"--', 1)
        dashes = "--" if len(option) > 1 else "-"
        raise UserError(
            f"{dashes}{option} is not an option of {verb}{hint} "
            f"(all: python -m ftlight {verb} --help)"
        )


def whole(folder: Path, given: Iterable[str]) -> None:
    """Refuses the config of a run that was made in Python with what YAML cannot hold.

    Args:
        folder: where the config is; it need not be a run.
        given: options of the command line, which may say what is missing.

    Raises:
        UserError: the model or the data would be others without it.
    """
    lacks = records.facts(folder).get("lacks", {})
    for name in sorted(lacks.keys() - set(given)):
        raise UserError(
            f"{folder}/config.yaml lacks {name}: {lacks[name]}; make task and data module in"
            f' Python, then: task.load_weights("{folder}/checkpoints/best.ckpt");'
            " ftlight.Predictor(task, data)"
        )


def plain_values(
    given: Mapping[str, str],
    expanded: Mapping[str, Any],
    sections: Mapping[str, Sequence[Option]],
    places: Mapping[str, str],
) -> None:
    """Refuses words where numbers, true or false, or choices are wanted.

    Args:
        given: options of the command line.
        expanded: the config in ``class_path`` form.
        sections: the options of model, data and trainer.
        places: dotted key to ``file:line``.

    Raises:
        UserError: a value is of another type.
    """
    seed = given.get("seed_everything", expanded.get("seed_everything"))
    wrong = values.fault(SEED, seed)
    name = "--seed" if "seed_everything" in given else "seed_everything"
    faults = [f"{name}: {wrong}"] if wrong else []
    for section, options in sections.items():
        config_values = expanded[section]
        present = dict(config_values if section == "trainer" else config_values["init_args"])
        for name, value in given.items():
            if name.startswith(f"{section}."):
                present[name.partition(".")[2]] = value
        for option in options:
            if option.name in present:
                value = present[option.name]
                wrong = values.fault(option.full_type, value)
                if value in (None, "null") and not values.takes_null(option):
                    wrong = "null is nothing it can be; leave it out for the default"
                faults += [f"{section}.{option.name}: {wrong}"] if wrong else []
    if faults:
        raise UserError(placed("\n".join(faults), places, given))


def secrets_again(
    merged: dict[str, Any], places: Mapping[str, str], given: Mapping[str, str]
) -> None:
    """Refuses placeholders of secrets, except those that the command line replaces.

    Raises:
        UserError: a secret must be given again; says how.
    """
    model, data = merged["model"][1], merged["data"][1]
    sections = {"model": model, "data": data, "trainer": merged["trainer"]}
    faults = []
    for key in secrets.left_out(sections):
        option = key.replace(".init_args.", ".")
        section, _, name = option.partition(".")
        if any(option == o or option.startswith(f"{o}.") for o in given):
            # the placeholder may not even be of the option's type
            sections[section].pop(name, None)
            continue
        how = f"give it again: --{option} VALUE"
        in_list = re.match(r"(.+?)\.\d", option)
        if in_list:
            how = f"give all of {in_list[1]} in a YAML after this one: -c FILE"
        faults.append(f"{option} is a secret, which a run does not keep; {how}")
    if faults:
        raise UserError(placed("\n".join(faults), places))


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
        raise UserError(placed(str(error), places, given)) from None


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
        raise UserError(placed(str(error), places, given)) from None


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
    options = {option.name: option.default for option in known if option.name in always}
    options |= data["init_args"]
    options |= {k.partition(".")[2]: v for k, v in given.items() if k.startswith("data.")}
    for split in SPLITS.get(verb, ()):
        columns(options, options.get(split), COLUMNS if split == "train" else always)


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
        raise UserError(placed(str(error), places, given)) from None


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
    defaults = {option.name: option.default for option in options}
    asked = {**defaults, **model["init_args"]}
    asked |= {key.partition(".")[2]: v for key, v in given.items() if key.startswith("model.")}
    option = asked.get("unfreeze")
    if isinstance(option, str) and option[:1] in ("{", "["):
        option = parse(option, "--model.unfreeze")[0]
    if option is None:
        return
    try:
        read_unfreeze(option, solves=asked.get("head_fit") == "solve")
    except UserError as error:
        raise UserError(placed(str(error), places, given)) from None


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


def placed(message: str, places: Mapping[str, str], given: Iterable[str] = ()) -> str:
    """Puts ``file:line`` before each line of a message that begins with an option of a file.

    Args:
        message: lines such as ``model.lr: expected a number``.
        places: dotted key to ``file:line``.
        given: options of the command line, which win over the files.
    """
    options = list(given)
    lines = []
    for line in message.splitlines():
        match = re.match(r"(model|data|trainer)(\.\w+)+|seed_everything", line)
        key = match.group() if match else ""
        overruled = any(key == o or key.startswith(f"{o}.") for o in options)
        while key and key not in places:
            key = key.rpartition(".")[0]
        is_option = "." in key or key == "seed_everything"
        lines.append(f"{places[key]}: {line}" if is_option and not overruled else line)
    return "\n".join(lines)


def hidden(argv: Sequence[str], configs: Iterable[str]) -> set[str]:
    """What no message may show: secrets of the command line, config files and the environment."""
    found = secrets.given(argv) | secrets.of_environment()
    for path in configs:
        with contextlib.suppress(UserError):
            found |= secrets.within(read_yaml(path)[0])
    return found


def traceback_of(error: Exception, hide: set[str]) -> str:
    """The traceback of an error without the secrets in it; empty if it shows none."""
    text = "".join(traceback.format_exception(error))
    shown = secrets.hide(text, hide)
    return "" if shown == text else shown
