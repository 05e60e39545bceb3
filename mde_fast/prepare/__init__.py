"""From raw interactions and a catalogue to a dataset folder.

Data flow one way: ``interactions`` reads, ``filters`` thins out, ``splits`` says what is held out, ``catalogue`` finds
each item's texts and pictures, ``encoders`` and ``encoding`` make features of them, ``folder`` writes.
"""

from .folder import prepare

__all__ = ["prepare"]
