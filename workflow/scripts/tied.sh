# Every job's shell starts with this file (shell.prefix in common.smk): . tied.sh PYTHON SNAKEMAKE
# The shell restarts itself in the same process, now tied to the process SNAKEMAKE: it ends when that one ends. It
# restarts from its command or, if Snakemake wrote a long command to a script, from the script. Its Python programs end
# with it, and print their command first, at the beginning of the job's log.
if [ -n "${BASH_VERSION-}" ]; then
  led_tie=${BASH_SOURCE[0]%/workflow/scripts/*}/src/led_pipeline/jobs/processes.py
  led_python=$(command -v "$1" || command -v python3) # a container has a Python of its own
  if [ "${LED_PARENT-}" != $$ ]; then
    LED_PARENT=$$ exec "$led_python" -I -S "$led_tie" "$2" "$BASH" ${BASH_EXECUTION_STRING+-c} "${BASH_EXECUTION_STRING-$0}"
  fi
  python() { LED_SHOW_COMMAND=1 "$led_python" -I -S "$led_tie" "$BASHPID" python "$@"; }
fi
# SLURM sends SIGTERM to every process of a job; the shell must wait while a training saves its checkpoint.
trap : TERM
