import pytest


@pytest.fixture(scope="session")
def ray_session():
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
