"""A pipeline with branches and an exit handler, compiled by kfp for the runner's tests."""

from kfp import compiler, dsl
from kfp.dsl import Markdown, Output

OURS = {"base_image": "none", "install_kfp_package": False, "packages_to_install": []}


@dsl.component(**OURS)
def gate(answer: str) -> str:
    if answer == "break":
        from components.contracts.errors import InputError

        raise InputError("answer: expected no break")
    if answer == "sleep":
        import time

        time.sleep(60)
    return answer


@dsl.component(**OURS)
def passed(answer: str, mark: str) -> str:
    return f"{answer} {mark}"


@dsl.component(**OURS)
def held(answer: str) -> str:
    return f"held: {answer}"


@dsl.component(**OURS)
def tell(run: str, status: dsl.PipelineTaskFinalStatus, note: Output[Markdown]):
    from pathlib import Path

    Path(note.path).write_text(f"{run} {status.state} {status.error_code} {status.error_message}")


@dsl.pipeline(name="branches")
def branches(answer: str, mark: str = "!"):
    told = tell(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    with dsl.ExitHandler(told, name="all steps"):
        asked = gate(answer=answer)
        asked.container_spec.command = ["timeout", "--kill-after=5s", "2s",
                                        *asked.container_spec.command]  # fmt: skip
        with dsl.If(asked.output == "pass", name="Passed"):
            passed(answer=asked.output, mark=mark)
        with dsl.Elif(asked.output == "fail", name="Refused"):
            held(answer=asked.output)
        with dsl.Else(name="Undecided"):
            held(answer=answer).set_display_name("What is missing")
    for task in (asked, told):
        task.set_caching_options(enable_caching=False)


def write(path):
    compiler.Compiler().compile(branches, str(path))
