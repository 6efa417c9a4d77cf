"""Dresses a person: the layers, each a paint and a piece of mesh, from the skin to what is carried."""

from keras_osnet.data.rendered import bodies, carried, garments, hats
from keras_osnet.data.rendered.paint import Paint

NECK = 0.575  # height at rest where shirts without a collar end
COLLARS = {"polo": 0.592, "shirt": 0.6, "short shirt": 0.594, "jacket": 0.612, "blazer": 0.6, "coat": 0.612,
           "padded jacket": 0.617, "vest": 0.6, "hoodie": 0.59}  # fmt: skip
# Where the torso piece of a garment ends if a tube goes on from there: the two overlap.
OVERLAP = 0.125
DECOR = ("colour", "second", "third", "pattern", "scale", "seed", "division", "side_stripe", "print", "edges",
    "gradient", "fading",
         "belt", "seam", "gloss")  # fmt: skip


def dress(parts, surface, person):
    """Returns (figure, thickness of the soles in metres, layers that are worn, layers that are carried).

    Layers are lists of (Paint, Piece).
    """
    figure = garments.Figure(parts, surface, bodies.shape(parts, person.body))
    strap = carried.strap_of(person.items)
    layers = [_skin(figure, person), _shoes(figure, person)]
    layers += _lower(figure, person) + _upper(figure, person, strap)
    if person.outer:
        layers += _outer(figure, person, strap)
    layers += hats.layers(figure, person.head)
    items = [layer for item in person.items for layer in carried.layers(figure, item)]
    return figure, person.shoes.width * figure.scale, layers, items


def skin_colour(body):
    tone = bodies.SKIN_TONES[body.tone][0]
    return tuple(min(max(c * f, 5), 250) for c, f in zip(tone, body.skin, strict=True))


def _skin(figure, person):
    sleeve = max(person.upper.sleeve, person.outer.sleeve if person.outer else -1)
    trouser = 0.2 if person.skirt else person.lower.hem
    piece = garments.skin(
        figure, sleeve=sleeve, trouser=trouser, low_neck=person.upper.neck[0] > 0.06 or sleeve < 0,
        feet=person.shoes.kind in ("sandals", "flat shoes"),
    )  # fmt: skip
    brows = tuple(c * 0.7 for c in person.head.hair_colour)
    lips = (255, 200, 200) if person.body.sex == "male" else (255, 150, 160)
    sock = 9.0 if person.socks is None or person.shoes.kind in ("sandals", "flat shoes") else 0.89
    paint = Paint(
        "skin", skin_colour(person.body), lips, brows, limits=(-9.0, 9.0, 9.0, sock), gloss=0.08,
        front=(*brows, person.head.beard), strap=("none", person.socks or (0, 0, 0)),
    )  # fmt: skip
    return paint, piece


def _shoes(figure, person):
    shoes = person.shoes
    piece = garments.shoes(figure, gap=shoes.gap, height=shoes.hem, sole=shoes.width * figure.scale)
    gloss = 0.3 if shoes.kind in ("leather shoes", "boots") else 0.1
    paint = Paint(
        "shoe", shoes.colour, shoes.second, limits=(-9.0, 9.0, 9.0, 9.0), seed=shoes.seed, gloss=gloss,
        division=("none", shoes.scale, 0.0), edges=0.0, wrinkle=(0.2, 0.05), front=(0.0, 0.0, 0.0, shoes.hem),
    )  # fmt: skip
    return paint, piece


def _paint(garment, **changes):
    fields = {name: getattr(garment, name) for name in DECOR} | {"wrinkle": (garment.wrinkle, 0.11)} | changes
    return Paint(**fields)


