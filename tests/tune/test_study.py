"""The trials of a tune: a journal that survives, and trials that are taken up."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from damage import largest_file
from optuna.storages.journal import JournalFileOpenLock, JournalFileSymlinkLock
from optuna.trial import Trial, TrialState

from ftlight.run import folder
from ftlight.tune import ask_tell, claims, journal, planning, rungs, sampling, study
from ftlight.tune.space import Parameter
from ftlight.utils.errors import WriteError

RATE = Parameter("model.lr", None, 1e-5, 1e-3, log=True)
WORD = Parameter("model.unfreeze", ["all", [{"train": "all"}], None])
SPACE = [RATE, WORD]
OWN = sampling.own_values(SPACE, {"model.lr": 1e-4, "model.unfreeze": None})


def opened(home: Path, method: str = "bayes") -> optuna.Study:
    (home / "claims").mkdir(exist_ok=True)
    return study.opened(home, method, 3, OWN)


def one(tried: optuna.Study, home: Path, most: float = 99) -> ask_tell.Given:
    given = ask_tell.take(tried, home, SPACE, OWN, most)
    assert given is not None
    return given


def finish(tried: optuna.Study, given: ask_tell.Given, score: float) -> None:
    ask_tell.tell(tried, given, score, {}, False)
    given.held.close()


def test_the_first_trial_is_the_config_as_it_is(tmp_path: Path) -> None:
    tried = opened(tmp_path)
    given = one(tried, tmp_path)
    assert given.settings == {}
    assert given.trial.params == {"model.lr": 1e-4, "model.unfreeze": "null"}
    finish(tried, given, 0.5)
    second = one(tried, tmp_path).settings
    assert second.keys() == {"model.lr", "model.unfreeze"}
    assert second["model.unfreeze"] in WORD.choices  # the value, not its text


def test_a_restart_changes_no_settings(tmp_path: Path) -> None:
    def draw(home: Path, restarts: bool) -> list[Any]:
        home.mkdir()
        tried, found = opened(home), []
        for number in range(14):  # the last ones learn from those before
            tried = opened(home) if restarts else tried
            given = one(tried, home)
            found.append(given.settings)
            finish(tried, given, number * 0.7 % 1)
        return found

    assert draw(tmp_path / "a", False) == draw(tmp_path / "b", True)


def test_a_torn_last_line_is_cut_off_before_the_next(tmp_path: Path) -> None:
    torn = b'{"op_code":6,"worker_id":"dead","trial_id":1,"st'
    rng = random.Random(0)
    for number in range(20):
        finish(opened(tmp_path), one(opened(tmp_path), tmp_path), 0.1)
        with (tmp_path / "journal.log").open("ab") as file:
            file.write(torn[: rng.randrange(1, len(torn))])
        assert len(study.finished(opened(tmp_path))) == number + 1
    lines = (tmp_path / "journal.log").read_bytes().split(b"\n")
    assert all(json.loads(line) for line in lines[:-1])


def test_optuna_itself_still_needs_that(tmp_path: Path) -> None:
    # once it does not, ftlight.tune.journal can go
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(tmp_path / "log")))
    tried = optuna.create_study(study_name="x", storage=storage)
    with (tmp_path / "log").open("ab") as file:
        file.write(b'{"op_co')
    for _ in range(2):
        with contextlib.suppress(Exception):
            tried.ask()
    with pytest.raises(json.JSONDecodeError):
        optuna.load_study(study_name="x", storage=storage)


def test_where_there_are_no_links_the_lock_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(journal.lock_of(tmp_path / "j"), JournalFileSymlinkLock)

    def refuse(*rest: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    assert isinstance(journal.lock_of(tmp_path / "j"), JournalFileOpenLock)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_runs_by_its_record_is_taken_up_if_its_lock_is_free(tmp_path: Path) -> None:
    tried = opened(tmp_path)
    finish(tried, one(tried, tmp_path), 0.5)
    lost = one(tried, tmp_path)
    assert tried.trials[1].state == TrialState.RUNNING
    lost.held.close()  # as the end of its process does
    again = one(opened(tmp_path), tmp_path)
    assert (again.trial.number, again.settings, again.is_new) == (1, lost.settings, False)
    finish(tried, again, 0.7)
    assert [t.state for t in opened(tmp_path).trials] == [TrialState.COMPLETE] * 2
    assert [t.number for t in study.finished(tried)] == [1, 0]


def test_optuna_takes_up_a_trial_by_its_id(tmp_path: Path) -> None:
    # no public call does: this guards the two lines of which ftlight makes use
    def plain() -> optuna.Study:
        storage = optuna.storages.JournalStorage(journal.opened(tmp_path / "journal.log"))
        return optuna.create_study(study_name="x", storage=storage, load_if_exists=True)

    tried = plain()
    begun = tried.ask()
    value = begun.suggest_float("x", 0, 1)
    other = plain()
    taken = Trial(other, other.trials[0]._trial_id)
    assert taken.suggest_float("x", 0, 1) == value
    assert taken.number == begun.number
    other.tell(taken.number, 0.5)
    assert tried.trials[0].value == 0.5


def held(home: str, name: str, ready: Any, done: Any) -> None:
    place = Path(home) / name
    place.mkdir(parents=True, exist_ok=True)
    kept = folder.lock(place)
    ready.set()
    done.wait(60)
    kept.close()


@pytest.mark.processes
def test_a_trial_of_another_process_is_left_to_it(tmp_path: Path) -> None:
    tried = opened(tmp_path)
    one(tried, tmp_path).held.close()
    start = multiprocessing.get_context("spawn")
    # its worker, or a training that has outlived its worker
    for place in (tmp_path / "claims", tmp_path):
        ready, done = start.Event(), start.Event()
        process = start.Process(target=held, args=(str(place), "trial-000", ready, done))
        process.start()
        ready.wait(60)
        assert ask_tell.left(tried, tmp_path) is None
        assert ask_tell.others_run(tried, tmp_path)
        done.set()
        process.join()
    assert not ask_tell.others_run(tried, tmp_path)


def work(home: str, count: int) -> None:
    tried = opened(Path(home))
    while (given := ask_tell.take(tried, Path(home), SPACE, OWN, count)) is not None:
        finish(tried, given, float(given.trial.params["model.lr"]))


@pytest.mark.processes
def test_two_processes_share_a_journal(tmp_path: Path) -> None:
    opened(tmp_path)
    start = multiprocessing.get_context("spawn")
    processes = [start.Process(target=work, args=(str(tmp_path), 12)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    trials = opened(tmp_path).trials
    assert Counter(t.state for t in trials) == {TrialState.COMPLETE: 12}
    assert len({str(t.params) for t in trials}) == 12


def test_only_finished_trials_count(tmp_path: Path) -> None:
    tried = opened(tmp_path)
    for _ in range(2):
        failed = one(tried, tmp_path, 2)
        ask_tell.tell_failure(tried, failed, "a line")
        failed.held.close()
    for _ in range(2):
        finish(tried, one(tried, tmp_path, 2), 0.5)
    assert ask_tell.take(tried, tmp_path, SPACE, OWN, 2) is None


def test_three_failures_in_a_row_are_no_hope(tmp_path: Path) -> None:
    tried = opened(tmp_path)
    for wins in (False, False, True, False, False):
        given = one(tried, tmp_path)
        if wins:
            finish(tried, given, 0.5)
        else:
            ask_tell.tell_failure(tried, given, "a line")
            given.held.close()
        assert study.hopeless(tried) == ""
    ask_tell.tell_failure(tried, one(tried, tmp_path), "the last line")
    assert study.hopeless(tried) == "the last line"
    assert study.hopeless(tried, datetime.now()) == ""  # of a command that came before


def test_settings_that_were_tried_are_told_and_end_a_small_space(tmp_path: Path) -> None:
    words = [Parameter("model.unfreeze", ["all", "head"])]
    (tmp_path / "claims").mkdir()
    tried, counts = study.opened(tmp_path, "random", 0, {}), Counter[bool]()
    while not study.exhausted(tried):
        given = ask_tell.take(tried, tmp_path, words, {}, 20)
        assert given is not None
        same = ask_tell.same_as(tried, given)
        counts[same is not None] += 1
        if same is not None:
            given.trial.set_user_attr("same_as", same.number)
        finish(tried, given, 0.5)
    assert counts[False] == 3  # with the first, which has no value of it
    assert len(study.finished(tried)) == 3


def test_a_grid_tries_all_choices_each_once(tmp_path: Path) -> None:
    grid = [Parameter("a", [1, 2, 3]), Parameter("b", ["x", None]), Parameter("c", ["one"])]
    own = sampling.own_values(grid, {"a": 2, "b": None, "c": "one"})
    (tmp_path / "claims").mkdir()
    found: list[tuple[Any, ...]] = []
    while True:
        tried = study.opened(tmp_path, "grid", 0, own)
        given = ask_tell.take(tried, tmp_path, grid, own, float("inf"))
        if given is None:
            break
        if len(found) == 3:  # as a kill right after its turn leaves it
            given.held.close()
            given = ask_tell.take(tried, tmp_path, grid, own, float("inf"))
            assert given is not None
            assert not given.is_new
        found.append(tuple(given.trial.params.values()))
        finish(tried, given, 0.5)
        if len(found) == 2:  # as a kill within a turn leaves it
            assert sampling.enqueue(tried, grid)
    assert len(found) == len(set(found)) == 6
    assert found[0] == ("2", "null", '"one"')


def test_a_look_of_another_process_at_a_trial_does_not_end_the_one_that_begins_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, names = claims.claim, list[str]()

    def later(home: Path, name: str) -> Any:
        names.append(name)
        return None if names.count("trial-000") == 1 and name != "next" else claim(home, name)

    monkeypatch.setattr(claims, "claim", later)
    given = one(opened(tmp_path), tmp_path)
    assert given.name == "trial-000"
    assert names == ["next", "trial-000", "trial-000"]
    given.held.close()


def test_a_journal_without_room_is_a_line(tmp_path: Path) -> None:
    tried = opened(tmp_path)
    with (
        largest_file((tmp_path / "journal.log").stat().st_size + 20),
        pytest.raises(WriteError, match=r"journal.log cannot be written: .*; make room"),
    ):
        tried.ask()
    finish(opened(tmp_path), one(opened(tmp_path), tmp_path), 0.5)
    assert len(study.finished(opened(tmp_path))) == 1


def test_parameters_are_drawn_within_their_ranges(tmp_path: Path) -> None:
    many = [
        RATE,
        Parameter("a", None, 8, 60, whole=True, step=8),
        Parameter("b", None, 0.1, 0.55, step=0.1),
        Parameter("c", None, 1, 100, log=True, whole=True),
        Parameter("d", None, 0.0, 1.0),
        Parameter("e", [None]),
        Parameter("f", None, 3, 3, whole=True),
    ]
    (tmp_path / "claims").mkdir()
    tried = study.opened(tmp_path, "bayes", 0, {})
    for number in range(15):
        given = ask_tell.take(tried, tmp_path, many, {}, 99)
        assert given is not None
        for parameter in many if number else []:
            value = given.settings[parameter.name]
            assert parameter.holds(value), (parameter, value)
        finish(tried, given, number % 4)
    weights = study.importance(tried)
    assert set(weights) <= {parameter.name for parameter in many}


def test_rungs_are_noted_once_and_read_by_those_beside(tmp_path: Path) -> None:
    for number, score in ((1, 0.5), (2, 0.7)):
        run = tmp_path / study.name_of(number)
        run.mkdir()
        (run / rungs.FILE).write_text(json.dumps(rungs.as_json({0: (score, True)})))
    assert rungs.beside(tmp_path / "trial-001", 0) == [0.7]
    assert sorted(rungs.beside(tmp_path / "trial-003", 0)) == [0.5, 0.7]
    assert rungs.beside(tmp_path / "trial-003", 1) == []
    assert rungs.read(tmp_path / "trial-002") == {0: (0.7, True)}


def test_what_is_left_for_the_end_never_grows_with_a_shorter_budget() -> None:
    for seconds in (1.0, 20.0, 300.0):
        kept = [planning.reserve(budget, seconds, 3) for budget in (60, 300, 1200, 7200)]
        assert kept == sorted(kept)
        assert all(
            planning.rest(*planning.again(budget, seconds, 3), seconds) <= planning.SHARE * budget
            for budget in (60, 300, 1200, 7200)
        )
