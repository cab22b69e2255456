"""The words that the sample shop is made of: categories, kinds of product and what they come in."""

# ruff: noqa: E501 - a table reads best with one kind a line

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of product and the values that its attributes take."""

    category: str
    name: str
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    modifiers: tuple[str, ...]
    uses: tuple[str, ...]
    price: tuple[int, int]
    """Lowest and highest price, dollars."""


def _kinds(category: str, lines: str) -> tuple[Kind, ...]:
    """Read a table: name | materials | sizes | modifiers | uses | price range."""
    kinds = []
    for line in lines.strip().splitlines():
        name, *lists, price = (cell.strip() for cell in line.split("|"))
        materials, sizes, modifiers, uses = (
            tuple(word.strip() for word in cell.split(",") if word.strip()) for cell in lists
        )
        low, high = (int(bound) for bound in price.split("-"))
        kinds.append(Kind(category, name, materials, sizes, modifiers, uses, (low, high)))
    return tuple(kinds)


KINDS: tuple[Kind, ...] = (
    *_kinds(
        "Kitchen",
        """
        water bottle | stainless steel, glass, tritan | 350 ml, 500 ml, 750 ml, 1 l | insulated, leakproof | travel, the gym | 12-35
        frying pan | cast iron, aluminum, carbon steel | 20 cm, 24 cm, 28 cm | nonstick, induction ready | camping, family dinners | 19-80
        cutting board | bamboo, walnut, acacia | 12 x 8 in, 15 x 10 in, 18 x 12 in | reversible, juice groove | barbecues, small kitchens | 14-55
        coffee grinder | steel, ceramic | 30 g, 60 g, 100 g | manual, adjustable | espresso, the office | 25-120
        mixing bowl | ceramic, glass, stainless steel | 1.5 qt, 3 qt, 5 qt | stackable, nonslip | baking, salads | 10-40
        lunch box | bamboo, plastic, steel | 800 ml, 1.2 l | leakproof, two tier | school, work | 11-32
        """,
    ),
    *_kinds(
        "Garden",
        """
        garden hose | rubber, vinyl | 25 ft, 50 ft, 100 ft | expandable, kink free | large lawns, balconies | 20-75
        plant pot | terracotta, ceramic, plastic | 4 inch, 6 inch, 10 inch | hanging, self watering | herbs, succulents | 8-45
        pruning shears | carbon steel, stainless steel | 7 inch, 8 inch | bypass, ergonomic | roses, hedges | 13-48
        patio umbrella | polyester, canvas | 7.5 ft, 9 ft, 10 ft | tilting, fade resistant | the terrace, beach days | 45-160
        bird feeder | cedar, metal, acrylic | 2 lb, 4 lb | squirrel proof, hanging | small birds, cold winters | 15-50
        shade cloth | mesh, canvas | 10 x 12 ft, 6 x 20 ft | uv resistant, heavy duty | greenhouses, patios | 18-70
        """,
    ),
    *_kinds(
        "Electronics",
        """
        external hard drive | aluminum, plastic | 1 TB, 2 TB, 4 TB | portable, shockproof | backups, game consoles | 50-160
        power bank | aluminum, plastic | 5000 mAh, 10000 mAh, 20000 mAh | fast charging, slim | travel, hiking | 18-70
        wireless earbuds | plastic, silicone | 6 mm, 10 mm | noise cancelling, sweatproof | running, commuting | 25-180
        usb cable | nylon, rubber | 3 ft, 6 ft, 10 ft | braided, fast charging | the car, long desks | 7-25
        desk lamp | metal, plastic, wood | 12 inch, 16 inch | dimmable, foldable | reading, late work | 20-85
        bluetooth speaker | fabric, plastic | 5 w, 10 w, 20 w | waterproof, portable | pool parties, picnics | 22-130
        """,
    ),
    *_kinds(
        "Clothing",
        """
        rain jacket | nylon, polyester | small, medium, large, x-large | packable, hooded | hiking, bike rides | 35-140
        scarf | wool, cashmere, cotton | 60 in, 72 in | fringed, chunky | cold mornings, gifts | 15-90
        running shoes | mesh, knit | size 7, size 8, size 9, size 10 | lightweight, cushioned | trails, marathons | 45-150
        leather belt | full grain leather, suede | 32 in, 36 in, 40 in | braided, reversible | suits, jeans | 18-70
        hiking socks | merino wool, cotton | small, medium, large | cushioned, ankle | long walks, boots | 9-30
        summer dress | linen, cotton, rayon | small, medium, large | sleeveless, floral | weddings, holidays | 25-95
        """,
    ),
    *_kinds(
        "Sports",
        """
        yoga mat | rubber, cork, foam | 4 mm, 6 mm, 10 mm | nonslip, foldable | beginners, hot yoga | 18-80
        dumbbell set | cast iron, neoprene | 5 lb, 10 lb, 20 lb | adjustable, hexagonal | home workouts, beginners | 20-140
        camping tent | polyester, ripstop nylon | 2 person, 4 person, 6 person | waterproof, instant | festivals, family trips | 60-290
        sleeping bag | down, polyester | 3 season, 4 season | mummy, compressible | backpacking, winter camps | 35-190
        bike helmet | polycarbonate, foam | small, medium, large | ventilated, adjustable | commuting, mountain trails | 25-110
        jump rope | steel, pvc | 8 ft, 9 ft, 10 ft | weighted, tangle free | boxing, warm ups | 8-30
        """,
    ),
    *_kinds(
        "Pets",
        """
        dog bed | memory foam, fleece, cotton | 24 in, 30 in, 42 in | washable, orthopedic | senior dogs, crates | 25-110
        cat tree | sisal, plush, wood | 36 in, 54 in, 72 in | multi level, wall mounted | indoor cats, kittens | 40-170
        dog leash | nylon, leather, rope | 4 ft, 6 ft, 10 ft | reflective, retractable | night walks, puppies | 9-40
        pet fountain | ceramic, stainless steel, plastic | 1.5 l, 2 l, 3 l | quiet, filtered | picky cats, small dogs | 22-65
        chew toy | rubber, rope, nylon | 5 inch, 7 inch | squeaky, durable | heavy chewers, teething puppies | 6-22
        """,
    ),
    *_kinds(
        "Beauty",
        """
        hair dryer | plastic, ceramic | 1200 w, 1800 w, 2000 w | ionic, foldable | curly hair, travel | 22-140
        makeup brush set | bamboo, aluminum | 8 piece, 12 piece, 16 piece | vegan, soft | beginners, gifts | 10-50
        face cream | aloe, shea butter | 50 ml, 75 ml, 100 ml | fragrance free, hydrating | dry skin, sensitive skin | 9-60
        shampoo bar | coconut oil, argan oil | 60 g, 85 g, 120 g | sulfate free, vegan | oily hair, travel | 7-18
        nail file set | glass, steel | 3 piece, 6 piece | double sided, washable | home manicures, gifts | 5-20
        """,
    ),
    *_kinds(
        "Toys",
        """
        building blocks | wood, plastic | 50 piece, 100 piece, 250 piece | magnetic, classic | toddlers, rainy days | 14-75
        jigsaw puzzle | cardboard, wood | 300 piece, 500 piece, 1000 piece | panoramic, glow in the dark | family nights, grandparents | 10-40
        stuffed animal | plush, cotton | 8 inch, 12 inch, 20 inch | washable, weighted | newborns, bedtime | 9-45
        remote control car | plastic, metal | 1:16 scale, 1:24 scale | off road, rechargeable | birthdays, gardens | 20-90
        board game | cardboard, wood | 2 player, 4 player, 6 player | cooperative, travel size | game nights, holidays | 15-60
        """,
    ),
    *_kinds(
        "Office",
        """
        notebook | recycled paper, leather | a4, a5, a6 | dotted, ruled | journaling, meetings | 5-30
        office chair | mesh, faux leather | 250 lb, 300 lb, 400 lb | ergonomic, adjustable | long hours, gaming | 80-320
        desk organizer | bamboo, metal, acrylic | 3 tier, 5 tier | rotating, stackable | small desks, classrooms | 14-50
        fountain pen | brass, resin | 0.5 mm, 0.7 mm | refillable, slim | signatures, gifts | 12-90
        whiteboard | glass, steel | 24 x 36 in, 36 x 48 in | magnetic, wall mounted | home schooling, planning | 25-120
        """,
    ),
    *_kinds(
        "Furniture",
        """
        bookshelf | oak, pine, metal | 3 tier, 4 tier, 5 tier | folding, industrial | small rooms, vinyl records | 45-210
        coffee table | walnut, glass, marble | 36 in, 42 in, 48 in | round, lift top | small living rooms, lofts | 70-380
        area rug | wool, jute, polypropylene | 4 x 6 ft, 5 x 7 ft, 8 x 10 ft | washable, low pile | hallways, dining rooms | 40-260
        bed sheets | cotton, bamboo, linen | twin, queen, king | cooling, deep pocket | hot sleepers, guest rooms | 25-150
        curtains | velvet, linen, polyester | 52 x 63 in, 52 x 84 in, 52 x 96 in | blackout, thermal | bedrooms, nurseries | 18-95
        """,
    ),
)  # fmt: skip

CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(kind.category for kind in KINDS))

COLORS = (
    "black", "white", "navy", "gray", "red", "forest green", "sky blue", "beige", "mustard", "teal", "pink",
    "lavender", "brown", "orange", "ivory", "burgundy", "charcoal", "olive",
)  # fmt: skip

BRANDS = {
    "train": (
        "Nordvik", "Halden & Co", "Brightleaf", "Oakmere", "Tandem", "Kestrel", "Luma", "Fennimore", "Pikeworks",
        "Sable Creek", "Aurelle", "Driftline", "Montclair", "Quillon", "Terranova", "Zephyrine", "Hearthside",
        "Copperfin", "Velora", "Ridgeway",
    ),
    "dev": (
        "Ashgrove", "Bellmere", "Corvina", "Dunmore & Sons", "Elkhorn", "Farrow Lane", "Glenwick", "Harborline",
    ),
}  # fmt: skip
"""By split: held-out products are of brands that training never sees."""

DEPARTMENTS = {"train": ("for women", "for men", "for kids", "unisex"), "dev": ("for adults", "for teens")}
CONDITIONS = {"train": ("used", "refurbished"), "dev": ("brand new", "open box")}
QUANTITIES = {"train": ("set of 2", "2 pack", "pack of 4", "3 pcs"), "dev": ("set of 3", "4 pack", "pack of 5")}
PRICES = {"train": ("under {price} dollars", "up to ${price}"), "dev": ("below {price} dollars",)}
