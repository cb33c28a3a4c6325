from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from components.transform import pipeline
from components.transform.config import TransformConfig


def test_the_local_runner_needs_no_download():
    """Beam's own choice, DirectRunner, would fetch a binary of another runner."""
    built = pipeline.new_pipeline(TransformConfig())
    assert type(built.runner) is FnApiRunner


def test_workers_become_processes():
    options = pipeline.new_pipeline(TransformConfig(workers=2)).options.view_as(DirectOptions)
    assert options.direct_running_mode == "multi_processing"
    assert options.direct_num_workers == 2


def test_a_runner_that_is_named_is_used():
    config = TransformConfig(workers=2, beam_options=("--runner=BundleBasedDirectRunner",))
    assert isinstance(pipeline.new_pipeline(config).runner, BundleBasedDirectRunner)
