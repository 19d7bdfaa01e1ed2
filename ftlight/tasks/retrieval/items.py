"""The items that queries seek: their catalogue, their texts as tokens, and each row's by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ftlight.data import files, tables, tokens
from ftlight.data.module import SPLITS, Columns, DataModule, EncodedSplit
from ftlight.data.sources import Source
from ftlight.run import records
from ftlight.tasks.retrieval import catalogue as cat
from ftlight.tasks.retrieval import events, interactions
from ftlight.utils import internals
from ftlight.utils.atomic import write_json


class ItemData(DataModule):
    """The part of :class:`ftlight.RetrievalData` that knows the items.

    Attributes:
        items: table of items, or None.
        item: column of an item's id.
        text: columns of an item's text.
        user: column of the user, or None without interactions.
        history: most items in the text of a user.
        held_out: latest items of each user held out.
        event: columns of interactions.
        prompts: text in front of a query and of an item's text ("document").
        origin: the pre-trained backbone, if a run replaces it by its own folder.
    """

    items: str | None
    item: str
    text: tuple[str, ...]
    user: str | None
    history: int
    held_out: int
    event: interactions.Columns
    prompts: dict[str, str]
    origin: str
    _catalogue: cat.Catalogue | None
    _kept: cat.Catalogue | None
    _candidates: EncodedSplit | None
    _numbers: dict[str, int]
    _known: list[set[int]]

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
        source = Source(
            str(self.items), "train", self.encoding, option="data.items", quotes=self.quotes
        )
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
        self.origin = records.facts(folder).get("backbone", "")
        state = records.of(folder / "catalogue.json", {"items": (str, None)})
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

    # Texts

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
            lambda rows: self.prompted(texts(rows), prompt),
            tokens.identity(self.tokenizer),
            self.max_length,
            self.prompts[prompt],
            files.code(tokens.tokenize),
            *key,
        )

    def prompted(self, texts: Sequence[str], prompt: str) -> Columns:
        """Tokenizes texts behind a prompt: that of a query or a document."""
        prompted = [self.prompts[prompt] + text for text in texts]
        return tokens.tokenize(self.tokenizer, prompted, None, self.max_length)

    def _user_text(self, history: Sequence[str], place: str) -> str:
        last = self.numbers(history[-self.history :], place)
        return events.user_text([self.catalogue.texts[i] for i in last])

    def _note_cut(self, encoded: datasets.Dataset, what: str) -> None:
        uncut = np.asarray(encoded["uncut"][:])
        over = int(np.count_nonzero(uncut > self.max_length))
        if over:
            self.notes.append(
                f"{what}: {over:,} are longer than {self.max_length} tokens and cut"
                f" (longest {uncut.max()})"
            )

    # Items of rows

    def _training(
        self, table: datasets.Dataset, place: str
    ) -> tuple[list[int], list[tuple[int, list[int], int]]]:
        """A row for each item that a query seeks.

        Returns:
            The query's row of each, and (item, hard negatives, place in ``_known``).
        """
        places = [files.place(place, line) for line in table["line"][:]]
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
        places = [files.place(place, line) for line in table["line"][:]]
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
        end = events.cuts(len(items), self.held_out)[split == "test"]
        return self.numbers([item for item, _ in items[:end]], place)
