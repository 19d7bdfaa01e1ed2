"""What looks like personal data: mail addresses, numbers of phones, cards and accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator

ANY = re.compile(r"@|(?:\d[ ().\-/]{0,2}){7}")  # nothing below matches a text without
MAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
DIGITS = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.]\d)")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]){11,30}\b")
ACCOUNT = re.compile(
    r"\b(?:account|acct|a/c|iban|konto|kontonr|compte|cuenta|conto)\b\D{0,15}\d(?:[ -]?\d){5,}",
    re.IGNORECASE,
)
PHONE = re.compile(
    r"(?<![\w.,/-])(?:"
    r"(?:\+|00)[1-9](?:[ ().\-/]{0,2}\d){7,13}"  # with the code of a country
    r"|\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}"  # North America
    r"|(?!0\d[./-]\d\d[./-]\d{4}\b)"  # with a leading 0, no date
    r"\(?0\d{1,4}\)?[ ./-]\d{2,4}(?:[ ./-]?\d{2,4}){1,3}"
    r")(?![\w,/-]?\d)"
)


def kinds(text: str) -> set[str]:
    """Kinds of personal data that a text seems to hold.

    Numbers of cards are told by their check digit (Luhn, ISO/IEC 7812), account numbers by theirs
    (IBAN, ISO 13616) or by the word before them.

    >>> sorted(kinds("write to ann@example.org or +44 20 7946 0958"))
    ['mail addresses', 'phone numbers']
    >>> kinds("order 1234 5678 9012 3456 of 2024-01-05 10:15")
    set()
    """
    return set(_kinds(text)) if ANY.search(text) else set()


def _kinds(text: str) -> Iterator[str]:
    others = IBAN.sub("", text)
    if MAIL.search(text):
        yield "mail addresses"
    if any(_is_card(match[0]) for match in DIGITS.finditer(others)):
        yield "card numbers"
    if ACCOUNT.search(text) or any(_is_iban(match[0]) for match in IBAN.finditer(text)):
        yield "account numbers"
    if PHONE.search(others):
        yield "phone numbers"


def _is_card(number: str) -> bool:
    digits = [int(d) for d in reversed(re.sub(r"\D", "", number))]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(number: str) -> bool:
    bare = number.replace(" ", "")
    moved = bare[4:] + bare[:4]
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1
