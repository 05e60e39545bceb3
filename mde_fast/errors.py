"""Errors whose message is meant for the person at the keyboard."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one line that names it and says what to do."""
