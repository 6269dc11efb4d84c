"""What reports take from the extra `cli`: the one place that notices when matplotlib or rich is missing."""

from supermasks.errors import MissingExtraError

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise MissingExtraError(f"reports need {error.name}; install it with: pip install 'supermasks[cli]'") from error

__all__ = ["Axes", "Figure", "MaxNLocator", "Table", "Text", "withStroke"]
