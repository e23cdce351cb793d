"""`gpuc deadletters`: messages that this cluster did not send, or that are malformed: listed, shown and dropped."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.api.dead_letters import DeadLetterInfo
from cluster_dashboard.console.arguments import OneOf, whole_number
from cluster_dashboard.console.command import ConsoleCommand, actor
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_UNAVAILABLE
from cluster_dashboard.console.screen import console, data, table
from cluster_dashboard.console.text import counted, lines, moment, one_line
from scheduler.broker import dead_letters
from scheduler.broker.dead_letters import DEAD_LETTERS_KEPT, DeadLetter
from scheduler.redis_client import connect

HEADINGS = ("ID", "AT", "QUEUE", ">BYTES", "WHAT WAS WRONG")


class Command(ConsoleCommand):
    help = (
        "Messages in the broker that this cluster did not send or that are malformed. The newest are kept; none is run."
    )
    examples = """\
  gpuc deadletters                     newest first
  gpuc deadletters --json | jq -r '.dead_letters[].reason'
  gpuc deadletters show 3f9c0a1b2c4d   with its content
  gpuc deadletters drop 3f9c0a1b2c4d
  gpuc deadletters drop --all

exit status: 0 done, 1 there is none with that id, 2 bad input, 3 the broker or the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = ("list", "show", "drop")
        parser.add_argument(
            "action",
            metavar="ACTION",
            nargs="?",
            default="list",
            type=OneOf(actions),
            help=f"{', '.join(actions)} (default: list)",
        )
        parser.add_argument("id", metavar="ID", nargs="?", default="", help="as the list tells it")
        parser.add_argument("--all", action="store_true", help="drop all of them")
        parser.add_argument(
            "--limit",
            metavar="N",
            type=whole_number(1, DEAD_LETTERS_KEPT),
            default=20,
            help=f"the maximum number of letters, 1 to {DEAD_LETTERS_KEPT} (default: 20)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON only, with the API's fields")

    def answer(self, **options: Any) -> int:
        action, letter_id = options["action"], options["id"]
        _check(action, letter_id, everything=options["all"])
        client = connect()
        try:
            if action == "list":
                return self._list(client, **options)
            if action == "show":
                return self._show(client, letter_id, as_json=options["json"])
            return self._drop(client, letter_id, as_json=options["json"])
        except (RedisError, OSError) as error:
            raise CommandError(f"the broker is unavailable: {error}", returncode=EXIT_UNAVAILABLE) from None
        finally:
            client.close()

    def _list(self, client: Redis, **options: Any) -> int:
        counts, found = dead_letters.count(client), dead_letters.read(client, limit=options["limit"])
        if options["json"]:
            self.say_json(
                {"dead_letters": [_fields(each) for each in found], "kept": counts.kept, "total": counts.total}
            )
        elif not found:
            self.note("no dead letters")
        else:
            rows = [
                [data(value) for value in (each.id, moment(each.at), each.queue, each.size, each.reason)]
                for each in found
            ]
            screen = console(self.stdout, no_color=options["no_color"])
            screen.print(table(HEADINGS, rows, cut="WHAT WAS WRONG"))
            if counts.kept > len(found):
                self.note(f"there are {counts.kept}: --limit {counts.kept}")
        return 0

    def _show(self, client: Redis, letter_id: str, *, as_json: bool) -> int:
        letter = dead_letters.find(client, letter_id)
        if letter is None:
            return self._no_such(letter_id)
        if as_json:
            self.say_json(_fields(letter))
            return 0
        part = "" if letter.is_whole else f", of which the first {len(letter.kept)} follow"
        for name, value in (
            ("at", f"{moment(letter.at)} UTC"),
            ("queue", letter.queue),
            ("wrong", letter.reason),
            ("size", f"{counted(letter.size, 'byte')}{part}"),
        ):
            self.say(f"{name:<6} {one_line(value)}")
        self.say(f"\n{lines(letter.content)}")
        return 0

    def _drop(self, client: Redis, letter_id: str, *, as_json: bool) -> int:
        if not letter_id:
            dropped = dead_letters.drop_all(client, actor=actor())
        elif dead_letters.drop(client, letter_id, actor=actor()):
            dropped = 1
        else:
            return self._no_such(letter_id)
        if as_json:
            self.say_json({"dropped": dropped})
        else:
            self.say(f"{counted(dropped, 'dead letter')} dropped")
        return 0

    def _no_such(self, letter_id: str) -> int:
        self.note(f"there is no dead letter {letter_id}")
        return EXIT_FAILED


def _check(action: str, letter_id: str, *, everything: bool) -> None:
    wrong = ""
    if action == "list" and (letter_id or everything):
        wrong = "the list accepts neither an ID nor --all"
    elif action == "show" and (not letter_id or everything):
        wrong = "show expects an ID"
    elif action == "drop" and bool(letter_id) == everything:
        wrong = "drop expects an ID, or --all"
    if wrong:
        raise CommandError(f"{wrong}; see gpuc deadletters --help", returncode=EXIT_BAD_INPUT)


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return DeadLetterInfo.from_orm(letter).model_dump(mode="json")