def _lower(figure, person):
    lower, tucked = person.lower, person.upper.tucked
    gap = max(lower.gap, person.upper.gap + 0.004) if tucked else lower.gap
    if person.skirt:
        gap, top = (person.upper.gap, 9.0) if lower.kind == "dress" else (gap, 0.165)
        folds, depth = lower.neck
        piece = garments.tube(
            figure, gap=gap, bottom=lower.hem, flare=lower.width, folds=folds, fold_depth=depth, phase=lower.seed * 6
        )
        return [(_paint(lower, limits=(lower.hem, top, 9.0, 9.0)), piece)]
    piece = garments.lower(figure, gap=gap, hem=lower.hem, knee=lower.neck[0], ankle=lower.neck[1])
    return [(_paint(lower, limits=(-9.0, 0.12, 9.0, lower.hem)), piece)]


def _upper(figure, person, strap):
    upper, outer = person.upper, person.outer
    hidden = outer is not None and outer.sleeve > 0.8  # arms are under those of the outer garment
    sleeve = -1.0 if hidden else upper.sleeve
    boxy = upper.width * (0.3 if upper.tucked else 1.0)
    strap = ("none", (0, 0, 0)) if outer else strap
    top = COLLARS.get(upper.kind, NECK)
    piece = garments.upper(
        figure, gap=upper.gap, rounds=int(2 + 6 * upper.width), sleeve=sleeve, cuff=0.05 + 0.035 * upper.width,
        bottom=-0.03 if upper.tucked else OVERLAP, boxy=boxy,
    )  # fmt: skip
    lowest = OVERLAP if not upper.tucked or upper.kind == "dress" else -0.03
    limits = (lowest, top, sleeve, 9.0)
    edges = upper.edges if upper.tucked else -upper.edges  # the tube has the hem
    found = [(_paint(upper, limits=limits, front=(*upper.neck, 0.0, 0.0), strap=strap, edges=edges), piece)]
    if not upper.tucked:
        piece = garments.tube(figure, gap=max(upper.gap, person.lower.gap + 0.014), bottom=upper.hem, boxy=boxy)
        found.append((_paint(upper, limits=(upper.hem, 9.0, 9.0, 9.0), strap=strap), piece))
    if upper.hood and outer is None:
        found.append((_paint(upper, pattern="plain", print=Paint.print), hats.hood(figure, up=_hood_up(person, upper))))
    return found


def _outer(figure, person, strap):
    outer = person.outer
    gap = outer.gap + person.upper.gap * 0.5
    width = outer.opened
    front = (*outer.neck, width, width * 1.3)
    short = outer.hem > 0.12
    piece = garments.upper(
        figure, gap=gap, rounds=int(4 + 6 * outer.width), sleeve=outer.sleeve, cuff=0.06 + 0.03 * outer.width,
        bottom=outer.hem if short else OVERLAP, boxy=outer.width,
    )  # fmt: skip
    limits = (outer.hem if short else OVERLAP, COLLARS.get(outer.kind, NECK), outer.sleeve, 9.0)
    changes = {}
    if outer.kind == "padded jacket":
        darker = tuple(c * 0.72 for c in outer.colour)
        changes = {"pattern": "thin stripes", "scale": 0.14, "second": darker, "third": outer.colour}
    edges = outer.edges if short else -outer.edges
    found = [(_paint(outer, limits=limits, front=front, strap=strap, edges=edges, **changes), piece)]
    if not short:
        piece = garments.tube(
            figure, gap=max(gap, person.upper.gap + 0.014, person.lower.gap + 0.022), bottom=outer.hem,
            boxy=outer.width, flare=0.12 if outer.hem < -0.2 else 0.0, cinch=0.03 if outer.belt > 0 else 0.0,
        )  # fmt: skip
        limits, front = (outer.hem, 9.0, 9.0, 9.0), (0, 0, width, width)
        found.append((_paint(outer, limits=limits, front=front, strap=strap, **changes), piece))
    if outer.hood:
        found.append((_paint(outer, pattern="plain", print=Paint.print), hats.hood(figure, up=_hood_up(person, outer))))
    return found


def _hood_up(person, garment):
    return person.head.hat == "none" and garment.seed < 0.25
