"""What can go wrong, by whose fault it is. In: a message. Out: the exit status that a job ends with.

Every error carries its strings as its arguments, so that it survives pickling between workers.
"""

from __future__ import annotations


class UserError(ValueError):
    """The user's input is wrong: the job ends with status 2 and the message, without a traceback.

    The message says what it got, what it expected and what to do.
    """


class ConflictError(UserError):
    """Another run published, or is still at work, under the same root."""


class GateRefused(Exception):
    """The work is done, but a gate refused to publish it: status 3."""

    def __init__(self, message: str, page: str = "") -> None:
        super().__init__(message, page)
        self.page = page
        """The page that shows why, below the root."""

    def __str__(self) -> str:
        return str(self.args[0])


class ReconciliationError(RuntimeError):
    """Rows in and rows out do not add up: nothing may be published."""


def user_error_behind(error: BaseException | None) -> UserError | None:
    """Find the user's mistake behind an error, also one that happened on a worker and came back wrapped."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UserError):
            cause = getattr(error, "cause", None)
            return cause if isinstance(cause, UserError) else error
        seen.add(id(error))
        cause = getattr(error, "cause", None)
        error = cause if isinstance(cause, BaseException) else error.__cause__ or error.__context__
    return None
