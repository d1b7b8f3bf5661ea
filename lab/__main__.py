# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m lab COMMAND: see README.md beside this file."""

import argparse
import ipaddress
import json
import os
import pathlib
import re
import sys

from . import collection, demo, deps, guest, image, panic
from .common import LabError


def name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", text):
        raise argparse.ArgumentTypeError("a guest's name is made of a-z, 0-9 and -, and at most 31 long")
    return text


def size(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*[MG]", text):
        raise argparse.ArgumentTypeError("a size is a whole number of M or G, such as 512M")
    return text


def port(text: str) -> int:
    """0 stands for any free one."""
    if text == "auto":
        return 0
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("a port is `auto` or a number from 1024 to 65535")
    return int(text)


def card(text: str) -> str:
    """`none`, or nothing, is a card without an address."""
    if text in ("none", ""):
        return ""
    try:
        return ",".join(str(ipaddress.ip_interface(word)) for word in text.split(","))
    except ValueError:
        message = "a card is `none` or addresses with their prefixes, 192.0.2.1/24,2001:db8::1/64"
        raise argparse.ArgumentTypeError(message) from None


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python3 -m lab", description="Debian guests to crash.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def suite(of: argparse.ArgumentParser) -> None:
        of.add_argument("--suite", choices=image.SUITES, default="trixie", help="Debian suite (trixie)")

    def command(title: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(title, help=text, description=text)

    packages = command("deps", "install the Debian packages that the lab needs")
    packages.add_argument("--print", action="store_true", help="only name them")
    packages.add_argument("--tests", action="store_true", help="those that the unit tests use, too")
    build = command("image", "build the guests' disk image, unless it is there")
    suite(build)
    build.add_argument("--refresh", action="store_true", help="build it again with today's packages")
    boot = command("up", "make a guest, boot it, wait for its ssh")
    boot.add_argument("name", type=name)
    suite(boot)
    boot.add_argument("--cloud-image", default="", metavar="PATH|URL", help="make it from this cloud image instead")
    boot.add_argument("--memory", type=int, default=2048, metavar="MIB", help="memory (2048)")
    boot.add_argument("--cpus", type=int, default=2, help="virtual CPUs (2)")
    boot.add_argument("--disk", type=size, action="append", default=[], metavar="SIZE", help="a further disk: vdb, …")
    boot.add_argument("--card", type=card, action="append", default=[], metavar="ADDRESS/PREFIX[,…]|none", help=(
        "a network card on the segment that all guests share"
    ))  # fmt: skip
    boot.add_argument("--share", action="store_true", help="a directory of this machine, by virtiofs (tag `share`)")
    boot.add_argument("--port", type=port, default=0, help="ssh's port on 127.0.0.1 (auto)")
    shell = command("ssh", "a shell in the guest, or a command there")
    shell.add_argument("name", type=name)
    shell.add_argument("words", nargs="*", metavar="-- COMMAND")
    for title, text in (
        ("down", "destroy a guest and all its files"),
        ("cut", "cut a guest's power and boot it again"),
        ("crash", "make a guest panic, print how that ends (JSON), wait until it is back"),
        ("console", "print what the guest wrote to its serial console"),
    ):
        command(title, text).add_argument("name", type=name)
    command("list", "the guests there are")
    command("inventory", "an Ansible inventory of guests").add_argument("names", type=name, nargs="+")
    built = command("collection", "build the collection's tarball, install it, print its collections path")
    built.add_argument("directory", type=pathlib.Path, help="where to; nothing else may be kept in it")
    show = command("demo", "arm a guest, crash it, verify its vmcore, take it away")
    suite(show)
    return top


def main() -> None:
    args = parser().parse_args()
    if args.command == "deps":
        wanted = deps.PACKAGES + (deps.TEST_PACKAGES if args.tests else ())
        print("\n".join(wanted)) if args.print else deps.install(wanted)
    elif args.command == "image":
        print(image.get(args.suite, args.refresh).directory)
    elif args.command == "up":
        further = (args.cloud_image, args.card, args.share)
        guest.up(args.name, args.suite, args.memory, args.cpus, args.disk, args.port, *further)
    elif args.command == "down":
        guest.down(args.name)
    elif args.command == "cut":
        guest.power_cut(args.name)
    elif args.command == "crash":
        print(json.dumps(panic.crash_and_return(guest.find(args.name))._asdict(), indent=1))
    elif args.command == "ssh":
        argv = guest.ssh_argv(guest.find(args.name), *args.words)
        os.execvp(argv[0], argv)
    elif args.command == "console":
        print(guest.find(args.name).console.read_text(encoding="utf-8", errors="replace"))
    elif args.command == "list":
        for title in guest.names():
            one = guest.find(title)
            print(f"{title}\t{one.suite}\t{one.accel}\t127.0.0.1:{one.port}")
    elif args.command == "inventory":
        print(guest.inventory([guest.find(title) for title in args.names]), end="")
    elif args.command == "collection":
        print(collection.install(collection.programs_on_path(), args.directory.absolute()))
    elif args.command == "demo":
        demo.main(args.suite)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        sys.exit("lab: interrupted")
