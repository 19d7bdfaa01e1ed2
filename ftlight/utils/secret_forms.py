"""Secrets told by how they look: keys of known services, tokens, signed links, random strings.

The forms are those that the services document, and that scanners of repositories look for
(gitleaks, detect-secrets); a library of these is no lighter than the few that configs hold.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

# Each has one group if only a part of what it finds is secret.
FORMS = re.compile(
    r"""
      (?:gh[pousr]_|github_pat_)\w{20,}                  # GitHub
    | gl(?:pat|dt|rt|cbt)-[\w-]{20,}                      # GitLab
    | hf_[A-Za-z0-9]{24,} | api_org_[A-Za-z0-9]{24,}      # Hugging Face
    | wandb_v\d_\w{20,}                                   # Weights & Biases
    | (?:sk|pk|rk)-[\w-]{20,}                             # OpenAI, Anthropic
    | [sr]k_(?:live|test)_\w{16,} | whsec_\w{16,}         # Stripe
    | (?:AKIA|ASIA)[A-Z0-9]{16}                           # AWS
    | AIza[\w-]{35} | ya29\.[\w-]{20,}                    # Google
    | xox[abeoprs]-[\w-]{10,} | xapp-[\w-]{10,}           # Slack
    | (?:gsk|npm|r8|dop_v1|shpat|lin_api)_\w{20,}         # Groq, npm, Replicate, …
    | (?:nvapi|pypi|tskey|glsa|dapi)-?[\w-]{30,}          # NVIDIA, PyPI, Tailscale, Grafana, …
    | SG\.[\w-]{16,}\.[\w-]{16,}                          # SendGrid
    | \b\d{8,10}:[\w-]{35}\b                              # Telegram
    | (?<![\w-])eyJ[\w-]{6,}\.eyJ[\w-]{6,}\.[\w-]*        # JSON web tokens
    """,
    re.VERBOSE,
)
PARTS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)(?:-----END|\Z)", re.DOTALL),
    re.compile(r"(?i)\b(?:bearer|basic)\s+([\w.+/=~-]{12,})"),
    # connection strings, as of databases and storage accounts
    re.compile(r"(?i)\b(?:password|pwd|passwd|accountkey|sharedaccesskey)\s*=\s*([^;&\s\"']+)"),
    re.compile(r"(?i)[?&](?:[\w-]+-)?(?:sig|signature|credential)=([^&#\s]+)"),  # signed links
    re.compile(r"https://hooks\.slack\.com/(?:services|workflows)/([\w/-]+)"),
    re.compile(r"https://discord(?:app)?\.com/api/webhooks/([\w/-]+)"),
    re.compile(r"https://[\w.-]+\.webhook\.office\.com/([\w/@-]+)"),
)
_RUN = re.compile(r"[A-Za-z0-9+_=-]{32,}")
RANDOM_BITS = 4.0  # of a character; English has about 4.1 a letter, but hardly changes of case
RANDOM_CHANGES = 0.4  # of neighbours: of random letters and digits .62 are of different classes


def find(text: str) -> set[str]:
    """The secrets in a text, told by their form.

    >>> sorted(find("Authorization: Bearer abcdef123456 at Server=x;Password=pw1;"))
    ['abcdef123456', 'pw1']
    """
    if len(text) < 8:
        return set()
    found = {match[0] for match in FORMS.finditer(text)}
    for form in PARTS:
        found |= {match[1].strip() for match in form.finditer(text)} - {""}
    return found | {match[0] for match in _RUN.finditer(text) if is_random(match[0])}


def is_random(text: str) -> bool:
    """Whether a run of letters and digits looks drawn at random; digests in hexadecimal do not.

    >>> is_random("7Qd9vXr2LmKp4ZtB8wYc3NfHs6JgTe1U")
    True
    >>> is_random("paraphrase-MiniLM-L6-v2-of-2021-x")
    False
    """
    kinds = [0 if c.isdigit() else 1 if c.islower() else 2 if c.isupper() else 3 for c in text]
    if not {0, 1, 2} <= set(kinds):
        return False
    changes = sum(a != b for a, b in pairwise(kinds)) / len(kinds)
    shares = [count / len(text) for count in Counter(text).values()]
    bits = -sum(share * math.log2(share) for share in shares)
    return changes > RANDOM_CHANGES and bits > RANDOM_BITS
