"""Files that are replaced whole or not at all, checkpoints, locks."""

from .checkpoints import Checkpoints, without_prefix
from .folder import VERSION_KEY, Folder
from .lock import exclusive

__all__ = ["VERSION_KEY", "Checkpoints", "Folder", "exclusive", "without_prefix"]
