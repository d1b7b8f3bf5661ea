# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `make test` says at its end: each session with its seconds, and one line with the sum.

python3 tests/summary.py DIRECTORY NAME…: nox's reports, DIRECTORY/NAME.json, and beside them the tests that pytest counted
in its sessions. A session without such a count (lint, sanity) is one test; a report that is missing is a failure.
"""

import json
import pathlib
import sys
from xml.etree import ElementTree


def counts(session, reports):
    """(passed, failed, skipped) of a session. One that failed has at least one failure."""
    result = session["result"]
    version = session["args"].get("version", session["args"].get("core", ""))
    report = reports / ("-".join(filter(None, [session["name"], version])) + ".xml")
    if not report.exists():
        return int(result == "success"), int(result not in ("success", "skipped")), int(result == "skipped")
    suite = ElementTree.parse(report).getroot().find("testsuite")
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    bad = int(suite.get("failures")) + int(suite.get("errors"))
    return total - bad - skipped, max(bad, int(result != "success")), skipped


def main(directory, *names):
    directory, sums = pathlib.Path(directory), [0, 0, 0]
    for name in names:
        report = directory / f"{name}.json"
        if not report.exists():
            print(f"{name:28} ended without a report")
            sums[1] += 1
            continue
        for session in json.loads(report.read_text())["sessions"]:
            found = counts(session, directory)
            sums = [before + more for before, more in zip(sums, found, strict=True)]
            what, seconds = session["signatures"][0], session["duration"]
            print(f"{what:28} {session['result']:8} {seconds:6.0f} s  {found[0]} passed, {found[1]} failed")
    print("{} passed, {} failed, {} skipped".format(*sums))
    return 1 if sums[1] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
