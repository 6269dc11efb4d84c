"""Checks of settings that all network builders share."""

from numbers import Integral

from supermasks.errors import ConfigError


def check_positive(**settings: int) -> None:
    """Raise ConfigError unless all settings are positive integers.

    Example:
        >>> check_positive(outputs=10, channels=3)
    """
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}")
