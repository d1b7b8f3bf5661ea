# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values as YAML gives them, as text for a configuration file. Private to this collection."""

from typing import Any


def scalar(value: Any) -> str:
    """A text or a whole number as text; "" for anything else: YAML has lost how a boolean or a date was written."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
