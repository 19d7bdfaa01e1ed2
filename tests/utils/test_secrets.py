"""Secrets of a config reach no file, log, message or W&B."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Run, each, toy_rows, write_csv

from ftlight.__main__ import main
from ftlight.utils import secrets

SECRET, SHORT, INHERITED = "sk-1234567890abcdef", "Xy7", "wandb-key-from-outside"
MODULE = """
from ftlight import TextClassification
from ftlight.utils.errors import UserError
from lightning.pytorch.callbacks import Callback

class Mine(TextClassification):
    '''Ours.'''
    def __init__(
        self, backbone: str, *, api_key: str = "", pin_password: int = 0, wanted: str = "", **base
    ):
        '''Makes it.

        Args:
            api_key: a key.
            pin_password: a number.
            wanted: the key that is right.
            base: more.
        '''
        super().__init__(backbone, **base)
        if wanted and api_key != wanted:
            fault = ValueError if wanted == "bug" else UserError
            raise fault(f"model.api_key: got {api_key!r}, no such account")
        self.save_hyperparameters()

class Notifies(Callback):
    def __init__(self, hook_token: str, url: str = ""):
        self.hook_token = hook_token
"""


NAMES = """
key api_key apiKey OPENAI_API_KEY aws_secret_access_key secret client_secret SecretKey token
hf_token auth.token password db_password Passphrase access_tokens api-key apikey x.api_key
"""
OTHERS = """
tokenizer tokenizers tokens tokens_per_batch max_new_tokens label_column_key label_key pad_token
eos_token pad_token_id TOKENIZERS_PARALLELISM TokenClassification keyboard monkey key_value_heads
secretary text password_column special_tokens keys sort_key model.tokenizer token.size monitor
"""


def test_names_of_secrets() -> None:
    def check(name: str) -> None:
        assert secrets.is_secret(name)

    each(NAMES.split(), check)


def test_names_of_anything_else() -> None:
    def check(name: str) -> None:
        assert not secrets.is_secret(name)

    each(["", *OTHERS.split()], check)


def test_other_keys_and_tokens_are_secret_if_their_value_looks_generated() -> None:
    generated = "12345:abcdefghijklmnop"
    for name in ("bot_token", "stripe_key", "label_key"):
        assert secrets.redact({name: generated}, ()) == {name: secrets.HIDDEN}
        for value in ("[BOT]", "intent", "customer-satisfaction", "<|reserved_special_token_0|>"):
            assert secrets.redact({name: value}, ()) == {name: value}
    assert secrets.redact({"label": generated}, ()) == {"label": generated}


def test_secrets_of_the_environment() -> None:
    def check(environment: dict[str, str], found: set[str]) -> None:
        assert secrets.of_environment(environment) == found

    each(
        [
            ({"MY_API_KEY": "12345678"}, {"12345678"}),
            ({"MY_API_KEY": "1234567"}, set()),  # as short as an ordinary word
            ({"MYCORP_TOKEN": "hunter-hunter"}, {"hunter-hunter"}),  # no columns are named here
            ({"HOME": "/home/someone"}, set()),
            ({"TOKENIZERS_PARALLELISM": "false false"}, set()),
        ],
        check,
    )


def test_redacted() -> None:
    def check(data: Any, redacted: Any) -> None:
        made = secrets.redact(data, {"outside1"})
        assert made == json.loads(json.dumps(redacted).replace("*", secrets.HIDDEN))

    each(
        [
            ({"api_key": "abc"}, {"api_key": "*"}),
            ({"api_key": ""}, {"api_key": ""}),
            (
                {"use_token": True, "token": None, "password": 1234, "key": 3},
                {"use_token": True, "token": None, "password": "*", "key": 3},
            ),
            (
                {"tokens": [{"token": "a"}, {"lr": 1e-4}]},
                {"tokens": [{"token": "*"}, {"lr": 1e-4}]},
            ),
            ({"access_tokens": ["a", "b"]}, {"access_tokens": ["*", "*"]}),
            ({"a": "x-outside1-y"}, {"a": "x-*-y"}),
            (
                {"url": "https://me:pw@host/p?api_key=q1&lang=en"},
                {"url": "https://me:*@host/p?api_key=*&lang=en"},
            ),
            ({"options": '{"api_key": "abc", "lr": 1}'}, {"options": '{"api_key": "*", "lr": 1}'}),
            (["--broken", "{a: ["], ["--broken", "{a: ["]),
        ],
        check,
    )


def test_a_secret_with_quotes_is_hidden_in_every_form() -> None:
    secret = 'it\'s "quoted" \\ once'
    for text in (secret, repr(secret), json.dumps(secret)):
        assert "quoted" not in secrets.hide(f"got {text}, wanted none", {secret})


@pytest.fixture
def mine(tmp_path: Path, bert: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config with secrets in options, in a callback and in a link."""
    (tmp_path / "secret_module.py").write_text(MODULE)
    train = write_csv(tmp_path / "toy.csv", toy_rows(40))
    model = {
        "task": "secret_module.Mine",
        "backbone": bert,
        "api_key": SECRET,
        "pin_password": 918273,
        "wanted": INHERITED[:0],
    }
    callback = {
        "class_path": "secret_module.Notifies",
        "init_args": {"hook_token": SHORT, "url": "https://me:hush-hush@host/"},
    }
    trainer = {"max_epochs": 1, "accelerator": "cpu", "callbacks": [callback]}
    config = {"model": model, "data": {"train": train}, "trainer": trainer}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("SOME_SERVICE_KEY", INHERITED)
    return tmp_path / "mine.yaml"


