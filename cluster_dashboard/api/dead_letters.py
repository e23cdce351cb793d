"""/api/dead-letters: messages that this cluster did not send or that are malformed, to look at and to drop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final

from django.http import HttpRequest
from ninja import Path, Query, Router, Schema
from pydantic import Field
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.http.permissions import CONTROL, READ, actor_of
from cluster_dashboard.api.http.problems import RETRY_AFTER_SECONDS, Problem
from cluster_dashboard.api.http.rate_limit import count_control
from cluster_dashboard.api.schemas import LIMIT_MAXIMUM
from scheduler.broker import dead_letters
from scheduler.broker.dead_letters import DEAD_LETTERS_KEPT, ID_LENGTH

router = Router(tags=["dead letters"])

LetterId = Annotated[str, Path(pattern=f"^[0-9a-f]{{{ID_LENGTH}}}$", description="As in the list")]
NO_SUCH: Final = "There is no dead letter with this id: it was dropped, or newer ones have displaced it."


class DeadLetterInfo(Schema):
    id: str
    at: datetime
    queue: str
    reason: str = Field(description="Why the message was refused")
    size: int = Field(description="Bytes of the whole message")
    content: str = Field(description="Its beginning, as text; bytes that are not UTF-8 appear as \\x..")
    is_whole: bool = Field(description="Whether `content` is all of it")


class DeadLetterPage(Schema):
    """Messages that this cluster did not send or that are malformed, newest first."""

    dead_letters: list[DeadLetterInfo]
    kept: int = Field(description="The number of dead letters kept")
    total: int = Field(description="The number since the broker was last emptied")
    next_offset: int | None = Field(description="Send it as `offset` to get the next page; null on the last one")


class Dropped(Schema):
    dropped: int


@router.get(
    "/dead-letters",
    auth=READ,
    response=DeadLetterPage,
    summary="List dead letters",
)
def list_dead_letters(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAXIMUM)] = 50,
    offset: Annotated[int, Query(ge=0, le=DEAD_LETTERS_KEPT)] = 0,
) -> DeadLetterPage:
    with _broker_asked():
        counts = dead_letters.count(client())
        found = dead_letters.read(client(), offset=offset, limit=limit)
    following = offset + len(found)
    return DeadLetterPage(
        dead_letters=[DeadLetterInfo.from_orm(letter) for letter in found],
        kept=counts.kept,
        total=counts.total,
        next_offset=following if found and following < counts.kept else None,
    )


@router.delete("/dead-letters", auth=CONTROL, response=Dropped, summary="Drop all dead letters")
def drop_all_dead_letters(request: HttpRequest) -> Dropped:
    actor = actor_of(request)
    count_control(actor)
    with _broker_asked():
        return Dropped(dropped=dead_letters.drop_all(client(), actor=actor))


@router.delete("/dead-letters/{letter_id}", auth=CONTROL, response=Dropped, summary="Drop one dead letter")
def drop_dead_letter(request: HttpRequest, letter_id: LetterId) -> Dropped:
    actor = actor_of(request)
    count_control(actor)
    with _broker_asked():
        if not dead_letters.drop(client(), letter_id, actor=actor):
            raise Problem(404, NO_SUCH)
    return Dropped(dropped=1)


@contextmanager
def _broker_asked() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        detail = f"The broker, which keeps the dead letters, is unavailable ({type(error).__name__})."
        raise Problem(503, detail, retry_after=RETRY_AFTER_SECONDS) from None
