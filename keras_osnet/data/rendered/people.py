"""People: body, clothes and carried objects, the differences between people, and their attributes."""

from dataclasses import dataclass, replace

import numpy as np

from keras_osnet.data.rendered import carried, clothes, outfits
from keras_osnet.data.rendered.bodies import Body, choose, draw_body
from keras_osnet.data.rendered.carried import Item
from keras_osnet.data.rendered.clothes import SEASONS, Garment
from keras_osnet.data.rendered.head import Head, draw_head
from keras_osnet.data.rendered.paint import FAMILIES, family


@dataclass(frozen=True)
class Person:
    """One identity."""

    body: Body
    season: str
    upper: Garment
    lower: Garment
    shoes: Garment
    outer: Garment | None
    head: Head
    items: tuple[Item, ...]
    socks: tuple | None  # colour

    @property
    def skirt(self):
        return self.lower.kind in clothes.SKIRTS or self.lower.kind == "dress"

    @property
    def visible_upper(self):
        return self.outer or self.upper


def draw_person(rng):
    """A random `Person`."""
    body = draw_body(rng)
    season = choose(rng, SEASONS)
    if body.sex == "female" and rng.random() < clothes.DRESS_SHARE[season]:
        upper, lower = outfits.draw_dress(rng, season)
    else:
        upper, lower = outfits.draw_upper(rng, body.sex, season), outfits.draw_lower(rng, body.sex, season)
        if rng.random() < 0.05:  # one colour from top to bottom: overalls, tracksuits, uniforms
            lower = replace(lower, colour=upper.colour, pattern="plain")
            upper = replace(upper, pattern="plain")
    outer = outfits.draw_outer(rng, body.sex, season) if rng.random() < clothes.OUTER_SHARE[season] else None
    items = carried.draw_items(rng, body.age_group != "child")
    socks = outfits.draw_colour(rng, clothes.SHOE_COLOURS) if rng.random() < 0.6 else None
    shoes, head = outfits.draw_shoes(rng, body.sex, season), draw_head(rng, body, season)
    return Person(body, season, upper, lower, shoes, outer, head, items, socks)


def _other_upper(person, rng):
    garment = "outer" if person.outer else "upper"
    colour = outfits.draw_colour(rng, clothes.UPPER_COLOURS)
    changed = replace(getattr(person, garment), colour=colour)
    lower = replace(person.lower, colour=colour) if person.upper.kind == "dress" and not person.outer else person.lower
    return replace(person, **{garment: changed}, lower=lower)


def _other_print(person, rng):
    garment = "outer" if person.outer else "upper"
    decor = outfits.draw_decor(rng, clothes.UPPER_COLOURS, 0.6, 1.0)
    kept = ("pattern", "print", "division", "second", "third", "scale", "seed")
    return replace(person, **{garment: replace(getattr(person, garment), **{name: decor[name] for name in kept})})


def _other_items(person, rng):
    items = carried.draw_items(rng, True)
    return replace(person, items=() if person.items else items or (carried._draw(rng, "backpack"),))


# What two people who are otherwise dressed alike differ in. The body, and so the face and the build, is the same too:
# nothing but the detail tells them apart.
DETAILS = {
    "upper colour": _other_upper,
    "print or pattern": _other_print,
    "lower colour": lambda p, rng: replace(
        p, lower=replace(p.lower, colour=outfits.draw_colour(rng, clothes.LOWER_COLOURS), pattern="plain")
    ),
    "shoes": lambda p, rng: replace(p, shoes=outfits.draw_shoes(rng, p.body.sex, p.season)),
    "hair": lambda p, rng: replace(p, head=draw_head(rng, p.body, p.season)),
    "carried": _other_items,
}


def draw_twin(person, rng):
    """(a person who differs in one detail, the detail's name): a hard negative."""
    name = list(DETAILS)[int(rng.integers(len(DETAILS)))]
    return DETAILS[name](person, rng), name


