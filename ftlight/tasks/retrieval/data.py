"""Queries and the items that they seek: pairs, or what users had in order of time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from ftlight.data import files, tokens
from ftlight.data.module import SPLITS, Columns, DataModule, EncodedSplit
from ftlight.tasks.retrieval import catalogue as cat
from ftlight.tasks.retrieval import interactions
from ftlight.utils.errors import UserError

STRING, STRINGS, NUMBER = (
    datasets.Value("string"),
    datasets.List(datasets.Value("string")),
    datasets.Value("int64"),
)


def each_text(texts: tuple[str, ...]) -> Iterator[files.Row]:
    """Texts as rows."""
    yield from ({"text": text} for text in texts)


class RetrievalData(DataModule):
    """Pairs of a query and what it seeks, or interactions of users with items, and the catalogue of all items.

    With ``user`` the files are interactions: the query is the text of a user's last items, the last items in time of each user
    are held out. Without, they are pairs, and the catalogue is all that is sought anywhere in them, or a table of items.

    Args:
        query: column of the query.
        positive: column of what the query seeks: its text, or with items its id or text; a list for several, or several rows.
        negatives: column of what it does not seek though it looks like it: a list, or a|b.
        items: table of items (CSV, TSV, JSONL, Parquet or hub), needed for interactions.
        item: column of an item's id, in the table of items and in interactions.
        text: column of an item's text in the table of items, or several that are joined.
        user: column of the user; makes the files interactions.
        time: column of the time of an interaction: a number or a date.
        rating: column of a rating, for min_rating.
        min_rating: interactions rated lower are left out.
        history: the most items whose text is a user's.
        held_out: items of each user held out for the test, the last in time; as many before them for validation.
        per_user: the most training rows of a user, the latest; all if not given.
        query_prompt: put before each query, where the backbone was trained so (for example "query: ").
        item_prompt: put before each item's text.
        max_length: the most tokens of a text, longer ones are cut, users at their oldest items; as many as the backbone takes if not given.
        base: options of DataModule.
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
        for name, count in (("history", history), ("held_out", held_out), ("per_user", per_user)):
            if count is not None and count < 1:
                raise UserError(f"data.{name}: {count} is not a number of items; give 1 or more")
        if user and (self.files["validation"] or self.files["test"]):
            given = "validation" if self.files["validation"] else "test"
            raise UserError(
                f"data.{given}: interactions are split in time (data.held_out); give them all as data.train"
            )
        if user and not items:
            raise UserError(
                "data.items: interactions need a table of items with their texts, for example data.items: movies.csv"
            )
        if min_rating is not None and not rating:
            raise UserError("data.min_rating: give data.rating too, the column of the rating")
        if user:
            self.files = dict.fromkeys(self.files, train)  # one file has all splits
        self.query, self.positive, self.negatives = query, positive, negatives
        self.items, self.item, self.text = (
            items,
            item,
            (text,) if isinstance(text, str) else tuple(text),
        )
        self.user, self.event = user, (user, item, time, rating, min_rating, self.encoding)
        self.time, self.history, self.held_out, self.per_user = time, history, held_out, per_user
        self.prompts = {"query": query_prompt, "document": item_prompt}
        self.given_length = max_length
        self.origin = ""  # the pre-trained backbone, where a run replaces it by its own folder
        self._catalogue: cat.Catalogue | None = None
        self._kept: cat.Catalogue | None = None
        self._candidates: EncodedSplit | None = None
        self._numbers: dict[str, int] = {}
        self._known: list[set[int]] = []

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return ["history"] if self.user else [self.query]

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        if self.user:
            sizes = [len(items) for items in self._histories().users.values()]
            longest, least = max(sizes, default=0), 2 if split == "train" else 2 * self.held_out + 1
            if longest < least:
                raise UserError(
                    f"{self.files['train']}: no user has {least} items, the most are {longest}; lower data.held_out"
                )
            if split == "train" and all(interactions.cuts(n, self.held_out)[0] < 2 for n in sizes):
                raise UserError(
                    f"{self.files['train']}: no user has two items left to train on; lower data.held_out"
                )
            features = datasets.Features(
                {"user": STRING, "history": STRINGS, "positives": STRINGS, "line": NUMBER}
            )
            about = {"held_out": self.held_out, "history": self.history, "per_user": self.per_user}
            return (
                interactions.read_rows,
                {"name": self.files["train"], "split": split, "columns": self.event, **about},
                features,
            )
        features = datasets.Features(
            {"query": STRING, "positives": STRINGS, "negatives": STRINGS, "line": NUMBER}
        )
        names = {
            "query": self.query,
            "positive": self.positive,
            "negatives": self.negatives,
            "encoding": self.encoding,
        }
        return cat.read_pairs, {"name": self.files[split], "split": split, **names}, features

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; of interactions each is a share of the one file."""
        table = super()._load(split, name)
        if self.user:
            self.digests["train"] = self.digests[
                split
            ]  # so that a run knows its file, whichever split is read
        return table

    def _histories(self) -> interactions.Histories:
        name = str(self.files["train"])
        digest = next((d for d in self.digests.values()), "") or self.digest("train", name)
        return interactions.read(name, *self.event, digest)

    # Catalogue

    @property
    def catalogue(self) -> cat.Catalogue:
        """All items that can be found: those kept by the run, else the table of items, else all that is sought in any split."""
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

    def _read_catalogue(self) -> cat.Catalogue:
        if self.items:
            found = cat.read_items(self.items, self.item, self.text, self.encoding)
        else:
            tables = [self.load_split(s) for s in SPLITS["fit"] if self.has(s)]
            found = cat.of_texts(
                t
                for table in tables
                for name in ("positives", "negatives")
                for row in table[name]
                for t in row
            )
        return found

    def _count(self) -> None:
        """Counts how often each item is sought in training; those that are not there show when a split is encoded."""
        groups = (
            interactions.trained_on(self._histories(), self.held_out).values()
            if self.user
            else self.load_split("train")["positives"][:]
        )
        counts = Counter(self._numbers.get(item) for items in groups for item in items)
        self._catalogue = self.catalogue._replace(
            counts=[counts[i] for i in range(len(self.catalogue.ids))]
        )

    @property
    def candidates(self) -> EncodedSplit:
        """The catalogue's texts, tokenized, memory-mapped."""
        if self._candidates is None:
            table = datasets.Dataset.from_generator(
                each_text, gen_kwargs={"texts": tuple(self.catalogue.texts)}
            )
            encoded = self._mapped(table, lambda rows: rows["text"], "document")
            self._note_cut(encoded, f"{len(table):,} items")
            self._candidates = EncodedSplit(
                encoded.remove_columns("uncut"), None, encoded._fingerprint
            )
        return self._candidates

    def save_state(self, folder: Path) -> None:
        """Writes the catalogue into a run."""
        cat.save(self.catalogue, folder / "catalogue.jsonl")
        (folder / "catalogue.json").write_text(
            json.dumps({"items": self.items}) + "\n", encoding="utf-8"
        )

    def load_state(self, folder: Path) -> None:
        """Takes the catalogue of a run, unless another table of items is given."""
        about, facts = folder / "catalogue.json", folder / "run.json"
        self.origin = (
            json.loads(facts.read_text(encoding="utf-8")).get("backbone", "")
            if facts.is_file()
            else ""
        )
        if not about.is_file():
            return
        kept = cat.load(folder / "catalogue.jsonl")
        if self.items and json.loads(about.read_text(encoding="utf-8"))["items"] != self.items:
            counts = dict(zip(kept.ids, kept.counts, strict=True))
            found = cat.read_items(self.items, self.item, self.text, self.encoding)
            kept = found._replace(counts=[counts.get(key, 0) for key in found.ids])
        self._kept = kept

    def numbers(self, ids: Sequence[str], place: str) -> list[int]:
        """Numbers of items; a text that no split had when the run was made becomes an item.

        Raises:
            UserError: an id is not in the table of items.
        """
        found = self.catalogue
        if not found.named and (new := [i for i in dict.fromkeys(ids) if i not in self._numbers]):
            self._take(
                cat.Catalogue(
                    [*found.ids, *new],
                    [*found.texts, *new],
                    [*found.counts, *[0] * len(new)],
                    False,
                )
            )
        return [cat.number(self._numbers, i, place, str(self.items)) for i in ids]

    # Batches

    @property
    def max_length(self) -> int:
        """The most tokens of a text."""
        return tokens.limit(self.tokenizer_name, self.given_length)

    def _mapped(
        self,
        table: datasets.Dataset,
        texts: Callable[[Columns], list[str]],
        prompt: str,
        *about: Any,
    ) -> datasets.Dataset:
        given = (
            tokens.identity(self.tokenizer),
            self.max_length,
            self.prompts[prompt],
            files.code(tokens.tokenize),
            *about,
        )
        return self.map_cached(table, lambda rows: self._tokenize(texts(rows), prompt), *given)

    def _tokenize(self, texts: Sequence[str], prompt: str) -> Columns:
        return tokens.tokenize(
            self.tokenizer, [self.prompts[prompt] + t for t in texts], None, self.max_length
        )

    def _user_text(self, history: Sequence[str], place: str) -> str:
        last = self.numbers(history[-self.history :], place)
        return interactions.user_text([self.catalogue.texts[i] for i in last])

    def _note_cut(self, encoded: datasets.Dataset, what: str) -> None:
        uncut = np.asarray(encoded["uncut"][:])
        over = int(np.count_nonzero(uncut > self.max_length))
        if over:
            self.notes.append(
                f"{what}: {over:,} are longer than {self.max_length} tokens and cut (longest {uncut.max()})"
            )

    def setup(self, stage: str) -> None:
        """Reads, checks and encodes the splits of a stage and the catalogue."""
        super().setup(stage)
        if self.sets:
            size = len(self.candidates)
            note = f"{size:,} items in the catalogue"
            self.notes += [note] if note not in self.notes else []

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split's queries, cached; adds the numbers of the items that they seek."""
        place = str(self.files[split] or self.files["train"])
        if self.user:
            about: tuple[Any, ...] = (self.history, self.candidates.fingerprint)
        else:
            about = ()

        def texts(rows: Columns) -> list[str]:
            if not self.user:
                return list(rows["query"])
            return [self._user_text(h, place) for h in rows["history"]]

        encoded = self._mapped(table, texts, "query", *about)
        self._note_cut(encoded, f"{len(table):,} {'users' if self.user else 'queries'} of {split}")
        columns = encoded.remove_columns("uncut")
        if split == "train":
            order, targets = self._training(table, place)
            chosen = columns.select(order)
            return EncodedSplit(chosen, targets, chosen._fingerprint)
        return EncodedSplit(columns, self._evaluated(table, split, place), encoded._fingerprint)

    def _training(
        self, table: datasets.Dataset, place: str
    ) -> tuple[list[int], list[tuple[int, list[int], int]]]:
        """A row for each item that a query seeks: the query's row, and (item, hard negatives, place in ``_known``)."""
        places = [f"{place}:{line}" for line in table["line"][:]]
        sought = [self.numbers(p, at) for p, at in zip(table["positives"][:], places, strict=True)]
        if self.user:
            had = interactions.trained_on(self._histories(), self.held_out)
            self.notes += interactions.survey(self._histories(), self.held_out)
            self._known = [set(self.numbers(items, place)) for items in had.values()]
            at_user = {user: i for i, user in enumerate(had)}
            whose = [at_user[user] for user in table["user"][:]]
            return list(range(len(table))), [
                (s[0], [], w) for s, w in zip(sought, whose, strict=True)
            ]
        against = [self.numbers(n, at) for n, at in zip(table["negatives"][:], places, strict=True)]
        # a query that is itself an item is no wrong answer
        self._known = [
            {*s, *self._itself(q)} for s, q in zip(sought, table["query"][:], strict=True)
        ]
        pairs = [(i, item) for i, s in enumerate(sought) for item in s]
        return [i for i, _ in pairs], [(item, against[i], i) for i, item in pairs]

    def _itself(self, query: str) -> list[int]:
        return [self._numbers[query]] if not self.catalogue.named and query in self._numbers else []

    def _evaluated(
        self, table: datasets.Dataset, split: str, place: str
    ) -> list[tuple[list[int], list[int]]]:
        """For each row the items that are sought and those that are not ranked: what the user had, or the query itself."""
        sought = [
            self.numbers(p, f"{place}:{n}")
            for p, n in zip(table["positives"][:], table["line"][:], strict=True)
        ]
        if not self.user:
            return [
                (s, [i for i in self._itself(q) if i not in s])
                for s, q in zip(sought, table["query"][:], strict=True)
            ]
        had = self._histories().users
        ends = {
            u: interactions.cuts(len(items), self.held_out)[split == "test"]
            for u, items in had.items()
        }
        return [
            (s, self.numbers([i for i, _ in had[u][: ends[u]]], place))
            for s, u in zip(sought, table["user"][:], strict=True)
        ]

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` of the queries and ``index``.

        In training ``items``, the inputs of the distinct items that are sought or hard negatives; ``positive``, the place among
        them ``[rows]``; and ``known``, bool ``[rows, items]``, those that are no negatives of a row. In evaluation ``golds`` and
        ``exclude``, numbers of items for each row.
        """
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        targets = columns.get("target")
        if targets is None:
            return batch
        if len(targets[0]) == 2:
            return {**batch, "golds": [t[0] for t in targets], "exclude": [t[1] for t in targets]}
        items = list(dict.fromkeys([t[0] for t in targets] + [n for t in targets for n in t[1]]))
        places = {item: i for i, item in enumerate(items)}
        known = torch.tensor(
            [[i in self._known[t[2]] and i != t[0] for i in items] for t in targets]
        )
        positive = torch.tensor([places[t[0]] for t in targets])
        return {
            **batch,
            "items": tokens.collate(self.candidates[items], self.tokenizer),
            "positive": positive,
            "known": known,
        }

    # Prediction

    def read_predict(self, name: str) -> list[files.Row]:
        """Rows of a file to predict: queries, or interactions, of which each user becomes a row."""
        rows = super().read_predict(name)
        if not self.user or not rows or self.user not in rows[0] or self.item not in rows[0]:
            return rows
        rating, least = self.event[3], self.event[4]
        if rating and least is not None and rating in rows[0]:  # as in training
            rows = [
                r
                for r in rows
                if interactions.number(r[rating], name, r[files.LINE], rating) >= least
            ]
        return interactions.by_user(rows, self.user, self.item, self.time, name)

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes queries, or users by their history: ids of items (a list, or a|b, the latest last), or a text in words."""
        texts: list[str] = []
        targets: list[tuple[list[int], list[int]]] = []
        for line, row in enumerate(rows, 1):
            files.need(row, self.columns, place)
            value, column = row[self.columns[0]], self.columns[0]
            text = value if isinstance(value, str) else ""
            if self.user:
                history = cat.several(value, place, line, column)
                words = text and not any(i in self._ids() for i in history)
                texts.append(text if words else self._user_text(history, f"{place}:{line}"))
                had = [] if words else self.numbers(history, f"{place}:{line}")
            else:
                texts.append(files.as_text(value, place, line, column))
                had = self._itself(texts[-1])
            targets.append(([], had))
        chunks = [self._tokenize(texts[i : i + 1000], "query") for i in range(0, len(texts), 1000)]
        return EncodedSplit(
            {k: [v for chunk in chunks for v in chunk[k]] for k in ("input_ids", "length")}, targets
        )

    def _ids(self) -> dict[str, int]:
        return self._numbers if self.catalogue else {}
