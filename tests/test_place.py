"""The place of a process among those that torchrun, srun or the first process of the command has started."""

import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from linreg_pl.cli.siblings import plain_number
from linreg_pl.data.place import Place, first_node, place_by_variables, place_from_launcher, slurm_port, tasks_per_node
from linreg_pl.errors import InputError
from tests.ranks import of_srun, of_torchrun

SET_BY_LAUNCHERS = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "RANK", "TORCHELASTIC_RUN_ID", "WORLD_SIZE")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Returns an environment without any launcher's variables."""
    for name in (*SET_BY_LAUNCHERS, *of_srun(1, 0)):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def set_all(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)


def test_nobody_has_started_this_process(environment: pytest.MonkeyPatch) -> None:
    assert place_from_launcher() is None
    assert place_by_variables(2) is None


def test_torchrun(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, {**of_torchrun(3, 2), "MASTER_ADDR": "first", "MASTER_PORT": "29500"})
    assert place_from_launcher() == Place(2, 3, 2, 3, "first", 29500)


def test_srun(environment: pytest.MonkeyPatch) -> None:
    """Five tasks on three nodes, of which the last has one."""
    variables = {"NTASKS": "5", "STEP_NUM_TASKS": "5", "STEP_TASKS_PER_NODE": "2(x2),1", "PROCID": "4", "LOCALID": "0"}
    variables |= {"NODEID": "2", "JOB_ID": "123456", "STEP_ID": "0", "STEP_NODELIST": "node[5-7]"}
    set_all(environment, {f"SLURM_{name}": value for name, value in variables.items()})
    assert place_from_launcher() == Place(4, 5, 0, 1, "node5", 18456)
    environment.setenv("MASTER_ADDR", "10.0.0.1")
    environment.setenv("MASTER_PORT", "4000")
    assert place_from_launcher() == Place(4, 5, 0, 1, "10.0.0.1", 4000)


@pytest.mark.parametrize("variables", [{}, {"STEP_NUM_TASKS": "1"}], ids=["sbatch", "interactive"])
def test_without_srun_a_job_has_one_process(variables: dict[str, str], environment: pytest.MonkeyPatch) -> None:
    """As in a script of sbatch, or a shell, with room for four tasks."""
    variables |= {"NTASKS": "4", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_ID": "1"}
    set_all(environment, {f"SLURM_{name}": value for name, value in variables.items()})
    assert place_from_launcher() is None


@pytest.mark.parametrize("nodes", ["a", "a1,b2", "a[5-9]", "a[07,9]", "gpu-a[1-3,7]-ib", "a b"])
def test_host_is_that_of_lightning(nodes: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SLURM_STEP_NODELIST", nodes)
    assert first_node() == SLURMEnvironment.resolve_root_node_address(nodes)


@pytest.mark.parametrize(("nodes", "host"), [("rack[2-3]n[10-14],x", "rack2n10"), ("a[3],b[1-2]", "a3")])
def test_host_of_several_brackets(nodes: str, host: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SLURM_STEP_NODELIST", nodes)
    assert first_node() == host


@pytest.mark.parametrize("job", ["7", "4321", "1234567"])
def test_port_is_that_of_lightning(job: str, environment: pytest.MonkeyPatch) -> None:
    """Of the first step of a job; another step that runs beside it has another one."""
    environment.setenv("SLURM_JOB_ID", job)
    port = slurm_port()
    assert 15_000 <= port == SLURMEnvironment(auto_requeue=False).main_port
    ports = {port}
    for step in range(1, 100):
        environment.setenv("SLURM_STEP_ID", str(step))
        ports.add(slurm_port())
    assert len(ports) == 100
    assert 15_000 <= min(ports) <= max(ports) < 25_000


def test_tasks_per_node() -> None:
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1]
    assert tasks_per_node("4") == [4]


def test_started_by_the_first_process(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="MASTER_PORT is not set: unset LOCAL_RANK"):
        place_by_variables(2)
    environment.setenv("MASTER_PORT", "4000")
    assert place_by_variables(3) == Place(1, 3, 1, 3, "127.0.0.1", 4000)


@pytest.mark.parametrize(
    ("flags", "number"),
    [
        ("solve --trainer.devices 3", 3),
        ("solve --trainer.devices=2 --data x", 2),
        ("solve --trainer.devices 4 --trainer.devices 1", 1),
        ("solve --trainer.devices auto", 1),
        ("solve --trainer.devices", 1),
        ("solve", 1),
    ],
)
def test_number_that_flags_say(flags: str, number: int) -> None:
    assert plain_number(flags.split()) == number
