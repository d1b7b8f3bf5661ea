# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump server as the controller reaches it by itself: one ssh connection as the account that takes dumps.

Private to this collection. The password goes into that connection and nowhere else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import random
import time
import zipfile
from typing import Any

from ansible_collections.vmcore.kdump.plugins.module_utils import (
    authorize_program,
    authorized_keys,
    boot,
    known_hosts,
    receiver,
    ssh,
)

try:
    import paramiko
except ImportError as error:
    paramiko = None
    WITHOUT_PARAMIKO: str | None = str(error)
else:
    WITHOUT_PARAMIKO = None

SECONDS = 30  # for a connection; and twice that without a word from a program there
PAUSES = (1, 2, 4, 8, None)  # seconds between attempts
KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")

# The zip file comes through standard input. A Python is needed that knows f-strings; EL 8 has one that is on no PATH.
RUN = """\
for python in python3 /usr/libexec/platform-python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1 && break
    python=
done
[ -n "$python" ] || { cat >/dev/null; echo no-python; exit 0; }
umask 077
file=$(mktemp) || exit 1
trap 'rm -f "$file"' EXIT
cat >"$file" && "$python" -I -S "$file"
"""

# Without Python there can be no receiver. awk does what authorized_keys.check_owner() and .edit() do, without an old line's
# options. flock(1) is of util-linux and of busybox: every Linux has one of these.
RUN_WITHOUT_PYTHON = r"""
cd || exit 1
edited() {
    awk -v pairs="$pairs" -v name="$name" -v alone="$alone" -v present="$present" '
        BEGIN {
            count = split(pairs, word, " ")
            comment = "vmcore.kdump " name
            long = short = tolower(name)
            sub(/[.].*/, "", short)
        }
        {
            if ($0 ~ /^[ \t]*#/) { print; next }
            found = 0
            for (at = 2; at <= count; at += 2)
                for (one = 1; one <= NF; one++)
                    if ($one == word[at]) found = at
            marked = NF > 1 && $(NF - 1) == "vmcore.kdump"
            own = marked && $NF "" == name # a string, as not all names are numbers
            if (found && !own) {
                host = tolower($NF)
                if (!sub(/.*@/, "", host)) host = ""
                short_host = host
                sub(/[.].*/, "", short_host)
                if (!marked && host != "" && (host "" == long || host "" == short || short_host "" == long)) own = 1
                else if (present) { somebodys = 1; exit }
            }
            if (found && own) {
                line = "restrict " word[found - 1] " " word[found] " " comment
                if (present && $0 == line && !(found in there)) { there[found] = 1; print }
                next
            }
            if (alone && own) next
            print
        }
        END {
            if (somebodys) exit 3
            for (at = 2; at <= count; at += 2) if (present && !(at in there))
                print "restrict " word[at - 1] " " word[at] " " comment
        }
    ' "$1"
}
ended() {
    rm -f "$new"
    [ "$1" = 3 ] || exit 1
    echo somebodys
    exit 0
}
file=.ssh/authorized_keys
new=.ssh/.authorized_keys.vmcore-kdump.tmp
if [ -n "$check" ]; then
    [ -e "$file" ] || file=/dev/null
    edited "$file" >/dev/null || ended $?
    if edited "$file" | cmp -s - "$file"; then echo same; else echo changed; fi
    exit 0
fi
umask 077
mkdir -p .ssh && touch "$file" || exit 1
exec 9>>.ssh/.vmcore-kdump.lock && flock 9 || exit 1
edited "$file" >"$new" || ended $?
if cmp -s "$file" "$new"; then rm -f "$new" && echo same; else mv -f "$new" "$file" && echo changed; fi
"""


class ServerError(Exception):
    """A sentence, and one with the remedy. `host_key`: of a server that is the right one and lets nobody in."""

    def __init__(self, message: str, host_key: str = "") -> None:
        super().__init__(message)
        self.host_key = host_key