@pytest.mark.run
def test_a_run_keeps_no_secret(
    mine: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    words = ["fit", "-c", str(mine), "--run", "r", "--wandb", "project"]
    words += ["--model.api_key", SECRET + "2", "--name", INHERITED]
    monkeypatch.setattr("sys.argv", ["ftlight", *words])
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(words) == 0
    said = capfd.readouterr()
    wandb.teardown()  # its service may flush the offline file after finish() has returned
    written = {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()}
    assert {p.suffix for p in written} >= {".yaml", ".json", ".ckpt", ".wandb"}
    offline = b"".join(content for p, content in written.items() if p.suffix == ".wandb")
    assert secrets.HIDDEN.encode() in offline
    for secret in (SECRET, INHERITED, "hush-hush", "918273"):
        assert secret not in said.out + said.err
        assert not [p for p, content in written.items() if secret.encode() in content]
    config = yaml.safe_load(Path("r/config.yaml").read_text())
    assert config["model"]["init_args"]["api_key"] == secrets.HIDDEN
    assert config["trainer"]["callbacks"][0]["init_args"]["hook_token"] == secrets.HIDDEN
    command = json.loads(Path("r/run.json").read_text())["command"]
    assert command[:10] == ["ftlight", *words[:7], "--model.api_key", secrets.HIDDEN]

    assert main(["test", "r", "--data.test", "toy.csv"]) == 2
    err = capfd.readouterr().err.splitlines()
    reason = "is a secret, which a run does not keep; give it again:"
    assert [line.partition("config.yaml:")[2].partition(": ")[2] for line in err] == [
        f"{option} {reason} --{option} VALUE" for option in ("model.api_key", "model.pin_password")
    ]
    again = ["--model.api_key", SECRET, "--model.pin_password=3"]
    assert main(["test", "r", "--data.test", "toy.csv", *again]) == 0
    assert main(["fit", "-c", "r/config.yaml", "--run", "r2", *again]) == 2
    assert (
        "give all of trainer.callbacks in a YAML after this one: -c FILE" in capfd.readouterr().err
    )
    callback = {"class_path": "secret_module.Notifies", "init_args": {"hook_token": "n"}}
    Path("rest.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    assert main(["fit", "-c", "r/config.yaml", "-c", "rest.yaml", "--run", "r2", *again]) == 0


def test_an_error_does_not_show_a_secret(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def check(wanted: str, status: int, place: str) -> None:
        words = ["--model.api_key", "other-secret-1"] if place == "option" else []
        command = ["fit", "-c", str(mine), "--run", "r", "--model.wanted", wanted]
        assert main([*command, *words]) == status
        err = capfd.readouterr().err
        assert f"model.api_key: got '{secrets.HIDDEN}', no such account" in err
        assert SECRET not in err
        assert "other-secret-1" not in err

    each(
        [
            (wanted, status, place)
            for wanted, status in [("other", 2), ("bug", 1)]
            for place in ["file", "option"]
        ],
        check,
    )


def test_a_parser_error_does_not_show_a_secret(
    mine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def check(words: list[str]) -> None:
        status = main(["fit", "-c", str(mine), "--run", "r", "--trainer.max_epochs", "x", *words])
        err = capfd.readouterr().err
        assert status == 2
        assert "hush1" not in err

    each(
        [
            ["--model.pin_password", "hush1"],
            ["--model.api_key", "[hush1, x"],
            ["--trainer.password", "hush1"],
        ],
        check,
    )


@pytest.mark.run
def test_ordinary_options_are_kept(fit: Run) -> None:
    folder = fit("--data.tokens_per_batch", "400")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["init_args"]["tokens_per_batch"] == 400
    assert json.loads((folder / "run.json").read_text())["command"][1:] == sys.argv[1:]


RANDOM = "7Qd9vXr2LmKp4ZtB8wYc3NfHs6JgTe1U"
PLANTED: list[tuple[dict[str, Any], str]] = [
    *(({name: "opensesame12"}, "opensesame12") for name in ("auth", "bearer", "pat", "pwd", "jwt")),
    *(({name: "opensesame12"}, "opensesame12") for name in ("cookie", "webhook", "db_pwd", "dsn")),
    *(({name: "opensesame12"}, "opensesame12") for name in ("proxyAuth", "GITHUB_PAT", "x-auth")),
    ({"odbc": "Server=db;User=me;Password=pw1;"}, "pw1"),
    ({"odbc": "Driver={x}; PWD = pw2 ; Encrypt=yes"}, "pw2"),
    ({"blob": "AccountName=a;AccountKey=Zm9vYmFyYmF6==;"}, "Zm9vYmFyYmF6=="),
    ({"data": "https://a.blob.core.windows.net/c/f.csv?sv=2024&sig=abc%2Fdef%3D"}, "abc%2Fdef%3D"),
    ({"data": "https://s3.amazonaws.com/b/f?X-Amz-Signature=0a1b2c3d4e5f"}, "0a1b2c3d4e5f"),
    ({"data": "https://storage.googleapis.com/b/f?X-Goog-Signature=77aa88"}, "77aa88"),
    ({"url": "postgres://me:pw3@host/db"}, "pw3"),
    ({"url": "https://host/v1?access_token=tok4"}, "tok4"),
    ({"notify": "https://hooks.slack.com/services/T00/B00/XyZ123"}, "T00/B00/XyZ123"),
    ({"notify": "https://discord.com/api/webhooks/123/abcDEF"}, "123/abcDEF"),
    ({"notify": "https://x.webhook.office.com/webhookb2/1@2/In/3"}, "webhookb2/1@2/In/3"),
    ({"args": "--token tok5 --epochs 3"}, "tok5"),
    ({"args": ["--api-key", "key6", "--epochs", "3"]}, "key6"),
    ({"args": ["--api-key=key7"]}, "key7"),
    ({"env": ["HF_TOKEN=tok8", "OMP_NUM_THREADS=2"]}, "tok8"),
    ({"env": [{"name": "DB_PASSWORD", "value": "pw9"}]}, "pw9"),
    ({"headers": {"X": "Authorization: Bearer abcdef123456"}}, "abcdef123456"),
    ({"headers": {"X": "Basic dXNlcjpwYXNzd29yZA=="}}, "dXNlcjpwYXNzd29yZA=="),
    ({"note": "ghp_" + "a1B2" * 9}, "ghp_" + "a1B2" * 9),
    ({"note": "github_pat_" + "a1B2" * 9}, "github_pat_" + "a1B2" * 9),
    ({"note": "glpat-" + "a1B2" * 5}, "glpat-" + "a1B2" * 5),
    ({"note": "hf_" + "aBcD" * 8}, "hf_" + "aBcD" * 8),
    ({"note": "sk-proj-" + "a1B2" * 8}, "sk-proj-" + "a1B2" * 8),
    ({"note": "AKIAIOSFODNN7EXAMPLE"}, "AKIAIOSFODNN7EXAMPLE"),
    ({"note": "AIza" + "a1B2c" * 7}, "AIza" + "a1B2c" * 7),
    ({"note": "xoxb-123456789012-abcdef"}, "xoxb-123456789012-abcdef"),
    ({"note": "sk_live_" + "a1B2" * 5}, "sk_live_" + "a1B2" * 5),
    ({"note": "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM"}, "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM"),
    ({"note": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"}, "MIIE"),
    ({"note": f"it is {RANDOM}"}, RANDOM),
]
# Names and values of ordinary configs.
HARMLESS: dict[str, Any] = {
    **dict.fromkeys(("tokenizer", "backbone"), "sentence-transformers/paraphrase-MiniLM-L12-v2"),
    **{"text": "text", "label": "label_key", "text_pair": "Answer", "group_key": "customer"},
    **{"pad_token": "[PAD]", "eos_token": "<|endoftext|>", "sep_token": "</s>", "row_key": "id"},
    **{
        "keys": ["a", "b"],
        "tokens": 3,
        "max_tokens": 512,
        "tokens_per_batch": 4096,
        "sort_key": "n",
    },
    **{
        "revision": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        "digest": "d41d8cd98f00b204e9800998",
    },
    **{
        "sha256": "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
        "pattern": "a",
    },
    **{"path": "/home/me/Projects2024/Tickets-EU/Export_v12/final-FINAL-2.csv", "compat": True},
    **{"auth_type": "none", "auth_method": "kerberos", "auth_file": "auth.json", "author": "Ann"},
    **{"password_column": "pw", "cookie_domain": "shop", "cookies_enabled": True, "patience": 3},
    **{"monkey": "b", "keyboard": "qwerty", "secretary": "Bo", "passenger": "7", "compass": "N"},
    **{"name": "run-2026-11-30_10-00-00", "date": "2026-11-30T10:00:00+0000", "uuid_file": "u.txt"},
    **{
        "uuid": "123e4567-e89b-12d3-a456-426614174000",
        "locale": "de_DE.UTF-8",
        "version": "1.2.3rc4",
    },
    **{"url": "https://example.org/data/train.csv?version=2&split=train", "hub": "hf://a/b@main"},
    **{"schedule": "[{train: head, steps: 10}, {train: last:2}]", "template": "This is {label}."},
    **{
        "label_template": "This text is about {}.",
        "columns": ["accessToken", "apiKey"],
        "lr": 1e-4,
    },
    **{"args": "--epochs 3 --lr=0.1 --tokenizer bert", "cmd": ["--batch", "8", "--seed", "1"]},
    **{
        "env": ["OMP_NUM_THREADS=2", "TOKENIZERS_PARALLELISM=false"],
        "basic": "basic text cleaning",
    },
    **{"sentence": "The bearer of this card, basically anyone, may pay.", "a": "x=1;y=2;mode=fast"},
    **{
        "classes": "ftlight.TextClassification",
        "quotes": "auto",
        "signature": "image_classification",
    },
    **{
        "sig": "x",
        "credential_type": "ssh",
        "skill": "sk-learn",
        "model": "AIzen-large",
        "hash": "9f",
    },
}


def test_planted_secrets_are_hidden() -> None:
    def check(number: int) -> None:
        data, secret = PLANTED[number]
        text = json.dumps(secrets.redact(data, ()))
        assert json.dumps(secret)[1:-1] not in text
        assert secrets.HIDDEN in text
        assert secret in secrets.within(data)

    assert len(PLANTED) >= 40
    each(range(len(PLANTED)), check)


def test_ordinary_configs_stay_as_they_are() -> None:
    def check(name: str) -> None:
        assert secrets.redact({name: HARMLESS[name]}, ()) == {name: HARMLESS[name]}

    assert len(HARMLESS) >= 60
    each(HARMLESS, check)


def test_secrets_of_the_environment_are_told_by_form_too() -> None:
    environment = {"CONN": "Server=db;Password=opensesame", "PWD": "/home/me", "X": RANDOM}
    assert secrets.of_environment(environment) == {"opensesame", RANDOM}


def test_a_long_text_is_searched_at_once() -> None:
    """Each took minutes: the square of its length, or as long as PyYAML for all of a list."""

    def check(text: str, secret: str) -> None:
        assert secrets.within({"text": text}) == ({secret} if secret else set())

    size = 400_000
    each(
        [
            ("eyJ" * (size // 3), ""),
            (".-a" * (size // 3), ""),
            (f"-----BEGIN PRIVATE KEY-----\n{'x ' * 9}{' ' * size}y", f"{'x ' * 9}{' ' * size}y"),
            (f"[{'0,' * size}0]", ""),
        ],
        check,
    )
