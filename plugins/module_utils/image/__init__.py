# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The capture image of the native engine: what goes into it, its bytes, and where it is kept. Private to this collection."""
