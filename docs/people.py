"""Makes docs/people.jpg: rendered people, a row each, from the folder that recipes/people.py has filled.

python docs/people.py D        D is the --output of recipes/people.py, with at least 2,000 people
"""

import sys
from pathlib import Path

from PIL import Image

PEOPLE, COLUMNS, SIZE = (123, 1054, 669, 1968), 12, (64, 128)


def sheet(folder):
    """One image of some people's first images."""
    image = Image.new("RGB", (COLUMNS * SIZE[0], len(PEOPLE) * SIZE[1]))
    for row, person in enumerate(PEOPLE):
        files = sorted(folder.glob(f"bounding_box_train/{person:06d}_*.jpg"))[:COLUMNS]
        if len(files) < COLUMNS:
            sys.exit(f"{folder} must hold {COLUMNS} images of person {person}. Received: {len(files)}")
        for column, file in enumerate(files):
            image.paste(Image.open(file).resize(SIZE), (column * SIZE[0], row * SIZE[1]))
    return image


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sheet(Path(sys.argv[1]) / "rendered-people").save(Path(__file__).with_name("people.jpg"), quality=88)
