"""Puts an exported folder on the Hub, and says in one line why that cannot be done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlight.utils.errors import UserError, first_line, shortened

if TYPE_CHECKING:
    from huggingface_hub import HfApi

AGAIN = "the same command goes on"
_PART = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


def check(repo: str) -> None:
    """Refuses what could not be pushed, before the work and without a network.

    Args:
        repo: name on the Hub.

    Raises:
        UserError: it is no OWNER/NAME, the hub's client is told to stay offline, or there is no
            token.
    """
    parts = repo.split("/")
    doubled = "--" in repo or ".." in repo or repo.endswith(".git")
    if len(parts) != 2 or doubled or not all(map(_PART.fullmatch, parts)):
        raise UserError(
            f"--push {shortened(repr(repo))}: expected OWNER/NAME, each of at most 96"
            " letters, digits, -, _ and ."
        )
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        raise UserError("--push: HF_HUB_OFFLINE is set, so nothing can be sent; unset it")
    if not get_token():
        raise UserError(
            "--push: no token of the Hub; log in with `hf auth login`, or set HF_TOKEN to a token"
            " that may write"
        )


def push(folder: Path, repo: str, public: bool) -> str:
    """Puts a folder into a repo of the Hub, which is made if it is not there.

    What a push that was cut has sent is not sent again.

    Args:
        folder: the folder; all that is in it is pushed.
        repo: OWNER/NAME.
        public: whether anybody may see it.

    Returns:
        Where it is, and who can see it.

    Raises:
        UserError: it could not be pushed, or anybody would see it though that was not asked for.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        private = _visibility(hub, repo, public)
        hub.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload by ftlight")
    except UserError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise UserError(f"{repo} is not pushed: {_why(error, hub.endpoint)}") from error
    who = "private" if private else "public"
    if public and private:
        who += ", as it was: its settings on the Hub can make it public"
    return f"{hub.endpoint}/{repo} ({who})"


def _visibility(hub: HfApi, repo: str, public: bool) -> bool:
    """Whether a repo is private; makes it if it is not there.

    Raises:
        UserError: it is there and public, though that was not asked for.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = hub.model_info(repo)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:  # said of a token that is not known
            raise
        hub.create_repo(repo, private=not public, exist_ok=True)
        return not public
    if not (found.private or public):
        raise UserError(
            f"{repo} is not pushed: it is there and public; add --public if anybody may see this"
            " export, or give another name"
        )
    return bool(found.private)


def _why(error: BaseException, endpoint: str) -> str:
    """Why a push failed, and what to do."""
    if type(error) is ValueError:  # of the metadata in README.md, which may have been edited
        return shortened(" ".join(str(error).split()), 300)
    chain = [error]
    while cause := (chain[-1].__cause__ or chain[-1].__context__):
        chain.append(cause)
    answered = next((each for each in chain if _status(each)), None)
    if answered is not None:
        return _refused(answered)
    if any(_is_network(each) for each in chain):
        last = first_line(chain[-1])
        return f"{endpoint} cannot be reached ({last}); check the network; {AGAIN}"
    return f"{first_line(error)}; {AGAIN}"


def _refused(error: BaseException) -> str:
    """What the Hub answered, and what to do."""
    status = _status(error)
    if status == 401:
        return "the Hub does not know the token; log in with `hf auth login`, or set HF_TOKEN"
    words = str(getattr(error, "server_message", None) or first_line(error))
    said = shortened(" ".join(words.split()), 200)
    if status == 403:
        return (
            f"the token may not write there ({said}); give a name of your own, or a token with the"
            " right to write"
        )
    return f"the Hub answers {status} ({said}); {AGAIN}"


def _is_network(error: BaseException) -> bool:
    is_client = type(error).__module__.partition(".")[0].startswith("httpx")
    return is_client or isinstance(error, (ConnectionError, TimeoutError))


def _status(error: BaseException) -> int:
    """The status that the Hub answered with, if this says so."""
    response: Any = getattr(error, "response", None)
    return int(getattr(response, "status_code", 0) or 0)
