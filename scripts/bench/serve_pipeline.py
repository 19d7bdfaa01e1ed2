"""A plain service for serve.py to be compared with: FastAPI around transformers' pipeline.

    python scripts/bench/serve_pipeline.py FOLDER

Serves a folder of ``export`` as most examples do: an endpoint that calls the pipeline with a text.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Row(BaseModel):
    """What a request says."""

    text: str


app = FastAPI()
classify = pipeline("text-classification", sys.argv[1], device="cpu")


@app.post("/predict")
def predict(row: Row) -> list[dict[str, str | float]]:
    found: list[dict[str, str | float]] = classify(row.text, top_k=None, truncation=True)
    return found


class Server(uvicorn.Server):
    """Says where it is reached, as ``serve`` does."""

    async def startup(self, sockets: object = None) -> None:
        """Begins to answer."""
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"pipeline at http://127.0.0.1:{port} (1 worker)", flush=True)


Server(uvicorn.Config(app, port=0, log_level="warning")).run()
