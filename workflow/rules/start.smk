"""Before the first job of a run: remove leftovers of killed runs, and check the machine again; what --all-temp spares."""

import atexit
import subprocess

from led_pipeline.watch import run_file
from snakemake.settings.types import DeploymentMethod

STARTED = [None]  # the record of this run is the last, once it has started


def preflight_arguments(wildcards=None, output=None):
    """Return options: recipe, paths of its files, executor (local, slurm), and the GPU limit of `--resources gpu=N`."""
    limit = gpu_limit()
    executor = workflow.executor_plugin.name if workflow.executor_plugin else "local"
    # A key that the recipe does not set may come from the model that a stage starts from.
    recipe = RECIPE.model_dump_json(exclude={"defaults"}, exclude_unset=True)
    options = ["--recipe", recipe, "--results", LAYOUT.root]
    options += ["--sources", SOURCES, "--published", PUBLISHED, "--executor", executor, "--estimates", LAYOUT.estimates]
    return shlex.join(options + ([] if limit is None else ["--gpu-limit", str(limit)]))


def gpu_limit():
    """Return N of `--resources gpu=N`, or None."""
    return getattr(workflow.resource_settings.resources.get("gpu"), "value", None)


def begin():
    """Record the executor and the jobs, and remove leftovers of killed jobs; Snakemake holds its lock by now."""
    if RUN:
        RUN.started(workflow.executor_plugin.name)
        cores = workflow.resource_settings.cores if workflow.local_exec else None
        jobs = [job_of(job) for job in workflow.dag.needrun_jobs() if job.output]
        executor = workflow.executor_plugin.name
        return run_file.begin(Path(LAYOUT.run_file), LAYOUT.root, RECIPE, jobs, cores, gpu_limit(), executor)


def job_of(job):
    """Return the record of one of Snakemake's jobs."""
    dag = workflow.dag
    after = [dag.jobid(other) for other in dag.dependencies[job] if dag.needrun(other)]
    files = "".join(map(str, job.output[:1])), "".join(map(str, job.log[:1]))
    return run_file.job_of(RECIPE, job.rule.name, job.wildcards_dict, files, dag.jobid(job), after)


def views():
    """Return the handlers of the logger plugin `led`; none with another --logger."""
    return [handler for handler in workflow.logger_manager.get_log_handlers() if hasattr(handler, "watch")]


def show(run):
    """Let the logger plugin show the run."""
    atexit.register(finish, run, "failure")  # after Ctrl-C, for which there is no handler
    for view in views():
        view.watch(run, Path(LAYOUT.estimates))


def finish(run, outcome):
    """Record how the run ended, and end its view."""
    atexit.unregister(finish)
    if run:
        run = run_file.end(Path(LAYOUT.run_file), run, outcome)
        for view in views():
            view.leave(run)


def say(text):
    """Print a text; characters that the terminal's encoding lacks (LC_ALL=C) become question marks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def check_again():
    """Make the checks of the preflight: its rule may have run long ago, and Snakemake prints a rule's findings twice.

    They look for GPUs only if a job of this run needs one: downloads and preparing work anywhere.
    """
    if not any(job.resources.get("gpu") or job.resources.get("gres") for job in workflow.dag.needrun_jobs()):
        os.environ.setdefault("LED_GPUS", "elsewhere")
    elsewhere = {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER} & workflow.deployment_settings.deployment_method
    # If jobs run in a conda environment or a container, only the rule can check it.
    if elsewhere:
        return
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1", "LED_PARENT": str(os.getpid())}
    command = ["python", "-m", "led_pipeline.plan.preflight", *shlex.split(preflight_arguments())]
    answer = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if answer.returncode:
        raise WorkflowError(answer.stdout)


def spare_results():
    """Take back the mark of `--all-temp`, which Snakemake puts on all outputs, from the results of a run."""
    for one in workflow.modifier.rules:
        for file in one.output:
            if not LAYOUT.is_intermediate(file):
                file.flags.pop("temp", None)
