"""What reviewers of the sample shop talk about, and how praise and complaint sound."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing that reviewers praise or complain about. Phrases continue a sentence about "it".

    The last phrase of each kind is kept for products that training never sees.
    """

    good: str
    """How a summary words the praise."""
    bad: str
    """How a summary words the complaint."""
    praise: tuple[str, ...]
    complaints: tuple[str, ...]

    def word(self, is_praise: bool, split: str) -> tuple[str, ...]:
        """Return the phrases in which reviewers of a split's products praise it, or complain about it."""
        phrases = self.praise if is_praise else self.complaints
        return phrases[:-1] if split == "train" else phrases[-1:]


SHARED: tuple[Aspect, ...] = (
    Aspect(
        "is well made",
        "feels cheaply made",
        ("feels solid in the hand", "is really well made", "has not a single loose seam or edge", "is built to last"),
        ("feels cheap", "came with a crack after one week", "looks flimsy up close", "is poorly put together"),
    ),
    Aspect(
        "is good value for the money",
        "is overpriced",
        ("is worth every cent", "is a bargain for what you get", "costs half of what my old one did"),
        ("costs too much for what it is", "is not worth the price", "is overpriced compared with similar ones"),
    ),
    Aspect(
        "looks just like the pictures",
        "does not match the pictures",
        ("looks even better than in the photos", "has exactly the color shown", "gets me compliments all the time"),
        ("has a different color than shown", "looks nothing like the photos", "looks faded out of the box"),
    ),
    Aspect(
        "has the right size",
        "runs smaller than expected",
        ("is just the right size", "fits perfectly", "has the size that the listing says"),
        ("is much smaller than I thought", "runs small, so check the measurements", "is too small for its purpose"),
    ),
    Aspect(
        "arrives quickly and well packed",
        "arrives late or damaged",
        ("arrived two days early", "came carefully packed", "was on my doorstep the next day"),
        ("arrived with a torn box", "took three weeks to get here", "was scratched when I unpacked it"),
    ),
)

BY_CATEGORY: dict[str, tuple[Aspect, ...]] = {
    "Kitchen": (
        Aspect("is easy to clean", "is hard to clean",
               ("wipes clean in seconds", "cleans up without any scrubbing",
                "rinses off under the tap"),
               ("is a pain to clean", "keeps stains whatever I try",
                "is impossible to get clean again")),
        Aspect("is handy in daily use", "is awkward to use",
               ("has become the thing I reach for every day", "earned its place on my counter",
                "is a joy to use every single day"),
               ("is awkward to hold", "takes up far too much room",
                "is clumsy and gets in the way")),
    ),
    "Garden": (
        Aspect("stands up to the weather", "does not stand up to the weather",
               ("survived two storms without a mark", "stayed outside all winter and still looks new",
                "does not mind rain, frost or wind"),
               ("was ruined by the first rain", "fell apart in the sun within a month",
                "rusted after a few wet days")),
    ),
    "Electronics": (
        Aspect("works reliably", "stops working soon",
               ("has worked without a hitch since day one", "has never let me down",
                "does its job day after day without fail"),
               ("stopped working after a week", "keeps cutting out",
                "broke down within days")),
        Aspect("is easy to set up", "is hard to set up",
               ("was ready in two minutes", "worked right out of the box",
                "took no time at all to get going"),
               ("took me an hour to set up", "has a manual that nobody understands",
                "is a nightmare to get running")),
    ),
    "Clothing": (
        Aspect("is comfortable", "is uncomfortable",
               ("is so comfortable that I forget I have it on", "feels great all day long",
                "is soft and pleasant to wear"),
               ("itches after ten minutes", "rubs in all the wrong places",
                "is stiff and scratchy")),
        Aspect("wears well", "wears out fast",
               ("still looks new after months", "kept its shape and color",
                "looks as good as on the first day"),
               ("lost its color within weeks", "started to fray after a few days",
                "looks worn out already")),
    ),
    "Sports": (
        Aspect("holds up to hard use", "gives out in hard use",
               ("held up through a whole season", "took a beating and came out fine",
                "survives whatever I put it through"),
               ("gave out the second time I used it", "tore after a weekend",
                "broke at the first serious try")),
        Aspect("is good for beginners", "is not for beginners",
               ("made it easy for me to get started", "is perfect for beginners",
                "is easy to learn with"),
               ("is no fun for a beginner", "expects you to be a professional",
                "is far too hard for someone new to it")),
    ),
    "Pets": (
        Aspect("is loved by pets", "is ignored by pets",
               ("was a hit with our pets at once", "is the first thing our little one goes for",
                "is adored by every animal in the house"),
               ("is completely ignored by our pets", "scared our old boy, who will not go near it",
                "does not interest the animals at all")),
    ),
    "Beauty": (
        Aspect("does what it promises", "does not do what it promises",
               ("gives me great results every morning", "works as well as a visit to the salon",
                "really delivers what the label says"),
               ("did nothing for me", "is harsh and unpleasant to use",
                "has no effect whatever")),
    ),
    "Toys": (
        Aspect("keeps children busy", "bores children quickly",
               ("keeps my kids busy for hours", "is the first thing my daughter reaches for",
                "is played with every single day"),
               ("was forgotten after five minutes", "bored my son the same day",
                "lost its charm within an hour")),
    ),
    "Office": (
        Aspect("makes work more pleasant", "gets in the way of work",
               ("made my desk a nicer place", "makes long days much easier",
                "is a pleasure to work with"),
               ("is more trouble than it is worth", "gets in my way more than it helps",
                "slows me down all day")),
    ),
    "Furniture": (
        Aspect("makes a room nicer", "spoils a room",
               ("brightens up the whole room", "suits every corner I tried",
                "makes the place feel like home"),
               ("smelled of chemicals for weeks", "makes the room look shabby",
                "ruins the look of the place")),
    ),
}  # fmt: skip
