"""What a run does before its first job: look at what killed runs have left, and check the machine again."""

import subprocess

from snakemake.settings.types import DeploymentMethod


def preflight_arguments(wildcards=None, output=None):
    """The recipe, where its files are, what jobs run with (local, slurm), and what `--resources gpu=N` leaves to a job."""
    limit = getattr(workflow.resource_settings.resources.get("gpu"), "value", None)
    executor = workflow.executor_plugin.name if workflow.executor_plugin else "local"
    options = ["--recipe", RECIPE.model_dump_json(exclude={"defaults"}), "--results", LAYOUT.root]
    options += ["--sources", SOURCES, "--published", PUBLISHED, "--executor", executor]
    return shlex.join(options + ([] if limit is None else ["--gpu-limit", str(limit)]))


def begin():
    """Say what computes the jobs, and remove what killed ones have left; Snakemake holds its lock by now."""
    if RUN:
        RUN.started(workflow.executor_plugin.name)


def check_again():
    """The preflight of a run that goes on: the rule made its file long ago, perhaps on another machine."""
    in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    # Where jobs have an environment of their own, only the rule can look.
    if in_conda or not os.path.exists(LAYOUT.preflight):
        return
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1", "LED_PARENT": str(os.getpid())}
    command = ["python", "-m", "led_pipeline.plan.preflight", *shlex.split(preflight_arguments())]
    answer = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if answer.returncode:
        raise WorkflowError(answer.stdout)
