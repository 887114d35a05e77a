# The first words of every job's shell (shell.prefix in common.smk): . tied.sh PYTHON SNAKEMAKE
# The shell starts itself again, in the same process, as one that ends with the process SNAKEMAKE: from the command that
# it got or, where that was too long for a command, from the script that it runs. Its Python programs end with it.
if [ -n "${BASH_VERSION-}" ]; then
  led_tie=${BASH_SOURCE[0]%/workflow/scripts/*}/src/led_pipeline/jobs/processes.py led_python=$1
  if [ "${LED_PARENT-}" != $$ ]; then
    LED_PARENT=$$ exec "$1" -I -S "$led_tie" "$2" "$BASH" ${BASH_EXECUTION_STRING+-c} "${BASH_EXECUTION_STRING-$0}"
  fi
  python() { "$led_python" -I -S "$led_tie" "$BASHPID" python "$@"; }
fi
# SLURM sends SIGTERM to every process of a job, and a training then keeps a checkpoint: its shell must not end before it.
trap : TERM
