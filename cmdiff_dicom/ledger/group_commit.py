"""Many threads, one commit: whoever gets the turn writes for all who wait, and one fsync serves them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Ticket(Generic[Item, Answer]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: list[Answer] = []
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.answer) or self.error is not None


class GroupCommit(Generic[Item, Answer]):
    """Calls `write` with the items of all threads that wait, never twice at once; each thread gets its own answer.

    `write` takes items, makes one transaction and answers them in order. Where a transaction of several fails, each item
    is tried by itself, so that nobody fails for another's item.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Answer]]) -> None:
        self._write = write
        self._queue = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Ticket[Item, Answer]] = []

    def __call__(self, item: Item) -> Answer:
        ticket: _Ticket[Item, Answer] = _Ticket(item)
        with self._queue:
            self._waiting.append(ticket)
        with self._turn:
            if not ticket.is_done:
                self._write_for_all()
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer[0]

    def _write_for_all(self) -> None:
        with self._queue:
            tickets, self._waiting = self._waiting, []
        try:
            answers = self._write([ticket.item for ticket in tickets])
        except Exception as error:
            if len(tickets) == 1:
                tickets[0].error = error
                return
            for ticket in tickets:
                self._write_alone(ticket)
            return
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.answer.append(answer)

    def _write_alone(self, ticket: _Ticket[Item, Answer]) -> None:
        try:
            ticket.answer.extend(self._write([ticket.item]))
        except Exception as error:
            ticket.error = error
