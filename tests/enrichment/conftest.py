"""Shops for whole nights on real Ray, and an object store."""

import pytest

from tests.enrichment.shop import Shop, product, review


@pytest.fixture
def shop(tmp_path, ray_session):  # noqa: ARG001 - nights join the session's Ray
    return Shop(tmp_path)


@pytest.fixture(scope="session")
def enriched(tmp_path_factory, ray_session):  # noqa: ARG001
    """A shop after its first night, and that night's statistics."""
    shop = Shop(tmp_path_factory.mktemp("enriched"))
    return shop, shop.night()


@pytest.fixture
def enriched_shop(tmp_path, enriched):
    """A copy of that shop."""
    return enriched[0].copy(tmp_path)


@pytest.fixture(scope="session")
def old_shop(tmp_path_factory, ray_session):  # noqa: ARG001
    """A shop after a night, whose catalogue and model have changed since: tonight nearly every row gives way."""
    shop = Shop(tmp_path_factory.mktemp("old"), num_products=150)
    shop.night(model="old")
    for number in range(10):
        shop.products[number] = product(number, name=f"green hat {number}")
    del shop.products[10:20]
    shop.products += [product(number) for number in range(150, 160)]
    shop.reviews.append(review(30, "even better", 99))
    shop.faults = {"rows_per_second": 150}
    return shop


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, old_shop):
    """That shop after a night that nothing disturbed: its statistics and its rows."""
    shop = old_shop.copy(tmp_path_factory.mktemp("undisturbed"))
    digest, shop.faults = shop.digest, {}
    return shop.night(model=digest), shop.rows()


@pytest.fixture
def changed_shop(tmp_path, old_shop):
    """A copy of that shop, tonight still ahead of it."""
    return old_shop.copy(tmp_path)


@pytest.fixture
def ray_address(ray_session):
    """Where another driver joins the session's Ray."""
    return ray_session.get_runtime_context().gcs_address
