"""Texts that would steer a terminal, or be more than text in a page or a card."""

from __future__ import annotations

HOSTILE = [
    *("\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\", "\x1b[8m"),
    *("\x1b[31mred", "\x1bP+q\x1b\\", "\x1b[?1049h", "\x1b[6n", "\x1b]52;c;ZXZpbA==\x07", "\x1bc"),
    *("\x9b31m", "\x9d0;owned\x9c", "\x90x", "\x85next", "\x07", "\x08\x08\x08ok", "\x0b", "\x0c"),
    *("\x7f", "\u202egnp.exe", "\u2066x\u2069", "\u200fx", "\u061cx", "\u200bhidden", "\ufeff"),
    *("\u2028line", "\u2029par", "\xadsoft", "\U000e0041tag", "\ufff9note\ufffb", "\x00nul"),
]
MARKUP = [
    *("<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "</table><h1>owned", "<!-- x"),
    *("[a](javascript:alert(1))", "![a](http://evil/x.png)", "[a]: http://evil", "<http://evil>"),
    *("http://evil.example", "www.evil.example", "a|b|c", "`code`", "```", "**bold**", "__bold__"),
    *("_it_", "~~gone~~", "$x$", "# heading", "- item", "1. item", "> quote", "---", "&lt;b&gt;"),
    *("a\\", "a\\|b", "\\`x", "{{ x }}", "{% x %}", "a\nb", "a\n---\nlicense: mit", "| x |", "= x"),
]
