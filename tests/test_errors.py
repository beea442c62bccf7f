"""What becomes of the errors of several tasks."""

from __future__ import annotations

import pytest

from nugetproxy.errors import BadRequest, NotFound, first_failure


def test_the_first_failure_of_a_group_stands_for_all() -> None:
    with pytest.raises(NotFound, match="one"), first_failure():
        raise BaseExceptionGroup("tasks", [NotFound("one"), BadRequest("two")])


def test_a_fault_of_ours_is_not_hidden_by_a_failure() -> None:
    with pytest.raises(BaseExceptionGroup) as caught, first_failure():
        raise BaseExceptionGroup("tasks", [NotFound("one"), ZeroDivisionError()])
    assert len(caught.value.exceptions) == 2


def test_what_is_no_group_passes() -> None:
    with pytest.raises(NotFound), first_failure():
        raise NotFound("one")
