"""Who is in videos: `run.py --video`."""

import sys
from collections import Counter

from boxes import read_boxes  # beside this file
from detector import Detector
from files import replacing
from video import identities, in_turn, lines, until_interrupted, write


def follow(options, videos, gallery, network, threshold):
    """Prints the identities of the boxes of videos, or writes them as CSV.

    Args:
        options: of the command line.
        videos: dict of a name to its frames.
        gallery: `Gallery`.
        network: `Network`.
        threshold: smallest cosine of a known person.
    """
    boxes, skipped = boxes_of(options)
    settings = {"least": options.least_boxes, "skipped": skipped if options.outside == "skip" else None}
    people = {
        name: identities(frames, boxes, network.embed_boxes, gallery, threshold, **settings)
        for name, frames in videos.items()
    }
    seen, several = in_turn(people), len(videos) > 1
    if any(getattr(frames, "is_camera", False) for frames in videos.values()):
        seen = until_interrupted(seen)
    if options.output:
        with replacing(options.output, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            count = write(file, seen, several)
        print(f"{options.output}: {count} boxes")
    else:
        for line in lines(seen, several):
            print(line, flush=True)
    report_skipped(skipped)


def boxes_of(options):
    """Boxes of a file, or a function of an image that detects them, and a `Counter` of rows that are skipped."""
    if not options.detector:
        if len(options.video) > 1:
            raise ValueError(f"--boxes must be those of one video. Received: {len(options.video)} videos")
        if not options.boxes.is_file():
            raise FileNotFoundError(f"There is no file {options.boxes}")
        return read_boxes(options.boxes)
    detector = Detector(
        options.detector,
        person=options.person_class,
        score=options.detector_score,
        overlap=options.detector_overlap,
        words=options.detector_as,
        threads=options.threads,
    )
    print(detector.chosen, file=sys.stderr)
    return detector, Counter()


def report_skipped(skipped):
    """Prints the number of skipped rows and boxes by reason."""
    if skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        print(f"{skipped.total()} boxes skipped: {reasons}", file=sys.stderr)
