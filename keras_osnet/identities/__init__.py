"""People across frames and cameras: tracks, which of them are one person, and a gallery that remembers."""

from keras_osnet.identities.gallery import Gallery, Match, fingerprint_of
from keras_osnet.identities.linking import Identities, link
from keras_osnet.identities.tracks import Track

__all__ = ["Gallery", "Identities", "Match", "Track", "fingerprint_of", "link"]
