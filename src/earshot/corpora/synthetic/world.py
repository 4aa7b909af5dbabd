"""The small world that synthetic speech talks about: who did what, to which thing, where, and under
what sky.

A passage is one sentence of five facts and a closing sentence that follows from the place without
naming it, so that "which sentence comes next?" asks for an inference. `SEEN` wordings occur in
every split, `UNSEEN` ones only in test.
"""

import hashlib
from dataclasses import astuple, dataclass

import numpy as np

NAMES = (
    "Anna Peter Maria Thomas Julia Robert Helen Victor "
    "Laura Simon Clara Martin Emma Oscar Nina Walter"
).split()
ACTIONS = "bought lost found sold borrowed painted repaired forgot".split()
THINGS = (
    "umbrella bicycle camera guitar lantern suitcase necklace blanket telescope kettle compass "
    "violin backpack mirror hammer wallet basket ladder"
).split()
SKIES = (
    "on a rainy day|on a snowy day|on a foggy day|on a windy day|on a sunny day|on a stormy day|"
    "early in the morning|late at night|around midnight|before dinner|after breakfast|"
    "during the holidays|last Monday|last Thursday|last Saturday|in a bad mood|in great hurry|"
    "with much joy"
).split("|")
PLACES = {
    "station": "A train was about to leave.",
    "beach": "The waves were high and loud.",
    "library": "All the readers kept silent.",
    "market": "Fresh apples were very cheap.",
    "hospital": "A kind nurse opened the door.",
    "museum": "Old pictures covered every wall.",
    "kitchen": "The soup was almost ready.",
    "garden": "The roses smelled sweet.",
    "airport": "Two planes landed soon after.",
    "school": "The children ran to their class.",
    "farm": "The cows came home slowly.",
    "harbor": "The boats were full of fish.",
    "castle": "The king once lived up there.",
    "forest": "Tall trees hid the path.",
    "theater": "The actors bowed on stage.",
    "bakery": "Warm bread lay on the shelf.",
}
SEEN = (
    "{name} {action} a {thing} at the {place} {sky}.",
    "{sky}, {name} {action} a {thing} at the {place}.",
    "At the {place}, {name} {action} a {thing} {sky}.",
    "It was at the {place} that {name} {action} a {thing} {sky}.",
    "They say {name} {action} the {thing} near the {place} {sky}.",
    "{name} went to the {place} {sky} and {action} a {thing}.",
)
UNSEEN = (
    "The {thing} that {name} {action} {sky} came from the {place}.",
    "Do you remember how {name}, {sky}, {action} that {thing} by the {place}?",
    "Near our {place} a {thing} was what {name} {action} {sky}.",
)
# Everyday words that the world does not use: pretraining hears them so that its letters do not hang
# on one vocabulary.
EVERYDAY = (
    "about above across again against almost along also always among another answer around because "
    "become before begin behind below between beyond both bottle bridge bright bring brother brown "
    "build burn call carry catch change check choose clean clear climb close cloud coffee cold "
    "come corner count country cover cross dance dark daughter deep different dinner distance "
    "dozen draw dream drink drive during eight either enough evening every example explain face "
    "family famous father fifteen figure finger finish first floor flower follow forward four "
    "fresh friend front general gentle give glass gold great green ground group guess half hand "
    "happen heart heavy history hold hope horse hour house hundred hurt ice idea inside island job "
    "jump keep kind knife know lady language large laugh learn leave letter life light listen "
    "little live long lunch machine matter measure middle minute money month moon mother mountain "
    "mouth move music nature never nothing number ocean offer often only orange other outside page "
    "paper party pencil people picture piece place plan plate please point possible power present "
    "problem promise public pull purple push question quick quiet quite reach ready really reason "
    "record red rest rich right river road rock round rule sad safe same sand science season "
    "second sell sentence seven shape share sharp ship shirt shop short shoulder side sign silver "
    "simple sing sister sit six size sleep slow small smile soft soldier son song sound south "
    "space speak spend spring square star start stay step stone stop story straight strange street "
    "strong sugar summer sure surface swim table talk teach tell ten thank thick thin thing third "
    "thousand three through throw today together tomorrow touch toward town travel trip trouble "
    "true turn twenty under until usual valley very village visit voice wait walk wash water way "
    "week weight west wheel white whole wide wife wild window winter wish without woman wonder "
    "wood word work world worry write wrong year yellow yesterday young"
).split()


@dataclass(frozen=True)
class Facts:
    """What a passage says; two passages with the same facts are the same passage."""

    name: str
    action: str
    thing: str
    place: str
    sky: str

    def bucket(self) -> int:
        """Map the facts to 0–99 by hash: a split has its buckets, so no passage is in two."""
        digest = hashlib.sha256("|".join(astuple(self)).encode()).digest()
        return int.from_bytes(digest[:4], "big") % 100

    def tell(self, wording: str) -> str:
        """Return the sentence for these facts."""
        sentence = wording.format(**vars(self))
        return sentence[0].upper() + sentence[1:]

    def closing(self) -> str:
        """Return the sentence that comes next."""
        return PLACES[self.place]


def draw(rng: np.random.Generator, buckets: range) -> Facts:
    """Draw facts whose bucket lies in `buckets`."""
    choices = (NAMES, ACTIONS, THINGS, tuple(PLACES), SKIES)
    while True:
        facts = Facts(*(options[rng.integers(len(options))] for options in choices))
        if facts.bucket() in buckets:
            return facts


def salad(rng: np.random.Generator) -> str:
    """Return five to nine words in random order, half of them the world's: speech that context does
    not give away.
    """
    words = sorted({w.strip(".,?").lower() for w in _all_text().split()})
    words += EVERYDAY
    number = rng.integers(5, 10)
    chosen = [words[i] for i in rng.integers(len(words), size=number)]
    return " ".join(chosen).capitalize() + "."


def _all_text() -> str:
    blank = dict.fromkeys(("name", "action", "thing", "place", "sky"), "")
    wordings = (w.format(**blank) for w in SEEN)
    return " ".join((*NAMES, *ACTIONS, *THINGS, *SKIES, *PLACES, *PLACES.values(), *wordings))
