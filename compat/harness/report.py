"""One line per test, one per suite, and the sum.

A suite says what happened with lines of its own on its standard output:

    ok NAME
    FAIL NAME: why
    skip NAME: why

Everything else that it prints is kept and shown only when the suite fails.
"""

import re
import sys

# Words about a broker that did not start are several lines, and a failure all the same.
LINE = re.compile(r"^(ok|FAIL|skip) (.+)$", re.DOTALL)


class Report:
    def __init__(self, out=sys.stdout):
        self.out = out
        self.sum = {"ok": 0, "FAIL": 0, "skip": 0}

    def say(self, text):
        print(text, file=self.out, flush=True)

    def line(self, suite, text):
        """Counts and prints a line of the suite if it is one of a test, and says whether it was."""
        found = LINE.match(text)
        if not found:
            return None
        self.sum[found[1]] += 1
        self.say(f"{found[1]:4} {suite}: {found[2]}")
        return found[1]

    def suite(self, name, counts, seconds):
        self.say(
            f"==== {name}: {counts['ok']} passed, {counts['FAIL']} failed,"
            f" {counts['skip']} skipped in {seconds:.1f} s"
        )

    def finish(self):
        self.say(f"{self.sum['ok']} passed, {self.sum['FAIL']} failed, {self.sum['skip']} skipped")
        # A run in which nothing was even skipped has tested nothing.
        return 1 if self.sum["FAIL"] or not any(self.sum.values()) else 0
