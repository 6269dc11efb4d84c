"""What all builders of networks ask of their settings."""

from supermasks.errors import ConfigError


def check_positive(**settings: int) -> None:
    """Raise ConfigError unless all settings are at least 1.

    Example:
        >>> check_positive(outputs=10, channels=3)
    """
    for name, value in settings.items():
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, but {value} came")
