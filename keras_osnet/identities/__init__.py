"""People across frames and cameras: tracks, and which of them are one person."""

from keras_osnet.identities.linking import Identities, link
from keras_osnet.identities.tracks import Track

__all__ = ["Identities", "Track", "link"]
