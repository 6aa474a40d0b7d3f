"""JupyterHub for a class on one machine: every account of the machine gets a JupyterLab.

    jupyterhub --config tools/teacher/jupyterhub_config.py

CLASS.md beside this file is the guide; hub_trial.py tries this file with simulated learners.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

c = get_config()  # noqa: F821, defined by JupyterHub

# Only this machine reaches the hub: what speaks HTTPS to the world stands in front of it.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
# The default authenticator asks the system for the password of an account.
c.Authenticator.allow_all = True

c.Spawner.default_url = "/lab"
c.Spawner.mem_limit = "2G"  # a promise that only some spawners keep: see CLASS.md
c.Spawner.environment = {
    "OMP_NUM_THREADS": "1",  # two threads each would get in one another's way
    "JUPYTER_CONFIG_PATH": str(ROOT / "lessons_lib" / "jupyterlab"),  # no panels of nbgrader
}
# What nobody uses gives its memory back; notebooks are saved, variables are lost.
c.Spawner.args = [
    "--MappingKernelManager.cull_idle_timeout=3600",
    "--MappingKernelManager.cull_interval=300",
    "--ServerApp.shutdown_no_activity_timeout=7200",
]
