"""Run printed commands of nnU-Net, from standard input, on the CPU and with a test's few numbers.

A command of nnU-Net is its own entry point with just the printed words (and ``-device cpu``), in a
process of its own; the packages are imported once for all of them. One after ``!`` must fail. The
shell runs the others.
"""

import functools
import importlib.metadata
import multiprocessing
import os
import shlex
import subprocess
import sys

ON_DEVICE = ("nnUNetv2_train", "nnUNetv2_predict")
FORK = multiprocessing.get_context("fork")


def after(cls, **numbers):
    """Let a class begin with other numbers."""
    plain = cls.__init__

    @functools.wraps(plain)  # nnU-Net looks at the names of the parameters
    def begin(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        vars(self).update(numbers)

    cls.__init__ = begin


@functools.cache
def make_quick():
    """A tiny network, two steps of training; workers need not import everything again."""
    import torch
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer

    # Threads would not survive a fork.
    torch.set_num_threads(1)
    torch.set_num_threads = lambda number: None
    multiprocessing.get_context = lambda method=None: FORK
    planner = default_experiment_planner.ExperimentPlanner
    after(planner, UNet_base_num_features=4, UNet_max_features_3d=8)
    trainer = nnUNetTrainer.nnUNetTrainer
    after(trainer, num_epochs=1, num_iterations_per_epoch=2, num_val_iterations_per_epoch=1)


def call(words):
    """Be the command."""
    sys.argv = [*words, *(("-device", "cpu") if words[0] in ON_DEVICE else ())]
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=words[0])
    entry.load()()


def main():
    for line in sys.stdin.read().splitlines():
        print(f"$ {line}", flush=True)
        words = shlex.split(line, comments=True)
        must_fail = words[:1] == ["!"]
        words = words[must_fail:]
        if words[:1] == ["export"]:
            name, _, value = words[1].partition("=")
            os.environ[name] = value
        elif words and words[0].startswith("nnUNetv2_"):
            make_quick()
            child = FORK.Process(target=call, args=(words,))
            child.start()
            child.join()
            if bool(child.exitcode) != must_fail:
                sys.exit(f"exit status {child.exitcode}: {line}")
        else:
            subprocess.run(["bash", "-euc", line], check=True)


if __name__ == "__main__":
    main()
