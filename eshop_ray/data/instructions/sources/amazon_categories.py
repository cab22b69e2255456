"""Paths of Amazon's categories, whose names are set apart by commas and may hold some themselves."""

import re

_WITH_COMMAS = (
    "Allergy, Sinus & Asthma",
    "Amazon Financing Offers in Patio, Lawn & Garden",
    "Arm, Hand & Finger Supports",
    "Arts, Crafts & Sewing",
    "Bathroom Safety, Aids & Accessories",
    "Belts, Hoses & Pulleys",
    "Binocular, Camera & Camcorder Straps",
    "Braces, Splints & Supports",
    "Cabinets, Racks & Shelves",
    "Calendars, Planners & Personal Organizers",
    "Canned, Dry & Packaged Foods",
    "Car, Light Truck & SUV",
    "Clothing, Shoes & Jewelry",
    "Coffee, Tea & Espresso",
    "Collars, Harnesses & Leashes",
    "Cooking Oils, Vinegars & Sprays",
    "Creams, Gels & Lotions",
    "Cups, Mugs & Saucers",
    "Decorative Pillows, Inserts & Covers",
    "DJ, Electronic Music & Karaoke",
    "Driving, Fog & Spot Lights",
    "Envelopes, Mailers & Shipping Supplies",
    "Forms, Recordkeeping & Money Handling",
    "Garage Doors, Openers & Parts",
    "Gun Holsters, Cases & Bags",
    "Heating, Cooling & Air Quality",
    "Hose, Lines & Fittings",
    "Lab, Safety & Work Gloves",
    "Labels, Indexes & Stamps",
    "Nails, Screws & Fasteners",
    "Novelty, Costumes & More",
    "Oils, Vinegars & Salad Dressings",
    "Paint, Body & Trim",
    "Patio, Lawn & Garden",
    "Pie, Tart & Quiche Pans",
    "Plants, Seeds & Bulbs",
    "Pools, Hot Tubs & Supplies",
    "Printer Transfer Belts, Rollers & Units",
    "Shams, Bed Skirts & Bed Frame Draperies",
    "Shields, Guards & Liners",
    "Shocks, Struts & Suspension",
    "Soils, Fertilizers & Mulches",
    "Test, Measure & Inspect",
    "Track, Rail & Cable Lighting",
    "Tricycles, Scooters & Wagons",
    "Umbrellas, Canopies & Shade",
    "Wallets, Card Cases & Money Organizers",
)
_NAME = re.compile(rf"(?:^|,)\s*({'|'.join(map(re.escape, _WITH_COMMAS))}|[^,]+?)\s*(?=,|$)")


def split_categories(text: str) -> list[str]:
    """Return the names of a path such as `Patio, Lawn & Garden, Grills`, from the root on."""
    return [name for name in _NAME.findall(text) if name.strip()]
