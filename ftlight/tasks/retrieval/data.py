"""Queries and the items that they seek: pairs, or interactions of users in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from ftlight.data import files, tables, tokens
from ftlight.data.module import SPLITS, Columns, DataModule, EncodedSplit, Reader
from ftlight.data.sources import Source
from ftlight.tasks.retrieval import catalogue as cat
from ftlight.tasks.retrieval import interactions
from ftlight.utils import internals
from ftlight.utils.atomic import read_json, write_json
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import check_range


class RetrievalData(DataModule):
    """Pairs of a query and what it seeks, or interactions of users with items.

    With ``user`` the files are interactions: the query is the text of a user's last items, and the
    latest items of each user are held out. Without, they are pairs; the catalogue is a table of
    items, or everything sought in any of them.

    Args:
        query: Column of the query.
        positive: Column of what the query seeks: its text, or its id if items are given; a list
            for several, or several rows.
        negatives: Column of what the query does not seek though it looks like it: a list, or a|b.
        items: Table of items (CSV, TSV, JSONL, Parquet or hub); required for interactions.
        item: Column of an item's id, in the table of items and in interactions.
        text: Column of an item's text in the table of items, or several columns to join.
        user: Column of the user; makes the files interactions.
        time: Column of the time of an interaction: a number or a date.
        rating: Column of a rating, for min_rating.
        min_rating: Lowest rating that counts; lower interactions are left out.
        history: Most items in the text of a user.
        held_out: Latest items of each user to hold out for the test; as many before them for
            validation.
        per_user: Most training rows of a user, the latest. Default: all.
        query_prompt: Text in front of each query, if the backbone was trained with one ("query: ").
        item_prompt: Text in front of each item's text.
        max_length: Most tokens of a text; longer ones are cut, users at their oldest items.
            Default: what the backbone takes.
        base: Options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        query: str = "query",
        positive: str = "positive",
        negatives: str | None = None,
        items: str | None = None,
        item: str = "item",
        text: str | list[str] = "text",
        user: str | None = None,
        time: str = "time",
        rating: str | None = None,
        min_rating: float | None = None,
        history: int = 10,
        held_out: int = 5,
        per_user: int | None = None,
        query_prompt: str = "",
        item_prompt: str = "",
        max_length: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        check_range("data.history", history, least=1)
        check_range("data.held_out", held_out, least=1)
        check_range("data.per_user", per_user, least=1)
        if user:
            self._check_interactions(items)
            self.files = dict.fromkeys(self.files, train)  # one file has all splits
        if min_rating is not None and not rating:
            raise UserError("data.min_rating: give data.rating too, the column of the rating")
        self.query, self.positive, self.negatives = query, positive, negatives
        self.items, self.item = items, item
        self.text = (text,) if isinstance(text, str) else tuple(text)
        self.user, self.history = user, history
        self.held_out, self.per_user = held_out, per_user
        self.event = interactions.Columns(user or "", item, time, rating, min_rating)
        self.prompts = {"query": query_prompt, "document": item_prompt}
        self.given_length = max_length
        self.origin = ""  # the pre-trained backbone, if a run replaces it by its own folder
        self._catalogue: cat.Catalogue | None = None
        self._kept: cat.Catalogue | None = None
        self._candidates: EncodedSplit | None = None
        self._numbers: dict[str, int] = {}
        self._known: list[set[int]] = []

    def _check_interactions(self, items: str | None) -> None:
        for split in ("validation", "test"):
            if self.files[split]:
                raise UserError(
                    f"data.{split}: interactions are split in time (data.held_out);"
                    " give them all as data.train"
                )
        if not items:
            raise UserError(
                "data.items: interactions need a table of items with their texts,"
                " for example data.items: movies.csv"
            )

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return ["history"] if self.user else [self.query]

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        return {"user": self.user} if self.user else {"query": self.query}

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        texts = datasets.List(tables.TEXT)
        if self.user:
            self._check_histories(split)
            features = {
                "user": tables.TEXT,
                "history": texts,
                "positives": texts,
                "line": tables.NUMBER,
            }
            arguments = {
                "source": self._interactions,
                "split": split,
                "columns": self.event,
                "held_out": self.held_out,
                "history": self.history,
                "per_user": self.per_user,
            }
            return interactions.read_rows, arguments, datasets.Features(features)
        features = {
            "query": tables.TEXT,
            "positives": texts,
            "negatives": texts,
            "line": tables.NUMBER,
        }
        arguments = {
            "source": self.source_of(split),
            "query": self.query,
            "positive": self.positive,
            "negatives": self.negatives,
        }
        return cat.read_pairs, arguments, datasets.Features(features)

    def _check_histories(self, split: str) -> None:
        """Checks that some user has enough items for a split."""
        sizes = [len(items) for items in self._histories().users.values()]
        longest, least = max(sizes, default=0), 2 if split == "train" else 2 * self.held_out + 1
        if longest < least:
            raise UserError(
                f"{self.files['train']}: no user has {least} items, the most are {longest};"
                " lower data.held_out"
            )
        if split == "train" and all(interactions.cuts(n, self.held_out)[0] < 2 for n in sizes):
            raise UserError(
                f"{self.files['train']}: no user has two items left to train on;"
                " lower data.held_out"
            )

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; of interactions each is a share of the one file."""
        table = super()._load(split, name)
        if self.user:  # a run knows its file by train, whichever split is read
            self.digests["train"] = self.digests[split]
        return table

    @property
    def _interactions(self) -> Source:
        return self.source_of("train")

    def _histories(self) -> interactions.Histories:
        digest = next(iter(self.digests.values()), "") or self._interactions.digest()
        return interactions.read(self._interactions, self.event, digest)

    # Catalogue

    @property
    def catalogue(self) -> cat.Catalogue:
        """All items that can be found: the run's, the table's, or all that any split seeks."""
        if self._catalogue is None:
            self._take(self._kept or self._read_catalogue())
            if self._kept is None and self.files["train"]:
                self._count()
        assert self._catalogue is not None
        return self._catalogue

    def _take(self, found: cat.Catalogue) -> None:
        self._catalogue, self._candidates = found, None
        self._numbers = {} if self.user else {text: i for i, text in enumerate(found.texts)}
        self._numbers |= {key: i for i, key in enumerate(found.ids)}

    def _read_items(self) -> cat.Catalogue:
        source = Source(str(self.items), "train", self.encoding, option="data.items")
        return cat.read_items(source, self.item, self.text)

    def _read_catalogue(self) -> cat.Catalogue:
        if self.items:
            return self._read_items()
        texts: list[str] = []
        for split in SPLITS["fit"]:
            if self.has(split):
                table = self.load_split(split)
                for name in ("positives", "negatives"):
                    for row in table[name]:
                        texts += row
        return cat.of_texts(texts)

    def _count(self) -> None:
        """Counts how often each item is sought in training; encoding names unknown ones."""
        if self.user:
            groups = interactions.trained_on(self._histories(), self.held_out).values()
        else:
            groups = self.load_split("train")["positives"][:]
        counts = Counter(self._numbers.get(item) for items in groups for item in items)
        numbers = range(len(self.catalogue.ids))
        self._catalogue = self.catalogue._replace(counts=[counts[i] for i in numbers])

    @property
    def candidates(self) -> EncodedSplit:
        """The catalogue's texts, tokenized, memory-mapped."""
        if self._candidates is None:
            texts = self.catalogue.texts
            table = tables.cached_table(
                datasets.fingerprint.Hasher.hash(["items", texts]),
                lambda: ({"text": chunk} for chunk in tables.chunks(texts)),
            )
            encoded = self._mapped(table, lambda rows: rows["text"], "document")
            self._note_cut(encoded, f"{len(table):,} items")
            columns = encoded.remove_columns("uncut")
            self._candidates = EncodedSplit(columns, None, internals.fingerprint_of(encoded))
        return self._candidates

    def save_state(self, folder: Path) -> None:
        """Writes the catalogue into a run."""
        cat.save(self.catalogue, folder / "catalogue.jsonl")
        write_json(folder / "catalogue.json", {"items": self.items})

    def load_state(self, folder: Path) -> None:
        """Reads the catalogue of a run, unless another table of items is given."""
        self.origin = read_json(folder / "run.json").get("backbone", "")
        state = read_json(folder / "catalogue.json")
        if not state:
            return
        kept = cat.load(folder / "catalogue.jsonl")
        if self.items and state["items"] != self.items:
            counts = dict(zip(kept.ids, kept.counts, strict=True))
            items = self._read_items()
            kept = items._replace(counts=[counts.get(key, 0) for key in items.ids])
        self._kept = kept

    def numbers(self, ids: Sequence[str], place: str) -> list[int]:
        """Numbers of items; a text that is new since the run was made becomes an item.

        Raises:
            UserError: an id is not in the table of items.
        """
        known = self.catalogue
        if not known.named:
            new = [item for item in dict.fromkeys(ids) if item not in self._numbers]
            if new:
                counts = [*known.counts, *[0] * len(new)]
                self._take(cat.Catalogue([*known.ids, *new], [*known.texts, *new], counts, False))
        return [cat.number(self._numbers, item, place, str(self.items)) for item in ids]

    # Batches

    def _mapped(
        self,
        table: datasets.Dataset,
        texts: Callable[[Columns], list[str]],
        prompt: str,
        *key: Any,
    ) -> datasets.Dataset:
        """A table's texts with their prompt, tokenized and cached."""
        return self.map_cached(
            table,
            lambda rows: self._tokenize(texts(rows), prompt),
            tokens.identity(self.tokenizer),
            self.max_length,
            self.prompts[prompt],
            files.code(tokens.tokenize),
            *key,
        )

    def _tokenize(self, texts: Sequence[str], prompt: str) -> Columns:
        prompted = [self.prompts[prompt] + text for text in texts]
        return tokens.tokenize(self.tokenizer, prompted, None, self.max_length)

    def _user_text(self, history: Sequence[str], place: str) -> str:
        last = self.numbers(history[-self.history :], place)
        return interactions.user_text([self.catalogue.texts[i] for i in last])

    def _note_cut(self, encoded: datasets.Dataset, what: str) -> None:
        uncut = np.asarray(encoded["uncut"][:])
        over = int(np.count_nonzero(uncut > self.max_length))
        if over:
            self.notes.append(
                f"{what}: {over:,} are longer than {self.max_length} tokens and cut"
                f" (longest {uncut.max()})"
            )

    def setup(self, stage: str) -> None:
        """Reads, checks and encodes the splits of a stage and the catalogue."""
        super().setup(stage)
        if self.sets:
            size = len(self.candidates)
            note = f"{size:,} items in the catalogue"
            if note not in self.notes:
                self.notes.append(note)

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split's queries, cached; adds the numbers of the items that they seek."""
        place = self.file_of(split)
        key = (self.history, self.candidates.fingerprint) if self.user else ()

        def texts(rows: Columns) -> list[str]:
            if not self.user:
                return list(rows["query"])
            return [self._user_text(h, place) for h in rows["history"]]

        encoded = self._mapped(table, texts, "query", *key)
        self._note_cut(encoded, f"{len(table):,} {'users' if self.user else 'queries'} of {split}")
        columns = encoded.remove_columns("uncut")
        if split == "train":
            order, targets = self._training(table, place)
            rows = columns.select(order)
            return EncodedSplit(rows, targets, internals.fingerprint_of(rows))
        return EncodedSplit(
            columns, self._evaluated(table, split, place), internals.fingerprint_of(encoded)
        )

    def _training(
        self, table: datasets.Dataset, place: str
    ) -> tuple[list[int], list[tuple[int, list[int], int]]]:
        """A row for each item that a query seeks.

        Returns:
            The query's row of each, and (item, hard negatives, place in ``_known``).
        """
        places = [f"{place}:{line}" for line in table["line"][:]]
        sought = [self.numbers(p, at) for p, at in zip(table["positives"][:], places, strict=True)]
        if self.user:
            histories = self._histories()
            had = interactions.trained_on(histories, self.held_out)
            self.notes += interactions.survey(histories, self.held_out)
            self._known = [set(self.numbers(items, place)) for items in had.values()]
            number_of = {user: i for i, user in enumerate(had)}
            users = [number_of[user] for user in table["user"][:]]
            next_items = [items[0] for items in sought]
            return list(range(len(table))), [
                (item, [], user) for item, user in zip(next_items, users, strict=True)
            ]
        against = [self.numbers(n, at) for n, at in zip(table["negatives"][:], places, strict=True)]
        # a query that is itself an item is no wrong answer
        self._known = [
            {*items, *self._itself(query)}
            for items, query in zip(sought, table["query"][:], strict=True)
        ]
        pairs = [(row, item) for row, items in enumerate(sought) for item in items]
        return [row for row, _ in pairs], [(item, against[row], row) for row, item in pairs]

    def _itself(self, query: str) -> list[int]:
        """The item that a query itself is, if any."""
        return [self._numbers[query]] if not self.catalogue.named and query in self._numbers else []

    def _evaluated(
        self, table: datasets.Dataset, split: str, place: str
    ) -> list[tuple[list[int], list[int]]]:
        """For each row the items sought, and those not to rank: what the user had, or the query."""
        places = [f"{place}:{line}" for line in table["line"][:]]
        sought = [self.numbers(p, at) for p, at in zip(table["positives"][:], places, strict=True)]
        if self.user:
            exclude = [self._had(user, split, place) for user in table["user"][:]]
        else:
            exclude = []
            for query, items in zip(table["query"][:], sought, strict=True):
                exclude.append([item for item in self._itself(query) if item not in items])
        return list(zip(sought, exclude, strict=True))

    def _had(self, user: str, split: str, place: str) -> list[int]:
        """What a user had before the items of a split."""
        items = self._histories().users[user]
        end = interactions.cuts(len(items), self.held_out)[split == "test"]
        return self.numbers([item for item, _ in items[:end]], place)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` of the queries, and ``index``.

        Returns:
            In training also ``items``, inputs of the distinct items that are sought or hard
            negatives; ``positive``, the place among them ``[rows]``; and ``known``, bool
            ``[rows, items]``, those that are no negatives of a row. In evaluation ``golds`` and
            ``exclude``, numbers of items for each row.
        """
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        targets = columns.get("target")
        if targets is None:
            return batch
        if len(targets[0]) == 2:
            return {**batch, "golds": [t[0] for t in targets], "exclude": [t[1] for t in targets]}
        positives = [item for item, _, _ in targets]
        negatives = [item for _, against, _ in targets for item in against]
        items = list(dict.fromkeys(positives + negatives))
        places = {item: i for i, item in enumerate(items)}
        known = [
            [item in self._known[row] and item != positive for item in items]
            for positive, _, row in targets
        ]
        return {
            **batch,
            "items": tokens.collate(self.candidates[items], self.tokenizer),
            "positive": torch.tensor([places[item] for item in positives]),
            "known": torch.tensor(known),
        }

    # Prediction

    def read_predict(self, name: str) -> list[files.Row]:
        """Rows of a file to predict: queries, or interactions, of which each user is a row."""
        rows = super().read_predict(name)
        if not self.user or not rows or self.user not in rows[0] or self.item not in rows[0]:
            return rows
        return interactions.by_user(rows, self.event, name)

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes queries, or users by their history.

        A history is ids of items (a list, or a|b, the latest last), or a text in words.
        """
        column = self.columns[0]
        texts: list[str] = []
        targets: list[tuple[list[int], list[int]]] = []
        for row in rows:
            files.need(row, self.columns, place)
            if not self.user:
                texts.append(files.cell(row, column, place))
                targets.append(([], self._itself(texts[-1])))
                continue
            history = cat.several(row[column], place, row[files.LINE], column)
            in_words = isinstance(row[column], str) and row[column]
            if in_words and not any(item in self._ids() for item in history):
                texts.append(row[column])
                targets.append(([], []))
            else:
                at = f"{place}:{row[files.LINE]}"
                texts.append(self._user_text(history, at))
                targets.append(([], self.numbers(history, at)))
        columns = tables.mapped(lambda rows: self._tokenize(rows["text"], "query"), {"text": texts})
        return EncodedSplit({k: columns[k] for k in ("input_ids", "length")}, targets)

    def _ids(self) -> dict[str, int]:
        return self._numbers if self.catalogue else {}
