"""What an MLflow store in a folder holds of the experiment `shop`."""

from eshop_ray.training import tracking


def read_runs(folder):
    client = tracking.connect(str(folder))
    experiment = client.get_experiment_by_name("shop")
    return client, client.search_runs([experiment.experiment_id])


def read_metric(folder, name):
    """Step -> value of a metric of the only run; a step logged twice counts once."""
    client, [run] = read_runs(folder)
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
