import pytest
from apache_beam.options.pipeline_options import DirectOptions, FlinkRunnerOptions, PipelineOptions

from components.contracts.beam_options import (
    beam_job,
    beam_pipeline,
    check_beam_options,
    join_beam_options,
    split_beam_options,
)
from components.contracts.errors import InputError, LookalikeError

DATAFLOW = ("--runner=DataflowRunner", "--project=shop-123456", "--region=europe-west1")


def test_options_survive_the_way_through_one_text():
    options = ("--runner=PortableRunner", '--environment_config={"command": "run it"}', "--x=a'b")
    assert split_beam_options(join_beam_options(options, "f"), "f") == options
    assert split_beam_options("", "f") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--runner='Flink", "step.beam_options: expected options as in a shell, No closing"),
        ("--runner FlinkRunner", "expected --runner=NAME, received '--runner'"),
        ("runner=FlinkRunner", "expected --NAME or --NAME=VALUE, .* received 'runner=FlinkRunner'"),
        ("--=3", "expected --NAME"),
        ("-p 3", "expected --NAME"),
        ("--runner=A --runner=B", "expected one runner, received A and B"),
    ],
)
def test_what_is_no_option_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        split_beam_options(text, "step.beam_options")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runner=FlinkRuner"], "a runner that Beam knows, received 'FlinkRuner'; did you mean"),
        (["--runner=os.system"], "a runner that Beam knows, received 'os.system'"),
        (
            ["--direct_num_worker=2"],
            "unknown option --direct_num_worker; did you mean --direct_num",
        ),
        (["--direct_num_workers=many"], "--direct_num_workers: invalid int value: 'many'"),
        (["--runner=FlinkRunner", "--flink_version=0.1"], "--flink_version: invalid choice: '0.1'"),
        (["--runner=FlinkRunner", "--environment_type=PROCESS"], "process_command is required"),
        (["--streaming"], "expected a batch job"),
        (["--runner=DataflowRunner"], "needs --project=...; .*--region=...; .*--temp_location"),
        ([*DATAFLOW, "--temp_location=/tmp/x"], "expected --temp_location=gs://BUCKET/PREFIX"),
        (
            [*DATAFLOW, "--temp_location=gs://b/x", "--nun_workers=3", "--regoin=x"],
            "unknown option --nun_workers.*; unknown option --regoin",
        ),
    ],
)
def test_nonsense_is_refused_by_beams_own_rules(options, message):
    with pytest.raises(InputError, match=f"^step.beam_options: .*{message}"):
        check_beam_options(options, "step.beam_options")


def test_options_that_only_the_job_server_knows_pass():
    check_beam_options(["--runner=FlinkRunner", "--state_backend=rocksdb"], "f")


def test_dataflow_is_checked_without_a_network():
    check_beam_options([*DATAFLOW, "--temp_location=gs://shop-temp/beam"], "f")


def test_a_pipeline_has_the_options():
    options = ["--runner=FlinkRunner", "--flink_master=flink:8081", "--parallelism=4"]
    built = beam_pipeline(options, "f", local=["--direct_num_workers=2"])
    assert type(built.runner).__name__ == "FlinkRunner"
    assert built.options.view_as(FlinkRunnerOptions).flink_master == "flink:8081"
    assert built.options.view_as(DirectOptions).direct_num_workers == 1
    local = beam_pipeline([], "f", local=["--direct_num_workers=2"])
    assert local.options.view_as(DirectOptions).direct_num_workers == 2


class Empty:
    """A pipeline that ends as it is told."""

    def __init__(self, error=None, options=()):
        self.error, self.options, self.runner = error, PipelineOptions(list(options)), object()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.error:
            raise self.error


def run(pipeline):
    with beam_job(pipeline, "embed") as same:
        assert same is pipeline


def test_a_lost_worker_is_told_and_other_errors_pass():
    run(Empty())
    with pytest.raises(LookalikeError, match=r"embed: Apache Beam gave the job up .Channel closed"):
        run(Empty(RuntimeError("Channel closed prematurely.")))
    for error in (RuntimeError("a mistake"), ValueError("Channel closed prematurely.")):
        with pytest.raises(type(error), match=str(error)):
            run(Empty(error))


def test_a_dry_run_says_that_nothing_was_run():
    with pytest.raises(LookalikeError, match="embed: --dry_run: the job's graph was built"):
        run(Empty(options=["--dry_run=true"]))
