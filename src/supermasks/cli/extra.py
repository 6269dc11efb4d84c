"""What the command line takes from the extra `cli`: the one place that notices when tyro or rich is missing."""

from supermasks.errors import MissingExtraError

try:
    import tyro
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
    from rich.table import Table
    from rich.text import Text
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
    from tyro.extras import SubcommandApp
except ImportError as error:
    raise MissingExtraError(
        f"the command line needs {error.name}; install it with: pip install 'supermasks[cli]'"
    ) from error

__all__ = [
    "BarColumn",
    "Console",
    "ConstructorRegistry",
    "MofNCompleteColumn",
    "PrimitiveConstructorSpec",
    "PrimitiveTypeInfo",
    "Progress",
    "SubcommandApp",
    "Table",
    "TaskID",
    "Text",
    "TextColumn",
    "TimeElapsedColumn",
    "tyro",
]