def in_plain_clothes(person):
    """The person in clothes of one colour each, without a jacket and without what is carried."""
    plain = {
        name: Garment.__dataclass_fields__[name].default for name in ("pattern", "division", "side_stripe", "print")
    }
    upper, lower = (replace(garment, gradient=0.0, **plain) for garment in (person.upper, person.lower))
    return replace(person, upper=upper, lower=lower, outer=None, items=())


def person_of(key, number, twins):
    """The `Person` of a number; of the share `twins` of pairs of people, the second differs in one detail only.

    Args:
        key: tuple of integers that tells sets apart: seed and side.
        number: from 0.
        twins: 0 .. 1.
    """
    first = draw_person(np.random.default_rng((*key, 2, number - number % 2)))
    if number % 2 == 0:
        return first
    rng = np.random.default_rng((*key, 3, number))
    return draw_twin(first, rng)[0] if rng.random() < twins else draw_person(rng)


def variants(person):
    """The person as drawn, then without the jacket and without what is carried, as far as there are such."""
    found = [person]
    if person.outer:
        found.append(replace(person, outer=None))
    if person.items:
        found.append(replace(person, items=()))
    return found


def carries(*kinds):
    return lambda person: any(item.kind in kinds for item in person.items)


# Attribute: whether a person has it. Colours are those of the outermost garment.
ATTRIBUTES = {
    "female": lambda p: p.body.sex == "female",
    "child": lambda p: p.body.age_group == "child",
    "elderly": lambda p: p.body.age_group == "elderly",
    "heavy": lambda p: p.body.build == "heavy",
    "long_hair": lambda p: p.head.long_hair and p.head.hat != "headscarf",
    "hat": lambda p: p.head.hat != "none",
    "glasses": lambda p: p.head.glasses != "none",
    "mask": lambda p: p.head.mask is not None,
    "scarf": lambda p: p.head.scarf is not None or p.head.hat == "headscarf",
    "long_sleeves": lambda p: 0.8 < p.visible_upper.sleeve < 5,
    "open_outer": lambda p: p.outer is not None and p.outer.opened > 0,
    "coat": lambda p: p.outer is not None and p.outer.hem < -0.2,
    "upper_pattern": lambda p: p.visible_upper.pattern != "plain",
    "upper_print": lambda p: p.visible_upper.print[0] >= 0,
    "skirt_or_dress": lambda p: p.skirt,
    "shorts": lambda p: p.lower.kind in ("shorts", "long shorts"),
    "boots": lambda p: p.shoes.kind == "boots",
    "backpack": carries("backpack"),
    "bag": carries("shoulder bag", "handbag", "forearm bag", "briefcase"),
    "shopping_bag": carries("shopping bag", "two shopping bags", "parcel"),
    "trolley": carries("trolley"),
    "umbrella": carries("umbrella"),
    "bicycle": carries("bicycle", "ridden bicycle"),
    **{f"upper_{name}": lambda p, name=name: family(p.visible_upper.colour) == name for name in FAMILIES},
    **{f"lower_{name}": lambda p, name=name: family(p.lower.colour) == name for name in FAMILIES},
}


def attributes_of(person):
    """0 or 1 for each of `ATTRIBUTES`."""
    return tuple(int(has(person)) for has in ATTRIBUTES.values())


# What the table of identities says of a person.
SUMMARY = {
    "sex": lambda p: p.body.sex,
    "age_group": lambda p: p.body.age_group,
    "years": lambda p: round(p.body.years),
    "build": lambda p: p.body.build,
    "height": lambda p: round(p.body.height, 2),
    "skin": lambda p: p.body.tone,
    "season": lambda p: p.season,
    "hair": lambda p: p.head.hair,
    "hat": lambda p: p.head.hat,
    "upper": lambda p: p.upper.kind,
    "outer": lambda p: p.outer.kind if p.outer else "none",
    "lower": lambda p: p.lower.kind,
    "shoes": lambda p: p.shoes.kind,
    "carried": lambda p: " + ".join(item.kind for item in p.items) or "nothing",
}


def summary(person):
    """Plain values for each of `SUMMARY`."""
    return {name: value(person) for name, value in SUMMARY.items()}
