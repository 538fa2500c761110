# SPDX-License-Identifier: Apache-2.0
"""A stock control plane that also has controllers of workloads, and numastow-scheduler beside it: webhook and controllers."""
import contextlib
import os

from cluster import Cluster
from daemons import SCHEDULER, Daemon, free_port
from webhook import give_account, register

LEADS = "leads the controllers of Kubernetes"


class WithControllers(Cluster):
    """With Deployments, ReplicaSets and disruption budgets."""

    def start(self, name, *argv):
        argv = list(argv)
        if name == "kube-controller-manager":
            argv[argv.index("--controllers") + 1] += ",deployment-controller,replicaset-controller,disruption-controller"
        super().start(name, *argv)


@contextlib.contextmanager
def numastow_scheduler(cluster, *options, listen="127.0.0.1:0"):
    """numastow-scheduler with the rights of the manifests, and its webhook, until the end of the block. Yields the program,
    and whether its controllers act."""
    token, port = give_account(cluster), free_port()
    folder = cluster.folder
    os.makedirs(f"{folder}/data")
    credentials = cluster.write("numastow-scheduler.kubeconfig", cluster.credentials(token, "127.0.0.1"))
    # The program ends with the test, even if that is killed.
    with Daemon(["setpriv", "--pdeathsig", "KILL", SCHEDULER, "--config", "/dev/null", "--listen", listen, "--metrics", "",
                 "--data", f"{folder}/data", "--admission", f"127.0.0.1:{port}", "--admission-certificate",
                 f"{folder}/tls.crt", "--admission-key", f"{folder}/tls.key", "--kubernetes",
                 "--kubeconfig", credentials, *options]) as program:
        leads = program.wait(LEADS)
        register(cluster, folder, port)
        yield program, leads