class Server:
    """A context manager: the connection is open within it. `host_key` is the key that the server has shown."""

    def __init__(self, address: str, port: int, user: str, password: str | None, host_keys: list[str]) -> None:
        self.where = f"{user}@{address}" + ("" if port == 22 else f" (port {port})")
        self._to = {"hostname": address, "port": port, "username": user, "password": password or None}
        self._name = address if port == 22 else f"[{address}]:{port}"
        self._known = [" ".join(key.split()[:2]) for key in host_keys] or _known_to_controller(self._name)

    def __enter__(self) -> Server:
        if paramiko is None:
            raise ServerError(
                f"The controller needs the Python package paramiko to log in at the dump server: {WITHOUT_PARAMIKO}. "
                "Install it where ansible-core is (pip install paramiko), or let the server be a host of the inventory."
            )
        for pause in PAUSES:
            try:
                return self._connected()
            except paramiko.AuthenticationException as error:
                raise ServerError(self._sentence(error), self.host_key) from None
            except paramiko.BadHostKeyException as error:
                # paramiko compares one key of each kind, the last one.
                if pause is None or not self._make_last(_text(error.key)):
                    raise ServerError(self._sentence(error)) from None
            except (paramiko.SSHException, EOFError, ConnectionResetError) as error:
                # sshd refuses some while many log in at once (MaxStartups).
                turned_away = not isinstance(error, paramiko.SSHException) or "banner" in str(error)
                if pause is None or not turned_away:
                    raise ServerError(self._sentence(error), self.host_key) from None
                time.sleep(pause * random.uniform(0.5, 1.5))
            except Exception as error:
                raise ServerError(self._sentence(error)) from None
        raise AssertionError("the last pause is None")

    def _connected(self) -> Server:
        self._client = paramiko.SSHClient()
        self.host_key = ""
        try:
            self._trust()
            own = not self._to["password"]
            self._client.connect(
                **self._to, look_for_keys=own, allow_agent=own, timeout=SECONDS, banner_timeout=SECONDS,
                auth_timeout=SECONDS,
            )  # fmt: skip
        except BaseException as error:
            if _is_of_login(error):
                self._take_host_key()
            self._client.close()
            raise
        self._take_host_key()
        return self

    def _take_host_key(self) -> None:
        """That of the server, which _trust() has been asked about by now."""
        self.host_key = _text(self._client.get_transport().get_remote_server_key())

    def __exit__(self, *dummy: object) -> None:
        self._client.close()

    def _trust(self) -> None:
        """Whom to give a password: the keys that were given, else those that the controller knows."""
        for text in self._known:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{self._name} {text}")
            if entry is not None:  # of a kind that paramiko knows
                self._client.get_host_keys().add(self._name, entry.key.get_name(), entry.key)
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())

    def _make_last(self, key: str) -> bool:
        """Whether a known key has not been the last one."""
        moved = key in self._known[:-1]
        self._known.sort(key=lambda known: known == key)
        return moved

    def _sentence(self, error: Exception) -> str:
        """What to tell of a failed connection: nothing of paramiko's errors holds a password."""
        if isinstance(error, paramiko.BadHostKeyException):
            return (
                f"The dump server {self.where} shows another host key than the one that is known of it. If its key was "
                "changed, give the new one as host_keys; if nobody changed it, somebody else answers there."
            )
        if _is_of_login(error):
            return (
                f"The dump server {self.where} does not let the controller in: {error}. Give the account's password, or "
                "a key that it accepts to whoever runs Ansible, or let the server be a host of the inventory."
            )
        if "not found in known_hosts" in str(error):
            return (
                f"The controller knows no host key of the dump server {self.where}, so it gives it no password. Put the key "
                "into the known_hosts of whoever runs Ansible, or give it as host_keys, or, at port 22, trust on first use "
                "(accept_new)."
            )
        return f"The controller cannot log in at the dump server {self.where}: {error}. Look at its sshd and the network between."

    def run(self, script: str, data: bytes = b"", variables: dict[str, str] | None = None) -> str:
        """What a shell script prints there. The variables and the data go through standard input as well."""
        values = "".join(f"{name}={_quoted(value)}\n" for name, value in (variables or {}).items())
        text = (values + script).encode()
        # The account's shell may be any: it starts sh, which reads the script, whose programs read the rest.
        command = f"sh -c 'eval \"$(dd bs=1 count={len(text)} 2>/dev/null)\"'"
        try:
            code, out, said = self._execute(command, text + data)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ServerError(f"The connection to the dump server {self.where} broke: {error}. Run again.") from None
        if code != 0:
            told = " ".join((said or out).split())[:300]
            raise ServerError(
                f"What propagate has to do on the dump server {self.where} failed: {told or 'no word'}. The account needs a "
                "shell there, a home that it can write in, and no forced command for this login."
            )
        return out

    def _execute(self, command: str, data: bytes) -> tuple[int, str, str]:
        session = self._client.get_transport().open_session(timeout=SECONDS)
        session.settimeout(2 * SECONDS)
        session.exec_command(command)
        session.sendall(data)
        session.shutdown_write()
        out = session.makefile("rb").read().decode("utf-8", "replace")
        said = session.makefile_stderr("rb").read().decode("utf-8", "replace")
        return session.recv_exit_status(), out, said

    # --- what it is asked for --------------------------------------------------------------------------------------
    def authorize(self, request: dict[str, Any]) -> dict[str, Any]:
        """authorize_program.run() there; where there is no Python, the same with `restrict` alone.

        The result has `receiver`: whether there is one. ServerError with all that stands against it.
        """
        printed = self.run(RUN, program(request))
        if printed.strip() == "no-python":
            return self._without_python(request)
        try:
            result = json.loads(printed[printed.index("{") :])
            if "errors" in result:
                problems = "\n".join(f"{problem['message']} {problem['hint']}" for problem in result["errors"])
                raise ServerError(problems)
            return {name: result[name] for name in ("changed", "actions", "diff", "warnings")} | {"receiver": True}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ServerError(
                f"The dump server {self.where} answered with something else than a result: {printed[:300]!r}. The account's "
                "shell must print nothing by itself."
            ) from None

    def _without_python(self, request: dict[str, Any]) -> dict[str, Any]:
        present = request["state"] == "present"
        variables = {
            "pairs": " ".join(" ".join(key.split()[:2]) for key in request["public_keys"]),
            "name": request["name"],
            "alone": "yes" if request["exclusive"] or not present else "",
            "present": "yes" if present else "",
            "check": "yes" if request["_check"] else "",
        }
        last = self.run(RUN_WITHOUT_PYTHON, variables=variables).split()[-1:]
        if last == ["somebodys"]:
            raise ServerError(
                f"A key of the host {request['name']} is let in by the dump server {self.where} already, by a line that does "
                f"not name the host. {authorized_keys.SOMEBODYS % request['name']}"
            )
        changed = last == ["changed"]
        actions = ["write .ssh/authorized_keys"] if changed else []
        return {"changed": changed, "actions": actions, "diff": [], "warnings": [], "receiver": False}


def program(request: dict[str, Any]) -> bytes:
    """The zip file that does the server's part of one request."""
    out = io.BytesIO(boot.program_bytes(authorize_program.__name__))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(authorize_program.REQUEST, json.dumps(request))
        archive.writestr(authorize_program.RECEIVER, boot.program_bytes(receiver.__name__))
    return out.getvalue()


def _is_of_login(error: BaseException) -> bool:
    return isinstance(error, paramiko.AuthenticationException) or "No authentication methods" in str(error)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _text(key: Any) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def _known_to_controller(name: str) -> list[str]:
    """The keys of a server in the files of whoever runs Ansible. paramiko's own look knows no patterns and no @revoked."""
    lines: list[str] = []
    for path in KNOWN_HOSTS:
        with contextlib.suppress(OSError):
            text = pathlib.Path(os.path.expanduser(path)).read_text("utf-8", "surrogateescape")
            lines += ssh.matching(text, name)
    revoked = [line.split()[3] for line in lines if line.startswith("@revoked")]
    return [key for key in known_hosts.keys(lines) if key.split()[1] not in revoked]
