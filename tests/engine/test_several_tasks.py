"""What becomes of the errors of several tasks."""

from __future__ import annotations

from typing import cast

import pytest

from nugetproxy.engine.tasks import first_failure
from nugetproxy.errors import BadRequest, NotFound
from nugetproxy.feeds.cut_searches import rulings_of
from nugetproxy.feeds.judge import Judge, Ruling


def test_the_first_failure_of_a_group_stands_for_all() -> None:
    with pytest.raises(NotFound, match="one"), first_failure():
        raise BaseExceptionGroup("tasks", [NotFound("one"), BadRequest("two")])


def test_so_does_one_of_a_group_within() -> None:
    with pytest.raises(NotFound, match="one"), first_failure():
        raise BaseExceptionGroup("tasks", [ExceptionGroup("tasks of one", [NotFound("one")]), BadRequest("two")])


def test_a_fault_of_ours_is_not_hidden_by_a_failure() -> None:
    with pytest.raises(BaseExceptionGroup) as caught, first_failure():
        raise BaseExceptionGroup("tasks", [NotFound("one"), ZeroDivisionError()])
    assert len(caught.value.exceptions) == 2


def test_what_is_no_group_passes() -> None:
    with pytest.raises(NotFound), first_failure():
        raise NotFound("one")


async def test_a_search_whose_rules_cannot_be_asked_fails_as_one_of_them_does() -> None:
    class Silent:
        """A judge who cannot say anything."""

        async def ruling(self, id_: str, **_: object) -> Ruling:
            raise NotFound(id_)

    with pytest.raises(NotFound):
        await rulings_of(cast("Judge", Silent()), {"acme.a": (), "acme.b": ()}, "")
