"""The one error of this package."""


class BackupError(Exception):
    """Something a person can act on: the message says what is wrong, the hint what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
