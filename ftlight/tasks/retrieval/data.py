"""Queries and the items that they seek: pairs, or interactions of users in order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import torch

from ftlight.data import files, tables, tokens
from ftlight.data.module import Columns, EncodedSplit, Reader
from ftlight.tasks.retrieval import catalogue as cat
from ftlight.tasks.retrieval import interactions
from ftlight.tasks.retrieval.events import in_order, user_text
from ftlight.tasks.retrieval.items import ItemData
from ftlight.utils import internals
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Finite, Length, PositiveInt

IN_WORDS = "__in_words"  # of a row whose history is a text, though it may be the id of an item


class RetrievalData(ItemData):
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
        min_rating: Finite | None = None,
        history: PositiveInt = 10,
        held_out: PositiveInt = 5,
        per_user: PositiveInt | None = None,
        query_prompt: str = "",
        item_prompt: str = "",
        max_length: Length | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
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
        if self.fold is not None:
            raise UserError(
                "data.folds: interactions are split in time (data.held_out), not in folds"
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
            train = str(self.files["train"])
            interactions.check_lengths(self._histories(), train, split, self.held_out)
            features = {
                "user": tables.TEXT,
                "history": texts,
                "positives": texts,
                "line": self.place_type("train"),
            }
            arguments = {
                "source": self._interactions,
                "split": split,
                "columns": self.event,
                "held_out": self.held_out,
                "history": self.history,
                "per_user": self.per_user,
                "code": files.code(in_order),
            }
            return interactions.read_rows, arguments, datasets.Features(features)
        features = {
            "query": tables.TEXT,
            "positives": texts,
            "negatives": texts,
            "line": self.place_type(split),
        }
        arguments = {
            "source": self.source_of(split),
            "query": self.query,
            "positive": self.positive,
            "negatives": self.negatives,
        }
        return cat.read_pairs, arguments, datasets.Features(features)

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; of interactions each is a share of the one file."""
        table = super()._load(split, name)
        if self.user:  # a run knows its file by train, whichever split is read
            self.digests["train"] = self.digests[split]
        return table

    def row_texts(self, table: datasets.Dataset) -> list[list[str]] | None:
        """The query of each row; users have rows in every split."""
        return None if self.user else [table["query"][:]]

    # Batches

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

        encoded = self._mapped(table, lambda rows: self.queries(rows, place), "query", *key)
        self._note_cut(encoded, f"{len(table):,} {'users' if self.user else 'queries'} of {split}")
        columns = encoded.remove_columns("uncut")
        if split == "train":
            order, targets = self._training(table, place)
            rows = columns.select(order)
            return EncodedSplit(rows, targets, internals.fingerprint_of(rows))
        return EncodedSplit(
            columns, self._evaluated(table, split, place), internals.fingerprint_of(encoded)
        )

    def queries(self, rows: Columns, place: str) -> list[str]:
        """The text of each row's query: of a user that of the last items.

        Args:
            rows: columns of a split as read.
            place: file of the rows, for errors.
        """
        if not self.user:
            return list(rows["query"])
        return [self._user_text(history, place) for history in rows["history"]]

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

    def rows_to_predict(self, split: str, numbers: Sequence[int]) -> list[files.Row]:
        """Queries of a split; users by what they had before, which their file does not say."""
        if not self.user:
            return super().rows_to_predict(split, numbers)
        rows = zip(numbers, self.rows(split, numbers), strict=True)
        return [{"history": list(row["history"]), files.LINE: i + 1} for i, row in rows]

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
            history = self._history(row, place)
            if history is None:
                texts.append(row[column])
                targets.append(([], []))
            else:
                at = files.place(place, row[files.LINE])
                texts.append(self._user_text(history, at))
                targets.append(([], self.numbers(history, at)))
        columns = tables.mapped(lambda rows: self.prompted(rows["text"], "query"), {"text": texts})
        return EncodedSplit({k: columns[k] for k in ("input_ids", "length")}, targets)

    def _history(self, row: files.Row, place: str) -> list[str] | None:
        """Ids of the items that a row has as its history; None if it is a text in words."""
        column = self.columns[0]
        given = row[column]
        if given and isinstance(given, str) and row.get(IN_WORDS):
            return None
        history = cat.several(given, place, row.get(files.LINE, 1), column)
        if given and isinstance(given, str) and not any(item in self._ids() for item in history):
            return None
        return history

    # Explanations

    def texts_of(self, row: files.Row) -> dict[str, str]:
        """The query; of a history of ids the text of each item that is read, by its id.

        An item that is there again has its place behind its id.
        """
        history = self._history(row, "rows") if self.user and self.columns[0] in row else None
        if history is None:
            return super().texts_of(row)
        texts: dict[str, str] = {}
        last = history[-self.history :]
        for place, number in enumerate(self.numbers(last, "rows")):
            name = last[place] if last[place] not in texts else f"{last[place]} ({place + 1})"
            texts[name] = self.catalogue.texts[number]
        return texts

    def with_texts(self, row: files.Row, texts: Mapping[str, str]) -> files.Row:
        """A row with another query; of a history one in words, without items that are hidden."""
        if not self.user:
            return super().with_texts(row, texts)
        hidden = tokens.hidden(self.tokenizer)
        changed = {**self.texts_of(row), **texts}.values()
        shown = [text for text in changed if text.replace(hidden, "").strip()]
        return {**row, self.columns[0]: user_text(shown), IN_WORDS: True}

    def _ids(self) -> dict[str, int]:
        return self._numbers if self.catalogue else {}
