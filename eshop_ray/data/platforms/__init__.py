"""Shop systems and what their exports mean, one file per system."""

from collections.abc import Iterable, Mapping

from eshop_ray.data.platforms import (
    akeneo,
    amazon_reviews,
    bagisto,
    commercetools,
    google_merchant,
    google_retail,
    magento,
    medusa,
    prestashop,
    saleor,
    schema_org,
    shopify,
    spree,
    sylius,
    vendure,
    woocommerce,
)
from eshop_ray.data.platforms.base import Platform

_MODULES = (
    *(akeneo, amazon_reviews, bagisto, commercetools, google_merchant, google_retail, magento, medusa, prestashop),
    *(saleor, schema_org, shopify, spree, sylius, vendure, woocommerce),
)

PLATFORMS: Mapping[str, Platform] = {module.PLATFORM.name: module.PLATFORM for module in _MODULES}
"""`catalog.format` -> the system."""


def recognise(columns: Iterable[str]) -> Platform | None:
    """Return the system whose export has these columns, the one that asks for most of them if there are several."""
    names = {str(column).lower().strip() for column in columns}
    fitting = [
        (max(len(signature) for signature in platform.signatures if signature <= names), platform.name)
        for platform in PLATFORMS.values()
        if platform.recognises(names)
    ]
    return PLATFORMS[max(fitting)[1]] if fitting else None
